//! Dials that came to nothing: where, and why. They are reported until a master is followed, so that an operator sees which
//! address of a configuration is wrong. Owns no decision: whom this node dials next does not depend on them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::command::MEMBERS_MAX;
use crate::event::Event;
use crate::ids::LinkId;
use crate::input::LinkLoss;
use crate::message::{Reason, SyncPlan};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::status::{Dial, DialFailure};

/// INV-12: most addresses that are kept; further ones are not reported.
const DIALS_MAX: usize = 2 * MEMBERS_MAX;

/// The last failure at each address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Dials(BTreeMap<String, DialFailure>);

impl Dials {
    /// Gives whether that is new.
    fn note(&mut self, address: &str, failure: DialFailure) -> bool {
        if self.0.len() >= DIALS_MAX && !self.0.contains_key(address) {
            return false;
        }
        // The other end of a node's call to itself is closed by itself.
        if failure == DialFailure::Closed && self.0.get(address) == Some(&DialFailure::Itself) {
            return false;
        }
        self.0.insert(address.into(), failure) != Some(failure)
    }

    pub(in crate::node) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Node {
    /// A link that this node has dialled is gone before anybody has said who is there.
    pub(in crate::node) fn note_unanswered(&mut self, address: &str, loss: LinkLoss, out: &mut Output) {
        let failure = match loss {
            LinkLoss::ConnectRefused => DialFailure::Refused,
            LinkLoss::ConnectFailed => DialFailure::Unreachable,
            LinkLoss::Unresolved => DialFailure::Unresolved,
            LinkLoss::Closed => DialFailure::Closed,
            LinkLoss::Garbage => DialFailure::NoNode,
            LinkLoss::Http => DialFailure::HttpPort,
            LinkLoss::Stalled => DialFailure::Silent,
        };
        self.note_dial(address, failure, out);
    }

    /// A node has answered where this one has dialled.
    pub(in crate::node) fn note_answered(
        &mut self,
        link: LinkId,
        verdict: Result<&SyncPlan, Reason>,
        out: &mut Output,
    ) {
        let Some(address) = self.links.asked_for(link) else { return };
        let refused = match verdict {
            Ok(SyncPlan::Refused(reason)) => Some(*reason),
            Ok(_) => None,
            Err(reason) => Some(reason),
        };
        match refused {
            Some(Reason::NoMaster) => self.note_dial(&address, DialFailure::NoMaster, out),
            Some(reason) => self.note_dial(&address, DialFailure::Rejected(reason), out),
            None => drop(self.dials.0.remove(&address)),
        }
    }

    pub(in crate::node) fn note_dial(&mut self, address: &str, failure: DialFailure, out: &mut Output) {
        if self.dials.note(address, failure) && self.is_told(address, failure) {
            out.events.push(Event::DialFailed { address: address.into(), failure });
        }
    }

    /// Whether the log says so. Who makes connections logs those that fail, refusals are told with their nodes, and what is usual while
    /// a master is gone is of interest only for the configured address of a node that has never found one.
    fn is_told(&self, address: &str, failure: DialFailure) -> bool {
        match failure {
            DialFailure::HttpPort | DialFailure::NoNode => true,
            DialFailure::Closed | DialFailure::Silent | DialFailure::NoMaster => {
                let Role::Replica(replica) = &self.role else { return false };
                replica.last_leader.is_none() && self.config.master_address.as_deref() == Some(address)
            }
            DialFailure::Refused
            | DialFailure::Unresolved
            | DialFailure::Unreachable
            | DialFailure::Itself
            | DialFailure::Rejected(_) => false,
        }
    }

    /// What is reported: on a master only of members that are not connected.
    pub(in crate::node) fn failed_dials(&self) -> Vec<Dial> {
        let members = self.log.membership().1;
        let is_absent = |address: &str| match &self.role {
            Role::Master(master) => {
                let member = members.members.iter().find(|member| member.replication == address);
                member.is_some_and(|member| master.stream_of(member.id).is_none())
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => true,
        };
        let failed = self.dials.0.iter().filter(|(address, _)| is_absent(address));
        failed.map(|(address, failure)| Dial { address: address.clone(), failure: *failure }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_last_failure_and_a_call_to_oneself_stays_one() {
        let mut dials = Dials::default();
        assert!(dials.note("a:1", DialFailure::Refused));
        assert!(!dials.note("a:1", DialFailure::Refused));
        assert!(dials.note("a:1", DialFailure::Itself));
        assert!(!dials.note("a:1", DialFailure::Closed));
        assert_eq!(dials.0.get("a:1"), Some(&DialFailure::Itself));
        assert!(dials.note("a:1", DialFailure::Unresolved));
    }

    #[test]
    fn no_more_addresses_are_kept_than_are_reported() {
        let mut dials = Dials::default();
        for number in 0..=DIALS_MAX {
            dials.note(&alloc::format!("a:{number}"), DialFailure::Refused);
        }
        assert_eq!(dials.0.len(), DIALS_MAX);
    }
}
