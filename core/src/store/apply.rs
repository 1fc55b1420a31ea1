//! What each command does. Every rule here is part of the format: two nodes that disagree on one of them
//! diverge.
//!
//! - A key that has expired by the entry's time counts as absent, and is removed by the command that meets it.
//! - A key's version tells the entry that last changed its value or its expiry: the state hash covers
//!   both, and "the key has not changed since" means both. See [`crate::version`].
//! - Of the commands under one ticket's key the first is carried out. The log's order decides which that is, so that
//!   a retry needs no look at what is in flight: it stands behind it.

use alloc::string::ToString;
use core::str;

use bytes::Bytes;

use super::results::Known;
use super::{Applied, Item, Prior, Store, WINDOW};
use crate::command::{Command, Condition, Outcome, Pair, Ticket, ValueKind};
use crate::position::Index;
use crate::time::WallMs;
use crate::version::Version;

impl Store {
    /// Applies the entry at `index`. The same entries in the same order give the same store anywhere.
    pub fn apply(&mut self, index: Index, at: WallMs, command: &Command) -> Applied {
        // Entries' times never go back; should one do so, the log's time does not.
        self.view.log_time = self.view.log_time.max(at);
        self.evict_results();
        match command {
            Command::Once { ticket, command } => self.once(index, ticket, command),
            Command::EpochStart { spread, .. } => {
                self.move_base(self.version_base.opened(index, *spread));
                internal()
            }
            plain => self.carry_out(index, plain),
        }
    }

    /// INV-14: whatever stands behind the first under its key is answered and does nothing.
    fn once(&mut self, index: Index, ticket: &Ticket, command: &Command) -> Applied {
        if let Some(known) = self.view.results.get(&ticket.key, self.log_time(), WINDOW) {
            let outcome = if known.fingerprint == ticket.fingerprint {
                known.replay()
            } else {
                Outcome::KeyReused { first: known.first }
            };
            return Applied { outcome, prior: Prior::Unknown };
        }
        let applied = self.carry_out(index, command);
        let known = Known {
            first: index,
            fingerprint: ticket.fingerprint,
            at: self.log_time(),
            old_dropped: false,
            outcome: applied.outcome.clone(),
        };
        self.hash = self.view.results.remember(ticket, known).on(self.hash);
        self.evict_results();
        applied
    }

    fn evict_results(&mut self) {
        self.hash = self.view.results.evict(self.view.log_time, WINDOW).on(self.hash);
    }

    fn carry_out(&mut self, index: Index, command: &Command) -> Applied {
        let version = self.version_base.at(index);
        match command {
            Command::Set { pair, condition } => self.set(version, pair, *condition),
            Command::Delete { key } => self.delete(key),
            Command::Incr { key, by } => self.incr(version, key, *by),
            Command::Expire { key, ttl_ms } => self.expire(version, key, *ttl_ms),
            Command::Persist { key } => self.persist(version, key),
            Command::Batch { pairs } => self.batch(version, pairs),
            Command::Sweep { keys } => self.sweep(keys),
            Command::If { condition, command } => self.where_it_holds(index, *condition, command),
            Command::EpochStart { .. } | Command::Config(_) => internal(),
            Command::Once { .. } => panic!("INV-14: a ticket within a ticket came past the codec"),
        }
    }

    fn set(&mut self, version: Version, pair: &Pair, condition: Condition) -> Applied {
        // Without a condition one way down the tree will do: the item in whose place it comes is the old one.
        if condition == Condition::Always {
            let old = self.write(version, pair);
            return one(old.as_ref(), Outcome::Set { written: true, version, old: old.clone() });
        }
        let old = self.live(&pair.key);
        let actual = version_of(old.as_ref());
        let admitted = holds(condition, actual);
        if admitted {
            self.write(version, pair);
        } else if let Condition::Version(_) = condition {
            return one(old.as_ref(), Outcome::VersionMismatch { actual });
        }
        let version = if admitted { version } else { actual };
        one(old.as_ref(), Outcome::Set { written: admitted, version, old: old.clone() })
    }

    /// A command on one key that is not as it must be does nothing.
    fn where_it_holds(&mut self, index: Index, condition: Condition, command: &Command) -> Applied {
        let Some(key) = command.single_key() else { panic!("a condition for {command:?} came past the codec") };
        let old = self.live(key);
        let actual = version_of(old.as_ref());
        if holds(condition, actual) {
            self.carry_out(index, command)
        } else {
            one(old.as_ref(), Outcome::VersionMismatch { actual })
        }
    }

    fn delete(&mut self, key: &Bytes) -> Applied {
        let log_time = self.log_time();
        let old = self.take(key).filter(|old| !old.is_expired(log_time));
        one(old.as_ref(), Outcome::Deleted { existed: old.is_some() })
    }

    fn incr(&mut self, version: Version, key: &Bytes, by: i64) -> Applied {
        let old = self.live(key);
        let start = match &old {
            Some(item) => integer(item.value()),
            None => Some(0),
        };
        let Some(sum) = start.and_then(|start| start.checked_add(by)) else {
            return one(old.as_ref(), Outcome::NotAnInteger);
        };
        let kind = old.as_ref().map_or(ValueKind::Json, Item::kind);
        let expires_at = old.as_ref().and_then(Item::expires_at);
        self.put(Item::new(key, kind, sum.to_string().as_bytes(), version, expires_at));
        one(old.as_ref(), Outcome::Number(sum))
    }

    fn expire(&mut self, version: Version, key: &Bytes, ttl_ms: u64) -> Applied {
        let old = self.live(key);
        if let Some(old) = &old {
            // Nothing is left of a key whose time is up at once: what Redis does.
            if ttl_ms == 0 {
                self.take(key);
            } else {
                self.put(old.with_expiry(version, self.expiry(Some(ttl_ms))));
            }
        }
        one(old.as_ref(), Outcome::Touched(old.is_some()))
    }

    fn persist(&mut self, version: Version, key: &Bytes) -> Applied {
        let old = self.live(key);
        let expiring = old.as_ref().filter(|item| item.expires_at().is_some());
        if let Some(item) = expiring {
            self.put(item.with_expiry(version, None));
        }
        one(old.as_ref(), Outcome::Touched(expiring.is_some()))
    }

    fn batch(&mut self, version: Version, pairs: &[Pair]) -> Applied {
        // All before the first write: a key that stands twice had the same version before the batch both times.
        let prior = pairs.iter().map(|pair| version_of(self.live(&pair.key).as_ref())).collect();
        for pair in pairs {
            self.write(version, pair);
        }
        Applied { outcome: Outcome::Batch { written: pairs.len() as u64 }, prior: Prior::Many(prior) }
    }

    fn sweep(&mut self, keys: &[Bytes]) -> Applied {
        for key in keys {
            // One that was written anew since the master looked stays.
            let _ = self.live(key);
        }
        internal()
    }

    /// The item at `key`; one that has expired is removed and counts as absent.
    fn live(&mut self, key: &[u8]) -> Option<Item> {
        let item = self.view.items.get(key)?;
        if item.is_expired(self.log_time()) {
            self.take(key);
            return None;
        }
        Some(item.clone())
    }

    /// Writes the pair, and gives the live item in whose place it comes.
    fn write(&mut self, version: Version, pair: &Pair) -> Option<Item> {
        let expires_at = self.expiry(pair.ttl_ms);
        let item = Item::new(&pair.key, pair.value.kind, &pair.value.bytes, version, expires_at);
        let log_time = self.log_time();
        self.put(item).filter(|old| !old.is_expired(log_time))
    }

    /// The end of a time to live; none for one that reaches past all clocks.
    fn expiry(&self, ttl_ms: Option<u64>) -> Option<WallMs> {
        ttl_ms.map(|ttl_ms| self.log_time().plus_ms(ttl_ms)).filter(|at| *at < WallMs(u64::MAX))
    }
}

fn one(old: Option<&Item>, outcome: Outcome) -> Applied {
    Applied { outcome, prior: Prior::One(version_of(old)) }
}

const fn internal() -> Applied {
    Applied { outcome: Outcome::Internal, prior: Prior::Unknown }
}

/// Whether a key of this version is as the condition asks.
fn holds(condition: Condition, actual: Version) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => actual == Version::ABSENT,
        Condition::Present => actual != Version::ABSENT,
        Condition::Version(wanted) => wanted == actual,
    }
}

fn version_of(item: Option<&Item>) -> Version {
    item.map_or(Version::ABSENT, Item::version)
}

/// A whole number in decimal, with or without a sign, and nothing else.
fn integer(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok())
}
