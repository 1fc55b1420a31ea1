//! The room on the disk. While little is left a node keeps little: one snapshot, a short tail, no more log than that snapshot needs,
//! and the next snapshot early, as long as it fits. Owns what a number of free bytes means; what goes to disk because of it is
//! in [`crate::node::snapshots`] and [`crate::node::replicated::append`].
//!
//! A margin stays free for the log while a snapshot is written. Half of it is for what makes room (deletes, values that shrink, a
//! snapshot's mark) and for promises: writes that make the store larger are refused before that is touched.

use core::time::Duration;

use crate::command::{Command, Pair};
use crate::config::SnapshotPolicy;
use crate::coverage::Mark;
use crate::event::Event;
use crate::node::Node;
use crate::output::Output;
use crate::position::Index;
use crate::status::{Alarm, DiskSpace};
use crate::time::Time;

/// After a snapshot found no room, none is tried unasked for this long. While room is short, one is due this long after the last.
const RESTS: Duration = Duration::from_secs(5);

/// After so many snapshots that were given up one after another nothing waits for the next.
const GIVEN_UP_MAX: u32 = 4;

/// For so long after something was refused or waited for want of room the node keeps little.
const WANTED: Duration = Duration::from_secs(15);

/// While writes are refused for want of room, one is due this long after the last.
const RESTS_WHEN_SPENT: Duration = Duration::from_secs(1);

/// How many times its length a record may take on disk: one that does not fit into the rest of a segment begins another.
const ON_DISK: u64 = 2;

/// What is known of the room.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::node) struct Room {
    /// Bytes free, as told last; none before.
    free: Option<u64>,
    /// Bytes of rollback files handed to the disk since.
    taken: u64,
    /// Something of the log waits for room.
    stuck: bool,
    /// The node keeps little.
    short: bool,
    /// The disk has been told so.
    told_short: bool,
    /// The store must not grow.
    spent: bool,
    /// The next snapshot fits with the whole margin, or is being written.
    fits: bool,
    /// It may begin all the same.
    may_begin: bool,
    /// Until when none is tried unasked.
    rests_until: Option<Time>,
    /// How many were given up one after another.
    given_up: u32,
    /// Until when the node keeps little, since something was refused or waited for want of room.
    wanted_until: Option<Time>,
    /// Up to where the log was cut for want of room.
    cut: Index,
}

impl Room {
    /// Nothing is known: there is room.
    pub(in crate::node) fn new() -> Self {
        Self { fits: true, may_begin: true, ..Self::default() }
    }

    /// Whether something of the log waits for room.
    pub(in crate::node) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// A snapshot of our own is on disk.
    pub(in crate::node) fn held_snapshot(&mut self) {
        self.given_up = 0;
    }

    /// Something is refused, or waits, for want of room.
    pub(in crate::node) fn want(&mut self, now: Time) {
        self.wanted_until = Some(now + WANTED);
    }

    /// So much goes into a rollback file.
    pub(in crate::node) fn takes(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// Whether the node keeps little.
    pub(in crate::node) fn is_short(&self) -> bool {
        self.short
    }

    /// Whether the disk is to be told that this has changed.
    pub(in crate::node) fn has_news(&self) -> bool {
        self.short != self.told_short
    }

    /// The batch that tells it leaves.
    pub(in crate::node) fn tell(&mut self) -> bool {
        self.told_short = self.short;
        self.short
    }
}

impl Node {
    /// Something waits for room on a full disk, or no longer does.
    pub(in crate::node) fn on_disk_room(&mut self, room: bool, out: &mut Output) {
        self.room.stuck = !room;
        self.hands.spoke(self.now.mono);
        if !room {
            self.refuse_snapshots(out);
        }
    }

    pub(in crate::node) fn on_disk_free(&mut self, free: u64) {
        (self.room.free, self.room.taken) = (Some(free), 0);
    }

    /// A snapshot was given up for want of room.
    pub(in crate::node) fn rest_from_snapshots(&mut self) {
        self.room.rests_until = Some(self.now.mono + RESTS);
        self.room.given_up += 1;
    }

    /// Whether a snapshot that nobody asked for may begin: it fits, as far as anybody knows, and the last one did.
    pub(in crate::node) fn has_room_for_snapshot(&self) -> bool {
        self.room.may_begin && !self.rests_from_snapshots()
    }

    /// Whether another piece of a rollback file may be written: what the file leaves must hold the state that a master sends, since
    /// nothing ends the rollback before. What has no room in it stays in the files of the log.
    pub(in crate::node) fn has_room_for_lines(&self) -> bool {
        // The piece, and the one that may have been on its way to the disk when that was asked.
        let pieces = 2 * self.config.chunk_bytes as u64;
        let needed = self.next_snapshot_bytes() + self.config.disk_margin / 2 + pieces;
        let watched = self.config.disk_margin > 0 && self.config.keeps_log;
        let free = self.room.free.map(|free| free.saturating_sub(self.room.taken));
        !watched || free.is_none_or(|free| free >= needed)
    }

    /// Finds out what the room allows.
    pub(in crate::node) fn watch_room(&mut self, out: &mut Output) {
        if let Some(free) = self.room.free
            && self.config.disk_margin > 0
            && !self.config.planted.room_unwatched()
        {
            self.measure(free);
        }
        let full = self.room.stuck || self.room.spent && !self.snapshots.is_taking();
        if full != self.flags.disk_full {
            self.flags.disk_full = full;
            out.events.push(Event::Alarm { alarm: Alarm::DiskFull, on: full });
        }
        if self.room.fits == self.flags.disk_short {
            self.flags.disk_short = !self.room.fits;
            out.events.push(Event::Alarm { alarm: Alarm::DiskShort, on: !self.room.fits });
        }
        if self.room.short {
            self.coverage.mark(Mark::RoomShort);
            self.cut_short();
        }
    }

    /// Each bound is left a little later than it is met, so that nothing changes to and fro.
    ///
    /// The store must not grow, nor the log of what only replaces, once the next snapshot would just fit: nothing but that snapshot can
    /// give the log's room back, and a log that takes its place is never cut again.
    ///
    /// Whether the node keeps little does not depend on what it gives up because of that: it would change in every turn of a snapshot.
    fn measure(&mut self, free: u64) {
        let free = self.room_left_of(free);
        let (margin, taking) = (self.config.disk_margin, self.snapshots.is_taking());
        let next = self.next_snapshot_bytes();
        self.room.short = self.keeps_little(free);
        debug_assert_eq!(
            self.room.short,
            self.keeps_little(free),
            "whether a node keeps little changes to and fro"
        );
        self.room.spent = self.room_for_log(free) <= if self.room.spent { margin / 4 } else { 0 };
        self.room.fits = taking || free >= next + margin;
        self.room.may_begin = taking || free >= next + margin / 4;
    }

    /// Whether there is so little room, or something waits for it.
    fn keeps_little(&self, free: u64) -> bool {
        let by_itself = self.config.planted.short_by_what_it_keeps();
        let kept = if by_itself { self.snapshots_kept() } else { self.snapshots_kept_at_ease() };
        let then = self.room_then(free, kept);
        let margins = if self.room.short { 4 } else { 3 };
        let wanted = self.room.wanted_until.is_some_and(|until| self.now.mono < until);
        wanted || then < self.next_snapshot_bytes() + margins * self.config.disk_margin
    }

    /// What is free once the snapshot that is being written is whole, and has taken the place of an older one, where so many are kept.
    fn room_then(&self, free: u64, kept: u32) -> u64 {
        match self.rest_of_snapshot() {
            Some(rest) => (free + self.bytes_replaced(kept)).saturating_sub(rest),
            None => free,
        }
    }

    /// How much the log may take: what leaves room for the next snapshot, both now and once the one that is being written is whole,
    /// and half the margin beside. Without a log nothing has to be cut, and a snapshot that does not fit is not taken.
    fn room_for_log(&self, free: u64) -> u64 {
        let (next, half) = (self.snapshot_bytes_to_come(), self.config.disk_margin / 2);
        match self.rest_of_snapshot() {
            _ if !self.config.keeps_log => free.saturating_sub(half),
            Some(rest) => {
                let then = self.room_then(free, self.snapshots_kept());
                free.saturating_sub(rest + half).min(then.saturating_sub(next + half))
            }
            None => free.saturating_sub(next + half),
        }
    }

    /// About how many bytes a snapshot takes once all of the log is applied, if all of it makes the store larger.
    fn snapshot_bytes_to_come(&self) -> u64 {
        match self.next_snapshot_bytes() {
            0 => 0,
            next => next + self.log.bytes_between(self.applied.index, self.log.last().index),
        }
    }

    /// How much may be written out ahead, where nothing but room is in it yet: half of what is free beyond the bound at which the node begins to
    /// keep little. A file written ahead takes at once what a log of that length would take in time, and a snapshot that does not fit any
    /// more can never cut that log.
    pub(in crate::node) fn room_ahead(&self) -> u64 {
        let margin = self.config.disk_margin;
        let Some(free) = self.room.free.filter(|_| margin > 0) else { return u64::MAX };
        let (free, kept) = (self.room_left_of(free), self.snapshot_bytes_to_come() + 4 * margin);
        self.room_then(free, self.snapshots_kept()).min(free).saturating_sub(kept) / 2
    }

    /// Of what was free what nothing on its way to the disk will take.
    fn room_left_of(&self, free: u64) -> u64 {
        let logged = self.log.bytes_between(self.durable.durable(), self.log.last().index);
        free.saturating_sub(self.room.taken + ON_DISK * logged)
    }

    /// Whether the next snapshot would only just fit after so many more bytes of log, which make the store so much larger.
    fn would_spend(&self, bytes: u64, growth: u64) -> bool {
        let Some(free) = self.room.free.filter(|_| self.config.disk_margin > 0) else { return false };
        self.room_for_log(self.room_left_of(free)) < ON_DISK * bytes + growth
    }

    /// Whether a replica does not take so many bytes yet: they would take the next snapshot's room, and something is under way that changes
    /// this. A master refuses writes then; what is sent to a replica can only wait. Where nothing would come of waiting all is taken, deletes
    /// among it, as far as the disk goes.
    pub(in crate::node) fn waits_for_room(&self, bytes: u64) -> bool {
        let in_flight = self.durable.durable() < self.log.last().index;
        let comes_of_it = in_flight || self.would_cut() || self.tries_again();
        comes_of_it
            && self.config.keeps_log
            && self.would_spend(bytes, bytes)
            && !self.config.planted.entries_taken_without_room()
    }

    /// Whether so much of a master's snapshot waits: it would take the room of an own one, without which the log cannot be cut.
    pub(in crate::node) fn chunk_waits_for_room(&self, bytes: u64) -> bool {
        let Some(free) = self.room.free.filter(|_| self.config.disk_margin > 0) else { return false };
        let free = self.room_left_of(free).saturating_sub(self.snapshots.incoming_in_flight());
        let comes_of_it = self.would_cut() || self.tries_again();
        self.config.keeps_log && comes_of_it && self.is_whole() && self.room_for_log(free) < bytes
    }

    /// Whether the next snapshot is tried soon, since the last one was given up a moment ago. Time and again it is, it does not fit.
    fn tries_again(&self) -> bool {
        self.rests_from_snapshots() && self.room.given_up < GIVEN_UP_MAX
    }

    /// Whether none is tried unasked, since the last one was given up a moment ago.
    fn rests_from_snapshots(&self) -> bool {
        self.room.rests_until.is_some_and(|until| self.now.mono < until)
    }

    /// Whether a snapshot is being taken, or would let the log be cut further than the newest one does.
    fn would_cut(&self) -> bool {
        let newest = self.snapshots.newest().map_or(Index::ZERO, |newest| newest.index);
        let may_begin = self.config.snapshot.is_some() && self.room.may_begin;
        self.snapshots.is_taking() || may_begin && self.applied.index > newest
    }

    /// As much of the log as the newest snapshot replaces is of no use on disk.
    fn cut_short(&mut self) {
        let Some(newest) = self.snapshots.newest() else { return };
        let upto = newest.index.min(self.log.base().index);
        if upto > self.room.cut {
            self.room.cut = upto;
            self.draft.cut(upto);
            if upto == newest.index {
                self.snapshots.keep_newest();
            }
        }
    }

    /// How much log is kept in memory for replicas that come back: what memory has left, the disk has no use for. Short records may take many times
    /// their length on disk, so that nothing is kept where the room is spent.
    pub(in crate::node) fn tail_bytes_max(&self) -> u64 {
        let most = self.config.tail_bytes_max;
        match self.room {
            Room { spent: true, .. } => 0,
            Room { short: true, .. } => most.min(self.config.disk_margin / 4),
            Room { .. } => most,
        }
    }

    /// How much log makes a snapshot due, and after how long a little of it does. Where room is short the first of a process is due at once: one that
    /// is killed again and again would else never live to take it, and each start takes a little more of the disk.
    pub(in crate::node) fn snapshot_after(&self, policy: SnapshotPolicy) -> (u64, Duration) {
        let SnapshotPolicy { wal_bytes, interval, .. } = policy;
        if self.room.short {
            let rests = match (self.snapshots.was_due(), self.room.spent) {
                (false, _) => Duration::ZERO,
                (true, true) => RESTS_WHEN_SPENT,
                (true, false) => RESTS,
            };
            (wal_bytes.min(self.config.disk_margin / 2), interval.min(rests))
        } else {
            (wal_bytes, interval)
        }
    }

    /// Whether a write is refused because it would make the store larger on a disk that has no room for that.
    pub(in crate::node) fn outgrows_disk(&self, command: &Command) -> bool {
        let bytes = command.pairs().iter().map(Pair::bytes).sum();
        let (more, less) = self.store.growth(command);
        (self.room.spent || self.would_spend(bytes, more.saturating_sub(less))) && !self.shrinks(command)
    }

    /// Whether the store is smaller afterwards, or nothing at all happens.
    fn shrinks(&self, command: &Command) -> bool {
        match command {
            Command::Once { ticket, command } => self.store.first_under(ticket).is_some() || self.shrinks(command),
            Command::If { command, .. } => self.shrinks(command),
            Command::Set { pair, .. } => self.is_smaller(pair),
            Command::Batch { pairs, .. } => pairs.iter().all(|pair| self.is_smaller(pair)),
            Command::Incr { .. } => false,
            Command::Delete { .. }
            | Command::Expire { .. }
            | Command::Persist { .. }
            | Command::EpochStart { .. }
            | Command::Config(_)
            | Command::Sweep { .. } => true,
        }
    }

    fn is_smaller(&self, pair: &Pair) -> bool {
        let held = self.store.view().get(&pair.key).map_or(0, |item| item.value().len());
        pair.value.bytes.len() < held
    }

    /// What a status tells of it.
    pub(in crate::node) fn disk_space(&self) -> DiskSpace {
        DiskSpace {
            free: self.room.free,
            needed: self.rest_of_snapshot().unwrap_or(self.next_snapshot_bytes()) + self.config.disk_margin,
            short: self.room.short,
        }
    }
}
