//! Segments: the files that hold the log. Owns their names and the byte layout of their heads
//! (`docs/formats/wal.md`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use crate::codec::{Reader, Writer};
use crate::position::Position;
use crate::wal::frame::Tag;
use crate::wal::ops::FileOp;
use crate::wal::side_files::sync_data_dir;

/// Version of all that stands in a segment that is begun now.
pub(super) const FORMAT_VERSION: u16 = 4;

/// Read, too: its commands have no conditions but those of sets.
const FORMAT_VERSION_3: u16 = 3;

/// Read, too: its terms have no spread.
const FORMAT_VERSION_2: u16 = 2;

/// Read, too: its frames have no nonce besides, its hard states say less.
const FORMAT_VERSION_1: u16 = 1;

/// Length of a segment's head: one sector.
pub(super) const HEAD_BYTES: usize = 512;

const MAGIC: [u8; 8] = *b"SYNAPWAL";

/// What a segment's first sector says. It is synced before the first frame is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// Counts up over the whole life of a log; never used twice.
    pub(super) seq: u64,
    /// The segment before it, 0 if none. Those that stand between the two in the directory are void.
    pub(super) prev: u64,
    /// Number of its first frame. Frames of earlier segments from this number on are void.
    pub(super) first: u64,
    /// All frames with lower numbers were on disk before this head was written.
    pub(super) synced: u64,
    /// The log's last position before the first record.
    pub(super) base: Position,
    /// Drawn when the segment is begun, and in each of its frames; none in a segment of version 1.
    pub(super) nonce: Option<u64>,
}

/// Why a segment's head is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// Its checksum differs.
    Broken,
    /// It is whole, and of another version.
    Version(u16),
}

impl SegmentHead {
    /// How its frames are told from any other bytes.
    pub(super) const fn tag(&self) -> Tag {
        Tag { seq: self.seq, nonce: self.nonce }
    }

    pub(super) fn encode(&self) -> Bytes {
        let version = if self.nonce.is_some() { FORMAT_VERSION } else { FORMAT_VERSION_1 };
        let mut fields = Vec::with_capacity(HEAD_BYTES - 16);
        fields.put_u64_le(self.seq);
        fields.put_u64_le(self.prev);
        fields.put_u64_le(self.first);
        fields.put_u64_le(self.synced);
        fields.position(self.base);
        fields.put_u64_le(self.nonce.unwrap_or(0));
        fields.resize(HEAD_BYTES - 16, 0);
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.put_slice(&MAGIC);
        out.put_u16_le(version);
        out.put_u16_le(0);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&out), &fields);
        out.put_u32_le(checksum);
        out.put_slice(&fields);
        Bytes::from(out)
    }

    /// Magic, version and checksum stand in the same place in every version.
    pub(super) fn decode(file: &[u8]) -> Result<Self, HeadFault> {
        let head = file.get(..HEAD_BYTES).ok_or(HeadFault::Broken)?;
        let (front, fields) = head.split_at_checked(16).ok_or(HeadFault::Broken)?;
        let (front, checksum) = front.split_at_checked(12).ok_or(HeadFault::Broken)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(front), fields);
        if !front.starts_with(&MAGIC) || checksum != sum.to_le_bytes() {
            return Err(HeadFault::Broken);
        }
        let mut reader = Reader::new(front.get(MAGIC.len()..).unwrap_or_default());
        match reader.u16() {
            Ok(version @ (FORMAT_VERSION | FORMAT_VERSION_3 | FORMAT_VERSION_2 | FORMAT_VERSION_1)) => {
                Self::fields(fields, version != FORMAT_VERSION_1).ok_or(HeadFault::Broken)
            }
            Ok(version) => Err(HeadFault::Version(version)),
            Err(_) => Err(HeadFault::Broken),
        }
    }

    fn fields(fields: &[u8], nonced: bool) -> Option<Self> {
        let mut reader = Reader::new(fields);
        Some(Self {
            seq: reader.u64().ok()?,
            prev: reader.u64().ok()?,
            first: reader.u64().ok()?,
            synced: reader.u64().ok()?,
            base: reader.position().ok()?,
            nonce: if nonced { Some(reader.u64().ok()?) } else { None },
        })
    }
}

/// The name of segment `seq`.
pub(super) fn file_name(seq: u64) -> String {
    format!("wal-{seq:016x}.log")
}

/// The name under which segment `seq` is made, before it gets its own.
pub(super) fn temporary_name(seq: u64) -> String {
    format!("wal-{seq:016x}.tmp")
}

/// The name of the `n`th spare.
pub(super) fn spare_name(n: u64) -> String {
    format!("spare-{n:016x}.log")
}

/// The name under which the `n`th spare is written out.
pub(super) fn spare_temporary_name(n: u64) -> String {
    format!("spare-{n:016x}.tmp")
}

/// The number in a name between `prefix` and `suffix`.
pub(super) fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let hex = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    // No node comes near the last number, and there is none after it.
    (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok()).flatten().filter(|number| *number < u64::MAX >> 1)
}

/// Makes segment `seq` with this content, whole or not at all.
pub(super) fn make_whole(seq: u64, parts: Vec<Bytes>) -> [FileOp; 5] {
    let file = temporary_name(seq);
    [
        FileOp::Create { file: file.clone() },
        FileOp::Write { file: file.clone(), at: 0, parts },
        FileOp::Sync { file: file.clone() },
        FileOp::Rename { from: file, to: file_name(seq) },
        sync_data_dir(),
    ]
}
