//! Operations on keys, by what came of them.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::register;

/// What was asked of a key. Uploads and each pair of an `mset` count as sets, each key of an `mget` as a get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvOperation {
    Get,
    Exists,
    Ttl,
    Set,
    Delete,
    Incr,
    Expire,
    Persist,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvResult {
    /// A read found the key.
    Hit,
    /// A read did not find it.
    Miss,
    /// A write took effect.
    Done,
    /// A write was ordered, and its condition or the key's state left everything as it was.
    Unchanged,
    /// A write was done before, under the same `Idempotency-Key`, and answered as it was then.
    Replayed,
    /// A write's fate was not known in time.
    Pending,
    /// A write was refused; nothing was done.
    Refused,
}

const OPERATIONS: [&str; 8] = ["get", "exists", "ttl", "set", "delete", "incr", "expire", "persist"];
const RESULTS: [&str; 7] = ["hit", "miss", "done", "unchanged", "replayed", "pending", "refused"];

/// What can come of each operation.
const POSSIBLE: [&[&str]; OPERATIONS.len()] = [READ, READ, READ, WRITTEN, WRITTEN, WRITTEN, WRITTEN, WRITTEN];
const READ: &[&str] = &["hit", "miss"];
const WRITTEN: &[&str] = &["done", "unchanged", "replayed", "pending", "refused"];

/// Operations, by result.
#[derive(Debug)]
pub(crate) struct KvMetrics {
    all: IntCounterVec,
    counters: [[OnceLock<IntCounter>; RESULTS.len()]; OPERATIONS.len()],
}

impl KvMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let options = Opts::new("synap_kv_operations_total", "Operations on keys, by what came of them");
        let all = register(registry, IntCounterVec::new(options, &["operation", "result"]));
        let metrics = Self { all, counters: Default::default() };
        // From the start, at 0: what has never happened is a number too, and a first time is seen as an increase.
        for (operation, results) in OPERATIONS.iter().zip(POSSIBLE) {
            for result in results {
                metrics.all.with_label_values(&[operation, result]);
            }
        }
        metrics
    }

    /// So many more.
    pub(crate) fn add(&self, operation: KvOperation, result: KvResult, count: u64) {
        let (operation, result) = (operation as usize, result as usize);
        self.counters[operation][result]
            .get_or_init(|| self.all.with_label_values(&[OPERATIONS[operation], RESULTS[result]]))
            .inc_by(count);
    }

    /// How many since the start.
    pub(crate) fn count(&self, operation: KvOperation, result: KvResult) -> u64 {
        self.counters[operation as usize][result as usize].get().map_or(0, IntCounter::get)
    }
}
