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

/// Bytes that wait at the ends of a node's links: of each kind those of the link that has most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that are to be sent, the one that is under way included.
    pub outgoing: usize,
    /// Messages that came in and are for the node to take.
    pub incoming: usize,
    /// A message that is not whole yet.
    pub half: usize,
}

/// Sees every turn of one node, from its first: enough to make the same node do the same again. It only looks.
pub trait Watch: fmt::Debug + Send + 'static {
    /// A node is about to be made of these.
    fn born(&mut self, config: &Config, recovered: &Recovered, seed: u64, now: Now);

    /// A turn begins with these inputs.
    fn begins(&mut self, now: Now, inputs: &[Input]);

    /// What waits at the ends of its links, once its last output has been acted on.
    fn waits(&mut self, waiting: Waiting);

    /// It has ended with this output, which nobody has acted on yet, and wants the next by `due`.
    fn ends(&mut self, node: &Node, now: Now, output: &Output, due: Option<Time>);
}
