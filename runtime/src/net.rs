//! The network as the runtime sees it: streams that are dialled and accepted. Owns no protocol and no deadline.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Where streams come from: sockets in production, a simulated network in simulation.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What accepts connections.
    type Listener: Send + Sync + 'static;

    /// Listens at `address` (`host:port`; port 0 takes a free one).
    fn bind(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Where it listens.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// The next connection, with the address that the peer is seen at.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Connects to `address` (`host:port`), looking its name up anew. [`io::ErrorKind::ConnectionRefused`] means
    /// that no process listens there. Has no deadline of its own.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Runs the task that owns a node and its links: on a thread of its own where threads are real, as one task among
    /// others in simulation.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;
}

/// The machine's network. Small messages are sent at once (`TCP_NODELAY`).
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        // A peer that is gone already has no options left to set; its first read tells.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// With a runtime of its own: between a link's task and the driver nothing then has to wake another thread, which
    /// costs more than what most turns do.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(task)).map(drop)
    }
}

/// The host of `host:port`, without the brackets of an IPv6 literal.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        assert_eq!(host_of("master-host:15501"), "master-host");
        assert_eq!(host_of("127.0.0.1:15501"), "127.0.0.1");
        assert_eq!(host_of("[::1]:15501"), "::1");
    }
}
