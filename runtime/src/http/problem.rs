//! Answers that say no: `application/problem+json` (RFC 9457), one [`Code`] per reason, and the one place that
//! turns a [`Refusal`] of the core into one. A write whose fate is unknown is never reported as failed.

use std::borrow::Cow;
use std::time::Duration;

use super::answer::Stamp;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use synap_core::output::{Refusal, Reply};
use synap_core::position::{Full, Index, Position};

/// Why not, as a program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BadRequest,
    RequestTimeout,
    KeyNotFound,
    NotFound,
    MethodNotAllowed,
    VersionMismatch,
    NotAnInteger,
    PositionRolledBack,
    AmbiguousPosition,
    ForeignPosition,
    Conflict,
    BetterCandidate,
    PreconditionFailed,
    TooLarge,
    UnsupportedEncoding,
    ExpectationFailed,
    IdempotencyKeyReused,
    NotMaster,
    NotMasterSeeOther,
    Busy,
    NoMaster,
    NoQuorum,
    NotEnoughReplicas,
    Stale,
    ShuttingDown,
    Timeout,
    DiskFull,
    DiskHangs,
    OutOfMemory,
    NotImplemented,
    Internal,
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

/// What a [`Problem`] consists of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) code: Code,
    pub(crate) detail: Cow<'static, str>,
    /// Further members of the JSON object.
    pub(crate) members: Map<String, Value>,
    pub(crate) retry_after: Option<Duration>,
    /// `Location` and `Synap-Leader`.
    pub(crate) location: Option<String>,
    pub(crate) leader: Option<String>,
    /// `Allow`, of a 405.
    pub(crate) allow: Option<&'static str>,
    /// The state that it comes from, if it is not simply the newest.
    pub(crate) stamp: Option<Stamp>,
}

/// When to come back, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Code {
    /// Status, name and title.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "The request cannot be understood"),
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "bad_request", "The request did not arrive in time")
            }
            Self::KeyNotFound => (StatusCode::NOT_FOUND, "key_not_found", "No such key"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "No such resource"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method")
            }
            Self::VersionMismatch => (StatusCode::CONFLICT, "version_mismatch", "The key has another version"),
            Self::NotAnInteger => {
                (StatusCode::CONFLICT, "not_an_integer", "The value is not an integer that fits")
            }
            Self::PositionRolledBack => {
                (StatusCode::CONFLICT, "position_rolled_back", "That position was rolled back")
            }
            Self::AmbiguousPosition => {
                (StatusCode::CONFLICT, "ambiguous_position", "That position may name two entries")
            }
            Self::ForeignPosition => {
                (StatusCode::CONFLICT, "foreign_position", "That position is of another cluster")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Not in this state"),
            Self::BetterCandidate => (StatusCode::CONFLICT, "better_candidate", "Another node holds more"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition_failed", "The key is not as the precondition asks")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large"),
            Self::UnsupportedEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "The body is encoded in a way that is not known here",
            ),
            Self::ExpectationFailed => {
                (StatusCode::EXPECTATION_FAILED, "expectation_failed", "The expectation cannot be met")
            }
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The Idempotency-Key stands for another request",
            ),
            Self::NotMaster => (StatusCode::MISDIRECTED_REQUEST, "not_master", "This node is not the master"),
            Self::NotMasterSeeOther => {
                (StatusCode::TEMPORARY_REDIRECT, "not_master", "This node is not the master")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is in flight"),
            Self::NoMaster => (StatusCode::SERVICE_UNAVAILABLE, "no_master", "No master is known"),
            Self::NoQuorum => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum", "No majority of voters answers"),
            Self::NotEnoughReplicas => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_enough_replicas", "Too few replicas are connected")
            }
            Self::Stale => (StatusCode::SERVICE_UNAVAILABLE, "stale", "This node's state is too old"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "busy", "This node is shutting down"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout", "The outcome is not known yet"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk_full", "The disk is full"),
            Self::DiskHangs => (StatusCode::SERVICE_UNAVAILABLE, "disk_hangs", "The disk does nothing"),
            Self::OutOfMemory => {
                (StatusCode::INSUFFICIENT_STORAGE, "out_of_memory", "The memory limit is reached")
            }
            Self::NotImplemented => {
                (StatusCode::NOT_IMPLEMENTED, "not_implemented", "The server does not know how to do that")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server cannot do that now"),
        }
    }

    /// The status that it is answered with.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }
}

impl Problem {
    /// A problem with nothing beside its detail.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            members: Map::new(),
            retry_after: None,
            location: None,
            leader: None,
            allow: None,
            stamp: None,
        }))
    }

    /// 400.
    pub(crate) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// 404 of a key.
    pub(crate) fn no_key() -> Self {
        Self::new(Code::KeyNotFound, "the key is absent or has expired")
    }

    /// 413.
    pub(crate) fn too_large(what: &str, bytes: u64, bytes_max: u64) -> Self {
        Self::new(Code::TooLarge, format!("{what} of {bytes} bytes is longer than {bytes_max}"))
            .with("bytes_max", bytes_max)
    }

    /// 413: a list of more items than one request may have.
    pub(crate) fn too_many(what: &str, items: usize, items_max: usize) -> Self {
        Self::new(Code::TooLarge, format!("{items} {what} are more than {items_max}"))
            .with("items_max", items_max as u64)
    }

    /// 500: the node answered what was not asked, a fault of ours.
    pub(crate) fn mismatched(reply: &Reply) -> Self {
        let what = match reply {
            Reply::Written(_) => "a write",
            Reply::Read(_) => "a read",
            Reply::Promoted(_) => "a promotion",
            Reply::Snapshot(_) => "a snapshot",
            Reply::Status(_) => "a status request",
            Reply::Outcome(_) => "an outcome request",
            Reply::SwitchedOver(_) => "a switchover",
            Reply::Configured(_) => "a change of membership",
        };
        Self::new(Code::Internal, format!("the node answered {what}, which was not asked"))
    }

    /// The same with another member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a position, whole and in its parts.
    fn at(self, position: Position) -> Self {
        self.with("position", Full(position).to_string())
            .with("epoch", position.epoch.number)
            .with("index", position.index.0)
            .with("leader", position.epoch.leader.to_string())
    }

    /// The same with `Retry-After`.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// The same with `Allow`.
    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The same with the master named, in the body and in `Synap-Leader`.
    pub(crate) fn leader(mut self, http: &str) -> Self {
        self.0.leader = Some(http.to_owned());
        self.with("leader", http)
    }

    /// The same with `Location`.
    pub(crate) fn location(mut self, location: String) -> Self {
        self.0.location = Some(location);
        self
    }

    /// The same with where it comes from.
    pub(crate) fn stamped(mut self, stamp: Stamp) -> Self {
        self.0.stamp = Some(stamp);
        self
    }

    /// What it consists of.
    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The JSON object, and a newline.
    pub(crate) fn body(&self) -> Vec<u8> {
        let (status, code, title) = self.0.code.parts();
        let mut object = json!({
            "type": format!("urn:synap:error:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.0.detail,
            "code": code,
        });
        if let Value::Object(object) = &mut object {
            object.extend(self.0.members.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        format!("{object}\n").into_bytes()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotMaster { leader } => Self::new(Code::NotMaster, detail).leader(&leader.http),
            Refusal::NoMaster { why: _, retry_after } => {
                Self::new(Code::NoMaster, detail).retry_after(retry_after)
            }
            Refusal::NoQuorum { retry_after } => Self::new(Code::NoQuorum, detail).retry_after(retry_after),
            Refusal::NotEnoughReplicas { wanted, connected } => Self::new(Code::NotEnoughReplicas, detail)
                .with("wanted", wanted)
                .with("connected", connected)
                .retry_after(RETRY_AFTER),
            Refusal::Stale { staleness, applied } => Self::new(Code::Stale, detail)
                .with("staleness_ms", staleness.map(millis))
                .at(applied)
                .retry_after(RETRY_AFTER),
            Refusal::RolledBack { index: Index(index) } => {
                Self::new(Code::PositionRolledBack, detail).with("index", index)
            }
            Refusal::AmbiguousPosition { index: Index(index) } => {
                Self::new(Code::AmbiguousPosition, detail).with("index", index)
            }
            Refusal::ForeignPosition { index: Index(index) } => {
                Self::new(Code::ForeignPosition, detail).with("index", index)
            }
            Refusal::Pending { position } => {
                Self::new(Code::Timeout, detail).with("outcome", "pending").at(position)
            }
            Refusal::Undecided { why: _ } => Self::new(Code::Timeout, detail).with("outcome", "pending"),
            Refusal::Busy => Self::new(Code::Busy, detail).retry_after(RETRY_AFTER),
            Refusal::TooLarge { what: _, bytes, bytes_max } => {
                Self::new(Code::TooLarge, detail).with("bytes", bytes).with("bytes_max", bytes_max)
            }
            Refusal::DiskFull => Self::new(Code::DiskFull, detail),
            Refusal::DiskHangs { retry_after } => Self::new(Code::DiskHangs, detail).retry_after(retry_after),
            Refusal::OutOfMemory => Self::new(Code::OutOfMemory, detail),
            Refusal::Conflict { .. } => Self::new(Code::Conflict, detail),
            Refusal::BetterCandidate { node, name, last } => Self::new(Code::BetterCandidate, detail)
                .with("better", json!({"node_id": node.to_string(), "node_name": name}))
                .at(last),
            Refusal::BadRequest { .. } => Self::new(Code::BadRequest, detail),
            Refusal::ShuttingDown => Self::new(Code::ShuttingDown, detail).retry_after(RETRY_AFTER),
        }
    }
}

/// Whole milliseconds.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
