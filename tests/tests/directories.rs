//! What stands in a data directory when a server starts: things of others, another version's files, or nothing where something was.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::server::Server;

#[test]
fn what_others_put_there_is_left_alone() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.set("a", "1");
    assert_eq!(server.terminate(), 0);
    let foreign = server.data_directory().join("lost+found");
    fs::create_dir(&foreign).expect("a directory can be made");
    fs::write(foreign.join("#1234"), "not ours").expect("a file can be written");
    fs::set_permissions(&foreign, Permissions::from_mode(0o000)).expect("permissions can be set");
    for name in [".wal-0000000000000001.log.swp", "wal-0000000000000001.log~", "notes.snap", "snapshot-7.snap.bak"]
    {
        fs::write(server.data_directory().join(name), "not ours").expect("a file can be written");
    }
    server.start_ready();
    assert_eq!(server.value("a"), Some(json!("1")));
    assert_eq!(server.terminate(), 0);
    assert!(server.data_directory().join("notes.snap").exists());
    fs::set_permissions(&foreign, Permissions::from_mode(0o700)).expect("permissions can be set");
    assert!(foreign.join("#1234").exists());
}

#[test]
fn a_directory_whose_log_is_gone_is_told_from_a_new_one() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.set("a", "1");
    let id = server.status()["node_id"].clone();
    server.kill();
    files(server, "wal-").iter().for_each(|file| fs::remove_file(file).expect("a file can be removed"));
    server.spawn();
    assert_eq!(server.await_exit(), 66);
    let directory = server.data_directory().display().to_string();
    assert!(
        server.log().contains(&format!("data directory {directory}: it was used by a node")),
        "{}",
        server.log()
    );

    // Really emptied it is a new one.
    fs::remove_dir_all(server.data_directory()).expect("the data directory can be removed");
    server.start_ready();
    assert_ne!(server.status()["node_id"], id);
}

#[test]
fn a_damaged_backup_founds_no_cluster() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.set("a", "1");
    server.post("/snapshot", &json!({})).with(200);
    server.kill();
    let [snapshot] = &files(server, "snapshot-")[..] else { panic!("one snapshot") };
    let mut bytes = fs::read(snapshot).expect("the snapshot can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let name = snapshot.file_name().expect("it has a name").to_owned();
    fs::remove_dir_all(server.data_directory()).expect("the data directory can be removed");
    fs::create_dir(server.data_directory()).expect("a directory can be made");
    fs::write(server.data_directory().join(&name), bytes).expect("a file can be written");
    for _ in 0..2 {
        server.spawn();
        assert_eq!(server.await_exit(), 74);
    }
    assert!(server.log().contains("the snapshot does not load"), "{}", server.log());
    assert!(server.data_directory().join(&name).exists(), "nothing was changed");
}

#[test]
fn files_of_another_version_are_told_from_damage() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.set("a", "1");
    server.kill();
    let later = [b"SYNAPHST".as_slice(), &99_u16.to_le_bytes(), &[0, 0]].concat();
    fs::write(server.data_directory().join("hard-state"), later).expect("a file can be written");
    server.spawn();
    assert_eq!(server.await_exit(), 65);
    let log = server.log();
    assert!(
        log.contains("has format version 99") && log.contains(&server.data_directory().display().to_string()),
        "{log}"
    );
}

#[test]
fn an_error_of_the_disk_names_the_path() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.kill();
    let lock = server.data_directory().join("lock");
    fs::remove_file(&lock).expect("the lock can be removed");
    fs::create_dir(&lock).expect("a directory can be made");
    server.spawn();
    assert_eq!(server.await_exit(), 74);
    assert!(server.log().contains(&format!("cannot open {}: Is a directory", lock.display())), "{}", server.log());
}

/// The files of its data directory whose names begin like that, in their order.

#[test]
fn a_member_of_a_cluster_does_not_stand_alone() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    let replica = &mut cluster.servers[1];
    assert_eq!(replica.terminate(), 0);
    replica.reconfigure(|config| config["replication"]["role"] = json!("standalone"));
    replica.spawn();
    assert_eq!(replica.await_exit(), 78);
    assert!(replica.log().contains("is that of a member of a cluster, beside "), "{}", replica.log());

    replica.reconfigure(|config| config["replication"]["role"] = json!("replica"));
    replica.start_ready();
    assert_eq!(replica.value("a"), Some(json!("1")));
}

#[test]
fn what_is_in_memory_alone_is_no_copy() {
    let mut cluster = Cluster::start_with(1, |number, config| {
        if number == 1 {
            config["persistence"]["wal"]["enabled"] = json!(false);
        }
    });
    let write = json!({"key": "a", "value": "1"});
    let answer = cluster.servers[0].post("/kv/set?concern=1&timeout_ms=300", &write);
    assert_eq!(answer.problem(504, "timeout")["outcome"], "pending");
    cluster.await_converged();
    let answer = cluster.servers[0].post("/kv/set", &write).with(200).json();
    assert_eq!(answer["durable_on"], 1, "{answer}");
}

fn files(server: &Server, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.data_directory()).expect("the data directory is there").flatten();
    let paths = entries.map(|entry| entry.path());
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning));
    let mut files: Vec<PathBuf> = paths.filter(named).collect();
    files.sort_unstable();
    files
}
