//! How a replica gets another state: it takes a snapshot beside the store that serves, or saves and cuts a tail that
//! the master's log does not have. A repair outlives the link that began it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::LinkId;
use crate::log::{Answered, Log};
use crate::message::{Chunk, Message, SnapshotAck};
use crate::node::follower::Mode;
use crate::node::follower::rollback::{Piece, Rollback};
use crate::node::follower::waiting_entries::WaitingEntries;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::{Index, Position};
use crate::snapshot::{SnapshotMeta, SnapshotReader};
use crate::store::Store;
use crate::wal::{Entry, FileWrite, Record};

/// A snapshot that is coming in.
#[derive(Clone, Debug)]
pub(in crate::node) struct Syncing {
    pub(in crate::node) position: Position,
    pub(in crate::node) reader: SnapshotReader,
    /// Chunks that are in our file and of which the master was not told, since the promise to it was not on disk.
    untold: Option<u32>,
}

impl Syncing {
    /// Goes on with a broken transfer if it is the same one, or begins anew; then what broke is of no use.
    pub(in crate::node) fn go_on(
        broken: Option<Self>,
        position: Position,
        next_chunk: u32,
    ) -> (Self, Option<Self>) {
        match broken {
            Some(broken) if broken.position == position && broken.reader.next_chunk() == next_chunk => {
                (Self { untold: None, ..broken }, None)
            }
            other => (Self { position, reader: SnapshotReader::new(), untold: None }, other),
        }
    }
}

/// What becomes of a log or store that the master's does not agree with.
#[derive(Clone, Debug)]
pub(in crate::node) enum Repair {
    /// Entries are being saved before they go.
    RollingBack(Rollback),
    /// A whole snapshot is here and becomes durable, then the log begins anew after it.
    Installing(Box<Installing>),
}

/// A snapshot that replaces the store.
#[derive(Clone, Debug)]
pub(in crate::node) struct Installing {
    meta: SnapshotMeta,
    store: Store,
    /// Entries after it that our log has already and that agree.
    rest: Vec<Entry>,
    /// The batch with the snapshot's mark, once the file is durable.
    mark: Option<u64>,
}

impl Node {
    pub(in crate::node) fn on_chunk(&mut self, link: LinkId, chunk: Chunk, out: &mut Output) {
        let now = self.now.mono;
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(following) = replica.following_mut() else { return };
        if following.link != link || following.epoch != chunk.epoch {
            return;
        }
        let Mode::Syncing(syncing) = &mut following.mode else { return };
        if syncing.position != chunk.position || syncing.reader.next_chunk() != chunk.number {
            return;
        }
        let (mut reader, untold) = (core::mem::take(&mut syncing.reader), syncing.untold);
        replica.last_contact = Some(now);
        self.hear_master(chunk.epoch, 0);
        if !self.snapshots.has_waiting_chunks() {
            self.abandon_snapshot(out);
        }
        let (position, number) = (chunk.position, chunk.number);
        self.lag_marks.hear(chunk.last, now);
        match reader.take(chunk.bytes.clone()) {
            Ok(None) => {
                let bounded = self.snapshots.take_in(position, number, chunk.bytes);
                self.set_mode(Mode::Syncing(Syncing { position, reader, untold }));
                if !bounded {
                    self.drop_garbage(link, "it sent more than may be on its way", out);
                }
            }
            Ok(Some((meta, store)))
                if meta.position == position && self.cluster == Some(meta.cluster) && self.repair.is_none() =>
            {
                self.snapshots.take_in(position, number, chunk.bytes);
                self.snapshots.take_in_done(position);
                self.set_mode(Mode::Repairing);
                let rest = self.rest_after(position);
                let installing = Installing { meta, store, rest, mark: None };
                self.repair = Some(Repair::Installing(Box::new(installing)));
            }
            refused @ (Ok(Some(_)) | Err(_)) => {
                refused.ok().flatten().into_iter().for_each(|(_, store)| self.discarded.store(store));
                self.discarded.reader(reader);
                self.set_mode(Mode::Repairing);
                self.drop_garbage(link, "it sent a snapshot that does not hold together", out);
            }
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        let Role::Replica(replica) = &mut self.role else { return };
        if let Some(following) = replica.following_mut() {
            following.mode = mode;
        }
    }

    /// Our entries after a snapshot, if our log agrees with it: what was acked stays acked. Of a log whose end was
    /// rolled back, those that the master has too.
    fn rest_after(&self, position: Position) -> Vec<Entry> {
        let drops = self.needs_snapshot && self.config.planted.shared_entries_dropped();
        if drops || self.log.epoch_at(position.index) != Some(position.epoch) {
            return Vec::new();
        }
        let upto = if self.needs_snapshot { self.agreed() } else { self.log.last().index };
        let mut rest = Vec::new();
        let mut index = position.index.next();
        while let Some(slot) = self.log.get(index).filter(|_| index <= upto) {
            rest.push(slot.entry.clone());
            index = index.next();
        }
        rest
    }

    /// How far our log agrees with that of the master that is followed.
    pub(in crate::node) fn agreed(&self) -> Index {
        match &self.role {
            Role::Replica(replica) => replica.following().map_or(Index::ZERO, |following| following.agreed),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => Index::ZERO,
        }
    }

    /// A chunk of the master's is in our file: the master may send more.
    pub(in crate::node) fn on_snapshot_chunk_ack(
        &mut self,
        position: Position,
        next_chunk: u32,
        out: &mut Output,
    ) {
        self.send_snapshot_ack(position, next_chunk, false, out);
    }

    fn send_snapshot_ack(&mut self, position: Position, next_chunk: u32, durable: bool, out: &mut Output) {
        let clock = self.now.mono.0.max(1);
        let Role::Replica(replica) = &self.role else { return };
        let Some(following) = replica.following() else { return };
        let stored = SnapshotAck { epoch: following.epoch, position, next_chunk, durable, clock };
        if let Some(stored) = self.durable.stored(following.epoch, stored) {
            out.sends.push((following.link, Message::SnapshotAck(stored)));
        } else if let Role::Replica(replica) = &mut self.role
            && let Some(following) = replica.following_mut()
            && let Mode::Syncing(syncing) = &mut following.mode
            && syncing.position == position
            && !self.config.planted.early_chunks_untold()
        {
            // The log's disk may be slower than the snapshot's. Nobody else would say it again, and the master waits for it.
            syncing.untold = Some(next_chunk);
        }
    }

    /// The promise to the master is on disk: what came before it is told now.
    pub(in crate::node) fn tell_snapshot_ack(&mut self, out: &mut Output) {
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(following) = replica.following_mut() else { return };
        let Mode::Syncing(syncing) = &mut following.mode else { return };
        let position = syncing.position;
        if let Some(next_chunk) = syncing.untold.take() {
            self.send_snapshot_ack(position, next_chunk, false, out);
        }
    }

    /// The snapshot's file is durable: the log may begin anew after it.
    pub(in crate::node) fn on_install_saved(&mut self, position: Position) {
        let Some(Repair::Installing(installing)) = &mut self.repair else { return };
        if installing.meta.position != position || installing.mark.is_some() {
            return;
        }
        installing.mark = Some(self.durable.next_batch());
        let records: Vec<_> = installing.rest.iter().map(|entry| entry.record.clone()).collect();
        // In one frame with the mark: a crash leaves both or neither.
        if self.needs_snapshot {
            self.record_hard_state();
        }
        self.record(Record::SnapshotMark(position).encode());
        let discarded = self.snapshots.discard_beyond(position.index);
        self.draft.discard(discarded);
        for record in records {
            self.record(record);
        }
    }

    /// Where the log ends once everything is written that was handed out: from the mark of a master's snapshot on that is the new
    /// log, although the old one is in memory until the mark is durable.
    pub(in crate::node) fn ends_on_disk_at(&self) -> Position {
        match &self.repair {
            Some(Repair::Installing(installing)) if self.begins_anew(installing) => {
                installing.rest.last().map_or(installing.meta.position, |entry| entry.position)
            }
            Some(Repair::Installing(_) | Repair::RollingBack(_)) | None => {
                self.disk_is_cut_at().unwrap_or_else(|| self.log.last())
            }
        }
    }

    /// Whether the mark of the master's snapshot is handed out: what is written from here on follows a state that is whole.
    pub(in crate::node) fn is_healed_on_disk(&self) -> bool {
        match &self.repair {
            Some(Repair::Installing(installing)) => installing.mark.is_some(),
            Some(Repair::RollingBack(_)) | None => false,
        }
    }

    fn begins_anew(&self, installing: &Installing) -> bool {
        let is_mark = installing.mark == Some(self.durable.next_batch());
        installing.mark.is_some() && (is_mark || !self.config.planted.old_log_goes_on())
    }

    /// A batch of the log's lane is on disk: a repair may have waited for it.
    pub(in crate::node) fn on_log_receipt(&mut self, batch: u64, out: &mut Output) {
        self.note_put_back(batch);
        match self.repair.take() {
            Some(Repair::Installing(installing)) if installing.mark == Some(batch) => {
                self.install(*installing, out)
            }
            Some(Repair::RollingBack(rollback)) if rollback.waits_for(batch) => self.rollback_saved(rollback, out),
            other => self.repair = other,
        }
    }

    /// Snapshot and mark are on disk: the new state takes the old one's place.
    fn install(&mut self, installing: Installing, out: &mut Output) {
        let Installing { meta, store, rest, .. } = installing;
        let position = meta.position;
        if !rest.is_empty() {
            self.coverage.mark(Mark::SharedEntriesKept);
        }
        assert!(
            self.needs_snapshot || position.index >= self.applied.index,
            "INV-4: a snapshot behind what is applied"
        );
        let committed = if self.needs_snapshot { position.index } else { self.committed.max(position.index) };
        let log = Log::new(position, meta.history, meta.membership, meta.log_time);
        self.discarded.log(core::mem::replace(&mut self.log, log));
        for entry in rest {
            let Ok(command) = entry.command() else { panic!("entries in the log decode") };
            self.log.append(entry, &command, Answered::Unknown);
        }
        self.discarded.store(core::mem::replace(&mut self.store, store));
        self.forget_log_time();
        self.applied = position;
        self.committed = committed.min(self.log.last().index);
        self.draft.unsay_committed(self.committed);
        self.durable.reset(self.log.last().index);
        self.needs_snapshot = false;
        (self.rolled_back_after, self.cut_on_disk) = (None, None);
        out.events.push(Event::SnapshotInstalled { position });
        if self.log.last() == position {
            self.set_mode(Mode::Streaming(WaitingEntries::default()));
            self.send_snapshot_ack(position, u32::MAX, true, out);
        } else {
            self.greet_again(out);
        }
    }

    pub(in crate::node) fn tend_repair(&mut self) {
        if let Some(Repair::RollingBack(_)) = &self.repair {
            self.save_more();
        }
    }

    /// Begins to save what our log has beyond what both hold, up to what is saved already.
    pub(in crate::node) fn begin_rollback(&mut self, common: Position, upto: Index, out: &mut Output) {
        if self.repair.is_some() {
            return;
        }
        let (base, applied) = (self.log.base().index, self.applied.index);
        let rollback = Rollback::new(self.now.wall.0, common, upto, base, applied);
        if self.config.planted.discarded_tail_not_reported() {
            self.finish_rollback(&rollback, out);
            return;
        }
        self.repair = Some(Repair::RollingBack(rollback));
    }

    /// INV-10: entries that go into a rollback file stay in memory until they are in it.
    pub(in crate::node) fn saved_upto(&self) -> Index {
        match &self.repair {
            Some(Repair::RollingBack(rollback)) if !self.config.planted.leaves_unsaved() => rollback.saved_upto(),
            Some(Repair::RollingBack(_) | Repair::Installing(_)) | None => Index(u64::MAX),
        }
    }

    fn save_more(&mut self) {
        let fits = self.has_room_for_lines();
        let Some(Repair::RollingBack(rollback)) = &mut self.repair else { return };
        let piece = Piece { batch: self.durable.next_batch(), bytes: self.config.chunk_bytes, fits };
        let files: Vec<FileWrite> = rollback.save_some(&self.log, &self.store, self.applied.index, piece);
        for file in files {
            if let FileWrite::Rollback { lines, .. } = &file {
                self.room.takes(lines.len() as u64);
            }
            self.draft.push_file(file);
        }
    }

    fn rollback_saved(&mut self, rollback: Rollback, out: &mut Output) {
        if rollback.is_complete() {
            self.finish_rollback(&rollback, out);
        } else {
            self.repair = Some(Repair::RollingBack(rollback.saved()));
        }
    }

    /// INV-10: the rollback file is durable, now the entries may go. Those that were applied go with the store,
    /// which only a snapshot can replace. What an unarmed master had called committed is committed no more: the
    /// promotion that explains it is in the new master's history (see `consider`).
    fn finish_rollback(&mut self, rollback: &Rollback, out: &mut Output) {
        let common = rollback.common;
        let applied = self.applied.index > common.index;
        let operations = rollback.operations;
        self.counters.rollback_operations += operations;
        self.flags.rollback_written |= operations > 0;
        let (id, from, upto) = (rollback.id, common.index.next(), rollback.upto);
        out.events.push(Event::RolledBack { id, from, upto, applied, unlisted: rollback.unlisted });
        if applied || common.index < self.log.base().index || self.cut_on_disk.is_some() {
            self.rolled_back_after = Some(common.index);
            self.need_snapshot();
            self.cut_saved(common);
            self.coverage.mark(Mark::AppliedTailRolledBack);
        } else {
            self.coverage.mark(Mark::DivergentTailCut);
            if self.durable.flies_beyond(common.index) {
                self.coverage.mark(Mark::LateReceiptClipped);
            }
            self.committed = self.committed.min(common.index);
            self.draft.unsay_committed(self.committed);
            self.record(Record::Truncate(common).encode());
            let discarded = self.snapshots.discard_beyond(common.index);
            self.draft.discard(discarded);
            self.log.truncate(common.index);
            self.forget_log_time();
            self.durable.clip(common.index);
        }
        self.greet_again(out);
    }
}

/// The index after which nothing of a log is left when it is cut to `common`.
pub(in crate::node) fn first_lost(common: Index, base: Index) -> Index {
    common.next().max(base.next())
}
