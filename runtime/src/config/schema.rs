//! Every key of the configuration with its type and its default: the one place where a key is named. The set of
//! known keys, the environment's names and the documentation's test are all read off [`Schema::default`].
//!
//! Checks nothing beyond types: what values make sense together is decided in `rules`.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The whole configuration, as the YAML is laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The HTTP listener.
    pub server: Server,
    /// Replication.
    pub replication: Replication,
    /// What is kept on disk.
    pub persistence: Persistence,
    /// Bounds.
    pub limits: Limits,
    /// The log.
    pub logging: Logging,
}

/// `server`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Address to bind.
    pub host: String,
    /// Port to bind.
    pub port: u16,
    /// `HOST[:PORT]` that clients are sent to.
    pub advertise_address: Option<String>,
    /// How long a stop waits for what is in flight.
    pub shutdown_timeout_ms: u64,
}

/// `replication`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// False is the same as `role: standalone`.
    pub enabled: bool,
    /// A hint for an empty data directory.
    pub role: Role,
    /// Shown to people.
    pub node_name: Option<String>,
    /// `HOST:PORT` where other nodes connect.
    pub replica_listen_address: Option<String>,
    /// `HOST[:PORT]` that other nodes dial.
    pub advertise_address: Option<String>,
    /// `HOST:PORT` where a replica looks for its master.
    pub master_address: Option<String>,
    /// Longest silence on a healthy link.
    pub heartbeat_interval_ms: u64,
    /// A replica that lags more is not ready.
    pub max_lag_ms: u64,
    /// Whether a lost master is dialled again.
    pub auto_reconnect: bool,
    /// Cap of the backoff between two dials.
    pub reconnect_delay_ms: u64,
    /// For writes that name none.
    pub write_concern: WriteConcern,
    /// What becomes of a write that a replica is sent.
    pub on_replica_write: OnReplicaWrite,
    /// Log kept in memory.
    pub tail_bytes_max: u64,
    /// Log that is not settled.
    pub uncommitted_bytes_max: u64,
    /// Who replaces a master that is gone.
    pub failover: Failover,
}

/// `replication.failover`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// Replicas or an operator.
    pub mode: FailoverMode,
    /// How long a silent master is waited for.
    pub election_timeout_ms: Option<u64>,
    /// How long the disk may do nothing.
    pub disk_timeout_ms: Option<u64>,
    /// Whether a refused port counts as a dead process.
    pub crash_evidence: bool,
    /// 0 = never master.
    pub priority: u32,
    /// Most members whose disks count towards commits.
    pub voters_max: u32,
}

/// `persistence`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// False: nothing survives a restart.
    pub enabled: bool,
    /// The data directory.
    pub data_dir: String,
    /// The write-ahead log.
    pub wal: Wal,
    /// Snapshots.
    pub snapshot: Snapshot,
    /// Room that is kept for making room; 0: none is, and room is not watched.
    pub reserve_bytes: u64,
}

/// `persistence.wal`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wal {
    /// Whether a log is kept.
    pub enabled: bool,
    /// When a write counts as durable.
    pub fsync_mode: FsyncMode,
    /// How often `periodic` syncs.
    pub fsync_interval_ms: u64,
    /// Length of a segment file.
    pub segment_bytes_max: u64,
}

/// `persistence.snapshot`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whether snapshots are taken by themselves.
    pub enabled: bool,
    /// At least this often, if anything was written.
    pub interval_secs: u64,
    /// And after this much log.
    pub wal_bytes: u64,
    /// How many are kept.
    pub max_snapshots: u32,
}

/// `limits`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest key.
    pub key_bytes_max: u64,
    /// Longest value.
    pub value_bytes_max: u64,
    /// Most memory for keys and values; 0 = unbounded.
    pub memory_bytes_max: u64,
    /// Most client connections at once.
    pub connections_max: u64,
    /// Most bytes of requests in flight.
    pub inflight_bytes_max: u64,
}

/// `logging`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// What is logged.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
}

/// `replication.role`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Founds a cluster on an empty data directory and takes writes.
    Master,
    /// Follows the master at `master_address`.
    Replica,
    /// Takes writes and knows no replication.
    Standalone,
}

/// `replication.write_concern`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConcern {
    /// Ordered in the master's log.
    Async,
    /// Durable on the master.
    Local,
    /// Committed.
    Quorum,
    /// Committed, and durable on this many replicas.
    Replicas(u32),
}

/// `replication.on_replica_write`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReplicaWrite {
    /// 307.
    Redirect,
    /// Asked on the client's behalf.
    Proxy,
    /// 421.
    Reject,
}

/// `replication.failover.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailoverMode {
    /// The replicas elect.
    Auto,
    /// An operator promotes.
    Manual,
}

/// `persistence.wal.fsync_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsyncMode {
    /// A promise waits for fdatasync.
    Always,
    /// Synced on a timer.
    Periodic,
    /// Left to the operating system.
    Never,
}

/// `logging.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Failures.
    Error,
    /// And what should be looked at.
    Warn,
    /// And changes of state.
    Info,
    /// And what led to them.
    Debug,
    /// And everything else.
    Trace,
}

/// `logging.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Self { host: "0.0.0.0".to_owned(), port: 15500, advertise_address: None, shutdown_timeout_ms: 5_000 }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            enabled: true,
            role: Role::Master,
            node_name: None,
            replica_listen_address: Some("0.0.0.0:15501".to_owned()),
            advertise_address: None,
            master_address: None,
            heartbeat_interval_ms: 1000,
            max_lag_ms: 10_000,
            auto_reconnect: true,
            reconnect_delay_ms: 5000,
            write_concern: WriteConcern::Quorum,
            on_replica_write: OnReplicaWrite::Redirect,
            tail_bytes_max: 64 << 20,
            uncommitted_bytes_max: 64 << 20,
            failover: Failover::default(),
        }
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::Auto,
            election_timeout_ms: None,
            disk_timeout_ms: None,
            crash_evidence: true,
            priority: 100,
            voters_max: 5,
        }
    }
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            enabled: true,
            data_dir: "./data".to_owned(),
            wal: Wal::default(),
            snapshot: Snapshot::default(),
            reserve_bytes: 4 << 20,
        }
    }
}

impl Default for Wal {
    fn default() -> Self {
        Self { enabled: true, fsync_mode: FsyncMode::Always, fsync_interval_ms: 1000, segment_bytes_max: 64 << 20 }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { enabled: true, interval_secs: 300, wal_bytes: 256 << 20, max_snapshots: 2 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 16 << 10,
            value_bytes_max: 16 << 20,
            memory_bytes_max: 0,
            connections_max: 10_000,
            inflight_bytes_max: 256 << 20,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Text }
    }
}

impl Role {
    /// As the YAML spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
            Self::Standalone => "standalone",
        }
    }
}

impl Level {
    /// As the YAML spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Serialize for WriteConcern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Async => serializer.serialize_str("async"),
            Self::Local => serializer.serialize_str("local"),
            Self::Quorum => serializer.serialize_str("quorum"),
            Self::Replicas(replicas) => serializer.serialize_u32(*replicas),
        }
    }
}

impl<'de> Deserialize<'de> for WriteConcern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WriteConcernVisitor)
    }
}

struct WriteConcernVisitor;

impl Visitor<'_> for WriteConcernVisitor {
    type Value = WriteConcern;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("async, local, quorum or a number of replicas from 1 on")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WriteConcern, E> {
        match text {
            "async" => Ok(WriteConcern::Async),
            "local" => Ok(WriteConcern::Local),
            "quorum" => Ok(WriteConcern::Quorum),
            _ => match text.parse() {
                Ok(replicas) => self.visit_u64(replicas),
                Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            },
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<WriteConcern, E> {
        match u32::try_from(number) {
            Ok(replicas) if replicas > 0 => Ok(WriteConcern::Replicas(replicas)),
            Ok(_) | Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }
}
