//! INV-6: a master speaks only after its epoch is durable on its disk, and never in an epoch from before a restart.

use std::collections::BTreeMap;

use synap_core::message::Message;
use synap_core::position::Epoch;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers in which life each epoch was spoken.
#[derive(Debug)]
pub(super) struct Epochs {
    spoken: Vec<BTreeMap<Epoch, u32>>,
    compared: u64,
}

impl Epochs {
    pub(super) fn new(nodes: usize) -> Self {
        Self { spoken: vec![BTreeMap::new(); nodes], compared: 0 }
    }
}

impl Oracle for Epochs {
    fn name(&self) -> &'static str {
        "INV-6 a master speaks only in an epoch that is durable and its own life's"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Sent { node, life, message } = fact else { return Ok(()) };
        let epoch = match message {
            Message::Append(append) => append.epoch,
            Message::Chunk(chunk) => chunk.epoch,
            _ => return Ok(()),
        };
        match self.spoken[*node].get(&epoch) {
            Some(spoken) if spoken == life => Ok(()),
            Some(spoken) => {
                Err(format!("n{node} speaks in epoch {epoch} in life {life}, as it did in life {spoken}"))
            }
            None => {
                self.spoken[*node].insert(epoch, *life);
                self.compared += 1;
                let promised = ground.on_disk(*node).promised();
                if promised >= epoch {
                    return Ok(());
                }
                Err(format!("n{node} speaks in epoch {epoch}, its disk has promised {promised}"))
            }
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
