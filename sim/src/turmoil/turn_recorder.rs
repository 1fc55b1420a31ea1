//! The tap on a node's turns: what goes into the core and what comes out of it, as facts for the oracles, as lines of
//! the trace, and as a recording that the core alone lives again when the process has ended.

use std::net::IpAddr;
use std::sync::Arc;

use synap_core::config::Config;
use synap_core::event::{Event, Level};
use synap_core::ids::{LinkId, NodeId};
use synap_core::input::{Input, LinkChange, Request};
use synap_core::node::Node;
use synap_core::output::{LinkAction, Output, Reply};
use synap_core::position::{Full, Index, Position};
use synap_core::recovered::Recovered;
use synap_core::time::{Now, Time};
use synap_core::view::Proof;
use synap_core::wal::WriteBatch;
use synap_runtime::observe::{Waiting, Watch};

use super::observations::{Life, Observations};
use super::world::{World, now_us};
use crate::clock::Clock;
use crate::dice::mix;
use crate::oracle::{Fact, Kept, Truth, counts_votes};
use crate::recording::{Print, Recording};
use crate::run::Verdict;
use crate::trace::{Step, fingerprint};

/// Sees the turns of one life of a node.
#[derive(Debug)]
pub(super) struct TurnRecorder {
    world: Arc<World>,
    node: usize,
    life: u32,
    clock: Clock,
    recording: Option<Recording>,
    /// The time of the last turn, and how many turns it has had.
    spins: (Time, u32),
    /// Whether it held a lease after its last turn.
    leased: bool,
    /// Whether it was a master that needs none.
    alone: bool,
    /// What it committed as such a one, by its own disk alone.
    committed_alone: Index,
}

/// Turns that one instant may have. The clock of a simulation stands still while anybody has something to do: a node
/// that asks for turn after turn never lets it go on.
const SPINS_MAX: u32 = 2_000;

impl TurnRecorder {
    pub(super) fn new(world: Arc<World>, node: usize, life: u32, clock: Clock) -> Self {
        Self {
            world,
            node,
            life,
            clock,
            recording: None,
            spins: (Time(0), 0),
            leased: false,
            alone: false,
            committed_alone: Index::ZERO,
        }
    }

    fn heard(&self, observations: &mut Observations, at: u64, input: &Input) {
        let node = self.node;
        match input {
            Input::Message { link, message } => {
                observations.tally.coverage.arrived(message);
                observations.heard(at, node, *link, message);
                let from = observations.peer_of(node, *link);
                observations.see(&self.world.plan, at, &Fact::Heard { node, link: *link, from, message });
            }
            Input::Request { id, request: Request::Write { command, .. } } => {
                observations.see(&self.world.plan, at, &Fact::Asked { command });
                observations.nodes[node].writes.insert(*id, (command.clone(), at));
            }
            Input::Cancel(id) => {
                observations.nodes[node].writes.remove(id);
            }
            Input::Link { link, change } => self.link_changed(observations, at, *link, change),
            Input::Alarm
            | Input::Request { .. }
            | Input::Durable(_)
            | Input::GivenUp(_)
            | Input::DiskFree(_)
            | Input::DiskRoom(_)
            | Input::Unresolved(_)
            | Input::Shutdown => {}
        }
    }

    fn link_changed(&self, observations: &mut Observations, at: u64, link: LinkId, change: &LinkChange) {
        let node = self.node;
        observations.trace.note(at, &[7, node as u64, link.0, fingerprint(change)], || Step::Link {
            node,
            text: format!("{link} {change:?}"),
        });
        if let LinkChange::Up { peer_host, .. } = change {
            let named = || {
                let name = peer_host.parse().ok().and_then(|address: IpAddr| turmoil::reverse_lookup(address))?;
                self.world.node_at(&name)
            };
            if let Some(peer) = self.world.node_at(peer_host).or_else(named) {
                observations.leads_to(node, link, peer);
            }
        }
    }

    fn batch(&self, observations: &mut Observations, at: u64, lane: &'static str, batch: &WriteBatch) {
        let node = self.node;
        let parts = [4, node as u64, batch.lane() as u64, batch.id(), batch.last.index.0];
        observations.trace.note(at, &parts, || Step::Batch {
            node,
            lane,
            batch: batch.id(),
            text: format!("{} records up to {}", batch.records.len(), batch.last),
        });
    }

    fn happened(&self, observations: &mut Observations, at: u64, event: &Event) {
        let node = self.node;
        observations.trace.note(at, &[3, node as u64, fingerprint(event)], || Step::Told {
            node,
            loud: event.level() != Level::Info,
            text: event.to_string(),
        });
        match event {
            Event::State { to, .. } => observations.changes.push((node, *to)),
            Event::SnapshotInstalled { .. } => observations.tally.full_syncs += 1,
            Event::RolledBack { .. } => observations.tally.rollbacks += 1,
            _ => {}
        }
        observations.see(&self.world.plan, at, &Fact::Happened { node, event });
    }

    fn said(&self, observations: &mut Observations, at: u64, voters: Option<Vec<NodeId>>, output: &Output) {
        let (node, life) = (self.node, self.life);
        for (id, reply) in &output.replies {
            let asked = observations.nodes[node].writes.remove(id);
            match (reply, asked) {
                (Ok(Reply::Written(written)), Some((command, asked_at))) => {
                    let position = Full(written.position).to_string();
                    observations.nodes[node].written.entry(position).or_default().push(written.clone());
                    if counts_votes(written.concern) {
                        observations.served_at = at;
                    }
                    let voters = voters.clone().filter(|_| written.position.index > self.committed_alone);
                    let fact = Fact::Written { node, life, command: &command, asked_at, written, voters };
                    observations.see(&self.world.plan, at, &fact);
                }
                (Ok(Reply::Status(status)), _) => {
                    observations.told(at, node, status);
                    observations.see(
                        &self.world.plan,
                        at,
                        &Fact::Status { node, life, status, truth: &Truth::default() },
                    );
                }
                (Ok(_) | Err(_), _) => {}
            }
        }
    }

    /// Who votes, by the word of a master that held its lease before this turn; none if it answered no write.
    fn voters(&self, now: Now, node: &Node, output: &Output) -> Option<Vec<NodeId>> {
        let written = |(_, reply): &(_, Result<Reply, _>)| matches!(reply, Ok(Reply::Written(_)));
        if !self.leased || !output.replies.iter().any(written) {
            return None;
        }
        let members = node.status(now.mono).members;
        Some(members.iter().filter(|member| member.voter).map(|member| member.node).collect())
    }

    /// Tells until when a master leads by its lease, and once that it no longer does.
    fn tell_lease(&mut self, observations: &mut Observations, at: u64, node: &Node) {
        let view = node.outline();
        let until = match view.proof {
            Some(Proof::Lease { until, .. }) => Some(self.clock.instant(until)),
            Some(Proof::Master | Proof::At(_)) | None => None,
        };
        let alone = view.proof == Some(Proof::Master);
        // In the turn that arms the cluster, all that is committed was before.
        if std::mem::replace(&mut self.alone, alone) && until.is_some() {
            self.committed_alone = node.status(self.spins.0).positions.committed;
        }
        let told = std::mem::replace(&mut self.leased, until.is_some());
        if told || until.is_some() {
            let fact = Fact::Leads { node: self.node, epoch: view.applied.epoch, until };
            observations.see(&self.world.plan, at, &fact);
        }
    }

    fn count_spins(&mut self, now: Now, node: &Node, due: Option<Time>) {
        let (last, spins) = &mut self.spins;
        *spins = if *last == now.mono { *spins + 1 } else { 0 };
        *last = now.mono;
        let spins = *spins;
        assert!(
            spins < SPINS_MAX,
            "n{} asks for turn after turn at {}, the next by {due:?}: {:?}",
            self.node,
            now.mono,
            node.status(now.mono)
        );
    }

    /// A look at how the node stands: always where it matters at once, now and then otherwise.
    fn look(&self, observations: &mut Observations, at: u64, now: Now, node: &Node) {
        let view = node.outline();
        let position = Full(view.applied).to_string();
        // A master whose lease has run out must not say that it serves.
        let lease_is_over = matches!(view.proof, Some(Proof::Lease { until, .. }) if until <= now.mono);
        let seen = &mut observations.nodes[self.node];
        seen.applied.insert(position, view.applied);
        seen.outline = Some(view);
        let sampled = lease_is_over || mix(&[self.world.plan.seed, at, self.node as u64, 7]).is_multiple_of(4);
        let calm = at >= self.world.plan.calm_at_ms * 1000;
        if !sampled && !calm && !observations.trace.keeps() {
            return;
        }
        let status = node.status(now.mono);
        if observations.trace.keeps() {
            observations.stands(at, self.node, &status);
        }
        if sampled {
            observations.trace.cover(at, &[6, self.node as u64, status.positions.applied.index.0, status.hash.0]);
            let truth = Truth { after_turn: true, ..Truth::default() };
            let (me, life) = (self.node, self.life);
            observations.see(
                &self.world.plan,
                at,
                &Fact::Status { node: me, life, status: &status, truth: &truth },
            );
            let view = node.view();
            observations.see(
                &self.world.plan,
                at,
                &Fact::Applied { node: self.node, view: &view, status: &status },
            );
        }
        // Not whenever the trace wants it: whoever reads a trace must not change the run.
        if sampled || calm {
            observations.nodes[self.node].status = Some(status);
        }
    }
}

impl Watch for TurnRecorder {
    fn born(&mut self, config: &Config, recovered: &Recovered, seed: u64, now: Now) {
        self.recording = Some(Recording::new(config, recovered, seed, now));
        let at = now_us();
        let mut observations = self.world.observations();
        observations.starts(self.node);
        // What the front shows before the first turn.
        let applied = recovered.snapshot.as_ref().map_or(Position::ZERO, |(meta, _)| meta.position);
        observations.nodes[self.node].applied.insert(Full(applied).to_string(), applied);
        observations.trace.note(at, &[1, self.node as u64, u64::from(self.life)], || Step::Started {
            node: self.node,
            life: self.life,
            text: format!("{} entries after {}", recovered.entries.len(), recovered.base),
        });
        observations.see(&self.world.plan, at, &Fact::Started { node: self.node, life: self.life });
    }

    fn begins(&mut self, now: Now, inputs: &[Input]) {
        if let Some(recording) = &mut self.recording {
            recording.begins(now, inputs);
        }
        let at = now_us();
        let mut observations = self.world.observations();
        inputs.iter().for_each(|input| self.heard(&mut observations, at, input));
    }

    fn waits(&mut self, waiting: Waiting) {
        let at = now_us();
        let world = Arc::clone(&self.world);
        let mut observations = world.observations();
        let Waiting { outgoing, incoming, half } = waiting;
        for (kept, bytes) in [(Kept::Outgoing, outgoing), (Kept::Incoming, incoming), (Kept::Half, half)] {
            if bytes > 0 {
                observations.see(&world.plan, at, &Fact::Keeps { node: self.node, kept, bytes: bytes as u64 });
            }
        }
    }

    fn ends(&mut self, node: &Node, now: Now, output: &Output, due: Option<Time>) {
        let print = Print::of(output, due);
        if let Some(recording) = &mut self.recording {
            recording.ends(print);
        }
        let at = now_us();
        let world = Arc::clone(&self.world);
        let mut observations = world.observations();
        observations.tally.coverage.met(node.seen().bits());
        observations.trace.cover(at, &[8, self.node as u64, print.number()]);
        output.events.iter().for_each(|event| self.happened(&mut observations, at, event));
        if let Some(batch) = &output.write {
            observations.see(&self.world.plan, at, &Fact::Recorded { node: self.node, records: &batch.records });
            self.batch(&mut observations, at, "log", batch);
        }
        if let Some(batch) = &output.snapshot {
            self.batch(&mut observations, at, "snapshot", batch);
        }
        for action in &output.links {
            match action {
                LinkAction::Dial { link, address } => {
                    let (node, link, text) = (self.node, *link, format!("{link} dials {address}"));
                    observations.trace.note(at, &[10, node as u64, link.0], || Step::Link { node, text });
                    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                    if let Some(peer) = self.world.node_at(host) {
                        observations.leads_to(node, link, peer);
                    }
                }
                LinkAction::Close { link } => {
                    observations.see(&self.world.plan, at, &Fact::GaveUp { node: self.node, link: *link });
                    let (node, text) = (self.node, format!("{link} is closed"));
                    observations.trace.note(at, &[11, node as u64, link.0], || Step::Link { node, text });
                }
            }
        }
        for (link, message) in &output.sends {
            observations.sent(at, self.node, *link, message);
            observations.see(&self.world.plan, at, &Fact::Sent { node: self.node, life: self.life, message });
        }
        self.said(&mut observations, at, self.voters(now, node, output), output);
        self.tell_lease(&mut observations, at, node);
        self.look(&mut observations, at, now, node);
        drop(observations);
        self.count_spins(now, node, due);
    }
}

impl Drop for TurnRecorder {
    /// The life is over: the core alone must live it again, bit for bit. One that ended in a panic is merely kept.
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let replayed = if std::thread::panicking() { Ok(0) } else { recording.replay() };
        let mut observations = self.world.observations();
        match replayed {
            Ok(turns) => observations.tally.turns_replayed += turns as u64,
            Err(difference) => {
                let cause = format!("n{} in life {}, lived again: {difference}", self.node, self.life);
                observations.end(Verdict::Nondeterminism { cause });
            }
        }
        if observations.trace.keeps() {
            observations.lives.push(Life { node: self.node, life: self.life, recording });
        }
    }
}
