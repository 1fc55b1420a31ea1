//! A disk between two steps: the batches that are durable on it, in order, and what they come to. Recovery reads them
//! through the shipped journal, as files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use synap_core::position::{Epoch, Index, Position};
use synap_core::recovered::Recovered;
use synap_core::time::Time;
use synap_core::wal::{Draw, FileOp, FileWrite, Journal, Record, WriteBatch, recover};

use crate::dice::mix;
use crate::plan::Plan;
use crate::trace::fingerprint;

/// What is durable on a machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    written: Vec<Arc<Written>>,
    pub(super) holds: Holds,
    digest: u64,
}

/// What was done to a disk.
#[derive(Debug)]
enum Written {
    Batch(WriteBatch),
    /// The process started, and recovery mended what it found.
    Start,
}

/// What the durable batches come to, told from the records alone: what nodes say of their disks is not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    /// Entries by index; those that only a snapshot holds are not among them.
    entries: BTreeMap<Index, Epoch>,
    /// The last position.
    pub(super) last: Position,
    /// The highest epoch promised.
    pub(super) promised: Epoch,
    /// Snapshots that were completed.
    snapshots: Vec<Position>,
    /// Rollback files that were completed.
    rollbacks: u32,
    /// Entries that were cut off so far without a rollback file before; an oracle looks here.
    pub(super) lost_unreported: Option<Position>,
}

impl Disk {
    /// The batch is durable.
    pub(super) fn write(&mut self, batch: &WriteBatch) {
        self.holds.take(batch);
        self.digest = mix(&[
            self.digest,
            fingerprint(&(&batch.records, &batch.files, batch.last, batch.cut, &batch.discards)),
        ]);
        self.written.push(Arc::new(Written::Batch(batch.again())));
    }

    /// What a starting process finds, and the journal that it goes on with.
    pub(super) fn recover(&mut self, plan: &Plan) -> Result<Option<Recovered>, String> {
        let mut files = Files::default();
        let mut journal = files.recover(plan)?.0;
        for written in &self.written {
            match written.as_ref() {
                Written::Batch(batch) => {
                    let ops = journal.plan(Time(0), std::slice::from_ref(batch));
                    ops.iter().try_for_each(|op| files.apply(op))?;
                }
                Written::Start => journal = files.recover(plan)?.0,
            }
        }
        let recovered = files.recover(plan)?.1;
        self.written.push(Arc::new(Written::Start));
        Ok(recovered)
    }

    pub(super) fn digest(&self) -> u64 {
        mix(&[self.digest, self.written.len() as u64])
    }
}

impl Holds {
    /// Whether the entry at this position is here, in the log or under a snapshot.
    pub(super) fn has(&self, position: Position) -> bool {
        self.entries
            .get(&position.index)
            .map_or(self.snapshots.iter().any(|snapshot| snapshot.index >= position.index), |epoch| {
                *epoch == position.epoch
            })
    }

    /// Whether a completed snapshot stands at this position.
    pub(super) fn has_snapshot(&self, position: Position) -> bool {
        self.snapshots.contains(&position)
    }

    fn take(&mut self, batch: &WriteBatch) {
        for file in &batch.files {
            match file {
                FileWrite::SnapshotDone { position, .. } => self.snapshots.push(*position),
                FileWrite::Rollback { last: true, .. } | FileWrite::RollbackKeepFiles { .. } => {
                    self.rollbacks += 1
                }
                FileWrite::Rollback { last: false, .. }
                | FileWrite::SnapshotChunk { .. }
                | FileWrite::SnapshotAbandoned { .. } => {}
            }
        }
        // Batches beside the log have no records and no head.
        for record in batch.records.iter().chain(Some(&batch.head).filter(|head| !head.is_empty())) {
            match Record::decode(&mut record.clone()) {
                Ok(record) => self.take_record(record),
                Err(error) => panic!("a node writes what is no record: {error}"),
            }
        }
        if !batch.records.is_empty() {
            self.last = batch.last;
        }
    }

    fn take_record(&mut self, record: Record) {
        match record {
            Record::HardState(state) => self.promised = state.promised,
            Record::Entry(entry) => {
                self.entries.insert(entry.position.index, entry.position.epoch);
            }
            Record::Truncate(to) => {
                let cut = self.entries.split_off(&to.index.next());
                if let Some((index, epoch)) = cut.into_iter().next().filter(|_| self.rollbacks == 0) {
                    self.lost_unreported = Some(Position { epoch, index });
                }
                self.rollbacks = self.rollbacks.saturating_sub(1);
            }
            Record::SnapshotMark(_) => self.entries.clear(),
            Record::Committed(_) => {}
        }
    }
}

/// The files of a disk while it is read.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn recover(&mut self, plan: &Plan) -> Result<(Journal, Option<Recovered>), String> {
        let names: Vec<String> = self.0.keys().cloned().collect();
        let read = |name: &str| self.0.get(name).map(|bytes| Bytes::from(bytes.clone())).ok_or("no such file");
        let recovery =
            recover(plan.journal(0), &names, Draw::default(), read).map_err(|error| error.to_string())?;
        recovery.repairs.iter().try_for_each(|op| self.apply(op))?;
        Ok((recovery.journal, recovery.recovered))
    }

    fn apply(&mut self, op: &FileOp) -> Result<(), String> {
        let missing = |file: &str| format!("the journal names {file}, which is not there");
        match op {
            FileOp::Create { file } => drop(self.0.insert(file.clone(), Vec::new())),
            FileOp::Write { file, at, parts } => {
                let bytes = self.0.get_mut(file).ok_or_else(|| missing(file))?;
                let start = usize::try_from(*at).map_err(|error| error.to_string())?;
                let parts = parts.concat();
                bytes.resize(bytes.len().max(start + parts.len()), 0);
                bytes[start..start + parts.len()].copy_from_slice(&parts);
            }
            FileOp::Rename { from, to } => {
                let bytes = self.0.remove(from).ok_or_else(|| missing(from))?;
                self.0.insert(to.clone(), bytes);
            }
            FileOp::Link { from, to } => {
                let bytes = self.0.get(from).cloned().ok_or_else(|| missing(from))?;
                self.0.insert(to.clone(), bytes);
            }
            FileOp::Remove { file } => drop(self.0.remove(file)),
            FileOp::Sync { .. } | FileOp::SyncDir { .. } | FileOp::CreateDir { .. } => {}
        }
        Ok(())
    }
}
