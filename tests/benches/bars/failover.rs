//! How long nobody takes writes: after `kill -9` of the master, after its host has gone silent, and in a switchover
//! under load. At the guide's defaults: heartbeats of a second, an election timeout of two.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use synap_tests::cluster::Cluster;
use synap_tests::http::Client;
use synap_tests::wait;

use crate::report::{Bound, Report};
use crate::{Pace, synap};

/// Clients that write while masters change in good order.
const CLIENTS: usize = 16;

/// The election timeout at the guide's defaults.
const ELECTION_TIMEOUT_MS: f64 = 2000.0;

pub(crate) fn run(report: &mut Report, pace: Pace) {
    report.section("Failover, 1 + 2 nodes at the guide's defaults");
    let mut cluster = armed();
    let killed: Vec<f64> = (0..pace.kills()).map(|_| after_kill(&mut cluster)).collect();
    show(report, "kill -9 until a write is accepted", &killed);
    report.bar("kill -9 until a write is accepted, p50", Bound::AtMost(250.0), percentile(&killed, 50), "ms");
    drop(cluster);

    // A cluster of its own for each: masters that change often are given more time.
    let silent: Vec<f64> = (0..pace.silences()).map(|_| after_silence(&mut armed())).collect();
    show(report, "a host gone silent until a write is accepted", &silent);
    report.bar(
        "a host gone silent / election timeout, p50",
        Bound::AtMost(1.3),
        percentile(&silent, 50) / ELECTION_TIMEOUT_MS,
        "",
    );
}

/// A change of master in good order, while clients write.
pub(crate) fn switchover(report: &mut Report, pace: Pace) {
    report.section("Switchover under load, 1 + 2 nodes at the guide's defaults");
    switchovers(report, &armed(), pace);
}

fn armed() -> Cluster {
    let cluster = synap::cluster(2, |_| {});
    await_whole(&cluster);
    cluster
}

/// Waits until the leader has both replicas, and all three vote.
fn await_whole(cluster: &Cluster) {
    let leader = cluster.await_leader();
    wait::until_true("the cluster is whole and armed", || {
        let status = cluster.servers[leader].status();
        let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
        let voters = members.iter().filter(|member| member["voter"] == true).count();
        let connected = cluster.servers[leader].metric("synap_replication_connected_replicas", &[]);
        status["failover"]["armed"] == true && voters == 3 && connected >= 2.0
    });
}

fn after_kill(cluster: &mut Cluster) -> f64 {
    let leader = cluster.await_leader();
    let mut others = others(cluster, leader);
    let begun = Instant::now();
    cluster.servers[leader].kill();
    write_anywhere(&mut others);
    let took = millis(begun);
    cluster.servers[leader].start_ready();
    await_whole(cluster);
    took
}

fn after_silence(cluster: &mut Cluster) -> f64 {
    let leader = cluster.await_leader();
    let mut others = others(cluster, leader);
    let begun = Instant::now();
    cluster.servers[leader].signal("STOP");
    write_anywhere(&mut others);
    let took = millis(begun);
    cluster.servers[leader].signal("CONT");
    took
}

/// Clients of all servers but one.
fn others(cluster: &Cluster, leader: usize) -> Vec<Client> {
    let servers = cluster.servers.iter().enumerate().filter(|(number, _)| *number != leader);
    servers.map(|(_, server)| server.client().patience(Duration::from_secs(5))).collect()
}

/// Asks one after the other until one takes a write at `quorum`.
fn write_anywhere(clients: &mut [Client]) {
    let body = json!({ "key": "after", "value": "the failover" });
    let begun = Instant::now();
    while begun.elapsed() < wait::DEADLINE {
        for client in &mut *clients {
            if client.post("/kv/set?timeout_ms=2000", &body).is_ok_and(|answer| answer.status == 200) {
                return;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("nobody takes writes");
}

/// The mastership goes round while clients write; the pause is the longest time in which none of them was answered.
fn switchovers(report: &mut Report, cluster: &Cluster, pace: Pace) {
    let stop = AtomicBool::new(false);
    let (spans, mut answers) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let stop = &stop;
                    move || write_until(cluster, number, stop)
                })
            })
            .collect();
        thread::sleep(pace.warm_up());
        let spans: Vec<(Instant, Instant)> = (0..pace.switchovers()).map(|_| switch_over(cluster)).collect();
        stop.store(true, Ordering::Relaxed);
        let answers: Vec<Instant> =
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        (spans, answers)
    });
    answers.sort_unstable();
    let pauses: Vec<f64> = spans.iter().map(|span| longest_gap(&answers, *span)).collect();
    show(report, "pause of writes in a switchover, 16 clients", &pauses);
    report.bar("pause of writes in a switchover, p99", Bound::AtMost(200.0), percentile(&pauses, 99), "ms");
}

/// When it began, and half a second after it was done.
fn switch_over(cluster: &Cluster) -> (Instant, Instant) {
    let leader = cluster.await_leader();
    await_whole(cluster);
    let begun = Instant::now();
    let answer = cluster.servers[leader].post("/replication/switchover", &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ended = Instant::now();
    thread::sleep(Duration::from_millis(500));
    (begun, ended + Duration::from_millis(500))
}

fn longest_gap(answers: &[Instant], (begun, ended): (Instant, Instant)) -> f64 {
    let within = answers.iter().copied().filter(|at| *at >= begun && *at <= ended);
    let points: Vec<Instant> = std::iter::once(begun).chain(within).chain([ended]).collect();
    let gaps = points.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0);
    gaps.fold(0.0, f64::max)
}

/// When this client's writes were answered. It goes where it is sent.
fn write_until(cluster: &Cluster, number: usize, stop: &AtomicBool) -> Vec<Instant> {
    let ports: Vec<u16> = cluster.servers.iter().map(|server| server.http).collect();
    let mut clients: Vec<Client> =
        cluster.servers.iter().map(|server| server.client().patience(Duration::from_secs(5))).collect();
    let (mut at, mut answers) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let body = json!({ "key": format!("key-{number}"), "value": "x" });
        match clients[at].post("/kv/set", &body) {
            Ok(answer) if answer.status == 200 => answers.push(Instant::now()),
            Ok(answer) => {
                let leader =
                    answer.header("synap-leader").and_then(|leader| leader.rsplit(':').next()?.parse().ok());
                let place = leader.and_then(|port: u16| ports.iter().position(|known| *known == port));
                at = place.unwrap_or((at + 1) % clients.len());
            }
            Err(_) => at = (at + 1) % clients.len(),
        }
    }
    answers
}

fn show(report: &Report, what: &str, millis: &[f64]) {
    let figure = format!(
        "p50 {:.0} ms, p90 {:.0} ms, most {:.0} ms, of {}",
        percentile(millis, 50),
        percentile(millis, 90),
        percentile(millis, 100),
        millis.len()
    );
    report.figure(what, &figure);
}

/// The smallest value that so many in a hundred do not exceed.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
