//! What the runtime measures and hands to whoever keeps metrics. Owns no number itself.

use std::time::Duration;

/// Takes measurements. Called from hot loops: it must not block. Every method does nothing unless overridden.
pub trait Observer: Send + Sync + 'static {
    /// A sync of the log took this long.
    fn wal_synced(&self, took: Duration) {
        let _ = took;
    }

    /// This many bytes of log were written since the start.
    fn wal_bytes(&self, total: u64) {
        let _ = total;
    }

    /// A snapshot took this long, from its first chunk until it was durable.
    fn snapshot_taken(&self, took: Duration) {
        let _ = took;
    }

    /// A connection on the replication port was turned away or broken off for its own fault.
    fn peer_rejected(&self, cause: &'static str) {
        let _ = cause;
    }
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
