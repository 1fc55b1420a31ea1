//! `synap-sim run`: many seeds, in parallel, until one fails or all are done.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::failure::message;
use super::run_plan;
use crate::plan::Plan;
use crate::run::{Tally, Verdict};
use crate::script::{Level, drawn, token, write};
use crate::trace::Record;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A: the core alone, fast. B: the shipped server over turmoil.
    #[arg(long, default_value = "A")]
    level: Level,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many run at once.
    #[arg(long, default_value_t = 2)]
    jobs: u8,
    /// Plants this bug in every node.
    #[arg(long)]
    bug: Option<String>,
    /// Every so many seeds, one is run twice and its traces are compared.
    #[arg(long, default_value_t = 50)]
    twice_every: u64,
    /// Goes on after a failure, to see how many there are.
    #[arg(long)]
    keep_going: bool,
    /// Fails if a mark of the core, a kind of message or a kind of fault was never met.
    #[arg(long)]
    coverage: bool,
    /// Runs the scripts in this directory instead of seeds.
    #[arg(long)]
    scripts: Option<std::path::PathBuf>,
    /// Keeps the first failing plan as a script here.
    #[arg(long)]
    save: Option<std::path::PathBuf>,
}

/// What all workers share.
struct Shared<'a> {
    args: &'a Args,
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    tally: Mutex<Tally>,
    failures: Mutex<Vec<(u64, Verdict)>>,
}

pub(super) fn run(args: &Args) -> u8 {
    if let Some(dir) = &args.scripts {
        return super::scripts::run(dir);
    }
    let shared = Shared {
        args,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        tally: Mutex::default(),
        failures: Mutex::default(),
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(|| shared.work())).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                shared.tell(began.elapsed());
            }
        }
    });
    shared.tell(began.elapsed());
    shared.conclude()
}

impl Shared<'_> {
    fn work(&self) {
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            if nth >= self.args.seeds || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let seed = self.args.start + nth;
            let verdict = self.run_seed(seed);
            self.done.fetch_add(1, Ordering::Relaxed);
            if !verdict.is_good() {
                self.fail(seed, verdict);
            }
        }
    }

    fn plan(&self, seed: u64) -> Plan {
        Plan { planted: self.args.bug.clone(), ..drawn(self.args.level, seed) }
    }

    fn run_seed(&self, seed: u64) -> Verdict {
        let plan = self.plan(seed);
        let report = run_plan(self.args.level, &plan, false);
        if let Ok(mut tally) = self.tally.lock() {
            *tally = tally.and(report.tally);
        }
        let twice = self.args.twice_every > 0 && seed.is_multiple_of(self.args.twice_every);
        if report.verdict.is_good() && twice {
            let again = run_plan(self.args.level, &plan, false);
            if again.trace_hash != report.trace_hash {
                return Verdict::Nondeterminism { cause: first_difference(self.args.level, &plan) };
            }
        }
        report.verdict
    }

    fn fail(&self, seed: u64, verdict: Verdict) {
        if !self.args.keep_going {
            self.stop.store(true, Ordering::Relaxed);
        }
        let token = token(self.args.level, seed, self.args.bug.as_deref());
        println!("{token}  {verdict}");
        if let Ok(mut failures) = self.failures.lock() {
            failures.push((seed, verdict));
        }
    }

    fn tell(&self, passed: Duration) {
        let done = self.done.load(Ordering::Relaxed);
        let tally = self.tally.lock().map(|tally| *tally).unwrap_or_default();
        let per_minute = done as f64 / passed.as_secs_f64().max(0.001) * 60.0;
        let seconds = passed.as_secs_f64().max(0.001);
        let simulated = tally.us as f64 / 1e6;
        println!(
            "{done} seeds, {per_minute:.0} per minute, {:.0} events per second, {:.0} simulated seconds per second; \
             {} events, {} writes and {} reads answered, {} faults, {} starts, {} dirty power cuts, {} full syncs, \
             {} rollbacks, {} comparisons, {} runs without a quorum, {} faults left out, {} turns lived again",
            tally.events as f64 / seconds,
            simulated / seconds,
            tally.events,
            tally.writes,
            tally.reads,
            tally.faults,
            tally.starts,
            tally.dirty_power_cuts,
            tally.full_syncs,
            tally.rollbacks,
            tally.compared,
            tally.excused,
            tally.skipped,
            tally.turns_replayed,
        );
    }

    fn conclude_coverage(&self) -> u8 {
        let coverage = self.tally.lock().map(|tally| tally.coverage).unwrap_or_default();
        let missing = coverage.missing();
        println!("met: {}", coverage.told());
        if !missing.is_empty() {
            println!("never met: {}", missing.join(", "));
        }
        if self.args.coverage && !missing.is_empty() { 12 } else { 0 }
    }

    fn conclude(&self) -> u8 {
        let Ok(mut failures) = self.failures.lock() else { return 14 };
        failures.sort_by_key(|(seed, _)| *seed);
        let Some((seed, verdict)) = failures.first() else {
            println!("all good");
            return self.conclude_coverage();
        };
        let token = token(self.args.level, *seed, self.args.bug.as_deref());
        let plan = self.plan(*seed);
        println!("{} failing seeds; the first:", failures.len());
        print!("{}", message(&token, self.args.level, &plan, verdict));
        if let Some(path) = &self.args.save {
            match write(path, &plan) {
                Ok(()) => println!("  kept as {}", path.display()),
                Err(error) => println!("  not kept: {error}"),
            }
        }
        verdict.exit_code()
    }
}

/// Two runs of one plan, line by line.
pub(super) fn first_difference(level: Level, plan: &Plan) -> String {
    let lines = |_| run_plan(level, plan, true).trace.unwrap_or_default();
    let [one, two] = [0, 1].map(lines);
    let at = one.iter().zip(&two).position(|(one, two)| one != two).unwrap_or(one.len().min(two.len()));
    let line = |lines: &[Record]| lines.get(at).map_or_else(|| "the end".to_owned(), Record::to_string);
    format!("line {at}: {:?} and then {:?}", line(&one), line(&two))
}
