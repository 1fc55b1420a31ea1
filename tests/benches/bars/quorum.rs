//! Writes that are on more than one disk when they are answered, beside Redis and etcd; and how one disk serves many
//! writers.

use synap_tests::server::Server;

use crate::etcd::{Etcd, Puts};
use crate::generator::{self, Load, Measured};
use crate::http;
use crate::keys::{self, Draw};
use crate::redis::{Redis, Resp, push_command};
use crate::report::{Bound, Report, median};
use crate::web::{Costed, complain, measure, writer};
use crate::{Pace, synap};

const KEYS: u64 = 100_000;
const CONNECTIONS: usize = 64;

/// SET `quorum`, 1 + 2 nodes, beside Redis `always` with WAIT 1 and three nodes of etcd.
pub(crate) fn run(report: &mut Report, pace: Pace) {
    report.section("SET quorum, every promise synced, 1 + 2 nodes on this machine, 64 connections");
    let load = Load { connections: CONNECTIONS, warm_up: pace.warm_up(), measured: pace.measured() };
    let cluster = synap::cluster(2, |_| {});
    let master = &cluster.servers[0];
    let armed = master.status()["failover"]["armed"].to_string();
    report.figure("automatic failover armed", &armed);
    let redis = Redis::cluster(2);
    let etcd = Etcd::start();

    let nodes: Vec<u32> = cluster.servers.iter().map(Server::pid).collect();
    let (mut ours, mut locals, mut ones, mut theirs, mut puts) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 1..=pace.rounds() {
        for (concern, book) in [("quorum", &mut ours), ("local", &mut locals), ("1", &mut ones)] {
            let set = measure(master.http, &nodes, load, |number| writer(number, concern));
            complain(report, concern, &set.load);
            show_costed(report, &format!("round {round}: synap, concern {concern}"), &set);
            book.push(set.load.per_sec);
        }
        if let Some(servers) = &redis {
            let nodes: Vec<u32> = servers.iter().map(|server| server.process.pid()).collect();
            let set = measure(servers[0].port, &nodes, load, waiter);
            complain(report, "Redis", &set.load);
            show_costed(report, &format!("round {round}: Redis always + WAIT 1"), &set);
            theirs.push(set.load.per_sec);
        }
        if let Some(etcd) = &etcd {
            let put = measure(etcd.leader, &etcd.pids(), load, putter);
            complain(report, "etcd", &put.load);
            show_costed(report, &format!("round {round}: etcd, three nodes"), &put);
            puts.push(put.load.per_sec);
        }
    }
    let quorum = median(ours);
    report.bar("quorum / local", Bound::AtLeast(0.5), quorum / median(locals), "");
    report.figure("concern 1 (one replica's disk besides) / quorum", &format!("{:.2} x", median(ones) / quorum));
    if theirs.is_empty() {
        report.skipped("quorum / Redis always + WAIT 1", "redis-server is not installed");
    } else {
        report.bar("quorum / Redis always + WAIT 1", Bound::AtLeast(1.2), quorum / median(theirs), "");
    }
    if puts.is_empty() {
        report.skipped("quorum / etcd, three nodes", "etcd is not installed");
    } else {
        report.bar("quorum / etcd, three nodes", Bound::AtLeast(6.0), quorum / median(puts), "");
    }
}

/// One writer and 64 writers on one disk.
pub(crate) fn group_commit(report: &mut Report, pace: Pace) {
    report.section("Group commit: SET local, one node, every write synced");
    let cluster = synap::cluster(0, |_| {});
    let server = &cluster.servers[0];
    let mut ratios = Vec::new();
    for round in 1..=pace.rounds() {
        let run = |connections| {
            let load = Load { connections, warm_up: pace.warm_up(), measured: pace.measured() };
            generator::run(http::local(server.http), load, |number| writer(number, "local"))
        };
        let (one, many) = (run(1), run(64));
        show(report, &format!("round {round}: 1 writer"), &one);
        show(report, &format!("round {round}: 64 writers"), &many);
        ratios.push(many.per_sec / one.per_sec);
    }
    report.bar("64 writers / 1 writer", Bound::AtLeast(20.0), median(ratios), "");
}

fn show(report: &Report, what: &str, measured: &Measured) {
    report.figure(what, &told(measured));
}

fn show_costed(report: &Report, what: &str, costed: &Costed) {
    let figure = format!("{}; {:.1} us of processor each on all nodes", told(&costed.load), costed.cpu_micros);
    report.figure(what, &figure);
}

fn told(measured: &Measured) -> String {
    format!(
        "{:.0} per second, p50 {:.2} ms, p99 {:.2} ms",
        measured.per_sec,
        measured.millis(50.0),
        measured.millis(99.0)
    )
}

fn waiter(number: usize) -> Resp<impl FnMut(&mut Vec<u8>) + 'static> {
    let mut draw = Draw::new(number);
    let value = keys::value();
    Resp::new(2, move |out| {
        push_command(out, &["SET", &keys::key(draw.below(KEYS)), &value]);
        push_command(out, &["WAIT", "1", "5000"]);
    })
}

fn putter(number: usize) -> Puts<impl FnMut() -> (String, String) + 'static> {
    let mut draw = Draw::new(number);
    let value = keys::value();
    Puts::new(move || (keys::key(draw.below(KEYS)), value.clone()))
}
