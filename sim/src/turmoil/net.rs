//! turmoil's network behind the runtime's [`Net`], made honest in two ways: a connection to a machine that cannot be
//! reached hangs (turmoil refuses it, and a refusal is the word of a living system), and every connection of a
//! machine can be broken at once.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use synap_runtime::net::Net;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use turmoil::net::{TcpListener, TcpStream};

use super::stage::Stage;

/// The network as one machine sees it.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    pub(super) stage: Arc<Stage>,
    /// Which machine.
    pub(super) here: usize,
}

/// A connection that can be broken from outside, and ends in order with the others when its process is killed.
pub(super) struct Breakable {
    /// None once it is dropped.
    stream: Option<TcpStream>,
    /// Its number among the machine's connections.
    number: u64,
    stage: Arc<Stage>,
    here: usize,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl SimNet {
    fn breakable(&self, stream: TcpStream) -> Breakable {
        let mut machines = self.stage.machines();
        let (cut, number) = match machines.get_mut(self.here) {
            Some(machine) => (machine.cut.clone(), machine.connection()),
            None => (CancellationToken::new(), 0),
        };
        let (stage, here) = (Arc::clone(&self.stage), self.here);
        Breakable { stream: Some(stream), number, stage, here, cut: Box::pin(cut.cancelled_owned()) }
    }
}

impl Net for SimNet {
    type Stream = Breakable;
    type Listener = TcpListener;

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(Breakable, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        Ok((self.breakable(stream), peer))
    }

    async fn connect(&self, address: &str) -> io::Result<Breakable> {
        let connected = TcpStream::connect(address).await;
        let there = address.strip_prefix('n').and_then(|rest| rest.split(':').next()?.parse().ok());
        let reached = there.is_none_or(|there| self.stage.roads().are_open(self.here, there));
        if !reached {
            // Neither a "yes" nor a "no" comes back.
            return pending().await;
        }
        connected.map(|stream| self.breakable(stream))
    }
}

impl Breakable {
    /// The stream, unless it is broken.
    fn whole(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match (self.cut.as_mut().poll(cx), &mut self.stream) {
            (Poll::Pending, Some(stream)) => Ok(Pin::new(stream)),
            (Poll::Pending | Poll::Ready(()), _) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let mut machines = self.stage.machines();
        match machines.get_mut(self.here) {
            Some(machine) if machine.is_killed => drop(machine.orphans.insert(self.number, stream)),
            Some(_) | None => {
                // The end of a connection may look at the machines.
                drop(machines);
                drop(stream);
            }
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().whole(cx)?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().whole(cx)?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().whole(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().whole(cx)?.poll_shutdown(cx)
    }
}

impl fmt::Debug for Breakable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakable").field("stream", &self.stream).finish_non_exhaustive()
    }
}
