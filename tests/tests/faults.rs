//! Plugs that anybody can pull: held processes, wrong files, taken ports, damaged logs, garbage on the wire, full
//! disks. Each costs what it must, is named, and loses nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use synap_tests::cluster::{self, Cluster};
use synap_tests::server::Server;
use synap_tests::small_disk::SmallDisk;
use synap_tests::wait;
use tempfile::TempDir;

#[test]
fn a_held_master_is_noticed_and_goes_on_where_it_was() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("before", "1");
    cluster.await_converged();

    cluster.servers[0].signal("STOP");
    let replica = &cluster.servers[1];
    wait::until_true("the replica says that the master is down", || replica.status()["state"] == "master_down");
    let early = replica.metric("synap_replication_staleness_ms", &[]);
    wait::until_true("staleness grows", || replica.metric("synap_replication_staleness_ms", &[]) > early + 300.0);
    assert_eq!(replica.value("before"), Some(json!("1")), "it still serves");
    assert!(!replica.probe("/readyz?role=master"));

    cluster.servers[0].signal("CONT");
    cluster.servers[0].set("after", "2");
    cluster.await_converged();
    assert_eq!(cluster.servers[1].value("after"), Some(json!("2")));
    assert_eq!(cluster.servers[0].status()["role"], "master");
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut server = Server::new("n1", directory.path());
    server.configure("server:\n  port: 15500\nreplication:\n  heartbeat_intervall_ms: 100\n");
    server.spawn();
    assert_eq!(server.await_exit(), 78);
    let log = server.log();
    for needle in ["synap.yaml", "4", "heartbeat_intervall_ms", "heartbeat_interval_ms"] {
        assert!(log.contains(needle), "{needle} in: {log}");
    }
}

#[test]
fn a_taken_port_is_a_temporary_fault() {
    let mut cluster = Cluster::prepare(0, |_, _| {});
    let taken = TcpListener::bind(("127.0.0.1", cluster.servers[0].http)).expect("the port is free");
    cluster.servers[0].spawn();
    assert_eq!(cluster.servers[0].await_exit(), 75);
    let port = cluster.servers[0].http.to_string();
    assert!(cluster.servers[0].log().contains(&port), "{}", cluster.servers[0].log());

    drop(taken);
    let _taken = TcpListener::bind(("127.0.0.1", cluster.servers[0].replication)).expect("the port is free");
    cluster.servers[0].spawn();
    assert_eq!(cluster.servers[0].await_exit(), 75);
}

#[test]
fn a_data_directory_has_one_master_of_its_own() {
    let mut cluster = Cluster::start(0);
    let mut second = Server::new("second", cluster.directory());
    let mut config = cluster::config(&second, None);
    config["persistence"]["data_dir"] = json!(cluster.servers[0].data_directory());
    second.configure(&config.to_string());
    second.spawn();
    assert_eq!(second.await_exit(), 75);
    cluster.servers[0].set("still", "serving");
    assert!(cluster.servers[0].is_running());
}

#[test]
fn damage_in_the_middle_of_the_log_is_told_from_a_torn_tail() {
    let mut cluster = Cluster::start(0);
    for number in 0..50 {
        cluster.servers[0].set(&format!("key-{number}"), &format!("needle-{number}-{}", "x".repeat(600)));
    }
    cluster.servers[0].kill();

    let (file, at) = find_in_log(&cluster.servers[0].data_directory(), b"needle-20-");
    let mut bytes = fs::read(&file).expect("a segment can be read");
    bytes[at] ^= 0x55;
    fs::write(&file, &bytes).expect("a segment can be written");
    cluster.servers[0].spawn();
    assert_eq!(cluster.servers[0].await_exit(), 74);
    let log = cluster.servers[0].log();
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(log.contains(name) && log.contains("damaged at byte"), "it names {name} and the offset: {log}");

    bytes[at] ^= 0x55;
    fs::write(&file, &bytes).expect("a segment can be written");
    cluster.servers[0].start_ready();
    assert_eq!(cluster.servers[0].get("/kv/exists/key-49").json()["exists"], true);
}

#[test]
fn garbage_on_the_replication_port_costs_nothing_much() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("before", "1");
    cluster.await_converged();
    let port = cluster.servers[0].replication;
    let before = resident_bytes(cluster.servers[0].pid());

    let mut held = Vec::new();
    for _ in 0..50 {
        for garbage in garbage() {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port answers");
            // The server may close before all of it is written.
            let _ = stream.write_all(&garbage);
            held.push(stream);
        }
    }
    let mut read = held.swap_remove(0);
    read.set_read_timeout(Some(wait::DEADLINE)).expect("a timeout can be set");
    let mut answer = Vec::new();
    let closed = read.read_to_end(&mut answer);
    assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));

    cluster.servers[0].set("after", "2");
    cluster.await_converged();
    assert_eq!(cluster.servers[1].value("after"), Some(json!("2")));
    let grown = resident_bytes(cluster.servers[0].pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    drop(held);
}

#[test]
fn a_full_disk_refuses_writes_and_clears_by_itself() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let Some(disk) = SmallDisk::mount(directory.path(), 16) else { return };
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["persistence"] = json!({
        "data_dir": disk.path,
        "wal": { "segment_bytes_max": 1 << 20 },
        "snapshot": { "enabled": false },
    });
    server.configure(&config.to_string());
    let filler = disk.path.join("filler");
    fs::write(&filler, vec![1; 6 << 20]).expect("the disk has room for the filler");
    server.spawn();
    server.await_master();

    let value = "x".repeat(100_000);
    let mut written = Vec::new();
    let refusal = loop {
        let key = format!("key-{}", written.len());
        let answer = server.post("/kv/set", &json!({ "key": key, "value": value }));
        match answer.status {
            200 => written.push(key),
            // The write during which the disk filled up: it is in the log, and its fate is open.
            504 => {}
            _ => break answer,
        }
        assert!(written.len() < 1_000, "16 MiB are never full");
    };
    refusal.problem(507, "disk_full");
    // There may still be room for short ones.
    let refusal = (0..10_000).map(|_| server.post("/kv/incr/n", &json!({}))).find(|answer| answer.status != 200);
    refusal.expect("not for so many").problem(507, "disk_full");
    assert!(!written.is_empty());
    assert_eq!(server.get("/kv/exists/key-0").with(200).json()["exists"], true, "reads go on");
    let status = server.status();
    assert!(status["alarms"].as_array().expect("alarms").contains(&json!("disk_full")), "{status}");

    fs::remove_file(&filler).expect("the filler can be removed");
    wait::until_true("writes are taken again", || {
        server.post("/kv/set", &json!({ "key": "room", "value": "again" })).status == 200
    });
    server.kill();
    server.start_ready();
    for key in written {
        assert_eq!(server.get(&format!("/kv/exists/{key}")).with(200).json()["exists"], true, "{key}");
    }
}

/// What strangers, and broken or hostile peers, may send.
fn garbage() -> Vec<Vec<u8>> {
    let mut noise = Vec::new();
    let mut state = 1_u32;
    noise.resize_with(2_000, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    vec![
        Vec::new(),
        vec![b'S'],
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        noise,
        vec![0xff; 4_096],
        vec![0; 4_096],
        // A length of 4 GiB in either byte order, wherever the length may stand.
        [&b"SYNP\x01\x00"[..], &[0xff; 26]].concat(),
    ]
}

/// The segment file, and the offset in it, where `needle` stands.
fn find_in_log(data: &Path, needle: &[u8]) -> (PathBuf, usize) {
    let mut directories = vec![data.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the data directory can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("a file can be read");
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                return (path, at);
            }
        }
    }
    panic!("the log does not hold what was written");
}

fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kibibytes << 10
}

#[test]
fn half_open_clients_are_sent_away() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let mut silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", server.http)).expect("the port answers")).collect();
    for stream in &mut silent {
        stream.write_all(b"POST /kv/set HTTP/1.1\r\nContent-Le").expect("half a header can be sent");
    }
    server.set("others", "are served");
    let mut one = silent.swap_remove(0);
    one.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let mut answer = Vec::new();
    let ended = one.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
}
