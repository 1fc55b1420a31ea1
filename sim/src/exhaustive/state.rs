//! The cluster between two steps, as a value: a search keeps thousands of them. Owns which steps are possible in it; what each
//! does is in [`super::steps`], how a node takes its turn in [`super::turning`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use synap_core::input::{Promotion, Request};
use synap_core::status::{Role, State as NodeState, Status};
use synap_core::time::Time;
use synap_core::wal::Lane;

use super::action::Action;
use super::host::Host;
use super::promises::{self, Broken, Observations};
use super::scope::{Budget, EVERY_ORDER};
use super::wire::Conn;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::trace::Trace;

/// A cluster between two steps.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) now: u64,
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) conns: BTreeMap<u32, Conn>,
    pub(super) next_conn: u32,
    pub(super) left: Budget,
    pub(super) asked: u64,
    pub(super) observations: Observations,
    /// Messages and steps so far: names in the trace, no part of the state.
    pub(super) sent: u64,
    pub(super) steps: u64,
}

/// Longer than this no cluster takes to settle.
const SETTLED_WITHIN_US: u64 = 20_000_000;

/// How far apart steps stand in a trace, in microseconds: a picture needs room where time stands still.
pub(super) const STEP_US: u64 = 1_000;

impl State {
    /// A cluster that has founded itself and come to rest, by the plainest order of steps.
    pub(super) fn settled(plan: &Plan, trace: &mut Trace) -> Result<Self, Violation> {
        let all = u8::MAX;
        let left = Budget {
            writes: all,
            crashes: all,
            breaks: all,
            promotions: all,
            snapshots: all,
            ticks: all,
            delays: all,
        };
        let mut state = Self {
            now: 1_000_000,
            hosts: (0..plan.nodes()).map(|number| Arc::new(Host::new(number))).collect(),
            conns: BTreeMap::new(),
            next_conn: 0,
            left,
            asked: 0,
            observations: Observations::default(),
            sent: 0,
            steps: 0,
        };
        for node in 0..plan.nodes() {
            state.take(plan, &Action::Start { node }, trace)?;
        }
        while !state.is_settled(plan) {
            let next = state.plainest();
            state.take(plan, &next, trace)?;
            state.left = left;
            assert!(state.now < SETTLED_WITHIN_US, "the cluster does not come to rest");
        }
        Ok(state)
    }

    fn is_settled(&self, plan: &Plan) -> bool {
        let statuses: Vec<Status> = self.statuses().into_iter().flatten().collect();
        let last = statuses.first().map(|status| status.positions.last);
        let rests = |status: &Status| {
            let good = matches!(status.state, NodeState::Serving | NodeState::Streaming);
            good && Some(status.positions.applied) == last
                && status.positions.durable == status.positions.last.index
        };
        let armed = statuses.iter().all(|status| status.failover.armed == plan.knobs.automatic);
        armed
            && statuses.len() == plan.nodes()
            && statuses.iter().all(rests)
            && self.quiet_steps().next().is_none()
    }

    /// Steps that a cluster takes of its own: connecting, delivering, syncing.
    pub(super) fn quiet_steps(&self) -> impl Iterator<Item = Action> + '_ {
        let hosts = self.hosts.iter().enumerate();
        let own = hosts.flat_map(|(node, host)| {
            let connect = (!host.dials.is_empty()).then_some(Action::Connect { node });
            let sync = (!host.log.is_empty()).then_some(Action::Sync { node });
            let snapshot = (!host.snapshots.is_empty()).then_some(Action::SyncSnapshot { node });
            [connect, sync, snapshot].into_iter().flatten()
        });
        let deliver = self.conns.iter().flat_map(|(conn, connection)| {
            let waits = move |side: &usize| !connection.to[*side].is_empty();
            [0, 1].into_iter().filter(waits).map(move |side| Action::Deliver { conn: *conn, side })
        });
        own.chain(deliver)
    }

    /// The plainest next step of what happens by itself.
    fn plainest(&self) -> Action {
        self.quiet_steps().next().unwrap_or(Action::Tick)
    }

    /// Whether a step comes before the plainest one, of those that happen by themselves.
    fn is_delay(&self, action: &Action) -> bool {
        match action {
            Action::Deliver { .. }
            | Action::Connect { .. }
            | Action::Sync { .. }
            | Action::SyncSnapshot { .. }
            | Action::Tick => self.left.delays != EVERY_ORDER && *action != self.plainest(),
            Action::Write { .. }
            | Action::Crash { .. }
            | Action::Start { .. }
            | Action::Break { .. }
            | Action::Promote { .. }
            | Action::Snapshot { .. } => false,
        }
    }

    /// The highest epoch in which anybody served so far.
    pub(super) fn term(&self) -> u64 {
        self.observations.term
    }

    /// Connections that stand.
    pub(super) fn standing_conns(&self) -> impl Iterator<Item = u32> + '_ {
        let stands = |conn: &Conn| conn.ends.iter().all(|end| end.open);
        self.conns.iter().filter(move |(_, conn)| stands(conn)).map(|(number, _)| *number)
    }

    /// How many batches of a node's log have no receipt yet.
    pub(super) fn unsynced(&self, node: usize) -> usize {
        self.hosts[node].log.len()
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.hosts.len()
    }

    /// Whether a step is possible here.
    pub(super) fn admits(&self, action: &Action) -> bool {
        let host = |node: &usize| self.hosts.get(*node);
        let up = |node: &usize| host(node).and_then(|host| host.node.as_ref());
        let left = &self.left;
        if left.delays == 0 && self.is_delay(action) {
            return false;
        }
        match action {
            Action::Write { node, .. } => {
                left.writes > 0 && up(node).is_some_and(|node| node.outline().state == NodeState::Serving)
            }
            Action::Deliver { conn, side } => self.conns.get(conn).is_some_and(|conn| !conn.to[*side].is_empty()),
            Action::Connect { node } => host(node).is_some_and(|host| !host.dials.is_empty()),
            Action::Sync { node } => host(node).is_some_and(|host| !host.log.is_empty()),
            Action::SyncSnapshot { node } => host(node).is_some_and(|host| !host.snapshots.is_empty()),
            Action::Crash { node, kept } => {
                left.crashes > 0 && up(node).is_some() && host(node).is_some_and(|host| *kept <= host.log.len())
            }
            Action::Start { node } => host(node).is_some_and(|host| host.node.is_none()),
            Action::Break { conn } => left.breaks > 0 && self.standing_conns().any(|standing| standing == *conn),
            Action::Promote { node, .. } => {
                left.promotions > 0 && up(node).is_some_and(|node| node.outline().role == Role::Replica)
            }
            Action::Snapshot { node } => left.snapshots > 0 && up(node).is_some(),
            Action::Tick => left.ticks > 0 && self.hosts.iter().any(|host| host.deadline.is_some()),
        }
    }

    /// Carries out a step that is possible here.
    pub(super) fn take(&mut self, plan: &Plan, action: &Action, trace: &mut Trace) -> Result<(), Violation> {
        self.steps += 1;
        self.left.delays -= u8::from(self.is_delay(action));
        let done = self.carry_out(plan, action, trace).and_then(|()| promises::agree(&self.statuses()));
        trace.cover(self.steps, &[self.digest()]);
        done.map_err(|(oracle, cause)| Violation { oracle, at: self.at(), cause })
    }

    fn carry_out(&mut self, plan: &Plan, action: &Action, trace: &mut Trace) -> Result<(), Broken> {
        match *action {
            Action::Write { node, concern } => self.write(node, concern, trace),
            Action::Deliver { conn, side } => self.deliver(conn, side, trace),
            Action::Connect { node } => self.connect(node, trace),
            Action::Sync { node } => self.sync(node, Lane::Log, trace),
            Action::SyncSnapshot { node } => self.sync(node, Lane::Snapshot, trace),
            Action::Crash { node, kept } => self.crash(node, kept, trace),
            Action::Start { node } => self.start(plan, node, trace),
            Action::Break { conn } => self.break_off(conn, trace),
            Action::Promote { node, force } => {
                self.left.promotions -= 1;
                self.observations.promoted = true;
                let promotion = Promotion { force, accept_data_loss: force, expect_last: None };
                self.operate(node, Request::Promote(promotion), trace)
            }
            Action::Snapshot { node } => {
                self.left.snapshots -= 1;
                self.operate(node, Request::Snapshot, trace)
            }
            Action::Tick => self.tick(trace),
        }
    }

    /// One number for all that decides what can follow.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.now, &self.conns, self.next_conn, self.left, self.asked, &self.observations).hash(&mut hasher);
        self.hosts.iter().for_each(|host| host.digest.hash(&mut hasher));
        hasher.finish()
    }

    pub(super) fn at(&self) -> u64 {
        self.steps * STEP_US
    }

    pub(super) fn statuses(&self) -> Vec<Option<Status>> {
        let now = Time(self.now);
        self.hosts.iter().map(|host| host.node.as_ref().map(|node| node.status(now))).collect()
    }

    pub(super) fn host(&mut self, node: usize) -> &mut Host {
        Arc::make_mut(&mut self.hosts[node])
    }
}
