//! Level C: small scopes are clean, planted bugs are found by the fewest steps, and what is found is a script.

use synap_sim::exhaustive::{Found, Limits, SCOPES, Scope, run, search};
use synap_sim::plan::{Plan, to_text};
use synap_sim::run::Verdict;
use synap_sim::shrink::{Limits as ShrinkLimits, shrink};

fn searched(scope: &str, bug: Option<&str>, states_max: usize, jobs: usize) -> Found {
    let scope = Scope::named(scope).expect("there is such a scope");
    search(scope, bug, Limits { states_max, jobs }, |_| {})
}

#[test]
fn no_order_of_a_few_steps_breaks_a_promise() {
    for scope in &SCOPES {
        let found = searched(scope.name, None, 10_000, 2);
        assert!(found.states >= 10_000, "{}: only {} states", scope.name, found.states);
        assert!(found.failure.is_none(), "{}: {:?}", scope.name, found.failure);
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let [one, three] = [1, 3].map(|jobs| searched("election", None, 3_000, jobs));
    assert_eq!((one.depth, one.kinds.contains_key("crash")), (three.depth, true));
    let bug = Some("snapshot_index_off_by_one");
    let [one, three] = [1, 3].map(|jobs| searched("snapshot", bug, 50_000, jobs).failure);
    assert!(one.is_some());
    assert_eq!(one, three);
}

#[test]
fn planted_bugs_are_found_and_become_scripts_that_fail_alike() {
    for (bug, scope, oracle) in [
        ("ack_before_durable", "pair", "INV-2"),
        ("snapshot_index_off_by_one", "snapshot", "INV-9"),
        ("discarded_tail_not_reported", "failover", "INV-10"),
    ] {
        let (plan, verdict) = searched(scope, Some(bug), 100_000, 2).failure.unwrap_or_else(|| panic!("{bug}"));
        assert!(verdict.signature().contains(oracle), "{bug}: {verdict}");
        let text = to_text(&plan).expect("it prints");
        let script: Plan = serde_yaml::from_str(&text).expect("a script");
        assert_eq!(run(&script, true).verdict, verdict, "{text}");
        let sound = Plan { planted: None, ..script };
        assert!(!matches!(run(&sound, false).verdict, Verdict::Safety(_)), "{bug}: it fails without the bug too");
    }
}

#[test]
fn the_fewest_steps_cannot_be_shrunk() {
    let (plan, _) = searched("snapshot", Some("snapshot_index_off_by_one"), 50_000, 2).failure.expect("a failure");
    let limits = ShrinkLimits { runs_max: 500, until: None };
    let shrunk = shrink(&plan, limits, run, |_| {}).expect("it fails");
    assert_eq!(shrunk.plan.steps.len(), plan.steps.len());
}

#[test]
fn a_step_that_cannot_be_taken_is_said() {
    let plan = Scope::named("pair").expect("a scope").plan(None);
    let with =
        |steps: &[&str]| Plan { steps: steps.iter().map(|step| (*step).to_owned()).collect(), ..plan.clone() };
    let cause = |steps: &[&str]| match run(&with(steps), false).verdict {
        Verdict::Vacuous { cause } => cause,
        other => format!("{other}"),
    };
    assert_eq!(cause(&["crash 1 0", "tick", "crash 1 0"]), "'crash 1 0' is not possible after 2 steps");
    assert_eq!(cause(&["hop 1"]), "'hop 1' is no step");
    assert_eq!(cause(&["deliver 9 0"]), "'deliver 9 0' is not possible after 0 steps");
    assert_eq!(cause(&[]), "there are no steps; `synap-sim exhaust` looks for them");
}
