//! What goes from the disk, and when: what a snapshot that is on disk holds goes before anything else is written, since there may be no room
//! for that before; what a group itself makes superfluous goes once the group is on disk.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Current, Journal, Next, Segment};
use crate::position::{Index, Position};
use crate::wal::batch::{Lane, WriteBatch};
use crate::wal::frame::{self, FrameHead, Kind};
use crate::wal::ops::FileOp;
use crate::wal::record::{self, Effect, Record};
use crate::wal::segment::{self, SegmentHead};
use crate::wal::side_files::sync_data_dir;

impl Journal {
    /// Removes what a group lets go that was on disk before it: a snapshot of our own holds it.
    pub(super) fn remove_held(&mut self, group: &[WriteBatch], ops: &mut Vec<FileOp>) {
        let cut = cut_ahead(group);
        let mut removals = Vec::new();
        if let Some(cut) = cut {
            self.side_files.remove_superfluous(cut, &mut removals);
            self.drop_segments(cut, &mut removals);
        }
        if self.short {
            self.side_files.thin(cut.unwrap_or_default(), &mut removals);
            self.preallocated.drop_all(&mut removals);
        }
        self.remove(removals, ops);
    }

    /// Removes what the group made superfluous: snapshots of what was discarded, older snapshots, the log's oldest segments.
    pub(super) fn remove_unneeded(&mut self, group: &[WriteBatch], ops: &mut Vec<FileOp>) {
        let cut = group.iter().filter_map(|batch| batch.cut).max();
        let mut removals = Vec::new();
        for index in group.iter().flat_map(|batch| &batch.discards) {
            self.side_files.discard(*index, &mut removals);
        }
        let marks =
            group.iter().flat_map(|batch| &batch.records).filter_map(|record| match record::effect(record) {
                Effect::BeginsAnew(position) => Some(position.index),
                Effect::EndsAt(_) | Effect::GoesOn | Effect::None => None,
            });
        if let Some(upto) = marks.chain(cut).max() {
            self.side_files.remove_superfluous(upto, &mut removals);
        }
        if self.short {
            self.side_files.thin(cut.unwrap_or_default(), &mut removals);
        }
        self.drop_segments(cut.unwrap_or_default(), &mut removals);
        self.remove(removals, ops);
    }

    /// In every mode what makes them superfluous is synced first.
    fn remove(&mut self, mut removals: Vec<FileOp>, ops: &mut Vec<FileOp>) {
        if !removals.is_empty() {
            self.sync(ops);
            ops.append(&mut removals);
            // A segment that is used again must have lost its old name for good.
            ops.push(sync_data_dir());
        }
    }

    fn drop_segments(&mut self, cut: Index, ops: &mut Vec<FileOp>) {
        // What is taken out of the log may be on its way to the disk still while a group of the other lane is planned: that cuts nothing.
        let is_held = |segment: &Segment| segment.highest <= cut || segment.live <= cut && cut > Index::ZERO;
        while let Some(segment) = self.frozen.front().copied().filter(is_held) {
            self.frozen.pop_front();
            self.unsynced.remove(&segment.seq);
            let file = segment::file_name(segment.seq);
            let fits = segment.whole && segment.bytes == self.next_bytes() && !self.short;
            ops.push(if fits && !segment.linked && self.preallocated.has_room() {
                FileOp::Rename { from: file, to: self.preallocated.add(segment.bytes) }
            } else {
                FileOp::Remove { file }
            });
        }
    }

    /// The log waits for room while `waiting` is queued behind it: gives the operations that remove what was written ahead, and what these
    /// batches let go already. Should one fail, none that follows it may be carried out.
    pub fn give_room(&mut self, waiting: &[WriteBatch]) -> Vec<FileOp> {
        self.let_go(cut_ahead(waiting).unwrap_or_default(), self.settled)
    }

    /// There is no room to mend the end of the log after a start: gives the operations that remove what the snapshot at `index`, from which the
    /// node starts, holds as well. The directory is to be read again then.
    pub fn give_room_at_start(&mut self, index: Index) -> Vec<FileOp> {
        let last = self.frozen.back().map_or(0, |segment| segment.seq);
        self.let_go(index, last)
    }

    /// Removes spare segments, older snapshots, and segments before the one numbered `kept`, that a durable snapshot at `cut` or later holds. The
    /// newest promise is in each segment, so that one on disk must stay.
    fn let_go(&mut self, cut: Index, kept: u64) -> Vec<FileOp> {
        let mut removals = Vec::new();
        self.side_files.thin(cut, &mut removals);
        self.preallocated.drop_all(&mut removals);
        let goes = |segment: &Segment| segment.seq < kept && segment.highest <= cut;
        while let Some(segment) = self.frozen.front().copied().filter(goes) {
            self.frozen.pop_front();
            self.unsynced.remove(&segment.seq);
            removals.push(FileOp::Remove { file: segment::file_name(segment.seq) });
        }
        if removals.is_empty() {
            return removals;
        }
        let unsynced = self.unsynced.range(..=kept);
        let mut ops: Vec<_> = unsynced.map(|seq| FileOp::Sync { file: segment::file_name(*seq) }).collect();
        ops.append(&mut removals);
        ops.push(sync_data_dir());
        ops
    }

    /// The log was truncated: segments that hold nothing but what is gone give their room back, now and not when the next snapshot
    /// lets the log be cut. A segment takes their place that says where the log ends, as after a torn tail: it gets its name when it is
    /// whole, and names the frame from which the earlier ones are void.
    pub(super) fn give_up_end(&mut self, group: &[WriteBatch], ops: &mut Vec<FileOp>) {
        for record in group.iter().flat_map(|batch| &batch.records) {
            match record::effect(record) {
                Effect::EndsAt(position) => self.ends_at = Some(position),
                Effect::GoesOn | Effect::BeginsAnew(_) => self.ends_at = None,
                Effect::None => {}
            }
        }
        let state = group.iter().map(|batch| &batch.head).rfind(|head| !head.is_empty());
        let (Some(end), Some(current), Some(state)) = (self.ends_at, self.current, state) else { return };
        let is_needed = |segment: &Segment| segment.least < end.index || segment.begins_anew;
        let kept = self.frozen.iter().rposition(is_needed).map_or(0, |at| at + 1);
        let gone = self.frozen.get(kept).copied().unwrap_or(current.segment);
        if is_needed(&current.segment) || kept == 0 && gone.base.index > end.index {
            return;
        }
        self.sync(ops);
        let void: Vec<u64> =
            self.frozen.drain(kept..).chain([current.segment]).map(|segment| segment.seq).collect();
        self.end_after(gone.first, gone.base, end, state.clone(), ops);
        ops.extend(void.into_iter().map(|seq| FileOp::Remove { file: segment::file_name(seq) }));
        ops.push(sync_data_dir());
    }

    /// Goes on in a new segment behind those that are kept, in the place of frames from `first` on, before which the log ended at `base`.
    fn end_after(&mut self, first: u64, base: Position, end: Position, state: Bytes, ops: &mut Vec<FileOp>) {
        let (seq, nonce) = (self.next.seq, Some(self.draw_nonce()));
        let prev = self.frozen.back().map_or(0, |segment| segment.seq);
        let head = SegmentHead { seq, prev, first, synced: first, base, nonce };
        let frame = FrameHead { kind: Kind::Records, tag: head.tag(), number: first, synced: first };
        let mut parts = Vec::from([head.encode()]);
        parts.extend(frame::encode(frame, Vec::from([state, Record::Truncate(end).encode()])));
        let at = parts.iter().map(|part| part.len() as u64).sum();
        ops.extend(segment::make_whole(seq, parts));
        let (least, highest, live, bytes) = (end.index, base.index, end.index, self.segment_bytes);
        let (begins_anew, whole, linked) = (false, false, false);
        let segment = Segment { seq, nonce, first, base, least, highest, live, begins_anew, bytes, whole, linked };
        self.current = Some(Current { segment, end: at });
        self.next = Next { seq: seq + 1, frame: first + 1, synced: first + 1, last: end };
        self.ends_at = None;
    }
}

/// Up to where a batch cuts the log, of those in front of any that changes what the log holds.
fn cut_ahead(batches: &[WriteBatch]) -> Option<Index> {
    let goes_on = |batch: &&WriteBatch| {
        let plain = |record: &Bytes| matches!(record::effect(record), Effect::None | Effect::GoesOn);
        batch.files.is_empty() && batch.discards.is_empty() && batch.records.iter().all(plain)
    };
    let ahead = batches.iter().filter(|batch| batch.lane() == Lane::Log).take_while(goes_on);
    ahead.filter_map(|batch| batch.cut).max()
}
