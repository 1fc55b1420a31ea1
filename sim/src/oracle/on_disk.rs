//! What a disk holds, read as a restart would read it after a power cut that kept nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use synap_core::config::FsyncMode;
use synap_core::ids::NodeId;
use synap_core::planted::Planted;
use synap_core::position::{Epoch, Index, Position};
use synap_core::recovered::Recovered;
use synap_core::wal::{Draw, JournalConfig, recover};

/// What a disk holds.
#[derive(Debug)]
pub struct OnDisk {
    /// None if the directory holds no node yet.
    pub node: Option<Recovered>,
    /// Why recovery refuses it.
    pub problem: Option<String>,
    /// What the durable rollback files name.
    pub rolled_back: BTreeSet<Position>,
    /// Whole logs that were kept because what was discarded reached below memory.
    kept: Vec<Recovered>,
}

impl OnDisk {
    pub(super) fn read(files: &BTreeMap<String, Bytes>) -> Self {
        let names: Vec<String> = files.keys().cloned().collect();
        let read = |name: &str| Ok::<_, Infallible>(files.get(name).cloned().unwrap_or_default());
        let (node, problem) = match recover(reader(), &names, Draw::default(), read) {
            Ok(recovery) => (recovery.recovered, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let rolled_back = files
            .iter()
            .filter(|(name, _)| name.starts_with(ROLLBACK) && name.ends_with(".ndjson"))
            .flat_map(|(_, bytes)| lines(bytes))
            .collect();
        let kept = kept_logs(files).values().filter_map(node_in).collect();
        Self { node, problem, rolled_back, kept }
    }

    /// The highest epoch promised.
    pub fn promised(&self) -> Epoch {
        self.node.as_ref().map_or(Epoch::default(), |node| node.hard_state.promised)
    }

    /// The last position of the log.
    pub fn last(&self) -> Position {
        self.node.as_ref().map_or(Position::ZERO, last_of)
    }

    /// Whether the log, or the snapshot that it goes on from, holds `position`.
    pub fn holds(&self, position: Position) -> bool {
        self.epoch_at(position.index) == Some(position.epoch)
    }

    /// The epoch of the entry at `index`, if it is here.
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        self.node.as_ref().and_then(|node| epoch_at(node, index))
    }

    /// Whether a durable rollback file names `position`, or a log that was kept with one holds it. A kept snapshot holds what it
    /// stands for, though its history may have forgotten by whom that was written.
    pub fn reports(&self, position: Position) -> bool {
        let holds = |node: &Recovered| match epoch_at(node, position.index) {
            Some(epoch) => epoch == position.epoch,
            None => forgot(node, position.index),
        };
        self.rolled_back.contains(&position) || self.kept.iter().any(holds)
    }

    /// Whether what stands at `index` is held, and nobody remembers in which mastership it was written.
    pub fn forgot(&self, index: Index) -> bool {
        self.node.as_ref().is_some_and(|node| epoch_at(node, index).is_none() && forgot(node, index))
    }
}

/// Whether the history of a node's snapshot has a gap at `index`.
fn forgot(node: &Recovered, index: Index) -> bool {
    let history = node.snapshot.as_ref().map(|(meta, _)| &meta.history);
    history.is_some_and(|history| history.gap_at(index).is_some())
}

/// The epoch of the entry at `index`, in the log or in the snapshot that it goes on from.
fn epoch_at(node: &Recovered, index: Index) -> Option<Epoch> {
    let entry = index.0.checked_sub(node.base.index.0 + 1).and_then(|at| node.entries.get(at as usize));
    match (entry, &node.snapshot) {
        (Some(entry), _) => Some(entry.position.epoch),
        (None, Some((meta, _))) if index <= meta.position.index => meta.history.epoch_at(index),
        (None, Some(_) | None) => None,
    }
}

/// The last position of a recovered log.
pub(super) fn last_of(node: &Recovered) -> Position {
    let snapshot = node.snapshot.as_ref().map_or(Position::ZERO, |(meta, _)| meta.position);
    let log = node.entries.last().map_or(node.base, |entry| entry.position);
    if log.index >= snapshot.index { log } else { snapshot }
}

/// Reads everything, and has no bug planted.
fn reader() -> JournalConfig {
    JournalConfig {
        wal: true,
        segment_bytes_max: 1 << 20,
        reserve_bytes: 0,
        fsync: FsyncMode::Always,
        tail_bytes_max: u64::MAX,
        planted: Planted::default(),
    }
}

/// Where rollback files are.
const ROLLBACK: &str = "rollback/";

/// The logs that were kept whole because what was discarded reached below memory, each with its files by name.
fn kept_logs(files: &BTreeMap<String, Bytes>) -> BTreeMap<&str, BTreeMap<String, Bytes>> {
    let mut kept: BTreeMap<&str, BTreeMap<String, Bytes>> = BTreeMap::new();
    for (name, bytes) in files {
        let of = name.strip_prefix(ROLLBACK).and_then(|rest| rest.split_once('/'));
        if let Some((log, file)) = of.filter(|(log, _)| log.ends_with(".files")) {
            kept.entry(log).or_default().insert(file.to_owned(), bytes.clone());
        }
    }
    kept
}

/// What a restart would find in these files.
fn node_in(files: &BTreeMap<String, Bytes>) -> Option<Recovered> {
    let names: Vec<String> = files.keys().cloned().collect();
    let read = |name: &str| Ok::<_, Infallible>(files.get(name).cloned().unwrap_or_default());
    recover(reader(), &names, Draw::default(), read).ok()?.recovered
}

fn lines(file: &[u8]) -> impl Iterator<Item = Position> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let line: Line = serde_json::from_slice(line).ok()?;
        let leader = NodeId(u128::from_str_radix(&line.leader, 16).ok()?);
        Some(Position { epoch: Epoch { number: line.epoch, leader }, index: Index(line.index) })
    })
}

/// What an oracle wants of a line of a rollback file.
#[derive(serde::Deserialize)]
struct Line {
    epoch: u64,
    leader: String,
    index: u64,
}
