//! The operator's look at everything: after the last fault it mends, and decides how the run ends.

use synap_core::status::Status;

use super::admin::{Bury, Promote, Repoint};
use super::converged::{converged, copies, owe_service};
use super::{Operator, Order, Setup, Site, looking, plan_of};
use crate::oracle::Fact;
use crate::plan::Plan;
use crate::run::Verdict;
use synap_core::config::RoleHint;

/// How often everything is looked at.
pub(crate) const WATCH_US: u64 = 100_000;

/// How long a process takes to start that the operator has stopped.
const RESTART_US: u64 = 100_000;

/// How long the last write may take.
const PROBE_US: u64 = 6_000_000;

/// How long those that are left may find out that they are too few to owe service.
const EXCUSED_AFTER_US: u64 = 5_000_000;

/// Fewer answers than this, with clients at work for seconds, and a run has shown nothing.
const ANSWERS_MIN: u64 = 5;

/// Looks at everything; after the last fault, decides. To be called every [`WATCH_US`].
pub(crate) fn watch(site: &mut impl Site) {
    let plan = plan_of(site);
    let (now, calm_at) = (site.now(), plan.calm_at_ms * 1000);
    looking::look(site);
    if now < calm_at {
        return;
    }
    let seen = |node: usize| if plan.is_broken(node) { None } else { site.status(node) };
    let statuses: Vec<Option<Status>> = (0..plan.nodes()).map(seen).collect();
    if let Some(master) = converged(&plan, &statuses) {
        return settle(site, master, &statuses);
    }
    site.operator().probing_since = None;
    let excused = !plan.broken.is_empty() && !owe_service(&statuses);
    if excused && now > calm_at + EXCUSED_AFTER_US {
        site.count(|tally| tally.excused += 1);
        site.finish(Verdict::Good);
    } else if now > calm_at + plan.converge_within_ms * 1000 {
        let cause = standing(site);
        site.finish(Verdict::Liveness { at: now, cause });
    } else {
        mend(site, &statuses);
    }
}

/// Carries out what the admin decides.
fn mend(site: &mut impl Site, statuses: &[Option<Status>]) {
    let now = site.now();
    let Operator { admin, plan, .. } = site.operator();
    let unled = admin.unled(plan, now, statuses);
    if let Some(Promote { node, restart: true, .. }) = unled {
        return restart(site, node, |_| {});
    }
    let bereaved = admin.bereaved(plan, now, statuses);
    let forked = admin.forked(now, statuses);
    if let Some(Promote { node, force, restart: false }) = unled {
        site.order(node, Order::Promote { force });
    }
    if let Some(Bury { master, dead }) = bereaved {
        site.order(master, Order::Remove(dead.to_string()));
    }
    if let Some(Repoint { master, others }) = forked {
        for node in others {
            restart(site, node, |setup| (setup.role, setup.master) = (RoleHint::Replica, master));
        }
    }
}

fn restart(site: &mut impl Site, node: usize, edit: impl FnOnce(&mut Setup)) {
    site.end(node, false, "stopped by the operator");
    site.setup(node, edit);
    site.start_after(RESTART_US, node);
}

/// The last write, for everybody; once it is answered and everybody has it, the oracles have the last word.
fn settle(site: &mut impl Site, master: usize, statuses: &[Option<Status>]) {
    let now = site.now();
    if site.is_probed() {
        return last_word(site, master, statuses);
    }
    let since = site.operator().probing_since;
    if since.is_none_or(|since| now >= since + PROBE_US) {
        site.operator().probing_since = Some(now);
        let copies = copies(&plan_of(site), master, statuses);
        site.probe(master, copies);
    }
}

/// Clients that pause as long as they may, and read every other time, bring no more. One that asks for more replicas than have found the
/// master asks for the same again until they have, and with one name for all addresses that may be as long as the run.
fn answers_min(plan: &Plan) -> u64 {
    let waits = |concern: &String| concern.parse::<u32>().is_ok();
    if plan.workload.concerns.iter().any(waits) {
        return 1;
    }
    let rounds = plan.calm_at_ms.saturating_mul(1_000) / plan.workload.pause_us_max.max(1);
    ANSWERS_MIN.min(rounds * u64::from(plan.workload.clients) / 2)
}

fn last_word(site: &mut impl Site, node: usize, statuses: &[Option<Status>]) {
    let Some((life, history)) = site.history(node) else { return };
    site.see(&Fact::Converged { node, life, history: &history, statuses });
    let writes = site.writes();
    let plan = plan_of(site);
    site.finish(if writes < answers_min(&plan) && plan.faults.is_empty() {
        Verdict::Vacuous { cause: format!("{writes} writes were answered") }
    } else {
        Verdict::Good
    });
}

/// How the nodes stand, in one line.
pub(crate) fn standing(site: &mut impl Site) -> String {
    let nodes = plan_of(site).nodes();
    let one = |node: usize| match site.status(node) {
        None => format!("n{node} is down"),
        Some(status) => format!(
            "n{node} {} {} epoch {} last {} applied {} leader {:?}",
            status.role,
            status.state,
            status.epoch,
            status.positions.last,
            status.positions.applied,
            status.leader.map(|leader| leader.http)
        ),
    };
    (0..nodes).map(one).collect::<Vec<_>>().join("; ")
}
