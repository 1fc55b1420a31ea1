//! How much is on its way to one replica: what was sent and not yet said to be held. Owns the count alone, in bytes
//! that were really sent, so that it holds whatever the log has forgotten meanwhile.

use alloc::collections::VecDeque;

use crate::node::leader::replication::{APPEND_BYTES_MAX, WINDOW_BYTES_MAX};
use crate::position::Index;

/// Sends shorter than this are counted together with their neighbours, so that small entries need no entry here each.
const MARK_BYTES: u64 = WINDOW_BYTES_MAX / 128;

/// What one replica was sent and does not hold yet, as far as is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Window {
    /// Sends in order: up to which index, and how many bytes. One that is held in part counts whole.
    marks: VecDeque<Mark>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    upto: Index,
    bytes: u64,
}

impl Window {
    /// Whether anything may be sent now. One send may go beyond the bound: else a long entry could never go.
    pub(in crate::node) fn is_open(&self) -> bool {
        self.bytes < WINDOW_BYTES_MAX
    }

    /// How much is on its way.
    pub(in crate::node) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `bytes` were sent, of entries up to `upto`.
    pub(in crate::node) fn sent(&mut self, upto: Index, bytes: u64) {
        assert!(self.is_open(), "INV-12: {} bytes are on their way already", self.bytes);
        self.bytes += bytes;
        match self.marks.back_mut() {
            Some(last) if last.bytes + bytes <= MARK_BYTES => *last = Mark { upto, bytes: last.bytes + bytes },
            Some(_) | None => self.marks.push_back(Mark { upto, bytes }),
        }
    }

    /// The replica is known to hold everything up to `index`.
    pub(in crate::node) fn held(&mut self, index: Index) {
        while let Some(first) = self.marks.front().copied().filter(|first| first.upto <= index) {
            self.bytes -= first.bytes;
            self.marks.pop_front();
        }
    }
}

const _: () = assert!(MARK_BYTES < APPEND_BYTES_MAX as u64, "a full append is a mark of its own");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_at_its_bound_and_opens_with_what_is_held() {
        let mut window = Window::default();
        let each = WINDOW_BYTES_MAX / 4;
        for upto in 1..=4 {
            assert!(window.is_open());
            window.sent(Index(upto), each);
        }
        assert!(!window.is_open());
        window.held(Index(0));
        assert!(!window.is_open());
        window.held(Index(1));
        assert!(window.is_open());
        window.held(Index(4));
        assert_eq!(window, Window::default());
    }

    #[test]
    fn an_entry_longer_than_the_bound_goes_alone() {
        let mut window = Window::default();
        window.sent(Index(1), 10 * WINDOW_BYTES_MAX);
        assert!(!window.is_open());
        window.held(Index(1));
        assert!(window.is_open());
    }

    #[test]
    fn many_small_sends_take_few_marks() {
        let mut window = Window::default();
        let mut upto = Index(0);
        while window.is_open() {
            upto = upto.next();
            window.sent(upto, 100);
        }
        assert!(window.marks.len() <= 129, "{}", window.marks.len());
        window.held(upto);
        assert_eq!(window, Window::default());
    }
}
