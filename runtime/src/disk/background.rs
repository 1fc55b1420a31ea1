//! The second hand on the disk: carries out what must not delay a commit, beside the writer. That is the next log
//! segment, written out ahead, and the files of snapshots.

use std::io;

use synap_core::planted::Planted;
use synap_core::wal::{FileOp, WriteBatch};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Disk;
use super::disk_full::{Room, carry_out, fits};

/// What the second hand is to do.
#[derive(Debug)]
pub(super) struct Job {
    /// What it is for.
    pub(super) purpose: Purpose,
    /// The operations.
    pub(super) ops: Vec<FileOp>,
    /// Whether it is given up where there is no room for it; otherwise it waits for some.
    pub(super) gives_up: bool,
}

/// A job that has come to its end.
#[derive(Debug)]
pub(super) struct Done {
    /// What it was for.
    pub(super) purpose: Purpose,
    /// What was not carried out of one that was given up.
    pub(super) given_up: Option<Vec<FileOp>>,
}

/// What a job is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A log segment, written out ahead.
    Spare,
    /// These batches of the snapshot lane.
    Snapshot(Vec<WriteBatch>),
}

/// Carries out jobs, in order, until `stop`. Gives back each that is done; ends with the first that
/// fails. What is broken off is no loss: nobody was told of it, and the next start removes it.
pub(super) async fn run<D: Disk>(disk: D, planted: Planted, room: Room, mut ends: Ends, stop: CancellationToken) {
    // The `done` end goes last: when it is gone, so is the hand on the disk.
    stop.run_until_cancelled(carry_out_jobs(disk, planted, room, &mut ends)).await;
}

/// The second hand's ends of its channels.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) done: mpsc::UnboundedSender<io::Result<Done>>,
}

async fn carry_out_jobs<D: Disk>(disk: D, planted: Planted, room: Room, ends: &mut Ends) {
    while let Some(Job { purpose, ops, gives_up }) = ends.jobs.recv().await {
        // A fresh hand for each: the writer renames what this one wrote, so files must not stay open by name.
        let hand = &mut disk.second();
        let result = if gives_up {
            carry_out_what_fits(hand, ops, planted).await
        } else {
            carry_out_all(hand, &ops, planted, &room).await.map(|()| None)
        };
        if ends.done.send(result.map(|given_up| Done { purpose, given_up })).is_err() {
            return;
        }
    }
}

/// Gives what was not carried out for want of room, if anything was not.
async fn carry_out_what_fits<D: Disk>(
    disk: &mut D,
    mut ops: Vec<FileOp>,
    planted: Planted,
) -> io::Result<Option<Vec<FileOp>>> {
    for done in 0..ops.len() {
        let_stop().await;
        if !fits(disk, &ops[done], planted).await? {
            return Ok(Some(ops.split_off(done)));
        }
    }
    Ok(None)
}

async fn carry_out_all<D: Disk>(disk: &mut D, ops: &[FileOp], planted: Planted, room: &Room) -> io::Result<()> {
    for op in ops {
        let_stop().await;
        carry_out(disk, op, planted, room).await?;
    }
    Ok(())
}

/// Between two operations of a long job a stop is heard: on a real disk nothing else of it ever waits.
async fn let_stop() {
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    /// Is stopped by its third operation, and never makes anybody wait, as a real one.
    #[derive(Clone)]
    struct StopsAtThree {
        done: Arc<AtomicUsize>,
        stop: CancellationToken,
    }

    impl Disk for StopsAtThree {
        fn list(&self) -> io::Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn read(&self, _name: &str) -> io::Result<Bytes> {
            Err(ErrorKind::NotFound.into())
        }

        fn free(&self) -> io::Result<Option<u64>> {
            Ok(None)
        }

        async fn apply(&mut self, _op: &FileOp) -> io::Result<()> {
            if self.done.fetch_add(1, Ordering::Relaxed) == 2 {
                self.stop.cancel();
            }
            Ok(())
        }

        fn second(&self) -> Self {
            self.clone()
        }

        fn spawn(_name: &str, _task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test]
    async fn a_stop_breaks_off_a_long_job() {
        for gives_up in [false, true] {
            let (jobs, job_inbox) = mpsc::unbounded_channel();
            let (job_outbox, _done) = mpsc::unbounded_channel();
            let (reports, _told) = mpsc::unbounded_channel();
            let ops = (0..100).map(|_| FileOp::Sync { file: "reserve".into() }).collect();
            jobs.send(Job { purpose: Purpose::Spare, ops, gives_up }).unwrap();
            let disk = StopsAtThree { done: Arc::default(), stop: CancellationToken::new() };
            let ends = Ends { jobs: job_inbox, done: job_outbox };
            let stop = disk.stop.clone();
            run(disk.clone(), Planted::default(), Room::new(reports), ends, stop).await;
            assert_eq!(disk.done.load(Ordering::Relaxed), 3);
        }
    }
}
