//! A write's way to a replica: from the moment it is sent to the master until a read on the replica shows it, with
//! nothing else going on and under a full load.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use synap_tests::http::Client;
use synap_tests::server::Server;

use crate::generator::{self, Load};
use crate::report::{Bound, Report};
use crate::web::writer;
use crate::{Pace, http, synap};

/// What was measured, in microseconds.
struct Ways {
    /// Since the write was sent.
    since_sent: Histogram<u64>,
    /// Since the master had answered that the write is committed and applied there.
    since_answered: Histogram<u64>,
}

pub(crate) fn run(report: &mut Report, pace: Pace) {
    report.section("A write's way to a replica (1 + 2 nodes, every promise synced)");
    let cluster = synap::cluster(2, |_| {});
    let (master, replica) = (&cluster.servers[0], &cluster.servers[1]);
    let idle = probe(master, replica, pace.probes(), Duration::from_millis(2));
    show(report, "idle", &idle);
    report.bar(
        "idle, p50 until it is visible on the replica",
        Bound::AtMost(0.3),
        at(&idle.since_answered, 50.0),
        "ms",
    );

    let load = Load { connections: 64, warm_up: Duration::ZERO, measured: 4 * pace.measured() };
    let loaded = thread::scope(|scope| {
        let load =
            scope.spawn(|| generator::run(http::local(master.http), load, |number| writer(number, "quorum")));
        thread::sleep(pace.warm_up());
        let loaded = probe_while(master, replica, || !load.is_finished());
        let load = load.join().expect("no panic");
        report.figure("the load: SET quorum, 64 connections", &format!("{:.0} per second", load.per_sec));
        loaded
    });
    show(report, "under load", &loaded);
    report.bar(
        "under load, p99 until it is visible on the replica",
        Bound::AtMost(5.0),
        at(&loaded.since_answered, 99.0),
        "ms",
    );
}

fn show(report: &Report, when: &str, ways: &Ways) {
    for (what, book) in [("since it was sent", &ways.since_sent), ("since the master's yes", &ways.since_answered)]
    {
        let figure = format!("p50 {:.3} ms, p99 {:.3} ms, of {}", at(book, 50.0), at(book, 99.0), book.len());
        report.figure(&format!("{when}: visible on the replica {what}"), &figure);
    }
}

fn at(book: &Histogram<u64>, percentile: f64) -> f64 {
    book.value_at_percentile(percentile) as f64 / 1000.0
}

fn probe(master: &Server, replica: &Server, count: u32, pause: Duration) -> Ways {
    let mut left = count;
    probe_while(master, replica, || {
        thread::sleep(pause);
        left -= 1;
        left > 0
    })
}

/// Writes at the default concern, one after the other, and has the replica wait for each position.
fn probe_while(master: &Server, replica: &Server, mut go_on: impl FnMut() -> bool) -> Ways {
    let mut ways = Ways { since_sent: generator::micros(), since_answered: generator::micros() };
    let (mut writer, mut reader) = (master.client(), replica.client());
    while go_on() {
        let sent = Instant::now();
        let answer = writer.post("/kv/set", &json!({ "key": "probe", "value": "x" })).expect("an answer");
        let answered = Instant::now();
        let (epoch, index) = answer.with(200).position();
        await_position(&mut reader, epoch, index);
        ways.since_sent.saturating_record(micros(sent));
        ways.since_answered.saturating_record(micros(answered));
    }
    ways
}

fn await_position(reader: &mut Client, epoch: u64, index: u64) {
    reader.get(&format!("/kv/exists/probe?min_position={epoch}:{index}")).expect("an answer").with(200);
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
