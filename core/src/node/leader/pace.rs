//! How a snapshot goes to a replica. While nobody writes, chunk after chunk. While clients write, in groups with a rest
//! after each, as long as the group took: cutting, sending, checking and storing chunks is work that takes processors and
//! disks from the writes, on this machine or another, and writers wait while a new replica does not.
//!
//! Owns the times of one transfer. A rest is short, so that it costs a slow network next to nothing.

use core::time::Duration;

use crate::position::Index;
use crate::time::Time;

/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(10);

/// The times of one transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Pace {
    /// When the last chunk went, and where the log ended then.
    sent: (Time, Index),
    /// When the replica last said that it has stored something.
    stored: Time,
}

impl Pace {
    /// A chunk goes.
    pub(in crate::node) fn send(&mut self, now: Time, last: Index) {
        self.sent = (now, last);
    }

    /// The replica has stored something.
    pub(in crate::node) fn stored(&mut self, now: Time) {
        self.stored = now;
    }

    /// Until when nothing more may go, once everything that went is stored; none if nothing was written since it went,
    /// and more may go at any time.
    pub(in crate::node) fn rest(&self, last: Index) -> Option<Time> {
        let (at, last_then) = self.sent;
        (last > last_then).then(|| self.stored + self.stored.since(at).min(REST_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(millis)
    }

    #[test]
    fn chunks_flow_while_nothing_is_written() {
        let mut pace = Pace::default();
        pace.send(at(1), Index(7));
        pace.stored(at(4));
        assert_eq!(pace.rest(Index(7)), None);
    }

    #[test]
    fn under_writes_a_rest_is_as_long_as_the_chunks_took() {
        let mut pace = Pace::default();
        pace.send(at(1), Index(7));
        pace.stored(at(4));
        assert_eq!(pace.rest(Index(8)), Some(at(7)));
        pace.send(at(7), Index(8));
        assert_eq!(pace.rest(Index(8)), None, "its group may follow it");
    }

    #[test]
    fn a_slow_network_is_not_made_slower_by_much() {
        let mut pace = Pace::default();
        pace.send(at(0), Index(7));
        pace.stored(at(1000));
        assert_eq!(pace.rest(Index(8)), Some(at(1000) + REST_MAX));
    }
}
