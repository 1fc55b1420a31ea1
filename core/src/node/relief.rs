//! A master that should not lead hands over by itself, like an operator's switchover, and tries again while nobody can take
//! it: one whose disk is full can take no writes while others may have room, and one that only stands in has done so once
//! another holds what it held. Owns when; how is in [`super::handover`].

use super::mastery::Progress;
use super::{Node, Role};
use crate::output::Output;
use crate::time::Time;

impl Node {
    /// Hands over if another should lead and can. A mastership that cannot even begin for want of room ends.
    pub(super) fn tend_relief(&mut self, out: &mut Output) {
        let may = self.armed().is_some() && self.paused().is_none();
        if may && self.flags.disk_full {
            self.relieve_full(out);
        } else if may && self.stands_in() && self.is_open() {
            self.relieve_stand_in();
        } else if let Role::Master(master) = &mut self.role {
            master.relief_due = None;
        }
    }

    fn relieve_full(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let (timeout, open) = (self.election_timeout(), self.is_open());
        let Role::Master(master) = &mut self.role else { return };
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

    /// It looks at every turn, since each ack may be the one that it waits for; after an attempt it waits.
    fn relieve_stand_in(&mut self) {
        let now = self.now.mono;
        let timeout = self.election_timeout();
        let waits = matches!(&self.role, Role::Master(master) if master.relief_due.is_some_and(|due| now < due));
        if waits {
            return;
        }
        let target = self.successor(None).ok().flatten().filter(|target| self.is_fit_node(*target));
        let Role::Master(master) = &mut self.role else { return };
        master.relief_due = target.map(|_| now + timeout);
        if let Some(target) = target {
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
