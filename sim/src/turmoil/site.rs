//! What the operator reaches of the machines of level B.

use std::sync::{Arc, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use serde_json::json;
use synap_core::history::History;
use synap_core::status::{Role, State, Status};

use super::clients::Order as ToClients;
use super::http::Call;
use super::requests;
use super::{Due, Run};
use crate::disk::ModelDisk;
use crate::operator::{Operator, Order, Setup, Site};
use crate::oracle::{Fact, OnDisk};
use crate::plan::Flood;
use crate::run::{Tally, Verdict};
use crate::trace::Step;
use crate::workload::rushing;

impl Site for Run {
    const HAS_FRONT: bool = true;

    fn operator(&mut self) -> &mut Operator {
        &mut self.operator
    }

    fn now(&self) -> u64 {
        Self::now(self)
    }

    fn note(&mut self, parts: &[u64], step: impl FnOnce() -> Step) {
        Self::note(self, parts, step);
    }

    fn see(&mut self, fact: &Fact<'_>) {
        Self::see(self, fact);
    }

    fn count(&mut self, what: impl FnOnce(&mut Tally)) {
        what(&mut self.world.observations().tally);
    }

    fn served_at(&self) -> u64 {
        self.world.observations().served_at
    }

    fn writes(&self) -> u64 {
        self.world.observations().tally.writes
    }

    fn finish(&mut self, verdict: Verdict) {
        self.world.observations().end(verdict);
    }

    fn setup<T>(&mut self, node: usize, of: impl FnOnce(&mut Setup) -> T) -> T {
        self.machine(node, |machine| of(&mut machine.setup))
    }

    fn disk(&self, node: usize) -> MutexGuard<'_, ModelDisk> {
        self.world.disk(node)
    }

    fn on_disk(&self, node: usize) -> Arc<OnDisk> {
        self.world.observations().on_disk(node)
    }

    fn status(&self, node: usize) -> Option<Status> {
        self.world.observations().nodes[node].status.clone()
    }

    fn serves(&self, node: usize) -> bool {
        let observations = self.world.observations();
        let view = observations.nodes[node].outline.as_ref();
        view.is_some_and(|view| view.role == Role::Master && view.state == State::Serving)
    }

    fn history(&self, node: usize) -> Option<(u32, Arc<History>)> {
        let history = self.world.observations().nodes[node].outline.as_ref()?.history.clone();
        Some((self.machine(node, |machine| machine.life), history))
    }

    fn end(&mut self, node: usize, power: bool, why: &str) {
        self.end_process(node, power, why);
    }

    fn start_after(&mut self, us: u64, node: usize) {
        self.after(us, Due::Start(node));
    }

    fn again_after(&mut self, us: u64, fault: usize) {
        self.after(us, Due::Again(fault));
    }

    fn pause(&mut self, node: usize, _: u64) {
        self.machine(node, |machine| machine.paused += 1);
    }

    /// One fault less keeps the process standing still: if it was the last, all its tasks run.
    fn go_on(&mut self, node: usize) {
        let sleepers = self.machine(node, |machine| {
            machine.paused -= 1;
            if machine.paused == 0 { std::mem::take(&mut machine.sleepers) } else { Vec::new() }
        });
        sleepers.into_iter().for_each(Waker::wake);
    }

    fn stop(&mut self, node: usize) {
        let stop = self.machine(node, |machine| machine.stop.clone());
        stop.cancel();
    }

    fn is_open(&self, from: usize, to: usize) -> bool {
        self.world.roads().is_open(from, to)
    }

    fn block(&mut self, from: usize, to: usize) {
        self.shut(from, to);
    }

    fn unblock(&mut self, from: usize, to: usize) {
        self.open(from, to);
    }

    /// What a partition took is never sent again.
    fn reopen(&mut self) {}

    fn reset(&mut self, node: usize) {
        let cut = self.machine(node, |machine| std::mem::take(&mut machine.cut));
        cut.cancel();
    }

    fn reset_proxy(&mut self, node: usize) {
        let cut = self.machine(node, |machine| std::mem::take(&mut machine.proxy_cut));
        cut.cancel();
    }

    fn slow_network(&mut self, factor: u64) {
        let network = &self.world.plan.network;
        let latency_max = Duration::from_micros(network.delay_us_max.max(network.delay_us_min));
        self.sim.set_max_message_latency(latency_max * u32::try_from(factor).unwrap_or(u32::MAX));
    }

    fn slow_link(&mut self, from: usize, to: usize, bytes_per_sec: Option<u64>) {
        self.world.roads().set_rate(from, to, bytes_per_sec);
    }

    fn garble(&mut self, node: usize, begins: bool) {
        self.machine(node, |machine| {
            machine.garbled = if begins { machine.garbled + 1 } else { machine.garbled - 1 };
        });
    }

    fn strangers(&mut self, node: usize, lasts: Duration) {
        self.give(ToClients::Strangers(node, lasts));
    }

    fn order(&mut self, node: usize, order: Order) {
        let (path, body) = match order {
            Order::Promote { force } => {
                ("/replication/promote", json!({ "force": force, "accept_data_loss": force }))
            }
            Order::Snapshot => return self.give(ToClients::Call(node, Call::post("/snapshot", ""))),
            Order::Switchover => ("/replication/switchover", json!({})),
            Order::Remove(node) => ("/replication/members", json!({ "action": "remove", "node": node })),
            Order::Priority(node, priority) => {
                ("/replication/members", json!({ "action": "priority", "node": node, "priority": priority }))
            }
            Order::PauseElections(length) => {
                let ttl_secs = length.as_millis().div_ceil(1000).max(1) as u64;
                ("/replication/pause", json!({ "ttl_secs": ttl_secs }))
            }
        };
        self.give(ToClients::Call(node, Call::post(path, body.to_string())));
    }

    fn rush(&mut self, node: usize, flood: Flood, nth: u64) {
        let (command, concern) = rushing(&self.world.plan, flood, nth);
        let call = requests::write(&command, concern, self.world.plan.workload.timeout_ms, false);
        self.give(ToClients::Call(node, call));
    }

    fn knock(&mut self, node: usize) {
        let body = json!({ "key": "knock", "value": format!("knock n{node} {}", self.now()) });
        self.give(ToClients::Call(node, Call::post("/kv/set?concern=quorum", body.to_string())));
    }

    fn probe(&mut self, master: usize, replicas: u32) {
        self.give(ToClients::Probe(master, replicas));
    }

    fn is_probed(&self) -> bool {
        self.world.observations().probed
    }
}

impl Run {
    fn give(&self, order: ToClients) {
        // The clients' machine runs as long as the run does.
        let _ = self.orders.send(order);
    }
}
