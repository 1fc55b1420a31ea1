//! INV-7: the promised epoch never goes back, over crashes too; and nothing is acked in an epoch that the acker's
//! platter has not promised.

use synap_core::message::Message;
use synap_core::position::Epoch;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers the highest epoch that each node let others build on.
#[derive(Debug)]
pub(super) struct Promised {
    highest: Vec<Epoch>,
    compared: u64,
}

impl Promised {
    pub(super) fn new(nodes: usize) -> Self {
        Self { highest: vec![Epoch::default(); nodes], compared: 0 }
    }
}

impl Oracle for Promised {
    fn name(&self) -> &'static str {
        "INV-7 the promised epoch never goes back"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::DiskLost { node } => {
                self.highest[*node] = Epoch::default();
                Ok(())
            }
            Fact::Sent { node, message: Message::Ack(ack), .. } if ack.epoch() > self.highest[*node] => {
                self.highest[*node] = ack.epoch();
                self.check(ground, *node)
            }
            Fact::Started { node, .. } => self.check(ground, *node),
            Fact::Status { node, status, .. } if status.epoch < self.highest[*node] => Err(format!(
                "n{node} says that it has promised {}, it has acked in {}",
                status.epoch, self.highest[*node]
            )),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl Promised {
    fn check(&mut self, ground: &Ground<'_>, node: usize) -> Result<(), String> {
        self.compared += 1;
        let promised = ground.platter(node).promised();
        if promised >= self.highest[node] {
            return Ok(());
        }
        Err(format!("n{node} has acked in epoch {}, its platter has promised {promised}", self.highest[node]))
    }
}
