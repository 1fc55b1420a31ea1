//! Query strings and percent-encoding. Strict: a key that a route does not know is refused by its name.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use synap_core::config::Concern;
use synap_core::input::ReadDemand;
use synap_core::position::{LeaderDigits, Named};

use super::json;
use super::problem::Problem;

/// How long a request waits if it does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a request may ask to wait.
const TIMEOUT_MAX_MS: u64 = 3_600_000;

/// More than any route knows: with a query of 64 KiB, looking for repeated names must stay cheap.
const PARAMETERS_MAX: usize = 16;

/// The most keys that a scan gives at once.
const SCAN_MAX: usize = 1000;

/// Bytes of the longest key that any setting allows.
pub(crate) const KEY_BYTES_MAX: u32 = 65_535;

/// What a write's query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteQuery {
    pub(crate) concern: Option<Concern>,
    pub(crate) timeout: Duration,
    /// Of `PUT /kv/raw` only.
    pub(crate) ttl_ms: Option<u64>,
}

/// What a read's query says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadQuery {
    pub(crate) demand: ReadDemand,
    pub(crate) timeout: Duration,
    /// Of a scan only.
    pub(crate) scan: ScanQuery,
}

/// What a scan's query says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanQuery {
    pub(crate) prefix: Vec<u8>,
    pub(crate) after: Option<Vec<u8>>,
    pub(crate) limit: usize,
}

impl Default for ScanQuery {
    fn default() -> Self {
        Self { prefix: Vec::new(), after: None, limit: 100 }
    }
}

impl WriteQuery {
    /// Reads a write's query; `ttl` is known to raw uploads only.
    pub(crate) fn parse(query: Option<&str>, with_ttl: bool) -> Result<Self, Problem> {
        let mut parsed = Self { concern: None, timeout: TIMEOUT, ttl_ms: None };
        for (name, value) in pairs(query)? {
            match &*name {
                b"concern" => parsed.concern = Some(concern(text("concern", &value)?)?),
                b"timeout_ms" => parsed.timeout = timeout(&value)?,
                b"ttl" if with_ttl => {
                    let secs = text("ttl", &value)?.parse().map_err(|_| malformed("ttl", "seconds"))?;
                    parsed.ttl_ms = Some(json::ttl_ms(secs)?);
                }
                _ => return Err(unknown(&name)),
            }
        }
        Ok(parsed)
    }
}

impl ReadQuery {
    /// Reads a read's query; `prefix`, `after` and `limit` are known to scans only.
    pub(crate) fn parse(query: Option<&str>, with_scan: bool) -> Result<Self, Problem> {
        let mut parsed = Self { demand: ReadDemand::default(), timeout: TIMEOUT, scan: ScanQuery::default() };
        for (name, value) in pairs(query)? {
            match &*name {
                b"consistency" => {
                    parsed.demand.linearizable = is_linearizable(text("consistency", &value)?)?;
                }
                b"timeout_ms" => parsed.timeout = timeout(&value)?,
                b"max_staleness_ms" => {
                    let ms = number("max_staleness_ms", &value)?;
                    parsed.demand.max_staleness = Some(Duration::from_millis(ms));
                }
                b"min_position" => {
                    parsed.demand.min_position = Some(position(text("min_position", &value)?)?);
                }
                b"prefix" if with_scan => parsed.scan.prefix = value.into_owned(),
                b"after" if with_scan => parsed.scan.after = Some(value.into_owned()),
                b"limit" if with_scan => parsed.scan.limit = limit(&value)?,
                _ => return Err(unknown(&name)),
            }
        }
        Ok(parsed)
    }

    /// Whether any state will do.
    pub(crate) fn demands_nothing(&self) -> bool {
        self.demand == ReadDemand::default()
    }
}

/// A query's name and value, decoded.
type Parameter<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The names and values of a query, decoded (`+` is a space). One that is given twice is refused: which of the two is meant
/// cannot be known.
///
/// By hand, since `form_urlencoded` puts replacement characters in the place of what is not UTF-8, and prefixes are bytes.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<Parameter<'_>>, Problem> {
    let query = query.unwrap_or_default();
    check_encoding(query)?;
    let mut pairs: Vec<Parameter<'_>> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_decode(name), form_decode(value));
        if pairs.iter().any(|(seen, _)| *seen == name) {
            let name = String::from_utf8_lossy(&name);
            return Err(Problem::bad(format!("query parameter `{name}` is given twice")));
        }
        if pairs.len() == PARAMETERS_MAX {
            return Err(unknown(&name));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// 400: the query has a key that the route does not know.
pub(crate) fn unknown(name: &[u8]) -> Problem {
    Problem::bad(format!("unknown query parameter `{}`", String::from_utf8_lossy(name)))
}

/// A query's value as a whole number.
pub(crate) fn number(name: &str, value: &[u8]) -> Result<u64, Problem> {
    let digits = text(name, value)?;
    // `parse` alone would also take a leading plus.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| malformed(name, "a whole number"))
}

/// A query's value as text.
pub(crate) fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(value).map_err(|_| malformed(name, "UTF-8"))
}

/// `EPOCH:INDEX-LEADER`, as answers tell it, or `EPOCH:INDEX`.
pub(crate) fn position(text: &str) -> Result<Named, Problem> {
    Named::parse(text)
        .ok_or_else(|| Problem::bad(format!("`{text}` is not a position: it expects EPOCH:INDEX-LEADER")))
}

/// The first 8 to 32 hexadecimal digits of a leader's id.
pub(crate) fn leader(text: &str) -> Result<LeaderDigits, Problem> {
    LeaderDigits::parse(text).ok_or_else(|| malformed("leader", "8 to 32 hexadecimal digits of a node's id"))
}

/// The key that a path names, decoded and within `bytes_max`.
pub(crate) fn path_key(encoded: &str, bytes_max: u32) -> Result<Cow<'_, [u8]>, Problem> {
    check_encoding(encoded)?;
    let key: Cow<'_, [u8]> =
        if encoded.contains('%') { percent_decode_str(encoded).into() } else { Cow::Borrowed(encoded.as_bytes()) };
    check_key(&key, bytes_max)?;
    Ok(key)
}

/// Refuses a percent sign that two hexadecimal digits do not follow: to take it as it stands would name another key than
/// the one that a client forgot to encode.
fn check_encoding(encoded: &str) -> Result<(), Problem> {
    let is_hex = |digits: &[u8]| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
    for (at, _) in encoded.match_indices('%') {
        let digits = encoded.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(is_hex) {
            return Err(Problem::bad(
                "invalid percent-encoding: two hexadecimal digits follow a percent sign; the sign itself is %25",
            ));
        }
    }
    Ok(())
}

/// Refuses keys that are empty or too long.
pub(crate) fn check_key(key: &[u8], bytes_max: u32) -> Result<(), Problem> {
    if key.is_empty() {
        return Err(Problem::bad("the key is empty"));
    }
    if key.len() > bytes_max as usize {
        return Err(Problem::too_large("key", key.len() as u64, u64::from(bytes_max)));
    }
    Ok(())
}

/// Bytes as they stand in a path: everything but letters, digits and `-._~` percent-encoded.
pub(crate) fn path_encode(bytes: &[u8]) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encode(bytes, RESERVED).to_string()
}

/// A decoded key on its own.
pub(crate) fn owned(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(key)
}

fn form_decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).collect())
}

fn concern(name: &str) -> Result<Concern, Problem> {
    match name {
        "async" => Ok(Concern::Async),
        "local" => Ok(Concern::Local),
        "quorum" => Ok(Concern::Quorum),
        _ => number("concern", name.as_bytes())
            .ok()
            .and_then(|replicas| u32::try_from(replicas).ok())
            .filter(|replicas| *replicas > 0)
            .map(Concern::Replicas)
            .ok_or_else(|| malformed("concern", "async, local, quorum or a number of replicas from 1 on")),
    }
}

fn is_linearizable(consistency: &str) -> Result<bool, Problem> {
    match consistency {
        "local" => Ok(false),
        "linearizable" => Ok(true),
        _ => Err(malformed("consistency", "local or linearizable")),
    }
}

fn timeout(value: &[u8]) -> Result<Duration, Problem> {
    match number("timeout_ms", value)? {
        ms @ 1..=TIMEOUT_MAX_MS => Ok(Duration::from_millis(ms)),
        _ => Err(malformed("timeout_ms", "1 to 3600000")),
    }
}

fn limit(value: &[u8]) -> Result<usize, Problem> {
    let limit = usize::try_from(number("limit", value)?).unwrap_or(usize::MAX);
    if (1..=SCAN_MAX).contains(&limit) { Ok(limit) } else { Err(malformed("limit", "1 to 1000")) }
}

fn malformed(name: &str, wants: &str) -> Problem {
    Problem::bad(format!("query parameter `{name}` expects {wants}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(result: Result<impl std::fmt::Debug, Problem>) -> String {
        result.unwrap_err().parts().detail.to_string()
    }

    #[test]
    fn queries_are_read_strictly() {
        let read = ReadQuery::parse(Some("min_position=3:17&max_staleness_ms=5&timeout_ms=9"), false).unwrap();
        assert_eq!(read.demand.min_position, Named::parse("3:17"));
        let full = ReadQuery::parse(Some("min_position=3:17-149406d8"), false).unwrap();
        assert_eq!(full.demand.min_position, Named::parse("3:17-149406d8"));
        assert!(detail(ReadQuery::parse(Some("min_position=3:17-1494"), false)).contains("EPOCH:INDEX-LEADER"));
        assert_eq!(read.demand.max_staleness, Some(Duration::from_millis(5)));
        assert_eq!(read.timeout, Duration::from_millis(9));
        assert!(detail(ReadQuery::parse(Some("limit=3"), false)).contains("`limit`"));
        assert!(detail(ReadQuery::parse(Some("limit=0"), true)).contains("1 to 1000"));
        assert!(detail(ReadQuery::parse(Some("min_position=3"), false)).contains("EPOCH:INDEX"));
        assert!(detail(ReadQuery::parse(Some("consistency=strong"), false)).contains("local or linearizable"));
        let local = ReadQuery::parse(Some("consistency=local"), false).unwrap();
        assert!(local.demands_nothing());
        let linearizable = ReadQuery::parse(Some("consistency=linearizable"), true).unwrap();
        assert!(linearizable.demand.linearizable && !linearizable.demands_nothing());
        assert!(detail(WriteQuery::parse(Some("concern=+1"), false)).contains("concern"));
        assert!(detail(WriteQuery::parse(Some("concern=0"), false)).contains("from 1 on"));
        assert!(detail(WriteQuery::parse(Some("concern=1&concern=1"), false)).contains("twice"));
        assert!(detail(ReadQuery::parse(Some("limit=1&prefix=%zz"), true)).contains("%25"));
        assert!(detail(WriteQuery::parse(Some("timeout_ms=0"), false)).contains("timeout_ms"));
        assert!(detail(WriteQuery::parse(Some("ttl=1"), false)).contains("`ttl`"));
        let write = WriteQuery::parse(Some("concern=2&ttl=1.5"), true).unwrap();
        assert_eq!((write.concern, write.ttl_ms), (Some(Concern::Replicas(2)), Some(1500)));
    }

    #[test]
    fn keys_are_decoded_and_bounded() {
        assert_eq!(&*path_key("a%20b%2Fc+d", 100).unwrap(), b"a b/c+d");
        assert_eq!(&*path_key("%ff", 100).unwrap(), b"\xff");
        for bad in ["", "%", "a%4", "%zz", "%+1"] {
            assert!(path_key(bad, 100).is_err(), "{bad}");
        }
        assert!(path_key("abc", 2).is_err());
        assert_eq!(path_encode(b"a/\xff b"), "a%2F%FF%20b");
    }
}
