//! Lag and staleness, measured on this node's own clock only. Owns what was heard when; never subtracts the
//! clocks of two nodes.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::position::Index;
use crate::time::Time;

/// How many marks are kept; beyond it neighbours are merged, which can only overstate lag (INV-11, INV-12).
const MARKS_MAX: usize = 512;

/// When this node first heard of which operations: everything up to `Index` that the mark before does not cover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Marks {
    marks: VecDeque<(Index, Time)>,
    last: Index,
}

impl Marks {
    /// Operations up to `last` are heard of now.
    pub(in crate::node) fn hear(&mut self, last: Index, now: Time) {
        if last <= self.last {
            return;
        }
        self.last = last;
        match self.marks.back_mut() {
            Some((index, at)) if *at == now => *index = last,
            _ => self.marks.push_back((last, now)),
        }
        if self.marks.len() > MARKS_MAX {
            self.merge();
        }
    }

    /// Nobody needs marks up to `applied` any more.
    pub(in crate::node) fn forget(&mut self, applied: Index) {
        while self.marks.front().is_some_and(|(index, _)| *index <= applied) {
            self.marks.pop_front();
        }
    }

    /// The log goes on from `last` in another history: what was heard before is void.
    pub(in crate::node) fn reset(&mut self, last: Index) {
        self.marks.clear();
        self.last = last;
    }

    /// Another master's log ends at `last`: what was heard beyond it is void.
    pub(in crate::node) fn rebase(&mut self, last: Index, now: Time) {
        while self.marks.back().is_some_and(|(index, _)| *index > last) {
            self.marks.pop_back();
        }
        self.last = self.marks.back().map_or(Index::ZERO, |(index, _)| *index);
        self.hear(last, now);
    }

    /// The last index heard of.
    pub(in crate::node) fn last(&self) -> Index {
        self.last
    }

    /// How long ago the oldest operation after `applied` was first heard of; zero if there is none.
    pub(in crate::node) fn lag(&self, applied: Index, now: Time) -> Duration {
        let after = self.marks.partition_point(|(index, _)| *index <= applied);
        self.marks.get(after).map_or(Duration::ZERO, |(_, at)| now.since(*at))
    }

    /// Halves the marks: of two neighbours the later index keeps the earlier time, so lag is never understated.
    fn merge(&mut self) {
        let mut merged = VecDeque::with_capacity(MARKS_MAX);
        while let Some((index, at)) = self.marks.pop_front() {
            let index = self.marks.pop_front().map_or(index, |(later, _)| later);
            merged.push_back((index, at));
        }
        self.marks = merged;
    }
}

/// Proofs of holding everything, as a replica gathers them: a message sent by the master after it had read this
/// node's clock at `at` said that its log ended at `last`; once that is applied here, so is everything as of `at`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Proofs {
    waiting: VecDeque<(Index, Time)>,
    newest: Option<Time>,
}

impl Proofs {
    /// The master said that its log ended at `last`, no earlier than `at` on this node's clock.
    pub(in crate::node) fn offer(&mut self, last: Index, at: Time) {
        if self.waiting.back().is_some_and(|(_, newest)| at <= *newest) {
            return;
        }
        if self.waiting.len() == MARKS_MAX {
            self.waiting.pop_back();
        }
        self.waiting.push_back((last, at));
    }

    /// Everything up to `applied` is in the store.
    pub(in crate::node) fn applied(&mut self, applied: Index) {
        while let Some((last, at)) = self.waiting.front().copied() {
            if last > applied {
                return;
            }
            self.newest = self.newest.max(Some(at));
            self.waiting.pop_front();
        }
    }

    /// What waits is void: the source has changed. The proof that was had stands.
    pub(in crate::node) fn reset(&mut self) {
        self.waiting.clear();
    }

    /// Another mastership begins: what the one before had answered says nothing of this one's answers, which may be
    /// older, if the two led at the same time.
    pub(in crate::node) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The newest instant at which this node is known to have held everything.
    pub(in crate::node) fn newest(&self) -> Option<Time> {
        self.newest
    }
}
