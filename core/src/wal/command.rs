//! The byte layout of a [`Command`] within an entry's record. Owns the command types and their maxima; the
//! record around it belongs to [`super::record`].

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use crate::codec::{Malformed, Reader, Writer, count_u32};
use crate::command::{
    Command, Condition, Fingerprint, MEMBERS_MAX, Member, Membership, Pair, Pause, StartKind,
    TICKET_KEY_BYTES_MAX, Ticket, Value, ValueKind,
};
use crate::ids::NodeId;
use crate::version::Version;

/// Most pairs in a [`Command::Batch`].
pub const BATCH_PAIRS_MAX: usize = 65_536;

/// Most keys in a [`Command::Sweep`].
pub const SWEEP_KEYS_MAX: usize = 65_536;

const SET: u8 = 1;
const DELETE: u8 = 2;
const INCR: u8 = 3;
const EXPIRE: u8 = 4;
const PERSIST: u8 = 5;
const BATCH: u8 = 6;
const EPOCH_START: u8 = 7;
const CONFIG: u8 = 8;
const SWEEP: u8 = 9;
const ONCE: u8 = 10;
const IF: u8 = 11;

// A pair's flags. The condition of a set stands above them.
const FLAG_JSON: u8 = 1;
const FLAG_TTL: u8 = 2;
const PAIR_FLAGS: u8 = FLAG_JSON | FLAG_TTL;
const CONDITION_SHIFT: u32 = 2;

/// What stands before the members of a membership.
const MEMBERSHIP_BYTES: usize = 1 + 4 + 1 + 1;
const PAUSE_BYTES: usize = 8 + 4;

/// How many bytes [`encode`] writes.
pub(super) fn encoded_len(command: &Command) -> usize {
    let body = match command {
        Command::Set { pair, condition } => pair_len(pair) + version_len(*condition),
        Command::Delete { key } | Command::Persist { key } => 2 + key.len(),
        Command::Incr { key, .. } | Command::Expire { key, .. } => 2 + key.len() + 8,
        Command::Batch { pairs } => 4 + pairs.iter().map(pair_len).sum::<usize>(),
        Command::If { condition, command } => 1 + version_len(*condition) + encoded_len(command),
        Command::Once { ticket, command } => ticket_len(ticket) + encoded_len(command),
        Command::EpochStart { spread, .. } => 1 + if *spread > 0 { 4 } else { 0 },
        Command::Config(membership) => {
            let pause = if membership.pause.is_some() { PAUSE_BYTES } else { 0 };
            MEMBERSHIP_BYTES + pause + membership.members.iter().map(member_len).sum::<usize>()
        }
        Command::Sweep { keys } => 4 + keys.iter().map(|key| 2 + key.len()).sum::<usize>(),
    };
    1 + body
}

/// Writes a command.
pub(super) fn encode(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Set { pair, condition } => {
            out.put_u8(SET);
            put_pair(out, pair, condition_code(*condition));
            put_version(out, *condition);
        }
        Command::Delete { key } => {
            out.put_u8(DELETE);
            out.short_bytes(key);
        }
        Command::Incr { key, by } => {
            out.put_u8(INCR);
            out.short_bytes(key);
            out.put_i64_le(*by);
        }
        Command::Expire { key, ttl_ms } => {
            out.put_u8(EXPIRE);
            out.short_bytes(key);
            out.put_u64_le(*ttl_ms);
        }
        Command::Persist { key } => {
            out.put_u8(PERSIST);
            out.short_bytes(key);
        }
        Command::Batch { pairs } => {
            assert!(pairs.len() <= BATCH_PAIRS_MAX, "a batch of {} pairs was let in", pairs.len());
            out.put_u8(BATCH);
            out.put_u32_le(count_u32(pairs.len()));
            pairs.iter().for_each(|pair| put_pair(out, pair, 0));
        }
        Command::If { condition, command } => {
            assert!(*condition != Condition::Always, "a condition that always holds was let in");
            assert!(command.takes_condition(), "a condition for {command:?} was let in");
            out.put_u8(IF);
            out.put_u8(condition_code(*condition));
            put_version(out, *condition);
            encode(out, command);
        }
        Command::Once { ticket, command } => {
            assert!(command.is_plain_client(), "a ticket for {command:?} was let in");
            out.put_u8(ONCE);
            put_ticket(out, ticket);
            encode(out, command);
        }
        Command::EpochStart { kind, spread } => {
            out.put_u8(EPOCH_START);
            out.put_u8(start_kind_code(*kind));
            if *spread > 0 {
                out.put_u32_le(*spread);
            }
        }
        Command::Config(membership) => {
            out.put_u8(CONFIG);
            put_membership(out, membership);
        }
        Command::Sweep { keys } => {
            assert!(keys.len() <= SWEEP_KEYS_MAX, "a sweep of {} keys was let in", keys.len());
            out.put_u8(SWEEP);
            out.put_u32_le(count_u32(keys.len()));
            keys.iter().for_each(|key| out.short_bytes(key));
        }
    }
}

/// Reads a command to the end of `bytes`. `share` makes what keys and values hold out of the slices in which
/// they stand: a shared slice of the record, or nothing at all where only the layout is to be checked.
pub(super) fn decode(bytes: &[u8], share: impl Fn(&[u8]) -> Bytes) -> Result<Command, Malformed> {
    let mut reader = Reader::new(bytes);
    let command = take_command(&mut reader, &share)?;
    reader.end()?;
    Ok(command)
}

fn take_command(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Result<Command, Malformed> {
    match reader.u8()? {
        ONCE => {
            let ticket = take_ticket(reader, share)?;
            let code = reader.u8()?;
            // Not by calling ourselves: what comes from elsewhere cannot nest any deeper.
            let command = take_untied(reader, code, share)?;
            if !command.is_plain_client() {
                return Err(Malformed("a ticket for the log's own command"));
            }
            Ok(Command::Once { ticket, command: Box::new(command) })
        }
        code => take_untied(reader, code, share),
    }
}

fn take_untied(reader: &mut Reader<'_>, code: u8, share: &impl Fn(&[u8]) -> Bytes) -> Result<Command, Malformed> {
    if code != IF {
        return take_plain(reader, code, share);
    }
    let code = reader.u8()?;
    let condition = take_condition(reader, code)?;
    let code = reader.u8()?;
    let command = take_plain(reader, code, share)?;
    if condition == Condition::Always || !command.takes_condition() {
        return Err(Malformed("a condition that is none, or for what takes none"));
    }
    Ok(Command::If { condition, command: Box::new(command) })
}

fn take_plain(reader: &mut Reader<'_>, code: u8, share: &impl Fn(&[u8]) -> Bytes) -> Result<Command, Malformed> {
    Ok(match code {
        SET => {
            let (pair, code) = take_pair(reader, share)?;
            Command::Set { pair, condition: take_condition(reader, code)? }
        }
        DELETE => Command::Delete { key: share(reader.short_bytes()?) },
        INCR => Command::Incr { key: share(reader.short_bytes()?), by: reader.u64()?.cast_signed() },
        EXPIRE => Command::Expire { key: share(reader.short_bytes()?), ttl_ms: reader.u64()? },
        PERSIST => Command::Persist { key: share(reader.short_bytes()?) },
        BATCH => Command::Batch { pairs: take_pairs(reader, share)? },
        EPOCH_START => Command::EpochStart { kind: take_start_kind(reader)?, spread: take_spread(reader)? },
        CONFIG => Command::Config(take_membership(reader)?),
        SWEEP => Command::Sweep { keys: take_keys(reader, share)? },
        _ => return Err(Malformed("no such command")),
    })
}

fn ticket_len(ticket: &Ticket) -> usize {
    16 + 1 + 2 + ticket.key.len()
}

fn put_ticket(out: &mut Vec<u8>, ticket: &Ticket) {
    let len = ticket.key.len();
    assert!((1..=TICKET_KEY_BYTES_MAX).contains(&len), "a ticket's key of {len} bytes was let in");
    out.put_u128_le(ticket.fingerprint.0);
    out.bool(ticket.wants_old);
    out.short_bytes(&ticket.key);
}

fn take_ticket(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Result<Ticket, Malformed> {
    let fingerprint = Fingerprint(reader.u128()?);
    let wants_old = reader.bool()?;
    let key = reader.short_bytes()?;
    if !(1..=TICKET_KEY_BYTES_MAX).contains(&key.len()) {
        return Err(Malformed("a ticket's key too short or too long"));
    }
    Ok(Ticket { key: share(key), fingerprint, wants_old })
}

fn pair_len(pair: &Pair) -> usize {
    let ttl = if pair.ttl_ms.is_some() { 8 } else { 0 };
    1 + 2 + pair.key.len() + ttl + 4 + pair.value.bytes.len()
}

fn put_pair(out: &mut Vec<u8>, pair: &Pair, condition: u8) {
    let json = match pair.value.kind {
        ValueKind::Bytes => 0,
        ValueKind::Json => FLAG_JSON,
    };
    let ttl = if pair.ttl_ms.is_some() { FLAG_TTL } else { 0 };
    out.put_u8(json | ttl | condition << CONDITION_SHIFT);
    out.short_bytes(&pair.key);
    if let Some(ttl_ms) = pair.ttl_ms {
        out.put_u64_le(ttl_ms);
    }
    out.long_bytes(&pair.value.bytes);
}

fn take_pair(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Result<(Pair, u8), Malformed> {
    let flags = reader.u8()?;
    let key = share(reader.short_bytes()?);
    let ttl_ms = if flags & FLAG_TTL == 0 { None } else { Some(reader.u64()?) };
    let kind = if flags & FLAG_JSON == 0 { ValueKind::Bytes } else { ValueKind::Json };
    let value = Value { kind, bytes: share(reader.long_bytes()?) };
    Ok((Pair { key, value, ttl_ms }, (flags & !PAIR_FLAGS) >> CONDITION_SHIFT))
}

fn take_pairs(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Result<Vec<Pair>, Malformed> {
    let count = take_count(reader, BATCH_PAIRS_MAX, 7)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        match take_pair(reader, share)? {
            (pair, 0) => pairs.push(pair),
            _ => return Err(Malformed("a condition within a batch")),
        }
    }
    Ok(pairs)
}

fn take_keys(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Result<Vec<Bytes>, Malformed> {
    let count = take_count(reader, SWEEP_KEYS_MAX, 2)?;
    (0..count).map(|_| reader.short_bytes().map(share)).collect()
}

/// A count of things that take `each` bytes at least: refused before anything is allocated for them.
fn take_count(reader: &mut Reader<'_>, max: usize, each: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(reader.u32()?).map_err(|_| Malformed("too many"))?;
    if count > max || count > reader.rest().len() / each {
        return Err(Malformed("too many"));
    }
    Ok(count)
}

const fn version_len(condition: Condition) -> usize {
    match condition {
        Condition::Version(_) => 8,
        Condition::Always | Condition::Absent | Condition::Present => 0,
    }
}

fn put_version(out: &mut Vec<u8>, condition: Condition) {
    if let Condition::Version(version) = condition {
        out.put_u64_le(version.0);
    }
}

const fn condition_code(condition: Condition) -> u8 {
    match condition {
        Condition::Always => 0,
        Condition::Absent => 1,
        Condition::Present => 2,
        Condition::Version(_) => 3,
    }
}

fn take_condition(reader: &mut Reader<'_>, code: u8) -> Result<Condition, Malformed> {
    match code {
        0 => Ok(Condition::Always),
        1 => Ok(Condition::Absent),
        2 => Ok(Condition::Present),
        3 => reader.u64().map(|version| Condition::Version(Version(version))),
        _ => Err(Malformed("no such condition")),
    }
}

/// The code of a [`StartKind`], on disk and on the wire.
pub(crate) const fn start_kind_code(kind: StartKind) -> u8 {
    match kind {
        StartKind::Founding => 0,
        StartKind::Restart => 1,
        StartKind::Promotion => 2,
        StartKind::Forced => 3,
        StartKind::Election => 4,
        StartKind::Switchover => 5,
    }
}

/// The other direction of [`start_kind_code`].
pub(crate) fn take_start_kind(reader: &mut Reader<'_>) -> Result<StartKind, Malformed> {
    match reader.u8()? {
        0 => Ok(StartKind::Founding),
        1 => Ok(StartKind::Restart),
        2 => Ok(StartKind::Promotion),
        3 => Ok(StartKind::Forced),
        4 => Ok(StartKind::Election),
        5 => Ok(StartKind::Switchover),
        _ => Err(Malformed("no such kind of start")),
    }
}

/// Entries of logs of version 2 end before it.
fn take_spread(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    if reader.rest().is_empty() {
        return Ok(0);
    }
    match reader.u32()? {
        0 => Err(Malformed("a spread of nothing")),
        spread => Ok(spread),
    }
}

fn member_len(member: &Member) -> usize {
    let set = if member.priority_set.is_some() { 4 } else { 0 };
    16 + 2 + member.name.len() + 2 + member.replication.len() + 2 + member.http.len() + 1 + 4 + 1 + set
}

/// Writes a membership; snapshots hold one too.
pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let Some(count) = u8::try_from(membership.members.len()).ok().filter(|n| usize::from(*n) <= MEMBERS_MAX)
    else {
        panic!("{} members were let in", membership.members.len());
    };
    out.bool(membership.armed);
    out.put_u32_le(membership.election_timeout_ms);
    out.option(membership.pause.as_ref(), |out, pause| {
        out.index(pause.since);
        out.put_u32_le(pause.length_ms);
    });
    out.put_u8(count);
    for member in &membership.members {
        out.put_u128_le(member.id.0);
        out.text(&member.name);
        out.text(&member.replication);
        out.text(&member.http);
        out.bool(member.voter);
        out.put_u32_le(member.priority);
        out.option(member.priority_set.as_ref(), |out, priority| out.put_u32_le(*priority));
    }
}

/// Reads a membership; its members ascend by id.
pub(crate) fn take_membership(reader: &mut Reader<'_>) -> Result<Membership, Malformed> {
    let armed = reader.bool()?;
    let election_timeout_ms = reader.u32()?;
    let pause = reader.option(|reader| Ok(Pause { since: reader.index()?, length_ms: reader.u32()? }))?;
    let count = usize::from(reader.u8()?);
    if count > MEMBERS_MAX {
        return Err(Malformed("too many members"));
    }
    let mut members: Vec<Member> = Vec::with_capacity(count);
    for _ in 0..count {
        let member = take_member(reader)?;
        if members.last().is_some_and(|last| last.id >= member.id) {
            return Err(Malformed("members out of order"));
        }
        members.push(member);
    }
    Ok(Membership { armed, election_timeout_ms, pause, members })
}

fn take_member(reader: &mut Reader<'_>) -> Result<Member, Malformed> {
    Ok(Member {
        id: NodeId(reader.u128()?),
        name: reader.text()?,
        replication: reader.text()?,
        http: reader.text()?,
        voter: reader.bool()?,
        priority: reader.u32()?,
        priority_set: reader.option(Reader::u32)?,
    })
}
