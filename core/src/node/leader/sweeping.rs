//! The master's sweep: entries that remove keys which have expired, proposed in every turn within a budget, whatever
//! else is being written. It only frees memory: a key counts as absent from the moment it expires, swept or not.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::command::Command;
use crate::config::Concern;
use crate::log::Answered;
use crate::node::{Node, Role};
use crate::position::Index;
use crate::time::{Time, WallMs};

/// Most keys of one entry, and about how many bytes of them.
const KEYS_PER_ENTRY_MAX: usize = 256;
const KEY_BYTES_PER_ENTRY_MAX: usize = 256 << 10;
/// Most entries that one turn proposes, and most that are proposed and not applied yet. They have this bound of their own and
/// do not count on room in the log: writes that fill it must not keep it from getting smaller.
const ENTRIES_PER_TURN_MAX: usize = 4;
const ENTRIES_IN_FLIGHT_MAX: usize = 32;
/// How long a sweep goes on before it begins with the earliest expiry again.
const ROUND: Duration = Duration::from_secs(1);

/// How far the sweep has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Sweeping {
    /// The last key that was proposed, by its expiry: the store still holds it until the entry is applied.
    after: Option<(WallMs, Bytes)>,
    /// When it began at the earliest expiry.
    since: Time,
    /// The entries that are not applied yet.
    flying: VecDeque<Index>,
}

impl Sweeping {
    /// Whether nothing more may be proposed: too much is in flight, or it is time to begin again, since a key that was
    /// written meanwhile may expire before what was proposed last.
    fn rests(&self, now: Time) -> bool {
        let over = self.since + ROUND <= now && !self.flying.is_empty();
        over || self.flying.len() >= ENTRIES_IN_FLIGHT_MAX
    }
}

impl Node {
    /// Proposes what this turn's budget allows.
    pub(in crate::node) fn sweep(&mut self) {
        if !matches!(&self.role, Role::Master(_)) {
            self.sweeping = Sweeping::default();
            return;
        }
        while self.sweeping.flying.front().is_some_and(|index| *index <= self.applied.index) {
            self.sweeping.flying.pop_front();
        }
        if self.sweeping.flying.is_empty() {
            // All that was proposed is gone from the store: what is due now is what it says.
            (self.sweeping.after, self.sweeping.since) = (None, self.now.mono);
        }
        for _ in 0..ENTRIES_PER_TURN_MAX {
            if !self.may_sweep() || !self.sweep_some() {
                return;
            }
        }
    }

    fn may_sweep(&self) -> bool {
        let starved = self.config.planted.sweep_starved() && self.applied.index < self.log.last().index;
        self.is_serving() && !self.disk_is_out() && !self.sweeping.rests(self.now.mono) && !starved
    }

    /// Proposes one entry; false if nothing is due.
    fn sweep_some(&mut self) -> bool {
        let after = self.sweeping.after.as_ref();
        let most = if self.config.planted.sweep_unbounded() { usize::MAX } else { KEYS_PER_ENTRY_MAX };
        let due = self.store.expired_after(after, self.log_time(), most, KEY_BYTES_PER_ENTRY_MAX);
        let Some(last) = due.last() else { return false };
        self.sweeping.after = Some(last.clone());
        let keys: Vec<Bytes> = due.into_iter().map(|(_, key)| key).collect();
        let position = self.propose(&Command::Sweep { keys }, Concern::Quorum, Answered::No);
        self.sweeping.flying.push_back(position.index);
        true
    }

    /// When there is something to sweep.
    pub(in crate::node) fn sweep_deadline(&self) -> Option<Time> {
        if !self.may_sweep() {
            return None;
        }
        let due = self.store.next_expiry_after(self.sweeping.after.as_ref())?;
        let wait_ms = due.0.saturating_sub(self.log_time().0);
        Some(self.now.mono + Duration::from_millis(wait_ms))
    }
}
