//! The modelled disk behind the runtime's [`Disk`]: the shipped writer runs over it as a task.
//!
//! turmoil's clock has ticks of a millisecond and an operation takes microseconds: what operations take is owed until
//! a tick is full, so that their mean speed is right, and some of them stand between their beginning and their end
//! when a tick ends, which is when the power can go.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synap_core::wal::FileOp;
use synap_runtime::disk::Disk;
use synap_runtime::http::{BoxFuture, RollbackFile, RollbackSource};

use super::suspend::Stillness;
use super::world::{World, now_us};
use crate::disk::{DiskError, Hand, Handle};
use crate::trace::{Step, is_sync, op_line};

/// One process's hold on its machine's disk.
#[derive(Clone, Debug)]
pub(super) struct SimDisk {
    world: Arc<World>,
    node: usize,
    handle: Handle,
    lane: &'static str,
    owed_us: u64,
}

/// The rollback files on a machine's disk.
#[derive(Clone, Debug)]
pub(super) struct Rollbacks {
    pub(super) world: Arc<World>,
    pub(super) node: usize,
}

impl SimDisk {
    /// A new process takes hold of the disk; every older hold is void.
    pub(super) fn attach(world: Arc<World>, node: usize) -> Self {
        let handle = world.disk(node).attach();
        Self { world, node, handle, lane: "log", owed_us: 0 }
    }

    fn hand(&self) -> Hand {
        match self.lane {
            "log" => Hand::Log,
            _ => Hand::Snapshot,
        }
    }

    async fn pass(&mut self, us: u64) {
        self.owed_us += us;
        match self.owed_us / 1000 {
            0 => tokio::task::yield_now().await,
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        self.owed_us %= 1000;
    }

    fn tell(&self, op: &FileOp, us: u64, result: Result<(), DiskError>) {
        let mut observations = self.world.observations();
        let parts = [20, self.node as u64, u64::from(self.lane == "log"), u64::from(result.is_ok())];
        observations.trace.note(now_us(), &parts, || Step::Disk {
            node: self.node,
            lane: self.lane,
            us,
            sync: is_sync(op),
            good: result.is_ok(),
            text: op_line(op) + &result.err().map(|error| format!(": {error}")).unwrap_or_default(),
        });
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world.disk(self.node).list())
    }

    fn read(&self, name: &str) -> io::Result<Bytes> {
        self.world.disk(self.node).read(name).map_err(io_error)
    }

    fn free(&self) -> io::Result<Option<u64>> {
        Ok(self.world.disk(self.node).free())
    }

    async fn apply(&mut self, op: &FileOp) -> io::Result<()> {
        let stillness = Stillness { world: Arc::clone(&self.world), node: self.node };
        stillness.over().await;
        let begun = self.world.disk(self.node).begin(self.handle, op);
        let us = begun.us;
        self.pass(us).await;
        while self.world.disk(self.node).holds_up(self.hand()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let result = self.world.disk(self.node).end(begun);
        self.tell(op, us, result);
        // The disk has done it; a process that stands still does not hear of it.
        stillness.over().await;
        result.map_err(io_error)
    }

    fn second(&self) -> Self {
        Self { lane: "beside", owed_us: 0, ..self.clone() }
    }

    fn spawn(_name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        tokio::spawn(task);
        Ok(())
    }
}

impl RollbackSource for Rollbacks {
    fn list(&self) -> BoxFuture<io::Result<Vec<RollbackFile>>> {
        let disk = self.world.disk(self.node);
        let names = disk.list();
        let measured = names.iter().filter_map(|name| {
            let id = name.strip_prefix("rollback/")?.strip_suffix(".ndjson")?.to_owned();
            let bytes = disk.read(name).ok()?;
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            let beside = format!("rollback/{id}.files/");
            let files = names.iter().any(|name| name.starts_with(&beside));
            Some(RollbackFile { id, operations: lines, bytes: bytes.len() as u64, files })
        });
        let files = measured.collect();
        Box::pin(async { Ok(files) })
    }

    fn read(&self, id: String, offset: u64, bytes_max: usize) -> BoxFuture<io::Result<Bytes>> {
        let read = self.world.disk(self.node).read(&format!("rollback/{id}.ndjson")).map_err(io_error);
        Box::pin(async move {
            let bytes = read?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            Ok(bytes.slice(from..bytes.len().min(from.saturating_add(bytes_max))))
        })
    }
}

fn io_error(error: DiskError) -> io::Error {
    let kind = match error {
        DiskError::NoSpace => io::ErrorKind::StorageFull,
        DiskError::NotFound => io::ErrorKind::NotFound,
        DiskError::Io | DiskError::PowerOff => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
