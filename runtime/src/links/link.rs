//! The task of one connection: makes it or is given it, reads and writes side by side, and reports how it ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use synap_core::ids::LinkId;
use synap_core::input::LinkLoss;
use synap_core::message::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::frames::{Came, FrameReader, FrameWriter, ReadError};
use super::outgoing::{Queue, queue};
use super::{INBOUND_BYTES_MAX, Incoming, LinkReport, News, Shared, Told};
use crate::net::{Connected, Net};

/// Why a peer that speaks something else is turned away.
const NO_MESSAGE: &str = "invalid message";

/// How often the node is told at most that a part of a message has come: often enough for the shortest heartbeats, and too
/// seldom to cost anything.
const PROGRESS_EVERY: Duration = Duration::from_millis(20);

/// How long a link that this side has closed waits for the peer to close it too. Closing with bytes unread resets
/// the connection, and the peer might never see the last message.
const LINGER: Duration = Duration::from_secs(1);

/// Dials `address` and runs the link, unless that is cancelled before it stands.
pub(super) async fn dial<N: Net>(shared: Shared<N>, link: LinkId, address: String, cancelled: CancellationToken) {
    let connect =
        timeout(shared.settings.connect_timeout, shared.net.connect(&address, shared.turns.next(&address)));
    let connected = tokio::select! {
        biased;
        () = cancelled.cancelled() => return,
        connected = connect => connected,
    };
    let loss = match connected {
        Ok(Ok(Connected { stream, peer_host, reached })) => {
            shared.unreachable.reached(&address);
            return run(&shared, link, stream, Start::Dialled { peer_host, reached }).await;
        }
        Ok(Err(error)) => {
            shared.unreachable.failed(&address, &error);
            dial_loss(&error)
        }
        Err(_) => {
            shared.unreachable.failed(&address, &"no connection in time");
            LinkLoss::ConnectFailed
        }
    };
    shared.report(link, News::Down(loss)).await;
}

/// Why a dial failed. A port of a process that dies may still take a connection and reset it before we have seen it stand:
/// that is a connection that was closed, and not a port that nobody can reach.
fn dial_loss(error: &io::Error) -> LinkLoss {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LinkLoss::ConnectRefused,
        io::ErrorKind::NotFound => LinkLoss::Unresolved,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LinkLoss::Closed,
        _ => LinkLoss::ConnectFailed,
    }
}

/// Runs a link that a peer has dialled. The node hears of it only when its first message has come.
pub(super) async fn accepted<N: Net>(shared: &Shared<N>, link: LinkId, stream: N::Stream, peer: SocketAddr) {
    run(shared, link, stream, Start::Accepted { peer }).await;
}

/// How a connection came to be.
enum Start {
    Dialled { peer_host: String, reached: String },
    Accepted { peer: SocketAddr },
}

async fn run<N: Net>(shared: &Shared<N>, link: LinkId, stream: N::Stream, start: Start) {
    let here = shared.net.reached_at(&stream);
    let (reading, writing) = tokio::io::split(stream);
    let mut reader = Reader::new(shared, link, FrameReader::new(reading));
    let first = match &start {
        Start::Dialled { .. } => None,
        Start::Accepted { peer } => match reader.first(*peer).await {
            Some(first) => Some(first),
            None => return,
        },
    };
    let (peer_host, reached) = match start {
        Start::Dialled { peer_host, reached } => (peer_host, reached),
        Start::Accepted { peer } => (peer.ip().to_canonical().to_string(), here),
    };
    let (outgoing, mut queue) = queue(shared.settings.queue_bytes_max);
    let cut = queue.cut();
    let incoming = Arc::clone(&reader.incoming);
    shared.report(link, News::Up { peer_host, reached, outgoing, incoming }).await;

    let mut writer = FrameWriter::new(writing, shared.settings.write_timeout);
    let loss = tokio::select! {
        biased;
        () = cut.cancelled() => return,
        loss = reader.run(first) => Some(loss),
        loss = write_all(&mut writer, &mut queue) => loss,
    };
    match loss {
        Some(loss) => shared.report(link, News::Down(loss)).await,
        None => {
            writer.close().await;
            // If the peer does not close it in time, so be it.
            let _ = timeout(LINGER, reader.frames.drain()).await;
        }
    }
}

/// Writes what is queued; none when the queue is closed and all of it is out.
async fn write_all<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, queue: &mut Queue) -> Option<LinkLoss> {
    while let Some(mut load) = queue.take().await {
        if let Err(loss) = writer.write(std::mem::take(&mut load.parts)).await {
            return Some(loss);
        }
        queue.sent(&load);
    }
    None
}

/// The reading side of a link.
struct Reader<'a, N, R> {
    shared: &'a Shared<N>,
    link: LinkId,
    frames: FrameReader<R>,
    /// Bytes of messages that may wait for the driver.
    room: Arc<Semaphore>,
    incoming: Arc<Incoming>,
    /// When the node was last told that something is coming in.
    told: Instant,
}

type First = Result<(Message, usize), ReadError>;

impl<'a, N: Net, R: AsyncRead + Unpin> Reader<'a, N, R> {
    fn new(shared: &'a Shared<N>, link: LinkId, frames: FrameReader<R>) -> Self {
        let room = Arc::new(Semaphore::new(INBOUND_BYTES_MAX));
        Self { shared, link, frames, room, incoming: Arc::default(), told: Instant::now() }
    }

    /// What an accepted peer says first; none if it says nothing whole in time, which is nobody's concern.
    async fn first(&mut self, peer: SocketAddr) -> Option<First> {
        let rejections = &self.shared.rejections;
        match timeout(self.shared.settings.handshake_timeout, self.frames.next()).await {
            Ok(Ok(first)) => Some(Ok(first)),
            Ok(Err(ReadError::Http)) => {
                rejections.note(peer.ip(), NO_MESSAGE, None);
                Some(Err(ReadError::Http))
            }
            Ok(Err(ReadError::Garbage(error))) => {
                rejections.note(peer.ip(), NO_MESSAGE, Some(error));
                Some(Err(ReadError::Garbage(error)))
            }
            Ok(Err(ReadError::Ended)) => {
                rejections.note(peer.ip(), "it closed the connection before its first message", None);
                None
            }
            Err(_) => {
                rejections.note(peer.ip(), "it sent no message in time", None);
                None
            }
        }
    }

    /// Hands on message after message until there is no more.
    async fn run(&mut self, first: Option<First>) -> LinkLoss {
        let mut next = match first {
            Some(first) => first,
            None => self.next().await,
        };
        loop {
            match next {
                Ok((message, bytes)) => self.hand_on(message, bytes).await,
                Err(error) => return error.loss(),
            }
            next = self.next().await;
        }
    }

    /// The next message. The node hears now and then that a long one is on its way.
    async fn next(&mut self) -> First {
        loop {
            let came = self.frames.come().await?;
            self.incoming.half.store(self.frames.half(), Ordering::Relaxed);
            match came {
                Came::Message(message, bytes) => return Ok((message, bytes)),
                Came::Part if self.told.elapsed() >= PROGRESS_EVERY => {
                    self.told = Instant::now();
                    self.shared.report(self.link, News::Progress).await;
                }
                Came::Part => {}
            }
        }
    }

    async fn hand_on(&mut self, message: Message, bytes: usize) {
        let permits = u32::try_from(bytes.min(INBOUND_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await.expect("never closed");
        self.incoming.whole.fetch_add(bytes, Ordering::Relaxed);
        self.shared.report(self.link, News::Message { message, bytes, _room: room }).await;
    }
}

impl<N> Shared<N> {
    async fn report(&self, link: LinkId, news: News) {
        // A driver that is gone wants no news.
        let _ = self.reports.send(LinkReport(Told::Of(link, news))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_that_was_reset_is_a_connection_that_was_closed() {
        let loss = |kind: io::ErrorKind| dial_loss(&kind.into());
        assert_eq!(loss(io::ErrorKind::ConnectionReset), LinkLoss::Closed);
        assert_eq!(loss(io::ErrorKind::ConnectionRefused), LinkLoss::ConnectRefused);
        assert_eq!(loss(io::ErrorKind::HostUnreachable), LinkLoss::ConnectFailed);
        assert_eq!(loss(io::ErrorKind::NotFound), LinkLoss::Unresolved);
    }
}
