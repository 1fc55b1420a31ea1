//! The command line: what a person types, and the exit code that a script sees.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use synap_tests::cluster::{self, Cluster};
use synap_tests::load::Load;
use synap_tests::server::Server;
use synap_tests::shell::{self, synap};
use synap_tests::wait;
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
fn negative_numbers_are_keys_values_and_amounts() {
    let cluster = Cluster::start(0);
    let url = cluster.servers[0].url();
    synap(["set", "k", "-1", "--url", &url]).good();
    assert_eq!(synap(["get", "--raw", "k", "--url", &url]).good(), "-1");
    assert_eq!(synap(["incr", "k", "-5", "--url", &url]).good().trim_end(), "-6");
    assert_eq!(synap(["incr", "k", "--url", &url]).good().trim_end(), "-5");
    synap(["set", "-7", "-1.5e3", "--json", "--url", &url]).good();
    assert_eq!(synap(["get", "-7", "--url", &url]).good().trim_end(), "-1.5e3");
    synap(["del", "-7", "--url", &url]).good();
    synap(["set", "k", "text", "--url", &url]).good();
    let refused = synap(["incr", "k", "1", "--url", &url]).ended_with(1);
    assert!(refused.stderr.contains("not_an_integer"), "{}", refused.stderr);
    synap(["incr", "k", "much", "--url", &url]).ended_with(2);
    synap(["set", "k", "--jsn", "--url", &url]).ended_with(2);
}

#[test]
fn of_several_addresses_the_first_that_answers_is_asked() {
    let mut cluster = Cluster::start(1);
    let (master, replica) = (cluster.servers[0].url(), cluster.servers[1].url());
    let nobody = "http://127.0.0.1:1";
    synap(["set", "k", "v", "--url", &format!("{nobody},{replica}")]).good();
    // One that takes connections and says nothing is passed over too.
    cluster.servers[1].signal("STOP");
    let line = format!("SYNAP_URL='{replica}, {master}' synap get --raw k");
    assert_eq!(shell::bash(&line, cluster.directory()).good(), "v");
    cluster.servers[1].signal("CONT");

    let line = format!("SYNAP_URL='{replica},' synap get --raw k");
    assert_eq!(shell::bash(&line, cluster.directory()).good(), "v");
    synap(["get", "k", "--url", ""]).ended_with(2);
    // An empty variable is none: the usual port is asked, whoever listens there or not.
    let line = "SYNAP_URL= synap get 'no such key'";
    assert_ne!(shell::bash(line, cluster.directory()).code, 2);
    let port = format!("http://127.0.0.1:{}", cluster.servers[0].replication);
    let refused = synap(["get", "k", "--url", &port]).ended_with(1);
    assert!(refused.stderr.contains("replication port?"), "{}", refused.stderr);

    let refused = synap(["get", "k", "--url", &format!("{nobody},http://127.0.0.1:2")]).ended_with(1);
    assert!(
        refused.stderr.contains("127.0.0.1:1:") && refused.stderr.contains("127.0.0.1:2:"),
        "{}",
        refused.stderr
    );
    synap(["get", "k", "--url", &format!("{master},https://x")]).ended_with(2);
    // What one node is to do is asked of one.
    for command in [&["promote", "--yes"][..], &["rollback", "list"]] {
        let refused = synap(command.iter().chain(&["--url", &format!("{master},{replica}")])).ended_with(2);
        assert!(refused.stderr.contains("one node"), "{}", refused.stderr);
    }
    cluster.await_converged();
}

#[test]
fn the_environment_alone_starts_a_server() {
    let place = TempDir::new().expect("a temporary directory can be made");
    let mut server = Server::new("n1", place.path());
    let variables = [
        ("SYNAP__SERVER__HOST", "127.0.0.1".to_owned()),
        ("SYNAP__SERVER__PORT", server.http.to_string()),
        ("SYNAP__REPLICATION__REPLICA_LISTEN_ADDRESS", format!("127.0.0.1:{}", server.replication)),
        ("SYNAP__PERSISTENCE__DATA_DIR", "data".to_owned()),
    ];
    server.environment = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    // Whoever forgets the file gets no empty server: the role has to be said.
    server.spawn_without_file();
    assert_eq!(server.await_exit(), 2);
    assert!(server.log().contains("SYNAP__REPLICATION__ROLE=master"), "{}", server.log());
    assert!(!server.data_directory().exists());

    server.environment.push(("SYNAP__REPLICATION__ROLE".to_owned(), "master".to_owned()));
    server.spawn_without_file();
    server.await_master();
    server.set("k", "v");
    assert_eq!(server.terminate(), 0);
    assert!(server.data_directory().exists());

    server.environment.push(("SYNAP__SERVER__PROT".to_owned(), "1".to_owned()));
    server.spawn_without_file();
    assert_eq!(server.await_exit(), 78);
    assert!(server.log().contains("did you mean SYNAP__SERVER__PORT?"), "{}", server.log());

    let printed = shell::bash("SYNAP__REPLICATION__ROLE=standalone synap check-config", place.path()).good();
    assert!(printed.contains("environment SYNAP__REPLICATION__ROLE"), "{printed}");
    synap(["check-config"]).ended_with(2);
    // Who has read enough, or has no room for warnings, is no failure.
    fs::write(
        place.path().join("warns.yaml"),
        "server:\npersistence: {wal: {enabled: false}, snapshot: {enabled: false}}\n",
    )
    .expect("a file can be written");
    assert!(shell::bash("synap check-config warns.yaml", place.path()).stderr.contains("nothing survives"));
    shell::bash("synap check-config warns.yaml 2>/dev/full", place.path()).good();
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
fn tables_fit_a_terminal_and_are_coloured_only_there() {
    let cluster = Cluster::start(2);
    let place = cluster.directory();
    for command in ["status", "members"] {
        let command = format!("synap {command} --url {}", cluster.servers[0].url());
        let piped = shell::bash(&format!("{command} | cat"), place).good();
        assert!(!piped.contains('\u{1b}'), "{piped:?}");
        let on_terminal = |before: &str| {
            let line = format!("TERM=xterm script -qec 'stty cols 80; {before} {command}' /dev/null </dev/null");
            shell::bash(&line, place).good()
        };
        let shown = on_terminal("");
        assert!(shown.contains('\u{1b}') && shown.contains("n3"), "{shown:?}");
        let plain = on_terminal("NO_COLOR=1");
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(plain.lines().take(4).all(|line| line.trim_end().chars().count() <= 80), "{plain}");
    }
}

#[test]
fn a_voter_that_does_not_answer_is_named_with_since_when() {
    let mut cluster = Cluster::armed(2);
    cluster.servers[2].kill();
    let url = cluster.servers[0].url();
    wait::until_true("the master counts since when", || {
        let status = synap(["status", "--url", &url]).good();
        let said = status.lines().find(|line| line.starts_with("voter n3: "));
        said.is_some_and(|said| said.contains("last heard from") && said.contains(", by n1"))
    });
    let row = |table: &str| table.lines().find(|line| line.starts_with("n3 ")).unwrap_or_default().to_owned();
    assert!(row(&synap(["status", "--url", &url]).good()).contains("no answer"));
    let members = synap(["members", "--url", &url]).good();
    assert!(row(&members).contains("no, for "), "{members}");
}

/// Who led, and who was followed or led until lately, was heard from with every message.
#[test]
fn since_when_a_former_master_is_silent_is_told_by_who_followed_it() {
    let mut cluster = Cluster::armed(2);
    synap(["switchover", "--yes", "--to", "n3", "--url", &cluster.servers[0].url()]).good();
    cluster.servers[2].await_master();
    cluster.await_converged();
    // Hellos are as old as the switchover.
    std::thread::sleep(Duration::from_secs(4));
    cluster.servers[2].kill();
    let killed = Instant::now();
    let leader = cluster.await_leader();
    for server in &cluster.servers[..2] {
        let status = server.status();
        let members = status["members"].as_array().expect("members");
        let told = members.iter().find(|member| member["node_name"] == "n3").expect("n3 is a member");
        let told = told["last_contact_ms"].as_u64().map(Duration::from_millis).expect("it was heard from");
        assert!(told < killed.elapsed() + Duration::from_secs(2), "{} of n{}: {told:?}", server.name, leader + 1);
    }
}

/// Both replicas hold the same, the second of them in memory alone.
#[test]
fn a_replica_with_a_log_is_named_for_a_promotion() {
    let mut cluster = Cluster::start_with(2, |number, config| {
        if number == 2 {
            config["persistence"] = json!({ "wal": { "enabled": false } });
        }
    });
    cluster.servers[0].set("k", "v");
    cluster.await_converged();
    cluster.servers[0].kill();
    for asked in [1, 2] {
        let url = cluster.servers[asked].url();
        wait::until_true("the advice names the one with a log", || {
            let said = synap(["status", "--url", &url]).good();
            said.contains("nobody is elected by itself") && said.contains("makes n2 the master")
        });
    }
    let durability = cluster.servers[1..].iter().map(|server| server.status()["durability"].clone());
    assert_eq!(durability.collect::<Vec<_>>(), ["synced", "memory"]);
}

#[test]
fn of_two_members_with_one_name_none_is_removed_by_it() {
    let mut cluster = Cluster::start(2);
    cluster.servers[2].kill();
    cluster.servers[1].reconfigure(|config| config["replication"]["node_name"] = json!("n3"));
    assert_eq!(cluster.servers[1].terminate(), 0);
    cluster.servers[1].start_ready();
    let url = cluster.servers[0].url();
    let ids = || {
        let members = cluster.servers[0].status()["members"].as_array().cloned().unwrap_or_default();
        let called = members.into_iter().filter(|member| member["node_name"] == "n3");
        called
            .map(|member| (member["connected"] == true, member["node_id"].as_str().unwrap().to_owned()))
            .collect()
    };
    let called: Vec<(bool, String)> =
        wait::until("both are known", || Some(ids()).filter(|ids: &Vec<_>| ids.len() == 2));
    let refused = synap(["members", "remove", "n3", "--yes", "--url", &url]).ended_with(1);
    for (_, id) in &called {
        assert!(refused.stderr.contains(id), "{id} in: {}", refused.stderr);
    }
    assert_eq!(ids().len(), 2);
    let asked = json!({ "action": "remove", "node": "n3" });
    let refused = cluster.servers[0].post("/replication/members", &asked).with(409).text();
    assert!(called.iter().all(|(_, id)| refused.contains(id.as_str())), "{refused}");

    // The first digits of an id, as the table shows them, are enough.
    let (_, gone) = called.iter().find(|(connected, _)| !connected).expect("one of them is dead");
    synap(["members", "remove", &gone[..8], "--yes", "--url", &url]).good();
    wait::until_true("it is forgotten", || ids().len() == 1);
}

#[test]
fn a_server_that_stands_alone_is_not_promoted_and_nobody_is_elected_beside_it() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["replication"] = json!({ "enabled": false });
    server.configure(&config.to_string());
    server.spawn();
    server.await_master();
    let refused = server.post("/replication/promote", &json!({})).with(409).text();
    assert!(refused.contains("stands alone"), "{refused}");
    let refused = synap(["promote", "--yes", "--url", &server.url()]).ended_with(1);
    assert!(refused.stderr.contains("stands alone"), "{}", refused.stderr);
}

#[test]
fn a_pause_says_where_nobody_elects() {
    let cluster = Cluster::start(1);
    let url = cluster.servers[0].url();
    let told = synap(["pause", "--yes", "--url", &url]).good();
    assert!(told.contains("nobody is elected in any case: "), "{told}");
    assert!(synap(["resume", "--url", &url]).good().contains("nobody is elected in any case: "));
    let nobody = "0123456789abcdef0123456789abcdef";
    let told = synap(["members", "remove", nobody, "--yes", "--url", &url]).good();
    assert!(told.contains("there is nothing to remove") && told.contains("n2"), "{told}");
}

#[test]
fn usage_and_absence_have_their_codes() {
    synap(["no-such-command"]).ended_with(2);
    synap(["serve"]).ended_with(2);
    synap(["--version"]).good();
    let help = synap(["--help"]).good();
    for command in
        "serve dev check-config status promote switchover pause resume members get set incr del rollback wal snapshot restore"
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

    let told = synap(["check-config", "--role", "master", "--data-dir", "/dev/null/x"]).ended_with(0);
    assert!(
        told.stderr.contains("warning: ") && told.stderr.contains("/dev/null is not a directory"),
        "{}",
        told.stderr
    );
    let nowhere = ["check-config", "--role", "replica", "--master-address", "no-such-host.invalid:15501"];
    let told = synap(nowhere).ended_with(0);
    assert!(told.stderr.contains("no-such-host.invalid stands for no address"), "{}", told.stderr);
    let told = synap(["check-config", "--role", "master", "--host", "no-such-host.invalid"]).ended_with(0);
    assert!(told.stderr.contains("a server cannot listen there"), "{}", told.stderr);
    let told = synap(["check-config", "--role", "master", "--data-dir", "not-there-yet"]).ended_with(0);
    assert!(!told.stderr.contains("directory"), "{}", told.stderr);
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

/// The threads that write to the disk may be at work when the process ends.
#[test]
fn a_second_signal_ends_the_process_without_a_panic() {
    let place = TempDir::new().expect("a temporary directory can be made");
    let mut server = Server::new("n1", place.path());
    let variables = [
        ("SYNAP__SERVER__HOST", "127.0.0.1".to_owned()),
        ("SYNAP__SERVER__PORT", server.http.to_string()),
        ("SYNAP__REPLICATION__ROLE", "replica".to_owned()),
        ("SYNAP__REPLICATION__MASTER_ADDRESS", "127.0.0.1:9".to_owned()),
        ("SYNAP__REPLICATION__REPLICA_LISTEN_ADDRESS", format!("127.0.0.1:{}", server.replication)),
        ("SYNAP__PERSISTENCE__DATA_DIR", "data".to_owned()),
    ];
    server.environment = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for _ in 0..20 {
        server.spawn_without_file();
        server.await_probe("/livez");
        server.signal("INT");
        server.signal("INT");
        // It may have come to its end before the second.
        assert!([0, 143].contains(&server.await_exit()), "{}", server.log());
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
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
