//! Links over real sockets, with peers that behave and peers that do not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use synap_core::message::{FetchTail, FetchedTail};
use synap_core::position::{Index, Position};
use synap_core::wire::{self, FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::net::TokioNet;

#[tokio::test]
async fn messages_arrive_in_order_and_both_ends_hear_of_the_end() {
    let mut server = Peer::listening(settings()).await;
    let mut client = Peer::new(settings());
    client.dial(server.address());
    let out = LinkId::dialled(1);
    assert_eq!(client.next().await, up(out, server.address()));
    for number in 1..=100 {
        assert_eq!(client.links.send(out, pull(number)), None);
    }
    client.links.carry_out(LinkAction::Close { link: out });
    let accepted = LinkId::accepted(0);
    assert_eq!(server.next().await, up(accepted, server.address()));
    for number in 1..=100 {
        assert_eq!(server.next().await, Input::Message { link: accepted, message: pull(number) });
    }
    assert_eq!(server.next().await, down(accepted, LinkLoss::Closed), "what was queued went out first");
}

#[tokio::test]
async fn a_port_without_a_process_refuses() {
    let listener = TokioNet::default().bind("127.0.0.1:0").await.unwrap();
    let address = TokioNet::default().local_address(&listener).unwrap();
    drop(listener);
    let mut client = Peer::new(settings());
    client.dial(address);
    assert_eq!(client.next().await, down(LinkId::dialled(1), LinkLoss::ConnectRefused));
}

#[tokio::test]
async fn a_dial_that_was_closed_is_never_heard_of_again() {
    let server = Peer::listening(settings()).await;
    let mut client = Peer::new(settings());
    client.dial(server.address());
    client.links.carry_out(LinkAction::Close { link: LinkId::dialled(1) });
    client.links.shared.open.close();
    client.links.shared.open.wait().await;
    while let Ok(report) = client.reports.try_recv() {
        assert_eq!(client.links.take(report), None);
    }
}

#[tokio::test]
async fn garbage_ends_the_link_and_is_counted() {
    let mut server = Peer::listening(settings()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: synap\r\n\r\n").await.unwrap();
    assert_eq!(server.next().await, up(LinkId::accepted(0), server.address()));
    assert_eq!(server.next().await, down(LinkId::accepted(0), LinkLoss::Garbage));
    assert_eq!(server.observed.rejected.load(Ordering::Relaxed), 1);
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn a_length_of_four_gigabytes_is_refused_before_and_after_the_handshake() {
    let mut server = Peer::listening(settings()).await;
    let frame: Vec<u8> = wire::encode(&pull(1)).concat();
    let head = 0..frame.len().min(64);
    // Whatever field holds the length: no four bytes of the head may be believed if they are all ones.
    for at in head.clone().filter(|at| at + 4 <= frame.len()) {
        let mut bad = frame.clone();
        bad[at..at + 4].fill(0xff);
        let link = LinkId::accepted(at as u64);
        let mut stream = server.connect().await;
        stream.write_all(&frame).await.unwrap();
        stream.write_all(&bad).await.unwrap();
        assert_eq!(server.next().await, up(link, server.address()));
        assert_eq!(server.next().await, Input::Message { link, message: pull(1) });
        assert_eq!(server.next().await, down(link, LinkLoss::Garbage), "byte {at}");
    }
    const { assert!(FRAME_BYTES_MAX < u32::MAX) };
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_closed_and_never_shown_to_the_node() {
    let server = Peer::listening(LinkSettings { handshake_timeout: Duration::from_millis(50), ..settings() });
    let mut server = server.await;
    let mut silent = server.connect().await;
    let mut halting = server.connect().await;
    let frame: Vec<u8> = wire::encode(&pull(1)).concat();
    halting.write_all(&frame[..frame.len() - 1]).await.unwrap();
    assert_closed(&mut silent).await;
    assert_closed(&mut halting).await;
    assert!(server.reports.try_recv().is_err());
    assert_eq!(server.observed.rejected.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_on_arrival() {
    let mut server = Peer::listening(LinkSettings { accepted_max: 2, ..settings() }).await;
    let _first = server.connect().await;
    let mut second = server.connect().await;
    let mut third = server.connect().await;
    assert_closed(&mut third).await;
    second.write_all(&wire::encode(&pull(1)).concat()).await.unwrap();
    let link = LinkId::accepted(1);
    assert_eq!(server.next().await, up(link, server.address()));
    assert_eq!(server.next().await, Input::Message { link, message: pull(1) });
    drop(second);
    assert_eq!(server.next().await, down(link, LinkLoss::Closed));
    let mut fourth = server.connect().await;
    // The place is free as soon as the task has ended, which is a moment after its last word.
    while fourth.write_all(&wire::encode(&pull(1)).concat()).await.is_err() || is_closed(&mut fourth).await {
        fourth = server.connect().await;
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_stalls() {
    let patience = Duration::from_millis(100);
    let server = Peer::listening(settings()).await;
    let listener = TokioNet::default().bind("127.0.0.1:0").await.unwrap();
    let address = TokioNet::default().local_address(&listener).unwrap();
    let mut client = Peer::new(LinkSettings { write_timeout: patience, ..settings() });
    client.dial(address);
    let _deaf = TokioNet::default().accept(&listener).await.unwrap();
    let link = LinkId::dialled(1);
    assert_eq!(client.next().await, up(link, address));
    for _ in 0..64 {
        assert_eq!(client.links.send(link, large(1 << 20)), None);
    }
    assert_eq!(client.next().await, down(link, LinkLoss::Stalled));
    drop(server);
}

#[tokio::test]
async fn a_queue_keeps_its_bound() {
    let listener = TokioNet::default().bind("127.0.0.1:0").await.unwrap();
    let address = TokioNet::default().local_address(&listener).unwrap();
    let mut client = Peer::new(LinkSettings { queue_bytes_max: 32 << 20, ..settings() });
    client.dial(address);
    let _deaf = TokioNet::default().accept(&listener).await.unwrap();
    let link = LinkId::dialled(1);
    assert_eq!(client.next().await, up(link, address));
    let lost = (0..64).find_map(|_| client.links.send(link, large(1 << 20)));
    assert_eq!(lost, Some(down(link, LinkLoss::Stalled)));
    assert_eq!(client.links.send(link, pull(1)), None, "it is gone");
}

/// One end, driven by hand.
struct Peer {
    links: Links<TokioNet>,
    reports: mpsc::Receiver<LinkReport>,
    observed: Arc<Observed>,
    address: Option<SocketAddr>,
    _accepting: Option<AbortOnDropHandle<()>>,
}

#[derive(Default)]
struct Observed {
    rejected: AtomicUsize,
}

impl Observer for Observed {
    fn peer_rejected(&self, _cause: &'static str) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

impl Peer {
    fn new(settings: LinkSettings) -> Self {
        let observed = Arc::<Observed>::default();
        let (links, reports) =
            Links::new(TokioNet::default(), settings, Tasks::default(), Arc::<Observed>::clone(&observed));
        Self { links, reports, observed, address: None, _accepting: None }
    }

    async fn listening(settings: LinkSettings) -> Self {
        let listener = TokioNet::default().bind("127.0.0.1:0").await.unwrap();
        let address = TokioNet::default().local_address(&listener).unwrap();
        let peer = Self::new(settings);
        let accepting = AbortOnDropHandle::new(tokio::spawn(peer.links.accept(listener)));
        Self { address: Some(address), _accepting: Some(accepting), ..peer }
    }

    fn address(&self) -> SocketAddr {
        self.address.expect("it listens")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    fn dial(&mut self, address: SocketAddr) {
        self.links.carry_out(LinkAction::Dial { link: LinkId::dialled(1), address: address.to_string() });
    }

    async fn next(&mut self) -> Input {
        loop {
            let report = timeout(Duration::from_secs(60), self.reports.recv()).await.expect("no report");
            if let Some(input) = self.links.take(report.unwrap()) {
                return input;
            }
        }
    }
}

fn settings() -> LinkSettings {
    LinkSettings::default()
}

fn pull(number: u64) -> Message {
    Message::FetchTail(FetchTail { after: Position { index: Index(number), ..Position::ZERO }, across: false })
}

/// No peer reads it, so it need not make sense to one.
fn large(bytes: usize) -> Message {
    Message::FetchedTail(FetchedTail { after: Position::ZERO, entries: vec![Bytes::from(vec![0; bytes])] })
}

/// Both ends are of one machine, and name the end that was dialled in the same way.
fn up(link: LinkId, at: SocketAddr) -> Input {
    Input::Link { link, change: LinkChange::Up { peer_host: at.ip().to_string(), reached: at.to_string() } }
}

fn down(link: LinkId, loss: LinkLoss) -> Input {
    Input::Link { link, change: LinkChange::Down(loss) }
}

async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("it stays open");
    assert!(rest.is_empty(), "{read:?} {rest:?}");
}

/// Whether the other end closes it within a moment.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    timeout(Duration::from_millis(50), stream.read(&mut byte)).await.is_ok()
}
