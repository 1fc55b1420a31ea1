//! A machine's monotonic clock: where it began, and how far it gains or loses. Owns the way from the run's time to a
//! node's own and back.

use synap_core::time::Time;

/// A process's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// What it showed when the run began: no two nodes' times compare.
    pub(super) origin: u64,
    /// How many microseconds it gains in a second; it loses them if that is negative.
    pub(super) drift_ppm: i64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// What the clock shows at `now` microseconds of the run.
    pub(super) fn local(self, now: u64) -> Time {
        Time(self.origin + now * self.rate() / MILLION)
    }

    /// The first microsecond of the run at which the clock shows `time`.
    pub(super) fn instant(self, time: Time) -> u64 {
        let passed = u128::from(time.0.saturating_sub(self.origin)) * u128::from(MILLION);
        u64::try_from(passed.div_ceil(u128::from(self.rate()))).unwrap_or(u64::MAX)
    }

    fn rate(self) -> u64 {
        MILLION.saturating_add_signed(self.drift_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_at_its_instant_and_not_before() {
        for drift_ppm in [-10_000, -7, 0, 3, 10_000] {
            let clock = Clock { origin: 77, drift_ppm };
            for time in [77, 78, 1_000_077, 123_456_789] {
                let instant = clock.instant(Time(time));
                assert!(clock.local(instant) >= Time(time), "{drift_ppm} {time}");
                assert!(instant == 0 || clock.local(instant - 1) < Time(time), "{drift_ppm} {time}");
            }
        }
    }
}
