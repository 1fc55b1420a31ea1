//! The epochs of a log: which mastership wrote from which index on, and why it began. Two histories show how
//! far two logs agree (the idea of Kafka's KIP-101 and KIP-279: compare epochs, not lengths).

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::command::StartKind;
use crate::planted::Planted;
use crate::position::{Epoch, Index, Named};

/// One mastership within a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// Which.
    pub epoch: Epoch,
    /// The index of its `EpochStart`.
    pub start: Index,
    /// Why it began.
    pub kind: StartKind,
}

/// A stretch of the log whose terms are forgotten: the first of them began at `from`, the last ended at `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// Where the first forgotten term began.
    pub from: Index,
    /// The last index before the next term that is remembered.
    pub upto: Index,
    /// What began in it.
    pub lost: Lost,
}

/// What kinds of terms a gap stands for; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lost {
    /// Restarts of the master that led before the gap.
    Restarts,
    /// Terms that a majority of voters was for.
    ByVoters,
    /// Any, promotions and foundings included.
    Any,
}

impl Lost {
    /// The gap in which a term of this kind would be.
    pub const fn of(kind: StartKind) -> Self {
        match kind {
            StartKind::Restart => Self::Restarts,
            StartKind::Election | StartKind::Switchover => Self::ByVoters,
            StartKind::Founding | StartKind::Promotion | StartKind::Forced => Self::Any,
        }
    }
}

/// From this entry on an armed membership is in force, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arming {
    /// The `Config` entry.
    pub at: Index,
    /// Whether it arms; each differs from the one before.
    pub armed: bool,
}

/// The terms of one log, oldest first, and from when to when it was armed. At most [`REIGNS_MAX`] are remembered, and what
/// is forgotten is a known [`Gap`].
///
/// Restarts are forgotten first, then what voters began: what an operator did is what the guards between two logs ask for
/// (see [`crate::lines`]), and no number of restarts may push it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    terms: Vec<Term>,
    gaps: Vec<Gap>,
    arming: Vec<Arming>,
}

/// What a history says of a position that people name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holding {
    /// An entry of that epoch stands there.
    This,
    /// An entry of another epoch stands there, or will, and this log has come to that epoch or beyond it. A log whose entries up to `since`
    /// are final never holds the entry of that name: there the mastership began that followed, or it is the place itself.
    Other {
        /// At most the place that was asked about.
        since: Index,
    },
    /// The epoch is later than any that this log knows: what it wrote may not have come here yet, and then stands in the
    /// place of what is there.
    Later,
    /// The log does not reach that far, or its epoch there is forgotten.
    Unknown,
    /// Only the leader tells which entry is meant, and is not named.
    Ambiguous,
    /// The epoch was before this cluster, which was restored from a backup of another.
    Foreign,
}

/// How many terms are remembered, and how many changes of arming.
pub const REIGNS_MAX: usize = 256;

/// How many gaps there can be: one before each term, and one after the last.
pub const GAPS_MAX: usize = REIGNS_MAX + 1;

impl History {
    /// A history of these, or none if they do not ascend, overlap, or are too many.
    pub fn from_parts(terms: Vec<Term>, gaps: Vec<Gap>, arming: Vec<Arming>) -> Option<Self> {
        let few = terms.len() <= REIGNS_MAX && gaps.len() <= GAPS_MAX && arming.len() <= REIGNS_MAX;
        let history = Self { terms, gaps, arming };
        (few && history.is_sound()).then_some(history)
    }

    /// A history as it was written before gaps and arming were: what came before its first term is forgotten.
    pub(crate) fn from_terms(terms: Vec<Term>, armed: bool) -> Option<Self> {
        let first = terms.first().map_or(Index(1), |first| first.start);
        let Self { gaps, .. } = Self::forgotten_upto(first.prev());
        let arming = armed.then_some(Arming { at: Index(1), armed: true });
        Self::from_parts(terms, gaps, arming.into_iter().collect())
    }

    /// Of a log that forgets all that is in it up to `index`.
    pub(crate) fn forgotten_upto(index: Index) -> Self {
        let gap = (index > Index::ZERO).then_some(Gap { from: Index(1), upto: index, lost: Lost::Any });
        Self { gaps: gap.into_iter().collect(), ..Self::default() }
    }

    fn is_sound(&self) -> bool {
        let terms = self.terms.windows(2).all(|pair| match pair {
            [a, b] => a.start < b.start && a.epoch < b.epoch,
            _ => true,
        });
        let gaps = self.gaps.windows(2).all(|pair| match pair {
            [a, b] => a.upto < b.from,
            _ => true,
        });
        let apart = |gap: &Gap| {
            gap.from <= gap.upto && self.terms.iter().all(|term| term.start < gap.from || term.start > gap.upto)
        };
        let arming = self.arming.windows(2).all(|pair| match pair {
            [a, b] => a.at < b.at && a.armed != b.armed,
            _ => true,
        });
        terms && gaps && arming && self.gaps.iter().all(apart)
    }

    /// The terms, oldest first.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// What is forgotten between them, oldest first.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// When it was armed and disarmed, oldest first.
    pub fn arming(&self) -> &[Arming] {
        &self.arming
    }

    /// The term that is open.
    pub fn last(&self) -> Option<&Term> {
        self.terms.last()
    }

    /// Adds a term. INV-5: epochs and starts only ascend.
    pub fn push(&mut self, term: Term) {
        if let Some(last) = self.terms.last() {
            assert!(last.epoch < term.epoch, "INV-5: epoch {:?} after {:?}", term.epoch, last.epoch);
            assert!(last.start < term.start, "INV-5: start {:?} after {:?}", term.start, last.start);
        }
        if self.terms.len() == REIGNS_MAX {
            self.forget_one(term.start);
        }
        self.terms.push(term);
    }

    /// Forgets the oldest of the terms that matter least, before one begins at `next`.
    fn forget_one(&mut self, next: Index) {
        let least = self.terms.iter().enumerate().min_by_key(|(_, term)| worth(term.kind)).map(|(at, _)| at);
        let Some(at) = least.filter(|at| *at < self.terms.len()) else { return };
        let forgotten = self.terms.remove(at);
        let ends = self.terms.get(at).map_or(next, |term| term.start).prev();
        let mut gap = Gap { from: forgotten.start, upto: ends, lost: Lost::of(forgotten.kind) };
        self.gaps.retain(|other| {
            // Between two terms that are remembered one gap is enough.
            let beside = other.upto.next() == gap.from || gap.from <= other.from && other.upto <= gap.upto;
            if beside {
                gap.from = gap.from.min(other.from);
                gap.lost = gap.lost.max(other.lost);
            }
            !beside
        });
        let place = self.gaps.partition_point(|other| other.from < gap.from);
        self.gaps.insert(place, gap);
        debug_assert!(self.is_sound(), "{self:?}");
    }

    /// Notes the membership at `at`, armed or not.
    pub fn note_membership(&mut self, at: Index, armed: bool) {
        if self.arming.last().map_or(armed, |last| last.armed != armed) {
            if self.arming.len() == REIGNS_MAX {
                self.arming.remove(0);
            }
            self.arming.push(Arming { at, armed });
        }
    }

    /// Forgets what begins after `index`, as a truncation to it does.
    pub fn truncate(&mut self, index: Index) {
        self.terms.retain(|term| term.start <= index);
        self.gaps.retain(|gap| gap.from <= index);
        if let Some(gap) = self.gaps.last_mut() {
            gap.upto = gap.upto.min(index);
        }
        self.arming.retain(|arming| arming.at <= index);
    }

    /// The epoch that wrote `index`, in a log that reaches that far, if it is remembered.
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        self.term_at(index).map(|term| term.epoch)
    }

    /// The term that wrote `index`, likewise.
    pub fn term_at(&self, index: Index) -> Option<&Term> {
        if self.gap_at(index).is_some() {
            return None;
        }
        let after = self.terms.partition_point(|term| term.start <= index);
        after.checked_sub(1).and_then(|at| self.terms.get(at))
    }

    /// The gap that `index` is in.
    pub fn gap_at(&self, index: Index) -> Option<&Gap> {
        let after = self.gaps.partition_point(|gap| gap.from <= index);
        let gap = after.checked_sub(1).and_then(|at| self.gaps.get(at));
        gap.filter(|gap| index <= gap.upto)
    }

    /// Whether the entry of this name stands in a log that is known to reach that far.
    pub fn holds(&self, named: &Named, planted: Planted) -> Holding {
        if self.is_before_founding(named) {
            return Holding::Foreign;
        }
        let (Some(holder), Some(last)) = (self.term_at(named.index), self.last()) else {
            return Holding::Unknown;
        };
        let any = planted.position_by_number_alone();
        let order = |term: &Term| match (named.number.cmp(&term.epoch.number), named.compare(term.epoch)) {
            (by_number, _) if any => Some(by_number),
            // Nobody but the founder has its number, and of masters that voters elected each has one of its own; what nodes
            // begin by themselves may have a number that another one has, in a line apart.
            (Ordering::Equal, None) if term.kind.is_by_voters() || term.kind == StartKind::Founding => {
                Some(Ordering::Equal)
            }
            (_, order) => order,
        };
        match (order(holder), order(last)) {
            (Some(Ordering::Equal), _) => Holding::This,
            (_, Some(Ordering::Greater)) => Holding::Later,
            (Some(Ordering::Less), Some(_)) => Holding::Other { since: holder.start },
            (Some(Ordering::Greater), Some(_)) => Holding::Other { since: named.index },
            (None, _) | (_, None) => Holding::Ambiguous,
        }
    }

    /// Whether this cluster was founded on what another had written, in an epoch after the named one. What that cluster answered is not
    /// known here: it may have gone on for a while, and gone other ways.
    fn is_before_founding(&self, named: &Named) -> bool {
        let founding = self.terms.first().filter(|first| first.kind == StartKind::Founding);
        named.index > Index::ZERO
            && founding.is_some_and(|founding| {
                founding.start > Index(1) && named.compare(founding.epoch).is_some_and(Ordering::is_lt)
            })
    }

    /// The last index of `epoch` in a log that ends at `last`; none if it is unknown here.
    pub fn end_of(&self, epoch: Epoch, last: Index) -> Option<Index> {
        let at = self.terms.iter().position(|term| term.epoch == epoch)?;
        let start = self.terms.get(at)?.start;
        let next = self.terms.get(at + 1).map(|next| next.start);
        let gap = self.gaps.iter().map(|gap| gap.from).find(|from| *from > start);
        Some(next.into_iter().chain(gap).min().map_or(last, Index::prev))
    }

    /// Whether an operator's promotion opened a term after `index`.
    pub fn promoted_after(&self, index: Index) -> bool {
        self.after(index).any(|term| term.kind.is_by_operator())
    }

    /// Whether an operator's promotion by force opened a term after `index`.
    pub fn forced_after(&self, index: Index) -> bool {
        self.after(index).any(|term| term.kind.is_by_force())
    }

    /// Whether a majority of voters opened a term after `index`.
    pub fn elected_after(&self, index: Index) -> bool {
        self.after(index).any(|term| term.kind.is_by_voters())
    }

    /// Whether voters may have committed anything after `index`: an armed membership was in force.
    pub fn armed_after(&self, index: Index) -> bool {
        self.armed_at(index) || self.arming.iter().any(|arming| arming.at > index && arming.armed)
    }

    /// Whether an armed membership was in force at `index`.
    pub fn armed_at(&self, index: Index) -> bool {
        let before = self.arming.iter().rev().find(|arming| arming.at <= index).map(|arming| arming.armed);
        // Each differs from the one before, a forgotten one too.
        before.or_else(|| self.arming.first().map(|first| !first.armed)).unwrap_or(false)
    }

    /// The terms that are remembered and were opened after `index`.
    pub fn after(&self, index: Index) -> impl Iterator<Item = &Term> {
        self.terms.iter().filter(move |term| term.start > index)
    }
}

/// What is forgotten first has the least.
const fn worth(kind: StartKind) -> u8 {
    match kind {
        StartKind::Restart => 0,
        StartKind::Election | StartKind::Switchover => 1,
        StartKind::Promotion | StartKind::Forced => 2,
        StartKind::Founding => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    fn term(number: u64, kind: StartKind) -> Term {
        Term { epoch: Epoch { number, leader: NodeId(1) }, start: Index(number * 3), kind }
    }

    /// Each 100th is a promotion, each 10th an election, all others are restarts.
    fn long() -> (History, Vec<Term>) {
        let (mut history, mut all) = (History::default(), Vec::new());
        for number in 1..=2000 {
            let kind = match number {
                1 => StartKind::Founding,
                _ if number % 100 == 0 => StartKind::Promotion,
                _ if number % 10 == 0 => StartKind::Election,
                _ => StartKind::Restart,
            };
            all.push(term(number, kind));
            history.push(term(number, kind));
        }
        (history, all)
    }

    #[test]
    fn restarts_are_forgotten_first_and_what_is_forgotten_is_a_known_gap() {
        let (history, all) = long();
        assert_eq!(history.terms().len(), REIGNS_MAX);
        let stays =
            |kind: StartKind| all.iter().filter(|term| term.kind == kind).all(|it| history.terms().contains(it));
        assert!(stays(StartKind::Founding) && stays(StartKind::Promotion) && stays(StartKind::Election));
        for term in &all {
            for index in [term.start, Index(term.start.0 + 2)] {
                let known = history.epoch_at(index);
                let forgotten = history.gap_at(index).is_some_and(|gap| gap.lost == Lost::Restarts);
                assert!(known == Some(term.epoch) || known.is_none() && forgotten, "{index} of {term:?}");
            }
        }
        assert!(History::from_parts(history.terms.clone(), history.gaps.clone(), Vec::new()).is_some());
    }

    #[test]
    fn elections_go_before_promotions_and_a_gap_says_so() {
        let mut history = History::default();
        for number in 1..=400 {
            let kind = if number == 2 { StartKind::Forced } else { StartKind::Election };
            history.push(term(number, kind));
        }
        assert_eq!(history.terms().first(), Some(&term(2, StartKind::Forced)));
        assert_eq!(history.gaps().iter().map(|gap| gap.lost).max(), Some(Lost::ByVoters));
    }

    #[test]
    fn a_truncation_into_a_gap_leaves_its_beginning() {
        let (mut history, _) = long();
        let gap = *history.gaps().first().unwrap();
        history.truncate(gap.from);
        assert_eq!(history.gaps().last(), Some(&Gap { upto: gap.from, ..gap }));
        assert_eq!((history.epoch_at(gap.from), history.is_sound()), (None, true));
        history.push(term(3000, StartKind::Restart));
        assert!(history.is_sound());
    }

    #[test]
    fn it_was_armed_from_when_to_when() {
        let mut history = History::default();
        for (at, armed) in [(2, false), (5, true), (6, true), (9, false)] {
            history.note_membership(Index(at), armed);
        }
        assert_eq!(history.arming().len(), 2);
        let armed: Vec<u64> = (1..12).filter(|at| history.armed_at(Index(*at))).collect();
        assert_eq!(armed, [5, 6, 7, 8]);
        assert!(history.armed_after(Index(1)) && history.armed_after(Index(8)) && !history.armed_after(Index(9)));
    }
}
