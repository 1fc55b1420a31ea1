//! The wire codec: messages as frames of version, length, type and checksum. Every maximum is refused before
//! anything is allocated.
//!
//! Owns the frame (`docs/formats/wire.md`); what stands in it belongs to [`body`]. A frame's checksum covers its
//! head: the fields of the message, and for a snapshot part its bytes. Entries follow the head as whole records
//! with checksums of their own, which [`decode`] verifies: the master need not run over bytes that it has encoded
//! once, and no entry is believed unchecked.

pub(crate) mod body;
#[cfg(test)]
mod golden;
mod pieces;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::{Malformed, Reader, count_u32};
use crate::message::Message;
use crate::wal::RECORD_BYTES_MAX;
use crate::wal::record::RecordError;

pub use pieces::{Assembler, PIECE_BYTES_MAX, Pieces};

/// Longest frame before the handshake is done.
pub const HANDSHAKE_BYTES_MAX: u32 = 64 << 10;

/// Longest message: the longest record, and room for what stands around it.
#[expect(clippy::cast_possible_truncation, reason = "a constant, asserted below")]
pub const FRAME_BYTES_MAX: u32 = RECORD_BYTES_MAX as u32 + (1 << 20);
const _: () = assert!(RECORD_BYTES_MAX < (1 << 30), "FRAME_BYTES_MAX fits in 32 bits");

/// Longest frame on a link once the handshake is done: a longer message goes in [`Pieces`].
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub const PIECE_FRAME_BYTES_MAX: u32 = PIECE_BYTES_MAX as u32 + 64;

/// First bytes of every frame: three letters, and the version of the frame's layout, which is the same in every
/// version of the protocol.
const MAGIC: [u8; 4] = *b"SYN\x01";

/// Magic, length of what follows the head of the frame, length of its checksummed part, checksum: four bytes each.
const HEAD_BYTES: usize = 16;

/// A record up to this long is copied beside its neighbours: that costs less than a part of its own.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// Why a peer's bytes are refused. Its link is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first bytes are no frame of this protocol.
    #[error("not a synap frame")]
    Magic,
    /// The frame says that it is longer than is allowed now.
    #[error("frame of {0} bytes is longer than the limit")]
    TooLong(u32),
    /// The checksum differs.
    #[error("frame checksum differs")]
    Checksum,
    /// Its content makes no sense, though the checksum is right.
    #[error("frame malformed: {0}")]
    Malformed(&'static str),
}

/// A message as the parts of one frame, for a vectored write; large entries and snapshot parts are not copied.
pub fn encode(message: &Message) -> Vec<Bytes> {
    let mut head = Vec::with_capacity(256);
    head.put_bytes(0, HEAD_BYTES);
    body::put(&mut head, message);
    match message {
        Message::Append(append) => with_records(head, &append.entries),
        Message::FetchedTail(fetched) => with_records(head, &fetched.entries),
        Message::Chunk(chunk) => with_covered(head, &chunk.bytes),
        Message::Hello(_)
        | Message::Welcome(_)
        | Message::Ack(_)
        | Message::SnapshotAck(_)
        | Message::FetchTail(_)
        | Message::RequestVote(_)
        | Message::Vote(_)
        | Message::Handover(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexed(_)
        | Message::Alive(_)
        | Message::Bye(_) => with_covered(head, &Bytes::new()),
    }
}

/// Takes the first frame off `buffer`, if it is whole; if not, makes room for the rest of it. `frame_bytes_max`
/// bounds what is waited for, the frame's head included.
pub fn decode(buffer: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Message>, WireError> {
    match take_frame(buffer, frame_bytes_max)? {
        Some(Taken::Message(message)) => Ok(Some(message)),
        Some(Taken::Piece { .. }) => Err(WireError::Malformed("a piece where a message is wanted")),
        None => Ok(None),
    }
}

/// What a frame holds.
enum Taken {
    /// A whole message.
    Message(Message),
    /// A part of one that has its own checksums.
    Piece { bytes: Bytes, last: bool },
}

fn take_frame(buffer: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Taken>, WireError> {
    if buffer.iter().zip(MAGIC).any(|(there, expected)| *there != expected) {
        return Err(WireError::Magic);
    }
    let Some(head) = FrameHead::read(buffer) else {
        return Ok(None);
    };
    let whole = head.whole(frame_bytes_max)?;
    if let Some(missing) = whole.checked_sub(buffer.len()).filter(|missing| *missing > 0) {
        buffer.reserve(missing);
        return Ok(None);
    }
    let mut frame = buffer.split_to(whole).freeze();
    let (lengths, fields) = head.covered(&frame)?;
    if crc32c::crc32c_append(crc32c::crc32c(lengths), fields) != head.checksum {
        return Err(WireError::Checksum);
    }
    let covered = fields.len();
    frame.advance(HEAD_BYTES);
    if let Some(last) = body::piece(&frame, covered)? {
        frame.advance(covered);
        return Ok(Some(Taken::Piece { bytes: frame, last }));
    }
    body::take(frame, covered).map(Taken::Message).map(Some)
}

/// The 16 bytes before a message.
struct FrameHead {
    /// Bytes that follow.
    len: u32,
    /// How many of them the checksum covers.
    covered: u32,
    checksum: u32,
}

impl FrameHead {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.take(MAGIC.len()).ok()?;
        Some(Self { len: reader.u32().ok()?, covered: reader.u32().ok()?, checksum: reader.u32().ok()? })
    }

    fn whole(&self, frame_bytes_max: u32) -> Result<usize, WireError> {
        let whole = u64::from(self.len) + HEAD_BYTES as u64;
        if whole > u64::from(frame_bytes_max) {
            return Err(WireError::TooLong(self.len));
        }
        usize::try_from(whole).map_err(|_| WireError::TooLong(self.len))
    }

    /// What the checksum covers: the head without the checksum, and the front of what follows.
    fn covered<'a>(&self, frame: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), WireError> {
        let mut reader = Reader::new(frame);
        let lengths = reader.take(HEAD_BYTES - 4)?;
        reader.u32()?;
        let covered = usize::try_from(self.covered).map_err(|_| WireError::Malformed("cut short"))?;
        Ok((lengths, reader.take(covered)?))
    }
}

/// A frame whose checksum covers all of it; `tail` stays a part of its own unless it is empty.
fn with_covered(mut head: Vec<u8>, tail: &Bytes) -> Vec<Bytes> {
    let covered = head.len() - HEAD_BYTES + tail.len();
    put_head(&mut head, covered, covered, tail);
    let mut parts = Vec::with_capacity(2);
    parts.push(Bytes::from(head));
    if !tail.is_empty() {
        parts.push(tail.clone());
    }
    parts
}

/// A frame with records after what its checksum covers. Small ones are copied together.
fn with_records(mut head: Vec<u8>, records: &[Bytes]) -> Vec<Bytes> {
    let covered = head.len() - HEAD_BYTES;
    let follow: usize = records.iter().map(Bytes::len).sum();
    put_head(&mut head, covered + follow, covered, &[]);
    head.reserve_exact(records.iter().map(Bytes::len).filter(|len| *len <= COPIED_BYTES_MAX).sum());
    let mut parts = Vec::new();
    let mut run = head;
    for record in records {
        if record.len() <= COPIED_BYTES_MAX {
            run.put_slice(record);
        } else {
            if !run.is_empty() {
                parts.push(Bytes::from(core::mem::take(&mut run)));
            }
            parts.push(record.clone());
        }
    }
    if !run.is_empty() {
        parts.push(Bytes::from(run));
    }
    parts
}

fn put_head(frame: &mut [u8], len: usize, covered: usize, covered_tail: &[u8]) {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.put_slice(&MAGIC);
    head.put_u32_le(count_u32(len));
    head.put_u32_le(count_u32(covered));
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), frame.get(HEAD_BYTES..).unwrap_or_default());
    head.put_u32_le(crc32c::crc32c_append(checksum, covered_tail));
    if let Some(slot) = frame.get_mut(..HEAD_BYTES) {
        slot.copy_from_slice(&head);
    }
}

#[cfg(test)]
fn put_head_again(frame: &mut [u8]) {
    let covered = FrameHead::read(frame).map_or(0, |head| head.covered as usize);
    let (front, _) = frame.split_at_mut(HEAD_BYTES + covered);
    let len = front.len();
    put_head(front, len, covered, &[]);
}

impl From<Malformed> for WireError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}

impl From<RecordError> for WireError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Checksum => Self::Checksum,
            RecordError::Short => Self::Malformed("record cut short"),
            RecordError::TooLong(_) => Self::Malformed("record too long"),
            RecordError::Malformed(what) => Self::Malformed(what),
        }
    }
}
