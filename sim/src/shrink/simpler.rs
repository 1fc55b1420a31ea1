//! Plainer values for what must stay: the usual setting instead of a drawn one, a gentler fault, a round time.

use serde_yaml::Value;

use crate::disk::Hand;
use crate::plan::{Ask, Fault, Operation, Plan, What};

/// Settings that a shrinker may make usual, by the group that they stand in. Not among them: what says how long a run
/// may take to converge (with less of it everything fails), and what is a list.
const GROUPS: [&str; 4] = ["knobs", "network", "disk", "workload"];

/// How many settings are not the usual ones.
pub(super) fn unusual(plan: &Plan) -> usize {
    paths(plan).len()
}

/// The plan with its `at`th unusual setting made usual; groups as a whole come first. None when there is none left.
pub(super) fn more_usual(plan: &Plan, at: usize) -> Option<Plan> {
    let paths = paths(plan);
    let (group, name) = paths.get(at)?;
    let mut told = serde_yaml::to_value(plan).ok()?;
    let usual = serde_yaml::to_value(Plan::default()).ok()?;
    let here = told.get_mut(*group)?.as_mapping_mut()?;
    let there = usual.get(*group)?.as_mapping()?;
    match name {
        None => {
            // The drawn clients are not a matter of settings.
            let settings = there.iter().filter(|(name, _)| name.as_str() != Some("clients"));
            here.extend(settings.map(|(name, value)| (name.clone(), value.clone())));
        }
        Some(name) => {
            here.insert(name.clone(), there.get(name)?.clone());
        }
    }
    serde_yaml::from_value(told).ok()
}

/// Where a plan is unusual: each group, then each setting of it.
fn paths(plan: &Plan) -> Vec<(&'static str, Option<Value>)> {
    let (Ok(told), Ok(usual)) = (serde_yaml::to_value(plan), serde_yaml::to_value(Plan::default())) else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for group in GROUPS {
        let (Some(Value::Mapping(told)), Some(Value::Mapping(usual))) = (told.get(group), usual.get(group)) else {
            continue;
        };
        let odd = |name: &&Value| name.as_str() != Some("clients") && told.get(*name) != usual.get(*name);
        let names: Vec<Value> = usual.keys().filter(odd).cloned().collect();
        if names.len() > 1 {
            paths.push((group, None));
        }
        paths.extend(names.into_iter().map(|name| (group, Some(name))));
    }
    paths
}

/// Gentler faults that might do as well, the gentlest first.
pub(super) fn plainer(what: &What, nodes: usize) -> Vec<What> {
    let each = || 0..u8::try_from(nodes).unwrap_or(u8::MAX);
    match what {
        What::PowerCutAll => each().map(What::Kill).chain(each().map(What::PowerCut)).collect(),
        What::PowerCut(node) => vec![What::Kill(*node)],
        What::Partition(side) if side.len() > 1 => each().map(|node| What::Partition(vec![node])).collect(),
        What::Partition(side) => side
            .iter()
            .flat_map(|node| each().filter(move |other| other != node).map(move |other| (*node, other)))
            .flat_map(|(node, other)| [What::OneWay(node, other), What::OneWay(other, node)])
            .collect(),
        What::KillMaster
        | What::KillCandidate
        | What::KillPromoting
        | What::KillOpening
        | What::KillRollingBack
        | What::KillSyncing => each().map(What::Kill).collect(),
        What::ResetSyncing => each().map(What::Reset).collect(),
        What::CrashLoop(node, times) if *times > 1 => {
            vec![What::Kill(*node), What::CrashLoop(*node, times / 2), What::CrashLoop(*node, times - 1)]
        }
        What::CrashLoop(node, _) => vec![What::Kill(*node)],
        What::CutMaster => each().map(|node| What::Partition(vec![node])).collect(),
        What::Promote(node, true) => vec![What::Promote(*node, false)],
        What::Skew(node, _) => vec![What::Kill(*node)],
        What::Garble(node) => vec![What::Reset(*node)],
        What::CopyDisk(_, node) | What::EditReplica(node, _) => vec![What::Kill(*node)],
        What::Restore(node, _) => vec![What::Wipe(*node), What::PowerCut(*node), What::Kill(*node)],
        What::Move(node) => vec![What::Kill(*node)],
        What::MoveAll => each().map(What::Move).collect(),
        What::ResetProxy(node) => vec![What::Reset(*node)],
        What::Wipe(node) => vec![What::PowerCut(*node), What::Kill(*node)],
        What::OldDisk(node) => vec![What::PowerCut(*node)],
        What::SwapDisks(one, other) => vec![What::PowerCut(*one), What::PowerCut(*other)],
        What::SlowNetwork(factor) if *factor > 10 => vec![What::SlowNetwork(10)],
        What::SlowDisk(node, factor) if *factor > 10 => vec![What::SlowDisk(*node, 10)],
        What::HangDisk(node, Hand::Both) => {
            vec![What::HangDisk(*node, Hand::Log), What::HangDisk(*node, Hand::Snapshot)]
        }
        What::Kill(_)
        | What::HangDisk(..)
        | What::Pause(_)
        | What::OneWay(..)
        | What::Reset(_)
        | What::SlowNetwork(_)
        | What::SlowLink(..)
        | What::SlowDisk(..)
        | What::FullDisk(_)
        | What::FailSync(_)
        | What::Rot(_)
        | What::Spoil(_)
        | What::Misdirect(_)
        | What::WallJump(..)
        | What::Promote(_, false)
        | What::EditRole(_)
        | What::Snapshot(_)
        | What::Stop(_)
        | What::Strangers(_)
        | What::Switchover(_)
        | What::Remove(_)
        | What::Priority(..)
        | What::PauseElections
        | What::Flood(_) => Vec::new(),
    }
}

/// All times rounded at once, the coarsest first.
pub(super) fn round_at_once(plan: &Plan) -> Vec<Plan> {
    let round = |ms: u64| {
        let mut plan = plan.clone();
        for fault in &mut plan.faults {
            fault.at_ms = down(fault.at_ms, ms);
            fault.for_ms = fault.for_ms.next_multiple_of(ms);
        }
        for operation in &mut plan.operations {
            operation.at_us = down(operation.at_us, ms * 1000);
        }
        plan
    };
    [100, 10, 1].map(round).into_iter().filter(|rounded| rounded != plan).collect()
}

/// The same fault at a rounder time, or for a rounder or no time.
pub(super) fn rounder_fault(fault: &Fault) -> Vec<Fault> {
    let at = |ms| Fault { at_ms: down(fault.at_ms, ms), ..fault.clone() };
    let lasts = |for_ms| Fault { for_ms, ..fault.clone() };
    let mut rounder: Vec<Fault> =
        [0, 1, 10, 100, 1000].into_iter().filter(|ms| *ms < fault.for_ms).map(lasts).collect();
    rounder.extend([1000, 500, 100, 50, 10].map(at));
    rounder.retain(|rounded| rounded != fault);
    rounder
}

/// The same operation at a rounder time, and a plainer one at the same.
pub(super) fn simpler_operation(operation: &Operation) -> Vec<Operation> {
    let at = |us| Operation { at_us: down(operation.at_us, us), ..operation.clone() };
    let mut simpler: Vec<Operation> = [1_000_000, 500_000, 100_000, 10_000, 1_000].map(at).into();
    let plainest: Result<Ask, _> = "set k=v".parse();
    let plain_value = operation.ask.to_string().split(['*', '@']).next().map(str::parse::<Ask>);
    for ask in [plainest, plain_value.unwrap_or_else(|| Ok(operation.ask.clone()))].into_iter().flatten() {
        simpler.push(Operation { client: 0, ask: ask.clone(), ..operation.clone() });
        simpler.push(Operation { ask, ..operation.clone() });
    }
    simpler.retain(|simpler| simpler != operation);
    simpler
}

/// Rounded down, but not to the very beginning: nothing runs yet.
fn down(time: u64, step: u64) -> u64 {
    let round = time / step * step;
    if round == 0 { time } else { round }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_usual_group_by_group_and_then_one_by_one() {
        let text = "workload: {clients: 6, keys: 50}\nknobs: {heartbeat_ms: 50, max_snapshots: 3}";
        let plan: Plan = serde_yaml::from_str(text).expect("a plan");
        assert_eq!(unusual(&plan), 4, "one group as a whole, and three settings");
        let knobs = more_usual(&plan, 0).expect("there is one");
        assert_eq!((&knobs.knobs, &knobs.workload), (&Plan::default().knobs, &plan.workload));
        let heartbeat = more_usual(&plan, 1).expect("there is one");
        assert_eq!((heartbeat.knobs.heartbeat_ms, heartbeat.knobs.max_snapshots), (100, 3));
        let keys = more_usual(&plan, 3).expect("there is one");
        assert_eq!((keys.workload.clients, keys.workload.keys), (6, 5), "clients are no setting");
        assert_eq!(more_usual(&plan, 4), None);
    }

    #[test]
    fn times_get_rounder_and_never_zero() {
        let fault = Fault { at_ms: 1_234, for_ms: 57, what: What::Kill(0) };
        let times: Vec<(u64, u64)> =
            rounder_fault(&fault).iter().map(|fault| (fault.at_ms, fault.for_ms)).collect();
        assert_eq!(times[..3], [(1_234, 0), (1_234, 1), (1_234, 10)]);
        assert_eq!(times[3..5], [(1_000, 57), (1_000, 57)]);
        assert_eq!(down(400, 1000), 400);
    }
}
