//! What becomes of two masters that meet. Unarmed, nothing stops a master that was cut off from starting again while
//! an operator promotes another. A fork is seen, never merged; the higher epoch wins, except that an operator's
//! promotion outranks restarts (docs/adr/0006).

use super::hello::address_text;
use super::{Node, Role};
use crate::command::StartKind;
use crate::message::Standing;
use crate::output::Output;
use crate::position::{Index, Position};
use crate::seen::Mark;

impl Node {
    /// Meets a node that may have promised a higher epoch; gives whether this mastership ended or began anew.
    pub(super) fn on_rival(&mut self, peer: &Standing, out: &mut Output) -> bool {
        if peer.promised <= self.promised || peer.cluster != self.cluster {
            return false;
        }
        if self.config.planted.no_step_down_on_higher_epoch() {
            return false;
        }
        let Role::Master(_) = &self.role else { return false };
        self.seen.mark(Mark::RivalMet);
        if self.armed().is_some() {
            self.ballot.go_above(peer.promised.number);
            let hint = peer.leads.then(|| peer.replication.as_ref().map(address_text)).flatten();
            // Who was handed the mastership needs no other candidates beside it.
            if self.holds_writes() {
                self.become_replica(hint, "its successor campaigns", out);
            } else {
                self.resign(hint, "a higher epoch is known", out);
            }
        } else if self.our_line_was_promoted(peer) {
            self.promised.number = peer.promised.number;
            self.open_epoch(StartKind::Restart, None, out);
            self.tell("a master that was not promoted has a higher epoch; ours was: it goes above");
        } else {
            let hint = peer.leads.then(|| peer.replication.as_ref().map(address_text)).flatten();
            self.become_replica(hint, "a higher epoch is known", out);
        }
        true
    }

    /// Whether an operator's promotion stands in our log after the last position that both share, and none in
    /// theirs. Over a line that voters have elected only force counts.
    pub(super) fn our_line_was_promoted(&self, peer: &Standing) -> bool {
        let after = self.common_with(peer).map_or(Index::ZERO, |common| common.index);
        let ours = self.log.history();
        let counts = !peer.history.elected_after(after) || ours.forced_after(after);
        counts && ours.promoted_after(after) && !peer.history.promoted_after(after)
    }

    /// The newest position that our log and a peer's share.
    pub(super) fn common_with(&self, peer: &Standing) -> Option<Position> {
        self.log.history().common(self.log.last().index, &peer.history, peer.last.index)
    }
}
