//! Plans whose disks are small: what the store needs fits, what a log would take that nothing cuts does not. Drawn from a stream of its
//! own, after everything else.

use crate::dice::Dice;
use crate::disk::Hand;
use crate::plan::{Plan, What};

/// How many of a thousand plans have such disks.
const SMALL_PER_MILLE: u32 = 60;

/// What a key, a result that is remembered, or a membership takes beside the value.
const ITEM_BYTES: u64 = 256;

/// Writes that a plan's clients get done, at most; the result of each is remembered.
const WRITES: u64 = 1_000;

/// Makes the disks of a plan small, if it is one of those.
pub(super) fn shrink_volumes(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "volumes");
    if !dice.chance(SMALL_PER_MILLE) || is_too_much(plan) {
        return;
    }
    plan.knobs.segment_bytes_max = plan.knobs.segment_bytes_max.min(16_384);
    plan.knobs.own.iter_mut().for_each(|own| own.segment_bytes_max = None);
    let record = plan.workload.value_bytes_max + ITEM_BYTES;
    plan.knobs.disk_margin = 16_384 + 8 * record;
    let state = plan.workload.keys * record + WRITES * ITEM_BYTES;
    let needed = 2 * state + 12 * plan.knobs.disk_margin;
    plan.knobs.volume_bytes = needed * dice.between(100, 200) / 100;
}

/// What fills a disk of any size in no time, or what keeps it from being cleared: the hand that would do so hangs.
fn is_too_much(plan: &Plan) -> bool {
    let hampers = |what: &What| {
        matches!(what, What::Flood(_) | What::OldDisk(_) | What::HangDisk(_, Hand::Snapshot | Hand::Both))
    };
    plan.faults.iter().any(|fault| hampers(&fault.what))
        || plan.workload.value_bytes_max > 4_096
        || !plan.broken.is_empty()
}
