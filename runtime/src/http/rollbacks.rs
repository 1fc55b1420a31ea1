//! The rollback files, as the API lists and shows them. Reads only; what is in them is the core's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::BoxFuture;
use crate::disk::failure::at;

/// One rollback file: a line for each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackFile {
    /// Its name without the ending.
    pub id: String,
    /// Its lines.
    pub operations: u64,
    /// Its length.
    pub bytes: u64,
    /// Whether the log's files are kept beside it: they hold operations that are older than its lines.
    pub files: bool,
}

/// Where rollback files are.
pub trait RollbackSource: Send + Sync {
    /// All of them, by id.
    fn list(&self) -> BoxFuture<io::Result<Vec<RollbackFile>>>;

    /// Up to `bytes_max` bytes of one from `offset` on, none at its end. [`io::ErrorKind::NotFound`]: there is no
    /// such file.
    fn read(&self, id: String, offset: u64, bytes_max: usize) -> BoxFuture<io::Result<Bytes>>;

    /// Whether clients' operations lie there, as far as that is known within a moment; none: this source cannot tell.
    fn hold_operations(&self) -> BoxFuture<Option<bool>> {
        Box::pin(async { None })
    }
}

/// A directory of rollback files, `ID.ndjson` each, where an id is a number. Whatever else lies there is not looked at.
#[derive(Clone, Debug)]
pub struct RollbackDir {
    path: PathBuf,
    seen: Arc<Seen>,
}

/// What the last look at the directory gave. One look at a time: a disk that hangs holds one thread, and no answer.
#[derive(Debug)]
struct Seen {
    looking: AtomicBool,
    operations: AtomicBool,
}

/// How long an answer waits for a look at the directory.
const LOOK_PATIENCE: Duration = Duration::from_millis(100);

/// What an operation of the log's own is called in a file: nobody need do anything about those.
const INTERNAL: [&str; 3] = ["epoch_start", "config", "sweep"];

/// In which part of a line its operation stands.
const LINE_HEAD_BYTES: u64 = 256;

/// How the files end.
const ENDING: &str = ".ndjson";

/// How directories end in which a log's files are kept whole.
const KEPT: &str = ".files";

impl RollbackDir {
    /// The directory at `path`, which need not exist. Looks at it once.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let operations = AtomicBool::new(hold_operations(&path).unwrap_or(false));
        Self { path, seen: Arc::new(Seen { looking: AtomicBool::new(false), operations }) }
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
            let mut file = File::open(path.join(format!("{id}{ENDING}")))?;
            file.seek(SeekFrom::Start(offset))?;
            let mut piece = Vec::new();
            file.take(bytes_max as u64).read_to_end(&mut piece)?;
            Ok(Bytes::from(piece))
        })
    }

    fn hold_operations(&self) -> BoxFuture<Option<bool>> {
        let (path, seen) = (self.path.clone(), Arc::clone(&self.seen));
        Box::pin(async move {
            if !seen.looking.swap(true, Ordering::AcqRel) {
                let seen = Arc::clone(&seen);
                let look = tokio::task::spawn_blocking(move || {
                    // What cannot be read now is as it was.
                    if let Ok(there) = hold_operations(&path) {
                        seen.operations.store(there, Ordering::Release);
                    }
                    seen.looking.store(false, Ordering::Release);
                });
                let _ = tokio::time::timeout(LOOK_PATIENCE, look).await;
            }
            Some(seen.operations.load(Ordering::Acquire))
        })
    }
}

/// Whether a client's operation lies in any file, or whole files of a log are kept.
fn hold_operations(path: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let kept = number_of(&path, KEPT).is_some() && holds_files(&path);
        let listed = number_of(&path, ENDING).is_some() && path.is_file();
        if kept || (listed && has_operation(BufReader::new(File::open(&path)?))?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether anything lies in this directory, if it is one.
fn holds_files(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

/// The number before this ending, in a name of ours.
fn number_of<'a>(path: &'a Path, ending: &str) -> Option<&'a str> {
    let number = path.file_name()?.to_str()?.strip_suffix(ending)?;
    number.parse::<u64>().is_ok().then_some(number)
}

/// Whether any line is a client's.
fn has_operation(mut lines: impl BufRead) -> io::Result<bool> {
    let mut head = Vec::new();
    loop {
        head.clear();
        (&mut lines).take(LINE_HEAD_BYTES).read_until(b'\n', &mut head)?;
        if head.is_empty() {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&head);
        let operation = text.split_once("\"operation\":\"").and_then(|(_, rest)| rest.split('"').next());
        if operation.is_some_and(|operation| !INTERNAL.contains(&operation)) {
            return Ok(true);
        }
        if head.last() != Some(&b'\n') {
            lines.skip_until(b'\n')?;
        }
    }
}

fn list(path: &Path) -> io::Result<Vec<RollbackFile>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("list", path, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| at("list", path, error))?.path();
        if let Some(id) = number_of(&path, ENDING).filter(|_| path.is_file()) {
            let (operations, bytes) = measure(&path).map_err(|error| at("read", &path, error))?;
            let files_kept = holds_files(&path.with_extension(&KEPT[1..]));
            files.push(RollbackFile { id: id.to_owned(), operations, bytes, files: files_kept });
        }
    }
    files.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(files)
}

/// Lines and bytes of a file.
fn measure(path: &Path) -> io::Result<(u64, u64)> {
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
        std::fs::write(dir.path().join("rollback/notes.ndjson"), "not ours").unwrap();
        std::fs::create_dir(dir.path().join("rollback/9.ndjson")).unwrap();
        let file = RollbackFile { id: "7".to_owned(), operations: 2, bytes: 11, files: false };
        assert_eq!(source.list().await.unwrap(), [file]);
        std::fs::create_dir(dir.path().join("rollback/7.files")).unwrap();
        assert!(!source.list().await.unwrap()[0].files, "nothing is there");
        std::fs::write(dir.path().join("rollback/7.files/wal"), "").unwrap();
        assert!(source.list().await.unwrap()[0].files);
        std::fs::remove_dir_all(dir.path().join("rollback/7.files")).unwrap();
        assert_eq!(source.read("7".to_owned(), 0, 3).await.unwrap(), "{}\n");
        assert_eq!(source.read("7".to_owned(), 3, 100).await.unwrap(), "{\"a\":1}\n");
        assert_eq!(source.read("7".to_owned(), 11, 100).await.unwrap(), "");
        assert_eq!(source.hold_operations().await, Some(false), "no client's");
        std::fs::write(dir.path().join("rollback/copy.ndjson"), "{\"operation\":\"set\"}\n").unwrap();
        assert_eq!(source.hold_operations().await, Some(false), "not ours");
        std::fs::create_dir(dir.path().join("rollback/10.files")).unwrap();
        assert_eq!(source.hold_operations().await, Some(false), "a rollback that was given up");
        std::fs::write(dir.path().join("rollback/10.files/wal"), "").unwrap();
        assert_eq!(source.hold_operations().await, Some(true), "kept whole");
        std::fs::remove_dir_all(dir.path().join("rollback/10.files")).unwrap();
        std::fs::write(dir.path().join("rollback/10.ndjson"), "{\"operation\":\"set\"}\n").unwrap();
        assert_eq!(source.hold_operations().await, Some(true));
        std::fs::remove_file(dir.path().join("rollback/10.ndjson")).unwrap();
        assert_eq!(source.hold_operations().await, Some(false));
        for id in ["8", "../rollback/7", ""] {
            let error = source.read(id.to_owned(), 0, 1).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
    #[test]
    fn the_logs_own_operations_are_nobodys() {
        let line = |operation: &str, more: &str| {
            format!(
                "{{\"epoch\":1,\"leader\":\"{:032x}\",\"index\":7,\"at_ms\":1700000000000,\"operation\":\"{operation}\"{more}}}\n",
                7
            )
        };
        let long = format!(",\"keys\":\"{}\"", "x".repeat(10_000));
        let own = INTERNAL.map(|operation| line(operation, &long)).concat();
        assert!(!has_operation(own.as_bytes()).unwrap());
        for operation in ["set", "delete", "incr", "expire", "persist"] {
            assert!(has_operation(format!("{own}{}", line(operation, "")).as_bytes()).unwrap(), "{operation}");
        }
        assert!(!has_operation(&b""[..]).unwrap());
    }
}
