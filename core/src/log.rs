//! The log in memory: its tail, bounded in bytes and shared by all streams, with the history and the membership that
//! it implies. Owns which entries are at hand; never decides which are durable or committed.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::command::{Command, Membership, Outcome};
use crate::history::{History, Term};
use crate::planted::Planted;
use crate::position::{Epoch, Index, Position};
use crate::store::{Prior, StateHash};
use crate::time::WallMs;
use crate::version::VersionBase;
use crate::wal::Entry;

/// What is known of the answer that an entry's client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// Written by another node, or by an earlier process of this one.
    Unknown,
    /// No good answer has left.
    No,
    /// The client was told yes.
    Yes,
}

/// An entry at hand, with what this node learned of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The entry.
    pub entry: Entry,
    /// The versions of its keys before it, once it is applied.
    pub prior: Prior,
    /// The state just after it, once it is applied.
    pub hash: Option<StateHash>,
    /// What its client was told.
    pub answered: Answered,
    /// Bytes of all records up to and including this one, since the process began.
    offset: u64,
}

/// What an entry that opens a term does to versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    /// Where it stands.
    pub at: Index,
    /// See [`Command::EpochStart`].
    pub spread: u32,
    /// From where versions counted before it, once it is applied.
    pub before: Option<VersionBase>,
}

/// The log in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    base: Position,
    slots: VecDeque<Slot>,
    offset: u64,
    history: History,
    /// Every membership that a truncation could bring back, and the last armed one before them, oldest first; never empty.
    memberships: Vec<(Index, Membership)>,
    /// The entries at hand that open a term, oldest first.
    openings: VecDeque<Opening>,
    log_time: WallMs,
    /// The stamp of the base.
    base_time: WallMs,
}

impl Log {
    /// An empty log that goes on after `base`, with the history and membership as of there.
    pub fn new(base: Position, history: History, membership: Membership, log_time: WallMs) -> Self {
        let memberships = vec![(base.index, membership)];
        Self {
            base,
            slots: VecDeque::new(),
            offset: 0,
            history,
            memberships,
            openings: VecDeque::new(),
            log_time,
            base_time: log_time,
        }
    }

    /// All that is at hand, to be freed.
    pub(crate) fn into_slots(self) -> VecDeque<Slot> {
        self.slots
    }

    /// The position just before the first entry at hand.
    pub fn base(&self) -> Position {
        self.base
    }

    /// The last position; the base if no entry is at hand.
    pub fn last(&self) -> Position {
        self.slots.back().map_or(self.base, |slot| slot.entry.position)
    }

    /// The epochs up to the last entry.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The newest membership in the log, committed or not, and where it stands.
    pub fn membership(&self) -> (Index, &Membership) {
        const NONE: &Membership =
            &Membership { armed: false, election_timeout_ms: 0, pause: None, members: Vec::new() };
        self.memberships.last().map_or((Index::ZERO, NONE), |(index, membership)| (*index, membership))
    }

    /// The newest membership at or before `index` that is remembered, or else the oldest.
    pub fn membership_at(&self, index: Index) -> &Membership {
        let after = self.memberships.partition_point(|(at, _)| *at <= index);
        self.memberships.get(after.saturating_sub(1)).map_or(self.membership().1, |(_, membership)| membership)
    }

    /// The stamp of the last entry: no later entry is stamped earlier.
    pub fn log_time(&self) -> WallMs {
        self.log_time
    }

    /// Bytes of records at hand.
    pub fn bytes(&self) -> u64 {
        self.offset - self.slots.front().map_or(self.offset, |slot| slot.offset - slot.entry.record.len() as u64)
    }

    /// The slot at `index`, if it is at hand.
    pub fn get(&self, index: Index) -> Option<&Slot> {
        self.slots.get(self.place(index)?)
    }

    /// The slot at `index`, to note something in it.
    pub fn get_mut(&mut self, index: Index) -> Option<&mut Slot> {
        let place = self.place(index)?;
        self.slots.get_mut(place)
    }

    /// The epoch at `index`, as far as it is known; that of the base included.
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        self.get(index)
            .map(|slot| slot.entry.position.epoch)
            .or_else(|| (index < self.base.index).then(|| self.history.epoch_at(index)).flatten())
    }

    /// The state just after `index`, if that is known.
    pub fn hash_at(&self, index: Index) -> Option<StateHash> {
        self.get(index).and_then(|slot| slot.hash)
    }

    /// How many bytes of records lie between two indices, `from` excluded, as far as they are at hand.
    pub fn bytes_between(&self, from: Index, upto: Index) -> u64 {
        self.offset_of(upto).saturating_sub(self.offset_of(from))
    }

    /// Records from `from` on, at least one if there is one, together at most about `bytes_max`.
    pub fn records_from(&self, from: Index, bytes_max: usize) -> Vec<Bytes> {
        let mut room = bytes_max;
        let mut records = Vec::new();
        let Some(place) = self.place(from) else { return records };
        for slot in self.slots.range(place..) {
            let len = slot.entry.record.len();
            if !records.is_empty() && len > room {
                break;
            }
            room = room.saturating_sub(len);
            records.push(slot.entry.record.clone());
        }
        records
    }

    /// The entry that an answer to the one at `asked` is about: of a retry, the first under its key.
    pub fn first_of(&self, asked: Position, outcome: &Outcome) -> Position {
        let first = match outcome {
            Outcome::Replayed { first, .. } => *first,
            Outcome::Set { .. }
            | Outcome::VersionMismatch { .. }
            | Outcome::Deleted { .. }
            | Outcome::Number(_)
            | Outcome::NotAnInteger
            | Outcome::Touched(_)
            | Outcome::Batch { .. }
            | Outcome::KeyReused { .. }
            | Outcome::Internal => return asked,
        };
        // Keys live longer than the epochs that a history remembers: then the retry's own place must do.
        self.history.epoch_at(first).map_or(asked, |epoch| Position { epoch, index: first })
    }

    /// Adds an entry. INV-4 and INV-5: indices are contiguous, epochs and stamps never go back.
    pub fn append(&mut self, entry: Entry, command: &Command, answered: Answered) {
        let last = self.last();
        assert_eq!(entry.position.index, last.index.next(), "INV-4: the log is contiguous");
        assert!(entry.position.epoch >= last.epoch, "INV-5: epoch {:?} after {last:?}", entry.position.epoch);
        self.log_time = self.log_time.max(entry.at);
        match command {
            Command::EpochStart { kind, spread } => {
                let Position { epoch, index } = entry.position;
                self.history.push(Term { epoch, start: index, kind: *kind });
                self.openings.push_back(Opening { at: index, spread: *spread, before: None });
            }
            Command::Config(membership) => {
                self.history.note_membership(entry.position.index, membership.armed);
                self.memberships.push((entry.position.index, membership.clone()));
            }
            _ => {}
        }
        self.offset += entry.record.len() as u64;
        self.slots.push_back(Slot { entry, prior: Prior::Unknown, hash: None, answered, offset: self.offset });
    }

    /// Drops the entries after `index`.
    pub fn truncate(&mut self, index: Index) {
        assert!(
            index >= self.base.index,
            "INV-4: cannot truncate to {index}, the log begins after {}",
            self.base.index
        );
        while self.slots.back().is_some_and(|slot| slot.entry.position.index > index) {
            self.slots.pop_back();
        }
        self.offset = self.slots.back().map_or(0, |slot| slot.offset);
        self.log_time = self.slots.back().map_or(self.base_time, |slot| slot.entry.at.max(self.base_time));
        self.history.truncate(index);
        self.openings.retain(|opening| opening.at <= index);
        self.memberships.retain(|(at, _)| *at <= index);
    }

    /// Drops entries from the front while more than `bytes_max` are at hand, up to `limit` at most.
    ///
    /// Safety: a master that has disarmed counts by the armed membership before until its voters know that the change is
    /// committed, which may be long after both have left memory. So the last armed one is remembered, and what is asked of
    /// an index in between is answered with it: armed is the stricter rule.
    pub fn evict(&mut self, limit: Index, bytes_max: u64, planted: Planted) {
        while self.bytes() > bytes_max {
            let Some(front) = self.slots.front() else { return };
            if front.entry.position.index > limit {
                return;
            }
            self.base = front.entry.position;
            self.base_time = self.base_time.max(front.entry.at);
            self.slots.pop_front();
        }
        while self.openings.front().is_some_and(|opening| opening.at <= self.base.index) {
            self.openings.pop_front();
        }
        self.forget_memberships(planted);
    }

    /// The entry at `at`, which opens a term, was applied to a state that counted versions from `before` on.
    pub fn note_base_before(&mut self, at: Index, before: VersionBase) {
        if let Some(opening) = self.openings.iter_mut().rev().find(|opening| opening.at == at) {
            opening.before = Some(before);
        }
    }

    /// From where the entry at `index` counts versions, in a log whose state counts from `base` on after `applied`. None if
    /// that is not known any more: an entry that opens a term after it was applied elsewhere, or may have left memory.
    pub fn version_base_at(&self, index: Index, applied: Index, base: VersionBase) -> Option<VersionBase> {
        if index < self.base.index && index < applied {
            return None;
        }
        if index < applied {
            let next = self.openings.iter().find(|opening| opening.at > index && opening.at <= applied);
            return next.map_or(Some(base), |next| next.before);
        }
        let beyond = self.openings.iter().rev().take_while(|opening| opening.at > applied);
        let mut beyond: Vec<&Opening> = beyond.filter(|opening| opening.at <= index).collect();
        beyond.reverse();
        Some(beyond.into_iter().fold(base, |base, opening| base.opened(opening.at, opening.spread)))
    }

    fn forget_memberships(&mut self, planted: Planted) {
        let after = self.memberships.partition_point(|(at, _)| *at <= self.base.index);
        let current = after.saturating_sub(1);
        let mut older = self.memberships.iter().take(current);
        let armed = older.rposition(|(_, membership)| membership.armed);
        match armed.filter(|_| !planted.membership_before_forgotten()) {
            Some(armed) => {
                self.memberships.drain(armed + 1..current);
                self.memberships.drain(..armed);
            }
            None => drop(self.memberships.drain(..current)),
        }
    }

    fn place(&self, index: Index) -> Option<usize> {
        let place = usize::try_from(index.0.checked_sub(self.base.index.0 + 1)?).ok()?;
        (place < self.slots.len()).then_some(place)
    }

    /// How many bytes of records this log has taken up to `index`; of what is not at hand any more, up to where it is.
    pub fn offset_of(&self, index: Index) -> u64 {
        if index <= self.base.index {
            return self.slots.front().map_or(self.offset, |slot| slot.offset - slot.entry.record.len() as u64);
        }
        self.get(index).map_or(self.offset, |slot| slot.offset)
    }
}
