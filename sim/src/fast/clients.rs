//! The clients of level A: each has one request at a time, follows redirections, gives up in time, and tells the
//! oracles what it was told.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::{Command, Condition, Outcome};
use synap_core::config::Concern;
use synap_core::ids::RequestId;
use synap_core::input::{Input, ReadDemand, Request};
use synap_core::message::Leader;
use synap_core::output::{Refusal, Reply};
use synap_core::position::{Named, Position};
use synap_core::status::{Role, State};
use synap_core::time::Time;
use synap_core::view::View;

use super::{Event, World};
use crate::dice::mix;
use crate::model::Look;
use crate::operator::Site;
use crate::oracle::{Fact, counts_votes};
use crate::plan::{Ask, Flood, Plan, once};
use crate::trace::{Answer, Step};
use crate::workload::{Mind, rushing, said, set, shown};

/// All clients, and every request that they made.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    ops: Vec<Op>,
    /// The last write, and whether it was answered.
    last_write: Option<usize>,
    pub(super) probed: bool,
    /// When a write was last answered that a majority holds.
    pub(super) served_at: u64,
    /// Where answered writes stand.
    pub(super) answered: Vec<Position>,
}

#[derive(Debug)]
struct Client {
    mind: Mind,
    /// The host that it takes for the master.
    target: usize,
    /// Its own last write, for reading it back.
    last: Option<Position>,
    /// What it asks again, since nobody told it what became of it.
    again: Option<Want>,
    /// The operation that it waits for, if any.
    open: Option<usize>,
    /// Operations of the plan whose time has come while another was open.
    waiting: VecDeque<usize>,
}

#[derive(Debug)]
struct Op {
    /// None: the operator's.
    client: Option<usize>,
    host: usize,
    want: Want,
    asked_at: u64,
    open: bool,
}

/// What an operation wants of its host.
#[derive(Clone, Debug)]
enum Want {
    Write { command: Command, concern: Concern },
    Read { key: Bytes, demand: ReadDemand },
    Operator(Request),
}

impl Clients {
    pub(super) fn new(plan: &Plan) -> Self {
        let client = |number: u8| Client {
            mind: Mind::new(plan, number.into()),
            target: 0,
            last: None,
            again: None,
            open: None,
            waiting: VecDeque::new(),
        };
        let named = plan.operations.iter().map(|operation| operation.client + 1).max().unwrap_or(0);
        let clients = (0..plan.workload.clients.max(named)).map(client).collect();
        Self { clients, ops: Vec::new(), last_write: None, probed: false, served_at: 0, answered: Vec::new() }
    }
}

impl World<'_> {
    /// A client's next request leaves for its host, unless the clients have stopped.
    pub(super) fn client_next(&mut self, number: usize) {
        if self.now >= self.plan.calm_at_ms * 1000 {
            return;
        }
        let hosts = self.hosts.len();
        let client = &mut self.clients.clients[number];
        if client.open.is_some() {
            return;
        }
        if let Some(want) = client.again.take() {
            let host = client.target;
            return self.client_wants(number, host, want, "the same again".to_owned());
        }
        let ask = client.mind.draw(number, self.plan);
        let host = match &ask {
            Ask::Read { .. } if client.mind.dice.chance(700) => client.mind.dice.below(hosts as u64) as usize,
            // What a front would answer is looked at where it stands: here any state will do.
            Ask::Look(_) => client.mind.dice.below(hosts as u64) as usize,
            Ask::Read { .. } | Ask::Write { .. } => client.target,
        };
        self.client_asks(number, host, ask);
    }

    /// An operation of the plan is due: at once, or when its client is free.
    pub(super) fn operation_due(&mut self, number: usize) {
        let operation = &self.plan.operations[number];
        let client = &mut self.clients.clients[usize::from(operation.client)];
        if client.open.is_some() {
            client.waiting.push_back(number);
            return;
        }
        let host = usize::from(operation.node).min(self.hosts.len() - 1);
        self.client_asks(usize::from(operation.client), host, operation.ask.clone());
    }

    fn client_asks(&mut self, number: usize, host: usize, ask: Ask) {
        let text = ask.to_string();
        let drawn = mix(&[self.plan.seed, self.now, number as u64, 9]);
        let client = &mut self.clients.clients[number];
        let want = match ask {
            Ask::Write { command, concern }
                if !matches!(command, Command::Once { .. })
                    && (self.plan.knobs.automatic || self.plan.workload.wide_per_mille > 0)
                    && drawn.is_multiple_of(3) =>
            {
                let wide = self.plan.workload.wide_per_mille > 0 && drawn.is_multiple_of(2);
                let key = format!("c{number}-{drawn:x}{}", if wide { "+" } else { "" });
                let command = once(&key, command);
                client.mind.asks(&command);
                Want::Write { command, concern }
            }
            Ask::Look(look) => Want::Read { key: key_of(&look), demand: ReadDemand::default() },
            Ask::Write { command, concern } => Want::Write { command, concern },
            Ask::Read { key, age_ms: None, own: false }
                if self.plan.knobs.automatic && drawn.is_multiple_of(2) =>
            {
                Want::Read { key, demand: ReadDemand { linearizable: true, ..ReadDemand::default() } }
            }
            Ask::Read { key, age_ms, own } => {
                let last = client.last.filter(|_| own);
                let demand = ReadDemand {
                    max_staleness: age_ms.map(Duration::from_millis),
                    min_position: last.map(Named::exactly),
                    linearizable: false,
                };
                Want::Read { key, demand }
            }
        };
        self.client_wants(number, host, want, text);
    }

    fn client_wants(&mut self, number: usize, host: usize, want: Want, text: String) {
        let op = self.open(Some(number), host, want, text);
        self.clients.clients[number].open = Some(op);
        // A hash of when and who, so that the same operation takes the same way when others are left out.
        let way_us = 50 + mix(&[self.plan.seed, self.now, number as u64, 8]) % 450;
        self.after(way_us, Event::Request { op });
        self.after(self.plan.workload.timeout_ms * 1000 + 2_000_000, Event::GiveUp { op });
    }

    fn open(&mut self, client: Option<usize>, host: usize, want: Want, text: String) -> usize {
        let op = self.clients.ops.len();
        self.trace.show(self.now, || Step::Asked { op, client, node: host, text });
        self.clients.ops.push(Op { client, host, want, asked_at: self.now, open: true });
        op
    }

    /// The operator asks; the answer goes to the trace alone.
    pub(super) fn operate(&mut self, host: usize, request: Request) {
        let text = format!("{request:?}");
        let op = self.open(None, host, Want::Operator(request), text);
        self.after(200, Event::Request { op });
    }

    /// A last write, for all replicas that are up: it shows that the cluster serves.
    pub(super) fn probe(&mut self, host: usize, replicas: u32) {
        let command = set(b"probe", format!("probe {}", self.now).into_bytes(), None, Condition::Always);
        let concern = if replicas == 0 { Concern::Quorum } else { Concern::Replicas(replicas) };
        let op = self.open(None, host, Want::Write { command, concern }, "the last write".to_owned());
        self.clients.last_write = Some(op);
        self.after(200, Event::Request { op });
    }

    /// A write for a majority, since nobody else had one answered.
    pub(super) fn knock(&mut self, host: usize) {
        let command = set(b"knock", format!("knock n{host} {}", self.now).into_bytes(), None, Condition::Always);
        let want = Want::Write { command, concern: Concern::Quorum };
        let op = self.open(None, host, want, "does anybody take writes?".to_owned());
        self.after(200, Event::Request { op });
    }

    /// A write of a flood.
    pub(super) fn rush(&mut self, host: usize, flood: Flood, nth: u64) {
        let (command, concern) = rushing(self.plan, flood, nth);
        let op = self.open(None, host, Want::Write { command, concern }, format!("{flood:?} {nth} of a flood"));
        self.after(200, Event::Request { op });
    }

    pub(super) fn request_arrives(&mut self, op: usize) {
        let Op { host, want, .. } = &self.clients.ops[op];
        let (host, want) = (*host, want.clone());
        if self.hosts[host].process.is_none() {
            return self.unanswered(op);
        }
        let asleep_until = self.hosts[host].paused_until;
        if self.now < asleep_until {
            return self.at(asleep_until, Event::Request { op });
        }
        let timeout = Duration::from_millis(self.plan.workload.timeout_ms);
        let request = match want {
            Want::Write { command, concern } => {
                self.see(&Fact::Asked { command: &command });
                self.front_sends_on(host);
                Request::Write { command, concern: Some(concern), timeout }
            }
            Want::Read { demand, .. } => match self.try_read(host, &demand) {
                Some(Ok(view)) => return self.read(op, &view),
                Some(Err(_)) => return self.next_after(op, false),
                None => Request::Read { demand, timeout },
            },
            Want::Operator(request) => request,
        };
        let id = RequestId(op as u64);
        if let Some(process) = &mut self.hosts[host].process {
            process.requests.insert(id, op);
        }
        self.put(host, Input::Request { id, request });
    }

    /// A front looks at the view and sends a writer on without asking the node. Here the node is asked all the same.
    fn front_sends_on(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        let view = process.node.view();
        if let (Role::Replica, Some(leader)) = (view.role, &view.leader) {
            self.sent_on(host, &leader.clone());
        }
    }

    /// The host that a master's address names.
    fn host_of(&self, leader: &Leader) -> Option<usize> {
        self.node_at(leader.http.split(':').next()?)
    }

    fn sent_on(&mut self, host: usize, leader: &Leader) {
        let Some(to) = self.host_of(leader) else { return };
        let epoch = |world: &Self, number: usize| world.status(number).map(|status| status.epoch);
        // One that opens another has committed an entry of the one before.
        let begins = self.hosts[to].process.as_ref().is_some_and(|it| {
            let view = it.node.view();
            view.state == State::Opening && Some(view.applied.epoch) != epoch(self, to)
        });
        // Who opens a mastership anew tells of its epoch once that is on its disk; until then, of the one before its start.
        let before = self.hosts[to].process.as_ref().map(|it| it.promised_at_start);
        let opens = begins && epoch(self, host) == epoch(self, to) && epoch(self, to) != before;
        self.see(&Fact::SentOn { node: host, to, opens });
    }

    /// The published view, if it admits the read; none if the node must be asked.
    fn try_read(&self, host: usize, demand: &ReadDemand) -> Option<Result<std::sync::Arc<View>, Refusal>> {
        let process = self.hosts[host].process.as_ref()?;
        let view = process.node.view();
        match view.admits(demand, process.time(self.now)) {
            Ok(true) => Some(Ok(std::sync::Arc::new(view))),
            Ok(false) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn read(&mut self, op: usize, view: &View) {
        let Op { host, want: Want::Read { key, demand }, asked_at, .. } = &self.clients.ops[op] else { return };
        let (host, key, demand, asked_at) = (*host, key.clone(), *demand, *asked_at);
        // As a front does: what has come to its end is hidden.
        let time = self.hosts[host].process.as_ref().map_or(Time::default(), |process| process.time(self.now));
        let log_time = view.log_time(time, demand.linearizable);
        let item = view.store.get_at(&key, log_time);
        let value = item.map(|item| (Bytes::copy_from_slice(item.value()), item.version().0));
        let client = self.clients.ops[op].client;
        self.note(&[30, op as u64, host as u64, view.applied.index.0], || Step::Answered {
            op,
            client,
            node: host,
            answer: Answer::Done,
            text: format!("{} at {}", shown(value.as_ref()), view.applied),
        });
        if let (Some(client), Some((_, version))) = (client, &value) {
            self.clients.clients[client].mind.saw(&key, *version);
        }
        let min = demand.min_position;
        let linearizable_since = demand.linearizable.then_some(asked_at);
        let applied = view.applied;
        let (asked_at, node) = (self.now, host);
        let staleness = view.staleness(time).filter(|_| view.role == Role::Replica);
        self.see(&Fact::Read { node, key: &key, value, applied, min, asked_at, staleness, linearizable_since });
        self.tally.reads += 1;
        self.next_after(op, true);
    }

    pub(super) fn replied(&mut self, host: usize, life: u32, id: RequestId, reply: Result<Reply, Refusal>) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(op) = process.requests.remove(&id) else { return };
        let client = self.clients.ops[op].client;
        self.note(&[31, op as u64, host as u64, u64::from(reply.is_ok())], || {
            let (answer, text) = said(&reply);
            Step::Answered { op, client, node: host, answer, text }
        });
        match reply {
            Ok(Reply::Written(written)) => {
                let Op { want: Want::Write { command, .. }, asked_at, client, .. } = &self.clients.ops[op] else {
                    return;
                };
                let (command, asked_at, client) = (command.clone(), *asked_at, *client);
                let voters = self.voters(host, written.position.index);
                let fact =
                    Fact::Written { node: host, life, command: &command, asked_at, written: &written, voters };
                self.oracles.see(self.plan, self.now, &fact);
                if let (Some(client), Command::Set { pair, .. }, Outcome::Set { version, .. }) =
                    (client, &command, &written.outcome)
                {
                    self.clients.clients[client].mind.saw(&pair.key, version.0);
                }
                self.clients.answered.push(written.position);
                self.tally.writes += 1;
                if counts_votes(written.concern) {
                    self.clients.served_at = self.now;
                }
                match client {
                    Some(client) => self.clients.clients[client].last = Some(written.position),
                    None => self.clients.probed |= self.clients.last_write == Some(op),
                }
                self.next_after(op, true);
            }
            Ok(Reply::Read(view)) => self.read(op, &view),
            Ok(
                Reply::Promoted(_)
                | Reply::Snapshot(_)
                | Reply::Status(_)
                | Reply::Outcome(_)
                | Reply::SwitchedOver(_)
                | Reply::Configured(_),
            ) => {
                self.next_after(op, true);
            }
            Err(refusal) => {
                self.refused(op, &refusal);
                let Refusal::NotMaster { leader } = refusal else { return self.next_after(op, false) };
                self.sent_on(host, &leader);
                if let (Some(client), Some(target)) = (self.clients.ops[op].client, self.host_of(&leader)) {
                    self.clients.clients[client].target = target;
                }
                self.next_after(op, true);
            }
        }
    }

    /// A write that its client was told is not done. One that is sent again may be done then.
    fn refused(&mut self, op: usize, refusal: &Refusal) {
        let want = &self.clients.ops[op].want;
        let unknown = matches!(refusal, Refusal::Pending { .. });
        if let Want::Write { command, .. } = want
            && !unknown
            && !want.is_once()
        {
            let command = command.clone();
            self.see(&Fact::Refused { command: &command });
        }
    }

    /// Nobody answers: the process is gone.
    pub(super) fn unanswered(&mut self, op: usize) {
        let Op { client, host: node, open, .. } = self.clients.ops[op];
        if open {
            let (answer, text) = (Answer::Unknown, "nobody answers".to_owned());
            self.trace.show(self.now, || Step::Answered { op, client, node, answer, text });
        }
        self.next_after(op, false);
    }

    pub(super) fn give_up(&mut self, op: usize) {
        if !self.clients.ops[op].open {
            return;
        }
        let host = self.clients.ops[op].host;
        let client = self.clients.ops[op].client;
        self.note(&[32, op as u64], || Step::Answered {
            op,
            client,
            node: host,
            answer: Answer::Unknown,
            text: "gives up".to_owned(),
        });
        let id = RequestId(op as u64);
        let waits =
            self.hosts[host].process.as_mut().is_some_and(|process| process.requests.remove(&id).is_some());
        if waits {
            self.put(host, Input::Cancel(id));
        }
        self.next_after(op, false);
    }

    /// The request is over. A client that was not served well looks elsewhere.
    fn next_after(&mut self, op: usize, well: bool) {
        if !std::mem::take(&mut self.clients.ops[op].open) {
            return;
        }
        let Some(number) = self.clients.ops[op].client else { return };
        let hosts = self.hosts.len() as u64;
        let client = &mut self.clients.clients[number];
        client.open = None;
        // What is safe to send again is sent again until it is answered.
        client.again = Some(self.clients.ops[op].want.clone()).filter(|want| !well && want.is_once());
        if let Some(next) = client.waiting.pop_front() {
            return self.operation_due(next);
        }
        if number >= usize::from(self.plan.workload.clients) {
            return;
        }
        let workload = &self.plan.workload;
        let mut pause_us = client.mind.dice.between(workload.pause_us_min, workload.pause_us_max);
        if !well {
            client.target = client.mind.dice.below(hosts) as usize;
            pause_us += 20_000;
        }
        self.after(pause_us, Event::Client(number));
    }
}

impl Want {
    fn is_once(&self) -> bool {
        matches!(self, Self::Write { command: Command::Once { .. }, .. })
    }
}

/// A key that a look is about.
fn key_of(look: &Look) -> Bytes {
    match look {
        Look::Get(key) | Look::Raw(key) | Look::Exists(key) | Look::Ttl(key) => key.clone(),
        Look::Mget(keys) => keys.first().cloned().unwrap_or_default(),
        Look::Scan { prefix, .. } => prefix.clone(),
        Look::Stats => Bytes::new(),
    }
}
