//! A real data directory. Owns its lock, its open files and how an operation becomes system calls. Every call
//! blocks: its loops run on threads of their own.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synap_core::wal::{FileOp, is_own_directory};

use super::failure::{at, attempt};
use super::{Disk, is_out_of_files};

/// Name of the lock file. It is empty until a node is durable in the directory.
pub(crate) const LOCK: &str = "lock";

/// What it holds then.
const USED: &[u8] =
    b"A synap node lives in this directory. Its log and its snapshots are one node: remove all of them or none.\n";

/// Files kept open at once: the segment in use, the snapshot and the rollback file being written, and one to spare.
const OPEN_MAX: usize = 4;

/// How often, and how long, a free file descriptor is waited for: a minute in all.
const DESCRIPTOR_TRIES: u32 = 600;
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);

/// Parts shorter than this are put together, so that a group of small records costs one system call.
const PART_BYTES_MIN: usize = 32 << 10;

/// As much is put together at most.
const GATHER_BYTES_MAX: usize = 1 << 20;

/// A real data directory.
#[derive(Debug)]
pub struct FileDisk {
    root: Arc<Root>,
    open: OpenFiles,
    gathered: Vec<u8>,
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// It cannot be made, read or locked; the error says what of it.
    #[error("data directory: {0}")]
    Io(#[from] io::Error),
}

impl FileDisk {
    /// Opens the directory for this process alone, making it if it is missing.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let file = dir.join(LOCK);
        fs::create_dir_all(dir).map_err(|error| at("create", dir, error))?;
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&file);
        let lock = lock.map_err(|error| at("open", &file, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(at("lock", &file, error).into()),
        }
        // The file may have been removed under a process that holds it, and be another one now. So the directory is locked as
        // well, where its file system lets it be.
        let directory = File::open(dir).map_err(|error| at("open", dir, error))?;
        if let Err(TryLockError::WouldBlock) = directory.try_lock() {
            return Err(OpenError::Locked(dir.to_owned()));
        }
        Ok(Self::of(Root { dir: dir.to_owned(), lock: Some(lock), _directory: Some(directory) }))
    }

    /// A look at a directory that another process may have; for reading only.
    pub fn peek(dir: &Path) -> Self {
        Self::of(Root { dir: dir.to_owned(), lock: None, _directory: None })
    }

    fn of(root: Root) -> Self {
        Self { root: Arc::new(root), open: OpenFiles::default(), gathered: Vec::new() }
    }

    fn carry_out(&mut self, op: &FileOp) -> io::Result<()> {
        match op {
            FileOp::Create { file } => self.create(file),
            FileOp::Write { file, at, parts } => self.write(file, *at, parts),
            FileOp::Sync { file } => self.sync(file),
            FileOp::SyncDir { dir } => with_descriptor(|| File::open(self.root.path(dir)))?.sync_all(),
            FileOp::Rename { from, to } => {
                fs::rename(self.root.path(from), self.root.path(to))?;
                self.open.rename(from, to);
                Ok(())
            }
            FileOp::Link { from, to } => {
                self.remove(to)?;
                fs::hard_link(self.root.path(from), self.root.path(to))
            }
            FileOp::Remove { file } => self.remove(file),
            FileOp::CreateDir { dir } => fs::create_dir_all(self.root.path(dir)),
        }
    }

    /// A new file, never an old one emptied: its bytes may have a second name.
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.remove(name)?;
        let new = || OpenOptions::new().create_new(true).write(true).open(self.root.path(name));
        let file = with_descriptor(new)?;
        self.open.put(name, file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.forget(name);
        match fs::remove_file(self.root.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What was synced into a file that somebody has removed meanwhile is nowhere that a start would look. The number of its
    /// names is asked for first, since that costs next to nothing; but there are file systems that do not count.
    fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.open.get(&self.root, name)?;
        file.sync_data()?;
        if file.metadata()?.nlink() > 0 {
            return Ok(());
        }
        fs::symlink_metadata(self.root.path(name)).map(drop).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "somebody has removed it"),
            _ => error,
        })
    }

    fn write(&mut self, name: &str, at: u64, parts: &[Bytes]) -> io::Result<()> {
        let file = self.open.get(&self.root, name)?;
        let mut to = Gather { file, at, gathered: &mut self.gathered };
        parts.iter().try_for_each(|part| to.push(part))?;
        to.flush()
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        list_into(&self.root, "", &mut names)?;
        names.retain(|name| name != LOCK);
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Bytes> {
        let path = self.root.path(name);
        let read = || {
            // Whoever opens a pipe waits for somebody to write to it.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("this is not a regular file"));
            }
            fs::read(&path)
        };
        read().map(Bytes::from).map_err(|error| at("read", &path, error))
    }

    fn was_used(&self) -> bool {
        let length = self.root.lock.as_ref().and_then(|lock| lock.metadata().ok()).map(|lock| lock.len());
        length.is_some_and(|length| length > 0)
    }

    fn note_use(&mut self) {
        let Some(lock) = self.root.lock.as_ref().filter(|_| !self.was_used()) else { return };
        if let Err(error) = lock.write_all_at(USED, 0).and_then(|()| lock.sync_data()) {
            tracing::warn!(%error, "the lock file cannot say that a node lives here: an emptied directory will look like a new one");
        }
    }

    fn free(&self) -> io::Result<Option<u64>> {
        super::free_at(&self.root.dir).map(Some)
    }

    async fn apply(&mut self, op: &FileOp) -> io::Result<()> {
        self.carry_out(op).map_err(|error| {
            let (attempt, name) = attempt(op);
            at(attempt, &self.root.path(name), error)
        })
    }

    fn second(&self) -> Self {
        Self { root: Arc::clone(&self.root), open: OpenFiles::default(), gathered: Vec::new() }
    }

    fn spawn(name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(task)).map(drop)
    }
}

/// The directory; its lock ends with the last hand on it.
#[derive(Debug)]
struct Root {
    dir: PathBuf,
    lock: Option<File>,
    _directory: Option<File>,
}

impl Root {
    fn path(&self, name: &str) -> PathBuf {
        let stays_inside =
            Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(stays_inside, "a file name leaves the data directory: {name}");
        self.dir.join(name)
    }
}

/// Opens a file. That no descriptor is free is a moment and no failure of the disk: connections end all the time.
fn with_descriptor(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    for _ in 0..DESCRIPTOR_TRIES {
        match open() {
            Err(error) if is_out_of_files(&error) => {
                tracing::warn!(%error, "no file descriptor is free for the data directory: trying again");
                std::thread::sleep(DESCRIPTOR_PAUSE);
            }
            done => return done,
        }
    }
    open()
}

/// Open files by name, the one used last at the back.
#[derive(Debug, Default)]
struct OpenFiles(VecDeque<(String, File)>);

impl OpenFiles {
    fn get(&mut self, root: &Root, name: &str) -> io::Result<&File> {
        let file = match self.0.iter().position(|(open, _)| open == name).and_then(|at| self.0.remove(at)) {
            Some((_, file)) => file,
            None => with_descriptor(|| OpenOptions::new().write(true).open(root.path(name)))?,
        };
        Ok(self.put(name, file))
    }

    fn put(&mut self, name: &str, file: File) -> &File {
        while self.0.len() >= OPEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((name.to_owned(), file));
        &self.0.back().expect("just pushed").1
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.forget(to);
        for (name, _) in &mut self.0 {
            if name == from {
                to.clone_into(name);
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.0.retain(|(open, _)| open != name);
    }
}

/// Writes parts one after the other, small ones together.
struct Gather<'a> {
    file: &'a File,
    at: u64,
    gathered: &'a mut Vec<u8>,
}

impl Gather<'_> {
    fn push(&mut self, part: &[u8]) -> io::Result<()> {
        if part.len() >= PART_BYTES_MIN {
            self.flush()?;
            return self.write(part);
        }
        if self.gathered.len() + part.len() > GATHER_BYTES_MAX {
            self.flush()?;
        }
        self.gathered.extend_from_slice(part);
        Ok(())
    }

    /// Leaves nothing gathered, even if it fails: the operation is then tried again as a whole.
    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(self.gathered);
        let written = self.write(&gathered);
        *self.gathered = gathered;
        self.gathered.clear();
        written
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Adds the files of one directory, and of those in it that are the core's: what else stands there, a file system's
/// `lost+found` for one, may not even be readable.
fn list_into(root: &Root, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    let dir = root.path(prefix);
    let failed = |error| at("list", &dir, error);
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue; // Not ours: every name of ours is ASCII.
        };
        let name = format!("{prefix}{name}");
        if !entry.file_type().map_err(failed)?.is_dir() {
            names.push(name);
        } else if is_own_directory(&name) {
            list_into(root, &format!("{name}/"), names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, FileDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(dir.path()).unwrap();
        (dir, disk)
    }

    fn create(disk: &mut FileDisk, name: &str, content: &'static [u8]) {
        disk.carry_out(&FileOp::Create { file: name.into() }).unwrap();
        let parts = vec![Bytes::from_static(content)];
        disk.carry_out(&FileOp::Write { file: name.into(), at: 0, parts }).unwrap();
    }

    #[test]
    fn a_directory_is_for_one_process() {
        let (dir, disk) = disk();
        assert!(matches!(FileDisk::open(dir.path()), Err(OpenError::Locked(_))));
        let second = disk.second();
        drop(disk);
        assert!(matches!(FileDisk::open(dir.path()), Err(OpenError::Locked(_))), "the second hand holds it");
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert!(matches!(FileDisk::open(dir.path()), Err(OpenError::Locked(_))), "a new lock file is no way in");
        drop(second);
        FileDisk::open(dir.path()).unwrap();
    }

    #[test]
    fn files_are_listed_without_the_lock() {
        let (_dir, mut disk) = disk();
        disk.carry_out(&FileOp::CreateDir { dir: "rollback".into() }).unwrap();
        create(&mut disk, "rollback/1.ndjson", b"x");
        create(&mut disk, "a.log", b"y");
        assert_eq!(disk.list().unwrap(), ["a.log", "rollback/1.ndjson"]);
        assert_eq!(disk.read("a.log").unwrap(), "y");
    }

    #[test]
    fn what_others_put_there_is_not_entered() {
        let (dir, mut disk) = disk();
        for foreign in ["lost+found", "rollback/mine", "wal-0000000000000001.log"] {
            fs::create_dir_all(dir.path().join(foreign)).unwrap();
            fs::write(dir.path().join(foreign).join("wal-0000000000000001.log"), "x").unwrap();
        }
        disk.carry_out(&FileOp::CreateDir { dir: "rollback/7.files".into() }).unwrap();
        create(&mut disk, "rollback/7.files/a.log", b"x");
        assert_eq!(disk.list().unwrap(), ["rollback/7.files/a.log"]);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let (dir, disk) = disk();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("wal-1.log"), mode).unwrap();
        let error = disk.read("wal-1.log").unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_directory_remembers_that_it_was_used() {
        let (dir, mut disk) = disk();
        assert!(!disk.was_used());
        disk.note_use();
        drop(disk);
        assert!(FileDisk::open(dir.path()).unwrap().was_used());
    }

    #[tokio::test]
    async fn errors_name_the_file() {
        let (dir, mut disk) = disk();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let error = disk.apply(&FileOp::Sync { file: "a.log".into() }).await.unwrap_err();
        assert!(error.to_string().contains(&path("a.log")), "{error}");
        let error = disk.read("b.log").unwrap_err();
        assert!(error.to_string().contains(&path("b.log")) && error.kind() == io::ErrorKind::NotFound, "{error}");
    }

    #[test]
    fn parts_stand_one_after_the_other_at_their_offset() {
        let (_dir, mut disk) = disk();
        create(&mut disk, "a", b"0123456789");
        let large = Bytes::from(vec![b'L'; PART_BYTES_MIN]);
        let parts =
            vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd"), large.clone(), Bytes::from_static(b"e")];
        disk.carry_out(&FileOp::Write { file: "a".into(), at: 3, parts }).unwrap();
        disk.carry_out(&FileOp::Sync { file: "a".into() }).unwrap();
        disk.carry_out(&FileOp::SyncDir { dir: String::new() }).unwrap();
        let content = disk.read("a").unwrap();
        assert_eq!(&content[..7], b"012abcd");
        assert_eq!(content[7..7 + PART_BYTES_MIN], large);
        assert_eq!(&content[7 + PART_BYTES_MIN..], b"e");
    }

    #[test]
    fn a_file_made_anew_leaves_its_linked_bytes_alone() {
        let (_dir, mut disk) = disk();
        create(&mut disk, "a", b"old");
        disk.carry_out(&FileOp::Link { from: "a".into(), to: "kept".into() }).unwrap();
        disk.carry_out(&FileOp::Link { from: "a".into(), to: "kept".into() }).unwrap();
        create(&mut disk, "a", b"new");
        assert_eq!(disk.read("kept").unwrap(), "old");
        assert_eq!(disk.read("a").unwrap(), "new");
    }

    #[test]
    fn nothing_is_synced_into_a_file_that_somebody_has_removed() {
        let (dir, mut disk) = disk();
        create(&mut disk, "a", b"one");
        let sync = FileOp::Sync { file: "a".into() };
        disk.carry_out(&sync).unwrap();
        disk.carry_out(&FileOp::Rename { from: "a".into(), to: "b".into() }).unwrap();
        let sync = FileOp::Sync { file: "b".into() };
        disk.carry_out(&sync).unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        assert_eq!(disk.carry_out(&sync).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_open_file_follows_its_name() {
        let (_dir, mut disk) = disk();
        create(&mut disk, "tmp", b"one");
        disk.carry_out(&FileOp::Rename { from: "tmp".into(), to: "final".into() }).unwrap();
        let parts = vec![Bytes::from_static(b"ONE")];
        disk.carry_out(&FileOp::Write { file: "final".into(), at: 0, parts }).unwrap();
        assert_eq!(disk.read("final").unwrap(), "ONE");
        disk.carry_out(&FileOp::Remove { file: "final".into() }).unwrap();
        disk.carry_out(&FileOp::Remove { file: "final".into() }).unwrap();
        assert!(disk.list().unwrap().is_empty());
        let gone = disk.carry_out(&FileOp::Write { file: "final".into(), at: 0, parts: Vec::new() });
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
