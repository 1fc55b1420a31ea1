//! The epochs of a log: which mastership wrote from which index on, and why it began. Two histories show how
//! far two logs agree (the idea of Kafka's KIP-101 and KIP-279: compare epochs, not lengths).

use alloc::vec::Vec;

use crate::command::StartKind;
use crate::position::{Epoch, Index, Position};

/// One mastership within a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reign {
    /// Which.
    pub epoch: Epoch,
    /// The index of its `EpochStart`.
    pub start: Index,
    /// Why it began.
    pub kind: StartKind,
}

/// The reigns of one log, oldest first; at most [`REIGNS_MAX`], the oldest are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    reigns: Vec<Reign>,
}

/// What a history says of a position that people name by its epoch's number and its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holding {
    /// An entry of that epoch stands there.
    This,
    /// An entry of another epoch stands there, and this log has come to that epoch or beyond it.
    Other,
    /// The epoch is later than any that this log knows: what it wrote may not have come here yet, and then stands in the
    /// place of what is there.
    Later,
    /// The log does not reach that far, or its epoch there is forgotten.
    Unknown,
}

/// How many reigns are remembered. A log that shares none of them catches up by snapshot.
pub const REIGNS_MAX: usize = 256;

impl History {
    /// A history of these reigns, or none if their starts or epochs do not ascend or they are too many.
    pub fn from_reigns(reigns: Vec<Reign>) -> Option<Self> {
        let ascends = reigns.windows(2).all(|pair| match pair {
            [a, b] => a.start < b.start && a.epoch < b.epoch,
            _ => true,
        });
        (ascends && reigns.len() <= REIGNS_MAX).then_some(Self { reigns })
    }

    /// The reigns, oldest first.
    pub fn reigns(&self) -> &[Reign] {
        &self.reigns
    }

    /// The reign that is open.
    pub fn last(&self) -> Option<&Reign> {
        self.reigns.last()
    }

    /// Adds a reign. INV-5: epochs and starts only ascend.
    pub fn push(&mut self, reign: Reign) {
        if let Some(last) = self.reigns.last() {
            assert!(last.epoch < reign.epoch, "INV-5: epoch {:?} after {:?}", reign.epoch, last.epoch);
            assert!(last.start < reign.start, "INV-5: start {:?} after {:?}", reign.start, last.start);
        }
        if self.reigns.len() == REIGNS_MAX {
            self.reigns.remove(0);
        }
        self.reigns.push(reign);
    }

    /// Forgets the reigns that begin after `index`, as a truncation to it does.
    pub fn truncate(&mut self, index: Index) {
        self.reigns.retain(|reign| reign.start <= index);
    }

    /// The epoch that wrote `index`, if the log reaches that far and it is remembered.
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        let after = self.reigns.partition_point(|reign| reign.start <= index);
        after.checked_sub(1).and_then(|at| self.reigns.get(at)).map(|reign| reign.epoch)
    }

    /// Whether the epoch of this number wrote `index`, in a log that is known to reach that far.
    pub fn holds(&self, number: u64, index: Index) -> Holding {
        match (self.epoch_at(index), self.last()) {
            (Some(holder), _) if holder.number == number => Holding::This,
            (Some(_), Some(last)) if last.epoch.number < number => Holding::Later,
            (Some(_), _) => Holding::Other,
            (None, _) => Holding::Unknown,
        }
    }

    /// The last index of `epoch` in a log that ends at `last`; none if it is unknown here.
    pub fn end_of(&self, epoch: Epoch, last: Index) -> Option<Index> {
        let at = self.reigns.iter().position(|reign| reign.epoch == epoch)?;
        Some(self.reigns.get(at + 1).map_or(last, |next| next.start.prev()))
    }

    /// The newest position that both logs hold, each given by its history and last index.
    ///
    /// Safety: only its leader writes in an epoch, only forwards, and never in an epoch from before a restart
    /// (INV-6). So two logs that both have entries of an epoch agree up to the shorter one's end of it.
    pub fn common(&self, last: Index, other: &Self, other_last: Index) -> Option<Position> {
        self.reigns.iter().rev().find_map(|reign| {
            let here = self.end_of(reign.epoch, last)?;
            let there = other.end_of(reign.epoch, other_last)?;
            Some(Position { epoch: reign.epoch, index: here.min(there) })
        })
    }

    /// Whether this history has forgotten all that a log which ends at `last` could share with it.
    pub fn has_forgotten(&self, last: Position) -> bool {
        let first = self.reigns.first().filter(|_| self.reigns.len() == REIGNS_MAX);
        first.is_some_and(|first| first.epoch > last.epoch && first.start > last.index)
    }

    /// Whether an operator's promotion opened a reign after `index`.
    pub fn promoted_after(&self, index: Index) -> bool {
        self.after(index).any(StartKind::is_by_operator)
    }

    /// Whether an operator's promotion by force opened a reign after `index`.
    pub fn forced_after(&self, index: Index) -> bool {
        self.after(index).any(StartKind::is_by_force)
    }

    /// Whether a majority of voters opened a reign after `index`: what it lacks was never committed by them.
    pub fn elected_after(&self, index: Index) -> bool {
        self.after(index).any(StartKind::is_by_voters)
    }

    /// How the reigns began that were opened after `index`.
    fn after(&self, index: Index) -> impl Iterator<Item = StartKind> {
        self.reigns.iter().filter(move |reign| reign.start > index).map(|reign| reign.kind)
    }
}
