//! Level A: the core's `turn`, journal and recovery over modelled disks and modelled links, driven from one heap of
//! events. No async, no sockets: for volume.
//!
//! Owns the order of events. What a host does with them is in [`host`], what the network does in [`net`] and [`slow`], disks in
//! [`disks`], clients in [`clients`], what the operator reaches of it in [`site`].

mod clients;
mod disks;
mod host;
mod net;
mod site;
mod slow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use synap_core::ids::LinkId;

use crate::dice::{Dice, mix};
use crate::disk::ModelDisk;
use crate::operator::{self, Operator, WATCH_US};
use crate::oracle::{Fact, Oracles};
use crate::panics;
use crate::plan::Plan;
use crate::run::{Report, Tally, Verdict};
use crate::trace::{Step, Trace};
use clients::Clients;
use disks::LaneName;
use host::Host;
use net::Network;

/// Runs a plan. With `keeps_trace` the report has the records of the trace.
pub fn run(plan: &Plan, keeps_trace: bool) -> Report {
    let mut world = World::new(plan, keeps_trace);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let verdict = match ran {
        Ok(verdict) => verdict,
        Err(panic) => Verdict::Panic { cause: panics::message_of(&*panic) },
    };
    let tally = world.tally_up();
    Report { verdict, trace_hash: world.trace.hash(), trace: world.trace.into_records(), tally }
}

/// Something that is due.
#[derive(Debug)]
enum Event {
    /// A process starts, unless one runs or the machine is held down.
    Start { host: usize },
    /// A process takes its inbox.
    Turn { host: usize, life: u32 },
    /// A disk operation ends.
    Disk { host: usize, life: u32, lane: LaneName },
    /// A process looks how much is free on its disk.
    Measure { host: usize, life: u32 },
    /// The front of a connection's direction arrives.
    Deliver { conn: usize, dir: usize },
    /// The system of a sender takes more of what waits on a slow connection.
    Load { conn: usize, dir: usize },
    /// A dial arrives where it was sent.
    Dialled { host: usize, life: u32, link: LinkId, dial: Box<net::Dial> },
    /// A dial's answer is back; none: the connection stands.
    DialEnds { host: usize, life: u32, link: LinkId, end: net::DialEnd },
    /// The other end of a connection is gone.
    Closed { conn: usize, side: usize },
    /// A client thinks of its next request.
    Client(usize),
    /// An operation of the plan is due.
    Operation(usize),
    /// A request arrives at its host.
    Request { op: usize },
    /// A client has waited long enough.
    GiveUp { op: usize },
    /// A fault begins.
    Begin(usize),
    /// A fault that has begun goes on.
    Again(usize),
    /// A fault ends.
    End(usize),
    /// A look at everything.
    Watch,
}

/// An event with its time; equal times keep the order in which they were planned.
#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    event: Event,
}

/// A run.
struct World<'p> {
    plan: &'p Plan,
    now: u64,
    due: BinaryHeap<Reverse<Due>>,
    numbers: u64,
    hosts: Vec<Host>,
    network: Network,
    clients: Clients,
    operator: Operator,
    oracles: Oracles,
    trace: Trace,
    tally: Tally,
    dice: Dice,
    verdict: Option<Verdict>,
}

/// More events than any run needs: a run that goes beyond spins.
const EVENTS_MAX: u64 = 3_000_000;

impl<'p> World<'p> {
    fn new(plan: &'p Plan, keeps_trace: bool) -> Self {
        let disks: Vec<_> = (0..plan.nodes() as u64)
            .map(|node| {
                let mut disk = ModelDisk::new(plan.disk, mix(&[plan.seed, node, 1]));
                disk.set_volume(plan.knobs.volume_bytes);
                Arc::new(Mutex::new(disk))
            })
            .collect();
        let hosts = disks.iter().enumerate().map(|(number, disk)| Host::new(number, disk.clone(), plan)).collect();
        let mut world = Self {
            plan,
            now: 0,
            due: BinaryHeap::new(),
            numbers: 0,
            hosts,
            network: Network::new(plan),
            clients: Clients::new(plan),
            operator: Operator::new(plan),
            oracles: Oracles::new(disks),
            trace: Trace::new(keeps_trace),
            tally: Tally::default(),
            dice: Dice::named(plan.seed, "world"),
            verdict: None,
        };
        world.set_out();
        world
    }

    fn set_out(&mut self) {
        for host in 0..self.hosts.len() {
            let after_us = self.dice.below(50_000);
            self.after(after_us, Event::Start { host });
        }
        for client in 0..usize::from(self.plan.workload.clients) {
            self.after(100_000 + client as u64 * 777, Event::Client(client));
        }
        for (number, operation) in self.plan.operations.iter().enumerate() {
            self.at(operation.at_us, Event::Operation(number));
        }
        for (number, fault) in self.plan.faults.iter().enumerate() {
            self.after(fault.at_ms * 1000, Event::Begin(number));
            self.after((fault.at_ms + fault.for_ms) * 1000, Event::End(number));
        }
        self.after(10_000, Event::Watch);
    }

    fn run(&mut self) -> Verdict {
        while let Some(Reverse(due)) = self.due.pop() {
            self.now = due.at;
            self.happen(due.event);
            if let Some(violation) = self.oracles.violation() {
                return Verdict::Safety(violation.clone());
            }
            if let Some(verdict) = self.verdict.take() {
                return verdict;
            }
            if self.trace.events() > EVENTS_MAX {
                let cause = format!("{EVENTS_MAX} events; {}", operator::standing(self));
                return Verdict::Liveness { at: self.now, cause };
            }
        }
        unreachable!("a run ends by its verdict: the watch always plans the next")
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { host } => self.start(host),
            Event::Turn { host, life } => self.turn(host, life),
            Event::Disk { host, life, lane } => self.disk_step(host, life, lane),
            Event::Measure { host, life } => self.measure(host, life),
            Event::Deliver { conn, dir } => self.deliver(conn, dir),
            Event::Load { conn, dir } => self.load(conn, dir),
            Event::Dialled { host, life, link, dial } => self.dialled(host, life, link, *dial),
            Event::DialEnds { host, life, link, end } => self.dial_ends(host, life, link, end),
            Event::Closed { conn, side } => self.closed(conn, side),
            Event::Client(client) => self.client_next(client),
            Event::Operation(number) => self.operation_due(number),
            Event::Request { op } => self.request_arrives(op),
            Event::GiveUp { op } => self.give_up(op),
            Event::Begin(number) => operator::fault_begins(self, number),
            Event::Again(number) => operator::fault_goes_on(self, number),
            Event::End(number) => operator::fault_ends(self, number),
            Event::Watch => {
                self.after(WATCH_US, Event::Watch);
                self.drop_stalled();
                operator::watch(self);
            }
        }
    }

    fn after(&mut self, us: u64, event: Event) {
        self.at(self.now + us, event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.due.push(Reverse(Due { at, number: self.numbers, event }));
    }

    fn see(&mut self, fact: &Fact<'_>) {
        self.oracles.see(self.plan, self.now, fact);
    }

    fn note(&mut self, parts: &[u64], step: impl FnOnce() -> Step) {
        self.trace.note(self.now, parts, step);
    }

    fn tally_up(&self) -> Tally {
        let dirty = self.hosts.iter().map(|host| host.disk().counts().dirty_power_cuts).sum();
        let compared = self.oracles.compared().map(|(_, count)| count).sum();
        let mut tally =
            Tally { events: self.trace.events(), us: self.now, dirty_power_cuts: dirty, compared, ..self.tally };
        let lives = self.hosts.iter().filter_map(|host| host.process.as_ref());
        lives.for_each(|process| tally.coverage.met(process.node.seen().bits()));
        tally
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
