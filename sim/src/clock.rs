//! A machine's monotonic clock: where it began, and how far it gains or loses. Owns the way from the run's time to a
//! node's own and back, the same on every level.

use synap_core::time::Time;

use crate::dice::mix;
use crate::plan::Plan;

/// A process's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// What it showed when the run began: no two nodes' times compare.
    origin: u64,
    /// How many microseconds it gains in a second; it loses them if that is negative.
    drift_ppm: i64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// A new process finds the machine's clock somewhere; how far it drifts is the machine's own.
    pub(crate) fn drawn(plan: &Plan, node: usize, life: u32) -> Self {
        let origin = mix(&[plan.seed, node as u64, u64::from(life), 3]) % 1_000_000_000;
        let most = i64::from(plan.knobs.drift_ppm_max);
        let span = u64::from(plan.knobs.drift_ppm_max) * 2 + 1;
        let drift_ppm = (mix(&[plan.seed, node as u64, 8]) % span) as i64 - most;
        Self { origin, drift_ppm }
    }

    /// What the clock shows at `now` microseconds of the run.
    pub(crate) fn local(self, now: u64) -> Time {
        Time(self.origin + now * self.rate() / MILLION)
    }

    /// The first microsecond of the run at which the clock shows `time`.
    pub(crate) fn instant(self, time: Time) -> u64 {
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
