//! Which keys expire, in the order of their expiry. Kept beside the items and rebuilt with them; readers have
//! no use for it.

use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;

use super::item::Item;
use super::tree::Tree;
use crate::command::ValueKind;
use crate::time::WallMs;
use crate::version::Version;

/// An ordered set of expiries. Each is an item without a value, whose key is the expiry (big-endian, so that
/// byte order is time order) and the key that expires.
#[derive(Clone, Default)]
pub(super) struct Expiries {
    marks: Tree,
}

impl Expiries {
    /// Notes when `item` expires, if it does. Gives the bytes that this takes.
    pub(super) fn add(&mut self, item: &Item) -> u64 {
        item.expires_at().map_or(0, |at| {
            let mark = Item::new(&mark_key(at, item.key()), ValueKind::Bytes, &[], Version::ABSENT, None);
            let bytes = mark.heap_bytes();
            self.marks.insert(mark);
            bytes
        })
    }

    /// Forgets `item`. Gives the bytes that this frees.
    pub(super) fn remove(&mut self, item: &Item) -> u64 {
        item.expires_at()
            .and_then(|at| self.marks.remove(&mark_key(at, item.key())))
            .map_or(0, |mark| mark.heap_bytes())
    }

    pub(super) fn into_tree(self) -> Tree {
        self.marks
    }

    /// The earliest expiry.
    pub(super) fn first(&self) -> Option<WallMs> {
        self.iter().next().map(|(at, _)| at)
    }

    /// All, earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (WallMs, &[u8])> {
        self.after(None)
    }

    /// Those after one of them, earliest first.
    pub(super) fn after(&self, after: Option<&(WallMs, Bytes)>) -> impl Iterator<Item = (WallMs, &[u8])> {
        let after = after.map(|(at, key)| mark_key(*at, key));
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.marks.range(from).filter_map(|mark| {
            let (at, key) = mark.key().split_first_chunk()?;
            Some((WallMs(u64::from_be_bytes(*at)), key))
        })
    }
}

fn mark_key(at: WallMs, key: &[u8]) -> Vec<u8> {
    [&at.0.to_be_bytes(), key].concat()
}
