//! A master that should not lead hands over by itself, like an operator's switchover, and tries again while nobody can take
//! it: one whose disk is full or hangs can take no writes while others may, and one that only stands in has done so once
//! another holds what it held. Owns when; how is in [`crate::node::leader::handover`].

use crate::node::leader::Progress;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::status::DiskState;
use crate::time::Time;

impl Node {
    /// Hands over if another should lead and can. A mastership that cannot even begin for want of room ends.
    pub(in crate::node) fn tend_relief(&mut self, out: &mut Output) {
        let may = self.armed().is_some() && self.paused().is_none();
        let full = self.flags.disk_full && (self.room.is_stuck() || self.is_open());
        if may && full {
            self.relieve_full(out);
        } else if may && self.flags.disk_hangs && !self.config.planted.lease_kept_with_hanging_disk() {
            self.relieve_hanging(out);
        } else if may && self.stands_in() && self.is_open() {
            self.relieve_stand_in();
        } else if let Role::Master(master) = &mut self.role {
            master.relief_due = None;
            master.relief_tried = false;
        }
    }

    /// Whether a handover goes on without what waits for the own disk: that may never get there.
    pub(in crate::node) fn does_without_own_disk(&self) -> bool {
        let hangs = self.flags.disk_hangs && !self.config.planted.handover_waits_for_own_disk();
        self.room.is_stuck() || hangs
    }

    /// Whether the own disk takes nothing now, so that nothing is begun that would wait for it.
    pub(in crate::node) fn disk_is_out(&self) -> bool {
        self.room.is_stuck() || self.flags.disk_hangs
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
        } else if self.majority_has_room() && self.keeps_to_itself() {
            self.resign(None, "its disk is full, and a change of the members is not on it", out);
        } else if self.majority_has_room()
            && let Ok(Some(target)) = self.successor(None)
        {
            self.begin_handover(target, now + timeout / 2);
        }
    }

    /// Hands over, and resigns if that is not done in time: whoever can be elected then need not wait for this node's word to
    /// run out. It looks at every turn, since each ack may be the one that it waits for.
    fn relieve_hanging(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let (timeout, open, opens_within) =
            (self.election_timeout(), self.is_open(), self.election_timeout() * self.ballot.slack());
        let Role::Master(master) = &mut self.role else { return };
        if master.handover.is_some() {
            return;
        }
        let due = *master.relief_due.get_or_insert(if open { now } else { now + opens_within });
        if due <= now {
            master.relief_due = Some(now + timeout / 2);
        }
        if !open && due <= now {
            self.ballot.note_loss();
            self.resign(None, "its disk hung before its mastership had begun", out);
        } else if open && self.others_work() {
            self.pass_on(out);
        }
    }

    fn pass_on(&mut self, out: &mut Output) {
        let target = self.successor(None).ok().flatten();
        let (until, keeps) = (self.now.mono + self.election_timeout() / 2, self.keeps_to_itself());
        let Role::Master(master) = &mut self.role else { return };
        match target.filter(|_| !master.relief_tried && !keeps) {
            Some(target) => {
                master.relief_tried = true;
                self.begin_handover(target, until);
            }
            None => self.resign(None, "its disk hangs, and a majority of voters can do without it", out),
        }
    }

    /// Whether this log ends in what nobody else has, since it may not leave: a mastership with such an end cannot be handed over.
    fn keeps_to_itself(&self) -> bool {
        self.may_leave_upto() < self.log.last().index
    }

    /// Whether those that could elect another master work. Their disks have done meanwhile what this one has not; where
    /// each is as slow as the other, the mastership would only go round. Once this one has hung for twice its patience their
    /// word is enough: they may lack something that they have not been sent. Where fewer work, this one serves reads at least.
    fn others_work(&self) -> bool {
        let sent = self.may_leave_upto();
        let long = self.disk_patience() * 2 <= self.disk_silence(self.now.mono);
        self.others_could_elect(|known| {
            known.round > 0 && known.disk == DiskState::Works && (long || known.durable >= sent)
        })
    }

    /// Whether those that could elect another master have room for their promise to it. Where they have not, this one
    /// serves reads at least.
    fn majority_has_room(&self) -> bool {
        // Who has answered no round of this mastership may have no room even for the promise to it.
        self.others_could_elect(|known| known.round > 0 && known.disk == DiskState::Works)
    }

    /// Whether the connected voters that are `fit` are a majority without this node, by the membership that they know. They know
    /// nothing of what has not left this node; and what disarms counts once all know that it is committed.
    fn others_could_elect(&self, fit: impl Fn(&Progress) -> bool) -> bool {
        let (Role::Master(master), Some(armed)) = (&self.role, self.armed()) else { return false };
        let arms = self.log.membership().1.armed && !self.config.planted.unsent_membership_counts();
        let known = if arms { self.log.membership_at(self.may_leave_upto()) } else { armed };
        let connected = known.voters().filter(|voter| *voter != self.id && master.stream_of(*voter).is_some());
        let fit = connected.filter(|voter| master.progress.get(voter).is_some_and(&fit));
        known.armed && fit.count() >= self.majority_of(known)
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

    /// When it is tried again.
    pub(in crate::node) fn relief_deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Master(master) => master.relief_due.filter(|_| master.handover.is_none()),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => None,
        }
    }
}
