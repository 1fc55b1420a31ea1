//! Reads and `async` writes over HTTP beside the yardstick: how much of a bare server's speed is left.

use std::time::Duration;

use crate::generator::{self, Load, Measured, Talk};
use crate::hello::Hello;
use crate::http::{self, Http};
use crate::keys::{self, Draw};
use crate::process::cpu_micros;
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

    // Many short rounds, so that each ratio is of two loads that met the same machine.
    let load = Load { connections: CONNECTIONS, warm_up: pace.warm_up() / 2, measured: pace.measured() / 2 };
    let (mut gets, mut sets) = (Vec::new(), Vec::new());
    for round in 1..=2 * pace.rounds() {
        let bare = measure(hello.port, &[hello.pid()], load, |_| Http::new(|out| http::get(out, "/")));
        let get = measure(master.http, &[master.pid()], load, reader);
        let set = measure(master.http, &[master.pid()], load, |number| writer(number, "async"));
        // What an `async` load leaves behind must not weigh on the next round.
        std::thread::sleep(Duration::from_millis(500));
        report.figure(
            &format!("round {round}: hello / GET / SET async"),
            &format!(
                "{:.0} / {:.0} / {:.0} per second; {:.1} / {:.1} / {:.1} us of processor each",
                bare.load.per_sec,
                get.load.per_sec,
                set.load.per_sec,
                bare.cpu_micros,
                get.cpu_micros,
                set.cpu_micros
            ),
        );
        complain(report, "GET", &get.load);
        complain(report, "SET async", &set.load);
        gets.push(get.load.per_sec / bare.load.per_sec);
        sets.push(set.load.per_sec / bare.load.per_sec);
    }
    report.bar("HTTP GET / bare hyper", Bound::AtLeast(0.85), median(gets), "");
    report.bar("HTTP SET async, one replica / bare hyper", Bound::AtLeast(0.5), median(sets), "");
}

/// A load, and what each request cost the servers together.
pub(crate) struct Costed {
    pub(crate) load: Measured,
    pub(crate) cpu_micros: f64,
}

/// Puts a load on one of the servers whose processes are named.
pub(crate) fn measure<T: Talk>(port: u16, pids: &[u32], load: Load, talk: impl FnMut(usize) -> T) -> Costed {
    let used_by_all = || pids.iter().copied().map(cpu_micros).sum::<u64>();
    let before = used_by_all();
    let measured = generator::run(http::local(port), load, talk);
    let used = used_by_all() - before;
    let share = load.measured.as_secs_f64() / (load.warm_up + load.measured).as_secs_f64();
    let cpu_micros = used as f64 * share / (measured.per_sec * load.measured.as_secs_f64());
    Costed { load: measured, cpu_micros }
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
