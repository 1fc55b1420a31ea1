//! Versions of keys. A version that a client was told names one value of its key for ever, in every line of history that a
//! failover may part.
//!
//! A version is the index of the entry that wrote, counted from a [`VersionBase`]. Each term opens with a spread that its master has
//! drawn at random, and moves the base on by a jump that the spread decides. Two lines that part have opened different terms since, so
//! that their bases differ by a random number, and what was told in one fits nothing in the other.

use core::fmt;

use crate::position::Index;

/// The version of a key: which entry of which line last changed its value or its expiry. Later in one line is greater; nothing
/// else can be read off it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Of a key that is absent.
    pub const ABSENT: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The greatest version. Each is a whole number that JSON carries everywhere without loss.
pub const VERSION_MAX: u64 = (1 << 53) - 1;

/// A jump is between one and two of so many parts of the room that is left.
///
/// Safety: the first jumps are of 2^28 to 2^29. A line that opened no term since two lines parted cannot reach the other's versions before
/// it has written 2^28 entries that are lost again; of two that both opened one, a version of the one is that of a given entry of the
/// other with a probability of 2^-28, and must be of the same key besides. Jumps shrink with the room, so that no number of
/// terms exhausts it: after 23 million of them they are still above 2^26 (see the test below).
const PARTS_LOG2: u32 = 25;

/// From where a term counts its versions. Part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionBase(pub u64);

impl VersionBase {
    /// The version that the entry at `index` gives to what it writes.
    pub fn at(self, index: Index) -> Version {
        let version = Version(self.0.saturating_add(index.0));
        assert!(version.0 <= VERSION_MAX, "INV-16: version {version} is beyond 53 bits");
        version
    }

    /// Whether all versions up to `index` are within [`VERSION_MAX`].
    pub fn reaches(self, index: Index) -> bool {
        self.0.checked_add(index.0).is_some_and(|version| version <= VERSION_MAX)
    }

    /// The base from the entry at `start` on, which opens a term with this spread. Zero is no spread: entries of logs of version 2
    /// have none, and versions were indices then.
    #[must_use]
    pub fn opened(self, start: Index, spread: u32) -> Self {
        let part = (VERSION_MAX - self.at(start).0) >> PARTS_LOG2;
        match u64::from(spread).checked_rem(part) {
            Some(rest) if spread > 0 => Self(self.0 + part + rest),
            Some(_) | None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_jumps_are_between_2_to_28_and_2_to_29() {
        let jump = |spread| VersionBase(0).opened(Index(1), spread).0;
        assert_eq!(jump(0), 0, "no spread, no jump");
        for spread in [1, 1 << 28, u32::MAX, 0x1234_5678] {
            assert!((1 << 28) - 1 <= jump(spread) && jump(spread) < 1 << 29, "{}", jump(spread));
        }
        assert_ne!(jump(7), jump(8));
    }

    #[test]
    fn millions_of_terms_fit() {
        let mut base = VersionBase(0);
        for start in 1..=23_000_000 {
            // The largest jump that there can be.
            let part = (VERSION_MAX - base.at(Index(start)).0) >> PARTS_LOG2;
            let next = base.opened(Index(start), u32::try_from(part - 1).unwrap());
            assert!(next > base, "term {start} does not move on");
            base = next;
        }
        let last = base.opened(Index(23_000_001), 1);
        assert!(last.0 - base.0 > 1 << 26 && last.reaches(Index(1 << 40)), "{last:?}");
    }

    #[test]
    fn no_base_leaves_its_bits() {
        let full = VersionBase(VERSION_MAX - 1);
        assert_eq!(full.opened(Index(1), 77), full, "no room, no jump");
        assert!(!full.reaches(Index(2)) && !VersionBase(u64::MAX).reaches(Index(1)));
    }
}
