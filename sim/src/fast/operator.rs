//! Faults as the plan has them, and the operator: who mends what no machine mends by itself, and decides that the
//! cluster has converged, or has not in time.

use std::collections::BTreeMap;
use std::time::Duration;

use synap_core::config::RoleHint;
use synap_core::ids::NodeId;
use synap_core::input::{MemberChange, Promotion, Request};
use synap_core::position::Index;
use synap_core::status::{Role, State, Status};

use super::{Event, World};
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
    /// The last write was answered.
    pub(super) probed: bool,
}

/// How often everything is looked at.
const WATCH_US: u64 = 100_000;

/// How long it takes to start another version in the place of one.
const REVERSION_US: u64 = 100_000;

/// How long those that are left may find out that they are too few to owe service.
const EXCUSED_AFTER_US: u64 = 5_000_000;

/// Fewer answers than this, with clients at work for seconds, and a run has shown nothing.
const ANSWERS_MIN: u64 = 5;

impl World<'_> {
    pub(super) fn fault_begins(&mut self, number: usize) {
        let what = self.plan.faults[number].what.clone();
        self.note(&[40, number as u64], || Step::FaultBegan {
            fault: number,
            nodes: what.nodes(self.plan.nodes()),
            text: format!("{what:?}"),
        });
        match what {
            What::Kill(host) => self.hold(usize::from(host), false),
            What::KillMaster => return self.strike(number, |world, host| world.hold(host, false)),
            What::CutMaster => {
                return self
                    .strike(number, |world, host| world.for_each_way(&[host as u8], super::net::Network::block));
            }
            What::PowerCut(host) => self.hold(usize::from(host), true),
            What::PowerCutAll => (0..self.hosts.len()).for_each(|host| self.hold(host, true)),
            What::Pause(host) => {
                let until = self.now + self.plan.faults[number].for_ms * 1000;
                let host = &mut self.hosts[usize::from(host)];
                host.paused_until = host.paused_until.max(until);
            }
            What::Partition(side) => self.for_each_way(&side, super::net::Network::block),
            What::OneWay(from, to) => self.network.block(from.into(), to.into()),
            What::Reset(host) => self.reset(host.into()),
            What::SlowNetwork(factor) => self.network.slow_factor = factor.max(1),
            What::SlowDisk(host, factor) => self.hosts[usize::from(host)].disk().set_slow(factor),
            What::FullDisk(host) => self.hosts[usize::from(host)].disk().set_full(true),
            What::FailSync(host) => self.hosts[usize::from(host)].disk().fail_syncs(1),
            What::Rot(host) => self.damage(host.into(), true),
            What::Spoil(host) => self.damage(host.into(), false),
            What::Wipe(host) => {
                self.hold(host.into(), true);
                self.new_disk(host.into());
            }
            What::WallJump(host, ms) => self.hosts[usize::from(host)].wall_offset_ms += ms,
            What::Promote(host, force) => {
                let promotion = Promotion { force, accept_data_loss: force, expect_last: None };
                self.operate(host.into(), Request::Promote(promotion));
            }
            What::EditRole(host) => {
                self.hold(host.into(), false);
                if self.is_member(host.into()) {
                    self.hosts[usize::from(host)].role = RoleHint::Master;
                }
            }
            What::Snapshot(host) => self.operate(host.into(), Request::Snapshot),
            // There is no process to stop and no port to call at: left out, and counted.
            What::Stop(_) | What::Strangers(_) => {
                self.tally.skipped += 1;
                return;
            }
            What::Switchover(host) => {
                let timeout = Duration::from_millis(self.plan.workload.timeout_ms);
                self.operate(host.into(), Request::Switchover { to: None, timeout });
            }
            What::Remove(host) => {
                return self.change_members(number, MemberChange::Remove { node: name_of(host) });
            }
            What::Priority(host, priority) => {
                let priority = Some(priority);
                return self.change_members(number, MemberChange::Priority { node: name_of(host), priority });
            }
            What::PauseElections => {
                let length = Duration::from_millis(self.plan.faults[number].for_ms);
                return self.strike(number, |world, host| world.operate(host, Request::Pause(length)));
            }
            What::Skew(host, versions) => self.reversion(host.into(), versions),
            What::Garble(host) => self.network.garble(host.into(), true),
        }
        self.took_effect(number);
    }

    fn took_effect(&mut self, number: usize) {
        self.tally.faults += 1;
        self.tally.coverage.began(&self.plan.faults[number].what);
    }

    /// A fault that hits whoever leads; without effect if nobody does.
    fn strike(&mut self, number: usize, hit: impl FnOnce(&mut Self, usize)) {
        if let Some(host) = (0..self.hosts.len()).find(|host| self.is_serving(*host)) {
            self.operator.masters_hit.insert(number, host);
            hit(self, host);
            self.took_effect(number);
        }
    }

    fn change_members(&mut self, number: usize, change: MemberChange) {
        self.strike(number, |world, host| world.operate(host, Request::Members(change)));
    }

    pub(super) fn fault_ends(&mut self, number: usize) {
        let what = self.plan.faults[number].what.clone();
        self.note(&[41, number as u64], || Step::FaultEnded { fault: number });
        match what {
            What::Kill(host) | What::PowerCut(host) | What::Wipe(host) | What::EditRole(host) => {
                self.release(host.into(), 0);
            }
            What::KillMaster => {
                if let Some(host) = self.operator.masters_hit.remove(&number) {
                    self.release(host, 0);
                }
            }
            What::CutMaster => {
                if let Some(host) = self.operator.masters_hit.remove(&number) {
                    self.for_each_way(&[host as u8], super::net::Network::unblock);
                    self.reopen();
                }
            }
            What::PowerCutAll => {
                for host in 0..self.hosts.len() {
                    let late_us = mix(&[self.plan.seed, number as u64, host as u64, 9]) % 400_000;
                    self.release(host, late_us);
                }
            }
            What::Partition(side) => {
                self.for_each_way(&side, super::net::Network::unblock);
                self.reopen();
            }
            What::OneWay(from, to) => {
                self.network.unblock(from.into(), to.into());
                self.reopen();
            }
            What::SlowNetwork(_) => self.network.slow_factor = 1,
            What::SlowDisk(host, _) => self.hosts[usize::from(host)].disk().set_slow(1),
            What::FullDisk(host) => self.hosts[usize::from(host)].disk().set_full(false),
            What::FailSync(host) => self.hosts[usize::from(host)].disk().fail_syncs(0),
            What::Skew(host, versions) => self.reversion(host.into(), -versions),
            What::Garble(host) => self.network.garble(host.into(), false),
            What::Pause(_)
            | What::Reset(_)
            | What::Rot(_)
            | What::Spoil(_)
            | What::WallJump(..)
            | What::Promote(..)
            | What::Snapshot(_)
            | What::Stop(_)
            | What::Strangers(_)
            | What::Switchover(_)
            | What::Remove(_)
            | What::Priority(..)
            | What::PauseElections => {}
        }
    }

    /// Another version of the program takes the place of this one.
    fn reversion(&mut self, host: usize, versions: i16) {
        self.end(host, false, "killed for another version");
        self.hosts[host].skew += versions;
        self.after(REVERSION_US, Event::Start { host });
    }

    fn for_each_way(&mut self, side: &[u8], change: impl Fn(&mut super::net::Network, usize, usize)) {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                if side.contains(&(from as u8)) != side.contains(&(to as u8)) {
                    change(&mut self.network, from, to);
                }
            }
        }
    }

    fn hold(&mut self, host: usize, power: bool) {
        self.hosts[host].held += 1;
        self.end(host, power, if power { "out of power" } else { "killed" });
    }

    fn release(&mut self, host: usize, late_us: u64) {
        self.hosts[host].held -= 1;
        self.after(late_us, Event::Start { host });
    }

    /// Something durable is no more what it was; the machine starts again and finds it so.
    fn damage(&mut self, host: usize, rot: bool) {
        self.end(host, true, "out of power, and its disk is damaged");
        {
            let mut disk = self.hosts[host].disk();
            if rot {
                disk.rot("")
            } else {
                disk.spoil("")
            };
        }
        // Damage that recovery can tell must be told, and then the disk is replaced. What cannot be told from a torn end
        // may be gone without a word.
        if self.oracles.platter(host).problem.is_none() {
            self.see(&Fact::DiskLost { node: host });
        }
        self.after(100_000, Event::Start { host });
    }

    /// Recovery refuses a disk. If the disk is to blame, the operator puts a new one in.
    pub(super) fn unrecoverable(&mut self, host: usize, why: &str) {
        self.note(&[42, host as u64], || Step::Told {
            node: host,
            loud: true,
            text: format!("recovery refuses the disk: {why}"),
        });
        if self.hosts[host].disk().counts().damages == 0 {
            let cause = format!("n{host}: recovery refuses a disk that only lost its power: {why}");
            let oracle = "INV-9 replay of what is on disk gives the state";
            let at = self.now;
            self.verdict = Some(Verdict::Safety(crate::oracle::Violation { oracle, at, cause }));
            return;
        }
        self.see(&Fact::Unrecoverable { node: host, why: why.to_owned() });
        self.new_disk(host);
        self.after(300_000, Event::Start { host });
    }

    /// An empty disk: the node will be a new one, and joins whoever leads.
    fn new_disk(&mut self, host: usize) {
        let leads = (0..self.hosts.len()).filter(|other| *other != host).find(|other| self.is_serving(*other));
        let other = leads.unwrap_or((host + 1) % self.hosts.len());
        let machine = &mut self.hosts[host];
        machine.disk().wipe();
        machine.disks += 1;
        machine.role = RoleHint::Replica;
        machine.master = other;
        self.see(&Fact::DiskLost { node: host });
    }

    fn status(&self, host: usize) -> Option<Status> {
        let process = self.hosts[host].process.as_ref()?;
        Some(process.node.status(process.time(self.now)))
    }

    /// Who votes on an entry, by the word of a master that held its lease before this turn. What it had committed before
    /// it needed one is nobody else's to hold; whoever can be elected afterwards has it.
    pub(super) fn voters(&self, host: usize, index: Index) -> Option<Vec<NodeId>> {
        self.hosts[host].process.as_ref().filter(|process| process.leased && index > process.applied_alone)?;
        let members = self.status(host)?.members;
        Some(members.iter().filter(|member| member.voter).map(|member| member.node).collect())
    }

    /// Whether a node's disk says that it belongs to a cluster. Nobody makes a master of a replica that is still
    /// empty: it would found a cluster of its own, as an empty master should.
    fn is_member(&self, host: usize) -> bool {
        let platter = self.oracles.platter(host);
        platter.node.as_ref().is_some_and(|node| node.hard_state.cluster.is_some())
    }

    fn is_serving(&self, host: usize) -> bool {
        self.status(host).is_some_and(|status| status.role == Role::Master && status.state == State::Serving)
    }

    /// Looks at everything; after the last fault, decides.
    pub(super) fn watch(&mut self) {
        self.after(WATCH_US, Event::Watch);
        self.drop_stalled();
        let calm_at = self.plan.calm_at_ms * 1000;
        if self.now < calm_at {
            return;
        }
        let stays = |host: &usize| !self.plan.is_broken(*host);
        let statuses: Vec<Option<Status>> = (0..self.hosts.len())
            .map(|host| Some(host).filter(stays).and_then(|host| self.status(host)))
            .collect();
        if let Some(master) = converged(self.plan, &statuses) {
            return self.settle(master, &statuses);
        }
        self.operator.probing_since = None;
        let excused = !self.plan.broken.is_empty() && !owe_service(&statuses);
        if excused && self.now > calm_at + EXCUSED_AFTER_US {
            self.tally.excused += 1;
            self.verdict = Some(Verdict::Good);
        } else if self.now > calm_at + self.plan.converge_within_ms * 1000 {
            self.verdict = Some(Verdict::Liveness { at: self.now, cause: self.standing() });
        } else {
            self.mend(&statuses);
        }
    }

    /// Carries out what the steward decides.
    fn mend(&mut self, statuses: &[Option<Status>]) {
        if let Some(Promote { node, force, restart }) = self.operator.steward.unled(self.plan, self.now, statuses)
        {
            if restart {
                self.end(node, false, "stopped by the operator");
                return self.after(100_000, Event::Start { host: node });
            }
            let promotion = Promotion { force, accept_data_loss: force, expect_last: None };
            self.operate(node, Request::Promote(promotion));
        }
        if let Some(Bury { master, dead }) = self.operator.steward.bereaved(self.plan, self.now, statuses) {
            self.operate(master, Request::Members(MemberChange::Remove { node: dead.to_string() }));
        }
        let Some(Repoint { master, others }) = self.operator.steward.forked(self.now, statuses) else { return };
        for host in others {
            self.end(host, false, "stopped by the operator");
            let machine = &mut self.hosts[host];
            (machine.role, machine.master) = (RoleHint::Replica, master);
            self.after(100_000, Event::Start { host });
        }
    }

    /// The last write, for everybody; once it is answered and everybody has it, the oracles have the last word.
    fn settle(&mut self, master: usize, statuses: &[Option<Status>]) {
        match (self.operator.probed, self.operator.probing_since) {
            (false, Some(since)) if self.now < since + 6_000_000 => {}
            (false, _) => {
                self.operator.probing_since = Some(self.now);
                let replicas = members_up(statuses) - 1;
                self.probe(master, replicas);
            }
            (true, _) => self.last_word(master, statuses),
        }
    }

    fn last_word(&mut self, master: usize, statuses: &[Option<Status>]) {
        let Some(process) = &self.hosts[master].process else { return };
        let view = process.node.view();
        let life = self.hosts[master].life;
        let reigns = view.history.reigns();
        self.see(&Fact::Converged { node: master, life, reigns, statuses });
        self.verdict = Some(match self.oracles.violation() {
            Some(violation) => Verdict::Safety(violation.clone()),
            None if self.tally.writes < ANSWERS_MIN && self.plan.faults.is_empty() => {
                Verdict::Vacuous { cause: format!("{} writes were answered", self.tally.writes) }
            }
            None => Verdict::Good,
        });
    }

    /// How the nodes stand, in one line.
    pub(super) fn standing(&self) -> String {
        let one = |host: usize| match self.status(host) {
            None => format!("n{host} is down"),
            Some(status) => format!(
                "n{host} {} {} epoch {} last {} applied {} promised-leader {:?}",
                status.role,
                status.state,
                status.epoch,
                status.positions.last,
                status.positions.applied,
                status.leader.map(|leader| leader.http)
            ),
        };
        (0..self.hosts.len()).map(one).collect::<Vec<_>>().join("; ")
    }
}

/// A node, as members are named.
fn name_of(host: u8) -> String {
    format!("n{host}")
}
