//! A backup becomes a node of its own. Owns what such a node begins with: its ids, its epoch, its history and its membership. Which
//! files that takes is [`crate::wal::restore`]'s; see `docs/adr/0025-a-restore-makes-a-cluster-of-its-own.md`.

use super::SnapshotMeta;
use crate::command::{Command, Membership, StartKind};
use crate::config::RoleHint;
use crate::history::{History, Term};
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Position};
use crate::store::Store;
use crate::time::WallMs;
use crate::wal::HardState;

/// Restored nodes begin at an epoch whose number is a multiple of this, above the snapshot's.
///
/// Safety: what the snapshot's cluster has begun since the backup has smaller numbers, unless it had this many masters in that time.
/// So a position of that cluster is told from the restored one's by its number alone.
pub const EPOCH_STRIDE: u64 = 1_000_000;

/// What is to be made of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Who the node is. To be drawn at random.
    pub node: NodeId,
    /// The cluster that it begins, to be drawn at random; none to go on as the snapshot's own.
    pub cluster: Option<ClusterId>,
    /// To be drawn at random: how far versions move on, see [`crate::version`].
    pub spread: u32,
    /// The wall clock. The time since the backup counts for what expires.
    pub now: WallMs,
}

/// What a restored node begins with.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Who it is. It was master when it last ran, so that it leads when it starts.
    pub hard_state: HardState,
    /// What its snapshot says of itself.
    pub meta: SnapshotMeta,
    /// Its state.
    pub store: Store,
}

/// Makes a node of a snapshot: the state as it is after two more entries, with which this node opens an epoch and empties the
/// membership. The node itself becomes a member when it starts, with its name and address, as when a cluster is founded. Nobody votes, so
/// that it leads alone until others have joined.
///
/// In a new cluster that epoch is the first. What was before is forgotten: its positions say nothing about this cluster. In the
/// snapshot's own cluster it is a promotion by force.
pub fn restore(backup: &SnapshotMeta, mut store: Store, order: Order) -> Restored {
    let start = backup.position.index.next();
    let before = backup.position.epoch;
    let number = (before.number / EPOCH_STRIDE + 1).saturating_mul(EPOCH_STRIDE);
    let epoch = Epoch { number, leader: order.node };
    let position = Position { epoch, index: start.next() };
    assert!(epoch > before, "INV-5: a restored node's epoch {epoch:?} is not above the snapshot's {before:?}");

    let (kind, mut history) = match order.cluster {
        Some(_) => (StartKind::Founding, History::forgotten_upto(backup.position.index)),
        None => (StartKind::Forced, backup.history.clone()),
    };
    history.push(Term { epoch, start, kind });
    let membership = Membership::default();
    history.note_membership(position.index, membership.armed);

    let at = store.log_time().max(backup.log_time).max(order.now);
    store.apply(start, at, &Command::EpochStart { kind, spread: order.spread });
    store.apply(position.index, at, &Command::Config(membership.clone()));
    let cluster = order.cluster.unwrap_or(backup.cluster);
    let meta = SnapshotMeta {
        cluster,
        position,
        log_time: at,
        history,
        membership,
        version_base: store.version_base(),
        keys: store.keys(),
        results: store.results(),
        hash: store.hash(),
    };
    let hard_state =
        HardState { cluster: Some(cluster), promised: epoch, ..HardState::new(order.node, RoleHint::Master) };
    Restored { hard_state, meta, store }
}
