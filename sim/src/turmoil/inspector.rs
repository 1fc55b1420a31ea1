//! The inspector: asks nodes for their status and their metrics, all through the run, as dashboards do. What they show
//! is compared with what they said.

use std::sync::Arc;
use std::time::Duration;

use super::http::{Answered, Call, Caller};
use super::net::SimNet;
use super::stage::{Stage, now_us};
use crate::dice::Dice;
use crate::oracle::{Fact, Shown};

/// How long the inspector waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at one node after another, for as long as the run lasts.
pub(super) async fn run(stage: Arc<Stage>) {
    let mut dice = Dice::named(stage.plan.seed, "inspector");
    let mut caller = Caller::new(SimNet { stage: Arc::clone(&stage), here: stage.clients() });
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(20, 250))).await;
        let node = dice.below(stage.plan.nodes() as u64) as usize;
        let wants_metrics = dice.chance(500);
        let path = if wants_metrics { "/metrics" } else { "/replication/status" };
        let asked_at = now_us();
        // A node that is down shows nothing.
        if let Ok(answered) = caller.call(node, Call::get(path), PATIENCE).await {
            compare(&stage, node, asked_at, wants_metrics, &answered);
        }
    }
}

fn compare(stage: &Stage, node: usize, asked_at: u64, wants_metrics: bool, answered: &Answered) {
    if answered.status != 200 {
        return;
    }
    let mut ledger = stage.ledger();
    let said: Vec<_> = ledger.nodes[node].said_since(asked_at).cloned().collect();
    let status = answered.json();
    let text = String::from_utf8_lossy(&answered.body);
    let shown = if wants_metrics { Shown::Metrics(&text) } else { Shown::Status(&status) };
    ledger.see(&stage.plan, now_us(), &Fact::Shown { node, shown, said: &said });
}
