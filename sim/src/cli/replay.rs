//! `synap-sim replay`: one plan again, with its whole trace, twice over to see that it is the same.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::message;
use super::run::first_difference;
use super::run_plan;
use crate::panics;
use crate::plan::Plan;
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
    /// Level B: tells, turn by turn, what this node's core was told and what it said, as the core alone lives it again.
    #[arg(long, value_name = "NODE")]
    core: Option<usize>,
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
    if let Some(node) = args.core {
        return live_again(&plan, node);
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

/// Each life of a node, as the core alone lives it again. Gives 14 if one ends in a panic.
fn live_again(plan: &Plan, node: usize) -> u8 {
    let lives = crate::turmoil::lives(plan);
    for lived in lives.iter().filter(|lived| lived.node == node) {
        println!("n{node}, life {}", lived.life);
        let told = catch_unwind(AssertUnwindSafe(|| lived.recording.tell(|line| println!("{line}"))));
        if let Err(panic) = told {
            println!("  panics: {}", panics::message_of(&*panic));
            return 14;
        }
    }
    0
}
