//! No turn grows with the store: what becomes of no use, however large it is, is freed by turns that each do a bounded piece.
//! Work is counted, not time.

use synap_core::planted::Planted;

use crate::cluster::Cluster;
use crate::cluster::network::Addresses;

/// Most work of one turn: what a turn allows itself, and one node of a tree more.
const WORK_MAX: u64 = 16_384 + 64;
/// Keys of one write.
const KEYS_PER_WRITE: u32 = 5_000;
/// The log in memory: less than one write.
const TAIL_BYTES_MAX: u64 = 200;
/// No key expires while a test runs.
const TTL_MS: u64 = 24 * 3600 * 1000;

/// Writes all keys, again if they are there.
fn write_all(cluster: &mut Cluster, keys: u32) {
    for from in (0..keys).step_by(KEYS_PER_WRITE as usize) {
        cluster.fill(1, from..from + KEYS_PER_WRITE, Some(TTL_MS));
        cluster.run(10);
        cluster.transcript();
    }
}

/// A replica that was away gets a snapshot in place of a store with so many keys, and its master forgets the state that it sent
/// after it has written every key once more. Gives what both have freed.
fn freed_by_a_full_sync(keys: u32, planted: Planted) -> [u64; 2] {
    let mut cluster = Cluster::new(2, (TAIL_BYTES_MAX, 64 << 20), false, true, Addresses::All, planted, 0);
    cluster.run(4_000);
    write_all(&mut cluster, keys);
    cluster.cut(1, 2);
    cluster.run(4_000);
    write_all(&mut cluster, keys);
    cluster.heal();
    cluster.run(10_000);
    write_all(&mut cluster, keys);
    cluster.run(60_000);
    let (master, replica) = (cluster.freed(1), cluster.freed(2));
    // What is not counted was dropped in one piece somewhere else.
    assert!(replica.all >= 2 * u64::from(keys), "the old store with its expiries: {replica:?}");
    assert!(master.all >= u64::from(keys), "the state that was sent: {master:?}");
    [master.most, replica.most]
}

#[test]
fn a_full_sync_frees_no_more_in_one_turn_however_large_the_store_is() {
    for keys in [10_000, 1_000_000] {
        let most = freed_by_a_full_sync(keys, Planted::default());
        assert!(most.iter().all(|most| *most <= WORK_MAX), "{most:?} with {keys} keys");
    }
}

/// The test above finds the bug that breaks its rule.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_turn_that_frees_all_at_once_is_found() {
    let most = freed_by_a_full_sync(20_000, Planted::bug(synap_core::planted::Bug::FreedAtOnce));
    assert!(most.iter().all(|most| *most > WORK_MAX), "{most:?}");
}
