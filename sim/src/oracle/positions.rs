//! INV-4: applied <= committed <= last, durable <= last, and none but `last` goes back within one life of a process;
//! a rollback is the exception, and it is recorded.

use synap_core::event::Event;
use synap_core::status;

use crate::oracle::{Fact, Ground, Oracle};

/// Compares each node's word with its word before.
#[derive(Debug)]
pub(super) struct Positions {
    before: Vec<Option<(u32, status::Positions)>>,
    compared: u64,
}

impl Positions {
    pub(super) fn new(nodes: usize) -> Self {
        Self { before: vec![None; nodes], compared: 0 }
    }
}

impl Oracle for Positions {
    fn name(&self) -> &'static str {
        "INV-4 positions are in order and do not go back"
    }

    fn see(&mut self, _: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Happened { node, event: Event::RolledBack { .. } | Event::SnapshotInstalled { .. } } => {
                self.before[*node] = None;
                Ok(())
            }
            Fact::Status { node, life, status, .. } => {
                self.compared += 1;
                let now = status.positions;
                let before = self.before[*node].replace((*life, now));
                in_order(&now).map_err(|why| format!("n{node}: {why}: {now:?}"))?;
                match before {
                    Some((lived, before)) if lived == *life => forwards(&before, &now)
                        .map_err(|what| format!("n{node}: {what} went back: {before:?}, {now:?}")),
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

fn in_order(now: &status::Positions) -> Result<(), &'static str> {
    if now.applied.index > now.committed {
        return Err("applied beyond committed");
    }
    if now.committed > now.last.index {
        return Err("committed beyond last");
    }
    if now.durable > now.last.index {
        return Err("durable beyond last");
    }
    Ok(())
}

fn forwards(before: &status::Positions, now: &status::Positions) -> Result<(), &'static str> {
    if now.applied.index < before.applied.index {
        return Err("applied");
    }
    if now.committed < before.committed {
        return Err("committed");
    }
    if now.durable < before.durable && now.last.index >= before.last.index {
        return Err("durable");
    }
    Ok(())
}
