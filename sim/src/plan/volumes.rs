//! Plans whose disks are small: what the store needs fits, what a log would take that nothing cuts does not. Drawn from a stream of its
//! own, after everything else.

use crate::dice::Dice;
use crate::disk::Hand;
use crate::plan::{Plan, What};

/// How many of a thousand plans have such disks.
const SMALL_PER_MILLE: u32 = 100;

/// What a key, a result that is remembered, or a membership takes beside the value.
const ITEM_BYTES: u64 = 120;

/// The shortest margin: a quarter of it holds some twenty short records, each in a segment of its own, as they are while room is short.
const MARGIN_MIN: u64 = 65_536;

/// What a start leaves in the log, in sectors that are written once.
const START_BYTES: u64 = 2_560;

/// Makes the disks of a plan small, if it is one of those.
pub(super) fn shrink_volumes(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "volumes");
    if !dice.chance(SMALL_PER_MILLE) || is_too_much(plan) {
        return;
    }
    plan.knobs.segment_bytes_max = plan.knobs.segment_bytes_max.min(16_384);
    plan.knobs.own.iter_mut().for_each(|own| own.segment_bytes_max = None);
    let workload = &plan.workload;
    let long = workload.value_bytes_max + ITEM_BYTES;
    let margin = (long * dice.between(1, 8) / 2).max(MARGIN_MIN);
    let needed = 2 * state_bytes(plan) + 4 * margin.max(long) + starts(plan) * START_BYTES;
    plan.knobs.disk_margin = margin;
    plan.knobs.volume_bytes = needed * dice.between(100, 140) / 100;
}

/// About how much the clients of a plan leave behind, at most: every second value is as long as half the longest, and results that are
/// remembered with what was there before are among the rarer requests.
fn state_bytes(plan: &Plan) -> u64 {
    let workload = &plan.workload;
    let pause_us = (workload.pause_us_min + workload.pause_us_max) / 2;
    let requests = u64::from(workload.clients) * plan.calm_at_ms * 1_000 / pause_us.max(1);
    let writes = requests * u64::from(1_000 - workload.read_per_mille) / 1_000;
    let keys = workload.keys.min(writes);
    let remembered = writes * u64::from(workload.wide_per_mille) / 1_000;
    let values = keys / 2 + keys.isqrt() + remembered / 4;
    values * workload.value_bytes_max + (keys + writes) * ITEM_BYTES
}

/// How often a process may start.
fn starts(plan: &Plan) -> u64 {
    let times = |what: &What| if let What::CrashLoop(_, times) = what { u64::from(*times) } else { 1 };
    plan.faults.iter().map(|fault| times(&fault.what)).sum()
}

/// What fills a disk of any size in no time, or what keeps it from being cleared: the hand that would do so hangs.
fn is_too_much(plan: &Plan) -> bool {
    let hampers = |what: &What| {
        matches!(what, What::Flood(_) | What::OldDisk(_) | What::HangDisk(_, Hand::Snapshot | Hand::Both))
    };
    plan.faults.iter().any(|fault| hampers(&fault.what)) || !plan.broken.is_empty()
}
