//! File operations as data: what is to be done in the data directory, in order. The driver carries them out on
//! a real directory, the simulator on its modelled disk.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

/// One file operation. Names are relative to the data directory and use `/`. Operations of one list are carried
/// out in order; the first failure ends it. Running out of space in any but a sync may be tried again; any other
/// failure is final for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOp {
    /// Makes an empty file, replacing one of that name.
    Create {
        /// Its name.
        file: String,
    },
    /// Writes `parts` one after the other from offset `at` on.
    Write {
        /// An existing file.
        file: String,
        /// Offset in bytes.
        at: u64,
        /// What to write.
        parts: Vec<Bytes>,
    },
    /// fdatasync: what was written to the file before is on disk afterwards, its length included.
    Sync {
        /// An existing file.
        file: String,
    },
    /// Makes created, renamed, linked and removed names in `dir` durable.
    SyncDir {
        /// A directory; empty for the data directory itself.
        dir: String,
    },
    /// Renames a file, replacing one of the new name.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Gives a file a second name, replacing one of that name.
    Link {
        /// An existing file.
        from: String,
        /// New name.
        to: String,
    },
    /// Removes a name; an absent one is fine.
    Remove {
        /// Its name.
        file: String,
    },
    /// Makes a directory; one that is there is fine.
    CreateDir {
        /// Its name.
        dir: String,
    },
}
