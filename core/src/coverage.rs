//! Coverage marks: situations that matter and that a campaign of the simulator must have met. Without the feature
//! `planted-bugs`, which only simulations turn on, [`Coverage`] is empty and marking is nothing.

use core::fmt;

/// A situation that a campaign must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// A tail that the master does not have was cut off.
    DivergentTailCut,
    /// A tail that was applied had to go, and the store with it.
    AppliedTailRolledBack,
    /// A snapshot went on where its transfer had broken off.
    SnapshotResumed,
    /// Entries after a snapshot stayed, since the master has them too.
    SharedEntriesKept,
    /// A truncation met batches on their way to the disk that vouched for more.
    LateReceiptClipped,
    /// A replica fell behind the log in memory.
    FellBehindMemory,
    /// A master met another of a higher epoch.
    RivalMet,
    /// A starting or elected master fetched a tail that it lacked.
    TailPulled,
    /// An empty master joined the members that dialled it.
    EmptyMasterJoined,
    /// A master lost its lease.
    LeaseLost,
    /// A candidate lost.
    CandidateLost,
    /// A voter kept its word to a master.
    WordKept,
    /// A voter kept its vote from a shorter log.
    ShorterLogRefused,
    /// A mastership was handed over.
    HandedOver,
    /// A member that never leads stood in for those that lacked what it held.
    StoodIn,
    /// A replica was told that its state is not its master's.
    Quarantined,
    /// A node was met whose line and ours may not take each other's place.
    LinesAtOdds,
    /// A node kept little for want of room on its disk.
    RoomShort,
    /// A snapshot did not fit on the disk and was given up.
    SnapshotGivenUp,
    /// Entries of a master waited for room.
    EntriesWaited,
    /// Chunks of a master's snapshot waited for room.
    ChunksWaited,
}

/// All marks, in order.
pub const MARKS: [Mark; 21] = [
    Mark::DivergentTailCut,
    Mark::AppliedTailRolledBack,
    Mark::SnapshotResumed,
    Mark::SharedEntriesKept,
    Mark::LateReceiptClipped,
    Mark::FellBehindMemory,
    Mark::RivalMet,
    Mark::TailPulled,
    Mark::EmptyMasterJoined,
    Mark::LeaseLost,
    Mark::CandidateLost,
    Mark::WordKept,
    Mark::ShorterLogRefused,
    Mark::HandedOver,
    Mark::StoodIn,
    Mark::Quarantined,
    Mark::LinesAtOdds,
    Mark::RoomShort,
    Mark::SnapshotGivenUp,
    Mark::EntriesWaited,
    Mark::ChunksWaited,
];

/// What a node has met since it started. It is no part of the node's state: two nodes that differ in it only are equal,
/// and print the same.
#[derive(Clone, Copy, Default)]
pub struct Coverage {
    #[cfg(feature = "planted-bugs")]
    marks: u64,
}

impl Coverage {
    /// The node is in this situation.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks |= 1 << mark as u64;
    }

    /// Nothing: marks are not in this build.
    #[cfg(not(feature = "planted-bugs"))]
    pub(crate) const fn mark(&mut self, _: Mark) {}

    /// One bit for each of [`MARKS`], by its place.
    #[cfg(feature = "planted-bugs")]
    pub const fn bits(self) -> u64 {
        self.marks
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coverage")
    }
}
