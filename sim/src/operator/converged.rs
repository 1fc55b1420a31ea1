//! When a cluster has converged, by its nodes' own words, and whether those that are left owe that. A status is missing
//! where a node is down.

use synap_core::status::{MemberStatus, Role, State, Status};

use crate::plan::Plan;

/// The one serving master, if all nodes that are not given up are up and hold what it holds.
pub(crate) fn converged(plan: &Plan, statuses: &[Option<Status>]) -> Option<usize> {
    let serves = |status: &Status| status.role == Role::Master && status.state == State::Serving;
    let master = statuses.iter().position(|status| status.as_ref().is_some_and(serves))?;
    let lead = statuses[master].as_ref()?;
    let whole = lead.positions.applied == lead.positions.last;
    let agrees = |status: &Option<Status>| {
        status.as_ref().is_some_and(|status| {
            status.node == lead.node
                || status.role == Role::Replica
                    && status.state == State::Streaming
                    && status.positions.applied == lead.positions.applied
                    && status.positions.durable == lead.positions.last.index
                    && status.lag_operations == 0
        })
    };
    // Who never joined knows nobody but the master in its file, and is sent on from there to where the present one says to be.
    let knows_nobody = |status: &Option<Status>| status.as_ref().is_some_and(|status| status.cluster.is_none());
    let excused =
        |status: &Option<Status>| (!plan.broken.is_empty() || plan.is_hidden(master)) && knows_nobody(status);
    let mut others = statuses.iter().enumerate().filter(|(node, _)| !plan.is_broken(*node));
    (whole && others.all(|(_, status)| agrees(status) || excused(status))).then_some(master)
}

/// How many besides the master belong to the cluster and hold a copy: of what a master has in its log a copy is in a log.
pub(crate) fn copies(plan: &Plan, master: usize, statuses: &[Option<Status>]) -> u32 {
    let joined = |status: &Option<Status>| status.as_ref().is_some_and(|status| status.cluster.is_some());
    let counts = |node: usize| plan.keeps_log(node) || !plan.keeps_log(master);
    let others = statuses.iter().enumerate().filter(|(node, _)| *node != master);
    others.filter(|(node, status)| joined(status) && counts(*node)).count() as u32
}

/// Whether these nodes owe service (INV-13: given a quorum): armed, a majority of the voters is among them and one of those
/// may lead; unarmed, the master is.
pub(crate) fn owe_service(statuses: &[Option<Status>]) -> bool {
    let up = || statuses.iter().flatten();
    let Some(freshest) = up().max_by_key(|status| (status.positions.last, status.positions.committed)) else {
        return false;
    };
    if !freshest.failover.armed {
        return up().any(|status| status.role == Role::Master);
    }
    let voters: Vec<&MemberStatus> = freshest.members.iter().filter(|member| member.voter).collect();
    let here = || voters.iter().filter(|voter| up().any(|status| status.node == voter.node));
    here().count() * 2 > voters.len() && here().any(|voter| voter.priority > 0)
}
