//! The HTTP front end: what clients, operators and Prometheus talk to. It parses strictly, asks the node through
//! its [`Handle`], and puts answers into words. It decides nothing about replication and keeps no state but its
//! connections.
//!
//! [`serve`] accepts connections and [`HttpServer::stop`] ends them gracefully; both work over any stream, so that a
//! simulated network runs the shipped code.

mod answer;
mod body;
mod connections;
mod failover;
mod headers;
mod idempotency;
mod index;
mod inflight;
mod json;
#[cfg(test)]
mod mutations;
mod operator;
mod order;
mod outgoing;
mod precondition;
mod probes;
mod problem;
mod proxy;
mod query;
mod reads;
mod rollbacks;
mod route;
mod serve;
mod service;
mod status;
mod writes;
mod written;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use synap_core::config::{Concern, Limits};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::settings::FrontSettings;

pub use inflight::Room;
pub use rollbacks::{RollbackDir, RollbackFile, RollbackSource};
pub(crate) use route::TEMPLATES;
pub use serve::{serve, serve_connection};

/// The program's version, as `/health` and `synap_build_info` tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A future in a box.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection, as the front end needs it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to `host:port`, to pass a write on to the master. Has no deadline of its own.
pub type Dial = Arc<dyn Fn(String) -> BoxFuture<io::Result<Box<dyn Stream>>> + Send + Sync>;

/// What a [`HttpServer`] is made of.
pub struct HttpServerParts {
    /// The node.
    pub handle: Handle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How connections and misdirected writes are treated.
    pub settings: FrontSettings,
    /// The core's bounds on keys and values, so that most that is too long is refused before it is read.
    pub limits: Limits,
    /// The concern of writes that name none.
    pub write_concern: Concern,
    /// The rollback files.
    pub rollbacks: Arc<dyn RollbackSource>,
    /// How to reach the master, for [`crate::settings::OnReplicaWrite::Proxy`].
    pub dial: Dial,
}

/// The HTTP front end of one node.
pub struct HttpServer {
    parts: HttpServerParts,
    connections: connections::Connections,
    inflight: inflight::InFlight,
    answers: inflight::InFlight,
}

impl HttpServer {
    /// A front end that serves nobody yet.
    pub fn new(parts: HttpServerParts) -> Arc<Self> {
        let connections = connections::Connections::new(parts.settings);
        let http = &parts.metrics.http;
        let bounded = |taken| inflight::InFlight::new(parts.settings.inflight_bytes_max, taken);
        let (inflight, answers) = (bounded(http.inflight_bytes.clone()), bounded(http.answer_bytes.clone()));
        Arc::new(Self { parts, connections, inflight, answers })
    }

    /// Ends every connection once it has answered what it has taken, and waits for that as long as the caller
    /// polls: dropping this future leaves the rest to [`HttpServer::abort`]. Call it when [`serve`] has ended.
    pub async fn stop(&self) {
        self.connections.stop().await;
    }

    /// Ends every connection at once.
    pub fn abort(&self) {
        self.connections.abort();
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.open()
    }
}

impl std::ops::Deref for HttpServer {
    type Target = HttpServerParts;

    fn deref(&self) -> &HttpServerParts {
        &self.parts
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("connections", &self.connections.open()).finish_non_exhaustive()
    }
}
