//! A persistent B+ tree of items, in byte order of their keys. A clone shares every node and costs nothing; a
//! write copies the nodes on its way that a clone still shares, and changes the others in place. So a reader
//! keeps the state that it was given, on whatever thread, while the writer goes on.
//!
//! It knows nothing of versions, expiry or hashes; [`super::Store`] does.

use alloc::vec::Vec;
use core::mem;
use core::ops::Bound;
use core::slice;
use triomphe::Arc;

use arrayvec::ArrayVec;
use xxhash_rust::xxh3::xxh3_64;

use super::item::Item;
use super::scrap::work;
use super::separator::Separator;

/// Items of a full leaf. Copying a leaf touches every item in it, to count the new reference.
const LEAF_MAX: usize = 32;
/// Children of a full inner node.
const INNER_MAX: usize = 32;
/// A node with fewer entries looks for a neighbour to merge with ...
const MERGE_BELOW: usize = 8;
/// ... and merges if both fit with some room to spare, so that it does not split again at once.
const MERGED_MAX: usize = 24;

/// A set of items, ordered by key, one per key.
#[derive(Clone)]
pub(crate) struct Tree {
    root: Node,
}

/// Leaves all lie at the same depth. The depth is logarithmic, so recursion along it is shallow.
#[derive(Clone)]
enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

/// Ascending by key.
#[derive(Clone, Default)]
struct Leaf {
    /// A byte of hash for each item, side by side: a key is found without a look at the other items, each of which
    /// would be a miss of the cache.
    tags: ArrayVec<u8, LEAF_MAX>,
    items: ArrayVec<Item, LEAF_MAX>,
}

/// Ascending. The keys below a branch are at or above its `low` and below the next one's; the first `low` is not
/// looked at, since keys below it belong to the first branch as well.
#[derive(Clone, Default)]
struct Inner {
    branches: ArrayVec<Branch, INNER_MAX>,
}

#[derive(Clone)]
struct Branch {
    low: Separator,
    node: Node,
}

/// What an insertion did below some node.
enum Inserted {
    Added,
    Replaced(Item),
    /// Added; the node gave its upper part to this new right neighbour.
    Split(Branch),
}

/// Items in ascending order of keys.
#[derive(Clone)]
pub(crate) struct Iter<'a> {
    leaf: slice::Iter<'a, Item>,
    /// What is left to visit above the leaf, the root's part first.
    path: Vec<slice::Iter<'a, Branch>>,
}

impl Tree {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Item> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.find(key).and_then(|at| leaf.items.get(at)),
                Node::Inner(inner) => node = &inner.branches.get(inner.route(key))?.node,
            }
        }
    }

    /// Puts `item` in the place of the one with the same key, which it gives back.
    pub(crate) fn insert(&mut self, item: Item) -> Option<Item> {
        match self.root.insert(item) {
            Inserted::Added => None,
            Inserted::Replaced(old) => Some(old),
            Inserted::Split(right) => {
                let left = mem::replace(&mut self.root, Node::empty());
                let mut branches = ArrayVec::new();
                branches.push(Branch { low: Separator::LOWEST, node: left });
                branches.push(right);
                self.root = Node::Inner(Arc::new(Inner { branches }));
                None
            }
        }
    }

    /// Takes the item at `key` out.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Item> {
        // Looked up first, so that nothing is copied for a key that is not there.
        self.get(key)?;
        let removed = self.root.remove(key);
        self.lower_root();
        removed
    }

    /// The items from `from` on.
    pub(super) fn range(&self, from: Bound<&[u8]>) -> Iter<'_> {
        let key = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let mut path = Vec::new();
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.items.partition_point(|item| is_before(item.key(), from));
                    return Iter { leaf: leaf.items.get(at..).unwrap_or_default().iter(), path };
                }
                Node::Inner(inner) => {
                    let mut rest = inner.branches.get(inner.route(key)..).unwrap_or_default().iter();
                    let Some(first) = rest.next() else { return Iter { leaf: [].iter(), path } };
                    path.push(rest);
                    node = &first.node;
                }
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        self.range(Bound::Unbounded)
    }

    /// Whether both are the very same nodes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Node::Leaf(a), Node::Leaf(b)) => Arc::ptr_eq(a, b),
            (Node::Inner(a), Node::Inner(b)) => Arc::ptr_eq(a, b),
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => false,
        }
    }

    /// Frees the root, unless somebody else has it. What was below it comes to the others in `rest`, each as a tree. Gives the
    /// work that this was: that of one node, whatever is below.
    ///
    /// Of several who let go of a node at once, on several threads, exactly one is the last and takes it apart.
    pub(super) fn take_apart(self, rest: &mut Vec<Self>) -> usize {
        match self.root {
            Node::Leaf(leaf) => {
                let Some(leaf) = Arc::into_unique(leaf) else { return 1 };
                1 + leaf.items.iter().map(|item| work(item.as_bytes().len())).sum::<usize>()
            }
            Node::Inner(inner) => {
                let Some(mut inner) = Arc::into_unique(inner) else { return 1 };
                rest.extend(inner.branches.drain(..).map(|branch| Self { root: branch.node }));
                1
            }
        }
    }

    fn lower_root(&mut self) {
        loop {
            let next = match &self.root {
                Node::Leaf(_) => return,
                Node::Inner(inner) => match inner.branches.as_slice() {
                    [] => Node::empty(),
                    [only] => only.node.clone(),
                    [..] => return,
                },
            };
            self.root = next;
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: Node::empty() }
    }
}

fn is_before(key: &[u8], from: Bound<&[u8]>) -> bool {
    match from {
        Bound::Included(from) => key < from,
        Bound::Excluded(from) => key <= from,
        Bound::Unbounded => false,
    }
}

impl Node {
    fn empty() -> Self {
        Self::Leaf(Arc::default())
    }

    fn insert(&mut self, item: Item) -> Inserted {
        match self {
            Self::Leaf(leaf) => Arc::make_mut(leaf).insert(item),
            Self::Inner(inner) => Arc::make_mut(inner).insert(item),
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Item> {
        match self {
            Self::Leaf(leaf) => Arc::make_mut(leaf).remove(key),
            Self::Inner(inner) => Arc::make_mut(inner).remove(key),
        }
    }

    /// Items of a leaf, branches of an inner node.
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.items.len(),
            Self::Inner(inner) => inner.branches.len(),
        }
    }

    /// Takes in what its right neighbour `right` holds, which begins at `low`. Both fit together.
    fn absorb(&mut self, low: Separator, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                Arc::make_mut(left).extend(Arc::unwrap_or_clone(right));
            }
            (Self::Inner(left), Self::Inner(right)) => {
                let mut branches = Arc::unwrap_or_clone(right).branches;
                // Its first branch is no longer a first one, so that its bound is looked at from now on.
                if let Some(first) = branches.first_mut() {
                    first.low = low;
                }
                Arc::make_mut(left).branches.extend(branches);
            }
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {
                unreachable!("neighbours in the tree lie at the same depth")
            }
        }
    }
}

impl Leaf {
    fn find(&self, key: &[u8]) -> Option<usize> {
        let tag = tag(key);
        let is_there = |at: &usize| self.items.get(*at).is_some_and(|item| item.key() == key);
        let mut same = self.tags.iter().enumerate().filter(|(_, known)| **known == tag).map(|(at, _)| at);
        same.find(is_there)
    }

    fn insert(&mut self, item: Item) -> Inserted {
        if let Some(slot) = self.find(item.key()).and_then(|at| self.items.get_mut(at)) {
            return Inserted::Replaced(mem::replace(slot, item));
        }
        let at = self.items.partition_point(|known| known.key() < item.key());
        if self.items.is_full() {
            return Inserted::Split(self.split(at, item));
        }
        self.put(at, item);
        Inserted::Added
    }

    /// Gives the upper part away and puts `item` at `at`, counted before.
    fn split(&mut self, at: usize, item: Item) -> Branch {
        let cut = cut_at(at, self.items.len());
        let mut right = Self { tags: self.tags.drain(cut..).collect(), items: self.items.drain(cut..).collect() };
        match at.checked_sub(cut) {
            Some(beyond) if beyond > 0 || right.items.is_empty() => right.put(beyond, item),
            Some(_) | None => self.put(at, item),
        }
        let low = match (self.items.last(), right.items.first()) {
            (Some(left), Some(right)) => Separator::between(left.key(), right.key()),
            (None, _) | (_, None) => Separator::LOWEST,
        };
        Branch { low, node: Node::Leaf(Arc::new(right)) }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Item> {
        let at = self.find(key)?;
        self.tags.pop_at(at);
        self.items.pop_at(at)
    }

    fn put(&mut self, at: usize, item: Item) {
        self.tags.insert(at, tag(item.key()));
        self.items.insert(at, item);
    }

    fn extend(&mut self, right: Self) {
        self.tags.extend(right.tags);
        self.items.extend(right.items);
    }
}

/// A byte that tells most keys apart.
fn tag(key: &[u8]) -> u8 {
    let [tag, ..] = xxh3_64(key).to_le_bytes();
    tag
}

impl Inner {
    /// Where `key` lies among the branches. At most the last, if there is any.
    fn route(&self, key: &[u8]) -> usize {
        self.branches.partition_point(|branch| branch.low.as_slice() <= key).saturating_sub(1)
    }

    fn insert(&mut self, item: Item) -> Inserted {
        let at = self.route(item.key());
        // There always is one: an inner node without branches is taken out by its parent.
        let Some(branch) = self.branches.get_mut(at) else { return Inserted::Added };
        match branch.node.insert(item) {
            Inserted::Split(new) => self.add(at + 1, new),
            Inserted::Added => Inserted::Added,
            Inserted::Replaced(old) => Inserted::Replaced(old),
        }
    }

    fn add(&mut self, at: usize, new: Branch) -> Inserted {
        if !self.branches.is_full() {
            self.branches.insert(at, new);
            return Inserted::Added;
        }
        let cut = cut_at(at, self.branches.len());
        let mut right: ArrayVec<Branch, INNER_MAX> = self.branches.drain(cut..).collect();
        match at.checked_sub(cut) {
            Some(beyond) if beyond > 0 || right.is_empty() => right.insert(beyond, new),
            Some(_) | None => self.branches.insert(at, new),
        }
        let low = right.first().map_or(Separator::LOWEST, |first| first.low.clone());
        Inserted::Split(Branch { low, node: Node::Inner(Arc::new(Self { branches: right })) })
    }

    fn remove(&mut self, key: &[u8]) -> Option<Item> {
        let at = self.route(key);
        let removed = self.branches.get_mut(at)?.node.remove(key);
        self.tidy(at);
        removed
    }

    /// Takes the branch at `at` out if it is empty, and merges it with a neighbour if both are small. Neighbours
    /// that do not fit together keep each other above a quarter on average.
    fn tidy(&mut self, at: usize) {
        let len = self.len_at(at);
        if len >= MERGE_BELOW {
            return;
        }
        if len == 0 {
            let _ = self.branches.pop_at(at);
            return;
        }
        let left = at.saturating_sub(1);
        if left + 1 < self.branches.len() && self.len_at(left) + self.len_at(left + 1) <= MERGED_MAX {
            let right = self.branches.pop_at(left + 1);
            if let (Some(left), Some(right)) = (self.branches.get_mut(left), right) {
                left.node.absorb(right.low, right.node);
            }
        }
    }

    fn len_at(&self, at: usize) -> usize {
        self.branches.get(at).map_or(0, |branch| branch.node.len())
    }
}

/// Where a full node of `len` entries is cut when another one comes in at `at`: in the middle, but at the end
/// for an entry that comes last, so that keys that arrive in order leave full nodes behind.
const fn cut_at(at: usize, len: usize) -> usize {
    if at == len { len } else { len / 2 }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Item;

    fn next(&mut self) -> Option<&'a Item> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            let next = loop {
                match self.path.last_mut()?.next() {
                    Some(branch) => break branch,
                    None => self.path.pop(),
                };
            };
            self.descend(&next.node);
        }
    }
}

impl<'a> Iter<'a> {
    /// On to the first leaf below `node`.
    fn descend(&mut self, mut node: &'a Node) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = leaf.items.iter();
                    return;
                }
                Node::Inner(inner) => {
                    let mut rest = inner.branches.iter();
                    let Some(first) = rest.next() else { return };
                    self.path.push(rest);
                    node = &first.node;
                }
            }
        }
    }
}
