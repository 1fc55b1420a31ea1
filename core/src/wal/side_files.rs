//! The files beside the log: snapshots and rollback files. Owns their names and how they come to be; never writes
//! to the log.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::planted::Planted;
use crate::position::{Index, Position};
use crate::snapshot::index_of_file_name;
use crate::wal::batch::{FileWrite, RollbackId, WriteBatch, own_positions};
use crate::wal::ops::FileOp;
use crate::wal::segment;

/// Where rollback files are.
const ROLLBACK: &str = "rollback";

/// What stands beside the log, as of the operations planned so far.
#[derive(Clone, Debug, Default)]
pub(super) struct SideFiles {
    planted: Planted,
    /// Whole snapshots, each known by its index.
    snapshots: BTreeSet<Index>,
    /// Snapshots being written: how long they are so far.
    open: BTreeMap<Index, u64>,
    /// Those of them that have grown since they were last synced.
    grown: BTreeSet<Index>,
    /// Snapshots that a newer one makes superfluous, each with that one: once it is on disk, and the log goes on from it.
    superfluous: BTreeMap<Index, Index>,
    /// Snapshots that there was no room for: what still comes of them is dropped.
    given_up: BTreeSet<Index>,
    /// Numbers of rollback files that exist.
    taken: BTreeSet<u64>,
    /// Under which number each rollback file of this process goes.
    numbers: BTreeMap<RollbackId, u64>,
    /// Those of them that are whole.
    whole: BTreeSet<u64>,
    /// The rollback file being written: its length so far.
    rollback: Option<(RollbackId, u64)>,
}

impl SideFiles {
    pub(super) fn new(snapshots: BTreeSet<Index>, rollbacks: BTreeSet<u64>, planted: Planted) -> Self {
        Self { planted, snapshots, taken: rollbacks, ..Self::default() }
    }

    /// The operations of one write; `segments` are the log's files, oldest first, and `last` is where it ends.
    pub(super) fn write(
        &mut self,
        file: &FileWrite,
        segments: &[String],
        last: Option<Position>,
        ops: &mut Vec<FileOp>,
    ) {
        match file {
            FileWrite::SnapshotChunk { position, number, bytes, own: _ } => {
                self.chunk(position.index, *number == 0, bytes, ops);
            }
            FileWrite::SnapshotDone { position, keep } => self.done(*position, *keep, last, ops),
            FileWrite::SnapshotAbandoned { position } => {
                self.given_up.remove(&position.index);
                self.grown.remove(&position.index);
                if self.open.remove(&position.index).is_some() {
                    ops.push(FileOp::Remove { file: snapshot_temporary_name(position.index) });
                }
            }
            FileWrite::Rollback { id, first, last, lines } => self.lines(*id, *first, *last, lines, ops),
            FileWrite::RollbackKeepFiles { id } => self.keep_files(*id, segments, ops),
        }
    }

    /// Syncs what was written of snapshots that are not whole yet. No promise needs that, but a disk that is asked for
    /// all of a large file at once keeps the log's syncs waiting behind it.
    pub(super) fn sync_grown(&mut self, ops: &mut Vec<FileOp>) {
        let grown = core::mem::take(&mut self.grown);
        ops.extend(grown.into_iter().map(|index| FileOp::Sync { file: snapshot_temporary_name(index) }));
    }

    /// There was no room for what this group has of own snapshots, and `undone` was not carried out. What is on disk of them goes, and
    /// the older ones stay.
    pub(super) fn give_up(&mut self, group: &[WriteBatch], undone: &[FileOp]) -> Vec<FileOp> {
        let indices: BTreeSet<Index> = own_positions(group).map(|position| position.index).collect();
        for index in indices.iter().copied() {
            self.grown.remove(&index);
            let more_to_come = self.open.remove(&index).is_some();
            if more_to_come {
                self.given_up.insert(index);
            }
            self.snapshots.remove(&index);
            self.superfluous.retain(|_, newer| *newer != index);
        }
        let removals = undone.iter().filter_map(|op| match op {
            FileOp::Remove { file } => index_of_file_name(file),
            _ => None,
        });
        self.snapshots.extend(removals);
        indices.into_iter().map(|index| FileOp::Remove { file: snapshot_temporary_name(index) }).collect()
    }

    /// Space is short: of the snapshots up to `upto`, from which the log goes on, the newest alone stays.
    pub(super) fn thin(&mut self, upto: Index, ops: &mut Vec<FileOp>) {
        let Some(newest) = self.snapshots.range(..=upto).next_back().copied() else { return };
        let older: Vec<Index> = self.snapshots.range(..newest).copied().collect();
        for index in older {
            self.discard(index, ops);
        }
    }

    /// What this snapshot holds was taken out of the log, and that is durable.
    pub(super) fn discard(&mut self, index: Index, ops: &mut Vec<FileOp>) {
        if self.snapshots.remove(&index) {
            self.superfluous.remove(&index);
            ops.push(FileOp::Remove { file: snapshot_name(index) });
        }
    }

    /// The log goes on from a snapshot at or after `upto`, which is on disk. A newer one may still be on its way there.
    pub(super) fn remove_superfluous(&mut self, upto: Index, ops: &mut Vec<FileOp>) {
        let hasty = self.planted.snapshot_gone_too_soon();
        let gone = self.superfluous.iter().filter(|(_, newer)| hasty || **newer <= upto);
        let gone: Vec<Index> = gone.map(|(index, _)| *index).collect();
        for index in gone {
            self.superfluous.remove(&index);
            self.snapshots.remove(&index);
            ops.push(FileOp::Remove { file: snapshot_name(index) });
        }
    }

    fn chunk(&mut self, index: Index, first: bool, bytes: &Bytes, ops: &mut Vec<FileOp>) {
        let file = snapshot_temporary_name(index);
        if first {
            self.given_up.remove(&index);
        } else if self.given_up.contains(&index) {
            return;
        }
        if first {
            ops.push(FileOp::Create { file: file.clone() });
            self.open.insert(index, 0);
        }
        let Some(at) = self.open.get_mut(&index) else {
            panic!("a chunk of the snapshot at {index}, which was never begun");
        };
        ops.push(FileOp::Write { file, at: *at, parts: Vec::from([bytes.clone()]) });
        *at += bytes.len() as u64;
        self.grown.insert(index);
    }

    /// Where the log leads to the snapshot, the older ones can go at once. One that came from a master is of no use
    /// before the log says that it goes on from there: until then the older ones stay.
    fn done(&mut self, position: Position, keep: u32, last: Option<Position>, ops: &mut Vec<FileOp>) {
        let index = position.index;
        if self.given_up.remove(&index) {
            return;
        }
        assert!(self.open.remove(&index).is_some(), "the snapshot at {index} ends, which was never begun");
        self.grown.remove(&index);
        let from = snapshot_temporary_name(index);
        ops.push(FileOp::Sync { file: from.clone() });
        ops.push(FileOp::Rename { from, to: snapshot_name(index) });
        if !self.planted.snapshot_rename_not_synced() {
            ops.push(sync_data_dir());
        }
        self.snapshots.insert(index);
        let surplus = self.snapshots.len().saturating_sub(keep.max(1) as usize);
        let surplus = self.snapshots.iter().copied().filter(|old| *old != index).take(surplus);
        self.superfluous = surplus.map(|old| (old, index)).collect();
        if last.is_none_or(|last| position.index <= last.index && position.epoch <= last.epoch) {
            self.remove_superfluous(index, ops);
        }
    }

    fn lines(&mut self, id: RollbackId, first: bool, last: bool, lines: &Bytes, ops: &mut Vec<FileOp>) {
        let number = self.rollback_number(id, first, ops);
        let file = rollback_temporary_name(number);
        if first {
            ops.push(FileOp::Create { file: file.clone() });
            self.rollback = Some((id, 0));
        }
        let Some((_, at)) = self.rollback.as_mut().filter(|(open, _)| *open == id) else {
            panic!("lines of the rollback file {}, which was never begun", id.0);
        };
        ops.push(FileOp::Write { file: file.clone(), at: *at, parts: Vec::from([lines.clone()]) });
        *at += lines.len() as u64;
        if last {
            self.rollback = None;
            self.whole.insert(number);
            ops.push(FileOp::Sync { file: file.clone() });
            ops.push(FileOp::Rename { from: file, to: format!("{ROLLBACK}/{number}.ndjson") });
            ops.push(FileOp::SyncDir { dir: ROLLBACK.into() });
        }
    }

    /// The unfinished file comes first: where a start finds it, the files that were kept for it are of no use.
    fn keep_files(&mut self, id: RollbackId, segments: &[String], ops: &mut Vec<FileOp>) {
        let number = self.rollback_number(id, false, ops);
        if self.rollback.is_none_or(|(open, _)| open != id) {
            ops.push(FileOp::Create { file: rollback_temporary_name(number) });
        }
        ops.push(FileOp::SyncDir { dir: ROLLBACK.into() });
        let dir = format!("{ROLLBACK}/{number}.files");
        ops.push(FileOp::CreateDir { dir: dir.clone() });
        let snapshots = self.snapshots.iter().map(|index| snapshot_name(*index));
        for from in segments.iter().cloned().chain(snapshots) {
            let to = format!("{dir}/{from}");
            ops.push(FileOp::Link { from, to });
        }
        ops.push(FileOp::SyncDir { dir });
        ops.push(FileOp::SyncDir { dir: ROLLBACK.into() });
    }

    /// The number under which a rollback file goes: its id, unless an older file has that, since wall clocks go back
    /// and an older file must not be replaced.
    fn rollback_number(&mut self, id: RollbackId, anew: bool, ops: &mut Vec<FileOp>) -> u64 {
        let known = self.numbers.get(&id).copied().filter(|number| !(anew && self.whole.contains(number)));
        if let Some(number) = known {
            return number;
        }
        let number = (id.0..).find(|number| !self.taken.contains(number)).unwrap_or(u64::MAX);
        self.taken.insert(number);
        self.numbers.insert(id, number);
        ops.push(FileOp::CreateDir { dir: ROLLBACK.into() });
        ops.push(sync_data_dir());
        number
    }
}

/// Makes names in the data directory durable.
pub(super) const fn sync_data_dir() -> FileOp {
    FileOp::SyncDir { dir: String::new() }
}

/// The name of the snapshot at `index`; the other direction is [`crate::snapshot::index_of_file_name`].
pub(super) fn snapshot_name(index: Index) -> String {
    format!("snapshot-{:016x}.snap", index.0)
}

/// The name under which it is made.
pub(super) fn snapshot_temporary_name(index: Index) -> String {
    format!("snapshot-{:016x}.tmp", index.0)
}

/// Whether a snapshot was being made under this name.
pub(super) fn is_unfinished_snapshot(name: &str) -> bool {
    segment::number_in(name, "snapshot-", ".tmp").is_some()
}

/// How the name of a rollback file ends that is not whole yet.
pub(super) const ROLLBACK_UNFINISHED: &str = ".ndjson.tmp";

fn rollback_temporary_name(number: u64) -> String {
    format!("{ROLLBACK}/{number}{ROLLBACK_UNFINISHED}")
}

/// Whether this is one of the log's files that a rollback has kept.
pub(super) fn is_kept_by_rollback(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(dir, _)| dir != ROLLBACK && is_own_directory(dir))
}

/// The number of the rollback file or directory of kept files that a path belongs to.
pub(super) fn rollback_of(path: &str) -> Option<u64> {
    let name = path.strip_prefix(ROLLBACK)?.strip_prefix('/')?;
    name.split(['.', '/']).next()?.parse().ok()
}

/// Whether files of a node may lie in this subdirectory of its data directory (relative, `/` in between). What is in any other is not
/// the node's, and need not be looked at.
pub fn is_own_directory(path: &str) -> bool {
    let kept_files =
        || path.strip_prefix(ROLLBACK)?.strip_prefix('/')?.strip_suffix(".files")?.parse::<u64>().ok();
    path == ROLLBACK || kept_files().is_some()
}
