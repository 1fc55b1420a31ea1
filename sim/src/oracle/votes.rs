//! INV-5: no vote goes to a log that ends before the voter's, by epoch first and index then (Raft, section 5.4.1), so that
//! whoever is elected holds everything that was committed.

use std::collections::BTreeMap;

use synap_core::message::Message;
use synap_core::position::{Epoch, Position};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers where the logs of candidates ended when they asked.
#[derive(Debug, Default)]
pub(super) struct Votes {
    asked: BTreeMap<Epoch, Position>,
    compared: u64,
}

impl Oracle for Votes {
    fn name(&self) -> &'static str {
        "INV-5 no vote goes to a log that ends before the voter's"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Sent { message: Message::RequestVote(request_vote), .. } if !request_vote.pre => {
                self.asked.insert(request_vote.epoch, request_vote.last);
                Ok(())
            }
            Fact::Sent { node, message: Message::Vote(vote), .. } if vote.granted() && !vote.pre() => {
                let Some(asked) = self.asked.get(&vote.epoch()) else {
                    return Err(format!("n{node} votes in epoch {}, for which nobody has asked", vote.epoch()));
                };
                self.compared += 1;
                let last = ground.on_disk(*node).last();
                // A vote may come so late that its winner's entries are here already.
                if last <= *asked || last.epoch == vote.epoch() {
                    return Ok(());
                }
                Err(format!("n{node} votes for a log that ends at {asked}, its disk's ends at {last}"))
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
