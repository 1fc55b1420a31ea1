//! What a client asks, in one line of a script:
//!
//! ```text
//! set k1=v1*120 nx ttl=500 @quorum     a value padded to 120 bytes, only if absent, for half a second
//! set k1=v1~120                        one padded with zeros
//! delete k1 @async
//! incr n0 3 @local
//! expire k1 500
//! batch k1=a k2=b @2                   on two replicas besides the master
//! incr n0 3 once=i7                    under an Idempotency-Key: a second one under the same key does nothing
//! get k1 own age=100                   at least what the client itself wrote last, no older than 100 ms
//! set n0:=42                           a value that is JSON and no string
//! set k1=v1 if_version=7               only if that is the key's version; 0: only if absent
//! exists k1, ttl k1, mget k1 k2, scan k after=k3 limit=5, stats
//! ```
//!
//! Who asks under an Idempotency-Key that ends in `+` wants to be told the old value.
//!
//! Without `@`, a write asks for `quorum`. Owns both ways, from text and to it; nothing here knows of time or nodes.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synap_core::command::{Command, Condition, Fingerprint, Pair, Ticket, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::version::Version;

use crate::model::Look;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Ask {
    /// A write.
    Write {
        /// What is to be done.
        command: Command,
        /// What the answer shall mean.
        concern: Concern,
    },
    /// A read.
    Read {
        /// Of this key.
        key: Bytes,
        /// Of a state no older than this, in milliseconds.
        age_ms: Option<u64>,
        /// Of a state that holds the client's own last write.
        own: bool,
    },
    /// Another look at the state, whatever it is.
    Look(Look),
}

/// Why a line is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{line}' is nothing that a client asks: {why}")]
pub struct AskError {
    line: String,
    why: &'static str,
}

impl FromStr for Ask {
    type Err = AskError;

    fn from_str(line: &str) -> Result<Self, AskError> {
        parse(line).map_err(|why| AskError { line: line.to_owned(), why })
    }
}

impl TryFrom<String> for Ask {
    type Error = AskError;

    fn try_from(line: String) -> Result<Self, AskError> {
        line.parse()
    }
}

impl From<Ask> for String {
    fn from(ask: Ask) -> Self {
        ask.to_string()
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key, age_ms, own } => {
                write!(f, "get {}{}", text(key), if *own { " own" } else { "" })?;
                age_ms.map_or(Ok(()), |ms| write!(f, " age={ms}"))
            }
            Self::Look(look) => write_look(f, look),
            Self::Write { command, concern } => {
                write_command(f, command)?;
                match concern {
                    Concern::Quorum => Ok(()),
                    Concern::Async => f.write_str(" @async"),
                    Concern::Local => f.write_str(" @local"),
                    Concern::Replicas(count) => write!(f, " @{count}"),
                }
            }
        }
    }
}

impl Ask {
    /// Whether it may be sent again, whatever became of it.
    pub fn is_once(&self) -> bool {
        matches!(self, Self::Write { command: Command::Once { .. }, .. })
    }
}

/// The same command under an Idempotency-Key.
pub fn once(key: &str, command: Command) -> Command {
    let fingerprint = Fingerprint::of(&[format!("{command:?}").as_bytes()]);
    let wants_old = key.ends_with('+');
    let ticket = Ticket { key: Bytes::copy_from_slice(key.as_bytes()), fingerprint, wants_old };
    Command::Once { ticket, command: Box::new(command) }
}

/// A concern as scripts spell it.
pub fn concern_of(text: &str) -> Option<Concern> {
    match text {
        "async" => Some(Concern::Async),
        "local" => Some(Concern::Local),
        "quorum" => Some(Concern::Quorum),
        number => number.parse().ok().map(Concern::Replicas),
    }
}

fn parse(line: &str) -> Result<Ask, &'static str> {
    let mut words = Words::of(line)?;
    let ask = match words.next("a verb is missing")? {
        "get" => Ask::Read { key: words.key()?, own: words.flag("own"), age_ms: words.option("age")? },
        "exists" => Ask::Look(Look::Exists(words.key()?)),
        "ttl" => Ask::Look(Look::Ttl(words.key()?)),
        "stats" => Ask::Look(Look::Stats),
        "mget" => {
            let keys = std::mem::take(&mut words.rest);
            Ask::Look(Look::Mget(keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect()))
        }
        "scan" => {
            let limit = words.option("limit")?.map_or(100, |limit| limit as usize);
            let after = words.name("after=").map(|key| Bytes::copy_from_slice(key.as_bytes()));
            let prefix = if words.rest.is_empty() { Bytes::new() } else { words.key()? };
            Ask::Look(Look::Scan { prefix, after, limit })
        }
        "set" => {
            let condition = words.condition()?;
            let ttl_ms = words.option("ttl")?;
            words.write(|words| Ok(Command::Set { pair: words.pair(ttl_ms)?, condition }))?
        }
        "batch" => {
            let ttl_ms = words.option("ttl")?;
            words.write(|words| {
                let mut pairs = vec![words.pair(ttl_ms)?];
                while !words.rest.is_empty() {
                    pairs.push(words.pair(ttl_ms)?);
                }
                Ok(Command::Batch { pairs })
            })?
        }
        "delete" => words.write(|words| words.only_if(|words| Ok(Command::Delete { key: words.key()? })))?,
        "persist" => words.write(|words| words.only_if(|words| Ok(Command::Persist { key: words.key()? })))?,
        "incr" => words
            .write(|words| words.only_if(|words| Ok(Command::Incr { key: words.key()?, by: words.number()? })))?,
        "expire" => words.write(|words| {
            words.only_if(|words| Ok(Command::Expire { key: words.key()?, ttl_ms: words.number()? }))
        })?,
        _ => return Err(VERBS),
    };
    if words.rest.is_empty() { Ok(ask) } else { Err("there are words too many") }
}

const VERBS: &str = "verbs are get, exists, ttl, scan, mget, stats, set, batch, delete, persist, incr, expire";

/// The words of a line that are not yet understood, and its concern.
struct Words<'a> {
    rest: Vec<&'a str>,
    concern: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Result<Self, &'static str> {
        let (concerns, rest): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.starts_with('@'));
        match concerns.as_slice() {
            [] => Ok(Self { rest, concern: None }),
            [one] => Ok(Self { rest, concern: Some(&one[1..]) }),
            _ => Err("one concern is enough"),
        }
    }

    fn next(&mut self, missing: &'static str) -> Result<&'a str, &'static str> {
        if self.rest.is_empty() { Err(missing) } else { Ok(self.rest.remove(0)) }
    }

    fn key(&mut self) -> Result<Bytes, &'static str> {
        self.next("a key is missing").map(|word| Bytes::copy_from_slice(word.as_bytes()))
    }

    fn number<N: FromStr>(&mut self) -> Result<N, &'static str> {
        self.next("a number is missing")?.parse().map_err(|_| "that is no number")
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| *word != name);
        self.rest.len() < before
    }

    fn option(&mut self, name: &str) -> Result<Option<u64>, &'static str> {
        let value = |word: &&str| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let Some(at) = self.rest.iter().position(value) else { return Ok(None) };
        let word = self.rest.remove(at);
        word[name.len() + 1..].parse().map(Some).map_err(|_| "that is no number")
    }

    fn name(&mut self, name: &str) -> Option<&'a str> {
        let at = self.rest.iter().position(|word| word.starts_with(name))?;
        Some(&self.rest.remove(at)[name.len()..])
    }

    fn pair(&mut self, ttl_ms: Option<u64>) -> Result<Pair, &'static str> {
        let word = self.next("KEY=VALUE is missing")?;
        if let Some((key, json)) = word.split_once(":=") {
            let value = Value { kind: ValueKind::Json, bytes: Bytes::copy_from_slice(json.as_bytes()) };
            return Ok(Pair { key: Bytes::copy_from_slice(key.as_bytes()), value, ttl_ms });
        }
        let (key, value) = word.split_once('=').ok_or("a value is given as KEY=VALUE")?;
        let padded = |pad| value.split_once(char::from(pad)).map(|(value, length)| (value, length, pad));
        let (value, length, pad) = match padded(b'*').or_else(|| padded(b'~')) {
            Some((value, length, sign)) => {
                let length = length.parse().map_err(|_| "a length follows the * or ~")?;
                (value, length, if sign == b'*' { PAD } else { ZERO })
            }
            None => (value, value.len(), PAD),
        };
        let mut bytes = value.as_bytes().to_vec();
        bytes.resize(bytes.len().max(length), pad);
        let value = Value { kind: ValueKind::Bytes, bytes: bytes.into() };
        Ok(Pair { key: Bytes::copy_from_slice(key.as_bytes()), value, ttl_ms })
    }

    fn condition(&mut self) -> Result<Condition, &'static str> {
        let version = self.option("if_version")?.map(|version| Condition::Version(Version(version)));
        match (self.flag("nx"), self.flag("xx"), version) {
            (false, false, None) => Ok(Condition::Always),
            (true, false, None) => Ok(Condition::Absent),
            (false, true, None) => Ok(Condition::Present),
            (false, false, Some(version)) => Ok(version),
            _ => Err("nx, xx and if_version exclude each other"),
        }
    }

    /// A command on one key, with its condition if it has one.
    fn only_if(
        &mut self,
        command: impl FnOnce(&mut Self) -> Result<Command, &'static str>,
    ) -> Result<Command, &'static str> {
        match self.condition()? {
            Condition::Always => command(self),
            condition => Ok(Command::If { condition, command: Box::new(command(self)?) }),
        }
    }

    fn write(
        &mut self,
        command: impl FnOnce(&mut Self) -> Result<Command, &'static str>,
    ) -> Result<Ask, &'static str> {
        let concern = self.concern.take().map_or(Some(Concern::Quorum), concern_of);
        let concern = concern.ok_or("concerns are @async, @local, @quorum and @N")?;
        let key = self.name("once=");
        let plain = command(self)?;
        let command = match key {
            Some(key) => once(key, plain),
            None => plain,
        };
        Ok(Ask::Write { command, concern })
    }
}

/// What fills a value up to its length.
pub const PAD: u8 = b'.';

/// What does so where a plan wants zeros.
pub const ZERO: u8 = 0;

fn write_command(f: &mut fmt::Formatter<'_>, command: &Command) -> fmt::Result {
    let ttl = |ttl_ms: Option<u64>| ttl_ms.map(|ms| format!(" ttl={ms}")).unwrap_or_default();
    match command {
        Command::Set { pair, condition } => {
            write!(f, "set {}{}{}", pair_text(pair), condition_text(*condition), ttl(pair.ttl_ms))
        }
        Command::Batch { pairs } => {
            let texts: Vec<String> = pairs.iter().map(pair_text).collect();
            write!(f, "batch {}{}", texts.join(" "), ttl(pairs.first().and_then(|pair| pair.ttl_ms)))
        }
        Command::Delete { key } => write!(f, "delete {}", text(key)),
        Command::Persist { key } => write!(f, "persist {}", text(key)),
        Command::Incr { key, by } => write!(f, "incr {} {by}", text(key)),
        Command::Expire { key, ttl_ms } => write!(f, "expire {} {ttl_ms}", text(key)),
        Command::If { condition, command } => {
            write_command(f, command)?;
            f.write_str(&condition_text(*condition))
        }
        Command::Once { ticket, command } => {
            write_command(f, command)?;
            write!(f, " once={}", text(&ticket.key))
        }
        Command::EpochStart { .. } | Command::Config(_) | Command::Sweep { .. } => {
            write!(f, "(no client's) {command:?}")
        }
    }
}

fn condition_text(condition: Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => " nx".to_owned(),
        Condition::Present => " xx".to_owned(),
        Condition::Version(version) => format!(" if_version={}", version.0),
    }
}

fn write_look(f: &mut fmt::Formatter<'_>, look: &Look) -> fmt::Result {
    match look {
        Look::Get(key) => write!(f, "get {}", text(key)),
        Look::Raw(key) => write!(f, "raw {}", text(key)),
        Look::Exists(key) => write!(f, "exists {}", text(key)),
        Look::Ttl(key) => write!(f, "ttl {}", text(key)),
        Look::Stats => f.write_str("stats"),
        Look::Mget(keys) => {
            f.write_str("mget")?;
            keys.iter().try_for_each(|key| write!(f, " {}", text(key)))
        }
        Look::Scan { prefix, after, limit } => {
            f.write_str("scan")?;
            if !prefix.is_empty() {
                write!(f, " {}", text(prefix))?;
            }
            after.as_ref().map_or(Ok(()), |after| write!(f, " after={}", text(after)))?;
            write!(f, " limit={limit}")
        }
    }
}

fn pair_text(pair: &Pair) -> String {
    let value = text(&pair.value.bytes);
    if pair.value.kind == ValueKind::Json {
        return format!("{}:={value}", text(&pair.key));
    }
    let sign = if value.ends_with(char::from(ZERO)) { '~' } else { '*' };
    let short = value.trim_end_matches(if sign == '~' { char::from(ZERO) } else { char::from(PAD) });
    let length = if short.len() < value.len() { format!("{sign}{}", value.len()) } else { String::new() };
    format!("{}={short}{length}", text(&pair.key))
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        for line in [
            "get k1",
            "get k1 own age=100",
            "set k1=v1",
            "set k1=v1*120 nx ttl=500 @2",
            "set k1=v1~120",
            "set k1=v1 xx @local",
            "delete k1 @async",
            "persist k1",
            "incr n0 -3 @local",
            "incr n0 -3 once=i1 @local",
            "expire k1 500",
            "batch k1=a*7 k2=b ttl=9 @1",
            "set n0:=-9223372036854775808 ttl=9",
            "set k1=v1 if_version=0",
            "set k1=v1 if_version=17 once=i2+ @1",
            "exists k1",
            "ttl k1",
            "mget k1 k2 k1",
            "scan limit=100",
            "scan k after=k3 limit=5",
            "stats",
        ] {
            assert_eq!(line.parse::<Ask>().map(|ask| ask.to_string()), Ok(line.to_owned()));
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_meaning() {
        assert_eq!("set k=v @quorum".parse::<Ask>(), "  set k=v ".parse::<Ask>());
    }

    #[test]
    fn a_bad_line_is_refused_with_its_reason() {
        for (line, why) in [
            ("", "a verb is missing"),
            ("put k=v", VERBS),
            ("set k", "a value is given as KEY=VALUE"),
            ("set k=v nx xx", "nx, xx and if_version exclude each other"),
            ("set k=v @most", "concerns are @async, @local, @quorum and @N"),
            ("set k=v @1 @2", "one concern is enough"),
            ("set k=v*x", "a length follows the * or ~"),
            ("incr k", "a number is missing"),
            ("get k soon", "there are words too many"),
            ("get k age=old", "that is no number"),
        ] {
            assert_eq!(line.parse::<Ask>().map_err(|error| error.why), Err(why), "{line}");
        }
    }
}
