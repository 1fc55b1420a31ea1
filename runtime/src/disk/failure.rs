//! What failed and where. The system names no file: an error that reaches an operator has to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use synap_core::wal::FileOp;

/// The system's error, with what was attempted.
#[derive(Debug)]
struct Failure {
    attempt: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// The same error, of the same kind, that names the path too.
pub(crate) fn at(attempt: &'static str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Failure { attempt, path: path.to_owned(), error })
}

/// What an operation attempts, and on which of its files.
pub(super) fn attempt(op: &FileOp) -> (&'static str, &str) {
    match op {
        FileOp::Create { file } => ("create", file),
        FileOp::Write { file, .. } => ("write", file),
        FileOp::Sync { file } => ("sync", file),
        FileOp::SyncDir { dir } => ("sync", dir),
        FileOp::Rename { from, .. } => ("rename", from),
        FileOp::Link { to, .. } => ("link", to),
        FileOp::Remove { file } => ("remove", file),
        FileOp::CreateDir { dir } => ("create", dir),
    }
}

/// The system's number of an error, whether it names a path or not.
pub(super) fn raw_os_error(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    inner.map_or(error, |failure| &failure.error).raw_os_error()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.attempt, self.path.display(), self.error)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_and_number_and_gains_a_path() {
        let error = at("read", Path::new("/data/a"), io::Error::from_raw_os_error(13));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(raw_os_error(&error), Some(13));
        assert!(error.to_string().starts_with("cannot read /data/a: Permission denied"), "{error}");
        assert_eq!(raw_os_error(&io::Error::from_raw_os_error(24)), Some(24));
    }
}
