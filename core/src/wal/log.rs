//! What the records of a log add up to. Owns the meaning of each record and what may follow what; knows nothing of
//! files.

use alloc::vec::Vec;

use crate::position::{Epoch, Index, Position};
use crate::wal::record::{Entry, HardState, Record};

/// A log, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) hard_state: Option<HardState>,
    /// The position before the first of `entries`.
    pub(super) base: Position,
    pub(super) entries: Vec<Entry>,
    /// Up to where entries are known to be committed.
    pub(super) committed: Index,
    /// What was discarded on the way.
    forks: Vec<Fork>,
}

/// A part of a log that was discarded. A snapshot of it may still be there, if its removal was cut short.
#[derive(Debug)]
struct Fork {
    /// What stayed.
    after: Index,
    /// The log's base when it happened: what was before it was discarded too, if it was after `after`.
    base: Index,
    /// The epochs of what was discarded: each from an index on.
    epochs: Vec<(Index, Epoch)>,
    last: Index,
}

impl Log {
    /// A log that begins after `base`.
    pub(super) fn after(base: Position) -> Self {
        Self { base, ..Self::default() }
    }

    /// The last position.
    pub(super) fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |entry| entry.position)
    }

    /// The epoch at `index`, if the log holds it.
    pub(super) fn epoch_at(&self, index: Index) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        let at = index.0.checked_sub(self.base.index.next().0)?;
        self.entries.get(usize::try_from(at).ok()?).map(|entry| entry.position.epoch)
    }

    /// Whether `position` belongs to what this log has discarded.
    pub(super) fn has_discarded(&self, position: Position) -> bool {
        self.forks.iter().any(|fork| fork.held(position))
    }

    /// Takes the next record; says why it cannot be the next.
    pub(super) fn take(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::HardState(state) => self.hard_state(state),
            Record::Entry(entry) => return self.entry(entry),
            Record::Truncate(position) => return self.truncate(position),
            Record::SnapshotMark(position) => self.begin_anew(position),
            Record::Committed(index) => self.committed = self.committed.max(index),
        }
        Ok(())
    }

    /// The log goes on after a snapshot.
    pub(super) fn begin_anew(&mut self, position: Position) {
        self.remember_fork(position.index);
        self.base = position;
        self.entries.clear();
        self.committed = position.index;
    }

    /// Forgets entries from the front, those up to `upto` at most, until no more than `bytes_max` of records or none
    /// of those is left.
    pub(super) fn forget(&mut self, upto: Index, bytes_max: u64) {
        let mut bytes: u64 = self.entries.iter().map(|entry| entry.record.len() as u64).sum();
        let count = self
            .entries
            .iter()
            .take_while(|entry| {
                let forgotten = entry.position.index <= upto && bytes > bytes_max;
                bytes -= if forgotten { entry.record.len() as u64 } else { 0 };
                forgotten
            })
            .count();
        if let Some(last) = self.entries.drain(..count).next_back() {
            self.base = last.position;
        }
    }

    /// INV-7: the promise never goes back. A segment begins with the promise as of the end of its first group, before
    /// the group's own records.
    fn hard_state(&mut self, state: HardState) {
        let promised = self.hard_state.map_or(state.promised, |old| old.promised.max(state.promised));
        self.hard_state = Some(HardState { promised, ..state });
    }

    fn entry(&mut self, entry: Entry) -> Result<(), &'static str> {
        let last = self.last();
        if entry.position.index.0.checked_sub(1) != Some(last.index.0) {
            return Err("an entry whose index does not follow the one before it");
        }
        if entry.position.epoch < last.epoch {
            return Err("an entry whose epoch is lower than the one before it");
        }
        self.entries.push(entry);
        Ok(())
    }

    fn truncate(&mut self, position: Position) -> Result<(), &'static str> {
        if position.index < self.base.index {
            self.begin_anew(position);
            return Ok(());
        }
        if self.epoch_at(position.index) != Some(position.epoch) {
            return Err("a truncation to a position that the log does not hold");
        }
        self.remember_fork(position.index);
        let kept = usize::try_from(position.index.ahead_of(self.base.index)).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
        self.committed = self.committed.min(position.index);
        Ok(())
    }

    fn remember_fork(&mut self, after: Index) {
        let mut epochs: Vec<(Index, Epoch)> = Vec::new();
        let kept = usize::try_from(after.ahead_of(self.base.index)).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(kept) {
            if epochs.last().is_none_or(|(_, epoch)| *epoch != entry.position.epoch) {
                epochs.push((entry.position.index, entry.position.epoch));
            }
        }
        if self.last().index > after {
            self.forks.push(Fork { after, base: self.base.index, epochs, last: self.last().index });
        }
    }
}

impl Fork {
    fn held(&self, position: Position) -> bool {
        let Position { epoch, index } = position;
        if index <= self.after || index > self.last {
            return false;
        }
        let later = self.epochs.partition_point(|(start, _)| *start <= index);
        let known = later.checked_sub(1).and_then(|at| self.epochs.get(at));
        index <= self.base || known.is_some_and(|(_, at_index)| *at_index == epoch)
    }
}
