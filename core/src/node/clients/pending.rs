//! Who waits for what: writes for their concern, reads for a state that admits them. Owns the deadlines of both.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::command::Outcome;
use crate::config::{Concern, Durability};
use crate::ids::RequestId;
use crate::input::ReadDemand;
use crate::log::Answered;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal, Reply, Written};
use crate::position::{Index, Position};
use crate::time::Time;
use crate::view::View;

/// Most writes that wait at once (INV-12).
pub(in crate::node) const WAITERS_MAX: usize = 65_536;
/// Most reads that wait at once (INV-12).
pub(in crate::node) const READS_MAX: usize = 8_192;

/// Writes that wait for their concern, at most one per entry.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Waiters {
    by_index: BTreeMap<Index, Waiter>,
    by_request: BTreeMap<RequestId, Index>,
    deadlines: BTreeSet<(Time, Index)>,
    /// Applied, and satisfied with that.
    ready: Vec<Index>,
    /// Applied, and waiting for this many replicas.
    replicating: BTreeSet<(u32, Index)>,
    /// Waiting for this disk alone: their outcome is known before they are applied.
    syncing: BTreeSet<Index>,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: RequestId,
    position: Position,
    concern: Concern,
    deadline: Time,
    outcome: Option<Outcome>,
}

/// Reads that wait for a later state.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Reads {
    waiting: BTreeMap<(Index, RequestId), (ReadDemand, Time)>,
    by_request: BTreeMap<RequestId, Index>,
    deadlines: BTreeSet<(Time, RequestId)>,
}

impl Waiters {
    pub(in crate::node) fn len(&self) -> usize {
        self.by_index.len()
    }

    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The first write that waits for this disk alone.
    pub(in crate::node) fn first_for_disk(&self) -> Option<Index> {
        self.syncing.first().copied()
    }

    pub(in crate::node) fn wait(&mut self, id: RequestId, position: Position, concern: Concern, deadline: Time) {
        assert!(self.by_index.len() < WAITERS_MAX, "INV-12: the door refuses before this");
        self.by_request.insert(id, position.index);
        self.deadlines.insert((deadline, position.index));
        self.by_index.insert(position.index, Waiter { id, position, concern, deadline, outcome: None });
    }

    /// As [`Self::wait`], for one that is satisfied when this disk holds it, with this outcome.
    pub(in crate::node) fn wait_for_disk(
        &mut self,
        id: RequestId,
        position: Position,
        outcome: Outcome,
        deadline: Time,
    ) {
        self.wait(id, position, Concern::Local, deadline);
        if let Some(waiter) = self.by_index.get_mut(&position.index) {
            waiter.outcome = Some(outcome);
            self.syncing.insert(position.index);
        }
    }

    /// Nobody wants this answer any more.
    pub(in crate::node) fn cancel(&mut self, id: RequestId) {
        if let Some(index) = self.by_request.get(&id).copied() {
            self.remove(index);
        }
    }

    /// An entry was applied, with this outcome.
    pub(in crate::node) fn applied(&mut self, position: Position, outcome: Outcome) {
        let Some(waiter) = self.by_index.get_mut(&position.index) else { return };
        assert_eq!(waiter.position, position, "INV-8: an answer is about the entry that was asked for");
        waiter.outcome = Some(outcome);
        match waiter.concern {
            Concern::Local if self.syncing.contains(&position.index) => {}
            Concern::Async | Concern::Local | Concern::Quorum => self.ready.push(position.index),
            Concern::Replicas(count) => {
                self.replicating.insert((count, position.index));
            }
        }
    }

    /// Who is satisfied now, given how far this disk and so many replicas hold the log.
    fn satisfied(&mut self, durable: Index, held_by: impl Fn(u32) -> Index) -> Vec<(Waiter, Outcome)> {
        let mut satisfied = core::mem::take(&mut self.ready);
        satisfied.extend(self.syncing.range(..=durable));
        let mut from = (0, Index::ZERO);
        while let Some((count, _)) = self.replicating.range(from..).next().copied() {
            let held = held_by(count);
            satisfied
                .extend(self.replicating.range((count, Index::ZERO)..=(count, held)).map(|(_, index)| *index));
            let Some(next) = count.checked_add(1) else { break };
            from = (next, Index::ZERO);
        }
        satisfied
            .into_iter()
            .filter_map(|index| self.remove(index))
            .filter_map(|mut waiter| {
                let outcome = waiter.outcome.take()?;
                Some((waiter, outcome))
            })
            .collect()
    }

    fn late(&mut self, now: Time) -> Vec<Waiter> {
        let mut late = Vec::new();
        while let Some((at, index)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, index));
            late.extend(self.remove(index));
        }
        late
    }

    /// This node no longer answers for them: each may still take effect. `refused` is the planted bug: all are told this.
    pub(in crate::node) fn abandon(&mut self, refused: Option<&Refusal>, out: &mut Output) {
        for waiter in core::mem::take(&mut self.by_index).into_values() {
            let pending = Refusal::Pending { position: waiter.position };
            out.replies.push((waiter.id, Err(refused.cloned().unwrap_or(pending))));
        }
        *self = Self::default();
    }

    fn remove(&mut self, index: Index) -> Option<Waiter> {
        let waiter = self.by_index.remove(&index)?;
        self.by_request.remove(&waiter.id);
        self.deadlines.remove(&(waiter.deadline, index));
        if let Concern::Replicas(count) = waiter.concern {
            self.replicating.remove(&(count, index));
        }
        self.syncing.remove(&index);
        Some(waiter)
    }
}

impl Reads {
    pub(in crate::node) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The read waits for a state that it may see, with everything up to `least` in it.
    pub(in crate::node) fn wait(&mut self, id: RequestId, demand: ReadDemand, least: Index, deadline: Time) {
        let index = demand.min_position.map_or(least, |named| named.index.max(least));
        self.waiting.insert((index, id), (demand, deadline));
        self.by_request.insert(id, index);
        self.deadlines.insert((deadline, id));
    }

    pub(in crate::node) fn cancel(&mut self, id: RequestId) {
        let Some(index) = self.by_request.remove(&id) else { return };
        if let Some((_, deadline)) = self.waiting.remove(&(index, id)) {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Those that a state up to `applied` may admit.
    fn candidates(&self, applied: Index) -> Vec<(RequestId, ReadDemand)> {
        let reached = self.waiting.iter().take_while(|((index, _), _)| *index <= applied);
        reached.map(|((_, id), (demand, _))| (*id, *demand)).collect()
    }

    fn late(&mut self, now: Time) -> Vec<RequestId> {
        let late: Vec<RequestId> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in &late {
            self.cancel(*id);
        }
        late
    }
}

impl Node {
    /// Answers those whose concern is reached, then those who waited too long.
    pub(in crate::node) fn answer(&mut self, out: &mut Output) {
        self.answer_writes(out);
        for waiter in self.waiters.late(self.now.mono) {
            out.replies.push((waiter.id, Err(Refusal::Pending { position: waiter.position })));
        }
        self.answer_reads(out);
    }

    fn answer_writes(&mut self, out: &mut Output) {
        let Role::Master(master) = &self.role else { return };
        let durable = self.durable.durable();
        let waits = self.config.planted.local_waits_for_majority();
        let synced = if waits { self.applied.index } else { durable };
        let (least, keeps_log) = (self.copies_are(), self.config.durability() >= Durability::Logged);
        for (waiter, outcome) in self.waiters.satisfied(synced, |count| master.held_by(count, least)) {
            let Waiter { id, position: asked, concern, .. } = waiter;
            assert!(asked.index <= durable, "INV-3: {asked} is answered and not on this disk");
            // INV-14: a retry speaks of the entry that did the work. Its own stands behind that one, so whatever
            // disks satisfied it hold the first as well.
            let position = self.log.first_of(asked, &outcome);
            for index in [position.index, asked.index] {
                if let Some(slot) = self.log.get_mut(index) {
                    slot.answered = Answered::Yes;
                }
            }
            let here = keeps_log && durable >= position.index;
            let durable_on = master.copies_of(position.index, Durability::Logged) + u32::from(here);
            out.replies.push((id, Ok(reply(Written { position, concern, durable_on, outcome }))));
        }
    }

    /// What counts as a copy for a client: a log on a disk, synced or not, where this node has one itself. Of a cluster that keeps all
    /// in memory nobody expects more.
    fn copies_are(&self) -> Durability {
        self.config.durability().min(Durability::Logged)
    }

    fn answer_reads(&mut self, out: &mut Output) {
        if self.reads.len() == 0 {
            return;
        }
        // This turn's outline is drawn last, when everything has been settled.
        let view = Arc::new(View { store: self.store.view(), outline: Arc::new(self.make_outline()) });
        for (id, demand) in self.reads.candidates(self.applied.index) {
            match view.admits(&demand, self.now.mono) {
                Ok(true) => out.replies.push((id, Ok(Reply::Read(view.clone())))),
                Ok(false) => continue,
                Err(refusal) => out.replies.push((id, Err(refusal))),
            }
            self.reads.cancel(id);
        }
        for id in self.reads.late(self.now.mono) {
            let staleness = view.staleness(self.now.mono);
            out.replies.push((id, Err(Refusal::Stale { staleness, applied: self.applied })));
        }
    }
}

/// What a satisfied waiter is told: a client of its write, an operator of a change of membership.
fn reply(written: Written) -> Reply {
    match written.outcome {
        Outcome::Internal => Reply::Configured(written.position),
        _ => Reply::Written(written),
    }
}
