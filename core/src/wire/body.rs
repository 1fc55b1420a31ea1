//! The layout of each message within its frame. Owns the message types; never looks at lengths or checksums of
//! frames.
//!
//! Of [`Hello`] and [`Welcome`] the first fields, protocol version and node, stand in the same place in every version
//! of the protocol, so that a peer of another version can be refused by name. Nothing else of it is looked at.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes};

use crate::codec::{Malformed, Reader, Writer, count_u32};
use crate::config::{Address, Durability};
use crate::history::{Arming, GAPS_MAX, Gap, History, Lost, REIGNS_MAX, Term};
use crate::ids::{ClusterId, NodeId};
use crate::message::{
    Ack, Append, Chunk, FetchTail, FetchedTail, Handover, Hello, Intent, Leader, Message, PROTOCOL_VERSION,
    PeerState, ReadIndex, ReadIndexed, Reason, RequestVote, Resume, SnapshotAck, SyncPlan, Vote, Waiver, Welcome,
};
use crate::position::{Epoch, Index, Position};
use crate::status::DiskState;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::wal::command::{start_kind_code, take_start_kind};
use crate::wal::record::checked_entry_len;
use crate::wire::WireError;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const APPEND: u8 = 3;
const ACK: u8 = 4;
const CHUNK: u8 = 5;
const STORED: u8 = 6;
const PULL: u8 = 7;
const PULLED: u8 = 8;
const BYE: u8 = 9;
const CANVASS: u8 = 10;
const VOTE: u8 = 11;
const HANDOVER: u8 = 12;
const READ_INDEX: u8 = 13;
const READ_INDEXED: u8 = 14;
const ALIVE: u8 = 15;
/// No message: a piece of one.
pub(super) const PIECE: u8 = 16;

/// Whether a frame without its head is a piece, and then whether it is the last one.
pub(super) fn piece(frame: &Bytes, covered: usize) -> Result<Option<bool>, WireError> {
    match frame.get(..covered) {
        Some([PIECE, last @ (0 | 1)]) => Ok(Some(*last == 1)),
        Some([PIECE, ..]) => Err(WireError::Malformed("piece")),
        Some(_) | None => Ok(None),
    }
}

/// Writes type and fields; entries and snapshot bytes follow them, and are the caller's.
pub(super) fn put(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Hello(hello) => {
            out.put_u8(HELLO);
            put_hello(out, hello);
        }
        Message::Welcome(welcome) => {
            out.put_u8(WELCOME);
            put_welcome(out, welcome);
        }
        Message::Append(append) => {
            out.put_u8(APPEND);
            put_append(out, append);
        }
        Message::Ack(ack) => {
            out.put_u8(ACK);
            put_ack(out, ack);
        }
        Message::Alive(disk) => {
            out.put_u8(ALIVE);
            out.put_u8(disk_code(*disk));
        }
        Message::Chunk(chunk) => {
            out.put_u8(CHUNK);
            out.epoch(chunk.epoch);
            out.position(chunk.position);
            out.put_u32_le(chunk.number);
            out.index(chunk.last);
        }
        Message::SnapshotAck(stored) => {
            out.put_u8(STORED);
            out.epoch(stored.epoch);
            out.position(stored.position);
            out.put_u32_le(stored.next_chunk);
            out.bool(stored.durable);
            out.put_u64_le(stored.clock);
        }
        Message::FetchTail(pull) => {
            out.put_u8(PULL);
            out.position(pull.after);
            out.bool(pull.across);
        }
        Message::FetchedTail(fetched) => {
            out.put_u8(PULLED);
            out.position(fetched.after);
            out.put_u32_le(count_u32(fetched.entries.len()));
        }
        Message::RequestVote(request_vote) => {
            out.put_u8(CANVASS);
            put_request_vote(out, request_vote);
        }
        Message::Vote(vote) => {
            out.put_u8(VOTE);
            put_vote(out, vote);
        }
        Message::Handover(handover) => {
            out.put_u8(HANDOVER);
            out.epoch(handover.epoch);
            out.put_u64_le(handover.round);
        }
        Message::ReadIndex(asked) => {
            out.put_u8(READ_INDEX);
            out.epoch(asked.epoch);
            out.put_u64_le(asked.number);
        }
        Message::ReadIndexed(answer) => {
            out.put_u8(READ_INDEXED);
            out.put_u64_le(answer.number);
            out.index(answer.index);
        }
        Message::Bye(reason) => {
            out.put_u8(BYE);
            out.put_u8(reason_code(*reason));
        }
    }
}

/// Reads a frame without its head, of which the checksum covered the first `covered` bytes.
pub(super) fn take(mut frame: Bytes, covered: usize) -> Result<Message, WireError> {
    let fields = frame.split_to(covered);
    let mut reader = Reader::new(&fields);
    let message = match reader.u8()? {
        HELLO => Message::Hello(take_hello(&mut reader)?),
        WELCOME => Message::Welcome(take_welcome(&mut reader)?),
        APPEND => Message::Append(take_append(&mut reader, &mut frame)?),
        ACK => Message::Ack(take_ack(&mut reader)?),
        CHUNK => Message::Chunk(take_chunk(&mut reader, &fields)?),
        STORED => Message::SnapshotAck(take_snapshot_ack(&mut reader)?),
        PULL => Message::FetchTail(FetchTail { after: reader.position()?, across: reader.bool()? }),
        PULLED => Message::FetchedTail(take_fetched_tail(&mut reader, &mut frame)?),
        CANVASS => Message::RequestVote(take_request_vote(&mut reader)?),
        VOTE => Message::Vote(take_vote(&mut reader)?),
        HANDOVER => Message::Handover(Handover { epoch: reader.epoch()?, round: reader.u64()? }),
        READ_INDEX => Message::ReadIndex(ReadIndex { epoch: reader.epoch()?, number: reader.u64()? }),
        ALIVE => Message::Alive(take_disk(&mut reader)?),
        READ_INDEXED => Message::ReadIndexed(ReadIndexed { number: reader.u64()?, index: reader.index()? }),
        BYE => Message::Bye(take_reason(&mut reader)?),
        _ => return Err(WireError::Malformed("no such message")),
    };
    reader.end()?;
    if frame.is_empty() { Ok(message) } else { Err(WireError::Malformed("bytes left over")) }
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.put_u16_le(hello.protocol);
    put_standing(out, &hello.standing);
    out.put_u8(match hello.intent {
        Intent::Follow => 0,
        Intent::Ask => 1,
    });
    out.option(hello.resume.as_ref(), |out, resume| {
        out.position(resume.position);
        out.put_u32_le(resume.next_chunk);
    });
    out.bool(hello.needs_snapshot);
    out.option(hello.dialled.as_ref(), |out, dialled| out.text(dialled));
}

fn take_hello(reader: &mut Reader<'_>) -> Result<Hello, Malformed> {
    let protocol = reader.u16()?;
    if protocol != PROTOCOL_VERSION {
        let standing = foreign_peer(reader)?;
        let (intent, resume, dialled) = (Intent::Ask, None, None);
        return Ok(Hello { protocol, intent, standing, resume, needs_snapshot: false, dialled });
    }
    Ok(Hello {
        protocol,
        standing: take_standing(reader)?,
        intent: match reader.u8()? {
            0 => Intent::Follow,
            1 => Intent::Ask,
            _ => return Err(Malformed("no such intent")),
        },
        resume: reader.option(|reader| Ok(Resume { position: reader.position()?, next_chunk: reader.u32()? }))?,
        needs_snapshot: reader.bool()?,
        dialled: reader.option(Reader::text)?,
    })
}

fn put_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    out.put_u16_le(welcome.protocol);
    put_standing(out, &welcome.standing);
    out.option(welcome.seen_at.as_ref(), |out, seen_at| out.text(seen_at));
    out.option(welcome.reached_at.as_ref(), |out, reached_at| out.text(reached_at));
    match &welcome.verdict {
        SyncPlan::Continue { after } => {
            out.put_u8(0);
            out.position(*after);
        }
        SyncPlan::Truncate { after } => {
            out.put_u8(1);
            out.position(*after);
        }
        SyncPlan::Snapshot { position, next_chunk } => {
            out.put_u8(2);
            out.position(*position);
            out.put_u32_le(*next_chunk);
        }
        SyncPlan::Redirect(leader) => {
            out.put_u8(3);
            put_leader(out, leader);
        }
        SyncPlan::Noted(leader) => {
            out.put_u8(4);
            out.option(leader.as_ref(), put_leader);
        }
        SyncPlan::Refused(reason) => {
            out.put_u8(5);
            out.put_u8(reason_code(*reason));
        }
    }
}

fn take_welcome(reader: &mut Reader<'_>) -> Result<Welcome, Malformed> {
    let protocol = reader.u16()?;
    if protocol != PROTOCOL_VERSION {
        let standing = foreign_peer(reader)?;
        let verdict = SyncPlan::Refused(Reason::Protocol);
        return Ok(Welcome { protocol, standing, seen_at: None, reached_at: None, verdict });
    }
    Ok(Welcome {
        protocol,
        standing: take_standing(reader)?,
        seen_at: reader.option(Reader::text)?,
        reached_at: reader.option(Reader::text)?,
        verdict: take_verdict(reader)?,
    })
}

fn take_verdict(reader: &mut Reader<'_>) -> Result<SyncPlan, Malformed> {
    match reader.u8()? {
        0 => Ok(SyncPlan::Continue { after: reader.position()? }),
        1 => Ok(SyncPlan::Truncate { after: reader.position()? }),
        2 => Ok(SyncPlan::Snapshot { position: reader.position()?, next_chunk: reader.u32()? }),
        3 => take_leader(reader).map(SyncPlan::Redirect),
        4 => reader.option(take_leader).map(SyncPlan::Noted),
        5 => take_reason(reader).map(SyncPlan::Refused),
        _ => Err(Malformed("no such verdict")),
    }
}

const fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::Protocol => 0,
        Reason::ForeignCluster => 1,
        Reason::NoMaster => 2,
        Reason::SameNode => 3,
        Reason::Full => 4,
        Reason::SourceBehind => 5,
        Reason::Quarantined => 6,
        Reason::ShuttingDown => 7,
        Reason::Resigned => 8,
        Reason::AtOdds => 9,
        Reason::Itself => 10,
    }
}

fn take_reason(reader: &mut Reader<'_>) -> Result<Reason, Malformed> {
    match reader.u8()? {
        0 => Ok(Reason::Protocol),
        1 => Ok(Reason::ForeignCluster),
        2 => Ok(Reason::NoMaster),
        3 => Ok(Reason::SameNode),
        4 => Ok(Reason::Full),
        5 => Ok(Reason::SourceBehind),
        6 => Ok(Reason::Quarantined),
        7 => Ok(Reason::ShuttingDown),
        8 => Ok(Reason::Resigned),
        9 => Ok(Reason::AtOdds),
        10 => Ok(Reason::Itself),
        _ => Err(Malformed("no such reason")),
    }
}

fn put_standing(out: &mut Vec<u8>, standing: &PeerState) {
    out.put_u128_le(standing.node.0);
    out.option(standing.cluster.as_ref(), |out, cluster| out.put_u128_le(cluster.0));
    out.text(&standing.name);
    put_address(out, &standing.http);
    out.option(standing.replication.as_ref(), put_address);
    out.put_u64_le(standing.process);
    out.put_u32_le(standing.priority);
    out.bool(standing.votes);
    put_durability(out, standing.durability);
    out.epoch(standing.promised);
    out.bool(standing.leads);
    out.position(standing.last);
    out.index(standing.committed);
    out.put_u64_le(standing.log_time.0);
    out.bool(standing.log_time_known);
    put_history(out, &standing.history);
    out.put_u32_le(standing.heartbeat_ms);
}

fn take_standing(reader: &mut Reader<'_>) -> Result<PeerState, Malformed> {
    Ok(PeerState {
        node: NodeId(reader.u128()?),
        cluster: reader.option(|reader| reader.u128().map(ClusterId))?,
        name: reader.text()?,
        http: take_address(reader)?,
        replication: reader.option(take_address)?,
        process: reader.u64()?,
        priority: reader.u32()?,
        votes: reader.bool()?,
        durability: take_durability(reader)?,
        promised: reader.epoch()?,
        leads: reader.bool()?,
        last: reader.position()?,
        committed: reader.index()?,
        log_time: WallMs(reader.u64()?),
        log_time_known: reader.bool()?,
        history: take_history(reader)?,
        heartbeat_ms: reader.u32()?,
    })
}

fn put_durability(out: &mut Vec<u8>, durability: Durability) {
    out.put_u8(match durability {
        Durability::Memory => 0,
        Durability::Logged => 1,
        Durability::Synced => 2,
    });
}

fn take_durability(reader: &mut Reader<'_>) -> Result<Durability, Malformed> {
    match reader.u8()? {
        0 => Ok(Durability::Memory),
        1 => Ok(Durability::Logged),
        2 => Ok(Durability::Synced),
        _ => Err(Malformed("no such durability")),
    }
}

/// What can be told of a peer of another version: its id.
fn foreign_peer(reader: &mut Reader<'_>) -> Result<PeerState, Malformed> {
    let node = NodeId(reader.u128()?);
    reader.take(reader.rest().len())?;
    Ok(PeerState {
        node,
        cluster: None,
        name: String::new(),
        http: Address { host: None, port: 0 },
        replication: None,
        process: 0,
        priority: 0,
        votes: false,
        durability: Durability::Memory,
        promised: Epoch::default(),
        leads: false,
        last: Position::ZERO,
        committed: Index::ZERO,
        log_time: WallMs(0),
        log_time_known: false,
        history: History::default(),
        heartbeat_ms: 0,
    })
}

/// Writes a history; snapshots hold one too.
pub(crate) fn put_history(out: &mut Vec<u8>, history: &History) {
    out.put_u32_le(count_u32(history.terms().len()));
    for term in history.terms() {
        out.epoch(term.epoch);
        out.index(term.start);
        out.put_u8(start_kind_code(term.kind));
    }
    out.put_u32_le(count_u32(history.gaps().len()));
    for gap in history.gaps() {
        out.index(gap.from);
        out.index(gap.upto);
        out.put_u8(match gap.lost {
            Lost::Restarts => 0,
            Lost::ByVoters => 1,
            Lost::Any => 2,
        });
    }
    out.put_u32_le(count_u32(history.arming().len()));
    for arming in history.arming() {
        out.index(arming.at);
        out.bool(arming.armed);
    }
}

/// Reads a history.
pub(crate) fn take_history(reader: &mut Reader<'_>) -> Result<History, Malformed> {
    let terms = take_terms(reader)?;
    let gaps = take_some(reader, GAPS_MAX, |reader| {
        let (from, upto) = (reader.index()?, reader.index()?);
        let lost = match reader.u8()? {
            0 => Lost::Restarts,
            1 => Lost::ByVoters,
            2 => Lost::Any,
            _ => return Err(Malformed("no such gap")),
        };
        Ok(Gap { from, upto, lost })
    })?;
    let arming =
        take_some(reader, REIGNS_MAX, |reader| Ok(Arming { at: reader.index()?, armed: reader.bool()? }))?;
    History::from_parts(terms, gaps, arming).ok_or(Malformed("terms out of order"))
}

/// Reads the terms of a history.
pub(crate) fn take_terms(reader: &mut Reader<'_>) -> Result<Vec<Term>, Malformed> {
    take_some(reader, REIGNS_MAX, |reader| {
        Ok(Term { epoch: reader.epoch()?, start: reader.index()?, kind: take_start_kind(reader)? })
    })
}

/// Reads a count, which is bounded before anything is allocated, and as many things.
fn take_some<T>(
    reader: &mut Reader<'_>,
    max: usize,
    take: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count > max {
        return Err(Malformed("a history is too long"));
    }
    let mut things = Vec::with_capacity(count);
    for _ in 0..count {
        things.push(take(reader)?);
    }
    Ok(things)
}

fn put_address(out: &mut Vec<u8>, address: &Address) {
    out.option(address.host.as_ref(), |out, host| out.text(host));
    out.put_u16_le(address.port);
}

fn take_address(reader: &mut Reader<'_>) -> Result<Address, Malformed> {
    Ok(Address { host: reader.option(Reader::text)?, port: reader.u16()? })
}

fn put_leader(out: &mut Vec<u8>, leader: &Leader) {
    out.put_u128_le(leader.node.0);
    out.text(&leader.http);
    out.text(&leader.replication);
}

fn take_leader(reader: &mut Reader<'_>) -> Result<Leader, Malformed> {
    Ok(Leader { node: NodeId(reader.u128()?), http: reader.text()?, replication: reader.text()? })
}

fn put_append(out: &mut Vec<u8>, append: &Append) {
    out.epoch(append.epoch);
    out.position(append.prev);
    out.index(append.committed);
    out.index(append.last);
    out.put_u64_le(append.round);
    out.put_u64_le(append.sent);
    out.put_u64_le(append.echo);
    out.put_u64_le(append.log_time.0);
    out.put_u32_le(count_u32(append.entries.len()));
}

fn take_append(reader: &mut Reader<'_>, records: &mut Bytes) -> Result<Append, WireError> {
    Ok(Append {
        epoch: reader.epoch()?,
        prev: reader.position()?,
        committed: reader.index()?,
        last: reader.index()?,
        round: reader.u64()?,
        sent: reader.u64()?,
        echo: reader.u64()?,
        log_time: WallMs(reader.u64()?),
        entries: take_records(reader.u32()?, records)?,
    })
}

fn take_fetched_tail(reader: &mut Reader<'_>, records: &mut Bytes) -> Result<FetchedTail, WireError> {
    Ok(FetchedTail { after: reader.position()?, entries: take_records(reader.u32()?, records)? })
}

/// Exactly `count` entries, each with the right checksum, as slices of the frame.
fn take_records(count: u32, records: &mut Bytes) -> Result<Vec<Bytes>, WireError> {
    // The shortest record has nine bytes, so that the count cannot make us allocate much more than was sent.
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > records.len() / 9 {
        return Err(WireError::Malformed("too many entries"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let len = checked_entry_len(records)?;
        entries.push(records.split_to(len));
    }
    Ok(entries)
}

fn put_ack(out: &mut Vec<u8>, ack: &Ack) {
    out.epoch(ack.epoch);
    out.index(ack.received);
    out.index(ack.durable);
    out.index(ack.applied);
    out.put_u64_le(ack.hash.0);
    out.put_u64_le(ack.round);
    out.put_u64_le(ack.sent);
    out.put_u32_le(ack.word_ms);
    out.put_u64_le(ack.clock);
    out.put_u8(disk_code(ack.disk));
    out.put_u64_le(ack.wall.0);
}

fn take_ack(reader: &mut Reader<'_>) -> Result<Ack, Malformed> {
    Ok(Ack {
        epoch: reader.epoch()?,
        received: reader.index()?,
        durable: reader.index()?,
        applied: reader.index()?,
        hash: StateHash(reader.u64()?),
        round: reader.u64()?,
        sent: reader.u64()?,
        word_ms: reader.u32()?,
        clock: reader.u64()?,
        disk: take_disk(reader)?,
        wall: WallMs(reader.u64()?),
    })
}

const fn disk_code(disk: DiskState) -> u8 {
    match disk {
        DiskState::Works => 0,
        DiskState::Full => 1,
        DiskState::Hangs => 2,
    }
}

fn take_disk(reader: &mut Reader<'_>) -> Result<DiskState, Malformed> {
    match reader.u8()? {
        0 => Ok(DiskState::Works),
        1 => Ok(DiskState::Full),
        2 => Ok(DiskState::Hangs),
        _ => Err(Malformed("no such state of a disk")),
    }
}

fn take_snapshot_ack(reader: &mut Reader<'_>) -> Result<SnapshotAck, Malformed> {
    Ok(SnapshotAck {
        epoch: reader.epoch()?,
        position: reader.position()?,
        next_chunk: reader.u32()?,
        durable: reader.bool()?,
        clock: reader.u64()?,
    })
}

fn put_request_vote(out: &mut Vec<u8>, request_vote: &RequestVote) {
    out.put_u128_le(request_vote.cluster.0);
    out.epoch(request_vote.epoch);
    out.position(request_vote.last);
    out.bool(request_vote.pre);
    match request_vote.waiver {
        Waiver::None => out.put_u8(0),
        Waiver::Evidence => out.put_u8(1),
        Waiver::Handover { epoch, round } => {
            out.put_u8(2);
            out.epoch(epoch);
            out.put_u64_le(round);
        }
    }
}

fn take_request_vote(reader: &mut Reader<'_>) -> Result<RequestVote, Malformed> {
    Ok(RequestVote {
        cluster: ClusterId(reader.u128()?),
        epoch: reader.epoch()?,
        last: reader.position()?,
        pre: reader.bool()?,
        waiver: match reader.u8()? {
            0 => Waiver::None,
            1 => Waiver::Evidence,
            2 => Waiver::Handover { epoch: reader.epoch()?, round: reader.u64()? },
            _ => return Err(Malformed("no such waiver")),
        },
    })
}

fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.put_u128_le(vote.voter.0);
    out.epoch(vote.epoch);
    out.bool(vote.pre);
    out.bool(vote.granted);
    out.epoch(vote.promised);
    out.bool(vote.evidence);
    out.bool(vote.if_dead);
}

fn take_vote(reader: &mut Reader<'_>) -> Result<Vote, Malformed> {
    Ok(Vote {
        voter: NodeId(reader.u128()?),
        epoch: reader.epoch()?,
        pre: reader.bool()?,
        granted: reader.bool()?,
        promised: reader.epoch()?,
        evidence: reader.bool()?,
        if_dead: reader.bool()?,
    })
}

/// The chunk's bytes are the rest of the fields.
fn take_chunk(reader: &mut Reader<'_>, fields: &Bytes) -> Result<Chunk, Malformed> {
    let epoch = reader.epoch()?;
    let position = reader.position()?;
    let number = reader.u32()?;
    let last = reader.index()?;
    let mut bytes = fields.clone();
    bytes.advance(fields.len() - reader.rest().len());
    reader.take(bytes.len())?;
    Ok(Chunk { epoch, position, number, bytes, last })
}
