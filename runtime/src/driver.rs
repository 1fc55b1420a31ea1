//! The driver: the one task that owns a [`Node`]. It waits for something to happen or for the node's deadline, takes
//! all that waits up to a cap, makes one turn, and routes what comes out.
//!
//! Owns the waiters and the bounds of the inbox. Writes have an inbox of their own, so that nothing else waits behind
//! them. Decides nothing about roles, replication or durability; nothing else
//! touches the node.

mod waiting;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use synap_core::event::{Event, Level};
use synap_core::input::Input;
use synap_core::node::Node;
use synap_core::output::{Output, Refusal};
use synap_core::time::Time;
use synap_core::wal::Lane;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::disk::writer::{Report, WriterLink};
use crate::handle::{Ask, Handle};
use crate::links::{LinkReport, Links};
use crate::net::Net;
use crate::observe::Watch;
use crate::published_view::Display;

pub use waiting::{ASKERS_MAX, ASKS_MAX, WRITERS_MAX};
use waiting::{PutOff, Unwritten, Waiters};

/// Requests, and messages, that one turn takes at most.
const TAKEN_PER_TURN_MAX: usize = 1024;

/// How long the end of the process waits for peers to take what was said to them.
const LINKS_PATIENCE: Duration = Duration::from_secs(1);

/// How the driver is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Refuse new work and answer what is in flight.
    Gracefully,
    /// Let the node finish what it must not leave half done, then as [`Stop::Now`]. The node bounds how long that takes.
    WhenDrained,
    /// Write what is queued, close the log and end.
    Now,
}

/// How a driver ended.
#[derive(Debug)]
pub enum Ended {
    /// As asked; everything that was promised is on disk.
    Stopped,
    /// The disk failed: nothing was promised since.
    DiskFailed(io::Error),
}

/// What a driver is made of.
#[derive(Debug)]
pub struct DriverParts<N> {
    /// The node.
    pub node: Node,
    /// What people call it, for the log.
    pub name: String,
    /// Its clocks.
    pub clock: Clock,
    /// Its links.
    pub links: Links<N>,
    /// What happens on them.
    pub link_reports: mpsc::Receiver<LinkReport>,
    /// Its disk.
    pub writer: WriterLink,
    /// How it is stopped. If the sender is dropped, it stops at once.
    pub stop: mpsc::UnboundedReceiver<Stop>,
    /// Who is shown its turns.
    pub watch: Option<Box<dyn Watch>>,
}

/// The one task that owns a node.
pub struct Driver<N> {
    parts: DriverParts<N>,
    asks: mpsc::Receiver<Ask>,
    writes: mpsc::Receiver<Ask>,
    display: Display,
    waiters: Waiters,
    unwritten: Unwritten,
    put_off: PutOff,
    inbox: Inbox,
    /// It ends as soon as the node is drained.
    ends: bool,
    alarm: Alarm,
    inputs: Vec<Input>,
    output: Output,
}

/// What has arrived and no turn has taken yet.
#[derive(Debug, Default)]
struct Inbox {
    stops: Vec<Stop>,
    reports: Vec<Report>,
    link_reports: Vec<LinkReport>,
    asks: Vec<Ask>,
    writes: Vec<Ask>,
}

impl<N: Net> Driver<N> {
    /// A driver that has not begun, and the handle on its node.
    pub fn new(parts: DriverParts<N>) -> (Self, Handle) {
        let (asks_sender, asks) = mpsc::channel(ASKS_MAX);
        let (writes_sender, writes) = mpsc::channel(ASKS_MAX);
        let display = Display::new(parts.node.outline());
        let handle = Handle::new(display.shown(), asks_sender, writes_sender, parts.clock.clone());
        let driver = Self {
            alarm: Alarm::default(),
            parts,
            asks,
            writes,
            display,
            waiters: Waiters::default(),
            unwritten: Unwritten::default(),
            put_off: PutOff::default(),
            inbox: Inbox::default(),
            ends: false,
            inputs: Vec::new(),
            output: Output::default(),
        };
        (driver, handle)
    }

    /// Drives the node until it is stopped or its disk fails.
    pub async fn run(mut self) -> Ended {
        loop {
            self.turn();
            // Only a turn that has taken everything can tell: the word to stop may have come with the one to end.
            if self.ends && self.parts.node.is_drained() {
                return self.stop().await;
            }
            // Whoever is ready runs first: what they ask then shares the next turn.
            tokio::task::yield_now().await;
            poll_fn(|cx| self.poll_inbox(cx)).await;
            match self.take_inbox() {
                Some(Stopping::Now) => return self.stop().await,
                Some(Stopping::DiskFailed(error)) => {
                    self.refuse_untaken();
                    return Ended::DiskFailed(error);
                }
                None => {}
            }
        }
    }

    /// One turn of the node, and its output routed: first what others wait for longest.
    fn turn(&mut self) {
        let now = self.parts.clock.now();
        self.waiters.sweep(now.mono, &mut self.inputs);
        if let Some(watch) = &mut self.parts.watch {
            watch.begins(now, &self.inputs);
        }
        let due = self.parts.node.turn(now, self.inputs.drain(..), &mut self.output);
        if cfg!(debug_assertions) {
            self.parts.node.check();
        }
        if let Some(watch) = &mut self.parts.watch {
            watch.ends(&self.parts.node, now, &self.output, due);
        }
        self.unwritten.node_takes_writes = self.parts.node.takes_writes();
        self.parts.links.know(self.parts.node.addresses());
        let own = earliest(self.waiters.sweep_due(), self.put_off.due());
        self.alarm.set(&self.parts.clock, earliest(due, own));
        self.route(now.mono);
        if let Some(watch) = &mut self.parts.watch {
            watch.waits(self.parts.links.waiting());
        }
    }

    fn route(&mut self, now: Time) {
        let mut output = std::mem::take(&mut self.output);
        for batch in output.write.take().into_iter().chain(output.snapshot.take()) {
            self.unwritten.add(&batch);
            // A writer that has ended says why, and that ends this driver.
            let _ = self.parts.writer.batches.send(batch);
        }
        for (link, message) in output.sends.drain(..) {
            self.inputs.extend(self.parts.links.send(link, message));
        }
        output.links.drain(..).for_each(|action| self.parts.links.carry_out(action));
        // Before the replies, so that who is told of a write finds it here.
        let node = &self.parts.node;
        if let Some(view) = self.display.show(node.outline(), || node.view(), now) {
            self.parts.node.take_back(view);
        }
        output.replies.drain(..).for_each(|(id, reply)| self.waiters.answer(id, reply));
        output.events.drain(..).for_each(|event| log(&self.parts.name, &event));
        // Its vectors keep their room for the next turn.
        self.output = output;
    }

    /// Ready when there is something to make a turn for.
    fn poll_inbox(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Every source is asked, whatever the others say: what waits goes into one turn.
        let stop = self.parts.stop.poll_recv_many(cx, &mut self.inbox.stops, usize::MAX);
        let reports = self.parts.writer.reports.poll_recv_many(cx, &mut self.inbox.reports, usize::MAX);
        let links = self.parts.link_reports.poll_recv_many(cx, &mut self.inbox.link_reports, TAKEN_PER_TURN_MAX);
        let asks = self.asks.poll_recv_many(cx, &mut self.inbox.asks, TAKEN_PER_TURN_MAX);
        let writes = match self.put_off.has_room() {
            true => self.writes.poll_recv_many(cx, &mut self.inbox.writes, TAKEN_PER_TURN_MAX),
            false => Poll::Pending,
        };
        if stop == Poll::Ready(0) {
            self.inbox.stops.push(Stop::Now);
        }
        if reports == Poll::Ready(0) {
            let error = io::Error::other("the writer ended without a word");
            self.inbox.reports.push(Report::Failed(error));
        }
        // Links are held by this driver; and without any handle left there is still a node to drive.
        let something = stop.is_ready() || reports.is_ready() || links.is_ready();
        let asked = matches!(asks, Poll::Ready(1..)) || matches!(writes, Poll::Ready(1..));
        let put_off = !self.put_off.is_empty() && !self.unwritten.too_much();
        let goes_on = put_off || self.parts.node.has_discarded();
        if something || asked || goes_on || !self.inputs.is_empty() || self.alarm.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Makes inputs of what has arrived.
    fn take_inbox(&mut self) -> Option<Stopping> {
        for report in self.inbox.reports.drain(..) {
            match report {
                Report::Durable(lane, receipts) => {
                    self.unwritten.remove(lane, receipts.len());
                    self.inputs.extend(receipts.into_iter().map(Input::Durable));
                }
                Report::GivenUp(receipts) => {
                    self.unwritten.remove(Lane::Snapshot, receipts.len());
                    self.inputs.extend(receipts.into_iter().map(Input::GivenUp));
                }
                Report::Room(room) => self.inputs.push(Input::DiskRoom(room)),
                Report::Free(free) => self.inputs.push(Input::DiskFree(free)),
                Report::Failed(error) => return Some(Stopping::DiskFailed(error)),
                Report::Closed | Report::ClosedForWantOfRoom => {
                    unreachable!("the log is closed only when this driver has let go of it")
                }
            }
        }
        for report in self.inbox.link_reports.drain(..) {
            self.inputs.extend(self.parts.links.take(report));
        }
        for ask in self.inbox.asks.drain(..) {
            self.inputs.extend(self.waiters.admit(ask));
        }
        self.take_writes();
        for stop in self.inbox.stops.drain(..) {
            match stop {
                Stop::Gracefully => self.inputs.push(Input::Shutdown),
                Stop::WhenDrained => self.ends = true,
                Stop::Now => return Some(Stopping::Now),
            }
        }
        None
    }

    /// Takes writes unless too much waits for the disk; then they wait here, and no longer than they asked to.
    fn take_writes(&mut self) {
        let now = self.parts.clock.mono();
        self.put_off.extend(self.inbox.writes.drain(..), now);
        if !self.unwritten.too_much() {
            for ask in self.put_off.take(TAKEN_PER_TURN_MAX) {
                self.inputs.extend(self.waiters.admit(ask));
            }
        }
        self.put_off.refuse_late(now);
    }

    /// Lets what is queued go to disk, and closes the log.
    async fn stop(mut self) -> Ended {
        self.refuse_untaken();
        let WriterLink { batches, mut reports } = self.parts.writer;
        drop(batches);
        loop {
            match reports.recv().await {
                Some(Report::Durable(..) | Report::GivenUp(_) | Report::Room(_) | Report::Free(_)) => {}
                Some(Report::Closed) => break,
                Some(Report::ClosedForWantOfRoom) => {
                    tracing::warn!(
                        node = self.parts.name,
                        "the disk is full: what waited for room is not on it. That was answered to nobody, or at `async` alone"
                    );
                    break;
                }
                Some(Report::Failed(error)) => return Ended::DiskFailed(error),
                None => return Ended::DiskFailed(io::Error::other("the writer ended without a word")),
            }
        }
        self.parts.links.end(LINKS_PATIENCE).await;
        Ended::Stopped
    }

    /// Refuses what the node has never seen, so that nobody wonders what became of it.
    fn refuse_untaken(&mut self) {
        self.asks.close();
        self.writes.close();
        let Inbox { asks, writes, .. } = std::mem::take(&mut self.inbox);
        let untaken = asks.into_iter().chain(writes).chain(self.put_off.take(usize::MAX));
        let sent = std::iter::from_fn(|| self.asks.try_recv().or_else(|_| self.writes.try_recv()).ok());
        for ask in untaken.chain(sent) {
            let _ = ask.reply.send(Err(Refusal::ShuttingDown));
        }
    }
}

/// Why no further turn is made.
enum Stopping {
    Now,
    DiskFailed(io::Error),
}

/// The node's deadline. It is set anew after each turn, but the timer is touched only when it must ring earlier.
#[derive(Debug, Default)]
struct Alarm {
    /// Made when it is first waited for: a timer belongs to the runtime that it is made on.
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<tokio::time::Instant>,
}

impl Alarm {
    fn set(&mut self, clock: &Clock, due: Option<Time>) {
        self.due = due.map(|due| clock.instant(due));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            if due <= tokio::time::Instant::now() {
                return Poll::Ready(());
            }
            if due < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(due);
            }
            match sleep.as_mut().poll(cx) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (some, None) | (None, some) => some,
    }
}

fn log(name: &str, event: &Event) {
    match event.level() {
        Level::Info => tracing::info!(node = name, "{event}"),
        Level::Warn => tracing::warn!(node = name, "{event}"),
        Level::Error => tracing::error!(node = name, "{event}"),
    }
}

impl<N: fmt::Debug> fmt::Debug for Driver<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("parts", &self.parts).finish_non_exhaustive()
    }
}
