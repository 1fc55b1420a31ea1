//! A plan without one of its nodes: what hits only that node goes with it, and the nodes after it move up.

use crate::plan::{Fault, Knobs, Own, Plan, What};

/// The plan without `node`; none where it is the first master, or the only replica.
pub(super) fn without(plan: &Plan, node: usize) -> Option<Plan> {
    if node == 0 || plan.replicas <= 1 {
        return None;
    }
    let moved = |other: u8| (usize::from(other) != node).then_some(other - u8::from(usize::from(other) > node));
    let nodes = plan.nodes() - 1;
    let faults = plan.faults.iter().filter_map(|fault| {
        let what = without_in(&fault.what, moved)?;
        let hits_all = matches!(&what, What::Partition(side) if side.is_empty() || side.len() >= nodes);
        (!hits_all).then_some(Fault { what, ..fault.clone() })
    });
    let operations = plan.operations.iter().cloned().map(|mut operation| {
        operation.node = moved(operation.node).unwrap_or(0);
        operation
    });
    let own = plan.knobs.own.iter().filter_map(|own| Some(Own { node: moved(own.node)?, ..own.clone() }));
    let left = |list: &[u8]| list.iter().copied().filter_map(moved).collect();
    let knobs = Knobs {
        own: own.collect(),
        unaddressed: left(&plan.knobs.unaddressed),
        misaddressed: left(&plan.knobs.misaddressed),
        misplaced: plan
            .knobs
            .misplaced
            .iter()
            .filter_map(|(node, other)| Some((moved(*node)?, moved(*other)?)))
            .collect(),
        logless: left(&plan.knobs.logless),
        proxied: left(&plan.knobs.proxied),
        heartbeats_ms: plan
            .knobs
            .heartbeats_ms
            .iter()
            .filter_map(|(node, ms)| Some((moved(*node)?, *ms)))
            .collect(),
        ..plan.knobs.clone()
    };
    Some(Plan {
        knobs,
        replicas: plan.replicas - 1,
        faults: faults.collect(),
        operations: operations.collect(),
        broken: plan.broken.iter().copied().filter_map(moved).collect(),
        ..plan.clone()
    })
}

/// The same fault among the nodes that are left; none if it hit only the one that is gone.
fn without_in(what: &What, moved: impl Fn(u8) -> Option<u8>) -> Option<What> {
    Some(match what {
        What::Kill(node) => What::Kill(moved(*node)?),
        What::PowerCut(node) => What::PowerCut(moved(*node)?),
        What::PowerCutAll => What::PowerCutAll,
        What::Pause(node) => What::Pause(moved(*node)?),
        What::Partition(side) => What::Partition(side.iter().copied().filter_map(&moved).collect()),
        What::OneWay(from, to) => What::OneWay(moved(*from)?, moved(*to)?),
        What::Reset(node) => What::Reset(moved(*node)?),
        What::SlowNetwork(factor) => What::SlowNetwork(*factor),
        What::SlowDisk(node, factor) => What::SlowDisk(moved(*node)?, *factor),
        What::HangDisk(node, hand) => What::HangDisk(moved(*node)?, *hand),
        What::FullDisk(node) => What::FullDisk(moved(*node)?),
        What::FailSync(node) => What::FailSync(moved(*node)?),
        What::Rot(node) => What::Rot(moved(*node)?),
        What::Spoil(node) => What::Spoil(moved(*node)?),
        What::Misdirect(node) => What::Misdirect(moved(*node)?),
        What::Wipe(node) => What::Wipe(moved(*node)?),
        What::Restore(node, from) => What::Restore(moved(*node)?, moved(*from)?),
        What::CopyDisk(from, to) => What::CopyDisk(moved(*from)?, moved(*to)?),
        What::EditReplica(node, master) => What::EditReplica(moved(*node)?, moved(*master)?),
        What::OldDisk(node) => What::OldDisk(moved(*node)?),
        What::SlowLink(from, to, rate) => What::SlowLink(moved(*from)?, moved(*to)?, *rate),
        What::SwapDisks(one, other) => What::SwapDisks(moved(*one)?, moved(*other)?),
        What::WallJump(node, ms) => What::WallJump(moved(*node)?, *ms),
        What::Promote(node, force) => What::Promote(moved(*node)?, *force),
        What::EditRole(node) => What::EditRole(moved(*node)?),
        What::Snapshot(node) => What::Snapshot(moved(*node)?),
        What::Stop(node) => What::Stop(moved(*node)?),
        What::Strangers(node) => What::Strangers(moved(*node)?),
        What::Switchover(node) => What::Switchover(moved(*node)?),
        What::Remove(node) => What::Remove(moved(*node)?),
        What::Skew(node, versions) => What::Skew(moved(*node)?, *versions),
        What::Garble(node) => What::Garble(moved(*node)?),
        What::Move(node) => What::Move(moved(*node)?),
        What::ResetProxy(node) => What::ResetProxy(moved(*node)?),
        What::Priority(node, priority) => What::Priority(moved(*node)?, *priority),
        What::CrashLoop(node, times) => What::CrashLoop(moved(*node)?, *times),
        What::KillMaster
        | What::CutMaster
        | What::PauseElections
        | What::KillCandidate
        | What::KillPromoting
        | What::KillOpening
        | What::KillRollingBack
        | What::KillSyncing
        | What::ResetSyncing
        | What::MoveAll
        | What::Flood(_) => what.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        serde_yaml::from_str(text).expect("a plan")
    }

    #[test]
    fn what_is_left_names_the_nodes_by_their_new_numbers() {
        let before = plan(
            "replicas: 3\nfaults: [{at_ms: 1, what: !kill 1}, {at_ms: 2, what: !kill 2}, {at_ms: 3, what: !partition [0, 1, 3]}]\n\
             operations: [{at_us: 4, node: 1, ask: get k}, {at_us: 5, node: 3, ask: get k}]",
        );
        let after = plan(
            "replicas: 2\nfaults: [{at_ms: 2, what: !kill 1}, {at_ms: 3, what: !partition [0, 2]}]\n\
             operations: [{at_us: 4, node: 0, ask: get k}, {at_us: 5, node: 2, ask: get k}]",
        );
        assert_eq!(without(&before, 1), Some(after));
    }

    #[test]
    fn a_partition_with_nobody_on_the_other_side_goes_too() {
        let before = plan("replicas: 2\nfaults: [{at_ms: 3, what: !partition [0, 1]}]");
        assert_eq!(without(&before, 2).map(|plan| plan.faults), Some(vec![]));
    }

    #[test]
    fn the_first_master_and_the_last_replica_stay() {
        assert_eq!(without(&plan("replicas: 2"), 0), None);
        assert_eq!(without(&plan("replicas: 1"), 1), None);
    }
}
