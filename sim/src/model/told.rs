//! What an entry gave, in the words of the API.

use synap_core::command::{Outcome, ValueKind};
use synap_core::store::Item;

use super::Cell;

/// What an entry gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of a set.
    Set {
        /// False where a condition said no.
        written: bool,
        /// The key's version afterwards; 0 if it is absent.
        version: u64,
        /// What counted under the key before.
        old: Option<Cell>,
    },
    /// The key's version, which is not the one that was asked for; 0 if it is absent.
    VersionMismatch(u64),
    /// Whether the key was there.
    Deleted(bool),
    /// The sum.
    Number(i64),
    /// The value is not an integer, or the sum leaves 64 bits.
    NotAnInteger,
    /// Whether anything changed.
    Touched(bool),
    /// How many pairs were written.
    Batch(u64),
    /// What the first request under the same key gave.
    Again {
        /// Its entry.
        first: u64,
        /// What it gave, as far as it is kept.
        told: Box<Self>,
        /// Whether the old value, which was asked for, is too long to be kept.
        old_dropped: bool,
    },
    /// The key was used for another request.
    Reused {
        /// Its entry.
        first: u64,
    },
    /// Of the log's own commands.
    Internal,
}

impl Told {
    /// Without the old value, where it is one that tells it.
    #[must_use]
    pub fn without_old(self) -> Self {
        match self {
            Self::Set { written, version, .. } => Self::Set { written, version, old: None },
            other => other,
        }
    }
}

impl From<&Outcome> for Told {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Set { written, version, old } => {
                Self::Set { written: *written, version: version.0, old: old.as_ref().map(Cell::from) }
            }
            Outcome::VersionMismatch { actual } => Self::VersionMismatch(actual.0),
            Outcome::Deleted { existed } => Self::Deleted(*existed),
            Outcome::Number(sum) => Self::Number(*sum),
            Outcome::NotAnInteger => Self::NotAnInteger,
            Outcome::Touched(changed) => Self::Touched(*changed),
            Outcome::Batch { written } => Self::Batch(*written),
            Outcome::Replayed { first, outcome, old_dropped } => {
                Self::Again { first: first.0, told: Box::new(Self::from(&**outcome)), old_dropped: *old_dropped }
            }
            Outcome::KeyReused { first } => Self::Reused { first: first.0 },
            Outcome::Internal => Self::Internal,
        }
    }
}

impl From<&Item> for Cell {
    fn from(item: &Item) -> Self {
        Self {
            bytes: bytes::Bytes::copy_from_slice(item.value()),
            json: match item.kind() {
                ValueKind::Json => true,
                ValueKind::Bytes => false,
            },
            version: item.version().0,
            expires_at: item.expires_at().map(|at| at.0),
        }
    }
}
