//! Masters that fall under load, with real processes: killed, held past their lease, cut off from their replicas, and
//! all at once. Clients go on meanwhile, some of them wherever a master is, some at one server only; and one order of all
//! that they did explains everything that they were told. So nothing that was answered at `quorum` is lost, and no
//! linearizable read misses it.

use std::io;
use std::time::Duration;

use serde_json::json;
use synap_sim::linear::{Action, Operation};
use synap_tests::clients::Roaming;
use synap_tests::cluster::Cluster;
use synap_tests::history::{Clock, Entry, History, Value};
use synap_tests::http::Response;
use synap_tests::networks::Networks;
use synap_tests::outcomes::{self, Meaning};
use synap_tests::server::Server;
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

#[test]
fn a_master_held_past_its_lease_answers_nothing_when_it_wakes_with_two_replicas() {
    hold_masters(2, 4);
}

#[test]
fn a_master_held_past_its_lease_answers_nothing_when_it_wakes_with_four_replicas() {
    hold_masters(4, 2);
}

/// A pause past the lease: whoever held it must not answer a single request when it wakes, and some wait for it.
fn hold_masters(replicas: usize, rounds: usize) {
    let mut cluster = Cluster::armed(replicas);
    let mut load = Roaming::start(&cluster);
    for _ in 0..rounds {
        load.await_more(100);
        let master = cluster.await_leader();
        cluster.servers[master].signal("STOP");
        // Only another master can take these. Those who come now ask for what is true after them.
        load.await_more(100);
        load.visit(&cluster.servers[master]);
        cluster.servers[master].signal("CONT");
        wait::until_true("the one that slept is a replica", || {
            cluster.servers[master].status()["role"] == "replica"
        });
    }
    load.check(&mut cluster);
}

#[test]
fn all_killed_at_once_come_back_with_everything_with_two_replicas() {
    kill_all(2, 4);
}

#[test]
fn all_killed_at_once_come_back_with_everything_with_four_replicas() {
    kill_all(4, 2);
}

/// The power fails for everybody, in the middle of writes; they end and start again in another order each time.
fn kill_all(replicas: usize, rounds: usize) {
    let mut cluster = Cluster::armed(replicas);
    let load = Roaming::start(&cluster);
    let count = cluster.servers.len();
    for round in 0..rounds {
        load.await_more(100);
        for place in 0..count {
            cluster.servers[(place + 2 * round) % count].kill();
        }
        for place in 0..count {
            cluster.servers[(place + round) % count].spawn();
        }
    }
    load.await_more(100);
    load.check(&mut cluster);
}

#[test]
fn all_restarted_one_after_the_other_with_two_replicas() {
    restart_all(2, &[1, 2, 0, 1]);
}

#[test]
fn all_restarted_one_after_the_other_with_four_replicas() {
    restart_all(4, &[4, 0, 1, 2, 3]);
}

/// One after the other is stopped in good order and started again, the master too.
fn restart_all(replicas: usize, places: &[usize]) {
    let mut cluster = Cluster::armed(replicas);
    let load = Roaming::start(&cluster);
    for place in places {
        load.await_more(100);
        assert_eq!(cluster.servers[*place].terminate(), 0);
        load.await_more(100);
        cluster.servers[*place].start_ready();
    }
    load.check(&mut cluster);
}

#[test]
fn a_master_cut_off_with_its_clients_is_replaced_with_two_replicas() {
    cut_masters(2, &[Cut::Both, Cut::FromMaster, Cut::ToMaster, Cut::Asleep]);
}

#[test]
fn a_master_cut_off_with_its_clients_is_replaced_with_four_replicas() {
    cut_masters(4, &[Cut::Asleep, Cut::FromMaster, Cut::ToMaster, Cut::Both]);
}

/// How a master is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Both,
    FromMaster,
    ToMaster,
    /// In both directions, and it stands still until it is replaced: when it wakes it hears of no successor, and only its
    /// lease can tell it.
    Asleep,
}

/// The master reaches no server any more, or none reaches it, while clients still reach it, and some know no other. They
/// are answered nothing that could differ from what the rest of the world is told.
fn cut_masters(replicas: usize, cuts: &[Cut]) {
    let networks = match Networks::new(replicas + 1) {
        Ok(networks) => networks,
        Err(why) => return println!("skipped: no networks of its own here: {why}"),
    };
    let mut cluster = Cluster::armed_in(&networks, replicas);
    let mut load = Roaming::start(&cluster);
    for cut in cuts {
        load.await_more(100);
        let master = cluster.await_leader();
        let others: Vec<usize> = (0..=replicas).filter(|server| *server != master).collect();
        let cut_off = &cluster.servers[master];
        cut_links(&networks, master, &others, *cut);
        load.visit(cut_off);
        if *cut == Cut::Asleep {
            cut_off.signal("STOP");
        }
        wait::until_true("another server leads", || {
            others.iter().any(|other| cluster.servers[*other].probe("/readyz?role=master"))
        });
        if *cut == Cut::Asleep {
            load.await_more(100);
            load.visit(cut_off);
            cut_off.signal("CONT");
        }
        assert_ne!(outcomes::of_write(&put(cut_off, "cut-off")), Meaning::Done, "there is one master already");
        assert_eq!(outcomes::of_read(&get(cut_off, LINEARIZABLE)), None, "there is one master already");
        load.visit(cut_off);
        load.await_asked(master, 5);
        load.await_more(100);
        networks.heal();
        wait::until_true("the one that was cut off follows", || cut_off.status()["link"]["state"] == "connected");
    }
    load.check(&mut cluster);
}

fn cut_links(networks: &Networks, master: usize, others: &[usize], cut: Cut) {
    for other in others {
        if cut != Cut::ToMaster {
            networks.cut(master, *other);
        }
        if cut != Cut::FromMaster {
            networks.cut(*other, master);
        }
    }
}

/// The judge of all the above is no yes-man: a replica that was away during a write, asked alone for what it has, tells
/// what the checker refuses. Asked linearizably it tells nothing, and the history stands.
#[test]
fn an_old_read_of_a_lonely_replica_is_refused_by_the_checker() {
    let mut cluster = Cluster::armed(2);
    let (clock, mut history) = (Clock::start(), History::default());
    let mut write = |server: &Server, value: &str| {
        let called_at = clock.now();
        put(server, value).expect("it is answered").with(200);
        history.add(entry(called_at, clock.now(), Action::Write(Some(value.to_owned()))));
    };
    write(&cluster.servers[0], "old");
    cluster.await_converged();
    cluster.servers[2].kill();
    write(&cluster.servers[0], "new");
    cluster.servers[0].kill();
    cluster.servers[1].kill();
    cluster.servers[2].start();

    assert_eq!(outcomes::of_read(&get(&cluster.servers[2], LINEARIZABLE)), None);
    assert_eq!(history.check(), Ok(()));
    let called_at = clock.now();
    let told: Value = outcomes::of_read(&get(&cluster.servers[2], "local")).expect("a local read is answered");
    assert_ne!(told.as_deref(), Some("new"));
    let read = entry(called_at, clock.now(), Action::Read(told));
    history.add(read.clone());
    assert_eq!(history.check().expect_err("it is an old read").entry, read);
}

const KEY: &str = "asked-by-hand";
const LINEARIZABLE: &str = "linearizable";

fn put(server: &Server, value: &str) -> io::Result<Response> {
    let body = json!({ "key": KEY, "value": value });
    server.client().post("/kv/set?concern=quorum&timeout_ms=2000", &body)
}

fn get(server: &Server, consistency: &str) -> io::Result<Response> {
    let client = &mut server.client().patience(Duration::from_secs(5));
    client.get(&format!("/kv/get/{KEY}?consistency={consistency}&timeout_ms=500"))
}

fn entry(called_at: u64, returned_at: u64, action: Action<Value>) -> Entry {
    let operation = Operation { called_at, returned_at: Some(returned_at), action };
    Entry { operation, key: KEY.to_owned(), client: "test".to_owned(), told: "200".to_owned() }
}
