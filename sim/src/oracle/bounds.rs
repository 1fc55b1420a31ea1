//! INV-12: what a node keeps has the bound that it states.

use crate::oracle::{Fact, Ground, Oracle};

/// Requests that may wait in one node. Clients of a simulation are few: more waiters than this are forgotten ones.
const WAITING_MAX: u64 = 64;

/// Looks at what a node says that it keeps.
#[derive(Debug)]
pub(super) struct Bounds;

impl Oracle for Bounds {
    fn name(&self) -> &'static str {
        "INV-12 every queue keeps its bound"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Status { node, status, .. } = fact else { return Ok(()) };
        // What is not applied and durable stays, whatever the bound says; a word in the middle of a turn may come before the
        // rest has gone.
        let positions = &status.positions;
        let unsettled = positions.last.index.ahead_of(positions.applied.index.min(positions.durable));
        let tail_bytes_max = ground.plan.knobs.tail_bytes_max + unsettled * ground.log.record_bytes_max();
        if status.tail_bytes > tail_bytes_max {
            return Err(format!("n{node} keeps {} bytes of log in memory", status.tail_bytes));
        }
        if status.waiting > WAITING_MAX {
            return Err(format!("{} requests wait on n{node}", status.waiting));
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        1
    }
}
