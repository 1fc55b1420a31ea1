//! Automatic failover with real processes at the guide's roles: who replaces a master that is gone, and what an
//! operator can ask of the cluster meanwhile.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::http::Response;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let mut cluster = armed(2);
    cluster.servers[0].set("before", "1");
    let (epoch, _) = cluster.await_converged();

    cluster.servers[0].kill();
    let master = await_new_master(&cluster, 0);
    assert_eq!(cluster.servers[master].value("before"), Some(json!("1")));
    let status = cluster.servers[master].status();
    assert!(status["epoch"].as_u64().is_some_and(|newer| newer > epoch), "{status}");
    let history = status["failover"]["history"].as_array().expect("a history");
    assert_eq!(history.last().expect("a change")["kind"], "election");
    assert_eq!(cluster.servers[master].metric("synap_replication_elections_total", &[("result", "won")]), 1.0);
    cluster.servers[master].set("after", "2");

    cluster.servers[0].start();
    cluster.await_converged();
    let status = cluster.servers[0].status();
    assert_eq!((&status["role"], &status["config_role_ignored"]), (&json!("replica"), &json!(true)), "{status}");
    assert_eq!(cluster.servers[0].value("after"), Some(json!("2")));

    // Back as configured: nothing is ignored any more, on either side.
    cluster.servers[master].post("/replication/switchover", &json!({ "to": "n1" })).with(200);
    wait::until_true("the roles are as configured", || {
        cluster.servers.iter().all(|server| server.status()["config_role_ignored"] == false)
    });
}

/// What a client of any node does: the same line until it works.
#[test]
fn curl_follows_through_a_failover_and_a_retry_is_done_once() {
    let mut cluster = armed(2);
    let replica = cluster.servers[2].url();
    let curl = format!(
        "curl -sSL --retry 60 --retry-all-errors --retry-delay 1 --fail -X POST {replica}/kv/incr/n \
         -H 'Idempotency-Key: order-17' -d '{{\"amount\":3}}'"
    );
    let directory = cluster.directory().to_owned();
    let first: Value = serde_json::from_str(&shell::bash(&curl, &directory).good()).expect("JSON");
    assert_eq!(first["value"], 3);

    cluster.servers[0].kill();
    let again: Value = serde_json::from_str(&shell::bash(&curl, &directory).good()).expect("JSON");
    assert_eq!((&again["value"], &again["position"]), (&first["value"], &first["position"]));
    let master = await_new_master(&cluster, 0);
    assert_eq!(cluster.servers[master].value("n"), Some(json!(3)));
}

#[test]
fn a_switchover_loses_nothing_at_any_concern() {
    let cluster = armed(2);
    let [first, second, third] = cluster.servers.as_slice() else { panic!("three servers") };
    let acked: Vec<String> = thread::scope(|scope| {
        let writer = scope.spawn(|| write_along(first, "async", 400));
        thread::sleep(Duration::from_millis(50));
        // Asked of a replica, which sends it on.
        let sent_on = second.post("/replication/switchover", &json!({ "to": "n2" })).with(307);
        assert_eq!(sent_on.header("location"), Some(&*format!("{}/replication/switchover", first.url())));
        let done = first.post("/replication/switchover", &json!({ "to": "n2" })).with(200).json();
        assert_eq!(done["leader"]["http"], format!("127.0.0.1:{}", second.http));
        writer.join().expect("the writer ends")
    });
    assert!(!acked.is_empty(), "something was written meanwhile");
    assert_eq!(second.status()["role"], "master");
    for key in &acked {
        assert!(second.value(key).is_some(), "{key} was answered and is lost");
    }

    // Done already: the same again is good, and nothing changes.
    let epoch = second.status()["epoch"].clone();
    assert_eq!(second.post("/replication/switchover", &json!({ "to": "n2" })).with(200).json()["epoch"], epoch);
    second.post("/replication/switchover", &json!({ "to": "n9" })).problem(409, "conflict");
    second.post("/replication/switchover", &json!({ "timeout_ms": 0 })).problem(400, "bad_request");

    let told = shell::synap(["switchover", "--yes", "--to", "n3", "--url", &first.url()]).good();
    assert!(told.contains(&format!("127.0.0.1:{}", third.http)), "{told}");
    wait::until_true("n3 is the master", || third.status()["role"] == "master");
    let unconfirmed =
        shell::bash(&format!("synap switchover --url {} </dev/null", third.url()), cluster.directory());
    assert_eq!(unconfirmed.code, 2, "{}", unconfirmed.stderr);
    assert!(unconfirmed.stderr.contains("Nothing is lost at any concern"), "{}", unconfirmed.stderr);
}

/// SIGTERM is no crash: the successor leads before the old master is gone.
#[test]
fn a_graceful_stop_hands_over_and_loses_nothing() {
    let mut cluster = armed(2);
    let mut client = cluster.servers[0].client();
    let stopping = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acked = Vec::new();
            for number in 0_u32.. {
                let body = json!({ "key": format!("along-{number}"), "value": number });
                match client.post("/kv/set?concern=async", &body) {
                    Ok(answer) if answer.status == 200 => acked.push(number),
                    Ok(_) | Err(_) => break,
                }
            }
            acked
        });
        thread::sleep(Duration::from_millis(50));
        shell::signal(cluster.servers[0].pid(), "TERM");
        writer.join().expect("the writer ends")
    });
    assert_eq!(cluster.servers[0].await_exit(), 0);
    assert!(!stopping.is_empty(), "something was written meanwhile");
    let master = await_new_master(&cluster, 0);
    let kind =
        cluster.servers[master].status()["failover"]["history"].as_array().expect("a history").last().cloned();
    assert_eq!(kind.expect("a change")["kind"], "switchover");
    for number in stopping {
        assert!(
            cluster.servers[master].value(&format!("along-{number}")).is_some(),
            "along-{number} was answered"
        );
    }
}

#[test]
fn a_pause_keeps_replicas_from_campaigning_until_it_ends() {
    let mut cluster = armed(2);
    shell::synap(["pause", "--yes", "--ttl-secs", "600", "--url", &cluster.servers[1].url()]).good();
    wait::until_true("everybody knows", || {
        cluster.servers.iter().all(|server| server.metric("synap_replication_failover_paused", &[]) == 1.0)
    });
    assert_eq!(cluster.servers[1].status()["failover"]["why_not"], "an operator has paused elections");
    shell::synap(["resume", "--url", &cluster.servers[1].url()]).good();
    wait::until_true("it is over", || {
        cluster.servers.iter().all(|server| server.metric("synap_replication_failover_paused", &[]) == 0.0)
    });

    cluster.servers[0].post("/replication/pause", &json!({ "ttl_secs": 0 })).problem(400, "bad_request");
    cluster.servers[0].post("/replication/pause", &json!({ "ttl_secs": 3 })).with(200);
    cluster.await_converged();
    cluster.servers[0].kill();
    thread::sleep(Duration::from_millis(1200));
    for server in &cluster.servers[1..] {
        assert_eq!(server.status()["role"], "replica", "nobody campaigns during a pause");
        let refused = server.post("/kv/set", &json!({ "key": "a", "value": 1 })).problem(503, "no_master");
        assert!(refused["detail"].is_string());
    }
    await_new_master(&cluster, 0);
}

/// A pause holds replicas back, not the operator: its promotion is an election all the same.
#[test]
fn an_operator_may_promote_during_a_pause() {
    let mut cluster = armed(2);
    cluster.servers[0].set("k", "1");
    cluster.servers[0].post("/replication/pause", &json!({ "ttl_secs": 600 })).with(200);
    cluster.await_converged();
    cluster.servers[0].kill();
    let second = &cluster.servers[1];
    wait::until_true("n2 is promoted", || second.post("/replication/promote", &json!({})).status == 200);
    await_serving(second);
    assert_eq!(second.value("k"), Some(json!("1")));
    assert_eq!(second.post("/replication/promote", &json!({})).with(200).json()["success"], true, "asked again");
    shell::synap(["resume", "--url", &second.url()]).good();
}

/// Two of three disks are gone for good: only an operator can accept that.
#[test]
fn a_cluster_whose_majority_is_gone_is_recovered_by_force() {
    let mut cluster = armed(2);
    cluster.servers[0].set("k", "1");
    cluster.await_converged();
    // Both at once: nobody is elected in between.
    cluster.servers[2].signal("STOP");
    for server in &mut cluster.servers[..2] {
        server.kill();
        std::fs::remove_dir_all(server.data_directory()).expect("the data directory can be removed");
    }
    cluster.servers[2].signal("CONT");
    let last = &cluster.servers[2];
    wait::until_true("n3 misses its master", || last.status()["state"] != "streaming");
    let refused = last.post("/replication/promote", &json!({}));
    assert_ne!(refused.status, 200, "no majority, no promotion: {}", refused.text());
    last.post("/kv/set", &json!({ "key": "k", "value": 2 })).problem(503, "no_master");

    let promote = ["promote", "--yes", "--force", "--accept-data-loss", "--url", &last.url()];
    shell::synap(promote).good();
    await_serving(last);
    last.set("k", "2");
    let status = last.status();
    assert_eq!((&status["failover"]["armed"], &status["role"]), (&json!(false), &json!("master")), "{status}");
    assert_eq!(
        status["failover"]["history"].as_array().expect("a history").last().expect("one")["kind"],
        "forced"
    );
    for dead in ["n1", "n2"] {
        shell::synap(["members", "remove", dead, "--yes", "--url", &last.url()]).good();
    }
    assert_eq!(last.get("/replication/members").with(200).json()["members"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_pending_write_is_settled_on_any_node() {
    let cluster = armed(2);
    let [master, second, third] = cluster.servers.as_slice() else { panic!("three servers") };
    second.signal("STOP");
    third.signal("STOP");
    let pending =
        master.post("/kv/set?timeout_ms=100", &json!({ "key": "k", "value": 1 })).problem(504, "timeout");
    assert_eq!(pending["outcome"], "pending");
    let question = format!("/replication/outcome?epoch={}&index={}", pending["epoch"], pending["index"]);
    assert_eq!(master.get(&question).with(200).json()["outcome"], "pending");
    second.signal("CONT");
    third.signal("CONT");
    let settled = |server: &Server| {
        let outcome = server.get(&question).with(200).json()["outcome"].as_str().map(str::to_owned);
        outcome.filter(|outcome| outcome != "pending")
    };
    let outcomes: Vec<String> =
        cluster.servers.iter().map(|server| wait::until("it is settled", || settled(server))).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    let there = wait::until("somebody leads", || {
        cluster.servers.iter().find(|server| server.probe("/readyz?role=master")).map(|server| server.value("k"))
    });
    assert_eq!(there.is_some(), outcomes[0] == "committed", "{outcomes:?}");
}

#[test]
fn members_are_shown_ranked_removed_and_replaced() {
    let mut cluster = armed(3);
    let master = &cluster.servers[0];
    let listed = master.get("/replication/members").with(200).json();
    let members = listed["members"].as_array().expect("a list");
    assert_eq!((members.len(), &listed["armed"]), (4, &json!(true)));
    assert_eq!(members.iter().filter(|member| member["voter"] == true).count(), 3);

    let rank = json!({ "action": "priority", "node": "n2", "priority": 0 });
    master.post("/replication/members", &rank).with(200);
    wait::until_true("n2 is never master", || member(master, "n2")["priority"] == 0);
    assert_eq!(member(master, "n2")["eligible"], false);
    master.post("/replication/switchover", &json!({ "to": "n2" })).problem(409, "conflict");
    shell::synap(["members", "priority", "n2", "configured", "--yes", "--url", &cluster.servers[1].url()]).good();
    wait::until_true("n2 is as configured", || member(master, "n2")["priority"] == 100);

    master.post("/replication/members", &json!({ "action": "remove", "node": "n2" })).problem(409, "conflict");
    master.post("/replication/members", &json!({ "action": "dance", "node": "n2" })).problem(400, "bad_request");
    master.post("/replication/members", &json!({ "action": "add", "node": "n9" })).problem(409, "conflict");

    // A voter dies for good, and the spare votes in its place.
    let spare = members.iter().find(|member| member["voter"] == false).expect("a spare");
    let spare = spare["node_name"].as_str().expect("a name").to_owned();
    let dead = ["n2", "n3", "n4"].iter().position(|name| *name != spare).expect("a voter") + 1;
    let dead_name = cluster.servers[dead].name.clone();
    cluster.servers[dead].kill();
    let master = &cluster.servers[0];
    let replace = json!({ "action": "replace", "node": dead_name, "by": spare });
    wait::until_true("the dead voter is replaced", || master.post("/replication/members", &replace).status == 200);
    wait::until_true("the spare votes", || member(master, &spare)["voter"] == true);
    assert_eq!(member(master, &dead_name), Value::Null);
    // A replica sends the question on to the master, who alone knows how the others stand.
    let replica = cluster.servers.iter().find(|server| server.name == spare).expect("a spare");
    for asked in [master, replica] {
        let shown = shell::synap(["members", "--url", &asked.url()]).good();
        assert!(
            shown.contains("automatic failover is armed: the voters") && !shown.contains(&dead_name),
            "{shown}"
        );
        assert!(!shown.contains("only the master knows"), "{shown}");
    }
}

#[test]
fn a_linearizable_read_sees_what_was_answered_before_it_on_any_node() {
    let cluster = armed(2);
    for round in 0..50 {
        cluster.servers[0].post("/kv/set?concern=quorum", &json!({ "key": "k", "value": round })).with(200);
        for server in &cluster.servers {
            let read = server.get("/kv/get/k?consistency=linearizable").with(200);
            assert_eq!(read.json(), json!(round), "on {}", server.name);
        }
    }
    let body = json!({ "keys": ["k"] });
    let read = cluster.servers[2].post("/kv/mget?consistency=linearizable", &body).with(200);
    assert_eq!(read.json()["values"], json!([49]));
    cluster.servers[1].get("/kv/scan?consistency=linearizable").with(200);
    cluster.servers[1].get("/kv/get/k?consistency=sequential").problem(400, "bad_request");
}

/// Its clock tells it that its lease is over, whatever it believed when it was stopped.
#[test]
fn a_master_that_slept_through_its_replacement_tells_nothing_of_the_past() {
    let cluster = armed(2);
    cluster.servers[0].set("k", "old");
    cluster.servers[0].signal("STOP");
    let master = await_new_master(&cluster, 0);
    cluster.servers[master].set("k", "new");

    cluster.servers[0].signal("CONT");
    for _ in 0..20 {
        let read = cluster.servers[0].get("/kv/get/k?consistency=linearizable&timeout_ms=500");
        match read.status {
            200 => assert_eq!(read.json(), json!("new")),
            503 => assert!(read.header("retry-after").is_some(), "{read:?}"),
            _ => panic!("{read:?}"),
        }
    }
    let late = cluster.servers[0].post("/kv/set?concern=async", &json!({ "key": "k", "value": "late" }));
    assert!([307, 503].contains(&late.status), "{late:?}");
    wait::until_true("it has heard the news", || cluster.servers[0].value("k") == Some(json!("new")));
}

#[test]
fn an_unarmed_master_answers_linearizable_reads_alone() {
    let cluster = Cluster::start(1);
    cluster.servers[0].set("k", "1");
    for server in &cluster.servers {
        assert_eq!(server.get("/kv/get/k?consistency=linearizable").with(200).json(), json!("1"));
    }
}

#[test]
fn a_master_without_a_majority_answers_nothing_that_needs_one() {
    let mut cluster = armed(2);
    cluster.servers[0].set("k", "1");
    cluster.await_converged();
    for server in &mut cluster.servers[1..] {
        server.kill();
    }
    let master = &cluster.servers[0];
    wait::until_true("it has no quorum", || {
        let refused = master.post("/kv/set?timeout_ms=200", &json!({ "key": "k", "value": 2 }));
        refused.status == 503
    });
    let refused = master.post("/kv/set?timeout_ms=200", &json!({ "key": "k", "value": 2 })).with(503);
    assert!(
        ["no_quorum", "no_master"].contains(&refused.json()["code"].as_str().unwrap_or_default()),
        "{refused:?}"
    );
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let read = master.get("/kv/get/k?consistency=linearizable&timeout_ms=300").with(503);
    assert!(read.header("retry-after").is_some(), "{read:?}");
    assert_eq!(master.get("/kv/get/k").with(200).json(), json!("1"), "a local read is answered");
    assert!(!master.probe("/readyz?role=master"));

    cluster.servers[1].start();
    cluster.servers[2].start();
    wait::until_true("somebody leads again", || cluster.servers.iter().any(|it| it.probe("/readyz?role=master")));
}

/// Automatic failover with these replicas, and ready for it.
fn armed(replicas: usize) -> Cluster {
    let cluster = Cluster::start_with(replicas, |_, config| {
        config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": 3 });
    });
    wait::until_true("the cluster is armed", || {
        let armed = |server: &Server| server.status()["failover"]["armed"] == true;
        cluster.servers.iter().all(armed)
    });
    cluster
}

/// The number of the server that leads in the place of `gone`.
fn await_new_master(cluster: &Cluster, gone: usize) -> usize {
    wait::until("a new master serves", || {
        let others = cluster.servers.iter().enumerate().filter(|(number, _)| *number != gone);
        others.filter(|(_, server)| server.probe("/readyz?role=master")).map(|(number, _)| number).next()
    })
}

fn await_serving(server: &Server) {
    wait::until_true("it serves as master", || server.probe("/readyz?role=master"));
}

fn member(server: &Server, name: &str) -> Value {
    let listed = server.get("/replication/members").with(200).json();
    let members = listed["members"].as_array().expect("a list");
    members.iter().find(|member| member["node_name"] == name).cloned().unwrap_or_default()
}

/// Writes one key after the other until it is sent elsewhere; those that were answered.
fn write_along(server: &Server, concern: &str, count: usize) -> Vec<String> {
    let mut client = server.client();
    let mut acked = Vec::new();
    for number in 0..count {
        let key = format!("along-{number}");
        let answer: Response = client
            .post(&format!("/kv/set?concern={concern}"), &json!({ "key": key, "value": number }))
            .expect("it is answered");
        match answer.status {
            200 => acked.push(key),
            307 | 503 => break,
            _ => panic!("{answer:?}"),
        }
    }
    acked
}
