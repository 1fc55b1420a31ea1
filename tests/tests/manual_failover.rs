//! Manual failover, as the guide's four steps: stop the master, promote a replica, update the replicas'
//! configurations, restart the services. What the old master had alone ends in a rollback file.

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;

#[test]
fn four_steps_with_the_verb() {
    let mut cluster = Cluster::start(2);
    write_common_and_divergent(&mut cluster);

    // 1. The master is stopped. 2. A replica is promoted.
    cluster.servers[1].start();
    cluster.servers[2].start();
    let promoted = shell::synap(["promote", "--yes", "--url", &cluster.servers[1].url()]);
    promoted.ended_with(0);

    finish_failover(&mut cluster);
}

#[test]
fn four_steps_with_edited_files() {
    let mut cluster = Cluster::start(2);
    write_common_and_divergent(&mut cluster);

    // 1. The master is stopped. 2. A replica's file says `role: master` from now on.
    cluster.servers[1].reconfigure(|config| {
        config["replication"]["role"] = json!("master");
        config["replication"].as_object_mut().expect("a section").remove("master_address");
    });
    cluster.servers[1].start();

    finish_failover(&mut cluster);
}

#[test]
fn a_replica_that_lacks_writes_points_at_the_better_one() {
    let mut cluster = Cluster::start(2);
    cluster.servers[0].set("both", "1");
    cluster.await_converged();
    cluster.servers[2].kill();
    cluster.servers[0].set("only on n1 and n2", "2");
    cluster.await_converged();
    cluster.servers[0].kill();
    cluster.servers[2].start();

    let refused = wait_for_refusal(&cluster.servers[2]);
    assert!(refused["detail"].as_str().expect("a detail").contains("n2"), "it names n2: {refused}");

    cluster.servers[1].post("/replication/promote", &json!({})).with(200);
    cluster.servers[1].await_master();
    assert_eq!(cluster.servers[1].value("only%20on%20n1%20and%20n2"), Some(json!("2")));
}

#[test]
fn force_needs_the_word_that_loss_is_accepted() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("a", "1");
    cluster.await_converged();
    let replica = &cluster.servers[1];

    let refused = replica.post("/replication/promote", &json!({ "force": true }));
    assert_eq!(refused.status, 400, "{}", refused.text());
    let wrong_place = json!({ "force": true, "accept_data_loss": true, "expect_last": "1:999" });
    assert_eq!(replica.post("/replication/promote", &wrong_place).status, 409);
    assert_eq!(replica.status()["role"], "replica");
}

/// A pause that outlives the failover: the old master wakes, still believing, and must step down.
#[test]
fn a_master_that_slept_through_its_replacement_steps_down() {
    let mut cluster = Cluster::start(2);
    cluster.servers[0].set("before", "1");
    cluster.await_converged();
    cluster.servers[0].signal("STOP");

    let forced = json!({ "force": true, "accept_data_loss": true });
    cluster.servers[1].post("/replication/promote", &forced).with(200);
    cluster.servers[1].await_master();
    let position = cluster.servers[1].set("after", "2");

    cluster.servers[0].signal("CONT");
    await_role(&cluster.servers[0], "replica");
    await_applied(&cluster.servers[0], position);
    assert_eq!(cluster.servers[0].value("before"), Some(json!("1")));
    assert_eq!(cluster.servers[0].value("after"), Some(json!("2")));
}

/// Ten writes that all hold, then ten that the master takes alone; afterwards all are stopped.
fn write_common_and_divergent(cluster: &mut Cluster) {
    for number in 0..10 {
        cluster.servers[0].set(&format!("common-{number}"), "kept");
    }
    cluster.await_converged();
    assert_eq!(cluster.servers[1].terminate(), 0);
    assert_eq!(cluster.servers[2].terminate(), 0);
    for number in 0..10 {
        let body = json!({ "key": format!("divergent-{number}"), "value": "discarded" });
        cluster.servers[0].post("/kv/set?concern=local", &body).with(200);
    }
    cluster.servers[0].kill();
}

/// Steps 3 and 4, and what must be true afterwards. The second server has been told to be the master.
fn finish_failover(cluster: &mut Cluster) {
    cluster.servers[1].await_master();
    let new_master = format!("localhost:{}", cluster.servers[1].replication);

    // 3. The other replica's file names the new master. 4. It is restarted, and the old master with it.
    if cluster.servers[2].is_running() {
        assert_eq!(cluster.servers[2].terminate(), 0);
    }
    cluster.servers[2].reconfigure(|config| config["replication"]["master_address"] = json!(new_master));
    cluster.servers[2].start();
    cluster.servers[0].start();

    let position = cluster.servers[1].set("new", "written after the failover");
    for server in &cluster.servers {
        await_applied(server, position);
        assert_eq!(server.value("common-3"), Some(json!("kept")), "{}", server.name);
        assert_eq!(server.value("divergent-3"), None, "{}", server.name);
        assert_eq!(server.value("new"), Some(json!("written after the failover")), "{}", server.name);
    }
    let status = cluster.servers[0].status();
    assert_eq!(status["role"], "replica", "{status}");
    assert_eq!(status["config_role_ignored"], true, "{status}");

    nothing_is_thrown_away(cluster);
}

/// What the old master had alone is listed, can be read and can be put back, except where the key changed since.
fn nothing_is_thrown_away(cluster: &mut Cluster) {
    let old_master = &cluster.servers[0];
    assert!(old_master.metric("synap_replication_rollback_operations_total", &[]) >= 10.0);
    let listed = old_master.get("/replication/rollbacks").with(200).json();
    let id = find_id(&listed);

    let list = shell::synap(["rollback", "list", "--url", &old_master.url()]).good();
    assert!(list.contains(&id), "{id} in {list}");
    let show = shell::synap(["rollback", "show", &id, "--url", &old_master.url()]).good();
    assert_eq!(listed["rollbacks"][0]["operations"], show.lines().count(), "{listed}");
    for number in 0..10 {
        assert!(show.contains(&format!("divergent-{number}")), "{show}");
    }

    cluster.servers[1].set("divergent-7", "changed since");
    shell::synap(["rollback", "replay", &id, "--url", &old_master.url()]).good();
    let position = cluster.servers[1].set("fence", "1");
    for server in &cluster.servers {
        await_applied(server, position);
        assert_eq!(server.value("divergent-3"), Some(json!("discarded")), "{}", server.name);
        assert_eq!(server.value("divergent-7"), Some(json!("changed since")), "{}", server.name);
    }
}

fn find_id(listed: &serde_json::Value) -> String {
    let id = &listed["rollbacks"][0]["id"];
    id.as_str().map(str::to_owned).or_else(|| id.as_u64().map(|id| id.to_string())).expect("a rollback has an id")
}

fn wait_for_refusal(server: &Server) -> serde_json::Value {
    wait::until("the promotion is refused", || {
        let response = server.post("/replication/promote", &json!({}));
        assert_ne!(response.status, 200, "a replica that lacks writes was promoted: {}", response.text());
        (response.status == 409).then(|| response.json())
    })
}

fn await_role(server: &Server, role: &str) {
    wait::until_true(&format!("{} is a {role}", server.name), || server.status()["role"] == role);
}

fn await_applied(server: &Server, position: (u64, u64)) {
    wait::until_true(&format!("{} applies {position:?}", server.name), || server.applied() >= position);
}
