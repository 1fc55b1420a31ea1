//! The end of a long trace, with what is needed to understand it: which processes live, how each node stood, and
//! which faults and operations are under way.

use std::collections::BTreeMap;

use crate::trace::{Record, Step};

/// The last `records_max` records, after those of the time before that still matter.
pub(super) fn last(trace: Vec<Record>, records_max: usize) -> Vec<Record> {
    let Some(from) = trace.len().checked_sub(records_max).filter(|from| *from > 0) else { return trace };
    let mut matters: BTreeMap<Key, usize> = BTreeMap::new();
    for (number, record) in trace[..from].iter().enumerate() {
        match key_of(&record.step) {
            Some((key, true)) => drop(matters.insert(key, number)),
            Some((key, false)) => drop(matters.remove(&key)),
            None => {}
        }
    }
    let mut numbers: Vec<usize> = matters.into_values().collect();
    numbers.sort_unstable();
    let before: Vec<Record> = numbers.into_iter().map(|number| trace[number].clone()).collect();
    before.into_iter().chain(trace.into_iter().skip(from)).collect()
}

/// What a record is the newest word about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Life(usize),
    PeerState(usize),
    Fault(usize),
    Op(usize),
}

/// What the step is about, and whether it begins (or replaces) that or ends it.
fn key_of(step: &Step) -> Option<(Key, bool)> {
    match step {
        Step::Started { node, .. } | Step::Ended { node, .. } => Some((Key::Life(*node), true)),
        Step::Stands { node, .. } => Some((Key::PeerState(*node), true)),
        Step::FaultBegan { fault, .. } => Some((Key::Fault(*fault), true)),
        Step::FaultEnded { fault } => Some((Key::Fault(*fault), false)),
        Step::Asked { op, .. } => Some((Key::Op(*op), true)),
        Step::Answered { op, .. } => Some((Key::Op(*op), false)),
        Step::Told { .. }
        | Step::Batch { .. }
        | Step::Disk { .. }
        | Step::Sent { .. }
        | Step::Heard { .. }
        | Step::Link { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_kept_from_before_the_cut() {
        let began = |fault| Step::FaultBegan { fault, nodes: vec![], text: String::new() };
        let steps = [began(0), began(1), Step::FaultEnded { fault: 0 }, began(2), began(3)];
        let trace: Vec<Record> = steps.into_iter().zip(1..).map(|(step, at)| Record { at, step }).collect();
        let times = |records: Vec<Record>| records.iter().map(|record| record.at).collect::<Vec<u64>>();
        assert_eq!(times(last(trace.clone(), 2)), [2, 4, 5]);
        assert_eq!(times(last(trace.clone(), 5)), [1, 2, 3, 4, 5]);
        assert_eq!(times(last(trace, 9)), [1, 2, 3, 4, 5]);
    }
}
