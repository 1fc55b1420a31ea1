//! Messages as frames on a stream: reading with a bound on what is waited for, writing with a deadline on progress. What is
//! put together from pieces is bounded by the longest message, twice that while it is copied into one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use synap_core::input::LinkLoss;
use synap_core::message::Message;
use synap_core::wire::{Assembler, FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX, WireError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What is read at once, at most. A frame's length is never believed: memory grows only with bytes that came.
const READ_BYTES: usize = 64 << 10;

/// A buffer with less room than this is left for a new one. What came in it lives on in the log, record by record: left
/// after each read, the buffers would hold many times the bytes that the log counts.
const ROOM_BYTES_MIN: usize = 8 << 10;

/// Reads messages.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    assembler: Assembler,
    message_bytes_max: u32,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Came {
    /// A message, with its length in bytes.
    Message(Message, usize),
    /// A part of one that is not whole yet.
    Part,
}

/// Why no message can be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The stream ended or broke.
    Ended,
    /// What came is no message.
    Garbage(WireError),
    /// It is an answer of an HTTP server.
    Http,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Until the first message has come, only a short one is waited for.
    pub(super) fn new(stream: R) -> Self {
        let assembler = Assembler::default();
        Self { stream, buffer: BytesMut::new(), assembler, message_bytes_max: HANDSHAKE_BYTES_MAX }
    }

    /// The next message, with its length in bytes. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<(Message, usize), ReadError> {
        loop {
            if let Came::Message(message, bytes) = self.come().await? {
                return Ok((message, bytes));
            }
        }
    }

    /// The next message, or the news that no more than a part of one has come. Dropping the future loses nothing.
    pub(super) async fn come(&mut self) -> Result<Came, ReadError> {
        if let Some(whole) = self.whole()? {
            return Ok(whole);
        }
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(ReadError::Ended),
            Ok(_) if self.is_http() => Err(ReadError::Http),
            Ok(_) => Ok(self.whole()?.unwrap_or(Came::Part)),
        }
    }

    /// Whether an HTTP server has answered the first message.
    fn is_http(&self) -> bool {
        self.message_bytes_max == HANDSHAKE_BYTES_MAX && self.buffer.starts_with(b"HTTP/1.")
    }

    fn whole(&mut self) -> Result<Option<Came>, ReadError> {
        let Some((message, bytes)) = self.assembler.take(&mut self.buffer, self.message_bytes_max)? else {
            return Ok(None);
        };
        self.message_bytes_max = FRAME_BYTES_MAX;
        Ok(Some(Came::Message(message, bytes)))
    }

    /// Bytes of a message that is not whole yet.
    pub(super) fn half(&self) -> usize {
        self.assembler.waiting() + self.buffer.len()
    }

    /// Takes and forgets whatever comes, until the stream ends.
    pub(super) async fn drain(&mut self) {
        self.buffer.clear();
        self.buffer.reserve(READ_BYTES);
        while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
            self.buffer.clear();
        }
    }
}

impl ReadError {
    pub(super) fn loss(&self) -> LinkLoss {
        match self {
            Self::Ended => LinkLoss::Closed,
            Self::Garbage(_) => LinkLoss::Garbage,
            Self::Http => LinkLoss::Http,
        }
    }
}

impl From<WireError> for ReadError {
    fn from(error: WireError) -> Self {
        Self::Garbage(error)
    }
}

/// Writes messages, several at once where they wait.
#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    stream: W,
    parts: Parts,
    /// Without any progress for this long the peer is stalled.
    patience: Duration,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(super) fn new(stream: W, patience: Duration) -> Self {
        Self { stream, parts: Parts::default(), patience }
    }

    /// Hands whole frames, given in parts, to the system.
    pub(super) async fn write(&mut self, frames: impl IntoIterator<Item = Bytes>) -> Result<(), LinkLoss> {
        self.parts.0.extend(frames.into_iter().filter(|part| !part.is_empty()));
        while self.parts.has_remaining() {
            let progress = timeout(self.patience, self.stream.write_buf(&mut self.parts)).await;
            match progress {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Err(LinkLoss::Closed),
                Err(_) => return Err(LinkLoss::Stalled),
            }
        }
        flush(&mut self.stream, self.patience).await
    }

    /// Tells the peer that nothing follows.
    pub(super) async fn close(&mut self) {
        // A peer that does not take it has the end of the connection coming anyway.
        let _ = timeout(self.patience, self.stream.shutdown()).await;
    }
}

async fn flush<W: AsyncWrite + Unpin>(stream: &mut W, patience: Duration) -> Result<(), LinkLoss> {
    let flushed: Result<io::Result<()>, _> = timeout(patience, stream.flush()).await;
    match flushed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(LinkLoss::Closed),
        Err(_) => Err(LinkLoss::Stalled),
    }
}

/// Parts of frames, none empty, written with as few calls as the system allows.
#[derive(Debug, Default)]
struct Parts(VecDeque<Bytes>);

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        self.0.iter().any(|part| !part.is_empty())
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|part| !part.is_empty()).map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.0.iter().filter(|part| !part.is_empty());
        slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(first) = self.0.front_mut() {
            if bytes < first.len() {
                return first.advance(bytes);
            }
            bytes -= first.len();
            self.0.pop_front();
        }
        assert!(bytes == 0, "advanced {bytes} bytes beyond the end");
    }
}

#[cfg(test)]
mod tests {
    use synap_core::message::Chunk;
    use synap_core::position::{Epoch, Index, Position};
    use synap_core::wire;

    use super::*;

    #[tokio::test]
    async fn an_http_server_is_told_from_other_garbage() {
        for (bytes, expected) in
            [(&b"HTTP/1.1 400 Bad Request\r\n"[..], LinkLoss::Http), (&[b'x'; 64], LinkLoss::Garbage)]
        {
            let (near, mut far) = tokio::io::duplex(READ_BYTES);
            far.write_all(bytes).await.unwrap();
            assert_eq!(FrameReader::new(near).next().await.unwrap_err().loss(), expected);
        }
    }

    #[tokio::test]
    async fn what_comes_in_little_by_little_fills_its_buffers() {
        let (near, far) = tokio::io::duplex(READ_BYTES);
        let mut reader = FrameReader::new(near);
        let mut writer = FrameWriter::new(far, Duration::from_secs(60));
        let (epoch, position) = (Epoch::default(), Position::ZERO);
        let chunk = Chunk { epoch, position, number: 0, bytes: Bytes::from_static(&[7; 100]), last: Index(1) };
        let message = Message::Chunk(chunk);
        let (mut kept, mut bytes, mut buffers) = (Vec::<Bytes>::new(), 0, 0);
        for _ in 0..1000 {
            writer.write(wire::encode(&message)).await.unwrap();
            let (Message::Chunk(chunk), len) = reader.next().await.unwrap() else { panic!("that was not sent") };
            let came = chunk.bytes;
            let follows = kept.last().is_some_and(|last| last.as_ptr().wrapping_add(len) == came.as_ptr());
            buffers += usize::from(!follows);
            bytes += len;
            kept.push(came);
        }
        assert!(buffers <= 1 + bytes / (READ_BYTES - ROOM_BYTES_MIN), "{buffers} for {bytes} bytes");
    }
}
