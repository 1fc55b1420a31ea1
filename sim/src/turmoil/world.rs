//! What all parts of a run share: the plan, the machines with their disks, the ways between them, and the observations.
//!
//! Everything runs on one thread, each part in its turn; the locks are there because the runtime's tasks may move
//! between threads, and are never waited for. Owns no time: that is turmoil's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio_util::sync::CancellationToken;
use turmoil::net::TcpStream;

use super::observations::Observations;
use crate::dice::mix;
use crate::disk::ModelDisk;
use crate::operator::Setup;
use crate::plan::Plan;
use crate::plan::places::Named;

/// What all parts of a run share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) disks: Vec<Arc<Mutex<ModelDisk>>>,
    machines: Mutex<Vec<Machine>>,
    roads: Mutex<Roads>,
    observations: Mutex<Observations>,
}

/// A machine, and what becomes of the process on it.
#[derive(Debug)]
pub(super) struct Machine {
    /// Starts of its process so far.
    pub(super) life: u32,
    pub(super) setup: Setup,
    /// What the machine does when it is started next.
    pub(super) runs: Runs,
    /// Faults that keep the process standing still.
    pub(super) paused: u32,
    /// Its tasks that wait for that to end.
    pub(super) sleepers: Vec<Waker>,
    /// How many faults garble what it sends to other nodes.
    pub(super) garbled: u32,
    /// Ends every connection that this machine has.
    pub(super) cut: CancellationToken,
    /// Ends every connection that leads through the proxy in front of it.
    pub(super) proxy_cut: CancellationToken,
    /// Asks the process to end in good order.
    pub(super) stop: CancellationToken,
    /// How the process ended by itself, for the operator to see.
    pub(super) exit: Option<Exit>,
    /// Its process is being torn down, and its connections are collected.
    pub(super) is_killed: bool,
    pub(super) orphans: BTreeMap<u64, TcpStream>,
    /// Connections so far.
    connections: u64,
}

/// What a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// It has no power.
    Nothing,
    /// It has power and no process: its ports refuse.
    System,
    /// The server.
    Server,
}

/// How a process ended by itself.
#[derive(Clone, Debug)]
pub(super) enum Exit {
    /// As asked.
    Stopped,
    /// Its disk failed.
    DiskFailed(String),
    /// Recovery refuses what is on the disk.
    Refused(String),
    /// The disk had no room for what recovery must mend.
    NoRoom,
    /// It cannot listen.
    NoPort(String),
}

/// Which ways between machines are open. The clients' machine is the last.
#[derive(Debug)]
pub(super) struct Roads {
    /// How many faults block the way from one machine to another.
    blocked: Vec<Vec<u32>>,
    /// What faults let it carry, in bytes a second.
    rates: Vec<Vec<Option<u64>>>,
}

impl World {
    pub(super) fn new(plan: Plan, keeps_trace: bool) -> Arc<Self> {
        let disk = |node| {
            let mut disk = ModelDisk::new(plan.disk, mix(&[plan.seed, node, 1]));
            disk.set_volume(plan.knobs.volume_bytes);
            disk
        };
        let disks: Vec<_> = (0..plan.nodes() as u64).map(|node| Arc::new(Mutex::new(disk(node)))).collect();
        let machines = (0..plan.nodes()).map(|number| Machine::new(&plan, number)).collect();
        let places = plan.nodes() + 1;
        Arc::new(Self {
            observations: Mutex::new(Observations::new(disks.clone(), keeps_trace)),
            machines: Mutex::new(machines),
            roads: Mutex::new(Roads {
                blocked: vec![vec![0; places]; places],
                rates: vec![vec![None; places]; places],
            }),
            disks,
            plan,
        })
    }

    /// Where the clients stand among the machines.
    pub(super) fn clients(&self) -> usize {
        self.plan.nodes()
    }

    /// Ends the connections of a process that was killed, in the order in which they were made. To be called on its
    /// machine. (tokio ends the tasks of a runtime in an order that hangs on how many tasks the whole program has had,
    /// and the end of each connection is a segment that takes its drawn time.)
    pub(super) fn bury(&self, node: usize) {
        let orphans = {
            let machine = &mut self.machines()[node];
            machine.is_killed = false;
            std::mem::take(&mut machine.orphans)
        };
        orphans.into_values().for_each(drop);
    }

    pub(super) fn observations(&self) -> MutexGuard<'_, Observations> {
        lock(&self.observations)
    }

    pub(super) fn machines(&self) -> MutexGuard<'_, Vec<Machine>> {
        lock(&self.machines)
    }

    pub(super) fn roads(&self) -> MutexGuard<'_, Roads> {
        lock(&self.roads)
    }

    pub(super) fn disk(&self, node: usize) -> MutexGuard<'_, ModelDisk> {
        lock(&self.disks[node])
    }

    /// Where a machine is.
    pub(super) fn place(&self, node: usize) -> u16 {
        self.machines()[node].setup.place
    }

    /// The host at which a machine is seen.
    pub(super) fn seen_at(&self, node: usize) -> String {
        if node < self.plan.nodes() { self.plan.seen_at(node, self.place(node)) } else { name_of(node) }
    }

    /// Which node is at a host now.
    pub(super) fn node_at(&self, host: &str) -> Option<usize> {
        match Named::read(host) {
            Named::Node(node) | Named::Proxy(node) => Some(node).filter(|node| *node < self.plan.nodes()),
            Named::Place(place) => self.machines().iter().position(|machine| machine.setup.place == place),
            Named::All | Named::Nobody => None,
        }
    }

    /// The wall clock of a machine, in milliseconds since the Unix epoch.
    pub(super) fn wall_ms(&self, node: usize) -> u64 {
        self.machines()[node].setup.wall_ms(now_us())
    }
}

impl Machine {
    fn new(plan: &Plan, number: usize) -> Self {
        Self {
            life: 0,
            setup: Setup::new(plan, number),
            runs: Runs::System,
            paused: 0,
            sleepers: Vec::new(),
            garbled: 0,
            cut: CancellationToken::new(),
            proxy_cut: CancellationToken::new(),
            stop: CancellationToken::new(),
            exit: None,
            is_killed: false,
            orphans: BTreeMap::new(),
            connections: 0,
        }
    }

    /// The number of a new connection.
    pub(super) fn connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }
}

impl Roads {
    /// One more fault blocks the way. True if it was open.
    pub(super) fn block(&mut self, from: usize, to: usize) -> bool {
        self.blocked[from][to] += 1;
        self.blocked[from][to] == 1
    }

    /// One fault less. True if the way is open now.
    pub(super) fn unblock(&mut self, from: usize, to: usize) -> bool {
        self.blocked[from][to] -= 1;
        self.blocked[from][to] == 0
    }

    /// Whether anything gets from one machine to another.
    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        self.blocked[from][to] == 0
    }

    /// What faults let a way carry, in bytes a second; none: what the plan says of all.
    pub(super) fn rate(&self, from: usize, to: usize) -> Option<u64> {
        self.rates[from][to]
    }

    pub(super) fn set_rate(&mut self, from: usize, to: usize, bytes_per_sec: Option<u64>) {
        self.rates[from][to] = bytes_per_sec;
    }

    /// Whether two machines can talk with each other.
    pub(super) fn are_open(&self, one: usize, other: usize) -> bool {
        self.blocked[one][other] == 0 && self.blocked[other][one] == 0
    }
}

/// Microseconds since the run began, as the machine that asks has them.
pub(super) fn now_us() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// The name of a machine on the network.
pub(super) fn name_of(node: usize) -> String {
    format!("n{node}")
}

/// What a panicking task leaves locked is looked at all the same: its panic is what the run ends with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
