//! Messages as people read them in a trace: the kind, and what it says in a few words.

use synap_core::message::{Message, PROTOCOL_VERSION, SyncPlan};

use super::fingerprint;
use crate::dice::mix;

/// The kind of a message, in one word.
pub fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Append(append) if append.entries.is_empty() => "beat",
        Message::Append(_) => "append",
        Message::Ack(_) => "ack",
        Message::Alive(_) => "alive",
        Message::Hello(_) => "hello",
        Message::Welcome(_) => "welcome",
        Message::Chunk(_) => "chunk",
        Message::SnapshotAck(_) => "snapshot_ack",
        Message::FetchTail(_) => "fetch_tail",
        Message::FetchedTail(_) => "fetched_tail",
        Message::RequestVote(request_vote) if request_vote.pre => "pre_vote",
        Message::RequestVote(_) => "request_vote",
        Message::Vote(_) => "vote",
        Message::Handover(_) => "handover",
        Message::ReadIndex(_) => "readindex",
        Message::ReadIndexed(_) => "readindexed",
        Message::Bye(_) => "bye",
    }
}

/// What a message says.
pub fn line_of(message: &Message) -> String {
    match message {
        Message::Append(append) => format!(
            "e{} after={} +{} committed={} last={} round={}",
            append.epoch,
            append.prev,
            append.entries.len(),
            append.committed,
            append.last,
            append.round
        ),
        Message::Ack(ack) => format!(
            "e{} received={} durable={} applied={} round={}",
            ack.epoch(),
            ack.received(),
            ack.durable(),
            ack.applied(),
            ack.round()
        ),
        Message::Alive(disk) => format!("disk {disk:?}"),
        Message::Hello(hello) => format!(
            "{:?} promised={} last={} committed={}",
            hello.intent, hello.standing.promised, hello.standing.last, hello.standing.committed
        ),
        Message::Welcome(welcome) => format!(
            "{} promised={} leads={} last={}",
            verdict_of(&welcome.verdict),
            welcome.standing.promised,
            welcome.standing.leads,
            welcome.standing.last
        ),
        Message::Chunk(chunk) => format!("{} #{}", chunk.position, chunk.number),
        Message::SnapshotAck(stored) => format!("{} durable={}", stored.position(), stored.durable()),
        Message::FetchTail(pull) => format!("after={}", pull.after),
        Message::FetchedTail(fetched) => format!("after={} +{}", fetched.after, fetched.entries.len()),
        Message::RequestVote(request_vote) => {
            format!("e{} last={} waiver={:?}", request_vote.epoch, request_vote.last, request_vote.waiver)
        }
        Message::Vote(vote) => format!(
            "e{} pre={} granted={} promised={} evidence={}",
            vote.epoch(),
            vote.pre(),
            vote.granted(),
            vote.promised(),
            vote.evidence()
        ),
        Message::Handover(handover) => format!("e{} round={}", handover.epoch, handover.round),
        Message::ReadIndex(asked) => format!("e{} #{}", asked.epoch, asked.number),
        Message::ReadIndexed(answer) => format!("#{} at {}", answer.number, answer.index),
        Message::Bye(reason) => format!("{reason:?}"),
    }
}

/// What the trace's hash covers of a message.
pub fn summary(message: &Message) -> u64 {
    match message {
        Message::Append(append) => mix(&[
            1,
            append.epoch.number,
            append.prev.index.0,
            append.entries.len() as u64,
            append.committed.0,
            append.last.0,
            append.round,
        ]),
        Message::Ack(ack) => mix(&[
            2,
            ack.epoch().number,
            ack.received().0,
            ack.durable().0,
            ack.applied().0,
            ack.hash().0,
            ack.round(),
        ]),
        other => fingerprint(other),
    }
}

fn verdict_of(verdict: &SyncPlan) -> String {
    match verdict {
        SyncPlan::Continue { after } => format!("continue after {after}"),
        SyncPlan::Truncate { after } => format!("truncate to {after}"),
        SyncPlan::Snapshot { position, next_chunk } => format!("snapshot at {position} from chunk {next_chunk}"),
        SyncPlan::Redirect(leader) => format!("redirect to {}", leader.replication),
        SyncPlan::Noted(Some(leader)) => format!("noted, master is {}", leader.replication),
        SyncPlan::Noted(None) => "noted, no master is known".to_owned(),
        SyncPlan::Refused(reason) => format!("refused: {reason}"),
    }
}

/// Of what a node of another version says, only that and who it is can be read.
pub(crate) fn is_foreign(message: &Message) -> bool {
    match message {
        Message::Hello(hello) => hello.protocol != PROTOCOL_VERSION,
        Message::Welcome(welcome) => welcome.protocol != PROTOCOL_VERSION,
        Message::Append(_)
        | Message::Ack(_)
        | Message::Alive(_)
        | Message::Chunk(_)
        | Message::SnapshotAck(_)
        | Message::FetchTail(_)
        | Message::FetchedTail(_)
        | Message::RequestVote(_)
        | Message::Vote(_)
        | Message::Handover(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexed(_)
        | Message::Bye(_) => false,
    }
}
