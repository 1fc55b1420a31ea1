//! `synap-sim replay`: one plan again, with its whole trace, twice over to see that it is the same.

use super::failure::message;
use super::run::first_difference;
use super::run_plan;
use crate::run::Verdict;
use crate::script::{Level, load, write};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A token (A1:42), or a script.
    what: String,
    /// Runs it on this level instead of the token's.
    #[arg(long)]
    level: Option<Level>,
    /// Prints only the last lines of the trace, so many; 0: none.
    #[arg(long)]
    tail: Option<usize>,
    /// Prints only lines that contain this.
    #[arg(long)]
    grep: Option<String>,
    /// Writes the plan to this file as a script.
    #[arg(long)]
    save: Option<std::path::PathBuf>,
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
    if let Some(Err(error)) = args.save.as_ref().map(|path| write(path, &plan)) {
        eprintln!("{error}");
        return 2;
    }
    let report = run_plan(level, &plan, true);
    let again = run_plan(level, &plan, false);
    let lines: Vec<String> = report.trace.unwrap_or_default().iter().map(ToString::to_string).collect();
    let wanted = lines.iter().filter(|line| args.grep.as_ref().is_none_or(|text| line.contains(text)));
    let wanted: Vec<&String> = wanted.collect();
    let from = args.tail.map_or(0, |tail| wanted.len().saturating_sub(tail));
    wanted[from..].iter().for_each(|line| println!("{line}"));
    let verdict = if again.trace_hash == report.trace_hash {
        report.verdict
    } else {
        Verdict::Nondeterminism { cause: first_difference(level, &plan) }
    };
    println!("trace {:016x}, {} lines; {verdict}", report.trace_hash, lines.len());
    if !verdict.is_good() {
        print!("{}", message(&args.what, level, &plan, &verdict));
    }
    verdict.exit_code()
}
