//! The rollback files, as the API lists and shows them. Reads only; what is in them is the core's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;

use super::BoxFuture;

/// One rollback file: a line for each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackFile {
    /// Its name without the ending.
    pub id: String,
    /// Its lines.
    pub operations: u64,
    /// Its length.
    pub bytes: u64,
}

/// Where rollback files are.
pub trait RollbackSource: Send + Sync {
    /// All of them, by id.
    fn list(&self) -> BoxFuture<io::Result<Vec<RollbackFile>>>;

    /// Up to `bytes_max` bytes of one from `offset` on, none at its end. [`io::ErrorKind::NotFound`]: there is no
    /// such file.
    fn read(&self, id: String, offset: u64, bytes_max: usize) -> BoxFuture<io::Result<Bytes>>;
}

/// A directory of rollback files, `ID.ndjson` each.
#[derive(Clone, Debug)]
pub struct RollbackDir {
    path: PathBuf,
}

/// How the files end.
const ENDING: &str = "ndjson";

impl RollbackDir {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl RollbackSource for RollbackDir {
    fn list(&self) -> BoxFuture<io::Result<Vec<RollbackFile>>> {
        let path = self.path.clone();
        blocking(move || list(&path))
    }

    fn read(&self, id: String, offset: u64, bytes_max: usize) -> BoxFuture<io::Result<Bytes>> {
        let path = self.path.clone();
        blocking(move || {
            // Only names that stand for one file in this directory.
            if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let mut file = File::open(path.join(format!("{id}.{ENDING}")))?;
            file.seek(SeekFrom::Start(offset))?;
            let mut piece = Vec::new();
            file.take(bytes_max as u64).read_to_end(&mut piece)?;
            Ok(Bytes::from(piece))
        })
    }
}

fn list(path: &std::path::Path) -> io::Result<Vec<RollbackFile>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str());
        if let (Some(id), Some(ENDING)) = (id, path.extension().and_then(|ending| ending.to_str())) {
            let (operations, bytes) = measure(&path)?;
            files.push(RollbackFile { id: id.to_owned(), operations, bytes });
        }
    }
    files.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(files)
}

/// Lines and bytes of a file.
fn measure(path: &std::path::Path) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let (mut lines, mut bytes) = (0, 0);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok((lines, bytes));
        }
        lines += piece.iter().filter(|&&byte| byte == b'\n').count() as u64;
        bytes += piece.len() as u64;
        let taken = piece.len();
        reader.consume(taken);
    }
}

fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> BoxFuture<io::Result<T>> {
    Box::pin(async move {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_listed_and_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let source = RollbackDir::new(dir.path().join("rollback"));
        assert_eq!(source.list().await.unwrap(), []);
        std::fs::create_dir(dir.path().join("rollback")).unwrap();
        std::fs::write(dir.path().join("rollback/7.ndjson"), "{}\n{\"a\":1}\n").unwrap();
        std::fs::write(dir.path().join("rollback/8.ndjson.tmp"), "{}").unwrap();
        let file = RollbackFile { id: "7".to_owned(), operations: 2, bytes: 11 };
        assert_eq!(source.list().await.unwrap(), [file]);
        assert_eq!(source.read("7".to_owned(), 0, 3).await.unwrap(), "{}\n");
        assert_eq!(source.read("7".to_owned(), 3, 100).await.unwrap(), "{\"a\":1}\n");
        assert_eq!(source.read("7".to_owned(), 11, 100).await.unwrap(), "");
        for id in ["8", "../rollback/7", ""] {
            let error = source.read(id.to_owned(), 0, 1).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}
