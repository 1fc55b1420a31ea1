//! Plans: what a run does, in full and in the open. A seed draws one ([`draw`]); a YAML script is one.
//!
//! A plan says nothing of how it is run: every level follows the same plan. Delays of single messages are no part
//! of it; they are a hash of (seed, link, ordinal), so that taking one fault out leaves the rest as it was.

mod ask;
mod check;
pub(crate) mod config;
mod directories;
mod draw;
mod narrow;
pub(crate) mod places;
mod text;
mod usual;
mod volumes;
mod wider;
mod world;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use synap_core::status::State;

use crate::disk::{DiskProfile, Hand};
pub use ask::{Ask, AskError, PAD, ZERO, concern_of, once};
pub use check::PlanError;
pub use draw::{draw, with_front};
pub use text::to_text;

/// The version of this format, and of what a bare seed means.
pub const PLAN_VERSION: u32 = 12;

/// What a run does. Everything may be left out of a script: [`usual`] says what then holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// [`PLAN_VERSION`] when it was written.
    pub version: u32,
    /// Fixes everything that is not said here.
    pub seed: u64,
    /// Nodes besides the first master, which is node 0.
    pub replicas: u8,
    /// The bug planted in every node, if any; see [`crate::bugs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// What the nodes are configured with.
    pub knobs: Knobs,
    /// How the network behaves when nothing is wrong with it.
    pub network: Network,
    /// How the disks behave when nothing is wrong with them.
    pub disk: DiskProfile,
    /// What clients do.
    pub workload: Workload,
    /// What goes wrong, and what the operator does, by start.
    pub faults: Vec<Fault>,
    /// Nodes that are given up: what is wrong with them in the end stays so, and the others must do without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<u8>,
    /// Single operations, beside what the workload draws.
    pub operations: Vec<Operation>,
    /// The steps of a run of level C, in the words of [`crate::exhaustive::Action`]. Such a run follows them alone.
    pub steps: Vec<String>,
    /// When the last fault is over and the clients stop.
    pub calm_at_ms: u64,
    /// How long the cluster may take from then on until it has converged.
    pub converge_within_ms: u64,
}

/// What the nodes are configured with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// `heartbeat_interval_ms`.
    pub heartbeat_ms: u64,
    /// `reconnect_delay_ms`.
    pub reconnect_ms: u64,
    /// `tail_bytes_max`.
    pub tail_bytes_max: u64,
    /// `uncommitted_bytes_max`.
    pub uncommitted_bytes_max: u64,
    /// `segment_bytes_max`.
    pub segment_bytes_max: u64,
    /// How much fits on each disk; 0: everything.
    pub volume_bytes: u64,
    /// How much is to stay free on it.
    pub disk_margin: u64,
    /// A snapshot after this much log.
    pub snapshot_wal_bytes: u64,
    /// And at least this often.
    pub snapshot_interval_ms: u64,
    /// `max_snapshots`.
    pub max_snapshots: u32,
    /// Most entries that one turn applies.
    pub applies_per_turn: u64,
    /// About how long a chunk of a snapshot is.
    pub chunk_bytes: u64,
    /// Whether each message takes the way through the wire codec (level A; level B always does).
    pub through_codec: bool,
    /// `failover.mode: auto`: three members arm the cluster, and its replicas elect.
    pub automatic: bool,
    /// How far a node's clock may gain or lose, in millionths; each node's is drawn.
    pub drift_ppm_max: u32,
    /// Nodes without a write-ahead log: what no snapshot of theirs holds is gone with their process. Only where an operator promotes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logless: Vec<u8>,
    /// `failover.election_timeout_ms`; 0: twice the heartbeat.
    pub election_ms: u64,
    /// `max_lag_ms`.
    pub max_lag_ms: u64,
    /// `failover.voters_max`.
    pub voters_max: u32,
    /// `failover.crash_evidence`.
    pub crash_evidence: bool,
    /// What single nodes are configured with instead.
    pub own: Vec<Own>,
    /// Nodes that are configured with no address of their own: others see them at a place, which [`What::Move`] changes.
    pub unaddressed: Vec<u8>,
    /// Nodes that tell an address at which nobody listens.
    pub misaddressed: Vec<u8>,
    /// Nodes that tell another one's address, and whose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub misplaced: BTreeMap<u8, u8>,
    /// Nodes in front of which stands a proxy: in the others' files its address stands as theirs.
    pub proxied: Vec<u8>,
    /// In every replica's file stands, as the master's, a name that stands for all nodes.
    pub one_name: bool,
    /// `heartbeat_interval_ms` of single nodes that is not [`Knobs::heartbeat_ms`].
    pub heartbeats_ms: BTreeMap<u8, u64>,
}

/// What one node is configured with, where it is not what the others are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Which.
    pub node: u8,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect_ms: Option<u64>,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_bytes_max: Option<u64>,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes_max: Option<u64>,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_wal_bytes: Option<u64>,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag_ms: Option<u64>,
    /// As in [`Knobs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_evidence: Option<bool>,
    /// `failover.mode: manual`: it never votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<bool>,
    /// `failover.priority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// How the network behaves when nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Shortest time of a message's way, in microseconds.
    pub delay_us_min: u64,
    /// Longest.
    pub delay_us_max: u64,
    /// How many of a thousand messages take ten times as long.
    pub straggler_per_mille: u32,
    /// What each connection carries each way, in bytes a second; 0: as much as anybody sends.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_per_sec: u64,
    /// Whether a stream from which a partition took something stalls for ever, as with turmoil, or goes on
    /// once the partition is over.
    pub stalls_for_ever: bool,
    /// Messages of these kinds, as traces name them, take so many milliseconds longer, and what follows them on their way has to
    /// wait (level A).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delays: BTreeMap<String, u64>,
}

/// What clients do of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Clients, each with one request at a time.
    pub clients: u8,
    /// How many of them only read: who writes to a master that is cut off waits, and sees nothing more of it.
    pub readers: u8,
    /// Shortest pause of a client between two requests, in microseconds.
    pub pause_us_min: u64,
    /// Longest.
    pub pause_us_max: u64,
    /// Different keys.
    pub keys: u64,
    /// Longest value.
    pub value_bytes_max: u64,
    /// Long values are filled up with zeros, so that the log may end in some.
    pub zeros: bool,
    /// How many of a thousand requests are reads.
    pub read_per_mille: u32,
    /// How many of a thousand writes give their key a time to live.
    pub ttl_per_mille: u32,
    /// How many of a thousand requests are of the rarer kinds: numbers at their limits, versions right and stale, lives of
    /// a moment and of days, keys that come back after their time, old requests once more, scans and the like.
    pub wide_per_mille: u32,
    /// The concerns that writes ask for, with equal chance; `quorum`, `local`, `async`, or a number.
    pub concerns: Vec<String>,
    /// How long a request may take.
    pub timeout_ms: u64,
}

/// One operation of a client. It waits while the client's operation before it has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// When it is asked, in microseconds of the run.
    pub at_us: u64,
    /// By which client.
    #[serde(default)]
    pub client: u8,
    /// Which node is asked.
    #[serde(default)]
    pub node: u8,
    /// What.
    pub ask: Ask,
}

/// Something that goes wrong, or that the operator does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts; without meaning for what happens in an instant.
    #[serde(default)]
    pub for_ms: u64,
    /// What it is.
    pub what: What,
}

/// What goes wrong, or what the operator does. Nodes are numbered; 0 is the first master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The process is killed, and started again when the fault ends.
    Kill(u8),
    /// The machine loses its power, and comes back when the fault ends.
    PowerCut(u8),
    /// All machines lose their power at once, and come back one by one from the end of the fault on.
    PowerCutAll,
    /// As [`What::Kill`], for whoever leads when it begins.
    KillMaster,
    /// Whoever leads when it begins is cut off from all other nodes, not from clients.
    CutMaster,
    /// The process stands still.
    Pause(u8),
    /// These nodes and the others do not reach each other. Clients reach everybody.
    Partition(Vec<u8>),
    /// Nothing gets from the first node to the second; the way back is open.
    OneWay(u8, u8),
    /// Every connection of this node breaks.
    Reset(u8),
    /// Everything on the network takes so many times as long.
    SlowNetwork(u64),
    /// Connections carry no more than so many bytes a second from the first node to the second.
    SlowLink(u8, u8, u64),
    /// The disk takes so many times as long.
    SlowDisk(u8, u64),
    /// A hand on the disk does nothing.
    HangDisk(u8, Hand),
    /// Nothing new fits the disk.
    FullDisk(u8),
    /// The next sync of a file fails.
    FailSync(u8),
    /// A bit of a file rots, and the machine starts again.
    Rot(u8),
    /// A sector becomes unreadable, and the machine starts again.
    Spoil(u8),
    /// What was last written to a sector of a file is found in another one, and the machine starts again.
    Misdirect(u8),
    /// The disk is replaced by an empty one.
    Wipe(u8),
    /// The disk is replaced by one that holds the newest snapshot of the second node and nothing else, as from a backup.
    Restore(u8, u8),
    /// The second node's machine gets a copy of the first one's directory, while that runs, and its process starts on that; when the
    /// fault ends, it gets an empty disk. Without effect unless the first node leads, or follows the only master.
    CopyDisk(u8, u8),
    /// When the fault ends, the machine loses its power and finds its disk as it was when the fault began.
    OldDisk(u8),
    /// Two machines lose their power, and each has the other's disk when it starts again at the end of the fault.
    SwapDisks(u8, u8),
    /// The wall clock jumps by so many milliseconds.
    WallJump(u8, i64),
    /// The operator promotes this node; true: by force, accepting loss.
    Promote(u8, bool),
    /// The operator stops the node, writes `role: master` into its file, unless the node belongs to no cluster yet,
    /// and starts it again.
    EditRole(u8),
    /// The operator stops the node, writes `role: replica` and the second node as its master into its file, unless it belongs to no
    /// cluster yet, and starts it again.
    EditReplica(u8, u8),
    /// The operator asks for a snapshot.
    Snapshot(u8),
    /// The process is asked to end in good order, and started again when the fault ends (level B).
    Stop(u8),
    /// Strangers call at the node's ports and behave badly (level B).
    Strangers(u8),
    /// The operator asks this node to hand its mastership over, to whoever holds most.
    Switchover(u8),
    /// The operator takes this node out of the cluster; if it lives, it joins anew.
    Remove(u8),
    /// The operator says how much this node is wanted as master; 0: never.
    Priority(u8, u32),
    /// The operator wants no elections until the fault ends.
    PauseElections,
    /// The process is killed and started as one whose protocol is so many versions newer, or older if that is negative;
    /// and in the same way as the right one when the fault ends.
    Skew(u8, i16),
    /// Some of what the node sends to other nodes arrives with a flipped bit.
    Garble(u8),
    /// The process is killed and started again so often, mostly as soon as it serves, until the fault ends.
    CrashLoop(u8, u16),
    /// The first node that asks for votes is killed within the next moments, and started again when the fault ends.
    KillCandidate,
    /// As [`What::KillCandidate`], for who asks the others what they hold, before it leads without being elected.
    KillPromoting,
    /// As [`What::KillCandidate`], for who opens its mastership.
    KillOpening,
    /// As [`What::KillCandidate`], for who writes what its master does not have to a rollback file.
    KillRollingBack,
    /// As [`What::KillCandidate`], for who takes a snapshot from its master.
    KillSyncing,
    /// The connections of the first node that takes a snapshot from its master break within the next moments.
    ResetSyncing,
    /// Writes rush in at whoever leads, without waiting for answers.
    Flood(Flood),
    /// The process is killed, and started when the fault ends, at another place: names follow it, numbers do not.
    Move(u8),
    /// All processes are killed, and started when the fault ends, each at another place, one of them where another was.
    MoveAll,
    /// The proxy in front of the node ends all its connections.
    ResetProxy(u8),
}

/// What rushes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flood {
    /// Plain sets that are answered once they are ordered.
    Async,
    /// Keys that nobody else uses, with a short time to live.
    Ttl,
    /// Batches of many long values.
    Batches,
}

impl What {
    /// Whether it holds on until it ends, rather than being over in an instant.
    pub fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::Reset(_)
                | Self::ResetProxy(_)
                | Self::Rot(_)
                | Self::Spoil(_)
                | Self::Misdirect(_)
                | Self::OldDisk(_)
                | Self::WallJump(..)
                | Self::Promote(..)
                | Self::Snapshot(_)
                | Self::Strangers(_)
                | Self::Switchover(_)
                | Self::Remove(_)
                | Self::Priority(..)
                | Self::PauseElections
                | Self::Partition(_)
                | Self::OneWay(..)
                | Self::KillMaster
                | Self::CutMaster
                | Self::Flood(_)
        ) && self.awaits().is_none()
    }

    /// The nodes that it hits, of so many; none where it hits the network as a whole.
    pub fn nodes(&self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Kill(node)
            | Self::PowerCut(node)
            | Self::Pause(node)
            | Self::Reset(node)
            | Self::SlowDisk(node, _)
            | Self::HangDisk(node, _)
            | Self::FullDisk(node)
            | Self::FailSync(node)
            | Self::Rot(node)
            | Self::Spoil(node)
            | Self::Misdirect(node)
            | Self::Wipe(node)
            | Self::OldDisk(node)
            | Self::WallJump(node, _)
            | Self::Promote(node, _)
            | Self::EditRole(node)
            | Self::Snapshot(node)
            | Self::Stop(node)
            | Self::Strangers(node)
            | Self::Switchover(node)
            | Self::Remove(node)
            | Self::Priority(node, _)
            | Self::Skew(node, _)
            | Self::Garble(node)
            | Self::Move(node)
            | Self::ResetProxy(node)
            | Self::CrashLoop(node, _) => vec![usize::from(*node)],
            Self::OneWay(from, to)
            | Self::SlowLink(from, to, _)
            | Self::SwapDisks(from, to)
            | Self::Restore(from, to)
            | Self::EditReplica(from, to)
            | Self::CopyDisk(from, to) => {
                vec![usize::from(*from), usize::from(*to)]
            }
            Self::Partition(side) => side.iter().copied().map(usize::from).collect(),
            Self::PowerCutAll | Self::MoveAll => (0..nodes).collect(),
            Self::KillMaster
            | Self::CutMaster
            | Self::SlowNetwork(_)
            | Self::PauseElections
            | Self::KillCandidate
            | Self::KillPromoting
            | Self::KillOpening
            | Self::KillRollingBack
            | Self::KillSyncing
            | Self::ResetSyncing
            | Self::Flood(_) => Vec::new(),
        }
    }

    /// The nodes that are not well while it lasts: of two, one may only be what the other is given.
    pub fn ails(&self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Restore(node, _) | Self::CopyDisk(_, node) | Self::EditReplica(node, _) => {
                vec![usize::from(*node)]
            }
            // What needs only the log goes on.
            Self::HangDisk(_, Hand::Snapshot) => Vec::new(),
            _ => self.nodes(nodes),
        }
    }

    /// The state of a node that it waits for.
    pub fn awaits(&self) -> Option<State> {
        match self {
            Self::KillCandidate => Some(State::Campaigning),
            Self::KillPromoting => Some(State::CatchingUp),
            Self::KillOpening => Some(State::Opening),
            Self::KillRollingBack => Some(State::RollingBack),
            Self::KillSyncing | Self::ResetSyncing => Some(State::Syncing),
            _ => None,
        }
    }

    /// Whether it hits a node that is known only when it does.
    pub fn chooses(&self) -> bool {
        matches!(self, Self::KillMaster | Self::CutMaster) || self.awaits().is_some()
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Plan {
    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        usize::from(self.replicas) + 1
    }

    /// Whether anything in it may make an acknowledged write disappear from the final log, by the rules of what a
    /// concern means: a change of master by promotion, or a disk that is lost.
    pub fn changes_master(&self) -> bool {
        let promotes =
            |fault: &Fault| matches!(fault.what, What::Promote(..) | What::EditRole(_) | What::EditReplica(..));
        self.ruins_disks() || self.faults.iter().any(promotes)
    }

    /// Whether an operator makes a master by force.
    pub fn forces_promotion(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.what, What::Promote(_, true)))
    }

    /// Whether an operator takes members out of the cluster: with fewer than three, nobody elects any more.
    pub fn removes_members(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.what, What::Remove(_)))
    }

    /// Whether this node keeps a log.
    pub fn keeps_log(&self, node: usize) -> bool {
        !self.knobs.logless.iter().any(|logless| usize::from(*logless) == node)
    }

    /// How many disks forget at most what was durable on them.
    pub fn disks_lost(&self) -> usize {
        let forgets = |fault: &&Fault| ruins_disk(&fault.what) || matches!(fault.what, What::OldDisk(_));
        self.faults.iter().filter(forgets).count() + self.knobs.logless.len()
    }

    /// Whether a node is given up.
    pub fn is_broken(&self, node: usize) -> bool {
        self.broken.iter().any(|broken| usize::from(*broken) == node)
    }

    /// Whether a disk is damaged, or replaced by an empty one, or holds no log.
    pub fn ruins_disks(&self) -> bool {
        !self.knobs.logless.is_empty() || self.faults.iter().any(|fault| ruins_disk(&fault.what))
    }
}

pub(crate) fn ruins_disk(what: &What) -> bool {
    matches!(
        what,
        What::Wipe(_)
            | What::Restore(..)
            | What::CopyDisk(..)
            | What::Rot(_)
            | What::Spoil(_)
            | What::Misdirect(_)
    )
}
