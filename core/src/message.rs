//! What nodes say to each other. One dials and says [`Hello`], the other answers [`Welcome`]; then either
//! entries and acks flow, or the dialler only asked. The byte layout is in [`crate::wire`].

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::config::{Address, Durability};
use crate::history::History;
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Index, Position};
pub use crate::promise::{Ack, SnapshotAck, Vote};
use crate::status::DiskState;
use crate::time::WallMs;

/// The version of this protocol. A peer with another one is refused, and both sides say so.
pub const PROTOCOL_VERSION: u16 = 4;

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
    /// Replica to master: there is nothing to ack yet, since my promise is not on my disk, which does as this says.
    Alive(DiskState),
    /// Master to replica: a part of a snapshot.
    Chunk(Chunk),
    /// Replica to master: a snapshot part arrived. A promise only once the whole snapshot is durable.
    SnapshotAck(SnapshotAck),
    /// Starting master to a member: send what follows my tail.
    FetchTail(FetchTail),
    /// The answer to it.
    FetchedTail(FetchedTail),
    /// Candidate to voter: be for me.
    RequestVote(RequestVote),
    /// The answer to it. A promise, if it is for the candidate.
    Vote(Vote),
    /// Master to replica: campaign at once, I have given up my lease.
    Handover(Handover),
    /// Replica to master: up to where must I have applied to read what is true now?
    ReadIndex(ReadIndex),
    /// The answer to it.
    ReadIndexed(ReadIndexed),
    /// Last word before a link is closed: why.
    Bye(Reason),
}

impl Message {
    /// Whether it carries data, and is overtaken by what does not: rounds, acks and votes must not wait behind it. Data
    /// keeps its order, and overtakes nothing.
    pub fn is_bulk(&self) -> bool {
        match self {
            Self::Append(append) => !append.entries.is_empty(),
            Self::FetchedTail(fetched) => !fetched.entries.is_empty(),
            Self::Chunk(_) => true,
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Ack(_)
            | Self::Alive(_)
            | Self::SnapshotAck(_)
            | Self::FetchTail(_)
            | Self::RequestVote(_)
            | Self::Vote(_)
            | Self::Handover(_)
            | Self::ReadIndex(_)
            | Self::ReadIndexed(_)
            | Self::Bye(_) => false,
        }
    }

    /// Whether one that waits to be sent need not go any more, since this later one says all of it and more: a round and an ack
    /// tell how far their sender is by now. On a slow link they would queue up otherwise, each before the data.
    pub fn supersedes(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Append(round), Self::Append(older)) => {
                round.epoch == older.epoch && round.entries.is_empty() && older.entries.is_empty()
            }
            (Self::Ack(ack), Self::Ack(older)) => ack.epoch() == older.epoch(),
            (Self::Alive(_), Self::Alive(_)) => true,
            _ => false,
        }
    }

    /// The bytes of data that it carries.
    pub fn bulk_bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.entries.iter().map(Bytes::len).sum(),
            Self::FetchedTail(fetched) => fetched.entries.iter().map(Bytes::len).sum(),
            Self::Chunk(chunk) => chunk.bytes.len(),
            _ => 0,
        }
    }
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
    pub standing: PeerState,
    /// A snapshot that broke off, to go on with.
    pub resume: Option<Resume>,
    /// Its store holds what no log explains any more (entries that were rolled back): only a snapshot helps.
    pub needs_snapshot: bool,
    /// Where the sender dialled the receiver, `host:port`: an address at which the receiver is reached. None on a link
    /// that the receiver made.
    pub dialled: Option<String>,
}

/// Who a node is and how its log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
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
    /// Its process: drawn anew at every start, so that a newer start of the same node is seen.
    pub process: u64,
    /// 0 = never master.
    pub priority: u32,
    /// Whether it may vote: automatic failover, and every promise of it is synced.
    pub votes: bool,
    /// What its acks mean.
    pub durability: Durability,
    /// The highest epoch that it has promised.
    pub promised: Epoch,
    /// Whether it leads `promised` now, so that it may be followed.
    pub leads: bool,
    /// Its last entry, on its disk or not.
    pub last: Position,
    /// Up to where it knows entries to be committed.
    pub committed: Index,
    /// Its log time, and whether that is more than a guess.
    pub log_time: WallMs,
    /// Whether it was told, or has kept it itself.
    pub log_time_known: bool,
    /// The epochs of its log.
    pub history: History,
    /// Its `heartbeat_interval_ms`.
    pub heartbeat_ms: u32,
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
    pub standing: PeerState,
    /// The host at which the sender sees the receiver. None on a link that the sender made.
    pub seen_at: Option<String>,
    /// The exact address at which this link reached the sender, as the sender's machine names it. None on a link that
    /// the sender made.
    pub reached_at: Option<String>,
    /// What is to happen.
    pub verdict: SyncPlan,
}

/// What becomes of a dialler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncPlan {
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
    /// The dialler and the answerer are one process.
    #[error("its master_address leads to this node itself: it must lead to another one")]
    Itself,
    /// [`crate::command::MEMBERS_MAX`] reached.
    #[error("the cluster has as many members as it can")]
    Full,
    /// The source's log ends before what is committed here, and no promotion explains it.
    #[error(
        "the master's log lacks what the replica knows to be committed, and no promotion explains that: an operator says which one \
         stays (docs/failover.md, \"A master that lacks what was answered\")"
    )]
    SourceBehind,
    /// The state differs at the same index.
    #[error("the state differs at the same index")]
    Quarantined,
    /// It is about to stop.
    #[error("it is shutting down")]
    ShuttingDown,
    /// Its mastership is over, and with it its lease: nobody's word to it counts any more.
    #[error("its mastership is over")]
    Resigned,
    /// Both logs go on beyond what they share, and neither may take the other's place.
    #[error(
        "both logs go on beyond what they share, and neither may take the other's place: an operator says which one stays \
         (docs/failover.md, \"Two lines at odds\")"
    )]
    AtOdds,
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
    /// Counts up with every turn in which the master sends; acks name it.
    pub round: u64,
    /// The master's clock when it was sent; acks return it, and the lease counts from there.
    pub sent: u64,
    /// The newest `clock` of the replica's acks: what is told here is at least as new as that instant.
    pub echo: u64,
    /// The master's log time when it was sent, for readers of the replica and for whoever leads next.
    pub log_time: WallMs,
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
pub struct FetchTail {
    /// The asker's last entry.
    pub after: Position,
    /// Entries of later epochs too: the asker has not named its own epoch yet.
    pub across: bool,
}

/// Entries that a survivor holds beyond the asker's tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTail {
    /// As asked.
    pub after: Position,
    /// WAL records, each whole; none if there is nothing, or nothing that follows.
    pub entries: Vec<Bytes>,
}

/// A candidate asks for a vote (Raft section 5.2, with the pre-vote of its dissertation's section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestVote {
    /// The cluster.
    pub cluster: ClusterId,
    /// The mastership that it is about; the candidate is its leader.
    pub epoch: Epoch,
    /// The candidate's last entry.
    pub last: Position,
    /// True: nothing is promised, the candidate only wants to know.
    pub pre: bool,
    /// Why the voter's word to the last master need not be waited for.
    pub waiver: Waiver,
}

/// Why a voter's word to the last master need not be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiver {
    /// It must be.
    None,
    /// A majority of voters has evidence that the master's process is dead.
    Evidence,
    /// The master of this epoch has handed over after this round, and given up its lease before.
    Handover {
        /// Its epoch.
        epoch: Epoch,
        /// The last round that it sent.
        round: u64,
    },
}

/// A master hands over: the target holds everything, and may campaign at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handover {
    /// The master's epoch.
    pub epoch: Epoch,
    /// The last round that it sent.
    pub round: u64,
}

/// A replica asks how far it must have applied for a linearizable read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadIndex {
    /// The epoch that it follows.
    pub epoch: Epoch,
    /// Counts up; the answer names it.
    pub number: u64,
}

/// The master still led after the question had arrived, and this is how far it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadIndexed {
    /// As asked.
    pub number: u64,
    /// What must be applied.
    pub index: Index,
}
