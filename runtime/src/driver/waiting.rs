//! What waits in a driver: writes that no turn has taken, requests that have no answer yet, and batches of the log that the
//! disk has not taken. Owns the bound of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use synap_core::ids::RequestId;
use synap_core::input::{Input, Request};
use synap_core::output::{Refusal, Reply};
use synap_core::time::Time;
use synap_core::wal::{Lane, WriteBatch};
use tokio::sync::oneshot;

use crate::handle::{Ask, is_write};
use crate::http::Room;

/// Requests that may wait to be taken by a turn; one more is [`Refusal::Busy`]. So many writes, and so many others.
pub const ASKS_MAX: usize = 16_384;

/// Writes that may wait for their answer; one more is [`Refusal::Busy`].
pub const WRITERS_MAX: usize = 65_536;

/// Other requests that may wait for their answer, likewise.
pub const ASKERS_MAX: usize = 16_384;

/// While more of the log than this waits for the disk, no write is taken, so that a disk slower than its clients slows them
/// down.
const UNWRITTEN_BATCHES_MAX: usize = 1024;
const UNWRITTEN_BYTES_MAX: usize = 128 << 20;

/// How often waiters are looked through for clients that have gone.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Writes that no turn has taken, since too much waits for the disk.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    waiting: VecDeque<(Time, Ask)>,
    /// None of them is late before.
    due: Option<Time>,
}

impl PutOff {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ASKS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.due.filter(|_| !self.waiting.is_empty())
    }

    pub(super) fn extend(&mut self, asks: impl Iterator<Item = Ask>, now: Time) {
        for ask in asks {
            let late_at = match &ask.request {
                Request::Write { timeout, .. } => now + *timeout,
                _ => now,
            };
            self.due = Some(self.due.map_or(late_at, |due| due.min(late_at)));
            self.waiting.push_back((late_at, ask));
        }
    }

    pub(super) fn take(&mut self, count: usize) -> impl Iterator<Item = Ask> {
        let count = count.min(self.waiting.len());
        self.waiting.drain(..count).map(|(_, ask)| ask)
    }

    /// The node has seen none of them: nothing was done.
    pub(super) fn refuse_late(&mut self, now: Time) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        let (late, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(late_at, _)| *late_at <= now);
        self.due = left.iter().map(|(late_at, _)| *late_at).min();
        self.waiting = left;
        for (_, ask) in late {
            // An asker that has gone needs no refusal.
            let _ = ask.reply.send(Err(Refusal::Busy));
        }
    }
}

/// Requests that wait for their answer, by number.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<RequestId, Waiter>,
    /// How many of them are writes.
    writers: usize,
    next: u64,
    sweep_due: Time,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiter {
    is_write: bool,
    reply: oneshot::Sender<Result<Reply, Refusal>>,
    /// Given back with the answer.
    _room: Option<Arc<Room>>,
}

impl Waiters {
    /// Numbers a request, unless too many wait.
    pub(super) fn admit(&mut self, ask: Ask) -> Option<Input> {
        let Ask { request, reply, room } = ask;
        let is_write = is_write(&request);
        let full = match is_write {
            true => self.writers >= WRITERS_MAX,
            false => self.waiting.len() - self.writers >= ASKERS_MAX,
        };
        if full {
            // An asker that has gone needs no refusal, here and below.
            let _ = reply.send(Err(Refusal::Busy));
            return None;
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.writers += usize::from(is_write);
        self.waiting.insert(id, Waiter { is_write, reply, _room: room });
        Some(Input::Request { id, request })
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Result<Reply, Refusal>) {
        if let Some(Waiter { is_write, reply, _room }) = self.waiting.remove(&id) {
            self.writers -= usize::from(is_write);
            let _ = reply.send(answer);
        }
    }

    /// From time to time: tells the node of askers that have gone.
    pub(super) fn sweep(&mut self, now: Time, inputs: &mut Vec<Input>) {
        if now < self.sweep_due {
            return;
        }
        self.sweep_due = now + SWEEP_EVERY;
        self.waiting.retain(|id, waiter| {
            let gone = waiter.reply.is_closed();
            if gone {
                self.writers -= usize::from(waiter.is_write);
                inputs.push(Input::Cancel(*id));
            }
            !gone
        });
    }

    pub(super) fn sweep_due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.sweep_due)
    }
}

/// Batches of the log that wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    batches: VecDeque<usize>,
    bytes: usize,
    /// While the node takes no writes it says so itself, and must hear them.
    pub(super) node_takes_writes: bool,
}

impl Unwritten {
    pub(super) fn add(&mut self, batch: &WriteBatch) {
        match batch.lane() {
            Lane::Log => {
                let bytes = batch.records.iter().map(|record| record.len()).sum();
                self.batches.push_back(bytes);
                self.bytes += bytes;
            }
            // The node itself never has more than a few of these under way.
            Lane::Snapshot => {}
        }
    }

    pub(super) fn remove(&mut self, lane: Lane, batches: usize) {
        match lane {
            Lane::Log => self.bytes -= self.batches.drain(..batches).sum::<usize>(),
            Lane::Snapshot => {}
        }
    }

    pub(super) fn too_much(&self) -> bool {
        self.node_takes_writes && (self.batches.len() > UNWRITTEN_BATCHES_MAX || self.bytes > UNWRITTEN_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synap_core::command::Command;

    use super::*;

    fn write(timeout_ms: u64) -> (Ask, oneshot::Receiver<Result<Reply, Refusal>>) {
        let (reply, answer) = oneshot::channel();
        let command = Command::Delete { key: Bytes::from_static(b"k") };
        let timeout = Duration::from_millis(timeout_ms);
        (Ask { request: Request::Write { command, concern: None, timeout }, reply, room: None }, answer)
    }

    #[test]
    fn a_write_that_no_turn_takes_is_refused_when_its_time_is_over() {
        let mut put_off = PutOff::default();
        let (late, mut late_answer) = write(100);
        let (patient, mut patient_answer) = write(5_000);
        put_off.extend([patient, late].into_iter(), Time(0));
        assert_eq!(put_off.due(), Some(Time(100_000)));
        put_off.refuse_late(Time(99_999));
        assert!(late_answer.try_recv().is_err(), "nobody is refused before");
        put_off.refuse_late(Time(100_000));
        assert_eq!(late_answer.try_recv().unwrap().unwrap_err(), Refusal::Busy);
        assert_eq!(put_off.due(), Some(Time(5_000_000)));
        assert_eq!(put_off.take(usize::MAX).count(), 1);
        assert!(patient_answer.try_recv().is_err(), "it was taken");
        assert_eq!(put_off.due(), None);
    }

    #[test]
    fn writes_take_no_place_from_others() {
        let mut waiters = Waiters::default();
        let mut answers = Vec::new();
        for _ in 0..=WRITERS_MAX {
            let (ask, answer) = write(1);
            answers.push(answer);
            waiters.admit(ask);
        }
        assert_eq!(answers.pop().unwrap().try_recv().unwrap().unwrap_err(), Refusal::Busy);
        let (reply, _answer) = oneshot::channel();
        assert!(waiters.admit(Ask { request: Request::Status, reply, room: None }).is_some());
        waiters.answer(RequestId(0), Err(Refusal::Busy));
        assert!(waiters.admit(write(1).0).is_some(), "a place is free again");
    }

    #[test]
    fn nothing_is_held_back_from_a_node_that_takes_no_writes() {
        let mut unwritten = Unwritten { bytes: UNWRITTEN_BYTES_MAX + 1, ..Unwritten::default() };
        assert!(!unwritten.too_much());
        unwritten.node_takes_writes = true;
        assert!(unwritten.too_much());
    }
}
