//! What is measured, and how Prometheus reads it: one [`Metrics`] per node, with no global registry. Live histograms
//! and counters are fed where things happen; everything that the node knows of itself is read from its [`Status`] at
//! each scrape, so that the two can never disagree. Labels are bounded: never a key, never a raw path.

mod family;
mod http;
mod kv;
mod process;
mod status;

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use synap_core::status::Status;

use crate::observe::Observer;

pub(crate) use http::HttpMetrics;
pub(crate) use kv::{KvMetrics, KvOperation, KvResult};

/// What one node measures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// From a write's arrival at the node until its answer.
    pub(crate) commit_duration: Histogram,
    pub(crate) http: HttpMetrics,
    pub(crate) kv: KvMetrics,
    wal_fsync: Histogram,
    wal_bytes: IntCounter,
    snapshot: Histogram,
    peers_rejected: IntCounterVec,
    process: Process,
}

/// Whether the standard `process_*` metrics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Yes, where the system tells (Linux).
    Shown,
    /// No: a simulation's numbers must not hang on the machine that it runs on.
    Hidden,
}

/// Bounds of the buckets for what takes from 10 us (a read) to 10 s, in seconds.
const SECONDS: [f64; 18] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Bounds of the buckets for snapshots, in seconds.
const SNAPSHOT_SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Metrics {
    /// Metrics that have counted nothing yet.
    pub fn new(process: Process) -> Self {
        let registry = Registry::new();
        Self {
            commit_duration: histogram(
                &registry,
                "synap_commit_duration_seconds",
                "From a write's arrival until its answer, at the concern asked for",
                &SECONDS,
            ),
            http: HttpMetrics::new(&registry, &crate::http::TEMPLATES),
            kv: KvMetrics::new(&registry),
            wal_fsync: histogram(
                &registry,
                "synap_wal_fsync_duration_seconds",
                "Syncs of the log to disk",
                &SECONDS,
            ),
            wal_bytes: register(
                &registry,
                IntCounter::new("synap_wal_bytes_total", "Bytes of log written since the start"),
            ),
            snapshot: histogram(
                &registry,
                "synap_snapshot_duration_seconds",
                "Snapshots, from the first chunk until durable",
                &SNAPSHOT_SECONDS,
            ),
            peers_rejected: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "synap_replication_peers_rejected_total",
                        "Connections on the replication port that were turned away or broken off for their own fault",
                    ),
                    &["cause"],
                ),
            ),
            registry,
            process,
        }
    }

    /// Everything in Prometheus' text format, with what the node says of itself now.
    pub fn render(&self, status: &Status) -> String {
        let mut families = status::families(status);
        match self.process {
            Process::Shown => families.extend(process::families()),
            Process::Hidden => {}
        }
        families.extend(self.registry.gather());
        // One without a value would fail all of them: of what nobody can tell, nothing is shown.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        // Fails only for a family without a name or a value; none is left.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

impl Observer for Metrics {
    fn wal_synced(&self, took: Duration) {
        self.wal_fsync.observe(took.as_secs_f64());
    }

    fn wal_bytes(&self, total: u64) {
        self.wal_bytes.inc_by(total.saturating_sub(self.wal_bytes.get()));
    }

    fn snapshot_taken(&self, took: Duration) {
        self.snapshot.observe(took.as_secs_f64());
    }

    fn peer_rejected(&self, cause: &'static str) {
        self.peers_rejected.with_label_values(&[cause]).inc();
    }
}

fn histogram(registry: &Registry, name: &str, help: &str, bounds: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
}

/// Registers a metric. Names are constants, each used once: a failure is a fault of ours, found by any test.
fn register<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<M>,
) -> M {
    let metric = made.expect("metrics have valid names");
    registry.register(Box::new(metric.clone())).expect("metrics have distinct names");
    metric
}
