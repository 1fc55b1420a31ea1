//! A client's side of HTTP: hyper over the simulated network, one kept-alive connection to each node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use synap_runtime::net::Net;

use super::net::SimNet;
use super::world::name_of;
use crate::plan::config::HTTP_PORT;

/// Calls nodes.
#[derive(Debug)]
pub(super) struct Caller {
    net: SimNet,
    open: BTreeMap<usize, SendRequest<Full<Bytes>>>,
}

/// What a node is asked for.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
    /// `Idempotency-Key`.
    pub(super) key: Option<Bytes>,
    /// `If-Match` or `If-None-Match`, and what it says.
    pub(super) condition: Option<(&'static str, String)>,
}

/// What it answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer: what became of the request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nothing listens there: the request was never sent.
    Refused,
    /// The connection broke.
    Broken,
    /// It took too long.
    Late,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, ..Self::post(path, Bytes::new()) }
    }

    pub(super) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path: path.into(), body: body.into(), key: None, condition: None }
    }
}

impl Caller {
    pub(super) fn new(net: SimNet) -> Self {
        Self { net, open: BTreeMap::new() }
    }

    /// Calls a node and waits for the whole answer, up to a deadline. A connection that failed is not used again.
    pub(super) async fn call(&mut self, node: usize, call: Call, within: Duration) -> Result<Answered, NoAnswer> {
        let opened = self.open.remove(&node).filter(|open| !open.is_closed());
        let net = self.net.clone();
        let answering = async move {
            let mut open = match opened {
                Some(open) => open,
                None => connect(&net, node).await?,
            };
            let answered = send(&mut open, node, call).await?;
            Ok((open, answered))
        };
        let (open, answered) = tokio::time::timeout(within, answering).await.unwrap_or(Err(NoAnswer::Late))?;
        self.open.insert(node, open);
        Ok(answered)
    }
}

async fn connect(net: &SimNet, node: usize) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
    let address = format!("{}:{HTTP_PORT}", name_of(node));
    let stream = net.connect(&address, 0).await.map_err(|_| NoAnswer::Refused)?.stream;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer::Broken)?;
    // What ends a connection is told by the request that was on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn send(open: &mut SendRequest<Full<Bytes>>, node: usize, call: Call) -> Result<Answered, NoAnswer> {
    let mut request =
        Request::builder().method(call.method).uri(call.path).header(hyper::header::HOST, name_of(node));
    if let Some(key) = &call.key {
        request = request.header("idempotency-key", key.as_ref());
    }
    if let Some((name, value)) = &call.condition {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(call.body)).map_err(|_| NoAnswer::Refused)?;
    let response = open.send_request(request).await.map_err(|_| NoAnswer::Broken)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| NoAnswer::Broken)?.to_bytes();
    Ok(Answered { status: head.status.as_u16(), headers: head.headers, body })
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Synap-Position`, as clients are told positions.
    pub(super) fn position(&self) -> Option<String> {
        self.header("synap-position").map(str::to_owned)
    }

    /// `ETag`.
    pub(super) fn version(&self) -> Option<u64> {
        self.header("etag")?.trim_matches('"').parse().ok()
    }

    /// `Synap-Staleness-Ms`.
    pub(super) fn staleness_ms(&self) -> Option<u64> {
        self.header("synap-staleness-ms")?.parse().ok()
    }

    /// `Synap-Replayed`.
    pub(super) fn is_replayed(&self) -> bool {
        self.header("synap-replayed") == Some("true")
    }

    /// The host that `Location` names.
    pub(super) fn location(&self) -> Option<&str> {
        self.header("location")?.strip_prefix("http://")?.split(':').next()
    }

    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
