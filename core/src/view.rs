//! The read view: a node's committed state at one instant, for whoever need not pass through the node. Its outline
//! tells everything but the store, and holds on to nothing: as long as a view lives, the node copies what it writes to.

use alloc::sync::Arc;
use core::ops::Deref;
use core::time::Duration;

use crate::history::{History, Holding};
use crate::input::ReadDemand;
use crate::message::Leader;
use crate::output::Refusal;
use crate::planted::Planted;
use crate::position::{Index, Position};
use crate::status::{Role, State};
use crate::store::StoreView;
use crate::time::{LogTime, Time, WallMs};

/// When to ask a node without a state again.
const BLANK_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A node's committed state at one instant. Never changes; its age is asked with the clock in hand.
#[derive(Clone, Debug)]
pub struct View {
    /// The state.
    pub store: StoreView,
    /// What there is to say of it.
    pub outline: Arc<Outline>,
}

/// A view without its store.
#[derive(Clone, Debug)]
pub struct Outline {
    /// How far the state goes.
    pub applied: Position,
    /// What the node is.
    pub role: Role,
    /// What it is doing.
    pub state: State,
    /// The master that it knows and that serves, as far as it has said: clients may be sent on to it.
    pub leader: Option<Leader>,
    /// The epochs of its log.
    pub history: Arc<History>,
    /// What the state holds beyond this index was rolled back, and goes with the state; none if nothing was.
    pub void_beyond: Option<Index>,
    /// When it last had proof of holding everything; none if it never had. See [`Outline::staleness`].
    pub proof: Option<Proof>,
    /// The bug that is planted in this node, if any.
    pub planted: Planted,
    /// How log time goes on from here.
    pub time: LogTime,
}

/// Proof that a node holds everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It is the one that orders the writes.
    Master,
    /// It is the one that orders the writes until then; it held everything at `from`, on its own clock.
    Lease {
        /// When the newest round was sent that a majority answered.
        from: Time,
        /// When somebody else may lead.
        until: Time,
    },
    /// It held everything that the master had at this time on its own clock, at the latest.
    At(Time),
}

impl Proof {
    /// How old it is.
    pub fn age(self, now: Time) -> Duration {
        match self {
            Self::Master => Duration::ZERO,
            Self::Lease { until, .. } if now < until => Duration::ZERO,
            Self::Lease { from, .. } => now.since(from),
            Self::At(time) => now.since(time),
        }
    }
}

impl View {
    /// The time by which a reader is shown what has not expired. A key whose time is up is hidden although no entry says so
    /// yet: the master may be silent. What is hidden is in the store all the same, and its hash (INV-9) knows no clock but the
    /// entries'.
    ///
    /// A linearizable read goes by the entries alone: no two nodes have to agree on a clock for it, and the sweep of a master
    /// that serves is not far behind.
    pub fn log_time(&self, now: Time, linearizable: bool) -> WallMs {
        let entries = self.store.log_time();
        if linearizable { entries } else { self.outline.time.at(now).max(entries) }
    }
}

impl Deref for View {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl Outline {
    /// Time since the node last had proof of holding everything; none if it never had.
    pub fn staleness(&self, now: Time) -> Option<Duration> {
        self.proof.map(|proof| proof.age(now))
    }

    /// Whether there is no state to read from: a replica that has never been part of a cluster, or has lost its disk, cannot say of any
    /// key that it is absent.
    pub fn is_blank(&self) -> bool {
        self.role == Role::Replica && self.applied == Position::ZERO && self.proof.is_none()
    }

    /// Whether the read may see this state (true), or may see a later one (false: put it to the node as
    /// [`crate::input::Request::Read`]), or never.
    pub fn admits(&self, demand: &ReadDemand, now: Time) -> Result<bool, Refusal> {
        if self.is_blank() {
            let why = "this node has no state yet: it has not joined a cluster";
            return Err(Refusal::NoMaster { why, retry_after: BLANK_RETRY_AFTER });
        }
        if demand.linearizable {
            return Ok(false);
        }
        if let Some(named) = demand.min_position {
            let index = named.index;
            match self.history.holds(&named, self.planted) {
                Holding::Foreign => return Err(Refusal::ForeignPosition { index }),
                Holding::Other { since } if since <= self.applied.index => {
                    return Err(Refusal::RolledBack { index });
                }
                _ if index > self.applied.index => return Ok(false),
                Holding::This if self.void_beyond.is_some_and(|kept| index > kept) => {
                    return Err(Refusal::RolledBack { index });
                }
                // This state may be the one that is taken back.
                Holding::Other { .. } | Holding::Later => return Ok(false),
                Holding::Ambiguous => return Err(Refusal::AmbiguousPosition { index }),
                Holding::This | Holding::Unknown => {}
            }
        }
        let fresh = demand.max_staleness.is_none_or(|max| self.staleness(now).is_some_and(|age| age <= max));
        Ok(fresh)
    }
}
