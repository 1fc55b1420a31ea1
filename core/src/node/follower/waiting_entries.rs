//! Entries that came in while the disk has no room for them: they wait in memory, as if they were still on their way, until a snapshot has
//! given the log's room back. The master sends no more than its window meanwhile, and hears acks and rounds as ever. Owns
//! what waits, with its bound (INV-12).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::coverage::Mark;
use crate::ids::LinkId;
use crate::node::follower::Mode;
use crate::node::leader::replication::WINDOW_BYTES_MAX;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::Position;
use crate::wal::record::RECORD_BYTES_MAX;

/// A master sends a window, and one entry of any length beyond it.
const BYTES_MAX: u64 = WINDOW_BYTES_MAX + RECORD_BYTES_MAX as u64;

/// Entries as one message brought them.
#[derive(Clone, Debug)]
struct Entries {
    prev: Position,
    records: Vec<Bytes>,
    bytes: u64,
}

/// What waits, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct WaitingEntries {
    queue: VecDeque<Entries>,
    bytes: u64,
}

impl WaitingEntries {
    pub(in crate::node) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn push(&mut self, prev: Position, records: Vec<Bytes>, bytes: u64) {
        self.bytes += bytes;
        self.queue.push_back(Entries { prev, records, bytes });
    }

    fn first_bytes(&self) -> Option<u64> {
        self.queue.front().map(|first| first.bytes)
    }

    fn pop(&mut self) -> Option<Entries> {
        let first = self.queue.pop_front()?;
        self.bytes -= first.bytes;
        Some(first)
    }
}

impl Node {
    /// Takes entries that follow our log, or keeps them until there is room.
    pub(in crate::node) fn take_or_wait(
        &mut self,
        link: LinkId,
        prev: Position,
        records: Vec<Bytes>,
        out: &mut Output,
    ) {
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        if !records.is_empty() && (self.has_waiting_entries() || self.waits_for_room(bytes)) {
            self.coverage.mark(Mark::EntriesWaited);
            self.room.want(self.now.mono);
            let Some((_, waiting)) = self.waiting_entries() else { return };
            waiting.push(prev, records, bytes);
            if waiting.bytes > BYTES_MAX {
                self.drop_garbage(link, "it sent more than may be on its way", out);
            }
            return;
        }
        self.take_entries(link, prev, &records, out);
    }

    /// Takes those for which there is room by now.
    pub(in crate::node) fn take_waiting(&mut self, out: &mut Output) {
        while let Some(bytes) = self.waiting_entries().and_then(|(_, waiting)| waiting.first_bytes()) {
            if self.waits_for_room(bytes) {
                return;
            }
            let Some((link, Some(first))) = self.waiting_entries().map(|(link, waiting)| (link, waiting.pop()))
            else {
                return;
            };
            self.take_entries(link, first.prev, &first.records, out);
        }
    }

    /// Whether entries wait for room.
    pub(in crate::node) fn has_waiting_entries(&self) -> bool {
        let Role::Replica(replica) = &self.role else { return false };
        replica.following().is_some_and(|following| match &following.mode {
            Mode::Streaming(waiting) => !waiting.is_empty(),
            Mode::Syncing(_) | Mode::Repairing => false,
        })
    }

    fn waiting_entries(&mut self) -> Option<(LinkId, &mut WaitingEntries)> {
        let Role::Replica(replica) = &mut self.role else { return None };
        let following = replica.following_mut()?;
        match &mut following.mode {
            Mode::Streaming(waiting) => Some((following.link, waiting)),
            Mode::Syncing(_) | Mode::Repairing => None,
        }
    }
}
