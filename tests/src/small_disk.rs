//! A disk of a few MiB, on which a test can run out of room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, mounted for one test.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl SmallDisk {
    /// One of so many MiB. None, with the reason printed, where this machine does not let the test mount one.
    pub fn mount(parent: &Path, mib: u32) -> Option<Self> {
        let path = parent.join("disk");
        fs::create_dir(&path).expect("a directory can be made");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { path }),
            Ok(output) => {
                println!("skipped: mount says {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: no mount here: {error}");
                None
            }
        }
    }

    /// Takes all of its room but so many bytes.
    pub fn leave(&self, bytes: u64) -> PathBuf {
        let told = Command::new("df").args(["-B1", "--output=avail"]).arg(&self.path).output().expect("df runs");
        let told = String::from_utf8_lossy(&told.stdout);
        let free: u64 = told.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number");
        self.fill(usize::try_from(free.saturating_sub(bytes)).expect("it fits into memory"))
    }

    /// Takes so many bytes of its room, until the file is removed.
    pub fn fill(&self, bytes: usize) -> PathBuf {
        let filler = self.path.join("filler");
        fs::write(&filler, vec![1; bytes]).expect("the disk has room for the filler");
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a server that is about to end may still hold files on it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
