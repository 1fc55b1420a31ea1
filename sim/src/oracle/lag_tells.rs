//! INV-11: reported lag never understates. Truth is what was delivered to the node: the master's last index that it
//! has heard of, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use synap_core::ids::LinkId;
use synap_core::message::Message;
use synap_core::position::{Epoch, Index, Position};
use synap_core::status::{Role, Status};

use crate::oracle::{Fact, Ground, Oracle};

/// Remembers what each node was told of its master's log, and what masters have answered.
#[derive(Debug)]
pub(super) struct LagTells {
    heard: Vec<Heard>,
    /// By epoch and time: the highest index answered until then.
    answered: BTreeMap<(Epoch, u64), Index>,
    compared: u64,
}

/// What a node was told of the log of one epoch's master.
#[derive(Clone, Debug, Default)]
struct Heard {
    epoch: Epoch,
    /// Words of the newest turn, with the link that each came on: not heard if the node gave that link up in the same turn.
    fresh: Vec<(LinkId, Epoch, Index, u64)>,
    /// Each new last index, with the time when it was first heard of.
    last: BTreeMap<Index, u64>,
}

impl LagTells {
    pub(super) fn new(nodes: usize) -> Self {
        Self { heard: vec![Heard::default(); nodes], answered: BTreeMap::new(), compared: 0 }
    }
}

impl Oracle for LagTells {
    fn name(&self) -> &'static str {
        "INV-11 reported lag never understates"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { node, .. } => {
                self.heard[*node] = Heard::default();
                Ok(())
            }
            Fact::Heard { node, link, message: Message::Append(append), .. } => {
                self.heard[*node].deliver(*link, append.epoch, append.last, ground.at);
                Ok(())
            }
            Fact::Heard { node, link, message: Message::Welcome(welcome), .. } if welcome.standing.leads => {
                // Another master may take the place of the last one with that alone, even if its link is given up in the same turn. What
                // it says of its log is not compared.
                self.heard[*node].deliver(*link, welcome.standing.promised, Index::ZERO, ground.at);
                Ok(())
            }
            Fact::GaveUp { node, link } => {
                self.heard[*node]
                    .fresh
                    .retain(|(on, _, last, at)| on != link || *at != ground.at || *last == Index::ZERO);
                Ok(())
            }
            Fact::Written { written, .. } => {
                self.answered.insert((written.position.epoch, ground.at), written.position.index);
                Ok(())
            }
            Fact::Status { node, status, .. } if status.role == Role::Replica => {
                self.compared += 1;
                self.heard[*node].check(ground, status).map_err(|why| format!("n{node} {why}"))?;
                let Some(staleness) = status.staleness else { return Ok(()) };
                let stands = (status.epoch, status.positions.applied);
                self.check_staleness(stands, staleness, ground.at, ground.plan.knobs.drift_ppm_max.into())
                    .map_err(|why| format!("n{node} {why}"))
            }
            Fact::Read { node, applied, asked_at, staleness: Some(staleness), .. } => {
                self.compared += 1;
                let stands = (applied.epoch, *applied);
                self.check_staleness(stands, *staleness, *asked_at, ground.plan.knobs.drift_ppm_max.into())
                    .map_err(|why| format!("n{node} answers a reader and {why}"))
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl Heard {
    fn deliver(&mut self, link: LinkId, epoch: Epoch, last: Index, at: u64) {
        if self.fresh.first().is_some_and(|(.., earlier)| *earlier != at) {
            self.settle();
        }
        self.fresh.push((link, epoch, last, at));
    }

    /// The turn is over: what is still there was heard.
    fn settle(&mut self) {
        for (_, epoch, last, at) in std::mem::take(&mut self.fresh) {
            self.take(epoch, last, at);
        }
    }

    fn take(&mut self, epoch: Epoch, last: Index, at: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.last.clear();
        }
        let news = self.last.last_key_value().is_none_or(|(known, _)| *known < last);
        if epoch == self.epoch && news {
            self.last.insert(last, at);
        }
    }

    fn check(&mut self, ground: &Ground<'_>, status: &Status) -> Result<(), String> {
        let at = ground.at;
        self.settle();
        if status.epoch != self.epoch {
            return Ok(());
        }
        let applied = status.positions.applied.index;
        let truth = self.last.last_key_value().map_or(0, |(last, _)| last.ahead_of(applied));
        if status.lag_operations < truth {
            return Err(format!("says that it lags {} operations behind, it is {truth}", status.lag_operations));
        }
        // The first word of anything beyond what is applied.
        let since = self.last.range(applied.next()..).next().map_or(at, |(_, since)| *since);
        // Told on the node's own clock, which may lose.
        let lost = (at - since) * u64::from(ground.plan.knobs.drift_ppm_max) / 1_000_000 + 1;
        let truth = Duration::from_micros((at - since).saturating_sub(lost));
        if status.lag < truth {
            return Err(format!("says that it lags {:?} behind, it is {truth:?}", status.lag));
        }
        Ok(())
    }
}

impl LagTells {
    /// Who says that he held everything at a time held what the master whom he follows had answered by then.
    fn check_staleness(
        &self,
        (epoch, applied): (Epoch, Position),
        staleness: Duration,
        at: u64,
        drift_ppm: u64,
    ) -> Result<(), String> {
        // Told on the node's own clock, which may gain or lose.
        let staleness_us = u64::try_from(staleness.as_micros()).unwrap_or(u64::MAX / 2);
        let drift_us = staleness_us.div_ceil(1_000_000 - drift_ppm) * drift_ppm;
        let then = at.saturating_sub(staleness_us.saturating_add(drift_us));
        let answered = self.answered.range((epoch, 0)..(epoch, then)).map(|(_, index)| *index).max();
        match answered {
            Some(index) if index > applied.index => Err(format!(
                "says that its state is {staleness:?} old at most, but {index} was answered before that and it has \
                 applied {applied}"
            )),
            Some(_) | None => Ok(()),
        }
    }
}
