//! The state hash: one number that two stores share exactly if they hold the same.

/// An order-free hash of the whole store: equal stores have equal hashes (INV-9).
///
/// It is the wrapping sum of XXH3-64 over the bytes of each item, so that one write changes it by one
/// addition and one subtraction, and no order of building matters. It finds bugs and bit rot; it is no defence
/// against someone who picks the keys to collide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub u64);

impl StateHash {
    /// With one more item.
    #[must_use]
    pub(crate) const fn plus(self, item: Self) -> Self {
        Self(self.0.wrapping_add(item.0))
    }

    /// With one item less.
    #[must_use]
    pub(crate) const fn minus(self, item: Self) -> Self {
        Self(self.0.wrapping_sub(item.0))
    }
}
