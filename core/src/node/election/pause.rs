//! A pause of elections that an operator asked for. The log says that there is one and how long it lasts; owns when it ends
//! on this node, and never looks at a wall clock.
//!
//! Each node counts from when it first knew of the pause, which is after it was asked for, so that none ends early. A node
//! that starts or joins meanwhile counts from then. The others do not wait for it: who is not in a pause any more may
//! campaign, and voters vote during one. A master that serves ends it for everybody, in the log.

use core::time::Duration;

use crate::command::{Membership, Pause};
use crate::ids::RequestId;
use crate::node::Node;
use crate::node::election::voter::micros;
use crate::output::Output;
use crate::time::Time;

/// The newest pause that this process knows of, and when it ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct Pausing {
    pause: Pause,
    until: Time,
    /// Drawn, so that nodes whose pause ends at the same instant do not get in each other's way.
    campaigns_from: Time,
}

impl Node {
    /// The operator's verb: no elections for so long, counted anew each time it is asked for; zero ends it.
    pub(in crate::node) fn on_pause(&mut self, id: RequestId, length: Duration, out: &mut Output) {
        let mut wanted = self.log.membership().1.clone();
        let since = self.log.last().index.next();
        let length_ms = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
        wanted.pause = (length_ms > 0).then_some(Pause { since, length_ms });
        let done = self.may_change_members().map(|()| wanted);
        self.answer_change(id, done, out);
    }

    /// Begins to count when the log tells of another pause. One that ends by a truncation and comes back goes on.
    pub(in crate::node) fn heed_pause(&mut self) {
        let Some(pause) = self.log.membership().1.pause else { return };
        if self.pausing.is_none_or(|known| known.pause != pause) {
            let until = self.now.mono + length_of(pause);
            let spread = micros(self.election_timeout() / 4).max(1);
            let campaigns_from = until + Duration::from_micros(self.draw() % spread);
            self.pausing = Some(Pausing { pause, until, campaigns_from });
        }
    }

    /// How much longer an operator wants no elections.
    pub(in crate::node) fn paused(&self) -> Option<Duration> {
        let pause = self.armed()?.pause?;
        let left = self.left_of(pause);
        (left > Duration::ZERO).then_some(left)
    }

    /// Whether a membership still tells of a pause that has ended here.
    pub(in crate::node) fn pause_is_over(&self, membership: &Membership) -> bool {
        membership.pause.is_some_and(|pause| self.left_of(pause) == Duration::ZERO)
    }

    /// All of it where the counting has not begun.
    fn left_of(&self, pause: Pause) -> Duration {
        if self.config.planted.pause_by_wall_clock() {
            let ends_ms = self.log.get(pause.since).map_or(0, |slot| slot.entry.at.0) + u64::from(pause.length_ms);
            return Duration::from_millis(ends_ms.saturating_sub(self.now.wall.0));
        }
        let known = self.pausing.filter(|known| known.pause == pause);
        known.map_or(length_of(pause), |known| known.until.since(self.now.mono))
    }

    /// When the pause ends that the log tells of.
    pub(in crate::node) fn pause_deadline(&self) -> Option<Time> {
        self.heeded().map(|known| known.until)
    }

    /// No campaign begins before.
    pub(in crate::node) fn campaigns_from(&self) -> Time {
        if self.config.planted.pause_by_wall_clock() {
            return Time::default();
        }
        self.heeded().map_or(Time::default(), |known| known.campaigns_from)
    }

    fn heeded(&self) -> Option<Pausing> {
        let pause = self.log.membership().1.pause?;
        self.pausing.filter(|known| known.pause == pause)
    }
}

fn length_of(pause: Pause) -> Duration {
    Duration::from_millis(u64::from(pause.length_ms))
}
