//! By which rule this log commits: unarmed, by the master's own disk; armed, by a majority of voters. Owns the question
//! and nothing that follows from it.

use core::time::Duration;

use crate::command::Membership;
use crate::node::{Node, Role};
use crate::position::Index;

impl Node {
    /// The membership by which voters count, if this log is armed. Arming counts from the moment the entry is in the
    /// log, since replicas that hold it elect; disarming counts once it is committed, since replicas that lack it elect, and
    /// on the master once all its voters know that, since those that do not elect too.
    pub(in crate::node) fn armed(&self) -> Option<&Membership> {
        if self.is_standalone() {
            return None;
        }
        let (at, newest) = self.log.membership();
        if newest.armed {
            return Some(newest);
        }
        let disarms = self.disarming().or_else(|| (at > self.committed).then_some(at));
        let disarms = disarms.filter(|at| !self.is_by_force(*at))?;
        Some(self.log.membership_at(disarms.prev())).filter(|before| before.armed)
    }

    /// The armed membership that this disk holds: only with one does a replica campaign or give its word.
    pub(in crate::node) fn armed_on_disk(&self) -> Option<&Membership> {
        let (at, newest) = self.log.membership();
        let durable = self.durable.durable();
        let membership = self.log.membership_at(if newest.armed { durable } else { durable.min(at.prev()) });
        (membership.armed && self.armed().is_some()).then_some(membership)
    }

    /// Where this master has disarmed, while a voter that stays does not know yet that this is committed. Members that come
    /// or go meanwhile change nothing about that.
    fn disarming(&self) -> Option<Index> {
        let Role::Master(master) = &self.role else { return None };
        let at = master.disarms?;
        let mut voters = self.log.membership().1.voters().filter(|voter| *voter != self.id);
        let knows = |voter| master.progress.get(&voter).is_some_and(|known| known.applied >= at);
        (!voters.all(knows)).then_some(at)
    }

    /// Whether the membership at `at` disarms by force: it stands right behind the `EpochStart` of a forced promotion.
    fn is_by_force(&self, at: Index) -> bool {
        let terms = self.log.history().terms();
        terms.iter().any(|term| term.kind.is_by_force() && term.start.next() == at)
    }

    /// How long a voter's word to the master lasts from when it heard it; zero where no word is given.
    pub(in crate::node) fn word_length(&self) -> Duration {
        self.armed_on_disk().map_or(Duration::ZERO, election_timeout)
    }

    /// The shortest silence after which a master is replaced.
    pub(in crate::node) fn election_timeout(&self) -> Duration {
        self.armed().map_or(self.config.election_timeout, election_timeout)
    }

    /// How long a master may be silent on a healthy link. Armed, its lease must not hang on one late heartbeat.
    pub(in crate::node) fn round_interval(&self) -> Duration {
        self.interval_for(self.config.heartbeat_interval)
    }

    /// How often the master that is followed expects acks: as it sends rounds, by its own heartbeats.
    pub(in crate::node) fn acks_due_within(&self) -> Duration {
        let following = match &self.role {
            Role::Replica(replica) => replica.following(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => None,
        };
        self.interval_for(following.map_or(self.config.heartbeat_interval, |following| following.heartbeat))
    }

    fn interval_for(&self, heartbeat: Duration) -> Duration {
        self.armed().map_or(heartbeat, |membership| heartbeat.min(election_timeout(membership) / 5))
    }

    /// Whether an entry may leave for replicas. INV-3, INV-6: a membership leaves only once it is on this disk, or a
    /// restart would forget that the cluster is armed while replicas elect.
    pub(in crate::node) fn may_leave_upto(&self) -> Index {
        let (at, _) = self.log.membership();
        let last = self.log.last().index;
        if at > self.durable.durable() && !self.config.planted.config_sent_before_durable() {
            at.prev()
        } else {
            last
        }
    }
}

pub(in crate::node) fn election_timeout(membership: &Membership) -> Duration {
    Duration::from_millis(u64::from(membership.election_timeout_ms))
}
