//! Where something stands in the log: [`Index`], [`Epoch`] and the two together, [`Position`].

use core::fmt;

use crate::ids::NodeId;

/// A place in the log, counted from 1 and contiguous for ever. 0 stands before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// One mastership. Totally ordered by number, then by leader: two nodes promoted by force in two halves of
/// a network can mint the same number, and the leader keeps their histories apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The number that people are shown. 0 before the first mastership.
    pub number: u64,
    /// The node that opened it, and the only one that ever writes in it.
    pub leader: NodeId,
}

/// Epoch and index of an entry. The same position on two nodes means the same entry and the same prefix
/// (INV-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The mastership that wrote the entry.
    pub epoch: Epoch,
    /// Its place in the log.
    pub index: Index,
}

impl Index {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one, stopping at zero.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many operations this index is ahead of `other`; 0 when it is not.
    pub const fn ahead_of(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self { epoch: Epoch { number: 0, leader: NodeId(0) }, index: Index::ZERO };
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.index)
    }
}
