//! Reads and `async` writes over HTTP beside the yardstick: how much of a bare server's speed is left.

use std::time::Duration;

use crate::generator::{self, Load, Measured};
use crate::hello::Hello;
use crate::http::{self, Http};
use crate::keys::{self, Draw};
use crate::report::{Bound, Report, median};
use crate::{Pace, synap};

/// Keys that are read and written.
const KEYS: u64 = 100_000;

const CONNECTIONS: usize = 64;

pub(crate) fn run(report: &mut Report, pace: Pace) {
    report.section("HTTP, 64 keep-alive connections, one replica, beside a bare hyper hello-world");
    let hello = Hello::start();
    let cluster = synap::cluster(1, |_| {});
    let master = &cluster.servers[0];
    synap::fill(master, KEYS);

    let load = Load { connections: CONNECTIONS, warm_up: pace.warm_up(), measured: pace.measured() };
    let (mut gets, mut sets) = (Vec::new(), Vec::new());
    for round in 1..=pace.rounds() {
        let bare = generator::run(http::local(hello.port), load, |_| Http::new(|out| http::get(out, "/")));
        let get = generator::run(http::local(master.http), load, reader);
        let set = generator::run(http::local(master.http), load, |number| writer(number, "async"));
        // What an `async` load leaves behind must not weigh on the next round.
        std::thread::sleep(Duration::from_millis(500));
        report.figure(
            &format!("round {round}: hello / GET / SET async"),
            &format!("{:.0} / {:.0} / {:.0} per second", bare.per_sec, get.per_sec, set.per_sec),
        );
        complain(report, "GET", &get);
        complain(report, "SET async", &set);
        gets.push(get.per_sec / bare.per_sec);
        sets.push(set.per_sec / bare.per_sec);
    }
    report.bar("HTTP GET / bare hyper", Bound::AtLeast(0.85), median(gets), "");
    report.bar("HTTP SET async, one replica / bare hyper", Bound::AtLeast(0.5), median(sets), "");
}

/// A connection that reads keys at random.
fn reader(number: usize) -> Http<impl FnMut(&mut Vec<u8>) + 'static> {
    let mut draw = Draw::new(number);
    Http::new(move |out| http::get(out, &format!("/kv/get/{}", keys::key(draw.below(KEYS)))))
}

/// A connection that writes keys at random at `concern`.
pub(crate) fn writer(number: usize, concern: &'static str) -> Http<impl FnMut(&mut Vec<u8>) + 'static> {
    let mut draw = Draw::new(number);
    let value = keys::value();
    Http::new(move |out| http::set(out, concern, &keys::key(draw.below(KEYS)), &value))
}

/// Answers that were not good are told, since they make a figure worthless.
pub(crate) fn complain(report: &Report, what: &str, measured: &Measured) {
    if measured.bad > 0 {
        report.figure(&format!("{what}: answers that were refusals"), &measured.bad.to_string());
    }
}
