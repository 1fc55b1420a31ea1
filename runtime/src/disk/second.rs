//! The second hand on the disk: carries out what must not delay a commit, beside the writer. That is the next log
//! segment, written out ahead, and the files of snapshots.

use std::io;

use synap_core::planted::Planted;
use synap_core::wal::{FileOp, WriteBatch};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Disk;
use super::room::{Room, carry_out};

/// What the second hand is to do.
#[derive(Debug)]
pub(super) struct Job {
    /// What it is for.
    pub(super) purpose: Purpose,
    /// The operations.
    pub(super) ops: Vec<FileOp>,
}

/// What a job is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A log segment, written out ahead.
    Spare,
    /// These batches of the snapshot lane.
    Snapshot(Vec<WriteBatch>),
}

/// Carries out jobs, in order, until `stop`. Gives back the purpose of each that is done; ends with the first that
/// fails. What is broken off is no loss: nobody was told of it, and the next start removes it.
pub(super) async fn run<D: Disk>(disk: D, planted: Planted, room: Room, mut ends: Ends, stop: CancellationToken) {
    // The `done` end goes last: when it is gone, so is the hand on the disk.
    stop.run_until_cancelled(carry_out_jobs(disk, planted, room, &mut ends)).await;
}

/// The second hand's ends of its channels.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) done: mpsc::UnboundedSender<io::Result<Purpose>>,
}

async fn carry_out_jobs<D: Disk>(disk: D, planted: Planted, room: Room, ends: &mut Ends) {
    while let Some(Job { purpose, ops }) = ends.jobs.recv().await {
        // A fresh hand for each: the writer renames what this one wrote, so files must not stay open by name.
        let result = carry_out_all(&mut disk.second(), &ops, planted, &room).await;
        if ends.done.send(result.map(|()| purpose)).is_err() {
            return;
        }
    }
}

async fn carry_out_all<D: Disk>(disk: &mut D, ops: &[FileOp], planted: Planted, room: &Room) -> io::Result<()> {
    for op in ops {
        carry_out(disk, op, planted, room).await?;
    }
    Ok(())
}
