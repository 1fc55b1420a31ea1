//! The handle: how the front ends reach the node. Cheap to clone.

use std::sync::Arc;

use arc_swap::Guard;
use synap_core::input::Request;
use synap_core::output::{Refusal, Reply};
use synap_core::time::Time;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::http::Room;
use crate::published_view::{PublishedView, Shown};

/// A request on its way to the node, with the way back.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub request: Request,
    /// Where the reply goes. If nobody waits there any more, the node is told. Dropping it without a reply means
    /// that what became of the request is not known.
    pub reply: oneshot::Sender<Result<Reply, Refusal>>,
    /// What it takes of the bytes that may be in flight, until the node has answered it, whether its asker waits or not.
    pub room: Option<Arc<Room>>,
}

/// How the front ends reach the node.
#[derive(Clone, Debug)]
pub struct Handle {
    shown: Arc<Shown>,
    asks: mpsc::Sender<Ask>,
    writes: mpsc::Sender<Ask>,
    clock: Clock,
}

impl Handle {
    /// A handle on a driver that shows its node at `shown`, takes writes from `writes` and everything else from `asks`,
    /// and goes by this clock.
    pub fn new(shown: Arc<Shown>, asks: mpsc::Sender<Ask>, writes: mpsc::Sender<Ask>, clock: Clock) -> Self {
        Self { shown, asks, writes, clock }
    }

    /// What there is to say of the node's committed state as of its last turn.
    pub fn glance(&self) -> Guard<Arc<PublishedView>> {
        self.shown.glance()
    }

    /// The node's committed state as of its last turn. If its store is not there, the node gives it when asked:
    /// nobody has looked at it of late.
    pub fn look(&self) -> Guard<Arc<PublishedView>> {
        self.shown.look()
    }

    /// The node's monotonic clock.
    pub fn now(&self) -> Time {
        self.clock.mono()
    }

    /// Puts a request to the node and waits for its reply; [`Refusal::Busy`] if too many wait already. Not for writes:
    /// a node that ends without a word is told as [`Refusal::ShuttingDown`], see [`Handle::put`].
    pub async fn ask(&self, request: Request) -> Result<Reply, Refusal> {
        self.put(request)?.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// As [`Handle::ask`], but waits up to [`PATIENCE`] for a place among those that wait: for operators, who ask most
    /// when all places are taken. Not for what changes something, see [`Handle::act`].
    pub async fn ask_patiently(&self, request: Request) -> Result<Reply, Refusal> {
        self.wait_for(request, Refusal::ShuttingDown).await
    }

    /// As [`Handle::ask_patiently`], for verbs. A node that ends without a word may have begun what was asked for: nobody
    /// can tell whether it will come about, and `look` says where to look.
    pub async fn act(&self, request: Request, look: &'static str) -> Result<Reply, Refusal> {
        self.wait_for(request, Refusal::Undecided { why: look }).await
    }

    async fn wait_for(&self, request: Request, unanswered: Refusal) -> Result<Reply, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.asks.send_timeout(Ask { request, reply, room: None }, PATIENCE).await {
            Ok(()) => answer.await.unwrap_or(Err(unanswered)),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Refusal::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Refusal::ShuttingDown),
        }
    }

    /// Puts a request to the node. What is refused here has had no effect. If the receiver finds its sender gone, the
    /// node ended without a word, and nobody can tell whether a write will take effect.
    pub fn put(&self, request: Request) -> Result<oneshot::Receiver<Result<Reply, Refusal>>, Refusal> {
        self.offer(request, None)
    }

    /// As [`Handle::put`], for a request that takes room among those in flight.
    pub fn put_within(
        &self,
        request: Request,
        room: Arc<Room>,
    ) -> Result<oneshot::Receiver<Result<Reply, Refusal>>, Refusal> {
        self.offer(request, Some(room))
    }

    fn offer(
        &self,
        request: Request,
        room: Option<Arc<Room>>,
    ) -> Result<oneshot::Receiver<Result<Reply, Refusal>>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let inbox = if is_write(&request) { &self.writes } else { &self.asks };
        match inbox.try_send(Ask { request, reply, room }) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Refusal::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Refusal::ShuttingDown),
        }
    }
}

/// Whether a request wants something in the log that clients store: only these ever wait for the disk before a turn takes
/// them.
pub(crate) fn is_write(request: &Request) -> bool {
    matches!(request, Request::Write { .. })
}

/// How long [`Handle::ask_patiently`] waits for a place.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
