//! The two clocks that the core is shown. The one place that reads them.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use synap_core::time::{Now, Time, WallMs};
use tokio::time::Instant;

/// The two clocks of one node: a monotonic one, counted from the making of this value by tokio's clock (which a
/// simulation moves by hand), and a wall clock. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    wall: Arc<dyn Fn() -> WallMs + Send + Sync>,
}

impl Clock {
    /// A clock that begins at zero now, with this wall clock beside it.
    pub fn new(wall: impl Fn() -> WallMs + Send + Sync + 'static) -> Self {
        Self { origin: Instant::now(), wall: Arc::new(wall) }
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
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant at which the monotonic clock shows `time`. Times beyond ten years ahead come earlier.
    pub fn instant(&self, time: Time) -> Instant {
        const TEN_YEARS_US: u64 = 10 * 366 * 86_400 * 1_000_000;
        self.origin + std::time::Duration::from_micros(time.0.min(TEN_YEARS_US))
    }

    /// Where the monotonic clock began.
    pub fn origin(&self) -> Instant {
        self.origin
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("origin", &self.origin).finish_non_exhaustive()
    }
}
