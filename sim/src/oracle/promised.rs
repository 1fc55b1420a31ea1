//! INV-7: the promised epoch never goes back, over crashes too; and nothing is acked, stored or voted for in an epoch that
//! the sender's disk has not promised, or after it promised a higher one to somebody.

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
            Fact::DisksSwapped { one, other } => {
                self.highest.swap(*one, *other);
                Ok(())
            }
            Fact::Sent { node, message: Message::Ack(ack), .. } => self.builds(ground, *node, ack.epoch()),
            Fact::Sent { node, message: Message::Vote(vote), .. } if vote.granted() && !vote.pre() => {
                self.builds(ground, *node, vote.epoch())
            }
            Fact::Started { node, .. } => self.check(ground, *node),
            Fact::Status { node, status, .. } if status.epoch < self.highest[*node] => Err(format!(
                "n{node} says that it has promised {}, others build on its {}",
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
    /// A message leaves that others build on.
    fn builds(&mut self, ground: &Ground<'_>, node: usize, epoch: Epoch) -> Result<(), String> {
        let highest = self.highest[node];
        if epoch < highest {
            return Err(format!("n{node} makes a promise in epoch {epoch}, after one in {highest}"));
        }
        if epoch == highest {
            return Ok(());
        }
        self.highest[node] = epoch;
        self.check(ground, node)
    }

    fn check(&mut self, ground: &Ground<'_>, node: usize) -> Result<(), String> {
        self.compared += 1;
        let promised = ground.on_disk(node).promised();
        if promised >= self.highest[node] {
            return Ok(());
        }
        Err(format!(
            "n{node} has made a promise in epoch {}, its disk has promised {promised}",
            self.highest[node]
        ))
    }
}
