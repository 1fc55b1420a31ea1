//! What a write's body says, as the [`Command`] that the log carries out. Owns the JSON of writes; nothing here asks the node.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use synap_core::command::{Command, Condition, Pair, Value, ValueKind};
use synap_core::version::Version;

use super::json::{key_in, take, ttl_ms, value_in};
use super::operator::NoBody;
use super::problem::{Code, Problem};
use super::query::{KEY_BYTES_MAX, WriteQuery, check_key, owned, path_key};
use super::route::Route;
use super::{HttpServer, body};
use crate::metrics::KvOperation;

/// Most pairs of an `mset`.
const MSET_PAIRS_MAX: usize = 10_000;

/// What a request asks for.
pub(crate) struct Order {
    pub(crate) command: Command,
    /// The key that the answer names.
    pub(crate) key: Bytes,
    pub(crate) operation: KvOperation,
    /// Whether the answer tells the old value.
    pub(crate) get: bool,
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

/// The order that a write's path, query and body give.
pub(crate) fn order(
    front: &HttpServer,
    route: Route,
    rest: &str,
    body: &Bytes,
    query: &WriteQuery,
) -> Result<Order, Problem> {
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
            let NoBody {} = body::parse_or_empty(body)?;
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

fn set(front: &HttpServer, body: &Bytes) -> Result<Order, Problem> {
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

fn mset(front: &HttpServer, body: &Bytes) -> Result<Order, Problem> {
    let asked: MsetBody<'_> = body::parse(body)?;
    if asked.pairs.is_empty() {
        return Err(Problem::bad("`pairs` is empty"));
    }
    if asked.pairs.len() > MSET_PAIRS_MAX {
        return Err(Problem::too_many("pairs", asked.pairs.len(), MSET_PAIRS_MAX));
    }
    let pairs = asked.pairs.into_iter().map(|asked| pair(front, asked.key, asked.value, asked.ttl, body));
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let command = Command::Batch { pairs };
    Ok(Order { command, key: Bytes::new(), operation: KvOperation::Set, get: false })
}

fn pair(
    front: &HttpServer,
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
