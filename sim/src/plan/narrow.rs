//! Plans whose links have a bandwidth, and clients that write long values to them. Drawn from a stream of its own, so that the rest
//! of a plan does not depend on it.

use synap_core::wire::PIECE_BYTES_MAX;

use crate::dice::Dice;
use crate::plan::{Fault, Flood, Plan, What};

/// How many of a thousand plans have such links.
const NARROW_PER_MILLE: u32 = 30;

/// A heartbeat below this asks for links that are hardly ever slow.
const HEARTBEAT_MS_MIN: u64 = 200;

/// No log is shorter than this when a snapshot of it is written: a state of long values after each of them is too much to look at.
pub(super) const SNAPSHOT_WAL_BYTES_MIN: u64 = 500_000;

/// Makes the links of a plan narrow, if it is one of those.
pub(super) fn narrow(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "narrow");
    if !dice.chance(NARROW_PER_MILLE) {
        return;
    }
    let heartbeat_ms = plan.knobs.heartbeat_ms.max(HEARTBEAT_MS_MIN);
    if plan.knobs.election_ms > 0 {
        plan.knobs.election_ms = plan.knobs.election_ms * heartbeat_ms / plan.knobs.heartbeat_ms;
    }
    plan.knobs.heartbeat_ms = heartbeat_ms;
    plan.knobs.heartbeats_ms.values_mut().for_each(|own| *own = (*own).max(HEARTBEAT_MS_MIN));
    long_values(plan, &mut dice);
    if dice.chance(500) {
        leave_alone(plan, &mut dice);
    }
    let least = plan.least_bytes_per_sec();
    let enough = least * *dice.pick(&[1, 1, 2, 5, 20]);
    if dice.chance(500) {
        plan.network.bytes_per_sec = enough;
    }
    let mut faults = Vec::new();
    for _ in 0..dice.below(3) {
        let from = dice.below(plan.nodes() as u64) as u8;
        let to = (u64::from(from) + dice.between(1, u64::from(plan.replicas))) % plan.nodes() as u64;
        let rate = *dice.pick(&[enough, enough, least / 2, least / 8, least / 40]);
        let at_ms = dice.between(1_200, plan.calm_at_ms.max(1_300));
        let for_ms = *dice.pick(&[1_000, 4_000, 8_000]);
        faults.push(Fault { at_ms, for_ms, what: What::SlowLink(from, to as u8, rate) });
    }
    if dice.chance(400) {
        let flood = *dice.pick(&[Flood::Async, Flood::Batches, Flood::Batches]);
        let at_ms = dice.between(1_200, plan.calm_at_ms.max(1_300));
        faults.push(Fault { at_ms, for_ms: *dice.pick(&[100, 300, 800]), what: What::Flood(flood) });
    }
    let over_ms = faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
    plan.calm_at_ms = plan.calm_at_ms.max(over_ms + 500);
    plan.faults.extend(faults);
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan.converge_within_ms += catches_up_ms(plan) + goes_out_ms(plan);
}

/// Values from some kB to 256 KiB, the longer the fewer.
fn long_values(plan: &mut Plan, dice: &mut Dice) {
    let (bytes, rarer) = *dice.pick(&[(4_096, 1), (65_536, 3), (262_144, 8)]);
    let workload = &mut plan.workload;
    workload.value_bytes_max = bytes;
    workload.keys = workload.keys.min(8);
    workload.pause_us_min *= rarer;
    workload.pause_us_max *= rarer;
    let knobs = &mut plan.knobs;
    knobs.snapshot_wal_bytes = knobs.snapshot_wal_bytes.max(SNAPSHOT_WAL_BYTES_MIN);
    knobs.uncommitted_bytes_max = *dice.pick(&[64 << 20, 4 << 20, 1 << 20]);
}

/// Nothing else goes wrong but a replica that is away for a while, so that whoever leads must go on leading.
fn leave_alone(plan: &mut Plan, dice: &mut Dice) {
    let at_ms = dice.between(1_500, plan.calm_at_ms.max(1_600));
    let replica = dice.between(1, u64::from(plan.replicas)) as u8;
    let away = dice.pick(&[What::Kill(replica), What::Wipe(replica), What::Reset(replica)]).clone();
    plan.faults = vec![Fault { at_ms, for_ms: *dice.pick(&[500, 5_000]), what: away }];
    plan.broken.clear();
    plan.knobs.own.clear();
    plan.knobs.heartbeats_ms.clear();
    plan.knobs.drift_ppm_max = plan.knobs.drift_ppm_max.min(1_000);
    let network = &mut plan.network;
    network.straggler_per_mille = 0;
    network.delay_us_max = network.delay_us_max.min(2_000).max(network.delay_us_min);
    plan.disk.sync_us_max = plan.disk.sync_us_max.min(2_000).max(plan.disk.sync_us_min);
}

/// What a replica may have to be sent after the last fault, several times over.
fn catches_up_ms(plan: &Plan) -> u64 {
    let floods = plan.faults.iter().filter(|fault| matches!(fault.what, What::Flood(_))).map(|fault| fault.for_ms);
    let bytes =
        (plan.workload.keys + 16) * plan.workload.value_bytes_max + floods.sum::<u64>() * 8_192 + (8 << 20);
    (4 * bytes * 1_000).checked_div(plan.network.bytes_per_sec).unwrap_or(0)
}

/// How long what a system took while its way was slow may go out after that: a piece, and what it holds before one.
fn goes_out_ms(plan: &Plan) -> u64 {
    let slowest = plan.slowest_bytes_per_sec();
    (2 * PIECE_BYTES_MAX as u64 * 1_000).checked_div(slowest).unwrap_or(0)
}
