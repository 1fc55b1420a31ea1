//! When a cluster has converged, by its nodes' own words.

use synap_core::status::{Role, State, Status};

/// The one serving master, if all nodes are up and hold what it holds.
pub(crate) fn converged(statuses: &[Option<Status>]) -> Option<usize> {
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
    (whole && statuses.iter().all(agrees)).then_some(master)
}
