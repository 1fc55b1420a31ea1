//! Where a replica looks for its master: names that lead to the wrong port, to nobody, to itself, to a replica, or to several members.
//! In each case the status says within a moment which address is wrong and why, and the search goes on.

use std::fs;

use serde_json::{Value, json};
use synap_tests::cluster::{Cluster, config};
use synap_tests::networks::Networks;
use synap_tests::ports;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;
use tempfile::TempDir;

/// A replica beside a cluster, with this `master_address`, and what its status says of it once it says something.
fn lost_replica(cluster: &Cluster, master_address: &str) -> (Server, Value) {
    let mut server = Server::new("lost", cluster.directory());
    let mut settings = config(&server, Some(1));
    settings["replication"]["master_address"] = json!(master_address);
    server.configure(&format!("{settings:#}\n"));
    server.start();
    let dial = wait::until("the status says what is wrong with the address", || {
        let dials = server.status()["dials"].clone();
        dials.as_array().and_then(|dials| dials.iter().find(|dial| dial["address"] == master_address).cloned())
    });
    (server, dial)
}

/// Its log and `synap status` name the address and the cause.
#[track_caller]
fn assert_told(server: &Server, address: &str, cause: &str) {
    wait::until_or(
        || format!("the log does not say '{cause}': {}", server.log()),
        || server.log().lines().any(|line| line.contains(address) && line.contains(cause)).then_some(()),
    );
    let shown = shell::synap(["status", "--url", &server.url()]).good();
    assert!(shown.contains(address), "{shown}");
}

#[test]
fn the_port_for_clients_is_told_from_the_one_for_nodes() {
    let cluster = Cluster::start(0);
    let address = format!("127.0.0.1:{}", cluster.servers[0].http);
    let (server, dial) = lost_replica(&cluster, &address);
    assert_eq!(dial["failure"], "http_port", "{dial}");
    assert_told(&server, &address, "an HTTP server answers there");
}

#[test]
fn a_port_of_nobody_and_a_name_of_nobody_are_told_apart() {
    let cluster = Cluster::start(0);
    let address = format!("127.0.0.1:{}", ports::free());
    let (mut server, dial) = lost_replica(&cluster, &address);
    assert_eq!(dial["failure"], "refused", "{dial}");
    assert_told(&server, &address, "Connection refused");
    server.kill();
    // No resolver is asked for a label that long.
    let address = format!("{}.example:15501", "n".repeat(70));
    let (server, dial) = lost_replica(&cluster, &address);
    assert_eq!(dial["failure"], "unresolved", "{dial}");
    assert_told(&server, &address, "cannot be reached");
}

#[test]
fn a_replica_without_a_master_is_no_master_and_one_with_a_master_sends_on() {
    let mut cluster = Cluster::start(1);
    let address = format!("127.0.0.1:{}", cluster.servers[1].replication);
    cluster.servers[0].kill();
    wait::until_true("the replica notices", || cluster.servers[1].status()["state"] == "master_down");
    let (server, dial) = lost_replica(&cluster, &address);
    assert_eq!(dial["failure"], "no_master", "{dial}");
    assert_told(&server, &address, "knows no master");
    cluster.servers[0].spawn();
    cluster.servers[0].await_master();
    wait::until_true("it is sent on to the master", || server.status()["link"]["state"] == "connected");
    assert_eq!(server.status()["dials"], json!([]), "what was in vain is forgotten");
}

#[test]
fn one_name_for_all_members_leads_to_the_master() {
    let networks = match Networks::without_cuts(3) {
        Ok(networks) => networks,
        Err(why) => return println!("skipped: no networks of its own here: {why}"),
    };
    let directory = TempDir::new().expect("a temporary directory can be made");
    networks.name(&[("members", 0), ("members", 1), ("members", 2)]);
    let mut servers: Vec<Server> = (0..3).map(|number| member_by_name(&networks, &directory, number)).collect();
    // Both replicas find nobody but each other and themselves at first.
    servers[1].start();
    servers[2].start();
    wait::until_true("a replica has called itself", || {
        servers[1].status()["dials"].to_string().contains("itself")
    });
    assert!(!servers[1].log().contains("closed without an answer"), "{}", servers[1].log());
    servers[0].start();
    servers[0].await_master();
    let position = servers[0].set("a", "1");
    servers.iter_mut().for_each(|server| server.await_probe("/readyz"));
    wait::until_true("all have it", || servers.iter().all(|server| server.applied() >= position));
}

/// A server whose configured master is a name that stands for it and all others.
fn member_by_name(networks: &Networks, directory: &TempDir, number: usize) -> Server {
    let mut server = Server::new(&format!("n{number}"), directory.path());
    server.place = networks.place(number);
    (server.http, server.replication) = (15_500, 15_501);
    let mut settings = config(&server, (number > 0).then_some(15_501));
    if number > 0 {
        settings["replication"]["master_address"] = json!("members:15501");
    }
    server.configure(&format!("{settings:#}\n"));
    server
}

#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    let cluster = Cluster::start(0);
    for (key, taken) in [("server", cluster.servers[0].http), ("replication", cluster.servers[0].replication)] {
        let mut server = Server::new(key, cluster.directory());
        let mut settings = config(&server, None);
        match key {
            "server" => settings["server"]["port"] = json!(taken),
            _ => settings["replication"]["replica_listen_address"] = json!(format!("127.0.0.1:{taken}")),
        }
        server.configure(&format!("{settings:#}\n"));
        server.spawn();
        assert_eq!(server.await_exit(), 75);
        let named =
            if key == "server" { "server.host, server.port" } else { "replication.replica_listen_address" };
        assert!(
            server.log().contains(&format!("cannot listen at 127.0.0.1:{taken} ({named})")),
            "{}",
            server.log()
        );
    }
}

#[test]
fn a_cluster_that_was_founded_anew_is_told_from_the_old_one_by_both() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    cluster.servers.iter_mut().for_each(Server::kill);
    fs::remove_dir_all(cluster.servers[0].data_directory()).expect("the data directory can be removed");
    cluster.servers[0].start();
    cluster.servers[0].await_master();
    cluster.servers[1].start();
    for server in &cluster.servers {
        wait::until_true("it says that there is another cluster", || {
            server.status()["alarms"].to_string().contains("foreign_cluster")
        });
    }
    assert_eq!(cluster.servers[1].value("a"), Some(json!("1")), "what the old one holds is untouched");
    let shown = shell::synap(["status", "--url", &cluster.servers[0].url()]).good();
    assert!(shown.contains("Two clusters"), "{shown}");
}

#[test]
fn an_empty_master_asks_at_its_master_address_before_it_founds() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    cluster.servers[0].kill();
    cluster.servers[1].post("/replication/promote", &json!({})).with(200);
    fs::remove_dir_all(cluster.servers[0].data_directory()).expect("the data directory can be removed");
    // At another address, so that nobody calls it.
    let (moved, other) = (ports::free(), cluster.servers[1].replication);
    cluster.servers[0].reconfigure(|config| {
        config["replication"]["replica_listen_address"] = json!(format!("127.0.0.1:{moved}"));
        config["replication"]["master_address"] = json!(format!("127.0.0.1:{other}"));
    });
    cluster.servers[0].start_ready();
    assert_eq!(cluster.servers[0].status()["role"], "replica");
    assert_eq!(cluster.servers[0].value("a"), Some(json!("1")));
}

#[test]
fn unwise_times_are_warned_of() {
    let cluster = Cluster::prepare(1, |_, config| {
        config["replication"]["heartbeat_interval_ms"] = json!(1);
        config["replication"]["master_address"] = config["replication"]["replica_listen_address"].clone();
    });
    let file = cluster.servers[1].config_path();
    let checked = shell::synap(["check-config", file.to_str().expect("a path")]).ended_with(0);
    for said in [
        "replication.heartbeat_interval_ms: a connection ends",
        "replication.master_address: this is the address of",
    ] {
        assert!(checked.stderr.contains(said), "{}", checked.stderr);
    }
}

#[test]
fn a_replica_says_null_of_what_only_its_master_knows() {
    let mut cluster = Cluster::start(2);
    cluster.await_converged();
    let named = |server: &Server, name: &str| -> Value {
        let members = server.status()["members"].as_array().cloned().unwrap_or_default();
        members.into_iter().find(|member| member["node_name"] == name).expect("a member")
    };
    wait::until_true("the replica knows all members", || {
        cluster.servers[1].status()["members"].as_array().map(Vec::len) == Some(3)
    });
    let other = named(&cluster.servers[1], "n3");
    assert_eq!((&other["connected"], &other["eligible"]), (&Value::Null, &Value::Null), "{other}");
    assert_eq!(named(&cluster.servers[1], "n2")["connected"], true);
    assert_eq!(named(&cluster.servers[0], "n3")["connected"], true);
}
