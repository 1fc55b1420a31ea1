//! The HTTP interface, route by route, against real servers: what a client may rely on.

use std::time::Instant;

use serde_json::{Value, json};
use synap_tests::cluster::{self, Cluster};
use synap_tests::http::Response;
use synap_tests::server::Server;
use synap_tests::wait;
use tempfile::TempDir;

#[test]
fn set_get_del_exists() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];

    let set = server.post("/kv/set", &json!({ "key": "user:1", "value": "John Doe" })).with(200);
    let answer = set.json();
    assert_eq!(
        (&answer["success"], &answer["written"], &answer["key"]),
        (&json!(true), &json!(true), &json!("user:1"))
    );
    let version = answer["version"].as_u64().expect("a whole number");
    assert!(version > 0 && version < 1 << 53, "{version} is not exact in every JSON");
    assert_eq!(set.header("synap-role"), Some("master"));
    for field in ["position", "concern", "durable_on"] {
        assert!(!answer[field].is_null(), "{field}: {answer}");
    }

    let got = server.get("/kv/get/user:1").with(200);
    assert_eq!(got.json(), json!("John Doe"));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert!(got.header("etag").expect("an ETag").contains(&answer["version"].to_string()));

    let set = json!({ "key": "user:1", "value": { "n": [1, 2.5, null] }, "get": true });
    assert_eq!(server.post("/kv/set", &set).with(200).json()["old_value"], "John Doe");
    assert_eq!(server.value("user:1"), Some(json!({ "n": [1, 2.5, null] })));

    assert_eq!(server.get("/kv/exists/user:1").with(200).json(), json!({ "exists": true }));
    assert_eq!(delete(server, "user:1").json()["deleted"], true);
    assert_eq!(delete(server, "user:1").json()["deleted"], false);
    assert_eq!(server.get("/kv/exists/user:1").with(200).json(), json!({ "exists": false }));
    server.get("/kv/get/user:1").problem(404, "key_not_found");
}

#[test]
fn conditions_and_versions() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let set = |body: Value| server.post("/kv/set", &body);

    assert_eq!(set(json!({ "key": "k", "value": 1, "xx": true })).with(200).json()["written"], false);
    let first = set(json!({ "key": "k", "value": 1, "nx": true })).with(200).json();
    assert_eq!(first["written"], true);
    assert_eq!(set(json!({ "key": "k", "value": 2, "nx": true })).with(200).json()["written"], false);
    let second = set(json!({ "key": "k", "value": 3, "if_version": first["version"] })).with(200).json();
    assert_eq!(second["written"], true);
    assert!(second["version"].as_u64() > first["version"].as_u64(), "versions grow: {first}, {second}");
    set(json!({ "key": "k", "value": 4, "if_version": first["version"] })).problem(409, "version_mismatch");
    assert_eq!(server.value("k"), Some(json!(3)));
}

#[test]
fn raw_bytes_and_odd_keys() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let bytes: Vec<u8> = (0..=255).collect();

    server.request("PUT", "/kv/raw/%00%ff%2Fa%20b", &[], &bytes).with(200);
    assert_eq!(server.get("/kv/raw/%00%ff%2Fa%20b").with(200).body, bytes);
    let got = server.get("/kv/get/%00%ff%2Fa%20b").with(200);
    assert_eq!(got.header("content-type"), Some("application/octet-stream"), "it is not UTF-8");
    assert_eq!(got.body, bytes);

    server.set("text", "plain");
    let octets = [("Accept", "application/octet-stream")];
    assert_eq!(server.request("GET", "/kv/get/text", &octets, b"").with(200).body, b"plain");
    server.request("PUT", "/kv/raw/fleeting?ttl=100", &[], b"x").with(200);
    assert!(server.get("/kv/ttl/fleeting").with(200).json()["ttl"].as_i64().expect("a number") > 90);
}

#[test]
fn many_keys_at_once() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let pairs = json!({ "pairs": [
        { "key": "a/1", "value": 1 }, { "key": "a/2", "value": "two" }, { "key": "b/1", "value": null, "ttl": 60 },
    ] });
    assert_eq!(server.post("/kv/mset", &pairs).with(200).json()["written"], 3);
    let got = server.post("/kv/mget", &json!({ "keys": ["a/1", "absent", "a/2"] })).with(200).json();
    assert_eq!(got["values"], json!([1, null, "two"]));

    let page = server.get("/kv/scan?prefix=a/&limit=1").with(200).json();
    assert_eq!(page["keys"], json!(["a/1"]));
    let next = page["next"].as_str().expect("there is more");
    let page = server.get(&format!("/kv/scan?prefix=a/&limit=1&after={next}")).with(200).json();
    assert_eq!(page["keys"], json!(["a/2"]));
    let all = server.get("/kv/scan").with(200).json();
    assert_eq!((&all["keys"], &all["next"]), (&json!(["a/1", "a/2", "b/1"]), &Value::Null));

    let stats = server.get("/kv/stats").with(200).json();
    assert_eq!(stats["total_keys"], 3);
    assert!(stats["total_memory_bytes"].as_u64().expect("a number") > 0);
    assert!(stats["operations"]["hits"].as_u64().expect("a number") >= 2, "{stats}");
}

#[test]
fn counters_and_expiry() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    assert_eq!(server.post("/kv/incr/n", &json!({})).with(200).json()["value"], 1);
    assert_eq!(server.post("/kv/incr/n", &json!({ "amount": 41 })).with(200).json()["value"], 42);
    assert_eq!(server.post("/kv/decr/n", &json!({ "amount": 50 })).with(200).json()["value"], -8);
    server.post("/kv/incr/n", &json!({ "amount": i64::MIN })).problem(409, "not_an_integer");
    server.set("word", "one");
    server.post("/kv/incr/word", &json!({})).problem(409, "not_an_integer");

    let ttl =
        |key: &str| server.get(&format!("/kv/ttl/{key}")).with(200).json()["ttl"].as_i64().expect("a number");
    assert_eq!((ttl("word"), ttl("absent")), (-1, -2));
    assert_eq!(server.post("/kv/expire/word", &json!({ "ttl": 100 })).with(200).json()["result"], true);
    assert_eq!(server.post("/kv/expire/absent", &json!({ "ttl": 100 })).with(200).json()["result"], false);
    assert!((90..=100).contains(&ttl("word")));
    assert_eq!(server.post("/kv/persist/word", &json!({})).with(200).json()["result"], true);
    assert_eq!(ttl("word"), -1);
    server.post("/kv/set", &json!({ "key": "gone", "value": 1, "ttl": 1 })).with(200);
    wait::until_true("the key expires", || server.value("gone").is_none());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cluster = Cluster::start_with(0, |_, config| {
        config["limits"] = json!({ "key_bytes_max": 100, "value_bytes_max": 1_000 });
    });
    let server = &cluster.servers[0];
    let raw = |body: &[u8]| server.request("POST", "/kv/set", &[("Content-Type", "application/json")], body);
    raw(b"{").problem(400, "bad_request");
    raw(br#"{"key":"k"}"#).problem(400, "bad_request");
    raw(br#"{"key":"k","value":1,"valeu":2}"#).problem(400, "bad_request");
    raw(br#"["k",1,null,null,null,null,null]"#).problem(400, "bad_request");
    let empty = raw(b"").problem(400, "bad_request");
    assert!(empty["detail"].to_string().contains("a JSON object is wanted"), "{empty}");
    for concern in ["most", "0", "-1", "local&concern=async"] {
        server
            .post(&format!("/kv/set?concern={concern}"), &json!({ "key": "k", "value": 1 }))
            .problem(400, "bad_request");
    }
    server.get("/kv/get/100%").problem(400, "bad_request");
    server.get("/kv/get/k?min_position=x").problem(400, "bad_request");
    server.post("/kv/set", &json!({ "key": "k".repeat(101), "value": 1 })).problem(413, "too_large");
    server.post("/kv/set", &json!({ "key": "k", "value": "x".repeat(1_001) })).problem(413, "too_large");
    server.request("PUT", "/kv/raw/k", &[], &[b'x'; 1_001]).problem(413, "too_large");
    let refused = server.request("PATCH", "/kv/set", &[], b"").with(405);
    assert!(refused.header("allow").is_some_and(|allowed| allowed.contains("POST")), "{refused:?}");
    server.get("/nowhere").with(404);
    assert_eq!(server.get("/kv/scan").json()["keys"], json!([]), "nothing of it was written");
}

#[test]
fn a_replica_sends_writes_to_the_master() {
    let cluster = Cluster::start_with(3, |number, config| {
        let ways = ["redirect", "redirect", "proxy", "reject"];
        config["replication"]["on_replica_write"] = json!(ways[number]);
    });
    let [master, redirecting, proxying, rejecting] = cluster.servers.as_slice() else { panic!("four servers") };
    let body = json!({ "key": "k", "value": "v" });

    let answer = redirecting.post("/kv/set?concern=local", &body).with(307);
    assert_eq!(answer.header("location"), Some(format!("{}/kv/set?concern=local", master.url()).as_str()));
    assert_eq!(answer.header("synap-leader"), Some(format!("127.0.0.1:{}", master.http).as_str()));
    assert_eq!(answer.header("synap-role"), Some("replica"));

    let proxied = proxying.post("/kv/set?concern=local", &body).with(200);
    assert_eq!(proxied.json()["written"], true);
    assert_eq!(master.value("k"), Some(json!("v")));

    rejecting.post("/kv/set", &body).problem(421, "not_master");
}

#[test]
fn without_a_master_writes_are_told_to_come_again() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].kill();
    let replica = &cluster.servers[1];
    wait::until_true("the loss is noticed", || replica.status()["state"] == "master_down");
    let answer = replica.post("/kv/set", &json!({ "key": "k", "value": 1 }));
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    answer.problem(503, "no_master");
}

#[test]
fn a_client_reads_its_own_write_anywhere() {
    let cluster = Cluster::start(2);
    for number in 0..50 {
        let body = json!({ "key": "counter", "value": number.to_string() });
        let written = cluster.servers[0].post("/kv/set", &body).with(200);
        let position = written.header("synap-position").expect("a position").to_owned();
        assert_eq!(written.json()["position"], json!(position));
        for replica in &cluster.servers[1..] {
            let read = replica.get(&format!("/kv/get/counter?min_position={position}")).with(200);
            assert_eq!(read.json(), json!(number.to_string()), "on {}", replica.name);
            assert!(read.header("synap-staleness-ms").is_some(), "{read:?}");
        }
    }
    let (epoch, index) = cluster.servers[0].applied();
    // The founder's number has nobody else: without its leader it is clear too.
    cluster.servers[1].get(&format!("/kv/get/counter?min_position={epoch}:{index}")).with(200);
    let outcome = |query: &str| cluster.servers[1].get(&format!("/replication/outcome?{query}")).with(200).json();
    assert_eq!(outcome(&format!("epoch={epoch}&index={index}"))["outcome"], "committed");
    let status = cluster.servers[0].get("/replication/status").with(200).json();
    let leader = status["positions"]["leader"].as_str().expect("a leader").to_owned();
    assert_eq!(outcome(&format!("epoch={epoch}&index={index}&leader={leader}"))["outcome"], "committed");
    assert_eq!(outcome(&format!("position={epoch}:{index}-{}", &leader[..8]))["outcome"], "committed");
    assert_ne!(outcome(&format!("position={epoch}:{index}-ffffffffffffffff"))["outcome"], "committed");
    cluster.servers[1].get("/replication/outcome?position=1:1&epoch=1").problem(400, "bad_request");
    let future = format!("/kv/get/counter?min_position={epoch}:{}&timeout_ms=100", index + 1_000);
    cluster.servers[1].get(&future).with(503);
}

#[test]
fn a_read_may_bound_its_staleness() {
    let cluster = Cluster::start(1);
    let [master, replica] = cluster.servers.as_slice() else { panic!("two servers") };
    master.set("k", "v");
    let fresh = "/kv/get/k?max_staleness_ms=2000";
    wait::until_true("the replica is fresh", || replica.get(fresh).status == 200);

    master.signal("STOP");
    wait::until_true("it no longer is", || {
        let answer = replica.get(&format!("{fresh}&timeout_ms=50"));
        answer.status == 503 && answer.json()["code"] == "stale"
    });
    assert_eq!(replica.value("k"), Some(json!("v")), "those who do not ask still read");
    master.signal("CONT");
    wait::until_true("the replica is fresh again", || replica.get(fresh).status == 200);
}

#[test]
fn concerns_are_kept_and_told() {
    let mut cluster = Cluster::start(2);
    let write = |server: &Server, query: &str| {
        server.post(&format!("/kv/set?{query}"), &json!({ "key": "k", "value": 1 }))
    };
    for (concern, least) in [("local", 1), ("quorum", 1), ("1", 2), ("2", 3)] {
        let answer = write(&cluster.servers[0], &format!("concern={concern}")).with(200).json();
        assert_eq!(answer["concern"].to_string().trim_matches('"'), concern);
        assert!(answer["durable_on"].as_u64().expect("a number") >= least, "{concern}: {answer}");
    }
    write(&cluster.servers[0], "concern=async").with(200);
    write(&cluster.servers[0], "concern=3").problem(503, "not_enough_replicas");

    // A held replica is connected and silent: the write is in the log, and its concern is not reached.
    cluster.servers[2].signal("STOP");
    let begin = Instant::now();
    let open = write(&cluster.servers[0], "concern=2&timeout_ms=100");
    assert!(begin.elapsed() < wait::DEADLINE);
    assert_open(open);
    cluster.servers[2].signal("CONT");
    cluster.await_converged();
    assert_eq!(cluster.servers[2].value("k"), Some(json!(1)));
}

#[test]
fn the_fate_of_a_write_can_be_asked_anywhere() {
    let mut cluster = Cluster::start(1);
    let (epoch, index) = cluster.servers[0].set("k", "v");
    cluster.await_converged();
    for server in &cluster.servers {
        let outcome = |index: u64| {
            let path = format!("/replication/outcome?epoch={epoch}&index={index}");
            server.get(&path).with(200).json()["outcome"].clone()
        };
        wait::until_true("the write is known to be committed", || outcome(index) == "committed");
        assert_eq!(outcome(index + 100), "pending", "on {}", server.name);
    }
}

#[test]
fn status_probes_and_metrics() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("k", "v");
    cluster.await_converged();
    let [master, replica] = cluster.servers.as_slice() else { panic!("two servers") };

    for server in [master, replica] {
        for probe in ["/livez", "/readyz", "/startupz"] {
            server.get(probe).with(200);
        }
        let health = server.get("/health").with(200).json();
        assert_eq!(health["service"], "synap", "{health}");
        let status = server.status();
        for field in [
            "cluster_id",
            "node_id",
            "node_name",
            "role",
            "state",
            "epoch",
            "leader",
            "positions",
            "failover",
            "link",
            "lag_operations",
            "lag_ms",
            "staleness_ms",
            "members",
            "counters",
            "alarms",
            "config_role_ignored",
        ] {
            assert!(status.get(field).is_some(), "{field}: {status}");
        }
        assert_eq!(status["leader"]["http"], format!("127.0.0.1:{}", master.http), "{status}");
        assert_eq!(status["failover"]["armed"], false);
    }
    assert_eq!((&master.status()["role"], &replica.status()["role"]), (&json!("master"), &json!("replica")));
    assert_eq!(master.status()["cluster_id"], replica.status()["cluster_id"]);
    master.get("/readyz?role=master").with(200);
    replica.get("/readyz?role=master").with(503);

    let text = master.get("/metrics").with(200);
    assert!(text.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{text:?}");
    assert_eq!(master.metric("synap_replication_connected_replicas", &[]), 1.0);
    assert_eq!(master.metric("synap_replication_role", &[("role", "master")]), 1.0);
    assert_eq!(replica.metric("synap_replication_role", &[("role", "master")]), 0.0);
    assert_eq!(replica.metric("synap_replication_connected", &[]), 1.0);
    assert_eq!(replica.metric("synap_replication_lag_operations", &[]), 0.0);
    assert_eq!(master.metric("synap_kv_keys", &[]), 1.0);
    assert!(master.metric("process_resident_memory_bytes", &[]) > 0.0);
}

#[test]
fn a_snapshot_on_demand_is_durable_and_survives() {
    let mut cluster = Cluster::start(0);
    for number in 0..20 {
        cluster.servers[0].set(&format!("k-{number}"), "v");
    }
    let taken = cluster.servers[0].post("/snapshot", &json!({})).with(200).json();
    assert!(taken["position"].is_string(), "{taken}");
    cluster.servers[0].set("later", "v");
    cluster.servers[0].kill();
    cluster.servers[0].start_ready();
    assert_eq!(cluster.servers[0].metric("synap_kv_keys", &[]), 21.0);
}

fn delete(server: &Server, key: &str) -> Response {
    server.request("DELETE", &format!("/kv/del/{key}"), &[], b"").with(200)
}

/// A write whose concern was not reached in time is open: never failed, never done.
#[track_caller]
fn assert_open(answer: Response) {
    let problem = answer.problem(504, "timeout");
    assert_eq!(problem["outcome"], "pending", "{problem}");
    assert!(problem["epoch"].is_u64() && problem["index"].is_u64(), "it says where the write stands: {problem}");
}

#[test]
fn the_limit_of_memory_counts_what_a_write_brings() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut server = Server::new("n1", directory.path());
    let mut config = cluster::config(&server, None);
    config["limits"] = json!({ "memory_bytes_max": 4_000 });
    server.configure(&config.to_string());
    server.spawn();
    server.await_master();
    let set = |key: &str, bytes: usize| server.post("/kv/set", &json!({ "key": key, "value": "x".repeat(bytes) }));
    set("huge", 1 << 20).problem(507, "out_of_memory");
    set("a", 2_000).with(200);
    set("b", 2_500).problem(507, "out_of_memory");
    set("a", 1_000).with(200);
    set("b", 2_500).with(200);
    set("a", 900).with(200);
    set("c", 700).problem(507, "out_of_memory");
}
