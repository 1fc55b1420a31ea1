//! A node as the journal sees it: it makes records and knows every state that its log has been in.

extern crate std;

use alloc::vec;
use alloc::vec::Vec;

use std::fmt;

use bytes::Bytes;

use super::disk::Dice;
use crate::command::{Command, Condition, Membership, Pair, Value, ValueKind};
use crate::config::{Concern, FsyncMode, RoleHint};
use crate::history::History;
use crate::ids::{ClusterId, NodeId};
use crate::planted::Planted;
use crate::position::{Epoch, Index, Position};
use crate::recovered::Recovered;
use crate::snapshot::{SnapshotMeta, SnapshotWriter};
use crate::store::Store;
use crate::time::WallMs;
use crate::wal::{Entry, FileWrite, HardState, JournalConfig, Lane, Record, WriteBatch};

pub(super) fn config(fsync: FsyncMode) -> JournalConfig {
    let (segment_bytes_max, tail_bytes_max) = (4096, 600);
    let planted = Planted::default();
    JournalConfig { wal: true, segment_bytes_max, reserve_bytes: 1024, fsync, tail_bytes_max, planted }
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch { number, leader: NodeId(1) }
}

/// The log as it stands after some record: all entries from the first on, though disks hold only the end of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    pub(super) hard_state: Option<HardState>,
}

impl State {
    pub(super) fn last(&self) -> Position {
        self.entries.last().map_or(Position::ZERO, |entry| entry.position)
    }

    pub(super) fn at(&self, index: Index) -> Position {
        match index.0 {
            0 => Position::ZERO,
            at => self.entries[usize::try_from(at).unwrap() - 1].position,
        }
    }

    /// Whether a recovered node's log is in this state.
    pub(super) fn is(&self, recovered: &Recovered) -> bool {
        let base = usize::try_from(recovered.base.index.0).unwrap();
        self.entries.len() == base + recovered.entries.len()
            && self.at(recovered.base.index) == recovered.base
            && self.entries[base..] == recovered.entries[..]
            && recovered.snapshot.as_ref().is_none_or(|(meta, store)| {
                meta.position == self.at(meta.position.index)
                    && store.hash() == self.store(meta.position.index).hash()
            })
    }

    fn store(&self, upto: Index) -> Store {
        let mut store = Store::default();
        for entry in &self.entries[..usize::try_from(upto.0).unwrap()] {
            store.apply(entry.position.index, entry.at, &entry.command().unwrap());
        }
        store
    }

    /// The chunks of a snapshot of this state.
    pub(super) fn snapshot(&self, upto: Index) -> Vec<Bytes> {
        let store = self.store(upto);
        let meta = SnapshotMeta {
            cluster: ClusterId(9),
            position: self.at(upto),
            log_time: store.log_time(),
            history: History::default(),
            membership: Membership::default(),
            version_base: store.version_base(),
            keys: store.keys(),
            results: store.results(),
            hash: store.hash(),
        };
        let mut writer = SnapshotWriter::new(meta, store.view());
        std::iter::from_fn(|| writer.chunk(64)).collect()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promised = self.hard_state.map_or(0, |state| state.promised.number);
        write!(f, "promised {promised}, entries")?;
        self.entries.iter().try_for_each(|entry| write!(f, " {}@{}", entry.position, entry.at.0))
    }
}

/// Makes batches, and remembers the state after each of them.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The states that the disk may be in: the first is promised, the last is wanted.
    pub(super) states: Vec<State>,
    /// Snapshots that the node may rely on, oldest first.
    pub(super) snapshots: Vec<Index>,
    pub(super) epoch: u64,
    at: u64,
    batches: u64,
    /// What clients write, if it is not for the model to say.
    pub(super) value: Option<Bytes>,
}

impl Model {
    pub(super) fn new() -> Self {
        let states = vec![State { entries: Vec::new(), hard_state: None }];
        Self { states, snapshots: Vec::new(), epoch: 1, at: 1000, batches: 0, value: None }
    }

    pub(super) fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    /// All that was wanted is promised now.
    pub(super) fn settle(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    fn entry(&mut self, dice: &mut Dice, after: Position) -> Entry {
        self.at += 1;
        let value = Bytes::from(vec![b'v'; usize::try_from(dice.below(700)).unwrap()]);
        let value = self.value.clone().unwrap_or(value);
        let pair = Pair {
            key: Bytes::from(vec![b'k', dice.below(5) as u8]),
            value: Value { kind: ValueKind::Bytes, bytes: value },
            ttl_ms: None,
        };
        let command = Command::Set { pair, condition: Condition::Always };
        let position = Position { epoch: epoch(self.epoch), index: after.index.next() };
        Entry::encode(position, WallMs(self.at), Concern::Quorum, &command)
    }

    fn hard_state(&self) -> HardState {
        HardState {
            cluster: Some(ClusterId(9)),
            promised: epoch(self.epoch),
            ..HardState::new(NodeId(1), RoleHint::Master)
        }
    }

    fn batch(&mut self, lane: Lane, records: Vec<Record>, files: Vec<FileWrite>) -> WriteBatch {
        self.batches += 1;
        let head = Record::HardState(self.now().hard_state.unwrap_or_else(|| self.hard_state())).encode();
        let mut batch = WriteBatch::new(self.batches, lane, head, self.now().last());
        batch.records = records.iter().map(Record::encode).collect();
        batch.files = files;
        batch
    }

    /// A few entries; sometimes a new epoch first, or a cut of the tail.
    pub(super) fn write(&mut self, dice: &mut Dice) -> WriteBatch {
        let mut state = self.now().clone();
        let mut records = Vec::new();
        let outdated = state.hard_state.is_none_or(|state| state.promised != epoch(self.epoch));
        if outdated || dice.one_in(8) {
            self.epoch += 1;
            state.hard_state = Some(self.hard_state());
            records.push(Record::HardState(self.hard_state()));
        }
        for _ in 0..dice.below(4) {
            let entry = self.entry(dice, state.last());
            state.entries.push(entry.clone());
            records.push(Record::Entry(entry));
        }
        self.states.push(state);
        self.batch(Lane::Log, records, Vec::new())
    }

    /// Cuts the tail to a position that a snapshot and the log still lead to.
    pub(super) fn truncate(&mut self, dice: &mut Dice) -> WriteBatch {
        let mut state = self.now().clone();
        let floor = self.snapshots.first().copied().unwrap_or_default();
        let cut = Index(floor.0 + dice.below(state.last().index.ahead_of(floor) + 1));
        state.entries.truncate(usize::try_from(cut.0).unwrap());
        let (kept, discards) = self.snapshots.iter().partition(|index| **index <= cut);
        self.snapshots = kept;
        self.epoch += 1;
        state.hard_state = Some(self.hard_state());
        let records = vec![Record::HardState(self.hard_state()), Record::Truncate(state.last())];
        self.states.push(state);
        let mut batch = self.batch(Lane::Log, records, Vec::new());
        batch.discards = discards;
        batch
    }

    /// A snapshot of the promised state, if there is something new in it.
    pub(super) fn snapshot(&mut self, dice: &mut Dice, keep: u32) -> Option<WriteBatch> {
        let promised = &self.states[0];
        let least = self.snapshots.last().copied().unwrap_or_default();
        let new = promised.last().index.ahead_of(least);
        // Only what no cut in flight can take back.
        if new == 0 || self.states.len() > 1 {
            return None;
        }
        let index = Index(least.0 + 1 + dice.below(new));
        let files = snapshot_files(promised, index, keep);
        self.snapshots.push(index);
        Some(self.batch(Lane::Snapshot, Vec::new(), files))
    }

    /// The cut that follows a snapshot.
    pub(super) fn cut(&mut self, keep: u32) -> WriteBatch {
        let surplus = self.snapshots.len().saturating_sub(usize::try_from(keep).unwrap());
        self.snapshots.drain(..surplus);
        let mut batch = self.batch(Lane::Log, Vec::new(), Vec::new());
        batch.cut = self.snapshots.first().copied();
        batch
    }

    /// Another master's snapshot takes the place of the log: first its files, then the mark.
    pub(super) fn install(&mut self, dice: &mut Dice, keep: u32) -> (WriteBatch, WriteBatch) {
        let shared = usize::try_from(dice.below(self.now().entries.len() as u64 + 1)).unwrap();
        let length = dice.below(self.now().entries.len() as u64 + 6) + 1;
        let mut state = self.now().clone();
        state.entries.truncate(shared);
        self.epoch += 1;
        for _ in 0..length {
            let entry = self.entry(dice, state.last());
            state.entries.push(entry);
        }
        let index = state.last().index;
        let files = snapshot_files(&state, index, keep);
        let promised = self.hard_state();
        let first = self.batch(Lane::Snapshot, Vec::new(), files);
        // The files alone may make recovery go on from there, with the promise as it was.
        self.states.push(state.clone());
        state.hard_state = Some(promised);
        let mark = vec![Record::HardState(promised), Record::SnapshotMark(state.last())];
        self.states.push(state);
        let discards = self.snapshots.iter().copied().filter(|known| *known > index).collect();
        self.snapshots = vec![index];
        let mut marked = self.batch(Lane::Log, mark, Vec::new());
        marked.discards = discards;
        (first, marked)
    }
}

fn snapshot_files(state: &State, index: Index, keep: u32) -> Vec<FileWrite> {
    let position = state.at(index);
    let chunks = state.snapshot(index);
    let mut files: Vec<FileWrite> = chunks
        .into_iter()
        .enumerate()
        .map(|(number, bytes)| FileWrite::SnapshotChunk {
            position,
            number: u32::try_from(number).unwrap(),
            bytes,
            own: true,
        })
        .collect();
    files.push(FileWrite::SnapshotDone { position, keep });
    files
}
