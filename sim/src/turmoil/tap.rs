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

use super::ledger::{Ledger, Life};
use super::stage::{Stage, now_us};
use crate::clock::Clock;
use crate::dice::mix;
use crate::oracle::{Fact, Kept, Truth, counts_votes};
use crate::recording::{Print, Recording};
use crate::run::Verdict;
use crate::trace::{Step, fingerprint};

/// Sees the turns of one life of a node.
#[derive(Debug)]
pub(super) struct Tap {
    stage: Arc<Stage>,
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

impl Tap {
    pub(super) fn new(stage: Arc<Stage>, node: usize, life: u32, clock: Clock) -> Self {
        Self {
            stage,
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

    fn heard(&self, ledger: &mut Ledger, at: u64, input: &Input) {
        let node = self.node;
        match input {
            Input::Message { link, message } => {
                ledger.tally.coverage.arrived(message);
                ledger.heard(at, node, *link, message);
                let from = ledger.peer_of(node, *link);
                ledger.see(&self.stage.plan, at, &Fact::Heard { node, link: *link, from, message });
            }
            Input::Request { id, request: Request::Write { command, .. } } => {
                ledger.see(&self.stage.plan, at, &Fact::Asked { command });
                ledger.nodes[node].writes.insert(*id, (command.clone(), at));
            }
            Input::Cancel(id) => {
                ledger.nodes[node].writes.remove(id);
            }
            Input::Link { link, change } => self.link_changed(ledger, at, *link, change),
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

    fn link_changed(&self, ledger: &mut Ledger, at: u64, link: LinkId, change: &LinkChange) {
        let node = self.node;
        ledger.trace.note(at, &[7, node as u64, link.0, fingerprint(change)], || Step::Link {
            node,
            text: format!("{link} {change:?}"),
        });
        if let LinkChange::Up { peer_host, .. } = change {
            let named = || {
                let name = peer_host.parse().ok().and_then(|address: IpAddr| turmoil::reverse_lookup(address))?;
                self.stage.node_at(&name)
            };
            if let Some(peer) = self.stage.node_at(peer_host).or_else(named) {
                ledger.leads_to(node, link, peer);
            }
        }
    }

    fn batch(&self, ledger: &mut Ledger, at: u64, lane: &'static str, batch: &WriteBatch) {
        let node = self.node;
        let parts = [4, node as u64, batch.lane() as u64, batch.id(), batch.last.index.0];
        ledger.trace.note(at, &parts, || Step::Batch {
            node,
            lane,
            batch: batch.id(),
            text: format!("{} records up to {}", batch.records.len(), batch.last),
        });
    }

    fn happened(&self, ledger: &mut Ledger, at: u64, event: &Event) {
        let node = self.node;
        ledger.trace.note(at, &[3, node as u64, fingerprint(event)], || Step::Told {
            node,
            loud: event.level() != Level::Info,
            text: event.to_string(),
        });
        match event {
            Event::State { to, .. } => ledger.changes.push((node, *to)),
            Event::SnapshotInstalled { .. } => ledger.tally.full_syncs += 1,
            Event::RolledBack { .. } => ledger.tally.rollbacks += 1,
            _ => {}
        }
        ledger.see(&self.stage.plan, at, &Fact::Happened { node, event });
    }

    fn said(&self, ledger: &mut Ledger, at: u64, voters: Option<Vec<NodeId>>, output: &Output) {
        let (node, life) = (self.node, self.life);
        for (id, reply) in &output.replies {
            let asked = ledger.nodes[node].writes.remove(id);
            match (reply, asked) {
                (Ok(Reply::Written(written)), Some((command, asked_at))) => {
                    let position = Full(written.position).to_string();
                    ledger.nodes[node].written.entry(position).or_default().push(written.clone());
                    if counts_votes(written.concern) {
                        ledger.served_at = at;
                    }
                    let voters = voters.clone().filter(|_| written.position.index > self.committed_alone);
                    let fact = Fact::Written { node, life, command: &command, asked_at, written, voters };
                    ledger.see(&self.stage.plan, at, &fact);
                }
                (Ok(Reply::Status(status)), _) => {
                    ledger.told(at, node, status);
                    ledger.see(
                        &self.stage.plan,
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
    fn tell_lease(&mut self, ledger: &mut Ledger, at: u64, node: &Node) {
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
            ledger.see(&self.stage.plan, at, &fact);
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
    fn look(&self, ledger: &mut Ledger, at: u64, now: Now, node: &Node) {
        let view = node.outline();
        let position = Full(view.applied).to_string();
        // A master whose lease has run out must not say that it serves.
        let lease_is_over = matches!(view.proof, Some(Proof::Lease { until, .. }) if until <= now.mono);
        let seen = &mut ledger.nodes[self.node];
        seen.applied.insert(position, view.applied);
        seen.outline = Some(view);
        let sampled = lease_is_over || mix(&[self.stage.plan.seed, at, self.node as u64, 7]).is_multiple_of(4);
        let calm = at >= self.stage.plan.calm_at_ms * 1000;
        if !sampled && !calm && !ledger.trace.keeps() {
            return;
        }
        let status = node.status(now.mono);
        if ledger.trace.keeps() {
            ledger.stands(at, self.node, &status);
        }
        if sampled {
            ledger.trace.cover(at, &[6, self.node as u64, status.positions.applied.index.0, status.hash.0]);
            let truth = Truth { after_turn: true, ..Truth::default() };
            let (me, life) = (self.node, self.life);
            ledger.see(&self.stage.plan, at, &Fact::Status { node: me, life, status: &status, truth: &truth });
            let view = node.view();
            ledger.see(&self.stage.plan, at, &Fact::Applied { node: self.node, view: &view, status: &status });
        }
        // Not whenever the trace wants it: whoever reads a trace must not change the run.
        if sampled || calm {
            ledger.nodes[self.node].status = Some(status);
        }
    }
}

impl Watch for Tap {
    fn born(&mut self, config: &Config, recovered: &Recovered, seed: u64, now: Now) {
        self.recording = Some(Recording::new(config, recovered, seed, now));
        let at = now_us();
        let mut ledger = self.stage.ledger();
        ledger.starts(self.node);
        // What the front shows before the first turn.
        let applied = recovered.snapshot.as_ref().map_or(Position::ZERO, |(meta, _)| meta.position);
        ledger.nodes[self.node].applied.insert(Full(applied).to_string(), applied);
        ledger.trace.note(at, &[1, self.node as u64, u64::from(self.life)], || Step::Started {
            node: self.node,
            life: self.life,
            text: format!("{} entries after {}", recovered.entries.len(), recovered.base),
        });
        ledger.see(&self.stage.plan, at, &Fact::Started { node: self.node, life: self.life });
    }

    fn begins(&mut self, now: Now, inputs: &[Input]) {
        if let Some(recording) = &mut self.recording {
            recording.begins(now, inputs);
        }
        let at = now_us();
        let mut ledger = self.stage.ledger();
        inputs.iter().for_each(|input| self.heard(&mut ledger, at, input));
    }

    fn waits(&mut self, waiting: Waiting) {
        let at = now_us();
        let stage = Arc::clone(&self.stage);
        let mut ledger = stage.ledger();
        let Waiting { outgoing, incoming, half } = waiting;
        for (kept, bytes) in [(Kept::Outgoing, outgoing), (Kept::Incoming, incoming), (Kept::Half, half)] {
            if bytes > 0 {
                ledger.see(&stage.plan, at, &Fact::Keeps { node: self.node, kept, bytes: bytes as u64 });
            }
        }
    }

    fn ends(&mut self, node: &Node, now: Now, output: &Output, due: Option<Time>) {
        let print = Print::of(output, due);
        if let Some(recording) = &mut self.recording {
            recording.ends(print);
        }
        let at = now_us();
        let stage = Arc::clone(&self.stage);
        let mut ledger = stage.ledger();
        ledger.tally.coverage.met(node.seen().bits());
        ledger.trace.cover(at, &[8, self.node as u64, print.number()]);
        output.events.iter().for_each(|event| self.happened(&mut ledger, at, event));
        if let Some(batch) = &output.write {
            ledger.see(&self.stage.plan, at, &Fact::Recorded { node: self.node, records: &batch.records });
            self.batch(&mut ledger, at, "log", batch);
        }
        if let Some(batch) = &output.snapshot {
            self.batch(&mut ledger, at, "snapshot", batch);
        }
        for action in &output.links {
            match action {
                LinkAction::Dial { link, address } => {
                    let (node, link, text) = (self.node, *link, format!("{link} dials {address}"));
                    ledger.trace.note(at, &[10, node as u64, link.0], || Step::Link { node, text });
                    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                    if let Some(peer) = self.stage.node_at(host) {
                        ledger.leads_to(node, link, peer);
                    }
                }
                LinkAction::Close { link } => {
                    ledger.see(&self.stage.plan, at, &Fact::GaveUp { node: self.node, link: *link });
                    let (node, text) = (self.node, format!("{link} is closed"));
                    ledger.trace.note(at, &[11, node as u64, link.0], || Step::Link { node, text });
                }
            }
        }
        for (link, message) in &output.sends {
            ledger.sent(at, self.node, *link, message);
            ledger.see(&self.stage.plan, at, &Fact::Sent { node: self.node, life: self.life, message });
        }
        self.said(&mut ledger, at, self.voters(now, node, output), output);
        self.tell_lease(&mut ledger, at, node);
        self.look(&mut ledger, at, now, node);
        drop(ledger);
        self.count_spins(now, node, due);
    }
}

impl Drop for Tap {
    /// The life is over: the core alone must live it again, bit for bit. One that ended in a panic is merely kept.
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let replayed = if std::thread::panicking() { Ok(0) } else { recording.replay() };
        let mut ledger = self.stage.ledger();
        match replayed {
            Ok(turns) => ledger.tally.turns_replayed += turns as u64,
            Err(difference) => {
                let cause = format!("n{} in life {}, lived again: {difference}", self.node, self.life);
                ledger.end(Verdict::Nondeterminism { cause });
            }
        }
        if ledger.trace.keeps() {
            ledger.lives.push(Life { node: self.node, life: self.life, recording });
        }
    }
}
