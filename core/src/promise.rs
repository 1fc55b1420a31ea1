//! Promises: messages that others build on. Their fields are private and only [`crate::node`] fills them, from
//! what is known to be on this node's disk.

use crate::position::{Epoch, Index, Position};
use crate::store::StateHash;

/// What a replica's disk holds. INV-2: `durable` is on the acker's disk and agrees with the master of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    pub(crate) epoch: Epoch,
    pub(crate) received: Index,
    pub(crate) durable: Index,
    pub(crate) applied: Index,
    pub(crate) hash: StateHash,
    pub(crate) round: u64,
    pub(crate) clock: u64,
    pub(crate) disk_full: bool,
}

/// A snapshot part arrived; with `durable`, the whole snapshot is on disk and the log goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    pub(crate) next_chunk: u32,
    pub(crate) durable: bool,
    pub(crate) clock: u64,
}

impl Ack {
    /// The epoch that it speaks in.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Last index received in order.
    pub const fn received(&self) -> Index {
        self.received
    }

    /// Last index on the acker's disk.
    pub const fn durable(&self) -> Index {
        self.durable
    }

    /// Last index applied to the acker's store.
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The acker's state at `applied`.
    pub const fn hash(&self) -> StateHash {
        self.hash
    }

    /// The newest round of an append that it answers.
    pub const fn round(&self) -> u64 {
        self.round
    }
}

impl Stored {
    /// Which snapshot.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Whether the whole snapshot is durable.
    pub const fn durable(&self) -> bool {
        self.durable
    }
}
