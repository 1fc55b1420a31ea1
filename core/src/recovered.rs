//! What a disk held when its node started.

use alloc::vec::Vec;

use crate::config::RoleHint;
use crate::ids::NodeId;
use crate::position::{Index, Position};
use crate::snapshot::SnapshotMeta;
use crate::store::Store;
use crate::wal::{Entry, HardState};

/// What a disk held when its node started. Everything in it is durable.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Who this node is and what it has promised; `role` is that of the last start.
    pub hard_state: HardState,
    /// Whether the directory was empty: the configured role is then no hint but an order.
    pub fresh: bool,
    /// The newest good snapshot that the log goes on from.
    pub snapshot: Option<(SnapshotMeta, Store)>,
    /// The position just before the first of `entries`; at or before the snapshot's.
    pub base: Position,
    /// The log after `base`, contiguous, those within `tail_bytes_max` at least. Reaches back before the snapshot
    /// where the disk does, for replicas that come back.
    pub entries: Vec<Entry>,
    /// Up to where entries were known to be committed, when that was last written down.
    pub committed: Index,
    /// Positions of the durable snapshot files, oldest first.
    pub snapshots: Vec<Position>,
}

impl Recovered {
    /// An empty disk, with a node id just drawn for it.
    pub fn empty(node: NodeId, role: RoleHint) -> Self {
        Self {
            hard_state: HardState::new(node, role),
            fresh: true,
            snapshot: None,
            base: Position::ZERO,
            entries: Vec::new(),
            committed: Index::ZERO,
            snapshots: Vec::new(),
        }
    }
}
