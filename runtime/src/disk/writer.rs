//! The writer: takes all batches that wait, carries out the journal's plan for them with one sync, and hands the
//! receipts back. The same loop runs over real and modelled disks.
//!
//! Owns the group commit and what a failure means. Never decides what is written, nor in which order.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use synap_core::planted::Planted;
use synap_core::position::Position;
use synap_core::wal::{Durable, FileOp, FileWrite, GivenUp, Journal, Lane, WriteBatch};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Disk;
use super::background::{self, Done, Ends, Job, Purpose};
use super::disk_full::{RETRY_EVERY, Room, fits, is_sync};
use crate::clock::Clock;
use crate::observe::Observer;

/// What the writer tells the driver.
#[derive(Debug)]
pub enum Report {
    /// These batches of one lane are on disk, in the order in which they were queued.
    Durable(Lane, Vec<Durable>),
    /// These batches of the snapshot lane were given up for want of room.
    GivenUp(Vec<GivenUp>),
    /// The disk is full, or has room again.
    Room(bool),
    /// So many bytes are free.
    Free(u64),
    /// The disk failed for good: no further promise may be made.
    Failed(io::Error),
    /// Everything that was queued for the log is on disk and the log is closed; nothing follows.
    Closed,
    /// The log was to be closed, and there is no room for what was queued: nothing is kept of that. Nothing follows.
    ClosedForWantOfRoom,
}

/// What a writer works with.
pub struct Writer<D> {
    /// The directory.
    pub disk: D,
    /// Where its log goes on.
    pub journal: Journal,
    /// The bug that a simulation has planted.
    pub planted: Planted,
    /// For timed syncs.
    pub clock: Clock,
    /// Who measures.
    pub observer: Arc<dyn Observer>,
}

/// The driver's end of a writer: batches go in and reports come out. Dropping the sender closes the log.
#[derive(Debug)]
pub struct WriterLink {
    /// Takes batches. Its bound is the driver's: it counts those without a receipt.
    pub batches: mpsc::UnboundedSender<WriteBatch>,
    /// Gives reports.
    pub reports: mpsc::UnboundedReceiver<Report>,
}

impl<D: Disk> Writer<D> {
    /// Starts the writer, and the second hand on its disk.
    pub fn start(self) -> io::Result<WriterLink> {
        let (batches, inbox) = mpsc::unbounded_channel();
        let (outbox, reports) = mpsc::unbounded_channel();
        let (jobs, job_inbox) = mpsc::unbounded_channel();
        let (job_outbox, jobs_done) = mpsc::unbounded_channel();
        let room = Room::new(outbox.clone());
        let stop = CancellationToken::new();
        let ends = Ends { jobs: job_inbox, done: job_outbox };
        let second = background::run(self.disk.second(), self.planted, room.clone(), ends, stop.clone());
        D::spawn("synap-second", second)?;
        let second = Second { jobs, done: jobs_done, stop: stop.drop_guard() };
        let (snapshots, gauge) = (Snapshots::default(), Gauge::default());
        let (later, use_noted, lacks_room) = (Vec::new(), false, false);
        let running =
            Running { writer: self, room, inbox, outbox, second, snapshots, gauge, later, use_noted, lacks_room };
        D::spawn("synap-writer", running.run())?;
        Ok(WriterLink { batches, reports })
    }
}

struct Running<D> {
    writer: Writer<D>,
    room: Room,
    inbox: mpsc::UnboundedReceiver<WriteBatch>,
    outbox: mpsc::UnboundedSender<Report>,
    second: Second,
    snapshots: Snapshots,
    /// The directory says that a node is durable in it.
    use_noted: bool,
    gauge: Gauge,
    /// Batches of the log that came in while an operation waited for room.
    later: Vec<WriteBatch>,
    /// The log was to be closed while an operation had no room.
    lacks_room: bool,
}

/// The writer's ends of its second hand, which ends with them.
struct Second {
    jobs: mpsc::UnboundedSender<Job>,
    done: mpsc::UnboundedReceiver<io::Result<Done>>,
    stop: DropGuard,
}

/// How often it is looked how much is free, and after how much log in any case.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_AFTER_BYTES: u64 = 128 << 10;

/// What is known of how much is free.
#[derive(Default)]
struct Gauge {
    /// What was told last.
    told: Option<u64>,
    /// When it is looked at next; none if there is no bound, or if it is to be looked at at once.
    looks_at: Option<Instant>,
    /// How much had been written when it was looked at last.
    looked_after: u64,
    begun: bool,
}

/// The snapshot lane: one group at a time is in the second hand, the rest waits.
#[derive(Default)]
struct Snapshots {
    waiting: Vec<WriteBatch>,
    in_hand: bool,
    began: Option<(Position, Instant)>,
}

/// What the writer woke for.
enum Wake {
    Batches,
    Closed,
    Alarm,
    Done(io::Result<Done>),
    /// It is time to measure how much is free.
    Look,
}

impl<D: Disk> Running<D> {
    async fn run(mut self) {
        let result = self.work().await;
        let Self { writer, outbox, second, .. } = self;
        let last = match result {
            Ok(closed) => {
                // Who hears of the end may open the directory again at once.
                second.end().await;
                drop(writer);
                closed
            }
            Err(error) => Report::Failed(error),
        };
        // A driver that is gone has stopped promising already.
        let _ = outbox.send(last);
    }

    /// Works until the log is closed: the last report.
    async fn work(&mut self) -> io::Result<Report> {
        let mut group = Vec::new();
        self.tell_free();
        self.order_spare();
        loop {
            match self.wait(&mut group).await {
                Wake::Batches => {
                    self.sort_out_snapshots(&mut group);
                    self.commit(&mut group).await?;
                }
                Wake::Alarm => {
                    let ops = self.writer.journal.alarm(self.writer.clock.mono());
                    self.carry_out_all(&ops).await?;
                }
                Wake::Done(done) => self.job_done(done?).await?,
                Wake::Look => {}
                Wake::Closed => {
                    let ops = self.writer.journal.close();
                    self.carry_out_all(&ops).await?;
                    return Ok(Report::Closed);
                }
            }
            if self.lacks_room {
                return Ok(Report::ClosedForWantOfRoom);
            }
            self.tell_free();
            self.order_spare();
            self.order_snapshots();
        }
    }

    /// Waits for something to do; takes all batches that are there.
    async fn wait(&mut self, group: &mut Vec<WriteBatch>) -> Wake {
        if !self.later.is_empty() {
            group.append(&mut self.later);
            return Wake::Batches;
        }
        let due = self.writer.journal.deadline();
        let alarm = async {
            match due {
                Some(due) => tokio::time::sleep_until(self.writer.clock.instant(due)).await,
                None => std::future::pending().await,
            }
        };
        let look = async {
            match self.gauge.looks_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // First, so that a busy log is synced on time all the same.
            () = alarm => Wake::Alarm,
            Some(done) = self.second.done.recv() => Wake::Done(done),
            () = look => Wake::Look,
            taken = self.inbox.recv_many(group, usize::MAX) => if taken == 0 { Wake::Closed } else { Wake::Batches },
        }
    }

    fn sort_out_snapshots(&mut self, group: &mut Vec<WriteBatch>) {
        let snapshots = group.extract_if(.., |batch| batch.lane() == Lane::Snapshot);
        self.snapshots.waiting.extend(snapshots);
    }

    /// Puts a group of the log's batches on disk, and only then gives their receipts.
    async fn commit(&mut self, group: &mut Vec<WriteBatch>) -> io::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        let ops = self.writer.journal.plan(self.writer.clock.mono(), group);
        self.carry_out_all(&ops).await?;
        if self.lacks_room {
            return Ok(());
        }
        if !std::mem::replace(&mut self.use_noted, true) {
            self.writer.disk.note_use();
        }
        self.writer.observer.wal_bytes(self.writer.journal.bytes_written());
        // Before the receipts: what is durable is on its way no longer, and has to be missing from what is free.
        self.tell_free();
        self.report_durable(Lane::Log, group.drain(..));
        Ok(())
    }

    /// Carries out all of them, unless the log is to be closed while one has no room: it `lacks_room` then, and nothing may follow.
    async fn carry_out_all(&mut self, ops: &[FileOp]) -> io::Result<()> {
        for op in ops {
            let began = is_sync(op).then(Instant::now);
            if !fits(&mut self.writer.disk, op, self.writer.planted).await? {
                self.give_reserve().await?;
                if !fits(&mut self.writer.disk, op, self.writer.planted).await? && !self.wait_for_room(op).await? {
                    self.lacks_room = true;
                    return Ok(());
                }
            }
            if let Some(began) = began {
                self.writer.observer.wal_synced(began.elapsed());
            }
        }
        Ok(())
    }

    /// Tries this operation until there is room for it: false if the log is to be closed first. What makes room goes on meanwhile: snapshots, and
    /// the removal of what they hold.
    async fn wait_for_room(&mut self, op: &FileOp) -> io::Result<bool> {
        self.room.full();
        let done = loop {
            if self.inbox.is_closed() {
                return Ok(false);
            }
            self.make_room().await?;
            match fits(&mut self.writer.disk, op, self.writer.planted).await {
                Ok(false) => {}
                done => break done,
            }
        };
        self.room.found();
        done
    }

    /// Until an operation of the log is tried again.
    async fn make_room(&mut self) -> io::Result<()> {
        let mut came = Vec::new();
        let wake = tokio::select! {
            biased;
            Some(done) = self.second.done.recv() => Some(done?),
            _ = self.inbox.recv_many(&mut came, usize::MAX) => None,
            () = tokio::time::sleep(RETRY_EVERY) => None,
        };
        self.sort_out_snapshots(&mut came);
        self.later.append(&mut came);
        if let Some(done) = wake {
            self.job_done(done).await?;
        } else {
            let ops = self.writer.journal.give_room(&self.later);
            self.remove(&ops).await?;
        }
        self.tell_free();
        self.order_snapshots();
        Ok(())
    }

    /// Carries out what takes no room, in order: what is removed is held by what is synced before.
    async fn remove(&mut self, ops: &[FileOp]) -> io::Result<()> {
        for op in ops {
            if !fits(&mut self.writer.disk, op, self.writer.planted).await? {
                break;
            }
        }
        Ok(())
    }

    /// The log has no room: it takes what was kept for that.
    async fn give_reserve(&mut self) -> io::Result<()> {
        match self.writer.journal.give_reserve() {
            Some(op) => self.writer.disk.apply(&op).await,
            None => Ok(()),
        }
    }

    /// Measures how much is free, now and then, and says so if that has changed.
    fn tell_free(&mut self) {
        let now = Instant::now();
        let written = self.writer.journal.bytes_written();
        let little = written < self.gauge.looked_after + LOOK_AFTER_BYTES;
        if self.gauge.begun && self.gauge.looks_at.is_none_or(|at| now < at && little) {
            return;
        }
        self.gauge.begun = true;
        self.gauge.looked_after = written;
        let free = self.writer.disk.free().unwrap_or_else(|error| {
            tracing::warn!(%error, "how much is free on the disk cannot be found out");
            None
        });
        self.gauge.looks_at = free.map(|_| now + LOOK_EVERY);
        if let Some(free) = free.filter(|free| self.gauge.told != Some(*free)) {
            self.gauge.told = Some(free);
            self.writer.journal.note_free(free);
            // A driver that is gone needs no word of it.
            let _ = self.outbox.send(Report::Free(free));
        }
    }

    fn report_durable(&self, lane: Lane, batches: impl Iterator<Item = WriteBatch>) {
        // A driver that is gone makes no promise that would need a receipt.
        let _ = self.outbox.send(Report::Durable(lane, batches.map(WriteBatch::durable).collect()));
    }

    fn order_spare(&mut self) {
        if let Some(ops) = self.writer.journal.spare() {
            self.order(Job { purpose: Purpose::Spare, ops, gives_up: true });
        }
    }

    fn order_snapshots(&mut self) {
        if self.snapshots.in_hand || self.snapshots.waiting.is_empty() {
            return;
        }
        let batches = std::mem::take(&mut self.snapshots.waiting);
        let gives_up = WriteBatch::may_give_up(&batches);
        let ops = self.writer.journal.plan(self.writer.clock.mono(), &batches);
        self.snapshots.in_hand = true;
        self.snapshots.note_begin(&batches);
        self.order(Job { purpose: Purpose::Snapshot(batches), ops, gives_up });
    }

    fn order(&self, job: Job) {
        // The second hand ends only with this sender, or with a failure, which its last word tells.
        let _ = self.second.jobs.send(job);
    }

    /// What the second hand did is done. What free space is left is told before the receipts, as for the log; what was given up is removed
    /// before that.
    async fn job_done(&mut self, done: Done) -> io::Result<()> {
        let Done { purpose, given_up } = done;
        match (purpose, given_up) {
            (Purpose::Spare, None) => {
                self.writer.journal.spare_ready();
                self.tell_free_now();
            }
            (Purpose::Spare, Some(_)) => {
                let ops = self.writer.journal.spare_given_up();
                self.remove(&ops).await?;
                self.tell_free_now();
            }
            (Purpose::Snapshot(batches), Some(undone)) => {
                self.snapshots.in_hand = false;
                self.snapshots.began = None;
                let ops = self.writer.journal.snapshot_given_up(&batches, &undone);
                self.remove(&ops).await?;
                self.tell_free_now();
                // A driver that is gone needs no word of it.
                let _ = self.outbox.send(Report::GivenUp(batches.into_iter().map(WriteBatch::given_up).collect()));
            }
            (Purpose::Snapshot(batches), None) => {
                self.snapshots.in_hand = false;
                if let Some(took) = self.snapshots.note_end(&batches) {
                    self.writer.observer.snapshot_taken(took);
                }
                self.tell_free_now();
                self.report_durable(Lane::Snapshot, batches.into_iter());
            }
        }
        Ok(())
    }

    /// Measures how much is free, whenever that was done last.
    fn tell_free_now(&mut self) {
        self.gauge.begun = false;
        self.tell_free();
    }
}

impl Second {
    /// Breaks off what it does, and waits until it has let go of the disk.
    async fn end(self) {
        let Self { jobs: _, mut done, stop } = self;
        drop(stop);
        while done.recv().await.is_some() {}
    }
}

impl Snapshots {
    fn note_begin(&mut self, batches: &[WriteBatch]) {
        for file in batches.iter().flat_map(|batch| &batch.files) {
            if let FileWrite::SnapshotChunk { position, number: 0, .. } = file {
                self.began = Some((*position, Instant::now()));
            }
        }
    }

    /// How long the snapshot took that these batches complete, if they complete one.
    fn note_end(&mut self, batches: &[WriteBatch]) -> Option<Duration> {
        let done = batches.iter().flat_map(|batch| &batch.files).find_map(|file| match file {
            FileWrite::SnapshotDone { position, .. } => Some(*position),
            FileWrite::SnapshotChunk { .. }
            | FileWrite::SnapshotAbandoned { .. }
            | FileWrite::Rollback { .. }
            | FileWrite::RollbackKeepFiles { .. } => None,
        })?;
        let (_, began) = self.began.take_if(|(position, _)| *position == done)?;
        Some(began.elapsed())
    }
}

impl<D> fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("journal", &self.journal).finish_non_exhaustive()
    }
}
