//! `synap-sim exhaust`: every order of events in small scopes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::failure::message;
use crate::exhaustive::{EVERY_ORDER, Found, Limits, SCOPES, Scope, search};
use crate::plan::Plan;
use crate::run::Verdict;
use crate::script::{Level, write_with};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this scope; all of them otherwise.
    #[arg(long)]
    scope: Option<String>,
    /// Stops after so many states of each scope.
    #[arg(long, default_value_t = 150_000)]
    states: usize,
    /// Workers.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Plants this bug in every node.
    #[arg(long)]
    bug: Option<String>,
    /// Keeps the shortest failing script here.
    #[arg(short, long, default_value = "bug.yaml")]
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> u8 {
    let scopes: Vec<&Scope> = match &args.scope {
        None => SCOPES.iter().collect(),
        Some(name) => Scope::named(name).into_iter().collect(),
    };
    if scopes.is_empty() {
        eprintln!("no scope is called so; there are:");
        SCOPES.iter().for_each(|scope| eprintln!("  {:<10} {}", scope.name, scope.about));
        return 2;
    }
    if let Err(error) = scopes[0].plan(args.bug.as_deref()).check() {
        eprintln!("{error}");
        return 2;
    }
    scopes.into_iter().map(|scope| run_scope(args, scope)).find(|code| *code != 0).unwrap_or(0)
}

fn run_scope(args: &Args, scope: &Scope) -> u8 {
    let began = Instant::now();
    let limits = Limits { states_max: args.states, jobs: args.jobs };
    let mut told = Instant::now();
    let found = search(scope, args.bug.as_deref(), limits, |so_far| {
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{:<10} {} states, {} deep ...", scope.name, so_far.states, so_far.depth);
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let end = if found.complete { "all there are" } else { "the scope has more" };
    println!(
        "{:<10} {} states, {end}; {} steps tried, up to {} deep, epoch {} at most; {seconds:.1} s, {:.0} states/s",
        scope.name,
        found.states,
        found.steps,
        found.depth,
        found.term,
        found.states as f64 / seconds.max(0.001),
    );
    let kinds: Vec<String> = found.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("{:<10} {}", "", kinds.join(", "));
    match &found.failure {
        Some((plan, verdict)) => fail(args, scope, plan, verdict),
        None => missing(scope, &found),
    }
}

fn fail(args: &Args, scope: &Scope, plan: &Plan, verdict: &Verdict) -> u8 {
    let comment = format!("{verdict}\nthe fewest steps to it in the scope {}, level C", scope.name);
    let what = args.output.display().to_string();
    if let Err(error) = write_with(&args.output, plan, &comment) {
        eprintln!("{error}");
    }
    plan.steps.iter().for_each(|step| println!("  {step}"));
    print!("{}", message(&what, Level::C, plan, verdict));
    verdict.exit_code()
}

/// A search in which something that its scope allows never happened says nothing about it.
fn missing(scope: &Scope, found: &Found) -> u8 {
    let budget = scope.budget;
    let wanted = [
        ("write", budget.writes),
        ("crash", budget.crashes),
        ("start", budget.crashes),
        ("break", budget.breaks),
        ("promote", budget.promotions),
        ("snapshot", budget.snapshots),
        ("tick", budget.ticks),
        ("sync", 1),
        ("deliver", 1),
    ];
    // With delays bounded, a search must reach the end of what it is for: another master that serves.
    if budget.delays != EVERY_ORDER && found.term < 2 {
        println!("FAILED  vacuous: nobody but the first master served in scope {}", scope.name);
        return Verdict::Vacuous { cause: String::new() }.exit_code();
    }
    let never = wanted.into_iter().find(|(kind, times)| *times > 0 && !found.kinds.contains_key(kind));
    match never {
        Some((kind, _)) => {
            let verdict = Verdict::Vacuous { cause: format!("no {kind} happened in scope {}", scope.name) };
            println!("FAILED  {verdict}");
            verdict.exit_code()
        }
        None => 0,
    }
}
