//! Disks that are damaged, replaced, exchanged or put back, and what the operator does about them.

use synap_core::config::RoleHint;
use synap_core::status::{Role, State, Status};

use super::{Site, plan_of};
use crate::disk::ModelDisk;
use crate::oracle::{Fact, Violation};
use crate::run::Verdict;
use crate::trace::Step;

/// How long a machine takes to start again on a damaged disk.
const RESTART_US: u64 = 100_000;

/// How long the operator takes to put in a new disk.
const REPLACE_US: u64 = 300_000;

/// Something durable is no more what it was; the machine starts again and finds it so.
pub(super) fn damage(site: &mut impl Site, node: usize, harm: impl FnOnce(&mut ModelDisk) -> bool) {
    site.end(node, true, "out of power, and its disk is damaged");
    harm(&mut site.disk(node));
    // Damage that recovery can tell must be told, and then the disk is replaced. What cannot be told from a torn end may be
    // gone without a word.
    if site.on_disk(node).problem.is_none() {
        site.see(&Fact::DiskLost { node });
    }
    site.start_after(RESTART_US, node);
}

/// An empty disk: the node will be a new one, and joins whoever leads.
pub(super) fn new_disk(site: &mut impl Site, node: usize) {
    let nodes = plan_of(site).nodes();
    let master = (0..nodes).filter(|other| *other != node).find(|other| site.serves(*other));
    site.disk(node).wipe();
    site.setup(node, |setup| {
        setup.disks += 1;
        setup.role = RoleHint::Replica;
        setup.master = master.unwrap_or((node + 1) % nodes);
    });
    site.see(&Fact::DiskLost { node });
}

/// An empty disk with the newest snapshot of another node and nothing that says whose it is: a new node that begins there. Who is
/// told that the copy has failed leaves the disk empty.
pub(super) fn restored_disk(site: &mut impl Site, node: usize, from: usize) {
    let files = site.disk(from).on_disk();
    let newest = files.into_iter().rfind(|(name, _)| name.starts_with("snapshot-") && name.ends_with(".snap"));
    new_disk(site, node);
    let failed = newest.is_some_and(|(name, bytes)| site.disk(node).put_back(&name, bytes).is_err());
    if failed {
        site.disk(node).wipe();
    }
}

/// Another machine gets a copy of a node's directory while that runs, and starts on it: as the same node, which is refused. Only where
/// the cluster knows the first one, by a connection that stands: else the copy would be let in as that node, and nobody could tell.
pub(super) fn copied_disk(site: &mut impl Site, fault: usize, from: usize, to: usize) -> bool {
    let nodes = plan_of(site).nodes();
    let leads: Vec<usize> = (0..nodes).filter(|node| site.serves(*node)).collect();
    let streams = |status: Status| status.role == Role::Replica && status.state == State::Streaming;
    let known = leads.len() == 1 && (leads == [from] || site.status(from).is_some_and(streams));
    if !known || leads.contains(&to) {
        return false;
    }
    site.end(to, true, "out of power, and gets a copy of another one's disk");
    let mut copy = site.disk(from).clone();
    copy.power_cut();
    site.disk(to).restore(&copy);
    site.operator().copies.insert(fault, copy);
    site.see(&Fact::DiskLost { node: to });
    site.see(&Fact::Copied { from, to });
    site.start_after(RESTART_US, to);
    true
}

/// The machine that had the copy gets an empty disk.
pub(super) fn empty_copy(site: &mut impl Site, fault: usize, to: usize) {
    if site.operator().copies.remove(&fault).is_none() {
        return;
    }
    let status = site.status(to);
    site.see(&Fact::CopyEnds { node: to, status: status.as_ref() });
    site.end(to, true, "out of power, and gets an empty disk");
    new_disk(site, to);
    site.start_after(REPLACE_US, to);
}

/// The copy that was made when the fault began takes the place of the disk.
pub(super) fn older_disk(site: &mut impl Site, fault: usize, node: usize) {
    let Some(copy) = site.operator().copies.remove(&fault) else { return };
    site.end(node, true, "out of power, and an older copy of its disk is put back");
    site.disk(node).restore(&copy);
    site.see(&Fact::DiskLost { node });
    site.start_after(RESTART_US, node);
}

/// Each of two machines has the other's disk, and with it the other's node.
pub(super) fn swap_disks(site: &mut impl Site, one: usize, other: usize) {
    site.disk(one).exchange(&mut site.disk(other));
    for node in [one, other] {
        // What is still empty becomes a node that nobody has been.
        site.setup(node, |setup| setup.disks += 1);
    }
    site.see(&Fact::DisksSwapped { one, other });
}

/// Recovery refuses a disk. If the disk is to blame, the operator puts a new one in.
pub(crate) fn unrecoverable(site: &mut impl Site, node: usize, why: &str) {
    site.note(&[42, node as u64], || Step::Told {
        node,
        loud: true,
        text: format!("recovery refuses the disk: {why}"),
    });
    if site.disk(node).counts().damages == 0 {
        let cause = format!("n{node}: recovery refuses a disk that only lost its power: {why}");
        let oracle = "INV-9 replay of what is on disk gives the state";
        let at = site.now();
        return site.finish(Verdict::Safety(Violation { oracle, at, cause }));
    }
    site.see(&Fact::Unrecoverable { node, why: why.to_owned() });
    new_disk(site, node);
    site.start_after(REPLACE_US, node);
}

/// Whether a node's disk says that it belongs to a cluster. Nobody makes a master of a replica that is still empty: it would
/// found a cluster of its own, as an empty master should.
pub(super) fn may_lead(site: &impl Site, node: usize) -> bool {
    site.on_disk(node).node.as_ref().is_some_and(|node| node.hard_state.cluster.is_some())
}
