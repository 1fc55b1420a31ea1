//! The command line: what a person types, and the exit code that a script sees.

use std::fs;

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::load::Load;
use synap_tests::shell::{self, synap};
use tempfile::TempDir;

#[test]
fn a_quick_look_at_keys() {
    let cluster = Cluster::start(1);
    let url = cluster.servers[0].url();
    synap(["set", "greeting", "hello world", "--url", &url]).good();
    assert_eq!(synap(["get", "--raw", "greeting", "--url", &url]).good().trim_end(), "hello world");
    synap(["del", "greeting", "--url", &url]).good();
    synap(["get", "greeting", "--url", &url]).ended_with(4);
    synap(["del", "greeting", "--url", &url]).ended_with(4);

    // A replica sends writes to the master, and the verbs go there.
    synap(["set", "through a replica", "1", "--url", &cluster.servers[1].url()]).good();
    assert_eq!(synap(["get", "--raw", "through a replica", "--url", &url]).good().trim_end(), "1");
}

#[test]
fn the_cluster_as_a_table() {
    let mut cluster = Cluster::start(2);
    cluster.servers[0].set("k", "v");
    cluster.await_converged();
    for server in &cluster.servers {
        let table = synap(["status", "--url", &server.url()]).good();
        for (name, role) in [("n1", "master"), ("n2", "replica"), ("n3", "replica")] {
            let row = table.lines().find(|line| line.contains(name) && line.contains(role));
            assert!(row.is_some(), "{name} is a {role}, asked of {}:\n{table}", server.name);
        }
    }
}

#[test]
fn usage_and_absence_have_their_codes() {
    synap(["no-such-command"]).ended_with(2);
    synap(["serve"]).ended_with(2);
    synap(["--version"]).good();
    let help = synap(["--help"]).good();
    for command in
        "serve dev check-config status promote switchover pause resume members get set del rollback wal snapshot"
            .split(' ')
    {
        assert!(help.contains(command), "{command} in:\n{help}");
    }
    assert_eq!(synap(["get", "k", "--url", "http://127.0.0.1:1"]).code, 1, "nobody listens there");
    for shell in ["bash", "zsh", "fish"] {
        assert!(synap(["completions", shell]).good().contains("check-config"));
    }
}

#[test]
fn a_configuration_is_checked_without_a_server() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("synap.yaml");
    fs::write(&file, "server:\n  port: 15999\nreplication:\n  role: replica\n  master_address: m:15501\n")
        .expect("written");
    let path = file.to_str().expect("a path");
    let printed = synap(["check-config", path]).good();
    assert!(printed.contains("15999") && printed.contains("heartbeat_interval_ms"), "{printed}");

    fs::write(&file, "server:\n  port: many\n").expect("written");
    let refused = synap(["check-config", path]).ended_with(78);
    assert!(refused.stderr.contains("synap.yaml") && refused.stderr.contains("server.port"), "{}", refused.stderr);
    let environment = format!("SYNAP__SERVER__PORT=15998 synap check-config {path}");
    assert!(shell::bash(&environment, directory.path()).good().contains("15998"));
}

#[test]
fn a_data_directory_can_be_looked_at_and_verified() {
    let mut cluster = Cluster::start(0);
    for number in 0..20 {
        cluster.servers[0].set(&format!("key-{number}"), &format!("value-{number}"));
    }
    cluster.servers[0].post("/snapshot", &json!({})).with(200);
    cluster.servers[0].set("after the snapshot", "1");
    assert_eq!(cluster.servers[0].terminate(), 0);
    let data = cluster.servers[0].data_directory();
    let data = data.to_str().expect("a path");

    synap(["wal", "verify", data]).good();
    assert!(synap(["wal", "dump", data]).good().contains("after the snapshot"));
    synap(["snapshot", "verify", data]).good();
    assert!(synap(["snapshot", "dump", data]).good().contains("key-19"));
    assert_ne!(synap(["wal", "verify", "/nonexistent"]).code, 0);

    let snapshot = newest_snapshot(&cluster.servers[0].data_directory());
    let mut bytes = fs::read(&snapshot).expect("a snapshot can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).expect("a snapshot can be written");
    synap(["snapshot", "verify", data]).ended_with(74);
}

#[test]
fn a_graceful_stop_answers_what_is_in_flight() {
    let mut cluster = Cluster::start(1);
    let load = Load::start(&cluster.servers[0], 4, "key", "1");
    load.await_more(100);
    assert_eq!(cluster.servers[0].terminate(), 0);
    let book = load.stop();
    cluster.servers[0].start_ready();
    assert_eq!(book.missing(&cluster.servers[0]), [""; 0]);
    cluster.servers[0].signal("INT");
    assert_eq!(cluster.servers[0].await_exit(), 0);
}

fn newest_snapshot(data: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut directories = vec![data.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the data directory can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "snap") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.pop().expect("there is a snapshot")
}
