//! The queue of one link: messages that wait to be sent, bounded in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use synap_core::message::Message;
use synap_core::wire::{self, PIECE_BYTES_MAX, Pieces};
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

/// The link's end. Messages that carry data keep their order, and all others go before them: between two pieces of a long
/// one too. A round then waits for one piece, whatever is queued, and what was queued first is never overtaken by data. Of
/// rounds that wait the newest goes, so that before a piece of data there is never more than one.
#[derive(Debug)]
pub(super) struct Queue {
    messages: mpsc::UnboundedReceiver<Message>,
    short: VecDeque<Message>,
    bulk: VecDeque<Message>,
    /// The message of `bulk` that is under way, and what it weighs.
    going: Option<(Pieces, usize)>,
    waiting_bytes: Arc<AtomicUsize>,
    cut: CancellationToken,
}

/// What is written at once, and what it weighs of messages that are out with it.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) parts: Vec<Bytes>,
    weight: usize,
}

/// A queue of at most `bytes_max`, whatever the length of its first message.
pub(super) fn queue(bytes_max: usize) -> (Outgoing, Queue) {
    let (queue, messages) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let cut = CancellationToken::new();
    let outgoing = Outgoing { queue, waiting_bytes: Arc::clone(&waiting_bytes), bytes_max, cut: cut.clone() };
    let (short, bulk) = (VecDeque::new(), VecDeque::new());
    (outgoing, Queue { messages, short, bulk, going: None, waiting_bytes, cut })
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

    /// Bytes that wait, those of a message that is under way included.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Ends the link at once; what is queued is lost.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Queue {
    /// What is to go next, waiting for it; none when the driver has dropped its end and all is out. Dropping the future
    /// loses nothing.
    pub(super) async fn take(&mut self) -> Option<Load> {
        loop {
            while let Ok(message) = self.messages.try_recv() {
                self.sort(message);
            }
            if let Some(load) = self.load() {
                return Some(load);
            }
            let message = self.messages.recv().await?;
            self.sort(message);
        }
    }

    fn sort(&mut self, message: Message) {
        if message.is_bulk() {
            self.bulk.push_back(message);
            return;
        }
        if let Some(at) = self.short.iter().position(|earlier| message.supersedes(earlier)) {
            let superseded = self.short.remove(at).as_ref().map_or(0, weight);
            self.waiting_bytes.fetch_sub(superseded, Ordering::Relaxed);
        }
        self.short.push_back(message);
    }

    /// Everything short, and data up to one piece.
    fn load(&mut self) -> Option<Load> {
        let mut load = Load::default();
        for message in self.short.drain(..) {
            load.weight += weight(&message);
            load.parts.extend(wire::encode(&message));
        }
        let mut room = PIECE_BYTES_MAX;
        while room > 0 {
            let next = self.going.take().or_else(|| {
                let fits = |next: &&Message| next.bulk_bytes() <= room || room == PIECE_BYTES_MAX;
                self.bulk.front().filter(fits)?;
                let message = self.bulk.pop_front()?;
                Some((Pieces::of(&message), weight(&message)))
            });
            let Some((mut pieces, weight)) = next else { break };
            let before = pieces.left();
            load.parts.extend(pieces.next_frame().into_iter().flatten());
            room = room.saturating_sub(before - pieces.left());
            if pieces.left() == 0 {
                load.weight += weight;
            } else {
                self.going = Some((pieces, weight));
                break;
            }
        }
        (!load.parts.is_empty()).then_some(load)
    }

    /// Tells that this is out.
    pub(super) fn sent(&self, load: &Load) {
        self.waiting_bytes.fetch_sub(load.weight, Ordering::Relaxed);
    }

    /// Resolves when the driver has cut the link.
    pub(super) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }
}

/// About what a message takes in memory, in bytes.
fn weight(message: &Message) -> usize {
    const FIXED: usize = 256;
    let entries = match message {
        Message::Append(append) => append.entries.len(),
        Message::FetchedTail(fetched) => fetched.entries.len(),
        _ => 0,
    };
    FIXED + entries * size_of::<Bytes>() + message.bulk_bytes()
}

#[cfg(test)]
mod tests {
    use synap_core::message::{Append, FetchTail, FetchedTail};
    use synap_core::position::{Epoch, Index, Position};
    use synap_core::time::WallMs;

    use super::*;

    fn long(bytes: usize) -> Message {
        Message::FetchedTail(FetchedTail { after: Position::ZERO, entries: vec![Bytes::from(vec![7; bytes])] })
    }

    fn short(number: u64) -> Message {
        Message::FetchTail(FetchTail { after: Position { index: Index(number), ..Position::ZERO }, across: false })
    }

    fn bytes(load: &Load) -> usize {
        load.parts.iter().map(Bytes::len).sum()
    }

    #[tokio::test]
    async fn what_is_short_goes_between_the_pieces_of_what_is_long() {
        let (outgoing, mut queue) = queue(usize::MAX);
        assert!(outgoing.push(long(10 * PIECE_BYTES_MAX)));
        let first = queue.take().await.unwrap();
        assert!(bytes(&first) <= PIECE_BYTES_MAX + 64, "{}", bytes(&first));
        assert!(outgoing.push(short(1)));
        let second = queue.take().await.unwrap();
        assert!(second.parts.concat().starts_with(&wire::encode(&short(1)).concat()), "it goes first");
        drop(outgoing);
        let mut pieces = 2;
        while let Some(load) = queue.take().await {
            assert!(bytes(&load) <= PIECE_BYTES_MAX + 64);
            queue.sent(&load);
            pieces += 1;
        }
        assert_eq!(pieces, 11, "ten pieces, and what stands around them");
    }

    #[tokio::test]
    async fn of_rounds_that_wait_the_newest_goes() {
        let round = |round| {
            Message::Append(Append {
                epoch: Epoch::default(),
                prev: Position::ZERO,
                entries: Vec::new(),
                committed: Index::ZERO,
                last: Index::ZERO,
                round,
                sent: round,
                echo: 0,
                log_time: WallMs(0),
            })
        };
        let (outgoing, mut queue) = queue(usize::MAX);
        let sent = [round(1), short(1), round(2), long(100), round(3), short(2)];
        sent.iter().for_each(|message| assert!(outgoing.push(message.clone())));
        let order = [&sent[1], &sent[4], &sent[5], &sent[3]];
        let expected: Vec<u8> = order.into_iter().flat_map(|message| wire::encode(message).concat()).collect();
        let load = queue.take().await.unwrap();
        assert_eq!(load.parts.concat(), expected);
        queue.sent(&load);
        assert_eq!(queue.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn data_keeps_its_order_and_overtakes_nothing() {
        let (outgoing, mut queue) = queue(usize::MAX);
        let sent = [long(100), short(1), long(200), short(2), long(300)];
        sent.iter().for_each(|message| assert!(outgoing.push(message.clone())));
        let order = [&sent[1], &sent[3], &sent[0], &sent[2], &sent[4]];
        let expected: Vec<u8> = order.into_iter().flat_map(|message| wire::encode(message).concat()).collect();
        let load = queue.take().await.unwrap();
        assert_eq!(load.parts.concat(), expected);
        queue.sent(&load);
        assert_eq!(queue.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}
