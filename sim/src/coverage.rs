//! What a campaign has met: marks of the core, kinds of messages that arrived, kinds of faults that began. Sets of bits,
//! so that many runs add up to one; names come in when they are told.

use synap_core::coverage::{MARKS, Mark};
use synap_core::message::Message;

use crate::plan::What;
use crate::trace::kind_of;

/// What was met, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    marks: u64,
    messages: u64,
    faults: u64,
}

/// The kinds of messages, as traces name them.
pub(crate) const MESSAGES: [&str; 17] = [
    "beat",
    "append",
    "ack",
    "hello",
    "welcome",
    "chunk",
    "snapshot_ack",
    "fetch_tail",
    "fetched_tail",
    "pre_vote",
    "request_vote",
    "vote",
    "handover",
    "readindex",
    "readindexed",
    "bye",
    "alive",
];

/// The kinds of faults, as scripts name them.
const FAULTS: [&str; 44] = [
    "kill",
    "power_cut",
    "power_cut_all",
    "pause",
    "partition",
    "one_way",
    "reset",
    "slow_network",
    "slow_link",
    "slow_disk",
    "full_disk",
    "fail_sync",
    "rot",
    "spoil",
    "misdirect",
    "wipe",
    "old_disk",
    "swap_disks",
    "wall_jump",
    "promote",
    "edit_role",
    "switchover",
    "kill_master",
    "cut_master",
    "remove",
    "priority",
    "pause_elections",
    "skew",
    "garble",
    "crash_loop",
    "kill_candidate",
    "kill_promoting",
    "kill_opening",
    "kill_rolling_back",
    "kill_syncing",
    "reset_syncing",
    "flood",
    "hang_disk",
    "move",
    "move_all",
    "reset_proxy",
    "restore",
    "copy_disk",
    "edit_replica",
];

/// Marks that no campaign need meet. An operator of these plans makes a replica of a node whose disk was replaced, so that
/// only the golden script `empty_master` has an empty master; shared entries after a snapshot want a master that
/// has much to apply when it opens, as in the hunt for the bug that drops them; and states differ only by a bug, as in
/// the golden script `quarantine`. A log that is long enough to keep a snapshot's chunks waiting takes thousands of writes, as in the hunt
/// for the bug that does not wait.
const UNMET: [Mark; 6] = [
    Mark::EmptyMasterJoined,
    Mark::SharedEntriesKept,
    Mark::Quarantined,
    Mark::ChunksWaited,
    // Too rare for the seeds of one gate; scripts and hunts meet them.
    Mark::StoodIn,
    Mark::LateReceiptClipped,
];

impl Coverage {
    /// A process has met these marks of the core.
    pub(crate) fn met(&mut self, marks: u64) {
        self.marks |= marks;
    }

    /// A message arrived.
    pub(crate) fn arrived(&mut self, message: &Message) {
        let kind = kind_of(message);
        self.messages |= MESSAGES.iter().position(|known| *known == kind).map_or(0, |at| 1 << at);
    }

    /// A fault began.
    pub(crate) fn began(&mut self, what: &What) {
        let name = match what {
            What::Kill(_) => "kill",
            What::PowerCut(_) => "power_cut",
            What::PowerCutAll => "power_cut_all",
            What::Pause(_) => "pause",
            What::Partition(_) => "partition",
            What::OneWay(..) => "one_way",
            What::Reset(_) => "reset",
            What::SlowNetwork(_) => "slow_network",
            What::SlowLink(..) => "slow_link",
            What::SlowDisk(..) => "slow_disk",
            What::HangDisk(..) => "hang_disk",
            What::FullDisk(_) => "full_disk",
            What::FailSync(_) => "fail_sync",
            What::Rot(_) => "rot",
            What::Spoil(_) => "spoil",
            What::Misdirect(_) => "misdirect",
            What::Wipe(_) => "wipe",
            What::Restore(..) => "restore",
            What::CopyDisk(..) => "copy_disk",
            What::OldDisk(_) => "old_disk",
            What::SwapDisks(..) => "swap_disks",
            What::WallJump(..) => "wall_jump",
            What::Promote(..) => "promote",
            What::EditRole(_) => "edit_role",
            What::EditReplica(..) => "edit_replica",
            What::Snapshot(_) => "snapshot",
            What::Switchover(_) => "switchover",
            What::Stop(_) => "stop",
            What::Strangers(_) => "strangers",
            What::KillMaster => "kill_master",
            What::CutMaster => "cut_master",
            What::Remove(_) => "remove",
            What::Priority(..) => "priority",
            What::PauseElections => "pause_elections",
            What::Skew(..) => "skew",
            What::Garble(_) => "garble",
            What::CrashLoop(..) => "crash_loop",
            What::KillCandidate => "kill_candidate",
            What::KillPromoting => "kill_promoting",
            What::KillOpening => "kill_opening",
            What::KillRollingBack => "kill_rolling_back",
            What::KillSyncing => "kill_syncing",
            What::ResetSyncing => "reset_syncing",
            What::Flood(_) => "flood",
            What::Move(_) => "move",
            What::MoveAll => "move_all",
            What::ResetProxy(_) => "reset_proxy",
        };
        self.faults |= FAULTS.iter().position(|known| *known == name).map_or(0, |at| 1 << at);
    }

    /// The sum of two runs'.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            marks: self.marks | other.marks,
            messages: self.messages | other.messages,
            faults: self.faults | other.faults,
        }
    }

    /// What was never met and should have been, by name.
    pub fn missing(&self) -> Vec<String> {
        let without = |bits: u64, at: usize| bits & (1 << at) == 0;
        let marks = MARKS.iter().enumerate();
        let marks = marks.filter(|(at, mark)| without(self.marks, *at) && !UNMET.contains(mark));
        let messages = MESSAGES.iter().enumerate().filter(|(at, _)| without(self.messages, *at));
        let faults = FAULTS.iter().enumerate().filter(|(at, _)| without(self.faults, *at));
        marks
            .map(|(_, mark)| format!("mark {mark:?}"))
            .chain(messages.map(|(_, name)| format!("message {name}")))
            .chain(faults.map(|(_, name)| format!("fault {name}")))
            .collect()
    }

    /// How much was met, in one line.
    pub fn told(&self) -> String {
        let share = |bits: u64, of: usize| format!("{} of {of}", bits.count_ones());
        format!(
            "{} marks of the core, {} kinds of messages, {} kinds of faults",
            share(self.marks, MARKS.len()),
            share(self.messages, MESSAGES.len()),
            share(self.faults, FAULTS.len())
        )
    }
}
