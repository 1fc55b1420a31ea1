//! The reserve: a file that holds nothing but room. Where another program, or a rollback file, has filled the disk, it is given to the log,
//! which then has room to be cut, and for promises and deletes. Owns when there is one.

use alloc::string::String;
use alloc::vec::Vec;

use crate::wal::ops::FileOp;
use crate::wal::preallocated::fill;

/// Its name. One that a start finds is removed, and made again.
pub(super) const FILE: &str = "reserve";

/// The reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve {
    /// How long it is; 0: there is none.
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Making,
    Ready,
}

impl Reserve {
    pub(super) const fn new(bytes: u64) -> Self {
        Self { bytes, state: State::Absent }
    }

    /// The operations that make it, if it is absent.
    pub(super) fn make(&mut self) -> Option<Vec<FileOp>> {
        if self.bytes == 0 || self.state != State::Absent {
            return None;
        }
        self.state = State::Making;
        Some(fill(FILE, self.bytes))
    }

    /// The operations of [`Reserve::make`] are carried out.
    pub(super) fn made(&mut self) {
        self.state = State::Ready;
    }

    /// The operations of [`Reserve::make`] found no room: what is there of it goes.
    pub(super) fn give_up(&mut self) -> Vec<FileOp> {
        self.state = State::Absent;
        Vec::from([FileOp::Remove { file: String::from(FILE) }])
    }

    /// The log has no room: gives it the reserve, if there is one.
    pub(super) fn give(&mut self) -> Option<FileOp> {
        if self.state != State::Ready {
            return None;
        }
        self.state = State::Absent;
        Some(FileOp::Remove { file: String::from(FILE) })
    }
}
