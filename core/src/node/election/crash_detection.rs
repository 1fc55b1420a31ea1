//! Evidence that a master's process is dead: its connection broke, and its port refuses a new one, or a newer start of the
//! same node answers. A process closes its port only by ending, so a port that refuses has no process behind it.
//!
//! Safety: that holds of the very port that the process has open, and of no other. So a refusal counts only at the exact
//! address that the broken connection had reached, and only if the master itself named that address as its own end: behind
//! a proxy or a mapped port it names another one, and there a refusal tells of the proxy. What the master says to be
//! reached at, and what a name stands for now, tells nothing of the process that was followed.
//!
//! Owns the suspicion; what follows from evidence is the voter's ([`crate::node::election::voter`]).

use alloc::string::String;
use core::time::Duration;

use crate::ids::{LinkId, NodeId};
use crate::input::LinkLoss;
use crate::message::PeerState;
use crate::node::{Node, Role};
use crate::position::Epoch;

/// How often, and how soon again, a master whose connection broke is dialled to find out whether its process is dead: one
/// that is about to end may still accept.
const SUSPECT_DIALS_MAX: u32 = 10;
const SUSPECT_DIAL_DELAY: Duration = Duration::from_millis(10);

/// A master whose connection broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Suspect {
    node: NodeId,
    epoch: Epoch,
    process: u64,
    /// Where it is dialled.
    address: String,
    /// Whether that is the master's own port, as the connection that broke has shown.
    direct: bool,
    /// The dial that will tell.
    link: Option<LinkId>,
    dials: u32,
}

impl Suspect {
    /// `address` is being dialled: if it is the suspect's, that dial will tell.
    pub(in crate::node) fn dialled(&mut self, address: &str, link: LinkId) {
        if self.address == address {
            self.link = Some(link);
        }
    }
}

impl Node {
    /// A link broke or a dial failed. If the master's connection was closed, its address is dialled at once: a port that
    /// refuses then has no process behind it, since a process closes its port only by ending.
    pub(in crate::node) fn suspect(&mut self, link: LinkId, loss: LinkLoss) {
        if self.armed_on_disk().is_none() || !self.config.crash_evidence {
            return;
        }
        let anywhere = self.config.planted.evidence_from_elsewhere();
        let Role::Replica(replica) = &mut self.role else { return };
        if let Some(following) = replica.following().filter(|following| following.link == link) {
            let known = following.direct.clone().filter(|_| !anywhere);
            let direct = anywhere || known.is_some();
            let address = known.unwrap_or_else(|| following.leader.replication.clone());
            let (node, epoch, process) = (following.leader.node, following.epoch, following.process);
            let closed = loss == LinkLoss::Closed;
            let suspect = Suspect { node, epoch, process, address, direct, link: None, dials: 0 };
            replica.suspect = closed.then_some(suspect);
            return;
        }
        let Some(suspect) = replica.suspect.as_mut().filter(|suspect| suspect.link == Some(link)) else { return };
        suspect.link = None;
        suspect.dials += 1;
        match loss {
            LinkLoss::ConnectRefused if suspect.direct => {
                let epoch = suspect.epoch;
                replica.suspect = None;
                self.note_end_of(epoch, false);
            }
            LinkLoss::Closed if suspect.dials < SUSPECT_DIALS_MAX => {}
            LinkLoss::Closed
            | LinkLoss::ConnectRefused
            | LinkLoss::ConnectFailed
            | LinkLoss::Unresolved
            | LinkLoss::Garbage
            | LinkLoss::Http
            | LinkLoss::Stalled => {
                replica.suspect = None;
            }
        }
    }

    /// The dial of a suspect comes soon, whatever the backoff says. One that got no answer at all tells nothing, and the
    /// search for a master goes on elsewhere.
    pub(in crate::node) fn hurry_suspect(&mut self, lost: LinkId) {
        let Role::Replica(replica) = &mut self.role else { return };
        replica.suspect.take_if(|suspect| suspect.link == Some(lost));
        let Role::Replica(replica) = &self.role else { return };
        if let Some(suspect) = &replica.suspect {
            let delay = if suspect.dials == 0 { Duration::ZERO } else { SUSPECT_DIAL_DELAY };
            self.seek_at(suspect.address.clone(), self.now.mono + delay);
        }
    }

    /// Whom we suspected answers: the same process lives, another one proves the first one's end.
    pub(in crate::node) fn clear_suspect(&mut self, link: LinkId, peer: &PeerState) {
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(suspect) = replica.suspect.take_if(|suspect| suspect.link == Some(link)) else { return };
        if suspect.node == peer.node && suspect.process != peer.process {
            self.note_end_of(suspect.epoch, false);
        }
    }
}
