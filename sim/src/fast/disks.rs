//! The writer of level A: batches become the journal's operations, and those take their time on the modelled disk,
//! one after the other in each lane. The rules of the shipped writer, in events.

use std::collections::VecDeque;

use bytes::Bytes;
use synap_core::input::Input;
use synap_core::wal::{FileOp, FileWrite, WriteBatch};

use super::{Event, World};
use crate::bugs;
use crate::disk::{Begun, DiskError, Hand};
use crate::oracle::{Fact, Kept};
use crate::trace::{Step, is_sync, op_line};

/// One queue of a process's disk.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Batches that wait.
    queue: Vec<WriteBatch>,
    /// Batches that are being written, with one sync for all.
    group: Vec<WriteBatch>,
    /// Of those that wait, and of those that are being written.
    bytes: (u64, u64),
    ops: VecDeque<FileOp>,
    begun: Option<Begun>,
    busy: bool,
    full: bool,
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneName {
    /// The log, and rollback files.
    Log,
    /// Snapshot files.
    Snapshot,
    /// What is written ahead.
    Spare,
}

impl LaneName {
    /// The hand that carries it out.
    fn hand(self) -> Hand {
        match self {
            Self::Log => Hand::Log,
            Self::Snapshot | Self::Spare => Hand::Snapshot,
        }
    }

    /// As the trace calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Spare => "spare",
        }
    }
}

/// How often a hand that hangs is looked at.
pub(crate) const HANG_LOOK_US: u64 = 5_000;

/// How often a full disk is tried again.
const ROOM_RETRY_US: u64 = 1_000_000;

/// INV-12: batches of fewer bytes are well within any bound.
const WORTH_A_WORD: u64 = 64 << 10;

/// How often a process looks how much is free.
const MEASURE_US: u64 = 200_000;

/// How many looks a margin of log is worth: a server with the shortest reserve that makes sense looks as often.
const LOOKS_PER_MARGIN: u64 = 8;

/// How long a supervisor takes to start a process that ended by itself.
const SUPERVISOR_US: u64 = 200_000;

impl World<'_> {
    pub(super) fn queue(&mut self, host: usize, lane: LaneName, batch: WriteBatch) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let waits = process.lane(lane);
        waits.bytes.0 += bytes_of(&batch);
        waits.queue.push(batch);
        let bytes = waits.bytes.0 + waits.bytes.1;
        if bytes > WORTH_A_WORD {
            self.see(&Fact::Keeps { node: host, kept: Kept::Unwritten, bytes });
        }
        self.next_group(host, lane);
    }

    /// Takes all that waits, if nothing is being written.
    fn next_group(&mut self, host: usize, name: LaneName) {
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else { return };
        let time = process.time(now);
        let lane = process.lane(name);
        if lane.busy || lane.queue.is_empty() {
            return;
        }
        let group = std::mem::take(&mut lane.queue);
        let ops = process.journal.plan(time, &group);
        let lane = process.lane(name);
        lane.group = group;
        lane.bytes = (0, lane.bytes.0);
        lane.ops = ops.into();
        lane.busy = true;
        self.next_op(host, name);
    }

    /// Writes the next segment ahead, if one is wanted.
    pub(super) fn spare(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.spare.busy {
            return;
        }
        let Some(ops) = process.journal.spare() else { return };
        process.spare.ops = ops.into();
        process.spare.busy = true;
        self.next_op(host, LaneName::Spare);
    }

    /// Begins the lane's next operation, or hands over what is done.
    fn next_op(&mut self, number: usize, name: LaneName) {
        let host = &mut self.hosts[number];
        let life = host.life;
        let Some(process) = &mut host.process else { return };
        let handle = process.handle;
        let Some(op) = process.lane(name).ops.front() else { return self.lane_done(number, name) };
        let begun = host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).begin(handle, op);
        let us = begun.us;
        process.lane(name).begun = Some(begun);
        self.after(us, Event::Disk { host: number, life, lane: name });
    }

    pub(super) fn disk_step(&mut self, number: usize, life: u32, name: LaneName) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let Some(process) = &mut host.process else { return };
        let lane = process.lane(name);
        if lane.begun.is_some()
            && host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).holds_up(name.hand())
        {
            return self.after(HANG_LOOK_US, Event::Disk { host: number, life, lane: name });
        }
        let Some(begun) = lane.begun.take() else {
            // Waited for room: try the same operation again.
            return self.next_op(number, name);
        };
        let Some(op) = lane.ops.front().cloned() else { return };
        let us = begun.us;
        let result = host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).end(begun);
        let ignored = bugs::planted(self.plan.planted.as_deref()).fsync_error_ignored();
        self.note(&[20, number as u64, name as u64, u64::from(result.is_ok())], || Step::Disk {
            node: number,
            lane: name.word(),
            us,
            sync: is_sync(&op),
            good: result.is_ok(),
            text: op_line(&op) + &result.as_ref().err().map(|error| format!(": {error}")).unwrap_or_default(),
        });
        match result {
            Ok(()) => self.op_done(number, name),
            Err(DiskError::NoSpace) if !is_sync(&op) => self.no_room(number, name, life),
            Err(DiskError::Io) if is_sync(&op) && ignored => self.op_done(number, name),
            Err(error) => {
                self.end(number, false, &format!("exit 74, {error}"));
                self.after(SUPERVISOR_US, Event::Start { host: number });
            }
        }
    }

    fn op_done(&mut self, number: usize, name: LaneName) {
        let Some(process) = &mut self.hosts[number].process else { return };
        let lane = process.lane(name);
        lane.ops.pop_front();
        let had_no_room = std::mem::take(&mut lane.full);
        if had_no_room {
            process.full -= 1;
            if process.full == 0 {
                self.put(number, Input::DiskRoom(true));
            }
        }
        self.next_op(number, name);
    }

    /// What need not be written is given up, the log takes the reserve, and all else waits.
    fn no_room(&mut self, number: usize, name: LaneName, life: u32) {
        let host = &mut self.hosts[number];
        let handle = host.process.as_ref().map(|process| process.handle);
        let (Some(process), Some(handle)) = (&mut host.process, handle) else { return };
        let removals: Vec<FileOp> = match name {
            LaneName::Log => process.journal.give_reserve().into_iter().collect(),
            LaneName::Spare => process.journal.spare_given_up(),
            LaneName::Snapshot if WriteBatch::may_give_up(&process.snapshot.group) => {
                let undone: Vec<FileOp> = process.snapshot.ops.drain(..).collect();
                process.journal.snapshot_given_up(&process.snapshot.group, &undone)
            }
            LaneName::Snapshot => Vec::new(),
        };
        let mut disk = host.disk();
        for op in &removals {
            // It removes what no longer matters, or nothing; a process that dies meanwhile starts with that.
            let _ = disk.apply(handle, op);
        }
        drop(disk);
        match name {
            LaneName::Log if !removals.is_empty() => self.next_op(number, name),
            LaneName::Spare => self.spare_given_up(number),
            LaneName::Snapshot if !removals.is_empty() => self.snapshot_given_up(number),
            LaneName::Log | LaneName::Snapshot => self.wait_for_room(number, name, life),
        }
    }

    fn spare_given_up(&mut self, number: usize) {
        let Some(process) = &mut self.hosts[number].process else { return };
        process.spare.ops.clear();
        process.spare.busy = false;
        self.tell_free(number);
    }

    fn snapshot_given_up(&mut self, number: usize) {
        let Some(process) = &mut self.hosts[number].process else { return };
        process.snapshot.busy = false;
        process.snapshot.bytes.1 = 0;
        let group = std::mem::take(&mut process.snapshot.group);
        // Before the word of it, as the server's writer does.
        self.tell_free(number);
        for batch in group {
            self.put(number, Input::GivenUp(batch.given_up()));
        }
        self.next_group(number, LaneName::Snapshot);
    }

    /// How much is free, if the disk has a bound.
    pub(super) fn tell_free(&mut self, number: usize) {
        let free = self.hosts[number].disk().free();
        let Some(process) = &mut self.hosts[number].process else { return };
        process.looked_after = process.journal.bytes_written();
        if let Some(free) = free.filter(|free| process.told_free != Some(*free)) {
            process.told_free = Some(free);
            process.journal.note_free(free);
            self.put(number, Input::DiskFree(free));
        }
    }

    /// Looks at that now and then: a disk may be full for a while for other reasons.
    pub(super) fn measure(&mut self, number: usize, life: u32) {
        if self.plan.knobs.volume_bytes == 0 || self.hosts[number].life != life {
            return;
        }
        self.tell_free(number);
        self.after(MEASURE_US, Event::Measure { host: number, life });
    }

    fn wait_for_room(&mut self, number: usize, name: LaneName, life: u32) {
        if name == LaneName::Log {
            self.make_room(number);
        }
        let Some(process) = &mut self.hosts[number].process else { return };
        let lane = process.lane(name);
        if !lane.full {
            lane.full = true;
            process.full += 1;
            if process.full == 1 {
                self.put(number, Input::DiskRoom(false));
            }
        }
        self.after(ROOM_RETRY_US, Event::Disk { host: number, life, lane: name });
    }

    /// What waits behind the log's operation lets some of its files go.
    fn make_room(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(process) = &mut host.process else { return };
        let (handle, removals) = (process.handle, process.journal.give_room(&process.log.queue));
        let mut disk = host.disk();
        // What cannot be removed is there at the next start.
        let _ = removals.iter().try_for_each(|op| disk.apply(handle, op).map(drop));
        drop(disk);
        self.tell_free(number);
    }

    /// Everything of the group is carried out: the receipts go back, and what waited meanwhile is next.
    fn lane_done(&mut self, number: usize, name: LaneName) {
        let Some(process) = &mut self.hosts[number].process else { return };
        let lane = process.lane(name);
        lane.busy = false;
        lane.bytes.1 = 0;
        let group = std::mem::take(&mut lane.group);
        // Before the receipts, as the server's writer does.
        self.look_at_room(number, name);
        match name {
            LaneName::Log | LaneName::Snapshot => {
                for batch in group {
                    let receipt = batch.durable();
                    self.put(number, Input::Durable(receipt));
                }
                self.next_group(number, name);
            }
            LaneName::Spare => {
                if let Some(process) = &mut self.hosts[number].process {
                    process.journal.spare_ready();
                }
            }
        }
        self.spare(number);
    }

    /// What another hand has written is looked at when it is done, what the log has grows until it is worth a look.
    fn look_at_room(&mut self, number: usize, name: LaneName) {
        let stretch = self.plan.knobs.disk_margin / LOOKS_PER_MARGIN;
        let Some(process) = &mut self.hosts[number].process else { return };
        let written = process.journal.bytes_written();
        if name != LaneName::Log || written >= process.looked_after + stretch {
            self.tell_free(number);
        }
    }
}

/// How much of records, chunks and lines it carries.
fn bytes_of(batch: &WriteBatch) -> u64 {
    let records = batch.records.iter().map(Bytes::len);
    let files = batch.files.iter().map(|file| match file {
        FileWrite::SnapshotChunk { bytes, .. } => bytes.len(),
        FileWrite::Rollback { lines, .. } => lines.len(),
        FileWrite::SnapshotDone { .. }
        | FileWrite::SnapshotAbandoned { .. }
        | FileWrite::RollbackKeepFiles { .. } => 0,
    });
    records.chain(files).sum::<usize>() as u64
}
