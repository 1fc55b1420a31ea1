//! Connections in, requests out of them: the accept loop, and one connection's life on hyper. Owns no route.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::HttpServer;
use super::connections::{Mark, SWEEP};
use super::service::Service;
use crate::tasks::Tasks;

/// Longest head of a request: the request line with a key of the greatest length, percent-encoded, and headers.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// Most bytes of a connection that wait to be parsed.
const BUFFER_BYTES_MAX: usize = 320 * 1024;

/// Connections beyond the cap that are told so at once; further ones are just closed.
const TURNED_AWAY_MAX: usize = 64;

/// How long, and how much, a closed connection's rest is read, so that the peer sees the last answer instead of a
/// reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long nothing is accepted after accepting failed, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 144\r\n\r\n\
{\"type\":\"urn:synap:error:busy\",\"title\":\"Too much is in flight\",\"status\":503,\
\"detail\":\"all connections are taken\",\"code\":\"busy\",\"retry_after\":1}\n";

/// Accepts connections from `accept` and serves each in one of the `tasks`, until `stop` resolves. Then nothing is
/// accepted any more; what is open goes on until [`HttpServer::stop`].
///
/// `accept` gives a stream and what the peer is called in the log.
pub async fn serve<A, F, I>(tasks: Tasks, front: Arc<HttpServer>, mut accept: A, stop: impl Future<Output = ()>)
where
    A: FnMut() -> F,
    F: Future<Output = io::Result<(I, String)>>,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    tasks.spawn(sweep(Arc::downgrade(&front)));
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((io, peer)) => {
                let (front, turned_away) = (Arc::clone(&front), Arc::clone(&turned_away));
                tasks.spawn(async move {
                    if let Some(io) = serve_or_give_back(io, &peer, front).await {
                        turn_away(io, &turned_away).await;
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a client's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Keeps the deadlines of a front's connections for as long as it lives.
async fn sweep(front: Weak<HttpServer>) {
    let mut beat = tokio::time::interval(SWEEP);
    loop {
        beat.tick().await;
        let Some(front) = front.upgrade() else { return };
        front.connections.sweep();
    }
}

/// Serves one connection until it ends.
pub async fn serve_connection<I>(io: I, peer: String, front: Arc<HttpServer>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_or_give_back(io, &peer, front).await;
}

/// Serves one connection, or gives it back if there are too many.
async fn serve_or_give_back<I>(io: I, peer: &str, front: Arc<HttpServer>) -> Option<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(mut seat) = front.connections.enter() else { return Some(io) };
    let io = TokioIo::new(Watched { io, mark: Arc::clone(&seat.mark) });
    let service = Service::new(Arc::clone(&front), Arc::clone(&seat.mark));
    let mut connection = builder().serve_connection(io, service);
    let mut finishing = false;
    let served = poll_fn(|cx| {
        if Pin::new(&mut seat.kill).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if !finishing && Pin::new(&mut seat.finish).poll(cx).is_ready() {
            finishing = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx).map(Some)
    })
    .await;
    match served {
        Some(Ok(())) => linger(connection.into_parts().io.into_inner().io).await,
        Some(Err(error)) => {
            debug!(peer, %error, "a client's connection broke off");
            linger(connection.into_parts().io.into_inner().io).await;
        }
        None => debug!(peer, "a client's connection was ended: it did nothing for too long"),
    }
    None
}

/// Deadlines are kept by [`super::connections`], hence no timer of hyper's; it is set so that none can panic.
///
/// Answers are not gathered over pipelined requests (`pipeline_flush`): hyper would hold back one that is ready for as long
/// as part of the next request has come in, and drop it if that request turns out to be malformed. Who closes its sending
/// half after the last request still gets its answers.
fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .auto_date_header(false)
        .half_close(true)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
}

/// Ends a connection such that the peer can read the last answer: closing it with unread bytes would reset it.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) {
    let _ = tokio::time::timeout(LINGER, async {
        io.shutdown().await?;
        let mut buffer = [0; 4096];
        let mut left = LINGER_BYTES_MAX;
        loop {
            match io.read(&mut buffer).await? {
                0 => break,
                n if n > left => break,
                n => left -= n,
            }
        }
        io::Result::Ok(())
    })
    .await;
}

/// Says that there are too many connections.
async fn turn_away<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, seats: &Semaphore) {
    let Ok(_seat) = seats.try_acquire() else { return };
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, io.write_all(TURNED_AWAY)).await {
        linger(io).await;
    }
}

/// A stream that marks what happens on it.
struct Watched<I> {
    io: I,
    mark: Arc<Mark>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.mark.received();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.io).poll_write(cx, buf);
        this.mark.wrote(wrote.is_ready());
        wrote
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.mark.wrote(wrote.is_ready());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_gets_a_whole_answer() {
        let text = std::str::from_utf8(TURNED_AWAY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
