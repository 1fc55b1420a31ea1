//! INV-10: nothing is truncated without a durable rollback file that names it. Looked at on the platters: what was
//! once durable in a log and is now neither there, nor in the final history, is named in a rollback file.

use std::collections::{BTreeMap, BTreeSet};

use synap_core::event::Event;
use synap_core::position::{Index, Position};

use crate::oracle::{Fact, Ground, Oracle, Platter};

/// Remembers what each platter held.
#[derive(Debug)]
pub(super) struct RollbackReported {
    held: Vec<BTreeMap<Index, Position>>,
    /// What a rollback file on its platter named when the node said so. A disk may lose that file later, and the node need not
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
                let platter = ground.platter(*node);
                self.named[*node].extend(platter.rolled_back.iter().copied());
                self.look(ground, *node, &platter)
            }
            Fact::Happened { node, event: Event::SnapshotInstalled { .. } }
            | Fact::Ended { node, .. }
            | Fact::Started { node, .. } => self.look(ground, *node, &ground.platter(*node)),
            Fact::Status { node, .. } if ground.at.is_multiple_of(16) && ground.sampled(*node as u64 + 64) => {
                self.look(ground, *node, &ground.platter(*node))
            }
            Fact::Converged { statuses, .. } => (0..statuses.len())
                .filter(|node| statuses[*node].is_some())
                .try_for_each(|node| self.look(ground, node, &ground.platter(node))),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl RollbackReported {
    fn look(&mut self, ground: &Ground<'_>, node: usize, platter: &Platter) -> Result<(), String> {
        let Some(recovered) = &platter.node else { return Ok(()) };
        // What a restart finds is what was written.
        let other = recovered
            .entries
            .iter()
            .find(|entry| ground.log.get(entry.position).is_some_and(|written| written.record != entry.record));
        if let Some(other) = other {
            return Err(format!("n{node} holds another entry at {} than was written", other.position));
        }
        let held = &mut self.held[node];
        let last = platter.last().index;
        // Everything above the log's end is gone; below it, what another epoch holds now.
        let gone: Vec<Position> = held
            .values()
            .filter(|was| was.index > last || platter.epoch_at(was.index).is_some_and(|epoch| epoch != was.epoch))
            .copied()
            .collect();
        for was in gone {
            self.compared += 1;
            if !platter.reports(was) && !self.named[node].contains(&was) {
                return Err(format!(
                    "n{node} held {was} on its platter, which now ends at {}; no durable rollback file names it",
                    platter.last()
                ));
            }
            held.remove(&was.index);
        }
        held.extend(recovered.entries.iter().map(|entry| (entry.position.index, entry.position)));
        Ok(())
    }
}
