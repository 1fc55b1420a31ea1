//! What happened to others with names and addresses, tried here: docs/incidents.md has the stories.

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::networks::Networks;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;
use tempfile::TempDir;

fn has_alarm(server: &Server, alarm: &str) -> bool {
    server.status()["alarms"].as_array().is_some_and(|alarms| alarms.contains(&json!(alarm)))
}

/// No resolver is asked for a label that long.
fn nobodys_name() -> String {
    "n".repeat(70)
}

#[test]
fn an_advertised_name_that_stands_for_nothing_is_told_at_the_start() {
    let name = nobodys_name();
    let mut cluster = Cluster::prepare(1, |server, config| {
        if server == 1 {
            config["replication"]["advertise_address"] = json!(name);
        }
    });
    let file = cluster.servers[1].config_path();
    let checked = shell::synap(["check-config", file.to_str().expect("a path")]).ended_with(0);
    assert!(
        checked.stderr.contains(&format!("replication.advertise_address: {name} stands for no address")),
        "{}",
        checked.stderr
    );
    cluster.servers.iter_mut().for_each(Server::spawn);
    cluster.servers[1].await_probe("/readyz");
    wait::until_true("the node itself says so", || has_alarm(&cluster.servers[1], "address_unresolved"));
    let log = cluster.servers[1].log();
    assert!(log.contains(&format!("others are told to find this node at {name}")), "{log}");
    assert_eq!(cluster.servers[1].metric("synap_alarm", &[("alarm", "address_unresolved")]), 1.0);
    // And so does its master, on which the name stands for nothing either.
    wait::until_true("its master says so", || has_alarm(&cluster.servers[0], "address_unresolved"));
    let log = cluster.servers[0].log();
    assert!(log.contains(&format!("member n2 is said to be at {name}")), "{log}");
    let shown = shell::synap(["status", "--url", &cluster.servers[1].url()]).good();
    assert!(shown.contains("address_unresolved"), "{shown}");
}

/// Three servers on hosts of their own, told to each other by name alone.
fn named(networks: &Networks, directory: &TempDir) -> Vec<Server> {
    let host = |number: usize| {
        let mut server = Server::new(&format!("n{number}"), directory.path());
        server.place = networks.place(number);
        (server.http, server.replication) = (15_500, 15_501);
        let mut config = json!({
            "server": { "host": "0.0.0.0", "port": 15_500, "advertise_address": format!("host-{number}") },
            "replication": {
                "role": if number == 0 { "master" } else { "replica" },
                "node_name": server.name,
                "replica_listen_address": "0.0.0.0:15501",
                "advertise_address": format!("host-{number}"),
                "heartbeat_interval_ms": 200,
            },
        });
        if number > 0 {
            config["replication"]["master_address"] = json!("host-0:15501");
        }
        server.configure(&format!("{config:#}\n"));
        server
    };
    (0..3).map(host).collect()
}

#[test]
fn names_that_stand_for_nothing_any_more_keep_nobody_from_taking_over() {
    let networks = match Networks::without_cuts(3) {
        Ok(networks) => networks,
        Err(why) => return println!("skipped: no networks of its own here: {why}"),
    };
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut servers = named(&networks, &directory);
    let names = [("host-0", 0), ("host-1", 1), ("host-2", 2)];
    networks.name(&names);
    servers.iter_mut().for_each(Server::spawn);
    servers[0].await_master();
    wait::until_true("all know that the cluster is armed", || {
        servers.iter().all(|server| server.status()["failover"]["armed"] == true)
    });
    servers[0].set("a", "1");
    wait::until_true("all have it", || servers.iter().all(|server| server.value("a") == Some(json!("1"))));

    // From here on no name stands for anything, and then the master's host is lost.
    networks.name(&[]);
    servers[0].kill();
    let leader = wait::until("another leads", || (1..3).find(|at| servers[*at].probe("/readyz?role=master")));
    servers[leader].set("b", "2");
    // A node that starts meanwhile knows nothing of where names led, and says so; the others take it along all the same.
    servers[0].start();
    wait::until_true("it says which names it cannot find", || has_alarm(&servers[0], "address_unresolved"));
    wait::until_true("it has everything", || servers[0].value("b") == Some(json!("2")));

    networks.name(&names);
    wait::until_true("the alarm ends by itself", || !has_alarm(&servers[0], "address_unresolved"));
}

#[test]
fn two_members_that_are_said_to_be_at_one_place_are_told() {
    let cluster = Cluster::prepare(2, |_, _| {});
    let second = cluster.servers[1].replication;
    cluster.servers[2].reconfigure(|config| {
        config["replication"]["advertise_address"] = json!(format!("127.0.0.1:{second}"));
    });
    let mut cluster = cluster.begun();
    wait::until_true("the master says so", || has_alarm(&cluster.servers[0], "address_unknown"));
    let log = cluster.servers[0].log();
    assert!(log.contains(&format!("n3 is said to be at 127.0.0.1:{second}, and so is another member")), "{log}");

    cluster.servers[2].kill();
    let own = cluster.servers[2].replication;
    cluster.servers[2].reconfigure(|config| {
        config["replication"]["advertise_address"] = json!(format!("127.0.0.1:{own}"));
    });
    cluster.servers[2].start_ready();
    wait::until_true("the alarm ends by itself", || !has_alarm(&cluster.servers[0], "address_unknown"));
}
