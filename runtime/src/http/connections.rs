//! The connections that are open: how many there may be, what each is doing, and which have done nothing for too
//! long. Owns their deadlines; never reads or writes a byte of theirs.
//!
//! A connection marks each change of what it does with the front's coarse clock, one store; a sweep four times a
//! second looks at all of them. So no request pays for a timer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::settings::FrontSettings;

/// How often connections are looked at.
pub(crate) const SWEEP: Duration = Duration::from_millis(250);

/// A peer that takes nothing of its answer for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where all seats are taken, a connection on which nothing was asked for this long leaves for a new one.
const UNUSED: Duration = Duration::from_secs(1);

/// So many at once may be on their way out, beside those that have seats.
const LEAVING_MAX: usize = 64;

/// All connections of one front.
#[derive(Debug)]
pub(crate) struct Connections {
    settings: FrontSettings,
    clock: Arc<Ticks>,
    stopping: AtomicBool,
    open: Mutex<Open>,
    all_gone: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    /// How many of them were told to finish.
    leaving: usize,
}

#[derive(Debug)]
struct Entry {
    mark: Arc<Mark>,
    finish: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
}

/// Sweeps since the start.
#[derive(Debug, Default)]
struct Ticks(AtomicU64);

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(crate) struct Mark {
    clock: Arc<Ticks>,
    /// Ticks << 2 | [`Doing`].
    state: AtomicU64,
    /// Tick + 1 at which a write first found no room; 0: the last one did.
    stalled: AtomicU64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing is asked.
    Idle = 0,
    /// The head of a request is coming in.
    Head = 1,
    /// A request is being answered; its own deadlines apply.
    Serving = 2,
}

/// A connection's place among the others; gives it up when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot<'a> {
    connections: &'a Connections,
    id: u64,
    /// What it does is told here.
    pub(crate) mark: Arc<Mark>,
    /// Resolves when it shall finish what it has taken and end.
    pub(crate) finish: oneshot::Receiver<()>,
    /// Resolves when it shall end at once.
    pub(crate) kill: oneshot::Receiver<()>,
}

impl Connections {
    pub(crate) fn new(settings: FrontSettings) -> Self {
        Self {
            settings,
            clock: Arc::default(),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
            all_gone: Notify::new(),
        }
    }

    /// A seat, unless all are taken. Who has asked nothing for longest then has to leave: clients hold connections that they do
    /// not use, and whoever looks after this node must get in.
    pub(crate) fn enter(&self) -> Option<ConnectionSlot<'_>> {
        let mut open = self.lock();
        let stay = open.entries.len() - open.leaving;
        if stay >= self.settings.connections_max && !open.dismiss(self.clock.now()) {
            return None;
        }
        let mark = Arc::new(Mark {
            clock: Arc::clone(&self.clock),
            state: AtomicU64::new(self.clock.now() << 2 | Doing::Head as u64),
            stalled: AtomicU64::new(0),
        });
        let (finish_tx, finish) = oneshot::channel();
        let (kill_tx, kill) = oneshot::channel();
        // Whoever enters while the front stops is told at once.
        let finish_tx = (!self.stopping.load(Ordering::Acquire)).then_some(finish_tx);
        let id = open.next;
        open.next += 1;
        open.leaving += usize::from(finish_tx.is_none());
        let entry = Entry { mark: Arc::clone(&mark), finish: finish_tx, kill: Some(kill_tx) };
        open.entries.insert(id, entry);
        Some(ConnectionSlot { connections: self, id, mark, finish, kill })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().entries.len()
    }

    /// Ends those that have done nothing for too long. To be called every [`SWEEP`].
    pub(crate) fn sweep(&self) {
        let now = self.clock.tick();
        for entry in self.lock().entries.values_mut() {
            if entry.mark.is_overdue(now, &self.settings) {
                entry.kill.take();
            }
        }
    }

    /// Tells all to finish, and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.lock().dismiss_all();
        loop {
            let gone = self.all_gone.notified();
            if self.open() == 0 {
                return;
            }
            gone.await;
        }
    }

    /// Ends all at once.
    pub(crate) fn abort(&self) {
        for entry in self.lock().entries.values_mut() {
            entry.kill.take();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing that holds it can leave it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot<'_> {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        let entry = open.entries.remove(&self.id);
        open.leaving -= usize::from(entry.is_some_and(|entry| entry.finish.is_none()));
        if open.entries.is_empty() {
            self.connections.all_gone.notify_waiters();
        }
    }
}

impl Open {
    /// Has the one leave that has asked nothing for longest, and for so long that nobody minds; false if there is none.
    fn dismiss(&mut self, now: u64) -> bool {
        if self.leaving >= LEAVING_MAX {
            return false;
        }
        let staying = self.entries.values_mut().filter(|entry| entry.finish.is_some());
        let idle = staying.filter_map(|entry| Some((entry.mark.idle_since()?, entry)));
        let Some((since, entry)) = idle.min_by_key(|(since, _)| *since) else { return false };
        let gives_way = exceeds(now, since, UNUSED);
        if gives_way {
            entry.finish = None;
            self.leaving += 1;
        }
        gives_way
    }

    fn dismiss_all(&mut self) {
        for entry in self.entries.values_mut() {
            entry.finish = None;
        }
        self.leaving = self.entries.len();
    }
}

impl Mark {
    fn idle_since(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state & 3 == Doing::Idle as u64).then_some(state >> 2)
    }

    /// Bytes came in: if nothing was asked, a request's head has begun.
    pub(crate) fn received(&self) {
        if self.state.load(Ordering::Relaxed) & 3 == Doing::Idle as u64 {
            self.set(Doing::Head);
        }
    }

    /// A request is being answered.
    pub(crate) fn serving(&self) {
        self.set(Doing::Serving);
    }

    /// The answer is on its way.
    pub(crate) fn idle(&self) {
        self.set(Doing::Idle);
    }

    /// A write found room or none.
    pub(crate) fn wrote(&self, room: bool) {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if room && stalled != 0 {
            self.stalled.store(0, Ordering::Relaxed);
        } else if !room && stalled == 0 {
            self.stalled.store(self.clock.now() + 1, Ordering::Relaxed);
        }
    }

    fn set(&self, doing: Doing) {
        self.state.store(self.clock.now() << 2 | doing as u64, Ordering::Relaxed);
    }

    fn is_overdue(&self, now: u64, settings: &FrontSettings) -> bool {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != 0 && exceeds(now, stalled - 1, WRITE_TIMEOUT) {
            return true;
        }
        let state = self.state.load(Ordering::Relaxed);
        let since = state >> 2;
        match state & 3 {
            head if head == Doing::Head as u64 => exceeds(now, since, settings.header_timeout),
            idle if idle == Doing::Idle as u64 => exceeds(now, since, settings.idle_timeout),
            _ => false,
        }
    }
}

impl Ticks {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Whether more sweeps than `limit` holds lie between two ticks.
fn exceeds(now: u64, since: u64, limit: Duration) -> bool {
    u128::from(now.saturating_sub(since)) > limit.as_millis() / SWEEP.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max: usize) -> Connections {
        Connections::new(FrontSettings { connections_max: max, ..FrontSettings::default() })
    }

    #[test]
    fn seats_are_counted_and_given_back() {
        let all = connections(1);
        let seat = all.enter().unwrap();
        assert!(all.enter().is_none());
        drop(seat);
        assert!(all.enter().is_some());
    }

    #[test]
    fn who_has_asked_nothing_for_longest_leaves_for_a_new_one() {
        let all = connections(2);
        let (mut first, mut second) = (all.enter().unwrap(), all.enter().unwrap());
        first.mark.serving();
        second.mark.idle();
        assert!(all.enter().is_none(), "it was used a moment ago");
        (0..9).for_each(|_| all.sweep());
        let third = all.enter().unwrap();
        assert!(second.finish.try_recv().is_err_and(|told| told == oneshot::error::TryRecvError::Closed));
        assert_eq!(first.finish.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it is being answered");
        assert!(all.enter().is_none(), "nobody else is idle");
        drop(second);
        assert!(all.enter().is_none(), "its place is taken already");
        drop(third);
        assert!(all.enter().is_some());
    }

    #[test]
    fn each_thing_done_has_its_own_deadline() {
        let all = connections(9);
        let settings = all.settings;
        let seat = all.enter().unwrap();
        let ticks = |length: Duration| (length.as_millis() / SWEEP.as_millis()) as u64;
        let (head, idle) = (ticks(settings.header_timeout), ticks(settings.idle_timeout));
        assert!(!seat.mark.is_overdue(head, &settings));
        assert!(seat.mark.is_overdue(head + 1, &settings), "a head that does not come");
        seat.mark.idle();
        assert!(!seat.mark.is_overdue(idle, &settings));
        assert!(seat.mark.is_overdue(idle + 1, &settings), "no request");
        seat.mark.serving();
        assert!(!seat.mark.is_overdue(1 << 40, &settings), "requests have their own deadlines");
        seat.mark.wrote(false);
        assert!(seat.mark.is_overdue(ticks(WRITE_TIMEOUT) + 1, &settings), "an answer that is not taken");
        seat.mark.wrote(true);
        assert!(!seat.mark.is_overdue(1 << 40, &settings));
    }
}
