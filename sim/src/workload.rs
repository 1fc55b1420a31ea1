//! What clients think of asking, drawn from the plan. Knows nothing of how a request travels or who answers it:
//! every level draws from here.

use bytes::Bytes;
use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::output::{Refusal, Reply};

use crate::dice::Dice;
use crate::plan::{Ask, PAD, Plan, ZERO, concern_of};
use crate::trace::Answer;

/// Thinks of one client's questions.
#[derive(Debug)]
pub(crate) struct Mind {
    pub(crate) dice: Dice,
    sets: u64,
}

impl Mind {
    /// The mind of client `number`.
    pub(crate) fn new(plan: &Plan, number: usize) -> Self {
        Self { dice: Dice::named(plan.seed, &format!("client {number}")), sets: 0 }
    }

    /// Its next question.
    pub(crate) fn draw(&mut self, number: usize, plan: &Plan) -> Ask {
        let workload = &plan.workload;
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

    fn key(&mut self, plan: &Plan) -> Bytes {
        Bytes::from(format!("k{}", self.dice.below(plan.workload.keys)))
    }

    fn counter(&mut self) -> Bytes {
        Bytes::from(format!("n{}", self.dice.below(3)))
    }

    /// No two values are the same, so that a value tells which write it came from.
    fn value(&mut self, number: usize, plan: &Plan) -> Vec<u8> {
        self.sets += 1;
        let mut value = format!("c{number}.{}", self.sets).into_bytes();
        let length = self.dice.below(plan.workload.value_bytes_max) as usize;
        value.resize(value.len().max(length), if plan.workload.zeros { ZERO } else { PAD });
        value
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
        Err(refusal @ Refusal::Pending { .. }) => (Answer::Unknown, refusal.to_string()),
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
