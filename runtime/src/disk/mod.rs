//! The disk: one data directory, and the loops that write to it.
//!
//! Owns how file operations are carried out ([`mod@file`], [`null`]), the group commit ([`writer`]), what is written
//! beside it (`second`) and waiting for room (`room`). Never decides what is written: that is the core's journal.

pub mod file;
pub mod null;
mod room;
mod second;
pub mod writer;

use std::future::Future;
use std::io;

use bytes::Bytes;
use synap_core::wal::FileOp;

pub use file::FileDisk;
pub use null::NullDisk;

/// A data directory. Names are relative to it and use `/`.
///
/// Reads happen at the start and for operators, so they may block; the work of [`Disk::apply`] is what a loop of
/// [`Disk::spawn`] waits for.
pub trait Disk: Send + Sized + 'static {
    /// All files, of subdirectories too, in byte order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Bytes>;

    /// Carries out one operation. [`is_full`] tells whether its error may pass.
    fn apply(&mut self, op: &FileOp) -> impl Future<Output = io::Result<()>> + Send;

    /// A second hand on the same directory, with nothing open.
    fn second(&self) -> Self;

    /// Runs a loop that uses this kind of disk: on a thread of its own where [`Disk::apply`] blocks, as a task where
    /// it awaits.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;
}

/// Whether the process, or the system, has no file descriptor free.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    // EMFILE and ENFILE, the same on every Unix.
    matches!(error.raw_os_error(), Some(24 | 23))
}

/// Whether an operation failed for want of room, which may pass.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
