//! Faults as the plan has them, and the operator: who starts and stops machines, mends what no machine mends by
//! itself, and decides that the cluster has converged, or has not in time.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use synap_core::config::RoleHint;
use synap_core::status::{Role, State, Status};

use super::clients::Order;
use super::http::Call;
use super::stage::{Exit, Machine, Runs, name_of};
use super::{Due, Run};
use crate::converged::{converged, members_up, owe_service};
use crate::dice::mix;
use crate::oracle::Fact;
use crate::plan::What;
use crate::run::Verdict;
use crate::steward::{Bury, Promote, Repoint, Steward};
use crate::trace::Step;

/// What the operator has in hand.
#[derive(Debug, Default)]
pub(super) struct Operator {
    steward: Steward,
    probing_since: Option<u64>,
    /// The master that a fault has hit, by the fault's number.
    masters_hit: BTreeMap<usize, usize>,
}

/// How often everything is looked at.
const WATCH_US: u64 = 100_000;

/// How long a supervisor takes to start a process that ended by itself.
const SUPERVISOR_US: u64 = 200_000;

/// When a process that found no room for its repairs is started again.
const ROOM_US: u64 = 1_000_000;

/// How long it takes to start another version in the place of one.
const REVERSION_US: u64 = 100_000;

/// How long the last write may take.
const PROBE_US: u64 = 8_000_000;

/// How long those that are left may find out that they are too few to owe service.
const EXCUSED_AFTER_US: u64 = 5_000_000;

/// Fewer answers than this, with clients at work for seconds, and a run has shown nothing.
const ANSWERS_MIN: u64 = 5;

impl Run {
    pub(super) fn fault_begins(&mut self, number: usize) {
        let what = self.stage.plan.faults[number].what.clone();
        self.note(&[40, number as u64], || Step::FaultBegan {
            fault: number,
            nodes: what.nodes(self.stage.plan.nodes()),
            text: format!("{what:?}"),
        });
        match what {
            What::Kill(node) => self.hold(node.into(), false, "killed"),
            What::KillMaster => return self.strike(number, |run, node| run.hold(node, false, "killed")),
            What::CutMaster => {
                return self.strike(number, |run, node| run.for_each_way(&[node as u8], Self::block));
            }
            What::PowerCut(node) => self.hold(node.into(), true, "out of power"),
            What::PowerCutAll => (0..self.nodes()).for_each(|node| self.hold(node, true, "out of power")),
            What::Pause(node) => self.machine(node.into(), |machine| machine.paused += 1),
            What::Partition(side) => self.for_each_way(&side, Self::block),
            What::OneWay(from, to) => self.block(from.into(), to.into()),
            What::Reset(node) => self.reset(node.into()),
            What::SlowNetwork(factor) => {
                self.sim.set_max_message_latency(self.latency_max() * factor.max(1) as u32)
            }
            What::SlowDisk(node, factor) => self.stage.disk(node.into()).set_slow(factor),
            What::FullDisk(node) => self.stage.disk(node.into()).set_full(true),
            What::FailSync(node) => self.stage.disk(node.into()).fail_syncs(1),
            What::Rot(node) => self.damage(node.into(), true),
            What::Spoil(node) => self.damage(node.into(), false),
            What::Wipe(node) => {
                self.hold(node.into(), true, "out of power");
                self.new_disk(node.into());
            }
            What::WallJump(node, ms) => self.machine(node.into(), |machine| machine.wall_offset_ms += ms),
            What::Promote(node, force) => self.promote(node.into(), force),
            What::EditRole(node) => {
                self.hold(node.into(), false, "killed");
                if self.is_member(node.into()) {
                    self.machine(node.into(), |machine| machine.role = RoleHint::Master);
                }
            }
            What::Snapshot(node) => self.order(node.into(), Call::post("/snapshot", "")),
            What::Stop(node) => {
                let stop = self.machine(node.into(), |machine| {
                    machine.held += 1;
                    machine.stop.clone()
                });
                stop.cancel();
            }
            What::Strangers(node) => {
                let lasts = Duration::from_millis(self.stage.plan.faults[number].for_ms);
                self.give(Order::Strangers(node.into(), lasts));
            }
            What::Switchover(node) => self.order(node.into(), Call::post("/replication/switchover", "{}")),
            What::Remove(node) => {
                let body = serde_json::json!({ "action": "remove", "node": name_of(node.into()) });
                return self.order_master(number, "/replication/members", &body);
            }
            What::Priority(node, priority) => {
                let node = name_of(node.into());
                let body = serde_json::json!({ "action": "priority", "node": node, "priority": priority });
                return self.order_master(number, "/replication/members", &body);
            }
            What::PauseElections => {
                let ttl_secs = self.stage.plan.faults[number].for_ms.div_ceil(1000).max(1);
                let body = serde_json::json!({ "ttl_secs": ttl_secs });
                return self.order_master(number, "/replication/pause", &body);
            }
            What::Skew(node, versions) => self.reversion(node.into(), versions),
            What::Garble(node) => self.machine(node.into(), |machine| machine.garbled += 1),
        }
        self.took_effect(number);
    }

    fn took_effect(&self, number: usize) {
        let tally = &mut self.stage.ledger().tally;
        tally.faults += 1;
        tally.coverage.began(&self.stage.plan.faults[number].what);
    }

    /// A fault that hits whoever leads; without effect if nobody does.
    fn strike(&mut self, number: usize, hit: impl FnOnce(&mut Self, usize)) {
        if let Some(node) = (0..self.nodes()).find(|node| self.is_serving(*node)) {
            self.operator.masters_hit.insert(number, node);
            hit(self, node);
            self.took_effect(number);
        }
    }

    fn order_master(&mut self, number: usize, path: &str, body: &serde_json::Value) {
        let call = Call::post(path, body.to_string());
        self.strike(number, |run, node| run.order(node, call));
    }

    pub(super) fn fault_ends(&mut self, number: usize) {
        let what = self.stage.plan.faults[number].what.clone();
        self.note(&[41, number as u64], || Step::FaultEnded { fault: number });
        match what {
            What::Kill(node)
            | What::PowerCut(node)
            | What::Wipe(node)
            | What::EditRole(node)
            | What::Stop(node) => {
                self.release(node.into(), 0);
            }
            What::KillMaster => {
                if let Some(node) = self.operator.masters_hit.remove(&number) {
                    self.release(node, 0);
                }
            }
            What::CutMaster => {
                if let Some(node) = self.operator.masters_hit.remove(&number) {
                    self.for_each_way(&[node as u8], Self::unblock);
                }
            }
            What::PowerCutAll => {
                for node in 0..self.nodes() {
                    let late_us = mix(&[self.stage.plan.seed, number as u64, node as u64, 9]) % 400_000;
                    self.release(node, late_us);
                }
            }
            What::Partition(side) => self.for_each_way(&side, Self::unblock),
            What::OneWay(from, to) => self.unblock(from.into(), to.into()),
            What::SlowNetwork(_) => self.sim.set_max_message_latency(self.latency_max()),
            What::SlowDisk(node, _) => self.stage.disk(node.into()).set_slow(1),
            What::FullDisk(node) => self.stage.disk(node.into()).set_full(false),
            What::FailSync(node) => self.stage.disk(node.into()).fail_syncs(0),
            What::Pause(node) => self.go_on(node.into()),
            What::Skew(node, versions) => self.reversion(node.into(), -versions),
            What::Garble(node) => self.machine(node.into(), |machine| machine.garbled -= 1),
            What::Reset(_)
            | What::Rot(_)
            | What::Spoil(_)
            | What::WallJump(..)
            | What::Promote(..)
            | What::Snapshot(_)
            | What::Strangers(_)
            | What::Switchover(_)
            | What::Remove(_)
            | What::Priority(..)
            | What::PauseElections => {}
        }
    }

    /// One fault less keeps the process standing still: if it was the last, all its tasks run.
    fn go_on(&self, node: usize) {
        let sleepers = self.machine(node, |machine| {
            machine.paused -= 1;
            if machine.paused == 0 { std::mem::take(&mut machine.sleepers) } else { Vec::new() }
        });
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Another version of the program takes the place of this one.
    fn reversion(&mut self, node: usize, versions: i16) {
        self.end(node, false, "killed for another version");
        self.machine(node, |machine| machine.skew += versions);
        self.after(REVERSION_US, Due::Start(node));
    }

    pub(super) fn latency_max(&self) -> Duration {
        let network = &self.stage.plan.network;
        Duration::from_micros(network.delay_us_max.max(network.delay_us_min))
    }

    fn nodes(&self) -> usize {
        self.stage.plan.nodes()
    }

    fn machine<T>(&self, node: usize, of: impl FnOnce(&mut Machine) -> T) -> T {
        of(&mut self.stage.machines()[node])
    }

    fn for_each_way(&mut self, side: &[u8], change: impl Fn(&Self, usize, usize)) {
        for from in 0..self.nodes() {
            for to in 0..self.nodes() {
                if side.contains(&(from as u8)) != side.contains(&(to as u8)) {
                    change(self, from, to);
                }
            }
        }
    }

    fn block(&self, from: usize, to: usize) {
        if self.stage.roads().block(from, to) {
            self.sim.partition_oneway(self.place(from), self.place(to));
        }
    }

    fn unblock(&self, from: usize, to: usize) {
        if self.stage.roads().unblock(from, to) {
            self.sim.repair_oneway(self.place(from), self.place(to));
        }
    }

    /// The name of a machine, the clients' included.
    fn place(&self, number: usize) -> String {
        if number == self.stage.clients() { super::CLIENTS.to_owned() } else { name_of(number) }
    }

    /// Every connection of a machine breaks.
    fn reset(&self, node: usize) {
        let cut = self.machine(node, |machine| std::mem::take(&mut machine.cut));
        cut.cancel();
    }

    fn hold(&mut self, node: usize, power: bool, why: &str) {
        self.machine(node, |machine| machine.held += 1);
        self.end(node, power, why);
    }

    fn release(&mut self, node: usize, late_us: u64) {
        self.machine(node, |machine| machine.held -= 1);
        self.after(late_us, Due::Start(node));
    }

    /// Starts the process, if none runs and nothing holds it down.
    pub(super) fn start(&mut self, node: usize) {
        let (runs, held) = self.machine(node, |machine| (machine.runs, machine.held));
        if held > 0 || runs == Runs::Server {
            return;
        }
        if runs == Runs::Nothing {
            self.all_ways(node, Self::unblock);
        }
        self.machine(node, |machine| {
            machine.runs = Runs::Server;
            machine.life += 1;
            machine.exit = None;
            machine.cut = tokio_util::sync::CancellationToken::new();
            machine.stop = tokio_util::sync::CancellationToken::new();
        });
        self.sim.bounce(name_of(node));
    }

    /// The process ends: killed, out of power, or by its own word.
    fn end(&mut self, node: usize, power: bool, why: &str) {
        // Before anything is torn down: no destructor reaches the disk any more.
        if power {
            self.stage.disk(node).power_cut();
        } else {
            self.stage.disk(node).detach();
        }
        let had = self.machine(node, |machine| machine.runs);
        if power && had != Runs::Nothing {
            // Nor the network.
            self.all_ways(node, Self::block);
            self.machine(node, |machine| machine.runs = Runs::Nothing);
            self.sim.crash(name_of(node));
        } else if had == Runs::Server {
            self.machine(node, |machine| {
                machine.runs = Runs::System;
                machine.is_killed = true;
            });
            self.sim.bounce(name_of(node));
        }
        if had == Runs::Server {
            self.note(&[2, node as u64, u64::from(power)], || Step::Ended { node, power, text: why.to_owned() });
            self.stage.ledger().ends(node);
            self.see(&Fact::Ended { node, power });
        }
    }

    fn all_ways(&self, node: usize, change: impl Fn(&Self, usize, usize)) {
        for other in (0..=self.nodes()).filter(|other| *other != node) {
            change(self, node, other);
            change(self, other, node);
        }
    }

    /// Something durable is no more what it was; the machine starts again and finds it so.
    fn damage(&mut self, node: usize, rot: bool) {
        self.end(node, true, "out of power, and its disk is damaged");
        {
            let mut disk = self.stage.disk(node);
            if rot {
                disk.rot("")
            } else {
                disk.spoil("")
            };
        }
        self.see(&Fact::DiskLost { node });
        self.after(100_000, Due::Start(node));
    }

    /// Processes that ended by themselves, as a supervisor finds them.
    pub(super) fn supervise(&mut self) {
        for node in 0..self.nodes() {
            let Some(exit) = self.machine(node, |machine| machine.exit.take()) else { continue };
            match exit {
                Exit::Stopped => {
                    self.end(node, false, "exit 0");
                    // The fault that stopped it may be over by now.
                    self.after(0, Due::Start(node));
                }
                Exit::DiskFailed(why) => {
                    self.end(node, false, &format!("exit 74, {why}"));
                    self.after(SUPERVISOR_US, Due::Start(node));
                }
                Exit::NoRoom => {
                    self.end(node, false, "exit 74, no room for repairs");
                    self.after(ROOM_US, Due::Start(node));
                }
                Exit::Refused(why) => {
                    self.end(node, false, &format!("exit 74, {why}"));
                    self.unrecoverable(node, &why);
                }
                Exit::NoPort(cause) => self.stage.ledger().end(Verdict::Panic { cause }),
            }
        }
    }

    /// Recovery refuses a disk. If the disk is to blame, the operator puts a new one in.
    fn unrecoverable(&mut self, node: usize, why: &str) {
        if self.stage.disk(node).counts().damages == 0 {
            let cause = format!("n{node}: recovery refuses a disk that only lost its power: {why}");
            let oracle = "INV-9 replay of what is on disk gives the state";
            return self.stage.ledger().violated(oracle, self.now(), cause);
        }
        self.see(&Fact::Unrecoverable { node, why: why.to_owned() });
        self.new_disk(node);
        self.after(300_000, Due::Start(node));
    }

    /// An empty disk: the node will be a new one, and joins whoever leads.
    fn new_disk(&mut self, node: usize) {
        let serves = |other: &usize| *other != node && self.is_serving(*other);
        let other = (0..self.nodes()).find(serves).unwrap_or((node + 1) % self.nodes());
        self.stage.disk(node).wipe();
        self.machine(node, |machine| {
            machine.disks += 1;
            machine.role = RoleHint::Replica;
            machine.master = other;
        });
        self.see(&Fact::DiskLost { node });
    }

    /// Whether a node's disk says that it belongs to a cluster. Nobody makes a master of a replica that is still
    /// empty: it would found a cluster of its own, as an empty master should.
    fn is_member(&self, node: usize) -> bool {
        self.stage.ledger().is_member(node)
    }

    fn is_serving(&self, node: usize) -> bool {
        let ledger = self.stage.ledger();
        let view = ledger.nodes[node].view.as_ref();
        view.is_some_and(|view| view.role == Role::Master && view.state == State::Serving)
    }

    fn promote(&self, node: usize, force: bool) {
        let body = serde_json::json!({ "force": force, "accept_data_loss": force });
        self.order(node, Call::post("/replication/promote", body.to_string()));
    }

    fn order(&self, node: usize, call: Call) {
        self.give(Order::Call(node, call));
    }

    fn give(&self, order: Order) {
        // The clients' machine runs as long as the run does.
        let _ = self.orders.send(order);
    }

    /// Looks at everything; after the last fault, decides.
    pub(super) fn watch(&mut self) {
        self.after(WATCH_US, Due::Watch);
        let calm_at = self.stage.plan.calm_at_ms * 1000;
        let now = self.now();
        if now < calm_at {
            return;
        }
        let statuses: Vec<Option<Status>> = {
            let ledger = self.stage.ledger();
            let plan = &self.stage.plan;
            let seen = ledger.nodes.iter().enumerate();
            seen.map(|(node, seen)| seen.status.clone().filter(|_| !plan.is_broken(node))).collect()
        };
        if let Some(master) = converged(&self.stage.plan, &statuses) {
            return self.settle(master, &statuses);
        }
        self.operator.probing_since = None;
        let excused = !self.stage.plan.broken.is_empty() && !owe_service(&statuses);
        if excused && now > calm_at + EXCUSED_AFTER_US {
            let mut ledger = self.stage.ledger();
            ledger.tally.excused += 1;
            ledger.end(Verdict::Good);
        } else if now > calm_at + self.stage.plan.converge_within_ms * 1000 {
            let verdict = Verdict::Liveness { at: now, cause: standing(&statuses) };
            self.stage.ledger().end(verdict);
        } else {
            self.mend(&statuses);
        }
    }

    /// The last write, for everybody; once it is answered and everybody has it, the oracles have the last word.
    fn settle(&mut self, master: usize, statuses: &[Option<Status>]) {
        let now = self.now();
        let probed = self.stage.ledger().probed;
        match (probed, self.operator.probing_since) {
            (false, Some(since)) if now < since + PROBE_US => {}
            (false, _) => {
                self.operator.probing_since = Some(now);
                let replicas = members_up(statuses) - 1;
                self.give(Order::Probe(master, replicas));
            }
            (true, _) => self.last_word(master, statuses),
        }
    }

    fn last_word(&mut self, node: usize, statuses: &[Option<Status>]) {
        let Some(view) = self.stage.ledger().nodes[node].view.clone() else { return };
        let life = self.machine(node, |machine| machine.life);
        self.see(&Fact::Converged { node, life, reigns: view.history.reigns(), statuses });
        let mut ledger = self.stage.ledger();
        let writes = ledger.tally.writes;
        ledger.end(if writes < ANSWERS_MIN && self.stage.plan.faults.is_empty() {
            Verdict::Vacuous { cause: format!("{writes} writes were answered") }
        } else {
            Verdict::Good
        });
    }

    /// Carries out what the steward decides.
    fn mend(&mut self, statuses: &[Option<Status>]) {
        let now = self.now();
        let headless = self.operator.steward.unled(&self.stage.plan, now, statuses);
        if let Some(Promote { node, force, restart }) = headless {
            if restart {
                self.end(node, false, "stopped by the operator");
                return self.after(100_000, Due::Start(node));
            }
            self.promote(node, force);
        }
        if let Some(Bury { master, dead }) = self.operator.steward.bereaved(&self.stage.plan, now, statuses) {
            let body = serde_json::json!({ "action": "remove", "node": dead.to_string() });
            self.order(master, Call::post("/replication/members", body.to_string()));
        }
        let Some(Repoint { master, others }) = self.operator.steward.forked(now, statuses) else { return };
        for node in others {
            self.end(node, false, "stopped by the operator");
            self.machine(node, |machine| (machine.role, machine.master) = (RoleHint::Replica, master));
            self.after(100_000, Due::Start(node));
        }
    }
}

/// How the nodes stand, in one line.
fn standing(statuses: &[Option<Status>]) -> String {
    let one = |(node, status): (usize, &Option<Status>)| match status {
        None => format!("n{node} is down"),
        Some(status) => format!(
            "n{node} {} {} epoch {} last {} applied {} leader {:?}",
            status.role,
            status.state,
            status.epoch,
            status.positions.last,
            status.positions.applied,
            status.leader.as_ref().map(|leader| &leader.http)
        ),
    };
    statuses.iter().enumerate().map(one).collect::<Vec<_>>().join("; ")
}
