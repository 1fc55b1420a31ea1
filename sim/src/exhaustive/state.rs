//! The cluster between two steps, as a value: a search keeps thousands of them. Owns how a step is carried out; which
//! steps there are to choose from is in [`super::search`].

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::config::{Concern, RoleHint};
use synap_core::event::Level;
use synap_core::ids::{LinkId, NodeId, RequestId};
use synap_core::input::{Input, LinkChange, LinkLoss, Promotion, Request};
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::output::{LinkAction, Output, Refusal, Reply};
use synap_core::recovered::Recovered;
use synap_core::status::{Role, State as NodeState, Status};
use synap_core::time::{Now, Time, WallMs};
use synap_core::wal::{Lane, WriteBatch};

use super::action::Action;
use super::disk::{Disk, Holds};
use super::promises::{self, Broken, Ledger};
use super::scope::{Budget, EVERY_ORDER};
use super::wire::{Conn, End, Item};
use crate::dice::mix;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::trace::{Answer, Standing, Step, Trace, kind_of, line_of};

/// A cluster between two steps.
#[derive(Clone, Debug)]
pub(super) struct State {
    now: u64,
    hosts: Vec<Arc<Host>>,
    conns: BTreeMap<u32, Conn>,
    next_conn: u32,
    pub(super) left: Budget,
    asked: u64,
    ledger: Ledger,
    /// Messages and steps so far: names in the trace, no part of the state.
    sent: u64,
    steps: u64,
}

/// A machine between two steps.
#[derive(Debug)]
struct Host {
    node: Option<Node>,
    deadline: Option<Time>,
    role: RoleHint,
    life: u32,
    accepted: u64,
    /// The connection and side of each link.
    links: BTreeMap<LinkId, (u32, usize)>,
    dials: VecDeque<(LinkId, Option<usize>)>,
    log: VecDeque<WriteBatch>,
    snapshots: VecDeque<WriteBatch>,
    disk: Disk,
    digest: u64,
}

/// Longer than this no cluster takes to settle.
const SETTLED_WITHIN_US: u64 = 20_000_000;

/// Turns that one step may take.
const TURNS_PER_STEP_MAX: u32 = 100;

/// How far apart steps stand in a trace, in microseconds: a picture needs room where time stands still.
const STEP_US: u64 = 1_000;

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
            ledger: Ledger::default(),
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
    pub(super) fn reign(&self) -> u64 {
        self.ledger.reign
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
                left.writes > 0 && up(node).is_some_and(|node| node.view().state == NodeState::Serving)
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
                left.promotions > 0 && up(node).is_some_and(|node| node.view().role == Role::Replica)
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
                self.ledger.promoted = true;
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
        (self.now, &self.conns, self.next_conn, self.left, self.asked, &self.ledger).hash(&mut hasher);
        self.hosts.iter().for_each(|host| host.digest.hash(&mut hasher));
        hasher.finish()
    }

    fn at(&self) -> u64 {
        self.steps * STEP_US
    }

    fn statuses(&self) -> Vec<Option<Status>> {
        let now = Time(self.now);
        self.hosts.iter().map(|host| host.node.as_ref().map(|node| node.status(now))).collect()
    }

    fn host(&mut self, node: usize) -> &mut Host {
        Arc::make_mut(&mut self.hosts[node])
    }

    fn write(&mut self, node: usize, concern: Concern, trace: &mut Trace) -> Result<(), Broken> {
        self.left.writes -= 1;
        let value = Value { kind: ValueKind::Bytes, bytes: format!("v{}", self.asked).into() };
        let pair = Pair { key: "k".into(), value, ttl_ms: None };
        let command = Command::Set { pair, condition: Condition::Always };
        let text = format!("set k=v{} ({concern:?})", self.asked);
        let request = Request::Write { command, concern: Some(concern), timeout: Duration::from_secs(60) };
        self.ask(node, request, Some(0), text, trace)
    }

    fn operate(&mut self, node: usize, request: Request, trace: &mut Trace) -> Result<(), Broken> {
        let text = format!("{request:?}");
        self.ask(node, request, None, text, trace)
    }

    fn ask(
        &mut self,
        node: usize,
        request: Request,
        client: Option<usize>,
        text: String,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let id = RequestId(self.asked * 2 + u64::from(client.is_none()));
        self.asked += 1;
        trace.show(self.at(), || Step::Asked { op: id.0 as usize, client, node, text });
        self.turn(node, vec![Input::Request { id, request }], trace)
    }

    fn deliver(&mut self, conn: u32, side: usize, trace: &mut Trace) -> Result<(), Broken> {
        let Some(connection) = self.conns.get_mut(&conn) else { return Ok(()) };
        let End { host, link, .. } = connection.ends[side];
        let from = connection.ends[1 - side].host;
        match connection.to[side].pop_front() {
            Some(Item::Message { number, message, .. }) => {
                let (to, kind) = (host, kind_of(&message));
                trace.show(self.steps * STEP_US, || Step::Heard { message: number, from, to, kind });
                self.turn(host, vec![Input::Message { link, message: Message::clone(&message) }], trace)
            }
            Some(Item::Fin) => self.hang_up(conn, side, trace),
            None => Ok(()),
        }
    }

    /// The side learns that the connection is over.
    fn hang_up(&mut self, conn: u32, side: usize, trace: &mut Trace) -> Result<(), Broken> {
        let Some(connection) = self.conns.get_mut(&conn) else { return Ok(()) };
        let End { host, link, open } = connection.ends[side];
        connection.close(side);
        if connection.is_over() {
            self.conns.remove(&conn);
        }
        if !open {
            return Ok(());
        }
        self.host(host).links.remove(&link);
        trace.show(self.at(), || Step::Link { node: host, text: format!("{link} is over") });
        self.turn(host, vec![Input::Link { link, change: LinkChange::Down(LinkLoss::Closed) }], trace)
    }

    fn break_off(&mut self, conn: u32, trace: &mut Trace) -> Result<(), Broken> {
        self.left.breaks -= 1;
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.to.iter_mut().for_each(VecDeque::clear);
        }
        self.hang_up(conn, 0, trace)?;
        self.hang_up(conn, 1, trace)
    }

    fn connect(&mut self, node: usize, trace: &mut Trace) -> Result<(), Broken> {
        let Some((link, to)) = self.host(node).dials.pop_front() else { return Ok(()) };
        let Some(to) = to.filter(|to| self.hosts.get(*to).is_some_and(|host| host.node.is_some())) else {
            trace.show(self.at(), || Step::Link { node, text: format!("{link} is refused") });
            let change = LinkChange::Down(LinkLoss::ConnectRefused);
            return self.turn(node, vec![Input::Link { link, change }], trace);
        };
        let conn = self.next_conn;
        self.next_conn += 1;
        let host = self.host(to);
        host.accepted += 1;
        let accepted = LinkId::accepted(host.accepted);
        host.links.insert(accepted, (conn, 1));
        self.host(node).links.insert(link, (conn, 0));
        let end = |host, link| End { host, link, open: true };
        self.conns.insert(conn, Conn { ends: [end(node, link), end(to, accepted)], to: Default::default() });
        trace.show(self.at(), || Step::Link { node, text: format!("connection {conn}: {link} to n{to}") });
        let change = LinkChange::Up { peer_host: format!("n{node}") };
        self.turn(to, vec![Input::Link { link: accepted, change }], trace)?;
        let change = LinkChange::Up { peer_host: format!("n{to}") };
        self.turn(node, vec![Input::Link { link, change }], trace)
    }

    fn sync(&mut self, node: usize, lane: Lane, trace: &mut Trace) -> Result<(), Broken> {
        let host = self.host(node);
        let (queue, name) = match lane {
            Lane::Log => (&mut host.log, "log"),
            Lane::Snapshot => (&mut host.snapshots, "snapshot"),
        };
        let Some(batch) = queue.pop_front() else { return Ok(()) };
        host.disk.write(&batch);
        promises::is_reported(node, &host.disk.holds)?;
        let text = format!("batch #{} up to {}", batch.id(), batch.last);
        trace.show(self.at(), || Step::Disk { node, lane: name, us: STEP_US / 2, sync: true, good: true, text });
        self.turn(node, vec![Input::Durable(batch.durable())], trace)
    }

    fn crash(&mut self, node: usize, kept: usize, trace: &mut Trace) -> Result<(), Broken> {
        self.left.crashes -= 1;
        let host = self.host(node);
        let lost = host.log.len() - kept;
        for batch in host.log.drain(..).take(kept) {
            host.disk.write(&batch);
        }
        promises::is_reported(node, &host.disk.holds)?;
        host.node = None;
        host.deadline = None;
        host.log.clear();
        host.snapshots.clear();
        host.dials.clear();
        let links = std::mem::take(&mut host.links);
        host.digest = host.told();
        let text = format!("out of power, {lost} batches lost");
        trace.show(self.at(), || Step::Ended { node, power: true, text });
        for (conn, side) in links.into_values() {
            self.let_go(conn, side);
        }
        Ok(())
    }

    fn let_go(&mut self, conn: u32, side: usize) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.close(side);
            if connection.is_over() {
                self.conns.remove(&conn);
            }
        }
    }

    fn start(&mut self, plan: &Plan, node: usize, trace: &mut Trace) -> Result<(), Broken> {
        let now = self.clock();
        let host = self.host(node);
        let refused =
            |why| (promises::REPLAY, format!("n{node}: recovery refuses a disk that only lost its power: {why}"));
        let recovered = host.disk.recover(plan).map_err(refused)?;
        host.life += 1;
        let config = plan.config(node, host.role, 0);
        let recovered = recovered.unwrap_or_else(|| Recovered::empty(NodeId(node as u128 + 1), host.role));
        let seed = mix(&[plan.seed, node as u64, u64::from(host.life)]);
        let core = Node::new(config, recovered, seed, now);
        let last = core.status(now.mono).positions.last;
        let life = host.life;
        let holds = host.disk.holds.last;
        host.node = Some(core);
        trace.show(self.at(), || Step::Started { node, life, text: format!("the log ends at {last}") });
        if last != holds {
            return Err((
                promises::REPLAY,
                format!("n{node} starts with a log up to {last}, its disk holds {holds}"),
            ));
        }
        self.turn(node, Vec::new(), trace)
    }

    fn tick(&mut self, trace: &mut Trace) -> Result<(), Broken> {
        self.left.ticks -= 1;
        let Some(next) = self.hosts.iter().filter_map(|host| host.deadline).min() else { return Ok(()) };
        self.now = next.0.max(self.now + 1);
        for node in 0..self.hosts.len() {
            if self.hosts[node].deadline.is_some_and(|deadline| deadline.0 <= self.now) {
                self.turn(node, vec![Input::Alarm], trace)?;
            }
        }
        Ok(())
    }

    fn clock(&self) -> Now {
        Now { mono: Time(self.now), wall: WallMs(1_700_000_000_000 + self.now / 1000) }
    }

    /// The node's turn, and those that it asks for at once.
    fn turn(&mut self, node: usize, inputs: Vec<Input>, trace: &mut Trace) -> Result<(), Broken> {
        let now = self.clock();
        let mut inputs = inputs;
        for _ in 0..TURNS_PER_STEP_MAX {
            let host = self.host(node);
            let Some(core) = &mut host.node else { return Ok(()) };
            let mut out = Output::default();
            let deadline = core.turn(now, std::mem::take(&mut inputs), &mut out);
            core.check();
            host.deadline = deadline;
            self.route(node, out, trace)?;
            if deadline.is_none_or(|deadline| deadline > now.mono) {
                return self.stands(node, trace);
            }
        }
        panic!("n{node} asks for turn after turn without end")
    }

    fn stands(&mut self, node: usize, trace: &mut Trace) -> Result<(), Broken> {
        let now = Time(self.now);
        let at = self.at();
        let host = self.host(node);
        host.digest = host.told();
        let Some(core) = &host.node else { return Ok(()) };
        let status = core.status(now);
        let ledger = &mut self.ledger;
        if let Some(core) = &self.hosts[node].node {
            ledger.stands(node, core, &status)?;
        }
        trace.show(at, || Step::Stands { node, standing: Standing::of(&status) });
        Ok(())
    }

    fn route(&mut self, node: usize, out: Output, trace: &mut Trace) -> Result<(), Broken> {
        let at = self.at();
        for event in &out.events {
            let loud = event.level() != Level::Info;
            trace.show(at, || Step::Told { node, loud, text: event.to_string() });
        }
        let host = self.host(node);
        for batch in out.write.into_iter().chain(out.snapshot) {
            let (queue, lane) = match batch.lane() {
                Lane::Log => (&mut host.log, "log"),
                Lane::Snapshot => (&mut host.snapshots, "snapshot"),
            };
            let text = format!("{} records up to {}", batch.records.len(), batch.last);
            trace.show(at, || Step::Batch { node, lane, batch: batch.id(), text });
            queue.push_back(batch);
        }
        for action in out.links {
            self.link(node, action);
        }
        for (link, message) in out.sends {
            self.send(node, link, message, trace)?;
        }
        for (id, reply) in out.replies {
            self.reply(node, id, &reply, trace)?;
        }
        Ok(())
    }

    fn link(&mut self, node: usize, action: LinkAction) {
        let host = self.host(node);
        match action {
            LinkAction::Dial { link, address } => {
                let to = address.strip_prefix('n').and_then(|rest| rest.split(':').next()?.parse().ok());
                host.dials.push_back((link, to));
            }
            LinkAction::Close { link } => {
                host.dials.retain(|(dialled, _)| *dialled != link);
                if let Some((conn, side)) = host.links.remove(&link) {
                    self.let_go(conn, side);
                }
            }
        }
    }

    fn send(&mut self, from: usize, link: LinkId, message: Message, trace: &mut Trace) -> Result<(), Broken> {
        let Some((conn, side)) = self.hosts[from].links.get(&link).copied() else { return Ok(()) };
        self.sent += 1;
        let (number, at) = (self.sent, self.at());
        let Some(connection) = self.conns.get_mut(&conn) else { return Ok(()) };
        let to = connection.ends[1 - side].host;
        let (kind, text) = (kind_of(&message), || line_of(&message));
        trace.show(at, || Step::Sent { message: number, from, to, kind, text: text() });
        let may = promises::may_say(from, &message, &self.hosts[from].disk.holds);
        if connection.ends[1 - side].open {
            connection.to[1 - side].push_back(Item::message(number, message));
        }
        may
    }

    fn reply(
        &mut self,
        node: usize,
        id: RequestId,
        reply: &Result<Reply, Refusal>,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let client = id.0.is_multiple_of(2).then_some(0);
        trace.show(self.at(), || {
            let (answer, text) = match reply {
                Ok(Reply::Written(written)) => {
                    (Answer::Done, format!("{} on {} disks", written.position, written.durable_on))
                }
                Ok(reply) => (Answer::Done, format!("{reply:?}")),
                Err(refusal @ Refusal::Pending { .. }) => (Answer::Unknown, refusal.to_string()),
                Err(refusal) => (Answer::Refused, refusal.to_string()),
            };
            Step::Answered { op: id.0 as usize, client, node, answer, text }
        });
        let Ok(Reply::Written(written)) = reply else { return Ok(()) };
        let armed = self.hosts[node].node.as_ref().is_some_and(|core| core.status(Time(self.now)).failover.armed);
        let disks: Vec<&Holds> = self.hosts.iter().map(|host| &host.disk.holds).collect();
        self.ledger.answered(node, written, armed, &disks)
    }
}

impl Host {
    fn new(number: usize) -> Self {
        Self {
            node: None,
            deadline: None,
            role: if number == 0 { RoleHint::Master } else { RoleHint::Replica },
            life: 0,
            accepted: 0,
            links: BTreeMap::new(),
            dials: VecDeque::new(),
            log: VecDeque::new(),
            snapshots: VecDeque::new(),
            disk: Disk::default(),
            digest: 0,
        }
    }

    /// All of it in one number.
    fn told(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.node.as_ref().map(Node::digest), self.life, self.accepted, &self.links, &self.dials)
            .hash(&mut hasher);
        for batch in self.log.iter().chain(&self.snapshots) {
            (batch.id(), &batch.records, batch.last, batch.cut, &batch.discards, batch.files.len())
                .hash(&mut hasher);
        }
        self.disk.digest().hash(&mut hasher);
        hasher.finish()
    }
}

impl Clone for Host {
    fn clone(&self) -> Self {
        let again = |queue: &VecDeque<WriteBatch>| queue.iter().map(WriteBatch::again).collect();
        Self {
            node: self.node.clone(),
            deadline: self.deadline,
            role: self.role,
            life: self.life,
            accepted: self.accepted,
            links: self.links.clone(),
            dials: self.dials.clone(),
            log: again(&self.log),
            snapshots: again(&self.snapshots),
            disk: self.disk.clone(),
            digest: self.digest,
        }
    }
}
