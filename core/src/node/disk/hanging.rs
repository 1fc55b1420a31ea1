//! A disk that does nothing: no write and no sync comes to an end although some wait, for as long as the disk's patience.
//! Owns when that is so, for each hand on the disk by itself; what a master then does is in [`crate::node::leader::auto_handover`].

use core::time::Duration;

use crate::event::Event;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal};
use crate::status::{Alarm, DiskState};
use crate::time::Time;
use crate::wal::Lane;

/// How much longer snapshot files may take: they wait behind a log segment that is written ahead.
const SNAPSHOT_PATIENCE: u32 = 5;

/// One hand on the disk, as its receipts tell of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Hand {
    /// Since when something waits and nothing has been done.
    waits_since: Option<Time>,
    /// When this node first saw that to have lasted for half the patience.
    noticed: Option<Time>,
}

/// Both hands on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Hands {
    log: Hand,
    snapshot: Hand,
}

impl Hand {
    /// Something is put in.
    fn take(&mut self, now: Time) {
        self.waits_since.get_or_insert(now);
    }

    /// Some of it is done, or told to wait for another reason.
    fn moved(&mut self, now: Time, idle: bool) {
        *self = Self { waits_since: (!idle).then_some(now), noticed: None };
    }

    /// The two halves are counted one by one: a process that stood still learns of what the disk did meanwhile after it has
    /// looked at the clock, and must not take its own rest for the disk's.
    fn look(&mut self, now: Time, patience: Duration) -> bool {
        let Some(since) = self.waits_since else { return false };
        if self.noticed.is_none() && since + patience / 2 <= now {
            self.noticed = Some(now);
        }
        self.noticed.is_some_and(|at| at + patience / 2 <= now)
    }

    /// When it is worth another look.
    fn deadline(&self, patience: Duration) -> Option<Time> {
        Some(self.noticed.or(self.waits_since)? + patience / 2)
    }

    fn silent(&self, now: Time) -> Duration {
        self.waits_since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

impl Hands {
    fn of(&mut self, lane: Lane) -> &mut Hand {
        match lane {
            Lane::Log => &mut self.log,
            Lane::Snapshot => &mut self.snapshot,
        }
    }

    /// A batch leaves.
    pub(in crate::node) fn take(&mut self, lane: Lane, now: Time) {
        self.of(lane).take(now);
    }

    /// A batch is on disk.
    pub(in crate::node) fn moved(&mut self, lane: Lane, now: Time, idle: bool) {
        self.of(lane).moved(now, idle);
    }

    /// The disk says that it is full, or that it has room: it is not silent.
    pub(in crate::node) fn spoke(&mut self, now: Time) {
        for hand in [&mut self.log, &mut self.snapshot] {
            hand.moved(now, hand.waits_since.is_none());
        }
    }
}

impl Node {
    /// How long the disk may do nothing while something waits for it.
    pub(in crate::node) fn disk_patience(&self) -> Duration {
        self.config.disk_timeout.unwrap_or_else(|| self.election_timeout())
    }

    /// How this node's disk does, as others are told.
    pub(in crate::node) fn disk_state(&self) -> DiskState {
        if self.flags.disk_full {
            DiskState::Full
        } else if self.flags.disk_hangs && !self.config.planted.eligible_with_hanging_disk() {
            DiskState::Hangs
        } else {
            DiskState::Works
        }
    }

    /// For how long nothing has reached the log, though something waits for it.
    pub(in crate::node) fn disk_silence(&self, now: Time) -> Duration {
        self.hands.log.silent(now)
    }

    /// Finds out which hands hang. A full disk waits for room, and says so itself.
    pub(in crate::node) fn watch_disk(&mut self, out: &mut Output) {
        let (now, patience) = (self.now.mono, self.disk_patience());
        let log = self.hands.log.look(now, patience) && !self.room.is_stuck();
        let snapshot = self.hands.snapshot.look(now, patience * SNAPSHOT_PATIENCE) && !self.room.is_stuck();
        if log != self.flags.disk_hangs {
            self.flags.disk_hangs = log;
            let silent = self.hands.log.silent(now);
            out.events.push(Event::DiskHangs { alarm: Alarm::DiskHangs, silent, on: log });
        }
        if snapshot != self.flags.snapshot_hangs {
            self.flags.snapshot_hangs = snapshot;
            let silent = self.hands.snapshot.silent(now);
            out.events.push(Event::DiskHangs { alarm: Alarm::SnapshotHangs, silent, on: snapshot });
        }
        self.answer_in_doubt(out);
    }

    /// When [`Node::watch_disk`] may find something new.
    pub(in crate::node) fn disk_deadline(&self) -> Option<Time> {
        if self.room.is_stuck() {
            return None;
        }
        let patience = self.disk_patience();
        let log = self.hands.log.deadline(patience).filter(|_| !self.flags.disk_hangs);
        let snapshot = self.hands.snapshot.deadline(patience * SNAPSHOT_PATIENCE);
        log.into_iter().chain(snapshot.filter(|_| !self.flags.snapshot_hangs)).min()
    }

    /// Verbs that wait for a disk that does nothing are answered: nobody knows when it will, and what they began goes on
    /// then.
    fn answer_in_doubt(&mut self, out: &mut Output) {
        if self.flags.disk_hangs
            && let Role::Master(master) = &mut self.role
            && let Some(id) = master.promoting.as_mut().and_then(|promoting| promoting.request.take())
        {
            let why =
                "the disk hangs: this node leads once its promise is on it, see state and alarms in the status";
            out.replies.push((id, Err(Refusal::Undecided { why })));
        }
        if self.flags.snapshot_hangs {
            self.doubt_snapshots(out);
        }
    }
}
