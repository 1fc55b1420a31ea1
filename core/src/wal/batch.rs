//! What a turn wants on disk, and the receipt for it.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::position::{Index, Position};

/// Names a rollback file: the node's wall clock when it began, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollbackId(pub u64);

/// Which of the two queues of a disk a batch belongs to. Each queue keeps its order; between them there is none,
/// so that the long write of a snapshot never delays a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The log, and rollback files, which must be durable before the log is cut.
    Log,
    /// Snapshot files.
    Snapshot,
}

/// What one turn wants on disk. It is not `Clone`: the receipt for it exists only by consuming it.
///
/// Order of effects: `files` are durable before `records` are written; `cut` happens after `records` are durable.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteBatch {
    id: u64,
    lane: Lane,
    /// Writes beside the log.
    pub files: Vec<FileWrite>,
    /// Records for the log, in order, each whole.
    pub records: Vec<Bytes>,
    /// The hard state as of the end of this batch, as a record: a new segment begins with it.
    pub head: Bytes,
    /// The log's last position as of the end of this batch.
    pub last: Position,
    /// Entries up to here are no longer needed in the log.
    pub cut: Option<Index>,
    /// Snapshots of what this batch takes out of the log. Said by who decides it: when the batch is carried out, a snapshot
    /// of what comes in its place may have been written already, by the other lane.
    pub discards: Vec<Index>,
    /// Whether space is short: of snapshots the newest alone is kept, nothing is written out ahead, segments are short.
    pub short: bool,
    /// How many bytes may be written out ahead: more would take the room that the next snapshot needs.
    pub ahead_bytes_max: u64,
}

/// A write beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileWrite {
    /// A chunk of the snapshot at `position`; number 0 begins its temporary file anew.
    SnapshotChunk {
        /// Which snapshot.
        position: Position,
        /// Which chunk.
        number: u32,
        /// Its bytes.
        bytes: Bytes,
        /// Whether it is of this node's own state, which is on disk in another way too: where it does not fit it is given up.
        own: bool,
    },
    /// The snapshot is complete: sync it, give it its name, sync the directory, remove all but the newest `keep`.
    SnapshotDone {
        /// Which snapshot.
        position: Position,
        /// How many snapshot files to keep.
        keep: u32,
    },
    /// The snapshot broke off for good: remove its temporary file.
    SnapshotAbandoned {
        /// Which snapshot.
        position: Position,
    },
    /// Lines of a rollback file (NDJSON).
    Rollback {
        /// Which file.
        id: RollbackId,
        /// The first lines create its temporary file.
        first: bool,
        /// After the last lines it is synced, gets its name, and the directory is synced.
        last: bool,
        /// Whole lines.
        lines: Bytes,
    },
    /// What is discarded reaches further back than memory, or is longer than what has room in lines: link the log's segments and the
    /// snapshots into `rollback/` too, so that nothing is lost.
    RollbackKeepFiles {
        /// The rollback file that they belong to.
        id: RollbackId,
    },
}

/// The receipt for a [`WriteBatch`]: it is on disk, as the `fsync` mode promises.
#[derive(Debug, PartialEq, Eq)]
pub struct Durable {
    id: u64,
    lane: Lane,
}

/// Says that a [`WriteBatch`] was not carried out, and never will be: there is no room for it.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    id: u64,
}

impl WriteBatch {
    pub(crate) fn new(id: u64, lane: Lane, head: Bytes, last: Position) -> Self {
        let (files, records, discards) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, lane, files, records, head, last, cut: None, discards, short: false, ahead_bytes_max: u64::MAX }
    }

    /// Whether a group can be given up where there is no room for it: it is about snapshots of this node's own state alone.
    pub fn may_give_up(group: &[Self]) -> bool {
        let mut files = group.iter().flat_map(|batch| &batch.files).peekable();
        files.peek().is_some()
            && files.all(|file| match file {
                FileWrite::SnapshotChunk { own, .. } => *own,
                FileWrite::SnapshotDone { position, .. } => own_positions(group).any(|own| own == *position),
                FileWrite::SnapshotAbandoned { .. }
                | FileWrite::Rollback { .. }
                | FileWrite::RollbackKeepFiles { .. } => false,
            })
    }

    /// The queue that it belongs to.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Counts up from 1 within one process and lane.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The same batch once more, for a search that goes on from one state in two ways: on each of them a batch is
    /// written once. Only in simulation builds.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn again(&self) -> Self {
        let Self { id, lane, files, records, head, last, cut, discards, short, ahead_bytes_max } = self;
        Self {
            id: *id,
            lane: *lane,
            files: files.clone(),
            records: records.clone(),
            head: head.clone(),
            last: *last,
            cut: *cut,
            discards: discards.clone(),
            short: *short,
            ahead_bytes_max: *ahead_bytes_max,
        }
    }

    /// Says that all of it is on disk. To be called by what wrote it, and only then.
    pub fn durable(self) -> Durable {
        Durable { id: self.id, lane: self.lane }
    }

    /// Says that none of it will be, for want of room. Only of a group that [`WriteBatch::may_give_up`] allows.
    pub fn given_up(self) -> GivenUp {
        GivenUp { id: self.id }
    }
}

/// The snapshots of the own state that chunks in this group belong to.
pub(super) fn own_positions(group: &[WriteBatch]) -> impl Iterator<Item = Position> {
    group.iter().flat_map(|batch| &batch.files).filter_map(|file| match file {
        FileWrite::SnapshotChunk { position, own: true, .. } => Some(*position),
        FileWrite::SnapshotChunk { .. }
        | FileWrite::SnapshotDone { .. }
        | FileWrite::SnapshotAbandoned { .. }
        | FileWrite::Rollback { .. }
        | FileWrite::RollbackKeepFiles { .. } => None,
    })
}

impl GivenUp {
    /// The number of the batch of the snapshot lane.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Durable {
    /// The number of the batch that was written.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The queue that it belonged to.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}
