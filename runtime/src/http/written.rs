//! What a write gave, as its answer: JSON, or a problem where nothing was done. Asks nobody.

use bytes::Bytes;
use synap_core::command::Outcome;
use synap_core::config::Concern;
use synap_core::output::Written;
use synap_core::version::Version;

use super::HttpServer;
use super::answer::{Answer, Stamp, push_position};
use super::json::{push_fmt, push_key, push_u64, push_value};
use super::precondition;
use super::problem::{Code, Problem};
use crate::metrics::{KvOperation, KvResult};

/// A write, as far as its answer depends on what was asked.
pub(crate) struct Asked {
    /// The key that the answer names.
    pub(crate) key: Bytes,
    pub(crate) operation: KvOperation,
    /// Whether the answer tells the old value.
    pub(crate) get: bool,
    /// Whether `If-Match` or `If-None-Match` set a condition.
    pub(crate) conditional: bool,
}

/// What is answered to it once its place in the log is settled.
pub(crate) fn answer(front: &HttpServer, asked: &Asked, written: &Written) -> Result<Answer, Problem> {
    let (outcome, old_dropped) = match &written.outcome {
        Outcome::Replayed { first: _, outcome, old_dropped } => (&**outcome, *old_dropped),
        outcome => (outcome, false),
    };
    if let Some((result, problem)) = refused(outcome, asked.conditional) {
        front.metrics.kv.add(asked.operation, result, 1);
        return Err(problem.stamped(stamp(front, written)));
    }
    let mut out = Vec::with_capacity(128 + asked.key.len());
    let (changed, keys) = push_outcome(&mut out, asked, outcome, old_dropped)?;
    push_promise(&mut out, written);
    let result = match (is_replayed(written), changed) {
        (true, _) => KvResult::Replayed,
        (false, true) => KvResult::Done,
        (false, false) => KvResult::Unchanged,
    };
    front.metrics.kv.add(asked.operation, result, keys);
    let mut answer = Answer::json(out).stamped(stamp(front, written));
    answer.version = match outcome {
        Outcome::Set { version, .. } => Some(*version).filter(|version| *version != Version::ABSENT),
        _ => None,
    };
    Ok(answer)
}

/// Why nothing was done, where that is no good answer: 409, 412 or 422.
fn refused(outcome: &Outcome, conditional: bool) -> Option<(KvResult, Problem)> {
    let unchanged = |problem| Some((KvResult::Unchanged, problem));
    match outcome {
        Outcome::Set { written: false, version, .. } if conditional => unchanged(precondition::failed(*version)),
        Outcome::VersionMismatch { actual } if conditional => unchanged(precondition::failed(*actual)),
        Outcome::VersionMismatch { actual } => {
            let detail = format!("the key's version is {}", actual.0);
            unchanged(Problem::new(Code::VersionMismatch, detail).with("version", actual.0))
        }
        Outcome::NotAnInteger => {
            let detail = "the value is not an integer, or the sum would leave the range of 64 bits";
            unchanged(Problem::new(Code::NotAnInteger, detail))
        }
        Outcome::KeyReused { first } => {
            let detail = "another request was made under this Idempotency-Key; nothing was done this time";
            let problem = Problem::new(Code::IdempotencyKeyReused, detail).with("index", first.0);
            Some((KvResult::Refused, problem))
        }
        _ => None,
    }
}

/// Appends what was done, up to where the promise begins. Gives whether anything was, and on how many keys.
fn push_outcome(
    out: &mut Vec<u8>,
    asked: &Asked,
    outcome: &Outcome,
    old_dropped: bool,
) -> Result<(bool, u64), Problem> {
    Ok(match outcome {
        Outcome::Set { written, version, old } => {
            out.extend_from_slice(b"{\"success\":true,\"key\":");
            push_key(out, &asked.key);
            push_bool(out, ",\"written\":", *written);
            out.extend_from_slice(b",\"version\":");
            push_u64(out, version.0);
            if old_dropped {
                out.extend_from_slice(b",\"old_value_dropped\":true");
            } else if asked.get {
                out.extend_from_slice(b",\"old_value\":");
                match old {
                    Some(item) => push_value(out, item),
                    None => out.extend_from_slice(b"null"),
                }
            }
            (*written, 1)
        }
        Outcome::Deleted { existed } => {
            push_bool(out, "{\"deleted\":", *existed);
            out.extend_from_slice(b",\"key\":");
            push_key(out, &asked.key);
            (*existed, 1)
        }
        Outcome::Number(sum) => {
            push_fmt(out, format_args!("{{\"value\":{sum}"));
            (true, 1)
        }
        Outcome::Touched(changed) => {
            push_bool(out, "{\"result\":", *changed);
            (*changed, 1)
        }
        Outcome::Batch { written } => {
            push_fmt(out, format_args!("{{\"success\":true,\"written\":{written}"));
            (true, *written)
        }
        Outcome::VersionMismatch { .. }
        | Outcome::NotAnInteger
        | Outcome::KeyReused { .. }
        | Outcome::Replayed { .. }
        | Outcome::Internal => {
            return Err(Problem::new(Code::Internal, "the node gave what is no outcome of a write"));
        }
    })
}

/// What the answer promises, and the end of the object.
fn push_promise(out: &mut Vec<u8>, written: &Written) {
    out.extend_from_slice(b",\"position\":\"");
    push_position(out, written.position);
    out.extend_from_slice(b"\",\"concern\":\"");
    match written.concern {
        Concern::Async => out.extend_from_slice(b"async"),
        Concern::Local => out.extend_from_slice(b"local"),
        Concern::Quorum => out.extend_from_slice(b"quorum"),
        Concern::Replicas(replicas) => push_u64(out, u64::from(replicas)),
    }
    out.extend_from_slice(b"\",\"durable_on\":");
    push_u64(out, u64::from(written.durable_on));
    out.extend_from_slice(b"}\n");
}

fn push_bool(out: &mut Vec<u8>, name: &str, yes: bool) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(if yes { b"true" } else { b"false" });
}

fn stamp(front: &HttpServer, written: &Written) -> Stamp {
    let role = front.handle.glance().role;
    Stamp { position: written.position, role, staleness: None, replayed: is_replayed(written) }
}

fn is_replayed(written: &Written) -> bool {
    matches!(written.outcome, Outcome::Replayed { .. })
}
