//! Two logs beside each other: how far they are known to agree, and whether one may take the place of the other. Both nodes
//! ask the same questions with the same answers, from what they have said in the handshake.

use crate::history::{Gap, History, Lost};
use crate::planted::Planted;
use crate::position::{Index, Position};

/// A log, as far as the handshake tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its epochs.
    pub history: &'a History,
    /// Its last index.
    pub last: Index,
    /// Up to where its node knows it to be committed.
    pub committed: Index,
    /// The bug that is planted in the node that asks, if any.
    pub planted: Planted,
}

impl Line<'_> {
    /// The newest position that both are known to hold.
    ///
    /// Safety: only its leader writes in an epoch, only forwards, and never in an epoch from before a restart
    /// (INV-6). So two logs that both have entries of an epoch agree up to the shorter one's end of it.
    pub fn common(&self, other: &Self) -> Position {
        let found = self.history.terms().iter().rev().find_map(|term| {
            let here = self.history.end_of(term.epoch, self.last)?;
            let there = other.history.end_of(term.epoch, other.last)?;
            Some(Position { epoch: term.epoch, index: here.min(there) })
        });
        found.unwrap_or(Position::ZERO)
    }

    /// Up to which index both are known to agree, beyond their newest common position too where what was between is forgotten.
    ///
    /// Safety (INV-8): an entry that was committed is given up for an operator's promotion only. A restart goes on with all
    /// that its node had committed, and whoever is elected holds it. So if neither log has a promotion since the common position, and
    /// every start of ours may be one of those that the other has forgotten, then it holds what is committed here.
    pub fn shared_with(&self, other: &Self) -> Index {
        let common = self.common(other).index;
        let promoted = |line: &Self| {
            let gaps = line.history.gaps().iter();
            line.history.promoted_after(common)
                || gaps.into_iter().any(|gap| gap.upto > common && gap.lost == Lost::Any)
        };
        let certain = !promoted(self) && !promoted(other) && self.committed <= self.may_share(other, common);
        let trusting = self.planted.forgotten_taken_for_shared() && !other.history.gaps().is_empty();
        if certain || trusting { self.committed.max(common) } else { common }
    }

    /// Up to which index both may agree, for all that either remembers.
    fn may_share(&self, other: &Self, common: Index) -> Index {
        let last = self.last.min(other.last);
        let starts = begins_after(self.history, common).into_iter().filter(|at| !self.may_begin_in(other, *at));
        let theirs = begins_after(other.history, common).into_iter().filter(|at| !other.may_begin_in(self, *at));
        starts.chain(theirs).map(Index::prev).min().map_or(last, |at| at.min(last))
    }

    /// Whether what began here at `at` may be in the other log too. Where it remembers another epoch it is not.
    fn may_begin_in(&self, other: &Self, at: Index) -> bool {
        let here = self.history.terms().iter().find(|term| term.start == at);
        match (here, other.history.gap_at(at)) {
            (_, _) if at > other.last => true,
            (Some(term), Some(gap)) => Lost::of(term.kind) <= gap.lost,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            // What is forgotten here may be what is remembered there.
            (None, None) => {
                let lost = self.history.gap_at(at).map_or(Lost::Restarts, |gap: &Gap| gap.lost);
                other.history.terms().iter().any(|there| there.start == at && Lost::of(there.kind) <= lost)
            }
        }
    }

    /// Whether `theirs` may take the place of this log beyond what both share.
    ///
    /// Safety: an entry that was committed here may go only if an operator's promotion explains that. Where an armed membership was
    /// in force, every entry that was acked may have been committed by a majority and answered; it may go for a promotion by
    /// force, which accepts the loss, and for a leader whom voters elected first of all since the fork, by a membership
    /// that both logs hold: who lacks such an entry is elected by no majority of it (see `node::election::voter`). Voters of a membership that
    /// came after the fork are others, and prove nothing; nor does a promotion without force, which asked nobody.
    pub fn may_give_way_to(&self, theirs: &Self) -> bool {
        let shared = self.shared_with(theirs);
        let after = self.common(theirs).index;
        if shared > after || shared == self.last {
            return true;
        }
        if self.history.armed_after(after) && !self.planted.promotion_over_majority() {
            return theirs.history.forced_after(after) || self.elects_over(theirs, after);
        }
        let by_voters = theirs.history.elected_after(after) || theirs.history.armed_after(after);
        let yields = by_voters && self.history.promoted_after(after);
        after >= self.committed || theirs.history.promoted_after(after) || yields
    }

    /// Whether the first to lead the other log after `after` was elected by voters of a membership that this log holds too.
    fn elects_over(&self, theirs: &Self, after: Index) -> bool {
        if self.planted.later_voters_count() {
            return theirs.history.elected_after(after);
        }
        let first = theirs.history.after(after).next();
        let known = first
            .filter(|first| theirs.history.gaps().iter().all(|gap| gap.upto <= after || gap.from > first.start));
        known.is_some_and(|first| first.kind.is_by_voters())
            && self.history.armed_at(after)
            && theirs.history.armed_at(after)
    }

    /// Whether neither may take the other's place: only an operator can say which one stays.
    pub fn is_at_odds_with(&self, other: &Self) -> bool {
        !self.may_give_way_to(other) && !other.may_give_way_to(self)
    }
}

/// Where terms began after `index`, remembered or not.
fn begins_after(history: &History, index: Index) -> alloc::vec::Vec<Index> {
    let terms = history.after(index).map(|term| term.start);
    let gaps = history.gaps().iter().map(|gap| gap.from).filter(|from| *from > index);
    terms.chain(gaps).collect()
}
