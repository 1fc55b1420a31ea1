//! How a machine's process stands still: none of its tasks runs and nothing comes back from its disk, while what others
//! send piles up in the buffers of its system, and its clock goes on. When it goes on, everything is there at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use synap_core::time::Time;
use synap_runtime::clock::Monotonic;
use synap_runtime::tasks::Gate;
use tokio::time::Instant;

use super::world::{World, now_us};
use crate::clock::Clock;

/// The gate that all of a machine's tasks wait behind.
#[derive(Clone, Debug)]
pub(super) struct Stillness {
    pub(super) world: Arc<World>,
    pub(super) node: usize,
}

impl Stillness {
    /// Waits until the machine's process may go on.
    pub(super) async fn over(&self) {
        poll_fn(|cx| self.poll(cx)).await
    }
}

impl Gate for Stillness {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let machine = &mut self.world.machines()[self.node];
        if machine.paused == 0 {
            return Poll::Ready(());
        }
        machine.sleepers.push(cx.waker().clone());
        Poll::Pending
    }
}

/// A process's monotonic clock, which gains or loses against the run's.
#[derive(Debug)]
pub(super) struct Drifting(pub(super) Clock);

impl Monotonic for Drifting {
    fn now(&self) -> Time {
        self.0.local(now_us())
    }

    fn instant(&self, time: Time) -> Instant {
        Instant::now() + Duration::from_micros(self.0.instant(time).saturating_sub(now_us()))
    }
}
