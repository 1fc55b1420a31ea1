//! `If-Match` and `If-None-Match` (RFC 9110): a key's version, as `ETag` told it, or `*`. On a read they are decided here; on a
//! write they become a [`Condition`], which the log decides, so that nothing comes between the look and the write.

use hyper::header::{self, HeaderMap, HeaderName};
use synap_core::command::{Command, Condition};
use synap_core::version::Version;

use super::problem::{Code, Problem};

/// A version that no key has: versions are below 2^53.
const NO_KEYS: Version = Version(u64::MAX);

/// What a read's conditions say of the key that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// What the conditions of a read say where the key has this version.
pub(crate) fn of_read(headers: &HeaderMap, version: Version) -> Result<Verdict, Problem> {
    if let Some(tags) = Tags::of(headers, &header::IF_MATCH)?
        && !tags.any(|tag| !tag.weak && tag.version() == Some(version))
    {
        return Ok(Verdict::Failed);
    }
    match Tags::of(headers, &header::IF_NONE_MATCH)? {
        Some(tags) if tags.any(|tag| tag.version() == Some(version)) => Ok(Verdict::NotModified),
        Some(_) | None => Ok(Verdict::Whole),
    }
}

/// The condition that a write's headers set.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Option<Condition>, Problem> {
    let (present, absent) = (Tags::of(headers, &header::IF_MATCH)?, Tags::of(headers, &header::IF_NONE_MATCH)?);
    match (present, absent) {
        (None, None) => Ok(None),
        (Some(Tags::Any), None) => Ok(Some(Condition::Present)),
        (None, Some(Tags::Any)) => Ok(Some(Condition::Absent)),
        (Some(Tags::Listed(tags)), None) => one_version(&tags).map(|version| Some(Condition::Version(version))),
        (None, Some(Tags::Listed(_))) => {
            Err(Problem::bad("`If-None-Match` of a write expects `*`: it is for keys that are absent"))
        }
        (Some(_), Some(_)) => Err(Problem::bad("`If-Match` and `If-None-Match` of a write exclude each other")),
    }
}

/// The one version that a list can mean. A weak tag, or one that we never gave, matches nothing.
fn one_version(tags: &[Tag<'_>]) -> Result<Version, Problem> {
    let mut versions = tags.iter().filter(|tag| !tag.weak).filter_map(Tag::version);
    match (versions.next(), versions.next()) {
        (None, _) => Ok(NO_KEYS),
        (Some(version), None) => Ok(version),
        (Some(_), Some(_)) => Err(Problem::bad("`If-Match` of a write expects one version")),
    }
}

/// The command, to be carried out only where `condition` holds.
pub(crate) fn under(condition: Condition, command: Command) -> Result<Command, Problem> {
    match command {
        Command::Set { pair, condition: Condition::Always } => Ok(Command::Set { pair, condition }),
        Command::Set { .. } => {
            Err(Problem::bad("`nx`, `xx` and `if_version` exclude the headers `If-Match` and `If-None-Match`"))
        }
        one if one.takes_condition() => Ok(Command::If { condition, command: Box::new(one) }),
        _ => Err(Problem::new(Code::Internal, "a condition for what has no single key")),
    }
}

/// 412: the key has the version `actual`.
pub(crate) fn failed(actual: Version) -> Problem {
    let detail = match actual {
        Version::ABSENT => "the key is absent".to_owned(),
        Version(actual) => format!("the key's version is {actual}"),
    };
    Problem::new(Code::PreconditionFailed, detail).with("version", actual.0)
}

/// What one of the two headers lists.
#[derive(Debug, PartialEq, Eq)]
enum Tags<'a> {
    /// `*`
    Any,
    Listed(Vec<Tag<'a>>),
}

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    /// Between the quotes.
    opaque: &'a [u8],
}

impl Tag<'_> {
    /// The version that it stands for, if it can be one of ours.
    fn version(&self) -> Option<Version> {
        let digits = std::str::from_utf8(self.opaque).ok()?;
        let version = digits.parse().ok().map(Version)?;
        // As it was told, and no other spelling of the number; nothing that is there has version 0.
        (digits == itoa::Buffer::new().format(version.0) && version != Version::ABSENT).then_some(version)
    }
}

impl<'a> Tags<'a> {
    /// Reads a header, over all of its lines; none: it is not there.
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut lines = headers.get_all(name).iter().peekable();
        let Some(first) = lines.peek() else { return Ok(None) };
        if first.as_bytes().trim_ascii() == b"*" && headers.get_all(name).iter().count() == 1 {
            return Ok(Some(Self::Any));
        }
        let mut tags = Vec::new();
        for line in lines {
            let mut rest = line.as_bytes().trim_ascii();
            while !rest.is_empty() {
                let (tag, after) = tag(rest).ok_or_else(|| malformed(name))?;
                tags.push(tag);
                rest = match after.trim_ascii_start() {
                    [] => &[],
                    [b',', more @ ..] => more.trim_ascii_start(),
                    _ => return Err(malformed(name)),
                };
            }
        }
        if tags.is_empty() { Err(malformed(name)) } else { Ok(Some(Self::Listed(tags))) }
    }

    fn any(&self, matches: impl FnMut(&Tag<'a>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(matches),
        }
    }
}

/// The tag that the text begins with, and the rest.
fn tag(text: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"')?;
    let (opaque, rest) = text.split_at_checked(end)?;
    Some((Tag { weak, opaque }, rest.get(1..)?))
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::bad(format!("header `{name}` expects `*`, or versions in double quotes as `ETag` has them"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn written(lines: &[(HeaderName, &str)]) -> Option<Option<Condition>> {
        of_write(&headers(lines)).ok()
    }

    #[test]
    fn a_write_asks_for_a_version_for_presence_or_for_absence() {
        let (if_match, if_none_match) = (header::IF_MATCH, header::IF_NONE_MATCH);
        let version = |number| Some(Some(Condition::Version(Version(number))));
        assert_eq!(written(&[]), Some(None));
        assert_eq!(written(&[(if_match.clone(), "\"7\"")]), version(7));
        assert_eq!(written(&[(if_match.clone(), " * ")]), Some(Some(Condition::Present)));
        assert_eq!(written(&[(if_none_match.clone(), "*")]), Some(Some(Condition::Absent)));
        assert_eq!(written(&[(if_match.clone(), "\"a,b\", W/\"8\" ,\"7\"")]), version(7));
        assert_eq!(written(&[(if_match.clone(), "\"x\""), (if_match.clone(), "\"7\"")]), version(7));
        for nothing in ["W/\"7\"", "\"seven\"", "\"07\"", "\"0\"", "\"-1\"", "\"99999999999999999999999\"", "\"\""]
        {
            assert_eq!(written(&[(if_match.clone(), nothing)]), version(NO_KEYS.0), "{nothing}");
        }
        for bad in ["7", "\"7", "\"7\" \"8\"", "\"7\",*", "*,\"7\"", "", ",", "w/\"7\"", "\"7\", \"8\""] {
            assert_eq!(written(&[(if_match.clone(), bad)]), None, "{bad}");
        }
        assert_eq!(written(&[(if_none_match.clone(), "\"7\"")]), None);
        assert_eq!(written(&[(if_match, "\"7\""), (if_none_match, "*")]), None);
    }

    #[test]
    fn a_read_is_whole_unchanged_or_refused() {
        let of = |lines: &[(HeaderName, &str)]| of_read(&headers(lines), Version(7)).ok();
        let (if_match, if_none_match) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(of(&[]), Some(Verdict::Whole));
        for tags in ["\"7\"", "W/\"7\"", "*", "\"1\", \"7\""] {
            assert_eq!(of(&[(if_none_match.clone(), tags)]), Some(Verdict::NotModified), "{tags}");
        }
        assert_eq!(of(&[(if_none_match.clone(), "\"8\"")]), Some(Verdict::Whole));
        assert_eq!(of(&[(if_match.clone(), "\"8\", \"7\"")]), Some(Verdict::Whole));
        assert_eq!(of(&[(if_match.clone(), "W/\"7\"")]), Some(Verdict::Failed), "a strong comparison");
        assert_eq!(of(&[(if_match, "\"8\""), (if_none_match.clone(), "\"7\"")]), Some(Verdict::Failed));
        assert_eq!(of(&[(if_none_match, "7")]), None);
    }

    #[test]
    fn what_has_a_condition_takes_no_other() {
        let pair = || synap_core::command::Pair {
            key: bytes::Bytes::from_static(b"k"),
            value: synap_core::command::Value {
                kind: synap_core::command::ValueKind::Bytes,
                bytes: bytes::Bytes::new(),
            },
            ttl_ms: None,
        };
        let set = |condition| Command::Set { pair: pair(), condition };
        assert_eq!(under(Condition::Absent, set(Condition::Always)).ok(), Some(set(Condition::Absent)));
        assert!(under(Condition::Absent, set(Condition::Present)).is_err());
        assert!(under(Condition::Absent, Command::Batch { pairs: vec![pair()] }).is_err());
    }
}
