//! The content of the first and of the last chunk.

use alloc::vec::Vec;

use bytes::BufMut;

use super::chunk::{FORMAT_VERSION, FORMAT_VERSION_3, FORMAT_VERSION_MIN};
use super::{SnapshotError, SnapshotMeta};
use crate::codec::{Malformed, Reader, Writer};
use crate::history::History;
use crate::ids::ClusterId;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::version::VersionBase;
use crate::wal::command::{put_membership, take_membership};
use crate::wire::body::{put_history, take_history, take_terms};

const MAGIC: [u8; 8] = *b"SYNAPSNP";

pub(super) fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    out.put_slice(&MAGIC);
    out.put_u16_le(FORMAT_VERSION);
    out.put_u128_le(meta.cluster.0);
    out.position(meta.position);
    out.put_u64_le(meta.log_time.0);
    put_history(out, &meta.history);
    put_membership(out, &meta.membership);
    out.put_u64_le(meta.version_base.0);
    put_totals(out, meta);
}

/// Reads what [`put_meta`] wrote. The magic and the version come first, so that a file of another kind or time
/// is told apart from a damaged one.
pub(super) fn take_meta(content: &[u8]) -> Result<SnapshotMeta, SnapshotError> {
    let damaged = |_: Malformed| SnapshotError::Damaged(0);
    let mut reader = Reader::new(content);
    if reader.take(MAGIC.len()).map_err(damaged)? != MAGIC {
        return Err(SnapshotError::Damaged(0));
    }
    let version = reader.u16().map_err(damaged)?;
    if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&version) {
        return Err(SnapshotError::Version(version));
    }
    take_fields(reader, version).map_err(damaged)
}

/// How many items and results there are, and their hash: promised in the first chunk, repeated in the last.
pub(super) fn put_totals(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    out.put_u64_le(meta.keys);
    out.put_u64_le(meta.results);
    out.put_u64_le(meta.hash.0);
}

pub(super) fn take_totals(content: &[u8]) -> Result<(u64, u64, StateHash), Malformed> {
    let mut reader = Reader::new(content);
    let totals = (reader.u64()?, reader.u64()?, StateHash(reader.u64()?));
    reader.end()?;
    Ok(totals)
}

fn take_fields(mut reader: Reader<'_>, version: u16) -> Result<SnapshotMeta, Malformed> {
    let (cluster, position) = (ClusterId(reader.u128()?), reader.position()?);
    let log_time = WallMs(reader.u64()?);
    let (history, membership) = if version >= FORMAT_VERSION_3 {
        (take_history(&mut reader)?, take_membership(&mut reader)?)
    } else {
        let terms = take_terms(&mut reader)?;
        let membership = take_membership(&mut reader)?;
        let history = History::from_terms(terms, membership.armed).ok_or(Malformed("terms out of order"))?;
        (history, membership)
    };
    // Until then no term had a spread: a log that is replayed from its beginning gives the same.
    let version_base =
        if version > FORMAT_VERSION_3 { VersionBase(reader.u64()?) } else { VersionBase::default() };
    if !version_base.reaches(position.index) {
        return Err(Malformed("versions beyond 53 bits"));
    }
    let meta = SnapshotMeta {
        cluster,
        position,
        log_time,
        history,
        membership,
        version_base,
        keys: reader.u64()?,
        results: reader.u64()?,
        hash: StateHash(reader.u64()?),
    };
    reader.end()?;
    Ok(meta)
}
