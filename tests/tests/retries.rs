//! `Idempotency-Key`: a write may be sent again, to whoever is master by then, and is done once.

use std::thread;

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::http::Response;
use synap_tests::server::Server;

#[test]
fn every_kind_of_write_is_done_once() {
    let cluster = Cluster::start(0);
    let master = &cluster.servers[0];
    let writes: [(&str, &str, Value); 8] = [
        ("POST", "/kv/set", json!({ "key": "a", "value": 1, "get": true })),
        ("POST", "/kv/mset", json!({ "pairs": [{ "key": "b", "value": 2 }, { "key": "c", "value": 3 }] })),
        ("PUT", "/kv/raw/d?ttl=60", json!("raw")),
        ("POST", "/kv/incr/n", json!({ "amount": 3 })),
        ("POST", "/kv/decr/n", json!({})),
        ("POST", "/kv/expire/b", json!({ "ttl": 60 })),
        ("POST", "/kv/persist/b", json!({})),
        ("DELETE", "/kv/del/c", Value::Null),
    ];
    for (number, (method, path, body)) in writes.iter().enumerate() {
        let key = format!("write-{number}");
        let first = send(master, method, path, &key, body).with(200);
        let again = send(master, method, path, &key, body).with(200);
        assert_eq!(replayed(&first), None, "{path}");
        assert_eq!(replayed(&again), Some("true"), "{path}");
        assert_eq!(again.json(), first.json(), "{path}");
        assert_eq!(again.header("synap-position"), first.header("synap-position"), "{path}");
        assert_eq!(again.header("etag"), first.header("etag"), "{path}");
    }
    assert_eq!(master.value("n"), Some(json!(2)));
    assert_eq!(master.metric("synap_kv_idempotency_keys", &[]), writes.len() as f64);
    assert_eq!(master.metric("synap_kv_operations_total", &[("operation", "incr"), ("result", "replayed")]), 2.0);
}

#[test]
fn what_was_refused_by_the_keys_state_stays_refused() {
    let cluster = Cluster::start(0);
    let master = &cluster.servers[0];
    let late = json!({ "key": "a", "value": 2, "if_version": 99 });
    let first = send(master, "POST", "/kv/set", "late", &late).with(409);
    master.set("a", "1");
    let again = send(master, "POST", "/kv/set", "late", &late).with(409);
    assert_eq!(again.json(), first.json());
    assert_eq!(replayed(&again), Some("true"));
}

#[test]
fn a_key_stands_for_one_request() {
    let cluster = Cluster::start(0);
    let master = &cluster.servers[0];
    send(master, "POST", "/kv/incr/n", "order-17", &json!({ "amount": 3 })).with(200);
    for (path, body) in [("/kv/incr/n", json!({ "amount": 4 })), ("/kv/incr/m", json!({ "amount": 3 }))] {
        let reused = send(master, "POST", path, "order-17", &body).with(422);
        assert_eq!(reused.json()["code"], "idempotency_key_reused");
    }
    // Another wish for the answer is no other request.
    send(master, "POST", "/kv/incr/n?concern=local&timeout_ms=900", "order-17", &json!({ "amount": 3 })).with(200);
    assert_eq!(master.value("n"), Some(json!(3)));

    for bad in ["", "two words", &"k".repeat(256)] {
        let refused = send(master, "POST", "/kv/incr/n", bad, &json!({ "amount": 3 }));
        assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("bad_request")), "{bad:?}");
    }
    assert_eq!(master.value("n"), Some(json!(3)));
}

#[test]
fn retries_at_the_same_time_are_done_once() {
    let cluster = Cluster::start(1);
    let master = &cluster.servers[0];
    let sums: Vec<Value> = thread::scope(|scope| {
        let ask = || send(master, "POST", "/kv/incr/n?concern=1", "at-once", &json!({})).with(200).json();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it is answered")["value"].clone()).collect()
    });
    assert_eq!(sums, vec![json!(1); 8]);
    assert_eq!(master.value("n"), Some(json!(1)));
}

#[test]
fn a_retry_finds_its_way_through_a_replica() {
    let cluster = Cluster::start_with(2, |number, config| {
        let ways = ["redirect", "redirect", "proxy"];
        config["replication"]["on_replica_write"] = json!(ways[number]);
    });
    let [master, redirecting, proxying] = cluster.servers.as_slice() else { panic!("three servers") };
    let body = json!({ "amount": 5 });
    let first = send(master, "POST", "/kv/incr/n", "way", &body).with(200);
    let redirected = send(redirecting, "POST", "/kv/incr/n", "way", &body).with(307);
    assert_eq!(redirected.header("location"), Some(&*format!("{}/kv/incr/n", master.url())));
    let proxied = send(proxying, "POST", "/kv/incr/n", "way", &body).with(200);
    assert_eq!(replayed(&proxied), Some("true"));
    assert_eq!(proxied.json()["position"], first.json()["position"]);
    assert_eq!(send(proxying, "POST", "/kv/incr/n", "way", &json!({ "amount": 6 })).status, 422);
    assert_eq!(master.value("n"), Some(json!(5)));
}

#[test]
fn a_retrys_answer_satisfies_its_own_concern() {
    let mut cluster = Cluster::start(1);
    cluster.servers[1].kill();
    let first = send(&cluster.servers[0], "POST", "/kv/incr/n", "more", &json!({})).with(200);
    assert_eq!(first.json()["durable_on"], 1);
    cluster.servers[1].start_ready();
    let again = send(&cluster.servers[0], "POST", "/kv/incr/n?concern=1", "more", &json!({})).with(200);
    assert_eq!((&again.json()["durable_on"], &again.json()["concern"]), (&json!(2), &json!("1")));
    assert_eq!(again.json()["position"], first.json()["position"]);
}

/// The result outlives a restart, a promotion, and the log that it was written in.
#[test]
fn a_retry_after_a_failover_is_answered_as_the_first_was() {
    let mut cluster = Cluster::start_with(2, |_, config| {
        config["replication"]["tail_bytes_max"] = json!(65_536);
    });
    let ask = |server: &Server| send(server, "POST", "/kv/incr/n?concern=1", "order-17", &json!({ "amount": 7 }));
    let first = ask(&cluster.servers[0]).with(200).json();
    let same = |again: &Response| {
        assert_eq!(replayed(again), Some("true"));
        assert_eq!((&again.json()["value"], &again.json()["position"]), (&first["value"], &first["position"]));
    };

    cluster.servers[0].kill();
    cluster.servers[0].start();
    cluster.servers[0].await_master();
    cluster.await_converged();
    same(&ask(&cluster.servers[0]).with(200));

    // From a snapshot of its own, once the log is cut.
    cluster.servers[0].post("/snapshot", &json!({})).with(200);
    cluster.servers[0].kill();
    cluster.servers[0].start();
    cluster.servers[0].await_master();
    cluster.await_converged();
    same(&ask(&cluster.servers[0]).with(200));

    // By a snapshot from the master, on an empty disk.
    cluster.servers[2].kill();
    let value = "x".repeat(32 << 10);
    for number in 0..20 {
        cluster.servers[0].set(&format!("filler-{number}"), &value);
    }
    std::fs::remove_dir_all(cluster.servers[2].data_directory()).expect("the data directory can be removed");
    cluster.servers[2].start_ready();
    cluster.await_converged();
    assert_eq!(cluster.servers[2].metric("synap_replication_full_syncs_total", &[]), 1.0);

    cluster.servers[0].kill();
    let promote = json!({ "force": true, "accept_data_loss": true });
    cluster.servers[2].post("/replication/promote", &promote).with(200);
    cluster.servers[2].await_master();
    synap_tests::wait::until_true("another replica follows", || {
        cluster.servers[2].metric("synap_replication_connected_replicas", &[]) == 1.0
    });
    same(&ask(&cluster.servers[2]).with(200));
    assert_eq!(cluster.servers[2].value("n"), Some(json!(7)));
}

fn send(server: &Server, method: &str, path: &str, key: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.request(method, path, &[("Idempotency-Key", key)], body.as_bytes())
}

fn replayed(response: &Response) -> Option<&str> {
    response.header("synap-replayed")
}
