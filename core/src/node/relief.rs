//! A master whose disk is full can take no writes, while others may have room: an armed one hands over by itself, like an
//! operator's switchover, and tries again while nobody can take it. Owns when; how is in [`super::handover`].

use super::mastery::Progress;
use super::{Node, Role};
use crate::output::Output;
use crate::time::Time;

impl Node {
    /// Hands over if the disk is full and somebody has room. A mastership that cannot even begin for want of room ends.
    pub(super) fn tend_relief(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let (timeout, open) = (self.election_timeout(), self.is_open());
        let wanted = self.flags.disk_full && self.armed().is_some() && self.paused().is_none();
        let Role::Master(master) = &mut self.role else { return };
        if !wanted {
            master.relief_due = None;
            return;
        }
        if now < *master.relief_due.get_or_insert(if open { now } else { now + timeout }) {
            return;
        }
        master.relief_due = Some(now + timeout);
        if !open {
            self.resign(None, "its disk was full before its mastership had begun", out);
        } else if self.majority_has_room()
            && let Ok(Some(target)) = self.successor(None)
        {
            self.begin_handover(target, now + timeout / 2);
        }
    }

    /// Whether those that could elect another master have room for their promise to it. Where they have not, this one
    /// serves reads at least.
    fn majority_has_room(&self) -> bool {
        let (Role::Master(master), Some(membership)) = (&self.role, self.armed()) else { return false };
        // Who has answered no round of this mastership may have no room even for the promise to it.
        let has_room = |known: &Progress| known.round > 0 && !known.disk_full;
        let others = membership.voters().filter(|voter| *voter != self.id);
        let with_room = others
            .filter(|voter| master.feed_of(*voter).is_some() && master.progress.get(voter).is_some_and(has_room));
        with_room.count() >= self.majority()
    }

    /// When it is tried again.
    pub(super) fn relief_deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Master(master) => master.relief_due.filter(|_| master.handover.is_none()),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => None,
        }
    }
}
