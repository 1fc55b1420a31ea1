//! What becomes of two masters that meet. Unarmed, nothing stops a master that was cut off from starting again while
//! an operator promotes another. A fork is seen, never merged; the higher epoch wins, except that an operator's
//! promotion outranks restarts (docs/adr/0006). Where both lines may hold what a majority has committed, neither yields and an
//! operator decides (docs/adr/0022).

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::command::StartKind;
use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::NodeId;
use crate::lines::Line;
use crate::message::PeerState;
use crate::node::peers::hello::address_text;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::Position;
use crate::time::Time;

/// How long a node that was met at odds counts as one that is.
const AT_ODDS_FOR: Duration = Duration::from_secs(60);

/// Nodes whose line and ours are at odds, and when each was last met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Odds(BTreeMap<NodeId, Time>);

impl Odds {
    /// Whether such a node was met lately.
    pub(in crate::node) fn are_known(&self, now: Time) -> bool {
        self.0.values().any(|at| now < *at + AT_ODDS_FOR)
    }
}

impl Node {
    /// This node's log, as another one sees it.
    pub(in crate::node) fn line(&self) -> Line<'_> {
        Line {
            history: self.log.history(),
            last: self.log.last().index,
            committed: self.committed,
            planted: self.config.planted,
        }
    }

    /// A peer's log, as it said in the handshake.
    pub(in crate::node) fn line_of<'a>(&self, peer: &'a PeerState) -> Line<'a> {
        Line {
            history: &peer.history,
            last: peer.last.index,
            committed: peer.committed,
            planted: self.config.planted,
        }
    }

    /// Whether neither line may take the other's place. Each side says so once, for as long as it lasts.
    pub(in crate::node) fn is_at_odds_with(&mut self, peer: &PeerState, out: &mut Output) -> bool {
        let same = peer.cluster.is_some() && peer.cluster == self.cluster;
        if !same || !self.line().is_at_odds_with(&self.line_of(peer)) {
            self.odds.0.remove(&peer.node);
            return false;
        }
        let now = self.now.mono;
        self.odds.0.retain(|_, at| now < *at + AT_ODDS_FOR);
        if self.odds.0.insert(peer.node, now).is_none() {
            self.coverage.mark(Mark::LinesAtOdds);
            let after = self.common_with(peer);
            out.events.push(Event::AtOdds { node: peer.node, name: peer.name.clone(), after });
        }
        true
    }

    /// Meets a node that may have promised a higher epoch; gives whether this mastership ended or began anew.
    pub(in crate::node) fn on_rival(&mut self, peer: &PeerState, out: &mut Output) -> bool {
        // It will not follow this master, whatever epoch that leads in, and must not make it step down for nothing.
        if self.is_at_odds_with(peer, out) {
            return false;
        }
        let emptied = self.is_emptied_member(peer) && !self.config.planted.emptied_member_ignored();
        if peer.promised <= self.promised || peer.cluster != self.cluster && !emptied {
            return false;
        }
        if self.config.planted.no_step_down_on_higher_epoch() {
            return false;
        }
        let Role::Master(_) = &self.role else { return false };
        self.coverage.mark(Mark::RivalMet);
        if self.armed().is_some() {
            self.ballot.go_above(peer.promised.number);
            let hint = peer.leads.then(|| peer.replication.as_ref().map(address_text)).flatten();
            // Who was handed the mastership, or leads already, needs no candidates beside it.
            if self.holds_writes() {
                self.become_replica(hint, "its successor campaigns", out);
            } else if peer.leads && self.may_follow(peer) && !self.config.planted.rivals_raced() {
                self.become_replica(hint, "another master is to be followed", out);
            } else {
                self.resign(hint, "a higher epoch is known", out);
            }
        } else if emptied || self.our_line_was_promoted(peer) {
            self.promised.number = peer.promised.number;
            self.open_epoch(StartKind::Restart, None, out);
            self.tell(if emptied {
                "a member that has lost all it had has promised a higher epoch: it goes above"
            } else {
                "a master that was not promoted has a higher epoch; ours was: it goes above"
            });
        } else {
            let hint = peer.leads.then(|| peer.replication.as_ref().map(address_text)).flatten();
            self.become_replica(hint, "a higher epoch is known", out);
        }
        true
    }

    /// Whether it is a member of which nothing is left but its id and its promise, as of one that keeps no log. It cannot follow a lower
    /// epoch than it has promised, and holds nothing for which a master should give way.
    fn is_emptied_member(&self, peer: &PeerState) -> bool {
        let is_member = self.log.membership().1.members.iter().any(|member| member.id == peer.node);
        is_member && peer.cluster.is_none() && peer.last == Position::ZERO
    }

    /// Whether an operator's promotion stands in our log after the last position that both share, and none in
    /// theirs. Over a line that voters have elected only force counts, and that counts over a promotion without force too.
    pub(in crate::node) fn our_line_was_promoted(&self, peer: &PeerState) -> bool {
        let after = self.common_with(peer).index;
        let ours = self.log.history();
        if ours.forced_after(after) && !peer.history.forced_after(after) {
            return true;
        }
        let ours_alone = ours.promoted_after(after) && !peer.history.promoted_after(after);
        ours_alone && (!peer.history.elected_after(after) || ours.forced_after(after))
    }

    /// The newest position that our log and a peer's share.
    pub(in crate::node) fn common_with(&self, peer: &PeerState) -> Position {
        self.line().common(&self.line_of(peer))
    }
}
