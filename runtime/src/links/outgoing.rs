//! The queue of one link: messages that wait to be sent, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use synap_core::message::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The driver's end. Dropping it ends the link once all that is queued has been sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: mpsc::UnboundedSender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    cut: CancellationToken,
}

/// The link's end.
#[derive(Debug)]
pub(super) struct Queue {
    messages: mpsc::UnboundedReceiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    cut: CancellationToken,
}

/// Messages that are taken from the queue at once.
const TAKEN_MAX: usize = 64;

/// A queue of at most `bytes_max`, whatever the length of its first message.
pub(super) fn queue(bytes_max: usize) -> (Outgoing, Queue) {
    let (queue, messages) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let cut = CancellationToken::new();
    let outgoing = Outgoing { queue, waiting_bytes: Arc::clone(&waiting_bytes), bytes_max, cut: cut.clone() };
    (outgoing, Queue { messages, waiting_bytes, cut })
}

impl Outgoing {
    /// Queues a message; false if that would exceed the bound.
    pub(super) fn push(&self, message: Message) -> bool {
        let bytes = weight(&message);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > self.bytes_max {
            return false;
        }
        // A link that has ended says so itself.
        let _ = self.queue.send(message);
        true
    }

    /// Ends the link at once; what is queued is lost.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Queue {
    /// Takes messages that wait, in order, waiting for the first; none when the driver has dropped its end.
    pub(super) async fn take(&mut self, messages: &mut Vec<Message>) -> bool {
        self.messages.recv_many(messages, TAKEN_MAX).await > 0
    }

    /// Tells that these were sent.
    pub(super) fn sent(&self, messages: &[Message]) {
        self.waiting_bytes.fetch_sub(messages.iter().map(weight).sum(), Ordering::Relaxed);
    }

    /// Resolves when the driver has cut the link.
    pub(super) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }
}

/// About what a message takes in memory, in bytes.
fn weight(message: &Message) -> usize {
    const FIXED: usize = 256;
    let payload = match message {
        Message::Append(append) => append.entries.iter().map(|entry| entry.len() + size_of_val(entry)).sum(),
        Message::Pulled(pulled) => pulled.entries.iter().map(|entry| entry.len() + size_of_val(entry)).sum(),
        Message::Chunk(chunk) => chunk.bytes.len(),
        Message::Hello(_)
        | Message::Welcome(_)
        | Message::Ack(_)
        | Message::Alive(_)
        | Message::Stored(_)
        | Message::Pull(_)
        | Message::Canvass(_)
        | Message::Vote(_)
        | Message::Handover(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexed(_)
        | Message::Bye(_) => 0,
    };
    FIXED + payload
}
