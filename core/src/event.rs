//! What happened, for people: a line of the log per change of state, with its cause. Never keys or values.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::command::StartKind;
use crate::ids::{ClusterId, LinkId, NodeId};
use crate::message::Reason;
use crate::position::{Epoch, Index, Position};
use crate::status::{Alarm, DialFailure, State};
use crate::wal::RollbackId;

/// A change of state with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node's state changed.
    State {
        /// To what.
        to: State,
        /// The cause.
        why: String,
    },
    /// A cluster was founded here.
    Founded(ClusterId),
    /// A mastership was opened here.
    EpochOpened {
        /// Which.
        epoch: Epoch,
        /// Where its `EpochStart` stands.
        start: Index,
        /// Why.
        kind: StartKind,
    },
    /// This node follows a master.
    Following {
        /// Which node.
        leader: NodeId,
        /// Its mastership.
        epoch: Epoch,
        /// Both logs agree up to here.
        after: Position,
    },
    /// A replica has connected here and follows.
    ReplicaJoined {
        /// Which node.
        node: NodeId,
        /// What people call it.
        name: String,
        /// True when it gets a snapshot instead of the log's tail.
        full_sync: bool,
    },
    /// A replica is gone.
    ReplicaLeft {
        /// Which node.
        node: NodeId,
        /// What people call it.
        name: String,
        /// The cause.
        why: &'static str,
    },
    /// A link was given up.
    LinkLost {
        /// Which.
        link: LinkId,
        /// The cause.
        why: &'static str,
    },
    /// This node refused another, or was refused by it.
    Refused {
        /// The other node, if it said who it is.
        node: Option<NodeId>,
        /// True when the other refused this one.
        by_peer: bool,
        /// Why.
        reason: Reason,
    },
    /// A snapshot is durable here.
    SnapshotTaken {
        /// The last entry that it holds.
        position: Position,
    },
    /// There was no room for a snapshot of this node's state.
    SnapshotGivenUp {
        /// The last entry that it would have held.
        position: Position,
    },
    /// A master's snapshot replaced the state here.
    SnapshotInstalled {
        /// The last entry that it holds.
        position: Position,
    },
    /// Entries were discarded; they are in a durable rollback file.
    RolledBack {
        /// The file.
        id: RollbackId,
        /// The first index discarded.
        from: Index,
        /// The last.
        upto: Index,
        /// Whether any of them had been applied here.
        applied: bool,
        /// Which of them are in no line.
        unlisted: Unlisted,
    },
    /// A replica's state differs from this master's at the same index; it is synced again.
    HashMismatch {
        /// Which node.
        node: NodeId,
        /// At which index.
        at: Index,
    },
    /// A node was met whose log and ours both go on beyond what they share, and neither may take the other's place.
    AtOdds {
        /// Which node.
        node: NodeId,
        /// What people call it.
        name: String,
        /// The newest position that both are known to hold.
        after: Position,
    },
    /// Another process of this node was first: this one falls silent.
    CopiedDirectory {
        /// Both.
        node: NodeId,
    },
    /// An alarm went on or off.
    Alarm {
        /// Which.
        alarm: Alarm,
        /// On, or off.
        on: bool,
    },
    /// The disk does nothing, or works again.
    DiskHangs {
        /// Which hand on it.
        alarm: Alarm,
        /// For how long nothing was done of what waits; zero once some is.
        silent: Duration,
        /// On, or off.
        on: bool,
    },
    /// The wall clock has moved against the monotonic one. Log time does not follow at once.
    WallJumped {
        /// By so many milliseconds; less than nothing: back.
        by_ms: i64,
    },
    /// Log time has stepped over a time in which no node that this one has reached was up, by what the wall clock says.
    LogTimeStepped {
        /// By so many milliseconds.
        by_ms: u64,
    },
    /// Others than before would replace the master.
    Regime {
        /// What people call those that vote; empty when automatic failover is not armed.
        voters: Vec<String>,
    },
    /// A node that was dialled at an address did not answer as one that leads, or knows who does.
    DialFailed {
        /// Where.
        address: String,
        /// Why.
        failure: DialFailure,
    },
    /// This replica and its master are configured with different heartbeat intervals.
    HeartbeatsDiffer {
        /// As configured here.
        ours: Duration,
        /// The master's.
        theirs: Duration,
    },
    /// No address is known at which others could dial this member.
    AddressUnknown {
        /// What people call it.
        name: String,
        /// Where it is said to be, as another member is that is connected too.
        shared: Option<String>,
    },
    /// A node is said to be at this host, which stands for no address here.
    AddressUnresolved {
        /// A name.
        host: String,
        /// Which other member is said to be there; none: this node itself.
        member: Option<String>,
    },
    /// The configured role is not this node's, since what is on disk wins.
    ConfigRoleIgnored {
        /// What to do instead.
        hint: &'static str,
    },
}

/// Discarded entries that are no lines of a rollback file: they are in the log's files that were kept beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Those up to this index had left memory.
    pub upto: Option<Index>,
    /// For those from this index on there was no room.
    pub from: Option<Index>,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHERE: &str = "in the log's files beside it alone";
        match (self.upto, self.from) {
            (None, None) => Ok(()),
            (Some(upto), Some(from)) if upto.next() == from => {
                write!(f, "; for want of room all of them are {WHERE}")
            }
            (Some(upto), None) => write!(f, "; those up to {upto} are {WHERE}"),
            (None, Some(from)) => write!(f, "; for want of room those from {from} on are {WHERE}"),
            (Some(upto), Some(from)) => {
                write!(f, "; those up to {upto}, and for want of room those from {from} on, are {WHERE}")
            }
        }
    }
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Part of a healthy life.
    Info,
    /// Somebody should look.
    Warn,
    /// Something is wrong.
    Error,
}

impl Event {
    /// How loud it is.
    pub fn level(&self) -> Level {
        match self {
            Self::State { to, .. } => match to {
                State::MasterDown | State::DiskFull | State::DiskHangs => Level::Warn,
                _ => Level::Info,
            },
            Self::Founded(_)
            | Self::EpochOpened { .. }
            | Self::Following { .. }
            | Self::ReplicaJoined { .. }
            | Self::SnapshotTaken { .. }
            | Self::SnapshotInstalled { .. }
            | Self::LogTimeStepped { .. } => Level::Info,
            Self::ReplicaLeft { .. }
            | Self::SnapshotGivenUp { .. }
            | Self::LinkLost { .. }
            | Self::Refused { .. }
            | Self::RolledBack { .. }
            | Self::AddressUnknown { .. }
            | Self::AddressUnresolved { .. }
            | Self::DialFailed { .. }
            | Self::WallJumped { .. }
            | Self::HeartbeatsDiffer { .. }
            | Self::ConfigRoleIgnored { .. } => Level::Warn,
            Self::Regime { voters } => {
                if voters.is_empty() {
                    Level::Warn
                } else {
                    Level::Info
                }
            }
            Self::Alarm { on, .. } | Self::DiskHangs { on, .. } => {
                if *on {
                    Level::Warn
                } else {
                    Level::Info
                }
            }
            Self::HashMismatch { .. } | Self::AtOdds { .. } | Self::CopiedDirectory { .. } => Level::Error,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { to, why } => write!(f, "state is {to}: {why}"),
            Self::Founded(cluster) => write!(f, "founded cluster {cluster}"),
            Self::EpochOpened { epoch, start, kind } => {
                write!(f, "master of epoch {epoch} from index {start} on ({})", kind.as_str())
            }
            Self::Following { leader, epoch, after } => {
                write!(f, "following master {leader} of epoch {epoch} after {after}")
            }
            Self::ReplicaJoined { node, name, full_sync } => {
                let how = if *full_sync { "full sync" } else { "partial sync" };
                write!(f, "replica {name} ({node}) joined, {how}")
            }
            Self::ReplicaLeft { node, name, why } => write!(f, "replica {name} ({node}) left: {why}"),
            Self::LinkLost { link, why } => write!(f, "link {link} lost: {why}"),
            Self::Refused { node, by_peer, reason } => {
                let how = if *by_peer { "refused by" } else { "refused" };
                match node {
                    Some(node) => write!(f, "{how} {node}: {reason}"),
                    None => write!(f, "{how} a node that is not known here: {reason}"),
                }
            }
            Self::SnapshotTaken { position } => write!(f, "snapshot at {position} is durable"),
            Self::SnapshotGivenUp { position } => {
                write!(
                    f,
                    "snapshot at {position} was given up: there is no room for it beside the older one and the log"
                )
            }
            Self::SnapshotInstalled { position } => write!(f, "the master's snapshot at {position} is installed"),
            Self::RolledBack { id, from, upto, applied, unlisted } => {
                let store = if *applied { "had been applied" } else { "had not been applied" };
                write!(f, "rolled back {from} to {upto} into rollback file {}, they {store}", id.0)?;
                write!(f, "{unlisted}")
            }
            Self::HashMismatch { node, at } => {
                write!(f, "state of {node} differs from ours at index {at}: it is quarantined and synced again")
            }
            Self::AtOdds { node, name, after } => write!(
                f,
                "{name} ({node}) and this node each went on after {after}, and neither log may take the other's place: keep one \
                 (docs/failover.md, \"Two lines at odds\")"
            ),
            Self::CopiedDirectory { node } => write!(
                f,
                "another process runs under this node's id {node}: this data directory was copied, and this process does nothing \
                 more. Stop it; empty its directory, or leave nothing but a snapshot in it; and start it again as a node of its own"
            ),
            Self::Alarm { alarm, on } => write!(f, "alarm {alarm} is {}", if *on { "on" } else { "off" }),
            Self::DiskHangs { alarm, silent, on: true } => {
                write!(f, "alarm {alarm} is on: nothing has reached the disk for {} ms", silent.as_millis())
            }
            Self::DiskHangs { alarm, on: false, .. } => write!(f, "alarm {alarm} is off: the disk works again"),
            Self::WallJumped { by_ms } => {
                let way = if *by_ms < 0 { "back" } else { "ahead" };
                write!(
                    f,
                    "the wall clock has jumped {way} by {} ms; log time does not follow",
                    by_ms.unsigned_abs()
                )
            }
            Self::LogTimeStepped { by_ms } => {
                write!(
                    f,
                    "log time goes on {by_ms} ms after the last entry, by the wall clock: no other node has kept it"
                )
            }
            Self::Regime { voters } if voters.is_empty() => {
                f.write_str("automatic failover is not armed any more: an operator promotes")
            }
            Self::Regime { voters } => write!(f, "automatic failover is armed: {} vote", voters.join(", ")),
            Self::DialFailed { address, failure } => write!(f, "no master at {address}: {failure}"),
            Self::HeartbeatsDiffer { ours, theirs } => {
                let (ours, theirs) = (ours.as_millis(), theirs.as_millis());
                write!(f, "heartbeat_interval_ms is {ours} here and {theirs} on the master: ")?;
                f.write_str("the master's value is used on the link to it; set the same on all nodes")
            }
            Self::AddressUnknown { name, shared: Some(address) } => write!(
                f,
                "{name} is said to be at {address}, and so is another member that is connected too: correct \
                 replication.advertise_address in one of their configurations"
            ),
            Self::AddressUnknown { name, shared: None } => {
                write!(f, "no address of {name} is known: set replication.advertise_address in its configuration")
            }
            Self::AddressUnresolved { host, member: None } => write!(
                f,
                "others are told to find this node at {host}, and that name stands for no address here: correct \
                 advertise_address, or the name, before this node leads"
            ),
            Self::AddressUnresolved { host, member: Some(member) } => write!(
                f,
                "member {member} is said to be at {host}, and that name stands for no address here: this node finds it at an \
                 address that it knows from before, or not at all"
            ),
            Self::ConfigRoleIgnored { hint } => write!(f, "the configured role is ignored: {hint}"),
        }
    }
}
