//! The short keys that stand between the children of an inner node. Most are cut to a few bytes and lie in
//! the node itself, so that a search touches no other memory on its way down.

use triomphe::Arc;

/// How long a separator can be without an allocation of its own; makes [`Separator`] three words.
const INLINE_BYTES: usize = 22;

/// A lower bound for the keys of a child.
#[derive(Clone)]
pub(super) enum Separator {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Shared(Arc<[u8]>),
}

impl Separator {
    /// Below every key.
    pub(super) const LOWEST: Self = Self::Inline { len: 0, bytes: [0; INLINE_BYTES] };

    /// The shortest prefix of `right` that is above `left`. `left` must be below `right`.
    pub(super) fn between(left: &[u8], right: &[u8]) -> Self {
        debug_assert!(left < right, "separator between keys out of order");
        let shared = left.iter().zip(right).take_while(|(a, b)| a == b).count();
        Self::new(right.get(..=shared).unwrap_or(right))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Self::Shared(bytes) => bytes,
        }
    }

    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(key);
                Self::Inline { len, bytes }
            }
            (None, _) | (_, Err(_)) => Self::Shared(Arc::from(key)),
        }
    }
}
