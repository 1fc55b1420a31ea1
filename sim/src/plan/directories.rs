//! What a part of all plans meets of directories and files: restored from a backup, copied while their process runs, without a log, with
//! roles that an operator edits; and voters that start again and again while others are away. Drawn from streams of their own, after
//! everything else.

use crate::dice::Dice;
use crate::plan::{Fault, Plan, What, ruins_disk};

/// How many of a thousand plans meet each.
const RESTORED_PER_MILLE: u32 = 60;
const LOGLESS_PER_MILLE: u32 = 80;
const ROLES_PER_MILLE: u32 = 80;
const RESTARTED_PER_MILLE: u32 = 80;
const COPIED_PER_MILLE: u32 = 60;

/// Adds to a plan what it meets of it, if it does.
pub(super) fn replace(plan: &mut Plan) {
    meets(plan, "roles", ROLES_PER_MILLE, roles);
    meets(plan, "restarted", RESTARTED_PER_MILLE, restarted);
    meets(plan, "logless", LOGLESS_PER_MILLE, logless);
    meets(plan, "restored", RESTORED_PER_MILLE, restored);
}

/// The last of all, when everything else is over.
pub(super) fn copy(plan: &mut Plan) {
    meets(plan, "copied", COPIED_PER_MILLE, copied);
}

fn meets(plan: &mut Plan, what: &str, per_mille: u32, faults: fn(&mut Plan, &mut Dice) -> Vec<Fault>) {
    let mut dice = Dice::named(plan.seed, what);
    if dice.chance(per_mille) {
        let faults = faults(plan, &mut dice);
        let over_ms = faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
        plan.calm_at_ms = plan.calm_at_ms.max(over_ms + 500);
        plan.faults.extend(faults);
        plan.faults.sort_by_key(|fault| fault.at_ms);
    }
}

fn any_time(plan: &Plan, dice: &mut Dice) -> u64 {
    dice.between(1_500, plan.calm_at_ms.max(2_000))
}

/// One of the replicas, and any other node.
fn two(plan: &Plan, dice: &mut Dice) -> (u8, u8) {
    let replica = dice.between(1, u64::from(plan.replicas)) as u8;
    let nodes = plan.nodes() as u8;
    (replica, (replica + dice.between(1, u64::from(plan.replicas)) as u8) % nodes)
}

fn has(plan: &Plan, is: fn(&What) -> bool) -> bool {
    plan.faults.iter().any(|fault| is(&fault.what))
}

/// Files whose roles are edited between two starts, where replicas elect too: there it is no promotion. Not beside disks that are put back
/// or exchanged, as in the other part.
fn roles(plan: &mut Plan, dice: &mut Dice) -> Vec<Fault> {
    let copied = has(plan, |what| matches!(what, What::OldDisk(_) | What::SwapDisks(..)));
    let moved = has(plan, |what| matches!(what, What::MoveAll));
    if copied || moved || !plan.broken.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for _ in 0..dice.between(1, 3) {
        let at_ms = any_time(plan, dice);
        let (replica, other) = two(plan, dice);
        let what = match dice.below(3) {
            0 => What::EditReplica(replica, other),
            1 => What::EditReplica(0, replica),
            _ => What::EditRole(replica),
        };
        faults.push(Fault { at_ms, for_ms: *dice.pick(&[1, 300, 1_500]), what });
    }
    faults
}

/// A voter that is killed over and over, while another one is cut off, stands still or is away.
fn restarted(plan: &mut Plan, dice: &mut Dice) -> Vec<Fault> {
    let at_ms = any_time(plan, dice);
    let (one, other) = two(plan, dice);
    let (times, for_ms) = *dice.pick(&[(5, 2_000), (20, 8_000), (40, 12_000)]);
    let away = match dice.below(4) {
        0 => What::Kill(other),
        1 => What::Pause(other),
        2 => What::CutMaster,
        _ => What::Partition(vec![other]),
    };
    let begins_ms = at_ms + dice.below(for_ms / 2);
    vec![
        Fault { at_ms, for_ms, what: What::CrashLoop(one, times) },
        Fault { at_ms: begins_ms, for_ms: *dice.pick(&[1_500, for_ms]), what: away },
    ]
}

/// A node without a log. Where replicas elect it never votes; where an operator promotes it may lead, and lose everything with its process.
/// Not one whose file makes it master: once it has lost everything while the others are away, that is an order to found a cluster.
fn logless(plan: &mut Plan, _dice: &mut Dice) -> Vec<Fault> {
    // A disk with a log would come to a machine that reads none.
    if has(plan, |what| matches!(what, What::OldDisk(_) | What::SwapDisks(..))) {
        return Vec::new();
    }
    let nodes = plan.nodes() as u8;
    let founds = plan.faults.iter().any(|fault| matches!(fault.what, What::EditRole(node) if node == nodes - 1));
    if founds {
        return Vec::new();
    }
    if !plan.knobs.automatic || nodes >= 4 {
        plan.knobs.logless = vec![nodes - 1];
    }
    Vec::new()
}

/// A machine that gets another one's newest snapshot, as from a backup. Where replicas elect, one disk of a plan may be lost.
fn restored(plan: &mut Plan, dice: &mut Dice) -> Vec<Fault> {
    let lost = plan.faults.iter().any(|fault| ruins_disk(&fault.what));
    let copied = has(plan, |what| matches!(what, What::OldDisk(_) | What::SwapDisks(..) | What::Remove(_)));
    // It is no member, so that no master calls it, and is sent on to where that says to be.
    let hidden = (0..plan.nodes()).any(|node| plan.is_hidden(node));
    if copied || hidden || !plan.broken.is_empty() || plan.knobs.automatic && lost {
        return Vec::new();
    }
    let (node, from) = two(plan, dice);
    vec![Fault { at_ms: any_time(plan, dice), for_ms: *dice.pick(&[300, 1_500]), what: What::Restore(node, from) }]
}

/// A copy of a running node's directory. Only once nothing else goes on: whoever lets a copy start while the first is not connected has two
/// nodes of one name, and no rule tells which of them has promised what.
fn copied(plan: &mut Plan, dice: &mut Dice) -> Vec<Fault> {
    let lost = plan.faults.iter().any(|fault| ruins_disk(&fault.what));
    // Long values over narrow links take their time after the last fault.
    let narrow = plan.network.bytes_per_sec > 0 || has(plan, |what| matches!(what, What::SlowLink(..)));
    if narrow || !plan.broken.is_empty() || plan.knobs.automatic && lost || !plan.knobs.logless.is_empty() {
        return Vec::new();
    }
    let (node, from) = two(plan, dice);
    let timeout_ms = plan.election_timeout_us() / 1000;
    let (at_ms, for_ms) = (plan.calm_at_ms + 3_000, 6_000 + 4 * timeout_ms);
    vec![Fault { at_ms, for_ms, what: What::CopyDisk(from, node) }]
}
