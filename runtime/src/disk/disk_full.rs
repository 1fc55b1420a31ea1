//! Waiting for room on a full disk, by the rule that only a full disk may be waited for: any other failure, and
//! every failure of a sync, is final.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use synap_core::planted::Planted;
use synap_core::wal::FileOp;
use tokio::sync::mpsc;

use super::writer::Report;
use super::{Disk, is_full};

/// How often a full disk is tried again.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Tells the node when the disk becomes full and when it has room again, though several loops may be waiting.
#[derive(Clone, Debug)]
pub(super) struct Room {
    waiting: Arc<Mutex<usize>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Room {
    pub(super) fn new(reports: mpsc::UnboundedSender<Report>) -> Self {
        Self { waiting: Arc::default(), reports }
    }

    pub(super) fn full(&self) {
        self.change(|waiting| *waiting += 1, 1, false);
    }

    pub(super) fn found(&self) {
        self.change(|waiting| *waiting -= 1, 0, true);
    }

    /// Reports while the count is locked, so that reports come in the order of the changes.
    fn change(&self, change: impl FnOnce(&mut usize), tells_at: usize, room: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        if *waiting == tells_at {
            // A driver that is gone needs no word of it.
            let _ = self.reports.send(Report::Room(room));
        }
    }
}

/// Carries out one operation, if there is room for it: false where there is none. An error is final.
pub(super) async fn fits<D: Disk>(disk: &mut D, op: &FileOp, planted: Planted) -> io::Result<bool> {
    match try_once(disk, op, planted).await {
        Err(error) if may_pass(op, &error) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => stand_still(&error).await,
        done => done.map(|()| true),
    }
}

/// How often it is told that nothing is written any more.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Somebody has removed what this process writes. What is in memory may be the only copy then, and a start would find nothing:
/// so the process goes on as with a disk that hangs, and writes nothing more.
async fn stand_still<T>(error: &io::Error) -> T {
    loop {
        tracing::error!(
            %error,
            "a file of the data directory was removed by somebody else: nothing more is written, and what this node holds is in \
             memory alone. Have a replica take it before this process is ended (docs/operations.md, \"A directory that is removed\")"
        );
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Carries out one operation, waiting for room. An error is final.
pub(super) async fn carry_out<D: Disk>(
    disk: &mut D,
    op: &FileOp,
    planted: Planted,
    room: &Room,
) -> io::Result<()> {
    if fits(disk, op, planted).await? {
        return Ok(());
    }
    room.full();
    let done = loop {
        tokio::time::sleep(RETRY_EVERY).await;
        match fits(disk, op, planted).await {
            Ok(false) => {}
            done => break done.map(|_| ()),
        }
    };
    room.found();
    done
}

async fn try_once<D: Disk>(disk: &mut D, op: &FileOp, planted: Planted) -> io::Result<()> {
    match disk.apply(op).await {
        Err(_) if is_sync(op) && planted.fsync_error_ignored() => Ok(()),
        done => done,
    }
}

// A sync is never tried again: after a failed one the system may have dropped the very pages that it could not
// write, and the next would say Ok of nothing.
fn may_pass(op: &FileOp, error: &io::Error) -> bool {
    is_full(error) && !is_sync(op)
}

pub(super) fn is_sync(op: &FileOp) -> bool {
    match op {
        FileOp::Sync { .. } | FileOp::SyncDir { .. } => true,
        FileOp::Create { .. }
        | FileOp::Write { .. }
        | FileOp::Rename { .. }
        | FileOp::Link { .. }
        | FileOp::Remove { .. }
        | FileOp::CreateDir { .. } => false,
    }
}
