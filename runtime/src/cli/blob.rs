//! Bytes as JSON: a string where they are UTF-8, else `{"base64":"..."}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Bytes for people and for tools.
pub(super) fn to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// The way back; none if it is neither.
pub(super) fn from_json(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(fields) if fields.len() == 1 => STANDARD.decode(fields.get("base64")?.as_str()?).ok(),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for bytes in [b"user:1".as_slice(), b"\xff\x00", b""] {
            assert_eq!(from_json(&to_json(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(from_json(&json!({ "base64": "?" })), None);
        assert_eq!(from_json(&json!(5)), None);
    }
}
