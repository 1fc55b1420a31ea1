//! Passes a write on to the master and relays its answer. Owns no connection for longer than one request; a write
//! is passed on once, never along a chain.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Request, Response};
use synap_core::message::Leader;

use super::HttpServer;
use super::answer::{Body, LEADER, POSITION, REPLAYED, ROLE};
use super::idempotency::IDEMPOTENCY_KEY;
use super::problem::{Code, Problem};
use crate::exchange::exchange;

/// Marks a write that has been passed on.
const PROXIED: HeaderName = HeaderName::from_static("synap-proxied");

/// The connection to the master must stand by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How much longer than the client the master is waited for, so that its own answer comes first.
const GRACE: Duration = Duration::from_secs(1);

/// Longest answer that is relayed.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// When to come back if the master cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The headers of the master's answer that are its own and go through to the client.
const RELAYED: [HeaderName; 7] =
    [header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER, header::ALLOW, POSITION, ROLE, REPLAYED];

/// Has `leader` answer a write.
pub(crate) async fn forward(
    front: &HttpServer,
    head: &request::Parts,
    body: Bytes,
    leader: &Leader,
    timeout: Duration,
) -> Result<Response<Body>, Problem> {
    if head.headers.contains_key(PROXIED) {
        return Err(unreachable("this write was passed on already, and the master has moved meanwhile"));
    }
    let request = request(head, body, leader)?;
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, (front.dial)(leader.http.clone())).await;
    let Ok(Ok(io)) = connected else {
        return Err(unreachable("the master cannot be reached"));
    };
    // From here on the master may have taken the write.
    let exchanged = exchange(io, request, ANSWER_BYTES_MAX);
    match tokio::time::timeout(timeout + GRACE, exchanged).await {
        Ok(Ok(response)) => Ok(relay(response, leader)),
        Ok(Err(_)) | Err(_) => {
            Err(Problem::new(Code::Timeout, "the master's answer did not come: it is not known")
                .with("outcome", "pending")
                .leader(&leader.http))
        }
    }
}

fn request(head: &request::Parts, body: Bytes, leader: &Leader) -> Result<Request<Full<Bytes>>, Problem> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(head.method.clone())
        .uri(path)
        .header(header::HOST, &leader.http)
        .header(PROXIED, HeaderValue::from_static("1"));
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::IF_MATCH, header::IF_NONE_MATCH, IDEMPOTENCY_KEY] {
        if let Some(value) = head.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    request.body(Full::new(body)).map_err(|_| unreachable("the master's address is no host name"))
}

/// The master's answer as ours.
fn relay(response: Response<Bytes>, leader: &Leader) -> Response<Body> {
    let (head, body) = response.into_parts();
    let mut relayed = Response::new(Body::Whole(body));
    *relayed.status_mut() = head.status;
    for name in RELAYED {
        if let Some(value) = head.headers.get(&name) {
            relayed.headers_mut().insert(name, value.clone());
        }
    }
    if let Ok(address) = HeaderValue::from_str(&leader.http) {
        relayed.headers_mut().insert(LEADER, address);
    }
    relayed
}

/// 503: nothing was done.
fn unreachable(why: &'static str) -> Problem {
    Problem::new(Code::NoMaster, why).retry_after(RETRY_AFTER)
}
