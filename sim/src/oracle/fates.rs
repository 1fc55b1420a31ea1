//! INV-8: what a node says became of a write stays true. One that is called committed is in the log that everybody ends with,
//! one that is called rolled back is not; nobody calls committed what another calls rolled back; and what was answered as
//! committed by a majority is never called rolled back. A promotion and a disk that is lost may take back what one disk had
//! committed: plans with such are not asked.

use std::collections::BTreeMap;

use synap_core::history::History;
use synap_core::output::Fate;
use synap_core::position::Position;

use super::quorum_durable::counts_votes;
use crate::oracle::{Fact, Ground, Oracle};

/// What was told of each write, and by whom.
#[derive(Debug, Default)]
pub(super) struct Fates {
    told: BTreeMap<Position, (usize, bool)>,
    compared: u64,
}

impl Fates {
    /// It stays (true), or it does not.
    fn tells(&mut self, node: usize, position: Position, stays: bool) -> Result<(), String> {
        self.compared += 1;
        let word = |stays: bool| if stays { "committed" } else { "rolled back" };
        match self.told.insert(position, (node, stays)) {
            Some((other, before)) if before != stays => {
                let (one, two) = (word(stays), word(before));
                Err(format!("n{node} says that {position} is {one}, n{other} has said that it is {two}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn settle(&self, history: &History, last: Position) -> Result<(), String> {
        for (position, (node, stays)) in &self.told {
            // Of what the history has forgotten nothing can be said.
            let Some(epoch) = history.epoch_at(position.index) else { continue };
            let holds = epoch == position.epoch && position.index <= last.index;
            if holds != *stays {
                let word = if *stays { "committed, and it is not in" } else { "rolled back, and it is in" };
                return Err(format!("n{node} has said that {position} is {word} the log that ends at {last}"));
            }
        }
        Ok(())
    }
}

impl Oracle for Fates {
    fn name(&self) -> &'static str {
        "INV-8 what is told of a write stays true"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        if ground.plan.changes_master() || ground.plan.disks_lost() > 0 {
            return Ok(());
        }
        match fact {
            Fact::Written { node, written, .. } if counts_votes(written.concern) => {
                self.tells(*node, written.position, true)
            }
            Fact::Fate { node, position, fate: Fate::Committed } => self.tells(*node, *position, true),
            Fact::Fate { node, position, fate: Fate::RolledBack } => self.tells(*node, *position, false),
            Fact::Converged { node, history, statuses, .. } => match statuses.get(*node) {
                Some(Some(status)) => self.settle(history, status.positions.last),
                Some(None) | None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
