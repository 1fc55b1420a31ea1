//! What commands with a ticket gave, so that a retry is answered as the first was and does nothing (INV-14). Part of
//! the state: hashed, in snapshots, and forgotten in log order, so that every node forgets the same.
//!
//! The window is bounded in number, in bytes and in age by log time ([`Window`]). It takes nothing where no command
//! has a ticket. The bytes of a result are the same on every node, framed as an [`Item`]:
//!
//! ```text
//! key: the ticket's | version: the entry's index | value: fingerprint u128, at u64, old dropped u8, outcome
//! outcome: 1 written u8, version u64, old u8 [item]   2 actual u64   3 existed u8   4 number i64   5   6 changed u8
//!          7 written u64                                                                       (little-endian)
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::BufMut;

use super::hash::StateHash;
use super::item::Item;
use super::tree::{Iter, Tree};
use super::{SLOT_BYTES, StoreView};
use crate::codec::{Malformed, Reader, Writer};
use crate::command::{Fingerprint, Outcome, TICKET_KEY_BYTES_MAX, Ticket, ValueKind};
use crate::position::Index;
use crate::time::WallMs;
use crate::version::Version;

/// How much is remembered. Part of the format: two nodes that differ in it diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Most results.
    pub results_max: u64,
    /// Most bytes of results, bookkeeping included; the newest is kept even if it is longer.
    pub bytes_max: u64,
    /// Longest time by the log's clock, in milliseconds.
    pub age_ms_max: u64,
}

/// The window of every store.
pub const WINDOW: Window = Window { results_max: 262_144, bytes_max: 64 << 20, age_ms_max: 24 * 3600 * 1000 };

/// The longest old value that a result keeps, key and bookkeeping included: it bounds how many short results a long
/// one can push out at once.
pub const OLD_BYTES_MAX: usize = 64 << 10;

/// Most results that one entry drops for their age. The others count as forgotten already.
const AGED_PER_ENTRY_MAX: usize = 16;

/// Sets results apart from items in the state hash, where the same bytes could stand for both.
const HASH_SEED: u64 = 0x5245_5355_4c54;

const SET: u8 = 1;
const VERSION_MISMATCH: u8 = 2;
const DELETED: u8 = 3;
const NUMBER: u8 = 4;
const NOT_AN_INTEGER: u8 = 5;
const TOUCHED: u8 = 6;
const BATCH: u8 = 7;

/// Results by key, and in the order of the log. A clone shares what both hold.
#[derive(Clone, Default)]
pub(crate) struct Results {
    by_key: Tree,
    /// Items without a value, whose key is the `at` and the index of a result (both big-endian, so that byte order is
    /// log order) and its key.
    order: Tree,
    count: u64,
    bytes: u64,
    oldest: Option<WallMs>,
}

/// A result that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) first: Index,
    pub(super) fingerprint: Fingerprint,
    pub(super) at: WallMs,
    pub(super) old_dropped: bool,
    pub(super) outcome: Outcome,
}

impl Results {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn into_trees(self) -> [Tree; 2] {
        [self.by_key, self.order]
    }

    /// Bytes that they take, counted as items' are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the first command under `key` gave, unless it is forgotten by `log_time`.
    pub(super) fn get(&self, key: &[u8], log_time: WallMs, window: Window) -> Option<Known> {
        let known = self.by_key.get(key).and_then(Known::of)?;
        (!is_aged(known.at, log_time, window)).then_some(known)
    }

    /// Remembers what the first command under a key gave.
    pub(super) fn remember(&mut self, ticket: &Ticket, known: Known) -> HashChange {
        let known = known.without_long_old(ticket.wants_old);
        let (item, at) = (known.item(&ticket.key), known.at);
        let mut change = self.remove(&ticket.key);
        change.plus(&item);
        self.put(item, at);
        change
    }

    /// Puts a result that a snapshot holds, unless it is none, or its key is taken.
    pub(super) fn restore(&mut self, item: Item, log_time: WallMs) -> Option<HashChange> {
        let known = Known::of(&item).filter(|known| known.at <= log_time)?;
        let fits = (1..=TICKET_KEY_BYTES_MAX).contains(&item.key().len()) && known.item(item.key()) == item;
        if !fits || self.by_key.get(item.key()).is_some() {
            return None;
        }
        let mut change = HashChange::default();
        change.plus(&item);
        self.put(item, known.at);
        Some(change)
    }

    /// Forgets what lies outside the window by `log_time`.
    pub(super) fn evict(&mut self, log_time: WallMs, window: Window) -> HashChange {
        let mut change = HashChange::default();
        let mut dropped = 0;
        while let Some(oldest) = self.oldest {
            let crowded = self.count > window.results_max || self.bytes > window.bytes_max && self.count > 1;
            let due = is_aged(oldest, log_time, window) && dropped < AGED_PER_ENTRY_MAX;
            if !crowded && !due {
                break;
            }
            dropped += 1;
            let Some(key) = self.order.iter().next().and_then(|mark| mark.key().get(MARK_BYTES..)).map(Vec::from)
            else {
                break;
            };
            change.add(self.remove(&key));
        }
        change
    }

    /// All after `after`, in byte order of their keys.
    fn after(&self, after: Option<&[u8]>) -> Iter<'_> {
        self.by_key.range(after.map_or(Bound::Unbounded, Bound::Excluded))
    }

    fn put(&mut self, item: Item, at: WallMs) {
        let mark = mark(at, first_of(&item), item.key());
        self.bytes += item.heap_bytes() + mark.heap_bytes() + 2 * SLOT_BYTES;
        self.count += 1;
        self.by_key.insert(item);
        self.order.insert(mark);
        self.oldest = self.first();
    }

    fn remove(&mut self, key: &[u8]) -> HashChange {
        let mut change = HashChange::default();
        let Some(item) = self.by_key.remove(key) else { return change };
        change.minus(&item);
        let at = Known::of(&item).map_or(WallMs(0), |known| known.at);
        let mark = mark(at, first_of(&item), key);
        self.order.remove(mark.key());
        self.bytes -= item.heap_bytes() + mark.heap_bytes() + 2 * SLOT_BYTES;
        self.count -= 1;
        self.oldest = self.first();
        change
    }

    fn first(&self) -> Option<WallMs> {
        let (at, _) = self.order.iter().next()?.key().split_first_chunk()?;
        Some(WallMs(u64::from_be_bytes(*at)))
    }

    /// Asserts that the books agree with the results. Work grows with them.
    pub(super) fn check(&self, log_time: WallMs) -> StateHash {
        let mut fresh = Self::default();
        let mut hash = StateHash::default();
        for item in self.after(None) {
            let change = fresh.restore(item.clone(), log_time);
            let Some(change) = change else { panic!("INV-14: {item:?} is no result") };
            hash = change.on(hash);
        }
        assert!(fresh.order.iter().eq(self.order.iter()), "INV-14: results are not in the order of the log");
        assert_eq!((fresh.count, fresh.bytes), (self.count, self.bytes), "INV-12: results are miscounted");
        assert_eq!(fresh.oldest, self.oldest, "INV-14: the oldest result is another");
        hash
    }
}

/// Equal if they remember the same.
impl PartialEq for Results {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && (self.by_key.is_same(&other.by_key) || self.by_key.iter().eq(other.by_key.iter()))
    }
}

impl Eq for Results {}

impl Known {
    fn of(item: &Item) -> Option<Self> {
        let mut reader = Reader::new(item.value());
        let known = Self {
            first: first_of(item),
            fingerprint: Fingerprint(reader.u128().ok()?),
            at: WallMs(reader.u64().ok()?),
            old_dropped: reader.bool().ok()?,
            outcome: take_outcome(&mut reader).ok()?,
        };
        reader.end().ok()?;
        Some(known)
    }

    fn item(&self, key: &[u8]) -> Item {
        let mut value = Vec::with_capacity(48);
        value.put_u128_le(self.fingerprint.0);
        value.put_u64_le(self.at.0);
        value.bool(self.old_dropped);
        put_outcome(&mut value, &self.outcome);
        Item::new(key, ValueKind::Bytes, &value, Version(self.first.0), None)
    }

    /// The answer to a retry.
    pub(super) fn replay(self) -> Outcome {
        Outcome::Replayed { first: self.first, outcome: Box::new(self.outcome), old_dropped: self.old_dropped }
    }

    fn without_long_old(mut self, wants_old: bool) -> Self {
        if let Outcome::Set { old, .. } = &mut self.outcome {
            let long = old.as_ref().is_some_and(|old| old.as_bytes().len() > OLD_BYTES_MAX);
            self.old_dropped = wants_old && long;
            if !wants_old || long {
                *old = None;
            }
        }
        self
    }
}

/// What a change of results adds to the state hash and takes from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HashChange {
    plus: StateHash,
    minus: StateHash,
}

impl HashChange {
    /// The hash with this change.
    pub(super) const fn on(self, hash: StateHash) -> StateHash {
        hash.plus(self.plus).minus(self.minus)
    }

    fn plus(&mut self, item: &Item) {
        self.plus = self.plus.plus(item.hash_seeded(HASH_SEED));
    }

    fn minus(&mut self, item: &Item) {
        self.minus = self.minus.plus(item.hash_seeded(HASH_SEED));
    }

    fn add(&mut self, other: Self) {
        self.plus = self.plus.plus(other.plus);
        self.minus = self.minus.plus(other.minus);
    }
}

impl StoreView {
    /// How many results of commands with a ticket are remembered.
    pub fn results(&self) -> u64 {
        self.results.count()
    }

    /// The remembered results after `after`.
    pub(crate) fn results_after(&self, after: Option<&[u8]>) -> Iter<'_> {
        self.results.after(after)
    }
}

/// `at` and index before the key.
const MARK_BYTES: usize = 16;

fn mark(at: WallMs, index: Index, key: &[u8]) -> Item {
    let mark = [&at.0.to_be_bytes()[..], &index.0.to_be_bytes(), key].concat();
    Item::new(&mark, ValueKind::Bytes, &[], Version::ABSENT, None)
}

/// Where the version stands in an item, a result has the index of its entry.
fn first_of(result: &Item) -> Index {
    Index(result.version().0)
}

fn is_aged(at: WallMs, log_time: WallMs, window: Window) -> bool {
    at.plus_ms(window.age_ms_max) <= log_time
}

fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Set { written, version, old } => {
            out.put_u8(SET);
            out.bool(*written);
            out.put_u64_le(version.0);
            out.option(old.as_ref(), |out, old| out.long_bytes(old.as_bytes()));
        }
        Outcome::VersionMismatch { actual } => {
            out.put_u8(VERSION_MISMATCH);
            out.put_u64_le(actual.0);
        }
        Outcome::Deleted { existed } => {
            out.put_u8(DELETED);
            out.bool(*existed);
        }
        Outcome::Number(sum) => {
            out.put_u8(NUMBER);
            out.put_i64_le(*sum);
        }
        Outcome::NotAnInteger => out.put_u8(NOT_AN_INTEGER),
        Outcome::Touched(changed) => {
            out.put_u8(TOUCHED);
            out.bool(*changed);
        }
        Outcome::Batch { written } => {
            out.put_u8(BATCH);
            out.put_u64_le(*written);
        }
        Outcome::Replayed { .. } | Outcome::KeyReused { .. } | Outcome::Internal => {
            panic!("INV-14: {outcome:?} is not what a client's first command gives")
        }
    }
}

fn take_outcome(reader: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    Ok(match reader.u8()? {
        SET => Outcome::Set {
            written: reader.bool()?,
            version: Version(reader.u64()?),
            old: reader.option(|reader| Item::from_bytes(reader.long_bytes()?).ok_or(Malformed("no item")))?,
        },
        VERSION_MISMATCH => Outcome::VersionMismatch { actual: Version(reader.u64()?) },
        DELETED => Outcome::Deleted { existed: reader.bool()? },
        NUMBER => Outcome::Number(reader.u64()?.cast_signed()),
        NOT_AN_INTEGER => Outcome::NotAnInteger,
        TOUCHED => Outcome::Touched(reader.bool()?),
        BATCH => Outcome::Batch { written: reader.u64()? },
        _ => return Err(Malformed("no such outcome")),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SMALL: Window = Window { results_max: 3, bytes_max: 10_000, age_ms_max: 100 };

    fn ticket(key: &str) -> Ticket {
        Ticket {
            key: Bytes::copy_from_slice(key.as_bytes()),
            fingerprint: Fingerprint::of(&[key.as_bytes()]),
            wants_old: true,
        }
    }

    fn known(first: u64, at: u64, outcome: Outcome) -> Known {
        let fingerprint = Fingerprint(u128::from(first));
        Known { first: Index(first), fingerprint, at: WallMs(at), old_dropped: false, outcome }
    }

    fn remember(results: &mut Results, key: &str, first: u64, at: u64) {
        results.evict(WallMs(at), SMALL);
        results.remember(&ticket(key), known(first, at, Outcome::Touched(true)));
        results.evict(WallMs(at), SMALL);
        results.check(WallMs(at));
    }

    fn keys(results: &Results) -> Vec<Vec<u8>> {
        results.after(None).map(|item| item.key().to_vec()).collect()
    }

    #[test]
    fn every_outcome_comes_back_as_it_was() {
        let old = Some(Item::new(b"k", ValueKind::Json, b"[1]", Version(3), Some(WallMs(9))));
        let outcomes = [
            Outcome::Set { written: true, version: Version(7), old },
            Outcome::Set { written: false, version: Version(2), old: None },
            Outcome::VersionMismatch { actual: Version(5) },
            Outcome::Deleted { existed: true },
            Outcome::Number(-3),
            Outcome::NotAnInteger,
            Outcome::Touched(false),
            Outcome::Batch { written: 4 },
        ];
        for outcome in outcomes {
            let mut results = Results::default();
            results.remember(&ticket("a"), known(7, 1, outcome.clone()));
            assert_eq!(results.get(b"a", WallMs(1), SMALL), Some(known(7, 1, outcome)));
        }
    }

    #[test]
    fn the_oldest_goes_when_the_window_is_full() {
        let mut results = Results::default();
        for (first, key) in [(1, "d"), (2, "a"), (3, "c"), (4, "b")] {
            remember(&mut results, key, first, 10);
        }
        assert_eq!(keys(&results), [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn a_result_is_forgotten_at_its_age_even_while_it_is_still_held() {
        let mut results = Results::default();
        remember(&mut results, "a", 1, 10);
        assert!(results.get(b"a", WallMs(109), SMALL).is_some());
        assert!(results.get(b"a", WallMs(110), SMALL).is_none());
        remember(&mut results, "a", 2, 110);
        assert_eq!(results.get(b"a", WallMs(110), SMALL).map(|known| known.first), Some(Index(2)));
        assert_eq!(results.count(), 1);
    }

    #[test]
    fn aged_results_go_a_few_per_entry() {
        let window = Window { results_max: 1_000, ..SMALL };
        let mut results = Results::default();
        for first in 0..40 {
            results.remember(&ticket(&alloc::format!("{first}")), known(first, 10, Outcome::NotAnInteger));
        }
        results.evict(WallMs(110), window);
        assert_eq!(results.count(), 40 - AGED_PER_ENTRY_MAX as u64);
        results.check(WallMs(110));
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_is_kept() {
        let long = Item::new(b"k", ValueKind::Bytes, &[7; 20_000], Version(1), None);
        let outcome = Outcome::Set { written: true, version: Version(2), old: Some(long) };
        let mut results = Results::default();
        remember(&mut results, "a", 1, 10);
        results.remember(&ticket("b"), known(2, 10, outcome));
        results.evict(WallMs(10), SMALL);
        assert_eq!(keys(&results), [b"b".to_vec()]);
    }

    #[test]
    fn an_old_value_too_long_is_dropped_and_told_so() {
        let long = Item::new(b"k", ValueKind::Bytes, &[7; OLD_BYTES_MAX], Version(1), None);
        let outcome = Outcome::Set { written: true, version: Version(2), old: Some(long) };
        let mut results = Results::default();
        results.remember(&ticket("a"), known(2, 10, outcome.clone()));
        let kept = results.get(b"a", WallMs(10), WINDOW).expect("it was remembered");
        assert!(kept.old_dropped);
        assert_eq!(kept.outcome, Outcome::Set { written: true, version: Version(2), old: None });
        // Nobody misses what nobody asked for.
        results.remember(&Ticket { wants_old: false, ..ticket("b") }, known(3, 10, outcome));
        assert!(results.get(b"b", WallMs(10), WINDOW).is_some_and(|kept| !kept.old_dropped));
    }
}
