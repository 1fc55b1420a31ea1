//! INV-8: an answered write is never lost beyond its concern; one whose fate is open is there or not, never half;
//! nothing is there that nobody asked for; and every read saw the state that the log gives at its position.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use synap_core::command::{Command, Outcome, StartKind};
use synap_core::config::Concern;
use synap_core::history::Term;
use synap_core::message::{Hello, Message, Welcome};
use synap_core::position::{Epoch, Index, Position};
use synap_core::status::Status;
use synap_core::store::Store;
use synap_core::time::WallMs;

use super::quorum_durable::counts_votes;
use crate::oracle::{Fact, Ground, Oracle, says_durable};

/// No process has this number: they count from 1.
const NO_LIFE: u32 = 0;

/// Remembers what clients asked and were told, and settles it at the end.
#[derive(Debug)]
pub(super) struct ClientHistory {
    /// How often each command was asked for. Only looked up, never iterated.
    asked: HashMap<Command, u32>,
    writes: Vec<Write>,
    reads: BTreeMap<Index, Vec<Read>>,
    /// When each node's disk was lost for the last time.
    lost_at: Vec<Option<u64>>,
    /// The terms that led to each epoch, as its nodes tell each other.
    lines: BTreeMap<Epoch, Vec<Term>>,
    compared: u64,
}

/// An answered write.
#[derive(Debug)]
struct Write {
    node: usize,
    life: u32,
    asked_at: u64,
    answered_at: u64,
    position: Position,
    concern: Concern,
    outcome: Outcome,
    command: Command,
    /// How many voters there were, if a majority of them committed it.
    voters: Option<usize>,
}

/// An answered read.
#[derive(Debug)]
struct Read {
    node: usize,
    key: Bytes,
    value: Option<(Bytes, u64)>,
    epoch: Epoch,
    /// What log time can have been at the most; none where nobody can tell.
    log_time_most: Option<u64>,
}

/// What the run ended with.
struct End<'a> {
    node: usize,
    life: u32,
    terms: &'a [Term],
    status: &'a Status,
}

impl ClientHistory {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            asked: HashMap::new(),
            writes: Vec::new(),
            reads: BTreeMap::new(),
            lost_at: vec![None; nodes],
            lines: BTreeMap::new(),
            compared: 0,
        }
    }
}

impl Oracle for ClientHistory {
    fn name(&self) -> &'static str {
        "INV-8 an answered write is never lost beyond its concern"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Asked { command } => *self.asked.entry((*command).clone()).or_default() += 1,
            Fact::Written { node, life, command, asked_at, written, voters } => self.writes.push(Write {
                node: *node,
                life: *life,
                asked_at: *asked_at,
                answered_at: ground.at,
                position: written.position,
                concern: written.concern,
                outcome: written.outcome.clone(),
                command: (*command).clone(),
                voters: voters.as_ref().map(Vec::len),
            }),
            Fact::Read { node, applied, min: Some(min), .. } if applied.index < min.index => {
                return Err(format!("n{node} answers a read at {applied} that asked for {} at least", min.index));
            }
            Fact::Read { node, key, value, applied, linearizable_since, asked_at, .. } => {
                let by_entries = linearizable_since.is_some();
                let span = ground.times.span(ground.plan, *node, *asked_at, ground.at, by_entries);
                let log_time_most = if by_entries { Some(0) } else { span.by_words.map(|(_, most)| most) };
                let read = Read {
                    node: *node,
                    key: (*key).clone(),
                    value: value.clone(),
                    epoch: applied.epoch,
                    log_time_most,
                };
                self.reads.entry(applied.index).or_default().push(read);
            }
            Fact::DiskLost { node } => self.lost_at[*node] = Some(ground.at),
            Fact::DisksSwapped { one, other } => self.swapped(*one, *other),
            Fact::Sent { message: Message::Hello(Hello { standing, .. }), .. }
            | Fact::Sent { message: Message::Welcome(Welcome { standing, .. }), .. } => {
                self.learn_line(standing.history.terms());
            }
            Fact::Converged { node, life, history, statuses } => {
                let terms = history.terms();
                if let Some(Some(status)) = statuses.get(*node) {
                    let end = End { node: *node, life: *life, terms, status };
                    return self.settle(ground, &end);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl ClientHistory {
    fn settle(&mut self, ground: &Ground<'_>, end: &End<'_>) -> Result<(), String> {
        self.nothing_is_lost(ground, end)?;
        self.nothing_is_invented(ground, end)?;
        self.order_is_real(end)?;
        self.replay(ground, end)
    }

    fn nothing_is_lost(&mut self, ground: &Ground<'_>, end: &End<'_>) -> Result<(), String> {
        for write in &self.writes {
            self.compared += 1;
            if end.holds(write.position) {
                let entry = ground.log.get(write.position).and_then(|entry| entry.command().ok());
                if entry.is_some_and(|command| command != write.command) {
                    return Err(format!("another command stands at {} than was answered", write.position));
                }
            } else if !self.may_be_lost(ground, end, write) {
                return Err(format!(
                    "{} was answered as {:?} by n{} in life {}, and is neither in the log of n{} nor in a rollback file",
                    write.position, write.concern, write.node, write.life, end.node
                ));
            }
        }
        Ok(())
    }

    /// What a node answered goes with its disk. Its process was another one.
    fn swapped(&mut self, one: usize, other: usize) {
        self.lost_at.swap(one, other);
        for write in &mut self.writes {
            if write.node == one || write.node == other {
                write.node = if write.node == one { other } else { one };
                write.life = NO_LIFE;
            }
        }
    }

    fn learn_line(&mut self, terms: &[Term]) {
        if let Some(newest) = terms.last().filter(|newest| !self.lines.contains_key(&newest.epoch)) {
            self.lines.insert(newest.epoch, terms.to_vec());
        }
    }

    /// Whether the log that the run ended with knows a change of master that the log of this epoch did not, of a kind
    /// that explains a loss.
    fn superseded(&self, end: &End<'_>, epoch: Epoch, explains: impl Fn(&Term) -> bool) -> bool {
        let known = self.lines.get(&epoch).map_or(&[][..], Vec::as_slice);
        end.terms.iter().filter(|term| explains(term)).any(|term| !known.contains(term))
    }

    /// Whether this epoch rests on a mastership that was forced and is not in the log that the run ended with.
    fn was_forced(&self, end: &End<'_>, epoch: Epoch) -> bool {
        let known = self.lines.get(&epoch).map_or(&[][..], Vec::as_slice);
        known.iter().any(|term| term.kind == StartKind::Forced && !end.terms.contains(term))
    }

    fn may_be_lost(&self, ground: &Ground<'_>, end: &End<'_>, write: &Write) -> bool {
        // What a majority holds only force can lose; what one disk holds, any new master of an armed cluster.
        let promoted = self.superseded(end, write.position.epoch, |term| match term.kind {
            StartKind::Forced => true,
            StartKind::Promotion => write.voters.is_none(),
            StartKind::Election | StartKind::Switchover => !counts_votes(write.concern),
            StartKind::Restart => write.voters.is_some() && !counts_votes(write.concern),
            StartKind::Founding => false,
        });
        let promoted = promoted || self.was_forced(end, write.position.epoch);
        let process_died = (end.node, end.life) != (write.node, write.life);
        let disk_died = self.lost_at[write.node].is_some_and(|at| at >= write.answered_at);
        if !says_durable(write.concern) {
            return promoted || process_died;
        }
        // A master that keeps no log promises for as long as its process lives and leads, unless others were asked for.
        let alone = write.voters.is_none() && !matches!(write.concern, Concern::Replicas(_));
        if alone && (process_died || promoted) && !ground.plan.keeps_log(write.node) {
            return true;
        }
        // Hundreds of restarts later the node does not remember whose entry stands there; its disk may.
        let ends_with = ground.on_disk(end.node);
        if ends_with.forgot(write.position.index) || ends_with.holds(write.position) {
            return true;
        }
        // A majority can spare a minority's disks.
        let spares = |voters: usize| {
            counts_votes(write.concern) && ground.plan.disks_lost() <= voters.saturating_sub(1) / 2
        };
        if disk_died && !write.voters.is_some_and(spares) {
            return true;
        }
        // Force can leave two halves, of which one is given up with what it answered.
        if ground.plan.is_broken(write.node) && ground.plan.forces_promotion() {
            return true;
        }
        let on_disk = ground.on_disk(write.node);
        // Where the answerer's disk is gone, and its rollback file with it, one of the others that held the write has reported it.
        let others = || (0..ground.plan.nodes()).any(|node| ground.on_disk(node).reports(write.position));
        let reported = on_disk.reports(write.position) || disk_died && others();
        promoted && (reported || on_disk.holds(write.position))
    }

    /// No more entries of a command than it was asked for, over every log that ever was.
    fn nothing_is_invented(&mut self, ground: &Ground<'_>, end: &End<'_>) -> Result<(), String> {
        let mut found: HashMap<Command, u32> = HashMap::new();
        for entry in ground.log.chain(end.terms, Index(1), end.last()) {
            let command = entry.command().map_err(|error| format!("{}: {error}", entry.position))?;
            if !command.is_client() {
                continue;
            }
            self.compared += 1;
            let asked = self.asked.get(&command).copied().unwrap_or(0);
            let times = found.entry(command).or_default();
            *times += 1;
            if *times > asked {
                return Err(format!("the command at {} was asked for {asked} times only", entry.position));
            }
        }
        Ok(())
    }

    /// What was asked after another answer stands behind it.
    fn order_is_real(&mut self, end: &End<'_>) -> Result<(), String> {
        // A retry is answered with what the first of its kind did.
        let first = |write: &&Write| end.holds(write.position) && !is_retried(&write.command);
        let mut answered: Vec<&Write> = self.writes.iter().filter(first).collect();
        let mut asked = answered.clone();
        answered.sort_by_key(|write| write.answered_at);
        asked.sort_by_key(|write| write.asked_at);
        let mut before = answered.into_iter().peekable();
        let mut highest = Position::ZERO;
        for write in asked {
            while let Some(earlier) = before.next_if(|earlier| earlier.answered_at < write.asked_at) {
                highest = highest.max(earlier.position);
            }
            self.compared += 1;
            if write.position.index <= highest.index {
                return Err(format!("{} was asked for after {highest} was answered", write.position));
            }
        }
        Ok(())
    }

    /// The log from its first entry on gives what was answered, what was read, and the state that is served.
    fn replay(&mut self, ground: &Ground<'_>, end: &End<'_>) -> Result<(), String> {
        let told: BTreeMap<Position, &Write> = self.writes.iter().map(|write| (write.position, write)).collect();
        let mut store = Store::default();
        let mut reached = Index::ZERO;
        for entry in ground.log.chain(end.terms, Index(1), end.last()) {
            let command = entry.command().map_err(|error| format!("{}: {error}", entry.position))?;
            let applied = store.apply(entry.position.index, entry.at, &command);
            reached = entry.position.index;
            if let Some(write) = told.get(&entry.position).filter(|write| says_durable(write.concern)) {
                self.compared += 1;
                if !says(write, &applied.outcome) && !is_replayed(&write.outcome) {
                    return Err(format!(
                        "{} was answered with {:?}, the log gives {:?}",
                        entry.position, write.outcome, applied.outcome
                    ));
                }
            }
            let reads = self.reads.get(&reached).into_iter().flatten();
            for read in reads.filter(|read| read.epoch == entry.position.epoch) {
                self.compared += 1;
                let item = store.view().get(&read.key);
                // Fronts hide what has expired since the entry: log time goes on between two of them, as far as it can.
                let has_ended = |end: WallMs| read.log_time_most.is_none_or(|most| end.0 <= most);
                let ended = read.value.is_none()
                    && item.as_ref().and_then(|item| item.expires_at()).is_some_and(has_ended);
                let holds = item.map(|item| (Bytes::copy_from_slice(item.value()), item.version().0));
                if holds != read.value && !ended {
                    return Err(format!(
                        "n{} read {:?} at {}, the log gives {holds:?}",
                        read.node, read.value, entry.position
                    ));
                }
            }
        }
        let served = end.status.positions.applied.index;
        if reached >= served && reached == end.last() && store.hash() != end.status.hash {
            return Err(format!("n{} serves another state at {served} than the log gives", end.node));
        }
        Ok(())
    }
}

impl End<'_> {
    fn last(&self) -> Index {
        self.status.positions.last.index
    }

    fn holds(&self, position: Position) -> bool {
        let at = self.terms.partition_point(|term| term.start <= position.index);
        let epoch = at.checked_sub(1).and_then(|at| self.terms.get(at)).map(|term| term.epoch);
        epoch == Some(position.epoch) && position.index <= self.last()
    }
}

/// Whether a client was told this outcome. At `local` a plain set is answered before it is applied, without the old value.
fn says(write: &Write, outcome: &Outcome) -> bool {
    match (&write.outcome, outcome) {
        (Outcome::Set { written, version, old: None }, Outcome::Set { written: done, version: of, .. })
            if write.concern == Concern::Local =>
        {
            (written, version) == (done, of)
        }
        (told, is) => told == is,
    }
}

fn is_retried(command: &Command) -> bool {
    matches!(command, Command::Once { .. })
}

/// Whether a retry was told what the first did: as much of it as is kept.
fn is_replayed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Replayed { .. })
}
