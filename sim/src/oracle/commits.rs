//! INV-5: a master commits by counting disks only where the entry is of its own epoch; what came before is committed with
//! it (Raft, section 5.4.2). A membership it writes only once an entry of its own epoch is committed, so that two masters that
//! change one membership in two ways share a voter (a promotion by force, which disarms, asks nobody). And INV-6 for memberships: one leaves its master only when it is on the master's disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::Command;
use synap_core::event::Event;
use synap_core::message::{Append, Message};
use synap_core::position::{Epoch, Index, Position};
use synap_core::wal::Record;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers how far anybody knew entries to be committed.
#[derive(Debug, Default)]
pub(super) struct Commits {
    committed: Index,
    /// How many vote, by each node's own word.
    voters: BTreeMap<usize, Voters>,
    /// The mastership that each node has handed over last in this life. Who hands over commits the last entry before, and tells nobody; if
    /// it is elected again, it knows that still.
    handed_over: BTreeMap<usize, Epoch>,
    /// Where masterships begin that no force has made.
    begins: BTreeMap<Epoch, Index>,
    compared: u64,
}

/// How many vote in one node's eyes. It says so in the turn that writes the membership, just before it writes.
#[derive(Clone, Copy, Debug, Default)]
struct Voters {
    told_at: u64,
    before: usize,
    now: usize,
}

impl Voters {
    fn told(&mut self, at: u64, voters: usize) {
        let before = if at == self.told_at { self.before } else { self.now };
        *self = Self { told_at: at, before, now: voters };
    }

    /// Those whose disks the entries before this turn's membership had to be on.
    fn before(&self, at: u64) -> usize {
        if at == self.told_at { self.before } else { self.now }
    }
}

impl Oracle for Commits {
    fn name(&self) -> &'static str {
        "INV-5 a master commits entries of its own epoch, and the others with them"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Sent { node, message: Message::Append(append), .. } => {
                self.commits(ground, *node, append)?;
                self.membership_is_durable(ground, *node, append)
            }
            Fact::Sent { node, message: Message::Handover(token), .. } => {
                self.handed_over.insert(*node, token.epoch);
                Ok(())
            }
            Fact::Happened { node, event: Event::Regime { voters } } => {
                self.voters.entry(*node).or_default().told(ground.at, voters.len());
                Ok(())
            }
            Fact::Happened { event: Event::EpochOpened { epoch, start, kind }, .. } if !kind.is_by_force() => {
                self.begins.insert(*epoch, *start);
                Ok(())
            }
            Fact::Recorded { node, records } => {
                records.iter().try_for_each(|record| self.changes_membership(ground, *node, record))
            }
            // A disk may remember what was committed and never told, and another disk than before knows other voters, or none.
            Fact::Started { node, .. } => {
                self.voters.remove(node);
                self.handed_over.remove(node);
                let on_disk = ground.on_disk(*node);
                self.committed = self.committed.max(on_disk.node.as_ref().map_or(Index::ZERO, |it| it.committed));
                Ok(())
            }
            Fact::Status { status, .. } => {
                self.committed = self.committed.max(status.positions.applied.index);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl Commits {
    fn commits(&mut self, ground: &Ground<'_>, node: usize, append: &Append) -> Result<(), String> {
        if append.committed <= self.committed {
            return Ok(());
        }
        self.compared += 1;
        self.committed = append.committed;
        let own = Position { epoch: append.epoch, index: append.committed };
        let before = self.handed_over.get(&node).map(|epoch| Position { epoch: *epoch, ..own });
        if [Some(own), before].into_iter().flatten().any(|position| ground.log.get(position).is_some()) {
            return Ok(());
        }
        Err(format!("n{node} says that {} is committed, which is no entry of its epoch {}", own.index, own.epoch))
    }

    /// Whoever writes a membership has committed where its mastership begins.
    fn changes_membership(&mut self, ground: &Ground<'_>, node: usize, record: &Bytes) -> Result<(), String> {
        let Ok(Record::Entry(entry)) = Record::decode(&mut record.clone()) else { return Ok(()) };
        let Position { epoch, index } = entry.position;
        let first = ground.log.written_at(entry.position) == Some(ground.at);
        let Some(start) = self.begins.get(&epoch).filter(|start| first && **start < index) else { return Ok(()) };
        if !matches!(entry.command(), Ok(Command::Config(_))) {
            return Ok(());
        }
        self.compared += 1;
        let begins = Position { epoch, index: *start };
        let held = (0..ground.plan.nodes()).filter(|node| ground.on_disk(*node).holds(begins)).count();
        let voters = self.voters.get(&node).map_or(0, |voters| voters.before(ground.at));
        if held + ground.plan.disks_lost() > voters / 2 {
            return Ok(());
        }
        Err(format!(
            "n{node} writes the membership at {}, and the platters of {held} of {voters} hold {begins}, where its mastership begins",
            entry.position
        ))
    }

    fn membership_is_durable(&mut self, ground: &Ground<'_>, node: usize, append: &Append) -> Result<(), String> {
        // Who keeps no log has no place for it, and whoever votes has.
        if !ground.plan.keeps_log(node) {
            return Ok(());
        }
        let upto = Index(append.prev.index.0 + append.entries.len() as u64);
        for position in ground.log.memberships(append.prev.index, upto) {
            let record = append.entries.get((position.index.0 - append.prev.index.0 - 1) as usize);
            if record.is_none() || record != ground.log.get(position).map(|entry| &entry.record) {
                continue;
            }
            self.compared += 1;
            let on_disk = ground.on_disk(node);
            if !on_disk.holds(position) {
                let last = on_disk.last();
                return Err(format!("n{node} sends the membership at {position}, its disk ends at {last}"));
            }
        }
        Ok(())
    }
}
