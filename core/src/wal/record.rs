//! Records: what stands in the log, encoded once. The same bytes go to this disk, to every replica and to the
//! replica's disk.
//!
//! Owns the byte layout of records (`docs/formats/wal.md`), which is common to the log and the wire; the layout of
//! the command within an entry is in [`super::command`]. Never looks beyond the record at hand.

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes};

use crate::codec::{Malformed, POSITION_BYTES, Reader, Writer, count_u32, patch_front};

use crate::command::Command;
use crate::config::{Concern, RoleHint};
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Index, Position};
use crate::time::WallMs;
use crate::wal::command;

/// The longest record, head included: the largest value there can be, and room for what stands around it.
pub const RECORD_BYTES_MAX: usize = (64 << 20) + (1 << 20);

/// Length (u32) and checksum (u32) stand before what the checksum covers: type (u8) and payload.
const HEAD_BYTES: usize = 8;

/// Epoch, index, `at` and the concern's code, before a concern's number and the command.
const ENTRY_BYTES: usize = POSITION_BYTES + 8 + 1;

const HARD_STATE: u8 = 1;
const ENTRY: u8 = 2;
const TRUNCATE: u8 = 3;
const SNAPSHOT_MARK: u8 = 4;
const COMMITTED: u8 = 5;

/// What a node must not forget besides its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Who this node is.
    pub node: NodeId,
    /// The cluster that it belongs to, once it has founded or joined one.
    pub cluster: Option<ClusterId>,
    /// The highest epoch that it has promised to speak in, or to listen to. INV-7: never goes back.
    pub promised: Epoch,
    /// The role that the configuration asked for at the last start.
    pub role: RoleHint,
    /// The state on this disk is not to be trusted, or is of a line that was rolled back: only a master's snapshot heals it,
    /// and until that is durable this node must not lead.
    pub needs_snapshot: bool,
    /// Entries after this one are in rollback files already, though the log still holds them; none if none are.
    pub rolled_back_after: Option<Index>,
    /// How many milliseconds this node's wall clock is ahead of log time; less than nothing if it is behind.
    pub wall_ahead_ms: i64,
}

impl HardState {
    /// Of a node that has neither promised nor met anything yet.
    pub const fn new(node: NodeId, role: RoleHint) -> Self {
        let promised = Epoch { number: 0, leader: NodeId(0) };
        Self {
            node,
            cluster: None,
            promised,
            role,
            needs_snapshot: false,
            rolled_back_after: None,
            wall_ahead_ms: 0,
        }
    }
}

/// One operation of the log, with its encoded record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// The master's wall clock, forced never to go back within the log.
    pub at: WallMs,
    /// What the client asked an answer to mean; it is told in rollback files.
    pub concern: Concern,
    /// The whole record as it stands on disk and on the wire, checksum included.
    pub record: Bytes,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// Replaces the hard state.
    HardState(HardState),
    /// Follows the last entry.
    Entry(Entry),
    /// Everything after this position is gone.
    Truncate(Position),
    /// The log begins anew after this position, which a durable snapshot holds.
    SnapshotMark(Position),
    /// Entries up to here are known to be committed; written along with other records, never for its own sake.
    Committed(Index),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record says it has.
    #[error("record cut short")]
    Short,
    /// Longer than any record may be.
    #[error("record of {0} bytes is longer than the limit")]
    TooLong(u64),
    /// Its checksum differs.
    #[error("record checksum differs")]
    Checksum,
    /// Its content makes no sense, though the checksum is right.
    #[error("record malformed: {0}")]
    Malformed(&'static str),
}

impl Entry {
    /// Encodes a command as the record that stands at `position`, in one allocation. The command is within its
    /// maxima, see [`Entry::encoded_len`].
    pub fn encode(position: Position, at: WallMs, concern: Concern, command: &Command) -> Self {
        let mut out = begin(ENTRY, Self::encoded_len(concern, command));
        out.position(position);
        out.put_u64_le(at.0);
        put_concern(&mut out, concern);
        command::encode(&mut out, command);
        Self { position, at, concern, record: seal(out) }
    }

    /// How long the record of this command is. One beyond [`RECORD_BYTES_MAX`] must not be encoded.
    pub fn encoded_len(concern: Concern, command: &Command) -> usize {
        HEAD_BYTES + 1 + ENTRY_BYTES + concern_len(concern) + command::encoded_len(command)
    }

    /// Takes one whole record, which must be an entry, checking its checksum and every length first.
    pub fn decode(mut record: Bytes) -> Result<Self, RecordError> {
        match Record::decode(&mut record)? {
            Record::Entry(entry) if record.is_empty() => Ok(entry),
            Record::Entry(_)
            | Record::HardState(_)
            | Record::Truncate(_)
            | Record::SnapshotMark(_)
            | Record::Committed(_) => Err(RecordError::Malformed("not one entry")),
        }
    }

    /// The command, decoded anew from the record; keys and values share the record's bytes. The record itself has
    /// been checked when the entry was made.
    pub fn command(&self) -> Result<Command, RecordError> {
        let at = HEAD_BYTES + 1 + ENTRY_BYTES + concern_len(self.concern);
        let bytes = self.record.get(at..).ok_or(RecordError::Short)?;
        Ok(command::decode(bytes, |part| self.record.slice_ref(part))?)
    }
}

impl Record {
    /// The record as bytes.
    pub fn encode(&self) -> Bytes {
        let fixed = |kind, payload: usize| begin(kind, HEAD_BYTES + 1 + payload);
        let out = match self {
            Self::Entry(entry) => return entry.record.clone(),
            Self::HardState(state) => put_hard_state(begin(HARD_STATE, hard_state_len(state)), state),
            Self::Truncate(position) => {
                let mut out = fixed(TRUNCATE, POSITION_BYTES);
                out.position(*position);
                out
            }
            Self::SnapshotMark(position) => {
                let mut out = fixed(SNAPSHOT_MARK, POSITION_BYTES);
                out.position(*position);
                out
            }
            Self::Committed(index) => {
                let mut out = fixed(COMMITTED, 8);
                out.index(*index);
                out
            }
        };
        seal(out)
    }

    /// Takes the first record off `bytes`, checking its checksum and every length before believing it. On an
    /// error nothing is taken.
    pub fn decode(bytes: &mut Bytes) -> Result<Self, RecordError> {
        let whole = checked(bytes, true)?;
        let record = bytes.slice_ref(whole);
        let decoded = decode_whole(record)?;
        bytes.advance(whole.len());
        Ok(decoded)
    }

    /// As [`Record::decode`], but believing a wrong checksum: what the planted bug `TornTailAccepted` does.
    pub(super) fn decode_unchecked(bytes: &mut Bytes) -> Result<Self, RecordError> {
        let whole = checked(bytes, false)?;
        let record = bytes.slice_ref(whole);
        let decoded = decode_whole(record)?;
        bytes.advance(whole.len());
        Ok(decoded)
    }
}

/// The length of the first record in `bytes`, if it is an entry with the right checksum; its command is not looked
/// at.
pub(crate) fn checked_entry_len(bytes: &[u8]) -> Result<usize, RecordError> {
    let whole = checked(bytes, true)?;
    match whole.get(HEAD_BYTES) {
        Some(&ENTRY) => Ok(whole.len()),
        _ => Err(RecordError::Malformed("not an entry")),
    }
}

/// What a record, which this process has encoded, does to the end of the log.
pub(super) enum Effect {
    /// Nothing.
    None,
    /// An entry follows.
    GoesOn,
    /// The log starts again after this position, which a snapshot holds.
    BeginsAnew(Position),
    /// Everything after this is gone.
    EndsAt(Position),
}

/// The same for each record that is written: a look at its type, no more, unless it is a truncation.
pub(super) fn effect(record: &Bytes) -> Effect {
    match record.get(HEAD_BYTES) {
        Some(&ENTRY) => Effect::GoesOn,
        Some(&(SNAPSHOT_MARK | TRUNCATE)) => match Record::decode(&mut record.clone()) {
            Ok(Record::SnapshotMark(position)) => Effect::BeginsAnew(position),
            Ok(Record::Truncate(position)) => Effect::EndsAt(position),
            Ok(_) | Err(_) => Effect::None,
        },
        Some(_) | None => Effect::None,
    }
}

/// The first record in `bytes`, head included.
fn checked(bytes: &[u8], verify: bool) -> Result<&[u8], RecordError> {
    let mut reader = Reader::new(bytes);
    let len = reader.u32().map_err(|_| RecordError::Short)?;
    let checksum = reader.u32().map_err(|_| RecordError::Short)?;
    let whole = u64::from(len) + HEAD_BYTES as u64;
    if whole > RECORD_BYTES_MAX as u64 {
        return Err(RecordError::TooLong(whole));
    }
    let whole = usize::try_from(whole).map_err(|_| RecordError::TooLong(whole))?;
    let covered = bytes.get(HEAD_BYTES..whole).ok_or(RecordError::Short)?;
    if verify && crc32c::crc32c(covered) != checksum {
        return Err(RecordError::Checksum);
    }
    bytes.get(..whole).ok_or(RecordError::Short)
}

fn decode_whole(record: Bytes) -> Result<Record, RecordError> {
    let mut reader = Reader::new(record.get(HEAD_BYTES..).ok_or(RecordError::Short)?);
    let decoded = match reader.u8()? {
        ENTRY => {
            let position = reader.position()?;
            let at = WallMs(reader.u64()?);
            let concern = take_concern(&mut reader)?;
            command::decode(reader.rest(), |_| Bytes::new())?;
            return Ok(Record::Entry(Entry { position, at, concern, record }));
        }
        HARD_STATE => Record::HardState(take_hard_state(&mut reader)?),
        TRUNCATE => Record::Truncate(reader.position()?),
        SNAPSHOT_MARK => Record::SnapshotMark(reader.position()?),
        COMMITTED => Record::Committed(reader.index()?),
        _ => return Err(RecordError::Malformed("no such record")),
    };
    reader.end()?;
    Ok(decoded)
}

/// A record of `whole` bytes, as far as its type; [`seal`] fills the head.
fn begin(kind: u8, whole: usize) -> Vec<u8> {
    assert!(whole <= RECORD_BYTES_MAX, "a record of {whole} bytes was let in");
    let mut out = Vec::with_capacity(whole);
    out.put_u64_le(0);
    out.put_u8(kind);
    out
}

fn seal(mut out: Vec<u8>) -> Bytes {
    let covered = out.get(HEAD_BYTES..).unwrap_or_default();
    let head = u64::from(crc32c::crc32c(covered)) << 32 | u64::from(count_u32(covered.len()));
    patch_front(&mut out, head);
    Bytes::from(out)
}

fn concern_len(concern: Concern) -> usize {
    match concern {
        Concern::Async | Concern::Local | Concern::Quorum => 0,
        Concern::Replicas(_) => 4,
    }
}

fn put_concern(out: &mut Vec<u8>, concern: Concern) {
    match concern {
        Concern::Async => out.put_u8(0),
        Concern::Local => out.put_u8(1),
        Concern::Quorum => out.put_u8(2),
        Concern::Replicas(count) => {
            out.put_u8(3);
            out.put_u32_le(count);
        }
    }
}

fn take_concern(reader: &mut Reader<'_>) -> Result<Concern, Malformed> {
    match reader.u8()? {
        0 => Ok(Concern::Async),
        1 => Ok(Concern::Local),
        2 => Ok(Concern::Quorum),
        3 => reader.u32().map(Concern::Replicas),
        _ => Err(Malformed("no such concern")),
    }
}

fn hard_state_len(state: &HardState) -> usize {
    let cluster = if state.cluster.is_some() { 16 } else { 0 };
    let rolled_back = if state.rolled_back_after.is_some() { 8 } else { 0 };
    HEAD_BYTES + 1 + 16 + 1 + cluster + 24 + 1 + 1 + 1 + rolled_back + 8
}

fn put_hard_state(mut out: Vec<u8>, state: &HardState) -> Vec<u8> {
    out.put_u128_le(state.node.0);
    out.option(state.cluster.as_ref(), |out, cluster| out.put_u128_le(cluster.0));
    out.epoch(state.promised);
    out.put_u8(match state.role {
        RoleHint::Master => 0,
        RoleHint::Replica => 1,
        RoleHint::Standalone => 2,
    });
    out.bool(state.needs_snapshot);
    out.option(state.rolled_back_after.as_ref(), |out, index| out.index(*index));
    out.put_i64_le(state.wall_ahead_ms);
    out
}

fn take_hard_state(reader: &mut Reader<'_>) -> Result<HardState, Malformed> {
    let node = NodeId(reader.u128()?);
    let cluster = reader.option(|reader| reader.u128().map(ClusterId))?;
    let promised = reader.epoch()?;
    let role = match reader.u8()? {
        0 => RoleHint::Master,
        1 => RoleHint::Replica,
        2 => RoleHint::Standalone,
        _ => return Err(Malformed("no such role")),
    };
    let state = HardState { cluster, promised, ..HardState::new(node, role) };
    // Logs of version 1 end here.
    if reader.rest().is_empty() {
        return Ok(state);
    }
    Ok(HardState {
        needs_snapshot: reader.bool()?,
        rolled_back_after: reader.option(Reader::index)?,
        wall_ahead_ms: reader.u64()?.cast_signed(),
        ..state
    })
}

impl From<Malformed> for RecordError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}
