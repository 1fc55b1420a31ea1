//! `synap-sim bugs`: each planted bug must be found within its budget of seeds. The table tells how many it took.

use super::run_plan;
use crate::bugs::PLANTS;
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
}

pub(super) fn run(args: &Args) -> u8 {
    let mut survivors = 0;
    println!("{:<34} {:>6} {:>6}  found by", "planted bug", "seeds", "budget");
    for plant in PLANTS.iter().filter(|plant| args.only.as_ref().is_none_or(|name| name == plant.name)) {
        match hunt(plant.name, args.start, plant.seeds_max) {
            Some((seeds, verdict)) => {
                let seed = args.start + seeds - 1;
                let token = token(Level::A, seed, Some(plant.name));
                println!(
                    "{:<34} {seeds:>6} {:>6}  {} ({token})",
                    plant.name,
                    plant.seeds_max,
                    verdict.signature()
                );
            }
            None => {
                survivors += 1;
                println!("{:<34} {:>6} {:>6}  NOBODY", plant.name, "-", plant.seeds_max);
            }
        }
    }
    if survivors == 0 { 0 } else { 10 }
}

/// How many seeds it takes until a run fails with the bug and does not without it.
fn hunt(name: &str, start: u64, seeds_max: u64) -> Option<(u64, Verdict)> {
    (0..seeds_max).find_map(|nth| {
        let sound = plan::draw(start + nth);
        let verdict = run_plan(Level::A, &Plan { planted: Some(name.to_owned()), ..sound.clone() }, false).verdict;
        let killed = !verdict.is_good() && run_plan(Level::A, &sound, false).verdict.is_good();
        killed.then_some((nth + 1, verdict))
    })
}
