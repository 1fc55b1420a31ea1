//! Level B: the shipped runtime over turmoil's network and the modelled disk. Everything between the socket and the
//! disk is the code that ships: HTTP, the codec, links and their deadlines, the driver, the writer, `/metrics`.
//!
//! Owns the order of time: turmoil's steps of a millisecond, and the plan's events between them. How machines start and end
//! is in [`machines`], what they run in [`host`], the seams in [`net`], [`disk`] and [`suspend`], what is seen of it in [`turn_recorder`]
//! and [`observations`], clients in [`clients`], [`inspector`] and [`strangers`], what the operator reaches of it in [`site`].

mod clients;
mod disk;
mod host;
mod http;
mod inspector;
mod looks;
mod machines;
mod net;
mod observations;
mod requests;
mod site;
mod strangers;
mod suspend;
mod turn_recorder;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use turmoil::{Builder, Sim};

use crate::dice::Dice;
use crate::operator::{self, Operator, WATCH_US};
use crate::oracle::Fact;
use crate::panics;
use crate::plan::Plan;
use crate::run::{Report, Tally, Verdict};
use crate::trace::{Record, Step, Trace};
use clients::Order;
pub use observations::Life;
use world::{World, name_of};

/// The name of the clients' machine.
const CLIENTS: &str = "clients";

/// One step of turmoil, and the finest time of a timer.
const TICK: Duration = Duration::from_millis(1);

/// A run that takes longer than this has lost its watch.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// Segments that may be under way on one connection. turmoil panics where a real system would block the sender.
const TCP_SEGMENTS_MAX: usize = 65_536;

/// Runs a plan. With `keeps_trace` the report has the records of the trace.
pub fn run(plan: &Plan, keeps_trace: bool) -> Report {
    run_on(&World::new(plan.clone(), keeps_trace))
}

/// Runs a plan for the lives that its nodes live in it, in the order of their ends.
pub fn lives(plan: &Plan) -> Vec<Life> {
    let world = World::new(plan.clone(), true);
    run_on(&world);
    std::mem::take(&mut world.observations().lives)
}

fn run_on(world: &Arc<World>) -> Report {
    panics::forget();
    let ran = catch_unwind(AssertUnwindSafe(|| Run::new(world).run()));
    let mut observations = world.observations();
    // What the machines' end has shown, when their lives were lived again.
    let afterwards = observations.verdict.take();
    let verdict = match ran {
        Ok(Verdict::Good) => afterwards.unwrap_or(Verdict::Good),
        Ok(verdict) => verdict,
        Err(panic) => Verdict::Panic { cause: panics::first().unwrap_or_else(|| panics::message_of(&*panic)) },
    };
    let dirty_power_cuts = (0..world.plan.nodes()).map(|node| world.disk(node).counts().dirty_power_cuts).sum();
    let compared = observations.compared();
    let tally = Tally { events: observations.trace.events(), dirty_power_cuts, compared, ..observations.tally };
    let trace = std::mem::replace(&mut observations.trace, Trace::new(false));
    Report { verdict, trace_hash: trace.hash(), trace: trace.into_records().map(in_order), tally }
}

/// Within a step, machine after machine has its millisecond: their records are put in the order of time.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.at);
    records
}

/// Something that is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A process starts, unless one runs or the machine is held down.
    Start(usize),
    /// A fault begins.
    Begin(usize),
    /// A fault that has begun goes on.
    Again(usize),
    /// A fault ends.
    End(usize),
    /// A look at everything.
    Watch,
}

/// A run.
struct Run {
    sim: Sim<'static>,
    world: Arc<World>,
    orders: mpsc::UnboundedSender<Order>,
    /// By time and order of planning.
    due: BTreeMap<(u64, u64), Due>,
    planned: u64,
    operator: Operator,
}

impl Run {
    fn new(world: &Arc<World>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let mut run = Self {
            sim: builder(&world.plan).build(),
            world: Arc::clone(world),
            orders,
            due: BTreeMap::new(),
            planned: 0,
            operator: Operator::new(&world.plan),
        };
        for node in 0..world.plan.nodes() {
            let world = Arc::clone(world);
            run.sim.host(name_of(node), move || {
                world.bury(node);
                host::run(Arc::clone(&world), node)
            });
        }
        run.sim.client(CLIENTS, clients::run(Arc::clone(world), inbox));
        run.set_out();
        run
    }

    fn set_out(&mut self) {
        let mut dice = Dice::named(self.world.plan.seed, "world");
        for node in 0..self.world.plan.nodes() {
            self.after(dice.below(50_000), Due::Start(node));
        }
        for number in 0..self.world.plan.faults.len() {
            let fault = &self.world.plan.faults[number];
            let (begin, end) = (fault.at_ms * 1000, (fault.at_ms + fault.for_ms) * 1000);
            self.after(begin, Due::Begin(number));
            self.after(end, Due::End(number));
        }
        self.after(10_000, Due::Watch);
    }

    fn run(&mut self) -> Verdict {
        loop {
            if let Err(error) = self.sim.step() {
                return Verdict::Panic { cause: panics::first().unwrap_or_else(|| error.to_string()) };
            }
            self.supervise();
            let changes = std::mem::take(&mut self.world.observations().changes);
            for (node, to) in changes {
                operator::state_changed(self, node, to);
            }
            let now = self.now();
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
                let due = entry.remove();
                self.happen(due);
            }
            let mut observations = self.world.observations();
            observations.tally.us = now;
            if let Some(verdict) = observations.verdict.take() {
                return verdict;
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Start(node) => self.start(node),
            Due::Begin(number) => operator::fault_begins(self, number),
            Due::Again(number) => operator::fault_goes_on(self, number),
            Due::End(number) => operator::fault_ends(self, number),
            Due::Watch => {
                self.after(WATCH_US, Due::Watch);
                operator::watch(self);
            }
        }
    }

    fn now(&self) -> u64 {
        self.sim.elapsed().as_micros() as u64
    }

    fn after(&mut self, us: u64, due: Due) {
        self.planned += 1;
        self.due.insert((self.now() + us, self.planned), due);
    }

    fn see(&self, fact: &Fact<'_>) {
        self.world.observations().see(&self.world.plan, self.now(), fact);
    }

    fn note(&self, parts: &[u64], step: impl FnOnce() -> Step) {
        self.world.observations().trace.note(self.now(), parts, step);
    }
}

fn builder(plan: &Plan) -> Builder {
    let latency_min = Duration::from_micros(plan.network.delay_us_min);
    let latency_max = Duration::from_micros(plan.network.delay_us_max).max(latency_min);
    let mut builder = Builder::new();
    builder
        .epoch(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .rng_seed(plan.seed)
        .tick_duration(TICK)
        .simulation_duration(RUN_MAX)
        .min_message_latency(latency_min)
        .max_message_latency(latency_max)
        .tcp_capacity(TCP_SEGMENTS_MAX);
    builder
}
