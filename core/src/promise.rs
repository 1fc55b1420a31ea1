//! Promises: messages that others build on. Their fields are private and only [`crate::node`] fills them, from
//! what is known to be on this node's disk.

use crate::ids::NodeId;
use crate::position::{Epoch, Index, Position};
use crate::status::DiskState;
use crate::store::StateHash;
use crate::time::WallMs;

/// What a replica's disk holds. INV-2: `durable` is on the acker's disk and agrees with the master of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    pub(crate) epoch: Epoch,
    pub(crate) received: Index,
    pub(crate) durable: Index,
    pub(crate) applied: Index,
    pub(crate) hash: StateHash,
    pub(crate) round: u64,
    pub(crate) sent: u64,
    pub(crate) word_ms: u32,
    pub(crate) clock: u64,
    pub(crate) disk: DiskState,
    /// The acker's wall clock, for alarms only.
    pub(crate) wall: WallMs,
}

/// A snapshot part arrived; with `durable`, the whole snapshot is on disk and the log goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotAck {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    pub(crate) next_chunk: u32,
    pub(crate) durable: bool,
    pub(crate) clock: u64,
}

/// What a voter says to a candidate. INV-6 and INV-7: `granted` outside a pre-vote means that the epoch is promised on
/// the voter's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    pub(crate) voter: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) pre: bool,
    pub(crate) granted: bool,
    pub(crate) promised: Epoch,
    pub(crate) evidence: bool,
    pub(crate) if_dead: bool,
}

impl Ack {
    /// The epoch that it speaks in.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How the acker's disk does.
    pub const fn disk(&self) -> DiskState {
        self.disk
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

    /// The master's clock when it sent that round.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// How long from that instant on the acker votes for nobody else, in milliseconds.
    pub const fn word_ms(&self) -> u32 {
        self.word_ms
    }
}

impl Vote {
    /// Who speaks.
    pub const fn voter(&self) -> NodeId {
        self.voter
    }

    /// The epoch that it is about.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether nothing is promised.
    pub const fn pre(&self) -> bool {
        self.pre
    }

    /// Whether it is for the candidate.
    pub const fn granted(&self) -> bool {
        self.granted
    }

    /// The highest epoch that the voter has promised.
    pub const fn promised(&self) -> Epoch {
        self.promised
    }

    /// Whether the voter has evidence that the last master's process is dead.
    pub const fn evidence(&self) -> bool {
        self.evidence
    }

    /// In a pre-vote that is not granted: whether it would be, should a majority have such evidence.
    pub const fn if_dead(&self) -> bool {
        self.if_dead
    }
}

impl SnapshotAck {
    /// The epoch that it speaks in.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which snapshot.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The chunk that is expected next: all before it are stored.
    pub const fn next_chunk(&self) -> u32 {
        self.next_chunk
    }

    /// Whether the whole snapshot is durable.
    pub const fn durable(&self) -> bool {
        self.durable
    }
}
