//! The write-ahead log: one stream of records (promise, entries, truncation, snapshot mark).
//!
//! Owns the byte layout of records ([`record`]), what a turn wants written ([`batch`]), how that becomes
//! operations on files ([`journal`], [`ops`]) and how files become a node again ([`mod@recover`]). Never touches a
//! file itself.

pub mod batch;
mod chain;
pub(crate) mod command;
mod frame;
pub mod journal;
mod log;
pub mod ops;
mod preallocated;
pub mod record;
pub mod recover;
mod reserve;
pub mod restore;
mod segment;
mod side_files;
mod snapshots;
mod statefile;
#[cfg(test)]
pub(crate) mod tests;

pub use batch::{Durable, FileWrite, GivenUp, Lane, RollbackId, WriteBatch};
pub use command::{BATCH_PAIRS_MAX, SWEEP_KEYS_MAX};
pub use journal::{Journal, JournalConfig};
pub use ops::FileOp;
pub use record::{Entry, HardState, RECORD_BYTES_MAX, Record};
pub use recover::{Draw, Recovery, RecoveryError, recover, tells_of_use};
pub use side_files::is_own_directory;
