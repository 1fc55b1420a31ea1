//! Spare segments: files written out ahead, since a sync of a file that need not grow costs half. Owns how they are
//! made and which are ready; what is in them does not matter, see [`super::frame`].

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::wal::beside::sync_data_dir;
use crate::wal::frame::whole_sectors;
use crate::wal::ops::FileOp;
use crate::wal::segment::{spare_name, spare_temporary_name};

/// Most spares that are kept; segments that are cut beyond this are removed.
const SPARES_MAX: usize = 2;

/// Written and synced at once, so that the disk is never busy with a spare for long.
const STEP_BYTES: usize = 4 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The spares.
#[derive(Clone, Debug)]
pub(super) struct Spares {
    /// Numbers of those that are ready.
    ready: Vec<u64>,
    making: Option<u64>,
    next: u64,
}

impl Spares {
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

    /// Takes one: the name of its file.
    pub(super) fn take(&mut self) -> Option<String> {
        self.ready.pop().map(spare_name)
    }

    /// Takes in an old segment: the name that it is to have.
    pub(super) fn add(&mut self) -> String {
        let number = self.number();
        self.ready.push(number);
        spare_name(number)
    }

    /// The operations that make one of `bytes`, unless one is ready or being made.
    pub(super) fn make(&mut self, bytes: u64) -> Option<Vec<FileOp>> {
        if self.any() || self.making.is_some() {
            return None;
        }
        let number = self.number();
        self.making = Some(number);
        Some(write_out(number, whole_sectors(bytes)))
    }

    /// The operations of [`Spares::make`] are carried out.
    pub(super) fn made(&mut self) {
        self.ready.extend(self.making.take());
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

fn write_out(number: u64, bytes: u64) -> Vec<FileOp> {
    let file = spare_temporary_name(number);
    let mut ops = Vec::from([FileOp::Create { file: file.clone() }]);
    for at in (0..bytes).step_by(STEP_BYTES) {
        ops.push(FileOp::Write { file: file.clone(), at, parts: zeros(bytes - at) });
        ops.push(FileOp::Sync { file: file.clone() });
    }
    ops.push(FileOp::Rename { from: file, to: spare_name(number) });
    ops.push(sync_data_dir());
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
