//! Makes a failing plan small: takes out faults, operations, nodes and odd settings as long as the run fails with the
//! same signature, then rounds times. What is left is what a person has to understand.
//!
//! Works because a run decides small things by hashes of where and when, not by a common stream of chance: what is
//! taken out leaves the rest as it was. Owns the order of the passes; each pass is a leaf: [`pieces`] takes out parts
//! of a list, [`nodes`] takes out a node, [`simpler`] looks for plainer values.

mod nodes;
mod pieces;
mod simpler;

use std::time::Instant;

use crate::plan::{Operation, Plan, What};
use crate::run::{Report, Verdict};
use crate::trace::{Record, Step};

/// When the shrinker gives itself up to what it has.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many runs at most.
    pub runs_max: u32,
    /// Not beyond this instant, if there is one.
    pub until: Option<Instant>,
}

/// What the shrinker made of a plan.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest plan that fails in the same way.
    pub plan: Plan,
    /// How it fails.
    pub verdict: Verdict,
    /// Runs that it took.
    pub runs: u32,
    /// Whether the shrinker stopped because nothing can go, not because of its limits.
    pub finished: bool,
}

/// Makes `plan` small. `run` runs a plan, and keeps the trace if told so; `tell` hears of progress. None if the plan
/// does not fail.
pub fn shrink(
    plan: &Plan,
    limits: Limits,
    run: impl Fn(&Plan, bool) -> Report,
    tell: impl FnMut(&str),
) -> Option<Shrunk> {
    let verdict = run(plan, false).verdict;
    if verdict.is_good() {
        return None;
    }
    let mut shrinker =
        Shrinker { run, tell, limits, signature: verdict.signature(), runs: 1, plan: plan.clone(), verdict };
    shrinker.work();
    let finished = shrinker.may_go_on();
    let Shrinker { plan, verdict, runs, .. } = shrinker;
    Some(Shrunk { plan, verdict, runs, finished })
}

/// Whether a fault of this node outlasts the run.
fn is_kept_down(plan: &Plan, node: u8) -> bool {
    let hits = |what: &What| what.nodes(plan.nodes()).contains(&usize::from(node));
    plan.faults.iter().any(|fault| fault.at_ms + fault.for_ms > plan.calm_at_ms && hits(&fault.what))
}

/// The smallest failing plan so far, and how to find a smaller one.
struct Shrinker<R, T> {
    run: R,
    tell: T,
    limits: Limits,
    signature: String,
    runs: u32,
    plan: Plan,
    verdict: Verdict,
}

impl<R: Fn(&Plan, bool) -> Report, T: FnMut(&str)> Shrinker<R, T> {
    /// All passes, until a round of them changes nothing: what one takes out makes room for another.
    fn work(&mut self) {
        loop {
            let before = self.plan.clone();
            self.end_early();
            self.fewer_faults();
            self.fewer_clients();
            self.name_operations();
            self.fewer_operations();
            self.fewer_steps();
            self.fewer_nodes();
            self.usual_settings();
            self.plainer_faults();
            self.rounder_times();
            if self.plan == before || !self.may_go_on() {
                return;
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.runs < self.limits.runs_max && self.limits.until.is_none_or(|until| Instant::now() < until)
    }

    /// Takes `plan` if it fails in the same way. Nobody is given up whom nothing keeps down: the others would not be the whole
    /// cluster, and fail for that alone.
    fn accept(&mut self, mut plan: Plan) -> bool {
        plan.broken = plan.broken.iter().copied().filter(|node| is_kept_down(&plan, *node)).collect();
        if plan == self.plan || !self.may_go_on() {
            return false;
        }
        self.runs += 1;
        let verdict = (self.run)(&plan, false).verdict;
        let same = verdict.signature() == self.signature;
        if same {
            (self.plan, self.verdict) = (plan, verdict);
        }
        same
    }

    fn tell(&mut self, what: &str, before: usize, after: usize) {
        if before != after {
            let line = format!("{what}: {before} -> {after}  ({} runs)", self.runs);
            (self.tell)(&line);
        }
    }

    /// What begins after the failure has no part in it; nor have clients that work on.
    fn end_early(&mut self) {
        let Some(at) = self.failed_at() else { return };
        let mut plan = self.plan.clone();
        plan.faults.retain(|fault| fault.at_ms * 1000 <= at);
        plan.operations.retain(|operation| operation.at_us <= at);
        self.accept(plan);
        let open = Plan { calm_at_ms: 0, ..self.plan.clone() }.with_end();
        if open.calm_at_ms < self.plan.calm_at_ms && !self.accept(open) {
            let plan = Plan { calm_at_ms: at / 1000 + 1, ..self.plan.clone() };
            if plan.calm_at_ms < self.plan.calm_at_ms {
                self.accept(plan);
            }
        }
    }

    fn failed_at(&self) -> Option<u64> {
        match &self.verdict {
            Verdict::Safety(violation) => Some(violation.at),
            Verdict::Good
            | Verdict::Liveness { .. }
            | Verdict::Vacuous { .. }
            | Verdict::Nondeterminism { .. }
            | Verdict::Panic { .. } => None,
        }
    }

    fn fewer_faults(&mut self) {
        let before = self.plan.faults.len();
        pieces::fewer(self.plan.faults.clone(), |faults| {
            let plan = Plan { faults: faults.to_vec(), ..self.plan.clone() };
            self.accept(plan)
        });
        self.tell("faults", before, self.plan.faults.len());
    }

    fn fewer_clients(&mut self) {
        let before = self.plan.workload.clients;
        for clients in 0..before {
            let mut plan = self.plan.clone();
            plan.workload.clients = clients;
            if self.accept(plan) {
                break;
            }
        }
        self.tell("clients", before.into(), self.plan.workload.clients.into());
    }

    /// Drawn operations become a list, so that they can go one by one.
    fn name_operations(&mut self) {
        if self.plan.workload.clients == 0 || !self.may_go_on() {
            return;
        }
        self.runs += 1;
        let report = (self.run)(&self.plan, true);
        let mut plan = self.plan.clone();
        plan.operations = report.trace.unwrap_or_default().iter().filter_map(asked).collect();
        plan.workload.clients = 0;
        let operations = plan.operations.len();
        if self.accept(plan) {
            self.tell("operations by name", 0, operations);
        }
    }

    fn fewer_operations(&mut self) {
        let before = self.plan.operations.len();
        pieces::fewer(self.plan.operations.clone(), |operations| {
            let plan = Plan { operations: operations.to_vec(), ..self.plan.clone() };
            self.accept(plan)
        });
        self.tell("operations", before, self.plan.operations.len());
    }

    fn fewer_steps(&mut self) {
        let before = self.plan.steps.len();
        pieces::fewer(self.plan.steps.clone(), |steps| {
            let plan = Plan { steps: steps.to_vec(), ..self.plan.clone() };
            self.accept(plan)
        });
        self.tell("steps", before, self.plan.steps.len());
    }

    fn fewer_nodes(&mut self) {
        let before = self.plan.nodes();
        for node in (0..before).rev() {
            if let Some(plan) = nodes::without(&self.plan, node) {
                self.accept(plan);
            }
        }
        self.tell("nodes", before, self.plan.nodes());
    }

    fn usual_settings(&mut self) {
        let before = simpler::unusual(&self.plan);
        let mut at = 0;
        while let Some(plan) = simpler::more_usual(&self.plan, at) {
            // A setting that became usual is gone from the list, and the next has its place.
            if !self.accept(plan) {
                at += 1;
            }
        }
        self.tell("unusual settings", before, simpler::unusual(&self.plan));
    }

    fn plainer_faults(&mut self) {
        for at in 0..self.plan.faults.len() {
            for what in simpler::plainer(&self.plan.faults[at].what, self.plan.nodes()) {
                let mut plan = self.plan.clone();
                plan.faults[at].what = what;
                if self.accept(plan) {
                    break;
                }
            }
        }
    }

    fn rounder_times(&mut self) {
        for plan in simpler::round_at_once(&self.plan) {
            if self.accept(plan) {
                break;
            }
        }
        for at in 0..self.plan.faults.len() {
            for fault in simpler::rounder_fault(&self.plan.faults[at]) {
                let mut plan = self.plan.clone();
                plan.faults[at] = fault;
                if self.accept(plan) {
                    break;
                }
            }
        }
        for at in 0..self.plan.operations.len() {
            for operation in simpler::simpler_operation(&self.plan.operations[at]) {
                let mut plan = self.plan.clone();
                plan.operations[at] = operation;
                if self.accept(plan) {
                    break;
                }
            }
        }
    }
}

/// The operation of a script that a client's step was.
fn asked(record: &Record) -> Option<Operation> {
    match &record.step {
        Step::Asked { client: Some(client), node, text, .. } => Some(Operation {
            at_us: record.at,
            client: u8::try_from(*client).ok()?,
            node: u8::try_from(*node).ok()?,
            ask: text.parse().ok()?,
        }),
        _ => None,
    }
}
