//! INV-1: lease intervals of two masters never overlap, in true time. A master that holds a lease says until when; that
//! word stands until it says another, stops leading or dies.

use std::collections::BTreeMap;

use synap_core::position::Epoch;
use synap_core::status::{Role, State, Status};

use crate::oracle::{Fact, Ground, Oracle};

/// How far a clock may drift, in millionths, for a lease to hold: 1 %.
const DRIFT_PPM_MAX: u32 = 10_000;

/// Remembers until when each node believes that it alone leads.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<usize, (Epoch, u64)>,
    /// The highest epoch in which a write was answered.
    answered: Epoch,
    compared: u64,
}

impl Oracle for Leases {
    fn name(&self) -> &'static str {
        "INV-1 lease intervals of two masters never overlap"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        // Clocks that drift more than the lease allows for make no promise of it, and force asks nobody.
        if ground.plan.knobs.drift_ppm_max > DRIFT_PPM_MAX || ground.plan.forces_promotion() {
            return Ok(());
        }
        match fact {
            Fact::Leads { node, epoch, until: Some(until) } => {
                self.held.insert(*node, (*epoch, *until));
                self.compared += 1;
                let other = self.held.iter().find(|(other, (_, until))| *other != node && *until > ground.at);
                other.filter(|_| *until > ground.at).map_or(Ok(()), |(other, (theirs, until))| {
                    Err(format!(
                        "n{node} leads in epoch {epoch} while n{other} leads in epoch {theirs}, for {} us more",
                        until - ground.at
                    ))
                })
            }
            Fact::Written { written, voters: Some(_), .. } => {
                self.answered = self.answered.max(written.position.epoch);
                Ok(())
            }
            // Whoever serves answers: with a master of a higher epoch answering too there are two.
            Fact::Status { node, status, .. } if serves_armed(status) => {
                self.compared += 1;
                if status.epoch >= self.answered {
                    return Ok(());
                }
                Err(format!(
                    "n{node} serves in epoch {}, in epoch {} writes have been answered",
                    status.epoch, self.answered
                ))
            }
            Fact::Leads { node, until: None, .. } | Fact::Ended { node, .. } => {
                self.held.remove(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

fn serves_armed(status: &Status) -> bool {
    status.role == Role::Master && status.state == State::Serving && status.failover.armed
}
