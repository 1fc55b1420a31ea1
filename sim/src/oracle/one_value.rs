//! INV-16, the third part: one version, one value. A version of a key that a client was told, by whatever node and in whatever line of
//! history, names the same value for ever: `if_version` overwrites nothing that its client has not seen.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::{Command, Outcome};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers which value each version of a key was told for, and by whom first.
#[derive(Debug, Default)]
pub(super) struct OneValue {
    told: BTreeMap<(Bytes, u64), (Bytes, usize)>,
    compared: u64,
}

impl Oracle for OneValue {
    fn name(&self) -> &'static str {
        "INV-16 one version, one value"
    }

    fn see(&mut self, _: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Written { node, command, written, .. } => match (command.plain(), set_of(&written.outcome)) {
                (Command::Set { pair, .. }, Some(version)) => {
                    self.names(*node, &pair.key, version, &pair.value.bytes)
                }
                _ => Ok(()),
            },
            Fact::Read { node, key, value: Some((value, version)), .. } => self.names(*node, key, *version, value),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl OneValue {
    fn names(&mut self, node: usize, key: &Bytes, version: u64, value: &Bytes) -> Result<(), String> {
        self.compared += 1;
        let (first, by) = self.told.entry((key.clone(), version)).or_insert_with(|| (value.clone(), node));
        if first == value {
            return Ok(());
        }
        let text = |value: &Bytes| value.escape_ascii().to_string();
        Err(format!(
            "n{node} tells version {version} of {} for {}, which n{by} told for {}",
            text(key),
            text(value),
            text(first)
        ))
    }
}

/// The version of what a set wrote, now or when it was asked first.
fn set_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Set { written: true, version, .. } => Some(version.0),
        Outcome::Replayed { outcome, .. } => set_of(outcome),
        _ => None,
    }
}
