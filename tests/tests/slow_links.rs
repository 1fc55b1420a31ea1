//! Links that are slow for what they carry, with real processes: a long value takes longer than an election timeout, and many of
//! them longer still. Rounds overtake them, so nobody is deposed and no link is given up.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::networks::Networks;
use synap_tests::server::Server;
use synap_tests::wait;

/// The longest value that the configuration allows.
const LONGEST: usize = 16 << 20;

/// A long one of which there are many.
const VALUE_BYTES: usize = 256 << 10;

/// Networks in which every server sends this fast; none where a machine does not let a test have them.
fn slow_networks(servers: usize, megabits: u32) -> Option<Networks> {
    let made = Networks::without_cuts(servers).and_then(|networks| {
        (0..servers).try_for_each(|server| networks.slow(server, megabits)).map(|()| networks)
    });
    made.map_err(|why| println!("skipped: no slow networks here: {why}")).ok()
}

/// An election timeout that the longest value outlasts on any of these links, and a busy machine does not.
const ELECTION_TIMEOUT_MS: u64 = 1_000;

fn armed(networks: &Networks, change: impl Fn(&mut Value)) -> Cluster {
    Cluster::armed_in_with(networks, 2, |config| {
        config["replication"]["failover"]["election_timeout_ms"] = json!(ELECTION_TIMEOUT_MS);
        change(config);
    })
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

/// 16 MiB to two replicas over one slow wire: seconds, with an election timeout of one.
fn longest_value_is_written(megabits: u32) {
    let Some(networks) = slow_networks(3, megabits) else { return };
    let cluster = armed(&networks, |_| {});
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
    let cluster = armed(&networks, |_| {});
    let master = &cluster.servers[0];
    let before = reign(master);
    for number in 0..400 {
        let status = put(master, &format!("k{}", number % 8), "?concern=async&timeout_ms=60000", VALUE_BYTES);
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

/// Clients that write at once as much as they can, for so long.
const FLOOD: Duration = Duration::from_secs(10);
const WRITERS: usize = 16;

/// Of the log in memory, and of what is not settled of it.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// What the process takes besides what it states: code, buffers, what the allocator keeps of what was freed.
const BESIDES_BYTES: u64 = 96 << 20;

#[test]
fn a_flood_that_links_cannot_carry_takes_no_more_memory_than_is_stated() {
    let Some(networks) = slow_networks(3, 40) else { return };
    let cluster = armed(&networks, |config| {
        config["replication"]["tail_bytes_max"] = json!(LOG_BYTES_MAX);
        config["replication"]["uncommitted_bytes_max"] = json!(LOG_BYTES_MAX);
    });
    let master = &cluster.servers[0];
    let (before, memory_before) = (reign(master), master.memory_peak_bytes());
    let value = vec![b'v'; VALUE_BYTES];
    let answered: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (value, mut client) = (&value, master.client());
                    move || {
                        let (began, mut answered) = (Instant::now(), 0);
                        while began.elapsed() < FLOOD {
                            let path = format!("/kv/raw/k{}?concern=async&timeout_ms=2000", writer % 8);
                            let status = client.request("PUT", &path, &[], value).expect("an answer").status;
                            assert!(status == 200 || status == 503, "{status}");
                            answered += usize::from(status == 200);
                        }
                        answered
                    }
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).sum()
    });
    assert!(answered > 0, "something was written");
    // The log twice, a store of eight keys that is copied when it is sent, and of each writer what is read and what waits.
    let stated = 2 * LOG_BYTES_MAX + ((2 * 8 + 2 * WRITERS) * VALUE_BYTES) as u64;
    let grown = master.memory_peak_bytes() - memory_before;
    println!("{answered} writes, {} MiB more memory, {} MiB stated", grown >> 20, stated >> 20);
    assert!(grown <= stated + BESIDES_BYTES, "{grown} bytes more than before, {stated} are stated");
    assert_eq!(reign(master), before, "the same master, in the same epoch, with the same replicas");
    assert_eq!(master.metric("synap_replication_full_syncs_total", &[]), 0.0, "nobody was left behind");
}

#[test]
fn a_lone_replica_at_twenty_megabits_stays_connected() {
    let Some(networks) = slow_networks(2, 20) else { return };
    let cluster = Cluster::start_in(&networks, 1);
    let (master, replica) = (&cluster.servers[0], &cluster.servers[1]);
    assert_eq!(put(master, "long", "?concern=1&timeout_ms=60000", LONGEST), 200);
    assert_eq!(replica.status()["link"]["reconnects"], 0);
}
