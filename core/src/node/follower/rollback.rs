//! Rollback files: what a failover discards, a line of JSON per operation, written before it goes (INV-10).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use bytes::Bytes;

use crate::command::{Command, Condition, Pair, Value, ValueKind};
use crate::config::Concern;
use crate::event::Unlisted;
use crate::log::{Answered, Log, Slot};
use crate::node::follower::prior_versions::Named;
use crate::node::follower::snapshot_install::first_lost;
use crate::position::{Index, Position};
use crate::store::{Prior, Store};
use crate::version::Version;
use crate::wal::{FileWrite, RollbackId};

/// Entries that are being saved before they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Rollback {
    pub(in crate::node) id: RollbackId,
    /// What both logs hold.
    pub(in crate::node) common: Position,
    /// The last index that goes.
    pub(in crate::node) upto: Index,
    /// Clients' operations saved.
    pub(in crate::node) operations: u64,
    /// Where the first entry under each ticket's key stands, of those saved.
    tickets: BTreeMap<Bytes, Index>,
    /// The keys that entries beyond the store have named so far.
    named: Named,
    next: Index,
    begun: bool,
    /// What goes too and is in no line: the files that hold it are kept.
    pub(in crate::node) unlisted: Unlisted,
    /// The batch on its way.
    batch: Option<u64>,
}

/// What of the file goes at once.
pub(in crate::node) struct Piece {
    /// With which batch.
    pub(in crate::node) batch: u64,
    /// About how long.
    pub(in crate::node) bytes: usize,
    /// Whether there is room for it.
    pub(in crate::node) fits: bool,
}

impl Rollback {
    /// Of a log that begins after `base`, beside a store that holds everything up to `applied`.
    pub(in crate::node) fn new(id: u64, common: Position, last: Index, base: Index, applied: Index) -> Self {
        Self {
            id: RollbackId(id),
            common,
            upto: last,
            operations: 0,
            tickets: BTreeMap::new(),
            named: Named::after(applied),
            next: first_lost(common.index, base),
            begun: false,
            unlisted: Unlisted { upto: (common.index < base).then_some(base), from: None },
            batch: None,
        }
    }

    pub(in crate::node) fn waits_for(&self, batch: u64) -> bool {
        self.batch == Some(batch)
    }

    pub(in crate::node) fn is_complete(&self) -> bool {
        self.begun && self.next > self.upto
    }

    /// Everything that is to be saved up to this is written, or on its way.
    pub(in crate::node) fn saved_upto(&self) -> Index {
        self.next.prev()
    }

    /// The batch on its way has arrived.
    pub(in crate::node) fn saved(mut self) -> Self {
        self.batch = None;
        self
    }

    /// The next lines, one piece at a time.
    pub(in crate::node) fn save_some(
        &mut self,
        log: &Log,
        store: &Store,
        applied: Index,
        piece: Piece,
    ) -> Vec<FileWrite> {
        if self.batch.is_some() || self.is_complete() {
            return Vec::new();
        }
        let first = !self.begun;
        let keeps = first && self.unlisted.upto.is_some() || !piece.fits;
        if !piece.fits {
            self.unlisted.from = Some(self.next);
            self.next = self.upto.next();
        }
        let mut lines = String::new();
        // Entries that both logs hold may still wait to be applied.
        let ready = self.named.read_upto(self.common.index, log, piece.bytes);
        while ready && self.next <= self.upto && lines.len() < piece.bytes {
            let Some(slot) = log.get(self.next) else {
                panic!("INV-10: {} leaves memory before it is saved", self.next)
            };
            let Ok(command) = slot.entry.command() else { panic!("entries in the log decode") };
            let ticket = self.ticket_fields(store, slot, &command);
            let prior = match &slot.prior {
                Prior::Unknown if self.next > applied => self.named.prior(&command, store),
                known => known.clone(),
            };
            self.named.name(&command);
            let version = |index| Some(log.version_base_at(index, applied, store.version_base())?.at(index));
            let (version, shared) = (version(self.next), version(self.common.index));
            let lines = Lines { out: &mut lines, slot, prior, more: &ticket, version, shared };
            self.operations += lines.write(command.untied());
            self.next = self.next.next();
        }
        self.begun = true;
        self.batch = Some(piece.batch);
        let last = self.is_complete();
        let write = FileWrite::Rollback { id: self.id, first, last, lines: Bytes::from(lines) };
        let keep = FileWrite::RollbackKeepFiles { id: self.id };
        if keeps { Vec::from([keep, write]) } else { Vec::from([write]) }
    }

    /// What a ticket adds to a line: its key, and which entry this one repeats, as far as it is known. Such a one has
    /// done nothing, and must not be done again in the place of the first.
    fn ticket_fields(&mut self, store: &Store, slot: &Slot, command: &Command) -> String {
        let Command::Once { ticket, .. } = command else { return String::new() };
        let index = slot.entry.position.index;
        let saved = *self.tickets.entry(ticket.key.clone()).or_insert(index);
        let first = store.first_under(ticket).map_or(saved, |known| known.min(saved));
        let retry = if first < index { format!(",\"retry_of\":{first}") } else { String::new() };
        format!(",\"idempotency_key\":{}{retry}", bytes_json(&ticket.key))
    }
}

/// Where the lines of one entry go.
struct Lines<'a> {
    out: &'a mut String,
    slot: &'a Slot,
    /// What the entry's keys held before it.
    prior: Prior,
    /// Further fields of each line.
    more: &'a str,
    /// What the entry writes has this version; none if that is not known.
    version: Option<Version>,
    /// What both lines hold has this version at most, likewise.
    shared: Option<Version>,
}

impl Lines<'_> {
    /// Writes them; gives how many clients' operations they are.
    fn write(mut self, command: &Command) -> u64 {
        match command {
            Command::Set { pair, condition } => {
                self.line("set", &format!("{}{}", pair_fields(pair), condition_field(*condition)), 0);
                1
            }
            Command::Delete { key } => {
                self.version = None;
                self.line("delete", &key_field(key), 0);
                1
            }
            Command::Incr { key, by } => {
                self.line("incr", &format!("{},\"amount\":{by}", key_field(key)), 0);
                1
            }
            Command::Expire { key, ttl_ms } => {
                self.line("expire", &format!("{},\"ttl_ms\":{ttl_ms}", key_field(key)), 0);
                1
            }
            Command::Persist { key } => {
                self.line("persist", &key_field(key), 0);
                1
            }
            Command::Batch { pairs } => {
                for (nth, pair) in pairs.iter().enumerate() {
                    let place = format!(",\"batch\":{{\"nth\":{nth},\"of\":{}}}", pairs.len());
                    self.line("set", &format!("{}{place}", pair_fields(pair)), nth);
                }
                pairs.len() as u64
            }
            Command::If { condition, command } => {
                let more = format!("{}{}", condition_field(*condition), self.more);
                Lines { more: &more, ..self }.write(command)
            }
            Command::Once { .. } => panic!("INV-14: a ticket within a ticket came past the codec"),
            Command::EpochStart { kind, .. } => {
                self.internal("epoch_start", &format!(",\"kind\":\"{}\"", kind.as_str()));
                0
            }
            Command::Config(membership) => {
                self.internal("config", &format!(",\"members\":{}", membership.members.len()));
                0
            }
            Command::Sweep { keys } => {
                self.internal("sweep", &format!(",\"keys\":{}", keys.len()));
                0
            }
        }
    }

    /// What the entry's `nth` key had for a version, and what it has then. Where the first is not known, the last version that both
    /// lines share tells whether the key has changed.
    fn versions(&self, nth: usize) -> String {
        let json =
            |version: Option<Version>| version.map_or_else(|| "null".into(), |version| format!("{version}"));
        let previous = previous_version(&self.prior, nth);
        let shared = self.shared.filter(|_| previous.is_none());
        let shared = shared.map_or_else(String::new, |shared| format!(",\"shared_version\":{shared}"));
        format!("\"previous_version\":{}{shared},\"version\":{}", json(previous), json(self.version))
    }

    /// The line of the operation on the entry's `nth` key.
    fn line(&mut self, operation: &str, fields: &str, nth: usize) {
        let versions = self.versions(nth);
        self.line_with(operation, fields, &versions);
    }

    /// The line of an operation of the log's own.
    fn internal(&mut self, operation: &str, fields: &str) {
        self.line_with(operation, fields, "\"previous_version\":null");
    }

    fn line_with(&mut self, operation: &str, fields: &str, versions: &str) {
        let Slot { entry, answered, .. } = self.slot;
        let Position { epoch, index } = entry.position;
        let concern = match entry.concern {
            Concern::Async => String::from("\"async\""),
            Concern::Local => String::from("\"local\""),
            Concern::Quorum => String::from("\"quorum\""),
            Concern::Replicas(count) => format!("{count}"),
        };
        let answered = match answered {
            Answered::Unknown => "unknown",
            Answered::No => "no",
            Answered::Yes => "yes",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.out,
            "{{\"epoch\":{epoch},\"leader\":\"{}\",\"index\":{index},\"at_ms\":{},\"operation\":\"{operation}\"\
             {fields}{},{versions},\"concern\":{concern},\"answered\":\"{answered}\"}}",
            epoch.leader, entry.at.0, self.more,
        );
    }
}

fn previous_version(prior: &Prior, nth: usize) -> Option<Version> {
    match prior {
        Prior::Unknown => None,
        Prior::One(version) => (nth == 0).then_some(*version),
        Prior::Many(versions) => versions.get(nth).copied(),
    }
}

fn pair_fields(pair: &Pair) -> String {
    let ttl = pair.ttl_ms.map(|ttl_ms| format!(",\"ttl_ms\":{ttl_ms}")).unwrap_or_default();
    let json = if looks_like_bytes(&pair.value) { ",\"json\":true" } else { "" };
    format!("{},\"value\":{}{json}{ttl}", key_field(&pair.key), value_json(&pair.value))
}

/// Whether it is JSON of the form in which bytes are written here, perhaps: with a key `base64`, however that is spelt.
fn looks_like_bytes(value: &Value) -> bool {
    let has = |part: &[u8]| value.bytes.windows(part.len()).any(|window| window == part);
    value.kind == ValueKind::Json && (has(b"base64") || has(b"\\u"))
}

fn key_field(key: &[u8]) -> String {
    format!(",\"key\":{}", bytes_json(key))
}

fn condition_field(condition: Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => String::from(",\"nx\":true"),
        Condition::Present => String::from(",\"xx\":true"),
        Condition::Version(version) => format!(",\"if_version\":{version}"),
    }
}

/// A value as it came in: JSON stands as it is, but on one line. A line break stands between its parts or nowhere, and a blank
/// there says the same; left as it is, it would let a client write lines of its own.
fn value_json(value: &Value) -> String {
    match (value.kind, core::str::from_utf8(&value.bytes)) {
        (ValueKind::Json, Ok(text)) => text.replace(['\n', '\r'], " "),
        (ValueKind::Json, Err(_)) | (ValueKind::Bytes, _) => bytes_json(&value.bytes),
    }
}

/// A JSON string, or `{"base64":"..."}` where the bytes are no UTF-8.
fn bytes_json(bytes: &[u8]) -> String {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return format!("{{\"base64\":\"{}\"}}", base64(bytes));
    };
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |six: u32| ALPHABET.get((six & 63) as usize).map_or('=', |byte| char::from(*byte));
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |nth: usize| chunk.get(nth).copied().map_or(0, u32::from);
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for nth in 0..4 {
            text.push(if nth <= chunk.len() { digit(group >> (18 - 6 * nth)) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_begins_a_line() {
        let bytes = Bytes::from_static(b"{\"a\":\r\n1}");
        assert_eq!(value_json(&Value { kind: ValueKind::Json, bytes: bytes.clone() }), "{\"a\":  1}");
        assert_eq!(value_json(&Value { kind: ValueKind::Bytes, bytes }), "\"{\\\"a\\\":\\u000d\\u000a1}\"");
    }

    #[test]
    fn bytes_become_json() {
        assert_eq!(bytes_json(b"a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
        assert_eq!(bytes_json(b"\xff"), "{\"base64\":\"/w==\"}");
        assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(base64(b"abc"), "YWJj");
        assert_eq!(base64(b"ab"), "YWI=");
    }
}
