//! INV-16: one id, one process. A node's id belongs to its disk, so that no other machine ever speaks under it; and nobody speaks as
//! node zero, which is nobody. A copy of a disk is known when it says who it is: it promises nothing and takes nothing, and says of itself
//! what it is before long.

use std::collections::{BTreeMap, BTreeSet};

use synap_core::ids::NodeId;
use synap_core::message::Message;
use synap_core::status::{Alarm, Status};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers which machine speaks under which id.
#[derive(Debug, Default)]
pub(super) struct Identity {
    speaks: BTreeMap<NodeId, usize>,
    /// Machines that run on a copy of another one's disk.
    copies: BTreeSet<usize>,
    compared: u64,
}

impl Oracle for Identity {
    fn name(&self) -> &'static str {
        "INV-16 one id, one process"
    }

    fn see(&mut self, _ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Copied { to, .. } => {
                self.copies.insert(*to);
                Ok(())
            }
            Fact::CopyEnds { node, status } => {
                self.copies.remove(node);
                self.compared += 1;
                is_told(*status).map_err(|why| format!("n{node} runs on a copy of another one's disk, {why}"))
            }
            Fact::Sent { node, message, .. } if self.copies.contains(node) && takes_part(message) => {
                Err(format!("n{node} runs on a copy of another one's disk, and takes part"))
            }
            Fact::Sent { node, .. } if self.copies.contains(node) => Ok(()),
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

/// Whether others may build on a message.
fn takes_part(message: &Message) -> bool {
    matches!(
        message,
        Message::Vote(_) | Message::Ack(_) | Message::Append(_) | Message::Handover(_) | Message::RequestVote(_)
    )
}

/// Whether a copy says that it is one.
fn is_told(status: Option<&Status>) -> Result<(), &'static str> {
    let Some(status) = status else { return Err("and is down") };
    if !status.alarms.contains(&Alarm::CopiedDirectory) {
        return Err("and no alarm is on");
    }
    Ok(())
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
