//! The clients of level A: each has one request at a time, follows redirections, gives up in time, and tells the
//! oracles what it was told.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::ids::RequestId;
use synap_core::input::{Input, ReadDemand, Request};
use synap_core::output::{Refusal, Reply};
use synap_core::position::Position;
use synap_core::view::View;

use super::{Event, World};
use crate::dice::Dice;
use crate::oracle::Fact;
use crate::plan::Plan;
use crate::trace::{Answer, Step};

/// All clients, and every request that they made.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Client>,
    ops: Vec<Op>,
}

#[derive(Debug)]
struct Client {
    dice: Dice,
    /// The host that it takes for the master.
    target: usize,
    sets: u64,
    /// Its own last write, for reading it back.
    last: Option<Position>,
}

#[derive(Debug)]
struct Op {
    /// None: the operator's.
    client: Option<usize>,
    host: usize,
    ask: Ask,
    asked_at: u64,
    open: bool,
}

#[derive(Clone, Debug)]
enum Ask {
    Write { command: Command, concern: Concern },
    Read { key: Bytes, demand: ReadDemand },
    Operator(Request),
}

impl Clients {
    pub(super) fn new(plan: &Plan) -> Self {
        let client = |number: u8| Client {
            dice: Dice::named(plan.seed, &format!("client {number}")),
            target: 0,
            sets: 0,
            last: None,
        };
        Self { clients: (0..plan.workload.clients).map(client).collect(), ops: Vec::new() }
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
        let ask = client.draw(number, self.plan);
        let host = match &ask {
            Ask::Read { .. } if client.dice.chance(700) => client.dice.below(hosts as u64) as usize,
            Ask::Read { .. } | Ask::Write { .. } | Ask::Operator(_) => client.target,
        };
        let way_us = client.dice.between(50, 500);
        let op = self.ask(Some(number), host, ask);
        self.after(way_us, Event::Request { op });
        self.after(self.plan.workload.timeout_ms * 1000 + 2_000_000, Event::GiveUp { op });
    }

    fn ask(&mut self, client: Option<usize>, host: usize, ask: Ask) -> usize {
        let op = self.clients.ops.len();
        self.trace.show(self.now, || Step::Asked { op, client, node: host, text: ask.to_string() });
        self.clients.ops.push(Op { client, host, ask, asked_at: self.now, open: true });
        op
    }

    /// The operator asks; the answer goes to the trace alone.
    pub(super) fn operate(&mut self, host: usize, request: Request) {
        let op = self.ask(None, host, Ask::Operator(request));
        self.after(200, Event::Request { op });
    }

    /// A last write, for all replicas that are up: it shows that the cluster serves.
    pub(super) fn probe(&mut self, host: usize, replicas: u32) {
        let command = set(b"probe", format!("probe {}", self.now).into_bytes(), None, Condition::Always);
        let op = self.ask(None, host, Ask::Write { command, concern: Concern::Replicas(replicas) });
        self.after(200, Event::Request { op });
    }

    pub(super) fn request_arrives(&mut self, op: usize) {
        let Op { host, ask, .. } = &self.clients.ops[op];
        let (host, ask) = (*host, ask.clone());
        if self.hosts[host].process.is_none() {
            return self.unanswered(op);
        }
        let timeout = Duration::from_millis(self.plan.workload.timeout_ms);
        let request = match ask {
            Ask::Write { command, concern } => {
                self.see(&Fact::Asked { command: &command });
                Request::Write { command, concern: Some(concern), timeout }
            }
            Ask::Read { demand, .. } => match self.try_read(host, &demand) {
                Some(Ok(view)) => return self.read(op, &view),
                Some(Err(_)) => return self.next_after(op, false),
                None => Request::Read { demand, timeout },
            },
            Ask::Operator(request) => request,
        };
        let id = RequestId(op as u64);
        if let Some(process) = &mut self.hosts[host].process {
            process.requests.insert(id, op);
        }
        self.put(host, Input::Request { id, request });
    }

    /// The published view, if it admits the read; none if the node must be asked.
    fn try_read(&self, host: usize, demand: &ReadDemand) -> Option<Result<std::sync::Arc<View>, Refusal>> {
        let process = self.hosts[host].process.as_ref()?;
        let view = process.node.view();
        match view.admits(demand, process.time(self.now)) {
            Ok(true) => Some(Ok(view)),
            Ok(false) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn read(&mut self, op: usize, view: &View) {
        let Op { host, ask: Ask::Read { key, demand }, .. } = &self.clients.ops[op] else { return };
        let (host, key, demand) = (*host, key.clone(), *demand);
        let item = view.store.get(&key);
        let value = item.map(|item| (Bytes::copy_from_slice(item.value()), item.version().0));
        let client = self.clients.ops[op].client;
        self.note(&[30, op as u64, host as u64, view.applied.index.0], || Step::Answered {
            op,
            client,
            node: host,
            answer: Answer::Done,
            text: format!("{} at {}", shown(value.as_ref()), view.applied),
        });
        let min_index = demand.min_position.map(|(_, index)| index);
        self.see(&Fact::Read { node: host, key: &key, value, applied: view.applied, min_index });
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
                let Op { ask: Ask::Write { command, .. }, asked_at, client, .. } = &self.clients.ops[op] else {
                    return;
                };
                let (command, asked_at, client) = (command.clone(), *asked_at, *client);
                let fact = Fact::Written { node: host, life, command: &command, asked_at, written: &written };
                self.oracles.see(self.plan, self.now, &fact);
                self.tally.writes += 1;
                match client {
                    Some(client) => self.clients.clients[client].last = Some(written.position),
                    None => self.operator.probed = true,
                }
                self.next_after(op, true);
            }
            Ok(Reply::Read(view)) => self.read(op, &view),
            Ok(Reply::Promoted(_) | Reply::Snapshot(_) | Reply::Status(_) | Reply::Outcome(_)) => {
                self.next_after(op, true);
            }
            Err(Refusal::NotMaster { leader }) => {
                let target = leader.http.strip_prefix('n').and_then(|rest| rest.split(':').next()?.parse().ok());
                if let (Some(client), Some(target)) = (self.clients.ops[op].client, target) {
                    self.clients.clients[client].target = target;
                }
                self.next_after(op, true);
            }
            Err(_) => self.next_after(op, false),
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
        let op = &mut self.clients.ops[op];
        if !std::mem::take(&mut op.open) {
            return;
        }
        let Some(number) = op.client else { return };
        let hosts = self.hosts.len() as u64;
        let client = &mut self.clients.clients[number];
        let workload = &self.plan.workload;
        let mut pause_us = client.dice.between(workload.pause_us_min, workload.pause_us_max);
        if !well {
            client.target = client.dice.below(hosts) as usize;
            pause_us += 20_000;
        }
        self.after(pause_us, Event::Client(number));
    }
}

impl Client {
    fn draw(&mut self, number: usize, plan: &Plan) -> Ask {
        let workload = &plan.workload;
        let key = self.key(plan);
        if self.dice.chance(workload.read_per_mille) {
            return Ask::Read { key, demand: self.demand() };
        }
        let concern = concern_of(self.dice.pick(&workload.concerns).as_str());
        Ask::Write { command: self.command(number, key, plan, concern), concern }
    }

    fn command(&mut self, number: usize, key: Bytes, plan: &Plan, concern: Concern) -> Command {
        let ttl_ms = self.dice.chance(plan.workload.ttl_per_mille).then(|| self.dice.between(1, 3_000));
        let value = self.value(number, plan);
        let kind = self.dice.below(10);
        if concern == Concern::Async {
            // Only what needs no result may be answered before it is committed.
            return if kind < 8 { set(&key, value, ttl_ms, Condition::Always) } else { Command::Delete { key } };
        }
        match kind {
            0..=3 => set(&key, value, ttl_ms, Condition::Always),
            4 => {
                let condition = *self.dice.pick(&[Condition::Absent, Condition::Present]);
                set(&key, value, ttl_ms, condition)
            }
            5 => Command::Delete { key },
            6 | 7 => Command::Incr { key: self.counter(), by: self.dice.between(1, 9) as i64 },
            8 => Command::Expire { key, ttl_ms: self.dice.between(1, 3_000) },
            _ => {
                let other = self.key(plan);
                let pair = |key| Pair { key, value: bytes_value(value.clone()), ttl_ms };
                Command::Batch { pairs: vec![pair(key), pair(other)] }
            }
        }
    }

    fn demand(&mut self) -> ReadDemand {
        let max_staleness = self.dice.chance(200).then(|| Duration::from_millis(self.dice.between(10, 500)));
        let last = self.last.filter(|_| self.dice.chance(300));
        ReadDemand { max_staleness, min_position: last.map(|last| (last.epoch.number, last.index)) }
    }

    fn key(&mut self, plan: &Plan) -> Bytes {
        Bytes::from(format!("k{}", self.dice.below(plan.workload.keys)))
    }

    fn counter(&mut self) -> Bytes {
        Bytes::from(format!("n{}", self.dice.below(3)))
    }

    /// No two values are the same, so that a value tells which write it came from.
    fn value(&mut self, number: usize, plan: &Plan) -> Vec<u8> {
        self.sets += 1;
        let mut value = format!("c{number}.{}", self.sets).into_bytes();
        let length = self.dice.below(plan.workload.value_bytes_max) as usize;
        value.resize(value.len().max(length), b'.');
        value
    }
}

fn set(key: &[u8], value: Vec<u8>, ttl_ms: Option<u64>, condition: Condition) -> Command {
    let pair = Pair { key: Bytes::copy_from_slice(key), value: bytes_value(value), ttl_ms };
    Command::Set { pair, condition }
}

fn bytes_value(bytes: Vec<u8>) -> Value {
    Value { kind: ValueKind::Bytes, bytes: bytes.into() }
}

/// What a reply means to who asked, and its words.
fn said(reply: &Result<Reply, Refusal>) -> (Answer, String) {
    match reply {
        Ok(Reply::Written(written)) => {
            let text = format!("{} {:?} on {} disks", written.position, written.concern, written.durable_on);
            (Answer::Done, text)
        }
        Ok(Reply::Promoted(promoted)) => (Answer::Done, format!("{promoted:?}")),
        Ok(Reply::Snapshot(position)) => (Answer::Done, format!("snapshot at {position}")),
        Ok(Reply::Outcome(fate)) => (Answer::Done, format!("{fate:?}")),
        Ok(Reply::Read(_) | Reply::Status(_)) => (Answer::Done, String::new()),
        Err(refusal @ Refusal::Pending { .. }) => (Answer::Unknown, refusal.to_string()),
        Err(refusal) => (Answer::Refused, refusal.to_string()),
    }
}

/// A value as it was read, with its version.
fn shown(value: Option<&(Bytes, u64)>) -> String {
    value.map_or("nothing".to_owned(), |(bytes, version)| {
        let text = String::from_utf8_lossy(bytes);
        format!("{} v{version}", text.trim_end_matches('.'))
    })
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { command, concern } => write!(f, "{} ({concern:?})", brief(command)),
            Self::Read { key, demand } => {
                write!(f, "get {}", String::from_utf8_lossy(key))?;
                if let Some((epoch, index)) = demand.min_position {
                    write!(f, " from {epoch}:{index} on")?;
                }
                demand.max_staleness.map_or(Ok(()), |age| write!(f, " not older than {age:?}"))
            }
            Self::Operator(request) => write!(f, "{request:?}"),
        }
    }
}

/// A command in a few words.
fn brief(command: &Command) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).trim_end_matches('.').to_owned();
    match command {
        Command::Set { pair, condition } => {
            let only = if *condition == Condition::Always { String::new() } else { format!(" if {condition:?}") };
            format!("set {}={}{only}", text(&pair.key), text(&pair.value.bytes))
        }
        Command::Delete { key } => format!("delete {}", text(key)),
        Command::Incr { key, by } => format!("incr {} by {by}", text(key)),
        Command::Expire { key, ttl_ms } => format!("expire {} in {ttl_ms} ms", text(key)),
        Command::Batch { pairs } => {
            let pairs: Vec<String> = pairs.iter().map(|pair| text(&pair.key)).collect();
            format!("batch {}", pairs.join(" "))
        }
        Command::Persist { key } => format!("persist {}", text(key)),
        Command::EpochStart { .. } | Command::Config(_) | Command::Sweep { .. } => format!("{command:?}"),
    }
}

/// A concern as plans spell it.
fn concern_of(text: &str) -> Concern {
    match text {
        "async" => Concern::Async,
        "local" => Concern::Local,
        "quorum" => Concern::Quorum,
        number => number.parse().map_or(Concern::Quorum, Concern::Replicas),
    }
}
