//! The modelled network of level A: connections as two ordered streams of messages. What is on its way when a
//! partition begins waits for its end, or the stream stalls for ever; nothing is ever lost out of the middle.

use std::collections::VecDeque;

use bytes::BytesMut;
use synap_core::ids::LinkId;
use synap_core::input::{Input, LinkChange, LinkLoss};
use synap_core::message::Message;
use synap_core::wire::{self, FRAME_BYTES_MAX};

use super::slow::Queue;
use super::{Event, World};
use crate::dice::mix;
use crate::oracle::{Fact, Kept};
use crate::plan::Plan;
use crate::plan::config::REPLICATION_PORT;
use crate::plan::places::Named;
use crate::trace::{Step, fingerprint, is_foreign, kind_of, line_of, summary};

/// One side of a connection, as its process holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Dialled, no answer yet.
    Dialling,
    /// It stands.
    Up {
        /// Which connection.
        conn: usize,
        /// Which of its sides.
        side: usize,
    },
}

/// What became of a dial.
#[derive(Clone, Copy, Debug)]
pub(super) enum DialEnd {
    /// A connection.
    Up(usize),
    /// None.
    Down(LinkLoss),
}

/// Connections, and what is wrong with the ways between hosts.
#[derive(Debug)]
pub(super) struct Network {
    conns: Vec<Conn>,
    /// How many faults block the way from one host to another.
    blocked: Vec<Vec<u32>>,
    /// Messages so far, by way: a message's delay is a hash of its ordinal.
    ordinals: Vec<Vec<u64>>,
    /// How many faults garble what a host sends.
    garbled: Vec<u32>,
    /// Messages so far: their names in the trace.
    sent: u64,
    pub(super) slow_factor: u64,
    /// What faults let the way from one host to another carry, in bytes a second.
    rates: Vec<Vec<Option<u64>>>,
    /// Dials of each host to the name of all.
    turns: Vec<usize>,
}

#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    /// By sending side.
    ways: [Way; 2],
    /// Whether it leads through a proxy.
    proxied: bool,
}

#[derive(Debug)]
struct End {
    host: usize,
    life: u32,
    link: LinkId,
    open: bool,
    sees: Sees,
}

/// What a process is told of a connection that stands.
#[derive(Clone, Debug)]
struct Sees {
    peer_host: String,
    reached: String,
}

/// What a dialled address means.
#[derive(Debug)]
pub(super) struct Dial {
    to: usize,
    /// Whether anybody listens at its port, if a process runs.
    listens: bool,
    proxied: bool,
    near: Sees,
    far: Sees,
}

#[derive(Debug, Default)]
pub(super) struct Way {
    items: VecDeque<(u64, Item)>,
    last_due: u64,
    pub(super) stalled: bool,
    /// What has not gone out yet, where the way has a bandwidth.
    pub(super) queue: Queue,
    /// Chunks of a snapshot that were sent and are not said to be stored: their numbers and lengths.
    chunks: VecDeque<(u32, u64)>,
}

#[derive(Debug)]
pub(super) enum Item {
    /// With its number.
    Message(u64, Message),
    /// A part of a message that is not whole yet.
    Part,
    /// A frame that its receiver cannot believe.
    Garbage,
    /// A frame that says to be longer than anything that will come: its receiver waits.
    Endless,
    Fin,
}

/// How long a message is, and whether others overtake it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) is_bulk: bool,
}

/// One of so many messages of a node that garbles is damaged.
const GARBLED_ONE_IN: u64 = 8;

const CONNECT_TIMEOUT_US: u64 = 3_000_000;
const WRITE_TIMEOUT_US: u64 = 10_000_000;

impl Network {
    pub(super) fn new(plan: &Plan) -> Self {
        let nodes = plan.nodes();
        Self {
            conns: Vec::new(),
            blocked: vec![vec![0; nodes]; nodes],
            ordinals: vec![vec![0; nodes]; nodes],
            garbled: vec![0; nodes],
            sent: 0,
            slow_factor: 1,
            rates: vec![vec![None; nodes]; nodes],
            turns: vec![0; nodes],
        }
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from][to] > 0
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        self.blocked[from][to] += 1;
    }

    pub(super) fn unblock(&mut self, from: usize, to: usize) {
        self.blocked[from][to] -= 1;
    }

    /// What the way from one host to another carries, in bytes a second; 0: as much as anybody sends.
    pub(super) fn rate(&self, plan: &Plan, from: usize, to: usize) -> u64 {
        self.rates[from][to].unwrap_or(plan.network.bytes_per_sec)
    }

    pub(super) fn set_rate(&mut self, from: usize, to: usize, bytes_per_sec: Option<u64>) {
        self.rates[from][to] = bytes_per_sec;
    }

    pub(super) fn garble(&mut self, host: usize, begins: bool) {
        let faults = &mut self.garbled[host];
        *faults = if begins { *faults + 1 } else { *faults - 1 };
    }

    /// Whether the next message of a way is damaged; if so, with a draw of where. A hash, as its delay.
    fn damage(&self, plan: &Plan, from: usize, to: usize) -> Option<u64> {
        let drawn = mix(&[plan.seed, from as u64, to as u64, self.ordinals[from][to], 10]);
        (self.garbled[from] > 0 && drawn.is_multiple_of(GARBLED_ONE_IN)).then_some(drawn / GARBLED_ONE_IN)
    }

    /// The time of the next message's way. A hash, so that other faults do not reshuffle it.
    fn delay_us(&mut self, plan: &Plan, from: usize, to: usize) -> u64 {
        let ordinal = &mut self.ordinals[from][to];
        *ordinal += 1;
        let drawn = mix(&[plan.seed, from as u64, to as u64, *ordinal]);
        let span = plan.network.delay_us_max.saturating_sub(plan.network.delay_us_min) + 1;
        let delay = plan.network.delay_us_min + drawn % span;
        let straggles = mix(&[drawn, 1]) % 1000 < u64::from(plan.network.straggler_per_mille);
        delay * if straggles { 10 } else { 1 } * self.slow_factor
    }
}

impl World<'_> {
    /// Who is at a host now.
    pub(super) fn node_at(&self, host: &str) -> Option<usize> {
        match Named::read(host) {
            Named::Node(node) | Named::Proxy(node) => Some(node).filter(|node| *node < self.hosts.len()),
            Named::Place(place) => self.hosts.iter().position(|host| host.setup.place == place),
            Named::All | Named::Nobody => None,
        }
    }

    /// What an address means to a host that dials it now.
    fn means(&mut self, from: usize, address: &str) -> Option<Dial> {
        let (host, port) = address.rsplit_once(':')?;
        let named = Named::read(host);
        let to = if named == Named::All { self.in_turn(from) } else { self.node_at(host)? };
        let seen = |node: usize| self.plan.seen_at(node, self.hosts[node].setup.place);
        let (exact, proxied) = (format!("{}:{REPLICATION_PORT}", seen(to)), matches!(named, Named::Proxy(_)));
        let sees = |peer_host, reached| Sees { peer_host, reached };
        let near = match named {
            Named::All => sees(seen(to), exact.clone()),
            Named::Proxy(_) => sees(host.to_owned(), address.to_owned()),
            Named::Node(_) | Named::Place(_) | Named::Nobody => sees(host.to_owned(), exact.clone()),
        };
        let far = sees(if proxied { host.to_owned() } else { seen(from) }, exact);
        Some(Dial { to, listens: port == REPLICATION_PORT.to_string(), proxied, near, far })
    }

    /// The next node that the name of all stands for: one that answers, if any does.
    fn in_turn(&mut self, from: usize) -> usize {
        let nodes = self.hosts.len();
        self.network.turns[from] += 1;
        let first = self.network.turns[from];
        let answers = |node: &usize| self.hosts[*node].process.is_some() && !self.network.is_blocked(from, *node);
        (first..first + nodes).map(|turn| turn % nodes).find(answers).unwrap_or(first % nodes)
    }

    pub(super) fn dial(&mut self, host: usize, link: LinkId, address: &str) {
        self.note(&[10, host as u64, link.0, fingerprint(&address)], || Step::Link {
            node: host,
            text: format!("{link} dials {address}"),
        });
        let life = self.hosts[host].life;
        let Some(dial) = self.means(host, address) else {
            let end = DialEnd::Down(LinkLoss::ConnectFailed);
            return self.after(1_000, Event::DialEnds { host, life, link, end });
        };
        if let Some(process) = &mut self.hosts[host].process {
            process.links.insert(link, Wire::Dialling);
        }
        let delay = self.network.delay_us(self.plan, host, dial.to);
        self.after(delay, Event::Dialled { host, life, link, dial: Box::new(dial) });
    }

    pub(super) fn dialled(&mut self, host: usize, life: u32, link: LinkId, dial: Dial) {
        let to = dial.to;
        let cut = self.network.is_blocked(host, to) || self.network.is_blocked(to, host);
        if cut || !self.hosts[to].powered {
            let end = DialEnd::Down(LinkLoss::ConnectFailed);
            return self.after(CONNECT_TIMEOUT_US, Event::DialEnds { host, life, link, end });
        }
        let back = self.network.delay_us(self.plan, to, host);
        let accepting_life = self.hosts[to].life;
        let process = self.hosts[to].process.as_mut().filter(|_| dial.listens);
        let Some(process) = process else {
            let end = DialEnd::Down(LinkLoss::ConnectRefused);
            return self.after(back, Event::DialEnds { host, life, link, end });
        };
        process.accepted += 1;
        let accepted = LinkId::accepted(process.accepted);
        let conn = self.network.conns.len();
        process.links.insert(accepted, Wire::Up { conn, side: 1 });
        process.peers.insert(accepted, host);
        self.network.conns.push(Conn {
            ends: [
                End { host, life, link, open: true, sees: dial.near },
                End { host: to, life: accepting_life, link: accepted, open: true, sees: dial.far.clone() },
            ],
            proxied: dial.proxied,
            ways: [Way::default(), Way::default()],
        });
        let Sees { peer_host, reached } = dial.far;
        self.link_changes(to, accepted, LinkChange::Up { peer_host, reached });
        self.after(back, Event::DialEnds { host, life, link, end: DialEnd::Up(conn) });
    }

    pub(super) fn dial_ends(&mut self, host: usize, life: u32, link: LinkId, end: DialEnd) {
        let alive = self.hosts[host].life == life;
        let process = self.hosts[host].process.as_mut().filter(|_| alive);
        let wanted = process.as_ref().is_some_and(|process| process.links.contains_key(&link));
        match end {
            DialEnd::Up(conn) if wanted => {
                let Some(process) = process else { return };
                process.links.insert(link, Wire::Up { conn, side: 0 });
                process.peers.insert(link, self.network.conns[conn].ends[1].host);
                let Sees { peer_host, reached } = self.network.conns[conn].ends[0].sees.clone();
                self.link_changes(host, link, LinkChange::Up { peer_host, reached });
            }
            DialEnd::Up(conn) => self.hang_up(Wire::Up { conn, side: 0 }, false),
            DialEnd::Down(loss) => {
                if let Some(process) = process {
                    process.links.remove(&link);
                    self.link_changes(host, link, LinkChange::Down(loss));
                }
            }
        }
    }

    pub(super) fn close_link(&mut self, host: usize, link: LinkId) {
        self.note(&[11, host as u64, link.0], || Step::Link { node: host, text: format!("{link} is closed") });
        let Some(process) = &mut self.hosts[host].process else { return };
        if let Some(wire) = process.links.remove(&link) {
            self.hang_up(wire, false);
        }
    }

    /// A side lets go. What it sent still arrives, then the end; without power nothing does.
    pub(super) fn hang_up(&mut self, wire: Wire, power: bool) {
        let Wire::Up { conn, side } = wire else { return };
        let connection = &mut self.network.conns[conn];
        connection.ends[side].open = false;
        if power {
            connection.ways[side].items.clear();
            connection.ways[side].queue.clear();
        } else {
            self.push(conn, side, Item::Fin, Size::default());
        }
    }

    pub(super) fn send_on(&mut self, wire: Wire, message: Message) {
        let Wire::Up { conn, side } = wire else { return };
        let takes_codec = self.plan.knobs.through_codec || is_foreign(&message);
        let message = if takes_codec { through_codec(&message) } else { message };
        let (from, to) = self.network.hosts(conn, side);
        self.network.sent += 1;
        let number = self.network.sent;
        self.note(&[12, from as u64, to as u64, summary(&message)], || Step::Sent {
            message: number,
            from,
            to,
            kind: kind_of(&message),
            text: line_of(&message),
        });
        self.count_chunks(conn, side, &message);
        let size = if self.is_slow(conn, side) { size_of(&message) } else { Size::default() };
        let item = match self.network.damage(self.plan, from, to) {
            Some(drawn) => damaged(&message, drawn),
            None => Item::Message(number, message),
        };
        self.push(conn, side, item, size);
    }

    /// INV-12: how much of a snapshot is on its way to one replica.
    fn count_chunks(&mut self, conn: usize, side: usize, message: &Message) {
        let (node, _) = self.network.hosts(conn, side);
        let chunks = &mut self.network.conns[conn].ways[side].chunks;
        match message {
            Message::Welcome(_) => chunks.clear(),
            Message::Chunk(chunk) => {
                chunks.push_back((chunk.number, chunk.bytes.len() as u64));
                let bytes = chunks.iter().map(|(_, bytes)| bytes).sum();
                self.see(&Fact::Keeps { node, kept: Kept::Chunks, bytes });
            }
            _ => {}
        }
    }

    fn push(&mut self, conn: usize, side: usize, item: Item, size: Size) {
        if self.is_slow(conn, side) {
            self.wait_in_line(conn, side, item, size);
        } else {
            self.arrive(conn, side, item, self.now);
        }
    }

    /// What goes out then arrives in order, after its way.
    pub(super) fn arrive(&mut self, conn: usize, side: usize, item: Item, out_at: u64) {
        let (from, to) = self.network.hosts(conn, side);
        let delays = &self.plan.network.delays;
        let longer_ms = match &item {
            Item::Message(_, message) if !delays.is_empty() => delays.get(kind_of(message)).copied(),
            Item::Message(..) | Item::Part | Item::Garbage | Item::Endless | Item::Fin => None,
        };
        let delay = self.network.delay_us(self.plan, from, to) + longer_ms.unwrap_or(0) * 1000;
        let way = &mut self.network.conns[conn].ways[side];
        let due = (out_at + delay).max(way.last_due);
        way.last_due = due;
        way.items.push_back((due, item));
        self.at(due, Event::Deliver { conn, dir: side });
    }

    pub(super) fn deliver(&mut self, conn: usize, dir: usize) {
        let (from, to) = self.network.hosts(conn, dir);
        let blocked = self.network.is_blocked(from, to);
        let stalls = self.plan.network.stalls_for_ever;
        let connection = &mut self.network.conns[conn];
        let way = &mut connection.ways[dir];
        if way.stalled || way.items.front().is_none_or(|(due, _)| *due > self.now) {
            return;
        }
        if blocked {
            way.stalled = stalls;
            return;
        }
        let Some((_, item)) = way.items.pop_front() else { return };
        let end = &connection.ends[1 - dir];
        let (host, life, link) = (end.host, end.life, end.link);
        let open = end.open;
        let lives = self.hosts[host].life == life && self.hosts[host].process.is_some();
        let knows = |world: &Self| {
            world.hosts[host].process.as_ref().is_some_and(|process| process.links.contains_key(&link))
        };
        match item {
            Item::Message(number, message) if open && lives && knows(self) => {
                if let Message::SnapshotAck(stored) = &message {
                    let chunks = &mut self.network.conns[conn].ways[1 - dir].chunks;
                    chunks.retain(|(number, _)| *number >= stored.next_chunk());
                }
                let kind = kind_of(&message);
                self.note(&[13, host as u64, link.0], || Step::Heard { message: number, from, to, kind });
                self.put(host, Input::Message { link, message });
            }
            Item::Part if open && lives && knows(self) => {
                self.put(host, Input::Link { link, change: LinkChange::Progress });
            }
            Item::Garbage if open && lives && knows(self) => self.lose(conn, 1 - dir, LinkLoss::Garbage),
            Item::Endless if open => self.network.conns[conn].ways[dir].stalled = true,
            Item::Fin if open && lives && knows(self) => self.closed(conn, 1 - dir),
            // Nobody is there: the machine says so, if it has power.
            Item::Message(..) | Item::Part | Item::Garbage | Item::Endless
                if self.hosts[host].powered && !open =>
            {
                let back = self.network.delay_us(self.plan, to, from);
                self.after(back, Event::Closed { conn, side: dir });
            }
            Item::Message(..) | Item::Part | Item::Garbage | Item::Endless | Item::Fin => {}
        }
    }

    /// The side hears that the other is gone.
    pub(super) fn closed(&mut self, conn: usize, side: usize) {
        self.lose(conn, side, LinkLoss::Closed);
    }

    fn lose(&mut self, conn: usize, side: usize, loss: LinkLoss) {
        let end = &mut self.network.conns[conn].ends[side];
        let (host, life, link) = (end.host, end.life, end.link);
        if !end.open || self.hosts[host].life != life {
            return;
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.links.remove(&link).is_some() {
            self.drop_queue(Wire::Up { conn, side });
            self.hang_up(Wire::Up { conn, side }, false);
            self.link_changes(host, link, LinkChange::Down(loss));
        }
    }

    /// Every connection of a host breaks; both sides hear of it.
    pub(super) fn reset(&mut self, host: usize) {
        self.break_all(|conn| conn.ends.iter().any(|end| end.host == host));
    }

    /// Every connection that leads through the proxy of a host breaks.
    pub(super) fn reset_proxy(&mut self, host: usize) {
        self.break_all(|conn| conn.proxied && conn.ends[1].host == host);
    }

    fn break_all(&mut self, hit: impl Fn(&Conn) -> bool) {
        let count = self.network.conns.len();
        for conn in 0..count {
            let connection = &self.network.conns[conn];
            if hit(connection) && connection.ends.iter().all(|end| end.open) {
                self.closed(conn, 0);
                self.closed(conn, 1);
            }
        }
    }

    /// The ways are open again: what waited goes on.
    pub(super) fn reopen(&mut self) {
        for conn in 0..self.network.conns.len() {
            for dir in 0..2 {
                let waiting = self.network.conns[conn].ways[dir].items.len();
                for _ in 0..waiting {
                    self.after(1, Event::Deliver { conn, dir });
                }
                self.go_on_loading(conn, dir);
            }
        }
    }

    /// A sender whose stream takes nothing for long gives it up.
    pub(super) fn drop_stalled(&mut self) {
        for conn in 0..self.network.conns.len() {
            for dir in 0..2 {
                let front = self.network.conns[conn].ways[dir].items.front();
                let waits = front.is_some_and(|(due, _)| due + WRITE_TIMEOUT_US < self.now);
                if waits || self.takes_nothing(conn, dir) {
                    self.network.conns[conn].ways[dir].items.clear();
                    self.network.conns[conn].ways[dir].queue.clear();
                    self.lose(conn, dir, LinkLoss::Stalled);
                }
            }
        }
    }
}

impl Network {
    pub(super) fn way(&self, conn: usize, dir: usize) -> &Way {
        &self.conns[conn].ways[dir]
    }

    pub(super) fn way_mut(&mut self, conn: usize, dir: usize) -> &mut Way {
        &mut self.conns[conn].ways[dir]
    }

    pub(super) fn hosts(&self, conn: usize, side: usize) -> (usize, usize) {
        let ends = &self.conns[conn].ends;
        (ends[side].host, ends[1 - side].host)
    }
}

/// What becomes of a message of whose frame a bit is flipped on the way.
fn damaged(message: &Message, drawn: u64) -> Item {
    let mut frame = framed(message);
    let bit = usize::try_from(drawn % (frame.len() as u64 * 8)).unwrap_or_default();
    frame[bit / 8] ^= 1 << (bit % 8);
    match wire::decode(&mut frame, FRAME_BYTES_MAX) {
        Err(_) => Item::Garbage,
        Ok(None) => Item::Endless,
        Ok(Some(believed)) => panic!("bit {bit} of {message:?} is flipped, and {believed:?} is believed"),
    }
}

/// How long a message is on a wire.
fn size_of(message: &Message) -> Size {
    let bytes = wire::encode(message).iter().map(|part| part.len() as u64).sum();
    Size { bytes, is_bulk: message.is_bulk() }
}

fn framed(message: &Message) -> BytesMut {
    let mut frame = BytesMut::new();
    wire::encode(message).iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// The way that a message takes over a real wire.
fn through_codec(message: &Message) -> Message {
    let mut buffer = framed(message);
    match wire::decode(&mut buffer, u32::MAX) {
        Ok(Some(decoded)) => {
            assert!(is_foreign(message) || &decoded == message, "the wire codec gives back what it was given");
            decoded
        }
        other => panic!("the wire codec does not read what it wrote: {other:?}, {message:?}"),
    }
}
