//! The planted bugs by name, and within how many seeds each must be found.

use synap_core::planted::{Bug, Planted};

/// A planted bug that the simulator must find.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name in plans and tables.
    pub name: &'static str,
    /// Which.
    pub bug: Bug,
    /// Seeds of level A within which it must be found.
    pub seeds_max: u64,
}

/// All of them.
pub const PLANTS: [Plant; 6] = [
    Plant { name: "ack_before_durable", bug: Bug::AckBeforeDurable, seeds_max: 100 },
    Plant { name: "torn_tail_accepted", bug: Bug::TornTailAccepted, seeds_max: 500 },
    Plant { name: "fsync_error_ignored", bug: Bug::FsyncErrorIgnored, seeds_max: 500 },
    Plant { name: "snapshot_index_off_by_one", bug: Bug::SnapshotIndexOffByOne, seeds_max: 100 },
    Plant { name: "wal_cut_before_snapshot_durable", bug: Bug::WalCutBeforeSnapshotDurable, seeds_max: 500 },
    Plant { name: "discarded_tail_not_reported", bug: Bug::DiscardedTailNotReported, seeds_max: 500 },
];

/// The bug of this name, planted; nothing for no name or an unknown one.
pub fn planted(name: Option<&str>) -> Planted {
    PLANTS
        .iter()
        .find(|plant| Some(plant.name) == name)
        .map_or(Planted::default(), |plant| Planted::bug(plant.bug))
}
