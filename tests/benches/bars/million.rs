//! A million keys of 12 bytes with values of 100: what they cost in memory, how long a restart takes, and how long a
//! new replica needs for all of them while writes go on. Redis does the same beside it.

use std::thread;
use std::time::{Duration, Instant};

use synap_tests::cluster::Cluster;
use synap_tests::server::Server;

use crate::generator::{self, Load};
use crate::keys;
use crate::process::resident_bytes;
use crate::redis::Redis;
use crate::report::{Bound, Report};
use crate::web::writer;
use crate::{Pace, http, synap};

pub(crate) fn run(report: &mut Report, pace: Pace) {
    let keys = pace.keys();
    report.section(&format!("{keys} keys of 12 bytes with values of 100 bytes"));
    let mut cluster = synap::prepared(1, |_| {});
    cluster.servers[0].spawn();
    cluster.servers[0].await_master();
    memory(report, &cluster.servers[0], keys);
    full_sync(report, &mut cluster, pace);
    restart(report, &mut cluster.servers[0]);
    drop(cluster);
    redis(report, keys);
}

fn memory(report: &mut Report, server: &Server, keys: u64) {
    let before = resident_bytes(server.pid());
    let begun = Instant::now();
    synap::fill(server, keys);
    report.figure("loaded, 1000 keys at a time", &format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let store = server.metric("synap_kv_memory_bytes", &[]);
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    report.bar("memory of the store, a key", Bound::AtMost(192.0), store / keys as f64, "B");
    report.figure(
        "growth of the process, a key (with the log's tail of 64 MiB)",
        &format!("{:.0} B", grown as f64 / keys as f64),
    );
}

fn full_sync(report: &mut Report, cluster: &mut Cluster, pace: Pace) {
    let (master, replicas) = cluster.servers.split_at_mut(1);
    let (master, replica) = (&master[0], &mut replicas[0]);
    // Twice as long as a load is put on elsewhere, so that it outlasts the sync.
    let measured = 2 * pace.measured();
    let write = || {
        let load = Load { connections: 8, warm_up: Duration::ZERO, measured };
        let begun = Instant::now();
        (begun, generator::run(http::local(master.http), load, |number| writer(number, "local")))
    };
    let (begun, alone) = write();
    let before = alone.between(begun, begun + measured);
    let (begun, synced, (loaded, load)) = thread::scope(|scope| {
        let load = scope.spawn(write);
        let begun = Instant::now();
        replica.spawn();
        while !holds_everything(replica) {
            thread::sleep(Duration::from_millis(5));
        }
        (begun, Instant::now(), load.join().expect("no panic"))
    });
    let full = replica.metric("synap_replication_full_syncs_total", &[]);
    report.figure("full syncs that it took", &format!("{full}"));
    let took = (synced - begun).as_secs_f64();
    report.bar("full sync of all keys, from the start of the replica", Bound::AtMost(2.0), took, "s");

    let ended = loaded + measured;
    let meanwhile = load.between(begun, synced.min(ended));
    report.bar("writes meanwhile / before", Bound::AtLeast(0.9), meanwhile.per_sec / before.per_sec, "");
    if synced < ended {
        let after = load.between(synced, ended);
        report.figure(
            "writes after it, with a replica that follows / before",
            &format!("{:.2} x", after.per_sec / before.per_sec),
        );
    }
    let (before, meanwhile) = (millis(before.longest_gap), millis(meanwhile.longest_gap));
    report.figure(
        "longest time without a written key: before / meanwhile",
        &format!("{before:.1} / {meanwhile:.1} ms"),
    );
    report.bar("longest pause of writes meanwhile", Bound::AtMost(10.0), meanwhile, "ms");
}

fn holds_everything(replica: &Server) -> bool {
    replica.client().get("/readyz").is_ok_and(|answer| answer.status == 200)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn restart(report: &mut Report, server: &mut Server) {
    server.terminate();
    let begun = Instant::now();
    server.spawn();
    while !server.client().get("/readyz").is_ok_and(|answer| answer.status == 200) {
        thread::sleep(Duration::from_millis(5));
    }
    let from_log = begun.elapsed().as_secs_f64();
    report.bar("restart with all keys, from the log", Bound::AtMost(1.2), from_log, "s");
    let taken = server.post("/snapshot", &serde_json::json!({}));
    report.figure("a snapshot of them", &format!("status {}", taken.status));
    server.terminate();
    let begun = Instant::now();
    server.spawn();
    while !server.client().get("/readyz").is_ok_and(|answer| answer.status == 200) {
        thread::sleep(Duration::from_millis(5));
    }
    let from_snapshot = begun.elapsed().as_secs_f64();
    report.bar("restart with all keys, snapshot at hand", Bound::AtMost(1.2), from_snapshot, "s");
}

fn redis(report: &Report, keys: u64) {
    let Some(mut master) = Redis::start(&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]) else {
        report.skipped("Redis", "redis-server is not installed");
        return;
    };
    let before = resident_bytes(master.process.pid());
    fill_redis(&master, keys);
    let grown = resident_bytes(master.process.pid()).saturating_sub(before);
    report.figure("Redis: growth of the process, a key", &format!("{:.0} B", grown as f64 / keys as f64));

    let begun = Instant::now();
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).expect("Redis is there");
    replica.await_synced();
    report.figure("Redis: full sync, from its start", &format!("{:.2} s", begun.elapsed().as_secs_f64()));
    drop(replica);

    master.process.terminate();
    let begun = Instant::now();
    master.start_again();
    report.figure("Redis: restart from its log", &format!("{:.2} s", begun.elapsed().as_secs_f64()));
}

fn fill_redis(server: &Redis, keys: u64) {
    let value = keys::value();
    let numbers: Vec<u64> = (0..keys).collect();
    for part in numbers.chunks(10_000) {
        let mut command = vec!["MSET".to_owned()];
        command.extend(part.iter().flat_map(|number| [keys::key(*number), value.clone()]));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        server.command(&command).expect("an answer");
    }
}
