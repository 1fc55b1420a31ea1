//! What a failing run says to a person: which oracle, when, at which event, why, and the commands to go on with.

use std::fmt::Write as _;

use super::run_plan;
use crate::plan::Plan;
use crate::run::Verdict;
use crate::script::Level;

/// The whole message. `what` is the token or file that means the plan; the plan is run once more for its trace.
pub(super) fn message(what: &str, level: Level, plan: &Plan, verdict: &Verdict) -> String {
    let (oracle, cause) = verdict.told();
    let trace = run_plan(level, plan, true).trace.unwrap_or_default();
    let mut text = format!("FAILED  {oracle}\n");
    // Formatting into a string takes everything.
    if let Some(last) = trace.last() {
        let at = verdict.at().unwrap_or(last.at);
        let _ = writeln!(
            text,
            "  at    {}.{:06} s simulated, after {} records",
            at / 1_000_000,
            at % 1_000_000,
            trace.len()
        );
        let _ = writeln!(text, "  event {}", last.to_string().trim_start());
    }
    let _ = writeln!(text, "  cause {cause}");
    text + &how_to_go_on(what)
}

/// The commands to go on with.
pub(super) fn how_to_go_on(what: &str) -> String {
    format!(
        "  go on with\n\
         \x20   synap-sim replay {what} --tail 40\n\
         \x20   synap-sim shrink {what} -o bug.yaml\n\
         \x20   synap-sim view {what} -o bug.html\n"
    )
}
