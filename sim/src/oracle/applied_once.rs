//! INV-14: a retried request is applied once: in the log that a run ends with, at most one entry under each Idempotency-Key
//! does anything, and every answer that this log bears out names that entry.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::{Command, Outcome};
use synap_core::history::Term;
use synap_core::position::{Index, Position};
use synap_core::store::{Store, WINDOW};
use synap_core::time::WallMs;

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers what retries were answered with.
#[derive(Debug, Default)]
pub(super) struct AppliedOnce {
    answered: BTreeMap<Bytes, Vec<Position>>,
    compared: u64,
}

impl Oracle for AppliedOnce {
    fn name(&self) -> &'static str {
        "INV-14 a retried request is applied once"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            // Who took another request's key is told of an entry that did nothing.
            Fact::Written { command: Command::Once { ticket, .. }, written, .. }
                if !matches!(written.outcome, Outcome::KeyReused { .. }) =>
            {
                self.answered.entry(ticket.key.clone()).or_default().push(written.position);
                Ok(())
            }
            Fact::Converged { node, history, statuses, .. } => match statuses.get(*node) {
                Some(Some(status)) => self.settle(ground, history.terms(), status.positions.last.index),
                Some(None) | None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl AppliedOnce {
    fn settle(&mut self, ground: &Ground<'_>, terms: &[Term], last: Index) -> Result<(), String> {
        let mut store = Store::default();
        let mut done: BTreeMap<Bytes, Position> = BTreeMap::new();
        let mut stamped: BTreeMap<Bytes, WallMs> = BTreeMap::new();
        for entry in ground.log.chain(terms, Index(1), last) {
            let command = entry.command().map_err(|error| format!("{}: {error}", entry.position))?;
            let applied = store.apply(entry.position.index, entry.at, &command);
            let Command::Once { ticket, .. } = command else { continue };
            if matches!(applied.outcome, Outcome::Replayed { .. } | Outcome::KeyReused { .. }) {
                continue;
            }
            self.compared += 1;
            // A request is remembered for so long by log time, which may step over a time in which no node was up.
            let before = stamped.insert(ticket.key.clone(), entry.at);
            if before.is_some_and(|at| entry.at.0.saturating_sub(at.0) >= WINDOW.age_ms_max) {
                done.remove(&ticket.key);
                continue;
            }
            let first = done.insert(ticket.key.clone(), entry.position);
            if let Some(first) = first {
                let key = String::from_utf8_lossy(&ticket.key).into_owned();
                return Err(format!(
                    "the request under {key} is applied at {first} and again at {}",
                    entry.position
                ));
            }
        }
        self.answers_name_it(ground, terms, last, &done)
    }

    /// An answer that a failover took back names another place; one that stands names the entry that was applied.
    fn answers_name_it(
        &mut self,
        ground: &Ground<'_>,
        terms: &[Term],
        last: Index,
        done: &BTreeMap<Bytes, Position>,
    ) -> Result<(), String> {
        for (key, positions) in &self.answered {
            let Some(applied) = done.get(key) else { continue };
            for told in positions {
                let stands =
                    ground.log.chain(terms, told.index, told.index.min(last)).any(|it| it.position == *told);
                self.compared += 1;
                if stands && told != applied {
                    let key = String::from_utf8_lossy(key);
                    return Err(format!(
                        "the request under {key} is applied at {applied}, and was answered as {told}"
                    ));
                }
            }
        }
        Ok(())
    }
}
