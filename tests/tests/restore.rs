//! `synap restore`: from a backup to a cluster of its own, to one that replaces its own past, and nothing half-made in between.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use synap_tests::cluster::{Cluster, config};
use synap_tests::server::Server;
use synap_tests::shell::{self, Ran, synap};
use synap_tests::wait;
use tempfile::TempDir;

const KEYS: usize = 300;

#[test]
fn an_armed_cluster_comes_back_on_three_new_machines_beside_the_old_one() {
    let mut old = Cluster::armed(2);
    for number in 0..KEYS {
        old.servers[0].set(&format!("key-{number}"), &format!("value-{number}"));
    }
    let headers = [("Idempotency-Key", "order-7"), ("Content-Type", "application/json")];
    let once = |server: &Server| server.request("POST", "/kv/incr/orders", &headers, br#"{"amount":7}"#).with(200);
    once(&old.servers[0]);
    let backup = back_up(&old.servers[0], old.directory());
    let later = old.servers[0].post("/kv/set", &json!({ "key": "later", "value": "1" })).with(200);
    let later = later.header("synap-position").expect("a position").to_owned();

    let place = TempDir::new().expect("a temporary directory can be made");
    let mut new = machines(place.path());
    let said = restore(&backup, &new[0].data_directory(), &[]).good();
    let cluster = old.servers[0].status()["cluster_id"].as_str().expect("a cluster id").to_owned();
    for part in [&cluster, "(new; the backup's was", "(new)", "301 keys and 1 idempotency keys", "master_address"]
    {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    new[0].spawn();
    new[0].await_master();
    assert_eq!(new[0].status()["failover"]["armed"], false);
    new[1..].iter_mut().for_each(Server::start_ready);
    await_armed(&new);

    for server in &new {
        for number in 0..KEYS {
            assert_eq!(server.value(&format!("key-{number}")), Some(json!(format!("value-{number}"))));
        }
        assert_eq!(server.value("later"), None, "that was written after the backup");
    }
    assert_eq!(once(&new[0]).json()["value"], 7, "a retry is answered as before the backup, and adds nothing");
    let status = new[0].status();
    assert_ne!(status["cluster_id"], json!(cluster));
    assert!(status["epoch"].as_u64() > old.servers[0].status()["epoch"].as_u64());
    // Positions of the old cluster say nothing about this one.
    let outcome = new[0].get(&format!("/replication/outcome?position={later}")).with(200).json();
    assert_eq!(outcome["outcome"], "unknown", "{outcome}");
    let refused = new[0].get(&format!("/kv/get/key-1?min_position={later}")).with(409).json();
    assert_eq!(refused["code"], "foreign_position");

    // The new one elects; the old one has noticed nothing.
    new[0].kill();
    let leader = wait::until("another node leads", || {
        (1..new.len()).find(|number| new[*number].probe("/readyz?role=master"))
    });
    new[leader].set("after", "1");
    assert!(old.servers[0].probe("/readyz?role=master") && old.servers[0].value("after").is_none());
    old.servers[0].set("old", "1");
    old.await_converged();
    assert_eq!(old.servers[0].status()["members"].as_array().map(Vec::len), Some(3));
}

#[test]
fn nodes_of_two_clusters_refuse_each_other_by_name() {
    let mut old = Cluster::armed(2);
    old.servers[0].set("k", "1");
    let backup = back_up(&old.servers[0], old.directory());
    let place = TempDir::new().expect("a temporary directory can be made");
    let mut node = Server::new("restored", place.path());
    // Configured as a replica of the old cluster's master, by mistake.
    node.configure(&format!("{:#}\n", config(&node, Some(old.servers[0].replication))));
    restore(&backup, &node.data_directory(), &[]).good();
    node.spawn();
    node.await_master();
    wait::until_true("both say why", || {
        node.log().contains("it belongs to another cluster")
            && old.servers[0].log().contains("it belongs to another cluster")
    });
    node.set("mine", "1");
    assert_eq!(old.servers[0].value("mine"), None);
    assert!(old.servers[0].probe("/readyz?role=master"));

    // A replica of the old cluster that is pointed at it stays with its own.
    old.servers[2].kill();
    let port = node.replication;
    old.servers[2].reconfigure(|config| {
        config["replication"]["master_address"] = json!(format!("localhost:{port}"));
    });
    old.servers[2].start_ready();
    assert_eq!(old.servers[2].status()["cluster_id"], old.servers[0].status()["cluster_id"]);
}

#[test]
fn the_same_cluster_goes_back_to_its_backup_and_keeps_what_it_gives_up() {
    let mut cluster = Cluster::armed(2);
    cluster.servers[0].set("kept", "1");
    let backup = back_up(&cluster.servers[0], cluster.directory());
    cluster.servers[0].set("given-up", "1");
    cluster.await_converged();
    let before = cluster.servers[0].status();
    cluster.servers.iter_mut().for_each(Server::kill);

    let mut node = Server::new("restored", cluster.directory());
    node.configure(&format!("{:#}\n", config(&node, None)));
    let said = restore(&backup, &node.data_directory(), &["--same-cluster"]).good();
    assert!(said.contains("promotion by force") && said.contains("rollback files"), "{said}");
    // An emptied directory would take with it what a rollback file is to keep.
    let next = "start the others with their directories as they are: role replica";
    assert!(said.contains(next) && !said.contains("empty"), "{said}");
    node.spawn();
    node.await_master();
    assert_eq!(node.status()["cluster_id"], before["cluster_id"]);
    assert_ne!(node.status()["node_id"], before["node_id"]);

    let port = node.replication;
    for server in &mut cluster.servers[1..] {
        server.reconfigure(|config| {
            config["replication"]["master_address"] = json!(format!("localhost:{port}"));
        });
        server.start_ready();
    }
    wait::until_true("both follow it", || {
        cluster.servers[1..].iter().all(|server| server.value("given-up").is_none())
    });
    for server in &cluster.servers[1..] {
        let files = server.get("/replication/rollbacks").with(200).json();
        let id = files["rollbacks"][0]["id"].as_str().expect("a rollback file").to_owned();
        let shown = synap(["rollback", "show", &id, "--url", &server.url()]).good();
        assert!(shown.contains("given-up"), "{shown}");
    }
}

#[test]
fn what_cannot_be_restored_is_refused_and_nothing_is_changed() {
    let mut cluster = Cluster::start(0);
    cluster.servers[0].set("k", "v");
    let backup = back_up(&cluster.servers[0], cluster.directory());
    let place = TempDir::new().expect("a temporary directory can be made");
    let target = place.path().join("data");

    // A directory in use, and one that was.
    let used = cluster.servers[0].data_directory();
    let refused = restore(&backup, &used, &[]).ended_with(75);
    assert!(
        refused.stderr.contains("in use") && refused.stderr.contains(used.to_str().unwrap()),
        "{}",
        refused.stderr
    );
    assert_eq!(cluster.servers[0].terminate(), 0);
    let before = listing(&used);
    let refused = restore(&backup, &used, &[]).ended_with(1);
    assert!(refused.stderr.contains("is not empty: it holds"), "{}", refused.stderr);
    assert_eq!(listing(&used), before);

    // Somebody else's directory is not touched at all.
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "mine").unwrap();
    restore(&backup, &target, &[]).ended_with(1);
    assert_eq!(listing(&target), ["notes.txt"]);
    fs::remove_dir_all(&target).unwrap();

    // Damage anywhere, another version, other files.
    let whole = fs::read(&backup).unwrap();
    let broken = place.path().join("broken.snap");
    for at in [20, whole.len() / 2, whole.len() - 3] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&broken, bytes).unwrap();
        let refused = restore(&broken, &target, &[]).ended_with(74);
        assert!(
            refused.stderr.contains("broken.snap") && refused.stderr.contains("damaged"),
            "{}",
            refused.stderr
        );
    }
    fs::write(&broken, &whole[..whole.len() - 10]).unwrap();
    restore(&broken, &target, &[]).ended_with(74);
    fs::write(&broken, of_another_version(&whole)).unwrap();
    let refused = restore(&broken, &target, &[]).ended_with(74);
    assert!(refused.stderr.contains("version 9"), "{}", refused.stderr);
    restore(&place.path().join("absent.snap"), &target, &[]).ended_with(4);
    let refused = restore(&used, &target, &[]).ended_with(2);
    assert!(refused.stderr.contains(backup.file_name().unwrap().to_str().unwrap()), "{}", refused.stderr);
    assert!(!target.exists(), "nothing was made for a snapshot that is refused");
}

#[test]
fn a_restore_that_is_killed_is_refused_by_a_start_and_can_be_done_again() {
    let cluster = Cluster::start(0);
    let value = "v".repeat(60_000);
    for number in 0..40 {
        cluster.servers[0].set(&format!("key-{number}"), &value);
    }
    let backup = back_up(&cluster.servers[0], cluster.directory());
    let place = TempDir::new().expect("a temporary directory can be made");
    let mut node = Server::new("restored", place.path());
    node.configure(&format!("{:#}\n", config(&node, None)));
    let data = node.data_directory();
    // The process dies when it writes beyond a file size of 1 MiB, in the middle of the snapshot.
    let line =
        format!("ulimit -c 0; ulimit -f 1024; synap restore {} --data-dir {}", backup.display(), data.display());
    assert!(shell::bash(&line, place.path()).code > 128, "a signal ended it");
    assert!(listing(&data).iter().any(|name| name.ends_with(".tmp")), "{:?}", listing(&data));

    node.spawn();
    assert_eq!(node.await_exit(), 74);
    assert!(node.log().contains("run `synap restore` again"), "{}", node.log());

    restore(&backup, &data, &[]).good();
    assert!(
        listing(&data).iter().all(|name| !name.ends_with(".tmp") && name != "restoring"),
        "{:?}",
        listing(&data)
    );
    node.spawn();
    node.await_master();
    assert_eq!(node.value("key-39"), Some(json!(value)));
}

#[test]
fn a_restored_node_without_a_log_or_with_nobody_else_leads_too() {
    let cluster = Cluster::start(0);
    cluster.servers[0].set("k", "v");
    let backup = back_up(&cluster.servers[0], cluster.directory());
    let place = TempDir::new().expect("a temporary directory can be made");
    let logless = json!({ "persistence": { "wal": { "enabled": false } } });
    for (name, change) in [("logless", logless), ("standalone", json!({}))] {
        let mut node = Server::new(name, place.path());
        let mut settings = config(&node, None);
        merge(&mut settings, &change);
        if name == "standalone" {
            settings["replication"] = json!({ "role": "standalone" });
        }
        node.configure(&format!("{settings:#}\n"));
        restore(&backup, &node.data_directory(), &[]).good();
        node.spawn();
        node.await_master();
        let id = node.status()["node_id"].clone();
        assert_eq!(node.value("k"), Some(json!("v")));
        node.kill();
        node.spawn();
        node.await_master();
        assert_eq!((node.value("k"), &node.status()["node_id"]), (Some(json!("v")), &id));
    }
}

/// Three configured servers with empty directories, the first as master.
fn machines(place: &Path) -> Vec<Server> {
    let servers: Vec<Server> = (1..=3).map(|number| Server::new(&format!("new{number}"), place)).collect();
    let master = servers[0].replication;
    for (number, server) in servers.iter().enumerate() {
        let mut config = config(server, (number > 0).then_some(master));
        config["replication"]["failover"] = json!({ "mode": "auto" });
        server.configure(&format!("{config:#}\n"));
    }
    servers
}

#[track_caller]
fn await_armed(servers: &[Server]) {
    wait::until_true("every server knows that the cluster is armed", || {
        servers.iter().all(|server| server.status()["failover"]["armed"] == true)
    });
}

/// `POST /snapshot`, and a copy of the file.
#[track_caller]
fn back_up(server: &Server, to: &Path) -> PathBuf {
    server.post("/snapshot", &json!({})).with(200);
    let newest = listing(&server.data_directory()).into_iter().filter(|name| name.ends_with(".snap")).max();
    let newest = newest.expect("a snapshot");
    let backup = to.join(&newest);
    fs::copy(server.data_directory().join(&newest), &backup).expect("a file can be copied");
    backup
}

fn restore(backup: &Path, data: &Path, more: &[&str]) -> Ran {
    let arguments = ["restore", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    synap(arguments.iter().chain(more))
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The same with format version 9 and a good checksum in its first chunk.
fn of_another_version(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    // length u32 | crc u32 | number u32 | kind u8 | magic | version u16
    bytes[21] = 9;
    let end = 12 + u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let crc = crc32c(&bytes[8..end]).to_le_bytes();
    bytes[4..8].copy_from_slice(&crc);
    bytes
}

/// Bit by bit, from its polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}
