//! The invariants that one node can see, asserted in production too where they cost nothing.

use crate::node::clients::held::{HELD_BYTES_MAX, HELD_MAX};
use crate::node::clients::pending::{READS_MAX, WAITERS_MAX};
use crate::node::peers::LINKS_MAX;
use crate::node::{Node, Role};

impl Node {
    /// Asserts every invariant that one node can see.
    pub fn check(&self) {
        self.check_cheap();
        assert!(self.takes_in_all(), "INV-12: an unfinished snapshot outlives its transfer");
        let history = self.log.history();
        let last = self.log.last();
        assert!(
            last.epoch <= self.promised,
            "INV-7: the log ends in {last}, beyond the promise {}",
            self.promised
        );
        assert!(
            history.gap_at(last.index).is_some() || history.last().is_none_or(|term| term.epoch == last.epoch),
            "INV-5: the log ends in {last}, its history in {:?}",
            history.last()
        );
        if let Some(applied) = self.log.epoch_at(self.applied.index) {
            assert!(
                self.needs_snapshot || applied == self.applied.epoch,
                "INV-5: applied {} is not in the log",
                self.applied
            );
        }
        if let Some(hash) = self.log.hash_at(self.applied.index) {
            assert_eq!(hash, self.store.hash(), "INV-9: the state differs from that of the applied entry");
        }
        match &self.role {
            Role::Master(master) => {
                assert_eq!(master.epoch, self.promised, "INV-1: a master speaks in the epoch that it promised");
                assert_eq!(master.epoch.leader, self.id, "INV-1: only its leader opens an epoch");
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => {}
        }
    }

    pub(in crate::node) fn check_cheap(&self) {
        let (last, durable) = (self.log.last().index, self.durable.durable());
        let (committed, applied) = (self.committed, self.applied.index);
        assert!(applied <= committed, "INV-4: applied {applied} beyond committed {committed}");
        assert!(committed <= last, "INV-4: committed {committed} beyond last {last}");
        assert!(durable <= last, "INV-4: durable {durable} beyond last {last}");
        assert!(
            applied <= durable || self.cut_on_disk.is_some(),
            "INV-4: applied {applied} beyond durable {durable}"
        );
        assert!(self.durable.promised() <= self.promised, "INV-7: the disk promises more than the node knows");
        assert!(self.waiters.len() <= WAITERS_MAX && self.reads.len() <= READS_MAX, "INV-12: too many wait");
        assert!(
            self.waiters.first_for_disk().is_none_or(|index| index > durable),
            "INV-3: a local write that is on this disk waits for more"
        );
        let (held, held_bytes) = (self.held_writes.len(), self.held_writes.bytes());
        assert!(
            held <= HELD_MAX && (held <= 1 || held_bytes <= HELD_BYTES_MAX),
            "INV-12: too many writes are held"
        );
        assert!(self.linearizing.len() <= READS_MAX, "INV-12: too many reads wait for a round");
        assert!(self.held.len() <= LINKS_MAX, "INV-12: too many hellos are held");
        assert!(self.contests.len() <= LINKS_MAX, "INV-12: too many second processes wait");
    }
}
