//! turmoil's network behind the runtime's [`Net`], made honest in three ways: a connection to a machine that cannot be
//! reached hangs (turmoil refuses it, and a refusal is the word of a living system); it is the system that takes a
//! connection, whether its process runs or stands still; and every connection of a machine can be broken at once. What a
//! machine sends to other nodes can be garbled, and goes no faster than its way carries: turmoil takes whatever it is given, so
//! a writer waits here until what it wrote before would be out.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use synap_runtime::net::{Connected, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::AbortOnDropHandle;
use turmoil::net::{TcpListener, TcpStream};

use super::world::{Runs, World, name_of};
use crate::dice::mix;
use crate::plan::config::{HTTP_PORT, REPLICATION_PORT};
use crate::plan::places::{Named, place_ip};

/// The network as one machine sees it.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    pub(super) world: Arc<World>,
    /// Which machine.
    pub(super) here: usize,
}

/// A connection that can be broken from outside, and ends in order with the others when its process is killed.
pub(super) struct Breakable {
    /// None once it is dropped.
    stream: Option<TcpStream>,
    /// Its number among the machine's connections.
    number: u64,
    world: Arc<World>,
    here: usize,
    /// The machine at the other end, if it is a node.
    there: Option<usize>,
    /// Until what was written is out.
    sends: Option<Pin<Box<Sleep>>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The same of the proxy that it leads through, if it does.
    proxy_cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// It leads from node to node.
    is_replication: bool,
    /// Writes so far.
    writes: u64,
}

/// A port, and the connections that the system has taken there for the process.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    taken: Mutex<mpsc::Receiver<Taken>>,
    _taking: AbortOnDropHandle<()>,
}

/// What a dialled address means.
#[derive(Debug)]
struct Meant {
    there: usize,
    port: u16,
    proxied: bool,
    /// What the dialling process is told of the connection.
    peer_host: String,
    reached: String,
}

type Taken = io::Result<(Breakable, SocketAddr)>;

/// Connections that the system takes before the process asks for them.
const BACKLOG: usize = 128;

/// On a way with a bandwidth, what goes within this part of a second goes at once, but a segment at least.
const STEPS_PER_SEC: u64 = 200;
const SEGMENT_BYTES: u64 = 1_400;

/// One of so many writes of a machine that garbles is damaged.
const GARBLED_ONE_IN: u64 = 8;

impl SimNet {
    fn breakable(&self, stream: TcpStream, port: u16, there: Option<usize>) -> Breakable {
        let mut machines = self.world.machines();
        let (cut, number) = match machines.get_mut(self.here) {
            Some(machine) => (machine.cut.clone(), machine.connection()),
            None => (CancellationToken::new(), 0),
        };
        let (world, here) = (Arc::clone(&self.world), self.here);
        let (cut, is_replication) = (Box::pin(cut.cancelled_owned()), port == REPLICATION_PORT);
        Breakable {
            stream: Some(stream),
            number,
            world,
            here,
            there,
            sends: None,
            cut,
            proxy_cut: None,
            is_replication,
            writes: 0,
        }
    }

    /// What an address means to this machine now, in the words of level A; none if nobody is there.
    fn means(&self, address: &str, turn: usize) -> Option<Meant> {
        let (host, port) = address.rsplit_once(':')?;
        let named = Named::read(host);
        let there = if named == Named::All { self.in_turn(turn) } else { self.world.node_at(host)? };
        let exact = format!("{}:{port}", self.world.seen_at(there));
        let (peer_host, reached) = match named {
            Named::All => (self.world.seen_at(there), exact),
            Named::Proxy(_) => (host.to_owned(), address.to_owned()),
            Named::Node(_) | Named::Place(_) | Named::Nobody => (host.to_owned(), exact),
        };
        let port = port.parse().ok()?;
        Some(Meant { there, port, proxied: matches!(named, Named::Proxy(_)), peer_host, reached })
    }

    /// The next node that the name of all stands for: one that answers, if any does.
    fn in_turn(&self, turn: usize) -> usize {
        let nodes = self.world.plan.nodes();
        let serves = |node: &usize| self.world.machines()[*node].runs == Runs::Server;
        let answers = |node: &usize| serves(node) && self.world.roads().are_open(self.here, *node);
        (turn..turn + nodes).map(|turn| turn % nodes).find(answers).unwrap_or(turn % nodes)
    }

    /// Where a peer is seen that the system has taken a connection from.
    fn seen(&self, peer: SocketAddr) -> SocketAddr {
        let name = turmoil::reverse_lookup(peer.ip());
        let node = name.and_then(|name| self.world.node_at(&name)).filter(|_| self.world.plan.shows_places());
        node.map_or(peer, |node| SocketAddr::new(place_ip(self.world.place(node)), peer.port()))
    }

    /// Takes connections for as long as anybody may want them.
    async fn take(self, listener: TcpListener, port: u16, backlog: mpsc::Sender<Taken>) {
        loop {
            let taken = listener.accept().await;
            let taken = taken.map(|(stream, peer)| {
                let there = turmoil::reverse_lookup(peer.ip()).and_then(|name| self.world.node_at(&name));
                (self.breakable(stream, port, there), self.seen(peer))
            });
            if backlog.send(taken).await.is_err() {
                return;
            }
        }
    }
}

impl Net for SimNet {
    type Stream = Breakable;
    type Listener = Port;

    async fn bind(&self, address: &str) -> io::Result<Port> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (backlog, taken) = mpsc::channel(BACKLOG);
        let taking = tokio::spawn(self.clone().take(listener, address.port(), backlog));
        Ok(Port { address, taken: Mutex::new(taken), _taking: AbortOnDropHandle::new(taking) })
    }

    fn local_address(&self, port: &Port) -> io::Result<SocketAddr> {
        Ok(port.address)
    }

    async fn accept(&self, port: &Port) -> io::Result<(Breakable, SocketAddr)> {
        let taken = port.taken.lock().await.recv().await;
        taken.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    async fn connect(&self, address: &str, turn: usize) -> io::Result<Connected<Breakable>> {
        let Some(Meant { there, port, proxied, peer_host, reached }) = self.means(address, turn) else {
            return Err(io::ErrorKind::HostUnreachable.into());
        };
        let connected = TcpStream::connect((name_of(there), port)).await;
        if !self.world.roads().are_open(self.here, there) {
            // Neither a "yes" nor a "no" comes back.
            return pending().await;
        }
        let mut stream = self.breakable(connected?, port, Some(there));
        if proxied {
            let cut = self.world.machines()[there].proxy_cut.clone();
            stream.proxy_cut = Some(Box::pin(cut.cancelled_owned()));
        }
        Ok(Connected { stream, peer_host, reached })
    }

    fn reached_at(&self, stream: &Breakable) -> String {
        let port = if stream.is_replication { REPLICATION_PORT } else { HTTP_PORT };
        format!("{}:{port}", self.world.seen_at(stream.here))
    }

    fn spawn(_name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        tokio::spawn(task);
        Ok(())
    }
}

impl Breakable {
    /// The stream, unless it is broken.
    fn whole(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        let cut = self.cut.as_mut().poll(cx).is_ready();
        let cut = cut || self.proxy_cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready());
        match (cut, &mut self.stream) {
            (false, Some(stream)) => Ok(Pin::new(stream)),
            (true | false, _) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Breakable {
    /// What the way to the other end carries, in bytes a second; none: as much as anybody sends.
    fn rate(&self) -> Option<u64> {
        let there = self.there.filter(|_| self.is_replication)?;
        let rate = self.world.roads().rate(self.here, there).unwrap_or(self.world.plan.network.bytes_per_sec);
        (rate > 0).then_some(rate)
    }

    /// The same bytes with a bit flipped, if these are to be damaged on their way.
    fn garbled(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let garbles = self.world.machines().get(self.here).is_some_and(|machine| machine.garbled > 0);
        let drawn = mix(&[self.world.plan.seed, self.here as u64, self.number, self.writes, 10]);
        if !garbles || !self.is_replication || bytes.is_empty() || !drawn.is_multiple_of(GARBLED_ONE_IN) {
            return None;
        }
        let mut garbled = bytes.to_vec();
        let bit = (drawn / GARBLED_ONE_IN) as usize % (bytes.len() * 8);
        garbled[bit / 8] ^= 1 << (bit % 8);
        Some(garbled)
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let mut machines = self.world.machines();
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
        let this = self.get_mut();
        if let Some(sends) = &mut this.sends {
            ready!(sends.as_mut().poll(cx));
            this.sends = None;
        }
        let rate = this.rate();
        let most = rate.map_or(buf.len(), |rate| (rate / STEPS_PER_SEC).max(SEGMENT_BYTES) as usize);
        let buf = &buf[..buf.len().min(most)];
        let garbled = this.garbled(buf);
        let written = this.whole(cx)?.poll_write(cx, garbled.as_deref().unwrap_or(buf));
        this.writes += u64::from(written.is_ready());
        if let (Some(rate), Poll::Ready(Ok(bytes))) = (rate, &written) {
            let takes = Duration::from_micros(*bytes as u64 * 1_000_000 / rate);
            this.sends = Some(Box::pin(sleep(takes)));
        }
        written
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
