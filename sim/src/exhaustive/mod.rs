//! Level C: every order of events in a small scope, over the real core. Two or three nodes, a few operations, a crash,
//! a broken connection, a promotion, a snapshot; each delivery of a message and each sync of a disk is a step of its
//! own, and all orders of them are tried. What is found is found by the fewest steps.
//!
//! Where every order is too many, a scope bounds how often the order differs from the plainest one: then whole
//! elections are seen, under every such order.
//!
//! Time stands still between steps; that it moves on to the next deadline of any node is a step too. Connections are
//! ordered and lose nothing in the middle, as TCP's are, so what can be lost is the end of a stream, by breaking it,
//! and nothing arrives twice. A disk is a list of batches: at a crash, those without a receipt survive up to any one
//! of them, through the shipped journal and recovery.
//!
//! [`state`] holds the cluster between two steps and carries them out, [`action`] names steps, [`disk`] and
//! [`promises`] know what is durable and what must hold, [`search`] visits.

mod action;
mod disk;
mod host;
mod promises;
mod scope;
mod search;
mod state;
mod steps;
mod turning;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::oracle::Violation;
use crate::panics::message_of;
use crate::plan::Plan;
use crate::run::{Report, Tally, Verdict};
use crate::trace::Trace;
pub use action::{Action, ActionError};
pub use scope::{Budget, EVERY_ORDER, SCOPES, Scope};
pub use search::{Found, Limits, search};
use state::State;

/// Follows the steps of a script. A step that is not possible where it stands ends the run there: the steps before it
/// have shown nothing.
pub fn run(plan: &Plan, keeps_trace: bool) -> Report {
    let mut trace = Trace::new(keeps_trace);
    let mut steps = 0;
    let verdict = follow(plan, &mut trace, &mut steps);
    let tally =
        Tally { events: trace.events(), us: steps * 1_000, starts: plan.nodes() as u64, ..Tally::default() };
    Report { verdict, trace_hash: trace.hash(), trace: trace.into_records(), tally }
}

fn follow(plan: &Plan, trace: &mut Trace, steps: &mut u64) -> Verdict {
    if plan.steps.is_empty() && plan.planted.is_none() {
        return Verdict::Vacuous { cause: "there are no steps; `synap-sim exhaust` looks for them".to_owned() };
    }
    let mut state = match guarded(|| State::settled(plan, trace)) {
        Ok(state) => state,
        Err(verdict) => return verdict,
    };
    for step in &plan.steps {
        let Ok(action) = step.parse::<Action>() else {
            return Verdict::Vacuous { cause: format!("'{step}' is no step") };
        };
        if !state.admits(&action) {
            return Verdict::Vacuous { cause: format!("'{step}' is not possible after {steps} steps") };
        }
        *steps += 1;
        if let Err(verdict) = guarded(|| state.take(plan, &action, trace)) {
            return verdict;
        }
    }
    Verdict::Good
}

/// A step that breaks an invariant, or an assertion of the core, is a verdict.
fn guarded<T>(step: impl FnOnce() -> Result<T, Violation>) -> Result<T, Verdict> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(Verdict::Safety),
        Err(panic) => Err(Verdict::Panic { cause: message_of(&*panic) }),
    }
}
