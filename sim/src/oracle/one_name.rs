//! INV-16, the second half: one position, one entry. What a client was told names the entry that it wrote for ever: no other write is told the same,
//! and a read that demands it sees a state that holds that very entry.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use synap_core::position::{Epoch, Full, Named, Position};
use synap_core::wal::Record;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers from where each epoch goes on, and what every position was told for.
#[derive(Debug, Default)]
pub(super) struct OneName {
    /// Where each node's log ends, as it handed records to its disk.
    last: BTreeMap<usize, Position>,
    /// The position before the first entry of an epoch; none where that was never seen.
    before: BTreeMap<Epoch, Position>,
    told: BTreeMap<String, Position>,
    compared: u64,
}

impl OneName {
    fn recorded(&mut self, node: usize, record: Record) {
        let at = match record {
            Record::Entry(entry) => entry.position,
            Record::Truncate(position) | Record::SnapshotMark(position) => {
                self.last.insert(node, position);
                return;
            }
            _ => return,
        };
        if let Some(last) = self.last.insert(node, at)
            && last.epoch != at.epoch
            && last.index.next() == at.index
        {
            self.before.entry(at.epoch).or_insert(last);
        }
    }

    /// Whether a state that ends at `applied` holds the entry of this name, if that can be told.
    fn holds(&self, applied: Position, named: &Named) -> Option<bool> {
        let mut end = applied;
        loop {
            if named.compare(end.epoch)? == Ordering::Equal {
                return Some(named.index <= end.index);
            }
            let before = self.before.get(&end.epoch)?;
            if named.index > before.index {
                return Some(false);
            }
            end = *before;
        }
    }
}

impl Oracle for OneName {
    fn name(&self) -> &'static str {
        "INV-16 one position, one entry"
    }

    fn see(&mut self, _: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Recorded { node, records } => {
                let records = records.iter().filter_map(|record| Record::decode(&mut record.clone()).ok());
                records.for_each(|record| self.recorded(*node, record));
            }
            Fact::DiskLost { node } => drop(self.last.remove(node)),
            Fact::DisksSwapped { one, other } => {
                let (here, there) = (self.last.remove(one), self.last.remove(other));
                self.last.extend(there.map(|last| (*one, last)));
                self.last.extend(here.map(|last| (*other, last)));
            }
            Fact::Written { node, written, .. } => {
                self.compared += 1;
                let told = Full(written.position).to_string();
                let first = *self.told.entry(told.clone()).or_insert(written.position);
                if first != written.position {
                    return Err(format!("n{node} answers at {told}, which was told for another entry"));
                }
            }
            Fact::Read { node, applied, min: Some(min), .. } => {
                let holds = self.holds(*applied, min);
                self.compared += u64::from(holds.is_some());
                if holds == Some(false) {
                    return Err(format!(
                        "n{node} reads at {}, which lacks {min:?} that was demanded",
                        Full(*applied)
                    ));
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
