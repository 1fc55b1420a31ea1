//! The journal: turns batches into file operations. Owns segments, frames and the order of effects; never
//! touches a file itself.
//!
//! A group of batches becomes one frame and one sync. What makes a crash harmless at every point is argued in
//! `docs/formats/wal.md`; in short: a segment's head is synced before its first frame is written, a frame says up to
//! where everything before it was on disk, and nothing that is on disk is ever overwritten while it is needed.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

use crate::config::FsyncMode;
use crate::planted::Planted;
use crate::position::{Index, Position};
use crate::time::Time;
use crate::wal::batch::{FileWrite, Lane, WriteBatch};
use crate::wal::frame::{self, FrameHead, Kind, Tag, whole_sectors};
use crate::wal::ops::FileOp;
use crate::wal::preallocated::Preallocated;
use crate::wal::record::{self, Effect};
use crate::wal::reserve::Reserve;
use crate::wal::segment::{self, SegmentHead};
use crate::wal::side_files::{SideFiles, sync_data_dir};
use crate::wal::statefile;

mod removals;

/// Batches beyond this many bytes get a frame of their own.
const FRAME_RECORDS_BYTES_MAX: usize = 32 << 20;

/// What the journal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalConfig {
    /// Whether a log is kept at all; without one only snapshots and rollback files are written.
    pub wal: bool,
    /// Length of a segment file. The first one after a start, and those begun while space is short, are a 64th of it; each after that
    /// is twice as long as the one before. So neither a log that is written little is long, nor one of a process that often starts.
    pub segment_bytes_max: u64,
    /// Length of the [reserve](super::reserve); 0: none.
    pub reserve_bytes: u64,
    /// When a batch counts as durable.
    pub fsync: FsyncMode,
    /// How much log is to be handed to the node at a restart, at least.
    pub tail_bytes_max: u64,
    /// The bug that a simulation has planted.
    pub planted: Planted,
}

impl JournalConfig {
    /// Length of the shortest segments.
    fn segment_bytes_min(&self) -> u64 {
        let longest = whole_sectors(self.segment_bytes_max);
        whole_sectors(self.segment_bytes_max / 64).max(2 * segment::HEAD_BYTES as u64).min(longest)
    }

    /// Whether segments that are written out ahead have this length.
    pub(super) fn is_segment_length(&self, bytes: u64) -> bool {
        let longest = whole_sectors(self.segment_bytes_max);
        let doubled = core::iter::successors(Some(self.segment_bytes_min()), |bytes| bytes.checked_mul(2));
        bytes == longest || doubled.take_while(|length| *length < longest).any(|length| length == bytes)
    }
}

/// Turns batches into file operations.
#[derive(Clone, Debug)]
pub struct Journal {
    config: JournalConfig,
    side_files: SideFiles,
    preallocated: Preallocated,
    reserve: Reserve,
    /// What is being written ahead.
    ahead: Option<Ahead>,
    /// There was no room for what is written ahead: nothing is, before another segment is begun.
    ahead_rests: bool,
    /// Length of the next segment.
    segment_bytes: u64,
    /// Space is short.
    short: bool,
    /// How much may be written out ahead.
    ahead_bytes_max: u64,
    /// How much is free, as told last.
    free: u64,
    /// Segments that are no longer written to, oldest first.
    frozen: VecDeque<Segment>,
    current: Option<Current>,
    next: Next,
    /// Segments with frames that no sync has covered.
    unsynced: BTreeSet<u64>,
    sync_due: Option<Time>,
    bytes_written: u64,
    /// The segment that was written to when the last group of the log was planned: later ones may not be on disk.
    settled: u64,
    /// Draws the nonces of segments.
    nonces: ChaCha8Rng,
    /// Without a log: the hard state in the file of that name.
    kept_state: Bytes,
    /// The log was truncated to this, and nothing has followed yet.
    ends_at: Option<Position>,
}

/// What is written ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    Spare,
    Reserve,
}

/// What the next frame and segment are to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// Number of the next segment.
    pub(super) seq: u64,
    /// Number of the next frame.
    pub(super) frame: u64,
    /// All frames with lower numbers are on disk.
    pub(super) synced: u64,
    /// The log's last position.
    pub(super) last: Position,
}

/// A segment file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) seq: u64,
    /// In each of its frames; none in one of version 1, which gets no more.
    pub(super) nonce: Option<u64>,
    /// Number of its first frame.
    pub(super) first: u64,
    /// Where the log ends before its first record.
    pub(super) base: Position,
    /// The log ends nowhere before this in it: all its entries are later.
    pub(super) least: Index,
    /// No entry in it has a higher index.
    pub(super) highest: Index,
    /// None has that is still in the log, once what is planned is on disk.
    pub(super) live: Index,
    /// Whether it holds a snapshot's mark, from which the log starts again.
    pub(super) begins_anew: bool,
    /// Its length; frames that are longer make it longer.
    pub(super) bytes: u64,
    /// Whether it is that long, and written out.
    pub(super) whole: bool,
    /// Whether a rollback directory holds it too: it must not be overwritten then.
    pub(super) linked: bool,
}

/// The segment that is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) segment: Segment,
    /// Where the next frame begins.
    pub(super) end: u64,
}

/// A frame in the making.
#[derive(Default)]
struct Draft {
    records: Vec<Bytes>,
    bytes: usize,
    head: Bytes,
    last: Position,
    /// The log ends nowhere before this while it is written.
    least: Index,
    begins_anew: bool,
}

impl Journal {
    /// A journal without a segment: it makes one with the first batch.
    pub(super) fn new(
        config: JournalConfig,
        side_files: SideFiles,
        preallocated: Preallocated,
        next: Next,
        nonces: ChaCha8Rng,
    ) -> Self {
        Self {
            config,
            side_files,
            preallocated,
            reserve: Reserve::new(config.reserve_bytes),
            ahead: None,
            ahead_rests: false,
            segment_bytes: config.segment_bytes_min(),
            short: false,
            ahead_bytes_max: u64::MAX,
            free: u64::MAX,
            frozen: VecDeque::new(),
            current: None,
            next,
            unsynced: BTreeSet::new(),
            sync_due: None,
            bytes_written: 0,
            settled: 0,
            nonces,
            kept_state: Bytes::new(),
            ends_at: None,
        }
    }

    /// A segment's nonce.
    pub(super) fn draw_nonce(&mut self) -> u64 {
        let nonce = self.nonces.next_u64();
        if self.config.planted.nonce_not_drawn() { 0 } else { nonce }
    }

    /// Without a log: this hard state is in its file.
    pub(super) fn with_kept_state(mut self, state: Bytes) -> Self {
        self.kept_state = state;
        self
    }

    /// A journal that goes on in `current`.
    pub(super) fn with_segments(mut self, frozen: VecDeque<Segment>, current: Current, next: Next) -> Self {
        self.frozen = frozen;
        self.current = Some(current);
        self.next = next;
        self
    }

    /// The operations that put a group of batches on disk, in order, with one sync for all of them. Once they
    /// are carried out, [`WriteBatch::durable`] may be called on each batch. Those of a group that is all of one
    /// [`crate::wal::Lane`] may be carried out beside those of a group of the other.
    pub fn plan(&mut self, now: Time, group: &[WriteBatch]) -> Vec<FileOp> {
        let mut ops = Vec::new();
        let mut drafts = Drafts::default();
        if let Some(batch) = group.iter().rev().find(|batch| batch.lane() == Lane::Log) {
            (self.short, self.ahead_bytes_max) = (batch.short, batch.ahead_bytes_max);
            self.settled = self.current.map_or(0, |current| current.segment.seq);
        }
        let founding = self.current.is_none();
        if self.config.wal {
            self.remove_held(group, &mut ops);
        }
        for batch in group {
            for file in &batch.files {
                if must_follow_log(file) && !drafts.is_empty() {
                    self.write(core::mem::take(&mut drafts), now, &mut ops);
                    self.sync(&mut ops);
                }
                self.write_beside(file, &mut ops);
            }
            if self.config.wal {
                drafts.push(batch);
            }
        }
        self.side_files.sync_grown(&mut ops);
        self.write(drafts, now, &mut ops);
        match self.config.fsync {
            FsyncMode::Always => self.sync(&mut ops),
            // Who this node is must not be lost, whatever else may be.
            FsyncMode::Periodic(_) | FsyncMode::Never if founding => self.sync(&mut ops),
            FsyncMode::Periodic(_) | FsyncMode::Never => {}
        }
        if self.config.wal {
            self.remove_unneeded(group, &mut ops);
            self.give_up_end(group, &mut ops);
        } else {
            self.keep_state(group, &mut ops);
        }
        ops
    }

    /// When [`Journal::alarm`] is due; only with [`FsyncMode::Periodic`].
    pub fn deadline(&self) -> Option<Time> {
        self.sync_due
    }

    /// The timed sync, if it is due.
    pub fn alarm(&mut self, now: Time) -> Vec<FileOp> {
        let mut ops = Vec::new();
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync(&mut ops);
        }
        ops
    }

    /// Operations that write out the next segment ahead, or the reserve, if one is wanted; they touch no file that
    /// [`Journal::plan`] touches and may run beside it. Call [`Journal::spare_ready`] when they are carried out, or
    /// [`Journal::spare_given_up`] if there is no room for them. Asked again before that, it answers none.
    pub fn spare(&mut self) -> Option<Vec<FileOp>> {
        if !self.config.wal || self.short || self.ahead_rests || self.ahead.is_some() {
            return None;
        }
        let half_full = |current: &Current| !current.segment.whole || current.end > current.segment.bytes / 2;
        let fits = self.next_bytes() <= self.ahead_bytes_max;
        let wanted = fits && self.current.as_ref().is_none_or(half_full);
        let spare = if wanted { self.preallocated.make(self.next_bytes()) } else { None };
        let (ahead, ops) = match spare {
            Some(ops) => (Ahead::Spare, ops),
            None => (Ahead::Reserve, self.reserve.make()?),
        };
        self.ahead = Some(ahead);
        Some(ops)
    }

    /// The operations of [`Journal::spare`] are carried out.
    pub fn spare_ready(&mut self) {
        match self.ahead.take() {
            Some(Ahead::Spare) => self.preallocated.made(),
            Some(Ahead::Reserve) => self.reserve.made(),
            None => {}
        }
    }

    /// There is no room for the operations of [`Journal::spare`]. Gives those that remove what is there of it.
    pub fn spare_given_up(&mut self) -> Vec<FileOp> {
        self.ahead_rests = true;
        match self.ahead.take() {
            Some(Ahead::Spare) => self.preallocated.give_up(),
            Some(Ahead::Reserve) => self.reserve.give_up(),
            None => Vec::new(),
        }
    }

    /// There is no room for a group of the snapshot lane that [`WriteBatch::may_give_up`] allows to be given up; `undone` are those
    /// of its operations that were not carried out. Gives those that remove what is there of it.
    pub fn snapshot_given_up(&mut self, group: &[WriteBatch], undone: &[FileOp]) -> Vec<FileOp> {
        self.side_files.give_up(group, undone)
    }

    /// There is no room for an operation of the log: gives the one that makes some, if there is a reserve. Asked again, it answers none.
    pub fn give_reserve(&mut self) -> Option<FileOp> {
        self.ahead_rests = true;
        self.reserve.give()
    }

    /// The operations that end the log cleanly, so that the next start knows that nothing is torn.
    pub fn close(&mut self) -> Vec<FileOp> {
        let mut ops = Vec::new();
        if self.current.is_some() {
            self.sync(&mut ops);
            self.append(Kind::Close, Vec::new(), &mut ops);
            self.sync(&mut ops);
        }
        ops
    }

    /// So much is free on the disk.
    pub fn note_free(&mut self, bytes: u64) {
        self.free = bytes;
    }

    /// Length of the next segment.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Bytes of log written since the start.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Without a log the hard state has a file of its own, in every mode of syncing: who this node is, and the highest epoch
    /// that it has opened, must not be lost, or two of its masterships would write under one position. Snapshots of what was
    /// rolled back go first: they would be what the next start finds.
    fn keep_state(&mut self, group: &[WriteBatch], ops: &mut Vec<FileOp>) {
        let discards = group.iter().flat_map(|batch| &batch.discards);
        let before = ops.len();
        discards.for_each(|index| self.side_files.discard(*index, ops));
        if ops.len() > before {
            ops.push(sync_data_dir());
        }
        let heads = group.iter().map(|batch| &batch.head).filter(|head| !head.is_empty());
        if let Some(head) = heads.last().filter(|head| **head != self.kept_state) {
            ops.extend(statefile::write(head));
            self.kept_state = head.clone();
        }
    }

    fn write_beside(&mut self, file: &FileWrite, ops: &mut Vec<FileOp>) {
        let last = self.config.wal.then_some(self.next.last);
        match file {
            FileWrite::RollbackKeepFiles { .. } => {
                let names = self.keep_segments();
                self.side_files.write(file, &names, last, ops);
            }
            FileWrite::SnapshotChunk { .. }
            | FileWrite::SnapshotDone { .. }
            | FileWrite::SnapshotAbandoned { .. }
            | FileWrite::Rollback { .. } => self.side_files.write(file, &[], last, ops),
        }
    }

    /// The names of all segments, which are never to be overwritten from now on.
    fn keep_segments(&mut self) -> Vec<String> {
        let current = self.current.as_mut().map(|current| &mut current.segment);
        let all = self.frozen.iter_mut().chain(current);
        all.map(|segment| {
            segment.linked = true;
            segment::file_name(segment.seq)
        })
        .collect()
    }

    fn write(&mut self, drafts: Drafts, now: Time, ops: &mut Vec<FileOp>) {
        for Draft { mut records, bytes, head, last, least, begins_anew } in drafts.0 {
            if self.must_roll(bytes) {
                self.roll(ops);
                records.insert(0, head);
            }
            self.append(Kind::Records, records, ops);
            self.next.last = last;
            let gone_after = |segment: &mut Segment| segment.live = segment.live.min(least);
            self.frozen.iter_mut().for_each(gone_after);
            if let Some(Current { segment, .. }) = &mut self.current {
                segment.highest = segment.highest.max(last.index);
                segment.live = segment.live.min(least).max(last.index);
                segment.least = segment.least.min(least);
                segment.begins_anew |= begins_anew;
            }
            if let FsyncMode::Periodic(every) = self.config.fsync {
                self.sync_due = self.sync_due.or(Some(now + every));
            }
        }
    }

    /// A segment that was not written out ahead gives way as soon as there is one that was; one that a rollback
    /// directory holds too gives way at once, so that the copy ends where the log was discarded.
    fn must_roll(&self, record_bytes: usize) -> bool {
        let Some(current) = &self.current else {
            return true;
        };
        let whole = whole_sectors((frame::HEAD_BYTES + record_bytes) as u64);
        let begun = current.end > segment::HEAD_BYTES as u64;
        // What is written while space is short is to be cut soon.
        let short = self.config.segment_bytes_min();
        let bytes = if self.short { current.segment.bytes.min(short) } else { current.segment.bytes };
        let full = current.end + whole > bytes && begun;
        full || current.segment.linked || (!current.segment.whole && self.preallocated.any())
    }

    /// Goes on in a new segment. Its head and its name are on disk before its first frame is written, so that a
    /// broken head with frames behind it can only be damage.
    fn roll(&mut self, ops: &mut Vec<FileOp>) {
        let seq = self.next.seq;
        self.next.seq += 1;
        let file = segment::file_name(seq);
        let (bytes, whole) = match self.preallocated.take() {
            Some((from, bytes)) => {
                ops.push(FileOp::Rename { from, to: file.clone() });
                (bytes, true)
            }
            None => {
                ops.push(FileOp::Create { file: file.clone() });
                (self.next_bytes(), false)
            }
        };
        self.segment_bytes = (bytes * 2).min(whole_sectors(self.config.segment_bytes_max));
        self.ahead_rests = false;
        let nonce = Some(self.draw_nonce());
        let head = SegmentHead {
            seq,
            prev: self.current.map_or(0, |current| current.segment.seq),
            first: self.next.frame,
            synced: self.next.synced,
            base: self.next.last,
            nonce,
        };
        ops.push(FileOp::Write { file: file.clone(), at: 0, parts: Vec::from([head.encode()]) });
        ops.push(FileOp::Sync { file });
        ops.push(sync_data_dir());
        self.frozen.extend(self.current.map(|current| current.segment));
        let (first, base) = (self.next.frame, self.next.last);
        let (least, highest, live) = (base.index, base.index, base.index);
        let (begins_anew, linked) = (false, false);
        let segment = Segment { seq, nonce, first, base, least, highest, live, begins_anew, bytes, whole, linked };
        self.current = Some(Current { segment, end: segment::HEAD_BYTES as u64 });
    }

    /// Length of the next segment: no more than a quarter of what is free, which it would keep until it is full, and no more than may be
    /// written out ahead, as long as that is not less than the shortest.
    fn next_bytes(&self) -> u64 {
        let shortest = self.config.segment_bytes_min();
        let most = if self.short { shortest } else { (self.free / 4).min(self.ahead_bytes_max) };
        let mut bytes = self.segment_bytes;
        while bytes > most && bytes > shortest {
            bytes = whole_sectors(bytes / 2).max(shortest);
        }
        bytes
    }

    /// Adds a frame to the current segment; one that is too long makes the file longer.
    fn append(&mut self, kind: Kind, records: Vec<Bytes>, ops: &mut Vec<FileOp>) {
        let Some(current) = &mut self.current else {
            return;
        };
        let seq = current.segment.seq;
        let tag = Tag { seq, nonce: current.segment.nonce };
        let head = FrameHead { kind, tag, number: self.next.frame, synced: self.next.synced };
        assert!(head.synced <= head.number, "frame {} says that it is on disk already", head.number);
        let parts = frame::encode(head, records);
        let at = current.end;
        current.end += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        current.segment.whole &= current.end <= current.segment.bytes;
        self.bytes_written += current.end - at;
        self.next.frame += 1;
        self.unsynced.insert(seq);
        ops.push(FileOp::Write { file: segment::file_name(seq), at, parts });
    }

    fn sync(&mut self, ops: &mut Vec<FileOp>) {
        let unsynced = core::mem::take(&mut self.unsynced);
        ops.extend(unsynced.into_iter().map(|seq| FileOp::Sync { file: segment::file_name(seq) }));
        self.next.synced = self.next.frame;
        self.sync_due = None;
    }
}

/// The frames that a group is to become.
#[derive(Default)]
struct Drafts(Vec<Draft>);

impl Drafts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, batch: &WriteBatch) {
        if batch.records.is_empty() {
            return;
        }
        let bytes: usize = batch.records.iter().map(Bytes::len).sum();
        let draft = match self.0.pop() {
            Some(draft) if draft.bytes + bytes <= FRAME_RECORDS_BYTES_MAX => draft,
            full => {
                self.0.extend(full);
                Draft { least: Index(u64::MAX), ..Draft::default() }
            }
        };
        self.0.push(draft.with(batch, bytes));
    }
}

impl Draft {
    fn with(mut self, batch: &WriteBatch, bytes: usize) -> Self {
        self.records.extend(batch.records.iter().cloned());
        self.bytes += bytes;
        self.head = batch.head.clone();
        self.last = batch.last;
        for record in &batch.records {
            match record::effect(record) {
                Effect::EndsAt(position) => self.least = self.least.min(position.index),
                Effect::BeginsAnew(position) => {
                    (self.least, self.begins_anew) = (self.least.min(position.index), true);
                }
                Effect::GoesOn | Effect::None => {}
            }
        }
        self.least = self.least.min(batch.last.index);
        self
    }
}

/// A snapshot's name says that the log leads there, and a copy of the log's files is to hold all of it: both wait
/// for the records of the batches before.
const fn must_follow_log(file: &FileWrite) -> bool {
    match file {
        FileWrite::SnapshotDone { .. } | FileWrite::RollbackKeepFiles { .. } => true,
        FileWrite::SnapshotChunk { .. } | FileWrite::SnapshotAbandoned { .. } | FileWrite::Rollback { .. } => {
            false
        }
    }
}
