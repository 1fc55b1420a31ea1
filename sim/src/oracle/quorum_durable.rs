//! INV-3: an answered write is on the disks that its concern names, at the instant of the answer. Unarmed: `local`
//! and `quorum` on the master's, N on N others besides. Armed: `quorum` and N on a majority of the voters' too, unless it was
//! committed before the cluster was armed: nobody who holds the arming entry lacks it.

use synap_core::config::Concern;
use synap_core::ids::NodeId;
use synap_core::position::Position;

use crate::oracle::{Fact, Ground, Oracle, says_durable};

/// Looks at the disks when a write is answered.
#[derive(Debug, Default)]
pub(super) struct QuorumDurable {
    compared: u64,
}

impl Oracle for QuorumDurable {
    fn name(&self) -> &'static str {
        "INV-3 an answered write is on the disks that its concern names"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Written { node, written, voters, .. } = fact else { return Ok(()) };
        if !ground.plan.keeps_log(*node)
            || !says_durable(written.concern)
            || !ground.sampled(written.position.index.0)
        {
            return Ok(());
        }
        self.compared += 1;
        let on_disk = ground.on_disk(*node);
        if !on_disk.holds(written.position) {
            let problem = on_disk.problem.clone().unwrap_or_default();
            return Err(format!(
                "n{node} answers {} at {:?}, its disk ends at {} {problem}",
                written.position,
                written.concern,
                on_disk.last()
            ));
        }
        let others = holders(ground, *node, written.position);
        if let (Some(voters), true) = (voters, counts_votes(written.concern)) {
            majority_holds(ground, voters, written.position)?;
        }
        match written.concern {
            Concern::Replicas(wanted) if others < wanted => Err(format!(
                "n{node} answers {} for {wanted} replicas, {others} platters hold it",
                written.position
            )),
            _ if others + 1 < written.durable_on => Err(format!(
                "n{node} says that {} disks hold {}, {} do",
                written.durable_on,
                written.position,
                others + 1
            )),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

/// The nodes besides `node` whose disks hold `position`. A disk that was lost since it acked counts for none, so
/// plans that lose disks are not asked.
fn holders(ground: &Ground<'_>, node: usize, position: Position) -> u32 {
    if ground.plan.disks_lost() > 0 || ground.plan.changes_master() {
        return u32::MAX - 1;
    }
    (0..ground.plan.nodes()).filter(|other| *other != node && ground.on_disk(*other).holds(position)).count()
        as u32
}

/// Whether an answer of this concern says that the write is committed.
pub(crate) fn counts_votes(concern: Concern) -> bool {
    match concern {
        Concern::Async | Concern::Local => false,
        Concern::Quorum | Concern::Replicas(_) => true,
    }
}

/// Armed: a majority of the voters' disks hold it, those that were lost since they said so included.
fn majority_holds(ground: &Ground<'_>, voters: &[NodeId], position: Position) -> Result<(), String> {
    let holds = |node: usize| {
        let on_disk = ground.on_disk(node);
        let votes = on_disk.node.as_ref().is_some_and(|node| voters.contains(&node.hard_state.node));
        votes && on_disk.holds(position)
    };
    let held = (0..ground.plan.nodes()).filter(|node| holds(*node)).count();
    // The same turn may have made one more a voter: then the rule was that of one fewer.
    if held + ground.plan.disks_lost() > voters.len().saturating_sub(1) / 2 {
        return Ok(());
    }
    Err(format!("{position} is answered as committed, the platters of {held} of {} voters hold it", voters.len()))
}
