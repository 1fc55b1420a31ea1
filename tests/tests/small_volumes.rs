//! Volumes on which the log would not fit if nothing cut it in time. As long as the live data is well below the volume the server finds its
//! own way: it writes snapshots early, keeps one, cuts the log, and goes on.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use synap_tests::cluster::{self, Cluster};
use synap_tests::hanging::HangingDisk;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::small_disk::SmallDisk;
use synap_tests::wait;
use tempfile::TempDir;

/// A server with the usual settings, whose data directory is on this disk.
fn server_on(disk: &SmallDisk, parent: &Path) -> Server {
    let mut server = Server::new("n1", parent);
    let mut config = cluster::config(&server, None);
    config["persistence"] = json!({ "data_dir": disk.path.join("data") });
    server.configure(&config.to_string());
    server.spawn();
    server.await_master();
    server
}

/// Writes, and again while the disk has no room for it: it makes some by itself.
fn set(server: &Server, key: &str, value: &str) {
    wait::until_true("the write is done", || {
        let answer = server.post("/kv/set", &json!({ "key": key, "value": value }));
        assert!(matches!(answer.status, 200 | 507), "{} {}", answer.status, answer.text());
        answer.status == 200
    });
}

/// A value of 100 kB.
fn long(round: usize) -> String {
    format!("{round:>10}").repeat(10_000)
}

fn bytes_in(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).expect("the data directory can be read");
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

fn has_alarm(status: &Value, alarm: &str) -> bool {
    status["alarms"].as_array().expect("alarms").contains(&json!(alarm))
}

#[test]
fn three_keys_take_little() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 32) else { return };
    let server = server_on(&disk, directory.path());
    for key in ["a", "b", "c"] {
        server.set(key, "1");
    }
    let taken = bytes_in(&disk.path.join("data"));
    assert!(taken < 10 << 20, "three keys take {taken} bytes");
}

#[test]
fn one_key_is_overwritten_far_beyond_the_volume() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 32) else { return };
    let mut server = server_on(&disk, directory.path());
    for round in 0..1_000 {
        set(&server, "key", &long(round));
    }
    let status = server.status();
    assert!(!has_alarm(&status, "disk_full") && !has_alarm(&status, "disk_short"), "{status}");
    assert!(status["disk"]["free_bytes"].as_u64() > Some(4 << 20), "{status}");
    server.kill();
    server.start_ready();
    assert_eq!(server.value("key"), Some(json!(long(999))));
}

#[test]
fn a_state_of_a_third_of_the_volume_is_overwritten_again_and_again() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 44) else { return };
    let mut server = server_on(&disk, directory.path());
    let key = |number: usize| format!("key-{number}");
    for round in 0..6 {
        for number in 0..140 {
            set(&server, &key(number), &long(round));
        }
    }
    server.kill();
    server.start_ready();
    for number in 0..140 {
        assert_eq!(server.value(&key(number)), Some(json!(long(5))), "{number}");
    }
}

#[test]
fn what_is_written_ahead_leaves_room_for_the_snapshot() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 64) else { return };
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["persistence"] = json!({ "data_dir": disk.path.join("data"), "reserve_bytes": 1 << 20 });
    config["limits"] = json!({ "value_bytes_max": 512 << 10 });
    server.configure(&config.to_string());
    server.spawn();
    server.await_master();
    // 28 MB of state: twice that and four reserves are 60 of 67 MB. Segments double up to 64 MiB.
    for round in 0..4 {
        for number in 0..70 {
            set(&server, &format!("key-{number}"), &format!("{round:>10}").repeat(40_000));
        }
    }
    wait::until_true("it has found room", || !has_alarm(&server.status(), "disk_full"));
}

#[test]
fn on_a_full_disk_deletes_go_on_and_a_start_too() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 32) else { return };
    let mut server = server_on(&disk, directory.path());
    for number in 0..40 {
        server.set(&format!("key-{number}"), &"x".repeat(100_000));
    }
    let free = server.status()["disk"]["free_bytes"].as_u64().expect("it was measured");
    let filler = disk.fill(usize::try_from(free).expect("a few MiB") - (1 << 20));
    wait::until_true("the disk is known to be full", || has_alarm(&server.status(), "disk_full"));
    server.post("/kv/set", &json!({ "key": "more", "value": "1" })).problem(507, "disk_full");
    server.post("/kv/set", &json!({ "key": "key-0", "value": "shorter" })).with(200);
    server.request("DELETE", "/kv/del/key-1", &[], b"").with(200);
    assert_eq!(server.value("key-0"), Some(json!("shorter")));

    server.kill();
    server.start_ready();
    assert_eq!(server.value("key-2"), Some(json!("x".repeat(100_000))));
    assert_eq!(server.value("key-1"), None);
    fs::remove_file(&filler).expect("the filler can be removed");
    wait::until_true("writes are taken again", || {
        server.post("/kv/set", &json!({ "key": "more", "value": "1" })).status == 200
    });
}

#[test]
fn a_stop_waits_for_no_room() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 32) else { return };
    let filler = disk.leave(0);
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["persistence"] = json!({ "data_dir": disk.path.join("data") });
    server.configure(&config.to_string());
    server.spawn();
    server.await_probe("/livez");
    assert_eq!(server.terminate(), 0, "{}", server.log());
    assert!(server.log().contains("the disk is full"), "{}", server.log());
    fs::remove_file(&filler).expect("the filler can be removed");
    server.spawn();
    server.await_master();
    server.set("key", "1");
}

/// A master on a small disk, with a replica elsewhere.
fn pair(disk: &SmallDisk, wal_bytes: u64) -> Cluster {
    let mut cluster = Cluster::prepare(1, |number, config| {
        if number == 0 {
            config["persistence"] = json!({
                "data_dir": disk.path.join("data"),
                "reserve_bytes": 1 << 20,
                "snapshot": { "wal_bytes": wal_bytes },
                "wal": { "segment_bytes_max": 4 << 20 },
            });
        }
    });
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.servers[0].await_master();
    cluster
}

/// The master dies, and the replica takes its place with less than it had.
fn promote_the_other(cluster: &mut Cluster) {
    cluster.servers[0].kill();
    cluster.servers[1].start();
    shell::synap(["promote", "--yes", "--force", "--accept-data-loss", "--url", &cluster.servers[1].url()]).good();
    cluster.servers[1].await_master();
}

#[test]
fn a_replica_whose_disk_has_hung_takes_no_more_than_it_has_room_for() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 9) else { return };
    let mut cluster = Cluster::prepare(1, |number, config| {
        if number == 1 {
            config["persistence"] = json!({ "data_dir": disk.path.join("data"), "reserve_bytes": 1 << 20 });
        }
    });
    let Some(hanging) = HangingDisk::under(&mut cluster.servers[1]) else { return };
    cluster.servers.iter_mut().for_each(Server::start);
    // 1.8 MB of state: twice that and four reserves are 7.8 of 9.4 MB. A window is another 4.2 MB, three rounds are 16 MB of log.
    let write = |cluster: &Cluster, rounds: usize| {
        for number in 0..30 * rounds {
            let body = json!({ "key": format!("key-{}", number % 30), "value": "x".repeat(60_000) });
            cluster.servers[0].post("/kv/set?concern=local", &body).with(200);
        }
    };
    write(&cluster, 1);
    cluster.await_converged();
    for _ in 0..3 {
        hanging.hang();
        write(&cluster, 3);
        hanging.go_on();
        cluster.await_converged();
    }
}

#[test]
fn values_of_megabytes_fill_no_volume_for_good() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let parents: Vec<_> = (0..3).map(|number| directory.path().join(number.to_string())).collect();
    parents.iter().for_each(|parent| fs::create_dir(parent).expect("a directory can be made"));
    // Four keys of 3 MB at most: twice that, and four of the longest values, are 40.8 of 41.9 MB.
    let disks: Option<Vec<_>> = parents.iter().map(|parent| SmallDisk::mount(parent, 40)).collect();
    let Some(disks) = disks else { return };
    let cluster = Cluster::prepare(2, |number, config| {
        let data_dir = disks[number].path.join("data");
        config["persistence"] = json!({ "data_dir": data_dir, "reserve_bytes": 1 << 20 });
        config["limits"] = json!({ "value_bytes_max": 4 << 20 });
        config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": 3 });
    });
    let mut cluster = cluster.begun().once_armed();
    let master = &cluster.servers[cluster.await_leader()];
    thread::scope(|scope| {
        for writer in 0..2 {
            scope.spawn(move || {
                for round in 0..200_usize {
                    let bytes = [10, 1_000, 100_000, 3_000_000][(round * 7 + round / 4) % 4];
                    let key = format!("{writer}-{}", round % 2);
                    let path = format!("/kv/raw/{key}?timeout_ms=2000");
                    // Some are refused or sent on, as a disk or a mastership goes.
                    let _ = master.request("PUT", &path, &[], &vec![b'x'; bytes]);
                }
            });
        }
    });
    cluster.await_converged();
    for server in &cluster.servers {
        wait::until_true("it has found room", || !has_alarm(&server.status(), "disk_full"));
    }
}

#[test]
fn a_rollback_that_has_no_room_in_lines_goes_on() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 40) else { return };
    let mut cluster = pair(&disk, 64 << 20);
    cluster.await_converged();
    cluster.servers[1].kill();
    for number in 0..400 {
        set(&cluster.servers[0], &format!("alone-{}", number % 4), &"y".repeat(60_000));
    }
    promote_the_other(&mut cluster);
    cluster.servers[0].start();
    cluster.await_converged();

    let log = cluster.servers[0].log();
    assert!(log.contains("for want of room those from"), "{log}");
    let rollbacks = fs::read_dir(disk.path.join("data/rollback")).expect("there is one");
    let kept = rollbacks.flatten().find(|entry| entry.path().extension().is_some_and(|ending| ending == "files"));
    let dump = shell::synap(["wal", "dump", &kept.expect("the log is kept").path().display().to_string()]).good();
    assert!(dump.matches("alone-").count() >= 400, "every write is in the files that were kept");
}

#[test]
fn a_rollback_file_has_no_hole_where_memory_shrinks_meanwhile() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 40) else { return };
    let mut cluster = pair(&disk, 4 << 20);
    for number in 0..30 {
        cluster.servers[0].set(&format!("shared-{number}"), &"x".repeat(60_000));
    }
    cluster.await_converged();
    cluster.servers[1].kill();
    for number in 0..150 {
        set(&cluster.servers[0], &format!("alone-{number}"), &"y".repeat(20_000));
    }
    promote_the_other(&mut cluster);
    // Short of room, the node keeps less of its log in memory, from its first look at the disk on.
    disk.leave(7 << 20);
    cluster.servers[0].start();
    cluster.await_converged();

    let rollbacks = disk.path.join("data/rollback");
    let named: Vec<_> =
        fs::read_dir(&rollbacks).expect("there is one").flatten().map(|entry| entry.path()).collect();
    let lines = named.iter().find(|path| path.extension().is_some_and(|ending| ending == "ndjson"));
    let lines = fs::read_to_string(lines.expect("it is whole")).expect("it can be read");
    let indices: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["index"].as_u64().expect("an index"))
        .collect();
    assert!(indices.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{indices:?}");
    let kept = named.iter().any(|path| path.extension().is_some_and(|ending| ending == "files"));
    assert!(kept || indices.len() >= 150, "{} lines, and nothing else is kept", indices.len());
}
#[test]
fn a_full_sync_that_has_no_room_beside_the_log_finds_some() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 40) else { return };
    let mut cluster = Cluster::prepare(1, |number, config| {
        if number == 1 {
            config["persistence"] = json!({ "data_dir": disk.path.join("data"), "reserve_bytes": 1 << 20 });
        }
    });
    cluster.servers.iter_mut().for_each(Server::start);
    // 1 MB of state: the log may take all but the next snapshot and three reserves.
    let write = |cluster: &Cluster, keys: usize, rounds: usize| {
        for number in 0..keys * rounds {
            let path = format!("/kv/raw/key-{}", number % keys);
            cluster.servers[0].request("PUT", &path, &[], &vec![b'x'; 1_000_000]).with(200);
        }
    };
    cluster.await_converged();
    write(&cluster, 1, 33);
    cluster.await_converged();
    cluster.servers[1].kill();
    // 15 MB: twice that and four reserves are 34.2 of 41.9 MB.
    write(&cluster, 15, 10);
    cluster.servers[1].start();
    cluster.await_converged();
}

#[test]
fn long_values_beside_a_short_reserve_are_taken_again() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 16) else { return };
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["persistence"] = json!({ "data_dir": disk.path.join("data"), "reserve_bytes": 64 << 10 });
    config["limits"] = json!({ "value_bytes_max": 1 << 20 });
    server.configure(&config.to_string());
    server.spawn();
    server.await_master();
    // 1.8 MB of state: twice that and four of the longest values are 7.8 of 16.8 MB.
    for round in 0..60 {
        set(&server, &format!("key-{}", round % 2), &format!("{round:>10}").repeat(90_000));
    }
}
