//! INV-9: the same applied position is the same state on every node, and replaying the log gives the live state.

use std::collections::BTreeMap;

use synap_core::position::{Index, Position};
use synap_core::store::{StateHash, Store};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers the hash at each position that was ever told.
#[derive(Debug, Default)]
pub(super) struct SameState {
    hashes: BTreeMap<Position, (usize, StateHash, u64)>,
    compared: u64,
}

impl Oracle for SameState {
    fn name(&self) -> &'static str {
        "INV-9 equal applied position, equal state"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Status { node, status, .. } => {
                let at = status.positions.applied;
                let told = (*node, status.hash, status.keys);
                let known = *self.hashes.entry(at).or_insert(told);
                self.compared += u64::from(known.0 != *node);
                if (known.1, known.2) == (told.1, told.2) {
                    return Ok(());
                }
                Err(format!("n{} and n{node} differ at {at}: {known:?}, {told:?}", known.0))
            }
            Fact::Converged { node, statuses, .. } => {
                let Some(Some(status)) = statuses.get(*node) else { return Ok(()) };
                self.replay(ground, *node, status.positions.applied, status.hash)
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl SameState {
    /// The whole log, from the first entry on, must give the state that the master serves; and so must its disk.
    fn replay(&mut self, ground: &Ground<'_>, node: usize, upto: Position, hash: StateHash) -> Result<(), String> {
        let on_disk = ground.on_disk(node);
        let Some(recovered) = on_disk.node.as_ref().filter(|_| ground.plan.keeps_log(node)) else { return Ok(()) };
        let (mut store, from) = match &recovered.snapshot {
            Some((meta, store)) => (store.clone(), meta.position.index.next()),
            None => (Store::default(), Index(1)),
        };
        for entry in recovered.entries.iter().filter(|entry| entry.position.index >= from) {
            if entry.position.index > upto.index {
                break;
            }
            let command = entry.command().map_err(|error| format!("n{node}: {}: {error}", entry.position))?;
            store.apply(entry.position.index, entry.at, &command);
        }
        self.compared += 1;
        if store.hash() == hash {
            return Ok(());
        }
        Err(format!("n{node} serves another state at {upto} than its disk gives"))
    }
}
