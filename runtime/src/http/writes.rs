//! Writes: a body becomes a [`Command`], the node orders it, and its answer is put into JSON. A replica sends them
//! to its master, in one of three ways.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::http::request;
use serde::Deserialize;
use serde_json::value::RawValue;
use synap_core::command::{Command, Condition, Outcome, Pair, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::input::Request as Ask;
use synap_core::message::Leader;
use synap_core::output::{Refusal, Reply, Written};
use synap_core::status::Role;
use synap_core::version::Version;
use tokio::time::Instant;

use super::answer::{Answer, Body, Stamp, push_position};
use super::inflight::Room;
use super::json::{key_in, push_fmt, push_key, push_u64, push_value, take, ttl_ms, value_in};
use super::outgoing::hold_done;
use super::problem::{Code, Problem};
use super::query::{KEY_BYTES_MAX, WriteQuery, check_key, owned, path_key};
use super::route::{self, Route};
use super::service::finish;
use super::{Front, body, proxy, ticket};
use crate::metrics::{KvOperation, KvResult};
use crate::settings::OnReplicaWrite;

/// Longest body of those that hold no value.
const SMALL_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Most pairs of an `mset`.
const MSET_PAIRS_MAX: usize = 10_000;

/// Answers a write.
pub(crate) async fn respond(
    front: &Front,
    route: Route,
    head: &request::Parts,
    incoming: Incoming,
) -> Response<Body> {
    match write(front, route, head, incoming).await {
        Ok(Done::Here(answer, room)) => hold_done(front, finish(front, Ok(answer)), room),
        Ok(Done::ByMaster(response)) => hold_done(front, response, None),
        Err(problem) => finish(front, Err(problem)),
    }
}

/// The longest body that holds values: room for the greatest value with every second character escaped. A value
/// that takes more can be uploaded raw.
pub(crate) fn body_bytes_max(front: &Front) -> u64 {
    2 * u64::from(front.limits.value_bytes_max) + 6 * u64::from(front.limits.key_bytes_max) + 4096
}

/// Who has answered a write.
enum Done {
    /// With room for the old value, if that is told.
    Here(Answer, Option<Room>),
    ByMaster(Response<Body>),
}

async fn write(front: &Front, route: Route, head: &request::Parts, incoming: Incoming) -> Result<Done, Problem> {
    let idempotency_key = ticket::key(&head.headers)?;
    let query = WriteQuery::parse(head.uri.query(), route == Route::KvRaw)?;
    let (body, room) =
        body::read_within(&front.inflight, incoming, bytes_max(front, route), query.timeout).await?;
    let room = Arc::new(room);
    // The view may say at once that this is the wrong node; the node itself is asked in any case of doubt.
    if let Some(leader) = master_elsewhere(front) {
        return elsewhere(front, head, body, &leader, &query).await;
    }
    let (_, rest) = route::find(head.uri.path());
    let Order { mut command, key, operation, get } = order(front, route, rest, &body, &query)?;
    if let Some(idempotency_key) = idempotency_key {
        command = ticket::once(idempotency_key, command, get, head, &query, &body);
    }
    // What is done cannot be refused: there is room for the longest old value before anything is.
    let answer_room = match get {
        true => Some(front.answers.enter(u64::from(front.limits.value_bytes_max), query.timeout).await?),
        false => None,
    };
    let kept = match front.settings.on_replica_write {
        OnReplicaWrite::Proxy => Some(body),
        OnReplicaWrite::Redirect | OnReplicaWrite::Reject => None,
    };
    let concern = effective(front, query.concern, get);
    let asked = Instant::now();
    let ask = Ask::Write { command, concern, timeout: query.timeout };
    // A node that ends without a word leaves the write's fate open.
    let Ok(replied) = front.handle.put_within(ask, Arc::clone(&room))?.await else {
        front.metrics.kv.add(operation, KvResult::Pending, 1);
        return Err(
            Problem::new(Code::Timeout, "this node ended before the outcome was known").with("outcome", "pending")
        );
    };
    match replied {
        Ok(Reply::Written(written)) => {
            front.metrics.commit_duration.observe(asked.elapsed().as_secs_f64());
            let answer = answer(front, operation, &key, get, &written)?;
            Ok(Done::Here(answer, answer_room))
        }
        Ok(other) => Err(Problem::mismatched(&other)),
        Err(Refusal::NotMaster { leader }) => {
            elsewhere(front, head, kept.unwrap_or_default(), &leader, &query).await
        }
        Err(refusal) => {
            let result = match refusal {
                Refusal::Pending { .. } => KvResult::Pending,
                _ => KvResult::Refused,
            };
            front.metrics.kv.add(operation, result, 1);
            Err(refusal.into())
        }
    }
}

fn bytes_max(front: &Front, route: Route) -> u64 {
    match route {
        Route::KvSet | Route::KvMset => body_bytes_max(front),
        Route::KvRaw => u64::from(front.limits.value_bytes_max),
        _ => SMALL_BODY_BYTES_MAX,
    }
}

/// The concern to ask for. `get` needs the outcome, which `async` and `local` do not wait for.
fn effective(front: &Front, asked: Option<Concern>, get: bool) -> Option<Concern> {
    match asked.unwrap_or(front.write_concern) {
        Concern::Async | Concern::Local if get => Some(Concern::Quorum),
        Concern::Async | Concern::Local | Concern::Quorum | Concern::Replicas(_) => asked,
    }
}

/// The master, if this node is a replica and knows one.
fn master_elsewhere(front: &Front) -> Option<Leader> {
    let view = front.handle.glance();
    match view.role {
        Role::Replica => view.leader.clone(),
        Role::Master | Role::Standalone => None,
    }
}

/// What becomes of a write that belongs to `leader`.
async fn elsewhere(
    front: &Front,
    head: &request::Parts,
    body: Bytes,
    leader: &Leader,
    query: &WriteQuery,
) -> Result<Done, Problem> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    match front.settings.on_replica_write {
        OnReplicaWrite::Redirect => {
            Err(Problem::new(Code::NotMasterSeeOther, "writes go to the master, at `leader`")
                .leader(&leader.http)
                .location(format!("http://{}{path}", leader.http)))
        }
        OnReplicaWrite::Reject => {
            Err(Problem::new(Code::NotMaster, "writes go to the master, at `leader`").leader(&leader.http))
        }
        OnReplicaWrite::Proxy => {
            proxy::forward(front, head, body, leader, query.timeout).await.map(Done::ByMaster)
        }
    }
}

/// What a request asks for.
struct Order {
    command: Command,
    /// The key that the answer names.
    key: Bytes,
    operation: KvOperation,
    /// Whether the answer tells the old value.
    get: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBody<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    ttl: Option<f64>,
    #[serde(default)]
    nx: Option<bool>,
    #[serde(default)]
    xx: Option<bool>,
    #[serde(default)]
    if_version: Option<u64>,
    #[serde(default)]
    get: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MsetBody<'a> {
    #[serde(borrow)]
    pairs: Vec<PairBody<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairBody<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    ttl: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IncrBody {
    #[serde(default)]
    amount: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpireBody {
    ttl: f64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn order(front: &Front, route: Route, rest: &str, body: &Bytes, query: &WriteQuery) -> Result<Order, Problem> {
    // A key that is there is read and removed whatever the limit for new ones is now.
    let bytes_max = match route {
        Route::KvDel | Route::KvExpire | Route::KvPersist => KEY_BYTES_MAX,
        _ => front.limits.key_bytes_max,
    };
    let path_key = || path_key(rest, bytes_max).map(|key| owned(&key));
    let simple = |key: Bytes, operation, command| Order { command, key, operation, get: false };
    match route {
        Route::KvSet => set(front, body),
        Route::KvMset => mset(front, body),
        Route::KvRaw => {
            let key = path_key()?;
            let value = Value { kind: ValueKind::Bytes, bytes: take(body, body) };
            let pair = Pair { key: key.clone(), value, ttl_ms: query.ttl_ms };
            Ok(simple(key, KvOperation::Set, Command::Set { pair, condition: Condition::Always }))
        }
        Route::KvDel => {
            let key = path_key()?;
            Ok(simple(key.clone(), KvOperation::Delete, Command::Delete { key }))
        }
        Route::KvIncr | Route::KvDecr => {
            let key = path_key()?;
            let by = amount(body, route)?;
            Ok(simple(key.clone(), KvOperation::Incr, Command::Incr { key, by }))
        }
        Route::KvExpire => {
            let key = path_key()?;
            let ExpireBody { ttl } = body::parse(body)?;
            // As in Redis: a time to live of zero removes the key.
            let ttl_ms = if ttl == 0.0 { 0 } else { ttl_ms(ttl)? };
            Ok(simple(key.clone(), KvOperation::Expire, Command::Expire { key, ttl_ms }))
        }
        Route::KvPersist => {
            let key = path_key()?;
            let NoBody {} = body::parse_or_empty(body)?;
            Ok(simple(key.clone(), KvOperation::Persist, Command::Persist { key }))
        }
        _ => Err(Problem::new(Code::Internal, "this route writes nothing")),
    }
}

fn set(front: &Front, body: &Bytes) -> Result<Order, Problem> {
    let asked: SetBody<'_> = body::parse(body)?;
    let condition = match (asked.nx.unwrap_or(false), asked.xx.unwrap_or(false), asked.if_version) {
        (false, false, None) => Condition::Always,
        (true, false, None) => Condition::Absent,
        (false, true, None) => Condition::Present,
        (false, false, Some(version)) => Condition::Version(Version(version)),
        _ => return Err(Problem::bad("`nx`, `xx` and `if_version` exclude each other")),
    };
    let pair = pair(front, asked.key, asked.value, asked.ttl, body)?;
    Ok(Order {
        key: pair.key.clone(),
        command: Command::Set { pair, condition },
        operation: KvOperation::Set,
        get: asked.get.unwrap_or(false),
    })
}

fn mset(front: &Front, body: &Bytes) -> Result<Order, Problem> {
    let asked: MsetBody<'_> = body::parse(body)?;
    if asked.pairs.is_empty() {
        return Err(Problem::bad("`pairs` is empty"));
    }
    if asked.pairs.len() > MSET_PAIRS_MAX {
        return Err(Problem::too_large("list of pairs", asked.pairs.len() as u64, MSET_PAIRS_MAX as u64));
    }
    let pairs = asked.pairs.into_iter().map(|asked| pair(front, asked.key, asked.value, asked.ttl, body));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let command = Command::Batch { pairs };
    Ok(Order { command, key: Bytes::new(), operation: KvOperation::Set, get: false })
}

fn pair(
    front: &Front,
    key: Cow<'_, str>,
    value: &RawValue,
    ttl: Option<f64>,
    body: &Bytes,
) -> Result<Pair, Problem> {
    check_key(key.as_bytes(), front.limits.key_bytes_max)?;
    let value = value_in(value, body)?;
    if value.bytes.len() as u64 > u64::from(front.limits.value_bytes_max) {
        let bytes_max = u64::from(front.limits.value_bytes_max);
        return Err(Problem::too_large("value", value.bytes.len() as u64, bytes_max));
    }
    Ok(Pair { key: key_in(key), value, ttl_ms: ttl.map(ttl_ms).transpose()? })
}

fn amount(body: &Bytes, route: Route) -> Result<i64, Problem> {
    let IncrBody { amount } = body::parse_or_empty(body)?;
    let amount = amount.unwrap_or(1);
    match route {
        Route::KvDecr => amount.checked_neg().ok_or_else(|| Problem::bad("`amount` is out of range")),
        _ => Ok(amount),
    }
}

fn answer(
    front: &Front,
    operation: KvOperation,
    key: &[u8],
    get: bool,
    written: &Written,
) -> Result<Answer, Problem> {
    let mut out = Vec::with_capacity(128 + key.len());
    let mut version_of_key = None;
    let (outcome, old_dropped) = match &written.outcome {
        Outcome::Replayed { first: _, outcome, old_dropped } => (&**outcome, *old_dropped),
        outcome => (outcome, false),
    };
    let (result, count) = match outcome {
        Outcome::Set { written: done, version, old } => {
            out.extend_from_slice(b"{\"success\":true,\"key\":");
            push_key(&mut out, key);
            push_bool(&mut out, ",\"written\":", *done);
            out.extend_from_slice(b",\"version\":");
            push_u64(&mut out, version.0);
            if old_dropped {
                out.extend_from_slice(b",\"old_value_dropped\":true");
            } else if get {
                out.extend_from_slice(b",\"old_value\":");
                match old {
                    Some(item) => push_value(&mut out, item),
                    None => out.extend_from_slice(b"null"),
                }
            }
            version_of_key = Some(*version).filter(|version| *version != Version::ABSENT);
            (if *done { KvResult::Done } else { KvResult::Unchanged }, 1)
        }
        Outcome::VersionMismatch { actual } => {
            front.metrics.kv.add(operation, KvResult::Unchanged, 1);
            let detail = format!("the key's version is {}", actual.0);
            return Err(Problem::new(Code::VersionMismatch, detail)
                .with("version", actual.0)
                .stamped(stamp(front, written)));
        }
        Outcome::Deleted { existed } => {
            push_bool(&mut out, "{\"deleted\":", *existed);
            out.extend_from_slice(b",\"key\":");
            push_key(&mut out, key);
            (if *existed { KvResult::Done } else { KvResult::Unchanged }, 1)
        }
        Outcome::Number(sum) => {
            push_fmt(&mut out, format_args!("{{\"value\":{sum}"));
            (KvResult::Done, 1)
        }
        Outcome::NotAnInteger => {
            front.metrics.kv.add(operation, KvResult::Unchanged, 1);
            let detail = "the value is no integer, or the sum would leave the range of 64 bits";
            return Err(Problem::new(Code::NotAnInteger, detail).stamped(stamp(front, written)));
        }
        Outcome::Touched(changed) => {
            push_bool(&mut out, "{\"result\":", *changed);
            (if *changed { KvResult::Done } else { KvResult::Unchanged }, 1)
        }
        Outcome::Batch { written } => {
            push_fmt(&mut out, format_args!("{{\"success\":true,\"written\":{written}"));
            (KvResult::Done, *written)
        }
        Outcome::KeyReused { first } => {
            front.metrics.kv.add(operation, KvResult::Refused, 1);
            let detail = "another request was made under this Idempotency-Key; nothing was done this time";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail).with("index", first.0));
        }
        Outcome::Replayed { .. } => {
            return Err(Problem::new(Code::Internal, "a retry of a retry has no answer of its own"));
        }
        Outcome::Internal => return Err(Problem::new(Code::Internal, "the log's own commands have no answer")),
    };
    let result = if is_replayed(written) { KvResult::Replayed } else { result };
    front.metrics.kv.add(operation, result, count);
    push_promise(&mut out, written);
    let mut answer = Answer::json(out).stamped(stamp(front, written));
    answer.version = version_of_key;
    Ok(answer)
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
    out.push(b'}');
}

fn push_bool(out: &mut Vec<u8>, name: &str, yes: bool) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(if yes { b"true" } else { b"false" });
}

fn stamp(front: &Front, written: &Written) -> Stamp {
    let role = front.handle.glance().role;
    Stamp { position: written.position, role, staleness: None, replayed: is_replayed(written) }
}

fn is_replayed(written: &Written) -> bool {
    matches!(written.outcome, Outcome::Replayed { .. })
}
