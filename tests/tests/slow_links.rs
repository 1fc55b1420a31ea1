//! Links that are slow for what they carry, with real processes: a long value takes longer than an election timeout, and many of
//! them longer still. Rounds overtake them, so nobody is deposed and no link is given up.

use serde_json::Value;
use synap_tests::cluster::Cluster;
use synap_tests::networks::Networks;
use synap_tests::server::Server;
use synap_tests::wait;

/// The longest value that the configuration allows.
const LONGEST: usize = 16 << 20;

/// Networks in which every server sends this fast; none where a machine does not let a test have them.
fn slow_networks(servers: usize, megabits: u32) -> Option<Networks> {
    let made = Networks::new(servers).and_then(|networks| {
        (0..servers).try_for_each(|server| networks.slow(server, megabits)).map(|()| networks)
    });
    made.map_err(|why| println!("skipped: no slow networks here: {why}")).ok()
}

fn put(server: &Server, key: &str, query: &str, bytes: usize) -> u16 {
    server.request("PUT", &format!("/kv/raw/{key}{query}"), &[], &vec![b'v'; bytes]).status
}

/// What changes when a master is deposed, or a link is made anew.
fn reign(server: &Server) -> (Value, Value, Value) {
    let status = server.status();
    let members: Vec<&Value> = status["members"].as_array().into_iter().flatten().collect();
    let connected: Vec<Value> = members.iter().map(|member| member["connected"].clone()).collect();
    (status["epoch"].clone(), status["state"].clone(), connected.into())
}

#[test]
fn the_longest_value_deposes_nobody_at_a_hundred_megabits() {
    longest_value_is_written(100);
}

#[test]
fn the_longest_value_deposes_nobody_at_forty_megabits() {
    longest_value_is_written(40);
}

/// 16 MiB to two replicas over one slow wire: seconds, with an election timeout of 400 ms.
fn longest_value_is_written(megabits: u32) {
    let Some(networks) = slow_networks(3, megabits) else { return };
    let cluster = Cluster::armed_in(&networks, 2);
    let master = &cluster.servers[0];
    let before = reign(master);
    for key in ["first", "second"] {
        assert_eq!(put(master, key, "?timeout_ms=60000", LONGEST), 200, "{key}");
    }
    assert_eq!(reign(master), before, "the same master, in the same epoch, with the same replicas");
    assert_eq!(master.get("/kv/raw/second").with(200).body.len(), LONGEST);
}

#[test]
fn a_flood_of_values_deposes_nobody_and_takes_no_more_memory_than_is_stated() {
    let Some(networks) = slow_networks(3, 40) else { return };
    let cluster = Cluster::armed_in(&networks, 2);
    let master = &cluster.servers[0];
    let before = reign(master);
    for number in 0..400 {
        let status = put(master, &format!("k{}", number % 8), "?concern=async&timeout_ms=60000", 256 << 10);
        assert_eq!(status, 200);
    }
    let status = master.status();
    let uncommitted = status["uncommitted_bytes"].as_u64().unwrap_or(u64::MAX);
    assert!(uncommitted <= 64 << 20, "{uncommitted}");
    assert_eq!(reign(master), before, "the same master, in the same epoch, with the same replicas");
    let last = status["positions"]["last"].as_u64().expect("an index");
    wait::until_true("all of it is committed", || {
        master.status()["positions"]["committed"].as_u64().is_some_and(|index| index >= last)
    });
    assert_eq!(reign(master), before);
}

#[test]
fn a_lone_replica_at_twenty_megabits_stays_connected() {
    let Some(networks) = slow_networks(2, 20) else { return };
    let cluster = Cluster::start_in(&networks, 1);
    let (master, replica) = (&cluster.servers[0], &cluster.servers[1]);
    assert_eq!(put(master, "long", "?concern=1&timeout_ms=60000", LONGEST), 200);
    assert_eq!(replica.status()["link"]["reconnects"], 0);
}
