//! Linearizability of client histories over keys: whether some order of the operations, each at one instant between
//! its call and its return, explains every answer. Owns the search; knows nothing of nodes, levels or clocks.
//!
//! Keys are independent, so each is checked alone. The search is the just-in-time one of Lowe ("Testing for
//! linearizability", 2017): only when an operation returns must it have been placed, after any of those that were under
//! way with it. A write whose outcome is unknown stays open for ever; it is placed only right before a read that needs
//! it, since one that nobody sees before it is overwritten may as well never have happened. So open writes cost nothing
//! until they are seen.

use std::collections::{BTreeMap, BTreeSet};

/// What a client asked of a key, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<V> {
    /// The key was given this value; a deletion gives it the value of an absent key.
    Write(V),
    /// The key had this value.
    Read(V),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<V> {
    /// When it was asked, on the one clock of the history.
    pub called_at: u64,
    /// When it was answered; none if nobody knows what became of it.
    pub returned_at: Option<u64>,
    /// What it was.
    pub action: Action<V>,
}

/// No order explains the history of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained<K> {
    /// Which key.
    pub key: K,
    /// The operation whose answer fits no order, counted within its key's history.
    pub operation: usize,
}

/// Checks a history; every key begins with the value `absent`. Operations may come in any order. The error names the
/// first key, in order, that cannot be explained.
pub fn check<K: Ord + Clone, V: Ord + Clone>(
    history: impl IntoIterator<Item = (K, Operation<V>)>,
    absent: &V,
) -> Result<(), Unexplained<K>> {
    let mut by_key: BTreeMap<K, Vec<Operation<V>>> = BTreeMap::new();
    for (key, operation) in history {
        by_key.entry(key).or_default().push(operation);
    }
    by_key.into_iter().try_for_each(|(key, operations)| {
        Search::new(&operations, absent).run().map_err(|operation| Unexplained { key, operation })
    })
}

/// A way in which the operations so far may have happened: the value that they leave, and which of those that have not
/// returned are in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    value: usize,
    placed: BTreeSet<usize>,
}

/// An action with its value by number.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
}

/// Something that the history says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    // Calls come first at equal times: then the two may have overlapped.
    Call(usize),
    Return(usize),
}

/// The search over one key.
struct Search {
    steps: Vec<Step>,
    events: Vec<(u64, Event)>,
    /// Operations under way that will return.
    pending: BTreeSet<usize>,
    /// Writes under way that never do, by their value.
    open: BTreeMap<usize, Vec<usize>>,
    returns: Vec<bool>,
    ways: BTreeSet<Way>,
}

impl Search {
    fn new<V: Ord + Clone>(operations: &[Operation<V>], absent: &V) -> Self {
        let mut numbers: BTreeMap<V, usize> = BTreeMap::from([(absent.clone(), 0)]);
        let mut number = |value: &V| {
            let next = numbers.len();
            *numbers.entry(value.clone()).or_insert(next)
        };
        let mut events = Vec::with_capacity(operations.len() * 2);
        let mut steps = Vec::with_capacity(operations.len());
        for (at, operation) in operations.iter().enumerate() {
            steps.push(match &operation.action {
                Action::Write(value) => Step::Write(number(value)),
                Action::Read(value) => Step::Read(number(value)),
            });
            events.push((operation.called_at, Event::Call(at)));
            events.extend(operation.returned_at.map(|time| (time, Event::Return(at))));
        }
        events.sort_unstable();
        let returns = operations.iter().map(|operation| operation.returned_at.is_some()).collect();
        let start = Way { value: 0, placed: BTreeSet::new() };
        Self {
            steps,
            events,
            pending: BTreeSet::new(),
            open: BTreeMap::new(),
            returns,
            ways: BTreeSet::from([start]),
        }
    }

    /// The error is the operation that could not be placed.
    fn run(mut self) -> Result<(), usize> {
        for (_, event) in std::mem::take(&mut self.events) {
            match event {
                Event::Call(operation) => self.call(operation),
                Event::Return(operation) => self.place(operation)?,
            }
        }
        Ok(())
    }

    fn call(&mut self, operation: usize) {
        match self.steps[operation] {
            _ if self.returns[operation] => {
                self.pending.insert(operation);
            }
            Step::Write(value) => self.open.entry(value).or_default().push(operation),
            // A read that nobody answered says nothing.
            Step::Read(_) => {}
        }
    }

    /// `operation` returns: from now on only ways that contain it count.
    fn place(&mut self, operation: usize) -> Result<(), usize> {
        let mut reached = BTreeSet::new();
        let mut known: BTreeSet<Way> = BTreeSet::new();
        let mut stack: Vec<Way> = std::mem::take(&mut self.ways).into_iter().collect();
        while let Some(mut way) = stack.pop() {
            if way.placed.remove(&operation) {
                reached.insert(way);
                continue;
            }
            let next = self.pending.iter().filter(|next| !way.placed.contains(next));
            for after in next.filter_map(|next| self.after(&way, *next)) {
                if known.insert(after.clone()) {
                    stack.push(after);
                }
            }
        }
        self.pending.remove(&operation);
        self.ways = reached;
        if self.ways.is_empty() { Err(operation) } else { Ok(()) }
    }

    /// The way with `operation` placed next, if its answer fits there.
    fn after(&self, way: &Way, operation: usize) -> Option<Way> {
        let mut after = way.clone();
        match self.steps[operation] {
            Step::Write(value) => after.value = value,
            Step::Read(value) if value == way.value => {}
            Step::Read(value) => {
                let unplaced = self.open.get(&value)?.iter().find(|open| !way.placed.contains(open))?;
                after.placed.insert(*unplaced);
                after.value = value;
            }
        }
        after.placed.insert(operation);
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    type Told = (u64, Option<u64>, Action<u32>);

    fn write(called_at: u64, returned_at: u64, value: u32) -> Told {
        (called_at, Some(returned_at), Action::Write(value))
    }

    fn lost(called_at: u64, value: u32) -> Told {
        (called_at, None, Action::Write(value))
    }

    fn read(called_at: u64, returned_at: u64, value: u32) -> Told {
        (called_at, Some(returned_at), Action::Read(value))
    }

    fn verdict(history: &[Told]) -> Result<(), usize> {
        let operations = history
            .iter()
            .cloned()
            .map(|(called_at, returned_at, action)| ("key", Operation { called_at, returned_at, action }));
        check(operations, &0).map_err(|unexplained| unexplained.operation)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(verdict(&[write(0, 1, 1), read(2, 3, 1), write(4, 5, 2), read(6, 7, 2)]), Ok(()));
        assert_eq!(verdict(&[read(0, 1, 0)]), Ok(()));
    }

    #[test]
    fn a_read_under_way_with_a_write_sees_either() {
        assert_eq!(verdict(&[write(0, 10, 1), read(2, 3, 0), read(4, 5, 1)]), Ok(()));
        assert_eq!(verdict(&[write(0, 10, 1), write(0, 10, 2), read(11, 12, 1), read(11, 12, 1)]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_found() {
        assert_eq!(verdict(&[write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)]), Err(2));
        assert_eq!(verdict(&[write(0, 1, 1), read(2, 3, 0)]), Err(1));
    }

    #[test]
    fn what_was_seen_is_not_unseen() {
        // New then old, while the write is still under way (Herlihy and Wing's register that goes back).
        assert_eq!(verdict(&[write(0, 10, 1), read(1, 2, 1), read(3, 4, 0)]), Err(2));
        // Two readers that disagree on the order of two writes.
        let disagree = [write(0, 9, 1), write(0, 9, 2), read(1, 2, 1), read(3, 4, 2), read(5, 6, 1)];
        assert_eq!(verdict(&disagree), Err(4));
    }

    #[test]
    fn a_write_of_unknown_fate_is_there_or_not_and_never_taken_back() {
        assert_eq!(verdict(&[lost(0, 7), read(5, 6, 0), read(7, 8, 7), read(9, 10, 7)]), Ok(()));
        assert_eq!(verdict(&[lost(0, 7), read(5, 6, 0), write(6, 7, 1), read(8, 9, 1)]), Ok(()));
        assert_eq!(verdict(&[lost(0, 7), read(5, 6, 7), read(7, 8, 0)]), Err(2));
        // It happens once: overwritten, it does not come back.
        assert_eq!(verdict(&[lost(0, 7), read(1, 2, 7), write(3, 4, 1), read(5, 6, 7)]), Err(3));
    }

    #[test]
    fn nothing_is_read_before_it_is_asked_for() {
        assert_eq!(verdict(&[read(0, 1, 5), write(2, 3, 5)]), Err(0));
    }

    #[test]
    fn keys_are_independent() {
        let told =
            |key, called_at, action| (key, Operation { called_at, returned_at: Some(called_at + 1), action });
        let good = [told("a", 0, Action::Write(1)), told("b", 2, Action::Read(0)), told("a", 4, Action::Read(1))];
        assert_eq!(check(good.clone(), &0), Ok(()));
        let bad = good.into_iter().chain([told("b", 6, Action::Read(1))]);
        assert_eq!(check(bad, &0), Err(Unexplained { key: "b", operation: 1 }));
    }

    /// Ten thousand operations of ten clients on three keys, each of which takes effect at an instant of its own.
    fn long_history(seed: u64) -> Vec<(u64, Operation<u32>)> {
        let mut dice = Dice::new(seed);
        let mut free_at = [0_u64; 10];
        let mut drawn: Vec<(u64, u64, u64, u64, bool, bool)> = (0..10_000_u64)
            .map(|nth| {
                let client = (nth % 10) as usize;
                let called_at = free_at[client] + dice.between(1, 50);
                let happens_at = called_at + dice.between(1, 20);
                let returned_at = happens_at + dice.between(1, 20);
                free_at[client] = returned_at;
                (happens_at, called_at, returned_at, dice.below(3), dice.chance(500), dice.chance(20))
            })
            .collect();
        drawn.sort_unstable();
        let mut values = [0_u32; 3];
        let told = drawn.into_iter().enumerate();
        told.map(|(nth, (_, called_at, returned_at, key, writes, unknown))| {
            let held = &mut values[key as usize];
            let action = if writes {
                *held = nth as u32 + 1;
                Action::Write(*held)
            } else {
                Action::Read(*held)
            };
            (key, Operation { called_at, returned_at: (!unknown).then_some(returned_at), action })
        })
        .collect()
    }

    #[test]
    fn a_long_history_of_a_true_register_is_explained() {
        for seed in 0..3 {
            assert_eq!(check(long_history(seed), &0), Ok(()));
        }
    }

    #[test]
    fn one_old_value_in_a_long_history_is_found() {
        let mut history = long_history(7);
        let (early, late) = (history.len() / 10, history.len() / 2);
        let old = history[early..].iter().find_map(|(key, operation)| match operation.action {
            Action::Write(value) if *key == 0 && operation.returned_at.is_some() => Some(value),
            Action::Write(_) | Action::Read(_) => None,
        });
        let read = history[late..].iter_mut().find(|(key, operation)| {
            *key == 0 && operation.returned_at.is_some() && matches!(operation.action, Action::Read(_))
        });
        let (Some(old), Some((_, read))) = (old, read) else { panic!("the history has both") };
        read.action = Action::Read(old);
        assert!(check(history, &0).is_err());
    }
}
