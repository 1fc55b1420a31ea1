//! INV-16: one id, one process. A node's id belongs to its disk, so that no other machine ever speaks under it; and nobody speaks as
//! node zero, which is nobody.

use std::collections::BTreeMap;

use synap_core::ids::NodeId;
use synap_core::message::Message;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers which machine speaks under which id.
#[derive(Debug, Default)]
pub(super) struct Identity {
    speaks: BTreeMap<NodeId, usize>,
    compared: u64,
}

impl Oracle for Identity {
    fn name(&self) -> &'static str {
        "INV-16 one id, one process"
    }

    fn see(&mut self, _ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Sent { node, message, .. } => match message {
                Message::Hello(hello) => self.speaks(*node, hello.standing.node),
                Message::Welcome(welcome) => self.speaks(*node, welcome.standing.node),
                Message::Vote(vote) => self.speaks(*node, vote.voter()),
                _ => Ok(()),
            },
            Fact::DisksSwapped { one, other } => {
                for node in self.speaks.values_mut() {
                    *node = if *node == *one {
                        *other
                    } else if *node == *other {
                        *one
                    } else {
                        *node
                    };
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl Identity {
    fn speaks(&mut self, node: usize, id: NodeId) -> Result<(), String> {
        self.compared += 1;
        if id == NodeId(0) {
            return Err(format!("n{node} speaks as node zero, which is nobody"));
        }
        match *self.speaks.entry(id).or_insert(node) {
            known if known == node => Ok(()),
            known => Err(format!("n{node} speaks as {id}, which is the node on n{known}'s disk")),
        }
    }
}
