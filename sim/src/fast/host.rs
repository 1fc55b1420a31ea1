//! A host: a machine with a disk, and a process on it that lives and dies. Owns what a turn's output becomes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use synap_core::event::{Event as CoreEvent, Level};
use synap_core::ids::{LinkId, NodeId, RequestId};
use synap_core::input::{Input, LinkChange};
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::output::{LinkAction, Output};
use synap_core::position::{Epoch, Index, Named};
use synap_core::recovered::Recovered;
use synap_core::time::{Now, Time, WallMs};
use synap_core::view::Proof;
use synap_core::wal::{Draw, Journal, recover};

use super::disks::{Lane, LaneName};
use super::net::Wire;
use super::{Event, World};
use crate::clock::Clock;
use crate::dice::mix;
use crate::disk::{Handle, ModelDisk};
use crate::operator::{Setup, Site, state_changed, unrecoverable};
use crate::oracle::{Fact, Kept, Truth};
use crate::plan::Plan;
use crate::trace::{PeerState, Step, fingerprint};

/// A machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) disk: Arc<Mutex<ModelDisk>>,
    pub(super) process: Option<Process>,
    /// Starts of its process so far.
    pub(super) life: u32,
    pub(super) setup: Setup,
    /// Whether the machine has power.
    pub(super) powered: bool,
    pub(super) paused_until: u64,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) node: Node,
    /// The epoch that its disk had promised when it started.
    pub(super) promised_at_start: Epoch,
    pub(super) handle: Handle,
    pub(super) journal: Journal,
    pub(super) log: Lane,
    pub(super) snapshot: Lane,
    pub(super) spare: Lane,
    /// Lanes that wait for room.
    pub(super) full: u32,
    pub(super) links: BTreeMap<LinkId, Wire>,
    /// To whom each link has led, for the oracles.
    pub(super) peers: BTreeMap<LinkId, usize>,
    pub(super) accepted: u64,
    pub(super) requests: BTreeMap<RequestId, usize>,
    inbox: Vec<Input>,
    /// Bytes of data in it, by link.
    incoming: BTreeMap<LinkId, u64>,
    turn_at: Option<u64>,
    clock: Clock,
    /// Whether it held a lease when its last turn ended.
    pub(super) leased: bool,
    /// Whether it was a master that needs none.
    alone: bool,
    /// What it committed as such a one, by its own disk alone.
    committed_alone: Index,
    spins: u32,
    /// How much was free on its disk when it was told that last.
    pub(super) told_free: Option<u64>,
    /// How much of log had been written then.
    pub(super) looked_after: u64,
    /// How it stood when the trace last told; only where records are kept.
    shown: Option<PeerState>,
}

/// Of so many newest writes somebody asks what became of one.
const FATES_AMONG: u64 = 64;

/// Turns in a row that may ask for the next at once.
const SPINS_MAX: u32 = 10_000;

impl Host {
    pub(super) fn new(number: usize, disk: Arc<Mutex<ModelDisk>>, plan: &Plan) -> Self {
        Self { disk, process: None, life: 0, setup: Setup::new(plan, number), powered: true, paused_until: 0 }
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, ModelDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, now: u64, clock: Clock) -> Now {
        Now { mono: clock.local(now), wall: WallMs(self.setup.wall_ms(now)) }
    }
}

impl Process {
    pub(super) fn lane(&mut self, name: LaneName) -> &mut Lane {
        match name {
            LaneName::Log => &mut self.log,
            LaneName::Snapshot => &mut self.snapshot,
            LaneName::Spare => &mut self.spare,
        }
    }

    /// The node's time at this instant of the run.
    pub(super) fn time(&self, now: u64) -> Time {
        self.clock.local(now)
    }
}

impl World<'_> {
    /// Starts the process, if none runs and nothing holds it down.
    pub(super) fn start(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.process.is_some() || host.setup.held > 0 {
            return;
        }
        host.powered = true;
        host.life += 1;
        let mut config = self.plan.config(number, host.setup.role, host.setup.master);
        config.protocol = config.protocol.saturating_add_signed(host.setup.skew);
        let life = host.life;
        let clock = Clock::drawn(self.plan, number, life);
        let now = host.now(self.now, clock);
        let seed = mix(&[self.plan.seed, number as u64, u64::from(life), 5]);
        let draw = Draw { node: self.plan.node_id(number, host.setup.disks), seed };
        let (handle, recovery) = {
            let mut disk = host.disk();
            let handle = disk.attach();
            (handle, recover(self.plan.journal(number), &disk.list(), draw, |name| disk.read(name)))
        };
        let recovery = match recovery {
            Ok(recovery) => recovery,
            Err(error) => return unrecoverable(self, number, &error.to_string()),
        };
        let repaired = {
            let mut disk = host.disk();
            recovery.repairs.iter().try_for_each(|op| disk.apply(handle, op))
        };
        let host = &mut self.hosts[number];
        if repaired.is_err() {
            // A full disk, most likely: again later.
            self.after(1_000_000, Event::Start { host: number });
            return;
        }
        let recovered = recovery.recovered.unwrap_or_else(|| Recovered::empty(draw.node, config.role));
        let promised_at_start = recovered.hard_state.promised;
        let node = Node::new(config, recovered, seed, now);
        host.process = Some(Process {
            node,
            promised_at_start,
            handle,
            journal: recovery.journal,
            log: Lane::default(),
            snapshot: Lane::default(),
            spare: Lane::default(),
            full: 0,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            accepted: 0,
            requests: BTreeMap::new(),
            inbox: Vec::new(),
            incoming: BTreeMap::new(),
            turn_at: None,
            clock,
            leased: false,
            alone: false,
            committed_alone: Index::ZERO,
            spins: 0,
            told_free: None,
            looked_after: 0,
            shown: None,
        });
        self.tally.starts += 1;
        let notes = [recovery.notes, recovery.damage].concat();
        self.note(&[1, number as u64, u64::from(life)], || Step::Started {
            node: number,
            life,
            text: notes.join("; "),
        });
        self.see(&Fact::Started { node: number, life });
        self.spare(number);
        self.put(number, Input::Alarm);
        self.measure(number, life);
    }

    /// The process ends: killed, out of power, or by its own word.
    pub(super) fn end(&mut self, number: usize, power: bool, why: &str) {
        let host = &mut self.hosts[number];
        {
            let mut disk = host.disk();
            if power {
                disk.power_cut();
            } else {
                disk.detach();
            }
        }
        host.powered = !power;
        let Some(process) = host.process.take() else { return };
        self.note(&[2, number as u64, u64::from(power)], || Step::Ended {
            node: number,
            power,
            text: why.to_owned(),
        });
        for wire in process.links.values() {
            self.drop_queue(*wire);
            self.hang_up(*wire, power);
        }
        for op in process.requests.values() {
            self.unanswered(*op);
        }
        self.tally.coverage.met(process.node.seen().bits());
        self.see(&Fact::Ended { node: number, power });
        if !self.plan.keeps_log(number) {
            self.see(&Fact::DiskLost { node: number });
        }
    }

    /// Gives the process an input, and plans the turn that takes it.
    pub(super) fn put(&mut self, number: usize, input: Input) {
        self.count_incoming(number, &input);
        // A hash of when and where, so that what happens elsewhere does not reshuffle it.
        let wait = 1 + mix(&[self.plan.seed, self.now, number as u64, 6]) % 30;
        let at = (self.now + wait).max(self.hosts[number].paused_until);
        if let Some(process) = &mut self.hosts[number].process {
            process.inbox.push(input);
            self.plan_turn(number, at);
        }
    }

    /// INV-12: how much of one peer waits for the node, once it is worth a word.
    fn count_incoming(&mut self, number: usize, input: &Input) {
        let Input::Message { link, message } = input else { return };
        let Some(process) = &mut self.hosts[number].process else { return };
        let bytes = process.incoming.entry(*link).or_default();
        *bytes += message.bulk_bytes() as u64;
        let bytes = *bytes;
        if bytes > 0 {
            self.see(&Fact::Keeps { node: number, kept: Kept::Incoming, bytes });
        }
    }

    fn plan_turn(&mut self, number: usize, at: u64) {
        let host = &mut self.hosts[number];
        let life = host.life;
        let Some(process) = &mut host.process else { return };
        if process.turn_at.is_none_or(|planned| at < planned) {
            process.turn_at = Some(at);
            self.at(at, Event::Turn { host: number, life });
        }
    }

    pub(super) fn turn(&mut self, number: usize, life: u32) {
        let now = self.now;
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let paused_until = host.paused_until;
        let Some(process) = &mut host.process else { return };
        if process.turn_at != Some(now) {
            return;
        }
        process.turn_at = None;
        if paused_until > now {
            return self.plan_turn(number, paused_until);
        }
        let inputs = std::mem::take(&mut process.inbox);
        process.incoming.clear();
        let clock = process.clock;
        for input in &inputs {
            if let Input::Message { link, message } = input {
                self.tally.coverage.arrived(message);
                let from = process.peers.get(link).copied();
                self.oracles.see(self.plan, now, &Fact::Heard { node: number, link: *link, from, message });
            }
        }
        let local = self.hosts[number].now(now, clock);
        let Some(process) = &mut self.hosts[number].process else { return };
        let mut out = Output::default();
        let deadline = process.node.turn(local, inputs, &mut out);
        process.node.check();
        self.route(number, life, out);
        self.tell_lease(number);
        self.tell_status(number, life);
        self.plan_deadline(number, deadline, clock);
    }

    fn plan_deadline(&mut self, number: usize, deadline: Option<Time>, clock: Clock) {
        let Some(deadline) = deadline else { return };
        let at = clock.instant(deadline).max(self.now + 1);
        let spins = at == self.now + 1;
        let Some(process) = &mut self.hosts[number].process else { return };
        process.spins = if spins { process.spins + 1 } else { 0 };
        assert!(process.spins < SPINS_MAX, "n{number} asks for turn after turn without end");
        self.plan_turn(number, at);
    }

    fn route(&mut self, number: usize, life: u32, out: Output) {
        for event in &out.events {
            self.note(&[3, number as u64, fingerprint(event)], || Step::Told {
                node: number,
                loud: event.level() != Level::Info,
                text: event.to_string(),
            });
            match event {
                CoreEvent::State { to, .. } => state_changed(self, number, *to),
                CoreEvent::SnapshotInstalled { .. } => self.tally.full_syncs += 1,
                CoreEvent::RolledBack { .. } => self.tally.rollbacks += 1,
                _ => {}
            }
            self.see(&Fact::Happened { node: number, event });
        }
        if let Some(batch) = out.write {
            self.see(&Fact::Recorded { node: number, records: &batch.records });
            self.note(&[4, number as u64, batch.id(), batch.last.index.0], || Step::Batch {
                node: number,
                lane: LaneName::Log.word(),
                batch: batch.id(),
                text: format!("{} records up to {}", batch.records.len(), batch.last),
            });
            self.queue(number, LaneName::Log, batch);
        }
        if let Some(batch) = out.snapshot {
            self.note(&[5, number as u64, batch.id()], || Step::Batch {
                node: number,
                lane: LaneName::Snapshot.word(),
                batch: batch.id(),
                text: String::new(),
            });
            self.queue(number, LaneName::Snapshot, batch);
        }
        // What is sent on a link that ends goes out before its end.
        for (link, message) in out.sends {
            self.send(number, life, link, message);
        }
        for action in out.links {
            match action {
                LinkAction::Dial { link, address } => self.dial(number, link, &address),
                LinkAction::Close { link } => {
                    self.see(&Fact::GaveUp { node: number, link });
                    self.close_link(number, link);
                }
            }
        }
        for (id, reply) in out.replies {
            self.replied(number, life, id, reply);
        }
    }

    fn send(&mut self, number: usize, life: u32, link: LinkId, message: Message) {
        self.see(&Fact::Sent { node: number, life, message: &message });
        let Some(process) = &self.hosts[number].process else { return };
        let Some(wire) = process.links.get(&link).copied() else { return };
        self.send_on(wire, message);
    }

    /// Who votes on an entry, by the word of a master that held its lease before this turn. What it had committed before
    /// it needed one is nobody else's to hold; whoever can be elected afterwards has it.
    pub(super) fn voters(&self, host: usize, index: Index) -> Option<Vec<NodeId>> {
        self.hosts[host].process.as_ref().filter(|process| process.leased && index > process.committed_alone)?;
        let members = Site::status(self, host)?.members;
        Some(members.iter().filter(|member| member.voter).map(|member| member.node).collect())
    }

    /// Tells until when a master leads by its lease, and once that it no longer does.
    fn tell_lease(&mut self, number: usize) {
        if !self.plan.knobs.automatic {
            return;
        }
        let Some(process) = &mut self.hosts[number].process else { return };
        let view = process.node.outline();
        let until = match view.proof {
            Some(Proof::Lease { until, .. }) => Some(process.clock.instant(until)),
            Some(Proof::Master | Proof::At(_)) | None => None,
        };
        let alone = view.proof == Some(Proof::Master);
        // In the turn that arms the cluster, all that is committed was before.
        if std::mem::replace(&mut process.alone, alone) && until.is_some() {
            process.committed_alone = process.node.status(process.time(self.now)).positions.committed;
        }
        let told = std::mem::replace(&mut process.leased, until.is_some());
        if told || until.is_some() {
            let epoch = view.applied.epoch;
            self.see(&Fact::Leads { node: number, epoch, until });
        }
    }

    fn tell_status(&mut self, number: usize, life: u32) {
        self.show_standing(number);
        if !mix(&[self.plan.seed, self.now, number as u64, 7]).is_multiple_of(4) {
            return;
        }
        let Some(process) = &self.hosts[number].process else { return };
        let status = process.node.status(process.time(self.now));
        let view = process.node.view();
        self.trace.cover(self.now, &[6, number as u64, status.positions.applied.index.0, status.hash.0]);
        let stands = |(link, wire): (&LinkId, &Wire)| match wire {
            Wire::Up { .. } => process.peers.get(link).copied(),
            Wire::Dialling => None,
        };
        let linked = Some(process.links.iter().filter_map(stands).collect());
        let wall_ms = Some(self.hosts[number].setup.wall_ms(self.now));
        let truth = Truth { after_turn: true, linked, wall_ms };
        self.see(&Fact::Status { node: number, life, status: &status, truth: &truth });
        self.see(&Fact::Applied { node: number, view: &view, status: &status });
        self.tell_fate(number);
    }

    /// Somebody asks what became of a write, one of the newest as a rule.
    fn tell_fate(&mut self, number: usize) {
        let Some(process) = &self.hosts[number].process else { return };
        let back = mix(&[self.plan.seed, self.now, number as u64, 14]) % FATES_AMONG;
        let Some(position) = self.clients.answered.iter().rev().nth(back as usize).copied() else { return };
        let fate = process.node.fate(&Named::exactly(position));
        self.see(&Fact::Fate { node: number, position, fate });
    }

    /// For whoever reads the trace: each change of how a node stands.
    fn show_standing(&mut self, number: usize) {
        // The trace ends with the event that an oracle objects to.
        if !self.trace.keeps() || self.oracles.violation().is_some() {
            return;
        }
        let now = self.now;
        let Some(process) = &mut self.hosts[number].process else { return };
        let standing = PeerState::of(&process.node.status(process.time(now)));
        if process.shown.as_ref() != Some(&standing) {
            process.shown = Some(standing.clone());
            self.trace.show(now, || Step::Stands { node: number, standing });
        }
    }

    /// A link's state changed, as the process's driver tells it.
    pub(super) fn link_changes(&mut self, number: usize, link: LinkId, change: LinkChange) {
        self.note(&[7, number as u64, link.0, fingerprint(&change)], || Step::Link {
            node: number,
            text: format!("{link} {change:?}"),
        });
        self.put(number, Input::Link { link, change });
    }
}
