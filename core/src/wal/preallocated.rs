//! Spare segments: files written out ahead, since a sync of a file that need not grow costs half. Owns how they are
//! made and which are ready; what is in them does not matter, see [`super::frame`].

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::wal::frame::whole_sectors;
use crate::wal::ops::FileOp;
use crate::wal::segment::{spare_name, spare_temporary_name};
use crate::wal::side_files::sync_data_dir;

/// Most spares that are kept; segments that are cut beyond this are removed.
const SPARES_MAX: usize = 2;

/// Written and synced at once, so that the disk is never busy with a spare for long.
const STEP_BYTES: usize = 4 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The spares.
#[derive(Clone, Debug)]
pub(super) struct Preallocated {
    /// Those that are ready.
    ready: Vec<Spare>,
    making: Option<Spare>,
    next: u64,
}

/// A file that can become a segment.
#[derive(Clone, Copy, Debug)]
struct Spare {
    number: u64,
    /// Its length, all of it written.
    bytes: u64,
}

impl Preallocated {
    /// None yet. No file has the number `next` or a higher one.
    pub(super) const fn new(next: u64) -> Self {
        Self { ready: Vec::new(), making: None, next }
    }

    pub(super) fn any(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.ready.len() < SPARES_MAX
    }

    /// Takes one: the name of its file, and its length.
    pub(super) fn take(&mut self) -> Option<(String, u64)> {
        self.ready.pop().map(|spare| (spare_name(spare.number), spare.bytes))
    }

    /// Takes in an old segment of this length: the name that it is to have.
    pub(super) fn add(&mut self, bytes: u64) -> String {
        let number = self.number();
        self.ready.push(Spare { number, bytes });
        spare_name(number)
    }

    /// The operations that make one of `bytes`, unless one is ready or being made.
    pub(super) fn make(&mut self, bytes: u64) -> Option<Vec<FileOp>> {
        if self.any() || self.making.is_some() {
            return None;
        }
        let spare = Spare { number: self.number(), bytes: whole_sectors(bytes) };
        self.making = Some(spare);
        Some(write_out(spare))
    }

    /// The operations of [`Preallocated::make`] are carried out.
    pub(super) fn made(&mut self) {
        self.ready.extend(self.making.take());
    }

    /// There was no room for those operations: what is there of it goes.
    pub(super) fn give_up(&mut self) -> Vec<FileOp> {
        let half = self.making.take().map(|spare| FileOp::Remove { file: spare_temporary_name(spare.number) });
        half.into_iter().collect()
    }

    /// Space is short: those that are ready go.
    pub(super) fn drop_all(&mut self, ops: &mut Vec<FileOp>) {
        ops.extend(self.ready.drain(..).map(|spare| FileOp::Remove { file: spare_name(spare.number) }));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

fn write_out(spare: Spare) -> Vec<FileOp> {
    let file = spare_temporary_name(spare.number);
    let mut ops = fill(&file, spare.bytes);
    ops.push(FileOp::Rename { from: file, to: spare_name(spare.number) });
    ops.push(sync_data_dir());
    ops
}

/// Makes a file of so many bytes that take their room on the disk.
pub(super) fn fill(file: &str, bytes: u64) -> Vec<FileOp> {
    let mut ops = Vec::from([FileOp::Create { file: file.into() }]);
    for at in (0..bytes).step_by(STEP_BYTES) {
        ops.push(FileOp::Write { file: file.into(), at, parts: zeros(bytes - at) });
        ops.push(FileOp::Sync { file: file.into() });
    }
    ops
}

/// As many zeros as one step writes, at most `bytes`.
fn zeros(bytes: u64) -> Vec<Bytes> {
    let mut left = usize::try_from(bytes).map_or(STEP_BYTES, |bytes| bytes.min(STEP_BYTES));
    let mut parts = Vec::with_capacity(left.div_ceil(ZEROS.len()));
    while left > 0 {
        let part = left.min(ZEROS.len());
        parts.extend(ZEROS.get(..part).map(Bytes::from_static));
        left -= part;
    }
    parts
}
