//! The operator's promotion: what may be in its way, and what it ends. How the mastership then begins is told in [`crate::node::leader::bootstrap`].

use alloc::string::String;

use crate::command::StartKind;
use crate::ids::RequestId;
use crate::input::Promotion;
use crate::node::election::candidate::Cause;
use crate::node::follower::discovery::Replica;
use crate::node::leader::bootstrap::{Asking, Purpose};
use crate::node::leader::{Promoting, promoted_already};
use crate::node::{Node, Role};
use crate::output::{Output, Refusal, Reply};
use crate::position::{Full, Position};

/// What an operator can do about a master that leads nobody any more.
const LEADS_ALONE: &str = "this node leads and hears no majority; bring voters back, or force it if a majority of their disks is \
                           gone for good";

impl Node {
    /// The operator's verb.
    pub(in crate::node) fn on_promote(&mut self, id: RequestId, ask: Promotion, out: &mut Output) {
        if ask.force && !ask.accept_data_loss {
            out.replies.push((id, Err(Refusal::BadRequest { why: "force needs accept_data_loss" })));
            return;
        }
        if self.is_standalone() {
            let why = "this server stands alone (replication.enabled is false): it takes writes as it is".into();
            out.replies.push((id, Err(Refusal::Conflict { why })));
            return;
        }
        if let Some(position) = self.leads_since() {
            let beside = self.odds.are_known(self.now.mono)
                || self.knows_a_line_behind() && !self.config.planted.force_without_effect();
            if ask.force && beside {
                self.keep_this_line(id, out);
                return;
            }
            let promoted = promoted_already(position);
            out.replies.push((id, Ok(Reply::Promoted(promoted))));
            return;
        }
        // Without a majority a node campaigns over and over, or has yet to notice that it leads nobody. That must not be in the way of
        // the only one who can help.
        self.end_campaign("an operator promotes this node", out);
        if let Err(refusal) = self.may_promote(&ask) {
            out.replies.push((id, Err(refusal)));
            return;
        }
        if let Role::Master(_) = &self.role {
            self.resign(None, "an operator promotes this node", out);
        }
        if self.armed().is_some() && !ask.force {
            self.campaign(Cause::Operator(id), "an operator promotes this node", out);
            return;
        }
        let heard = self.lag_marks.last();
        let purpose = Purpose::Promotion { request: Some(id), force: ask.force, heard };
        let until = self.now.mono + self.config.catch_up;
        self.leave_role(out);
        self.role = Role::Asking(Asking::new(purpose, until));
        self.tell("an operator promotes this node");
    }

    /// Of two lines, neither of which takes this one's place or only this one the other's, the operator keeps this master's: a start by
    /// force says so in its log, and the other one yields.
    fn keep_this_line(&mut self, id: RequestId, out: &mut Output) {
        let took_over = self.log.last();
        let promoting = Promoting::without_loss(id, took_over);
        self.open_epoch(StartKind::Forced, Some(promoting), out);
        self.tell("an operator keeps this line by force");
    }

    /// Whether nothing is in the way but a mastership without a majority, which force ends.
    fn may_promote(&self, ask: &Promotion) -> Result<(), Refusal> {
        let conflict = |why: &str| Err(Refusal::Conflict { why: String::from(why) });
        let replica = match &self.role {
            Role::Replica(replica) => Some(replica),
            Role::Master(master) if master.handover.is_some() => {
                return conflict("this node hands over to another: repeat this in some seconds");
            }
            Role::Master(master) if master.start.is_some() && !self.holds_lease() => match ask.force {
                true => None,
                false => return conflict(LEADS_ALONE),
            },
            Role::Asking(asking) => return conflict(asking.purpose().in_the_way()),
            Role::Founding(_) | Role::Candidate(_) | Role::Master(_) => {
                return conflict("this node is about to be master: repeat this in some seconds");
            }
        };
        if self.cluster.is_none() {
            return conflict("this node belongs to no cluster yet");
        }
        if self.flags.disk_hangs {
            return conflict(
                "this node's disk hangs, and its promise to lead would have to be on it: promote another",
            );
        }
        if self.flags.is_copy {
            return conflict("another process runs under this node's id: this data directory was copied");
        }
        if self.repair.is_some() || replica.is_some_and(Replica::is_syncing) {
            return conflict(
                "this node is being synced, its state is not whole: restart it to promote what its disk holds",
            );
        }
        if self.needs_snapshot && !ask.force {
            return conflict(
                "this node's state differs from the last master's, or was rolled back, and only a master's snapshot heals it: \
                 promote another, or force this one to lead with what it holds",
            );
        }
        let is_empty = self.log.last() == Position::ZERO;
        if is_empty && !ask.force {
            return conflict(
                "this node holds nothing of the cluster's data, since it was being synced for the first time: start a node that \
                 holds it, or force this one to lead without",
            );
        }
        // Armed, voters decide, and the operator's word outranks a priority; a log that is too short it does not outrank.
        if self.config.priority == 0 && self.armed().is_none() && !ask.force {
            return conflict("this node's failover.priority is 0: promote another, or force it");
        }
        let last = self.log.last();
        if ask.expect_last.is_some_and(|named| !named.may_be(last)) {
            return Err(Refusal::Conflict {
                why: alloc::format!("the last position is {}, not the one expected", Full(last)),
            });
        }
        if !ask.force && replica.is_some_and(Replica::is_following) {
            return conflict(match self.armed() {
                Some(_) => "the master is alive and followed; use switchover",
                None => "the master is alive and followed; stop it first",
            });
        }
        Ok(())
    }
}
