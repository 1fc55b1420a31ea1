//! The inspector: asks nodes for their status and their metrics, all through the run, as dashboards do, and for what became of
//! writes. What they show is compared with what they said, and their word on a write with what everybody ends with.

use std::sync::Arc;
use std::time::Duration;

use synap_core::output::Fate;

use super::http::{Answered, Call, Caller};
use super::net::SimNet;
use super::world::{World, now_us};
use crate::dice::Dice;
use crate::oracle::{Fact, Shown};

/// How long the inspector waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of so many newest writes of a node it asks what became of one.
const FATES_AMONG: u64 = 32;

/// Looks at one node after another, for as long as the run lasts.
pub(super) async fn run(world: Arc<World>) {
    let mut dice = Dice::named(world.plan.seed, "inspector");
    let mut caller = Caller::new(SimNet { world: Arc::clone(&world), here: world.clients() });
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(20, 250))).await;
        let node = dice.below(world.plan.nodes() as u64) as usize;
        if dice.chance(250) {
            let (among, whose) = (dice.below(FATES_AMONG), dice.below(world.plan.nodes() as u64) as usize);
            ask_fate(&world, &mut caller, node, (whose, among as usize)).await;
            continue;
        }
        let wants_metrics = dice.chance(500);
        let path = if wants_metrics { "/metrics" } else { "/replication/status" };
        let asked_at = now_us();
        // A node that is down shows nothing.
        if let Ok(answered) = caller.call(node, Call::get(path), PATIENCE).await {
            compare(&world, node, asked_at, wants_metrics, &answered);
        }
    }
}

/// Asks a node what became of a write that `whose` has answered, one of the newest as a rule.
async fn ask_fate(world: &Arc<World>, caller: &mut Caller, node: usize, (whose, back): (usize, usize)) {
    let written = world.observations().nodes[whose].newest_written(back);
    let Some((name, position)) = written else { return };
    let call = Call::get(format!("/replication/outcome?position={name}"));
    let Ok(answered) = caller.call(node, call, PATIENCE).await else { return };
    let fate = match answered.json()["outcome"].as_str() {
        Some("committed") => Fate::Committed,
        Some("rolled_back") => Fate::RolledBack,
        Some("pending") => Fate::Pending,
        Some(_) | None => return,
    };
    world.observations().see(&world.plan, now_us(), &Fact::Fate { node, position, fate });
}

fn compare(world: &World, node: usize, asked_at: u64, wants_metrics: bool, answered: &Answered) {
    if answered.status != 200 {
        return;
    }
    let mut observations = world.observations();
    let said: Vec<_> = observations.nodes[node].said_since(asked_at).cloned().collect();
    let status = answered.json();
    let text = String::from_utf8_lossy(&answered.body);
    let shown = if wants_metrics { Shown::Metrics(&text) } else { Shown::Status(&status) };
    observations.see(&world.plan, now_us(), &Fact::Shown { node, shown, said: &said });
}
