//! What each step does to a cluster. Owns no choice between them.

use std::collections::VecDeque;
use std::time::Duration;

use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::ids::{LinkId, NodeId, RequestId};
use synap_core::input::{Input, LinkChange, LinkLoss, Request};
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::recovered::Recovered;
use synap_core::wal::Lane;

use super::promises::{self, Broken};
use super::wire::{Conn, End, Item};
use crate::dice::mix;
use crate::plan::Plan;
use crate::trace::{Step, Trace, kind_of};

use super::state::{STEP_US, State};

impl State {
    pub(super) fn write(&mut self, node: usize, concern: Concern, trace: &mut Trace) -> Result<(), Broken> {
        self.left.writes -= 1;
        let value = Value { kind: ValueKind::Bytes, bytes: format!("v{}", self.asked).into() };
        let pair = Pair { key: "k".into(), value, ttl_ms: None };
        let command = Command::Set { pair, condition: Condition::Always };
        let text = format!("set k=v{} ({concern:?})", self.asked);
        let request = Request::Write { command, concern: Some(concern), timeout: Duration::from_secs(60) };
        self.ask(node, request, Some(0), text, trace)
    }

    pub(super) fn operate(&mut self, node: usize, request: Request, trace: &mut Trace) -> Result<(), Broken> {
        let text = format!("{request:?}");
        self.ask(node, request, None, text, trace)
    }

    pub(super) fn ask(
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

    pub(super) fn deliver(&mut self, conn: u32, side: usize, trace: &mut Trace) -> Result<(), Broken> {
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
    pub(super) fn hang_up(&mut self, conn: u32, side: usize, trace: &mut Trace) -> Result<(), Broken> {
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

    pub(super) fn break_off(&mut self, conn: u32, trace: &mut Trace) -> Result<(), Broken> {
        self.left.breaks -= 1;
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.to.iter_mut().for_each(VecDeque::clear);
        }
        self.hang_up(conn, 0, trace)?;
        self.hang_up(conn, 1, trace)
    }

    pub(super) fn connect(&mut self, node: usize, trace: &mut Trace) -> Result<(), Broken> {
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
        let reached = format!("n{to}:15501");
        let change = LinkChange::Up { peer_host: format!("n{node}"), reached: reached.clone() };
        self.turn(to, vec![Input::Link { link: accepted, change }], trace)?;
        let change = LinkChange::Up { peer_host: format!("n{to}"), reached };
        self.turn(node, vec![Input::Link { link, change }], trace)
    }

    pub(super) fn sync(&mut self, node: usize, lane: Lane, trace: &mut Trace) -> Result<(), Broken> {
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

    pub(super) fn crash(&mut self, node: usize, kept: usize, trace: &mut Trace) -> Result<(), Broken> {
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

    pub(super) fn let_go(&mut self, conn: u32, side: usize) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            connection.close(side);
            if connection.is_over() {
                self.conns.remove(&conn);
            }
        }
    }

    pub(super) fn start(&mut self, plan: &Plan, node: usize, trace: &mut Trace) -> Result<(), Broken> {
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

    pub(super) fn tick(&mut self, trace: &mut Trace) -> Result<(), Broken> {
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
}
