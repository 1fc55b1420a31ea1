//! Connections with a bandwidth. What a process sends waits in a queue and goes out as the driver's does
//! (`runtime/src/links/outgoing.rs`): everything short first, then one piece of what is long. Owns what waits, and when the
//! next of it goes; how what goes arrives is [`super::net`]'s.
//!
//! Each connection has the whole bandwidth of its way. A system takes a load while at most [`UNSENT_BYTES_MAX`] of the loads
//! before it have not gone out: these nothing overtakes.

use std::collections::VecDeque;

use synap_core::wire::PIECE_BYTES_MAX;

use super::net::{Item, Size, Wire};
use super::{Event, World};
use crate::oracle::{Fact, Kept};

/// What a system holds of a connection and has not sent when it takes more (`runtime/src/net.rs`).
const UNSENT_BYTES_MAX: u64 = 64 << 10;

/// A process that receives hears of a part of a long message this often at most (`runtime/src/links/link.rs`).
const PART_EVERY_US: u64 = 20_000;

/// A sender whose system takes nothing for so long gives the connection up.
const WRITE_TIMEOUT_US: u64 = 10_000_000;

/// What waits on one side of a connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    short: VecDeque<(Item, u64)>,
    /// With what is left of each.
    bulk: VecDeque<(Item, u64)>,
    /// Bytes of all of it, those of a message that is under way included.
    bytes: u64,
    /// Whether this side has let go: the end follows what waits.
    ends: bool,
    /// When all that the system was given is out.
    free_at: u64,
    /// When its receiver last heard of a part.
    told_at: u64,
    /// Whether the next load has its time.
    planned: bool,
    /// Since when the way has been blocked for the next load.
    blocked_since: Option<u64>,
}

/// What goes next.
struct Load {
    /// What becomes whole with it, after so many of its bytes.
    whole: Vec<(Item, u64)>,
    bytes: u64,
    /// The bytes before its data.
    short_bytes: u64,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.bulk.is_empty() && !self.ends
    }

    fn push(&mut self, item: Item, size: Size) {
        self.bytes += size.bytes;
        match item {
            Item::Fin => self.ends = true,
            _ if size.is_bulk => self.bulk.push_back((item, size.bytes)),
            _ => {
                self.forget_superseded(&item);
                self.short.push_back((item, size.bytes));
            }
        }
    }

    /// Of rounds that wait the newest goes.
    fn forget_superseded(&mut self, item: &Item) {
        let Item::Message(_, message) = item else { return };
        let is_older = |(earlier, _): &(Item, u64)| match earlier {
            Item::Message(_, earlier) => message.supersedes(earlier),
            Item::Part | Item::Garbage | Item::Endless | Item::Fin => false,
        };
        if let Some((_, bytes)) = self.short.iter().position(is_older).and_then(|at| self.short.remove(at)) {
            self.bytes -= bytes;
        }
    }

    /// What waits is lost.
    pub(super) fn clear(&mut self) {
        *self = Self { free_at: self.free_at, told_at: self.told_at, planned: self.planned, ..Self::default() };
    }

    /// When its receiver hears of parts of what goes between two times.
    fn parts(&mut self, from: u64, upto: u64) -> impl Iterator<Item = u64> + use<> {
        let first = from.max(self.told_at + PART_EVERY_US);
        let told = (first..=upto).step_by(PART_EVERY_US as usize);
        self.told_at = told.clone().last().unwrap_or(self.told_at);
        told
    }

    /// Everything short, and data up to one piece; what is longer than a piece goes alone. The end goes last.
    fn take(&mut self) -> Load {
        let mut load = Load { whole: Vec::new(), bytes: 0, short_bytes: 0 };
        for (item, bytes) in self.short.drain(..) {
            load.bytes += bytes;
            load.whole.push((item, load.bytes));
        }
        load.short_bytes = load.bytes;
        let piece = PIECE_BYTES_MAX as u64;
        let mut room = piece;
        while let Some((_, left)) = self.bulk.front_mut().filter(|(_, left)| *left <= room || room == piece) {
            let going = (*left).min(room);
            (*left, room, load.bytes) = (*left - going, room - going, load.bytes + going);
            if *left > 0 {
                break;
            }
            let (item, _) = self.bulk.pop_front().expect("it was there");
            load.whole.push((item, load.bytes));
        }
        self.bytes -= load.bytes;
        if self.short.is_empty() && self.bulk.is_empty() && std::mem::take(&mut self.ends) {
            load.whole.push((Item::Fin, load.bytes));
        }
        load
    }
}

/// How long so many bytes take; no time at all where there is no bound.
fn takes_us(bytes: u64, bytes_per_sec: u64) -> u64 {
    (bytes * 1_000_000).checked_div(bytes_per_sec).unwrap_or(0)
}

impl World<'_> {
    /// Whether what is pushed now has to wait for its turn.
    pub(super) fn is_slow(&self, conn: usize, side: usize) -> bool {
        let (from, to) = self.network.hosts(conn, side);
        self.network.rate(self.plan, from, to) > 0 || !self.network.way(conn, side).queue.is_empty()
    }

    /// Puts something into the queue of a side.
    pub(super) fn wait_in_line(&mut self, conn: usize, side: usize, item: Item, size: Size) {
        let queue = &mut self.network.way_mut(conn, side).queue;
        queue.push(item, size);
        let bytes = queue.bytes;
        let (node, _) = self.network.hosts(conn, side);
        self.see(&Fact::Keeps { node, kept: Kept::Outgoing, bytes });
        self.plan_load(conn, side);
    }

    fn plan_load(&mut self, conn: usize, dir: usize) {
        let (from, to) = self.network.hosts(conn, dir);
        let head_us = takes_us(UNSENT_BYTES_MAX, self.network.rate(self.plan, from, to));
        let queue = &mut self.network.way_mut(conn, dir).queue;
        if queue.planned || queue.is_empty() {
            return;
        }
        queue.planned = true;
        let at = queue.free_at.saturating_sub(head_us);
        self.at(at.max(self.now), Event::Load { conn, dir });
    }

    /// The system takes the next load of a side, unless its way is blocked: then it is full.
    pub(super) fn load(&mut self, conn: usize, dir: usize) {
        let (from, to) = self.network.hosts(conn, dir);
        let (blocked, rate) = (self.network.is_blocked(from, to), self.network.rate(self.plan, from, to));
        let now = self.now;
        let way = self.network.way_mut(conn, dir);
        way.queue.planned = false;
        if blocked || way.stalled {
            way.queue.blocked_since.get_or_insert(now);
            return;
        }
        way.queue.blocked_since = None;
        let Load { whole, bytes, short_bytes } = way.queue.take();
        let begins = way.queue.free_at.max(now);
        let at = |bytes: u64| begins + takes_us(bytes, rate);
        way.queue.free_at = at(bytes);
        let mut out: Vec<(u64, Item)> = whole.into_iter().map(|(item, upto)| (at(upto), item)).collect();
        if bytes > short_bytes {
            out.extend(way.queue.parts(at(short_bytes), at(bytes)).map(|at| (at, Item::Part)));
            out.sort_by_key(|(at, _)| *at);
        }
        for (at, item) in out {
            self.arrive(conn, dir, item, at);
        }
        self.plan_load(conn, dir);
    }

    /// A process ends, or gives up a connection at once: what waits is lost.
    pub(super) fn drop_queue(&mut self, wire: Wire) {
        if let Wire::Up { conn, side } = wire {
            self.network.way_mut(conn, side).queue.clear();
        }
    }

    /// The way is open again.
    pub(super) fn go_on_loading(&mut self, conn: usize, dir: usize) {
        if self.network.way_mut(conn, dir).queue.blocked_since.take().is_some() {
            self.plan_load(conn, dir);
        }
    }

    /// Whether the system has taken nothing for too long.
    pub(super) fn takes_nothing(&self, conn: usize, dir: usize) -> bool {
        let since = self.network.way(conn, dir).queue.blocked_since;
        since.is_some_and(|since| since + WRITE_TIMEOUT_US < self.now)
    }
}
