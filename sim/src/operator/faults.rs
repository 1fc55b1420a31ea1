//! How each fault begins, and how it ends.

use std::time::Duration;

use synap_core::config::RoleHint;

use super::disks::{copied_disk, damage, empty_copy, may_lead, new_disk, older_disk, restored_disk, swap_disks};
use super::steering::{begin_loop, end_loop, loop_goes_on, stop_waiting, strike_aimed};
use super::{Operator, Order, Site, hold, leads, move_on, plan_of, release};
use crate::dice::mix;
use crate::plan::What;
use crate::trace::Step;

/// How long it takes to start another version in the place of one.
const REVERSION_US: u64 = 100_000;

/// Between two writes of a flood.
const FLOOD_US: u64 = 1_000;

/// More than one flood sends.
const FLOOD_WRITES_MAX: u64 = 1_000_000;

/// How much later than the first a machine may be back after all have lost their power.
const LATE_US_MAX: u64 = 400_000;

/// Begins fault `number` of the plan.
pub(crate) fn fault_begins(site: &mut impl Site, number: usize) {
    let plan = plan_of(site);
    let fault = &plan.faults[number];
    site.note(&[40, number as u64], || Step::FaultBegan {
        fault: number,
        nodes: fault.what.nodes(plan.nodes()),
        text: format!("{:?}", fault.what),
    });
    let took_effect = begin(site, number, &fault.what, Duration::from_millis(fault.for_ms));
    ails(site, number, true);
    site.count(|tally| match took_effect {
        Effect::Took => {
            tally.faults += 1;
            tally.coverage.began(&fault.what);
        }
        Effect::NobodyLed | Effect::Waits => {}
        Effect::Skipped => tally.skipped += 1,
    });
}

/// Something that goes on while fault `number` lasts.
pub(crate) fn fault_goes_on(site: &mut impl Site, number: usize) {
    let plan = plan_of(site);
    match plan.faults[number].what {
        What::CrashLoop(node, _) => loop_goes_on(site, number, node.into()),
        What::Flood(_) => {
            flood(site, number);
        }
        ref what => {
            let Some(node) = strike_aimed(site, number, what) else { return };
            site.operator().touched[node] = true;
            site.count(|tally| {
                tally.faults += 1;
                tally.coverage.began(what);
            });
        }
    }
}

/// Whether a fault took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Took,
    /// It hits whoever leads or follows, and nobody does.
    NobodyLed,
    /// It hits whoever comes into a state, and nobody has yet.
    Waits,
    /// This level cannot express it.
    Skipped,
}

fn begin<S: Site>(site: &mut S, number: usize, what: &What, lasts: Duration) -> Effect {
    match *what {
        What::Kill(node) => hold(site, node.into(), false),
        What::KillMaster => return strike(site, number, |site, node| hold(site, node, false)),
        What::CutMaster => return strike(site, number, |site, node| cut_off(site, &[node as u8])),
        What::PowerCut(node) => hold(site, node.into(), true),
        What::PowerCutAll => (0..plan_of(site).nodes()).for_each(|node| hold(site, node, true)),
        What::Pause(node) => site.pause(node.into(), lasts.as_micros() as u64),
        What::Partition(ref side) => cut_off(site, side),
        What::OneWay(from, to) => site.block(from.into(), to.into()),
        What::Reset(node) => site.reset(node.into()),
        What::SlowNetwork(factor) => site.slow_network(factor.max(1)),
        What::SlowLink(from, to, rate) => site.slow_link(from.into(), to.into(), Some(rate)),
        What::SlowDisk(node, factor) => site.disk(node.into()).set_slow(factor),
        What::HangDisk(node, hand) => site.disk(node.into()).set_hanging(hand, true),
        What::FullDisk(node) => site.disk(node.into()).set_full(true),
        What::FailSync(node) => site.disk(node.into()).fail_syncs(1),
        What::Rot(node) => damage(site, node.into(), |disk| disk.rot("")),
        What::Spoil(node) => damage(site, node.into(), |disk| disk.spoil("")),
        What::Misdirect(node) => damage(site, node.into(), |disk| disk.misdirect("")),
        What::Wipe(node) => {
            hold(site, node.into(), true);
            new_disk(site, node.into());
        }
        What::Restore(node, from) => {
            hold(site, node.into(), true);
            restored_disk(site, node.into(), from.into());
        }
        What::CopyDisk(from, to) if !copied_disk(site, number, from.into(), to.into()) => {
            return Effect::NobodyLed;
        }
        What::CopyDisk(..) => {}
        What::OldDisk(node) => {
            let mut copy = site.disk(node.into()).clone();
            copy.power_cut();
            site.operator().copies.insert(number, copy);
        }
        What::SwapDisks(one, other) => {
            hold(site, one.into(), true);
            hold(site, other.into(), true);
            swap_disks(site, one.into(), other.into());
        }
        What::WallJump(node, ms) => site.setup(node.into(), |setup| setup.wall_offset_ms += ms),
        What::Promote(node, force) => site.order(node.into(), Order::Promote { force }),
        What::EditRole(node) => {
            hold(site, node.into(), false);
            if may_lead(site, node.into()) {
                site.setup(node.into(), |setup| setup.role = RoleHint::Master);
            }
        }
        What::EditReplica(node, master) => {
            hold(site, node.into(), false);
            if may_lead(site, node.into()) {
                site.setup(node.into(), |setup| (setup.role, setup.master) = (RoleHint::Replica, master.into()));
            }
        }
        What::Snapshot(node) => site.order(node.into(), Order::Snapshot),
        What::Stop(_) | What::Strangers(_) if !S::HAS_FRONT => return Effect::Skipped,
        What::Stop(node) => {
            site.setup(node.into(), |setup| setup.held += 1);
            site.stop(node.into());
        }
        What::Strangers(node) => site.strangers(node.into(), lasts),
        What::Switchover(node) => site.order(node.into(), Order::Switchover),
        What::Remove(node) => return order_master(site, number, Order::Remove(name_of(node))),
        What::Priority(node, priority) => {
            return order_master(site, number, Order::Priority(name_of(node), priority));
        }
        What::PauseElections => return order_master(site, number, Order::PauseElections(lasts)),
        What::Skew(node, versions) => reversion(site, node.into(), versions),
        What::Garble(node) => site.garble(node.into(), true),
        What::CrashLoop(node, times) => begin_loop(site, number, node.into(), times),
        What::Flood(_) => return flood(site, number),
        What::KillCandidate
        | What::KillPromoting
        | What::KillOpening
        | What::KillRollingBack
        | What::KillSyncing
        | What::ResetSyncing => {
            site.operator().awaiting.insert(number);
            return Effect::Waits;
        }
        What::Move(node) => {
            hold(site, node.into(), false);
            move_on(site, node.into());
        }
        What::MoveAll => move_all(site),
        What::ResetProxy(node) => site.reset_proxy(node.into()),
    }
    Effect::Took
}

/// Ends fault `number` of the plan.
pub(crate) fn fault_ends<S: Site>(site: &mut S, number: usize) {
    let plan = plan_of(site);
    site.note(&[41, number as u64], || Step::FaultEnded { fault: number });
    ails(site, number, false);
    match plan.faults[number].what {
        What::Stop(_) if !S::HAS_FRONT => {}
        What::Kill(node)
        | What::PowerCut(node)
        | What::Wipe(node)
        | What::Restore(node, _)
        | What::Move(node)
        | What::EditRole(node)
        | What::EditReplica(node, _)
        | What::Stop(node) => release(site, node.into(), 0),
        What::SwapDisks(one, other) => {
            release(site, one.into(), 0);
            release(site, other.into(), 0);
        }
        What::KillMaster
        | What::KillCandidate
        | What::KillPromoting
        | What::KillOpening
        | What::KillRollingBack
        | What::KillSyncing => {
            stop_waiting(site, number);
            if let Some(node) = site.operator().hit.remove(&number) {
                release(site, node, 0);
            }
        }
        What::ResetSyncing => stop_waiting(site, number),
        What::CrashLoop(node, _) => end_loop(site, number, node.into()),
        What::Flood(_) => {
            site.operator().floods.remove(&number);
        }
        What::CutMaster => {
            if let Some(node) = site.operator().hit.remove(&number) {
                rejoin(site, &[node as u8]);
            }
        }
        What::PowerCutAll | What::MoveAll => {
            for node in 0..plan.nodes() {
                let late_us = mix(&[plan.seed, number as u64, node as u64, 9]) % LATE_US_MAX;
                release(site, node, late_us);
            }
        }
        What::Partition(ref side) => rejoin(site, side),
        What::OneWay(from, to) => {
            site.unblock(from.into(), to.into());
            site.reopen();
        }
        What::SlowNetwork(_) => site.slow_network(1),
        What::SlowLink(from, to, _) => site.slow_link(from.into(), to.into(), None),
        What::SlowDisk(node, _) => site.disk(node.into()).set_slow(1),
        What::HangDisk(node, hand) => site.disk(node.into()).set_hanging(hand, false),
        What::FullDisk(node) => site.disk(node.into()).set_full(false),
        What::FailSync(node) => site.disk(node.into()).fail_syncs(0),
        What::OldDisk(node) => older_disk(site, number, node.into()),
        What::CopyDisk(_, to) => empty_copy(site, number, to.into()),
        What::Pause(node) => site.go_on(node.into()),
        What::Skew(node, versions) => reversion(site, node.into(), -versions),
        What::Garble(node) => site.garble(node.into(), false),
        What::Reset(_)
        | What::Rot(_)
        | What::Spoil(_)
        | What::Misdirect(_)
        | What::WallJump(..)
        | What::Promote(..)
        | What::Snapshot(_)
        | What::Strangers(_)
        | What::Switchover(_)
        | What::Remove(_)
        | What::Priority(..)
        | What::PauseElections
        | What::ResetProxy(_) => {}
    }
}

/// A fault is at work on the nodes that it names, on the master that it hit, or on all where it names none, until it ends.
fn ails(site: &mut impl Site, number: usize, begins: bool) {
    let plan = plan_of(site);
    let named = plan.faults[number].what.ails(plan.nodes());
    let hit = match plan.faults[number].what {
        ref what if what.chooses() => site.operator().hit.get(&number).copied().into_iter().collect(),
        What::Flood(_) => Vec::new(),
        What::SlowLink(.., rate) if plan.is_enough(rate) => Vec::new(),
        // Writes wait for a handover, whoever it was asked of.
        What::Switchover(_) => (0..plan.nodes()).collect(),
        What::HangDisk(..) => named,
        _ if named.is_empty() => (0..plan.nodes()).collect(),
        _ => named,
    };
    let lasts = plan.faults[number].what.lasts();
    let Operator { ailing, touched, .. } = site.operator();
    for node in hit {
        touched[node] = true;
        match (lasts, begins) {
            (true, true) => ailing[node] += 1,
            (true, false) => ailing[node] -= 1,
            (false, _) => {}
        }
    }
}

/// The next writes of a flood, if anybody leads.
fn flood(site: &mut impl Site, number: usize) -> Effect {
    let plan = plan_of(site);
    let What::Flood(flood) = plan.faults[number].what else { return Effect::Skipped };
    let ended = site.now() >= (plan.faults[number].at_ms + plan.faults[number].for_ms) * 1000;
    if ended {
        return Effect::Took;
    }
    site.again_after(FLOOD_US, number);
    let Some(node) = leads(site) else { return Effect::NobodyLed };
    let nth = site.operator().floods.entry(number).or_default();
    *nth += 1;
    let nth = *nth;
    site.rush(node, flood, number as u64 * FLOOD_WRITES_MAX + nth);
    Effect::Took
}

/// A fault that hits whoever leads; without effect if nobody does.
fn strike<S: Site>(site: &mut S, number: usize, hit: impl FnOnce(&mut S, usize)) -> Effect {
    let Some(node) = leads(site) else { return Effect::NobodyLed };
    site.operator().hit.insert(number, node);
    hit(site, node);
    Effect::Took
}

fn order_master(site: &mut impl Site, number: usize, order: Order) -> Effect {
    strike(site, number, |site, node| site.order(node, order))
}

/// Every machine is elsewhere: the first where the last one was, so that what is known of one leads to another.
fn move_all(site: &mut impl Site) {
    let last = plan_of(site).nodes() - 1;
    let place = site.setup(last, |setup| setup.place);
    for node in 0..=last {
        hold(site, node, false);
        move_on(site, node);
    }
    site.setup(0, |setup| setup.place = place);
}

/// Another version of the program takes the place of this one.
fn reversion(site: &mut impl Site, node: usize, versions: i16) {
    site.end(node, false, "killed for another version");
    site.setup(node, |setup| setup.skew += versions);
    site.start_after(REVERSION_US, node);
}

fn cut_off(site: &mut impl Site, side: &[u8]) {
    for_each_way(site, side, Site::block);
}

fn rejoin<S: Site>(site: &mut S, side: &[u8]) {
    for_each_way(site, side, S::unblock);
    site.reopen();
}

fn for_each_way<S: Site>(site: &mut S, side: &[u8], change: impl Fn(&mut S, usize, usize)) {
    let nodes = plan_of(site).nodes();
    let is_inside = |node: usize| side.iter().any(|inside| usize::from(*inside) == node);
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| is_inside(from) != is_inside(*to)) {
            change(site, from, to);
        }
    }
}

/// A node, as members are named.
fn name_of(node: u8) -> String {
    format!("n{node}")
}
