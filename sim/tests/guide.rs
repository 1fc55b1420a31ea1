//! `docs/simulation.md` tells a newcomer what happens. It must.

use synap_sim::fast::run;
use synap_sim::plan::Plan;
use synap_sim::run::Verdict;

const GUIDE: &str = include_str!("../../docs/simulation.md");

/// The scripts of the guide, in order.
fn scripts() -> Vec<Plan> {
    let blocks = GUIDE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let plan =
        |block: &str| serde_yaml::from_str::<Plan>(block).unwrap_or_else(|error| panic!("{error} in\n{block}"));
    blocks.map(|block| plan(block).with_end()).collect()
}

#[test]
fn the_scripts_of_the_guide_fail_as_it_says_and_only_with_the_bug() {
    let scripts = scripts();
    assert_eq!(scripts.len(), 2, "the script to begin with, and what shrinking leaves of it");
    for plan in scripts {
        plan.check().expect("a script that a run can follow");
        let verdict = run(&plan, false).verdict;
        let Verdict::Safety(violation) = &verdict else { panic!("{verdict}") };
        let told = format!("FAILED  {}", violation.oracle);
        assert!(GUIDE.contains(&told), "the guide does not say: {told}");
        let sound = Plan { planted: None, ..plan };
        assert_eq!(run(&sound, false).verdict, Verdict::Good);
    }
}

#[test]
fn the_guide_names_every_fault() {
    let source = include_str!("../src/plan/mod.rs");
    let (_, faults) = source.split_once("pub enum What {").expect("faults are there");
    let (faults, _) = faults.split_once("\n}").expect("they end");
    let names = faults.lines().filter_map(|line| {
        let name = line.trim().trim_end_matches(',').split('(').next()?;
        name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name)
    });
    for name in names {
        let snake: String = name
            .chars()
            .enumerate()
            .flat_map(|(at, letter)| {
                let gap = (at > 0 && letter.is_uppercase()).then_some('_');
                gap.into_iter().chain(letter.to_lowercase())
            })
            .collect();
        assert!(GUIDE.contains(&format!("`{snake}`")), "the guide does not name {snake}");
    }
}
