//! What the core wants of the world: plain, printable, comparable data.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::Outcome;
use crate::config::Concern;
use crate::event::Event;
use crate::ids::{LinkId, NodeId, RequestId};
use crate::message::{Leader, Message};
use crate::position::{Epoch, Index, Position};
use crate::status::Status;
use crate::view::View;
use crate::wal::WriteBatch;

/// What one turn gives. The driver routes each field and decides nothing.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written to the log; its receipt comes back as [`crate::input::Input::Durable`], in the order of the
    /// batches of its lane.
    pub write: Option<WriteBatch>,
    /// To be written beside it, to snapshot files: another queue, which never delays the first.
    pub snapshot: Option<WriteBatch>,
    /// To be sent, in order per link. To a link that is gone: dropped.
    pub sends: Vec<(LinkId, Message)>,
    /// Connections to be made and ended.
    pub links: Vec<LinkAction>,
    /// Answers.
    pub replies: Vec<(RequestId, Result<Reply, Refusal>)>,
    /// What happened, for people.
    pub events: Vec<Event>,
}

/// A connection to be made or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// Dial `address` (`host:port`, resolved anew), and report as this link.
    Dial {
        /// The link's name from now on.
        link: LinkId,
        /// Where.
        address: String,
    },
    /// End it after what was sent is out. Nothing more is reported of it.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// A good answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Of a write.
    Written(Written),
    /// Of a read: this state admits it.
    Read(Arc<View>),
    /// Of a promotion.
    Promoted(Promoted),
    /// Of a snapshot: durable at this position.
    Snapshot(Position),
    /// Of a status request.
    Status(Box<Status>),
    /// Of an outcome request.
    Outcome(Fate),
    /// Of a switchover: the new master serves.
    SwitchedOver(SwitchedOver),
    /// Of a change of membership or a pause: committed at this position.
    Configured(Position),
}

/// What a switchover's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchedOver {
    /// The new master.
    pub leader: Leader,
    /// Its epoch.
    pub epoch: Epoch,
}

/// What a write's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where the write stands in the log.
    pub position: Position,
    /// The concern that this answer satisfies.
    pub concern: Concern,
    /// The number of disks known to hold the write; copies in memory alone are none.
    pub durable_on: u32,
    /// What it did; for an `async` set, that it will be written.
    pub outcome: Outcome,
}

/// What a promotion's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The `EpochStart` of the new mastership.
    pub position: Position,
    /// The last position that it took over.
    pub took_over: Position,
    /// Indices that the old master may have answered and this one lacks: from here on, up to the last index heard of.
    pub possible_loss: Option<(Index, Index)>,
    /// Members that did not say what they hold, by name: what they alone hold, nobody here can know. None after an
    /// election, which loses nothing that a majority holds.
    pub unreached: Vec<String>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is there to stay.
    Committed,
    /// Another epoch holds its place.
    RolledBack,
    /// Not known yet.
    Pending,
    /// Without its leader the position may name two entries, of lines apart: which one is meant is not known.
    Unknown,
    /// Its leader is not known here: another cluster answered it, or a node that is no member any more.
    Foreign,
}

/// Why a request is not done. None of these says that a write failed when it may still take effect: that is
/// [`Refusal::Pending`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This node is no master.
    #[error("this node is not the master")]
    NotMaster {
        /// Who is.
        leader: Leader,
    },
    /// This node is no master and knows none.
    #[error("no master is known: {why}")]
    NoMaster {
        /// For people.
        why: &'static str,
        /// When to ask again.
        retry_after: Duration,
    },
    /// This node leads an armed cluster and has heard no majority of voters of late; nothing was done.
    #[error("no majority of voters answers this master")]
    NoQuorum {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The concern asks for more replicas than are connected.
    #[error("{wanted} replicas were asked for, {connected} are connected")]
    NotEnoughReplicas {
        /// As asked.
        wanted: u32,
        /// As it is.
        connected: u32,
    },
    /// The state does not admit the read, and did not in time.
    #[error("this node's state is older than the read allows")]
    Stale {
        /// Age of the newest proof of holding everything; none if there never was one.
        staleness: Option<Duration>,
        /// How far it has applied.
        applied: Position,
    },
    /// `min_position` names a write that a failover discarded.
    #[error("that position was rolled back")]
    RolledBack {
        /// What is known of it.
        index: Index,
    },
    /// `min_position` does not say which leader's entry it means, and there may be two.
    #[error(
        "that position may name two entries: send it as it was answered, with its leader (EPOCH:INDEX-LEADER)"
    )]
    AmbiguousPosition {
        /// What is known of it.
        index: Index,
    },
    /// `min_position` was answered by another cluster, of which this one was restored.
    #[error(
        "that position is of another cluster, from whose backup this one was restored: what it names may be missing here"
    )]
    ForeignPosition {
        /// What is known of it.
        index: Index,
    },
    /// The write is in the log but its concern was not reached in time, or who would have answered lost the
    /// mastership: it may still take effect.
    #[error("the outcome is not known yet")]
    Pending {
        /// Where it stands.
        position: Position,
    },
    /// What was asked for has begun, and nobody can tell whether it will come about.
    #[error("the outcome is not known yet: {why}")]
    Undecided {
        /// For people: what it waits for, and where to look.
        why: &'static str,
    },
    /// A bound is reached; nothing was done.
    #[error("too much is in flight")]
    Busy,
    /// A key, value or batch is too long.
    #[error("{what} of {bytes} bytes is longer than {bytes_max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        bytes_max: u64,
    },
    /// The disk is full; nothing was done.
    #[error("the disk is full")]
    DiskFull,
    /// The disk does nothing; nor was anything done.
    #[error("the disk hangs: nothing reaches it")]
    DiskHangs {
        /// When to ask again.
        retry_after: Duration,
    },
    /// `memory_bytes_max` is reached; nothing was done.
    #[error("limits.memory_bytes_max is reached: delete keys, or raise it")]
    OutOfMemory,
    /// Not in this role or state.
    #[error("{why}")]
    Conflict {
        /// For people.
        why: String,
    },
    /// Another node is the better one to promote.
    #[error("{name} holds more of the log: promote it instead")]
    BetterCandidate {
        /// Who.
        node: NodeId,
        /// What people call it.
        name: String,
        /// Its last position.
        last: Position,
    },
    /// The request contradicts itself.
    #[error("{why}")]
    BadRequest {
        /// For people.
        why: &'static str,
    },
    /// The process is ending.
    #[error("shutting down")]
    ShuttingDown,
}
