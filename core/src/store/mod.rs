//! The store: committed entries only, applied in log order. It owns what the log builds up (items, their expiry
//! index, results for retries, the state hash) and nothing of how entries come to be committed. Time is the entries'
//! `at`.

mod apply;
mod expiry;
mod hash;
mod item;
mod results;
mod scrap;
mod separator;
mod tree;

use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Bound;

use bytes::Bytes;

use crate::command::{Command, Outcome, Pair, Ticket};
use crate::position::Index;
use crate::time::WallMs;
use crate::version::{Version, VersionBase};

use expiry::Expiries;
use results::Results;

pub use hash::StateHash;
pub use item::{ITEM_KEY_BYTES_MAX, Item};
pub use results::{OLD_BYTES_MAX, WINDOW, Window};
pub(crate) use scrap::{Scrap, work};
pub(crate) use tree::{Iter as Items, Tree};

/// The versions that a command's keys had before it, in the command's order; for rollback files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prior {
    /// Not applied yet, or not known.
    #[default]
    Unknown,
    /// Of a command with one key.
    One(Version),
    /// Of a batch.
    Many(Vec<Version>),
}

/// What [`Store::apply`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For the client.
    pub outcome: Outcome,
    /// For a rollback file, should it come to one.
    pub prior: Prior,
}

/// The state that the log builds up. A clone shares what both hold and costs constant time.
#[derive(Clone, Default)]
pub struct Store {
    /// What readers see.
    view: StoreView,
    expiries: Expiries,
    version_base: VersionBase,
    hash: StateHash,
}

/// A store as it was at one index; cheap to make and to clone, and never changes.
#[derive(Clone, Default)]
pub struct StoreView {
    items: Tree,
    results: Results,
    keys: u64,
    memory_bytes: u64,
    log_time: WallMs,
}

/// What an item takes beside its own allocation: its slot and tag in a leaf that is about 70 % full, and its share of
/// the nodes above.
const SLOT_BYTES: u64 = 30;

impl Store {
    /// The state as it is now, for readers elsewhere; constant work.
    pub fn view(&self) -> StoreView {
        self.view.clone()
    }

    /// The incremental hash.
    pub fn hash(&self) -> StateHash {
        self.hash
    }

    /// From where the open term counts versions.
    pub fn version_base(&self) -> VersionBase {
        self.version_base
    }

    /// Keys held, those included that have expired and are not swept yet.
    pub fn keys(&self) -> u64 {
        self.view.keys
    }

    /// Bytes that the items and the remembered results take, bookkeeping included as well as it can be told.
    pub fn memory_bytes(&self) -> u64 {
        self.view.memory_bytes()
    }

    /// How many bytes of keys and values a command brings, and of how many it takes the place.
    pub fn growth(&self, command: &Command) -> (u64, u64) {
        let of = |pair: &Pair| match self.view.get(&pair.key) {
            Some(item) => (pair.value.bytes.len() as u64, item.value().len() as u64),
            None => (pair.bytes(), 0),
        };
        command.pairs().iter().map(of).fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1))
    }

    /// How many results of commands with a ticket are remembered.
    pub fn results(&self) -> u64 {
        self.view.results()
    }

    /// The entry that this ticket's key stands for, unless it is forgotten.
    pub fn first_under(&self, ticket: &Ticket) -> Option<Index> {
        self.view.results.get(&ticket.key, self.log_time(), WINDOW).map(|known| known.first)
    }

    /// The `at` of the last entry applied: the only clock that expiry knows.
    pub fn log_time(&self) -> WallMs {
        self.view.log_time
    }

    /// The earliest expiry of any key.
    pub fn next_expiry(&self) -> Option<WallMs> {
        self.expiries.first()
    }

    /// Up to `max` keys that have expired by `at`, earliest first.
    pub fn expired(&self, at: WallMs, max: usize) -> Vec<Bytes> {
        self.expired_after(None, at, max, usize::MAX).into_iter().map(|(_, key)| key).collect()
    }

    /// Up to `max` keys of about `bytes_max` together that have expired by `at`, earliest first, each with its expiry;
    /// those after `after` in that order. Work grows with what is given.
    pub fn expired_after(
        &self,
        after: Option<&(WallMs, Bytes)>,
        at: WallMs,
        max: usize,
        bytes_max: usize,
    ) -> Vec<(WallMs, Bytes)> {
        let mut room = bytes_max;
        let due = self.expiries.after(after).take_while(|(expires_at, _)| *expires_at <= at).take(max);
        let fits = due.take_while(|(_, key)| {
            let fits = room > 0;
            room = room.saturating_sub(key.len());
            fits
        });
        fits.map(|(expires_at, key)| (expires_at, Bytes::copy_from_slice(key))).collect()
    }

    /// The earliest expiry of any key after `after`.
    pub fn next_expiry_after(&self, after: Option<&(WallMs, Bytes)>) -> Option<WallMs> {
        self.expiries.after(after).next().map(|(at, _)| at)
    }

    /// Asserts that the books agree with the items: order, counts, hash (INV-9) and expiries. Work grows with the
    /// store.
    pub fn check(&self) {
        let mut fresh = Self::at(self.log_time(), self.version_base);
        let mut last: Option<&[u8]> = None;
        for item in self.view.items.iter() {
            assert!(last.is_none_or(|last| last < item.key()), "INV-9: keys out of order");
            last = Some(item.key());
            fresh.put(item.clone());
        }
        fresh.hash = fresh.hash.plus(self.view.results.check(self.log_time()));
        fresh.view.results = self.view.results.clone();
        assert_eq!(fresh.hash, self.hash, "INV-9: the state hash is not that of the items");
        assert_eq!(fresh.keys(), self.keys(), "INV-9: the count of keys is not that of the items");
        assert_eq!(fresh.memory_bytes(), self.memory_bytes(), "INV-12: memory is miscounted");
        assert!(fresh.expiries.iter().eq(self.expiries.iter()), "INV-9: expiries are not those of the items");
    }

    /// Empty, at that log time and with that base of versions.
    pub(crate) fn at(log_time: WallMs, version_base: VersionBase) -> Self {
        let mut store = Self { view: StoreView { log_time, ..StoreView::default() }, ..Self::default() };
        store.move_base(version_base);
        store
    }

    /// A term opens. INV-16: bases only grow, so that a version that was told in this line is not given again.
    fn move_base(&mut self, base: VersionBase) {
        assert!(base >= self.version_base, "INV-16: versions go back from {:?} to {base:?}", self.version_base);
        self.hash = self.hash.minus(StateHash::of_base(self.version_base)).plus(StateHash::of_base(base));
        self.version_base = base;
    }

    /// Puts an item in the place of the one with the same key, which it gives back. With [`Self::take`] the only
    /// way in which items come and go, so that all books are kept here.
    pub(crate) fn put(&mut self, item: Item) -> Option<Item> {
        let old = self.view.items.insert(item.clone());
        // The old one first: both may expire at the same time, and share a mark.
        if let Some(old) = &old {
            self.forget(old);
        }
        self.hash = self.hash.plus(item.hash());
        self.view.keys += 1;
        self.view.memory_bytes += item.heap_bytes() + SLOT_BYTES + self.expiries.add(&item);
        old
    }

    /// Takes the item at `key` out.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Item> {
        let old = self.view.items.remove(key)?;
        self.forget(&old);
        Some(old)
    }

    /// Puts a result that a snapshot holds; false if it is none.
    pub(crate) fn put_result(&mut self, result: Item) -> bool {
        let change = self.view.results.restore(result, self.view.log_time);
        self.hash = change.map_or(self.hash, |change| change.on(self.hash));
        change.is_some()
    }

    /// The same store without results: what the planted bug `IdempotencyTableMissingFromSnapshot` takes a snapshot
    /// of.
    pub(crate) fn without_results(&self) -> Self {
        let mut without = self.clone();
        without.hash = self.hash.minus(self.view.results.check(self.log_time()));
        without.view.results = Results::default();
        without
    }

    fn forget(&mut self, old: &Item) {
        self.hash = self.hash.minus(old.hash());
        self.view.keys -= 1;
        self.view.memory_bytes -= old.heap_bytes() + SLOT_BYTES + self.expiries.remove(old);
    }
}

impl StoreView {
    /// The item at `key`, unless it is absent or expired by log time.
    pub fn get(&self, key: &[u8]) -> Option<Item> {
        self.get_at(key, self.log_time)
    }

    /// The item at `key`, unless it is absent or expired by `at`, which is log time or later.
    pub fn get_at(&self, key: &[u8], at: WallMs) -> Option<Item> {
        self.items.get(key).filter(|item| !item.is_expired(at.max(self.log_time))).cloned()
    }

    /// The live items in byte order of their keys, that begin with `prefix` and come after `after`. Each step
    /// costs constant time, so take as many as are wanted.
    pub fn scan<'a>(&'a self, prefix: &'a [u8], after: Option<&'a [u8]>) -> impl Iterator<Item = Item> + 'a {
        self.scan_at(prefix, after, self.log_time)
    }

    /// The same without those that have expired by `at`, which is log time or later.
    pub fn scan_at<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        at: WallMs,
    ) -> impl Iterator<Item = Item> + 'a {
        let at = at.max(self.log_time);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        self.items
            .range(from)
            .take_while(move |item| item.key().starts_with(prefix))
            .filter(move |item| !item.is_expired(at))
            .cloned()
    }

    /// Keys held, those included that have expired and are not swept yet.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// See [`Store::memory_bytes`].
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes + self.results.bytes()
    }

    /// See [`Store::log_time`].
    pub fn log_time(&self) -> WallMs {
        self.log_time
    }

    /// All items after `after`, expired ones too.
    pub(crate) fn items_after(&self, after: Option<&[u8]>) -> Items<'_> {
        self.items.range(after.map_or(Bound::Unbounded, Bound::Excluded))
    }
}

/// Equal if they hold the same items and results at the same log time.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.version_base == other.version_base && self.view == other.view
    }
}

impl Eq for Store {}

impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.hash, self.version_base, self.view.keys, self.view.log_time).hash(state);
    }
}

/// Equal if they hold the same items and results at the same log time.
impl PartialEq for StoreView {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
            && self.log_time == other.log_time
            && self.results == other.results
            && (self.items.is_same(&other.items) || self.items.iter().eq(other.items.iter()))
    }
}

impl Eq for StoreView {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("view", &self.view).field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreView")
            .field("keys", &self.keys)
            .field("log_time", &self.log_time)
            .finish_non_exhaustive()
    }
}
