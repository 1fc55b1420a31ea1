//! What a part of all plans meets of a world that nobody configured well: addresses that are not told, that are wrong, that change
//! or stand for several nodes; members with other heartbeats than their fellows; disks that do nothing for a while. Drawn from
//! streams of their own, so that the rest of a plan does not depend on it.

use super::draw::FOR_EVER_MS;
use super::places::lists;
use crate::dice::Dice;
use crate::disk::Hand;
use crate::plan::{Fault, Plan, What};

/// How many of a thousand plans meet each.
const ADDRESSES_PER_MILLE: u32 = 220;
const HEARTBEATS_PER_MILLE: u32 = 80;
const HANGING_PER_MILLE: u32 = 150;

/// How many of a thousand plans that give nodes up leave them with a disk that does nothing.
const HANGING_FOR_GOOD_PER_MILLE: u32 = 200;

/// Adds to a plan what it meets of it, if it does.
pub(super) fn meet(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "addresses");
    if dice.chance(ADDRESSES_PER_MILLE) {
        addresses(plan, &mut dice);
        let faults = moves(plan, &mut dice);
        add(plan, faults);
    }
    let mut dice = Dice::named(plan.seed, "heartbeats");
    if dice.chance(HEARTBEATS_PER_MILLE) {
        heartbeats(plan, &mut dice);
    }
    let mut dice = Dice::named(plan.seed, "hanging");
    if dice.chance(HANGING_PER_MILLE) {
        let faults = hanging(plan, &mut dice);
        add(plan, faults);
    }
    let mut dice = Dice::named(plan.seed, "hanging for good");
    if !plan.broken.is_empty() && dice.chance(HANGING_FOR_GOOD_PER_MILLE) {
        hang_for_good(plan, &mut dice);
    }
    plan.faults.sort_by_key(|fault| fault.at_ms);
}

/// More faults, with the calm after the last of them.
fn add(plan: &mut Plan, faults: Vec<Fault>) {
    let over_ms = faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
    plan.calm_at_ms = plan.calm_at_ms.max(over_ms + 500);
    plan.faults.extend(faults);
}

/// Who tells no address, who a wrong one, and what stands between them and the others.
fn addresses(plan: &mut Plan, dice: &mut Dice) {
    let nodes = plan.nodes() as u8;
    let mut silent = if dice.chance(700) { some(dice, nodes) } else { Vec::new() };
    if dice.chance(200) {
        plan.knobs.one_name = true;
    }
    if dice.chance(250) {
        plan.knobs.proxied = if dice.chance(700) { vec![0] } else { some(dice, nodes) };
    }
    let wrong = dice.below(u64::from(nodes)) as u8;
    // Where the first master tells a wrong address, files name the right one.
    // Who is taken out, or has changed places with another, is called by nobody where it is, and sent on to where the master says to be.
    let exchanged = plan.faults.iter().any(|fault| matches!(fault.what, What::SwapDisks(..)));
    let all_stay = !plan.removes_members() && !exchanged;
    // Who leads and tells a wrong address is found by its calls alone. One that is put above the others before they have joined its line does
    // not know whom to call.
    let is_put_above =
        |what: &What| matches!(what, What::EditRole(node) | What::Promote(node, ..) if *node == wrong);
    let knows_all = plan.knobs.automatic || !plan.faults.iter().any(|fault| is_put_above(&fault.what));
    if dice.chance(300) && all_stay && knows_all && (wrong != 0 || !plan.knobs.one_name) {
        let other = (wrong + dice.between(1, u64::from(nodes) - 1) as u8) % nodes;
        silent.retain(|node| *node != wrong);
        if dice.chance(500) {
            plan.knobs.misaddressed.push(wrong);
        } else {
            plan.knobs.misplaced.insert(wrong, other);
        }
    }
    if !plan.knobs.proxied.is_empty() && !all_stay {
        silent.clear();
    } else if !plan.knobs.proxied.is_empty() {
        // Whoever calls through a proxy is seen where the proxy is, and tells nothing better: as good as a wrong address.
        let wrong = plan.knobs.misaddressed.len() + plan.knobs.misplaced.len();
        let proxied = silent.iter().copied().filter(|node| lists(&plan.knobs.proxied, usize::from(*node)));
        let hidden = silent.iter().copied().filter(|node| *node != 0).take(WRONG_MAX - wrong.min(WRONG_MAX));
        silent = proxied.filter(|node| *node == 0).chain(hidden).collect();
    }
    plan.knobs.unaddressed = silent;
}

/// So many nodes are to be found nowhere but where they call. One that leads calls the others; of two such, a replica would not find its
/// master, and whom it asks for the way tells it the wrong address.
const WRONG_MAX: usize = 1;

/// One, some or all nodes, in order.
fn some(dice: &mut Dice, nodes: u8) -> Vec<u8> {
    match dice.below(3) {
        0 => vec![dice.below(u64::from(nodes)) as u8],
        1 => (0..nodes).collect(),
        _ => (0..nodes).filter(|_| dice.chance(500)).collect(),
    }
}

/// Nodes that go elsewhere, one by one or all at once, and proxies that end their connections, beside moments in which nothing gets
/// through to the node behind.
fn moves(plan: &Plan, dice: &mut Dice) -> Vec<Fault> {
    let knobs = &plan.knobs;
    let mut faults = Vec::new();
    let mut at_ms = dice.between(1_500, plan.calm_at_ms.max(2_000) / 2);
    if dice.chance(600) {
        let mut movers = knobs.unaddressed.clone();
        movers.retain(|node| is_lost_elsewhere(plan, *node));
        movers.truncate(lost_at_most(plan));
        for _ in 0..dice.between(1, 3) {
            if movers.is_empty() {
                break;
            }
            let node = *dice.pick(&movers);
            faults.push(Fault { at_ms, for_ms: *dice.pick(&[1, 300, 1_500]), what: What::Move(node) });
            at_ms += *dice.pick(&[50, 1_500, 6_000]);
        }
    }
    let all = knobs.unaddressed.iter().filter(|node| is_lost_elsewhere(plan, **node)).count();
    // Whose file says that it is the master names nobody, and once all have moved it finds nobody either.
    let edited = plan.faults.iter().any(|fault| matches!(fault.what, What::EditRole(_)));
    if dice.chance(250) && plan.broken.is_empty() && all <= lost_at_most(plan) && !edited {
        faults.push(Fault { at_ms, for_ms: *dice.pick(&[1, 300, 1_500]), what: What::MoveAll });
        at_ms += 6_000;
    }
    for node in &knobs.proxied {
        for _ in 0..dice.between(0, 2) {
            faults.push(Fault { at_ms, for_ms: 0, what: What::ResetProxy(*node) });
            if dice.chance(600) {
                let for_ms = *dice.pick(&[50, 300, 1_500]);
                faults.push(Fault { at_ms: at_ms + 1, for_ms, what: What::Partition(vec![*node]) });
            }
            at_ms += 2_500;
        }
    }
    faults
}

/// How many nodes may be where nobody looks for them. Whoever holds most must find so many others that they are a majority with it:
/// nobody passes on what another has learnt, so that two that do not find each other stay apart until one of them leads. Where a master
/// may be found by its calls alone, nobody may be.
fn lost_at_most(plan: &Plan) -> usize {
    if (0..plan.nodes()).any(|node| plan.is_hidden(node)) {
        return 0;
    }
    if plan.knobs.voters_max < plan.nodes() as u32 || plan.removes_members() {
        // Any two may be the ones that must find each other.
        return 1;
    }
    let left = plan.nodes() - plan.broken.len();
    left.saturating_sub(plan.nodes() / 2)
}

/// Every file names the first master, which is found by that wherever it is.
fn is_lost_elsewhere(plan: &Plan, node: u8) -> bool {
    (node != 0 || plan.knobs.one_name) && !plan.is_broken(node.into())
}

/// Members whose heartbeats come more often or more seldom than those of their fellows.
fn heartbeats(plan: &mut Plan, dice: &mut Dice) {
    let (usual, election_ms) = (plan.knobs.heartbeat_ms, plan.knobs.election_ms);
    for node in 0..plan.nodes() as u8 {
        let (times, of) = *dice.pick(&[(1, 1), (1, 4), (1, 2), (2, 1), (4, 1)]);
        let own = (usual * times / of).clamp(50, 2_000);
        // An election timeout of fewer than one and a half is refused.
        if own != usual && (election_ms == 0 || own * 3 / 2 <= election_ms) {
            plan.knobs.heartbeats_ms.insert(node, own);
        }
    }
}

/// What is given up lives, and is connected; its disk does nothing any more.
fn hang_for_good(plan: &mut Plan, dice: &mut Dice) {
    let hand = *dice.pick(&[Hand::Log, Hand::Both]);
    for fault in plan.faults.iter_mut().filter(|fault| fault.for_ms == FOR_EVER_MS) {
        if let What::Kill(node) | What::PowerCut(node) | What::Pause(node) = fault.what {
            fault.what = What::HangDisk(node, hand);
        }
    }
}

/// Disks that do nothing for a while, beside what brings others to lead, or their node to start again.
fn hanging(plan: &Plan, dice: &mut Dice) -> Vec<Fault> {
    let nodes = plan.nodes() as u64;
    let mut faults = Vec::new();
    let mut at_ms = dice.between(1_500, plan.calm_at_ms.max(2_000));
    for _ in 0..dice.between(1, 3) {
        let for_ms = *dice.pick(&[300, 300, 1_000, 1_000, 3_000, 3_000, 8_000, 8_000, 20_000]);
        let for_ms = if dice.chance(30) { 90_000 } else { for_ms };
        let hand = *dice.pick(&[Hand::Log, Hand::Log, Hand::Snapshot, Hand::Both]);
        let node = if dice.chance(500) { 0 } else { dice.below(nodes) as u8 };
        faults.push(Fault { at_ms, for_ms, what: What::HangDisk(node, hand) });
        let beside =
            Fault { at_ms: at_ms + dice.below(for_ms), for_ms: *dice.pick(&[50, 1_500]), what: What::KillMaster };
        let other = dice.below(nodes) as u8;
        match dice.below(6) {
            0 => faults.push(Fault { what: What::Kill(node), ..beside }),
            1 => faults.push(beside),
            2 => faults.push(Fault { what: What::Partition(vec![node]), ..beside }),
            3 if other != node => faults.push(Fault { what: What::HangDisk(other, hand), ..beside }),
            _ => {}
        }
        at_ms += dice.below(for_ms) + *dice.pick(&[300, 4_000]);
    }
    faults
}
