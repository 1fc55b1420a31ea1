//! One key with its value, version and expiry, in one allocation that is never changed. The bytes of an item
//! are the same on every node: they are what the state hash is taken over and what a snapshot carries.
//!
//! ```text
//! version u64 | head u32 | expires_at u64, if head says so | key | value        (little-endian)
//! head: bits 0..=29 length of the key, bit 30 kind (1 = JSON text), bit 31 has an expiry
//! ```

use alloc::vec::Vec;
use core::fmt;

use triomphe::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::command::ValueKind;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::version::Version;

/// One key with its value, version and expiry; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Item(Arc<[u8]>);

/// The longest key that an item can hold. What servers admit is far below.
pub const ITEM_KEY_BYTES_MAX: usize = (1 << 30) - 1;

const VERSION_BYTES: usize = 8;
const HEAD_BYTES: usize = 4;
const EXPIRY_BYTES: usize = 8;
const JSON: u32 = 1 << 30;
const EXPIRES: u32 = 1 << 31;
const KEY_MASK: u32 = JSON - 1;

/// The parts of an item's bytes, borrowed.
#[derive(Clone, Copy)]
struct Parts<'a> {
    version: Version,
    kind: ValueKind,
    expires_at: Option<WallMs>,
    key: &'a [u8],
    value: &'a [u8],
}

impl Item {
    /// An item of these parts. Keys are at most [`ITEM_KEY_BYTES_MAX`] long.
    pub fn new(key: &[u8], kind: ValueKind, value: &[u8], version: Version, expires_at: Option<WallMs>) -> Self {
        // The door and the record codec refuse keys that are orders of magnitude shorter.
        assert!(key.len() <= ITEM_KEY_BYTES_MAX, "a key of {} bytes came past the limits", key.len());
        let kind = match kind {
            ValueKind::Bytes => 0,
            ValueKind::Json => JSON,
        };
        let expires = if expires_at.is_some() { EXPIRES } else { 0 };
        let head = u32::try_from(key.len()).unwrap_or(KEY_MASK) | kind | expires;
        let fixed = VERSION_BYTES + HEAD_BYTES + if expires_at.is_some() { EXPIRY_BYTES } else { 0 };
        let mut bytes = Vec::with_capacity(fixed + key.len() + value.len());
        bytes.extend_from_slice(&version.0.to_le_bytes());
        bytes.extend_from_slice(&head.to_le_bytes());
        if let Some(at) = expires_at {
            bytes.extend_from_slice(&at.0.to_le_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self(Arc::from(bytes))
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.parts().key
    }

    /// The value's bytes.
    pub fn value(&self) -> &[u8] {
        self.parts().value
    }

    /// How the value came in.
    pub fn kind(&self) -> ValueKind {
        self.parts().kind
    }

    /// Which entry last wrote the key, its value or its expiry.
    pub fn version(&self) -> Version {
        self.parts().version
    }

    /// When it expires, by log time; none if never.
    pub fn expires_at(&self) -> Option<WallMs> {
        self.parts().expires_at
    }

    /// Whether it has expired by `at`.
    pub fn is_expired(&self, at: WallMs) -> bool {
        self.expires_at().is_some_and(|expires_at| expires_at <= at)
    }

    /// An item of these bytes, or none if they do not frame one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        split(bytes).map(|_| Self(Arc::from(bytes)))
    }

    /// The bytes, framed as this module says.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same item by another entry, with another expiry.
    pub(crate) fn with_expiry(&self, version: Version, expires_at: Option<WallMs>) -> Self {
        Self::new(self.key(), self.kind(), self.value(), version, expires_at)
    }

    /// Its share of the state hash. The framing tells every part's length, so different items differ in bytes.
    pub(crate) fn hash(&self) -> StateHash {
        StateHash(xxh3_64(&self.0))
    }

    /// The same for what is framed as an item and is none.
    pub(super) fn hash_seeded(&self, seed: u64) -> StateHash {
        StateHash(xxh3_64_with_seed(&self.0, seed))
    }

    /// Bytes of heap behind it: count and content, rounded as common allocators do (a header word, 16-byte steps).
    pub(crate) fn heap_bytes(&self) -> u64 {
        const WORDS: u64 = 16;
        (self.0.len() as u64 + WORDS).next_multiple_of(16)
    }

    fn parts(&self) -> Parts<'_> {
        // Every constructor has made or checked the framing, and the bytes never change.
        split(&self.0).unwrap_or(Parts {
            version: Version::ABSENT,
            kind: ValueKind::Bytes,
            expires_at: None,
            key: &[],
            value: &[],
        })
    }
}

#[inline]
fn split(bytes: &[u8]) -> Option<Parts<'_>> {
    let (version, rest) = bytes.split_first_chunk::<VERSION_BYTES>()?;
    let (head, rest) = rest.split_first_chunk::<HEAD_BYTES>()?;
    let head = u32::from_le_bytes(*head);
    let (expires_at, rest) = if head & EXPIRES == 0 {
        (None, rest)
    } else {
        let (at, rest) = rest.split_first_chunk::<EXPIRY_BYTES>()?;
        (Some(WallMs(u64::from_le_bytes(*at))), rest)
    };
    let (key, value) = rest.split_at_checked((head & KEY_MASK) as usize)?;
    let kind = if head & JSON == 0 { ValueKind::Bytes } else { ValueKind::Json };
    Some(Parts { version: Version(u64::from_le_bytes(*version)), kind, expires_at, key, value })
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { version, kind, expires_at, key, value } = self.parts();
        write!(f, "Item({}={} v{version} {kind:?}", key.escape_ascii(), value.escape_ascii())?;
        match expires_at {
            Some(at) => write!(f, " until {})", at.0),
            None => f.write_str(")"),
        }
    }
}
