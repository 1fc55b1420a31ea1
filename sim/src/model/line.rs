//! A model with its past: the entries of one log, in order, and what held after each. Logs that a failover has parted are
//! lines of their own.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::position::{Epoch, Index, Position};
use synap_core::wal::Entry;

use super::{Cell, Model, Told};

/// A log, and what held after each of its entries.
#[derive(Clone, Debug, Default)]
pub struct Line {
    model: Model,
    /// By index, from 1 on.
    marks: Vec<Mark>,
    /// What each key held from an index on; none: nothing.
    past: BTreeMap<Bytes, Vec<(u64, Option<Cell>)>>,
}

/// What held after an entry.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Who wrote the entry.
    pub epoch: Epoch,
    /// Log time, in milliseconds.
    pub log_time: u64,
    /// The state hash.
    pub digest: u64,
    /// Keys, those included whose time is up and that nothing has met since.
    pub keys: u64,
    /// Requests that were remembered.
    pub remembered: u64,
    /// What the entry gave.
    pub told: Told,
}

impl Line {
    /// The last index.
    pub fn last(&self) -> u64 {
        self.marks.len() as u64
    }

    /// Whether this position is on it.
    pub fn holds(&self, position: Position) -> bool {
        self.mark(position.index.0).is_some_and(|mark| mark.epoch == position.epoch)
    }

    /// What held after the entry at `index`.
    pub fn mark(&self, index: u64) -> Option<&Mark> {
        self.marks.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// The position at `index`.
    pub fn position(&self, index: u64) -> Option<Position> {
        self.mark(index).map(|mark| Position { epoch: mark.epoch, index: Index(index) })
    }

    /// Takes the next entry.
    pub fn push(&mut self, entry: &Entry) -> Result<(), String> {
        let index = entry.position.index.0;
        if entry.at.0 < self.model.log_time() {
            return Err(format!("{} is stamped {}, after {}", entry.position, entry.at.0, self.model.log_time()));
        }
        let command = entry.command().map_err(|error| format!("{}: {error}", entry.position))?;
        let told = self.model.apply(index, entry.at.0, &command);
        for key in self.model.take_touched() {
            let cell = self.model.cells().get(&key).cloned();
            self.past.entry(key).or_default().push((index, cell));
        }
        self.marks.push(Mark {
            epoch: entry.position.epoch,
            log_time: self.model.log_time(),
            digest: self.model.digest(),
            keys: self.model.cells().len() as u64,
            remembered: self.model.remembered(),
            told,
        });
        Ok(())
    }

    /// What counted under the key after the entry at `index`.
    pub fn get(&self, index: u64, key: &[u8]) -> Option<&Cell> {
        self.get_at(index, self.mark(index).map_or(0, |mark| mark.log_time), key)
    }

    /// The same when log time had come to this, without another entry.
    pub fn get_at(&self, index: u64, log_time: u64, key: &[u8]) -> Option<&Cell> {
        self.past.get(key).and_then(|past| held(index, past)).filter(|cell| cell.lives(log_time))
    }

    /// The entry that last changed what stands under the key after the one at `index`.
    pub fn changed_at(&self, index: u64, key: &[u8]) -> Option<u64> {
        let past = self.past.get(key)?;
        let after = past.partition_point(|(since, _)| *since <= index);
        past.get(after.checked_sub(1)?).map(|(since, _)| *since)
    }

    /// All that counted then, in byte order of the keys.
    pub fn cells(&self, index: u64, log_time: u64) -> impl Iterator<Item = (&Bytes, &Cell)> {
        self.past
            .iter()
            .filter_map(move |(key, past)| Some((key, held(index, past).filter(|cell| cell.lives(log_time))?)))
    }

    /// The keys that a scan finds at an index and a log time, and whether there are more.
    pub fn scan(
        &self,
        (index, log_time): (u64, u64),
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> (Vec<Bytes>, bool) {
        let beyond = |key: &Bytes| after.is_none_or(|after| &key[..] > after);
        let mut found = self.cells(index, log_time).filter(|(key, _)| key.starts_with(prefix) && beyond(key));
        let keys = found.by_ref().take(limit).map(|(key, _)| key.clone()).collect();
        (keys, found.next().is_some())
    }
}

/// What a key held after the entry at `index`, whether or not its time was up.
fn held(index: u64, past: &[(u64, Option<Cell>)]) -> Option<&Cell> {
    let at = past.partition_point(|(since, _)| *since <= index).checked_sub(1)?;
    past[at].1.as_ref()
}
