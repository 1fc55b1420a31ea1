//! Everything that is seen of a run: by the oracles, in the trace, in numbers. Owns what must be remembered to tell
//! one thing seen from another; moves nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use synap_core::command::Command;
use synap_core::ids::{LinkId, RequestId};
use synap_core::message::Message;
use synap_core::output::Written;
use synap_core::position::Position;
use synap_core::status::{State, Status};
use synap_core::view::Outline;

use crate::disk::ModelDisk;
use crate::oracle::{Fact, OnDisk, Oracles, Violation};
use crate::plan::Plan;
use crate::recording::Recording;
use crate::run::{Tally, Verdict};
use crate::trace::{PeerState, Step, Trace, is_foreign, kind_of, line_of, summary};

/// Everything that is seen of a run.
#[derive(Debug)]
pub(super) struct Observations {
    oracles: Oracles,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    /// The first thing that ends the run.
    pub(super) verdict: Option<Verdict>,
    pub(super) nodes: Vec<Coverage>,
    /// When a write was last answered that a majority holds.
    pub(super) served_at: u64,
    /// Nodes that came into another state since the last step.
    pub(super) changes: Vec<(usize, State)>,
    /// The last write was answered.
    pub(super) probed: bool,
    /// Every life that is over, where records are kept.
    pub(super) lives: Vec<Life>,
    ops: usize,
    messages: u64,
    /// Messages under way, by way and content: their numbers.
    under_way: BTreeMap<(usize, usize, u64), VecDeque<u64>>,
}

/// A life that is over.
#[derive(Debug)]
pub struct Life {
    /// Whose.
    pub node: usize,
    /// Which of its lives.
    pub life: u32,
    /// All of it.
    pub recording: Recording,
}

/// What is known of a node's present life.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Its newest word; none while no process runs.
    pub(super) status: Option<Status>,
    pub(super) outline: Option<Arc<Outline>>,
    /// Which node is at the other end of a link.
    peers: BTreeMap<LinkId, usize>,
    /// Writes that wait for their answer, with the time when they came.
    pub(super) writes: BTreeMap<RequestId, (Command, u64)>,
    /// What it answered, by the position as clients are told it.
    pub(super) written: BTreeMap<String, Vec<Written>>,
    /// Each state that its front may have shown, by the position as clients are told it.
    pub(super) applied: BTreeMap<String, Position>,
    /// What it last told of itself when asked, and when: newest last.
    told: VecDeque<(u64, Status)>,
    shown: Option<PeerState>,
}

/// The oracle of the wire: what comes off it is what was put on it, and what was damaged on the way does not come off it.
const HEARD_WAS_SAID: &str = "what is heard was said";

/// How many of a node's words about itself are remembered.
const TOLD_MAX: usize = 1_024;

impl Observations {
    pub(super) fn new(disks: Vec<Arc<Mutex<ModelDisk>>>, keeps_trace: bool) -> Self {
        Self {
            nodes: disks.iter().map(|_| Coverage::default()).collect(),
            oracles: Oracles::new(disks),
            trace: Trace::new(keeps_trace),
            tally: Tally::default(),
            verdict: None,
            served_at: 0,
            changes: Vec::new(),
            probed: false,
            lives: Vec::new(),
            ops: 0,
            messages: 0,
            under_way: BTreeMap::new(),
        }
    }

    /// Shows a fact to the oracles.
    pub(super) fn see(&mut self, plan: &Plan, at: u64, fact: &Fact<'_>) {
        self.oracles.see(plan, at, fact);
        if let Some(violation) = self.oracles.violation() {
            self.end(Verdict::Safety(violation.clone()));
        }
    }

    /// Ends the run with this, unless it has ended already.
    pub(super) fn end(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    /// Ends the run because of what was seen from outside.
    pub(super) fn violated(&mut self, oracle: &'static str, at: u64, cause: String) {
        self.end(Verdict::Safety(Violation { oracle, at, cause }));
    }

    /// What a node's disk holds.
    pub(super) fn on_disk(&self, node: usize) -> Arc<OnDisk> {
        self.oracles.on_disk(node)
    }

    pub(super) fn compared(&self) -> u64 {
        self.oracles.compared().map(|(_, count)| count).sum()
    }

    /// The number of a new operation.
    pub(super) fn operation(&mut self) -> usize {
        self.ops += 1;
        self.ops - 1
    }

    /// A process starts on a node.
    pub(super) fn starts(&mut self, node: usize) {
        // What its front said in an earlier life may still be on its way to a client.
        let Coverage { written, applied, told, .. } = std::mem::take(&mut self.nodes[node]);
        self.nodes[node] = Coverage { written, applied, told, ..Coverage::default() };
        self.tally.starts += 1;
    }

    /// The process of a node is gone.
    pub(super) fn ends(&mut self, node: usize) {
        let seen = &mut self.nodes[node];
        seen.status = None;
        seen.outline = None;
    }

    /// A link of a node leads to this other node.
    pub(super) fn leads_to(&mut self, node: usize, link: LinkId, peer: usize) {
        self.nodes[node].peers.insert(link, peer);
    }

    /// Which node is at the other end of a link.
    pub(super) fn peer_of(&self, node: usize, link: LinkId) -> Option<usize> {
        self.nodes[node].peers.get(&link).copied()
    }

    pub(super) fn sent(&mut self, at: u64, from: usize, link: LinkId, message: &Message) {
        let content = summary(message);
        let Some(to) = self.nodes[from].peers.get(&link).copied() else {
            return self.trace.cover(at, &[12, from as u64, link.0, content]);
        };
        self.messages += 1;
        let number = self.messages;
        self.under_way.entry((from, to, content)).or_default().push_back(number);
        self.trace.note(at, &[12, from as u64, to as u64, content], || Step::Sent {
            message: number,
            from,
            to,
            kind: kind_of(message),
            text: line_of(message),
        });
    }

    pub(super) fn heard(&mut self, at: u64, to: usize, link: LinkId, message: &Message) {
        let content = summary(message);
        self.trace.cover(at, &[13, to as u64, link.0, content]);
        let Some(from) = self.nodes[to].peers.get(&link).copied() else { return };
        let Some(number) = self.under_way.get_mut(&(from, to, content)).and_then(VecDeque::pop_front) else {
            if is_foreign(message) {
                return;
            }
            let cause = format!("n{to} hears of n{from} what that has not said: {}", line_of(message));
            return self.violated(HEARD_WAS_SAID, at, cause);
        };
        self.trace.show(at, || Step::Heard { message: number, from, to, kind: kind_of(message) });
    }

    /// A node told of itself when it was asked.
    pub(super) fn told(&mut self, at: u64, node: usize, status: &Status) {
        let told = &mut self.nodes[node].told;
        told.push_back((at, status.clone()));
        if told.len() > TOLD_MAX {
            told.pop_front();
        }
    }

    /// For whoever reads the trace: each change of how a node stands.
    pub(super) fn stands(&mut self, at: u64, node: usize, status: &Status) {
        let standing = PeerState::of(status);
        let seen = &mut self.nodes[node];
        if seen.shown.as_ref() != Some(&standing) {
            seen.shown = Some(standing.clone());
            self.trace.show(at, || Step::Stands { node, standing });
        }
    }
}

impl Coverage {
    /// A write that it answered, so many before the newest, as clients are told its position.
    pub(super) fn newest_written(&self, back: usize) -> Option<(String, Position)> {
        let mut written: Vec<_> =
            self.written.iter().filter_map(|(name, all)| Some((all.first()?.position, name))).collect();
        written.sort_unstable();
        written.into_iter().nth_back(back).map(|(position, name)| (name.clone(), position))
    }

    /// What the node said of itself since then.
    pub(super) fn said_since(&self, at: u64) -> impl Iterator<Item = &Status> {
        self.told.iter().filter(move |(said_at, _)| *said_at >= at).map(|(_, status)| status)
    }
}
