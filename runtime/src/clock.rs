//! The two clocks that the core is shown. The one place that reads them.

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
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: (self.wall)() }
    }

    /// The monotonic clock.
    pub fn mono(&self) -> Time {
        match &self.mono {
            Mono::Since(origin) => Time(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Mono::Other(mono) => mono.now(),
        }
    }

    /// The instant at which the monotonic clock shows `time`. Times beyond ten years ahead come earlier.
    pub fn instant(&self, time: Time) -> Instant {
        let time = time.min(AHEAD_MAX);
        match &self.mono {
            Mono::Since(origin) => *origin + Duration::from_micros(time.0),
            Mono::Other(mono) => mono.instant(time),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("mono", &self.mono).finish_non_exhaustive()
    }
}
