//! What a failover discards: put back to the letter, and an alarm for as long as it lies there.

use std::fs;

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;

/// Values that a parser of numbers or of objects would change.
const VALUES: [&str; 8] = [
    r#"{"z":123456789012345678901234567890,"a":1.10}"#,
    "1e400",
    "-0.0",
    r#"[0.1e-7,{"b":1,"a":2,"b":3}]"#,
    r#"{"base64":"YWJj"}"#,
    r#"{"base64":"/w=="}"#,
    r#"{"\u0062ase64":"gICA"}"#,
    "null",
];

#[test]
fn values_are_replayed_to_the_letter() {
    let mut cluster = Cluster::start(1);
    for key in ["doomed", "counted", "spared"] {
        cluster.servers[0].set(key, "1");
    }
    cluster.servers[0].set("word", "abc");
    cluster.await_converged();
    let id = discard(&mut cluster, |master| {
        for (number, value) in VALUES.iter().enumerate() {
            let body = format!("{{\"key\":\"v{number}\",\"value\":{value}}}");
            local(master, "POST", "/kv/set", &[], &body);
        }
        let tag = |key: &str| {
            let read = master.get(&format!("/kv/raw/{key}")).with(200);
            read.header("etag").expect("an ETag").to_owned()
        };
        local(master, "DELETE", "/kv/del/doomed", &[("If-Match", &tag("doomed"))], "");
        local(master, "POST", "/kv/incr/counted", &[("If-Match", &tag("counted"))], "");
        // It is refused now, and does nothing when it is replayed.
        master.request("POST", "/kv/incr/word?concern=local", &[], b"").problem(409, "not_an_integer");
        local(master, "POST", "/kv/expire/spared", &[("If-Match", "*")], r#"{"ttl":10000}"#);
    });
    let [old_master, master] = cluster.servers.as_slice() else { panic!("two servers") };
    master.set("spared", "written since");

    let replay = |more: &[&str]| {
        let url = old_master.url();
        shell::synap(["rollback", "replay", &id, "--url", &url].iter().chain(more)).good()
    };
    assert!(replay(&["--dry-run"]).contains("10 would be replayed"), "{}", replay(&["--dry-run"]));
    let told = replay(&[]);
    assert!(told.contains("10 replayed"), "{told}");
    for (number, value) in VALUES.iter().enumerate() {
        let stored = master.get(&format!("/kv/get/v{number}")).with(200);
        assert_eq!(stored.text(), *value, "{told}");
        assert_eq!(stored.header("content-type"), Some("application/json"));
    }
    assert_eq!((master.value("doomed"), master.value("counted")), (None, Some(json!("2"))), "{told}");
    assert_eq!(master.get("/kv/ttl/spared").with(200).json()["ttl"], -1, "{told}");
    assert!(replay(&[]).contains("0 replayed"), "what is done is not done again");

    let stranger = Cluster::start(0);
    let (dir, url) = (old_master.data_directory().display().to_string(), stranger.servers[0].url());
    let refused = shell::synap(["rollback", "replay", &id, "--data-dir", &dir, "--url", &url]);
    assert!(refused.code == 1 && refused.stderr.contains("nothing is replayed"), "{refused:?}");

    // Where nothing but rollback files was saved of a node, they can still be replayed.
    let saved = tempfile::tempdir().expect("a temporary directory can be made");
    let (rollback, name) = (saved.path().join("rollback"), format!("{id}.ndjson"));
    fs::create_dir(&rollback).expect("a directory can be made");
    fs::copy(old_master.data_directory().join("rollback").join(&name), rollback.join(&name))
        .expect("it is copied");
    let dir = saved.path().display().to_string();
    shell::synap(["rollback", "replay", &id, "--dry-run", "--data-dir", &dir, "--url", &master.url()]).good();
}

#[test]
fn the_alarm_tells_what_lies_there() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("before", "1");
    cluster.await_converged();
    let id = discard(&mut cluster, |master| local(master, "POST", "/kv/incr/n", &[], ""));
    let old_master = &mut cluster.servers[0];
    await_alarm(old_master, true, "the alarm is on");

    old_master.terminate();
    old_master.start_ready();
    await_alarm(old_master, true, "the alarm is on over a restart too");

    let file = old_master.data_directory().join("rollback").join(format!("{id}.ndjson"));
    let lines = fs::read_to_string(&file).expect("the file is there");
    fs::remove_file(&file).expect("it can be moved away");
    await_alarm(old_master, false, "the alarm ends where the file is gone");

    // What the log itself writes at a mastership's begin is discarded too, and nobody need do anything about it.
    let own: Vec<&str> = lines.lines().filter(|line| !line.contains("\"incr\"")).collect();
    assert!(!own.is_empty(), "{lines}");
    fs::write(&file, &lines).expect("a file can be written");
    await_alarm(old_master, true, "the alarm is on again");
    fs::write(&file, own.join("\n") + "\n").expect("a file can be written");
    await_alarm(old_master, false, "the alarm ends where nothing is a client's");
}

#[test]
fn the_log_that_was_rolled_back_gives_its_room_back() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("before", "1");
    cluster.await_converged();
    let value = format!("\"{}\"", "x".repeat(100_000));
    discard(&mut cluster, |master| {
        for number in 0..160 {
            let body = format!("{{\"key\":\"key-{number}\",\"value\":{value}}}");
            local(master, "POST", "/kv/set", &[], &body);
        }
    });
    cluster.await_converged();
    let old_master = &cluster.servers[0];
    assert_eq!((old_master.value("before"), old_master.value("key-7")), (Some(json!("1")), None));
    let taken = || {
        let files = fs::read_dir(old_master.data_directory()).expect("the data directory can be read").flatten();
        let log = files.filter(|file| file.file_name().to_string_lossy().starts_with("wal-"));
        log.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
    };
    wait::until_true("what is in the rollback file leaves the log", || taken() < 4 << 20);
    cluster.servers[0].kill();
    cluster.servers[0].start_ready();
    assert_eq!(cluster.servers[0].value("before"), Some(json!("1")), "it starts from what is left");
}

/// Lets the master do something alone, and replaces it. Gives the rollback file in which that ends.
fn discard(cluster: &mut Cluster, alone: impl FnOnce(&Server)) -> String {
    assert_eq!(cluster.servers[1].terminate(), 0);
    // A new mastership begins with an entry that nobody else has either.
    cluster.servers[0].terminate();
    cluster.servers[0].start();
    cluster.servers[0].await_master();
    alone(&cluster.servers[0]);
    cluster.servers[0].kill();
    cluster.servers[1].start();
    shell::synap(["promote", "--yes", "--url", &cluster.servers[1].url()]).ended_with(0);
    cluster.servers[1].await_master();
    cluster.servers[0].start();
    wait::until("it is saved", || {
        let listed = cluster.servers[0].get("/replication/rollbacks").with(200).json();
        listed["rollbacks"][0]["id"].as_str().map(str::to_owned)
    })
}

fn local(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
    server.request(method, &format!("{path}?concern=local"), headers, body.as_bytes()).with(200);
}

/// Status and metrics say so. An answer does not wait for a slow disk: it may tell of a moment ago.
fn await_alarm(server: &Server, on: bool, why: &str) {
    wait::until_true(why, || {
        let status = server.status();
        let told = status["alarms"].as_array().expect("a list").contains(&json!("rollback_written"));
        told == on && (server.metric("synap_alarm", &[("alarm", "rollback_written")]) > 0.0) == on
    });
}
