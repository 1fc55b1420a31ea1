//! No disk at all, for `persistence.enabled: false`: everything succeeds and nothing stays.

use std::future::Future;
use std::io;

use bytes::Bytes;
use synap_core::wal::FileOp;

use super::Disk;

/// A directory that is always empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullDisk;

impl Disk for NullDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn read(&self, _name: &str) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn free(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    async fn apply(&mut self, _op: &FileOp) -> io::Result<()> {
        Ok(())
    }

    fn second(&self) -> Self {
        Self
    }

    fn spawn(_name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        tokio::spawn(task);
        Ok(())
    }
}
