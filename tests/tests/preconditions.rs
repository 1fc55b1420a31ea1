//! `If-Match`, `If-None-Match` and every other header that would change what a request asks for: kept, or refused by name, and
//! never passed over.

use std::thread;

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::http::Response;
use synap_tests::server::Server;

/// Every write of one key, as method, path and body; the key is `k`.
const WRITES: [(&str, &str, &str); 7] = [
    ("POST", "/kv/set", r#"{"key":"k","value":1}"#),
    ("PUT", "/kv/raw/k", "1"),
    ("POST", "/kv/incr/k", "{}"),
    ("POST", "/kv/decr/k", "{}"),
    ("POST", "/kv/expire/k", r#"{"ttl":1000}"#),
    ("POST", "/kv/persist/k", ""),
    ("DELETE", "/kv/del/k", ""),
];

#[test]
fn every_write_keeps_its_preconditions() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    for (method, path, body) in WRITES {
        let ask = |name: &str, value: &str| server.request(method, path, &[(name, value)], body.as_bytes());
        delete(server);
        let absent = ask("If-Match", "*").problem(412, "precondition_failed");
        assert_eq!(absent["version"], 0, "{path}");
        ask("If-Match", "\"7\"").problem(412, "precondition_failed");
        assert_eq!(server.get("/kv/exists/k").with(200).json()["exists"], false, "{path} on an absent key");

        server.set("k", "5");
        let (stale, _) = (tag(server), server.set("k", "6"));
        let current = tag(server);
        let there = ask("If-None-Match", "*").problem(412, "precondition_failed");
        assert_eq!(format!("\"{}\"", there["version"]), current, "{path} is told the version");
        for never in [stale.as_str(), "W/\"1\"", "\"no version\"", "\"0\""] {
            ask("If-Match", never).problem(412, "precondition_failed");
        }
        assert_eq!(tag(server), current, "{path}: nothing was done");
        ask("If-Match", &format!("\"x\", {current}")).with(200);
        if path != "/kv/persist/k" {
            assert_ne!(server.get("/kv/raw/k").header("etag"), Some(current.as_str()), "{path} was done");
        }
        server.set("k", "7");
        ask("If-Match", "*").with(200);
    }
    delete(server);
    let (method, path, body) = WRITES[0];
    server.request(method, path, &[("If-None-Match", "*")], body.as_bytes()).with(200);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    server.set("k", "v");
    let current = tag(server);
    for (method, path, body) in WRITES {
        let refused = |name: &str, value: &str| {
            server.request(method, path, &[(name, value)], body.as_bytes()).problem(400, "bad_request");
        };
        for unclear in ["7", "\"7", "\"7\",\"8\"", ""] {
            refused("If-Match", unclear);
        }
        refused("If-None-Match", &current);
        refused("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT");
        refused("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT");
        refused("Range", "bytes=0-1");
        refused("Content-Range", "bytes 0-1/2");
        refused("X-HTTP-Method-Override", "GET");
        let with = |name: &str, value: &str, body: &[u8]| server.request(method, path, &[(name, value)], body);
        let refused = with("Content-Encoding", "gzip", body.as_bytes());
        assert_eq!(refused.header("accept-encoding"), Some("identity"), "{refused:?}");
        refused.problem(415, "unsupported_encoding");
        with("Expect", "a-miracle", body.as_bytes()).problem(417, "expectation_failed");
        with("Transfer-Encoding", "gzip, chunked", b"0\r\n\r\n").problem(501, "not_implemented");
    }
    let both = [("If-Match", current.as_str()), ("If-None-Match", "*")];
    server.request("PUT", "/kv/raw/k", &both, b"x").problem(400, "bad_request");
    let twice = br#"{"key":"k","value":1,"nx":true}"#;
    server.request("POST", "/kv/set", &[("If-Match", "*")], twice).problem(400, "bad_request");
    let pairs = br#"{"pairs":[{"key":"k","value":1}]}"#;
    server.request("POST", "/kv/mset", &[("If-Match", "*")], pairs).problem(400, "bad_request");
    server.request("POST", "/snapshot", &[("If-Match", "*")], b"").problem(400, "bad_request");
    let again = [("Idempotency-Key", "a")];
    server.request("POST", "/replication/pause", &again, b"").problem(400, "bad_request");
    assert_eq!(server.value("k"), Some(json!("v")), "nothing of it was done");
    server
        .request("PUT", "/kv/raw/k", &[("Content-Encoding", "identity"), ("Expect", "100-continue")], b"w")
        .with(200);
}

#[test]
fn a_read_may_name_what_it_has() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    server.set("k", "v");
    let current = tag(server);
    let read = |name: &str, value: &str| server.request("GET", "/kv/get/k", &[(name, value)], b"");
    for same in [current.clone(), format!("W/{current}"), "*".to_owned(), format!("\"1\", {current}")] {
        let answer = read("If-None-Match", &same).with(304);
        assert_eq!((answer.header("etag"), answer.body.len()), (Some(current.as_str()), 0), "{answer:?}");
    }
    assert_eq!(read("If-None-Match", "\"1\"").with(200).json(), "v");
    assert_eq!(read("If-Match", &current).with(200).json(), "v");
    read("If-Match", "\"1\"").problem(412, "precondition_failed");
    read("If-None-Match", "1").problem(400, "bad_request");
    read("Range", "bytes=0-0").with(200);
    let absent = server.request("GET", "/kv/get/absent", &[("If-Match", "*")], b"");
    absent.problem(404, "key_not_found");
    server.request("GET", "/kv/scan", &[("If-Match", "*")], b"").problem(400, "bad_request");
    server.request("GET", "/kv/scan", &[("If-None-Match", "*")], b"").with(200);
}

#[test]
fn of_many_who_saw_the_same_version_one_writes() {
    const WRITERS: u64 = 6;
    const ROUNDS: u64 = 20;
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let first: u64 = thread::scope(|scope| {
        let create = || server.request("PUT", "/kv/raw/sum", &[("If-None-Match", "*")], b"0").status;
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(create)).collect();
        writers.into_iter().map(|writer| u64::from(writer.join().expect("it answers") == 200)).sum()
    });
    assert_eq!(first, 1, "an absent key is created once");
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| (0..ROUNDS).for_each(|_| add_one(server)));
        }
    });
    assert_eq!(server.get("/kv/raw/sum").with(200).text(), (WRITERS * ROUNDS).to_string());
}

/// Reads, adds and writes back, until nobody has written in between.
fn add_one(server: &Server) {
    loop {
        let read = server.get("/kv/raw/sum").with(200);
        let sum: u64 = read.text().parse().expect("a number");
        let tag = [("If-Match", read.header("etag").expect("an ETag"))];
        match server.request("PUT", "/kv/raw/sum", &tag, (sum + 1).to_string().as_bytes()).status {
            200 => return,
            status => assert_eq!(status, 412),
        }
    }
}

#[test]
fn preconditions_go_along_to_the_master_and_are_remembered() {
    let cluster = Cluster::start_with(1, |_, config| config["replication"]["on_replica_write"] = json!("proxy"));
    let [master, replica] = cluster.servers.as_slice() else { panic!("two servers") };
    master.set("k", "v");
    let current = tag(master);
    let ask = |tag: &str, key: &str| {
        replica.request("DELETE", "/kv/del/k", &[("If-Match", tag), ("Idempotency-Key", key)], b"")
    };
    ask("\"1\"", "stale").problem(412, "precondition_failed");
    assert_eq!(ask(&current, "good").with(200).json()["deleted"], true);
    // Sent again, each is answered as it was, whatever the key's version is now.
    assert_eq!(ask(&current, "good").with(200).header("synap-replayed"), Some("true"));
    master.set("k", "w");
    assert_eq!(ask(&current, "good").with(200).header("synap-replayed"), Some("true"));
    assert_eq!(ask("\"1\"", "stale").with(412).header("synap-replayed"), Some("true"));
    ask("\"1\"", "good").problem(422, "idempotency_key_reused");
    assert_eq!(master.value("k"), Some(json!("w")));
}

#[test]
fn what_no_route_reads_is_refused() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    server.set("k", "v");
    for path in
        ["/metrics?a=1", "/livez?a", "/health?a=1", "/readyz?role=master&role=master", "/kv/stats?prefix=a"]
    {
        server.get(path).problem(400, "bad_request");
    }
    server.get("/replication/outcome?epoch=1&epoch=1&index=1").problem(400, "bad_request");
    server.post("/snapshot?wait=1", &json!({})).problem(400, "bad_request");
    server.post("/snapshot", &json!({ "wait": true })).problem(400, "bad_request");
    server.request("POST", "/snapshot", &[], b"now").problem(400, "bad_request");
    server.request("DELETE", "/kv/del/k", &[], br#"{"if_version":1}"#).problem(400, "bad_request");
    server.request("GET", "/kv/get/k", &[], br#"{"consistency":"linearizable"}"#).problem(400, "bad_request");
    assert_eq!(server.value("k"), Some(json!("v")));
}

#[test]
fn answers_in_json_end_their_line_and_values_are_exact() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let ends = |answer: Response| {
        assert!(answer.body.ends_with(b"}\n") && !answer.body.ends_with(b"\n\n"), "{answer:?}");
        assert!(serde_json::from_slice::<Value>(&answer.body).is_ok(), "{answer:?}");
    };
    ends(server.post("/kv/set", &json!({ "key": "k", "value": { "a": 1 } })));
    ends(server.post("/kv/mset", &json!({ "pairs": [{ "key": "l", "value": 1 }] })));
    ends(server.post("/kv/mget", &json!({ "keys": ["k"] })));
    ends(server.post("/kv/incr/l", &json!({})));
    for path in ["/kv/exists/k", "/kv/ttl/k", "/kv/scan", "/kv/stats", "/kv/get/absent", "/nowhere", "/health"] {
        ends(server.get(path));
    }
    ends(server.post("/snapshot", &json!({})));
    assert_eq!(server.get("/kv/get/k").with(200).body, br#"{"a":1}"#, "a value is what was put in");
}

/// The key's version, as it stands in `If-Match`.
fn tag(server: &Server) -> String {
    server.get("/kv/raw/k").with(200).header("etag").expect("an ETag").to_owned()
}

fn delete(server: &Server) {
    server.request("DELETE", "/kv/del/k", &[], b"").with(200);
}
