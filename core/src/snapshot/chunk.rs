//! One chunk's frame, and the kinds of content that it can have.
//!
//! ```text
//! len u32 | crc32c u32 | number u32 | kind u8 | content        (little-endian)
//! ```
//! `len` counts what follows `number`; the checksum covers everything from `number` on.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use super::SnapshotError;
use crate::codec::{Reader, count_u32};
use crate::wal::record::RECORD_BYTES_MAX;

/// The longest chunk: one item of the longest record. Longer ones are refused before anything is allocated.
pub const CHUNK_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 10);

/// The format that this build writes.
pub const FORMAT_VERSION: u16 = 4;
/// Read, too: its versions are indices.
pub(super) const FORMAT_VERSION_3: u16 = 3;
/// The oldest that it reads; its history tells nothing of gaps and arming besides.
pub(super) const FORMAT_VERSION_MIN: u16 = 2;

/// `len`, `crc32c` and `number`.
const FRAME_BYTES: usize = 12;
/// Where the checksummed part begins.
const COVERED_FROM: usize = 8;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first: what the snapshot says of itself.
    Meta,
    /// Items, at least one.
    Items,
    /// Results for retries, at least one, after all items.
    Results,
    /// The last: how much there was.
    End,
}

/// An unfinished chunk.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    pub(super) fn new(number: u32, kind: Kind, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_BYTES + 1 + capacity);
        bytes.put_u64_le(0);
        bytes.put_u32_le(number);
        bytes.put_u8(code(kind));
        Self { bytes }
    }

    pub(super) const fn content(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(mut self) -> Bytes {
        let len = count_u32(self.bytes.len() - FRAME_BYTES);
        let crc = crc32c::crc32c(self.bytes.get(COVERED_FROM..).unwrap_or_default());
        crate::codec::patch_front(&mut self.bytes, u64::from(crc) << 32 | u64::from(len));
        Bytes::from(self.bytes)
    }
}

/// Kind and content of the chunk with this number, which `chunk` is, whole and nothing else.
pub(super) fn open(chunk: &[u8], number: u32) -> Result<(Kind, &[u8]), SnapshotError> {
    let damaged = SnapshotError::Damaged(number);
    if chunk.len() > CHUNK_BYTES_MAX {
        return Err(damaged);
    }
    let (front, covered) = chunk.split_first_chunk::<COVERED_FROM>().ok_or(damaged)?;
    let front = u64::from_le_bytes(*front);
    let mut reader = Reader::new(covered);
    let found = reader.u32().map_err(|_| damaged)?;
    let (len, crc) = (front & u64::from(u32::MAX), front >> 32);
    let whole = len == reader.rest().len() as u64 && crc == u64::from(crc32c::crc32c(covered));
    if !whole || found != number {
        return Err(damaged);
    }
    let kind = reader.u8().ok().and_then(kind_of).ok_or(damaged)?;
    Ok((kind, reader.rest()))
}

/// How long the chunk is that `file` begins with, by its own word; none if it is longer than any may be, or than
/// the file.
pub(super) fn len_of_first(file: &[u8]) -> Option<usize> {
    let (len, _) = file.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?.checked_add(FRAME_BYTES)?;
    (len <= CHUNK_BYTES_MAX && len <= file.len()).then_some(len)
}

const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Meta => 1,
        Kind::Items => 2,
        Kind::End => 3,
        Kind::Results => 4,
    }
}

const fn kind_of(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::Meta),
        2 => Some(Kind::Items),
        3 => Some(Kind::End),
        4 => Some(Kind::Results),
        _ => None,
    }
}
