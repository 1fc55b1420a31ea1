//! INV-5, the second half: a committed entry never changes. Unarmed, a promotion may take one back; then a rollback
//! file on that node's disk names it.

use std::collections::BTreeMap;

use synap_core::event::Event;
use synap_core::position::{Index, Position};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers what each node said to be applied, and where.
#[derive(Debug)]
pub(super) struct CommittedNeverChanges {
    applied: Vec<BTreeMap<Index, Position>>,
    compared: u64,
}

impl CommittedNeverChanges {
    pub(super) fn new(nodes: usize) -> Self {
        Self { applied: vec![BTreeMap::new(); nodes], compared: 0 }
    }
}

impl Oracle for CommittedNeverChanges {
    fn name(&self) -> &'static str {
        "INV-5 a committed entry never changes"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::DiskLost { node } => {
                self.applied[*node].clear();
                Ok(())
            }
            Fact::DisksSwapped { one, other } => {
                self.applied.swap(*one, *other);
                Ok(())
            }
            // Where replicas elect and nobody promotes, what was applied was committed by a majority, or by the only
            // master that there was: no election takes it back.
            Fact::Happened { node, event: Event::RolledBack { from, upto, applied: true, .. } }
                if ground.plan.knobs.automatic && !ground.plan.changes_master() =>
            {
                Err(format!("n{node} rolls back {from} to {upto}, which it had applied"))
            }
            Fact::Status { node, status, .. } => {
                let now = status.positions.applied;
                self.compared += 1;
                let before = self.applied[*node].insert(now.index, now);
                // A node without a log has nothing to save but what is in memory: others, which keep one, report it.
                let saves = ground.plan.keeps_log(*node);
                match before {
                    Some(before)
                        if saves && before.epoch != now.epoch && !ground.on_disk(*node).reports(before) =>
                    {
                        Err(format!(
                            "n{node} had applied {before} and now has {now} there; no durable rollback file names it"
                        ))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
