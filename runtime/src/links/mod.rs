//! Connections to other nodes: dialled, accepted, framed and ended.
//!
//! Owns the table of links that stand ([`Links`]), one task per connection ([`link`]), frames ([`frames`]), the
//! accept loop ([`accept`]), the look at names ([`names`]) and the log of peers that misbehave ([`rejections`]). Never decides whom to dial, when to
//! give a peer up, or what is said: that is the core's. Every buffer here has a bound.

mod accept;
mod frames;
mod link;
mod names;
mod outgoing;
mod rejections;
#[cfg(test)]
mod tests;
mod turns;
mod unreachable;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use synap_core::ids::LinkId;
use synap_core::input::{Input, LinkChange, LinkLoss};
use synap_core::message::Message;
use synap_core::output::LinkAction;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::net::Net;
use crate::observe::{Observer, Waiting};
use crate::settings::LinkSettings;
use crate::tasks::Tasks;

use outgoing::Outgoing;
use rejections::Rejections;
use turns::Turns;
use unreachable::Unreachable;

/// Reports that may wait for the driver, of all links together; a link that has one more waits, and so does its peer.
const REPORTS_MAX: usize = 1024;

/// Bytes of messages of one link that may wait for the driver.
const INBOUND_BYTES_MAX: usize = 64 << 20;

/// What a link's task tells the driver. Opaque: [`Links::take`] makes inputs of it.
#[derive(Debug)]
pub struct LinkReport(Told);

#[derive(Debug)]
enum Told {
    Of(LinkId, News),
    /// Hosts of nodes that stand for nothing.
    Unresolved(Vec<String>),
}

#[derive(Debug)]
enum News {
    Up {
        peer_host: String,
        reached: String,
        outgoing: Outgoing,
        incoming: Arc<Incoming>,
    },
    Message {
        message: Message,
        bytes: usize,
        _room: OwnedSemaphorePermit,
    },
    /// A part of a message came in.
    Progress,
    Down(LinkLoss),
}

/// All links of one node.
#[derive(Debug)]
pub struct Links<N> {
    table: BTreeMap<LinkId, Entry>,
    /// Where members are dialled.
    members: watch::Sender<Vec<String>>,
    shared: Shared<N>,
}

#[derive(Debug)]
enum Entry {
    /// Being dialled; dropping the guard ends that.
    Dialling(DropGuard),
    PeerState(Outgoing, Arc<Incoming>),
}

/// What has come in on one link and is not taken, in bytes.
#[derive(Debug, Default)]
struct Incoming {
    /// Whole messages.
    whole: AtomicUsize,
    /// The one that is not whole yet.
    half: AtomicUsize,
}

/// What every task of a link needs.
#[derive(Clone, Debug)]
struct Shared<N> {
    net: N,
    settings: LinkSettings,
    reports: mpsc::Sender<LinkReport>,
    rejections: Arc<Rejections>,
    unreachable: Arc<Unreachable>,
    turns: Arc<Turns>,
    tasks: Tasks,
    open: TaskTracker,
}

impl<N: Net> Links<N> {
    /// No links yet; what happens on them will come out of the receiver.
    pub fn new(
        net: N,
        settings: LinkSettings,
        tasks: Tasks,
        observer: Arc<dyn Observer>,
    ) -> (Self, mpsc::Receiver<LinkReport>) {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let rejections = Arc::new(Rejections::new(observer));
        let (unreachable, turns, open) = (Arc::default(), Arc::default(), TaskTracker::new());
        let shared = Shared { net, settings, reports, rejections, unreachable, turns, tasks, open };
        (Self { table: BTreeMap::new(), members: watch::Sender::default(), shared }, inbox)
    }

    /// Accepts peers for as long as it is polled.
    pub fn accept(&self, listener: N::Listener) -> impl Future<Output = ()> + Send + use<N> {
        accept::run(self.shared.clone(), listener)
    }

    /// Looks again and again whether the names of this node and those of the members stand for addresses here, for as long as it
    /// is polled.
    pub fn watch_names(&self, own: Vec<String>) -> impl Future<Output = ()> + Send + use<N> {
        names::watch(self.shared.clone(), own, self.members.subscribe())
    }

    /// Where the members of the cluster are dialled.
    pub fn know<'a>(&mut self, members: impl Iterator<Item = &'a str> + Clone) {
        if !self.members.borrow().iter().eq(members.clone()) {
            self.members.send_replace(members.map(str::to_owned).collect());
        }
    }

    /// Dials, or ends a link.
    pub fn carry_out(&mut self, action: LinkAction) {
        match action {
            LinkAction::Dial { link, address } => {
                let cancelled = CancellationToken::new();
                self.shared.spawn(link::dial(self.shared.clone(), link, address, cancelled.clone()));
                self.table.insert(link, Entry::Dialling(cancelled.drop_guard()));
            }
            // What is queued still goes out: the link's task ends when its queue is closed and empty.
            LinkAction::Close { link } => drop(self.table.remove(&link)),
        }
    }

    /// Queues a message. A link that is gone drops it; one whose queue is full is ended, and the loss returned.
    pub fn send(&mut self, link: LinkId, message: Message) -> Option<Input> {
        let Some(Entry::PeerState(outgoing, _)) = self.table.get(&link) else {
            return None;
        };
        if outgoing.push(message) {
            return None;
        }
        outgoing.cut();
        self.table.remove(&link);
        Some(Input::Link { link, change: LinkChange::Down(LinkLoss::Stalled) })
    }

    /// What the node is to be told of a report; nothing if it has closed that link.
    pub fn take(&mut self, report: LinkReport) -> Option<Input> {
        let (link, news) = match report.0 {
            Told::Of(link, news) => (link, news),
            Told::Unresolved(hosts) => return Some(Input::Unresolved(hosts)),
        };
        let input = match news {
            News::Up { peer_host, reached, outgoing, incoming } => {
                self.stands(link, Entry::PeerState(outgoing, incoming))?;
                Input::Link { link, change: LinkChange::Up { peer_host, reached } }
            }
            News::Message { message, bytes, .. } => {
                if let Entry::PeerState(_, incoming) = self.table.get(&link)? {
                    incoming.whole.fetch_sub(bytes, Ordering::Relaxed);
                }
                Input::Message { link, message }
            }
            News::Progress => {
                self.table.get(&link)?;
                Input::Link { link, change: LinkChange::Progress }
            }
            News::Down(loss) => {
                self.table.remove(&link)?;
                Input::Link { link, change: LinkChange::Down(loss) }
            }
        };
        Some(input)
    }

    /// What waits at the ends of all links now.
    pub fn waiting(&self) -> Waiting {
        let mut most = Waiting::default();
        for entry in self.table.values() {
            if let Entry::PeerState(outgoing, incoming) = entry {
                most.outgoing = most.outgoing.max(outgoing.bytes());
                most.incoming = most.incoming.max(incoming.whole.load(Ordering::Relaxed));
                most.half = most.half.max(incoming.half.load(Ordering::Relaxed));
            }
        }
        most
    }

    fn stands(&mut self, link: LinkId, entry: Entry) -> Option<()> {
        match (self.table.remove(&link), link.is_dialled()) {
            (Some(Entry::Dialling(guard)), true) => drop(guard.disarm()),
            (None, false) => {}
            (None, true) => return None, // Closed while it was being dialled.
            (Some(Entry::Dialling(_)), false) | (Some(Entry::PeerState(..)), _) => {
                unreachable!("link {link} came up twice")
            }
        }
        self.table.insert(link, entry);
        Some(())
    }

    /// Ends all links after what is queued is out, waiting no longer than `patience`.
    pub async fn end(self, patience: Duration) {
        let Self { table, members: _, shared } = self;
        drop(table);
        shared.open.close();
        // Those that are not out by then have a peer that does not listen.
        let _ = tokio::time::timeout(patience, shared.open.wait()).await;
    }
}

impl<N> Shared<N> {
    /// Starts the task of one connection.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.open.track_future(task));
    }
}
