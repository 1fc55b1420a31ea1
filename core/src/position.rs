//! Where something stands in the log: [`Index`], [`Epoch`] and the two together, [`Position`]; and how people name that:
//! [`Named`].

use core::cmp::Ordering;
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

/// The first hexadecimal digits of a leader's id, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaderDigits {
    digits: u8,
    value: u128,
}

impl LeaderDigits {
    /// How many digits are enough to tell the members of a cluster apart.
    const SHORT: u8 = 8;
    /// All of them.
    const WHOLE: u8 = 32;

    /// All digits of this id.
    pub const fn whole(id: NodeId) -> Self {
        Self { digits: Self::WHOLE, value: id.0 }
    }

    /// The digits in a text: 8 at least, 32 at most.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = u8::try_from(text.len()).ok().filter(|len| (Self::SHORT..=Self::WHOLE).contains(len))?;
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).ok().filter(|_| hex)?;
        Some(Self { digits, value })
    }

    /// How an id that begins with these digits compares with `id`; equal if `id` begins with them.
    fn compare(self, id: NodeId) -> Ordering {
        self.value.cmp(&(id.0 >> (4 * u32::from(Self::WHOLE - self.digits))))
    }
}

/// A position as people name it: epoch and index, and the beginning of the leader's id, without which two entries of
/// lines apart may have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// The epoch's number.
    pub number: u64,
    /// The index.
    pub index: Index,
    /// Who opened the epoch, if they say so.
    pub leader: Option<LeaderDigits>,
}

impl Named {
    /// The name that no other position has.
    pub const fn exactly(position: Position) -> Self {
        let Position { epoch, index } = position;
        Self { number: epoch.number, index, leader: Some(LeaderDigits::whole(epoch.leader)) }
    }

    /// `EPOCH:INDEX-LEADER`, or `EPOCH:INDEX`.
    pub fn parse(text: &str) -> Option<Self> {
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let (epoch, rest) = text.split_once(':')?;
        let (index, leader) = match rest.split_once('-') {
            Some((index, leader)) => (index, Some(LeaderDigits::parse(leader)?)),
            None => (rest, None),
        };
        Some(Self { number: number(epoch)?, index: Index(number(index)?), leader })
    }

    /// How its epoch compares with this one; none if only the leader could tell, and is not said.
    pub fn compare(&self, epoch: Epoch) -> Option<Ordering> {
        match (self.number.cmp(&epoch.number), self.leader) {
            (Ordering::Equal, Some(leader)) => Some(leader.compare(epoch.leader)),
            (Ordering::Equal, None) => None,
            (other, _) => Some(other),
        }
    }

    /// Whether this node may be the leader that it names.
    pub fn may_be_by(&self, leader: NodeId) -> bool {
        self.leader.is_none_or(|digits| digits.compare(leader).is_eq())
    }

    /// Whether it may be the name of this position.
    pub fn may_be(&self, position: Position) -> bool {
        self.index == position.index && self.compare(position.epoch).is_none_or(Ordering::is_eq)
    }
}

/// A position as clients are told it, `EPOCH:INDEX-LEADER`: with the first 8 digits of the leader's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub Position);

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.0, self.0.epoch.leader.0 >> 96)
    }
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
