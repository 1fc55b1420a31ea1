//! A disk that does nothing: another leads, everything but writes is answered, and everybody says what is so.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::hanging::HangingDisk;
use synap_tests::http::{Client, Response};
use synap_tests::server::Server;
use synap_tests::wait;

/// An armed cluster of three, of which the disk of the master is in our hands.
fn armed(change: impl Fn(&mut Value)) -> Option<(Cluster, HangingDisk)> {
    let mut cluster = Cluster::prepare(2, |_, config| {
        config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": 3 });
        change(config);
    });
    let disk = HangingDisk::under(&mut cluster.servers[0])?;
    Some((cluster.begun().once_armed(), disk))
}

fn patient(server: &Server) -> Client {
    server.client().patience(Duration::from_secs(60))
}

fn alarms(server: &Server) -> Vec<Value> {
    server.status()["alarms"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_master_whose_disk_hangs_is_replaced_and_tells_the_truth() {
    let Some((mut cluster, disk)) = armed(|_| {}) else { return };
    cluster.servers[0].set("before", "1");
    cluster.await_converged();

    disk.hang();
    let mut client = patient(&cluster.servers[0]);
    let write = thread::spawn(move || client.post("/kv/set?timeout_ms=3000", &json!({"key": "k", "value": "v"})));
    let leader = wait::until("another takes writes", || {
        (1..3).find(|number| cluster.servers[*number].probe("/readyz?role=master"))
    });
    cluster.servers[leader].set("meanwhile", "2");

    let old = &cluster.servers[0];
    let status = old.status();
    assert_eq!((&status["role"], &status["failover"]["why_not"]), (&json!("replica"), &json!("its disk hangs")));
    assert!(alarms(old).contains(&json!("disk_hangs")), "{status}");
    assert_eq!(old.metric("synap_alarm", &[("alarm", "disk_hangs")]), 1.0);
    assert!(old.metric("synap_wal_waits_ms", &[]) > 0.0);
    assert!(old.log().contains("alarm disk_hangs is on: nothing has reached the disk for"), "{}", old.log());
    assert!(old.probe("/livez") && !old.probe("/readyz?role=master"));
    assert_eq!(old.value("before"), Some(json!("1")), "it still serves reads");
    let answer = write.join().expect("no panic").expect("an answer");
    assert_eq!(answer.problem(504, "timeout")["outcome"], "pending");
    wait::until_true("the new master knows why the old one could not lead", || {
        let status = cluster.servers[leader].status();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["node_name"] == "n1" && member["why_not"] == "its disk hangs")
    });

    disk.go_on();
    wait::until_true("the alarm ends", || !alarms(&cluster.servers[0]).contains(&json!("disk_hangs")));
    cluster.await_converged();
    assert_eq!(cluster.servers[0].value("meanwhile"), Some(json!("2")));
}

#[test]
fn nothing_waits_behind_async_writers_on_a_disk_that_hangs() {
    let mut cluster = Cluster::prepare(0, |_, config| {
        config["replication"]["failover"] = json!({ "mode": "manual", "disk_timeout_ms": 3000 });
    });
    let Some(disk) = HangingDisk::under(&mut cluster.servers[0]) else { return };
    let mut cluster = cluster.begun();
    let server = &mut cluster.servers[0];
    server.set("before", "1");

    disk.hang();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let mut client = patient(server);
            thread::spawn(move || {
                // Each answer makes another batch; in the end they wait, and are told so.
                let write =
                    |_| client.post("/kv/set?concern=async&timeout_ms=500", &json!({"key": "k", "value": "v"}));
                let answers = (0..20_000).map(write).map(|answer| answer.expect("an answer"));
                answers.take_while(|answer| answer.status == 200).count()
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.value("before"), Some(json!("1")));
        server.status();
        assert!(server.probe("/livez"));
        thread::sleep(Duration::from_millis(50));
    }
    wait::until_true("it says that it takes no writes", || !server.probe("/readyz?role=master"));
    server.post("/kv/set", &json!({"key": "k", "value": "v"})).problem(503, "disk_hangs");
    server
        .post("/replication/members", &json!({"action": "priority", "node": "n1", "priority": 1}))
        .problem(503, "disk_hangs");
    assert_eq!(server.get("/kv/get/before").with(200).json(), json!("1"));
    for writer in writers {
        assert!(writer.join().expect("no panic") < 20_000, "writers are told no");
    }

    disk.go_on();
    server.await_master();
    server.set("after", "2");
}

/// A verb that is in flight when the disk fails: nobody can tell whether it will come about.
fn in_flight(ask: impl FnOnce(Client) -> std::io::Result<Response> + Send + 'static) {
    let Some((mut cluster, disk)) =
        armed(|config| config["replication"]["failover"]["disk_timeout_ms"] = json!(60_000))
    else {
        return;
    };
    let before = cluster.servers[0].status()["positions"]["last"].clone();
    disk.hang();
    let client = patient(&cluster.servers[0]);
    let asked = thread::spawn(move || ask(client));
    wait::until_true("it is in the log", || cluster.servers[0].status()["positions"]["last"] != before);
    disk.fail();
    let problem = asked.join().expect("no panic").expect("an answer").problem(504, "timeout");
    assert_eq!(problem["outcome"], "pending", "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("the leader")), "{problem}");
    assert_eq!(cluster.servers[0].await_exit(), 74);
}

#[test]
fn a_change_of_membership_that_a_failed_disk_cuts_off_is_pending() {
    in_flight(|mut client| {
        client.post("/replication/members", &json!({"action": "priority", "node": "n2", "priority": 7}))
    });
}

#[test]
fn a_pause_that_a_failed_disk_cuts_off_is_pending() {
    in_flight(|mut client| client.post("/replication/pause", &json!({"ttl_secs": 60})));
}
