//! Writes that nothing has been done about yet: they wait for the end of a switchover, or for room in the log.
//!
//! What is in the log and not settled (committed, and on this master's own disk) cannot leave memory, whatever bound the
//! log has. So it has a bound of its own, `uncommitted_bytes_max`: beyond it a write waits here until others are settled,
//! within its own deadline, and is then refused with nothing done. What waits here has bounds too.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::command::Command;
use crate::config::Concern;
use crate::ids::RequestId;
use crate::node::Node;
use crate::output::{Output, Refusal};
use crate::time::Time;
use crate::wal::Entry;

/// Most writes that wait at once (INV-12).
pub(in crate::node) const HELD_MAX: usize = 16_384;
/// Most bytes that they take together, as records (INV-12).
pub(in crate::node) const HELD_BYTES_MAX: u64 = 64 << 20;

/// A write that waits.
#[derive(Clone, Debug)]
pub(in crate::node) struct HeldWrite {
    pub(in crate::node) id: RequestId,
    pub(in crate::node) command: Command,
    pub(in crate::node) concern: Concern,
    pub(in crate::node) deadline: Time,
}

impl HeldWrite {
    /// The length of its record.
    pub(in crate::node) fn bytes(&self) -> u64 {
        Entry::encoded_len(self.concern, &self.command) as u64
    }
}

/// All writes that wait, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct HeldWrites {
    queue: BTreeMap<u64, HeldWrite>,
    by_request: BTreeMap<RequestId, u64>,
    deadlines: BTreeSet<(Time, u64)>,
    bytes: u64,
    came: u64,
}

impl HeldWrites {
    pub(in crate::node) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(in crate::node) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(in crate::node) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The write waits, unless too much does. A single one may be longer than the bound on all.
    pub(in crate::node) fn hold(&mut self, write: HeldWrite) -> Result<(), Refusal> {
        let bytes = write.bytes();
        if self.len() >= HELD_MAX || !self.is_empty() && self.bytes + bytes > HELD_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        let place = self.came;
        self.came += 1;
        self.bytes += bytes;
        self.by_request.insert(write.id, place);
        self.deadlines.insert((write.deadline, place));
        self.queue.insert(place, write);
        Ok(())
    }

    /// The length of the record of the one that came first.
    pub(in crate::node) fn first_bytes(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(_, write)| write.bytes())
    }

    /// Takes the one that came first.
    pub(in crate::node) fn take_first(&mut self) -> Option<HeldWrite> {
        let place = *self.queue.first_key_value()?.0;
        self.remove(place)
    }

    /// Takes those that have waited for too long.
    pub(in crate::node) fn take_late(&mut self, now: Time) -> Vec<HeldWrite> {
        let late: Vec<u64> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, place)| *place).collect();
        late.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    pub(in crate::node) fn cancel(&mut self, id: RequestId) {
        if let Some(place) = self.by_request.get(&id).copied() {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: u64) -> Option<HeldWrite> {
        let write = self.queue.remove(&place)?;
        self.by_request.remove(&write.id);
        self.deadlines.remove(&(write.deadline, place));
        self.bytes -= write.bytes();
        Some(write)
    }
}

impl Node {
    /// Bytes of entries that are in the log and not settled.
    pub(in crate::node) fn unsettled_bytes(&self) -> u64 {
        self.log.bytes_between(self.applied.index, self.log.last().index)
    }

    /// Whether an entry of this length may enter the log now. One that is longer than the bound goes alone.
    pub(in crate::node) fn has_room(&self, bytes: u64) -> bool {
        let unsettled = self.unsettled_bytes();
        let bounded = !self.config.planted.unsettled_unbounded();
        !bounded || unsettled == 0 || unsettled + bytes <= self.config.uncommitted_bytes_max
    }

    /// On a master that takes writes: those that waited go on, in their order, as far as there is room. Who would be refused
    /// anyway need not wait for that.
    pub(in crate::node) fn release_writes(&mut self, out: &mut Output) {
        while let Some(bytes) = self.held_writes.first_bytes() {
            let waits = !self.flags.stopping && !self.disk_is_out() && !self.has_room(bytes);
            if waits {
                break;
            }
            let Some(write) = self.held_writes.take_first() else { break };
            let id = write.id;
            if let Err(refusal) = self.enter(write, out) {
                out.replies.push((id, Err(refusal)));
            }
        }
    }

    /// Nothing has become of them: they may be tried again, here or elsewhere.
    pub(in crate::node) fn refuse_late_writes(&mut self, out: &mut Output) {
        let late = self.held_writes.take_late(self.now.mono);
        for write in late {
            let refusal =
                if self.is_serving() && !self.holds_writes() { Refusal::Busy } else { self.not_master() };
            out.replies.push((write.id, Err(refusal)));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use bytes::Bytes;

    use super::*;

    fn write(id: u64, bytes: usize, deadline: u64) -> HeldWrite {
        let command = Command::Delete { key: Bytes::from(vec![b'k'; bytes]) };
        HeldWrite { id: RequestId(id), command, concern: Concern::Quorum, deadline: Time(deadline) }
    }

    #[test]
    fn they_go_on_in_the_order_in_which_they_came() {
        let mut held = HeldWrites::default();
        for id in 1..=3 {
            held.hold(write(id, 10, 100 - id)).expect("there is room");
        }
        held.cancel(RequestId(2));
        assert_eq!(held.deadline(), Some(Time(97)));
        let order: Vec<u64> = core::iter::from_fn(|| held.take_first()).map(|write| write.id.0).collect();
        assert_eq!((order, held.bytes(), held.deadline()), (vec![1, 3], 0, None));
    }

    #[test]
    fn too_many_bytes_are_refused() {
        let mut held = HeldWrites::default();
        let mut taken = 0;
        while held.hold(write(taken, 60_000, 9)).is_ok() {
            taken += 1;
        }
        assert!(held.bytes() <= HELD_BYTES_MAX && held.bytes() + 61_000 > HELD_BYTES_MAX, "{}", held.bytes());
        assert_eq!(held.take_late(Time(9)).len() as u64, taken);
        assert!(held.is_empty() && held.bytes() == 0);
    }
}
