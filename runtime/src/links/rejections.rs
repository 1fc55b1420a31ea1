//! The log of peers that misbehave before they are known: one line at first, then one whenever the count has grown
//! tenfold, so that nobody can fill the log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use synap_core::wire::WireError;

use crate::observe::Observer;

/// Peers that are told apart; the rest is counted as one.
const PEERS_MAX: usize = 1024;

/// Counts what peers do wrong.
pub(super) struct Rejections {
    counts: Mutex<BTreeMap<Option<IpAddr>, u64>>,
    observer: Arc<dyn Observer>,
}

impl Rejections {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { counts: Mutex::default(), observer }
    }

    /// Counts, and logs now and then.
    pub(super) fn note(&self, peer: IpAddr, cause: &'static str, error: Option<WireError>) {
        self.observer.peer_rejected(cause);
        let count = self.count(peer);
        if count.ilog10() != (count - 1).checked_ilog10().unwrap_or(u32::MAX) {
            let error = error.map(tracing::field::display);
            tracing::warn!(%peer, count, error, "peer rejected on the replication port: {cause}");
        }
    }

    fn count(&self, peer: IpAddr) -> u64 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.len() < PEERS_MAX || counts.contains_key(&Some(peer));
        let count = counts.entry(known.then_some(peer)).or_default();
        *count += 1;
        *count
    }
}

impl fmt::Debug for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejections").field("counts", &self.counts).finish_non_exhaustive()
    }
}
