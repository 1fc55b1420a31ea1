//! The operator's look at an armed cluster while faults come and go: which machines are well, which ways are open, and
//! whether anybody takes writes. Looks and asks; judges nothing.

use synap_core::status::Status;

use super::{Operator, Site, plan_of};
use crate::oracle::{Fact, Look};

/// So many election timeouts without an answered write, and whoever says that it serves is asked for one; then again after
/// each.
const QUIET_TIMEOUTS: u64 = 4;

/// Shows the oracles how everything stands.
pub(super) fn look(site: &mut impl Site) {
    let plan = plan_of(site);
    if !plan.knobs.automatic {
        return;
    }
    let nodes = plan.nodes();
    let statuses: Vec<Option<Status>> = (0..nodes).map(|node| site.status(node)).collect();
    let open: Vec<Vec<bool>> =
        (0..nodes).map(|from| (0..nodes).map(|to| from == to || site.is_open(from, to)).collect()).collect();
    let Operator { ailing, touched, .. } = site.operator();
    let well: Vec<bool> =
        ailing.iter().zip(touched).map(|(ails, touched)| !std::mem::take(touched) && *ails == 0).collect();
    let served_at = site.served_at();
    site.see(&Fact::Looked(Look { well: &well, open: &open, statuses: &statuses, served_at }));
    knock(site);
}

/// A cluster that nobody wrote to for long is asked for a write: that its master says it serves is no proof.
fn knock(site: &mut impl Site) {
    let plan = plan_of(site);
    let timeout_us = plan.election_timeout_us();
    let (now, served_at, knocked_at) = (site.now(), site.served_at(), site.operator().knocked_at);
    if now < served_at + QUIET_TIMEOUTS * timeout_us || now < knocked_at + timeout_us {
        return;
    }
    site.operator().knocked_at = now;
    for node in (0..plan.nodes()).filter(|node| site.serves(*node)).collect::<Vec<_>>() {
        site.knock(node);
    }
}
