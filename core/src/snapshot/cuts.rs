//! Where a snapshot was cut. As many as the snapshot has chunks, so they are shared by all who clone them, and kept in a tree
//! that is freed as the state itself is: not in one piece.

use alloc::vec::Vec;

use super::Part;
use crate::command::ValueKind;
use crate::store::{Item, Tree};
use crate::version::Version;

/// The last item or result of each chunk, by the chunk's place. A clone costs constant time.
#[derive(Clone, Default)]
pub(super) struct Cuts {
    /// Items whose key is the place (big-endian), and whose value is the part and the key that a chunk ended with.
    marks: Tree,
    len: usize,
}

/// Where one chunk ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) part: Part,
    /// Of the last item or result.
    pub(super) key: Vec<u8>,
}

const ITEMS: u8 = 1;
const RESULTS: u8 = 2;

impl Cuts {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, place: usize) -> Option<Cut> {
        let (part, key) = self.marks.get(&mark_key(place))?.value().split_first()?;
        let part = if *part == RESULTS { Part::Results } else { Part::Items };
        Some(Cut { part, key: key.to_vec() })
    }

    pub(super) fn push(&mut self, cut: &Cut) {
        let part = match cut.part {
            Part::Items => ITEMS,
            Part::Results => RESULTS,
        };
        let value = [&[part], &cut.key[..]].concat();
        self.marks.insert(Item::new(&mark_key(self.len), ValueKind::Bytes, &value, Version::ABSENT, None));
        self.len += 1;
    }

    pub(super) fn into_tree(self) -> Tree {
        self.marks
    }
}

fn mark_key(place: usize) -> [u8; 8] {
    (place as u64).to_be_bytes()
}
