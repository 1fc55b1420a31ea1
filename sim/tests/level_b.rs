//! The whole server in simulation: the same plan gives the same trace, every turn of every core can be taken again by
//! the core alone, and what a front shows is compared.

use synap_core::ids::NodeId;
use synap_sim::dice::mix;
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

/// A good run, with its trace.
fn traced(plan: &Plan) -> Report {
    let report = synap_sim::turmoil::run(plan, true);
    assert_eq!(report.verdict, Verdict::Good, "{plan:?}");
    report
}

/// The lines of a trace in which this stands, with their times in microseconds.
fn lines<'a>(report: &'a Report, text: &'a str) -> impl Iterator<Item = (u64, String)> + 'a {
    let records = report.trace.iter().flatten();
    records.map(|record| (record.at, record.to_string())).filter(move |(_, line)| line.contains(text))
}

/// Who a node is that still has its first disk.
fn id_of(plan: &Plan, node: u64) -> String {
    NodeId(u128::from(mix(&[plan.seed, node, 0, 4])) << 64).to_string()
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
fn a_master_that_stands_still_past_its_lease_is_replaced_and_comes_back_as_a_replica() {
    let mut plan = with_faults(vec![fault(2_000, 2_500, What::Pause(0))]);
    plan.knobs.automatic = true;
    let report = traced(&plan);
    assert_eq!((report.tally.faults, report.tally.skipped), (1, 0));
    for does in ["n0       stands", "n0       batch", "n0 >"] {
        assert!(lines(&report, does).all(|(at, _)| !(2_000_000..4_500_000).contains(&at)), "it stands still");
    }
    let (elected_at, _) = lines(&report, "(election)").find(|(at, _)| *at > 2_000_000).expect("another master");
    assert!(elected_at < 4_500_000);
    assert!(lines(&report, "n0       stands   replica streaming").any(|(at, _)| at > 4_500_000), "it follows");
}

#[test]
fn a_master_that_wakes_up_and_believes_in_its_lease_is_found() {
    // Longer than clients wait for it, so that another has answered writes when it wakes up.
    let mut plan = with_faults(vec![fault(2_000, 4_500, What::Pause(0))]);
    plan.knobs.automatic = true;
    run(&plan);
    plan.planted = Some("lease_ignored".to_owned());
    let report = synap_sim::turmoil::run(&plan, false);
    assert!(
        matches!(&report.verdict, Verdict::Safety(it) if it.oracle.starts_with("INV-1 ")),
        "{:?}",
        report.verdict
    );
}

#[test]
fn clocks_that_gain_and_lose_what_a_lease_allows_for_keep_every_promise() {
    let mut plan = with_faults(vec![fault(2_000, 1_500, What::Pause(0)), fault(5_000, 500, What::KillMaster)]);
    plan.knobs.automatic = true;
    plan.knobs.drift_ppm_max = 10_000;
    run(&plan);
}

/// A node of another version is refused by those that it dials and by those that dial it, each names the other and says
/// why, and it follows when it is of the right version again.
#[test]
fn another_version_of_the_protocol_is_refused_by_name_on_both_sides() {
    for versions in [1, -1] {
        let mut plan = with_faults(vec![fault(2_000, 1_500, What::Skew(1, versions))]);
        plan.knobs.automatic = true;
        let report = traced(&plan);
        for (teller, named) in [("n0", id_of(&plan, 1)), ("n1", id_of(&plan, 0))] {
            let told = format!("{teller}       warns    refused {named}: protocol versions differ");
            assert!(lines(&report, &told).next().is_some(), "{told}");
        }
        assert!(lines(&report, "n0       warns    refused by").next().is_some(), "who is refused is told");
        assert!(lines(&report, "n1       stands   replica streaming").any(|(at, _)| at > 3_500_000), "it follows");
    }
}

#[test]
fn a_master_of_another_version_is_replaced() {
    let mut plan = with_faults(vec![fault(2_000, 2_500, What::Skew(0, 1))]);
    plan.knobs.automatic = true;
    let report = traced(&plan);
    let (elected_at, _) = lines(&report, "(election)").find(|(at, _)| *at > 2_000_000).expect("another master");
    assert!(elected_at < 4_500_000);
}

#[test]
fn damaged_frames_end_their_links_and_the_links_are_made_anew() {
    let report =
        traced(&with_faults(vec![fault(1_500, 1_000, What::Garble(0)), fault(4_000, 1_000, What::Garble(2))]));
    for (teller, from, until) in [("n1", 1_500_000, 2_500_000), ("n0", 4_000_000, 5_000_000)] {
        let told = format!("{teller}       warns    link");
        let mut lost = lines(&report, &told).filter(|(_, line)| line.contains("invalid message from the peer"));
        assert!(lost.any(|(at, _)| (from..until + 100_000).contains(&at)), "{teller} says why");
    }
    assert!(lines(&report, "stands   replica streaming").any(|(at, _)| at > 5_000_000));
}

#[test]
fn a_planted_bug_is_found() {
    let mut plan = with_faults(Vec::new());
    plan.planted = Some("ack_before_durable".to_owned());
    let report = synap_sim::turmoil::run(&plan, false);
    assert!(matches!(&report.verdict, Verdict::Safety(_)), "{:?}", report.verdict);
}
