//! Faults as a plan has them, and the operator: who starts and stops machines, mends what no machine mends by itself,
//! and decides that the cluster has converged, or has not in time.
//!
//! One operator for every level that follows plans. What it lays hands on is a [`Site`]: machines with a process and a
//! disk each, and the ways between them. It decides nothing that a node should decide.

mod admin;
mod converged;
mod disks;
mod faults;
mod looking;
mod steering;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use synap_core::config::RoleHint;
use synap_core::history::History;
use synap_core::status::Status;

use crate::dice::mix;
use crate::disk::ModelDisk;
use crate::oracle::{Fact, OnDisk};
use crate::plan::{Flood, Plan};
use crate::run::{Tally, Verdict};
use crate::trace::Step;
use admin::Admin;
pub(crate) use disks::unrecoverable;
pub(crate) use faults::{fault_begins, fault_ends, fault_goes_on};
use steering::CrashLoop;
pub(crate) use steering::state_changed;
pub(crate) use watching::{WATCH_US, standing, watch};

/// What the operator has in hand.
#[derive(Debug)]
pub(crate) struct Operator {
    plan: Arc<Plan>,
    admin: Admin,
    probing_since: Option<u64>,
    /// The node that a fault has hit which chooses, by the fault's number.
    hit: BTreeMap<usize, usize>,
    /// Faults that wait for a node to come into a state.
    awaiting: BTreeSet<usize>,
    /// The node that such a fault will hit in a moment.
    aimed: BTreeMap<usize, usize>,
    /// Crash loops, by the fault's number.
    loops: BTreeMap<usize, CrashLoop>,
    /// Floods: how many writes each has sent.
    floods: BTreeMap<usize, u64>,
    /// How many faults are at work on each node.
    ailing: Vec<u32>,
    /// Nodes that a fault has hit since the last look.
    touched: Vec<bool>,
    /// When the cluster was last asked for a write because nobody else had one answered.
    knocked_at: u64,
    /// Copies of disks, by the number of the fault that puts them back.
    copies: BTreeMap<usize, ModelDisk>,
    /// How many places were taken so far, beside those that the machines had at first.
    moves: u16,
}

/// How a machine is set up: what its process starts with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Faults that keep the process from starting.
    pub(crate) held: u32,
    pub(crate) wall_offset_ms: i64,
    /// The role in its configuration file.
    pub(crate) role: RoleHint,
    /// The node whose address stands there as the master's.
    pub(crate) master: usize,
    /// Each new disk makes a new node.
    pub(crate) disks: u64,
    /// How many versions newer the protocol is that its process speaks from its next start on.
    pub(crate) skew: i16,
    /// Where the machine is.
    pub(crate) place: u16,
}

/// What the operator asks of a node.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Lead; by force, accepting loss.
    Promote { force: bool },
    /// Write a snapshot.
    Snapshot,
    /// Hand the mastership over.
    Switchover,
    /// Take a member out, by name or id.
    Remove(String),
    /// Say how much a member is wanted as master.
    Priority(String, u32),
    /// No elections for so long.
    PauseElections(Duration),
}

/// The machines, disks and ways of a run, as the operator reaches them.
pub(crate) trait Site {
    /// Whether its processes are whole servers, with ports that anybody can call at and an end in good order.
    const HAS_FRONT: bool;

    fn operator(&mut self) -> &mut Operator;
    /// Microseconds since the run began.
    fn now(&self) -> u64;
    fn note(&mut self, parts: &[u64], step: impl FnOnce() -> Step);
    fn see(&mut self, fact: &Fact<'_>);
    fn count(&mut self, what: impl FnOnce(&mut Tally));
    /// When a write was last answered that a majority holds.
    fn served_at(&self) -> u64;
    /// The writes that were answered so far.
    fn writes(&self) -> u64;
    /// Ends the run, unless it has ended already.
    fn finish(&mut self, verdict: Verdict);

    fn setup<T>(&mut self, node: usize, of: impl FnOnce(&mut Setup) -> T) -> T;
    fn disk(&self, node: usize) -> MutexGuard<'_, ModelDisk>;
    fn on_disk(&self, node: usize) -> Arc<OnDisk>;
    /// What a node says of itself; none if it is down.
    fn status(&self, node: usize) -> Option<Status>;
    /// Whether a node leads, by its own word.
    fn serves(&self, node: usize) -> bool;
    /// The life that a node is in, and the epochs of its log.
    fn history(&self, node: usize) -> Option<(u32, Arc<History>)>;

    /// The process ends: killed, or out of power.
    fn end(&mut self, node: usize, power: bool, why: &str);
    /// The process starts after so long, if none runs and nothing holds it down.
    fn start_after(&mut self, us: u64, node: usize);
    /// A fault that has begun goes on after so long.
    fn again_after(&mut self, us: u64, fault: usize);
    /// The process stands still for so long.
    fn pause(&mut self, node: usize, us: u64);
    /// One pause is over.
    fn go_on(&mut self, node: usize);
    /// The process is asked to end in good order.
    fn stop(&mut self, node: usize);

    /// Whether anything gets from one node to another.
    fn is_open(&self, from: usize, to: usize) -> bool;
    fn block(&mut self, from: usize, to: usize);
    fn unblock(&mut self, from: usize, to: usize);
    /// Ways are open again: what waited goes on.
    fn reopen(&mut self);
    /// Every connection of a node breaks.
    fn reset(&mut self, node: usize);
    /// Every connection through the proxy in front of a node breaks.
    fn reset_proxy(&mut self, node: usize);
    /// Everything on the network takes so many times as long.
    fn slow_network(&mut self, factor: u64);
    /// Connections carry so many bytes a second from one node to another; none: what the plan says of all.
    fn slow_link(&mut self, from: usize, to: usize, bytes_per_sec: Option<u64>);
    /// Some of what a node sends arrives damaged; or no longer.
    fn garble(&mut self, node: usize, begins: bool);
    /// Strangers call at the node's ports for so long.
    fn strangers(&mut self, node: usize, lasts: Duration);

    /// Asks a node; the answer goes to the trace alone.
    fn order(&mut self, node: usize, order: Order);
    /// A write of a flood, the so manieth; nobody waits for its answer.
    fn rush(&mut self, node: usize, flood: Flood, nth: u64);
    /// A write for a majority, to see whether it is answered.
    fn knock(&mut self, node: usize);
    /// A last write, on so many replicas besides the master: it shows that the cluster serves.
    fn probe(&mut self, master: usize, replicas: u32);
    /// Whether the last write was answered.
    fn is_probed(&self) -> bool;
}

impl Operator {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            plan: Arc::new(plan.clone()),
            admin: Admin::default(),
            probing_since: None,
            hit: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            aimed: BTreeMap::new(),
            loops: BTreeMap::new(),
            floods: BTreeMap::new(),
            ailing: vec![0; plan.nodes()],
            touched: vec![false; plan.nodes()],
            knocked_at: 0,
            copies: BTreeMap::new(),
            moves: 0,
        }
    }
}

impl Setup {
    /// As a machine stands there before anything happens. Node 0 is the first master.
    pub(crate) fn new(plan: &Plan, node: usize) -> Self {
        Self {
            held: 0,
            wall_offset_ms: (mix(&[plan.seed, node as u64, 2]) % 2_000) as i64 - 1_000,
            role: if node == 0 { RoleHint::Master } else { RoleHint::Replica },
            master: 0,
            disks: 0,
            skew: 0,
            place: node as u16,
        }
    }

    /// Its wall clock after so many microseconds of the run, in milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self, us: u64) -> u64 {
        1_700_000_000_000_u64.saturating_add_signed(self.wall_offset_ms) + us / 1000
    }
}

fn plan_of(site: &mut impl Site) -> Arc<Plan> {
    Arc::clone(&site.operator().plan)
}

/// Whoever leads, by its own word.
fn leads(site: &mut impl Site) -> Option<usize> {
    (0..plan_of(site).nodes()).find(|node| site.serves(*node))
}

/// The machine is at a place where none was before.
fn move_on(site: &mut impl Site, node: usize) {
    let nodes = plan_of(site).nodes() as u16;
    let operator = site.operator();
    operator.moves += 1;
    let place = nodes + operator.moves;
    site.setup(node, |setup| setup.place = place);
}

fn hold(site: &mut impl Site, node: usize, power: bool) {
    site.setup(node, |setup| setup.held += 1);
    site.end(node, power, if power { "out of power" } else { "killed" });
}

fn release(site: &mut impl Site, node: usize, late_us: u64) {
    site.setup(node, |setup| setup.held -= 1);
    site.start_after(late_us, node);
}
