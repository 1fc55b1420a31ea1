//! `synap wal` and `synap snapshot`: an offline look at a data directory. Only reads; a directory in use may be
//! looked at too, though its newest records can then look torn.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::{Exit, Failed, Outcome};
use crate::disk::{Disk, FileDisk};

mod snapshot;
mod wal;

pub(in crate::cli) use snapshot::load as load_snapshot;
pub(in crate::cli) use wal::cluster_of;

/// What is asked of a log or of snapshots.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Look {
    /// Print what is there, a line of JSON each (keys and values included)
    Dump {
        /// Data directory; `synap snapshot` takes one snapshot file too
        path: PathBuf,
    },
    /// Read everything and check every checksum; exit code 74 names the damage
    Verify {
        /// Data directory; `synap snapshot` takes one snapshot file too
        path: PathBuf,
    },
}

/// Looks at the log of a data directory.
pub(super) fn wal(look: Look) -> Outcome {
    match look {
        Look::Dump { path } => wal::dump(&path),
        Look::Verify { path } => wal::verify(&path),
    }
}

/// Looks at the snapshots of a data directory, or at one file.
pub(super) fn snapshot(look: Look) -> Outcome {
    match look {
        Look::Dump { path } => snapshot::dump(&path),
        Look::Verify { path } => snapshot::verify(&path),
    }
}

/// A data directory with its files' names.
pub(in crate::cli) fn open(dir: &Path) -> Result<(FileDisk, Vec<String>), Failed> {
    if !dir.is_dir() {
        return Err(Failed::new(Exit::NotFound, format!("{} is not a directory", dir.display())));
    }
    let disk = FileDisk::peek(dir);
    let names = disk.list().map_err(|error| damaged(dir, &error))?;
    Ok((disk, names))
}

/// What is there, and is not as it should be.
pub(in crate::cli) fn damaged(path: &Path, what: &dyn std::fmt::Display) -> Failed {
    Failed::new(Exit::Data, format!("{}: {what}", path.display()))
}
