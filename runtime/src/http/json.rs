//! Values and keys, in and out of JSON. A JSON string is stored as its raw bytes, any other JSON as its compact
//! text with numbers kept to the letter, and each goes out as it came in.
//!
//! Where bytes that are not UTF-8 must stand inside a JSON answer, an object takes their place: a value is
//! `{"base64":"..."}`, a key `{"percent":"..."}`, encoded as it stands in a path or a query.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use synap_core::command::{Value, ValueKind};
use synap_core::store::Item;

use super::problem::Problem;
use super::query::path_encode;

/// Values of at least this length share the request's buffer; shorter ones are copied, so that a small value
/// never keeps a large buffer alive.
const SHARED_BYTES_MIN: usize = 64 * 1024;

/// Longest time to live, in seconds; about three thousand years.
const TTL_SECS_MAX: f64 = 1e11;

/// The value that JSON text stands for. `body` is the buffer that the text lies in.
pub(crate) fn value_in(raw: &RawValue, body: &Bytes) -> Result<Value, Problem> {
    let text = raw.get();
    if !text.starts_with('"') {
        return Ok(Value { kind: ValueKind::Json, bytes: compact(text, body) });
    }
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let bytes = if inner.contains('\\') {
        let decoded: String = serde_json::from_str(text).map_err(|error| Problem::bad(error.to_string()))?;
        Bytes::from(decoded)
    } else {
        take(inner.as_bytes(), body)
    };
    Ok(Value { kind: ValueKind::Bytes, bytes })
}

/// A time to live in whole milliseconds, at least one.
pub(crate) fn ttl_ms(secs: f64) -> Result<u64, Problem> {
    if secs > 0.0 && secs <= TTL_SECS_MAX {
        // Between 1 and 1e14: exact in both types.
        Ok((secs * 1000.0).ceil() as u64)
    } else {
        Err(Problem::bad("`ttl` expects a positive number of seconds, at most 1e11"))
    }
}

/// Appends an item's value as JSON.
pub(crate) fn push_value(out: &mut Vec<u8>, item: &Item) {
    match (item.kind(), std::str::from_utf8(item.value())) {
        (ValueKind::Json, _) => out.extend_from_slice(item.value()),
        (ValueKind::Bytes, Ok(text)) => push_str(out, text),
        (ValueKind::Bytes, Err(_)) => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(item.value()).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Appends a key as JSON.
pub(crate) fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(text) => push_str(out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"percent\":\"");
            out.extend_from_slice(path_encode(key).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Appends a JSON string.
pub(crate) fn push_str(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // A vector takes whatever is written.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Appends a whole number.
pub(crate) fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a formatted text.
pub(crate) fn push_fmt(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// The text of valid JSON without the white space between its tokens.
fn compact(text: &str, body: &Bytes) -> Bytes {
    let Some(first) = text.bytes().position(is_space) else {
        return take(text.as_bytes(), body);
    };
    let (head, tail) = text.as_bytes().split_at(first);
    let mut out = Vec::with_capacity(text.len());
    // The first space may stand inside a string, so the state is that of the head's end.
    let mut state = head.iter().fold(Inside::Token, |state, &byte| state.after(byte));
    out.extend_from_slice(head);
    for &byte in tail {
        if state != Inside::Token || !is_space(byte) {
            out.push(byte);
        }
        state = state.after(byte);
    }
    Bytes::from(out)
}

/// Where in JSON text a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Token,
    String,
    Escape,
}

impl Inside {
    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Token, b'"') | (Self::Escape, _) => Self::String,
            (Self::String, b'\\') => Self::Escape,
            (Self::String, b'"') | (Self::Token, _) => Self::Token,
            (Self::String, _) => Self::String,
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A part of `body`, on its own unless it is long.
pub(crate) fn take(part: &[u8], body: &Bytes) -> Bytes {
    if part.len() >= SHARED_BYTES_MIN { body.slice_ref(part) } else { Bytes::copy_from_slice(part) }
}

/// A key that JSON text gives, on its own.
pub(crate) fn key_in(key: Cow<'_, str>) -> Bytes {
    match key {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> (ValueKind, String) {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let raw: &RawValue = serde_json::from_slice(&body).unwrap();
        let value = value_in(raw, &body).unwrap();
        (value.kind, String::from_utf8(value.bytes.to_vec()).unwrap())
    }

    #[test]
    fn strings_are_kept_as_their_bytes_and_the_rest_as_compact_text() {
        assert_eq!(stored(r#""John Doe""#), (ValueKind::Bytes, "John Doe".to_owned()));
        assert_eq!(stored(r#""a\n\u00e4\"""#), (ValueKind::Bytes, "a\nä\"".to_owned()));
        assert_eq!(stored(r#""""#), (ValueKind::Bytes, String::new()));
        assert_eq!(stored("1.50e+3"), (ValueKind::Json, "1.50e+3".to_owned()));
        assert_eq!(stored("123456789012345678901234567890").1, "123456789012345678901234567890");
        assert_eq!(stored("null"), (ValueKind::Json, "null".to_owned()));
        assert_eq!(
            stored("{ \"a b\" : [ 1 ,\n 2 ] , \"c\\\" d\": \"\\\\ \" }").1,
            r#"{"a b":[1,2],"c\" d":"\\ "}"#
        );
    }

    #[test]
    fn long_values_share_the_buffer() {
        let text = format!("\"{}\"", "x".repeat(SHARED_BYTES_MIN));
        let body = Bytes::from(text);
        let raw: &RawValue = serde_json::from_slice(&body).unwrap();
        let value = value_in(raw, &body).unwrap();
        assert_eq!(value.bytes.as_ptr(), body[1..].as_ptr());
    }

    #[test]
    fn keys_that_are_not_text_are_percent_encoded() {
        let mut out = Vec::new();
        push_key(&mut out, b"a\xffb");
        push_key(&mut out, "ä\"".as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"percent":"a%FFb"}"ä\"""#);
    }

    #[test]
    fn times_to_live_are_positive() {
        assert_eq!(ttl_ms(1.5).unwrap(), 1500);
        assert_eq!(ttl_ms(0.0001).unwrap(), 1);
        for secs in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(ttl_ms(secs).is_err());
        }
    }
}
