//! Which snapshot a recovering node starts from. Owns the choice; the format belongs to [`crate::snapshot`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::position::{Index, Position};
use crate::snapshot::{SnapshotError, SnapshotMeta, SnapshotReader};
use crate::store::Store;
use crate::wal::log::Log;
use crate::wal::recover::RecoveryError;
use crate::wal::side_files::snapshot_name;

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) snapshot: Option<(SnapshotMeta, Store)>,
    /// The log does not lead to it: it is to go on from there.
    pub(super) beyond_log: bool,
    /// Snapshots of what the log has discarded.
    pub(super) discarded: Vec<Index>,
    /// Those that cannot be loaded.
    pub(super) damaged: Vec<Index>,
    pub(super) notes: Vec<String>,
    /// What is wrong with those that do not load.
    pub(super) damage: Vec<String>,
}

/// How a snapshot stands to the log.
enum PeerState {
    /// The log holds its position.
    Within,
    /// The log ends before it, and has not discarded it.
    Beyond,
    /// It belongs to a part of the log that was discarded.
    Discarded,
    /// The log has another entry there.
    Elsewhere,
}

/// Chooses the newest good snapshot that the log goes on from, or that goes beyond it. `indices` ascend.
pub(super) fn choose<E>(
    log: &Log,
    indices: &[Index],
    read: &mut impl FnMut(&str) -> Result<Bytes, E>,
) -> Result<Choice, RecoveryError<E>> {
    let mut choice = Choice::default();
    let mut elsewhere = None;
    for index in indices.iter().rev().copied().take_while(|index| *index >= log.base.index) {
        let Some((meta, store)) = load(index, read, &mut choice)? else {
            continue;
        };
        match standing(log, meta.position) {
            PeerState::Within => {
                choice.snapshot = Some((meta, store));
                return Ok(choice);
            }
            PeerState::Beyond => {
                if log.last() != Position::ZERO {
                    choice.notes.push(format!("the log ends at {}, before {}", log.last(), snapshot_name(index)));
                }
                choice.beyond_log = true;
                choice.snapshot = Some((meta, store));
                return Ok(choice);
            }
            PeerState::Discarded => choice.discard(index),
            PeerState::Elsewhere => {
                choice.discard(index);
                elsewhere = elsewhere.or(Some((meta, store)));
            }
        }
    }
    without_one(log, indices, choice, elsewhere)
}

/// No snapshot fits the log. It is of no use then unless it reaches back to the beginning.
fn without_one<E>(
    log: &Log,
    indices: &[Index],
    mut choice: Choice,
    elsewhere: Option<(SnapshotMeta, Store)>,
) -> Result<Choice, RecoveryError<E>> {
    if log.base == Position::ZERO {
        return Ok(choice);
    }
    // A master's snapshot, whole and of a later epoch, on a disk whose own were removed for it: the process died
    // before the log said that it goes on from there. What the log holds had been put into a rollback file before.
    if let Some((meta, store)) = elsewhere.filter(|(meta, _)| meta.position.epoch > log.last().epoch) {
        choice.notes.push(format!("the log is on another branch than {}", snapshot_name(meta.position.index)));
        choice.discarded.retain(|index| *index != meta.position.index);
        choice.beyond_log = true;
        choice.snapshot = Some((meta, store));
        return Ok(choice);
    }
    match choice.damaged.first() {
        Some(index) => Err(RecoveryError::Damaged {
            file: snapshot_name(*index),
            at: 0,
            what: "the snapshot does not load, and there is no other that the log goes on from".into(),
        }),
        None => Err(RecoveryError::Gap {
            log: log.base.index,
            snapshot: indices.last().copied().filter(|index| *index < log.base.index).unwrap_or_default(),
        }),
    }
}

fn standing(log: &Log, position: Position) -> PeerState {
    match log.epoch_at(position.index) {
        Some(epoch) if epoch == position.epoch => PeerState::Within,
        Some(_) => PeerState::Elsewhere,
        None if log.has_discarded(position) => PeerState::Discarded,
        None => PeerState::Beyond,
    }
}

/// The snapshot at `index`; none, and a word about it, if it is damaged.
fn load<E>(
    index: Index,
    read: &mut impl FnMut(&str) -> Result<Bytes, E>,
    choice: &mut Choice,
) -> Result<Option<(SnapshotMeta, Store)>, RecoveryError<E>> {
    let file = snapshot_name(index);
    let bytes = read(&file).map_err(|error| RecoveryError::Read { file: file.clone(), error })?;
    let why = match SnapshotReader::read(bytes) {
        Ok((meta, store)) if meta.position.index == index => return Ok(Some((meta, store))),
        Ok((meta, _)) => format!("it holds index {}", meta.position.index),
        Err(SnapshotError::Version(version)) => return Err(RecoveryError::Version { file, version }),
        Err(error) => format!("{error}"),
    };
    choice.damage.push(format!("{file} cannot be used: {why}"));
    choice.damaged.push(index);
    Ok(None)
}

impl Choice {
    fn discard(&mut self, index: Index) {
        self.notes.push(format!("{} belongs to what was discarded", snapshot_name(index)));
        self.discarded.push(index);
    }
}
