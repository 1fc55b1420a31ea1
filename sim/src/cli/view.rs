//! `synap-sim view`: a run as one HTML file, and its end as text.

use std::path::PathBuf;

use super::failure::message;
use super::run_plan;
use crate::script::{Level, load};
use crate::view::page;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A token (A1:42), or a script.
    what: String,
    /// Runs it on this level instead of the token's.
    #[arg(long)]
    level: Option<Level>,
    /// Writes the page here.
    #[arg(short, long, default_value = "bug.html")]
    output: PathBuf,
    /// Draws at most so many records, the last ones.
    #[arg(long, default_value_t = 40_000)]
    records: usize,
    /// Prints so many of the last records as text.
    #[arg(long, default_value_t = 20)]
    tail: usize,
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
    let report = run_plan(level, &plan, true);
    let trace = report.trace.unwrap_or_default();
    trace[trace.len().saturating_sub(args.tail)..].iter().for_each(|record| println!("{record}"));
    let written = page(&args.what, &plan, &report.verdict, trace, args.records)
        .and_then(|page| Ok(std::fs::write(&args.output, page)?));
    if let Err(error) = written {
        eprintln!("{}: {error}", args.output.display());
        return 2;
    }
    if !report.verdict.is_good() {
        print!("{}", message(&args.what, level, &plan, &report.verdict));
    }
    println!("drawn in {}: open it in a browser", args.output.display());
    0
}
