//! What the nodes of a plan are configured with, on every level.

use std::time::Duration;

use synap_core::config::{
    Address, CHUNK_BYTES, Concern, Config, FailoverMode, FsyncMode, Limits, RoleHint, SnapshotPolicy,
};
use synap_core::ids::NodeId;
use synap_core::message::PROTOCOL_VERSION;
use synap_core::wal::JournalConfig;

use super::places::lists;
use super::{Knobs, Own, Plan, What};
use crate::bugs;
use crate::dice::mix;

/// Where clients reach a node of a simulation.
pub(crate) const HTTP_PORT: u16 = 15500;

/// Where other nodes reach it.
pub(crate) const REPLICATION_PORT: u16 = 15501;

/// Where nobody listens.
const NOBODYS_PORT: u16 = 15502;

impl Knobs {
    fn election_timeout_ms(&self) -> u64 {
        if self.election_ms == 0 { self.heartbeat_ms * 2 } else { self.election_ms }
    }
}

impl Plan {
    /// What a node is configured with, its own settings included.
    pub(crate) fn knobs_of(&self, number: usize) -> Knobs {
        let own_heartbeat =
            u8::try_from(number).ok().and_then(|node| self.knobs.heartbeats_ms.get(&node).copied());
        let heartbeat_ms = own_heartbeat.unwrap_or(self.knobs.heartbeat_ms);
        let all = Knobs { heartbeat_ms, ..self.knobs.clone() };
        let Some(own) = self.own(number) else { return all };
        Knobs {
            reconnect_ms: own.reconnect_ms.unwrap_or(all.reconnect_ms),
            tail_bytes_max: own.tail_bytes_max.unwrap_or(all.tail_bytes_max),
            segment_bytes_max: own.segment_bytes_max.unwrap_or(all.segment_bytes_max),
            snapshot_wal_bytes: own.snapshot_wal_bytes.unwrap_or(all.snapshot_wal_bytes),
            max_lag_ms: own.max_lag_ms.unwrap_or(all.max_lag_ms),
            crash_evidence: own.crash_evidence.unwrap_or(all.crash_evidence),
            automatic: all.automatic && own.manual != Some(true),
            ..all
        }
    }

    /// Whose address this node tells as its own.
    fn misplaced(&self, number: usize) -> Option<u8> {
        u8::try_from(number).ok().and_then(|node| self.knobs.misplaced.get(&node).copied())
    }

    fn own(&self, number: usize) -> Option<&Own> {
        self.knobs.own.iter().find(|own| usize::from(own.node) == number)
    }

    /// The longest election timeout that a node is configured with, in microseconds.
    pub(crate) fn election_timeout_us(&self) -> u64 {
        (0..self.nodes()).map(|node| self.knobs_of(node).election_timeout_ms()).max().unwrap_or(0) * 1000
    }

    /// What a link must carry, in bytes a second (`docs/operations.md`): 128 KiB in half an election timeout.
    pub(crate) fn least_bytes_per_sec(&self) -> u64 {
        let timeouts = (0..self.nodes()).map(|node| self.knobs_of(node).election_timeout_ms());
        let shortest_ms = timeouts.min().unwrap_or(0).max(1);
        ((128 << 10) * 2 * 1000_u64).div_ceil(shortest_ms)
    }

    /// Whether a link of so many bytes a second carries what it must; 0: as much as anybody sends.
    pub(crate) fn is_enough(&self, bytes_per_sec: u64) -> bool {
        bytes_per_sec == 0 || bytes_per_sec >= self.least_bytes_per_sec()
    }

    /// What the slowest way carries at any time, in bytes a second; 0: as much as anybody sends.
    pub(crate) fn slowest_bytes_per_sec(&self) -> u64 {
        let faults = self.faults.iter().filter_map(|fault| match fault.what {
            What::SlowLink(.., rate) => Some(rate),
            _ => None,
        });
        faults.chain([self.network.bytes_per_sec]).filter(|rate| *rate > 0).min().unwrap_or(0)
    }

    /// The configuration of node `number`, in whose file stand this role and node `master` as the master.
    pub(crate) fn config(&self, number: usize, role: RoleHint, master: usize) -> Config {
        let knobs = &self.knobs_of(number);
        let host = (!lists(&knobs.unaddressed, number)).then(|| format!("n{number}"));
        let here = |port| Address { host: host.clone(), port };
        let port = if lists(&knobs.misaddressed, number) { NOBODYS_PORT } else { REPLICATION_PORT };
        let mut replication = here(port);
        if let Some(other) = self.misplaced(number) {
            replication.host = Some(format!("n{other}"));
        }
        let front = match knobs.one_name {
            true => "all".to_owned(),
            false if lists(&knobs.proxied, master) => format!("p{master}"),
            false => format!("n{master}"),
        };
        Config {
            node_name: format!("n{number}"),
            role,
            protocol: PROTOCOL_VERSION,
            http: here(HTTP_PORT),
            replication: Some(replication),
            master_address: (role == RoleHint::Replica).then(|| format!("{front}:{REPLICATION_PORT}")),
            heartbeat_interval: Duration::from_millis(knobs.heartbeat_ms),
            max_lag: Duration::from_millis(knobs.max_lag_ms),
            auto_reconnect: true,
            reconnect_delay_max: Duration::from_millis(knobs.reconnect_ms),
            write_concern: Concern::Quorum,
            tail_bytes_max: knobs.tail_bytes_max,
            disk_margin: knobs.disk_margin,
            uncommitted_bytes_max: knobs.uncommitted_bytes_max,
            failover_mode: if knobs.automatic && self.keeps_log(number) {
                FailoverMode::Auto
            } else {
                FailoverMode::Manual
            },
            election_timeout: Duration::from_millis(knobs.election_timeout_ms()),
            crash_evidence: knobs.crash_evidence,
            voters_max: knobs.voters_max,
            disk_timeout: None,
            catch_up: Duration::from_millis(500),
            priority: self.own(number).and_then(|own| own.priority).unwrap_or(100),
            persistent: true,
            keeps_log: self.keeps_log(number),
            fsync: FsyncMode::Always,
            snapshot: Some(SnapshotPolicy {
                interval: Duration::from_millis(knobs.snapshot_interval_ms),
                wal_bytes: knobs.snapshot_wal_bytes,
                max_snapshots: knobs.max_snapshots,
            }),
            limits: Limits { key_bytes_max: 16_384, value_bytes_max: 1 << 20, memory_bytes_max: 0 },
            applies_per_turn_max: knobs.applies_per_turn.max(1),
            chunk_bytes: usize::try_from(knobs.chunk_bytes).unwrap_or(CHUNK_BYTES).max(1),
            planted: bugs::planted(self.planted.as_deref()),
        }
    }

    /// The id that node `number` takes when its data directory is made, on its disk of this number.
    pub(crate) fn node_id(&self, number: usize, disks: u64) -> NodeId {
        let disks = if bugs::planted(self.planted.as_deref()).wiped_node_keeps_its_id() { 0 } else { disks };
        // The first digits tell nodes apart, as those of ids that a server draws.
        NodeId(u128::from(mix(&[self.seed, number as u64, disks, 4])) << 64)
    }

    /// The configuration of a node's journal.
    pub(crate) fn journal(&self, number: usize) -> JournalConfig {
        let knobs = self.knobs_of(number);
        JournalConfig {
            wal: self.keeps_log(number),
            segment_bytes_max: knobs.segment_bytes_max,
            reserve_bytes: knobs.disk_margin,
            fsync: FsyncMode::Always,
            tail_bytes_max: knobs.tail_bytes_max,
            planted: bugs::planted(self.planted.as_deref()),
        }
    }
}
