//! The `synap-sim` program.

mod bugs;
mod exhaust;
mod failure;
mod replay;
mod run;
mod scripts;
mod shrink;
mod view;

use clap::{Parser, Subcommand};

use crate::plan::Plan;
use crate::run::Report;
use crate::script::Level;

/// Deterministic simulation of synap.
#[derive(Debug, Parser)]
#[command(name = "synap-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the plans of many seeds.
    Run(run::Args),
    /// Runs one plan again, from its token or its script, and prints the trace.
    Replay(replay::Args),
    /// Makes a failing plan as small as it gets, and keeps it as a script.
    Shrink(shrink::Args),
    /// Draws one run as a page for a browser.
    View(view::Args),
    /// Tries every order of events in small scopes.
    Exhaust(exhaust::Args),
    /// Plants each known bug and tells within how many seeds it is found.
    Bugs(bugs::Args),
}

/// Runs the program. Gives its exit code: 0, or what the first failing run gives (10 safety, 11 liveness, 12 vacuous,
/// 13 nondeterminism, 14 panic), or 2 for a bad command line.
pub fn main() -> u8 {
    crate::panics::keep();
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::View(args) => view::run(&args),
        Command::Exhaust(args) => exhaust::run(&args),
        Command::Bugs(args) => bugs::run(&args),
    }
}

/// Runs a plan on a level.
fn run_plan(level: Level, plan: &Plan, keeps_trace: bool) -> Report {
    match level {
        Level::A => crate::fast::run(plan, keeps_trace),
        Level::B => crate::turmoil::run(plan, keeps_trace),
        Level::C => crate::exhaustive::run(plan, keeps_trace),
    }
}
