//! A member of priority 0 never leads, and one that lagged does not campaign, but for one case: the voters that may lead lack what it
//! holds, and it cannot give them that from memory. Its disk has counted for commits, so an answered write may be on it
//! alone. It then stands in; of priority 0, it brings another up as any master does, and hands over by itself. Owns when it
//! stands in; how it hands over is in [`crate::node::leader::auto_handover`].

use crate::coverage::Mark;
use crate::message::RequestVote;
use crate::node::{Node, Role};
use crate::position::Position;

impl Node {
    /// A candidate is refused for its shorter log. One that could have fetched what it lacks has done so before it asked,
    /// so if it still lacks it and may lead, nobody leads before this node has brought somebody up. Those that may lead
    /// and lack nothing have had an election timeout to be first when this node campaigns.
    pub(in crate::node) fn note_refusal(&mut self, request_vote: &RequestVote) {
        let candidate = request_vote.epoch.leader;
        let may_lead = |node| self.armed().and_then(|it| it.get(node)).is_some_and(|it| it.voter && it.rank() > 0);
        if self.config.planted.never_stands_in() {
            return;
        }
        if self.holds_back() && may_lead(candidate) && !self.can_give(request_vote.last) && self.hears_nobody() {
            let from = self.now.mono + self.election_timeout();
            self.ballot.stand_in(from);
        }
    }

    /// Whether this node leaves it to others to campaign.
    pub(in crate::node) fn holds_back(&self) -> bool {
        self.is_spared() || self.lagged()
    }

    /// Whether this node is one that never leads.
    pub(in crate::node) fn is_spared(&self) -> bool {
        self.armed().and_then(|membership| membership.get(self.id)).is_some_and(|me| me.rank() == 0)
    }

    /// Whether what follows `after` is at hand.
    fn can_give(&self, after: Position) -> bool {
        self.log.epoch_at(after.index) == Some(after.epoch) && self.log.get(after.index.next()).is_some()
    }

    fn hears_nobody(&self) -> bool {
        match &self.role {
            Role::Replica(replica) => !replica.is_following(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => false,
        }
    }

    /// The mastership that begins is one until another member can lead, if nobody asked for this one.
    pub(in crate::node) fn note_standing_in(&mut self, asked_for: bool) {
        let stands_in = self.is_spared() && !asked_for;
        if let Role::Master(master) = &mut self.role {
            master.stands_in = stands_in;
        }
        if stands_in {
            self.coverage.mark(Mark::StoodIn);
        }
    }

    /// Whether this master leads only until another can.
    pub(in crate::node) fn stands_in(&self) -> bool {
        matches!(&self.role, Role::Master(master) if master.stands_in) && self.is_spared()
    }
}
