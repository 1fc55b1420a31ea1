//! Snapshots of this node's own store, for its disk and for replicas. Taken without stopping anything: the store's
//! view never changes, and each turn cuts a few chunks of it. Owns the snapshot lane of the disk.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::RequestId;
use crate::node::follower::snapshot_install::Repair;
use crate::node::leader::StreamMode;
use crate::node::{Node, Role, history_before};
use crate::output::{Output, Refusal, Reply};
use crate::position::{Index, Position};
use crate::snapshot::{SnapshotMeta, SnapshotWriter};
use crate::time::Time;
use crate::wal::{FileWrite, GivenUp, Lane, WriteBatch};

mod incoming;

use incoming::Incoming;

/// Most chunks of an own snapshot on their way to the disk.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;
/// How many snapshot files are kept when no policy says so.
const KEPT: u32 = 2;
/// How long a snapshot made for replicas is kept for the next one, or for one that comes back.
const TRANSFER_KEPT: Duration = Duration::from_secs(30);

/// Snapshots on disk, in the making and in transfer.
#[derive(Clone, Debug)]
pub(in crate::node) struct Snapshots {
    /// On disk, oldest first.
    durable: Vec<Position>,
    /// About how long the newest of those is.
    newest_bytes: u64,
    taking: Option<Taking>,
    /// Who waits for the next one to begin.
    wanted: Vec<RequestId>,
    last_at: Time,
    /// One was due since the process started.
    was_due: bool,
    /// Bytes logged since the last one began.
    logged: u64,
    transfer: Option<Transfer>,
    incoming: Incoming,
    files: Vec<FileWrite>,
    parts: Vec<Part>,
    flying: VecDeque<(u64, Vec<Part>)>,
    next_batch: u64,
}

/// A snapshot that is being written to this disk.
#[derive(Clone, Debug)]
struct Taking {
    writer: SnapshotWriter,
    for_requests: Vec<RequestId>,
    cut_whole: bool,
    /// How much of it has been cut.
    cut_bytes: u64,
}

/// A snapshot that replicas get.
#[derive(Clone, Debug)]
struct Transfer {
    writer: SnapshotWriter,
    used: Time,
}

/// What a batch of the snapshot lane holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    OwnChunk {
        /// Its length.
        bytes: u64,
    },
    OwnDone(Position),
    /// Of an own snapshot that was given up.
    Void,
    MastersChunk {
        position: Position,
        next: u32,
        bytes: u64,
    },
    MastersDone(Position),
}

impl Snapshots {
    /// `logged` bytes of log go on from the newest of those on disk, which is `newest_bytes` long.
    pub(in crate::node) fn new(durable: Vec<Position>, newest_bytes: u64, logged: u64, now: Time) -> Self {
        Self {
            durable,
            newest_bytes,
            taking: None,
            wanted: Vec::new(),
            last_at: now,
            was_due: false,
            logged,
            transfer: None,
            incoming: Incoming::default(),
            files: Vec::new(),
            parts: Vec::new(),
            flying: VecDeque::new(),
            next_batch: 1,
        }
    }

    /// The newest one on disk.
    pub(in crate::node) fn newest(&self) -> Option<Position> {
        self.durable.last().copied()
    }

    /// Of those on disk the newest alone is kept.
    pub(in crate::node) fn keep_newest(&mut self) {
        let older = self.durable.len().saturating_sub(1);
        self.durable.drain(..older);
    }

    /// Whether one of the own state is on its way to the disk.
    pub(in crate::node) fn is_writing_own(&self) -> bool {
        self.taking.is_some() || self.own_in_flight() > 0
    }

    /// Whether one of the own state is being written.
    pub(in crate::node) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Whether one was due since the process started.
    pub(in crate::node) fn was_due(&self) -> bool {
        self.was_due
    }

    /// Bytes were logged.
    pub(in crate::node) fn logged(&mut self, bytes: u64) {
        self.logged += bytes;
    }

    /// Somebody wants one that begins from now on.
    pub(in crate::node) fn want(&mut self, id: RequestId) {
        self.wanted.push(id);
    }

    /// Those on disk that hold more than the log does once it ends, or begins anew, at `index`: of what is taken out of it.
    pub(in crate::node) fn discard_beyond(&mut self, index: Index) -> Vec<Index> {
        let (kept, gone): (Vec<_>, Vec<_>) = self.durable.iter().partition(|position| position.index <= index);
        self.durable = kept;
        gone.into_iter().map(|position| position.index).collect()
    }

    /// Takes out who waits for one, begun or not.
    fn waiting(&mut self) -> Vec<RequestId> {
        let mut all = core::mem::take(&mut self.wanted);
        if let Some(taking) = &mut self.taking {
            all.append(&mut taking.for_requests);
        }
        all
    }

    /// Nobody waits for it any more.
    pub(in crate::node) fn cancel(&mut self, id: RequestId) {
        self.wanted.retain(|wanted| *wanted != id);
    }

    /// Learns where the writer of a stream has cut, since its stream ends with its link, and the transfer may go on.
    pub(in crate::node) fn remember_cuts(&mut self, writer: &SnapshotWriter) {
        if let Some(transfer) = &mut self.transfer
            && transfer.writer.position() == writer.position()
        {
            transfer.writer.remember(writer);
        }
    }

    /// Whether the transfer can go on at `chunk`: a peer asks, so that anything may be asked for.
    pub(in crate::node) fn can_go_on(&self, chunk: u32) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.writer.can_seek(chunk))
    }

    /// When the policy wants the next one; none while one is being taken.
    fn due(&self, interval: Duration) -> Option<Time> {
        (self.taking.is_none() && self.logged > 0).then(|| self.last_at + interval)
    }

    fn own_in_flight(&self) -> usize {
        let own = |part: &&Part| matches!(part, Part::OwnChunk { .. } | Part::OwnDone(_));
        self.flying.iter().flat_map(|(_, parts)| parts).filter(own).count()
    }

    /// How many bytes of it.
    fn own_bytes_in_flight(&self) -> u64 {
        let parts = self.flying.iter().flat_map(|(_, parts)| parts).chain(&self.parts);
        parts.map(|part| if let Part::OwnChunk { bytes } = part { *bytes } else { 0 }).sum()
    }
}

impl Node {
    pub(in crate::node) fn snapshots_kept(&self) -> u32 {
        if self.room.is_short() { 1 } else { self.snapshots_kept_at_ease() }
    }

    /// How many are kept where there is room.
    pub(in crate::node) fn snapshots_kept_at_ease(&self) -> u32 {
        self.config.snapshot.map_or(KEPT, |policy| policy.max_snapshots)
    }

    pub(in crate::node) fn tend_snapshots(&mut self, out: &mut Output) {
        self.forget_transfer();
        self.abandon_incoming();
        self.store_incoming(out);
        self.begin_snapshot(out);
        self.cut_chunks();
        self.write_snapshots(out);
    }

    /// Whether the state is whole and at rest, so that a snapshot of it may begin. The deadline asks this too: an
    /// alarm for a snapshot that cannot begin would ring again at once, for ever.
    fn may_take_snapshot(&self) -> bool {
        let at_rest = self.repair.is_none() && !self.is_syncing() || self.snapshots.has_waiting_chunks();
        self.snapshots.taking.is_none()
            && at_rest
            && self.is_whole()
            && !self.snapshots.incoming.is_named(self.applied.index)
    }

    /// Whether nothing of the state is to go.
    pub(in crate::node) fn is_whole(&self) -> bool {
        let goes = matches!(self.repair, Some(Repair::RollingBack(_)));
        !self.needs_snapshot && !goes && !self.is_healed_on_disk()
    }

    /// Whether there is anything to take a snapshot of.
    fn has_state(&self) -> bool {
        self.cluster.is_some() && self.applied != Position::ZERO
    }

    /// About how many bytes a snapshot of the state as it is now takes on disk.
    pub(in crate::node) fn next_snapshot_bytes(&self) -> u64 {
        let wanted = self.config.snapshot.is_some() || self.snapshots.taking.is_some();
        if wanted { self.store.memory_bytes() } else { 0 }
    }

    /// About how much of the one that is being written is still to come; none if none is.
    pub(in crate::node) fn rest_of_snapshot(&self) -> Option<u64> {
        let taking = self.snapshots.taking.as_ref()?;
        // A chunk in flight may not be written yet.
        let written = taking.cut_bytes.saturating_sub(self.snapshots.own_bytes_in_flight());
        Some(self.next_snapshot_bytes().saturating_sub(written))
    }

    /// About how many bytes of older ones go once another is durable, where so many are kept.
    pub(in crate::node) fn bytes_replaced(&self, kept: u32) -> u64 {
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let replaces = !self.snapshots.durable.is_empty() && self.snapshots.durable.len() >= kept;
        if replaces { self.snapshots.newest_bytes } else { 0 }
    }

    /// When the next snapshot is due, if it could begin.
    pub(in crate::node) fn snapshot_due(&self) -> Option<Time> {
        let may = self.may_take_snapshot() && self.has_state() && self.has_room_for_snapshot();
        let (_, interval) = self.snapshot_after(self.config.snapshot?);
        self.snapshots.due(interval).filter(|_| may)
    }

    /// Whether something waits until the log can be cut.
    fn waits_for_cut(&self) -> bool {
        self.has_waiting_entries() || self.snapshots.has_waiting_chunks()
    }

    fn begin_snapshot(&mut self, out: &mut Output) {
        if !self.may_take_snapshot() {
            return;
        }
        let due = self.config.snapshot.is_some_and(|policy| {
            let (wal_bytes, interval) = self.snapshot_after(policy);
            let old = self.snapshots.last_at + interval <= self.now.mono && self.snapshots.logged > 0;
            let due = old || self.snapshots.logged >= wal_bytes || self.waits_for_cut();
            due && self.has_room_for_snapshot()
        });
        let wanted = core::mem::take(&mut self.snapshots.wanted);
        if wanted.is_empty() && !due {
            return;
        }
        if !self.has_state() {
            refuse_all(wanted, "there is nothing to take a snapshot of yet", out);
            return;
        }
        if self.snapshots.newest() == Some(self.applied) {
            let done = wanted.into_iter().map(|id| (id, Ok(Reply::Snapshot(self.applied))));
            out.replies.extend(done);
            self.snapshots.last_at = self.now.mono;
            self.snapshots.was_due = true;
            return;
        }
        let Some(writer) = self.writer() else { return };
        if self.config.planted.wal_cut_before_snapshot_durable() {
            self.draft.cut(self.applied.index);
        }
        self.snapshots.last_at = self.now.mono;
        self.snapshots.was_due = true;
        self.snapshots.logged = 0;
        self.snapshots.taking = Some(Taking { writer, for_requests: wanted, cut_whole: false, cut_bytes: 0 });
    }

    fn cut_chunks(&mut self) {
        let keep = self.snapshots_kept();
        while self.snapshots.own_in_flight() + own_parts(&self.snapshots.parts) < CHUNKS_IN_FLIGHT_MAX {
            let Some(taking) = &mut self.snapshots.taking else { return };
            if taking.cut_whole {
                return;
            }
            let (position, number) = (taking.writer.position(), taking.writer.next_chunk());
            if let Some(bytes) = taking.writer.chunk(self.config.chunk_bytes) {
                let length = bytes.len() as u64;
                taking.cut_bytes += length;
                self.snapshots.files.push(FileWrite::SnapshotChunk { position, number, bytes, own: true });
                self.snapshots.parts.push(Part::OwnChunk { bytes: length });
            } else {
                taking.cut_whole = true;
                self.snapshots.files.push(FileWrite::SnapshotDone { position, keep });
                self.snapshots.parts.push(Part::OwnDone(position));
            }
        }
    }

    fn write_snapshots(&mut self, out: &mut Output) {
        if self.snapshots.files.is_empty() {
            return;
        }
        let id = self.snapshots.next_batch;
        self.snapshots.next_batch += 1;
        self.hands.take(Lane::Snapshot, self.now.mono);
        let mut batch = WriteBatch::new(id, Lane::Snapshot, Bytes::new(), self.log.last());
        batch.files = core::mem::take(&mut self.snapshots.files);
        let parts = core::mem::take(&mut self.snapshots.parts);
        self.snapshots.flying.push_back((id, parts));
        out.snapshot = Some(batch);
    }

    pub(in crate::node) fn on_snapshot_receipt(&mut self, batch: u64, out: &mut Output) {
        let Some((id, parts)) = self.snapshots.flying.pop_front() else {
            panic!("receipt {batch} of nothing in flight")
        };
        assert_eq!(id, batch, "receipts come in the order of the batches of a lane");
        self.hands.moved(Lane::Snapshot, self.now.mono, self.snapshots.flying.is_empty());
        for part in parts {
            match part {
                Part::OwnChunk { .. } | Part::Void => {}
                Part::OwnDone(position) => self.own_snapshot_durable(position, out),
                Part::MastersChunk { position, next, bytes: _ } => self.on_snapshot_chunk_ack(position, next, out),
                Part::MastersDone(position) => {
                    self.snapshots.newest_bytes = self.store.memory_bytes();
                    self.note_durable(position);
                    self.on_install_saved(position);
                }
            }
        }
    }

    /// There is no room for an own snapshot: it is as if it had never been begun. What is under way of it is dropped there.
    pub(in crate::node) fn on_given_up(&mut self, receipt: &GivenUp, out: &mut Output) {
        let Some((id, _)) = self.snapshots.flying.pop_front() else {
            panic!("batch {} was given up, and nothing is in flight", receipt.id())
        };
        assert_eq!(id, receipt.id(), "receipts come in the order of the batches of a lane");
        self.hands.moved(Lane::Snapshot, self.now.mono, self.snapshots.flying.is_empty());
        let Some(taking) = self.snapshots.taking.take() else { return };
        let refused = taking.for_requests.into_iter().map(|id| (id, Err(Refusal::DiskFull)));
        out.replies.extend(refused);
        let position = taking.writer.position();
        self.discarded.writer(taking.writer);
        let snapshots = &mut self.snapshots;
        let under_way = snapshots.flying.iter_mut().flat_map(|(_, parts)| parts);
        for part in under_way.chain(&mut snapshots.parts) {
            if matches!(part, Part::OwnChunk { .. } | Part::OwnDone(_)) {
                *part = Part::Void;
            }
        }
        self.rest_from_snapshots();
        self.coverage.mark(Mark::SnapshotGivenUp);
        out.events.push(Event::SnapshotGivenUp { position });
    }

    fn own_snapshot_durable(&mut self, position: Position, out: &mut Output) {
        let mut waiting = Vec::new();
        if let Some(taking) = self.snapshots.taking.take() {
            self.snapshots.newest_bytes = taking.cut_bytes;
            waiting = taking.for_requests;
            self.discarded.writer(taking.writer);
        }
        self.counters.snapshots += 1;
        self.room.held_snapshot();
        self.note_durable(position);
        out.events.push(Event::SnapshotTaken { position });
        out.replies.extend(waiting.into_iter().map(|id| (id, Ok(Reply::Snapshot(position)))));
        let upto = self.fallback().min(self.log.base().index);
        if upto > Index::ZERO {
            self.draft.cut(upto);
        }
    }

    /// The oldest snapshot that is kept: should the newest be damaged, the log must go on from this one. Until as many
    /// are there as are kept, the whole log is the fallback.
    fn fallback(&self) -> Index {
        let kept = usize::try_from(self.snapshots_kept()).unwrap_or(usize::MAX);
        let durable = &self.snapshots.durable;
        if durable.len() < kept { Index::ZERO } else { durable.first().map_or(Index::ZERO, |oldest| oldest.index) }
    }

    /// The disk has no room: who waits is told so, since nobody knows when that ends. What has begun goes on when there is
    /// room again.
    pub(in crate::node) fn refuse_snapshots(&mut self, out: &mut Output) {
        let refused = self.snapshots.waiting().into_iter().map(|id| (id, Err(Refusal::DiskFull)));
        out.replies.extend(refused);
    }

    /// The disk does nothing: who waits is told that nobody knows when it will. What has begun goes on then.
    pub(in crate::node) fn doubt_snapshots(&mut self, out: &mut Output) {
        let why = "the disk hangs: the snapshot goes on once it does, see the field snapshot of the status";
        let doubted = self.snapshots.waiting().into_iter().map(|id| (id, Err(Refusal::Undecided { why })));
        out.replies.extend(doubted);
    }

    /// A master's snapshot is about to replace the state: one of our own in the making is of no use.
    pub(in crate::node) fn abandon_snapshot(&mut self, out: &mut Output) {
        let Some(taking) = self.snapshots.taking.take() else { return };
        if !taking.cut_whole {
            let position = taking.writer.position();
            self.snapshots.files.push(FileWrite::SnapshotAbandoned { position });
        }
        self.discarded.writer(taking.writer);
        refuse_all(taking.for_requests, "the master's snapshot is replacing the state of this node", out);
    }

    fn note_durable(&mut self, position: Position) {
        let keep = usize::try_from(self.snapshots_kept()).unwrap_or(usize::MAX).max(1);
        let durable = &mut self.snapshots.durable;
        durable.retain(|known| known.index != position.index);
        durable.push(position);
        durable.sort_unstable_by_key(|known| known.index);
        let surplus = durable.len().saturating_sub(keep);
        durable.drain(..surplus);
    }

    /// Cuts the state as it is applied now into chunks, from the first on.
    fn writer(&self) -> Option<SnapshotWriter> {
        let mut position = self.applied;
        if self.config.planted.snapshot_index_off_by_one() && self.log.last().index > position.index {
            position.index = position.index.next();
        }
        let store = if self.config.planted.idempotency_table_missing_from_snapshot() {
            self.store.without_results()
        } else {
            self.store.clone()
        };
        let meta = SnapshotMeta {
            cluster: self.cluster?,
            position,
            log_time: store.log_time(),
            history: history_before(self.log.history(), self.applied.index),
            membership: self.log.membership_at(self.applied.index).clone(),
            version_base: store.version_base(),
            keys: store.keys(),
            results: store.results(),
            hash: store.hash(),
        };
        Some(SnapshotWriter::new(meta, store.view()))
    }

    /// The snapshot that replicas get now: the last one made for them, while the log still goes on from it. One that was made
    /// in an earlier mastership may hold what was rolled back since.
    pub(in crate::node) fn transfer_position(&mut self) -> Position {
        let now = self.now.mono;
        let made = self.snapshots.transfer.as_ref().map(|transfer| transfer.writer.position());
        if !made.is_some_and(|position| self.goes_on_from(position)) {
            let next = self.writer().map(|writer| Transfer { writer, used: now });
            let older = core::mem::replace(&mut self.snapshots.transfer, next);
            older.into_iter().for_each(|older| self.discarded.writer(older.writer));
        }
        let Some(transfer) = &mut self.snapshots.transfer else { return self.applied };
        transfer.used = now;
        transfer.writer.position()
    }

    fn goes_on_from(&self, position: Position) -> bool {
        let same_line = self.log.epoch_at(position.index) == Some(position.epoch);
        position.index >= self.log.base().index && (same_line || self.config.planted.discarded_state_sent())
    }

    /// A writer of the snapshot that [`Node::transfer_position`] named, standing at a chunk.
    pub(in crate::node) fn transfer(&mut self, position: Position, chunk: u32) -> SnapshotWriter {
        let Some(transfer) = self.snapshots.transfer.as_ref().filter(|known| known.writer.position() == position)
        else {
            panic!("a snapshot is made before its chunks are cut")
        };
        let mut writer = transfer.writer.clone();
        assert!(writer.seek(chunk), "chunk {chunk} was cut before");
        writer
    }

    fn forget_transfer(&mut self) {
        let Some(transfer) = &mut self.snapshots.transfer else { return };
        let streams = match &self.role {
            Role::Master(master) => {
                master.streams.values().any(|stream| matches!(stream.mode, StreamMode::Snapshot { .. }))
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => false,
        };
        if streams {
            transfer.used = self.now.mono;
        } else if transfer.used + TRANSFER_KEPT <= self.now.mono {
            self.drop_transfer();
        }
    }

    /// A snapshot made for replicas that ends before `at` is of no use.
    pub(in crate::node) fn forget_transfer_before(&mut self, at: Index) {
        if self.snapshots.transfer.as_ref().is_some_and(|transfer| transfer.writer.position().index < at) {
            self.drop_transfer();
        }
    }

    fn drop_transfer(&mut self) {
        let transfer = self.snapshots.transfer.take();
        transfer.into_iter().for_each(|transfer| self.discarded.writer(transfer.writer));
    }

    fn is_syncing(&self) -> bool {
        match &self.role {
            Role::Replica(replica) => replica.is_syncing(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => false,
        }
    }
}

fn own_parts(parts: &[Part]) -> usize {
    parts.iter().filter(|part| matches!(part, Part::OwnChunk { .. } | Part::OwnDone(_))).count()
}

fn refuse_all(waiting: Vec<RequestId>, why: &str, out: &mut Output) {
    for id in waiting {
        out.replies.push((id, Err(Refusal::Conflict { why: why.into() })));
    }
}
