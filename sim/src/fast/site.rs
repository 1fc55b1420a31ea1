//! What the operator reaches of the world of level A.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use synap_core::history::History;
use synap_core::input::{MemberChange, Promotion, Request};
use synap_core::status::{Role, State, Status};

use super::{Event, World};
use crate::disk::ModelDisk;
use crate::operator::{Operator, Order, Setup, Site};
use crate::oracle::{Fact, OnDisk};
use crate::plan::Flood;
use crate::run::{Tally, Verdict};
use crate::trace::Step;

impl Site for World<'_> {
    /// There is no process to stop and no port to call at.
    const HAS_FRONT: bool = false;

    fn operator(&mut self) -> &mut Operator {
        &mut self.operator
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn note(&mut self, parts: &[u64], step: impl FnOnce() -> Step) {
        Self::note(self, parts, step);
    }

    fn see(&mut self, fact: &Fact<'_>) {
        Self::see(self, fact);
    }

    fn count(&mut self, what: impl FnOnce(&mut Tally)) {
        what(&mut self.tally);
    }

    fn served_at(&self) -> u64 {
        self.clients.served_at
    }

    fn writes(&self) -> u64 {
        self.tally.writes
    }

    fn finish(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    fn setup<T>(&mut self, node: usize, of: impl FnOnce(&mut Setup) -> T) -> T {
        of(&mut self.hosts[node].setup)
    }

    fn disk(&self, node: usize) -> MutexGuard<'_, ModelDisk> {
        self.hosts[node].disk()
    }

    fn on_disk(&self, node: usize) -> Arc<OnDisk> {
        self.oracles.on_disk(node)
    }

    fn status(&self, node: usize) -> Option<Status> {
        let process = self.hosts[node].process.as_ref()?;
        Some(process.node.status(process.time(self.now)))
    }

    fn serves(&self, node: usize) -> bool {
        self.status(node).is_some_and(|status| status.role == Role::Master && status.state == State::Serving)
    }

    fn history(&self, node: usize) -> Option<(u32, Arc<History>)> {
        let host = &self.hosts[node];
        let view = host.process.as_ref()?.node.outline();
        Some((host.life, view.history.clone()))
    }

    fn end(&mut self, node: usize, power: bool, why: &str) {
        Self::end(self, node, power, why);
    }

    fn start_after(&mut self, us: u64, node: usize) {
        self.after(us, Event::Start { host: node });
    }

    fn again_after(&mut self, us: u64, fault: usize) {
        self.after(us, Event::Again(fault));
    }

    fn pause(&mut self, node: usize, us: u64) {
        let until = self.now + us;
        let host = &mut self.hosts[node];
        host.paused_until = host.paused_until.max(until);
    }

    /// A pause ends by itself.
    fn go_on(&mut self, _: usize) {}

    fn stop(&mut self, _: usize) {}

    fn is_open(&self, from: usize, to: usize) -> bool {
        !self.network.is_blocked(from, to)
    }

    fn block(&mut self, from: usize, to: usize) {
        self.network.block(from, to);
    }

    fn unblock(&mut self, from: usize, to: usize) {
        self.network.unblock(from, to);
    }

    fn reopen(&mut self) {
        Self::reopen(self);
    }

    fn reset(&mut self, node: usize) {
        Self::reset(self, node);
    }

    fn reset_proxy(&mut self, node: usize) {
        Self::reset_proxy(self, node);
    }

    fn slow_network(&mut self, factor: u64) {
        self.network.slow_factor = factor;
    }

    fn slow_link(&mut self, from: usize, to: usize, bytes_per_sec: Option<u64>) {
        self.network.set_rate(from, to, bytes_per_sec);
    }

    fn garble(&mut self, node: usize, begins: bool) {
        self.network.garble(node, begins);
    }

    fn strangers(&mut self, _: usize, _: Duration) {}

    fn order(&mut self, node: usize, order: Order) {
        let timeout = Duration::from_millis(self.plan.workload.timeout_ms);
        let request = match order {
            Order::Promote { force } => {
                Request::Promote(Promotion { force, accept_data_loss: force, expect_last: None })
            }
            Order::Snapshot => Request::Snapshot,
            Order::Switchover => Request::Switchover { to: None, timeout },
            Order::Remove(node) => Request::Members(MemberChange::Remove { node }),
            Order::Priority(node, priority) => {
                Request::Members(MemberChange::Priority { node, priority: Some(priority) })
            }
            Order::PauseElections(length) => Request::Pause(length),
        };
        self.operate(node, request);
    }

    fn rush(&mut self, node: usize, flood: Flood, nth: u64) {
        Self::rush(self, node, flood, nth);
    }

    fn knock(&mut self, node: usize) {
        Self::knock(self, node);
    }

    fn probe(&mut self, master: usize, replicas: u32) {
        Self::probe(self, master, replicas);
    }

    fn is_probed(&self) -> bool {
        self.clients.probed
    }
}
