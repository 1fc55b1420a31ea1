//! A log that ends earlier on this disk than in memory: what was rolled back is saved and gone from the log, while the store that it
//! was applied to serves on until a snapshot replaces it.

use crate::config::Durability;
use crate::node::Node;
use crate::position::Position;
use crate::wal::Record;

/// The cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct CutOnDisk {
    /// Where it ends on the disk.
    at: Position,
    /// The batch in which the rest is written again.
    put_back: Option<u64>,
}

impl Node {
    /// What goes with the store is in a rollback file, and need not stand in the log as well: the disk may have no room for that and for
    /// the snapshot that is to replace both. What a restart goes on from stays: what both logs hold, and an own snapshot of more.
    pub(in crate::node) fn cut_saved(&mut self, common: Position) {
        let newest = self.snapshots.newest().filter(|newest| newest.index > common.index);
        let at = newest.unwrap_or(common);
        let at_hand = self.log.base().index <= at.index && at.index < self.log.last().index;
        let cut_before = self.cut_on_disk.is_some_and(|cut| cut.at.index <= at.index);
        let logs = self.config.durability() > Durability::Memory;
        if !at_hand || cut_before || !logs || self.snapshots.is_writing_own() {
            return;
        }
        self.record(Record::Truncate(at).encode());
        self.durable.clip(at.index);
        self.cut_on_disk = Some(CutOnDisk { at, put_back: None });
    }

    /// An operator has made this log the cluster's again, or it gets a successor: what was cut is written again before anything follows.
    pub(in crate::node) fn put_back_cut(&mut self) {
        let batch = self.durable.next_batch();
        let Some(cut) = self.cut_on_disk.as_mut().filter(|cut| cut.put_back.is_none()) else { return };
        cut.put_back = Some(batch);
        let mut index = cut.at.index.next();
        while let Some(record) = self.log.get(index).map(|slot| slot.entry.record.clone()) {
            self.record(record);
            index = index.next();
        }
    }

    /// A batch of the log's lane is on disk.
    pub(in crate::node) fn note_put_back(&mut self, batch: u64) {
        self.cut_on_disk.take_if(|cut| cut.put_back == Some(batch));
    }

    /// Where the log on this disk ends, if that is not where it ends in memory.
    pub(in crate::node) fn disk_is_cut_at(&self) -> Option<Position> {
        self.cut_on_disk.filter(|cut| cut.put_back.is_none()).map(|cut| cut.at)
    }
}
