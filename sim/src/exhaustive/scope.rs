//! The scopes that are searched: which cluster, and how much may happen to it.

use synap_core::config::Concern;

use crate::plan::{Knobs, Plan, Workload};

/// A scope by name.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Nodes besides the first master.
    pub replicas: u8,
    /// Whether three members arm the cluster, and its replicas elect.
    pub automatic: bool,
    /// Whether replicas that fall behind need a snapshot, since no log is kept in memory.
    pub short_tail: bool,
    /// What writes may ask for.
    pub concerns: &'static [Concern],
    /// How often each thing may happen.
    pub budget: Budget,
}

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Writes.
    pub writes: u8,
    /// Crashes.
    pub crashes: u8,
    /// Connections that break.
    pub breaks: u8,
    /// Promotions, by force or not.
    pub promotions: u8,
    /// Snapshots that somebody asks for.
    pub snapshots: u8,
    /// Steps of time.
    pub ticks: u8,
    /// Of what happens by itself (dials, deliveries, syncs, time when all is quiet), how often something else than the
    /// plainest next step may come first. [`EVERY_ORDER`] means as often as there is a choice.
    pub delays: u8,
}

/// All orders: such a search is complete as deep as it reaches. With a few delays instead, it reaches much deeper.
pub const EVERY_ORDER: u8 = u8::MAX;

/// All scopes.
pub const SCOPES: [Scope; 6] = [
    Scope {
        name: "pair",
        about: "two nodes: writes, a crash, a broken connection, a promotion",
        replicas: 1,
        automatic: false,
        short_tail: false,
        concerns: &[Concern::Quorum, Concern::Replicas(1)],
        budget: Budget {
            writes: 2,
            crashes: 1,
            breaks: 1,
            promotions: 1,
            snapshots: 0,
            ticks: 2,
            delays: EVERY_ORDER,
        },
    },
    Scope {
        name: "snapshot",
        about: "two nodes: snapshots at a small index, full syncs, a crash",
        replicas: 1,
        automatic: false,
        short_tail: true,
        concerns: &[Concern::Quorum],
        budget: Budget {
            writes: 2,
            crashes: 1,
            breaks: 1,
            promotions: 0,
            snapshots: 1,
            ticks: 2,
            delays: EVERY_ORDER,
        },
    },
    Scope {
        name: "trio",
        about: "three nodes, unarmed: writes, a crash, a promotion",
        replicas: 2,
        automatic: false,
        short_tail: false,
        concerns: &[Concern::Quorum, Concern::Replicas(1)],
        budget: Budget {
            writes: 2,
            crashes: 1,
            breaks: 1,
            promotions: 1,
            snapshots: 0,
            ticks: 1,
            delays: EVERY_ORDER,
        },
    },
    Scope {
        name: "armed",
        about: "three nodes, armed: writes, a crash, the first steps of an election",
        replicas: 2,
        automatic: true,
        short_tail: false,
        concerns: &[Concern::Quorum],
        budget: Budget {
            writes: 2,
            crashes: 1,
            breaks: 1,
            promotions: 0,
            snapshots: 0,
            ticks: 3,
            delays: EVERY_ORDER,
        },
    },
    Scope {
        name: "failover",
        about: "two nodes, in nearly the plainest order: promotions to their end, a tail that is rolled back",
        replicas: 1,
        automatic: false,
        short_tail: true,
        concerns: &[Concern::Quorum],
        budget: Budget { writes: 1, crashes: 0, breaks: 1, promotions: 1, snapshots: 0, ticks: 12, delays: 1 },
    },
    Scope {
        name: "election",
        about: "three armed nodes, in nearly the plainest order: elections to their end, and the old master's return",
        replicas: 2,
        automatic: true,
        short_tail: false,
        concerns: &[Concern::Quorum],
        budget: Budget { writes: 1, crashes: 1, breaks: 0, promotions: 0, snapshots: 0, ticks: 20, delays: 0 },
    },
];

impl Scope {
    /// The scope of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCOPES.iter().find(|scope| scope.name == name)
    }

    /// The plan that a script of this scope begins with.
    pub fn plan(&self, planted: Option<&str>) -> Plan {
        let usual = Knobs::default();
        let tail_bytes_max = if self.short_tail { 0 } else { usual.tail_bytes_max };
        Plan {
            replicas: self.replicas,
            planted: planted.map(str::to_owned),
            knobs: Knobs { tail_bytes_max, automatic: self.automatic, ..usual },
            workload: Workload { clients: 0, ..Workload::default() },
            ..Plan::default()
        }
    }
}
