//! What clients think of asking, drawn from the plan. Knows nothing of how a request travels or who answers it:
//! every level draws from here.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::output::{Refusal, Reply};
use synap_core::version::Version;

use crate::dice::{Dice, mix};
use crate::model::Look;
use crate::plan::{Ask, Flood, PAD, Plan, ZERO, concern_of, once};
use crate::trace::Answer;

/// Thinks of one client's questions.
#[derive(Debug)]
pub(crate) struct Mind {
    pub(crate) dice: Dice,
    sets: u64,
    /// Draws the rarer questions, so that the others stay as they are.
    wide: Dice,
    /// The versions of keys that it was told of last.
    versions: BTreeMap<Bytes, u64>,
    /// What it has asked under keys, to ask it once more much later.
    tickets: Vec<Command>,
}

/// Requests under keys that a client remembers.
const TICKETS_MAX: usize = 32;

impl Mind {
    /// The mind of client `number`.
    pub(crate) fn new(plan: &Plan, number: usize) -> Self {
        Self {
            dice: Dice::named(plan.seed, &format!("client {number}")),
            sets: 0,
            wide: Dice::named(plan.seed, &format!("client {number}, wide")),
            versions: BTreeMap::new(),
            tickets: Vec::new(),
        }
    }

    /// It was told that the key has this version.
    pub(crate) fn saw(&mut self, key: &Bytes, version: u64) {
        self.versions.insert(key.clone(), version);
    }

    /// It asks for this; what stands under a key it may ask for again.
    pub(crate) fn asks(&mut self, command: &Command) {
        if matches!(command, Command::Once { .. }) && self.tickets.len() < TICKETS_MAX {
            self.tickets.push(command.clone());
        }
    }

    /// Its next question.
    pub(crate) fn draw(&mut self, number: usize, plan: &Plan) -> Ask {
        let workload = &plan.workload;
        if workload.wide_per_mille > 0 && self.wide.chance(workload.wide_per_mille) {
            return self.draw_wide(number, plan);
        }
        let key = self.key(plan);
        if number < usize::from(workload.readers) || self.dice.chance(workload.read_per_mille) {
            let age_ms = self.dice.chance(200).then(|| self.dice.between(10, 500));
            let own = self.dice.chance(300);
            return Ask::Read { key, age_ms, own };
        }
        let concern = concern_of(self.dice.pick(&workload.concerns).as_str()).unwrap_or(Concern::Quorum);
        Ask::Write { command: self.command(number, key, plan, concern), concern }
    }

    fn command(&mut self, number: usize, key: Bytes, plan: &Plan, concern: Concern) -> Command {
        let ttl_ms = self.dice.chance(plan.workload.ttl_per_mille).then(|| self.dice.between(1, 3_000));
        let value = self.value(number, plan);
        let kind = self.dice.below(10);
        if concern == Concern::Async {
            // Only what needs no result may be answered before it is committed.
            return if kind < 8 { set(&key, value, ttl_ms, Condition::Always) } else { Command::Delete { key } };
        }
        match kind {
            0..=3 => set(&key, value, ttl_ms, Condition::Always),
            4 => {
                let condition = *self.dice.pick(&[Condition::Absent, Condition::Present]);
                set(&key, value, ttl_ms, condition)
            }
            5 => Command::Delete { key },
            6 | 7 => Command::Incr { key: self.counter(), by: self.dice.between(1, 9) as i64 },
            8 => Command::Expire { key, ttl_ms: self.dice.between(1, 3_000) },
            _ => {
                let other = self.key(plan);
                let pair = |key| Pair { key, value: bytes_value(value.clone()), ttl_ms };
                Command::Batch { pairs: vec![pair(key), pair(other)] }
            }
        }
    }

    /// A question of the rarer kinds.
    fn draw_wide(&mut self, number: usize, plan: &Plan) -> Ask {
        if number < usize::from(plan.workload.readers) || self.wide.chance(plan.workload.read_per_mille) {
            return Ask::Look(self.look(plan));
        }
        let concern = concern_of(self.wide.pick(&plan.workload.concerns).as_str()).unwrap_or(Concern::Quorum);
        Ask::Write { command: self.wide_command(number, plan), concern }
    }

    fn look(&mut self, plan: &Plan) -> Look {
        let key = self.wide_key(plan);
        match self.wide.below(7) {
            0 => Look::Exists(key),
            1 | 2 => Look::Ttl(key),
            3 => Look::Mget(vec![key, self.wide_key(plan), self.wide_counter(), Bytes::from_static(b"nobody")]),
            4 => Look::Stats,
            _ => Look::Scan {
                prefix: Bytes::from_static(self.wide.pick::<&[u8]>(&[b"", b"w", b"k", b"k1", b"zz"])),
                after: if self.wide.chance(500) { Some(key) } else { None },
                limit: *self.wide.pick(&[1, 2, 3, 100]),
            },
        }
    }

    fn wide_command(&mut self, number: usize, plan: &Plan) -> Command {
        let key = self.wide_key(plan);
        let ttl_ms = if self.wide.chance(400) { Some(*self.wide.pick(LIVES_MS)) } else { None };
        match self.wide.below(16) {
            0 => set(&key, self.value(number, plan), ttl_ms, Condition::Always),
            1 => set(&key, self.value(number, plan), ttl_ms, Condition::Absent),
            2 => set(&key, self.value(number, plan), ttl_ms, Condition::Present),
            3..=5 => {
                let version = self.wide_version(&key);
                set(&key, self.value(number, plan), ttl_ms, Condition::Version(Version(version)))
            }
            6 | 7 => self.wide_number(ttl_ms),
            8 | 9 => {
                let by = *self.wide.pick(&[1, -1, -7, 0, 1_000_000, i64::MAX, i64::MIN, i64::MIN + 1]);
                Command::Incr { key: self.wide_counter(), by }
            }
            10 => {
                let key = if self.wide.chance(300) { self.wide_counter() } else { key };
                Command::Expire { key, ttl_ms: *self.wide.pick(&[0, 1, 20, 400, 3_000, 86_400_000]) }
            }
            11 => Command::Persist { key },
            12 | 13 => {
                let pairs = (0..self.wide.between(2, 6)).map(|_| {
                    let value = bytes_value(self.value(number, plan));
                    Pair { key: self.wide_key(plan), value, ttl_ms }
                });
                Command::Batch { pairs: pairs.collect() }
            }
            _ => self.once_more(&key).unwrap_or_else(|| {
                // What it was told last may be past, so that some go and some stay.
                let condition = Condition::Version(Version(self.versions.get(&key).copied().unwrap_or(0)));
                Command::If { condition, command: Box::new(Command::Delete { key }) }
            }),
        }
    }

    /// An old request again, or another one under its key.
    fn once_more(&mut self, key: &Bytes) -> Option<Command> {
        if self.tickets.is_empty() {
            return None;
        }
        let old = self.wide.pick(&self.tickets).clone();
        match &old {
            Command::Once { ticket, .. } if self.wide.chance(200) => {
                Some(once(&String::from_utf8_lossy(&ticket.key), Command::Delete { key: key.clone() }))
            }
            _ => Some(old),
        }
    }

    /// The version that the key has as far as is known, or one that is past, or that of an absent key.
    fn wide_version(&mut self, key: &Bytes) -> u64 {
        let known = self.versions.get(key).copied().unwrap_or(0);
        match self.wide.below(6) {
            0 => known.saturating_sub(1),
            1 => 0,
            _ => known,
        }
    }

    /// A counter is given a number, often one at a limit, or what is none.
    fn wide_number(&mut self, ttl_ms: Option<u64>) -> Command {
        let numbers =
            ["9223372036854775807", "-9223372036854775808", "0", "41", "-1", "1.5", "[1]", "9223372036854775808"];
        let bytes = Bytes::from_static(self.wide.pick(&numbers).as_bytes());
        let pair = Pair { key: self.wide_counter(), value: Value { kind: ValueKind::Json, bytes }, ttl_ms };
        Command::Set { pair, condition: Condition::Always }
    }

    /// Few keys, so that they meet each other; counters apart, whose value no write tells.
    fn wide_key(&mut self, plan: &Plan) -> Bytes {
        if self.wide.chance(700) {
            Bytes::from(format!("w{}", self.wide.below(5)))
        } else {
            Bytes::from(format!("k{}", self.wide.below(plan.workload.keys.min(20))))
        }
    }

    fn wide_counter(&mut self) -> Bytes {
        Bytes::from(format!("n{}", self.wide.below(4)))
    }

    fn key(&mut self, plan: &Plan) -> Bytes {
        Bytes::from(format!("k{}", self.dice.below(plan.workload.keys)))
    }

    fn counter(&mut self) -> Bytes {
        Bytes::from(format!("n{}", self.dice.below(3)))
    }

    /// No two texts are the same, so that a value tells which write it came from.
    fn value(&mut self, number: usize, plan: &Plan) -> Vec<u8> {
        self.sets += 1;
        let mut value = format!("c{number}.{}", self.sets).into_bytes();
        let length = self.dice.below(plan.workload.value_bytes_max) as usize;
        value.resize(value.len().max(length), if plan.workload.zeros { ZERO } else { PAD });
        value
    }
}

/// Times to live: a moment, a while, days.
const LIVES_MS: &[u64] = &[1, 5, 40, 300, 2_000, 60_000, 90_000_000];

/// Keys of a flood that are written over and over, pairs of one of its batches, and the length of their values.
const RUSH_KEYS: u64 = 64;
const RUSH_PAIRS: u64 = 16;
/// Keys of batches: so many that few of a flood's writes are under way on any one of them, for the search of an order.
const RUSH_BATCH_KEYS: u64 = 1_024;
const RUSH_BYTES: usize = 400;

/// The so manieth write of a flood.
pub(crate) fn rushing(plan: &Plan, flood: Flood, nth: u64) -> (Command, Concern) {
    let drawn = mix(&[plan.seed, nth, 14]);
    let value = format!("f{nth}").into_bytes();
    match flood {
        Flood::Async => {
            (set(format!("f{}", drawn % RUSH_KEYS).as_bytes(), value, None, Condition::Always), Concern::Async)
        }
        Flood::Ttl => {
            let ttl_ms = 1 + drawn % 2_000;
            (set(format!("t{nth}").as_bytes(), value, Some(ttl_ms), Condition::Always), Concern::Async)
        }
        Flood::Batches => {
            let pair = |at: u64| {
                let mut value = format!("f{nth}.{at}").into_bytes();
                value.resize(RUSH_BYTES, PAD);
                let key = Bytes::from(format!("b{}", (drawn + at) % RUSH_BATCH_KEYS));
                Pair { key, value: bytes_value(value), ttl_ms: None }
            };
            (Command::Batch { pairs: (0..RUSH_PAIRS).map(pair).collect() }, Concern::Quorum)
        }
    }
}

/// A set of bytes.
pub(crate) fn set(key: &[u8], value: Vec<u8>, ttl_ms: Option<u64>, condition: Condition) -> Command {
    let pair = Pair { key: Bytes::copy_from_slice(key), value: bytes_value(value), ttl_ms };
    Command::Set { pair, condition }
}

fn bytes_value(bytes: Vec<u8>) -> Value {
    Value { kind: ValueKind::Bytes, bytes: bytes.into() }
}

/// What a reply means to who asked, and its words.
pub(crate) fn said(reply: &Result<Reply, Refusal>) -> (Answer, String) {
    match reply {
        Ok(Reply::Written(written)) => {
            let text = format!("{} {:?} on {} disks", written.position, written.concern, written.durable_on);
            (Answer::Done, text)
        }
        Ok(Reply::Promoted(promoted)) => (Answer::Done, format!("{promoted:?}")),
        Ok(Reply::Snapshot(position)) => (Answer::Done, format!("snapshot at {position}")),
        Ok(Reply::Outcome(fate)) => (Answer::Done, format!("{fate:?}")),
        Ok(Reply::SwitchedOver(done)) => (Answer::Done, format!("{done:?}")),
        Ok(Reply::Configured(position)) => (Answer::Done, format!("configured at {position}")),
        Ok(Reply::Read(_) | Reply::Status(_)) => (Answer::Done, String::new()),
        Err(refusal @ (Refusal::Pending { .. } | Refusal::Undecided { .. })) => {
            (Answer::Unknown, refusal.to_string())
        }
        Err(refusal) => (Answer::Refused, refusal.to_string()),
    }
}

/// A value as it was read, with its version.
pub(crate) fn shown(value: Option<&(Bytes, u64)>) -> String {
    value.map_or("nothing".to_owned(), |(bytes, version)| {
        let text = String::from_utf8_lossy(bytes);
        format!("{} v{version}", text.trim_end_matches(['.', '\0']))
    })
}
