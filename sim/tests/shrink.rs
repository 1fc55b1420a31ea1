//! Shrinking: whatever was planted, what is left is small, fails in the same way, and is a script that keeps failing.

use synap_sim::bugs::PLANTS;
use synap_sim::fast::run;
use synap_sim::plan::{Plan, to_text};
use synap_sim::run::{Report, Tally, Verdict};
use synap_sim::shrink::{Limits, shrink};

/// Faults that have nothing to do with any planted bug.
const NOISE: &str = "
- {at_ms: 320, for_ms: 70, what: !pause 2}
- {at_ms: 410, what: !wall_jump [1, 5000]}
- {at_ms: 480, for_ms: 150, what: !slow_network 10}
- {at_ms: 530, what: !reset 1}
- {at_ms: 610, for_ms: 90, what: !one_way [2, 1]}
- {at_ms: 700, for_ms: 120, what: !slow_disk [1, 10]}
- {at_ms: 2100, for_ms: 80, what: !pause 1}
";

/// What brings a planted bug to light, among other things; none for those that are left to the campaigns.
fn scene(bug: &str) -> Option<&'static str> {
    let scene = match bug {
        "ack_before_durable" => "faults:",
        "fsync_error_ignored" => {
            "disk: {failed_sync: drops_pages, write_back_per_mille: 0}
faults:
- {at_ms: 800, for_ms: 100, what: !fail_sync 0}
- {at_ms: 850, for_ms: 100, what: !fail_sync 1}
- {at_ms: 1000, for_ms: 50, what: !power_cut 0}
- {at_ms: 1100, for_ms: 50, what: !power_cut 1}"
        }
        "snapshot_index_off_by_one" => "knobs: {snapshot_wal_bytes: 1000, snapshot_interval_ms: 300}\nfaults:",
        "wal_cut_before_snapshot_durable" => {
            "knobs: {snapshot_wal_bytes: 200, snapshot_interval_ms: 300, segment_bytes_max: 1024, tail_bytes_max: 0}
disk: {sync_us_min: 1000, sync_us_max: 9000}
faults:
- {at_ms: 800, for_ms: 50, what: !power_cut 0}
- {at_ms: 950, for_ms: 50, what: !power_cut 1}
- {at_ms: 1100, for_ms: 50, what: !power_cut 0}
- {at_ms: 1250, for_ms: 50, what: !power_cut 1}"
        }
        "discarded_tail_not_reported" => {
            "faults:
- {at_ms: 800, for_ms: 300, what: !partition [0]}
- {at_ms: 900, what: !promote [1, true]}"
        }
        _ => return None,
    };
    Some(scene)
}

/// The first plan of the scene, by seed, that fails with the bug and not without it.
fn failing(bug: &str) -> Plan {
    let text = format!("{}{NOISE}", scene(bug).unwrap_or("faults:"));
    let plan: Plan = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{bug}: {error}"));
    let with = |seed| Plan { seed, planted: Some(bug.to_owned()), ..plan.clone() }.with_end();
    let fails = |plan: &Plan| !run(plan, false).verdict.is_good();
    let sound = |plan: &Plan| run(&Plan { planted: None, ..plan.clone() }, false).verdict.is_good();
    (0..60).map(with).find(|plan| fails(plan) && sound(plan)).unwrap_or_else(|| panic!("{bug} is not found"))
}

#[test]
fn every_planted_bug_shrinks_to_a_small_script_that_fails_alike() {
    let limits = Limits { runs_max: 1_500, until: None };
    for bug in PLANTS.iter().map(|plant| plant.name).filter(|bug| scene(bug).is_some()) {
        let plan = failing(bug);
        let before = run(&plan, false).verdict;
        let shrunk = shrink(&plan, limits, run, |_| {}).expect("it fails");
        let text = to_text(&shrunk.plan).expect("it prints");
        println!("# {bug}: {} runs, {} lines", shrunk.runs, text.lines().count());
        assert!(shrunk.plan.faults.len() <= 4, "{bug}: too many faults are left\n{text}");
        assert!(text.lines().count() <= 50, "{bug}: the script is long\n{text}");
        let again: Plan = serde_yaml::from_str(&text).expect("a script");
        let verdict = run(&again.with_end(), false).verdict;
        assert_eq!(verdict.signature(), before.signature(), "{bug}: the script fails in another way\n{text}");
    }
}

#[test]
fn a_good_plan_is_not_shrunk() {
    let plan = Plan::default().with_end();
    assert!(shrink(&plan, Limits { runs_max: 100, until: None }, run, |_| {}).is_none());
}

#[test]
fn a_shrinker_keeps_to_its_limits_and_says_so() {
    let plan = failing("ack_before_durable");
    let shrunk = shrink(&plan, Limits { runs_max: 5, until: None }, run, |_| {}).expect("it fails");
    assert!(!shrunk.finished);
    assert_eq!(shrunk.runs, 5);
    assert_eq!(shrunk.verdict.signature(), run(&shrunk.plan, false).verdict.signature());
}

#[test]
fn nobody_stays_given_up_whom_nothing_keeps_down() {
    let text =
        "broken: [1]\nfaults: [{at_ms: 500, for_ms: 10000000, what: !kill 1}, {at_ms: 600, what: !reset 2}]";
    let plan = Plan { calm_at_ms: 3_000, ..serde_yaml::from_str(text).expect("it is a plan") };
    let never_converges = |_: &Plan, _: bool| Report {
        verdict: Verdict::Liveness { at: 9_000_000, cause: String::new() },
        trace_hash: 0,
        trace: None,
        tally: Tally::default(),
    };
    let shrunk = shrink(&plan, Limits { runs_max: 200, until: None }, never_converges, |_| {}).expect("it fails");
    assert_eq!((shrunk.plan.faults.len(), shrunk.plan.broken.len()), (0, 0));
}
