//! What a server is told at its start: plain data, already checked, with every default filled in.
//!
//! Owns no file format and no parsing (that is the configuration's); decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use synap_core::config::{Config, RoleHint};
use synap_core::wal::JournalConfig;

use crate::net::is_name;

/// Everything that the server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the core is told.
    pub core: Config,
    /// What is kept on disk, and where; none: nothing is (`persistence.enabled: false`).
    pub persistence: Option<PersistenceSettings>,
    /// `host:port` that the HTTP listener binds.
    pub http_bind: String,
    /// `host:port` that the replication listener binds; none: other nodes cannot dial this one.
    pub replication_bind: Option<String>,
    /// How client connections are treated.
    pub front: FrontSettings,
    /// How connections between nodes are treated.
    pub links: LinkSettings,
    /// What is logged, and how.
    pub logging: LoggingSettings,
    /// How long a graceful stop waits for what is in flight.
    pub shutdown_grace: Duration,
}

/// What is kept on disk, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceSettings {
    /// The data directory; made if it is missing.
    pub data_dir: PathBuf,
    /// Whether a log is kept; without one only snapshots and rollback files are.
    pub wal: bool,
    /// Length of a log segment in bytes.
    pub segment_bytes_max: u64,
    /// Length of the file that keeps room for the log; 0: none.
    pub reserve_bytes: u64,
}

/// How client connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontSettings {
    /// What becomes of a write that a replica is sent.
    pub on_replica_write: OnReplicaWrite,
    /// Client connections at once; one more is closed on arrival.
    pub connections_max: usize,
    /// Most bytes of requests in flight, of all connections together.
    pub inflight_bytes_max: u64,
    /// A connection that has not sent the whole head of a request after this long is closed.
    pub header_timeout: Duration,
    /// A kept-alive connection without a request for this long is closed.
    pub idle_timeout: Duration,
}

/// What becomes of a write that a replica is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReplicaWrite {
    /// 307 with the master's `Location`.
    #[default]
    Redirect,
    /// The replica asks the master and passes its answer on.
    Proxy,
    /// 421.
    Reject,
}

/// How connections between nodes are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// A dial, name lookup included, fails after this long.
    pub connect_timeout: Duration,
    /// The first message of an accepted peer must be whole by then.
    pub handshake_timeout: Duration,
    /// A peer that takes nothing of what waits for it for this long is dropped.
    pub write_timeout: Duration,
    /// Accepted connections at once; one more is closed on arrival.
    pub accepted_max: usize,
    /// Bytes that may wait to be sent on one link; more is a stall.
    pub queue_bytes_max: usize,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// A level, or a `tracing` filter directive.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Settings {
    /// The names at which others are told to find this node, if it has others.
    pub fn own_names(&self) -> Vec<String> {
        let addresses = [Some(&self.core.http), self.core.replication.as_ref()];
        let is_alone = self.core.role == RoleHint::Standalone;
        let hosts = addresses.into_iter().flatten().filter_map(|address| address.host.clone());
        let mut names: Vec<String> = hosts.filter(|host| !is_alone && is_name(host)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What the journal is told; none without persistence.
    pub fn journal(&self) -> Option<JournalConfig> {
        self.persistence.as_ref().map(|persistence| JournalConfig {
            wal: persistence.wal,
            segment_bytes_max: persistence.segment_bytes_max,
            reserve_bytes: persistence.reserve_bytes,
            fsync: self.core.fsync,
            tail_bytes_max: self.core.tail_bytes_max,
            planted: self.core.planted,
        })
    }
}

impl Default for FrontSettings {
    fn default() -> Self {
        Self {
            on_replica_write: OnReplicaWrite::default(),
            connections_max: 10_000,
            inflight_bytes_max: 256 << 20,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            accepted_max: 128,
            queue_bytes_max: 256 << 20,
        }
    }
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

/// How long a graceful stop waits for what is in flight, unless told otherwise.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
