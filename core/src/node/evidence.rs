//! Evidence that a master's process is dead: its connection broke, and its port refuses a new one, or a newer start of the
//! same node answers. A process closes its port only by ending, so a port that refuses has no process behind it. Owns the
//! suspicion; what follows from evidence is the voter's ([`super::voting`]).

use core::time::Duration;

use super::{Node, Role};
use crate::ids::LinkId;
use crate::input::LinkLoss;
use crate::message::{Leader, Standing};
use crate::position::Epoch;

/// How often, and how soon again, a master whose connection broke is dialled to find out whether its process is dead: one
/// that is about to end may still accept.
const SUSPECT_DIALS_MAX: u32 = 10;
const SUSPECT_DIAL_DELAY: Duration = Duration::from_millis(10);

/// A master whose connection broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    leader: Leader,
    epoch: Epoch,
    process: u64,
    /// The dial that will tell.
    link: Option<LinkId>,
    dials: u32,
}

impl Suspect {
    /// `address` is being dialled: if it is the suspect's, that dial will tell.
    pub(super) fn dialled(&mut self, address: &str, link: LinkId) {
        if self.leader.replication == address {
            self.link = Some(link);
        }
    }
}

impl Node {
    /// A link broke or a dial failed. If the master's connection was closed, its address is dialled at once: a port that
    /// refuses then has no process behind it, since a process closes its port only by ending.
    pub(super) fn suspect(&mut self, link: LinkId, loss: LinkLoss) {
        if self.armed_on_disk().is_none() || !self.config.crash_evidence {
            return;
        }
        let Role::Replica(replica) = &mut self.role else { return };
        if let Some(following) = replica.following().filter(|following| following.link == link) {
            let (leader, epoch, process) = (following.leader.clone(), following.epoch, following.process);
            let closed = loss == LinkLoss::Closed;
            replica.suspect = closed.then_some(Suspect { leader, epoch, process, link: None, dials: 0 });
            return;
        }
        let Some(suspect) = replica.suspect.as_mut().filter(|suspect| suspect.link == Some(link)) else { return };
        suspect.link = None;
        suspect.dials += 1;
        match loss {
            LinkLoss::ConnectRefused => {
                let epoch = suspect.epoch;
                replica.suspect = None;
                self.note_end_of(epoch, false);
            }
            LinkLoss::Closed if suspect.dials < SUSPECT_DIALS_MAX => {}
            LinkLoss::Closed | LinkLoss::ConnectFailed | LinkLoss::Garbage | LinkLoss::Stalled => {
                replica.suspect = None;
            }
        }
    }

    /// The dial of a suspect comes soon, whatever the backoff says. One that got no answer at all tells nothing, and the
    /// search for a master goes on elsewhere.
    pub(super) fn hurry_suspect(&mut self, lost: LinkId) {
        let Role::Replica(replica) = &mut self.role else { return };
        replica.suspect.take_if(|suspect| suspect.link == Some(lost));
        let Role::Replica(replica) = &self.role else { return };
        if let Some(suspect) = &replica.suspect {
            let delay = if suspect.dials == 0 { Duration::ZERO } else { SUSPECT_DIAL_DELAY };
            self.seek_at(suspect.leader.replication.clone(), self.now.mono + delay);
        }
    }

    /// Whom we suspected answers: the same process lives, another one proves the first one's end.
    pub(super) fn clear_suspect(&mut self, link: LinkId, peer: &Standing) {
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(suspect) = replica.suspect.take_if(|suspect| suspect.link == Some(link)) else { return };
        if suspect.leader.node == peer.node && suspect.process != peer.process {
            self.note_end_of(suspect.epoch, false);
        }
    }
}
