//! INV-5: a master commits by counting disks only where the entry is of its own epoch; what came before is committed with
//! it (Raft, section 5.4.2). And INV-6 for memberships: one leaves its master only when it is on the master's disk.

use synap_core::message::{Append, Message};
use synap_core::position::{Index, Position};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers how far anybody knew entries to be committed.
#[derive(Debug, Default)]
pub(super) struct Commits {
    committed: Index,
    compared: u64,
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
            // A disk may remember what was committed and never told.
            Fact::Started { node, .. } => {
                let platter = ground.platter(*node);
                self.committed = self.committed.max(platter.node.as_ref().map_or(Index::ZERO, |it| it.committed));
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
        if ground.log.get(own).is_some() {
            return Ok(());
        }
        Err(format!("n{node} says that {} is committed, which is no entry of its epoch {}", own.index, own.epoch))
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
            let platter = ground.platter(node);
            if !platter.holds(position) {
                let last = platter.last();
                return Err(format!("n{node} sends the membership at {position}, its platter ends at {last}"));
            }
        }
        Ok(())
    }
}
