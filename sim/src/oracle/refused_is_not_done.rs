//! INV-8, seen from the other side: what a client was told is not done stands in no log. A write that may still take
//! effect must be told as such.

use std::collections::BTreeSet;

use bytes::Bytes;
use synap_core::command::{Command, Pair, ValueKind};
use synap_core::position::Index;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers the values that were refused. No two writes of a run have the same text, so a text tells the write.
#[derive(Debug, Default)]
pub(super) struct RefusedIsNotDone {
    refused: BTreeSet<Bytes>,
    compared: u64,
}

impl Oracle for RefusedIsNotDone {
    fn name(&self) -> &'static str {
        "INV-8 what was refused is not done"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Refused { command } => self.refused.extend(values(command)),
            Fact::Converged { node, history, statuses, .. } => {
                let Some(Some(status)) = statuses.get(*node) else { return Ok(()) };
                for entry in ground.log.chain(history.terms(), Index(1), status.positions.last.index) {
                    self.compared += 1;
                    let command = entry.command().map_err(|error| format!("{}: {error}", entry.position))?;
                    if values(&command).any(|value| self.refused.contains(&value)) {
                        return Err(format!("{} was told to its client as not done: {command:?}", entry.position));
                    }
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

fn values(command: &Command) -> impl Iterator<Item = Bytes> {
    let pairs: &[Pair] = match command.plain() {
        Command::Set { pair, .. } => std::slice::from_ref(pair),
        Command::Batch { pairs } => pairs,
        _ => &[],
    };
    // Numbers are drawn again and again.
    let tells = |pair: &&Pair| pair.value.kind == ValueKind::Bytes;
    pairs.iter().filter(tells).map(|pair| pair.value.bytes.clone())
}
