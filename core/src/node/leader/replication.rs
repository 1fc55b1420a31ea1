//! What a master sends to its replicas each turn: entries, commits, heartbeats, snapshot chunks. One log serves all
//! streams; a slow replica lags and costs the master nothing.

use alloc::vec::Vec;

use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::LinkId;
use crate::log::Log;
use crate::message::{Append, Chunk, Message, SyncPlan};
use crate::node::leader::handover::Handover;
use crate::node::leader::pace::Pace;
use crate::node::leader::{Master, Progress, ReplicaStream, StreamMode};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::planted::Planted;
use crate::position::{Epoch, Index, Position};
use crate::time::{Time, WallMs};
use crate::wire::PIECE_BYTES_MAX;

/// Most bytes of records in one append, unless a single one is longer: on a link it goes in one piece.
pub(in crate::node) const APPEND_BYTES_MAX: usize = PIECE_BYTES_MAX - (1 << 10);
/// Most bytes on their way to one replica that it has not said to hold (INV-12).
pub(in crate::node) const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// Most chunks on their way to one replica. A replica takes them together and syncs them together, and each of these
/// pieces of work delays whoever else needs that processor or disk: a few are enough to keep it busy.
const CHUNKS_IN_FLIGHT_MAX: u32 = 4;
/// A transfer rests no more once this part of the log in memory was written since its state was taken.
const REST_TAIL_SHARE: u64 = 4;

impl Node {
    pub(in crate::node) fn stream(&mut self, out: &mut Output) {
        let (upto, heartbeat, leads) = (self.may_leave_upto(), self.round_interval(), self.holds_lease());
        let log_time = self.log_time();
        let Role::Master(master) = &mut self.role else { return };
        if master.start.is_none() || master.handover.as_ref().is_some_and(Handover::has_left) {
            return;
        }
        let Master { streams, progress, epoch, rounds, round_wanted, .. } = master;
        let (round, wanted) = (*rounds + 1, core::mem::take(round_wanted));
        let mut late: Vec<LinkId> = Vec::new();
        let mut sent = (0, 0);
        for (link, stream) in streams {
            let known = progress.get(&stream.node).copied().unwrap_or_default();
            let (log, committed, now) = (&self.log, self.committed, self.now.mono);
            let (tail_bytes_max, chunk_bytes) = (self.config.tail_bytes_max, self.config.chunk_bytes);
            let planted = self.config.planted;
            let ctx = Sender {
                planted,
                log,
                epoch: *epoch,
                committed,
                upto,
                round,
                leads,
                tail_bytes_max,
                chunk_bytes,
                now,
                log_time,
            };
            let due = wanted || stream.sent_at + heartbeat <= now;
            match &mut stream.mode {
                StreamMode::Probe if due => out.sends.push((*link, ctx.heartbeat(stream))),
                StreamMode::Probe => {}
                StreamMode::Stream { next, .. } if *next <= self.log.base().index => late.push(*link),
                StreamMode::Stream { .. } => ctx.stream(*link, stream, known, due, &mut sent, out),
                StreamMode::Snapshot { .. } => ctx.chunks(*link, stream, due, out),
            }
            if let StreamMode::Snapshot { writer, .. } = &stream.mode {
                self.snapshots.remember_cuts(writer);
            }
        }
        *rounds = round;
        self.counters.operations_out += sent.0;
        self.counters.bytes_out += sent.1;
        for link in late {
            self.resync(link, out);
        }
    }

    /// A replica has fallen behind the log in memory: it gets a snapshot.
    fn resync(&mut self, link: LinkId, out: &mut Output) {
        let position = self.transfer_position();
        let writer = self.transfer(position, 0);
        let Role::Master(master) = &mut self.role else { return };
        let Some(stream) = master.streams.get_mut(&link) else { return };
        stream.mode = StreamMode::Snapshot { writer, stored: 0, pace: Pace::default() };
        let (node, name) = (stream.node, stream.member.name.clone());
        self.coverage.mark(Mark::FellBehindMemory);
        self.counters.full_syncs += 1;
        out.events.push(Event::ReplicaJoined { node, name, full_sync: true });
        self.welcome(link, SyncPlan::Snapshot { position, next_chunk: 0 }, out);
    }
}

/// What sending needs to know besides the stream.
struct Sender<'a> {
    log: &'a Log,
    epoch: Epoch,
    committed: Index,
    /// What may leave.
    upto: Index,
    round: u64,
    /// Whether nobody else can lead now, so that this log's end is all there is.
    leads: bool,
    tail_bytes_max: u64,
    chunk_bytes: usize,
    planted: Planted,
    now: Time,
    log_time: WallMs,
}

impl Sender<'_> {
    fn stream(
        &self,
        link: LinkId,
        stream: &mut ReplicaStream,
        known: Progress,
        due: bool,
        sent: &mut (u64, u64),
        out: &mut Output,
    ) {
        let mut quiet = true;
        while let StreamMode::Stream { window, next } = &mut stream.mode {
            window.held(if self.planted.sent_counts_as_held() { next.prev() } else { known.durable });
            if *next > self.upto || !window.is_open() {
                break;
            }
            let mut entries = self.log.records_from(*next, APPEND_BYTES_MAX);
            entries.truncate(usize::try_from(self.upto.ahead_of(next.prev())).unwrap_or(usize::MAX));
            let (count, bytes) = (entries.len() as u64, entries.iter().map(|entry| entry.len() as u64).sum());
            sent.0 += count;
            sent.1 += bytes;
            let prev = next.prev();
            *next = Index(next.0 + count);
            window.sent(next.prev(), bytes);
            out.sends.push((link, self.append(stream, prev, entries)));
            quiet = false;
        }
        let StreamMode::Stream { next, window } = &stream.mode else { return };
        let last = next.prev();
        // A round that goes with entries arrives when they do. With more than one piece on its way that may be too late for
        // the lease, so a round of its own overtakes them.
        let with_entries =
            !quiet && (window.bytes() <= PIECE_BYTES_MAX as u64 || self.planted.rounds_behind_bulk());
        if with_entries {
            stream.sent_at = self.now;
        }
        // While some of what it was sent is not committed, another commit follows, and tells of this one too.
        let news = self.committed >= last && stream.committed_sent < last;
        if due && !with_entries || quiet && news {
            out.sends.push((link, self.round(stream, last)));
        }
    }

    fn append(&self, stream: &mut ReplicaStream, prev: Index, entries: Vec<bytes::Bytes>) -> Message {
        let epoch = self.log.epoch_at(prev).unwrap_or_default();
        stream.committed_sent = self.committed;
        Message::Append(Append {
            epoch: self.epoch,
            prev: Position { epoch, index: prev },
            entries,
            committed: self.committed,
            last: self.log.last().index,
            round: self.round,
            sent: self.now.0,
            echo: if self.leads { stream.clock } else { 0 },
            log_time: self.log_time,
        })
    }

    /// A round that carries nothing, and overtakes what does.
    fn round(&self, stream: &mut ReplicaStream, prev: Index) -> Message {
        stream.sent_at = self.now;
        self.append(stream, prev, Vec::new())
    }

    /// Whether a transfer of the state at `position` may take its time: what is written meanwhile must not leave the log
    /// in memory before the replica has come for it.
    fn may_rest(&self, position: Index) -> bool {
        self.log.bytes_between(position, self.log.last().index) < self.tail_bytes_max / REST_TAIL_SHARE
    }

    /// A sign of life that carries no entries, for a replica whose log does not agree yet.
    fn heartbeat(&self, stream: &mut ReplicaStream) -> Message {
        self.round(stream, Index::ZERO)
    }

    fn chunks(&self, link: LinkId, stream: &mut ReplicaStream, due: bool, out: &mut Output) {
        let last = self.log.last().index;
        while let StreamMode::Snapshot { writer, stored, pace } = &mut stream.mode {
            let (number, position) = (writer.next_chunk(), writer.position());
            let in_flight = number.saturating_sub(*stored);
            let rest = pace.rest(last).filter(|_| self.may_rest(position.index));
            let may_go = match rest {
                Some(until) => in_flight == 0 && until <= self.now,
                None => in_flight < CHUNKS_IN_FLIGHT_MAX || self.planted.chunks_unbounded(),
            };
            if !may_go {
                break;
            }
            let Some(bytes) = writer.chunk(self.chunk_bytes) else { break };
            pace.send(self.now, last);
            out.sends.push((link, Message::Chunk(Chunk { epoch: self.epoch, position, number, bytes, last })));
        }
        if due {
            let message = self.heartbeat(stream);
            out.sends.push((link, message));
        }
    }
}
