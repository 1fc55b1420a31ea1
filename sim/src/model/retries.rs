//! What was asked under an `Idempotency-Key`, and what it gave: the newest 262,144, for 24 hours by the log's clock
//! (`docs/api.md`). The bound in bytes is left out: no run comes near it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synap_core::command::{Fingerprint, Ticket};

use super::told::Told;
use super::{Cell, digest};

const RESULTS_MAX: usize = 262_144;
const AGE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// An old value that takes more, with its key and its bookkeeping, is not kept.
const OLD_BYTES_MAX: usize = 64 << 10;
/// What one entry at most drops for its age; the rest is forgotten all the same.
const DROPPED_AT_ONCE: usize = 16;

/// What is remembered, by key and in the order of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries {
    known: BTreeMap<Bytes, Known>,
    order: BTreeSet<(u64, u64, Bytes)>,
}

/// A request and what it gave.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) first: u64,
    pub(super) at: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) old_dropped: bool,
    /// The key that an old value stood under.
    pub(super) subject: Bytes,
    pub(super) told: Told,
}

/// Whether a value that was under this key before is too long to be remembered for who asks again.
pub fn is_long(key: &Bytes, old: &Cell) -> bool {
    digest::cell(key, old).len() > OLD_BYTES_MAX
}

impl Retries {
    pub(super) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// What a request under this key is told if it is not the first.
    pub(super) fn answer(&self, ticket: &Ticket, now: u64) -> Option<Told> {
        let known = self.known.get(&ticket.key).filter(|known| !is_old(known.at, now))?;
        let first = known.first;
        Some(if known.fingerprint == ticket.fingerprint {
            Told::Again { first, told: Box::new(known.told.clone()), old_dropped: known.old_dropped }
        } else {
            Told::Reused { first }
        })
    }

    /// Remembers what the first one gave, and tells the change of the state hash.
    pub(super) fn remember(
        &mut self,
        ticket: &Ticket,
        (first, at): (u64, u64),
        subject: Bytes,
        told: Told,
    ) -> u64 {
        let is_long = match &told {
            Told::Set { old: Some(old), .. } => is_long(&subject, old),
            _ => false,
        };
        let told = if ticket.wants_old && !is_long { told } else { told.without_old() };
        let old_dropped = ticket.wants_old && is_long;
        let known = Known { first, at, fingerprint: ticket.fingerprint, old_dropped, subject, told };
        let change = self.drop_one(&ticket.key).wrapping_add(digest::of_known(&ticket.key, &known));
        self.order.insert((at, first, ticket.key.clone()));
        self.known.insert(ticket.key.clone(), known);
        change
    }

    /// Drops what is too much or too old, and tells the change of the state hash.
    pub(super) fn forget(&mut self, now: u64) -> u64 {
        let mut change = 0_u64;
        for dropped in 0.. {
            let Some((at, _, key)) = self.order.first().cloned() else { break };
            let too_many = self.known.len() > RESULTS_MAX;
            if !too_many && (!is_old(at, now) || dropped >= DROPPED_AT_ONCE) {
                break;
            }
            change = change.wrapping_add(self.drop_one(&key));
        }
        change
    }

    fn drop_one(&mut self, key: &Bytes) -> u64 {
        let Some(known) = self.known.remove(key) else { return 0 };
        self.order.remove(&(known.at, known.first, key.clone()));
        digest::of_known(key, &known).wrapping_neg()
    }
}

fn is_old(at: u64, now: u64) -> bool {
    now >= at.saturating_add(AGE_MS_MAX)
}
