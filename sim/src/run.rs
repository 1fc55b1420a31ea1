//! What a run ends with, whatever level ran it.

use std::fmt;

use crate::coverage::Coverage;
use crate::oracle::Violation;
use crate::trace::Record;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every oracle is content and the cluster has converged.
    Good,
    /// An invariant is broken.
    Safety(Violation),
    /// The cluster did not come back in the time that it has.
    Liveness {
        /// Microseconds of the run when it was given up.
        at: u64,
        /// How the nodes stand.
        cause: String,
    },
    /// Too little happened for the run to say anything.
    Vacuous {
        /// What was missing.
        cause: String,
    },
    /// The same plan gave another trace.
    Nondeterminism {
        /// The first difference.
        cause: String,
    },
    /// An assertion of the code under test.
    Panic {
        /// What it said.
        cause: String,
    },
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// The rolling hash of its trace.
    pub trace_hash: u64,
    /// Its trace, if it was to be kept.
    pub trace: Option<Vec<Record>>,
    /// What happened in it.
    pub tally: Tally,
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events of the trace.
    pub events: u64,
    /// Simulated microseconds.
    pub us: u64,
    /// Writes answered well.
    pub writes: u64,
    /// Reads answered.
    pub reads: u64,
    /// Starts of processes, the first included.
    pub starts: u64,
    /// Faults that took effect.
    pub faults: u64,
    /// Power cuts that met something not durable.
    pub dirty_power_cuts: u64,
    /// Snapshots installed by replicas.
    pub full_syncs: u64,
    /// Rollback files written.
    pub rollbacks: u64,
    /// Runs that were left with too few nodes to owe service.
    pub excused: u64,
    /// Faults that this level cannot express; they were left out.
    pub skipped: u64,
    /// Turns of nodes that the core alone took again with the same outcome.
    pub turns_replayed: u64,
    /// Comparisons made by all oracles.
    pub compared: u64,
    /// What was met.
    pub coverage: Coverage,
}

impl Verdict {
    /// The exit code that a failing run gives; 0 for a good one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Safety(_) => 10,
            Self::Liveness { .. } => 11,
            Self::Vacuous { .. } => 12,
            Self::Nondeterminism { .. } => 13,
            Self::Panic { .. } => 14,
        }
    }

    /// Whether it is [`Verdict::Good`].
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good)
    }

    /// The oracle, by its invariant, or the kind of failure; and one line of cause.
    pub fn told(&self) -> (String, &str) {
        match self {
            Self::Good => ("good".to_owned(), ""),
            Self::Safety(violation) => (violation.oracle.to_owned(), &violation.cause),
            Self::Liveness { cause, .. } => {
                ("INV-13 the cluster converges after the last fault".to_owned(), cause)
            }
            Self::Vacuous { cause } => ("vacuous: too little happened to say anything".to_owned(), cause),
            Self::Nondeterminism { cause } => ("the same plan gave two traces".to_owned(), cause),
            Self::Panic { cause } => ("an assertion of the code under test".to_owned(), cause),
        }
    }

    /// Microseconds of the run at which it failed, where the verdict knows.
    pub fn at(&self) -> Option<u64> {
        match self {
            Self::Safety(violation) => Some(violation.at),
            Self::Liveness { at, .. } => Some(*at),
            Self::Good | Self::Vacuous { .. } | Self::Nondeterminism { .. } | Self::Panic { .. } => None,
        }
    }

    /// What stays the same when a failing plan is made smaller: the kind, and which oracle.
    pub fn signature(&self) -> String {
        match self {
            Self::Good => "good".to_owned(),
            Self::Safety(violation) => format!("safety {}", violation.oracle),
            Self::Liveness { .. } => "liveness".to_owned(),
            Self::Vacuous { .. } => "vacuous".to_owned(),
            Self::Nondeterminism { .. } => "nondeterminism".to_owned(),
            Self::Panic { cause } => format!("panic {}", cause.split(':').next().unwrap_or_default()),
        }
    }
}

impl Tally {
    /// The sum of two runs'.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            us: self.us + other.us,
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            starts: self.starts + other.starts,
            faults: self.faults + other.faults,
            dirty_power_cuts: self.dirty_power_cuts + other.dirty_power_cuts,
            full_syncs: self.full_syncs + other.full_syncs,
            rollbacks: self.rollbacks + other.rollbacks,
            excused: self.excused + other.excused,
            skipped: self.skipped + other.skipped,
            turns_replayed: self.turns_replayed + other.turns_replayed,
            compared: self.compared + other.compared,
            coverage: self.coverage.and(other.coverage),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Safety(violation) => write!(f, "safety: {violation}"),
            Self::Liveness { at, cause } => {
                write!(f, "liveness: not converged at {}.{:06}s: {cause}", at / 1_000_000, at % 1_000_000)
            }
            Self::Vacuous { cause } => write!(f, "vacuous: {cause}"),
            Self::Nondeterminism { cause } => write!(f, "nondeterminism: {cause}"),
            Self::Panic { cause } => write!(f, "panic: {cause}"),
        }
    }
}
