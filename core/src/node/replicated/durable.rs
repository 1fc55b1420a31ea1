//! What is durable: what is known to be on this node's disk. Promises are made from it and from nothing else.
//!
//! Owns the batches in flight and what each will make durable. A truncation clips every tail in flight, so that a
//! late receipt never vouches for entries that are gone (an ABA race that cost others their logs).

use alloc::collections::VecDeque;

use crate::ids::NodeId;
use crate::planted::Planted;
use crate::position::{Epoch, Index};
use crate::promise::{Ack, SnapshotAck, Vote};
use crate::status::DiskState;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::wal::Durable;

/// What is on this disk, and what is on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct OnDisk {
    planted: Planted,
    promised: Epoch,
    durable: Index,
    flying: VecDeque<InFlight>,
    next_batch: u64,
}

/// What a batch in flight makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    batch: u64,
    promised: Epoch,
    last: Index,
}

/// What an [`Ack`] says besides what is durable.
pub(in crate::node) struct Received {
    pub(in crate::node) upto: Index,
    pub(in crate::node) applied: Index,
    pub(in crate::node) hash: StateHash,
    pub(in crate::node) round: u64,
    pub(in crate::node) sent: u64,
    pub(in crate::node) word_ms: u32,
    pub(in crate::node) clock: u64,
    pub(in crate::node) disk: DiskState,
    pub(in crate::node) wall: WallMs,
    /// The planted bug: what is in memory is taken for durable.
    pub(in crate::node) trusts_memory: bool,
    /// The planted bug: whoever speaks is acked, whatever was promised since.
    pub(in crate::node) any_epoch: bool,
}

impl OnDisk {
    pub(in crate::node) fn new(promised: Epoch, durable: Index, planted: Planted) -> Self {
        Self { planted, promised, durable, flying: VecDeque::new(), next_batch: 1 }
    }

    /// The promised epoch that is on disk.
    pub(in crate::node) fn promised(&self) -> Epoch {
        self.promised
    }

    /// The last entry that is on disk and still in the log.
    pub(in crate::node) fn durable(&self) -> Index {
        self.durable
    }

    /// Whether nothing is in flight.
    pub(in crate::node) fn is_idle(&self) -> bool {
        self.flying.is_empty()
    }

    /// The number that the next batch will have.
    pub(in crate::node) fn next_batch(&self) -> u64 {
        self.next_batch
    }

    /// A batch leaves: once receipted, the promise and the log up to `last` are on disk. Gives its number.
    pub(in crate::node) fn depart(&mut self, promised: Epoch, last: Index) -> u64 {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.flying.push_back(InFlight { batch, promised, last });
        batch
    }

    /// A batch is on disk. Receipts come in the order of the batches.
    pub(in crate::node) fn arrive(&mut self, receipt: &Durable) {
        let Some(flying) = self.flying.pop_front() else {
            panic!("INV-2: receipt {receipt:?} of nothing in flight")
        };
        assert_eq!(flying.batch, receipt.id(), "INV-2: receipts come in the order of the batches");
        assert!(self.promised <= flying.promised, "INV-7: the promised epoch never goes back");
        self.promised = flying.promised;
        self.durable = self.durable.max(flying.last);
    }

    /// Whether a batch in flight vouches for more than `index`.
    pub(in crate::node) fn flies_beyond(&self, index: Index) -> bool {
        self.flying.iter().any(|flying| flying.last > index)
    }

    /// The log is cut after `index`: nothing in flight vouches for more.
    pub(in crate::node) fn clip(&mut self, index: Index) {
        self.durable = self.durable.min(index);
        if self.planted.late_receipt_not_clipped() {
            return;
        }
        for flying in &mut self.flying {
            flying.last = flying.last.min(index);
        }
    }

    /// The log begins anew after a durable snapshot: nothing in flight vouches for anything beyond it.
    pub(in crate::node) fn reset(&mut self, index: Index) {
        self.clip(index);
        self.durable = index;
    }

    /// INV-2: an acked position is on this disk and agrees with the log of `epoch`'s master; INV-6: in no epoch
    /// that is not promised on this disk.
    pub(in crate::node) fn ack(&self, epoch: Epoch, received: &Received) -> Option<Ack> {
        (self.promised == epoch || received.any_epoch).then(|| Ack {
            epoch,
            received: received.upto,
            durable: if received.trusts_memory { received.upto } else { self.durable.min(received.upto) },
            applied: received.applied,
            hash: received.hash,
            round: received.round,
            sent: received.sent,
            word_ms: received.word_ms,
            clock: received.clock,
            disk: received.disk,
            wall: received.wall,
        })
    }

    /// INV-6, INV-7: a vote for a candidate, once its epoch is promised on this disk.
    pub(in crate::node) fn vote(
        &self,
        voter: NodeId,
        epoch: Epoch,
        evidence: bool,
        trusts_memory: bool,
    ) -> Option<Vote> {
        let promised = self.promised == epoch || trusts_memory;
        promised.then_some(Vote {
            voter,
            epoch,
            pre: false,
            granted: true,
            promised: epoch,
            evidence,
            if_dead: false,
        })
    }

    /// What a replica has of a snapshot. With `durable`, its log begins after it, on disk.
    pub(in crate::node) fn stored(&self, epoch: Epoch, stored: SnapshotAck) -> Option<SnapshotAck> {
        assert!(
            !stored.durable || self.durable >= stored.position.index,
            "INV-2: snapshot acked before it is durable"
        );
        (self.promised == epoch).then_some(stored)
    }
}
