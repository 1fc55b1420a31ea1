//! The disk: one data directory, and the loops that write to it.
//!
//! Owns how file operations are carried out ([`mod@file`], [`null`]), how their errors name files (`failure`), the group
//! commit ([`writer`]), what is written beside it (`background`) and waiting for room (`disk_full`). Never decides what is written: that is the core's journal.

mod background;
mod disk_full;
pub(crate) mod failure;
pub mod file;
pub mod null;
pub mod writer;

use std::future::Future;
use std::io;
use std::path::Path;

use bytes::Bytes;
use synap_core::wal::FileOp;

pub use file::FileDisk;
pub use null::NullDisk;

/// A data directory. Names are relative to it and use `/`.
///
/// Reads happen at the start and for operators, so they may block; the work of [`Disk::apply`] is what a loop of
/// [`Disk::spawn`] waits for.
pub trait Disk: Send + Sized + 'static {
    /// All files, of the core's own subdirectories too, in byte order. What others put into the directory is not entered.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file.
    fn read(&self, name: &str) -> io::Result<Bytes>;

    /// Whether a node was ever made durable here, whatever is left of it.
    fn was_used(&self) -> bool {
        false
    }

    /// A node is durable here from now on: [`Disk::was_used`] says so for as long as the directory stands. Best effort, since no
    /// promise rests on it.
    fn note_use(&mut self) {}

    /// How many bytes are free for this process; none if there is no bound.
    fn free(&self) -> io::Result<Option<u64>>;

    /// Carries out one operation. [`is_full`] tells whether its error may pass.
    fn apply(&mut self, op: &FileOp) -> impl Future<Output = io::Result<()>> + Send;

    /// A second hand on the same directory, with nothing open.
    fn second(&self) -> Self;

    /// Runs a loop that uses this kind of disk: on a thread of its own where [`Disk::apply`] blocks, as a task where
    /// it awaits.
    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;
}

/// How many bytes are free for this process where a directory is, or where it will be made.
pub(crate) fn free_at(dir: &Path) -> io::Result<u64> {
    let here = Path::new(".");
    let there = dir.ancestors().find(|dir| dir.exists()).filter(|dir| !dir.as_os_str().is_empty());
    let volume = rustix::fs::statvfs(there.unwrap_or(here))?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Whether the process, or the system, has no file descriptor free.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    // EMFILE and ENFILE, the same on every Unix.
    matches!(failure::raw_os_error(error), Some(24 | 23))
}

/// Whether an operation failed for want of room, which may pass.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
