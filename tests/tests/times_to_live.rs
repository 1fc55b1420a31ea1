//! Keys with a time to live, where that was hard: clients that write more of them than a sweep at its ease takes away, and a
//! master whose wall clock was wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synap_tests::clocks;
use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::wait;

/// How long clients write, and how many.
const FLOOD: Duration = Duration::from_secs(8);
const WRITERS: usize = 8;

fn keys(server: &Server) -> usize {
    server.metric("synap_kv_keys", &[]) as usize
}

/// Each key lives for a second, so that with a sweep that keeps up an eighth of them is there at a time.
#[test]
fn a_flood_of_short_lives_does_not_fill_the_store() {
    let cluster = Cluster::start(1);
    let master = &cluster.servers[0];
    let over = AtomicBool::new(false);
    let (written, most) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = master.client();
                scope.spawn(move || {
                    let (began, mut written) = (Instant::now(), 0);
                    while began.elapsed() < FLOOD {
                        let pair = json!({"key": format!("{writer}-{written}"), "value": 1, "ttl": 1});
                        let answer = client.post("/kv/set?concern=async", &pair).expect("an answer");
                        assert_eq!(answer.status, 200);
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        let looks = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(keys(master));
                thread::sleep(Duration::from_millis(50));
            }
            most
        });
        let written: usize = writers.into_iter().map(|writer| writer.join().expect("no panic")).sum();
        over.store(true, Ordering::Relaxed);
        (written, looks.join().expect("no panic"))
    });
    println!("{written} keys were written, {most} were there at a time");
    assert!(most <= written / 2, "{most} of {written} keys are there at once");
    wait::until_true("all have gone", || keys(master) == 0);
}

/// Further ahead than a test waits for anything.
const AHEAD_SECS: i64 = 90;

#[test]
fn a_lock_of_three_seconds_lasts_three_seconds_after_a_master_whose_clock_was_ahead() {
    let mut cluster = Cluster::prepare(2, |_, config: &mut Value| {
        config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": 3 });
    });
    if !clocks::set_ahead(&mut cluster.servers[0], AHEAD_SECS) {
        return;
    }
    let mut cluster = cluster.begun().once_armed();
    cluster.servers[0].set("before", "1");
    cluster.await_converged();
    wait::until_true("members whose wall clocks differ are an alarm", || {
        cluster.servers[0].status()["alarms"].as_array().is_some_and(|all| all.contains(&json!("clock_skew")))
    });
    cluster.servers[0].kill();

    let leader = wait::until("another takes writes", || {
        (1..3).find(|number| cluster.servers[*number].probe("/readyz?role=master"))
    });
    let leader = &cluster.servers[leader];
    let lock = json!({"key": "lock", "value": "me", "nx": true, "ttl": 3});
    assert_eq!(leader.post("/kv/set", &lock).with(200).json()["written"], true);
    // Longer than anybody holds it, and shorter than the clock was ahead.
    wait::until_true("the lock is free again", || leader.value("lock").is_none());
    assert_eq!(leader.post("/kv/set", &lock).with(200).json()["written"], true, "somebody else may have it");
}
