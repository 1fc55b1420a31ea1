//! What a node says of itself, for `/replication/status`, `/metrics` and the oracles.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::command::StartKind;
use crate::config::{Durability, FailoverMode};
use crate::ids::{ClusterId, NodeId};
use crate::message::{Leader, Reason};
use crate::position::{Epoch, Index, Position};
use crate::store::StateHash;
use crate::time::WallMs;

/// What a node is, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes writes.
    Master,
    /// Follows a master, or looks for one.
    Replica,
    /// Takes writes and knows no replication.
    Standalone,
}

/// What a node is doing within its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// An empty master waits for members of a running cluster, before it founds one.
    Founding,
    /// A starting or promoted master asks the members it knows and pulls what they hold beyond its log.
    CatchingUp,
    /// Its epoch is being made durable; writes are taken when the first entry of it is committed.
    Opening,
    /// A master that serves.
    Serving,
    /// A replica dials.
    Connecting,
    /// A replica takes entries.
    Streaming,
    /// A replica takes a snapshot; it goes on serving the old state.
    Syncing,
    /// Entries are being written to a rollback file before they are cut.
    RollingBack,
    /// A replica that had a master hears no more of it.
    MasterDown,
    /// A replica asks for the votes of the others.
    Campaigning,
    /// A master of an armed cluster hears no majority: it answers no writes until it does, or gives up.
    NoQuorum,
    /// A master hands over: new writes wait.
    HandingOver,
    /// The disk is full; writes are refused until there is room.
    DiskFull,
    /// The disk does nothing; writes are refused until it does.
    DiskHangs,
    /// The process is ending.
    ShuttingDown,
}

/// Something that somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// No room for another log segment.
    DiskFull,
    /// The next snapshot does not fit on the disk: the log grows until there is room.
    DiskShort,
    /// Nothing reaches the log although something waits for it.
    DiskHangs,
    /// Nothing reaches the snapshot files although something waits for it.
    SnapshotHangs,
    /// `memory_bytes_max` is reached.
    OutOfMemory,
    /// Automatic failover without `fsync_mode: always`: promises may be lost with the power.
    UnsafeFsync,
    /// A master of an armed cluster hears no majority of voters.
    NoQuorum,
    /// No master in sight.
    MasterDown,
    /// A rollback file was written since the start.
    RollbackWritten,
    /// A replica's state differed.
    StateMismatch,
    /// Another process runs under this node's id.
    CopiedDirectory,
    /// Of a member no address is known at which others could dial it.
    AddressUnknown,
    /// A name at which this node or another member is said to be stands for no address on this machine.
    AddressUnresolved,
    /// The wall clock of this node, or of a member that it leads, is off by more than a second.
    ClockSkew,
    /// Another node's log and ours both go on beyond what they share, and an operator must say which one stays.
    LinesAtOdds,
    /// The log of a master that was met, or of this one, lacks what a replica knows to be committed: the replica refuses it.
    MasterBehind,
    /// A node of another cluster was met at an address of this one, or has called.
    ForeignCluster,
}

/// How a node's disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskState {
    /// It takes what is written.
    #[default]
    Works,
    /// It has no room.
    Full,
    /// It does nothing.
    Hangs,
}

/// The room on a node's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes free; none if nobody has measured them.
    pub free: Option<u64>,
    /// Bytes that have to be free for the next snapshot, and for the log meanwhile.
    pub needed: u64,
    /// Whether the node keeps little for want of room: one snapshot, a short tail, short segments.
    pub short: bool,
}

/// Everything that a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// None before a cluster is founded or joined.
    pub cluster: Option<ClusterId>,
    /// Who.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// What it is doing.
    pub state: State,
    /// The highest epoch that it has promised.
    pub epoch: Epoch,
    /// The master that it knows, itself included.
    pub leader: Option<Leader>,
    /// How far it is.
    pub positions: Positions,
    /// What it means by calling an entry durable.
    pub durability: Durability,
    /// Who would replace a master.
    pub failover: Failover,
    /// How much longer an armed master may answer; none unarmed.
    pub lease_remaining: Option<Duration>,
    /// A replica's link to its master; none on a master.
    pub link: Option<LinkStatus>,
    /// Addresses that were dialled in vain since a master was last followed; on a master, those of absent members. By address.
    pub dials: Vec<Dial>,
    /// The master's last index that this node has heard of, less its applied index. 0 on a master.
    pub lag_operations: u64,
    /// How long ago it first heard of the oldest operation that it has not applied.
    pub lag: Duration,
    /// Time since it last had proof of holding everything; none if it never had. Zero on an unarmed master.
    pub staleness: Option<Duration>,
    /// On a master: every member it knows, itself included, by id. On a replica: as its log says.
    pub members: Vec<MemberStatus>,
    /// Since the start of the process.
    pub counters: Counters,
    /// What is wrong now, in order.
    pub alarms: Vec<Alarm>,
    /// What an entry would be stamped with now, as far as this node knows.
    pub log_time: WallMs,
    /// How many milliseconds its wall clock is ahead of that; less than nothing if it is behind, none if it cannot tell.
    pub wall_ahead_ms: Option<i64>,
    /// The configured role is not this node's, since what is on disk wins.
    pub config_role_ignored: bool,
    /// Fit for reads: caught up once, and lag within `max_lag_ms`.
    pub ready: bool,
    /// Recovered, and its first role taken up.
    pub started: bool,
    /// Keys in the store.
    pub keys: u64,
    /// Results remembered for retries.
    pub results: u64,
    /// Bytes that both take.
    pub memory_bytes: u64,
    /// The state at `positions.applied`.
    pub hash: StateHash,
    /// The newest durable snapshot here.
    pub snapshot: Option<Position>,
    /// Bytes of log kept in memory.
    pub tail_bytes: u64,
    /// Requests that wait for an answer.
    pub waiting: u64,
    /// Bytes of entries in the log that are not yet committed and on this node's own disk.
    pub uncommitted_bytes: u64,
    /// The room on its disk.
    pub disk_space: DiskSpace,
    /// Writes that wait for room in the log, or for the end of a switchover.
    pub held_writes: u64,
    /// Bytes that they take.
    pub held_bytes: u64,
    /// For how long nothing has reached the log though something waits for it; zero if nothing does.
    pub disk_waits: Duration,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Positions {
    /// The first entry in memory.
    pub first: Index,
    /// The last entry.
    pub last: Position,
    /// On this disk.
    pub durable: Index,
    /// Known to be committed.
    pub committed: Index,
    /// In the store.
    pub applied: Position,
}

/// Who would replace a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// As configured.
    pub mode: FailoverMode,
    /// Whether replicas elect.
    pub armed: bool,
    /// Why not, or that all is well.
    pub reason: &'static str,
    /// How much longer no replica campaigns by itself, as an operator wants it; none if nobody does.
    pub paused: Option<Duration>,
    /// Why this node itself would not campaign now; none if it would.
    pub why_not: Option<&'static str>,
    /// The newest changes of mastership in this log, oldest first, at most 16.
    pub history: Vec<Change>,
}

/// A change of mastership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The mastership that it began.
    pub epoch: Epoch,
    /// Where.
    pub start: Index,
    /// Why.
    pub kind: StartKind,
    /// The stamp of its `EpochStart`, where it is in memory.
    pub at: Option<WallMs>,
}

/// A replica's link to its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkStatus {
    /// Whether it stands and entries may flow.
    pub connected: bool,
    /// Since anything valid came in on it, or on the one before it.
    pub last_contact: Option<Duration>,
    /// Times that it was made anew since the start.
    pub reconnects: u64,
    /// How often the master sends heartbeats, which counts for this link; none while there is none.
    pub heartbeat: Option<Duration>,
    /// Why this node and the last one that it tried to follow do not go together; none once it follows one.
    pub refused: Option<Reason>,
}

/// An address at which no node was found that leads or knows who does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// `host:port`, as it was configured or told.
    pub address: String,
    /// What came of the last attempt.
    pub failure: DialFailure,
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialFailure {
    /// No process listens there.
    Refused,
    /// The name cannot be resolved.
    Unresolved,
    /// No connection could be made in time.
    Unreachable,
    /// The connection was closed before an answer.
    Closed,
    /// A connection stood, and no answer came.
    Silent,
    /// An HTTP server answers.
    HttpPort,
    /// Something answers there that does not speak this protocol.
    NoNode,
    /// This node has called itself.
    Itself,
    /// A replica answers that knows no master.
    NoMaster,
    /// A node answers, and both do not go together.
    Rejected(Reason),
}

/// A member, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// `host:port` where clients reach it; empty while it is not known.
    pub http: String,
    /// `host:port` where other nodes reach it; empty while it is not known.
    pub replication: String,
    /// Whether its disk counts towards commits.
    pub voter: bool,
    /// 0 = never master.
    pub priority: u32,
    /// Whether it is connected to this master; of itself: yes. None where only the master knows.
    pub connected: Option<bool>,
    /// On its disk, as it last said; none if this node has heard nothing of it.
    pub durable: Option<Index>,
    /// In its store, as it last said; likewise.
    pub applied: Option<Index>,
    /// The master's last index less `applied`: all of it where a master has heard nothing, none where only the master knows.
    pub lag_operations: Option<u64>,
    /// Since the oldest entry that it has not applied was appended here; likewise.
    pub lag: Option<Duration>,
    /// Bytes of log that it has not said to hold; likewise.
    pub bytes_behind: Option<u64>,
    /// Since anything valid came from it.
    pub last_contact: Option<Duration>,
    /// How many milliseconds its wall clock is ahead of the master's, as the master last heard; none on others.
    pub wall_ahead_ms: Option<i64>,
    /// Whether it could become master. None where only the master knows.
    pub eligible: Option<bool>,
    /// Why not, or why that is not known.
    pub why_not: Option<&'static str>,
}

/// Counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Entries sent to replicas.
    pub operations_out: u64,
    /// Entries taken from a master.
    pub operations_in: u64,
    /// Bytes of those sent.
    pub bytes_out: u64,
    /// Bytes of those taken.
    pub bytes_in: u64,
    /// Changes of master that this node has seen.
    pub leader_changes: u64,
    /// Promotions that succeeded here.
    pub elections_won: u64,
    /// Promotions that were refused or gave up here.
    pub elections_lost: u64,
    /// Syncs by snapshot: given by a master, taken by a replica.
    pub full_syncs: u64,
    /// Syncs from the log's tail: given by a master, taken by a replica.
    pub partial_syncs: u64,
    /// Entries written to rollback files.
    pub rollback_operations: u64,
    /// Replicas found with another state at the same index.
    pub state_hash_mismatches: u64,
    /// Links dropped because of garbage.
    pub garbage_links: u64,
    /// Snapshots made durable.
    pub snapshots: u64,
}

impl Role {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
            Self::Standalone => "standalone",
        }
    }
}

impl State {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Founding => "founding",
            Self::CatchingUp => "catching_up",
            Self::Opening => "opening",
            Self::Serving => "serving",
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Syncing => "syncing",
            Self::RollingBack => "rolling_back",
            Self::MasterDown => "master_down",
            Self::Campaigning => "campaigning",
            Self::NoQuorum => "no_quorum",
            Self::HandingOver => "handing_over",
            Self::DiskFull => "disk_full",
            Self::DiskHangs => "disk_hangs",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl DialFailure {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::HttpPort => "http_port",
            Self::NoNode => "no_node",
            Self::Itself => "itself",
            Self::NoMaster => "no_master",
            Self::Rejected(_) => "rejected",
        }
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "nothing listens there",
            Self::Unresolved => "the name cannot be resolved",
            Self::Unreachable => "no connection could be made in time",
            Self::Closed => "the connection was closed without an answer",
            Self::Silent => "a connection was made, and no answer came",
            Self::HttpPort => {
                "an HTTP server answers there, so it is probably the port for clients (server.port); nodes reach each other at \
                 replication.replica_listen_address, port 15501 by default"
            }
            Self::NoNode => "what answers there is not a synap node that this one understands",
            Self::Itself => "this node itself answers there",
            Self::NoMaster => "the replica there knows no master",
            Self::Rejected(reason) => return write!(f, "the node there and this one do not go together: {reason}"),
        })
    }
}

impl DiskState {
    /// Why a node with such a disk could not take over; none if it could.
    pub const fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Works => None,
            Self::Full => Some("its disk is full"),
            Self::Hangs => Some("its disk hangs"),
        }
    }
}

impl Alarm {
    /// All there are, in order.
    pub const ALL: [Self; 17] = [
        Self::DiskFull,
        Self::DiskShort,
        Self::DiskHangs,
        Self::SnapshotHangs,
        Self::OutOfMemory,
        Self::UnsafeFsync,
        Self::NoQuorum,
        Self::MasterDown,
        Self::RollbackWritten,
        Self::StateMismatch,
        Self::CopiedDirectory,
        Self::AddressUnknown,
        Self::AddressUnresolved,
        Self::ClockSkew,
        Self::LinesAtOdds,
        Self::MasterBehind,
        Self::ForeignCluster,
    ];

    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::DiskShort => "disk_short",
            Self::DiskHangs => "disk_hangs",
            Self::SnapshotHangs => "snapshot_hangs",
            Self::OutOfMemory => "out_of_memory",
            Self::UnsafeFsync => "unsafe_fsync",
            Self::NoQuorum => "no_quorum",
            Self::MasterDown => "master_down",
            Self::RollbackWritten => "rollback_written",
            Self::StateMismatch => "state_mismatch",
            Self::CopiedDirectory => "copied_directory",
            Self::AddressUnknown => "address_unknown",
            Self::AddressUnresolved => "address_unresolved",
            Self::ClockSkew => "clock_skew",
            Self::LinesAtOdds => "lines_at_odds",
            Self::MasterBehind => "master_behind",
            Self::ForeignCluster => "foreign_cluster",
        }
    }
}

const _: () = assert!(Alarm::ALL.len() == Alarm::ForeignCluster as usize + 1, "all alarms are listed");

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
