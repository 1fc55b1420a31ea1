//! The store once more, from what the API promises and not from the code that keeps it: plain maps, one entry after the
//! other. What a node holds and what clients are told is compared with it.
//!
//! - A key whose time is up at an entry's time is absent for that entry, and goes when an entry meets it.
//! - A key's version is the index of the entry that last changed its value or its expiry, counted from a base that moves on with
//!   each term, by its spread (`docs/formats/wal.md`).
//! - Time is the log's: it never goes back.
//! - What was asked under an `Idempotency-Key` is done once; who asks again is told what it gave ([`retries`]).

mod digest;
mod fronted;
mod line;
mod retries;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synap_core::command::{Command, Condition, Pair, ValueKind};

pub use fronted::{Fronted, Look, Question};
pub use line::{Line, Mark};
use retries::Retries;
pub use retries::is_long;
pub use told::Told;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The value's bytes.
    pub bytes: Bytes,
    /// Whether it came in as JSON that is no string.
    pub json: bool,
    /// Which entry last changed it.
    pub version: u64,
    /// When its time is up, in milliseconds of log time.
    pub expires_at: Option<u64>,
}

/// The state after some entries.
#[derive(Clone, Debug, Default)]
pub struct Model {
    cells: BTreeMap<Bytes, Cell>,
    retries: Retries,
    log_time: u64,
    /// Versions are indices, counted from here.
    base: u64,
    digest: u64,
    /// Keys that have changed since somebody asked.
    touched: BTreeSet<Bytes>,
}

impl Cell {
    /// Whether it counts at this time.
    pub fn lives(&self, log_time: u64) -> bool {
        self.expires_at.is_none_or(|at| log_time < at)
    }
}

impl Model {
    /// Does what the entry at `index` says, and tells what it gave.
    pub fn apply(&mut self, index: u64, at: u64, command: &Command) -> Told {
        self.log_time = self.log_time.max(at);
        self.digest = self.digest.wrapping_add(self.retries.forget(self.log_time));
        let Command::Once { ticket, command } = command else { return self.carry_out(index, command) };
        if let Some(answer) = self.retries.answer(ticket, self.log_time) {
            return answer;
        }
        let told = self.carry_out(index, command);
        let subject = match &**command {
            Command::Set { pair, .. } => pair.key.clone(),
            _ => Bytes::new(),
        };
        let change = self.retries.remember(ticket, (index, self.log_time), subject, told.clone());
        self.digest = self.digest.wrapping_add(change).wrapping_add(self.retries.forget(self.log_time));
        told
    }

    /// Log time, in milliseconds.
    pub fn log_time(&self) -> u64 {
        self.log_time
    }

    /// What stands under every key, whether or not its time is up.
    pub fn cells(&self) -> &BTreeMap<Bytes, Cell> {
        &self.cells
    }

    /// The keys under which something has changed since the last call.
    fn take_touched(&mut self) -> BTreeSet<Bytes> {
        std::mem::take(&mut self.touched)
    }

    /// How many requests are remembered by their keys.
    pub fn remembered(&self) -> u64 {
        self.retries.len()
    }

    /// The state hash, as `docs/formats/snapshot.md` defines it.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Versions move on by one to two 2^25ths of what is left of 53 bits.
    fn open(&mut self, index: u64, spread: u64) {
        let part = ((1 << 53) - 1 - (self.base + index)) / (1 << 25);
        if spread > 0 && part > 0 {
            self.digest = self.digest.wrapping_sub(digest::of_base(self.base));
            self.base += part + spread % part;
            self.digest = self.digest.wrapping_add(digest::of_base(self.base));
        }
    }

    fn carry_out(&mut self, index: u64, command: &Command) -> Told {
        let version = self.base + index;
        match command {
            Command::Set { pair, condition } => self.set(version, pair, *condition),
            Command::Delete { key } => {
                let existed = self.live(key).is_some();
                self.clear(key);
                Told::Deleted(existed)
            }
            Command::Incr { key, by } => self.incr(version, key, *by),
            Command::Expire { key, ttl_ms } => self.expire(version, key, *ttl_ms),
            Command::Persist { key } => match self.live(key) {
                Some(cell) if cell.expires_at.is_some() => {
                    self.place(key, Cell { version, expires_at: None, ..cell });
                    Told::Touched(true)
                }
                Some(_) | None => Told::Touched(false),
            },
            Command::Batch { pairs } => {
                pairs.iter().for_each(|pair| self.write(version, pair));
                Told::Batch(pairs.len() as u64)
            }
            Command::Sweep { keys } => {
                keys.iter().for_each(|key| drop(self.live(key)));
                Told::Internal
            }
            Command::EpochStart { spread, .. } => {
                self.open(index, (*spread).into());
                Told::Internal
            }
            Command::If { condition, command } => {
                let held = command.single_key().and_then(|key| self.live(key)).map(|cell| cell.version);
                let holds = match condition {
                    Condition::Always => true,
                    Condition::Absent => held.is_none(),
                    Condition::Present => held.is_some(),
                    Condition::Version(wanted) => wanted.0 == held.unwrap_or(0),
                };
                if holds { self.carry_out(index, command) } else { Told::VersionMismatch(held.unwrap_or(0)) }
            }
            Command::Config(_) | Command::Once { .. } => Told::Internal,
        }
    }

    fn set(&mut self, version: u64, pair: &Pair, condition: Condition) -> Told {
        let old = self.live(&pair.key);
        let actual = old.as_ref().map_or(0, |cell| cell.version);
        let written = match condition {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
            Condition::Version(wanted) if wanted.0 != actual => return Told::VersionMismatch(actual),
            Condition::Version(_) => true,
        };
        if written {
            self.write(version, pair);
        }
        Told::Set { written, version: if written { version } else { actual }, old }
    }

    fn incr(&mut self, version: u64, key: &Bytes, by: i64) -> Told {
        let old = self.live(key);
        let held = match &old {
            None => Some(0),
            Some(cell) => std::str::from_utf8(&cell.bytes).ok().and_then(|text| text.parse::<i64>().ok()),
        };
        // In a wider type no sum overflows: then the limits are a plain comparison.
        let sum = held.map(|held| i128::from(held) + i128::from(by));
        let Some(sum) = sum.and_then(|sum| i64::try_from(sum).ok()) else { return Told::NotAnInteger };
        let cell = Cell {
            bytes: Bytes::from(sum.to_string()),
            json: old.as_ref().is_none_or(|cell| cell.json),
            version,
            expires_at: old.and_then(|cell| cell.expires_at),
        };
        self.place(key, cell);
        Told::Number(sum)
    }

    fn expire(&mut self, version: u64, key: &Bytes, ttl_ms: u64) -> Told {
        let Some(cell) = self.live(key) else { return Told::Touched(false) };
        if ttl_ms == 0 {
            self.clear(key);
        } else {
            self.place(key, Cell { version, expires_at: self.end_of(Some(ttl_ms)), ..cell });
        }
        Told::Touched(true)
    }

    fn write(&mut self, version: u64, pair: &Pair) {
        let json = match pair.value.kind {
            ValueKind::Json => true,
            ValueKind::Bytes => false,
        };
        let expires_at = self.end_of(pair.ttl_ms);
        self.place(&pair.key, Cell { bytes: pair.value.bytes.clone(), json, version, expires_at });
    }

    /// What counts under the key; what does not goes.
    fn live(&mut self, key: &Bytes) -> Option<Cell> {
        let cell = self.cells.get(key)?.clone();
        if cell.lives(self.log_time) {
            return Some(cell);
        }
        self.clear(key);
        None
    }

    fn place(&mut self, key: &Bytes, cell: Cell) {
        self.clear(key);
        self.digest = self.digest.wrapping_add(digest::of_cell(key, &cell));
        self.touched.insert(key.clone());
        self.cells.insert(key.clone(), cell);
    }

    fn clear(&mut self, key: &Bytes) {
        if let Some(cell) = self.cells.remove(key) {
            self.touched.insert(key.clone());
            self.digest = self.digest.wrapping_sub(digest::of_cell(key, &cell));
        }
    }

    /// A time to live that reaches past all clocks is none.
    fn end_of(&self, ttl_ms: Option<u64>) -> Option<u64> {
        ttl_ms.and_then(|ttl_ms| self.log_time.checked_add(ttl_ms)).filter(|at| *at < u64::MAX)
    }
}
