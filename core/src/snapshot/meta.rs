//! The content of the first and of the last chunk.

use alloc::vec::Vec;

use bytes::BufMut;

use super::chunk::FORMAT_VERSION;
use super::{SnapshotError, SnapshotMeta};
use crate::codec::{Malformed, Reader, Writer};
use crate::ids::ClusterId;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::wal::command::{put_membership, take_membership};
use crate::wire::body::{put_history, take_history};

const MAGIC: [u8; 8] = *b"SYNAPSNP";

pub(super) fn put_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    out.put_slice(&MAGIC);
    out.put_u16_le(FORMAT_VERSION);
    out.put_u128_le(meta.cluster.0);
    out.position(meta.position);
    out.put_u64_le(meta.log_time.0);
    put_history(out, &meta.history);
    put_membership(out, &meta.membership);
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
    if version != FORMAT_VERSION {
        return Err(SnapshotError::Version(version));
    }
    take_fields(reader).map_err(damaged)
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

fn take_fields(mut reader: Reader<'_>) -> Result<SnapshotMeta, Malformed> {
    let meta = SnapshotMeta {
        cluster: ClusterId(reader.u128()?),
        position: reader.position()?,
        log_time: WallMs(reader.u64()?),
        history: take_history(&mut reader)?,
        membership: take_membership(&mut reader)?,
        keys: reader.u64()?,
        results: reader.u64()?,
        hash: StateHash(reader.u64()?),
    };
    reader.end()?;
    Ok(meta)
}
