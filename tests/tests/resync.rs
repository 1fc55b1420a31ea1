//! Coming back: from the log's tail where that suffices, by snapshot where it does not, and never by wiping what
//! the others hold.

use std::fs;
use std::thread;

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::wait;

const FULL: &str = "synap_replication_full_syncs_total";
const PARTIAL: &str = "synap_replication_partial_syncs_total";

#[test]
fn a_restarted_replica_goes_on_where_it_was() {
    let mut cluster = Cluster::start(2);
    fill(&cluster.servers[0], "before", 100);
    cluster.await_converged();
    let (full, partial) = syncs(&cluster.servers[0]);

    assert_eq!(cluster.servers[1].terminate(), 0);
    fill(&cluster.servers[0], "meanwhile", 100);
    cluster.servers[1].start();
    cluster.await_converged();

    assert_eq!(syncs(&cluster.servers[0]), (full, partial + 1.0), "as the master counts");
    assert_eq!(syncs(&cluster.servers[1]), (0.0, 1.0), "as the replica counts since its start");
    assert_eq!(cluster.servers[1].value("meanwhile-99"), Some(json!("value 99")));
}

#[test]
fn a_restarted_master_finds_its_replicas_where_they_were() {
    let mut cluster = Cluster::start(2);
    fill(&cluster.servers[0], "before", 100);
    let (epoch, _) = cluster.await_converged();
    let before: Vec<(f64, f64)> = cluster.servers[1..].iter().map(syncs).collect();

    assert_eq!(cluster.servers[0].terminate(), 0);
    cluster.servers[0].spawn();
    cluster.servers[0].await_master();
    fill(&cluster.servers[0], "after", 1);
    let (next_epoch, _) = cluster.await_converged();

    assert!(next_epoch > epoch, "every start of mastership opens an epoch: {epoch}, then {next_epoch}");
    for (server, (full, partial)) in cluster.servers[1..].iter().zip(before) {
        assert_eq!(syncs(server), (full, partial + 1.0), "on {}", server.name);
    }
    assert_eq!(syncs(&cluster.servers[0]), (0.0, 2.0), "on the master, since its start");
}

#[test]
fn a_replica_that_was_away_for_long_takes_a_snapshot_and_serves_meanwhile() {
    let mut cluster = Cluster::start_with(1, |_, config| {
        config["replication"]["tail_bytes_max"] = json!(65_536);
    });
    fill(&cluster.servers[0], "old", 10);
    cluster.await_converged();
    assert_eq!(cluster.servers[1].terminate(), 0);
    let value = "x".repeat(64 << 10);
    for number in 0..200 {
        cluster.servers[0].set(&format!("new-{number}"), &value);
    }

    cluster.servers[1].start();
    let replica = &cluster.servers[1];
    let (reads, stale) = thread::scope(|scope| {
        let reader = scope.spawn(|| read_until_synced(replica));
        wait::until_true("the replica has the last write", || replica.value("new-199").is_some());
        reader.join().expect("no read fails")
    });
    assert!(reads > 0, "it was read while it caught up");
    println!("{reads} reads while it caught up, {stale} of them from before");

    cluster.await_converged();
    assert_eq!(cluster.servers[1].metric(FULL, &[]), 1.0);
    assert_eq!(cluster.servers[1].value("new-100"), Some(Value::String(value)));
    assert_eq!(cluster.servers[1].value("old-9"), Some(json!("value 9")));
}

#[test]
fn a_replica_held_for_long_catches_up() {
    let mut cluster = Cluster::start_with(2, |_, config| {
        config["replication"]["tail_bytes_max"] = json!(65_536);
    });
    cluster.servers[2].signal("STOP");
    let value = "x".repeat(64 << 10);
    // Far more than the master lets be on its way to one replica, however much the sockets between them can hold.
    for number in 0..400 {
        cluster.servers[0].set(&format!("key-{number}"), &value);
    }
    wait::until_true("the master gives the silent replica up", || {
        cluster.servers[0].metric("synap_replication_connected_replicas", &[]) == 1.0
    });
    cluster.servers[2].signal("CONT");
    cluster.await_converged();
    assert_eq!(cluster.servers[2].value("key-399"), Some(Value::String(value)));
    assert!(cluster.servers[2].metric(FULL, &[]) >= 1.0, "the tail was too short for it");
}

#[test]
fn an_emptied_master_wipes_nobody_and_joins() {
    let mut cluster = Cluster::start_with(2, |_, config| {
        // Time for its replicas to reach it before it founds a cluster of its own.
        config["replication"]["failover"]["election_timeout_ms"] = json!(3_000);
    });
    fill(&cluster.servers[0], "kept", 50);
    cluster.await_converged();

    cluster.servers[0].kill();
    fs::remove_dir_all(cluster.servers[0].data_directory()).expect("the data directory can be emptied");
    cluster.servers[0].spawn();
    wait::until_true("it is a replica, although its file says master", || {
        cluster.servers[0]
            .client()
            .get("/replication/status")
            .is_ok_and(|status| status.status == 200 && status.json()["role"] == "replica")
    });
    for server in &cluster.servers[1..] {
        assert_eq!(server.value("kept-49"), Some(json!("value 49")), "on {}", server.name);
    }

    cluster.servers[1].post("/replication/promote", &json!({})).with(200);
    cluster.servers[1].await_master();
    fill(&cluster.servers[1], "later", 1);
    wait::until_true("the emptied one has everything again", || {
        // 503 until it has joined, 404 until it has caught up.
        let has = |key: &str| cluster.servers[0].get(&format!("/kv/get/{key}")).status == 200;
        has("kept-49") && has("later-0")
    });
    cluster.await_converged();
    assert_eq!(cluster.servers[2].value("kept-0"), Some(json!("value 0")));
}

fn fill(server: &Server, prefix: &str, count: usize) {
    for number in 0..count {
        server.set(&format!("{prefix}-{number}"), &format!("value {number}"));
    }
}

/// Full and partial syncs since the start of the process.
fn syncs(server: &Server) -> (f64, f64) {
    (server.metric(FULL, &[]), server.metric(PARTIAL, &[]))
}

/// Reads an old key until the newest is there too: each read must be answered with its value.
fn read_until_synced(replica: &Server) -> (u64, u64) {
    let mut client = replica.client();
    let (mut reads, mut stale) = (0, 0);
    loop {
        let old = client.get("/kv/get/old-9").expect("a syncing replica answers").with(200);
        assert_eq!(old.json(), json!("value 9"));
        reads += 1;
        if client.get("/kv/get/new-199").expect("a syncing replica answers").status == 200 {
            return (reads, stale);
        }
        stale += 1;
    }
}
