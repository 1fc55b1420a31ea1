//! Recovery: from a directory's files to what the node starts with. A torn tail is cut; damage anywhere else is
//! told apart from it and refused.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::config::RoleHint;
use crate::ids::NodeId;
use crate::position::{Epoch, Index, Position};
use crate::recovered::Recovered;
use crate::snapshot::{SnapshotMeta, index_of_file_name};
use crate::wal::chain::{self, Chain, Ends, Fault, Resolution, SegmentFile};
use crate::wal::frame::{self, FrameHead, Kind};
use crate::wal::journal::{Current, Journal, JournalConfig, Next, Segment};
use crate::wal::log::Log;
use crate::wal::ops::FileOp;
use crate::wal::preallocated::Preallocated;
use crate::wal::record::{HardState, Record};
use crate::wal::reserve;
use crate::wal::restore;
use crate::wal::segment::{self, SegmentHead};
use crate::wal::side_files::{
    ROLLBACK_UNFINISHED, SideFiles, is_kept_by_rollback, is_unfinished_snapshot, rollback_of, snapshot_name,
    sync_data_dir,
};
use crate::wal::snapshots::{self, Choice};
use crate::wal::statefile::{self, StateFault};

/// What recovery gives.
#[derive(Debug)]
pub struct Recovery {
    /// None: the directory holds no node yet; see [`Recovered::empty`].
    pub recovered: Option<Recovered>,
    /// Goes on where the log ends.
    pub journal: Journal,
    /// To be carried out before anything else: leftovers removed, the torn tail cut.
    pub repairs: Vec<FileOp>,
    /// What was found and mended, for people.
    pub notes: Vec<String>,
    /// What was once good on this disk and no longer is, for people: the node does without it.
    pub damage: Vec<String>,
    /// Whether anything here says whose it is, as a snapshot does not. Where a node was durable before, what did is gone.
    pub tells_whose: bool,
}

/// Why a data directory is refused. Nothing in it was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError<E> {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Which.
        file: String,
        /// What the reader said.
        error: E,
    },
    /// Bytes that were once on disk are damaged.
    #[error("{file} is damaged at byte {at}: {what}")]
    Damaged {
        /// Which file.
        file: String,
        /// Where.
        at: u64,
        /// How it is seen.
        what: String,
    },
    /// Entries are missing between the newest good snapshot and the log.
    #[error("the log begins after index {log}, the newest good snapshot ends at {snapshot}")]
    Gap {
        /// The log's base.
        log: Index,
        /// The snapshot's index.
        snapshot: Index,
    },
    /// A restore into the directory broke off.
    #[error("a restore into it was begun and is not finished: run `synap restore` again, or empty the directory")]
    UnfinishedRestore,
    /// Another format version.
    #[error(
        "{file} has format version {version}, which is not known here: start the version of synap that wrote it"
    )]
    Version {
        /// Which file.
        file: String,
        /// Its version.
        version: u16,
    },
}

/// What is drawn at random for each start; to whoever only looks it may be the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Draw {
    /// Who the node is if the directory does not say so.
    pub node: NodeId,
    /// Fixes what marks the log's segments, which clients must not be able to guess.
    pub seed: u64,
}

/// Reads a data directory: `names` are all its files (relative, `/` in between), `read` gives a whole file.
///
/// Nothing is changed but by [`Recovery::repairs`], which may break off anywhere and be begun anew. Where there is a
/// snapshot and nothing that says whose it is, the node is the one that was drawn, and the repairs write that down first: of
/// two directories with one snapshot in them, two nodes come up.
pub fn recover<E>(
    config: JournalConfig,
    names: &[String],
    draw: Draw,
    mut read: impl FnMut(&str) -> Result<Bytes, E>,
) -> Result<Recovery, RecoveryError<E>> {
    let directory = Directory::of(names);
    if directory.is_being_restored {
        return Err(RecoveryError::UnfinishedRestore);
    }
    let kept_state = if directory.keeps_state { Some(kept_state(&mut read)?) } else { None };
    let mut files = Vec::with_capacity(directory.segments.len());
    for seq in directory.segments.iter().copied() {
        let file = segment::file_name(seq);
        let bytes = read(&file).map_err(|error| RecoveryError::Read { file, error })?;
        files.push(SegmentFile { seq, bytes });
    }
    let chain = chain::read(files, config.planted)?;
    let chain = with_hard_state(chain)?;
    let snapshots: Vec<Index> = directory.snapshots.iter().copied().collect();
    let choice = snapshots::choose(&chain.log, &snapshots, &mut read)?;
    let state = hard_state(kept_state, &chain.log, &choice, drawn(config, draw));
    if let (None, Some(index)) = (state, choice.damaged.first()) {
        let what = "the snapshot does not load, and nothing else is here that the node could start from".into();
        return Err(RecoveryError::Damaged { file: snapshot_name(*index), at: 0, what });
    }
    Ok(Restart { config, directory, chain, choice, draw, kept_state, state }.finish())
}

/// Whether this file is one of those that a node leaves beside its log: where there is no log, it was taken away.
pub fn tells_of_use(name: &str) -> bool {
    let damaged = name.strip_suffix(".damaged").is_some_and(|file| index_of_file_name(file).is_some());
    damaged || rollback_of(name).is_some()
}

/// Who the node is if the directory does not say so.
fn drawn(config: JournalConfig, draw: Draw) -> NodeId {
    if config.planted.restored_node_is_nobody() { NodeId(0) } else { draw.node }
}

/// The hard state that has a file of its own.
fn kept_state<E>(read: &mut impl FnMut(&str) -> Result<Bytes, E>) -> Result<HardState, RecoveryError<E>> {
    let file = String::from(statefile::FILE);
    let bytes = read(&file).map_err(|error| RecoveryError::Read { file: file.clone(), error })?;
    statefile::read(&bytes).map_err(|fault| match fault {
        StateFault::Broken => RecoveryError::Damaged { file, at: 0, what: "the hard state cannot be read".into() },
        StateFault::Version(version) => RecoveryError::Version { file, version },
    })
}

/// Who this node is, and what it must not forget. The file of its own is there only while no log is kept, so that it is newer
/// than what an older log says; what was promised never goes back. Earlier versions gave a directory without a log the id zero,
/// which two nodes must not share.
fn hard_state(kept: Option<HardState>, log: &Log, choice: &Choice, drawn: NodeId) -> Option<HardState> {
    let of_snapshot = |meta: &SnapshotMeta| HardState {
        cluster: Some(meta.cluster),
        promised: meta.position.epoch,
        ..HardState::new(drawn, RoleHint::Replica)
    };
    // Without a log and a snapshot nothing is left of what this node held: it keeps its id and its promise, and is as empty as a new
    // one otherwise. It must not lead a cluster on with nothing in its hands.
    let emptied = log.hard_state.is_none() && choice.snapshot.is_none();
    let kept = kept.map(|state| {
        let empty = HardState { promised: state.promised, ..HardState::new(state.node, state.role) };
        if emptied { empty } else { state }
    });
    let newest = kept.or(log.hard_state);
    let state = newest.or_else(|| choice.snapshot.as_ref().map(|(meta, _)| of_snapshot(meta)))?;
    let promised = log.hard_state.map_or(state.promised, |log| log.promised.max(state.promised));
    let node = if state.node == NodeId(0) { drawn } else { state.node };
    // A log that begins anew holds nothing of what was rolled back.
    let rolled_back_after = state.rolled_back_after.filter(|_| !choice.beyond_log);
    Some(HardState { node, promised, rolled_back_after, ..state })
}

/// A log begins with its hard state. One that holds none has either never been begun, or lost it.
fn with_hard_state(mut chain: Chain) -> Result<Chain, Fault> {
    match chain.segments.first() {
        Some(first) if chain.log.hard_state.is_none() && chain.next_frame > 1 => {
            Err(Fault::Damaged { seq: first.seq, at: 0, what: "the log holds no hard state".into() })
        }
        Some(_) if chain.log.hard_state.is_none() => {
            chain.void.extend(chain.segments.drain(..).map(|segment| segment.seq));
            Ok(chain)
        }
        Some(_) | None => Ok(chain),
    }
}

/// What the names in a data directory say.
#[derive(Debug, Default)]
struct Directory {
    segments: BTreeSet<u64>,
    snapshots: BTreeSet<Index>,
    rollbacks: BTreeSet<u64>,
    /// Segments that a rollback directory holds too.
    linked: BTreeSet<u64>,
    /// Unfinished files and spares: spares are not used over a restart, since their content could be that of the
    /// newest segment, if their renaming was lost.
    leftovers: Vec<String>,
    /// The hard state has a file of its own.
    keeps_state: bool,
    /// A restore has begun here and is not finished.
    is_being_restored: bool,
    /// No segment has this number or a higher one.
    next_segment: u64,
    /// No spare has this number or a higher one.
    next_spare: u64,
}

impl Directory {
    fn of(names: &[String]) -> Self {
        let mut directory = Self { next_segment: 1, next_spare: 1, ..Self::default() };
        names.iter().for_each(|name| directory.sort(name));
        directory.give_up_rollbacks(names);
        directory
    }

    /// A rollback that was not finished is done again from its start. The files that were kept for the first attempt are removed:
    /// nobody needs them, and they take the room of segments that the log has cut since.
    fn give_up_rollbacks(&mut self, names: &[String]) {
        let unfinished = |name: &&String| name.ends_with(ROLLBACK_UNFINISHED);
        let numbers: BTreeSet<u64> =
            names.iter().filter(unfinished).filter_map(|name| rollback_of(name)).collect();
        let kept =
            |name: &&String| is_kept_by_rollback(name) && rollback_of(name).is_some_and(|n| numbers.contains(&n));
        self.leftovers.extend(names.iter().filter(kept).cloned());
    }

    fn sort(&mut self, name: &str) {
        if let Some(number) = rollback_of(name) {
            self.rollbacks.insert(number);
            let file = name.rsplit('/').next().unwrap_or_default();
            self.linked.extend(segment::number_in(file, "wal-", ".log"));
            if name.ends_with(ROLLBACK_UNFINISHED) {
                self.leftovers.push(name.into());
            }
        } else if let Some(seq) = segment::number_in(name, "wal-", ".log") {
            self.segments.insert(seq);
            self.next_segment = self.next_segment.max(seq.saturating_add(1));
        } else if let Some(index) = index_of_file_name(name) {
            self.snapshots.insert(index);
        } else if let Some(number) = segment::number_in(name, "spare-", ".log") {
            self.leftovers.push(name.into());
            self.next_spare = self.next_spare.max(number.saturating_add(1));
        } else if name == statefile::FILE {
            self.keeps_state = true;
        } else if name == restore::MARK {
            self.is_being_restored = true;
        } else if name == statefile::TEMPORARY || name == reserve::FILE || is_unfinished(name) {
            self.leftovers.push(name.into());
        }
    }
}

/// Whether a file was being made under this name.
fn is_unfinished(name: &str) -> bool {
    is_unfinished_snapshot(name)
        || ["wal-", "spare-"].iter().any(|kind| segment::number_in(name, kind, ".tmp").is_some())
}

/// All that was found, from which the node and its journal are to be made.
struct Restart {
    config: JournalConfig,
    directory: Directory,
    chain: Chain,
    choice: Choice,
    draw: Draw,
    /// The hard state that has a file of its own.
    kept_state: Option<HardState>,
    /// The hard state that the node starts with; none if the directory holds no node.
    state: Option<HardState>,
}

impl Restart {
    fn finish(mut self) -> Recovery {
        let tells_whose = self.kept_state.is_some() || self.chain.log.hard_state.is_some();
        let mut notes = core::mem::take(&mut self.choice.notes);
        notes.extend(self.chain.torn.take().map(|torn| format!("torn by a crash, and cut: {torn}")));
        let mut repairs: Vec<FileOp> =
            self.directory.leftovers.iter().map(|file| FileOp::Remove { file: file.clone() }).collect();
        let log_last = self.chain.log.last();
        if let (true, Some((meta, _))) = (self.choice.beyond_log, &self.choice.snapshot) {
            self.chain.log.begin_anew(meta.position);
        }
        let kept = self.kept_snapshots();
        let beside =
            SideFiles::new(kept.clone(), core::mem::take(&mut self.directory.rollbacks), self.config.planted);
        let spares = Preallocated::new(self.directory.next_spare);
        let next = Next {
            seq: self.directory.next_segment,
            frame: self.chain.next_frame,
            synced: self.chain.next_frame,
            last: self.chain.log.last(),
        };
        let nonces = ChaCha8Rng::seed_from_u64(self.draw.seed);
        let mut journal = Journal::new(self.config, beside, spares, next, nonces);
        match self.state {
            Some(state) if self.config.wal => {
                journal = self.go_on(journal, next, log_last, &state, &mut repairs);
                // The log says it now.
                let file = self.kept_state.map(|_| FileOp::Remove { file: statefile::FILE.into() });
                repairs.extend(file);
            }
            Some(state) => {
                let record = Record::HardState(state).encode();
                if self.kept_state != Some(state) {
                    repairs.extend(statefile::write(&record));
                }
                journal = journal.with_kept_state(record);
            }
            None => {}
        }
        self.clean_up(&mut repairs);
        let damage = core::mem::take(&mut self.choice.damage);
        Recovery { recovered: self.recovered(kept), journal, repairs, notes, damage, tells_whose }
    }

    /// The log goes on in a new segment, so that what follows the end of the old one, torn or unproven, is void for
    /// good. It takes its name only when it is whole: until then the old segments count as they are.
    fn go_on(
        &mut self,
        mut journal: Journal,
        next: Next,
        log_last: Position,
        state: &HardState,
        repairs: &mut Vec<FileOp>,
    ) -> Journal {
        let unproven = core::mem::take(&mut self.chain.unproven);
        let first_unproven = unproven.first;
        let (first, base, ends, unproven) = match unproven.resolve(next.frame, log_last) {
            Resolution::Rewrite { base, ends, records } => {
                self.give_up_from(first_unproven);
                (first_unproven, base, ends, records)
            }
            Resolution::Sync => {
                let files = self.chain.segments.iter().map(|segment| segment::file_name(segment.seq));
                repairs.extend(files.map(|file| FileOp::Sync { file }));
                (next.frame, log_last, Ends::at(log_last.index), Vec::new())
            }
        };
        let prev = self.chain.segments.last().map_or(0, |segment| segment.seq);
        let nonce = Some(journal.draw_nonce());
        let head = SegmentHead { seq: next.seq, prev, first, synced: first, base, nonce };
        let mut records = Vec::from([Record::HardState(*state).encode()]);
        records.extend(unproven);
        records.extend(self.choice.beyond_log.then(|| Record::SnapshotMark(next.last).encode()));
        records.push(Record::Committed(self.chain.log.committed).encode());
        let frame = FrameHead { kind: Kind::Records, tag: head.tag(), number: first, synced: first };
        let mut parts = Vec::from([head.encode()]);
        parts.extend(frame::encode(frame, records));
        let end = parts.iter().map(|part| part.len() as u64).sum();
        repairs.extend(segment::make_whole(next.seq, parts));
        let segment = Segment {
            seq: next.seq,
            nonce,
            first,
            base,
            least: ends.least.min(next.last.index),
            highest: next.last.index,
            live: next.last.index,
            begins_anew: ends.begins_anew || self.choice.beyond_log,
            bytes: journal.segment_bytes(),
            whole: false,
            linked: false,
        };
        let next = Next { seq: next.seq + 1, frame: first + 1, synced: first + 1, last: next.last };
        journal.with_segments(self.frozen(), Current { segment, end }, next)
    }

    /// Segments that hold nothing but frames from this one on.
    fn give_up_from(&mut self, frame: u64) {
        let kept = self.chain.segments.partition_point(|segment| segment.head.first < frame);
        let given_up = self.chain.segments.drain(kept..).map(|segment| segment.seq);
        self.chain.void.extend(given_up);
    }

    fn frozen(&self) -> VecDeque<Segment> {
        let segment = |segment: &chain::Linked| Segment {
            seq: segment.seq,
            nonce: segment.head.nonce,
            first: segment.head.first,
            base: segment.head.base,
            least: segment.ends.least,
            highest: segment.ends.highest,
            live: segment.ends.highest,
            begins_anew: segment.ends.begins_anew,
            bytes: segment.length,
            whole: self.config.is_segment_length(segment.length),
            linked: self.directory.linked.contains(&segment.seq),
        };
        self.chain.segments.iter().map(segment).collect()
    }

    fn kept_snapshots(&self) -> BTreeSet<Index> {
        let gone: BTreeSet<Index> = self.choice.discarded.iter().chain(&self.choice.damaged).copied().collect();
        self.directory.snapshots.difference(&gone).copied().collect()
    }

    fn clean_up(&self, repairs: &mut Vec<FileOp>) {
        if self.config.wal {
            let void = self.chain.void.iter().map(|seq| segment::file_name(*seq));
            repairs.extend(void.map(|file| FileOp::Remove { file }));
        }
        let discarded = self.choice.discarded.iter().map(|index| snapshot_name(*index));
        repairs.extend(discarded.map(|file| FileOp::Remove { file }));
        for from in self.choice.damaged.iter().map(|index| snapshot_name(*index)) {
            let to = format!("{from}.damaged");
            repairs.push(FileOp::Rename { from, to });
        }
        // Names that an earlier process made may not be durable yet, and what follows builds on them.
        if !repairs.is_empty() || !self.directory.snapshots.is_empty() {
            repairs.push(sync_data_dir());
        }
    }

    fn recovered(self, kept: BTreeSet<Index>) -> Option<Recovered> {
        let Self { config, chain: Chain { mut log, .. }, choice: Choice { snapshot, .. }, state, .. } = self;
        let hard_state = state?;
        let upto = snapshot.as_ref().map_or(Index::ZERO, |(meta, _)| meta.position.index);
        let epoch_at = |index| log.epoch_at(index).or_else(|| epoch_in(&snapshot, index));
        let snapshots = kept.into_iter().filter(|index| *index >= log.base.index);
        let snapshots = snapshots.filter_map(|index| Some(Position { epoch: epoch_at(index)?, index })).collect();
        let committed = log.committed.max(upto).min(log.last().index);
        log.forget(upto, config.tail_bytes_max);
        let Log { base, entries, .. } = log;
        Some(Recovered { hard_state, fresh: false, snapshot, base, entries, committed, snapshots })
    }
}

/// The epoch that wrote `index`, as a snapshot remembers it.
fn epoch_in(snapshot: &Option<(SnapshotMeta, crate::store::Store)>, index: Index) -> Option<Epoch> {
    snapshot.as_ref().and_then(|(meta, _)| meta.history.epoch_at(index))
}

impl<E> From<Fault> for RecoveryError<E> {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { seq, at, what } => Self::Damaged { file: segment::file_name(seq), at, what },
            Fault::Version { seq, version } => Self::Version { file: segment::file_name(seq), version },
        }
    }
}
