//! What the runtime shows of itself: measurements to whoever keeps metrics ([`Observer`]), turns to whoever records
//! them ([`Watch`]). Owns no number itself.

use std::fmt;
use std::time::Duration;

use synap_core::config::Config;
use synap_core::input::Input;
use synap_core::node::Node;
use synap_core::output::Output;
use synap_core::recovered::Recovered;
use synap_core::time::{Now, Time};

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

/// Sees every turn of one node, from its first: enough to make the same node do the same again. It only looks.
pub trait Watch: fmt::Debug + Send + 'static {
    /// A node is about to be made of these.
    fn born(&mut self, config: &Config, recovered: &Recovered, seed: u64, now: Now);

    /// A turn begins with these inputs.
    fn begins(&mut self, now: Now, inputs: &[Input]);

    /// It has ended with this output, which nobody has acted on yet, and wants the next by `due`.
    fn ends(&mut self, node: &Node, now: Now, output: &Output, due: Option<Time>);
}
