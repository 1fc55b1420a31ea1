//! What goes to disk: this turn's batch, the receipts, and the appending of entries.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::command::{Command, Outcome};
use crate::config::{Concern, Durability};
use crate::ids::NodeId;
use crate::log::Answered;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::{Index, Position};
use crate::status::Alarm;
use crate::version::Version;
use crate::wal::{Durable, Entry, FileWrite, Lane, Record, WriteBatch};

/// What this turn wants written to the log's lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Draft {
    records: Vec<Bytes>,
    files: Vec<FileWrite>,
    cut: Option<Index>,
    discards: Vec<Index>,
    /// Up to where entries were told committed on disk.
    committed: Index,
}

impl Draft {
    pub(in crate::node) fn push(&mut self, record: Bytes) {
        self.records.push(record);
    }

    pub(in crate::node) fn push_file(&mut self, file: FileWrite) {
        self.files.push(file);
    }

    pub(in crate::node) fn cut(&mut self, upto: Index) {
        self.cut = self.cut.max(Some(upto));
    }

    pub(in crate::node) fn discard(&mut self, snapshots: Vec<Index>) {
        self.discards.extend(snapshots);
    }

    /// What was told committed beyond `upto` no longer is.
    pub(in crate::node) fn unsay_committed(&mut self, upto: Index) {
        self.committed = self.committed.min(upto);
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.files.is_empty() && self.cut.is_none()
    }
}

impl Node {
    /// Orders a command in this master's log. Gives its position.
    pub(in crate::node) fn propose(
        &mut self,
        command: &Command,
        concern: Concern,
        answered: Answered,
    ) -> Position {
        let position = Position { epoch: self.promised, index: self.log.last().index.next() };
        assert_eq!(
            self.durable.promised(),
            position.epoch,
            "INV-6: a master writes only in an epoch that is on its disk"
        );
        self.keep_log_time();
        let at = self.log_time();
        let entry = Entry::encode(position, at, concern, command);
        self.append_entry(entry, command, answered);
        self.lag_marks.hear(position.index, self.now.mono);
        position
    }

    /// Puts an entry behind the log and into this turn's batch: the same bytes.
    pub(in crate::node) fn append_entry(&mut self, entry: Entry, command: &Command, answered: Answered) {
        self.put_back_cut();
        self.record(entry.record.clone());
        self.snapshots.logged(entry.record.len() as u64);
        self.log.append(entry, command, answered);
    }

    /// Puts the hard state into this turn's batch.
    pub(in crate::node) fn record_hard_state(&mut self) {
        let record = Record::HardState(self.hard_state()).encode();
        self.record(record);
    }

    /// Everything that this turn wants in the log leaves as one batch.
    pub(in crate::node) fn write(&mut self, out: &mut Output) {
        if self.draft.is_empty() && !self.hint_is_due() && !self.room.has_news() {
            return;
        }
        if self.draft.committed < self.committed {
            self.draft.committed = self.committed;
            let hint = Record::Committed(self.committed).encode();
            self.draft.push(hint);
        }
        let last = self.ends_on_disk_at();
        let head = Record::HardState(self.hard_state()).encode();
        let upto = self.disk_is_cut_at().unwrap_or_else(|| self.log.last()).index;
        let id = self.durable.depart(self.promised, upto);
        self.hands.take(Lane::Log, self.now.mono);
        let mut batch = WriteBatch::new(id, Lane::Log, head, last);
        batch.records = core::mem::take(&mut self.draft.records);
        batch.files = core::mem::take(&mut self.draft.files);
        batch.cut = self.draft.cut.take();
        batch.discards = core::mem::take(&mut self.draft.discards);
        (batch.short, batch.ahead_bytes_max) = (self.room.tell(), self.room_ahead());
        out.write = Some(batch);
    }

    /// A replica with nothing else to write notes how far it has applied, so that a restart does not take its readers
    /// back. A master needs no note: it commits anew whatever its disk holds.
    fn hint_is_due(&self) -> bool {
        let news = self.draft.committed < self.applied.index;
        match &self.role {
            Role::Candidate(_) | Role::Replica(_) => news && self.durable.is_idle(),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => false,
        }
    }

    pub(in crate::node) fn on_durable(&mut self, receipt: &Durable, out: &mut Output) {
        match receipt.lane() {
            Lane::Log => {
                self.durable.arrive(receipt);
                self.hands.moved(Lane::Log, self.now.mono, self.durable.is_idle());
                self.on_log_receipt(receipt.id(), out);
            }
            Lane::Snapshot => self.on_snapshot_receipt(receipt.id(), out),
        }
    }

    /// The commit rule. A master counts its voters' disks, a replica is told.
    pub(in crate::node) fn commit(&mut self) {
        let Role::Master(master) = &self.role else { return };
        let Some(start) = master.start else { return };
        let voters: Vec<NodeId> = self.armed().map_or_else(|| Vec::from([self.id]), |it| it.voters().collect());
        let counts_memory = self.config.planted.commit_before_own_sync();
        let own = if counts_memory { self.log.last().index } else { self.durable.durable() };
        let point = if self.config.planted.commit_alone() {
            own
        } else if self.config.planted.spares_count() && voters.len() > 1 {
            own.min(master.held_by(u32::try_from(voters.len() / 2).unwrap_or(0), Durability::Synced))
        } else {
            master.commit_point(&voters, self.id, own, self.config.planted)
        };
        let counts_earlier = self.config.planted.commit_of_earlier_epoch();
        if (point >= start || counts_earlier) && point > self.committed {
            self.committed = point;
        }
    }

    /// Brings the store up to what is committed and on this disk, entries with so many keys per turn.
    pub(in crate::node) fn apply(&mut self) {
        let (upto, mut work) = (self.apply_limit(), 0);
        while self.applied.index < upto && work < self.config.applies_per_turn_max {
            let (position, outcome, keys) = self.apply_next();
            self.waiters.applied(position, outcome);
            work += keys;
        }
        self.freshness.applied(self.reached());
    }

    /// INV-4: applied <= committed, and applied <= durable, so that what a reader saw survives a restart.
    pub(in crate::node) fn apply_limit(&self) -> Index {
        self.committed.min(self.durable.durable())
    }

    /// Applies one entry. Gives where it stands, what it gave, and how many keys it named at least.
    pub(in crate::node) fn apply_next(&mut self) -> (Position, Outcome, u64) {
        let index = self.applied.index.next();
        let Some(slot) = self.log.get_mut(index) else {
            panic!("INV-4: entry {index} is to be applied and not at hand")
        };
        let Ok(command) = slot.entry.command() else { panic!("entries in the log decode") };
        let before = self.store.version_base();
        let at = if self.config.planted.expiry_by_local_clock() { self.now.wall } else { slot.entry.at };
        let applied = if self.config.planted.retry_applied_twice() {
            self.store.apply(index, at, command.untied())
        } else {
            self.store.apply(index, at, &command)
        };
        slot.prior = applied.prior;
        slot.hash = Some(self.store.hash());
        self.applied = slot.entry.position;
        if matches!(command, Command::EpochStart { .. }) {
            self.log.note_base_before(index, before);
        }
        (self.applied, applied.outcome, keys_of(&command))
    }

    /// The version that the entry at `index`, which is not applied yet, will give to what it writes.
    pub(in crate::node) fn version_to_come(&self, index: Index) -> Version {
        let base = self.log.version_base_at(index, self.applied.index, self.store.version_base());
        let Some(base) = base else { panic!("INV-16: entry {index} is applied, and its version was told") };
        base.at(index)
    }

    /// Whether the first entry of this master's epoch is committed.
    pub(in crate::node) fn is_open(&self) -> bool {
        match &self.role {
            Role::Master(master) => master.start.is_some_and(|start| self.committed >= start),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => false,
        }
    }

    /// Whether this node is a master that answers: open, and nobody else can lead now.
    pub(in crate::node) fn is_serving(&self) -> bool {
        self.is_open() && self.holds_lease()
    }

    /// Whether this node neither is a master nor follows one, in whatever state that leaves it. Where it has never known of a master,
    /// it looks for a moment first: nodes that are started together find each other then.
    fn misses_a_master(&self) -> bool {
        let knew_one = || !self.log.history().terms().is_empty();
        match &self.role {
            Role::Candidate(_) => true,
            Role::Replica(replica) => !replica.is_following() && (knew_one() || self.looks_in_vain(replica)),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => false,
        }
    }

    /// What is wrong now, in order.
    pub(in crate::node) fn alarms(&self) -> Vec<Alarm> {
        let memory_max = self.config.limits.memory_bytes_max;
        let unsafe_fsync = match (self.config.failover_mode, self.config.fsync) {
            (crate::config::FailoverMode::Auto, crate::config::FsyncMode::Always) => false,
            (crate::config::FailoverMode::Auto, _) => true,
            (crate::config::FailoverMode::Manual, _) => false,
        };
        let all = [
            (Alarm::DiskFull, self.flags.disk_full),
            (Alarm::DiskShort, self.flags.disk_short),
            (Alarm::DiskHangs, self.flags.disk_hangs),
            (Alarm::SnapshotHangs, self.flags.snapshot_hangs),
            (Alarm::OutOfMemory, memory_max > 0 && self.store.memory_bytes() >= memory_max),
            (Alarm::UnsafeFsync, unsafe_fsync),
            (Alarm::NoQuorum, self.flags.no_quorum),
            (Alarm::MasterDown, self.misses_a_master()),
            (Alarm::RollbackWritten, self.flags.rollback_written),
            (Alarm::StateMismatch, self.flags.state_mismatch),
            (Alarm::CopiedDirectory, self.flags.is_copy),
            (Alarm::AddressUnknown, self.lacks_addresses()),
            (Alarm::AddressUnresolved, self.has_unresolved_names()),
            (Alarm::ClockSkew, self.clock_alarm()),
            (Alarm::LinesAtOdds, self.odds.are_known(self.now.mono)),
            (Alarm::MasterBehind, self.knows_a_line_behind()),
            (Alarm::ForeignCluster, self.meets_another_cluster()),
        ];
        all.into_iter().filter_map(|(alarm, on)| on.then_some(alarm)).collect()
    }
}

/// How many keys a command names; never none.
fn keys_of(command: &Command) -> u64 {
    let keys = match command.plain() {
        Command::Batch { pairs } => pairs.len(),
        Command::Sweep { keys } => keys.len(),
        Command::Set { .. }
        | Command::Delete { .. }
        | Command::Incr { .. }
        | Command::Expire { .. }
        | Command::Persist { .. }
        | Command::If { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_) => 1,
    };
    keys.max(1) as u64
}
