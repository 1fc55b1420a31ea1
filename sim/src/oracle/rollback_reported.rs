//! INV-10: nothing is truncated without a durable rollback file that names it. Looked at on the disks: what was
//! once durable in a log and is now neither there, nor in the final history, is named in a rollback file.

use std::collections::{BTreeMap, BTreeSet};

use synap_core::event::Event;
use synap_core::position::{Index, Position};

use crate::oracle::{Fact, Ground, OnDisk, Oracle};

/// Remembers what each disk held.
#[derive(Debug)]
pub(super) struct RollbackReported {
    held: Vec<BTreeMap<Index, Position>>,
    /// What a rollback file on its disk named when the node said so. A disk may lose that file later, and the node need not
    /// write it once more.
    named: Vec<BTreeSet<Position>>,
    compared: u64,
}

impl RollbackReported {
    pub(super) fn new(nodes: usize) -> Self {
        Self { held: vec![BTreeMap::new(); nodes], named: vec![BTreeSet::new(); nodes], compared: 0 }
    }
}

impl Oracle for RollbackReported {
    fn name(&self) -> &'static str {
        "INV-10 nothing is truncated without a durable rollback file"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::DiskLost { node } => {
                self.held[*node].clear();
                Ok(())
            }
            Fact::DisksSwapped { one, other } => {
                self.held.swap(*one, *other);
                self.named.swap(*one, *other);
                Ok(())
            }
            Fact::Happened { node, event: Event::RolledBack { .. } } => {
                let on_disk = ground.on_disk(*node);
                self.named[*node].extend(on_disk.rolled_back.iter().copied());
                self.look(ground, *node, &on_disk)
            }
            Fact::Happened { node, event: Event::SnapshotInstalled { .. } }
            | Fact::Ended { node, .. }
            | Fact::Started { node, .. } => self.look(ground, *node, &ground.on_disk(*node)),
            Fact::Status { node, .. } if ground.at.is_multiple_of(16) && ground.sampled(*node as u64 + 64) => {
                self.look(ground, *node, &ground.on_disk(*node))
            }
            Fact::Converged { statuses, .. } => (0..statuses.len())
                .filter(|node| statuses[*node].is_some())
                .try_for_each(|node| self.look(ground, node, &ground.on_disk(node))),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl RollbackReported {
    fn look(&mut self, ground: &Ground<'_>, node: usize, on_disk: &OnDisk) -> Result<(), String> {
        let Some(recovered) = &on_disk.node else { return Ok(()) };
        // What a restart finds is what was written.
        let other = recovered
            .entries
            .iter()
            .find(|entry| ground.log.get(entry.position).is_some_and(|written| written.record != entry.record));
        if let Some(other) = other {
            return Err(format!("n{node} holds another entry at {} than was written", other.position));
        }
        let held = &mut self.held[node];
        let last = on_disk.last().index;
        // Everything above the log's end is gone; below it, what another epoch holds now.
        let gone: Vec<Position> = held
            .values()
            .filter(|was| was.index > last || on_disk.epoch_at(was.index).is_some_and(|epoch| epoch != was.epoch))
            .copied()
            .collect();
        for was in gone {
            self.compared += 1;
            if !on_disk.reports(was) && !self.named[node].contains(&was) {
                return Err(format!(
                    "n{node} held {was} on its disk, which now ends at {}; no durable rollback file names it",
                    on_disk.last()
                ));
            }
            held.remove(&was.index);
        }
        held.extend(recovered.entries.iter().map(|entry| (entry.position.index, entry.position)));
        Ok(())
    }
}
