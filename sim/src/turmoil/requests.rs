//! What a client asks, as HTTP; and what an answer means to it.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use synap_core::command::{Command, Condition, Pair, ValueKind};
use synap_core::config::Concern;

use super::http::{Answered, Call};
use crate::model::Look;

/// What an answer means to who asked for a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was ordered and the answer tells what it did, which may be nothing.
    Done,
    /// It was not done and never will be.
    Refused(String),
    /// It was done or not: nobody knows yet.
    Unknown,
    /// It belongs to another node.
    Elsewhere(String),
}

/// A write, as HTTP; `get`: it asks for the old value.
pub(super) fn write(command: &Command, concern: Concern, timeout_ms: u64, get: bool) -> Call {
    let query = format!("?concern={}&timeout_ms={timeout_ms}", word_of(concern));
    match command {
        Command::Set { pair, condition } => Call::post(format!("/kv/set{query}"), set(pair, *condition, get)),
        Command::Batch { pairs } => {
            let pairs: Vec<Value> = pairs.iter().map(pair_json).collect();
            Call::post(format!("/kv/mset{query}"), json!({ "pairs": pairs }).to_string())
        }
        Command::Delete { key } => {
            let path = format!("/kv/del/{}{query}", text(key));
            Call { method: Method::DELETE, ..Call::post(path, Bytes::new()) }
        }
        Command::Incr { key, by } => {
            Call::post(format!("/kv/incr/{}{query}", text(key)), json!({ "amount": by }).to_string())
        }
        Command::Expire { key, ttl_ms } => {
            Call::post(format!("/kv/expire/{}{query}", text(key)), json!({ "ttl": secs(*ttl_ms) }).to_string())
        }
        Command::Persist { key } => Call::post(format!("/kv/persist/{}{query}", text(key)), Bytes::new()),
        Command::If { condition, command } => {
            Call { condition: header(*condition), ..write(command, concern, timeout_ms, get) }
        }
        Command::Once { ticket, command } => {
            Call { key: Some(ticket.key.clone()), ..write(command, concern, timeout_ms, get) }
        }
        Command::EpochStart { .. } | Command::Config(_) | Command::Sweep { .. } => {
            unreachable!("no client asks for {command:?}")
        }
    }
}

/// What is read, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) key: &'a Bytes,
    /// The value's bytes alone, instead of JSON.
    pub(super) raw: bool,
    pub(super) age_ms: Option<u64>,
    /// As the client was told it.
    pub(super) from: Option<&'a str>,
    pub(super) linearizable: bool,
}

/// A read, as HTTP.
pub(super) fn read(read: &Read<'_>, timeout_ms: u64) -> Call {
    let route = if read.raw { "raw" } else { "get" };
    let age = read.age_ms.map(|ms| format!("&max_staleness_ms={ms}")).unwrap_or_default();
    let from = read.from.map(|from| format!("&min_position={from}")).unwrap_or_default();
    let consistency = if read.linearizable { "&consistency=linearizable" } else { "" };
    Call::get(format!("/kv/{route}/{}?timeout_ms={timeout_ms}{age}{from}{consistency}", text(read.key)))
}

/// Another look at the state, as HTTP.
pub(super) fn look(look: &Look, timeout_ms: u64) -> Call {
    let of = |route: &str, key: &Bytes| Call::get(format!("/kv/{route}/{}?timeout_ms={timeout_ms}", text(key)));
    match look {
        Look::Get(key) => of("get", key),
        Look::Raw(key) => of("raw", key),
        Look::Exists(key) => of("exists", key),
        Look::Ttl(key) => of("ttl", key),
        Look::Stats => Call::get(format!("/kv/stats?timeout_ms={timeout_ms}")),
        Look::Mget(keys) => {
            let keys: Vec<String> = keys.iter().map(text).collect();
            Call::post(format!("/kv/mget?timeout_ms={timeout_ms}"), json!({ "keys": keys }).to_string())
        }
        Look::Scan { prefix, after, limit } => {
            let after = after.as_ref().map(|after| format!("&after={}", text(after))).unwrap_or_default();
            Call::get(format!("/kv/scan?timeout_ms={timeout_ms}&prefix={}&limit={limit}{after}", text(prefix)))
        }
    }
}

/// What the answer to a write means.
pub(super) fn meaning(answered: &Answered) -> Meaning {
    match answered.status {
        200 => Meaning::Done,
        307 => answered.location().map_or(Meaning::Unknown, |host| Meaning::Elsewhere(host.to_owned())),
        _ => {
            let problem = answered.json();
            let code = problem["code"].as_str().unwrap_or_default();
            match code {
                "version_mismatch" | "precondition_failed" | "not_an_integer" => Meaning::Done,
                // Something was done under this key, if not this.
                "idempotency_key_reused" => Meaning::Unknown,
                _ if problem["outcome"] == "pending" => Meaning::Unknown,
                _ => Meaning::Refused(format!("{} {code}", answered.status)),
            }
        }
    }
}

/// The bytes of a value that was read; `raw` as it was asked for.
pub(super) fn value(answered: &Answered, raw: bool) -> Bytes {
    if raw {
        return answered.body.clone();
    }
    match answered.json() {
        Value::String(text) => text.into_bytes().into(),
        _ => answered.body.clone(),
    }
}

/// A concern as queries and answers spell it.
pub(super) fn word_of(concern: Concern) -> String {
    match concern {
        Concern::Async => "async".to_owned(),
        Concern::Local => "local".to_owned(),
        Concern::Quorum => "quorum".to_owned(),
        Concern::Replicas(replicas) => replicas.to_string(),
    }
}

/// A condition as a header, with its name.
fn header(condition: Condition) -> Option<(&'static str, String)> {
    match condition {
        Condition::Always => None,
        Condition::Absent => Some(("if-none-match", "*".to_owned())),
        Condition::Present => Some(("if-match", "*".to_owned())),
        Condition::Version(version) => Some(("if-match", format!("\"{}\"", version.0))),
    }
}

fn set(pair: &Pair, condition: Condition, get: bool) -> String {
    let mut body = pair_json(pair);
    if get {
        body["get"] = Value::Bool(true);
    }
    match condition {
        Condition::Always => {}
        Condition::Absent => body["nx"] = Value::Bool(true),
        Condition::Present => body["xx"] = Value::Bool(true),
        Condition::Version(version) => body["if_version"] = version.0.into(),
    }
    body.to_string()
}

fn pair_json(pair: &Pair) -> Value {
    let value = match pair.value.kind {
        ValueKind::Bytes => Value::String(text(&pair.value.bytes)),
        ValueKind::Json => serde_json::from_slice(&pair.value.bytes).unwrap_or_default(),
    };
    let mut body = json!({ "key": text(&pair.key), "value": value });
    if let Some(ttl_ms) = pair.ttl_ms {
        body["ttl"] = json!(secs(ttl_ms));
    }
    body
}

fn secs(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Keys and values of a simulation are plain words.
fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
