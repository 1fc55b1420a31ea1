//! `Idempotency-Key`: the name that a client gives a write, so that it can ask again. Reads the header and takes the
//! request's fingerprint; what a retry is answered is the node's affair.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName};
use hyper::http::request;
use synap_core::command::{Command, Condition, Fingerprint, TICKET_KEY_BYTES_MAX, Ticket};

use super::problem::Problem;
use super::query::WriteQuery;

/// The header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header's value: 1 to 255 visible ASCII characters, given once.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.as_bytes();
    let visible = key.iter().all(u8::is_ascii_graphic);
    if values.next().is_some() || !visible || !(1..=TICKET_KEY_BYTES_MAX).contains(&key.len()) {
        return Err(Problem::bad("`Idempotency-Key` expects 1 to 255 visible ASCII characters, once"));
    }
    Ok(Some(Bytes::copy_from_slice(key)))
}

/// The command, to be carried out once under `key`.
///
/// A retry may ask for another concern or wait longer: only what the write does belongs to its fingerprint.
pub(crate) fn once(
    key: Bytes,
    command: Command,
    wants_old: bool,
    head: &request::Parts,
    query: &WriteQuery,
    body: &[u8],
    condition: Option<Condition>,
) -> Command {
    let ttl = query.ttl_ms.map(u64::to_le_bytes);
    let ttl = ttl.as_ref().map_or(&[][..], |bytes| bytes);
    let condition = condition.map(told).unwrap_or_default();
    let parts = [head.method.as_str().as_bytes(), head.uri.path().as_bytes(), ttl, body, condition.as_bytes()];
    // The last part counts only where it is there.
    let parts = if condition.is_empty() { &parts[..4] } else { &parts[..] };
    let ticket = Ticket { key, fingerprint: Fingerprint::of(parts), wants_old };
    Command::Once { ticket, command: Box::new(command) }
}

/// A header's condition, as a fingerprint covers it.
fn told(condition: Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => "absent".to_owned(),
        Condition::Present => "present".to_owned(),
        Condition::Version(version) => version.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::header::HeaderValue;
    use synap_core::version::Version;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<Bytes>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers)
    }

    #[test]
    fn keys_are_visible_and_bounded() {
        assert!(matches!(read(&[]), Ok(None)));
        assert_eq!(read(&[b"order-17"]).unwrap().as_deref(), Some(&b"order-17"[..]));
        assert_eq!(read(&[&[b'~'; 255]]).unwrap().map(|key| key.len()), Some(255));
        for bad in [&b""[..], b"a b", b"\xc3\xa9", &[b'a'; 256]] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
        assert!(read(&[b"a", b"a"]).is_err());
    }

    #[test]
    fn a_retry_may_ask_for_more_and_not_for_something_else() {
        let under = |uri: &str, body: &[u8], condition| {
            let (head, ()) = Request::post(uri).body(()).unwrap().into_parts();
            let query = WriteQuery::parse(head.uri.query(), true).unwrap();
            let delete = Command::Delete { key: Bytes::new() };
            match once(Bytes::from_static(b"k"), delete, false, &head, &query, body, condition) {
                Command::Once { ticket, .. } => ticket.fingerprint,
                other => panic!("{other:?}"),
            }
        };
        let of = |uri: &str, body: &[u8]| under(uri, body, None);
        let first = of("/kv/raw/a?ttl=1", b"x");
        assert_eq!(first, of("/kv/raw/a?concern=2&timeout_ms=9&ttl=1.0", b"x"));
        for other in [of("/kv/raw/a?ttl=1", b"y"), of("/kv/raw/b?ttl=1", b"x"), of("/kv/raw/a", b"x")] {
            assert_ne!(first, other);
        }
        let version = |version| under("/kv/raw/a?ttl=1", b"x", Some(Condition::Version(Version(version))));
        assert_eq!(version(1), version(1));
        assert_ne!(version(1), version(2));
        assert_ne!(version(1), first);
    }
}
