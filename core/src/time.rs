//! Time as data: the core is told it and never asks. Lengths of time are [`core::time::Duration`].

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// Microseconds on one node's monotonic clock, from an origin that only that node knows. Two nodes' times
/// are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// Milliseconds since the Unix epoch. Used to stamp entries, hence for expiry; never to measure a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMs(pub u64);

/// The two clocks at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines, lag and staleness.
    pub mono: Time,
    /// For the stamps of log entries.
    pub wall: WallMs,
}

impl Time {
    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl WallMs {
    /// This instant `ttl_ms` later; saturates, which reads as "never".
    #[must_use]
    pub const fn plus_ms(self, ttl_ms: u64) -> Self {
        Self(self.0.saturating_add(ttl_ms))
    }

    /// This instant, so much later; saturates likewise.
    #[must_use]
    pub(crate) fn plus(self, length: Duration) -> Self {
        self.plus_ms(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }
}

/// How log time goes on after an instant of one node's monotonic clock: as fast as that clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogTime {
    /// What it was then, in nanoseconds since the Unix epoch.
    pub(crate) nanos: u128,
    /// The instant.
    pub(crate) from: Time,
    /// It is never less than this.
    pub(crate) floor: WallMs,
}

impl LogTime {
    /// What it is at `now`.
    pub fn at(&self, now: Time) -> WallMs {
        millis(self.nanos_at(now)).max(self.floor)
    }

    pub(crate) fn nanos_at(&self, now: Time) -> u128 {
        self.nanos + now.since(self.from).as_nanos()
    }
}

/// Whole milliseconds.
pub(crate) fn millis(nanos: u128) -> WallMs {
    WallMs(u64::try_from(nanos / NANOS_PER_MS).unwrap_or(u64::MAX))
}

/// So many nanoseconds.
pub(crate) const fn nanos(ms: WallMs) -> u128 {
    ms.0 as u128 * NANOS_PER_MS
}

const NANOS_PER_MS: u128 = 1_000_000;

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
