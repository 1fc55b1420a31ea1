//! INV-9: what says on a disk that its state must not lead is taken back only with the mark of the snapshot that heals it, in one
//! batch, or by an operator's force; no restart makes a state fit again.

use bytes::Bytes;
use synap_core::wal::{HardState, Record};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers which disks need a snapshot.
#[derive(Debug)]
pub(super) struct HealedFirst {
    needs: Vec<bool>,
    compared: u64,
}

impl HealedFirst {
    pub(super) fn new(nodes: usize) -> Self {
        Self { needs: vec![false; nodes], compared: 0 }
    }
}

impl Oracle for HealedFirst {
    fn name(&self) -> &'static str {
        "INV-9 a state that must not lead is healed first"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            // What was handed over and never written is forgotten.
            Fact::Started { node, .. } => {
                self.needs[*node] =
                    ground.on_disk(*node).node.as_ref().is_some_and(|node| node.hard_state.needs_snapshot);
                Ok(())
            }
            Fact::DiskLost { node } => {
                self.needs[*node] = false;
                Ok(())
            }
            Fact::DisksSwapped { one, other } => {
                self.needs.swap(*one, *other);
                Ok(())
            }
            Fact::Recorded { node, records } => self.recorded(*node, records),
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl HealedFirst {
    fn recorded(&mut self, node: usize, records: &[Bytes]) -> Result<(), String> {
        let healed = records.iter().any(|record| record.get(KIND_AT) == Some(&SNAPSHOT_MARK));
        for state in records.iter().filter_map(hard_state) {
            self.compared += 1;
            let opens = state.promised.leader == state.node;
            if self.needs[node] && !state.needs_snapshot && !healed && !opens {
                return Err(format!("n{node} needs a master's snapshot, and takes that back without one"));
            }
            self.needs[node] = state.needs_snapshot;
        }
        Ok(())
    }
}

/// Where a record says of which type it is, behind its length and checksum.
const KIND_AT: usize = 8;
const HARD_STATE: u8 = 1;
const SNAPSHOT_MARK: u8 = 4;

fn hard_state(record: &Bytes) -> Option<HardState> {
    match record.get(KIND_AT) {
        Some(&HARD_STATE) => match Record::decode(&mut record.clone()) {
            Ok(Record::HardState(state)) => Some(state),
            Ok(_) | Err(_) => None,
        },
        Some(_) | None => None,
    }
}
