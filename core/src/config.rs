//! What the core is told about its world, already checked: later code never asks again.

use alloc::string::String;
use core::time::Duration;

use crate::planted::Planted;

/// `host:port`, where a missing host means "the one that my peer sees me at".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP literal without brackets.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
}

/// The role that the configuration asks for: a bootstrap hint, since what is on disk wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleHint {
    /// Founds a cluster on an empty disk.
    Master,
    /// Joins the cluster at `master_address`.
    Replica,
    /// Serves alone, with no replication at all.
    Standalone,
}

/// What an answer to a write means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// Ordered in the master's log.
    Async,
    /// Durable on the master.
    Local,
    /// Committed and applied.
    Quorum,
    /// Committed, and durable on this many replicas besides the master.
    Replicas(u32),
}

/// What a node means by calling an entry durable; the safer, the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It is in memory: no log is kept, and the end of the process takes it.
    #[default]
    Memory,
    /// It is in the log, which is not always synced: a power cut may take it.
    Logged,
    /// It is in the log and synced.
    Synced,
}

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsyncMode {
    /// After its fdatasync.
    Always,
    /// After its write; a timer syncs this often.
    Periodic(Duration),
    /// After its write; the operating system syncs when it likes.
    Never,
}

/// Who replaces a master that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailoverMode {
    /// The replicas, once the cluster is armed.
    Auto,
    /// An operator.
    Manual,
}

/// When a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotPolicy {
    /// At least this often, if anything was written since the last.
    pub interval: Duration,
    /// And whenever this much was logged since the last.
    pub wal_bytes: u64,
    /// How many snapshot files are kept, at least 1.
    pub max_snapshots: u32,
}

/// Bounds on what clients may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest key. At most 65,535.
    pub key_bytes_max: u32,
    /// Longest value.
    pub value_bytes_max: u32,
    /// Most memory that keys and values may take; 0 = unbounded.
    pub memory_bytes_max: u64,
}

/// How many entries one turn applies at most in a server.
pub const APPLIES_PER_TURN_MAX: u64 = 8192;

/// About how long a piece of a long file is in a server.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Everything that the core is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// What people call this node.
    pub node_name: String,
    /// The role that the configuration asks for.
    pub role: RoleHint,
    /// The version of the protocol that this node speaks: [`PROTOCOL_VERSION`](crate::message::PROTOCOL_VERSION), unless
    /// versions are tried against each other.
    pub protocol: u16,
    /// Where clients reach this node.
    pub http: Address,
    /// Where other nodes reach it; none if it does not listen for them.
    pub replication: Option<Address>,
    /// Where a replica looks for its master first, `host:port`.
    pub master_address: Option<String>,
    /// Longest silence on a healthy link; three of them end it.
    pub heartbeat_interval: Duration,
    /// A replica that lags more is not fit for reads.
    pub max_lag: Duration,
    /// Whether a lost master is dialled again.
    pub auto_reconnect: bool,
    /// Cap of the backoff between two dials; it starts at 100 ms.
    pub reconnect_delay_max: Duration,
    /// For writes that name none.
    pub write_concern: Concern,
    /// How much log is kept in memory for replicas that come back.
    pub tail_bytes_max: u64,
    /// So much is to stay free on the disk, for the log while a snapshot is written; 0: room is not watched.
    pub disk_margin: u64,
    /// Most bytes of entries that are in a master's log and not yet committed and on its own disk; further writes wait.
    pub uncommitted_bytes_max: u64,
    /// Who replaces a master that is gone.
    pub failover_mode: FailoverMode,
    /// The shortest silence of a master after which it is replaced; an armed cluster follows its log's. Also how long
    /// an empty master waits for members of a running cluster before it founds one.
    pub election_timeout: Duration,
    /// How long the disk may do nothing while something waits for it; none: as long as the election timeout.
    pub disk_timeout: Option<Duration>,
    /// Whether a refused port, right after the connection broke, proves that a master's process is dead.
    pub crash_evidence: bool,
    /// Most members whose disks count towards commits.
    pub voters_max: u32,
    /// How long a starting master asks the members it knows.
    pub catch_up: Duration,
    /// 0 = never master.
    pub priority: u32,
    /// Whether there is a disk: without one nothing survives a restart.
    pub persistent: bool,
    /// Whether a log is kept on it: without one only snapshots survive a restart.
    pub keeps_log: bool,
    /// When a write counts as durable.
    pub fsync: FsyncMode,
    /// None: no snapshots but those that are asked for.
    pub snapshot: Option<SnapshotPolicy>,
    /// Bounds on what clients may store.
    pub limits: Limits,
    /// Most entries that one turn applies, at least 1; the rest waits for the next, which is asked for at once.
    pub applies_per_turn_max: u64,
    /// About how long a piece is in which a long file goes, a chunk of a snapshot or lines of a rollback file: [`CHUNK_BYTES`], unless
    /// files are to have many.
    pub chunk_bytes: usize,
    /// The bug that a simulation has planted; none, and no room for one, in a release.
    pub planted: Planted,
}

impl Durability {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Logged => "logged",
            Self::Synced => "synced",
        }
    }
}

impl Config {
    /// Whether this node may vote: replicas replace a master by themselves, and its promises survive its power.
    pub fn votes(&self) -> bool {
        let syncs = self.durability() == Durability::Synced;
        let elects = match self.failover_mode {
            FailoverMode::Auto => true,
            FailoverMode::Manual => false,
        };
        syncs && elects && self.role != RoleHint::Standalone
    }

    /// What this node means by calling an entry durable.
    pub fn durability(&self) -> Durability {
        match self.fsync {
            _ if !self.persistent || !self.keeps_log => Durability::Memory,
            FsyncMode::Always => Durability::Synced,
            FsyncMode::Periodic(_) | FsyncMode::Never => Durability::Logged,
        }
    }

    /// How long a silent link lives: three heartbeats.
    pub fn link_timeout(&self) -> Duration {
        self.heartbeat_interval * 3
    }
}
