//! One line of a rollback file, as the core writes it.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::blob;

/// An operation that a failover discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Discarded {
    /// Where it stood, epoch's number and index.
    pub(super) epoch: u64,
    /// See `epoch`.
    pub(super) index: u64,
    /// The master's wall clock.
    at_ms: u64,
    /// What it did.
    pub(super) operation: Operation,
    /// The key's version before it, 0 = absent; none if that was never known.
    pub(super) previous_version: Option<u64>,
    /// The version of what it wrote. The outer one is none in files of earlier builds, whose versions are indices; the inner one where
    /// it wrote nothing, or that is not known.
    pub(super) version: Option<Option<u64>>,
    /// A key whose version is at most this has not changed since the lines parted; none if that is not known.
    pub(super) shared_version: Option<u64>,
    /// Whether the client was told that it is done.
    pub(super) answered: Answered,
    /// The index of the operation that it repeats under the same `Idempotency-Key`: this one did nothing.
    pub(super) retry_of: Option<u64>,
    /// Whether it was sent under an `Idempotency-Key`, so that its client may send it again.
    pub(super) keyed: bool,
}

/// What a discarded operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A client's, on one key.
    Client {
        /// The key.
        key: Vec<u8>,
        /// What to do with it.
        change: Change,
        /// When it was to take effect.
        condition: Condition,
    },
    /// One of the log's own (an epoch's start, a membership, a sweep): nothing to replay.
    Internal(String),
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new value.
    Set {
        /// The value.
        value: Stored,
        /// Milliseconds from `at_ms` on.
        ttl_ms: Option<u64>,
    },
    /// Removal.
    Delete,
    /// Addition.
    Incr(i64),
    /// Milliseconds to live, from `at_ms` on.
    Expire(u64),
    /// No expiry any more.
    Persist,
}

/// A value in the form that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// As JSON, its very text; a string stands for its bytes.
    Json(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
}

/// When an operation was to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    Absent,
    Present,
    Version(u64),
}

/// Whether the client was told that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answered {
    Yes,
    No,
    Unknown,
}

impl Discarded {
    /// Reads one line; says what is wrong with one that the core did not write.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let raw: Raw<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let operation = raw.operation()?;
        let keyed = raw.idempotency_key.is_some();
        let Raw { epoch, index, at_ms, previous_version, version, shared_version, answered, retry_of, .. } = raw;
        Ok(Self {
            epoch,
            index,
            at_ms,
            operation,
            previous_version,
            version,
            shared_version,
            answered,
            retry_of,
            keyed,
        })
    }

    /// What is left of a time to live at `now_ms`, in milliseconds and at least one: what has expired since must
    /// still expire.
    pub(super) fn ms_left(&self, ttl_ms: u64, now_ms: u64) -> u64 {
        self.at_ms.saturating_add(ttl_ms).saturating_sub(now_ms).max(1)
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    epoch: u64,
    index: u64,
    at_ms: u64,
    operation: String,
    #[serde(default)]
    key: Value,
    /// Never as a number of ours, which would round it. None is null.
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    /// The value is JSON, though it looks like bytes.
    #[serde(default)]
    json: bool,
    ttl_ms: Option<u64>,
    amount: Option<i64>,
    #[serde(default)]
    nx: bool,
    #[serde(default)]
    xx: bool,
    if_version: Option<u64>,
    previous_version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    version: Option<Option<u64>>,
    shared_version: Option<u64>,
    answered: Answered,
    retry_of: Option<u64>,
    idempotency_key: Option<&'a RawValue>,
}

/// What is there, be it null.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl Raw<'_> {
    fn operation(&self) -> Result<Operation, String> {
        let change = match self.operation.as_str() {
            "set" => {
                let value = self.value.map_or("null", RawValue::get);
                let value = if self.json { Stored::Json(value.to_owned()) } else { stored(value) };
                Change::Set { value, ttl_ms: self.ttl_ms }
            }
            "delete" => Change::Delete,
            "incr" => Change::Incr(self.amount.ok_or("an incr without amount")?),
            "expire" => Change::Expire(self.ttl_ms.ok_or("an expire without ttl_ms")?),
            "persist" => Change::Persist,
            other => return Ok(Operation::Internal(other.to_owned())),
        };
        let key = blob::from_json(&self.key).ok_or("a key that is neither text nor base64")?;
        Ok(Operation::Client { key, change, condition: self.condition() })
    }

    fn condition(&self) -> Condition {
        match (self.nx, self.xx, self.if_version) {
            (_, _, Some(version)) => Condition::Version(version),
            (true, _, None) => Condition::Absent,
            (false, true, None) => Condition::Present,
            (false, false, None) => Condition::Always,
        }
    }
}

/// `{"base64":..}` stands for bytes that are not text; anything else of that form is somebody's JSON.
fn stored(text: &str) -> Stored {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    match blob::from_json(&value) {
        Some(bytes) if value.is_object() && std::str::from_utf8(&bytes).is_err() => Stored::Bytes(bytes),
        Some(_) | None => Stored::Json(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = r#"{"epoch":1,"leader":"00","index":7,"at_ms":1000,"operation":"set","key":"a","value":{"x":1},"ttl_ms":500,"nx":true,"previous_version":0,"version":9,"concern":"quorum","answered":"yes"}"#;

    #[test]
    fn a_set_is_read_whole() {
        let line = Discarded::parse(SET).expect("good");
        assert_eq!((line.epoch, line.index, line.previous_version), (1, 7, Some(0)));
        assert_eq!((line.version, line.shared_version), (Some(Some(9)), None));
        let unknown = SET.replace("\"previous_version\":0,\"version\":9", "\"shared_version\":5,\"version\":null");
        let line = Discarded::parse(&unknown).expect("good");
        assert_eq!((line.version, line.shared_version, line.previous_version), (Some(None), Some(5), None));
        assert_eq!(line.answered, Answered::Yes);
        let Operation::Client { key, change, condition } = line.operation else { panic!("a client's") };
        assert_eq!((key.as_slice(), condition), (&b"a"[..], Condition::Absent));
        let value = Stored::Json(r#"{"x":1}"#.to_owned());
        assert_eq!(change, Change::Set { value, ttl_ms: Some(500) });
    }

    #[test]
    fn the_others_are_read() {
        let of = |fields: &str| {
            let line = format!(
                r#"{{"epoch":1,"index":7,"at_ms":0,{fields},"previous_version":null,"concern":2,"answered":"unknown"}}"#
            );
            Discarded::parse(&line).map(|line| line.operation)
        };
        let client =
            |key: &[u8], change| Ok(Operation::Client { key: key.to_vec(), change, condition: Condition::Always });
        assert_eq!(of(r#""operation":"delete","key":"a""#), client(b"a", Change::Delete));
        assert_eq!(of(r#""operation":"incr","key":"a","amount":-3"#), client(b"a", Change::Incr(-3)));
        assert_eq!(of(r#""operation":"expire","key":"a","ttl_ms":9"#), client(b"a", Change::Expire(9)));
        assert_eq!(of(r#""operation":"persist","key":{"base64":"/w=="}"#), client(b"\xff", Change::Persist));
        assert_eq!(of(r#""operation":"sweep","keys":3"#), Ok(Operation::Internal("sweep".into())));
        assert!(of(r#""operation":"incr","key":"a""#).is_err());
        assert!(of(r#""operation":"delete""#).is_err());
    }

    #[test]
    fn bytes_are_told_from_json_that_looks_like_them() {
        assert_eq!(stored(r#"{"base64":"/w=="}"#), Stored::Bytes(vec![0xff]));
        for json in [r#"{"base64":"YWJj"}"#, r#""abc""#] {
            assert_eq!(stored(json), Stored::Json(json.to_owned()));
        }
    }

    #[test]
    fn json_that_is_told_to_be_json_is_no_bytes() {
        let text = r#"{"\u0062ase64":"/w=="}"#;
        let line = SET.replace(r#"{"x":1}"#, text);
        let value = |line: &str| match Discarded::parse(line).expect("good").operation {
            Operation::Client { change: Change::Set { value, .. }, .. } => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(value(&line), Stored::Bytes(vec![0xff]));
        let told = line.replace(r#","ttl_ms""#, r#","json":true,"ttl_ms""#);
        assert_eq!(value(&told), Stored::Json(text.to_owned()));
    }

    #[test]
    fn a_value_keeps_its_very_text() {
        for text in [r#"{"z":123456789012345678901234567890,"a":1.10}"#, "1e400", "-0.0", "null", "true"] {
            let line = Discarded::parse(&SET.replace(r#"{"x":1}"#, text)).expect("good");
            let Operation::Client { change: Change::Set { value, .. }, .. } = line.operation else {
                panic!("a client's")
            };
            assert_eq!(value, Stored::Json(text.to_owned()));
        }
    }

    #[test]
    fn others_have_conditions_too() {
        let line = SET.replace(r#""set""#, r#""delete""#).replace(r#""nx":true"#, r#""if_version":3"#);
        let Operation::Client { change, condition, .. } = Discarded::parse(&line).expect("good").operation else {
            panic!("a client's")
        };
        assert_eq!((change, condition), (Change::Delete, Condition::Version(3)));
    }

    #[test]
    fn what_has_expired_since_still_expires() {
        let line = Discarded::parse(SET).expect("good");
        assert_eq!(line.ms_left(500, 1400), 100);
        assert_eq!(line.ms_left(500, 9000), 1);
        assert_eq!(line.ms_left(5000, 1000), 5000);
    }
}
