//! Log time: the clock that stamps entries, and by which keys and remembered results expire.
//!
//! A master's log time goes as fast as its monotonic clock and leans towards its wall clock by one part in
//! [`LEAN_SHARE`] of the time that passes, no more: a wall clock that jumps neither makes everything expire nor stops
//! what is to expire. A replica follows what its master tells, and goes on by its own monotonic clock where it is told
//! nothing; so whoever leads next continues where the last master was, whatever its own wall clock says.
//!
//! Only the time for which no node of the cluster was up has no witness but a wall clock. Then, and only then, log time
//! steps (see [`Timekeeping::new`]). The argument is in `docs/adr/0017-log-time.md`.

use core::time::Duration;

use crate::event::Event;
use crate::message::PeerState;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::planted::Planted;
use crate::position::Position;
use crate::status::Alarm;
use crate::time::{LogTime, Now, Time, WallMs, millis, nanos};

/// Log time gains on the monotonic clock, or falls behind it, by this part of the time at most: one percent, no more than
/// the clocks of machines may drift anyway (see [`crate::node::leader::lease`]).
const LEAN_SHARE: u128 = 100;
/// The longest time without any node that log time steps over at once, by what wall clocks say.
const STEP_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A wall clock that differs from log time by more is an alarm. One that moves by more against the monotonic clock
/// between two looks has jumped.
const SKEW_MS_MAX: u64 = 1_000;
/// What two monotonic clocks may drift apart at most, as a part of the time.
const DRIFT_SHARE: u32 = 50;

/// What a node knows of log time.
#[derive(Clone, Debug)]
pub(in crate::node) struct Timekeeping {
    time: LogTime,
    /// Whether it was told by a node that has kept it, or has stamped entries since. Otherwise it is a guess.
    known: bool,
    /// How much older than its coming the master's word can be at most; none where nobody can tell.
    doubt: Option<Duration>,
    /// When the clocks were looked at last, for jumps.
    looked: Now,
    /// How far the wall clock is ahead of log time, as this disk knows.
    recorded_ms: i64,
    /// Whether the alarm was told to be on.
    skewed: bool,
    /// By how much log time has stepped over a time without any node, until it is told.
    stepped_ms: Option<u64>,
    planted: Planted,
}

impl Timekeeping {
    /// At a start. `last` is the stamp of the last entry on this disk, zero for none, and `ahead_ms` says how far the wall
    /// clock was ahead of log time before. If no other node knows better, as many milliseconds have passed as the wall
    /// clock says, between none and [`STEP_MAX`].
    pub(in crate::node) fn new(last: WallMs, ahead_ms: i64, now: Now, planted: Planted) -> Self {
        let guess = WallMs(now.wall.0.saturating_add_signed(ahead_ms.saturating_neg()));
        let most = if last == WallMs(0) { WallMs(u64::MAX) } else { last.plus(STEP_MAX) };
        let guess =
            if planted.log_time_from_last_entry() && last != WallMs(0) { last } else { guess.clamp(last, most) };
        let time = LogTime { nanos: nanos(guess), from: now.mono, floor: last };
        let (known, doubt, skewed, stepped_ms) = (false, None, false, None);
        Self { time, known, doubt, looked: now, recorded_ms: ahead_ms, skewed, stepped_ms, planted }
    }

    /// Looks at the clocks. Gives by how many milliseconds the wall clock has jumped since the last look, if it has.
    fn look(&mut self, now: Now, leads: bool) -> Option<i64> {
        let passed = now.mono.since(self.looked.mono);
        if leads {
            self.lean(now, passed);
        }
        let expected = i128::from(self.looked.wall.0) + i128::try_from(passed.as_millis()).unwrap_or(i128::MAX);
        let jump = saturated(i128::from(now.wall.0) - expected);
        self.looked = now;
        let drift = u64::try_from((passed / DRIFT_SHARE).as_millis()).unwrap_or(u64::MAX);
        (jump.unsigned_abs() > SKEW_MS_MAX.saturating_add(drift)).then_some(jump)
    }

    /// Goes on, and towards the wall clock.
    fn lean(&mut self, now: Now, passed: Duration) {
        let (before, even) = (self.time.nanos_at(self.looked.mono), self.time.nanos_at(now.mono));
        let (lean, wall) = (passed.as_nanos() / LEAN_SHARE, nanos(now.wall));
        let leant = if wall > even { (even + lean).min(wall) } else { (even - lean).max(wall) };
        let leant = if self.planted.log_time_jumps_ahead() { leant.max(wall) } else { leant };
        let leant = if self.planted.log_time_waits() && wall < before { before } else { leant };
        let (least, most) = (before + passed.as_nanos() - lean, before + passed.as_nanos() + lean);
        assert!(
            (least..=most).contains(&leant) || self.planted != Planted::default(),
            "INV-17: log time went from {before} to {leant} ns in {passed:?}"
        );
        self.time = LogTime { nanos: leant, from: now.mono, ..self.time };
    }

    /// A master whose log is followed was at `told`, at most `doubt` ago.
    fn hear(&mut self, told: WallMs, doubt: Option<Duration>, now: Time) {
        // Never back for whoever reads here: a word that took longer than the one before is waited for.
        let floor = if self.known { self.time.at(now) } else { self.time.floor };
        self.time = LogTime { nanos: nanos(told), from: now, floor };
        (self.known, self.doubt) = (true, doubt);
    }

    /// How far a wall clock is ahead of log time, as far as that can be told; less than nothing if it is behind.
    fn ahead_ms(&self, now: Now) -> Option<i64> {
        let doubt = self.doubt.filter(|_| self.known)? + now.mono.since(self.time.from) / DRIFT_SHARE;
        let (wall, least) = (i128::from(now.wall.0), i128::from(millis(self.time.nanos_at(now.mono)).0));
        let most = least + i128::try_from(doubt.as_millis()).unwrap_or(i128::MAX);
        Some(saturated(wall - wall.clamp(least, most)))
    }
}

impl Node {
    /// The time that an entry would be stamped with now, and by which keys that expire are hidden from readers.
    pub(in crate::node) fn log_time(&self) -> WallMs {
        self.log_clock().at(self.now.mono)
    }

    /// How log time goes on from here, for readers.
    pub(in crate::node) fn log_clock(&self) -> LogTime {
        let time = self.timekeeping.time;
        LogTime { floor: time.floor.max(self.log.log_time()).max(self.store.log_time()), ..time }
    }

    /// Log time as others are told, and whether it is more than a guess.
    pub(in crate::node) fn told_log_time(&self) -> (WallMs, bool) {
        (self.log_time(), self.timekeeping.known)
    }

    /// Before anything else in a turn.
    pub(in crate::node) fn look_at_clocks(&mut self, out: &mut Output) {
        let leads = matches!(&self.role, Role::Master(_)) && self.timekeeping.known;
        let jump = self.timekeeping.look(self.now, leads);
        out.events.extend(jump.map(|by_ms| Event::WallJumped { by_ms }));
    }

    /// This node stamps entries from now on: where log time is a guess, it is the cluster's now.
    pub(in crate::node) fn keep_log_time(&mut self) {
        let time = self.log_time();
        let keeping = &mut self.timekeeping;
        let guessed = !keeping.known;
        let exact = nanos(time).max(keeping.time.nanos_at(self.now.mono));
        keeping.time = LogTime { nanos: exact, from: self.now.mono, floor: time };
        (keeping.known, keeping.doubt) = (true, Some(Duration::ZERO));
        // A guess that is far from the last entry is told: it stands for a time that nobody saw.
        let stepped = time.0.saturating_sub(self.log.log_time().0);
        if guessed && self.log.last() != Position::ZERO && stepped > SKEW_MS_MAX {
            keeping.stepped_ms = Some(stepped);
        }
    }

    /// The master that is followed has told its log time. `echo` is when this node sent what it answers.
    pub(in crate::node) fn hear_log_time(&mut self, told: WallMs, echo: Time) {
        let now = self.now.mono;
        let answers = echo > Time::default() && echo <= now;
        self.timekeeping.hear(told, answers.then(|| now.since(echo)), now);
    }

    /// A peer has said how it stands. A node that guesses takes the word of one that need not, if both hold the same
    /// mastership's log; and of two guesses the lower one: one wall clock ahead of the others expires nothing.
    pub(in crate::node) fn heed_log_time(&mut self, peer: &PeerState) {
        let same_line = peer.last.epoch == self.log.last().epoch && peer.last != Position::ZERO;
        if self.timekeeping.known || self.cluster.is_none() || peer.cluster != self.cluster || !same_line {
            return;
        }
        let (now, floor) = (self.now.mono, self.log.log_time().max(self.store.log_time()));
        let ours = self.timekeeping.time.at(now);
        let told = if peer.log_time_known { peer.log_time } else { peer.log_time.min(ours) };
        self.timekeeping.time = LogTime { nanos: nanos(told.max(floor)), from: now, floor };
        self.timekeeping.known = peer.log_time_known;
        self.timekeeping.doubt = None;
    }

    /// The log ends elsewhere: its time is that of what it holds now.
    pub(in crate::node) fn forget_log_time(&mut self) {
        self.timekeeping.time.floor = self.log.log_time();
    }

    /// How far this node's wall clock is ahead of log time; less than nothing if it is behind.
    pub(in crate::node) fn wall_ahead_ms(&self) -> Option<i64> {
        self.timekeeping.ahead_ms(self.now)
    }

    /// Whether the wall clock of this node, or of a member that it leads, is off.
    fn is_clock_skewed(&self) -> bool {
        // What is on goes off a good deal below, or it would flutter.
        let most = if self.timekeeping.skewed { SKEW_MS_MAX / 2 } else { SKEW_MS_MAX };
        let off = |ahead_ms: i64| ahead_ms.unsigned_abs() > most;
        let member = match &self.role {
            Role::Master(master) => {
                let known = master.streams.values().filter_map(|stream| master.progress.get(&stream.node));
                known.filter_map(|known| known.wall_ahead_ms).any(off)
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => false,
        };
        // While nobody can tell, it stays as it was.
        member || self.wall_ahead_ms().map_or(self.timekeeping.skewed, off)
    }

    /// By how much a member's wall clock, which showed `wall` at some time since `sent`, is ahead of this one's.
    pub(in crate::node) fn member_ahead_ms(&self, wall: WallMs, sent: Time) -> i64 {
        let way = i128::try_from(self.now.mono.since(sent).as_millis()).unwrap_or(i128::MAX);
        let ours = i128::from(self.now.wall.0);
        let theirs = i128::from(wall.0);
        saturated(theirs - theirs.clamp(ours - way - 1, ours + 1))
    }

    /// What follows from the clocks: alarms, and a note on this disk of how far the wall clock is off, so that the time
    /// that a restart takes is not mistaken for it.
    pub(in crate::node) fn tend_clocks(&mut self, out: &mut Output) {
        out.events.extend(self.timekeeping.stepped_ms.take().map(|by_ms| Event::LogTimeStepped { by_ms }));
        let skewed = self.is_clock_skewed();
        if skewed != self.timekeeping.skewed {
            self.timekeeping.skewed = skewed;
            out.events.push(Event::Alarm { alarm: Alarm::ClockSkew, on: skewed });
        }
        let Some(ahead_ms) = self.wall_ahead_ms() else { return };
        if ahead_ms.abs_diff(self.timekeeping.recorded_ms) > SKEW_MS_MAX && self.cluster.is_some() {
            self.timekeeping.recorded_ms = ahead_ms;
            self.record_hard_state();
        }
    }

    /// Whether the alarm is on.
    pub(in crate::node) fn clock_alarm(&self) -> bool {
        self.timekeeping.skewed
    }

    /// How far the wall clock is ahead of log time, as it stands in the hard state.
    pub(in crate::node) fn recorded_ahead_ms(&self) -> i64 {
        self.timekeeping.recorded_ms
    }
}

fn saturated(ms: i128) -> i64 {
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}
