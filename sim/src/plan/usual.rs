//! What holds where a script is silent: an ordinary cluster of three on decent disks, with two clients at work.
//! These numbers are part of the script format: a script that was kept must mean the same for ever, so they never
//! change within a version.

use std::collections::BTreeMap;

use synap_core::config::{APPLIES_PER_TURN_MAX, CHUNK_BYTES};

use super::{Knobs, Network, PLAN_VERSION, Plan, Workload};
use crate::disk::DiskProfile;

/// How long after the last fault and the last operation the clients stop, where a script does not say.
const CALM_AFTER_MS: u64 = 500;

/// No run that leaves it open is shorter than this.
const CALM_AT_MS_MIN: u64 = 2_000;

impl Plan {
    /// The same, with the end of the busy time filled in where a script left it open (0).
    #[must_use]
    pub fn with_end(self) -> Self {
        if self.calm_at_ms > 0 {
            return self;
        }
        let faults = self.faults.iter().map(|fault| fault.at_ms + fault.for_ms);
        let operations = self.operations.iter().map(|operation| operation.at_us.div_ceil(1000));
        let last_ms = faults.chain(operations).max().unwrap_or(0);
        Self { calm_at_ms: (last_ms + CALM_AFTER_MS).max(CALM_AT_MS_MIN), ..self }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            version: PLAN_VERSION,
            seed: 0,
            replicas: 2,
            planted: None,
            knobs: Knobs::default(),
            network: Network::default(),
            disk: DiskProfile::default(),
            workload: Workload::default(),
            faults: Vec::new(),
            broken: Vec::new(),
            operations: Vec::new(),
            steps: Vec::new(),
            calm_at_ms: 0,
            converge_within_ms: 60_000,
        }
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            reconnect_ms: 1_000,
            tail_bytes_max: 65_536,
            uncommitted_bytes_max: 64 << 20,
            segment_bytes_max: 16_384,
            volume_bytes: 0,
            disk_margin: 0,
            snapshot_wal_bytes: 1 << 20,
            snapshot_interval_ms: 60_000,
            max_snapshots: 2,
            applies_per_turn: APPLIES_PER_TURN_MAX,
            chunk_bytes: CHUNK_BYTES as u64,
            through_codec: false,
            automatic: false,
            drift_ppm_max: 0,
            election_ms: 0,
            max_lag_ms: 10_000,
            voters_max: 5,
            crash_evidence: true,
            own: Vec::new(),
            logless: Vec::new(),
            unaddressed: Vec::new(),
            misaddressed: Vec::new(),
            misplaced: BTreeMap::new(),
            proxied: Vec::new(),
            one_name: false,
            heartbeats_ms: BTreeMap::new(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay_us_min: 100,
            delay_us_max: 500,
            straggler_per_mille: 0,
            bytes_per_sec: 0,
            stalls_for_ever: false,
            delays: BTreeMap::new(),
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            clients: 2,
            readers: 0,
            pause_us_min: 1_000,
            pause_us_max: 10_000,
            keys: 5,
            value_bytes_max: 10,
            zeros: false,
            read_per_mille: 300,
            ttl_per_mille: 0,
            wide_per_mille: 0,
            concerns: vec!["quorum".to_owned()],
            timeout_ms: 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_leaves_its_end_open_is_calm_after_its_last_event() {
        assert_eq!(Plan::default().with_end().calm_at_ms, CALM_AT_MS_MIN);
        let plan: Plan =
            serde_yaml::from_str("faults: [{at_ms: 3000, for_ms: 200, what: !kill 0}]").expect("a plan");
        assert_eq!(plan.with_end().calm_at_ms, 3_700);
    }
}
