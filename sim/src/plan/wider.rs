//! What a part of all plans meets besides: states that faults steer to, processes that are killed hundreds of times, floods of
//! writes, members with settings of their own, and settings at their limits. Drawn from a stream of its own, so that the rest of
//! a plan does not depend on it.

use crate::dice::Dice;
use crate::plan::narrow::SNAPSHOT_WAL_BYTES_MIN;
use crate::plan::{Fault, Flood, Own, Plan, What};

/// How many of a thousand plans meet any of it.
const WIDER_PER_MILLE: u32 = 400;

/// What a plan may meet.
#[derive(Clone, Copy)]
enum Wide {
    Candidates,
    Openings,
    Promotions,
    Rollbacks,
    Snapshots,
    CrashLoop,
    Flood,
    Clocks,
    Suspended,
}

const WIDE: [Wide; 12] = [
    Wide::Candidates,
    Wide::Candidates,
    Wide::Openings,
    Wide::Promotions,
    Wide::Rollbacks,
    Wide::Snapshots,
    Wide::Snapshots,
    Wide::CrashLoop,
    Wide::Flood,
    Wide::Flood,
    Wide::Clocks,
    Wide::Suspended,
];

/// Values that may be longer are long.
const LONG_VALUE_BYTES: u64 = 4_096;

/// Adds to a plan what it meets besides, if it does.
pub(super) fn widen(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "wider");
    if !dice.chance(WIDER_PER_MILLE) {
        return;
    }
    settings(plan, &mut dice);
    for _ in 0..dice.between(0, 2) {
        let wide = *dice.pick(&WIDE);
        let at_ms = dice.between(1_200, plan.calm_at_ms.max(1_300));
        let faults = more(plan, &mut dice, wide, at_ms);
        let over_ms = faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
        plan.calm_at_ms = plan.calm_at_ms.max(over_ms + 500);
        plan.faults.extend(faults);
    }
    plan.faults.sort_by_key(|fault| fault.at_ms);
    space_out_snapshots(plan);
}

/// A state of long values after every other write is more than a run has events for.
fn space_out_snapshots(plan: &mut Plan) {
    if plan.workload.value_bytes_max > LONG_VALUE_BYTES {
        plan.knobs.snapshot_wal_bytes = plan.knobs.snapshot_wal_bytes.max(SNAPSHOT_WAL_BYTES_MIN);
        plan.knobs.own.iter_mut().for_each(|own| own.snapshot_wal_bytes = None);
    }
}

fn more(plan: &mut Plan, dice: &mut Dice, wide: Wide, at_ms: u64) -> Vec<Fault> {
    let automatic = plan.knobs.automatic;
    // As in the other part: who is made master by hand with an older copy of its disk may open an epoch for the second time.
    let copied = plan.faults.iter().any(|fault| matches!(fault.what, What::OldDisk(_) | What::SwapDisks(..)));
    let replica = dice.between(1, u64::from(plan.replicas)) as u8;
    let for_ms = *dice.pick(&[300, 1_500, 4_000]);
    let fault = |late_ms, for_ms, what| Fault { at_ms: at_ms + late_ms, for_ms, what };
    match wide {
        Wide::Candidates if automatic => {
            let mut faults = vec![fault(0, for_ms, What::KillMaster)];
            faults.extend(
                (0..dice.between(1, 3))
                    .map(|nth| fault(nth, *dice.pick(&[700, 2_000, 5_000]), What::KillCandidate)),
            );
            faults
        }
        Wide::Openings if automatic => {
            vec![fault(0, for_ms, What::KillMaster), fault(0, *dice.pick(&[700, 2_000, 5_000]), What::KillOpening)]
        }
        Wide::Candidates | Wide::Openings => {
            let who = if dice.chance(500) { What::KillOpening } else { What::KillPromoting };
            vec![fault(0, 300, What::KillMaster), fault(1, 2_000, who)]
        }
        Wide::Promotions if automatic => {
            vec![fault(0, for_ms, What::Switchover(0)), fault(0, for_ms, What::KillCandidate)]
        }
        Wide::Promotions | Wide::Rollbacks if copied => Vec::new(),
        Wide::Promotions => {
            let force = dice.chance(500);
            vec![fault(0, 0, What::Promote(replica, force)), fault(0, for_ms, What::KillPromoting)]
        }
        Wide::Rollbacks if automatic => {
            vec![fault(0, *dice.pick(&[1_500, 4_000]), What::CutMaster), fault(0, 9_000, What::KillRollingBack)]
        }
        Wide::Rollbacks => vec![
            fault(0, 1_500, What::Partition(vec![0])),
            fault(300, 0, What::Promote(replica, true)),
            fault(300, 6_000, What::KillRollingBack),
        ],
        Wide::Snapshots => {
            plan.knobs.tail_bytes_max = *dice.pick(&[1, 256, 4_096]);
            let mut faults = vec![fault(0, 3_000, What::Kill(replica))];
            for nth in 0..dice.between(1, 4) {
                let what = dice.pick(&[What::KillSyncing, What::ResetSyncing, What::ResetSyncing]).clone();
                faults.push(fault(3_000 + nth * 100, 4_000, what));
            }
            faults
        }
        Wide::CrashLoop => crash_loop(plan, dice, at_ms),
        Wide::Clocks => clocks(plan, dice, at_ms),
        // A machine that sleeps for longer than any deadline.
        Wide::Suspended => {
            let node = dice.below(plan.nodes() as u64) as u8;
            vec![fault(0, *dice.pick(&[15_000, 40_000]), What::Pause(node))]
        }
        Wide::Flood => {
            let flood = *dice.pick(&[Flood::Async, Flood::Ttl, Flood::Batches]);
            vec![fault(0, *dice.pick(&[100, 300, 800]), What::Flood(flood))]
        }
    }
}

/// A member whose wall clock is wrong from the beginning, and one that jumps by days and stays there.
fn clocks(plan: &Plan, dice: &mut Dice, at_ms: u64) -> Vec<Fault> {
    let jumps = [(1, *dice.pick(&[30_000, 90_000])), (at_ms, *dice.pick(&[90_000, 86_400_000, 3_500_000_000]))];
    let mut faults = Vec::new();
    for (at_ms, ms) in jumps {
        if dice.chance(700) {
            let node = dice.below(plan.nodes() as u64) as u8;
            let ms = if dice.chance(500) { ms } else { -ms };
            faults.push(Fault { at_ms, for_ms: 0, what: What::WallJump(node, ms) });
        }
    }
    faults
}

/// Mostly some restarts in a row; now and then so many that a history of masterships forgets its beginning, alone.
fn crash_loop(plan: &Plan, dice: &mut Dice, at_ms: u64) -> Vec<Fault> {
    let node = if dice.chance(600) { 0 } else { dice.below(plan.nodes() as u64) as u8 };
    let for_ever = dice.chance(40);
    let (times, for_ms) =
        if for_ever { (300, 220_000) } else { *dice.pick(&[(5, 2_000), (20, 8_000), (60, 15_000)]) };
    let mut faults = vec![Fault { at_ms, for_ms, what: What::CrashLoop(node, times) }];
    if for_ever || dice.chance(300) {
        faults.push(Fault { at_ms, for_ms, what: What::Partition(vec![node]) });
    }
    faults
}

/// Settings at their limits, and members that have others than their fellows.
fn settings(plan: &mut Plan, dice: &mut Dice) {
    let broken = !plan.broken.is_empty();
    if dice.chance(400) {
        plan.knobs.own = (0..plan.nodes() as u8).filter_map(|node| own(plan, dice, node)).collect();
    }
    let knobs = &mut plan.knobs;
    if dice.chance(200) {
        knobs.election_ms = *dice.pick(&[knobs.heartbeat_ms * 3 / 2, knobs.heartbeat_ms * 5]);
    }
    if dice.chance(100) {
        knobs.crash_evidence = false;
    }
    if dice.chance(150) {
        knobs.voters_max = *dice.pick(&[3, 3, 64]);
    }
    if dice.chance(100) {
        knobs.uncommitted_bytes_max = *dice.pick(&[4_096, 16_384]);
    } else if dice.chance(50) {
        plan.workload.value_bytes_max = 40_000;
    }
    // Who lags by no more than a moment hardly ever leads: others must be there.
    if dice.chance(100) && !broken {
        knobs.max_lag_ms = *dice.pick(&[1, 86_400_000]);
    }
    if dice.chance(100) {
        knobs.tail_bytes_max = 1;
        knobs.snapshot_wal_bytes = 1;
        knobs.max_snapshots = 1;
    }
}

fn own(plan: &Plan, dice: &mut Dice, node: u8) -> Option<Own> {
    if dice.chance(400) {
        return None;
    }
    let last = usize::from(node) + 1 == plan.nodes();
    let mut some = |choices: &[u64]| dice.chance(300).then(|| *dice.pick(choices));
    Some(Own {
        node,
        reconnect_ms: some(&[100, 200, 5_000]),
        tail_bytes_max: some(&[1, 1_024, 1 << 20]),
        segment_bytes_max: some(&[1_024, 65_536]),
        snapshot_wal_bytes: some(&[1, 1_000, 1 << 20]),
        max_lag_ms: None,
        crash_evidence: some(&[0, 1]).map(|on| on == 1),
        manual: (last && plan.replicas > 2 && some(&[1]).is_some()).then_some(true),
        // Only one node never leads.
        priority: some(&[1, 50, 200, 1_000]).map(|drawn| if node == 1 && drawn == 1 { 0 } else { drawn as u32 }),
    })
}
