//! `synap-sim shrink`: the smallest plan that fails in the same way, kept as a script.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::failure::how_to_go_on;
use super::run_plan;
use crate::plan::to_text;
use crate::script::{Level, load, write_with};
use crate::shrink::{Limits, Shrunk, shrink};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A token (A1:42), or a script.
    what: String,
    /// Runs it on this level instead of the token's.
    #[arg(long)]
    level: Option<Level>,
    /// Writes the small script here.
    #[arg(short, long, default_value = "bug.yaml")]
    output: PathBuf,
    /// Takes at most so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Takes at most so many runs.
    #[arg(long, default_value_t = 100_000)]
    runs: u32,
}

pub(super) fn run(args: &Args) -> u8 {
    let (level, plan) = match load(&args.what) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return 2;
        }
    };
    let level = args.level.unwrap_or(level);
    let began = Instant::now();
    let limits = Limits { runs_max: args.runs, until: Some(began + Duration::from_secs(args.seconds)) };
    let shrunk = shrink(&plan, limits, |plan, keeps| run_plan(level, plan, keeps), |line| eprintln!("{line}"));
    let Some(shrunk) = shrunk else {
        eprintln!("{} does not fail: there is nothing to shrink", args.what);
        return 2;
    };
    match keep(args, level, &shrunk) {
        Ok(text) => {
            println!("{text}");
            let end = if shrunk.finished { "nothing more can go" } else { "out of time: --seconds gives it more" };
            println!("{} runs, {} s; {end}", shrunk.runs, began.elapsed().as_secs());
            print!("{}", how_to_go_on(&args.output.display().to_string()));
            0
        }
        Err(error) => {
            eprintln!("{error}");
            2
        }
    }
}

/// Writes the script, with what it shows on top; gives its text.
fn keep(args: &Args, level: Level, shrunk: &Shrunk) -> Result<String, Box<dyn std::error::Error>> {
    let comment = format!("{}\nshrunk from {}, level {level:?}", shrunk.verdict, args.what);
    write_with(&args.output, &shrunk.plan, &comment)?;
    Ok(to_text(&shrunk.plan)?)
}
