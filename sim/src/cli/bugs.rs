//! `synap-sim bugs`: each planted bug must be found within its budget of seeds. Prints the kill matrix as a table for
//! `docs/simulation.md`: how many seeds it takes, from several first seeds, and which oracle finds it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run_plan;
use crate::bugs::{PLANTS, Plant};
use crate::plan::{self, Plan};
use crate::run::Verdict;
use crate::script::{Level, token};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// From how many first seeds each is hunted; the median counts.
    #[arg(long, default_value_t = 1)]
    samples: u8,
    /// How many are hunted at once.
    #[arg(long, default_value_t = 2)]
    jobs: u8,
}

/// A hunt that ended well.
struct Kill {
    seeds: u64,
    seed: u64,
    verdict: Verdict,
}

/// Between the first seeds of two samples.
const STRIDE: u64 = 100_000;

pub(super) fn run(args: &Args) -> u8 {
    let named = |plant: &&Plant| args.only.as_ref().is_none_or(|name| name == plant.name);
    let wanted: Vec<&Plant> = PLANTS.iter().filter(named).collect();
    if wanted.is_empty() {
        eprintln!("no bug is planted under that name");
        return 2;
    }
    println!("| planted bug | level | median seeds | budget | found by | token |\n|---|---|---|---|---|---|");
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while let Some(plant) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !tell(plant, args)
                        && let Ok(mut survivors) = survivors.lock()
                    {
                        survivors.push(plant.name);
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap_or_default();
    if survivors.is_empty() {
        println!("\nall {} are found", wanted.len());
        return 0;
    }
    println!("\nnobody finds {}", survivors.join(", "));
    10
}

/// Hunts one bug and prints its line. Gives whether it was found from every first seed.
fn tell(plant: &Plant, args: &Args) -> bool {
    let starts = (0..u64::from(args.samples.max(1))).map(|nth| args.start + nth * STRIDE);
    let kills: Option<Vec<Kill>> = starts.map(|start| hunt(plant, start)).collect();
    let Some(mut kills) = kills else {
        println!("| {} | A | - | {} | NOBODY | |", plant.name, plant.seeds_max);
        return false;
    };
    kills.sort_by_key(|kill| kill.seeds);
    let Kill { seeds, seed, verdict } = &kills[kills.len() / 2];
    let token = match plant.plan {
        None => format!("`{}`", token(Level::A, *seed, Some(plant.name))),
        Some(_) => format!("seed {seed} of its own plan"),
    };
    println!("| {} | A | {seeds} | {} | {} | {token} |", plant.name, plant.seeds_max, verdict.signature());
    true
}

/// What a seed runs in this hunt.
fn plan_of(plant: &Plant, seed: u64) -> Plan {
    let Some(text) = plant.plan else { return plan::draw(seed) };
    let plan: Plan =
        serde_yaml::from_str(text).unwrap_or_else(|error| panic!("the plan for {}: {error}", plant.name));
    Plan { seed: plan.seed.wrapping_add(seed), ..plan.with_end() }
}

/// How many seeds it takes until a run fails with the bug and does not without it.
fn hunt(plant: &Plant, start: u64) -> Option<Kill> {
    (start..start + plant.seeds_max).find_map(|seed| {
        let sound = plan_of(plant, seed);
        let planted = Plan { planted: Some(plant.name.to_owned()), ..sound.clone() };
        let verdict = run_plan(Level::A, &planted, false).verdict;
        let killed = !verdict.is_good() && run_plan(Level::A, &sound, false).verdict.is_good();
        killed.then(|| Kill { seeds: seed - start + 1, seed, verdict })
    })
}
