//! What this node has no use for any more, and what it would take a turn too long to free: a store that a snapshot has
//! replaced, a state that was sent to replicas, one that came in by halves, a log that begins anew. No turn may grow with the
//! store. So each turn frees a little, and the driver makes turns one after another while some is left.
//!
//! Nothing that a turn gives depends on how much is left: others, on other threads, may share what is discarded.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::log::{Log, Slot};
use crate::node::follower::discovery::Replica;
use crate::node::follower::snapshot_install::Syncing;
use crate::node::leader::StreamMode;
use crate::node::{Node, Role};
use crate::snapshot::{SnapshotReader, SnapshotWriter};
use crate::store::{Scrap, Store, StoreView, work};
use crate::view::View;

/// Most work of freeing that a turn does, in allocations (long ones count more): one or two milliseconds. One node of a tree may
/// go beyond.
const WORK_PER_TURN_MAX: usize = 16_384;

/// What waits to be freed.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Discarded {
    trees: Scrap,
    slots: Vec<VecDeque<Slot>>,
    /// Work done since the process began.
    work: u64,
}

impl Discarded {
    pub(in crate::node) fn store(&mut self, store: Store) {
        self.trees.add_store(store);
    }

    pub(in crate::node) fn view(&mut self, view: StoreView) {
        self.trees.add_view(view);
    }

    pub(in crate::node) fn log(&mut self, log: Log) {
        self.slots.push(log.into_slots());
    }

    pub(in crate::node) fn writer(&mut self, writer: SnapshotWriter) {
        writer.discard(&mut self.trees);
    }

    pub(in crate::node) fn reader(&mut self, reader: SnapshotReader) {
        reader.into_store().into_iter().for_each(|store| self.store(store));
    }

    pub(in crate::node) fn syncing(&mut self, syncing: Option<Syncing>) {
        syncing.into_iter().for_each(|syncing| self.reader(syncing.reader));
    }

    pub(in crate::node) fn replica(&mut self, replica: Replica) {
        replica.into_syncings().into_iter().for_each(|syncing| self.syncing(syncing));
    }

    pub(in crate::node) fn stream(&mut self, mode: StreamMode) {
        match mode {
            StreamMode::Snapshot { writer, .. } => self.writer(writer),
            StreamMode::Probe | StreamMode::Stream { .. } => {}
        }
    }

    pub(in crate::node) fn role(&mut self, role: Role) {
        match role {
            Role::Founding(_) | Role::Asking(_) => {}
            Role::Candidate(candidate) => self.replica(candidate.into_replica()),
            Role::Master(master) => master.streams.into_values().for_each(|stream| self.stream(stream.mode)),
            Role::Replica(replica) => self.replica(replica),
        }
    }

    fn is_empty(&self) -> bool {
        self.trees.is_empty() && self.slots.is_empty()
    }

    /// Frees until about that much work is done.
    fn free(&mut self, most: usize) {
        let mut done = 0;
        while done < most {
            let Some(work) = self.free_one() else { break };
            done += work;
        }
        self.work += done as u64;
    }

    /// Frees one node or one slot. Gives the work that it was.
    fn free_one(&mut self) -> Option<usize> {
        if let Some(work) = self.trees.free_one() {
            return Some(work);
        }
        let slots = self.slots.last_mut()?;
        let bytes = slots.pop_front().map_or(0, |slot| slot.entry.record.len());
        if slots.is_empty() {
            self.slots.pop();
        }
        Some(work(bytes))
    }
}

impl Node {
    /// Whether something waits to be freed: the next turn is to come at once, whatever else there is to do.
    pub fn has_discarded(&self) -> bool {
        !self.discarded.is_empty()
    }

    /// How much work of freeing was done since the process began, in allocations.
    pub fn freeing_work(&self) -> u64 {
        self.discarded.work
    }

    /// Takes back a view that nobody reads any more. If it is the last that holds an old state, to drop it would take as long as
    /// the state is large.
    pub fn take_back(&mut self, view: View) {
        self.discarded.view(view.store);
        self.free_some();
    }

    pub(in crate::node) fn free_some(&mut self) {
        let most = if self.config.planted.freed_at_once() { usize::MAX } else { WORK_PER_TURN_MAX };
        self.discarded.free(most);
    }
}
