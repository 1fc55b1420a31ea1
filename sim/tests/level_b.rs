//! The whole server in simulation: the same plan gives the same trace, every turn of every core can be taken again by
//! the core alone, and what a front shows is compared.

use synap_sim::plan::{Fault, Plan, What};
use synap_sim::run::{Report, Verdict};
use synap_sim::script::{Level, drawn};

fn fault(at_ms: u64, for_ms: u64, what: What) -> Fault {
    Fault { at_ms, for_ms, what }
}

fn with_faults(faults: Vec<Fault>) -> Plan {
    let mut plan = Plan { seed: 7, calm_at_ms: 8_000, ..Plan::default() };
    plan.workload.clients = 3;
    plan.faults = faults;
    plan
}

fn run(plan: &Plan) -> Report {
    let report = synap_sim::turmoil::run(plan, false);
    assert_eq!(report.verdict, Verdict::Good, "{plan:?}");
    report
}

#[test]
fn the_same_plan_gives_the_same_trace() {
    for seed in 0..3 {
        let plan = drawn(Level::B, seed);
        assert_eq!(run(&plan).trace_hash, run(&plan).trace_hash, "seed {seed}");
    }
}

#[test]
fn a_cluster_serves_through_kills_power_cuts_and_partitions() {
    let report = run(&with_faults(vec![
        fault(1_000, 300, What::Kill(0)),
        fault(2_000, 700, What::Partition(vec![1])),
        fault(3_500, 400, What::PowerCut(2)),
        fault(5_000, 500, What::OneWay(0, 1)),
    ]));
    assert!(report.tally.writes > 50, "{:?}", report.tally);
    assert!(report.tally.starts >= 5, "{:?}", report.tally);
}

#[test]
fn every_turn_of_every_life_is_taken_again_by_the_core_alone() {
    let report = run(&with_faults(vec![fault(2_000, 300, What::Kill(1))]));
    assert!(report.tally.turns_replayed > 500, "{:?}", report.tally);
}

#[test]
fn a_server_stops_in_good_order_and_strangers_do_not_keep_it_from_its_work() {
    let report = run(&with_faults(vec![
        fault(1_500, 2_000, What::Strangers(0)),
        fault(1_600, 2_000, What::Strangers(1)),
        fault(4_000, 500, What::Stop(0)),
        fault(6_000, 500, What::Stop(2)),
    ]));
    assert_eq!((report.tally.faults, report.tally.skipped), (4, 0));
    assert!(report.tally.starts >= 5, "{:?}", report.tally);
}

/// A stopping master waited for a deadline that it never tended: it made turn after turn until its process was gone.
#[test]
fn a_master_that_stops_lets_time_pass() {
    let mut plan = with_faults(vec![fault(4_000, 500, What::Stop(0))]);
    plan.knobs.automatic = true;
    assert!(run(&plan).tally.starts >= 4);
}

#[test]
fn what_this_level_cannot_express_is_counted() {
    let report = run(&with_faults(vec![fault(1_500, 200, What::Pause(1))]));
    assert_eq!((report.tally.faults, report.tally.skipped), (0, 1));
}

#[test]
fn a_planted_bug_is_found() {
    let mut plan = with_faults(Vec::new());
    plan.planted = Some("ack_before_durable".to_owned());
    let report = synap_sim::turmoil::run(&plan, false);
    assert!(matches!(&report.verdict, Verdict::Safety(_)), "{:?}", report.verdict);
}
