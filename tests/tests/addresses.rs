//! Where nodes are and how they find each other: addresses that nobody configured, that change, that are a proxy's.

use serde_json::{Value, json};
use synap_tests::cluster::Cluster;
use synap_tests::networks::Networks;
use synap_tests::ports;
use synap_tests::proxy::Proxy;
use synap_tests::server::Server;
use synap_tests::wait;
use tempfile::TempDir;

/// Three servers that elect and listen on every interface, so that none of them knows an address of its own.
fn everywhere() -> Cluster {
    let mut cluster = Cluster::prepare(2, |_, config| {
        config["server"]["host"] = json!("0.0.0.0");
        config["replication"]["failover"] = json!({ "mode": "auto" });
    });
    for number in 0..3 {
        listen_everywhere(&cluster.servers[number]);
    }
    cluster.servers.iter_mut().for_each(Server::spawn);
    cluster.servers[0].await_master();
    await_armed(&cluster.servers);
    cluster
}

fn listen_everywhere(server: &Server) {
    let port = server.replication;
    server
        .reconfigure(|config| config["replication"]["replica_listen_address"] = json!(format!("0.0.0.0:{port}")));
}

#[track_caller]
fn await_armed(servers: &[Server]) {
    wait::until_true("every server knows that the cluster is armed", || {
        servers.iter().all(|server| server.status()["failover"]["armed"] == true)
    });
}

fn alarms(server: &Server) -> Vec<Value> {
    server.status()["alarms"].as_array().cloned().unwrap_or_default()
}

#[test]
fn after_a_failover_and_a_lost_host_nobody_has_to_know_an_address() {
    let mut cluster = everywhere();
    cluster.servers[0].kill();
    let second = cluster.await_leader();
    cluster.servers[second].set("a", "1");
    cluster.await_converged();
    for server in [1, 2] {
        assert!(!alarms(&cluster.servers[server]).contains(&json!("address_unknown")), "server {server}");
        cluster.servers[server].kill();
    }

    // The first has the shorter log, and the other needs its vote.
    cluster.servers[0].spawn();
    cluster.servers[second].spawn();
    wait::until_true("one of the two takes writes", || {
        [0, second].iter().any(|server| cluster.servers[*server].probe("/readyz?role=master"))
    });
    cluster.await_converged();
    assert_eq!(cluster.servers[0].value("a"), Some(json!("1")));
}

#[test]
fn all_addresses_change_but_for_one_name() {
    let mut cluster = everywhere();
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    cluster.servers.iter_mut().for_each(Server::kill);
    for server in &mut cluster.servers {
        server.replication = ports::free();
        listen_everywhere(server);
    }
    let first = cluster.servers[0].replication;
    for server in &cluster.servers[1..] {
        server.reconfigure(|config| config["replication"]["master_address"] = json!(format!("localhost:{first}")));
    }
    cluster.servers.iter_mut().for_each(Server::spawn);
    let leader = cluster.await_leader();
    cluster.servers[leader].set("b", "2");
    cluster.await_converged();
    for server in &cluster.servers {
        assert_eq!((server.value("a"), server.value("b")), (Some(json!("1")), Some(json!("2"))));
    }
}

#[test]
fn a_proxy_that_ends_its_connections_is_no_dead_master() {
    let mut cluster = Cluster::prepare(2, |_, config| {
        // Long enough that nobody campaigns for want of a word while connections are made again.
        config["replication"]["heartbeat_interval_ms"] = json!(5_000);
        config["replication"]["failover"] = json!({ "mode": "auto" });
    });
    let proxy = Proxy::before(cluster.servers[0].replication);
    let nobodys = ports::free();
    cluster.servers[0].reconfigure(|config| {
        config["replication"]["advertise_address"] = json!(format!("127.0.0.1:{nobodys}"));
    });
    for server in &cluster.servers[1..] {
        server.reconfigure(|config| {
            config["replication"]["master_address"] = json!(format!("127.0.0.1:{}", proxy.port));
        });
    }
    cluster.servers.iter_mut().for_each(Server::spawn);
    cluster.servers[0].await_master();
    await_armed(&cluster.servers);
    let epoch = cluster.servers[0].status()["epoch"].clone();

    proxy.reset();
    wait::until_true("both replicas are connected again", || {
        cluster.servers[1..].iter().all(|server| {
            let link = &server.status()["link"];
            link["state"] == "connected" && link["reconnects"].as_u64() > Some(0)
        })
    });
    for server in &cluster.servers {
        assert_eq!(server.status()["epoch"], epoch, "{}", server.log());
        assert!(!server.log().contains("campaigning"), "{}", server.log());
    }
    assert_eq!(cluster.servers[0].status()["role"], "master");
}

/// The guide's files: every interface, no advertised address, the master by its name.
fn guides_file(number: usize) -> String {
    let role = if number == 0 { "role: master" } else { "role: replica\n  master_address: \"master-host:15501\"" };
    format!(
        "server:\n  host: \"0.0.0.0\"\n  port: 15500\nreplication:\n  enabled: true\n  {role}\n  \
         node_name: n{number}\n  replica_listen_address: \"0.0.0.0:15501\"\n  failover:\n    mode: auto\n"
    )
}

/// Three hosts of their own, of which `names` maps the guide's name.
fn hosts(networks: &Networks, directory: &TempDir) -> Vec<Server> {
    let host = |number| {
        let mut server = Server::new(&format!("n{number}"), directory.path());
        server.place = networks.place(number);
        (server.http, server.replication) = (15_500, 15_501);
        server.configure(&guides_file(number));
        server
    };
    (0..3).map(host).collect()
}

#[test]
fn the_guides_files_on_hosts_of_their_own() {
    let networks = match Networks::without_cuts(3) {
        Ok(networks) => networks,
        Err(why) => return println!("skipped: no networks of its own here: {why}"),
    };
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut servers = hosts(&networks, &directory);
    networks.name(&[("master-host", 0)]);
    servers.iter_mut().for_each(Server::spawn);
    servers[0].await_master();
    await_armed(&servers);
    servers[0].set("a", "1");

    // The master's host is lost, then those of the others; the first has the shorter log.
    servers[0].kill();
    let second = wait::until("another leads", || (1..3).find(|at| servers[*at].probe("/readyz?role=master")));
    servers[second].set("b", "2");
    servers[1].kill();
    servers[2].kill();
    servers[0].spawn();
    servers[second].spawn();
    let leads = |servers: &[Server]| servers.iter().position(|server| server.probe("/readyz?role=master"));
    let leader = wait::until("one of the two leads", || leads(&servers));
    assert_eq!(servers[leader].value("b"), Some(json!("2")));

    // All stop, every address changes, and the name follows.
    let left = 3 - second;
    servers[0].kill();
    servers[second].kill();
    networks.readdress();
    for (number, server) in servers.iter_mut().enumerate() {
        server.place = networks.place(number);
    }
    networks.name(&[("master-host", 0)]);
    servers.iter_mut().for_each(Server::spawn);
    let leader = wait::until("somebody leads at the new addresses", || leads(&servers));
    servers[leader].set("c", "3");
    wait::until_true("all have it", || servers.iter().all(|server| server.value("c") == Some(json!("3"))));
    assert_eq!(servers[left].value("b"), Some(json!("2")));
}
