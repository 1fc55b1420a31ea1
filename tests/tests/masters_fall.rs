//! Masters that fall under load, with real processes: killed, held past their lease, cut off from their replicas, and
//! all at once. Nothing that was answered at `quorum` is lost, and a linearizable read never misses it.

use std::process::Command;

use synap_tests::cluster::Cluster;
use synap_tests::roaming::Roaming;
use synap_tests::wait;

#[test]
fn killed_again_and_again_with_two_replicas() {
    kill_masters(2, 6);
}

#[test]
fn killed_again_and_again_with_four_replicas() {
    kill_masters(4, 3);
}

/// `kill -9` of whoever leads; it comes back while the others go on.
fn kill_masters(replicas: usize, rounds: usize) {
    let mut cluster = Cluster::armed(replicas);
    let load = Roaming::start(&cluster);
    for _ in 0..rounds {
        load.await_more(100);
        let master = cluster.await_leader();
        cluster.servers[master].kill();
        load.await_more(100);
        cluster.servers[master].start();
    }
    load.check(&mut cluster);
}

/// A pause past the lease: whoever held it must not answer a single write when it wakes.
#[test]
fn a_master_held_past_its_lease_answers_nothing_when_it_wakes() {
    let mut cluster = Cluster::armed(2);
    let load = Roaming::start(&cluster);
    for _ in 0..4 {
        load.await_more(100);
        let master = cluster.await_leader();
        cluster.servers[master].signal("STOP");
        // Only another master can take these.
        load.await_more(100);
        cluster.servers[master].signal("CONT");
        wait::until_true("the one that slept is a replica", || {
            cluster.servers[master].status()["role"] == "replica"
        });
    }
    load.check(&mut cluster);
}

/// The power fails for everybody, in the middle of writes; they start again in another order each time.
#[test]
fn all_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::armed(2);
    let load = Roaming::start(&cluster);
    for round in 0..4 {
        load.await_more(100);
        for server in &mut cluster.servers {
            server.kill();
        }
        for place in 0..3 {
            cluster.servers[(round + place) % 3].spawn();
        }
    }
    load.await_more(100);
    load.check(&mut cluster);
}

/// One after the other is stopped in good order and started again, the master too.
#[test]
fn all_restarted_one_after_the_other() {
    let mut cluster = Cluster::armed(2);
    let load = Roaming::start(&cluster);
    for place in [1, 2, 0, 1] {
        load.await_more(100);
        assert_eq!(cluster.servers[place].terminate(), 0);
        load.await_more(100);
        cluster.servers[place].start_ready();
    }
    load.check(&mut cluster);
}

/// The master is cut off from both replicas, in both directions or in one, while clients still reach it.
#[test]
fn a_master_cut_off_from_its_replicas_is_replaced() {
    let mut cluster = Cluster::armed(2);
    let Some(mut firewall) = Firewall::new() else { return };
    let load = Roaming::start(&cluster);
    for direction in [Cut::Both, Cut::ToReplicas, Cut::FromReplicas] {
        load.await_more(100);
        let master = cluster.await_leader();
        let port = cluster.servers[master].replication;
        firewall.cut(port, direction);
        wait::until_true("another server leads", || {
            cluster
                .servers
                .iter()
                .enumerate()
                .any(|(number, server)| number != master && server.probe("/readyz?role=master"))
        });
        load.await_more(100);
        firewall.heal();
        wait::until_true("the one that was cut off follows", || {
            cluster.servers[master].status()["link"]["state"] == "connected"
        });
    }
    load.check(&mut cluster);
}

/// What is dropped of the traffic of a replication port.
#[derive(Clone, Copy)]
enum Cut {
    Both,
    ToReplicas,
    FromReplicas,
}

/// Rules of nftables in a table of this test's own; gone with this value.
struct Firewall {
    table: String,
}

impl Firewall {
    /// None, with the reason printed, where this machine does not let the test have one.
    fn new() -> Option<Self> {
        let table = format!("synap_test_{}", std::process::id());
        let firewall = Self { table };
        let made = firewall.nft(&format!(
            "add table inet {0}; add chain inet {0} input {{ type filter hook input priority 0; }}",
            firewall.table
        ));
        match made {
            Ok(()) => Some(firewall),
            Err(why) => {
                println!("skipped: no firewall here: {why}");
                None
            }
        }
    }

    fn cut(&mut self, port: u16, direction: Cut) {
        let rules: &[&str] = match direction {
            Cut::Both => &["sport", "dport"],
            // Segments from the master's port are those that its replicas get.
            Cut::ToReplicas => &["sport"],
            Cut::FromReplicas => &["dport"],
        };
        for rule in rules {
            let added = self.nft(&format!("add rule inet {} input tcp {rule} {port} drop", self.table));
            added.expect("the table is there");
        }
    }

    fn heal(&mut self) {
        self.nft(&format!("flush chain inet {} input", self.table)).expect("the chain is there");
    }

    fn nft(&self, commands: &str) -> Result<(), String> {
        let ran = Command::new("nft").arg(commands).output().map_err(|error| error.to_string())?;
        if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()) }
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let _ = self.nft(&format!("delete table inet {}", self.table));
    }
}
