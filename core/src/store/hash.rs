//! The state hash: one number that two stores share exactly if they hold the same.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::version::VersionBase;

/// An order-free hash of the whole store: equal stores have equal hashes (INV-9).
///
/// It is the wrapping sum of XXH3-64 over the bytes of each item and over the base of versions, so that one write changes it by one
/// addition and one subtraction, and no order of building matters. It finds bugs and bit rot; it is no defence
/// against someone who picks the keys to collide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub u64);

/// Sets the base of versions apart from items, whose bytes could be the same.
const BASE_SEED: u64 = 0x4241_5345;

impl StateHash {
    /// What the base of versions adds. A base of zero, as states have that no entry with a spread has come to, adds nothing.
    pub(crate) fn of_base(base: VersionBase) -> Self {
        if base == VersionBase::default() {
            return Self::default();
        }
        Self(xxh3_64_with_seed(&base.0.to_le_bytes(), BASE_SEED))
    }

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
