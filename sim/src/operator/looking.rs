//! The operator's look at an armed cluster while faults come and go: which machines are well, which ways are open, and
//! whether anybody takes writes. Looks and asks; judges nothing.

use std::collections::BTreeSet;

use synap_core::config::RoleHint;
use synap_core::status::{State, Status};

use super::{Operator, Site, plan_of};
use crate::disk::Hand;
use crate::oracle::{Fact, Look};
use crate::plan::config::REPLICATION_PORT;
use crate::plan::places::Named;

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
    let finds: Vec<Vec<bool>> = (0..nodes).map(|node| finds(site, node, statuses[node].as_ref())).collect();
    let Operator { ailing, touched, .. } = site.operator();
    let mut well: Vec<bool> =
        ailing.iter().zip(touched).map(|(ails, touched)| !std::mem::take(touched) && *ails == 0).collect();
    // A hand on the disk that does nothing but write snapshots ails whoever takes one from its master.
    for (node, well) in well.iter_mut().enumerate() {
        let syncs = statuses[node].as_ref().is_some_and(|status| status.state == State::Syncing);
        *well &= !(syncs && site.disk(node).hangs(Hand::Snapshot));
    }
    let served_at = site.served_at();
    site.see(&Fact::Looked(Look { well: &well, open: &open, finds: &finds, statuses: &statuses, served_at }));
    knock(site);
}

/// Whom a node finds by itself: at an address of its log, its own included, where another one may be by now, or where its file has
/// the master. A name that stands for all of them leads to somebody, and to nobody in particular.
fn finds(site: &mut impl Site, node: usize, status: Option<&Status>) -> Vec<bool> {
    let plan = plan_of(site);
    let (role, master) = site.setup(node, |setup| (setup.role, setup.master));
    let named = (role == RoleHint::Replica && !plan.knobs.one_name).then_some(master);
    let addresses = status.iter().flat_map(|status| &status.members).map(|member| member.replication.as_str());
    let found: BTreeSet<usize> = addresses.filter_map(|address| who_is_at(site, address)).chain(named).collect();
    (0..plan.nodes()).map(|other| other == node || found.contains(&other)).collect()
}

/// The node that listens there.
fn who_is_at(site: &mut impl Site, address: &str) -> Option<usize> {
    let nodes = plan_of(site).nodes();
    let (host, port) = address.rsplit_once(':')?;
    let node = match Named::read(host) {
        Named::Node(node) | Named::Proxy(node) => Some(node),
        Named::Place(place) => (0..nodes).find(|node| site.setup(*node, |setup| setup.place == place)),
        Named::All | Named::Nobody => None,
    };
    node.filter(|node| *node < nodes && port.parse() == Ok(REPLICATION_PORT))
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
