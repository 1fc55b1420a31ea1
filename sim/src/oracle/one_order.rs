//! INV-8, as a client sees it: some order of the operations, each at one instant between its call and its return, explains
//! what was answered at `quorum` and read with `linearizable`. Knows nothing of positions; the search is in
//! [`crate::linear`].
//!
//! What a client cannot rely on is left open: a write of a lesser concern or without an answer may have happened at any time
//! since it was asked, or never, and so may the end of a key that was given a time to live. Counters are left out: an open
//! increment has no value of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use synap_core::command::{Command, Outcome};

use super::quorum_durable::counts_votes;
use crate::linear::{Action, Operation, check};
use crate::oracle::{Fact, Ground, Oracle};

/// A key's value; none where it is absent.
type Value = Option<Bytes>;

/// Remembers what was asked and answered.
#[derive(Debug, Default)]
pub(super) struct OneOrder {
    /// When each command was asked for that has no answer yet. Emptied in the order of `asked`.
    open: HashMap<Command, Vec<u64>>,
    /// Every command in the order in which it was first asked for.
    asked: Vec<Command>,
    /// Requests under a key that were answered: whatever is asked under it again does nothing.
    done_once: BTreeSet<Bytes>,
    operations: Vec<(Bytes, Operation<Value>)>,
    compared: u64,
}

impl Oracle for OneOrder {
    fn name(&self) -> &'static str {
        "INV-8 one order explains every answer"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        // An operator's promotion, and a disk that is lost, may take back what one disk had committed.
        if !ground.plan.knobs.automatic || ground.plan.changes_master() {
            return Ok(());
        }
        match fact {
            Fact::Asked { command } => self.ask(command, ground.at),
            Fact::Written { command, asked_at, written, .. } if counts_votes(written.concern) => {
                self.answer(command, *asked_at, ground.at, &written.outcome);
            }
            Fact::Read { key, value, linearizable_since: Some(since), .. } => {
                let value = value.as_ref().map(|(bytes, _)| bytes.clone());
                self.done(key, *since, ground.at, Action::Read(value));
            }
            Fact::Converged { .. } => return self.settle(),
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl OneOrder {
    fn ask(&mut self, command: &Command, at: u64) {
        if matches!(command, Command::Once { ticket, .. } if self.done_once.contains(&ticket.key)) {
            return;
        }
        let times = self.open.entry(command.clone()).or_default();
        if times.is_empty() {
            self.asked.push(command.clone());
        }
        times.push(at);
    }

    /// A retry is one operation with its first try. Of others that are the same, the last one asked is taken for the one that
    /// was answered: those that stay open then allow for more.
    fn answer(&mut self, command: &Command, asked_at: u64, at: u64, outcome: &Outcome) {
        if let Command::Once { ticket, .. } = command
            && !self.done_once.insert(ticket.key.clone())
        {
            return;
        }
        let times = self.open.entry(command.clone()).or_default();
        let called_at = match command {
            Command::Once { .. } => times.drain(..).min().unwrap_or(asked_at).min(asked_at),
            _ => {
                times.pop();
                asked_at
            }
        };
        let plain = command.plain();
        if has_effect(outcome) {
            for (key, value) in effects(plain) {
                self.done(&key, called_at, at, Action::Write(value));
            }
        }
        for key in mortal(plain) {
            self.left_open(&key, called_at, None);
        }
    }

    fn done(&mut self, key: &Bytes, called_at: u64, at: u64, action: Action<Value>) {
        self.operations.push((key.clone(), Operation { called_at, returned_at: Some(at), action }));
    }

    fn left_open(&mut self, key: &Bytes, called_at: u64, value: Value) {
        let operation = Operation { called_at, returned_at: None, action: Action::Write(value) };
        self.operations.push((key.clone(), operation));
    }

    fn settle(&mut self) -> Result<(), String> {
        for command in std::mem::take(&mut self.asked) {
            for called_at in self.open.remove(&command).unwrap_or_default() {
                let plain = command.plain();
                for (key, value) in effects(plain) {
                    self.left_open(&key, called_at, value);
                }
                for key in mortal(plain) {
                    self.left_open(&key, called_at, None);
                }
            }
        }
        let operations = std::mem::take(&mut self.operations);
        self.compared += operations.len() as u64;
        check(operations.iter().cloned(), &None).map_err(|unexplained| told(&operations, &unexplained))
    }
}

/// The operation that no order explains, with its key.
fn told(operations: &[(Bytes, Operation<Value>)], at: &crate::linear::Unexplained<Bytes>) -> String {
    let of_key: BTreeMap<usize, &Operation<Value>> =
        operations.iter().filter(|(key, _)| *key == at.key).map(|(_, operation)| operation).enumerate().collect();
    let key = String::from_utf8_lossy(&at.key);
    format!("no order of the {} operations on {key} explains {:?}", of_key.len(), of_key.get(&at.operation))
}

/// The keys that a command writes, with their values after it. None of counters.
fn effects(command: &Command) -> Vec<(Bytes, Value)> {
    match command {
        Command::Set { pair, .. } => vec![(pair.key.clone(), Some(pair.value.bytes.clone()))],
        Command::Batch { pairs } => {
            // The last one wins where a key stands twice.
            let last: BTreeMap<&Bytes, &Bytes> = pairs.iter().map(|pair| (&pair.key, &pair.value.bytes)).collect();
            last.into_iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
        }
        Command::Delete { key } => vec![(key.clone(), None)],
        Command::Persist { .. }
        | Command::Incr { .. }
        | Command::Expire { .. }
        | Command::If { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_)
        | Command::Sweep { .. } => Vec::new(),
    }
}

/// The keys that may be gone by themselves after a command.
fn mortal(command: &Command) -> Vec<Bytes> {
    let pair_keys = |pairs: &[synap_core::command::Pair]| {
        pairs.iter().filter(|pair| pair.ttl_ms.is_some()).map(|pair| pair.key.clone()).collect()
    };
    match command {
        Command::Set { pair, .. } => pair_keys(std::slice::from_ref(pair)),
        Command::Batch { pairs } => pair_keys(pairs),
        Command::Expire { key, .. } => vec![key.clone()],
        Command::Delete { .. }
        | Command::Persist { .. }
        | Command::Incr { .. }
        | Command::If { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_)
        | Command::Sweep { .. } => Vec::new(),
    }
}

/// Whether an answered command did what it says.
fn has_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Set { written, .. } => *written,
        Outcome::Replayed { outcome, .. } => has_effect(outcome),
        Outcome::VersionMismatch { .. }
        | Outcome::NotAnInteger
        | Outcome::KeyReused { .. }
        | Outcome::Internal => false,
        Outcome::Deleted { .. } | Outcome::Number(_) | Outcome::Touched(_) | Outcome::Batch { .. } => true,
    }
}
