//! Faults that steer to a state instead of hoping for it: who comes into one is hit within the next moments, and a process is
//! killed over and over as soon as it serves.

use synap_core::status::State;

use super::{Site, hold, plan_of};
use crate::dice::mix;
use crate::plan::What;

/// How far a crash loop is.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrashLoop {
    left: u16,
    /// When the process was last started.
    started_at: u64,
    /// How long it may live without serving.
    lives_us: u64,
}

/// A node that is hit for its state is hit within one of these, by chance: the state may be over in microseconds.
const MOMENTS_US: [u64; 4] = [1, 300, 3_000, 50_000];

/// How long it takes to start a process of a crash loop.
const RESTART_US: u64 = 1_000;

/// How often a crash loop looks whether its process serves.
const LOOK_US: u64 = 5_000;

/// Most processes of a crash loop may live so long without serving, which is longer than a master asks for what others hold; one
/// in so many dies early, whatever it does.
const LIVES_US: u64 = 700_000;
const EARLY_ONE_IN: u64 = 5;
const EARLY_US: u64 = 20_000;

/// A node has come into this state: the first fault that waits for it will hit it.
pub(crate) fn state_changed(site: &mut impl Site, node: usize, to: State) {
    if site.operator().awaiting.is_empty() {
        return;
    }
    let plan = plan_of(site);
    let waits = |number: &&usize| plan.faults[**number].what.awaits() == Some(to);
    let Some(number) = site.operator().awaiting.iter().find(waits).copied() else { return };
    let drawn = mix(&[plan.seed, number as u64, site.now(), 11]);
    let operator = site.operator();
    operator.awaiting.remove(&number);
    operator.aimed.insert(number, node);
    let moment_us = MOMENTS_US[(drawn % MOMENTS_US.len() as u64) as usize];
    site.again_after(drawn / 4 % moment_us, number);
}

/// Hits the node that a fault was aimed at, unless the fault is over. Gives the node.
pub(super) fn strike_aimed(site: &mut impl Site, number: usize, what: &What) -> Option<usize> {
    let node = site.operator().aimed.remove(&number)?;
    if *what == What::ResetSyncing {
        site.reset(node);
        return Some(node);
    }
    let power = mix(&[plan_of(site).seed, number as u64, 12]).is_multiple_of(2);
    site.operator().hit.insert(number, node);
    hold(site, node, power);
    Some(node)
}

/// The fault ends: nobody is hit any more.
pub(super) fn stop_waiting(site: &mut impl Site, number: usize) {
    let operator = site.operator();
    operator.awaiting.remove(&number);
    operator.aimed.remove(&number);
}

pub(super) fn begin_loop(site: &mut impl Site, number: usize, node: usize, times: u16) {
    let crash_loop = CrashLoop { left: times, started_at: 0, lives_us: 0 };
    site.operator().loops.insert(number, crash_loop);
    loop_goes_on(site, number, node);
}

/// The process serves, or has had its time: the next one.
pub(super) fn loop_goes_on(site: &mut impl Site, number: usize, node: usize) {
    let (now, serves, seed) = (site.now(), site.serves(node), plan_of(site).seed);
    let Some(crash_loop) = site.operator().loops.get_mut(&number) else { return };
    if crash_loop.left == 0 {
        return;
    }
    let due = serves || now >= crash_loop.started_at + crash_loop.lives_us;
    if due {
        crash_loop.left -= 1;
        crash_loop.started_at = now + RESTART_US;
        let drawn = mix(&[seed, number as u64, now, 13]);
        let early = drawn.is_multiple_of(EARLY_ONE_IN);
        crash_loop.lives_us = if early { drawn / EARLY_ONE_IN % EARLY_US } else { LIVES_US };
        site.end(node, false, "killed over and over");
        site.start_after(RESTART_US, node);
    }
    site.again_after(LOOK_US, number);
}

pub(super) fn end_loop(site: &mut impl Site, number: usize, node: usize) {
    site.operator().loops.remove(&number);
    site.start_after(0, node);
}
