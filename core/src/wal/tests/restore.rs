//! A restore that breaks off leaves an empty directory, one that no start takes, or a whole node.

extern crate std;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::disk::{Dice, Disk};
use super::model::{config, epoch};
use crate::command::{Command, Condition, Membership, Pair, StartKind, Value, ValueKind};
use crate::config::FsyncMode;
use crate::history::{History, Holding, Term};
use crate::ids::{ClusterId, NodeId};
use crate::planted::Planted;
use crate::position::{Index, Named, Position};
use crate::snapshot::SnapshotMeta;
use crate::snapshot::restore::{EPOCH_STRIDE, Order, Restored, restore};
use crate::store::Store;
use crate::time::WallMs;
use crate::version::Version;
use crate::wal::restore::{MARK, clear, files};
use crate::wal::{Draw, FileOp, Recovery, RecoveryError, recover};

/// A backup at 3:12 with some keys, of an armed cluster.
fn backup() -> (SnapshotMeta, Store) {
    let mut store = Store::default();
    for index in 1..=12_u8 {
        let value = Value { kind: ValueKind::Bytes, bytes: vec![b'v'; 100].into() };
        let ttl_ms = (index == 1).then_some(60_000);
        let pair = Pair { key: vec![b'k', index].into(), value, ttl_ms };
        store.apply(Index(index.into()), WallMs(5_000), &Command::Set { pair, condition: Condition::Always });
    }
    let mut history = History::default();
    history.push(Term { epoch: epoch(1), start: Index(1), kind: StartKind::Founding });
    history.push(Term { epoch: epoch(3), start: Index(9), kind: StartKind::Election });
    history.note_membership(Index(2), true);
    let meta = SnapshotMeta {
        cluster: ClusterId(9),
        position: Position { epoch: epoch(3), index: Index(12) },
        log_time: store.log_time(),
        history,
        membership: Membership { armed: true, election_timeout_ms: 2000, ..Membership::default() },
        version_base: store.version_base(),
        keys: store.keys(),
        results: store.results(),
        hash: store.hash(),
    };
    (meta, store)
}

fn restored(cluster: Option<ClusterId>) -> Restored {
    let (meta, store) = backup();
    restore(&meta, store, Order { node: NodeId(77), cluster, spread: 0x1234_5678, now: WallMs(3_605_000) })
}

fn plan(cluster: Option<ClusterId>) -> Vec<FileOp> {
    files(restored(cluster), 256).collect()
}

fn read(disk: &Disk) -> Result<Recovery, RecoveryError<String>> {
    let draw = Draw { node: NodeId(55), seed: 1 };
    recover(config(FsyncMode::Always), &disk.names(), draw, |name| disk.read(name))
}

fn name(text: &str) -> Named {
    Named::parse(text).unwrap()
}

#[test]
fn a_new_cluster_knows_nothing_of_the_positions_of_the_old_one() {
    let Restored { hard_state, meta, store } = restored(Some(ClusterId(10)));
    assert_eq!((hard_state.node, hard_state.cluster), (NodeId(77), Some(ClusterId(10))));
    assert_eq!((hard_state.promised, meta.position.index), (meta.position.epoch, Index(14)));
    assert_eq!(meta.position.epoch.number, EPOCH_STRIDE);
    assert!(!meta.membership.armed && meta.membership.members.is_empty());
    assert!(!meta.history.armed_after(Index::ZERO), "nobody has voted in this cluster");
    store.check();

    let holds = |text| meta.history.holds(&name(text), Planted::default());
    // From before the backup, from after it, and from masters that the old cluster had since.
    for old in ["1:4", "3:10", "3:12", "3:13", "4:500", "9:14", "3:12-00000000000000000000000000000001"] {
        assert_eq!(holds(old), Holding::Foreign, "{old}");
    }
    assert_eq!(holds("1000000:14"), Holding::This);
    assert_eq!(holds("1000001:15"), Holding::Later);

    let again = restore(&meta, store, Order { node: NodeId(78), cluster: None, spread: 1, now: WallMs(0) });
    assert_eq!(again.meta.position.epoch.number, 2 * EPOCH_STRIDE);
    assert_eq!(again.meta.log_time, meta.log_time, "log time never goes back");
}

#[test]
fn the_same_cluster_goes_on_by_force() {
    let (old, _) = backup();
    let Restored { hard_state, meta, .. } = restored(None);
    assert_eq!((hard_state.cluster, meta.cluster), (Some(old.cluster), old.cluster));
    assert!(meta.history.forced_after(old.position.index) && !meta.history.armed_at(meta.position.index));
    let holds = |text| meta.history.holds(&name(text), Planted::default());
    let gone = Holding::Other { since: Index(13) };
    assert_eq!((holds("3:10"), holds("3:13"), holds("4:20")), (Holding::This, gone, gone));
}

#[test]
fn what_has_expired_since_the_backup_is_gone_and_no_version_is_given_again() {
    let (old, before) = backup();
    let Restored { meta, mut store, .. } = restored(Some(ClusterId(10)));
    assert_eq!(meta.log_time, WallMs(3_605_000));
    assert!(before.view().get(&[b'k', 1]).is_some() && store.view().get(&[b'k', 1]).is_none());
    let kept = |store: &Store| store.view().get(&[b'k', 2]).map(|item| (item.version(), item.value().to_vec()));
    assert_eq!(kept(&store), kept(&before));

    let value = Value { kind: ValueKind::Bytes, bytes: vec![b'w'].into() };
    let pair = Pair { key: vec![b'k', 2].into(), value, ttl_ms: None };
    let set = Command::Set { pair, condition: Condition::Always };
    store.apply(Index(15), meta.log_time, &set);
    let version = kept(&store).unwrap().0;
    assert!(version > Version(old.position.index.0 + (1 << 27)), "{version} may be one of the old cluster's");
}

#[test]
fn a_restored_directory_is_a_node_that_led() {
    for cluster in [Some(ClusterId(10)), None] {
        let mut disk = Disk::default();
        disk.carry_out_all(&plan(cluster));
        let Restored { hard_state, meta, store } = restored(cluster);
        let recovered = read(&disk).unwrap().recovered.unwrap();
        assert_eq!(recovered.hard_state, hard_state);
        assert_eq!((recovered.base, recovered.entries.len()), (meta.position, 0));
        assert_eq!(recovered.snapshot, Some((meta, store)));
    }
}

#[test]
fn a_restore_that_breaks_off_is_refused_and_begun_again() {
    let ops = plan(Some(ClusterId(10)));
    let (mut empty, mut refused, mut whole) = (0, 0, 0);
    for done in 0..=ops.len() {
        for seed in 0..60 {
            let (mut disk, mut dice) = (Disk::default(), Dice::new(seed));
            disk.carry_out_all(&ops[..done]);
            if seed > 0 {
                disk.lose_power(&mut dice);
            }
            match read(&disk) {
                Ok(Recovery { recovered: None, .. }) => {
                    assert_eq!(disk.names(), [""; 0], "after {done} operations");
                    empty += 1;
                }
                Ok(Recovery { recovered: Some(recovered), .. }) => {
                    assert_eq!(recovered.hard_state.node, NodeId(77), "after {done} operations");
                    assert_eq!(recovered.snapshot.map(|(meta, _)| meta.keys), Some(12));
                    whole += 1;
                    continue;
                }
                Err(RecoveryError::UnfinishedRestore) => refused += 1,
                Err(other) => panic!("after {done} operations: {other}"),
            }
            assert!(done < ops.len(), "it said that it was done");
            disk.carry_out_all(&clear(&disk.names()).unwrap());
            assert_eq!(disk.names(), [""; 0]);
            disk.carry_out_all(&ops);
            assert!(read(&disk).unwrap().recovered.is_some());
        }
    }
    assert!(empty > 100 && refused > 500 && whole > 60, "{empty} {refused} {whole}");
}

#[test]
fn a_directory_with_anything_else_in_it_is_left_alone() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<String>>();
    for other in ["wal-0000000000000001.log", "hard-state", "snapshot-000000000000000c.snap", "notes.txt"] {
        assert_eq!(clear(&names(&[other])), Err(&other.to_string()));
    }
    let marked = names(&["hard-state.tmp", MARK, "snapshot-000000000000000e.tmp", "rollback/1.ndjson"]);
    assert_eq!(clear(&marked), Err(&marked[3]));
    assert_eq!(clear(&[]), Ok(Vec::new()));
}
