//! What nodes say to each other. One dials and says [`Hello`], the other answers [`Welcome`]; then either
//! entries and acks flow, or the dialler only asked. The byte layout is in [`crate::wire`].

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::Address;
use crate::history::History;
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Index, Position};
pub use crate::promise::{Ack, Stored};

/// The version of this protocol. A peer with another one is refused, and both sides say so.
pub const PROTOCOL_VERSION: u16 = 1;

/// Anything that goes over a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First word of the dialler.
    Hello(Hello),
    /// The answer to it.
    Welcome(Welcome),
    /// Master to replica: entries, or a heartbeat if there are none.
    Append(Append),
    /// Replica to master: what its disk holds. A promise.
    Ack(Ack),
    /// Master to replica: a part of a snapshot.
    Chunk(Chunk),
    /// Replica to master: a snapshot part arrived. A promise only once the whole snapshot is durable.
    Stored(Stored),
    /// Starting master to a member: send what follows my tail.
    Pull(Pull),
    /// The answer to it.
    Pulled(Pulled),
    /// Last word before a link is closed: why.
    Bye(Reason),
}

/// Why a node dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// To replicate from whoever leads.
    Follow,
    /// To learn where the other stands: before a mastership begins, and to notice a fork.
    Ask,
}

/// First word of a dialler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u16,
    /// Why it dials.
    pub intent: Intent,
    /// Who it is and how its log stands.
    pub standing: Standing,
    /// A snapshot that broke off, to go on with.
    pub resume: Option<Resume>,
    /// Its store holds what no log explains any more (entries that were rolled back): only a snapshot helps.
    pub needs_snapshot: bool,
}

/// Who a node is and how its log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub node: NodeId,
    /// Its cluster, if it belongs to one yet.
    pub cluster: Option<ClusterId>,
    /// What people call it.
    pub name: String,
    /// Where clients reach it.
    pub http: Address,
    /// Where nodes reach it.
    pub replication: Option<Address>,
    /// 0 = never master.
    pub priority: u32,
    /// Whether every promise of it is synced.
    pub syncs: bool,
    /// The highest epoch that it has promised.
    pub promised: Epoch,
    /// Whether it leads `promised` now.
    pub leads: bool,
    /// Its last entry, on its disk or not.
    pub last: Position,
    /// Up to where it knows entries to be committed.
    pub committed: Index,
    /// The epochs of its log.
    pub history: History,
}

/// A snapshot transfer that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    /// Which snapshot.
    pub position: Position,
    /// The chunk that is missing, counted from 0.
    pub next_chunk: u32,
}

/// A master, as told to others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Who.
    pub node: NodeId,
    /// `host:port` that clients are sent to.
    pub http: String,
    /// `host:port` that replicas dial.
    pub replication: String,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u16,
    /// Who answers and how its log stands.
    pub standing: Standing,
    /// What is to happen.
    pub verdict: Verdict,
}

/// What becomes of a dialler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Entries after this position follow.
    Continue {
        /// Last position that both hold.
        after: Position,
    },
    /// The dialler's log goes beyond what both hold: put the rest into a rollback file, cut it, say hello again.
    Truncate {
        /// Last position that both hold.
        after: Position,
    },
    /// The dialler is too far back: a snapshot at this position follows.
    Snapshot {
        /// The last entry that it holds.
        position: Position,
        /// Number of the first chunk that follows.
        next_chunk: u32,
    },
    /// Go there instead.
    Redirect(Leader),
    /// The answer to [`Intent::Ask`], with the master that the answerer knows.
    Noted(Option<Leader>),
    /// No.
    Refused(Reason),
}

/// Why a hello, or a source, is refused. Both sides log it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Other protocol version.
    #[error("protocol versions differ")]
    Protocol,
    /// Other cluster.
    #[error("it belongs to another cluster")]
    ForeignCluster,
    /// The answerer leads nothing and knows no leader.
    #[error("it knows no master")]
    NoMaster,
    /// Same id as the answerer: one disk, two processes.
    #[error("both nodes have the same id: one data directory was copied")]
    SameNode,
    /// [`crate::command::MEMBERS_MAX`] reached.
    #[error("the cluster has as many members as it can")]
    Full,
    /// The source's log ends before what is committed here, and no promotion explains it.
    #[error("its log ends before what is committed here, and no promotion explains that")]
    SourceBehind,
    /// The state differs at the same index.
    #[error("the state differs at the same index")]
    Quarantined,
    /// It is about to stop.
    #[error("it is shutting down")]
    ShuttingDown,
}

/// Entries for a replica; a heartbeat if there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The master's epoch.
    pub epoch: Epoch,
    /// The position just before the first entry.
    pub prev: Position,
    /// WAL records, each whole, as they stand on the master's disk.
    pub entries: Vec<Bytes>,
    /// Up to where the master knows entries to be committed.
    pub committed: Index,
    /// The master's last index, so that lag is known before the entries are here.
    pub last: Index,
    /// Counts up; acks name it.
    pub round: u64,
    /// The newest `clock` of the replica's acks: what is told here is at least as new as that instant.
    pub echo: u64,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The master's epoch.
    pub epoch: Epoch,
    /// Which snapshot.
    pub position: Position,
    /// Which part, counted from 0.
    pub number: u32,
    /// A chunk of [`crate::snapshot::SnapshotWriter`].
    pub bytes: Bytes,
    /// The master's last index.
    pub last: Index,
}

/// Asks for what follows the asker's tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The asker's last entry.
    pub after: Position,
}

/// Entries that a survivor holds beyond the asker's tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// As asked.
    pub after: Position,
    /// WAL records, each whole; none if there is nothing, or nothing that follows.
    pub entries: Vec<Bytes>,
}
