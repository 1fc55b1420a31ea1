//! INV-5, the first half: the same position is the same entry, on every node and for ever. In passing it keeps every
//! entry that any node wrote, for the oracles that replay.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::Command;
use synap_core::history::Term;
use synap_core::message::Message;
use synap_core::position::{Index, Position};
use synap_core::wal::{Entry, Record};

use crate::oracle::Fact;

/// Every entry that any node ever wrote, by position.
#[derive(Debug, Default)]
pub struct WorldLog {
    entries: BTreeMap<Position, Entry>,
    /// When each was first seen, in microseconds of the run.
    written_at: BTreeMap<Position, u64>,
    /// Those that hold a membership, by index.
    memberships: BTreeMap<Index, Vec<Position>>,
    /// The longest record.
    record_bytes_max: u64,
}

impl WorldLog {
    pub(super) const NAME: &'static str = "INV-5 same position, same entry";

    pub(super) fn see(&mut self, at: u64, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Recorded { node, records } => records.iter().try_for_each(|record| self.take(at, *node, record)),
            Fact::Sent { node, message: Message::Append(append), .. } => {
                append.entries.iter().try_for_each(|record| self.take(at, *node, record))
            }
            _ => Ok(()),
        }
    }

    /// The entry at `position`, if any node ever wrote it.
    pub fn get(&self, position: Position) -> Option<&Entry> {
        self.entries.get(&position)
    }

    /// Where the epoch of the entry at `position` begins, as far as any node wrote it.
    pub fn begins(&self, position: Position) -> Option<Index> {
        let epoch = position.epoch;
        let first = Position { epoch, index: Index::ZERO };
        self.entries.range(first..=position).next().map(|(position, _)| position.index)
    }

    /// When the entry at `position` was first written or sent, in microseconds of the run.
    pub fn written_at(&self, position: Position) -> Option<u64> {
        self.written_at.get(&position).copied()
    }

    /// Where memberships stand after `from`, up to `upto`, in whatever log.
    pub fn memberships(&self, from: Index, upto: Index) -> impl Iterator<Item = Position> {
        let after = self.memberships.range(from.next()..).take_while(move |(index, _)| **index <= upto);
        after.flat_map(|(_, positions)| positions.iter().copied())
    }

    /// The longest record so far, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.record_bytes_max
    }

    /// The entries of a log of these terms from `from` up to `last`; it ends early where one was never seen.
    pub fn chain<'a>(&'a self, terms: &'a [Term], from: Index, last: Index) -> impl Iterator<Item = &'a Entry> {
        (from.0..=last.0).map_while(move |index| {
            let at = terms.partition_point(|term| term.start.0 <= index);
            let epoch = terms.get(at.checked_sub(1)?)?.epoch;
            self.entries.get(&Position { epoch, index: Index(index) })
        })
    }

    fn take(&mut self, at: u64, node: usize, record: &Bytes) -> Result<(), String> {
        let entry = match Record::decode(&mut record.clone()) {
            Ok(Record::Entry(entry)) => entry,
            Ok(_) => return Ok(()),
            Err(error) => return Err(format!("n{node} writes or sends what is no record: {error}")),
        };
        match self.entries.get(&entry.position) {
            Some(known) if known.record != entry.record => {
                Err(format!("n{node} has another entry at {} than was there before", entry.position))
            }
            Some(_) => Ok(()),
            None => {
                if matches!(entry.command(), Ok(Command::Config(_))) {
                    self.memberships.entry(entry.position.index).or_default().push(entry.position);
                }
                self.record_bytes_max = self.record_bytes_max.max(entry.record.len() as u64);
                self.written_at.insert(entry.position, at);
                self.entries.insert(entry.position, entry);
                Ok(())
            }
        }
    }
}
