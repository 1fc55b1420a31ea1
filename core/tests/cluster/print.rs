//! How steps read in a script: short, one line each.

use synap_core::command::Outcome;
use synap_core::event::Event;
use synap_core::message::{Message, SyncPlan};
use synap_core::output::{Refusal, Reply, Written};
use synap_core::status::{MemberStatus, Status};
use synap_core::wal::{FileWrite, Lane, Record, WriteBatch};

pub(super) fn message(message: &Message) -> String {
    match message {
        Message::Hello(hello) => {
            let standing = &hello.standing;
            let wants = if hello.needs_snapshot { " needs_snapshot" } else { "" };
            format!("Hello {:?} e{} last={}{wants}", hello.intent, standing.promised, standing.last)
        }
        Message::Welcome(welcome) => {
            let verdict = match &welcome.verdict {
                SyncPlan::Continue { after } => format!("continue after {after}"),
                SyncPlan::Truncate { after } => format!("truncate to {after}"),
                SyncPlan::Snapshot { position, next_chunk } => {
                    format!("snapshot at {position} from chunk {next_chunk}")
                }
                SyncPlan::Redirect(leader) => format!("redirect to {}", leader.replication),
                SyncPlan::Noted(leader) => {
                    format!("noted, master {}", leader.as_ref().map_or("unknown", |leader| &leader.replication))
                }
                SyncPlan::Refused(reason) => format!("refused: {reason}"),
            };
            format!("Welcome e{} last={} {verdict}", welcome.standing.promised, welcome.standing.last)
        }
        Message::Append(append) => {
            let entries: Vec<String> = append.entries.iter().map(|bytes| record(bytes.clone())).collect();
            format!(
                "Append e{} after={} [{}] commit={} last={}",
                append.epoch,
                append.prev.index,
                entries.join(" "),
                append.committed,
                append.last
            )
        }
        Message::Ack(ack) => {
            format!("Ack e{} durable={} applied={}", ack.epoch(), ack.durable(), ack.applied())
        }
        Message::Alive(disk) => format!("Alive, disk {disk:?}"),
        Message::Chunk(chunk) => format!("Chunk {} of snapshot {}", chunk.number, chunk.position),
        Message::SnapshotAck(stored) => {
            format!("SnapshotAck snapshot {}{}", stored.position(), if stored.durable() { " durable" } else { "" })
        }
        Message::FetchTail(pull) => format!("FetchTail after={}", pull.after),
        Message::FetchedTail(fetched) => {
            let entries: Vec<String> = fetched.entries.iter().map(|bytes| record(bytes.clone())).collect();
            format!("FetchedTail after={} [{}]", fetched.after, entries.join(" "))
        }
        Message::RequestVote(request_vote) => {
            let what = if request_vote.pre { "PreVote" } else { "RequestVote" };
            format!("{what} e{} last={} waiver {:?}", request_vote.epoch, request_vote.last, request_vote.waiver)
        }
        Message::Vote(vote) => {
            let what = if vote.pre() { "Opinion" } else { "Vote" };
            let evidence = if vote.evidence() { ", it saw the master die" } else { "" };
            let side = match (vote.granted(), vote.if_dead()) {
                (true, _) => "for",
                (false, true) => "for if the master is dead",
                (false, false) => "against",
            };
            format!("{what} e{} {side}, promised e{}{evidence}", vote.epoch(), vote.promised())
        }
        Message::Handover(handover) => format!("Handover e{}", handover.epoch),
        Message::ReadIndex(asked) => format!("ReadIndex #{}", asked.number),
        Message::ReadIndexed(answer) => format!("ReadIndexed #{} at {}", answer.number, answer.index),
        Message::Bye(reason) => format!("Bye: {reason}"),
    }
}

pub(super) fn batch(batch: &WriteBatch) -> String {
    let mut parts: Vec<String> = batch.files.iter().map(file).collect();
    parts.extend(batch.records.iter().map(|bytes| record(bytes.clone())));
    parts.extend(batch.cut.map(|index| format!("cut {index}")));
    let lane = match batch.lane() {
        Lane::Log => "",
        Lane::Snapshot => "s",
    };
    format!("#{lane}{} [{}]", batch.id(), parts.join(" "))
}

fn file(file: &FileWrite) -> String {
    match file {
        FileWrite::SnapshotChunk { position, number, .. } => format!("snapshot {position} chunk {number}"),
        FileWrite::SnapshotDone { position, .. } => format!("snapshot {position} done"),
        FileWrite::SnapshotAbandoned { position } => format!("snapshot {position} abandoned"),
        FileWrite::Rollback { lines, .. } => {
            format!("rollback {} lines", lines.split(|b| *b == b'\n').count() - 1)
        }
        FileWrite::RollbackKeepFiles { .. } => "rollback keeps files".into(),
    }
}

fn record(mut bytes: bytes::Bytes) -> String {
    match Record::decode(&mut bytes) {
        Ok(Record::HardState(state)) => format!("promise e{}", state.promised),
        Ok(Record::Entry(entry)) => entry.position.to_string(),
        Ok(Record::Truncate(to)) => format!("truncate {to}"),
        Ok(Record::SnapshotMark(at)) => format!("mark {at}"),
        Ok(Record::Committed(index)) => format!("commit {index}"),
        Err(error) => panic!("a node wrote a bad record: {error}"),
    }
}

pub(super) fn reply(reply: &Result<Reply, Refusal>) -> String {
    match reply {
        Ok(Reply::Written(written)) => {
            let Written { position, concern, durable_on, outcome } = written;
            format!("ok {position} {concern:?} on {durable_on} disks{}", self::outcome(outcome))
        }
        Ok(Reply::Read(view)) => format!("read at {}", view.applied),
        Ok(Reply::Promoted(promoted)) => format!(
            "promoted at {}, took over {}, possible loss {:?}, unreached {:?}",
            promoted.position, promoted.took_over, promoted.possible_loss, promoted.unreached
        ),
        Ok(Reply::Snapshot(position)) => format!("snapshot at {position}"),
        Ok(Reply::Status(status)) => self::status(status),
        Ok(Reply::Outcome(fate)) => format!("{fate:?}"),
        Ok(Reply::SwitchedOver(done)) => format!("switched over to {} in e{}", done.leader.http, done.epoch),
        Ok(Reply::Configured(position)) => format!("configured at {position}"),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

/// What a write gave, where that is not plain from the question.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::VersionMismatch { .. } => ", not done: the key has another version".into(),
        Outcome::Number(sum) => format!(", sum {sum}"),
        Outcome::Replayed { outcome, .. } => format!("{}, again", self::outcome(outcome)),
        Outcome::KeyReused { first } => format!(", not done: the key stands for {first}"),
        _ => String::new(),
    }
}

pub(super) fn event(event: &Event) -> String {
    format!("* {event}")
}

pub(super) fn member(member: &MemberStatus) -> String {
    let known = |value: Option<u64>| value.map_or_else(|| "?".into(), |value| value.to_string());
    format!(
        "{} durable={} applied={} lag={} {}",
        member.name,
        known(member.durable.map(|index| index.0)),
        known(member.applied.map(|index| index.0)),
        known(member.lag_operations),
        member.why_not.unwrap_or("may lead")
    )
}

pub(super) fn status(status: &Status) -> String {
    let positions = status.positions;
    let alarms: Vec<&str> = status.alarms.iter().map(|alarm| alarm.as_str()).collect();
    format!(
        "{} {} e{} last={} durable={} committed={} applied={} lag={} keys={} hash={:016x} {}",
        status.role,
        status.state,
        status.epoch,
        positions.last.index,
        positions.durable,
        positions.committed,
        positions.applied.index,
        status.lag_operations,
        status.keys,
        status.hash.0,
        alarms.join(",")
    )
}
