//! What an operator decides from how the nodes stand, where no machine mends it by itself. Looks and decides; whoever
//! runs a level carries it out.

use synap_core::ids::NodeId;
use synap_core::status::{Role, State, Status};

use crate::plan::Plan;

/// What an operator has in mind.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    /// Since when no node is a master.
    headless_since: Option<u64>,
    /// Since when more than one is.
    forked_since: Option<u64>,
    /// Since when a voter has been missing whose disk is no more.
    bereaved_since: Option<u64>,
    /// Since when a node has refused the only master.
    shunned_since: Option<u64>,
    promotions: u32,
}

/// A node to be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promote {
    pub(crate) node: usize,
    pub(crate) force: bool,
    /// Its process is started anew before: what is on its disk may be whole where its state is not.
    pub(crate) restart: bool,
}

/// A member to be taken out of the cluster, by this master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bury {
    pub(crate) master: usize,
    pub(crate) dead: NodeId,
}

/// Masters that are to follow another one from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repoint {
    pub(crate) master: usize,
    pub(crate) others: Vec<usize>,
}

/// How long the operator waits for a master to come back before promoting another.
const HEADLESS_US: u64 = 5_000_000;

/// How long the operator waits for a voter whose disk was replaced.
const BEREAVED_US: u64 = 1_000_000;

/// How long the operator watches replicas refuse a master.
const SHUNNED_US: u64 = 20_000_000;

/// How long the operator leaves two masters to find each other.
const FORKED_US: u64 = 15_000_000;

impl Admin {
    /// A node to be promoted, if one must be.
    pub(crate) fn unled(&mut self, plan: &Plan, now: u64, statuses: &[Option<Status>]) -> Option<Promote> {
        self.headless(plan, now, statuses).or_else(|| self.shunned(plan, now, statuses))
    }

    /// Unarmed, a master that is gone for good is replaced by an operator. Only where the plan makes that needful.
    fn headless(&mut self, plan: &Plan, now: u64, statuses: &[Option<Status>]) -> Option<Promote> {
        let up = statuses.iter().flatten();
        let freshest = up.clone().max_by_key(|status| (status.positions.last, status.positions.committed));
        let elects = freshest.is_some_and(|status| status.failover.armed);
        let needful = plan.changes_master() || plan.removes_members();
        if elects || up.clone().any(|status| status.role == Role::Master) || !needful {
            self.headless_since = None;
            return None;
        }
        if !has_lasted(&mut self.headless_since, now, HEADLESS_US) {
            return None;
        }
        self.promotions += 1;
        // The longest log first; by force when asking nicely did not help.
        let best = (0..statuses.len())
            .filter(|node| statuses[*node].as_ref().is_some_and(|status| status.cluster.is_some()))
            .max_by_key(|node| statuses[*node].as_ref().map(|status| status.positions.last));
        let promotions = self.promotions;
        best.map(|node| Promote { node, force: promotions > 2, restart: promotions > 4 && promotions % 2 == 1 })
    }

    /// A master whose disk has lost what others know to be committed is refused by them: who holds most is put above it.
    fn shunned(&mut self, plan: &Plan, now: u64, statuses: &[Option<Status>]) -> Option<Promote> {
        let refuses = |status: &Status| {
            status.cluster.is_some() && matches!(status.state, State::MasterDown | State::Connecting)
        };
        let leads = statuses.iter().flatten().any(|status| status.role == Role::Master);
        let refusing = (0..statuses.len()).filter(|node| statuses[*node].as_ref().is_some_and(refuses));
        let best = refusing.max_by_key(|node| statuses[*node].as_ref().map(|status| status.positions.committed));
        let Some(node) = best.filter(|_| leads && plan.ruins_disks()) else {
            self.shunned_since = None;
            return None;
        };
        has_lasted(&mut self.shunned_since, now, SHUNNED_US).then_some(Promote {
            node,
            force: true,
            restart: false,
        })
    }

    /// Armed, a node that comes back with an empty disk is a new one: an operator takes the old one out of the cluster, so
    /// that another votes in its place.
    pub(crate) fn bereaved(&mut self, plan: &Plan, now: u64, statuses: &[Option<Status>]) -> Option<Bury> {
        let serves = |status: &Status| status.role == Role::Master && status.state == State::Serving;
        let master = statuses.iter().position(|status| status.as_ref().is_some_and(serves))?;
        let lead = statuses[master].as_ref().filter(|lead| lead.failover.armed && plan.broken.is_empty())?;
        let lives = |node: NodeId| statuses.iter().flatten().any(|status| status.node == node);
        let all_up = statuses.iter().all(Option::is_some);
        let dead = lead.members.iter().find(|member| member.voter && all_up && !lives(member.node));
        let Some(dead) = dead.map(|member| member.node) else {
            self.bereaved_since = None;
            return None;
        };
        has_lasted(&mut self.bereaved_since, now, BEREAVED_US).then_some(Bury { master, dead })
    }

    /// Unarmed, two promoted masters may know of no member that both have: an operator does the guide's last two steps
    /// again, and writes the master's address into the others' files.
    pub(crate) fn forked(&mut self, now: u64, statuses: &[Option<Status>]) -> Option<Repoint> {
        let serves = |status: &Status| status.role == Role::Master && status.state == State::Serving;
        let leads = (0..statuses.len()).filter(|node| statuses[*node].as_ref().is_some_and(serves));
        let mut leads: Vec<usize> = leads.collect();
        if leads.len() < 2 {
            self.forked_since = None;
            return None;
        }
        if !has_lasted(&mut self.forked_since, now, FORKED_US) {
            return None;
        }
        let epoch = |node: &usize| statuses[*node].as_ref().map(|status| status.epoch);
        let master = leads.iter().copied().max_by_key(epoch)?;
        leads.retain(|node| *node != master);
        Some(Repoint { master, others: leads })
    }
}

/// Whether it has been so for so long; then the wait begins anew.
fn has_lasted(since: &mut Option<u64>, now: u64, us: u64) -> bool {
    let began = *since.get_or_insert(now);
    let lasted = now >= began + us;
    if lasted {
        *since = Some(now);
    }
    lasted
}
