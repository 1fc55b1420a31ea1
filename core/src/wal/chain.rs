//! The chain of segments: which files make up the log, where it ends, and whether what is missing there was torn or
//! is damage.
//!
//! Every frame and every segment's head says up to which frame everything was on disk before it was written. So the
//! first frame that is missing was torn by a crash if nothing later says that it was on disk; a receipt can never have
//! been given for it. Otherwise it was on disk once, and what is there now is damage: then nothing is touched.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::planted::Planted;
use crate::position::{Index, Position};
use crate::wal::frame::{self, Checksum, Frame, Kind, Tag};
use crate::wal::log::Log;
use crate::wal::record::Record;
use crate::wal::segment::{self, HeadFault, SegmentHead};

/// Most bytes of records that are written anew after a crash because nothing proves that they are on disk.
const REWRITTEN_BYTES_MAX: usize = 16 << 20;

/// A segment file with its content.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) seq: u64,
    pub(super) bytes: Bytes,
}

/// Why the segments are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged { seq: u64, at: u64, what: String },
    Version { seq: u64, version: u16 },
}

/// A segment that belongs to the log.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) seq: u64,
    pub(super) head: SegmentHead,
    /// Where the log ends while it is read.
    pub(super) ends: Ends,
    /// Length of its file.
    pub(super) length: u64,
    file: Bytes,
}

/// Where the log ends while something of it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) least: Index,
    /// The highest of what is still in the log.
    pub(super) highest: Index,
    pub(super) begins_anew: bool,
}

impl Ends {
    /// Nothing is read yet.
    pub(super) const fn at(last: Index) -> Self {
        Self { least: last, highest: last, begins_anew: false }
    }

    fn note(&mut self, last: Index) {
        (self.least, self.highest) = (self.least.min(last), last);
    }

    /// What comes next.
    fn take(&mut self, next: Self) {
        self.highest = self.highest.min(next.least).max(next.highest);
        self.least = self.least.min(next.least);
        self.begins_anew |= next.begins_anew;
    }
}

/// What the segments hold.
#[derive(Debug)]
pub(super) struct Chain {
    /// Those that belong to the log, oldest first.
    pub(super) segments: Vec<Linked>,
    /// Those that do not, or no longer.
    pub(super) void: Vec<u64>,
    pub(super) log: Log,
    /// Number of the frame that comes next.
    pub(super) next_frame: u64,
    pub(super) unproven: Unproven,
    /// The last frame says that the log was ended on purpose.
    pub(super) closed: bool,
    /// What the log's end looked like, if it was torn.
    pub(super) torn: Option<String>,
}

/// The last frames, which nothing later proves to be on disk: a process may have died between their write and their
/// sync, or in it. They are whole in memory, which is not the same.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    frames: VecDeque<UnprovenFrame>,
    bytes: usize,
    /// All frames with lower numbers are proven.
    pub(super) first: u64,
}

#[derive(Debug)]
struct UnprovenFrame {
    number: u64,
    records: Bytes,
    /// The log's last position before it.
    base: Position,
    ends: Ends,
}

/// What is to become of the unproven frames.
#[derive(Debug)]
pub(super) enum Resolution {
    /// Write them anew, in a segment that takes their place.
    Rewrite { base: Position, ends: Ends, records: Vec<Bytes> },
    /// There are too many: sync the files that they are in.
    Sync,
}

/// Reads segments (by ascending number) into a log.
pub(super) fn read(files: Vec<SegmentFile>, planted: Planted) -> Result<Chain, Fault> {
    let mut void = Vec::new();
    let segments = link(files, &mut void, planted)?;
    let first = segments.first().map(|segment| segment.head);
    let next_frame = first.map_or(1, |head| head.first);
    let log = Log::after(first.unwrap_or_default().base);
    let unproven = Unproven { first: next_frame, ..Unproven::default() };
    let chain = Chain { segments, void, log, next_frame, unproven, closed: false, torn: None };
    chain.walk(planted)
}

/// Which files follow each other, found from the newest back, since each names the one before it. The chain ends at
/// one that was cut; files beside it were given up by an earlier recovery, or are being removed.
///
/// A segment's head is synced before its first frame is written. So a broken head at the end, with no frame behind
/// it, was torn; any other is damage.
fn link(files: Vec<SegmentFile>, void: &mut Vec<u64>, planted: Planted) -> Result<Vec<Linked>, Fault> {
    let mut chain = VecDeque::new();
    let mut wanted = None;
    for SegmentFile { seq, bytes } in files.into_iter().rev() {
        if wanted.is_some_and(|wanted| wanted != seq) {
            void.push(seq);
            continue;
        }
        match SegmentHead::decode(&bytes) {
            Ok(head) if head.seq == seq => {
                wanted = Some(head.prev);
                let (ends, length) = (Ends::at(head.base.index), bytes.len() as u64);
                chain.push_front(Linked { seq, head, ends, length, file: without_zeros(bytes, planted) });
            }
            Err(HeadFault::Version(version)) => return Err(Fault::Version { seq, version }),
            // Broken, or its name is newer than its content: a spare that had just been given its name.
            Ok(_) | Err(HeadFault::Broken) => {
                let begun = frame::has_begun(&bytes, segment::HEAD_BYTES, seq);
                if begun || wanted.is_some() {
                    return Err(Fault::Damaged { seq, at: 0, what: "the segment's head is broken".into() });
                }
                void.push(seq);
            }
        }
    }
    Ok(chain.into())
}

impl Chain {
    fn walk(mut self, planted: Planted) -> Result<Self, Fault> {
        let mut at = 0;
        while let Some(segment) = self.segments.get(at) {
            let (seq, head, file) = (segment.seq, segment.head, segment.file.clone());
            if at > 0 && head.base != self.log.last() {
                let what = format!("it goes on after {}, the log ends at {}", head.base, self.log.last());
                return Err(Fault::Damaged { seq, at: 0, what });
            }
            self.unproven.prove(head.synced);
            let bound = self.segments.get(at + 1).map_or(u64::MAX, |next| next.head.first);
            let mut ends = Ends::at(head.base.index);
            let stop = self.frames(head.tag(), &file, bound, &mut ends)?;
            if let Some((segment, earlier)) = self.segments.get_mut(..=at).and_then(<[_]>::split_last_mut) {
                segment.ends = ends;
                earlier.iter_mut().for_each(|earlier| earlier.ends.highest = earlier.ends.highest.min(ends.least));
            }
            at += 1;
            if let Some(offset) = stop {
                self.end(at, head.tag(), &file, offset, planted)?;
            }
        }
        Ok(self)
    }

    /// Takes frames up to number `bound`. Where they end before it, the offset of the one that is missing.
    fn frames(&mut self, tag: Tag, file: &Bytes, bound: u64, ends: &mut Ends) -> Result<Option<usize>, Fault> {
        let seq = tag.seq;
        let mut offset = segment::HEAD_BYTES;
        while self.next_frame < bound {
            match frame::find(file, offset, tag, Checksum::Verify) {
                Some(frame) if frame.head.number == self.next_frame => {
                    let next = frame.next;
                    self.frame(frame, ends).map_err(|what| Fault::Damaged { seq, at: offset as u64, what })?;
                    offset = next;
                }
                Some(_) | None => return Ok(Some(offset)),
            }
        }
        Ok(None)
    }

    fn frame(&mut self, frame: Frame, ends: &mut Ends) -> Result<(), String> {
        self.unproven.prove(frame.head.synced);
        let base = self.log.last();
        let mut of_frame = Ends::at(base.index);
        let mut records = frame.records.clone();
        while !records.is_empty() {
            let record = Record::decode(&mut records).map_err(|error| format!("{error}"))?;
            of_frame.begins_anew |= matches!(record, Record::SnapshotMark(_));
            self.log.take(record)?;
            of_frame.note(self.log.last().index);
        }
        ends.take(of_frame);
        self.closed = match frame.head.kind {
            Kind::Close => true,
            Kind::Records => false,
        };
        self.unproven.push(UnprovenFrame {
            number: self.next_frame,
            records: frame.records,
            base,
            ends: of_frame,
        });
        self.next_frame += 1;
        Ok(())
    }

    /// The next frame is missing at `offset` of a segment; the segments from `after` on come later. Torn, or
    /// damaged?
    fn end(&mut self, after: usize, tag: Tag, file: &Bytes, offset: usize, planted: Planted) -> Result<(), Fault> {
        let seq = tag.seq;
        let missing = self.next_frame;
        let later: Vec<Linked> = self.segments.drain(after..).collect();
        let behind = frame::find_all(file, offset, tag).map(|frame| frame.head.synced);
        let in_later = later.iter().flat_map(|segment| {
            let frames = frame::find_all(&segment.file, segment::HEAD_BYTES, segment.head.tag());
            frames.map(|frame| frame.head.synced).chain([segment.head.synced])
        });
        let proven = behind.chain(in_later).max();
        if proven.is_some_and(|proven| proven > missing) && !planted.damage_taken_for_tail() {
            let what = format!("frame {missing} is missing or broken, and later ones say that it was on disk");
            return Err(Fault::Damaged { seq, at: offset as u64, what });
        }
        self.unproven.prove(proven.unwrap_or_default());
        let torn = frame::find(file, offset, tag, Checksum::Ignore).filter(|frame| frame.head.number == missing);
        if torn.is_some() || proven.is_some() {
            self.torn = Some(format!("frame {missing} at byte {offset} of {}", segment::file_name(seq)));
        }
        self.void.extend(later.iter().map(|segment| segment.seq));
        if let Some(torn) = torn.filter(|_| planted.torn_tail_accepted()) {
            self.believe(torn);
        }
        Ok(())
    }

    /// The planted bug `TornTailAccepted`.
    fn believe(&mut self, torn: Frame) {
        let base = self.log.last();
        let mut rest = torn.records.clone();
        while Record::decode_unchecked(&mut rest).is_ok_and(|record| self.log.take(record).is_ok()) {}
        let believed = torn.records.len() - rest.len();
        let (records, ends) = (torn.records.slice(..believed), Ends::at(base.index));
        self.unproven.push(UnprovenFrame { number: self.next_frame, records, base, ends });
        self.next_frame += 1;
    }
}

impl Unproven {
    /// All frames below `synced` are on disk.
    fn prove(&mut self, synced: u64) {
        self.first = self.first.max(synced);
        while self.frames.front().is_some_and(|frame| frame.number < synced) {
            self.pop();
        }
    }

    fn push(&mut self, frame: UnprovenFrame) {
        self.bytes += frame.records.len();
        self.frames.push_back(frame);
        while self.bytes > REWRITTEN_BYTES_MAX {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.records.len();
        }
    }

    /// What is to become of them, in a log that goes on with frame `next` after `last`.
    pub(super) fn resolve(self, next: u64, last: Position) -> Resolution {
        match self.frames.front() {
            Some(front) if front.number == self.first => {
                let (base, mut ends) = (front.base, front.ends);
                self.frames.iter().for_each(|frame| ends.take(frame.ends));
                let records = self.frames.into_iter().map(|frame| frame.records).collect();
                Resolution::Rewrite { base, ends, records }
            }
            None if self.first == next => {
                Resolution::Rewrite { base: last, ends: Ends::at(last.index), records: Vec::new() }
            }
            Some(_) | None => Resolution::Sync,
        }
    }
}

/// A file that is mostly empty, without what is: the entries found in it keep its bytes in memory. A frame may end in
/// zeros of its own, so that as far as any frame claims to reach, nothing is taken for empty.
fn without_zeros(file: Bytes, planted: Planted) -> Bytes {
    static ZEROS: [u8; 4096] = [0; 4096];
    let empty =
        file.rchunks(ZEROS.len()).take_while(|chunk| ZEROS.starts_with(chunk)).map(<[u8]>::len).sum::<usize>();
    let written = file.len() - empty;
    let claimed = if planted.zeros_taken_for_empty() { 0 } else { frame::claimed_end(&file, written) };
    let used = claimed.max(written).min(file.len());
    match file.get(..used) {
        Some(content) if used < file.len() / 2 => Bytes::copy_from_slice(content),
        Some(_) | None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_ends_in_zeros_is_whole_in_a_file_that_is_mostly_empty() {
        let tag = Tag { seq: 3, nonce: Some(9) };
        let head = frame::FrameHead { kind: Kind::Records, tag, number: 7, synced: 7 };
        let payload = [&[1_u8; 464][..], &[0; 9]].concat();
        let mut file = alloc::vec![0_u8; 65_536];
        let mut at = 4096 - 512;
        for part in frame::encode(head, Vec::from([Bytes::from(payload)])) {
            file[at..at + part.len()].copy_from_slice(&part);
            at += part.len();
        }
        let kept = without_zeros(Bytes::from(file), Planted::default());
        assert!(kept.len() < 8192, "what is empty is not kept: {}", kept.len());
        assert!(frame::find(&kept, 4096 - 512, tag, Checksum::Verify).is_some());
    }
}
