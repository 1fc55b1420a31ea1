//! One life of a node, recorded: all that fixes what it does, and a print of all that it did. A recorded life can be
//! lived again by the core alone, turn by turn, wherever it was recorded.

use std::collections::VecDeque;
use std::fmt;

use synap_core::config::Config;
use synap_core::ids::{LinkId, RequestId};
use synap_core::input::{Input, LinkChange, Request};
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::output::{Output, Reply};
use synap_core::recovered::Recovered;
use synap_core::time::{Now, Time};
use synap_core::wal::{FileWrite, Lane, WriteBatch};
use synap_core::wire;

use crate::dice::mix;
use crate::trace::{fingerprint, kind_of, line_of};
use crate::workload::said;

/// One life of a node.
#[derive(Clone, Debug)]
pub struct Recording {
    config: Config,
    recovered: Recovered,
    seed: u64,
    born: Now,
    turns: Vec<Turn>,
}

/// One turn of it.
#[derive(Clone, Debug)]
struct Turn {
    now: Now,
    inputs: Vec<Told>,
    /// None while it goes on, and for ever if it panicked.
    print: Option<Print>,
}

/// An input as it is kept: the receipt for a batch names it, since the receipt itself exists once only.
#[derive(Clone, Debug)]
enum Told {
    Alarm,
    Request(RequestId, Request),
    Cancel(RequestId),
    Message(LinkId, Message),
    Durable(Lane, u64),
    Link(LinkId, LinkChange),
    DiskRoom(bool),
    DiskFree(u64),
    GivenUp(u64),
    Unresolved(Vec<String>),
    Shutdown,
}

/// What a turn gave, field by field, as numbers that cover every bit of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Print {
    write: u64,
    snapshot: u64,
    sends: u64,
    links: u64,
    replies: u64,
    events: u64,
    due: u64,
}

/// The first turn that was not the same when a life was lived again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which turn, from 0.
    pub turn: usize,
    /// What the turn was told.
    pub inputs: String,
    /// The field that differs.
    pub field: &'static str,
    /// What the turn gives now.
    pub now: String,
}

impl Recording {
    /// A life that begins.
    pub fn new(config: &Config, recovered: &Recovered, seed: u64, born: Now) -> Self {
        Self { config: config.clone(), recovered: recovered.clone(), seed, born, turns: Vec::new() }
    }

    /// A turn begins with these inputs.
    pub fn begins(&mut self, now: Now, inputs: &[Input]) {
        self.turns.push(Turn { now, inputs: inputs.iter().map(Told::of).collect(), print: None });
    }

    /// The turn has ended with this output.
    pub fn ends(&mut self, print: Print) {
        if let Some(turn) = self.turns.last_mut() {
            turn.print = Some(print);
        }
    }

    /// Lives it again, up to a turn that did not end. Gives how many turns were the same, or the first that was not.
    pub fn replay(&self) -> Result<usize, Box<Difference>> {
        let mut node = Node::new(self.config.clone(), self.recovered.clone(), self.seed, self.born);
        let mut batches = Batches::default();
        for (number, turn) in self.turns.iter().enumerate() {
            let Some(was) = turn.print else { return Ok(number) };
            let inputs: Vec<Input> = turn.inputs.iter().filter_map(|told| told.again(&mut batches)).collect();
            let mut output = Output::default();
            let due = node.turn(turn.now, inputs, &mut output);
            let print = Print::of(&output, due);
            if print != was {
                return Err(Box::new(Difference {
                    turn: number,
                    inputs: format!("{:?}", turn.inputs),
                    field: print.differs_from(&was),
                    now: format!("{output:?}"),
                }));
            }
            batches.keep(output);
        }
        Ok(self.turns.len())
    }
}

impl Recording {
    /// Lives it again and tells each turn, in lines: what it is told and what it says. A turn that did not end when it
    /// was recorded is taken as well, and panics again.
    pub fn tell(&self, mut line: impl FnMut(String)) {
        let mut node = Node::new(self.config.clone(), self.recovered.clone(), self.seed, self.born);
        let mut batches = Batches::default();
        for (number, turn) in self.turns.iter().enumerate() {
            line(format!("turn {number} at {}", turn.now.mono));
            turn.inputs.iter().for_each(|told| line(format!("  < {told}")));
            let inputs: Vec<Input> = turn.inputs.iter().filter_map(|told| told.again(&mut batches)).collect();
            let mut output = Output::default();
            let due = node.turn(turn.now, inputs, &mut output);
            tell_output(&output, &mut line);
            let changed = turn.print.is_some_and(|print| print != Print::of(&output, due));
            let changed = if changed { ", not as it was" } else { "" };
            line(format!("  next by {}{changed}", due.map_or("nothing".to_owned(), |due| due.to_string())));
            batches.keep(output);
        }
    }
}

fn tell_output(output: &Output, line: &mut impl FnMut(String)) {
    let Output { write, snapshot, sends, links, replies, events } = output;
    for batch in write.iter().chain(snapshot) {
        line(format!(
            "  > {:?} batch #{}, {} records up to {}",
            batch.lane(),
            batch.id(),
            batch.records.len(),
            batch.last
        ));
    }
    sends.iter().for_each(|(link, message)| {
        line(format!("  > {link} {} {}", kind_of(message), line_of(message)));
    });
    links.iter().for_each(|action| line(format!("  > {action:?}")));
    replies.iter().for_each(|(id, reply)| line(format!("  > {id} {}", said(reply).1)));
    events.iter().for_each(|event| line(format!("  ! {event}")));
}

/// Batches that wait for their receipt.
#[derive(Debug, Default)]
struct Batches {
    log: VecDeque<WriteBatch>,
    snapshot: VecDeque<WriteBatch>,
}

impl Batches {
    fn keep(&mut self, output: Output) {
        self.log.extend(output.write);
        self.snapshot.extend(output.snapshot);
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<WriteBatch> {
        match lane {
            Lane::Log => &mut self.log,
            Lane::Snapshot => &mut self.snapshot,
        }
    }
}

impl Told {
    fn of(input: &Input) -> Self {
        match input {
            Input::Alarm => Self::Alarm,
            Input::Request { id, request } => Self::Request(*id, request.clone()),
            Input::Cancel(id) => Self::Cancel(*id),
            Input::Message { link, message } => Self::Message(*link, message.clone()),
            Input::Durable(receipt) => Self::Durable(receipt.lane(), receipt.id()),
            Input::Link { link, change } => Self::Link(*link, change.clone()),
            Input::DiskRoom(room) => Self::DiskRoom(*room),
            Input::DiskFree(free) => Self::DiskFree(*free),
            Input::GivenUp(receipt) => Self::GivenUp(receipt.id()),
            Input::Unresolved(unresolved) => Self::Unresolved(unresolved.clone()),
            Input::Shutdown => Self::Shutdown,
        }
    }

    /// The input again; none for a receipt whose batch was never handed over, which the print will show.
    fn again(&self, batches: &mut Batches) -> Option<Input> {
        Some(match self {
            Self::Alarm => Input::Alarm,
            Self::Request(id, request) => Input::Request { id: *id, request: request.clone() },
            Self::Cancel(id) => Input::Cancel(*id),
            Self::Message(link, message) => Input::Message { link: *link, message: message.clone() },
            Self::Durable(lane, id) => {
                let waiting = batches.lane(*lane);
                let at = waiting.iter().position(|batch| batch.id() == *id)?;
                Input::Durable(waiting.remove(at)?.durable())
            }
            Self::Link(link, change) => Input::Link { link: *link, change: change.clone() },
            Self::DiskRoom(room) => Input::DiskRoom(*room),
            Self::DiskFree(free) => Input::DiskFree(*free),
            Self::GivenUp(id) => {
                let at = batches.snapshot.iter().position(|batch| batch.id() == *id)?;
                Input::GivenUp(batches.snapshot.remove(at)?.given_up())
            }
            Self::Unresolved(unresolved) => Input::Unresolved(unresolved.clone()),
            Self::Shutdown => Input::Shutdown,
        })
    }
}

impl Print {
    /// The print of a turn's output.
    pub fn of(output: &Output, due: Option<Time>) -> Self {
        let sends = output.sends.iter().fold(0, |hash, (link, message)| {
            wire::encode(message).iter().fold(mix(&[hash, link.0]), |hash, part| mix_bytes(hash, part))
        });
        let replies = output.replies.iter().fold(0, |hash, (id, reply)| {
            let reply = match reply {
                Ok(Reply::Read(view)) => mix(&[view.applied.index.0, view.applied.epoch.number]),
                other => fingerprint(other),
            };
            mix(&[hash, id.0, reply])
        });
        Self {
            write: output.write.as_ref().map_or(0, batch),
            snapshot: output.snapshot.as_ref().map_or(0, batch),
            sends,
            links: some(&output.links),
            replies,
            events: some(&output.events),
            due: due.map_or(u64::MAX, |due| due.0),
        }
    }

    /// One number for all of it.
    pub fn number(&self) -> u64 {
        let Self { write, snapshot, sends, links, replies, events, due } = *self;
        mix(&[write, snapshot, sends, links, replies, events, due])
    }

    fn differs_from(&self, other: &Self) -> &'static str {
        let fields = [
            ("write", self.write, other.write),
            ("snapshot", self.snapshot, other.snapshot),
            ("sends", self.sends, other.sends),
            ("links", self.links, other.links),
            ("replies", self.replies, other.replies),
            ("events", self.events, other.events),
        ];
        fields.iter().find(|(_, one, other)| one != other).map_or("due", |(name, ..)| name)
    }
}

fn some<T: fmt::Debug>(things: &Vec<T>) -> u64 {
    if things.is_empty() { 0 } else { fingerprint(things) }
}

fn batch(batch: &WriteBatch) -> u64 {
    let head = mix_bytes(mix(&[1, batch.id(), batch.lane() as u64, batch.last.index.0]), &batch.head);
    let records = batch.records.iter().fold(head, |hash, record| mix_bytes(hash, record));
    let files = batch.files.iter().fold(records, |hash, file| match file {
        FileWrite::SnapshotChunk { position, number, bytes, own: _ } => {
            mix_bytes(mix(&[hash, position.index.0, u64::from(*number)]), bytes)
        }
        FileWrite::SnapshotDone { .. }
        | FileWrite::SnapshotAbandoned { .. }
        | FileWrite::Rollback { .. }
        | FileWrite::RollbackKeepFiles { .. } => mix(&[hash, fingerprint(file)]),
    });
    mix(&[
        files,
        batch.cut.map_or(0, |cut| cut.0 + 1),
        fingerprint(&batch.discards),
        u64::from(batch.short),
        batch.ahead_bytes_max,
    ])
}

fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(mix(&[hash, bytes.len() as u64]), |hash, word| mix(&[hash, word]))
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm => f.write_str("alarm"),
            Self::Request(id, request) => write!(f, "{id} {request:?}"),
            Self::Cancel(id) => write!(f, "{id} is waited for no more"),
            Self::Message(link, message) => write!(f, "{link} {} {}", kind_of(message), line_of(message)),
            Self::Durable(lane, id) => write!(f, "{lane:?} batch #{id} is durable"),
            Self::Link(link, change) => write!(f, "{link} {change:?}"),
            Self::DiskRoom(room) => write!(f, "the disk has {}", if *room { "room" } else { "no room" }),
            Self::DiskFree(free) => write!(f, "{free} bytes are free on the disk"),
            Self::GivenUp(id) => write!(f, "snapshot batch {id} was given up"),
            Self::Unresolved(unresolved) => write!(f, "names that stand for nothing: {unresolved:?}"),
            Self::Shutdown => f.write_str("shut down"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turn, inputs, field, now } = self;
        write!(f, "turn {turn} gives other {field}: told {inputs}, it gives {now}")
    }
}
