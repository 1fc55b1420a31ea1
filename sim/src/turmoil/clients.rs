//! The clients: each has one request at a time, follows redirections, gives up in time, and tells the observations what it
//! was told. The operator's requests go the same way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::{Command, Outcome};
use synap_core::config::Concern;
use synap_core::position::Named;
use tokio::sync::mpsc;

use super::http::{Answered, Call, Caller, NoAnswer};
use super::inspector;
use super::net::SimNet;
use super::requests::{self, Meaning};
use super::strangers;
use super::world::{World, now_us};
use crate::dice::mix;
use crate::model::{Look, Question};
use crate::oracle::Fact;
use crate::plan::{Ask, Operation, once};
use crate::trace::{Answer, Step};
use crate::workload::{Mind, shown};

/// What the operator asks of a node.
#[derive(Debug)]
pub(super) enum Order {
    /// A promotion, a snapshot: the answer goes to the trace alone.
    Call(usize, Call),
    /// The last write, on so many replicas besides the master: it shows that the cluster serves.
    Probe(usize, u32),
    /// Strangers call at the node's ports, for so long.
    Strangers(usize, Duration),
}

/// How long an operator waits.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(6);

/// How often a client follows a redirection before it looks elsewhere.
const REDIRECTIONS_MAX: u32 = 3;

/// Runs all clients, and carries out the operator's orders, for as long as the run lasts.
pub(super) async fn run(world: Arc<World>, mut orders: mpsc::UnboundedReceiver<Order>) -> turmoil::Result {
    let named = world.plan.operations.iter().map(|operation| operation.client + 1).max().unwrap_or(0);
    for number in 0..usize::from(world.plan.workload.clients.max(named)) {
        tokio::spawn(Client::new(Arc::clone(&world), number).run());
    }
    tokio::spawn(inspector::run(Arc::clone(&world)));
    while let Some(order) = orders.recv().await {
        tokio::spawn(carry_out(Arc::clone(&world), order));
    }
    Ok(())
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) world: Arc<World>,
    number: usize,
    pub(super) caller: Caller,
    mind: Mind,
    /// The node that it takes for the master.
    target: usize,
    /// Its own last write, for reading it back.
    last: Option<String>,
    /// What is safe to send again, and was not answered well.
    again: Option<Ask>,
    /// The plan's operations for it, by time.
    operations: VecDeque<Operation>,
}

/// What was read.
struct HasRead<'a> {
    node: usize,
    key: &'a Bytes,
    /// With its version.
    value: Option<(Bytes, u64)>,
    min: Option<Named>,
    asked_at: u64,
    linearizable_since: Option<u64>,
}

/// What became of a request, as the client sees it.
pub(super) struct End {
    pub(super) answer: Answer,
    pub(super) text: String,
}

impl Client {
    fn new(world: Arc<World>, number: usize) -> Self {
        let mut operations: Vec<Operation> = world
            .plan
            .operations
            .iter()
            .filter(|operation| usize::from(operation.client) == number)
            .cloned()
            .collect();
        operations.sort_by_key(|operation| operation.at_us);
        Self {
            caller: caller(&world),
            mind: Mind::new(&world.plan, number),
            target: 0,
            last: None,
            again: None,
            operations: operations.into(),
            world,
            number,
        }
    }

    async fn run(mut self) {
        let calm_at = self.world.plan.calm_at_ms * 1000;
        let draws = self.number < usize::from(self.world.plan.workload.clients);
        let mut draws_at = if draws { 100_000 + self.number as u64 * 777 } else { u64::MAX };
        loop {
            let planned_at = self.operations.front().map_or(u64::MAX, |operation| operation.at_us);
            let next_at = draws_at.min(planned_at);
            if next_at >= calm_at {
                return;
            }
            wait_until(next_at).await;
            let good = if planned_at <= draws_at {
                let Some(operation) = self.operations.pop_front() else { return };
                let node = usize::from(operation.node).min(self.world.plan.nodes() - 1);
                self.ask(node, operation.ask).await
            } else {
                let good = self.draw().await;
                draws_at = now_us() + self.pause_us(good);
                good
            };
            if !good {
                self.target = self.mind.dice.below(self.world.plan.nodes() as u64) as usize;
            }
        }
    }

    fn pause_us(&mut self, good: bool) -> u64 {
        let workload = &self.world.plan.workload;
        let pause_us = self.mind.dice.between(workload.pause_us_min, workload.pause_us_max);
        pause_us + if good { 0 } else { 20_000 }
    }

    async fn draw(&mut self) -> bool {
        let nodes = self.world.plan.nodes() as u64;
        if let Some(ask) = self.again.take() {
            return self.ask(self.target, ask).await;
        }
        let ask = self.mind.draw(self.number, &self.world.plan);
        let ask = self.once_now_and_then(ask);
        let node = match &ask {
            Ask::Read { .. } if self.mind.dice.chance(700) => self.mind.dice.below(nodes) as usize,
            Ask::Look(_) => self.mind.dice.below(nodes) as usize,
            Ask::Read { .. } | Ask::Write { .. } => self.target,
        };
        self.ask(node, ask).await
    }

    /// Where replicas elect, some writes carry a key, and are sent again under it until they are answered.
    fn once_now_and_then(&mut self, ask: Ask) -> Ask {
        let drawn = mix(&[self.world.plan.seed, now_us(), self.number as u64, 9]);
        let wide = self.world.plan.workload.wide_per_mille > 0;
        match ask {
            Ask::Write { command, concern }
                if !matches!(command, Command::Once { .. })
                    && (self.world.plan.knobs.automatic || wide)
                    && drawn.is_multiple_of(3) =>
            {
                let wants_old = if wide && drawn.is_multiple_of(2) { "+" } else { "" };
                let command = once(&format!("c{}-{drawn:x}{wants_old}", self.number), command);
                self.mind.asks(&command);
                Ask::Write { command, concern }
            }
            Ask::Write { .. } | Ask::Read { .. } | Ask::Look(_) => ask,
        }
    }

    /// Whether a set asks for the old value: under a key as the key says, so that a retry is the same request; else now and
    /// then, where the answer has to wait for what is done anyway.
    fn wants_old(&self, command: &Command, concern: Concern) -> bool {
        let drawn = || mix(&[self.world.plan.seed, now_us(), self.number as u64, 11]).is_multiple_of(3);
        match command {
            _ if !matches!(command.plain(), Command::Set { .. }) => false,
            Command::Once { ticket, .. } => ticket.wants_old,
            _ => concern != Concern::Async && self.world.plan.workload.wide_per_mille > 0 && drawn(),
        }
    }

    /// Asks, and tells whether the client was served well.
    async fn ask(&mut self, node: usize, ask: Ask) -> bool {
        let client = Some(self.number);
        let op = asked(&self.world, client, node, ask.to_string());
        let end = match &ask {
            Ask::Write { command, concern } => self.write(node, command, *concern).await,
            Ask::Read { key, age_ms, own } => self.read(node, key, *age_ms, *own).await,
            Ask::Look(look) => self.look(node, look).await,
        };
        let good = end.answer == Answer::Done;
        self.again = Some(ask).filter(|ask| !good && ask.is_once());
        answered(&self.world, op, client, node, end);
        good
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.world.plan.workload.timeout_ms + 2_000)
    }

    async fn write(&mut self, mut node: usize, command: &Command, concern: Concern) -> End {
        let get = self.wants_old(command, concern);
        // Whoever asks for the old value waits for it.
        let concern = if get && concern == Concern::Async { Concern::Quorum } else { concern };
        let call = requests::write(command, concern, self.world.plan.workload.timeout_ms, get);
        let asked = (command, get);
        for _ in 0..REDIRECTIONS_MAX {
            let answered = match self.caller.call(node, call.clone(), self.patience()).await {
                Ok(answered) => answered,
                Err(why) => return no_answer(why),
            };
            match requests::meaning(&answered) {
                Meaning::Done => return self.written(node, concern, asked, &answered),
                Meaning::Refused(text) => {
                    // What is sent again under its key may be done yet.
                    if !matches!(command, Command::Once { .. }) {
                        self.see(&Fact::Refused { command });
                    }
                    return End { answer: Answer::Refused, text };
                }
                Meaning::Unknown => return End { answer: Answer::Unknown, text: "pending".to_owned() },
                Meaning::Elsewhere(host) => {
                    // Where nobody is any more, nobody answers.
                    let Some(other) = self.world.node_at(&host) else { break };
                    self.target = other;
                    node = other;
                }
            }
        }
        End { answer: Answer::Refused, text: "sent from node to node".to_owned() }
    }

    /// What a client is told of a write is what the node has answered.
    fn written(&mut self, node: usize, concern: Concern, asked: (&Command, bool), answered: &Answered) -> End {
        let at = now_us();
        let body = answered.json();
        let text = format!("{} {}", answered.status, body["position"].as_str().unwrap_or("without a position"));
        let mut observations = self.world.observations();
        let Some(position) = answered.position() else {
            observations.violated(FRONT_TELLS, at, format!("n{node} answers a write without a position: {body}"));
            return End { answer: Answer::Done, text };
        };
        let told = observations.nodes[node].written.get(&position).cloned().unwrap_or_default();
        // The old value is known once the write is committed: who asks for it waits as long.
        let carried_out = match concern {
            Concern::Async | Concern::Local if asked.1 => Concern::Quorum,
            asked => asked,
        };
        let early = matches!(carried_out, Concern::Async | Concern::Local);
        let same = told.iter().any(|told| {
            answered.status != 200
                || body["position"] == position
                    && body["concern"] == requests::word_of(told.concern)
                    && body["durable_on"] == told.durable_on
                    && told.concern == carried_out
                    && answered.is_replayed() == matches!(told.outcome, Outcome::Replayed { .. })
        });
        if !same {
            let cause = format!("n{node} answers {body} at {position:?}, its core said {told:?}");
            observations.violated(FRONT_TELLS, at, cause);
        }
        observations.tally.writes += 1;
        let stands = told.first().map(|told| told.position);
        drop(observations);
        if let Some(stands) = stands {
            let (command, get) = (asked.0.clone(), asked.1);
            self.fronted(node, stands, Question::Write { command, get, early }, answered, (at, false));
        }
        if let (Command::Set { pair, .. }, Some(version)) = (asked.0.plain(), answered.version()) {
            self.mind.saw(&pair.key, version);
        }
        self.last = Some(position);
        End { answer: Answer::Done, text }
    }

    async fn read(&mut self, node: usize, key: &Bytes, age_ms: Option<u64>, own: bool) -> End {
        let asked_at = now_us();
        let last = self.last.clone().filter(|_| own);
        let from = last.as_deref();
        let raw = self.mind.dice.chance(300);
        let timeout_ms = self.world.plan.workload.timeout_ms;
        // Where replicas elect: everything that was answered before it asks must be seen. Within a step, machine after
        // machine has its millisecond: what another one answers in the same has not been seen yet.
        let linearizable = self.world.plan.knobs.automatic && self.mind.dice.chance(250);
        let linearizable_since = linearizable.then(|| now_us() / 1000 * 1000);
        let call = requests::read(&requests::Read { key, raw, age_ms, from, linearizable }, timeout_ms);
        let answered = match self.caller.call(node, call, self.patience()).await {
            Ok(answered) => answered,
            Err(why) => return no_answer(why),
        };
        let value = match answered.status {
            200 => answered.version().map(|version| (requests::value(&answered, raw), version)),
            404 => None,
            status => return End { answer: Answer::Refused, text: status.to_string() },
        };
        let text = format!("{} at {:?}", shown(value.as_ref()), answered.position());
        if let Some((_, version)) = &value {
            self.mind.saw(key, *version);
        }
        let min = from.and_then(Named::parse);
        let look = if raw { Look::Raw(key.clone()) } else { Look::Get(key.clone()) };
        if let Some(applied) = self.stood_at(node, &answered) {
            let asked = (asked_at, linearizable);
            self.fronted(node, applied, Question::Look(look), &answered, asked);
        }
        self.has_read(&HasRead { node, key, value, min, asked_at, linearizable_since }, age_ms, &answered);
        End { answer: Answer::Done, text }
    }

    fn has_read(&self, read: &HasRead<'_>, age_ms: Option<u64>, answered: &Answered) {
        let (at, node) = (now_us(), read.node);
        let mut observations = self.world.observations();
        if let (Some(age_ms), Some(stale_ms)) = (age_ms, answered.staleness_ms())
            && stale_ms > age_ms
        {
            let cause = format!("n{node} answers with a state {stale_ms} ms old, {age_ms} ms were allowed");
            observations.violated(FRONT_TELLS, at, cause);
        }
        let told = answered.position();
        let Some(applied) = told.as_ref().and_then(|told| observations.nodes[node].applied.get(told).copied())
        else {
            return;
        };
        let value = read.value.clone();
        let fact = Fact::Read {
            node,
            key: read.key,
            value,
            applied,
            min: read.min,
            asked_at: read.asked_at,
            // Told in whole milliseconds.
            staleness: answered.staleness_ms().map(|ms| Duration::from_millis(ms + 1)),
            linearizable_since: read.linearizable_since,
        };
        observations.see(&self.world.plan, at, &fact);
        observations.tally.reads += 1;
    }

    pub(super) fn see(&self, fact: &Fact<'_>) {
        self.world.observations().see(&self.world.plan, now_us(), fact);
    }
}

/// The oracle of what the front says.
pub(super) const FRONT_TELLS: &str = "what the front tells is what the node says";

async fn carry_out(world: Arc<World>, order: Order) {
    let mut caller = caller(&world);
    let (node, call, is_probe) = match order {
        Order::Call(node, call) => (node, call, false),
        Order::Strangers(node, lasts) => return strangers::call(world, node, lasts).await,
        Order::Probe(node, replicas) => {
            let body = format!("{{\"key\":\"probe\",\"value\":\"probe {}\"}}", now_us());
            let concern = if replicas == 0 { Concern::Quorum } else { Concern::Replicas(replicas) };
            (node, Call::post(format!("/kv/set?concern={}", requests::word_of(concern)), body), true)
        }
    };
    let op = asked(&world, None, node, format!("{} {}", call.path, String::from_utf8_lossy(&call.body)));
    let end = match caller.call(node, call, OPERATOR_PATIENCE).await {
        Ok(told) => {
            if is_probe && told.status == 200 {
                world.observations().probed = true;
            }
            let answer = if told.status == 200 { Answer::Done } else { Answer::Refused };
            End { answer, text: format!("{} {}", told.status, String::from_utf8_lossy(&told.body).trim_end()) }
        }
        Err(why) => no_answer(why),
    };
    answered(&world, op, None, node, end);
}

fn caller(world: &Arc<World>) -> Caller {
    Caller::new(SimNet { world: Arc::clone(world), here: world.clients() })
}

fn asked(world: &World, client: Option<usize>, node: usize, text: String) -> usize {
    let mut observations = world.observations();
    let op = observations.operation();
    observations.trace.show(now_us(), || Step::Asked { op, client, node, text });
    op
}

fn answered(world: &World, op: usize, client: Option<usize>, node: usize, end: End) {
    let End { answer, text } = end;
    let parts = [31, op as u64, node as u64, crate::trace::fingerprint(&text)];
    world.observations().trace.note(now_us(), &parts, || Step::Answered { op, client, node, answer, text });
}

pub(super) fn no_answer(why: NoAnswer) -> End {
    let (answer, text) = match why {
        NoAnswer::Refused => (Answer::Refused, "nobody listens"),
        NoAnswer::Broken => (Answer::Unknown, "the connection broke"),
        NoAnswer::Late => (Answer::Unknown, "gives up"),
    };
    End { answer, text: text.to_owned() }
}

async fn wait_until(at_us: u64) {
    let left_us = at_us.saturating_sub(now_us());
    if left_us > 0 {
        tokio::time::sleep(Duration::from_micros(left_us)).await;
    }
}
