//! INV-2: an acked position is on the acker's disk at the instant when the ack leaves, and agrees with the master
//! of that epoch. After a snapshot: so is the whole snapshot.

use synap_core::message::Message;
use synap_core::position::{Epoch, Index, Position};

use crate::oracle::{Fact, Ground, Oracle};

/// Looks at the disk when an ack leaves.
#[derive(Debug, Default)]
pub(super) struct DurableAck {
    compared: u64,
    /// The highest durable index seen in an ack, by node: only what is new is worth a look.
    acked: std::collections::BTreeMap<(usize, u32), (Epoch, Index)>,
}

impl Oracle for DurableAck {
    fn name(&self) -> &'static str {
        "INV-2 an acked position is on the acker's disk"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Sent { node, life, message } = fact else { return Ok(()) };
        if !ground.plan.keeps_log(*node) {
            return Ok(());
        }
        match message {
            Message::Ack(ack) => {
                let seen = self.acked.entry((*node, *life)).or_default();
                let new = (ack.epoch(), ack.durable()) != *seen;
                *seen = (ack.epoch(), ack.durable());
                if new && ground.sampled(*node as u64) { self.check(ground, *node, ack.durable()) } else { Ok(()) }
            }
            Message::SnapshotAck(stored) if stored.durable() => {
                self.compared += 1;
                let on_disk = ground.on_disk(*node);
                if on_disk.last().index >= stored.position().index {
                    return Ok(());
                }
                Err(said(*node, stored.position().index, on_disk.last(), on_disk.problem.as_deref()))
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl DurableAck {
    fn check(&mut self, ground: &Ground<'_>, node: usize, durable: Index) -> Result<(), String> {
        self.compared += 1;
        let on_disk = ground.on_disk(node);
        if on_disk.last().index >= durable {
            return Ok(());
        }
        Err(said(node, durable, on_disk.last(), on_disk.problem.as_deref()))
    }
}

fn said(node: usize, said: Index, holds: Position, problem: Option<&str>) -> String {
    let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
    format!("n{node} acks {said} as durable, its disk ends at {holds}{problem}")
}
