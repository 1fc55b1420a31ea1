//! Status against the truth of the disk: a node on whose disk an operation of the log stands, and has for long, says so, takes
//! no writes and does not count itself among those that may lead.

use synap_core::event::Event;
use synap_core::status::{Alarm, State, Status};

use crate::oracle::{Fact, Ground, Oracle};

/// Looks at how a node's disk does, and at what the node says of that.
#[derive(Debug)]
pub(super) struct DiskTells {
    watched: Vec<Watched>,
    compared: u64,
}

/// One node.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    life: u32,
    looked_at: u64,
    /// For how long the disk has been seen to do nothing, in microseconds; a gap between two looks, in which the process may
    /// have stood still itself, counts little.
    stuck_us: u64,
}

/// A node has so many of its election timeouts to notice.
const NOTICED_WITHIN: u64 = 3;

impl DiskTells {
    pub(super) fn new(nodes: usize) -> Self {
        Self { watched: vec![Watched::default(); nodes], compared: 0 }
    }
}

impl Oracle for DiskTells {
    fn name(&self) -> &'static str {
        "a node says that its disk does nothing"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let (node, life, status) = match fact {
            Fact::Status { node, life, status, .. } => (node, life, status),
            // Between two times that it hangs the disk may work for less than the time from one look to the next.
            Fact::Happened { node, event: Event::DiskHangs { alarm: Alarm::DiskHangs, on: false, .. } } => {
                self.watched[*node].stuck_us = 0;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let watched = &mut self.watched[*node];
        let patience_us = ground.plan.election_timeout_us();
        let gap_us = ground.at.saturating_sub(watched.looked_at).min(patience_us / 4);
        // A disk that is full as well is told to be that; whether it does anything else is looked at from then on.
        let full = status.alarms.contains(&Alarm::DiskFull);
        let goes_on = ground.disk_is_stuck(*node) && watched.life == *life && !full;
        let stuck_us = if goes_on { watched.stuck_us + gap_us } else { 0 };
        *watched = Watched { life: *life, looked_at: ground.at, stuck_us };
        if stuck_us <= patience_us * NOTICED_WITHIN {
            return Ok(());
        }
        self.compared += 1;
        told(status).map_err(|why| format!("n{node}: its disk has done nothing for {stuck_us} us, {why}"))
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

fn told(status: &Status) -> Result<(), &'static str> {
    if !status.alarms.contains(&Alarm::DiskHangs) {
        return Err("and no alarm is on");
    }
    if status.state == State::Serving {
        return Err("and it says that it serves");
    }
    if status.members.iter().any(|member| member.node == status.node && member.eligible == Some(true)) {
        return Err("and it counts itself among those that may lead");
    }
    Ok(())
}
