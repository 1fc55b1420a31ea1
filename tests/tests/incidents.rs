//! What happened to others with their disks and to their people, tried here: docs/incidents.md has the stories.

use std::fs;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use synap_tests::cluster::{Cluster, config};
use synap_tests::http::Client;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::small_disk::SmallDisk;
use synap_tests::wait;

fn has_alarm(server: &Server, alarm: &str) -> bool {
    server.status()["alarms"].as_array().is_some_and(|alarms| alarms.contains(&json!(alarm)))
}

/// Asks for a write that need not be taken; its status.
fn try_write(server: &Server) -> u16 {
    server.post("/kv/set?timeout_ms=300", &json!({ "key": "later", "value": "1" })).status
}

#[test]
fn a_lone_node_whose_directory_is_removed_answers_no_write_and_keeps_what_it_has() {
    let mut cluster = Cluster::prepare(1, |_, _| {});
    cluster.servers[0].start_ready();
    cluster.servers[0].await_master();
    cluster.servers[0].set("a", "1");
    fs::remove_dir_all(cluster.servers[0].data_directory()).expect("the data directory can be removed");

    let master = &cluster.servers[0];
    assert_eq!(try_write(master), 504, "nobody can say that it is on a disk");
    wait::until_true("the alarm is on", || has_alarm(master, "disk_hangs"));
    master.post("/kv/set", &json!({ "key": "b", "value": "2" })).problem(503, "disk_hangs");
    assert_eq!(master.value("a"), Some(json!("1")));
    assert!(master.log().contains("was removed by somebody else"), "{}", master.log());
    let why = master.get("/readyz?role=master").with(503).json()["why"].to_string();
    assert!(why.contains("its files were removed"), "{why}");

    // A replica takes it, and leads.
    cluster.servers[1].start();
    wait::until_true("a replica has it", || {
        let read = cluster.servers[1].client().get("/kv/get/a");
        read.is_ok_and(|read| read.status == 200 && read.text() == "\"1\"")
    });
    cluster.servers[0].kill();
    shell::synap(["promote", "--yes", "--url", &cluster.servers[1].url()]).good();
    cluster.servers[1].await_master();
    assert_eq!(cluster.servers[1].value("a"), Some(json!("1")));
}

#[test]
fn a_master_whose_directory_is_removed_hands_over() {
    let mut cluster = Cluster::armed(2);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    for entry in fs::read_dir(cluster.servers[0].data_directory()).expect("the data directory is there").flatten()
    {
        fs::remove_file(entry.path()).expect("a file can be removed");
    }
    try_write(&cluster.servers[0]);
    let leader = wait::until("another takes writes", || {
        (1..3).find(|number| cluster.servers[*number].probe("/readyz?role=master"))
    });
    cluster.servers[leader].set("b", "2");
    assert_eq!(cluster.servers[leader].value("a"), Some(json!("1")));
    assert!(has_alarm(&cluster.servers[0], "disk_hangs"));
    let unfit = wait::until("it is not fit for reads", || {
        Some(cluster.servers[0].get("/readyz")).filter(|answer| answer.status == 503)
    });
    let why = unfit.json()["why"].to_string();
    assert!(why.contains("its files were removed"), "{why}");

    // The process ends, and finds nothing: it begins anew as a replica.
    cluster.servers[0].kill();
    cluster.servers[0].start_ready();
    wait::until_true("it has everything", || cluster.servers[0].value("b") == Some(json!("2")));
}

#[test]
fn a_log_that_was_tidied_away_beside_its_snapshots_is_missed_at_the_start() {
    let mut cluster = Cluster::start(0);
    let server = &mut cluster.servers[0];
    server.set("a", "1");
    server.post("/snapshot", &json!({})).with(200);
    server.set("b", "2");
    server.kill();
    let aside = server.directory.join("aside");
    fs::create_dir(&aside).expect("a directory can be made");
    let files = || fs::read_dir(server.data_directory()).expect("the data directory is there").flatten();
    for entry in files().filter(|entry| entry.path().extension().is_some_and(|ending| ending == "log")) {
        fs::rename(entry.path(), aside.join(entry.file_name())).expect("a file can be moved");
    }
    server.spawn();
    assert_eq!(server.await_exit(), 66);
    assert!(server.log().contains("its log is gone"), "{}", server.log());

    // Empty files under their names are no log either.
    for entry in fs::read_dir(&aside).expect("it is there").flatten() {
        fs::write(server.data_directory().join(entry.file_name()), "").expect("a file can be written");
    }
    server.spawn();
    assert_eq!(server.await_exit(), 66);
    let verified = shell::synap(["wal", "verify", &server.data_directory().display().to_string()]);
    assert_eq!(verified.code, 4, "{verified:?}");

    // As the message says: put back, nothing is missing.
    for entry in fs::read_dir(&aside).expect("it is there").flatten() {
        fs::copy(entry.path(), server.data_directory().join(entry.file_name())).expect("a file can be copied");
    }
    server.start_ready();
    assert_eq!((server.value("a"), server.value("b")), (Some(json!("1")), Some(json!("2"))));
    server.kill();

    // Or the snapshots alone, as a new node.
    for entry in fs::read_dir(server.data_directory()).expect("the data directory is there").flatten() {
        if entry.path().extension().is_none_or(|ending| ending != "snap") {
            fs::remove_file(entry.path()).expect("a file can be removed");
        }
    }
    server.start_ready();
    assert_eq!((server.value("a"), server.value("b")), (Some(json!("1")), None));
}

#[test]
fn a_lock_that_was_removed_lets_nobody_else_in() {
    let mut cluster = Cluster::start(0);
    cluster.servers[0].set("a", "1");
    fs::remove_file(cluster.servers[0].data_directory().join("lock")).expect("the lock can be removed");

    let mut second = Server::new("second", cluster.directory());
    let mut settings = config(&second, None);
    settings["persistence"] = json!({ "data_dir": cluster.servers[0].data_directory() });
    second.configure(&format!("{settings:#}\n"));
    second.spawn();
    assert_eq!(second.await_exit(), 75, "{}", second.log());

    let first = &mut cluster.servers[0];
    for number in 0..100 {
        first.set(&format!("key-{number}"), &"x".repeat(3_000));
    }
    first.kill();
    let directory = first.data_directory();
    let verified = shell::synap(["wal", "verify", directory.to_str().expect("a path")]).good();
    assert!(verified.starts_with("good"), "{verified}");
    first.start_ready();
    assert_eq!(first.value("key-99"), Some(json!("x".repeat(3_000))));
}

#[test]
fn a_volume_without_inodes_is_a_full_one() {
    let mut cluster = Cluster::prepare(0, |_, config| {
        config["persistence"] = json!({ "wal": { "segment_bytes_max": 65_536 } });
    });
    let server = &mut cluster.servers[0];
    let Some(disk) = SmallDisk::mount(&server.directory, 64) else { return };
    let few = Command::new("mount").args(["-o", "remount,nr_inodes=40"]).arg(&disk.path).status();
    if !few.is_ok_and(|status| status.success()) {
        return println!("skipped: a volume cannot have few inodes here");
    }
    server.reconfigure(|config| config["persistence"]["data_dir"] = json!(disk.path));
    server.start_ready();
    server.await_master();
    server.set("a", "1");
    let files: Vec<_> =
        (0..).map(|n| disk.path.join(format!("junk-{n}"))).take_while(|it| fs::write(it, "").is_ok()).collect();

    wait::until_true("the volume is known to be full", || {
        server.post("/kv/set?timeout_ms=300", &json!({ "key": "b", "value": "x".repeat(20_000) }));
        has_alarm(server, "disk_full")
    });
    assert_eq!(server.value("a"), Some(json!("1")));
    files.iter().for_each(|file| fs::remove_file(file).expect("a file can be removed"));
    wait::until_true("writes are taken again", || try_write(server) == 200);
    wait::until_true("the alarm is off", || !has_alarm(server, "disk_full"));
    server.kill();
    server.start_ready();
    assert_eq!(server.value("later"), Some(json!("1")));
}

#[test]
fn clients_that_hold_all_connections_and_ask_nothing_keep_nobody_out() {
    let mut cluster = Cluster::prepare(0, |_, config| config["limits"] = json!({ "connections_max": 4 }));
    cluster.servers[0].spawn();
    cluster.servers[0].await_master();
    let server = &cluster.servers[0];
    let connected = || -> Option<Client> {
        let mut client = server.client();
        client.get("/livez").is_ok_and(|answer| answer.status == 200).then_some(client)
    };
    let mut held: Vec<Client> = (0..4).map(|_| wait::until("a seat is free", connected)).collect();
    // Whoever comes now gets the seat of one that has asked nothing for a while.
    wait::until_true("a probe is answered", || server.probe("/livez"));
    wait::until_true("an operator is answered", || shell::synap(["status", "--url", &server.url()]).code == 0);
    let still: usize = held.iter_mut().map(|client| usize::from(client.get("/livez").is_ok())).sum();
    assert!(still < 4, "one of them had to leave");
    drop(held);
}

#[test]
fn what_a_container_platform_puts_into_the_environment_changes_nothing() {
    let mut cluster = Cluster::prepare(0, |_, _| {});
    let variables = [
        ("SYNAP_SERVICE_HOST", "10.0.0.11"),
        ("SYNAP_SERVICE_PORT", "15500"),
        ("SYNAP_PORT", "tcp://10.0.0.11:15500"),
        ("SYNAP_PORT_15500_TCP", "tcp://10.0.0.11:15500"),
        ("SYNAP_PORT_15500_TCP_ADDR", "10.0.0.11"),
    ];
    let server = &mut cluster.servers[0];
    server.environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    server.start_ready();
    server.await_master();
    server.set("a", "1");
    // Nobody's proxy stands between an operator and a node either.
    let asked =
        format!("http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 synap get --url {} a", server.url());
    assert_eq!(shell::bash(&asked, &server.directory).good().trim(), "\"1\"");
}

#[test]
fn a_voter_that_was_replaced_comes_back_and_disturbs_nobody() {
    let mut cluster = Cluster::prepare(3, |_, config| {
        config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": 3 });
    })
    .begun()
    .once_armed();
    let members = cluster.servers[0].status()["members"].as_array().cloned().expect("members");
    let named = |votes: bool| -> Vec<String> {
        let these = members.iter().filter(|it| it["voter"] == votes && it["node_name"] != "n1");
        these.map(|member| member["node_name"].as_str().expect("a name").to_owned()).collect()
    };
    let (gone, spare) = (named(true)[0].clone(), named(false)[0].clone());
    let at = cluster.servers.iter().position(|server| server.name == gone).expect("a server");
    cluster.servers[at].kill();
    let replace = json!({ "action": "replace", "node": gone, "by": spare });
    wait::until_true("it is replaced", || cluster.servers[0].post("/replication/members", &replace).status == 200);
    wait::until_true("the spare votes", || {
        let members = cluster.servers[0].status()["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["node_name"] == *spare && member["voter"] == true)
    });
    let epoch = cluster.servers[0].status()["epoch"].clone();

    cluster.servers[at].start_ready();
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    let status = cluster.servers[0].status();
    assert_eq!((&status["epoch"], &status["role"]), (&epoch, &json!("master")));
    let back =
        status["members"].as_array().and_then(|all| all.iter().find(|it| it["node_name"] == *gone).cloned());
    assert_eq!(back.expect("it is a member again")["voter"], false);
}

#[test]
fn an_emptied_voter_is_named_and_its_successor_does_not_count_for_it() {
    let mut cluster = Cluster::armed(2);
    cluster.servers[0].set("a", "1");
    cluster.servers[2].kill();
    fs::remove_dir_all(cluster.servers[2].data_directory()).expect("the data directory can be removed");
    cluster.servers[2].start_ready();
    wait::until_true("it has everything", || cluster.servers[2].value("a") == Some(json!("1")));
    let shown = shell::synap(["status", "--url", &cluster.servers[0].url()]).good();
    assert!(shown.contains("another one: its disk was emptied or replaced"), "{shown}");
    let members = cluster.servers[0].status()["members"].as_array().cloned().unwrap_or_default();
    let n3: Vec<&Value> = members.iter().filter(|member| member["node_name"] == "n3").collect();
    assert_eq!(n3.len(), 2, "the old node and the new one: {members:?}");
    assert!(n3.iter().all(|member| member["voter"] != member["connected"]), "the old one votes: {members:?}");

    // The old one is removed by its id, and the new one has its vote.
    let old = n3.iter().find(|member| member["voter"] == true).expect("the old one")["node_id"].clone();
    let remove = json!({ "action": "remove", "node": old });
    wait::until_true("it is removed", || cluster.servers[0].post("/replication/members", &remove).status == 200);
    wait::until_true("the new one votes", || {
        let members = cluster.servers[0].status()["members"].as_array().cloned().unwrap_or_default();
        members.len() == 3 && members.iter().all(|member| member["voter"] == true)
    });
}

#[test]
fn snapshots_that_are_killed_again_and_again_leave_nothing_behind() {
    let mut cluster = Cluster::prepare(0, |_, _| {});
    let server = &mut cluster.servers[0];
    server.start_ready();
    server.await_master();
    for number in 0..12 {
        server.set(&format!("key-{number}"), &"x".repeat(1 << 20));
    }
    let unfinished = |server: &Server| {
        let names = fs::read_dir(server.data_directory()).expect("the data directory is there").flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")).count()
    };
    for _ in 0..4 {
        let mut client = server.client();
        let asked = thread::spawn(move || client.post("/snapshot", &json!({})));
        wait::until_true("it is being written, or is done", || unfinished(server) > 0 || asked.is_finished());
        server.kill();
        // Whether it was answered before the end is nobody's concern here.
        let _ = asked.join().expect("no panic");
        server.start_ready();
        server.await_master();
    }
    server.post("/snapshot", &json!({})).with(200);
    wait::until_true("nothing unfinished is left", || unfinished(server) == 0);
    assert_eq!(server.value("key-11"), Some(json!("x".repeat(1 << 20))));
}
