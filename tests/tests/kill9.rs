//! `kill -9` of the master under load, twenty times: nothing acknowledged at `quorum` is missing afterwards,
//! on the master or on any replica.

use synap_tests::cluster::Cluster;
use synap_tests::load::{Book, Load};

const ROUNDS: usize = 20;

#[test]
fn nothing_acknowledged_at_quorum_is_lost() {
    let mut cluster = Cluster::start(2);
    let mut written = Book::default();
    for round in 0..ROUNDS {
        let load = Load::start(&cluster.servers[0], 4, &format!("round-{round}"), "quorum");
        load.await_more(100);
        cluster.servers[0].kill();
        let book = load.stop();
        assert!(book.acknowledged.len() >= 100, "the round proves something");

        cluster.servers[0].spawn();
        cluster.servers[0].await_master();
        assert_eq!(book.missing(&cluster.servers[0]), [""; 0], "round {round}");
        written.add(book);
    }
    cluster.await_converged();
    for server in &cluster.servers {
        assert_eq!(written.missing(server), [""; 0], "on {}", server.name);
    }
    let mismatches = cluster.servers[0].metric("synap_replication_state_hash_mismatches_total", &[]);
    assert_eq!(mismatches, 0.0);
}

#[test]
fn a_killed_replica_comes_back_with_everything() {
    let mut cluster = Cluster::start(2);
    let load = Load::start(&cluster.servers[0], 2, "key", "1");
    for _ in 0..5 {
        load.await_more(50);
        cluster.servers[2].kill();
        load.await_more(50);
        cluster.servers[2].start();
    }
    let book = load.stop();
    cluster.await_converged();
    for server in &cluster.servers {
        assert_eq!(book.missing(server), [""; 0], "on {}", server.name);
    }
}
