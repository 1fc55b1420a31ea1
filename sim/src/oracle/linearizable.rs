//! Linearizable reads see everything that was committed by an answer before they were asked. Values and order are the
//! business of the history's replay: here only the position that a read saw counts.

use std::collections::BTreeMap;

use synap_core::position::Index;

use super::quorum_durable::counts_votes;
use crate::oracle::{Fact, Ground, Oracle};

/// Remembers how far answers had come, and when.
#[derive(Debug, Default)]
pub(super) struct Linearizable {
    /// By time: the highest index answered as committed until then.
    answered: BTreeMap<u64, Index>,
    compared: u64,
}

impl Oracle for Linearizable {
    fn name(&self) -> &'static str {
        "INV-8 a linearizable read sees what was answered before it"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Written { written, .. } if counts_votes(written.concern) => {
                let known = self.answered.last_key_value().map_or(Index::ZERO, |(_, index)| *index);
                self.answered.insert(ground.at, known.max(written.position.index));
                Ok(())
            }
            // An operator's promotion may take back what one disk had committed.
            Fact::Read { node, applied, linearizable_since: Some(since), .. } if !ground.plan.changes_master() => {
                self.compared += 1;
                match self.answered.range(..*since).next_back() {
                    Some((at, index)) if *index > applied.index => Err(format!(
                        "n{node} answers a linearizable read at {applied}; {index} was answered {} us before it was asked",
                        since - at
                    )),
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
