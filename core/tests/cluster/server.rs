//! One node of a script with its disk, what is on its way to it, and what it is configured with.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use synap_core::config::{Address, Concern, Config, FailoverMode, FsyncMode, Limits, RoleHint};
use synap_core::ids::LinkId;
use synap_core::input::Input;
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::planted::Planted;
use synap_core::time::Time;
use synap_core::wal::{FileOp, Journal, Lane, WriteBatch};

use super::network::{Addresses, PORT};

/// One node with its disk and what is on its way to it.
pub(super) struct Server {
    pub(super) role: RoleHint,
    pub(super) node: Option<Node>,
    pub(super) deadline: Option<Time>,
    pub(super) journal: Option<Journal>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) writes: VecDeque<WriteBatch>,
    pub(super) inbox: VecDeque<(LinkId, Message)>,
    /// Hands on the disk that do nothing.
    pub(super) stopped: Vec<Lane>,
    pub(super) wiped: u32,
    pub(super) lives: u64,
    pub(super) name: String,
    /// How far its wall clock is off, in milliseconds.
    pub(super) wall_off_ms: i64,
    /// Its process stands still: nothing reaches it, and no time passes for it.
    pub(super) held: bool,
    /// What it will learn when it goes on.
    pub(super) missed: Vec<Input>,
    /// Runs with `fsync_mode: never`.
    pub(super) never_syncs: bool,
    /// Runs with `wal.enabled: false`.
    pub(super) logless: bool,
    pub(super) priority: u32,
    pub(super) heartbeat: Duration,
    /// Where it is configured to look for a master, if not at the first node.
    pub(super) follows: Option<u32>,
    /// Is configured with `failover.mode: manual`, whatever the others are.
    pub(super) manual: bool,
    /// Snapshots it keeps, from its next start on; none: as many as a node without a policy.
    pub(super) max_snapshots: Option<u32>,
    /// The key in which the state of its next start differs.
    pub(super) spoilt: Option<String>,
    /// What its turns have freed.
    pub(super) freed: Freed,
}

/// The work of freeing that a node's turns have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freed {
    /// By all together.
    pub(crate) all: u64,
    /// By the one that did most.
    pub(crate) most: u64,
}

impl Server {
    pub(super) fn new(role: RoleHint) -> Self {
        Self {
            role,
            node: None,
            deadline: None,
            journal: None,
            files: BTreeMap::new(),
            writes: VecDeque::new(),
            inbox: VecDeque::new(),
            stopped: Vec::new(),
            wiped: 0,
            lives: 0,
            name: String::new(),
            wall_off_ms: 0,
            held: false,
            missed: Vec::new(),
            never_syncs: false,
            logless: false,
            priority: 100,
            heartbeat: Duration::from_secs(1),
            follows: None,
            manual: false,
            max_snapshots: None,
            spoilt: None,
            freed: Freed::default(),
        }
    }

    /// Whether the disk does nothing with anything that waits for it.
    pub(super) fn disk_rests(&self) -> bool {
        self.writes.iter().all(|batch| self.stopped.contains(&batch.lane()))
    }

    pub(super) fn runs(&self) -> bool {
        self.node.is_some() && !self.held
    }

    /// Whether its node wants a turn now.
    pub(super) fn is_due(&self, micros: u64) -> bool {
        self.runs() && (self.has_discarded() || self.deadline.is_some_and(|at| at.0 <= micros))
    }

    pub(super) fn has_discarded(&self) -> bool {
        self.node.as_ref().is_some_and(Node::has_discarded)
    }

    pub(super) fn apply(&mut self, op: &FileOp) {
        match op {
            FileOp::Create { file } => {
                self.files.insert(file.clone(), Vec::new());
            }
            FileOp::Write { file, at, parts } => {
                let bytes = self.files.get_mut(file).unwrap_or_else(|| panic!("{file} is there"));
                let start = usize::try_from(*at).expect("small");
                let end = start + parts.iter().map(Bytes::len).sum::<usize>();
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(&parts.concat());
            }
            FileOp::Rename { from, to } => {
                let bytes = self.files.remove(from).unwrap_or_else(|| panic!("{from} is there"));
                self.files.insert(to.clone(), bytes);
            }
            FileOp::Link { from, to } => {
                let bytes = self.files.get(from).cloned().unwrap_or_else(|| panic!("{from} is there"));
                self.files.insert(to.clone(), bytes);
            }
            FileOp::Remove { file } => {
                self.files.remove(file);
            }
            FileOp::Sync { .. } | FileOp::SyncDir { .. } | FileOp::CreateDir { .. } => {}
        }
    }
}

pub(super) fn config(
    number: u32,
    role: RoleHint,
    tail_bytes_max: u64,
    failover_mode: FailoverMode,
    addresses: Addresses,
) -> Config {
    let host = (addresses != Addresses::None).then(|| format!("n{number}"));
    let address = |port| Address { host: host.clone(), port };
    let proxied = addresses == Addresses::Proxy;
    let port = if proxied && number == 1 { PORT + 1 } else { PORT };
    let master = if proxied { "p1" } else { "n1" };
    Config {
        node_name: format!("n{number}"),
        role,
        protocol: synap_core::message::PROTOCOL_VERSION,
        http: address(15500),
        replication: Some(address(port)),
        master_address: (number != 1).then(|| format!("{master}:{PORT}")),
        heartbeat_interval: Duration::from_secs(1),
        max_lag: Duration::from_secs(10),
        auto_reconnect: true,
        reconnect_delay_max: Duration::from_secs(5),
        write_concern: Concern::Quorum,
        tail_bytes_max,
        uncommitted_bytes_max: 64 << 20,
        disk_margin: 0,
        failover_mode,
        election_timeout: Duration::from_secs(2),
        disk_timeout: None,
        crash_evidence: true,
        voters_max: 5,
        catch_up: Duration::from_millis(500),
        priority: 100,
        persistent: true,
        keeps_log: true,
        fsync: FsyncMode::Always,
        snapshot: None,
        limits: Limits { key_bytes_max: 16384, value_bytes_max: 1 << 20, memory_bytes_max: 0 },
        applies_per_turn_max: synap_core::config::APPLIES_PER_TURN_MAX,
        chunk_bytes: synap_core::config::CHUNK_BYTES,
        planted: Planted::default(),
    }
}
