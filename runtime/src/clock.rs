//! The two clocks that the core is shown. The one place that reads them.
//!
//! A server's monotonic clock goes on while its machine is suspended. The one that `std` and tokio read stands still meanwhile
//! on Linux: a master that wakes after an hour would take its lease for good, and a lock would live for an hour too long.
//! Tokio's timers do stand still, so that what was due during the suspension comes up to one wait late; but every turn, and every
//! read of the published view, sees the true time before it promises anything.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synap_core::time::{Now, Time, WallMs};
use tokio::time::Instant;

/// The two clocks of one node: a monotonic one, and a wall clock. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    mono: Mono,
    wall: Arc<dyn Fn() -> WallMs + Send + Sync>,
}

/// A monotonic clock that does not go as tokio's does: that of a machine which gains or loses.
pub trait Monotonic: fmt::Debug + Send + Sync + 'static {
    /// What it shows.
    fn now(&self) -> Time;

    /// When, by tokio's clock, it will show `time`; any instant that is past, if it has shown it already.
    fn instant(&self, time: Time) -> Instant;
}

#[derive(Clone, Debug)]
enum Mono {
    /// Counted from here by tokio's clock.
    Since(Instant),
    /// Counted from here by the machine's, in microseconds since it was started.
    Boot(u64),
    Other(Arc<dyn Monotonic>),
}

/// Times beyond this come earlier.
const AHEAD_MAX: Time = Time(10 * 366 * 86_400 * 1_000_000);

impl Clock {
    /// A clock that begins at zero now, with this wall clock beside it.
    pub fn new(wall: impl Fn() -> WallMs + Send + Sync + 'static) -> Self {
        Self { mono: Mono::Since(Instant::now()), wall: Arc::new(wall) }
    }

    /// The same wall clock beside another monotonic one.
    #[must_use]
    pub fn beside(self, mono: Arc<dyn Monotonic>) -> Self {
        Self { mono: Mono::Other(mono), ..self }
    }

    /// The machine's clocks.
    pub fn system() -> Self {
        let tokios = Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        });
        match boot_micros() {
            Some(origin) => Self { mono: Mono::Boot(origin), ..tokios },
            None => tokios,
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: (self.wall)() }
    }

    /// The monotonic clock.
    pub fn mono(&self) -> Time {
        match &self.mono {
            Mono::Since(origin) => Time(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Mono::Boot(origin) => Time(boot_micros().unwrap_or(*origin).saturating_sub(*origin)),
            Mono::Other(mono) => mono.now(),
        }
    }

    /// The instant at which the monotonic clock shows `time`. Times beyond ten years ahead come earlier.
    pub fn instant(&self, time: Time) -> Instant {
        let time = time.min(AHEAD_MAX);
        match &self.mono {
            Mono::Since(origin) => *origin + Duration::from_micros(time.0),
            Mono::Boot(_) => Instant::now() + time.since(self.mono()),
            Mono::Other(mono) => mono.instant(time),
        }
    }
}

/// Microseconds since the machine was started, those included in which it was suspended; none where nobody counts them.
#[cfg(target_os = "linux")]
fn boot_micros() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(u64::try_from(time.tv_sec).ok()? * 1_000_000 + u64::try_from(time.tv_nsec).ok()? / 1000)
}

/// Microseconds since the machine was started, those included in which it was suspended; none where nobody counts them.
#[cfg(not(target_os = "linux"))]
const fn boot_micros() -> Option<u64> {
    None
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("mono", &self.mono).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Suspending a machine is more than a test may do: that the clock is the one that would go on is what can be seen.
    #[test]
    fn the_machines_clock_goes_on_while_it_is_suspended() {
        let clock = Clock::system();
        let Mono::Boot(origin) = clock.mono else { panic!("{:?}", clock.mono) };
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux has it");
        let secs: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        // What `/proc/uptime` counts is this clock, in hundredths of a second.
        assert!(origin as f64 / 1e6 <= secs + 0.011, "{origin} us, {secs} s");
        assert!(clock.mono() >= Time::default());
    }

    #[test]
    fn a_time_that_has_come_is_an_instant_that_is_past() {
        let clock = Clock::system();
        let now = clock.mono();
        assert!(clock.instant(now) <= Instant::now());
        assert!(clock.instant(now + Duration::from_secs(60)) > Instant::now());
    }
}
