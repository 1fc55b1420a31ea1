//! Linearizability of client histories over keys: whether some order of the operations, each at one instant between
//! its call and its return, explains every answer. Owns the search; knows nothing of nodes, levels or clocks.
//!
//! Keys are independent, so each is checked alone. The search is the just-in-time one of Lowe ("Testing for
//! linearizability", 2017): only when an operation returns must it have been placed, after any of those that were under
//! way with it. Two things keep the search narrow where many are under way at once. A read is placed as soon as its value is
//! there, since it does no harm; and nothing else is placed but what a read under way needs, since a write that nobody sees
//! before it is overwritten can be slipped in there afterwards. A write whose outcome is unknown stays open for ever and is
//! placed only right before a read that needs it: it may as well never have happened.

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

/// The most operations that may be under way at once on one key, those without an answer left out.
pub const UNDER_WAY_MAX: usize = 128;

/// A set of operations under way, by their slots.
type Slots = u128;

/// A way in which the operations so far may have happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    /// The value that it leaves.
    value: usize,
    /// Operations under way that are in it.
    placed: Slots,
    /// Writes under way that are not, and that may be slipped in before a write that is: nobody has seen them.
    hideable: Slots,
    /// How many open writes of a value it has used; none where no read of that value is left.
    used: BTreeMap<usize, usize>,
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
    returns: Vec<bool>,
    /// Operations under way that will return, by slot.
    slots: Vec<Option<usize>>,
    /// How many writes are under way that never return, by their value.
    open: BTreeMap<usize, usize>,
    /// Answered reads that have not returned yet, by their value.
    reads_left: BTreeMap<usize, usize>,
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
        let mut reads_left: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, operation) in operations.iter().enumerate() {
            steps.push(match &operation.action {
                Action::Write(value) => Step::Write(number(value)),
                Action::Read(value) => Step::Read(number(value)),
            });
            if let (Step::Read(value), Some(_)) = (steps[at], operation.returned_at) {
                *reads_left.entry(value).or_default() += 1;
            }
            events.push((operation.called_at, Event::Call(at)));
            events.extend(operation.returned_at.map(|time| (time, Event::Return(at))));
        }
        events.sort_unstable();
        let start = Way { value: 0, placed: 0, hideable: 0, used: BTreeMap::new() };
        Self {
            steps,
            events,
            returns: operations.iter().map(|operation| operation.returned_at.is_some()).collect(),
            slots: Vec::new(),
            open: BTreeMap::new(),
            reads_left,
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
                let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
                assert!(free < UNDER_WAY_MAX, "more than {UNDER_WAY_MAX} operations are under way at once");
                self.slots.resize(self.slots.len().max(free + 1), None);
                self.slots[free] = Some(operation);
                let ways = std::mem::take(&mut self.ways);
                self.ways = ways.into_iter().map(|way| self.settled(way)).collect();
            }
            Step::Write(value) => *self.open.entry(value).or_default() += 1,
            // A read that nobody answered says nothing.
            Step::Read(_) => {}
        }
    }

    /// `operation` returns: from now on only ways that contain it count.
    fn place(&mut self, operation: usize) -> Result<(), usize> {
        let slot = self.slots.iter().position(|held| *held == Some(operation)).unwrap_or_default();
        let mut reached = BTreeSet::new();
        let mut known = BTreeSet::new();
        let mut stack: Vec<Way> = std::mem::take(&mut self.ways).into_iter().collect();
        while let Some(way) = stack.pop() {
            let next = self.next(&way, slot);
            reached.extend(self.ends(way, slot));
            stack.extend(next.into_iter().filter(|way| known.insert(way.clone())));
        }
        self.slots[slot] = None;
        self.retire(operation, &mut reached);
        self.ways = undominated(reached);
        if self.ways.is_empty() { Err(operation) } else { Ok(()) }
    }

    /// The ways in which this one contains the operation of `slot`, if it may end here.
    fn ends(&self, way: Way, slot: usize) -> Vec<Way> {
        let bit = 1 << slot;
        let mut ends = Vec::new();
        if way.placed & bit != 0 {
            ends.push(Way { placed: way.placed & !bit, ..way });
            return ends;
        }
        let Some(Step::Write(value)) = self.slots[slot].map(|operation| self.steps[operation]) else {
            return ends;
        };
        if way.hideable & bit != 0 {
            ends.push(Way { hideable: way.hideable & !bit, ..way.clone() });
        }
        let mut now = self.written(way, value);
        now.hideable &= !bit;
        ends.push(now);
        ends
    }

    /// Each way that makes one more read under way come true: before the operation of `slot`, or since it is that read.
    fn next(&self, way: &Way, slot: usize) -> Vec<Way> {
        if way.placed & (1 << slot) != 0 {
            return Vec::new();
        }
        let wanted: BTreeSet<usize> = self.unplaced(way).filter_map(|(_, step)| read_of(step)).collect();
        let mut next = Vec::new();
        for value in wanted {
            let writers = self.unplaced(way).filter(|(_, step)| matches!(step, Step::Write(of) if *of == value));
            for (writer, _) in writers {
                let mut after = self.written(way.clone(), value);
                after.placed |= 1 << writer;
                after.hideable &= !(1 << writer);
                next.push(after);
            }
            let used = way.used.get(&value).copied().unwrap_or(0);
            if used < self.open.get(&value).copied().unwrap_or(0) {
                let mut after = self.written(way.clone(), value);
                after.used.insert(value, used + 1);
                next.push(after);
            }
        }
        next
    }

    /// The way with a write placed next: whoever is under way and unseen may have come just before it.
    fn written(&self, mut way: Way, value: usize) -> Way {
        way.value = value;
        for (slot, step) in self.unplaced(&way.clone()) {
            way.hideable |= if read_of(step).is_none() { 1 << slot } else { 0 };
        }
        self.settled(way)
    }

    /// The way with every read in it that its value explains: a read that fits does no harm.
    fn settled(&self, mut way: Way) -> Way {
        for (slot, step) in self.unplaced(&way.clone()) {
            way.placed |= if read_of(step) == Some(way.value) { 1 << slot } else { 0 };
        }
        way
    }

    fn unplaced<'a>(&'a self, way: &'a Way) -> impl Iterator<Item = (usize, Step)> + 'a {
        let held = self.slots.iter().enumerate().filter_map(|(slot, held)| Some((slot, (*held)?)));
        held.filter(|(slot, _)| way.placed & (1 << slot) == 0)
            .map(|(slot, operation)| (slot, self.steps[operation]))
    }

    /// Which open writes of a value were used matters only as long as reads of it are to come.
    fn retire(&mut self, operation: usize, ways: &mut BTreeSet<Way>) {
        let Step::Read(value) = self.steps[operation] else { return };
        let left = self.reads_left.entry(value).or_default();
        *left -= 1;
        if *left == 0 {
            let forget = |mut way: Way| {
                way.used.remove(&value);
                way
            };
            *ways = std::mem::take(ways).into_iter().map(forget).collect();
        }
    }
}

fn read_of(step: Step) -> Option<usize> {
    match step {
        Step::Read(value) => Some(value),
        Step::Write(_) => None,
    }
}

/// Without the ways from which nothing can come that does not come from another one, too: that has used no more open
/// writes, and may hide as many.
fn undominated(ways: BTreeSet<Way>) -> BTreeSet<Way> {
    let mut groups: BTreeMap<(usize, Slots), Vec<Way>> = BTreeMap::new();
    for way in ways {
        let group = groups.entry((way.value, way.placed)).or_default();
        if !group.iter().any(|better| dominates(better, &way)) {
            group.retain(|worse| !dominates(&way, worse));
            group.push(way);
        }
    }
    groups.into_values().flatten().collect()
}

fn dominates(better: &Way, worse: &Way) -> bool {
    let hides = worse.hideable & !better.hideable == 0;
    hides && better.used.iter().all(|(value, used)| worse.used.get(value).is_some_and(|more| used <= more))
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

    /// Whether an order exists, by trying all of them.
    fn is_explained(value: u32, left: &[Told]) -> bool {
        let first_return = left.iter().filter_map(|(_, returned_at, _)| *returned_at).min();
        let Some(first_return) = first_return else { return true };
        (0..left.len()).any(|next| {
            let (called_at, _, action) = &left[next];
            let value = match action {
                Action::Write(value) => *value,
                Action::Read(read) if *read == value => value,
                Action::Read(_) => return false,
            };
            let rest = [&left[..next], &left[next + 1..]].concat();
            *called_at <= first_return && is_explained(value, &rest)
        })
    }

    #[test]
    fn the_search_says_what_all_orders_say_that_are_tried_one_by_one() {
        let mut explained = 0;
        for seed in 0..20_000 {
            let mut dice = Dice::new(seed);
            let history: Vec<Told> = (0..dice.between(1, 7))
                .map(|_| {
                    let called_at = dice.below(12);
                    let returned_at = (!dice.chance(250)).then(|| called_at + dice.between(1, 8));
                    let value = dice.below(3) as u32;
                    (
                        called_at,
                        returned_at,
                        if dice.chance(500) { Action::Write(value) } else { Action::Read(value) },
                    )
                })
                .collect();
            let answered: Vec<Told> = history
                .iter()
                .filter(|(_, returned_at, action)| returned_at.is_some() || matches!(action, Action::Write(_)))
                .cloned()
                .collect();
            let truth = is_explained(0, &answered);
            assert_eq!(verdict(&history).is_ok(), truth, "{history:?}");
            explained += u32::from(truth);
        }
        assert!((2_000..18_000).contains(&explained), "both verdicts are met: {explained}");
    }

    /// Ten thousand operations of so many clients on so many keys, a third of the writes deletions, each of which takes effect at an instant of its own. Of a
    /// thousand, so many have no answer.
    fn long_history(seed: u64, clients: u64, keys: u64, unknown: u32) -> Vec<(u64, Operation<u32>)> {
        let mut dice = Dice::new(seed);
        let mut free_at = vec![0_u64; clients as usize];
        let mut drawn: Vec<(u64, u64, u64, u64, bool, bool)> = (0..10_000_u64)
            .map(|nth| {
                let client = (nth % clients) as usize;
                let called_at = free_at[client] + dice.between(1, 50);
                let happens_at = called_at + dice.between(1, 20);
                let returned_at = happens_at + dice.between(1, 20);
                free_at[client] = returned_at;
                (happens_at, called_at, returned_at, dice.below(keys), dice.chance(500), dice.chance(unknown))
            })
            .collect();
        drawn.sort_unstable();
        let mut values = vec![0_u32; keys as usize];
        let told = drawn.into_iter().enumerate();
        told.map(|(nth, (_, called_at, returned_at, key, writes, unknown))| {
            let held = &mut values[key as usize];
            let action = if writes {
                *held = if nth % 3 == 0 { 0 } else { nth as u32 + 1 };
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
            assert_eq!(check(long_history(seed, 10, 3, 20), &0), Ok(()));
        }
    }

    #[test]
    fn so_is_one_of_many_clients_on_one_key_half_of_whom_are_never_answered() {
        assert_eq!(check(long_history(1, 30, 1, 20), &0), Ok(()));
        assert_eq!(check(long_history(2, 10, 1, 500), &0), Ok(()));
    }

    #[test]
    fn one_old_value_in_a_long_history_is_found() {
        let mut history = long_history(7, 10, 3, 20);
        let (early, late) = (history.len() / 10, history.len() / 2);
        let old = history[early..].iter().find_map(|(key, operation)| match operation.action {
            Action::Write(value) if *key == 0 && value != 0 && operation.returned_at.is_some() => Some(value),
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
