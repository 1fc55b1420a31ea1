//! INV-15 on links with a bandwidth: while every link carries what it must (`docs/operations.md`) and nothing is wrong with
//! any machine, data alone ends no mastership, however much of it there is: the master keeps its lease. Judged from when the
//! cluster has settled after the last thing that went wrong.

use synap_core::position::Epoch;
use synap_core::status::{Role, State, Status};

use crate::oracle::{Fact, Ground, Look, Oracle};
use crate::plan::{Plan, What};

/// How the cluster has been of late.
#[derive(Debug, Default)]
pub(super) struct Deposed {
    /// Since when nothing has been wrong with anybody.
    since: u64,
    /// Who leads, in which epoch, once that has settled.
    settled: Option<(usize, Epoch)>,
    compared: u64,
}

/// What an election and all that follows from it may take after something went wrong, in election timeouts.
const SETTLES_TIMEOUTS: u64 = 10;

/// The longest drift of a clock, in millionths, that a lease is good for; half of it is left for delays.
const DRIFT_PPM_MAX: u32 = 1_000;

impl Deposed {
    fn look(&mut self, plan: &Plan, at: u64, look: &Look<'_>) -> Result<(), String> {
        let whole = look.well.iter().all(|well| *well)
            && look.open.iter().flatten().all(|open| *open)
            && look.statuses.iter().all(|status| status.as_ref().is_some_and(|status| status.failover.armed));
        if !whole {
            *self = Self { since: at, compared: self.compared, ..Self::default() };
            return Ok(());
        }
        if at < self.since + SETTLES_TIMEOUTS * plan.election_timeout_us() {
            return Ok(());
        }
        let Some((node, epoch)) = self.settled else {
            self.settled = leader(look);
            return Ok(());
        };
        self.compared += 1;
        let Some(status) = &look.statuses[node] else { return Ok(()) };
        if leads(status) && status.epoch == epoch && status.lease_remaining.is_some_and(|left| !left.is_zero()) {
            return Ok(());
        }
        Err(format!(
            "n{node} led in epoch {epoch} and nothing went wrong; it is {} {} of epoch {}, with {:?} of its lease left",
            status.role.as_str(),
            status.state.as_str(),
            status.epoch,
            status.lease_remaining
        ))
    }
}

impl Oracle for Deposed {
    fn name(&self) -> &'static str {
        "INV-15 data alone deposes no master"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { .. } | Fact::Ended { .. } => {
                *self = Self { since: ground.at, compared: self.compared, ..Self::default() };
                Ok(())
            }
            Fact::Looked(look) if judges(ground.plan) => self.look(ground.plan, ground.at, look),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

fn leads(status: &Status) -> bool {
    status.role == Role::Master && status.state == State::Serving
}

fn leader(look: &Look<'_>) -> Option<(usize, Epoch)> {
    let statuses = look.statuses.iter().enumerate();
    statuses.filter_map(|(node, status)| Some((node, status.as_ref()?))).find_map(|(node, status)| {
        let all_follow = look.statuses.iter().flatten().all(|other| other.epoch == status.epoch);
        (leads(status) && all_follow).then_some((node, status.epoch))
    })
}

/// Whether this plan has links with a bandwidth, and nothing else in it may end a mastership where nothing is wrong: an
/// operator who moves it, members who are wanted more than others, delays and clocks that leave a lease no room.
fn judges(plan: &Plan) -> bool {
    let slow = plan.slowest_bytes_per_sec() > 0 && plan.is_enough(plan.network.bytes_per_sec);
    let moved = plan.faults.iter().any(|fault| {
        matches!(
            fault.what,
            What::Promote(..)
                | What::EditRole(_)
                | What::Switchover(_)
                | What::Priority(..)
                | What::Remove(_)
                | What::SwapDisks(..)
        )
    });
    let round_us = 2 * plan.network.delay_us_max + plan.disk.sync_us_max + plan.disk.op_us_max;
    plan.knobs.automatic
        && slow
        && !moved
        && plan.knobs.own.is_empty()
        && plan.network.straggler_per_mille == 0
        && plan.knobs.drift_ppm_max <= DRIFT_PPM_MAX
        && round_us * 10 <= plan.election_timeout_us()
}
