//! Trees that nobody needs any more, taken apart a bounded number of nodes at a time: to drop a tree takes a visit to each
//! of its items, which for a large store is near an election timeout.
//!
//! Only what nobody else holds is freed here. A node that is shared is let go of, and whoever holds it goes on holding it.

use alloc::vec::Vec;
use core::fmt;

use super::tree::Tree;
use super::{Store, StoreView};

/// Trees that are to be freed, whole ones and parts.
#[derive(Clone, Default)]
pub(crate) struct Scrap {
    trees: Vec<Tree>,
}

impl Scrap {
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    pub(crate) fn add_store(&mut self, store: Store) {
        let Store { view, expiries, version_base: _, hash: _ } = store;
        self.add_view(view);
        self.add_tree(expiries.into_tree());
    }

    pub(crate) fn add_view(&mut self, view: StoreView) {
        let StoreView { items, results, keys: _, memory_bytes: _, log_time: _ } = view;
        self.add_tree(items);
        results.into_trees().into_iter().for_each(|tree| self.add_tree(tree));
    }

    pub(crate) fn add_tree(&mut self, tree: Tree) {
        self.trees.push(tree);
    }

    /// Takes one node apart. Gives the work that it was, in [`work`]; none if nothing is left.
    pub(crate) fn free_one(&mut self) -> Option<usize> {
        let tree = self.trees.pop()?;
        Some(tree.take_apart(&mut self.trees))
    }
}

/// What it takes to free one allocation of so many bytes: about the same for short ones, and the pages of long ones.
pub(crate) const fn work(bytes: usize) -> usize {
    const PAGE_BYTES: usize = 4096;
    1 + bytes / PAGE_BYTES
}

impl fmt::Debug for Scrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrap").field("trees", &self.trees.len()).finish()
    }
}
