//! Connections between two steps: ordered queues of messages, and who holds their ends.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use synap_core::ids::LinkId;
use synap_core::message::Message;

use crate::trace::fingerprint;

/// A connection. Side 0 dialled, side 1 was dialled.
#[derive(Clone, Debug, Hash)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    /// What is on its way, by the side that it goes to.
    pub(super) to: [VecDeque<Item>; 2],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) link: LinkId,
    pub(super) open: bool,
}

/// Something on its way.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A message, with its name in the trace and its fingerprint.
    Message {
        /// Its name in the trace: no part of the state.
        number: u64,
        /// What tells it from others.
        print: u64,
        /// What it says; shared by all states that it is on its way in.
        message: Arc<Message>,
    },
    /// The other end is closed.
    Fin,
}

impl Conn {
    /// A side lets go: what is on its way to it arrives nowhere, and the other side will hear of it.
    pub(super) fn close(&mut self, side: usize) {
        self.ends[side].open = false;
        self.to[side].clear();
        if self.ends[1 - side].open {
            self.to[1 - side].push_back(Item::Fin);
        }
    }

    /// Whether nobody holds it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.open)
    }
}

impl Item {
    pub(super) fn message(number: u64, message: Message) -> Self {
        Self::Message { number, print: fingerprint(&message), message: Arc::new(message) }
    }
}

impl Hash for Item {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self {
            Self::Message { print, .. } => print.hash(hasher),
            Self::Fin => 0_u64.hash(hasher),
        }
    }
}
