//! One data directory, one node: restored backups, nodes without a log, copies, and values that look like the log itself.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use synap_tests::cluster::{Cluster, config};
use synap_tests::server::Server;
use synap_tests::wait;

#[test]
fn nodes_without_a_log_keep_their_ids() {
    let mut cluster = Cluster::start_with(2, |_, config| {
        config["persistence"] = json!({ "wal": { "enabled": false }, "snapshot": { "enabled": true } });
    });
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    let ids: Vec<Value> = cluster.servers.iter().map(|server| server.status()["node_id"].clone()).collect();
    for server in &cluster.servers {
        server.post("/snapshot", &json!({})).with(200);
    }

    cluster.servers[1..].iter_mut().for_each(Server::kill);
    cluster.servers[1..].iter_mut().for_each(Server::start_ready);
    cluster.servers[0].set("b", "2");
    cluster.await_converged();
    let after: Vec<Value> = cluster.servers.iter().map(|server| server.status()["node_id"].clone()).collect();
    assert_eq!(ids, after);
    assert_eq!(cluster.servers[0].status()["members"].as_array().map(Vec::len), Some(3));

    let epoch = cluster.servers[0].applied().0;
    cluster.servers[0].kill();
    cluster.servers[0].spawn();
    cluster.servers[0].await_master();
    assert_eq!(cluster.servers[0].status()["node_id"], ids[0]);
    assert!(cluster.servers[0].applied().0 > epoch, "an epoch that it has never opened before");
    cluster.await_converged();
    assert_eq!(cluster.servers[0].value("b"), Some(json!("2")), "its replicas had it");
}

#[test]
fn values_that_look_like_the_log_do_not_damage_it() {
    let mut cluster = Cluster::start_with(0, |_, config| {
        config["persistence"] = json!({
            "wal": { "segment_bytes_max": 65_536 },
            "snapshot": { "enabled": true, "wal_bytes": 200_000, "max_snapshots": 1 },
        });
        config["replication"]["tail_bytes_max"] = json!(65_536);
    });
    let server = &mut cluster.servers[0];
    for round in 0..3 {
        for number in 0..120_usize {
            let newest = newest_segment(&server.data_directory());
            let value = forged(number * 4 % 512, newest);
            server.request("PUT", &format!("/kv/raw/k{}", number % 7), &[], &value).with(200);
        }
        assert_eq!(server.terminate(), 0, "round {round}");
        server.start_ready();
        server.await_master();
    }
    let position = server.set("end", "1");
    server.kill();
    server.start_ready();
    assert!(server.applied().1 > position.1);
}

#[test]
fn the_second_process_of_one_directory_is_refused_by_name() {
    let mut cluster = Cluster::start(2);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    for original in [1, 0] {
        let before = cluster.servers[0].applied();
        let mut copy = Server::new(&format!("copy-of-{original}"), cluster.directory());
        copy_directory(&cluster.servers[original].data_directory(), &copy.data_directory());
        let master = (original > 0).then_some(cluster.servers[0].replication);
        copy.configure(&format!("{:#}\n", config(&copy, master)));
        copy.start();
        wait::until_true("the copy says what it is", || {
            copy.status()["alarms"].to_string().contains("copied_directory")
        });
        assert!(copy.log().contains("this data directory was copied"), "{}", copy.log());
        for path in ["/readyz", "/readyz?role=master", "/health"] {
            let why = copy.get(path).with(503).json()["why"].to_string();
            assert!(why.contains("this data directory was copied"), "{path} says {why}");
        }
        assert_eq!(copy.post("/replication/promote", &json!({})).status, 409);

        // The others go on, and write nothing about it.
        let ids: Vec<Value> = cluster.servers.iter().map(|server| server.status()["role"].clone()).collect();
        assert_eq!(ids, ["master", "replica", "replica"]);
        let lines = copy.log().lines().count();
        cluster.servers[0].set("a", "2");
        cluster.await_converged();
        let after = cluster.servers[0].applied();
        assert_eq!((after.0, after.1), (before.0, before.1 + 1), "one entry: the write");
        assert!(copy.log().lines().count() <= lines + 1, "no flood: {}", copy.log());
        copy.kill();
    }
}

fn newest_segment(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).expect("the data directory is there").flatten();
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let seq = |name: String| {
        let hex = name.strip_prefix("wal-")?.strip_suffix(".log")?.to_owned();
        u64::from_str_radix(&hex, 16).ok()
    };
    names.filter_map(seq).max().unwrap_or(0)
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("the data directory is there").flatten() {
        let name = entry.file_name();
        // What is removed meanwhile is not copied; the lock is the process's own.
        if entry.path().is_file() && name != "lock" {
            let _ = fs::copy(entry.path(), to.join(name));
        }
    }
}

/// A value with a frame of one of the segments to come in each sector from `align` on, in the layout of version 1 and in
/// that of version 2 with nonces that one might guess. Each says that everything was on disk.
fn forged(align: usize, newest: u64) -> Vec<u8> {
    let mut value = vec![b'v'; align];
    for seq in newest..newest + 6 {
        for nonce in [None, Some(0), Some(seq)] {
            let mut covered = Vec::new();
            covered.extend(0_u32.to_le_bytes());
            covered.extend(1_u32.to_le_bytes());
            covered.extend(seq.to_le_bytes());
            covered.extend(nonce.map(u64::to_le_bytes).into_iter().flatten());
            covered.extend((1_u64 << 40).to_le_bytes());
            covered.extend((1_u64 << 40).to_le_bytes());
            let begin = value.len();
            value.extend(b"SYNF");
            value.extend(crc32c(&covered).to_le_bytes());
            value.extend(covered);
            value.resize(begin + 512, 0);
        }
    }
    value
}

/// Bit by bit, from its polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}
