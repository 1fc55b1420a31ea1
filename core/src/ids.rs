//! Identities. All are opaque numbers: a node's is drawn once with its data directory, a link's and a
//! request's live as long as one process.

use core::fmt;

/// A node, for as long as its data directory lives. An emptied disk is a new node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

/// A cluster, made by the first master. Logs of two clusters never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// One connection between two nodes, as one end names it. The core numbers the links that it dials
/// (even numbers), the driver those that it accepts (odd numbers); a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A request that waits for its reply, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl LinkId {
    /// The `n`th link that this node dialled.
    pub const fn dialled(n: u64) -> Self {
        Self(n * 2)
    }

    /// The `n`th link that this node accepted.
    pub const fn accepted(n: u64) -> Self {
        Self(n * 2 + 1)
    }

    /// Whether this node dialled it.
    pub const fn is_dialled(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

impl NodeId {
    /// How long it is in writing, in hexadecimal digits.
    pub const DIGITS: usize = 32;
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_dialled() { "out" } else { "in" };
        write!(f, "{side}#{}", self.0 / 2)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
