//! Bytes that are in flight, of all connections together: of requests from the first byte of a body until the request is
//! answered, in the node's hands too; of answers until their clients have taken them. Owns count and bound; never looks at a request.
//!
//! A body that announces its length waits for room before any of it is read, so that a client is slowed down by its own
//! connection. One that does not takes room as it comes, and is refused when there is none: it must not wait for those
//! that may wait for it.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use synap_core::output::Refusal;

/// What a request takes besides its body.
const FIXED_BYTES: u64 = 1024;

/// All requests with a body, or all answers.
#[derive(Debug)]
pub(crate) struct InFlight {
    free: Arc<Semaphore>,
    bytes_max: u64,
    taken: IntGauge,
}

/// What one request or answer takes; given back when everybody who holds it has let go.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
    taken: IntGauge,
}

impl InFlight {
    /// At most `bytes_max` together; how many are taken is told by `taken`.
    pub(crate) fn new(bytes_max: u64, taken: IntGauge) -> Self {
        let permits = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), bytes_max, taken }
    }

    /// Room for a request whose body is this long; [`Refusal::Busy`] if there is none in time.
    pub(crate) async fn enter(&self, body_bytes: u64, patience: Duration) -> Result<Room, Problem> {
        let permits = self.permits(body_bytes + FIXED_BYTES);
        let waited = tokio::time::timeout(patience, Arc::clone(&self.free).acquire_many_owned(permits)).await;
        match waited {
            Ok(Ok(permit)) => Ok(self.room(permit)),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy.into()),
        }
    }

    /// More room for a body that grows.
    pub(crate) fn grow(&self, room: &mut Room, bytes: u64) -> Result<(), Problem> {
        let more = Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes));
        let more = more.map_err(|_| Problem::from(Refusal::Busy))?;
        self.taken.add(count(&more));
        room.permit.merge(more);
        Ok(())
    }

    /// Room for so many bytes, if there is any at this instant.
    pub(crate) fn enter_at_once(&self, bytes: u64) -> Option<Room> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(self.room(permit))
    }

    /// Room for so many bytes, or as much as is left: for what cannot be refused any more.
    pub(crate) fn enter_as_far_as_possible(&self, bytes: u64) -> Room {
        let mut wanted = self.permits(bytes);
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(wanted) {
                return self.room(permit);
            }
            // Others may take some meanwhile; none is always to be had.
            wanted = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX).min(wanted / 2);
        }
    }

    /// The same room for so many bytes. None: it was too small, and there is no more.
    pub(crate) fn fit(&self, mut room: Room, bytes: u64) -> Option<Room> {
        let (wanted, held) = (self.permits(bytes) as usize, room.permit.num_permits());
        if wanted > held {
            self.grow(&mut room, (wanted - held) as u64).ok()?;
        } else if let Some(rest) = room.permit.split(held - wanted) {
            self.taken.sub(count(&rest));
        }
        Some(room)
    }

    /// One that is longer than the bound goes alone.
    fn permits(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX)
    }

    fn room(&self, permit: OwnedSemaphorePermit) -> Room {
        self.taken.add(count(&permit));
        Room { permit, taken: self.taken.clone() }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.sub(count(&self.permit));
    }
}

fn count(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflight(bytes_max: u64) -> InFlight {
        InFlight::new(bytes_max, IntGauge::new("taken", "for a test").unwrap())
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_and_is_then_refused() {
        let all = inflight(10 * FIXED_BYTES);
        let first = all.enter(8 * FIXED_BYTES, Duration::ZERO).await.unwrap();
        assert_eq!(all.taken.get(), 9 * FIXED_BYTES as i64);
        assert!(
            all.enter(FIXED_BYTES, Duration::from_millis(10)).await.is_err(),
            "there is room for the head alone"
        );
        let (second, ()) = tokio::join!(all.enter(FIXED_BYTES, Duration::from_secs(60)), async { drop(first) });
        assert_eq!(second.map(|_room| all.taken.get()).ok(), Some(2 * FIXED_BYTES as i64));
    }

    #[tokio::test]
    async fn what_grows_does_not_wait() {
        let all = inflight(4 * FIXED_BYTES);
        let mut room = all.enter(0, Duration::ZERO).await.unwrap();
        all.grow(&mut room, 2 * FIXED_BYTES).unwrap();
        assert!(all.grow(&mut room, 2 * FIXED_BYTES).is_err());
        drop(room);
        assert_eq!((all.taken.get(), all.free.available_permits()), (0, 4 * FIXED_BYTES as usize));
    }

    #[tokio::test]
    async fn room_is_made_to_fit() {
        let all = inflight(8 * FIXED_BYTES);
        let room = all.enter(3 * FIXED_BYTES, Duration::ZERO).await.unwrap();
        let room = all.fit(room, FIXED_BYTES).unwrap();
        assert_eq!(all.taken.get(), FIXED_BYTES as i64);
        let room = all.fit(room, 6 * FIXED_BYTES).unwrap();
        assert_eq!(all.taken.get(), 6 * FIXED_BYTES as i64);
        let rest = all.enter_as_far_as_possible(5 * FIXED_BYTES);
        assert!(all.taken.get() > 6 * FIXED_BYTES as i64 && all.enter_at_once(5 * FIXED_BYTES).is_none());
        assert!(all.fit(room, 9 * FIXED_BYTES).is_none());
        drop(rest);
        assert_eq!((all.taken.get(), all.free.available_permits()), (0, 8 * FIXED_BYTES as usize));
    }

    #[tokio::test]
    async fn what_is_longer_than_the_bound_goes_alone() {
        let all = inflight(FIXED_BYTES);
        let room = all.enter(100 * FIXED_BYTES, Duration::ZERO).await.unwrap();
        assert!(all.enter(1, Duration::ZERO).await.is_err());
        drop(room);
        assert!(all.enter(1, Duration::ZERO).await.is_ok());
    }
}
