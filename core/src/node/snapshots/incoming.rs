//! A master's snapshot on its way to this disk. Its chunks wait in memory while the disk has no room for them beside the next own snapshot and
//! that one would let the log be cut; the master sends no more than its window meanwhile. Owns which unfinished files there
//! are, and what waits, with its bound (INV-12).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::coverage::Mark;
use crate::node::snapshots::{Part, Snapshots};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::{Index, Position};
use crate::wal::FileWrite;

/// Most pieces that wait. A master sends four chunks ahead, and four more where a transfer that has broken off goes on.
const WAITING_MAX: usize = 16;

/// What has come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    /// Those that have begun and are not whole: each has an unfinished file.
    unfinished: Vec<Position>,
    /// What waits for room, in order.
    waiting: VecDeque<Piece>,
}

/// A piece of a snapshot.
#[derive(Clone, Debug)]
enum Piece {
    Chunk { position: Position, number: u32, bytes: Bytes },
    Done(Position),
}

impl Piece {
    fn position(&self) -> Position {
        match self {
            Self::Chunk { position, .. } | Self::Done(position) => *position,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Chunk { bytes, .. } => bytes.len() as u64,
            Self::Done(_) => 0,
        }
    }
}

impl Incoming {
    /// Whether the unfinished file of one at this index is there.
    pub(super) fn is_named(&self, index: Index) -> bool {
        self.unfinished.iter().any(|position| position.index == index)
    }
}

impl Snapshots {
    /// A chunk of the master's goes into our file. Files are named by index, so one that begins where another master's has broken
    /// off takes that one's file. Whether no more waits than may be on its way.
    pub(in crate::node) fn take_in(&mut self, position: Position, number: u32, bytes: Bytes) -> bool {
        let Incoming { unfinished, waiting } = &mut self.incoming;
        if !unfinished.contains(&position) {
            unfinished.retain(|known| known.index != position.index);
            waiting.retain(|piece| piece.position().index != position.index);
            unfinished.push(position);
        }
        waiting.push_back(Piece::Chunk { position, number, bytes });
        waiting.len() <= WAITING_MAX
    }

    /// The master's snapshot is whole.
    pub(in crate::node) fn take_in_done(&mut self, position: Position) {
        self.incoming.unfinished.retain(|known| *known != position);
        self.incoming.waiting.push_back(Piece::Done(position));
    }

    /// Whether some of a master's snapshot waits for room.
    pub(in crate::node) fn has_waiting_chunks(&self) -> bool {
        !self.incoming.waiting.is_empty()
    }

    /// How much of a master's snapshot is on its way to the disk.
    pub(in crate::node) fn incoming_in_flight(&self) -> u64 {
        let parts = self.flying.iter().flat_map(|(_, parts)| parts).chain(&self.parts);
        parts.map(|part| if let Part::MastersChunk { bytes, .. } = part { *bytes } else { 0 }).sum()
    }
}

impl Node {
    /// Hands to the disk what there is room for.
    pub(super) fn store_incoming(&mut self, out: &mut Output) {
        while let Some(bytes) = self.snapshots.incoming.waiting.front().map(Piece::bytes) {
            if self.chunk_waits_for_room(bytes) && !self.config.planted.chunks_taken_without_room() {
                self.coverage.mark(Mark::ChunksWaited);
                self.room.want(self.now.mono);
                return;
            }
            match self.snapshots.incoming.waiting.pop_front() {
                Some(Piece::Chunk { position, number, bytes }) => {
                    let part =
                        Part::MastersChunk { position, next: number.saturating_add(1), bytes: bytes.len() as u64 };
                    self.snapshots.files.push(FileWrite::SnapshotChunk { position, number, bytes, own: false });
                    self.snapshots.parts.push(part);
                }
                Some(Piece::Done(position)) => {
                    self.abandon_snapshot(out);
                    let keep = self.snapshots_kept();
                    self.snapshots.files.push(FileWrite::SnapshotDone { position, keep });
                    self.snapshots.parts.push(Part::MastersDone(position));
                }
                None => {}
            }
        }
    }

    /// The unfinished file of a master's snapshot goes with the transfer: once that can neither go on nor be resumed.
    pub(super) fn abandon_incoming(&mut self) {
        let unfinished = core::mem::take(&mut self.snapshots.incoming.unfinished);
        let (kept, gone): (Vec<_>, Vec<_>) = unfinished.into_iter().partition(|position| self.takes_in(*position));
        let Snapshots { incoming, files, .. } = &mut self.snapshots;
        incoming.unfinished = kept;
        incoming.waiting.retain(|piece| !gone.contains(&piece.position()));
        files.extend(gone.into_iter().map(|position| FileWrite::SnapshotAbandoned { position }));
    }

    /// Whether this snapshot of a master's is coming in, or has broken off and may go on.
    fn takes_in(&self, position: Position) -> bool {
        let replica = match &self.role {
            Role::Candidate(candidate) => candidate.replica(),
            Role::Replica(replica) => replica,
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => return false,
        };
        replica.syncings().any(|syncing| syncing.position == position)
    }

    /// Whether every unfinished file of a master's snapshot belongs to a transfer.
    pub(in crate::node) fn takes_in_all(&self) -> bool {
        self.snapshots.incoming.unfinished.iter().all(|position| self.takes_in(*position))
    }
}
