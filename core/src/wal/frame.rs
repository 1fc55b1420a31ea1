//! Frames: what one group of batches adds to a segment. Owns their byte layout (`docs/formats/wal.md`); never looks
//! into the records that they carry.
//!
//! A frame begins at a multiple of [`SECTOR_BYTES`] and is padded to the next, so that an append never rewrites a
//! sector that an earlier sync covered. It says which segment it belongs to, since a segment's file may be an older
//! one's, with that one's frames still in it, and with clients' values that look like frames. A client can guess a
//! segment's number; it cannot guess the nonce, which is drawn when the segment is begun. And it says up to which frame everything was on disk before it was
//! written: that tells a torn tail from damage, see [`super::chain`].

use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use crate::codec::{Reader, count_u32};

/// The unit in which a disk loses what was not synced.
pub(super) const SECTOR_BYTES: u64 = 512;

/// Bytes of a frame before its records.
pub(super) const HEAD_BYTES: usize = 48;

/// The same in a segment of version 1, whose frames have no nonce.
const HEAD_BYTES_V1: usize = 40;

const MAGIC: u32 = u32::from_le_bytes(*b"SYNF");
const RECORDS: u32 = 1;
const CLOSE: u32 = 2;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It carries records.
    Records,
    /// The log was ended on purpose: nothing follows.
    Close,
}

/// How a segment's frames are told from any other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The segment that they were written to.
    pub(super) seq: u64,
    /// That segment's nonce; none in a segment of version 1.
    pub(super) nonce: Option<u64>,
}

impl Tag {
    const fn head_bytes(self) -> usize {
        match self.nonce {
            Some(_) => HEAD_BYTES,
            None => HEAD_BYTES_V1,
        }
    }
}

/// A frame's head. Frames are numbered from 1 over the whole life of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: Kind,
    pub(super) tag: Tag,
    pub(super) number: u64,
    /// All frames with lower numbers were on disk before this one was written.
    pub(super) synced: u64,
}

/// A frame that was found in a file.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) head: FrameHead,
    /// Whole records, one after the other.
    pub(super) records: Bytes,
    /// Offset of what follows it.
    pub(super) next: usize,
}

/// What was asked of [`find`] besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Verify,
    /// For the planted bug `TornTailAccepted` alone.
    Ignore,
}

/// `bytes` rounded up to whole sectors.
pub(super) const fn whole_sectors(bytes: u64) -> u64 {
    match bytes.checked_next_multiple_of(SECTOR_BYTES) {
        Some(whole) => whole,
        None => u64::MAX,
    }
}

/// The frame's parts: head, records as they are, padding.
pub(super) fn encode(head: FrameHead, records: Vec<Bytes>) -> Vec<Bytes> {
    let payload: usize = records.iter().map(Bytes::len).sum();
    let mut fields = Vec::with_capacity(HEAD_BYTES - 8);
    fields.put_u32_le(count_u32(payload));
    fields.put_u32_le(match head.kind {
        Kind::Records => RECORDS,
        Kind::Close => CLOSE,
    });
    fields.put_u64_le(head.tag.seq);
    if let Some(nonce) = head.tag.nonce {
        fields.put_u64_le(nonce);
    }
    fields.put_u64_le(head.number);
    fields.put_u64_le(head.synced);
    let checksum = records.iter().fold(crc32c::crc32c(&fields), |sum, part| crc32c::crc32c_append(sum, part));
    let mut front = Vec::with_capacity(HEAD_BYTES);
    front.put_u32_le(MAGIC);
    front.put_u32_le(checksum);
    front.put_slice(&fields);
    let mut parts = Vec::with_capacity(records.len() + 2);
    parts.push(Bytes::from(front));
    parts.extend(records);
    parts.extend(padding(head.tag.head_bytes() + payload));
    parts
}

/// Zeros that fill `bytes` up to whole sectors.
fn padding(bytes: usize) -> Option<Bytes> {
    static ZEROS: [u8; 512] = [0; 512];
    let missing = bytes.next_multiple_of(ZEROS.len()) - bytes;
    ZEROS.get(..missing).filter(|zeros| !zeros.is_empty()).map(Bytes::from_static)
}

/// The frame of this tag at offset `at`, if there is a whole one.
pub(super) fn find(file: &Bytes, at: usize, tag: Tag, checksum: Checksum) -> Option<Frame> {
    find_as(file, at, tag.nonce.is_some(), checksum).filter(|frame| frame.head.tag == tag)
}

/// The segment that a whole frame at offset `at` was written to, whatever its nonce and version.
fn owner(file: &Bytes, at: usize) -> Option<u64> {
    let frame = |nonced| find_as(file, at, nonced, Checksum::Verify);
    frame(true).or_else(|| frame(false)).map(|frame| frame.head.tag.seq)
}

/// A frame at offset `at` of any segment.
fn find_as(file: &Bytes, at: usize, nonced: bool, checksum: Checksum) -> Option<Frame> {
    let mut reader = Reader::new(file.get(at..)?);
    if reader.u32().ok()? != MAGIC {
        return None;
    }
    let expected = reader.u32().ok()?;
    let covered = reader.rest();
    let payload = usize::try_from(reader.u32().ok()?).ok()?;
    let kind = match reader.u32().ok()? {
        RECORDS => Kind::Records,
        CLOSE => Kind::Close,
        _ => return None,
    };
    let seq = reader.u64().ok()?;
    let nonce = if nonced { Some(reader.u64().ok()?) } else { None };
    let tag = Tag { seq, nonce };
    let head = FrameHead { kind, tag, number: reader.u64().ok()?, synced: reader.u64().ok()? };
    let payload = match checksum {
        Checksum::Verify => payload,
        Checksum::Ignore => payload.min(reader.rest().len()),
    };
    let records = reader.take(payload).ok()?;
    match checksum {
        Checksum::Verify if crc32c::crc32c(covered.get(..tag.head_bytes() - 8 + payload)?) != expected => {
            return None;
        }
        Checksum::Verify | Checksum::Ignore => {}
    }
    let next = (at + tag.head_bytes() + payload).next_multiple_of(usize::try_from(SECTOR_BYTES).ok()?);
    Some(Frame { head, records: file.slice_ref(records), next })
}

/// How far the frames that begin before `upto` claim to reach, whole or not.
pub(super) fn claimed_end(file: &[u8], upto: usize) -> usize {
    let step = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
    let ends = (0..upto.min(file.len())).step_by(step).filter_map(|at| {
        let mut reader = Reader::new(file.get(at..)?);
        if reader.u32().ok()? != MAGIC {
            return None;
        }
        reader.u32().ok()?;
        let payload = usize::try_from(reader.u32().ok()?).ok()?;
        at.checked_add(HEAD_BYTES)?.checked_add(payload)
    });
    ends.max().unwrap_or(0)
}

/// All whole frames of this tag that begin at `from` or later, wherever they stand.
pub(super) fn find_all(file: &Bytes, from: usize, tag: Tag) -> impl Iterator<Item = Frame> + '_ {
    magics(file, from).filter_map(move |at| find(file, at, tag, Checksum::Verify))
}

/// Whether frames of segment `seq` were written to a file whose head is broken, so that its nonce is not known. Every segment
/// has its first frame at the same offset. One of another segment there says that this one was never begun, whatever values
/// within that older frame look like.
pub(super) fn has_begun(file: &Bytes, first: usize, seq: u64) -> bool {
    match owner(file, first) {
        Some(owner) => owner == seq,
        None => magics(file, first).any(|at| owner(file, at) == Some(seq)),
    }
}

/// Where a frame may begin at `from` or later.
fn magics(file: &Bytes, from: usize) -> impl Iterator<Item = usize> + '_ {
    let step = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
    let begins = |at: &usize| file.get(*at..*at + 4).is_some_and(|magic| magic == MAGIC.to_le_bytes());
    (from.next_multiple_of(step)..file.len()).step_by(step).filter(begins)
}
