//! Long messages in pieces, so that short ones overtake them: a writer sends at most one piece before it looks whether
//! something short waits. Owns how a message is cut and put together again; what is in it is checked as if it had come whole.
//!
//! One long message at a time goes over a link, in order, so pieces need no names. Short messages go between them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::body::PIECE;
use super::{FRAME_BYTES_MAX, HEAD_BYTES, PIECE_FRAME_BYTES_MAX, Taken, WireError, decode, put_head, take_frame};
use crate::message::Message;

/// Most bytes of a message in one piece.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Type and whether it is the last.
const FIELDS_BYTES: usize = 2;
const _: () =
    assert!(HEAD_BYTES + FIELDS_BYTES + PIECE_BYTES_MAX <= PIECE_FRAME_BYTES_MAX as usize, "a piece fits");

/// A message on its way out, frame by frame.
#[derive(Debug)]
pub struct Pieces {
    parts: VecDeque<Bytes>,
    left: usize,
    whole: bool,
}

impl Pieces {
    /// The frames of a message: one, unless it is longer than a frame may be.
    pub fn of(message: &Message) -> Self {
        let parts: VecDeque<Bytes> = super::encode(message).into();
        let left = parts.iter().map(Bytes::len).sum();
        Self { parts, left, whole: left <= PIECE_BYTES_MAX }
    }

    /// Bytes of the message that have not gone yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The parts of the next frame; none when all have gone.
    pub fn next_frame(&mut self) -> Option<Vec<Bytes>> {
        if self.left == 0 {
            return None;
        }
        if self.whole {
            self.left = 0;
            return Some(core::mem::take(&mut self.parts).into());
        }
        let len = self.left.min(PIECE_BYTES_MAX);
        let last = len == self.left;
        let mut head = Vec::with_capacity(HEAD_BYTES + FIELDS_BYTES);
        head.put_bytes(0, HEAD_BYTES);
        head.put_u8(PIECE);
        head.put_u8(u8::from(last));
        put_head(&mut head, FIELDS_BYTES + len, FIELDS_BYTES, &[]);
        let mut frame = Vec::from([Bytes::from(head)]);
        let mut room = len;
        while let Some(part) = self.parts.front_mut().filter(|_| room > 0) {
            let taken = part.split_to(part.len().min(room));
            room -= taken.len();
            if part.is_empty() {
                self.parts.pop_front();
            }
            frame.push(taken);
        }
        self.left -= len;
        Some(frame)
    }
}

/// Messages as they come in, put together from their pieces.
#[derive(Debug, Default)]
pub struct Assembler {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Assembler {
    /// Takes the first message off `buffer` with its length, pieces before it included; none if more must come first, for
    /// which room is made. `message_bytes_max` bounds what is waited for: a peer that has not said who it is gets little.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: u32,
    ) -> Result<Option<(Message, usize)>, WireError> {
        let frame_bytes_max = PIECE_FRAME_BYTES_MAX.min(message_bytes_max);
        loop {
            let before = buffer.len();
            match take_frame(buffer, frame_bytes_max)? {
                None => return Ok(None),
                Some(Taken::Message(message)) => return Ok(Some((message, before - buffer.len()))),
                Some(Taken::Piece { bytes, last }) => {
                    self.keep(bytes, message_bytes_max)?;
                    if last {
                        return self.whole().map(Some);
                    }
                }
            }
        }
    }

    /// Bytes of a message that is not whole yet.
    pub fn waiting(&self) -> usize {
        self.len
    }

    fn keep(&mut self, bytes: Bytes, message_bytes_max: u32) -> Result<(), WireError> {
        if bytes.is_empty() {
            return Err(WireError::Malformed("empty piece"));
        }
        self.len += bytes.len();
        let bytes_max = message_bytes_max.min(FRAME_BYTES_MAX);
        if self.len > bytes_max as usize {
            return Err(WireError::TooLong(u32::try_from(self.len).unwrap_or(u32::MAX)));
        }
        self.pieces.push(bytes);
        Ok(())
    }

    /// In one allocation of just its length: what came in it lives on in the log, record by record.
    fn whole(&mut self) -> Result<(Message, usize), WireError> {
        let len = core::mem::take(&mut self.len);
        let mut whole = BytesMut::with_capacity(len);
        for piece in core::mem::take(&mut self.pieces) {
            whole.extend_from_slice(&piece);
        }
        match decode(&mut whole, FRAME_BYTES_MAX)? {
            Some(message) if whole.is_empty() => Ok((message, len)),
            Some(_) => Err(WireError::Malformed("more pieces than the message has")),
            None => Err(WireError::Malformed("fewer pieces than the message has")),
        }
    }
}
