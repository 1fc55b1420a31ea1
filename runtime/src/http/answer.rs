//! What a handler answers, and how that becomes a response. Owns the header names.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use synap_core::position::Position;
use synap_core::status::Role;
use synap_core::version::Version;
use synap_core::view::Outline;

use super::problem::{Code, Problem, millis};

/// `EPOCH:INDEX-LEADER`: a write's own position, or how far this node has applied.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("synap-position");
/// `master`, `replica` or `standalone`.
pub(crate) const ROLE: HeaderName = HeaderName::from_static("synap-role");
/// On reads from a replica.
pub(crate) const STALENESS: HeaderName = HeaderName::from_static("synap-staleness-ms");
/// On a write that was done before, under the same `Idempotency-Key`.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("synap-replayed");
/// Where writes go, `host:port`.
pub(crate) const LEADER: HeaderName = HeaderName::from_static("synap-leader");

/// What a body is, as its `Content-Type` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Octets,
    Ndjson,
    Metrics,
    Problem,
    Text,
    Yaml,
}

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
    pub(crate) body: Body,
    /// The key's version, for `ETag`.
    pub(crate) version: Option<Version>,
    /// A write's position, or the state that a read saw; the newest state if it is neither.
    pub(crate) stamp: Option<Stamp>,
}

/// What an answer says of the state that it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) position: Position,
    pub(crate) role: Role,
    /// Of reads on a replica, if it ever had proof of holding everything.
    pub(crate) staleness: Option<Duration>,
    /// Whether a write was answered as the first under its `Idempotency-Key` was, and nothing was done.
    pub(crate) replayed: bool,
}

/// A response's body: whole, or in pieces as they are read.
pub(crate) enum Body {
    Whole(Bytes),
    Pieces(Box<Pieces>),
}

/// A body of which each piece is asked for when the one before is out.
pub(crate) struct Pieces {
    next: Option<Pin<Box<NextPiece>>>,
    fetch: Box<Fetch>,
    offset: u64,
}

/// The piece at an offset; an empty one ends the body.
type NextPiece = dyn Future<Output = io::Result<Bytes>> + Send;
type Fetch = dyn Fn(u64) -> Pin<Box<NextPiece>> + Send;

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(Content::Json, Body::Whole(body.into()))
    }

    /// 200 with this body.
    pub(crate) fn new(content: Content, body: Body) -> Self {
        Self { status: StatusCode::OK, content, body, version: None, stamp: None }
    }

    /// The same with another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with where it comes from.
    pub(crate) fn stamped(mut self, stamp: Stamp) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// The same with an `ETag`.
    pub(crate) fn versioned(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The response, with `current` as its stamp where the handler gave none.
    pub(crate) fn into_response(self, current: impl FnOnce() -> Stamp) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_TYPE, self.content.header());
        }
        if let Some(version) = self.version {
            headers.insert(header::ETAG, etag(version));
        }
        self.stamp.unwrap_or_else(current).put(headers);
        response
    }
}

impl Stamp {
    /// Of a read that sees the state of which this is the outline, `staleness` old.
    pub(crate) fn read(view: &Outline, staleness: Option<Duration>) -> Self {
        let staleness = match view.role {
            Role::Replica => staleness,
            Role::Master | Role::Standalone => None,
        };
        Self { position: view.applied, role: view.role, staleness, replayed: false }
    }

    fn put(self, headers: &mut hyper::HeaderMap) {
        headers.insert(POSITION, position_header(self.position));
        headers.insert(ROLE, HeaderValue::from_static(self.role.as_str()));
        if let Some(staleness) = self.staleness {
            headers.insert(STALENESS, HeaderValue::from(millis(staleness)));
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
    }
}

impl Content {
    const fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Octets => "application/octet-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
            Self::Yaml => "application/yaml",
            Self::Metrics => prometheus::TEXT_FORMAT,
            Self::Problem => "application/problem+json",
        })
    }
}

impl Problem {
    /// The response, with `current` as its stamp where the problem has none.
    pub(crate) fn into_response(self, current: Stamp) -> Response<Body> {
        let parts = self.parts();
        let stamp = parts.stamp.unwrap_or(current);
        let answer = Answer::new(Content::Problem, Body::Whole(self.body().into())).status(parts.code.status());
        let mut response = answer.into_response(|| stamp);
        let headers = response.headers_mut();
        if let Some(after) = parts.retry_after {
            let secs = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        if parts.code == Code::UnsupportedEncoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(methods) = parts.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        for (name, text) in [(header::LOCATION, &parts.location), (LEADER, &parts.leader)] {
            // An address that is no header value is in the body all the same.
            if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A version as an entity tag: in quotes.
pub(crate) fn etag(version: Version) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(version.0);
    let mut text = Vec::with_capacity(digits.len() + 2);
    text.push(b'"');
    text.extend_from_slice(digits.as_bytes());
    text.push(b'"');
    header_of(text)
}

fn position_header(position: Position) -> HeaderValue {
    let mut text = Vec::with_capacity(48);
    push_position(&mut text, position);
    header_of(text)
}

/// `EPOCH:INDEX-LEADER`, as [`Full`] prints it.
pub(crate) fn push_position(out: &mut Vec<u8>, position: Position) {
    let (mut epoch, mut index) = (itoa::Buffer::new(), itoa::Buffer::new());
    out.extend_from_slice(epoch.format(position.epoch.number).as_bytes());
    out.push(b':');
    out.extend_from_slice(index.format(position.index.0).as_bytes());
    out.push(b'-');
    let leader = position.epoch.leader.0 >> 96;
    for nth in (0..8).rev() {
        let digit = u8::try_from(leader >> (4 * nth) & 15).unwrap_or(0);
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// A header value of printable ASCII.
fn header_of(text: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl Body {
    /// A body of pieces: `fetch` gives the piece at an offset, and an empty one at the end.
    pub(crate) fn pieces(fetch: impl Fn(u64) -> Pin<Box<NextPiece>> + Send + 'static) -> Self {
        Self::Pieces(Box::new(Pieces { next: Some(fetch(0)), fetch: Box::new(fetch), offset: 0 }))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => pieces.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces(pieces) => pieces.next.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let Poll::Ready(piece) = next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = None;
        Poll::Ready(match piece {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                self.offset += bytes.len() as u64;
                self.next = Some((self.fetch)(self.offset));
                Some(Ok(Frame::data(bytes)))
            }
            Err(error) => Some(Err(error)),
        })
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Self::Pieces(pieces) => f.debug_tuple("Pieces").field(&pieces.offset).finish(),
        }
    }
}
