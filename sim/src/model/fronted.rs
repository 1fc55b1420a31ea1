//! What a front is to answer where the model holds a state: status, body and `ETag`, from `docs/api.md` and the API alone.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use synap_core::command::Command;

use super::line::Line;
use super::{Cell, Told, is_long};

/// What was asked of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// `GET /kv/get/{key}`.
    Get(Bytes),
    /// `GET /kv/raw/{key}`.
    Raw(Bytes),
    /// `GET /kv/exists/{key}`.
    Exists(Bytes),
    /// `GET /kv/ttl/{key}`.
    Ttl(Bytes),
    /// `GET /kv/scan`.
    Scan {
        /// What keys begin with.
        prefix: Bytes,
        /// What they come after.
        after: Option<Bytes>,
        /// The most that are wanted.
        limit: usize,
    },
    /// `POST /kv/mget`.
    Mget(Vec<Bytes>),
    /// `GET /kv/stats`.
    Stats,
}

/// What was asked of a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Of the state.
    Look(Look),
    /// A write.
    Write {
        /// What.
        command: Command,
        /// Whether the old value was asked for.
        get: bool,
        /// Whether it may have been answered before it was done.
        early: bool,
    },
}

/// What a front answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fronted {
    /// To what.
    pub question: Question,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// `ETag`.
    pub version: Option<u64>,
    /// Whether it says that it repeats an earlier answer.
    pub replayed: bool,
}

/// What an answer must be.
struct Due {
    status: u16,
    /// As it is, or as JSON.
    body: Body,
    version: Option<u64>,
}

enum Body {
    Plain(Bytes),
    /// All of an object's fields but those of the promise.
    Object(Value),
    /// These fields, whatever else there is.
    Fields(Value),
    /// `ttl` within these bounds.
    Ttl(u64, u64),
}

impl Fronted {
    /// Compares it with what the line holds at `index`.
    ///
    /// Log time goes on where no entry comes: the answer may be that of any instant within `times`, in milliseconds of log time,
    /// when more has come to its end.
    pub fn check(&self, line: &Line, index: u64, times: (u64, u64)) -> Result<(), String> {
        let Some(log_time) = line.mark(index).map(|mark| mark.log_time) else { return Ok(()) };
        let (least, most) = (times.0.max(log_time), times.1.max(log_time));
        let strict = self.check_at(line, index, (least, most));
        let ends = line.cells(index, least).filter_map(|(_, cell)| cell.expires_at).filter(|end| *end <= most);
        let ends: BTreeSet<u64> = ends.collect();
        match strict {
            Err(_) if ends.into_iter().any(|end| self.check_at(line, index, (end, most)).is_ok()) => Ok(()),
            strict => strict,
        }
    }

    fn check_at(&self, line: &Line, index: u64, times: (u64, u64)) -> Result<(), String> {
        let Some(due) = self.due(line, index, times) else { return Ok(()) };
        let told = String::from_utf8_lossy(&self.body);
        let asked = &self.question;
        if self.status != due.status {
            return Err(format!("{asked:?} is answered {} {told}; due is {}", self.status, due.status));
        }
        if self.version != due.version {
            return Err(format!("{asked:?} has the tag {:?}; the model has {:?}", self.version, due.version));
        }
        if due.body.is(&self.body) {
            Ok(())
        } else {
            Err(format!("{asked:?} is answered {told}; due is {}", due.body.words()))
        }
    }

    fn due(&self, line: &Line, index: u64, (log_time, most): (u64, u64)) -> Option<Due> {
        let held = |key: &Bytes| line.get_at(index, log_time, key);
        let plain = |body: Value| Due { status: 200, body: Body::Object(body), version: None };
        Some(match &self.question {
            Question::Look(Look::Get(key)) => value(held(key), |cell| Body::Plain(Bytes::from(json_text(cell)))),
            Question::Look(Look::Raw(key)) => value(held(key), |cell| Body::Plain(cell.bytes.clone())),
            Question::Look(Look::Exists(key)) => plain(json!({ "exists": held(key).is_some() })),
            Question::Look(Look::Ttl(key)) => self.ttl(held(key), log_time, most),
            Question::Look(Look::Scan { prefix, after, limit }) => {
                let (keys, more) = line.scan((index, log_time), prefix, after.as_deref(), *limit);
                let keys: Vec<String> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
                plain(json!({ "keys": keys, "next": keys.last().filter(|_| more) }))
            }
            Question::Look(Look::Mget(keys)) => {
                let values: Vec<Value> =
                    keys.iter().map(|key| held(key).map_or(Value::Null, json_value)).collect();
                plain(json!({ "values": values }))
            }
            Question::Look(Look::Stats) => {
                let body = Body::Fields(json!({ "total_keys": line.mark(index)?.keys }));
                Due { status: 200, body, version: None }
            }
            Question::Write { command, get, early } => {
                return self.written(command, *get, *early, &line.mark(index)?.told);
            }
        })
    }

    /// Between two entries log time goes on, and less is left.
    fn ttl(&self, cell: Option<&Cell>, log_time: u64, most: u64) -> Due {
        let body = match cell.map(|cell| cell.expires_at) {
            None => Body::Object(json!({ "ttl": -2 })),
            Some(None) => Body::Object(json!({ "ttl": -1 })),
            Some(Some(at)) => {
                let left = |time: u64| at.saturating_sub(time).div_ceil(1000);
                Body::Ttl(left(most), left(log_time))
            }
        };
        Due { status: 200, body, version: None }
    }

    fn written(&self, command: &Command, get: bool, early: bool, told: &Told) -> Option<Due> {
        let object = |body: Value| Some(Due { status: 200, body: Body::Object(body), version: None });
        let problem = |status, body: Value| Some(Due { status, body: Body::Fields(body), version: None });
        match told {
            Told::Set { written, version, old } => {
                let Command::Set { pair, .. } = command.plain() else { return None };
                let key = String::from_utf8_lossy(&pair.key);
                let mut body = json!({ "success": true, "key": key, "written": written, "version": version });
                // Answered at once, a set has no old value to tell.
                if get && !early {
                    let kept = !self.replayed || old.as_ref().is_none_or(|old| !is_long(&pair.key, old));
                    let (name, told) = match kept {
                        true => ("old_value", old.as_ref().map_or(Value::Null, json_value)),
                        false => ("old_value_dropped", Value::Bool(true)),
                    };
                    body[name] = told;
                }
                let version = Some(*version).filter(|version| *version > 0);
                Some(Due { status: 200, body: Body::Object(body), version })
            }
            Told::Deleted(existed) => {
                let Command::Delete { key } = command.plain() else { return None };
                object(json!({ "deleted": existed, "key": String::from_utf8_lossy(key) }))
            }
            Told::Number(sum) => object(json!({ "value": sum })),
            Told::Touched(changed) => object(json!({ "result": changed })),
            Told::Batch(written) => object(json!({ "success": true, "written": written })),
            Told::VersionMismatch(actual) => {
                // Conditions on what is no set go as headers.
                let (status, code) = match command.untied() {
                    Command::If { .. } => (412, "precondition_failed"),
                    _ => (409, "version_mismatch"),
                };
                problem(status, json!({ "code": code, "version": actual }))
            }
            Told::NotAnInteger => problem(409, json!({ "code": "not_an_integer" })),
            Told::Reused { first } => problem(422, json!({ "code": "idempotency_key_reused", "index": first })),
            // The retry's own entry: its answer is due at the first one's.
            Told::Again { .. } | Told::Internal => None,
        }
    }
}

impl Body {
    fn is(&self, told: &Bytes) -> bool {
        let json = || serde_json::from_slice::<Value>(told).unwrap_or_default();
        match self {
            Self::Plain(due) => due == told,
            Self::Object(due) => {
                let mut told = json();
                if let Some(fields) = told.as_object_mut() {
                    // The promise is the node's, and compared with its word elsewhere.
                    ["position", "concern", "durable_on"].iter().for_each(|name| drop(fields.remove(*name)));
                }
                told == *due
            }
            Self::Fields(due) => {
                let told = json();
                due.as_object().into_iter().flatten().all(|(name, value)| told[name] == *value)
            }
            Self::Ttl(low, high) => json()["ttl"].as_u64().is_some_and(|ttl| (*low..=*high).contains(&ttl)),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Plain(due) => String::from_utf8_lossy(due).into_owned(),
            Self::Object(due) | Self::Fields(due) => due.to_string(),
            Self::Ttl(low, high) => format!("a ttl from {low} to {high}"),
        }
    }
}

fn value(cell: Option<&Cell>, body: impl Fn(&Cell) -> Body) -> Due {
    match cell {
        Some(cell) => Due { status: 200, body: body(cell), version: Some(cell.version) },
        None => Due { status: 404, body: Body::Fields(json!({ "code": "key_not_found" })), version: None },
    }
}

/// Values of a simulation are text.
fn json_text(cell: &Cell) -> String {
    let text = String::from_utf8_lossy(&cell.bytes);
    if cell.json { text.into_owned() } else { Value::String(text.into_owned()).to_string() }
}

fn json_value(cell: &Cell) -> Value {
    serde_json::from_str(&json_text(cell)).unwrap_or_default()
}
