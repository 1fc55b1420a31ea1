//! The network as the runtime sees it: streams that are dialled and accepted. Owns no protocol and no deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Builder;
use tokio::time::timeout;

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

    /// Connects to `address` (`host:port`), looking its name up anew. Where the name stands for several addresses, each
    /// `turn` begins with another one of them. [`io::ErrorKind::ConnectionRefused`] means that no process listens at any,
    /// [`io::ErrorKind::NotFound`] that the name stands for none.
    /// Has no deadline of its own.
    fn connect(
        &self,
        address: &str,
        turn: usize,
    ) -> impl Future<Output = io::Result<Connected<Self::Stream>>> + Send;

    /// Whether a host stands for an address here; none where names do not change, so that nobody has to ask.
    fn resolves(&self, host: &str) -> impl Future<Output = Option<bool>> + Send {
        let _ = host;
        async { None }
    }

    /// The exact address of this end of an accepted connection.
    fn reached_at(&self, stream: &Self::Stream) -> String;

    /// Runs the task that owns a node and its links: on a thread of its own where threads are real, as one task among
    /// others in simulation.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;
}

/// A connection that was made.
#[derive(Debug)]
pub struct Connected<S> {
    /// The connection.
    pub stream: S,
    /// The host that was asked for; the very address, if the name stands for several machines.
    pub peer_host: String,
    /// The exact address that was reached, `host:port`.
    pub reached: String,
}

/// The machine's network. Small messages are sent at once (`TCP_NODELAY`).
///
/// What names have stood for is remembered: where the name service says nothing, or nothing any more, a node is still looked for
/// where it was. Names fail when machines do, which is when the others have to find each other.
#[derive(Clone, Debug, Default)]
pub struct TokioNet {
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<String, Vec<IpAddr>>,
    /// What is being asked for in the background.
    asked: BTreeSet<String>,
}

/// Names that are remembered.
const NAMES_MAX: usize = 256;

/// How long a name service is waited for by who knows what the name stood for last: no longer than an election can wait. What
/// it says later counts from the next time on.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(20);

impl TokioNet {
    /// What `host:port` stands for now, or else what it stood for last.
    async fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        let host = host_of(address);
        let known = self.lock().known.get(host).cloned();
        let (Some(known), Some((_, port))) = (known, address.rsplit_once(':')) else {
            return self.ask(address.to_owned()).await;
        };
        let Ok(port) = port.parse() else { return self.ask(address.to_owned()).await };
        let last = || known.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if !self.lock().asked.insert(host.to_owned()) {
            return Ok(last());
        }
        let asking = tokio::spawn({
            let (net, address) = (self.clone(), address.to_owned());
            async move {
                let found = net.ask(address.clone()).await;
                net.lock().asked.remove(host_of(&address));
                found
            }
        });
        match timeout(LOOKUP_PATIENCE, asking).await {
            Ok(Ok(Ok(found))) if !found.is_empty() => Ok(found),
            _ => Ok(last()),
        }
    }

    /// Asks the name service, and remembers what it says.
    async fn ask(&self, address: String) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = lookup_host(&address).await?.collect();
        let host = host_of(&address);
        let mut names = self.lock();
        let has_room = names.known.len() < NAMES_MAX || names.known.contains_key(host);
        if is_name(host) && !found.is_empty() && has_room {
            names.known.insert(host.to_owned(), found.iter().map(SocketAddr::ip).collect());
        }
        drop(names);
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let _ = prepare(&stream);
        Ok((stream, peer))
    }

    async fn connect(&self, address: &str, turn: usize) -> io::Result<Connected<TcpStream>> {
        let unresolved = |error: io::Error| io::Error::new(io::ErrorKind::NotFound, error);
        let mut found = self.look_up(address).await.map_err(unresolved)?;
        found.sort_unstable();
        found.dedup();
        let first = turn % found.len().max(1);
        found.rotate_left(first);
        let mut failure: Option<io::Error> = None;
        for place in &found {
            match TcpStream::connect(place).await {
                Ok(stream) => {
                    prepare(&stream)?;
                    let peer_host = host_among(address, *place, &found);
                    return Ok(Connected { stream, peer_host, reached: exact(*place) });
                }
                // A name is refused only if all of its addresses are.
                Err(error) if failure.is_none() || error.kind() != io::ErrorKind::ConnectionRefused => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")))
    }

    async fn resolves(&self, host: &str) -> Option<bool> {
        let found = self.ask(format!("{host}:0")).await.unwrap_or_default();
        Some(!found.is_empty())
    }

    fn reached_at(&self, stream: &TcpStream) -> String {
        stream.local_addr().map(exact).unwrap_or_default()
    }

    /// With a runtime of its own: between a link's task and the driver nothing then has to wake another thread, which
    /// costs more than what most turns do.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(task)).map(drop)
    }
}

/// An address as text, the same on both ends of a connection that nobody forwards. The zone of a link-local address is a
/// number of this machine alone.
fn exact(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// The host of `address`, or the one place that was reached where the name stands for several machines: one machine may have
/// an address of each family.
fn host_among(address: &str, reached: SocketAddr, found: &[SocketAddr]) -> String {
    let several = found.iter().filter(|place| place.is_ipv4() == reached.is_ipv4()).count() > 1;
    if several { reached.ip().to_canonical().to_string() } else { host_of(address).to_owned() }
}

/// Most bytes that the system holds of a connection and has not begun to send: what is given to it cannot be overtaken. With
/// a piece of a long message that is all that a short one waits for, whatever the bandwidth.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 64 << 10;

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

/// The host of `host:port`, without the brackets of an IPv6 literal.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

/// Whether a host is a name, and no address that stands for itself; one may have a zone.
pub(crate) fn is_name(host: &str) -> bool {
    host.split('%').next().is_some_and(|host| host.parse::<IpAddr>().is_err())
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

    #[tokio::test]
    async fn a_name_that_stands_for_nothing_any_more_leads_where_it_led() {
        let net = TokioNet::default();
        // No resolver is asked for a label that long.
        let name = "n".repeat(70);
        let address = format!("{name}:5");
        net.look_up(&address).await.unwrap_err();
        net.lock().known.insert(name.clone(), vec!["10.0.0.1".parse().unwrap()]);
        let place: SocketAddr = "10.0.0.1:5".parse().unwrap();
        for _ in 0..2 {
            assert_eq!(net.look_up(&address).await.unwrap(), [place]);
        }
        assert_eq!(net.resolves(&name).await, Some(false), "it is told all the same");
        assert_eq!(net.resolves("localhost").await, Some(true));
        assert!(net.lock().known.contains_key("localhost"));
    }

    #[test]
    fn a_name_for_several_machines_is_not_the_name_of_one() {
        let places = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let one = places(&["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(host_among("localhost:1", one[0], &one), "localhost");
        let several = places(&["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(host_among("members:1", several[1], &several), "10.0.0.2");
        assert_eq!(exact("[::ffff:10.0.0.1]:1".parse().unwrap()), "10.0.0.1:1");
    }
}
