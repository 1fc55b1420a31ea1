//! The door for clients and operators: what is refused before anything is done, and what enters the log.

use crate::command::{Command, Condition, Outcome, Pair, TICKET_KEY_BYTES_MAX};
use crate::config::Concern;
use crate::history::Holding;
use crate::ids::RequestId;
use crate::input::{ReadDemand, Request};
use crate::log::Answered;
use crate::node::clients::held::HeldWrite;
use crate::node::clients::pending::{READS_MAX, WAITERS_MAX};
use crate::node::{Node, Role};
use crate::output::{Fate, Output, Refusal, Reply, Written};
use crate::position::{Index, Named};
use crate::wal::{BATCH_PAIRS_MAX, Entry, RECORD_BYTES_MAX};
use alloc::boxed::Box;
use core::time::Duration;

/// Longest wait that a request can ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// When a client may try again that found no master.
pub(in crate::node) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Node {
    pub(in crate::node) fn on_request(&mut self, id: RequestId, request: Request, out: &mut Output) {
        match request {
            Request::Write { command, concern, timeout } => {
                let concern = concern.unwrap_or(self.config.write_concern);
                if let Err(refusal) = self.on_write(id, command, concern, timeout, out) {
                    out.replies.push((id, Err(refusal)));
                }
            }
            Request::Read { demand, timeout } => self.on_read(id, demand, timeout, out),
            Request::Promote(ask) => self.on_promote(id, ask, out),
            Request::Switchover { to, timeout } => {
                self.on_switchover(id, to.as_deref(), timeout.min(TIMEOUT_MAX), out);
            }
            Request::Members(change) => self.on_members(id, &change, out),
            Request::Pause(length) => self.on_pause(id, length, out),
            Request::Snapshot => self.on_snapshot(id, out),
            Request::Status => {
                let status = self.status(self.now.mono);
                out.replies.push((id, Ok(Reply::Status(Box::new(status)))));
            }
            Request::Outcome(named) => {
                out.replies.push((id, Ok(Reply::Outcome(self.fate(&named)))));
            }
        }
    }

    fn on_write(
        &mut self,
        id: RequestId,
        command: Command,
        concern: Concern,
        timeout: Duration,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        self.vet_write(&command, concern)?;
        let write = HeldWrite { id, command, concern, deadline: self.now.mono + timeout.min(TIMEOUT_MAX) };
        if self.holds_writes() && !self.flags.stopping {
            return self.held_writes.hold(write);
        }
        self.admit_write(&write)?;
        // Who came first goes first: a short write does not overtake a long one, which might wait for ever.
        if !self.held_writes.is_empty() || !self.has_room(write.bytes()) {
            return self.held_writes.hold(write);
        }
        self.order(write, out);
        Ok(())
    }

    /// A write that has waited: it is asked anew whether it can be done.
    pub(in crate::node) fn enter(&mut self, write: HeldWrite, out: &mut Output) -> Result<(), Refusal> {
        self.admit_write(&write)?;
        self.order(write, out);
        Ok(())
    }

    /// Puts a write into the log; it is answered now, or waits for its concern.
    fn order(&mut self, write: HeldWrite, out: &mut Output) {
        let HeldWrite { id, command, concern, deadline } = write;
        // What its result depends on is known with its place: nothing else has to be applied or committed for it.
        let plain = is_plain_set(&command);
        let at_once = plain && concern == Concern::Async;
        let answered = if at_once { Answered::Yes } else { Answered::No };
        let position = self.propose(&command, concern, answered);
        let outcome = Outcome::Set { written: true, version: self.version_to_come(position.index), old: None };
        match concern {
            Concern::Async if plain => {
                let written = Written { position, concern, durable_on: 0, outcome };
                out.replies.push((id, Ok(Reply::Written(written))));
            }
            Concern::Local if plain => self.waiters.wait_for_disk(id, position, outcome, deadline),
            Concern::Async | Concern::Local | Concern::Quorum | Concern::Replicas(_) => {
                self.waiters.wait(id, position, concern, deadline);
            }
        }
    }

    /// Whether it could ever be done.
    fn vet_write(&self, command: &Command, concern: Concern) -> Result<(), Refusal> {
        if !command.is_client() {
            return Err(Refusal::BadRequest { why: "only the log itself writes this" });
        }
        check_ticket(command)?;
        self.check_sizes(command)?;
        if self.config.planted.record_length_unchecked() { Ok(()) } else { check_record(command, concern) }
    }

    /// Whether it can be done now. Where it has no room, some is made.
    fn admit_write(&mut self, write: &HeldWrite) -> Result<(), Refusal> {
        let admitted = self.may_write(&write.command, write.concern);
        if admitted == Err(Refusal::DiskFull) {
            self.room.want(self.now.mono);
        }
        admitted
    }

    fn may_write(&self, command: &Command, concern: Concern) -> Result<(), Refusal> {
        if self.flags.stopping {
            return Err(Refusal::ShuttingDown);
        }
        let Role::Master(master) = &self.role else { return Err(self.not_master()) };
        if !self.is_serving() {
            return Err(self.not_master());
        }
        if self.room.is_stuck() || self.outgrows_disk(command) {
            return Err(Refusal::DiskFull);
        }
        if self.flags.disk_hangs {
            return Err(Refusal::DiskHangs { retry_after: RETRY_AFTER });
        }
        let memory_max = self.config.limits.memory_bytes_max;
        if memory_max > 0 && self.grows(command) && self.outgrows_memory(command, memory_max) {
            return Err(Refusal::OutOfMemory);
        }
        if let Concern::Replicas(wanted) = concern {
            let connected = master.connected();
            if wanted > connected {
                return Err(Refusal::NotEnoughReplicas { wanted, connected });
            }
        }
        if self.waiters.len() >= WAITERS_MAX {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    /// Whether a write that comes now goes into the log, if nothing is wrong with it.
    pub fn takes_writes(&self) -> bool {
        self.is_serving() && !self.disk_is_out() && !self.holds_writes() && !self.flags.stopping
    }

    pub(in crate::node) fn not_master(&self) -> Refusal {
        if self.is_open() && !self.holds_lease() {
            return Refusal::NoQuorum { retry_after: RETRY_AFTER };
        }
        match self.leader() {
            // Who is sent on must not be sent back or turned away: the new master has to serve first.
            Some(leader) if leader.node != self.id && !self.leader_serves() => {
                Refusal::NoMaster { why: "the new master has not begun to serve yet", retry_after: RETRY_AFTER }
            }
            Some(leader) if leader.node != self.id => Refusal::NotMaster { leader: leader.clone() },
            Some(_) | None => Refusal::NoMaster { why: self.state_reason(), retry_after: RETRY_AFTER },
        }
    }

    fn check_sizes(&self, command: &Command) -> Result<(), Refusal> {
        match command.plain() {
            Command::Set { pair, .. } => self.check_pair(pair),
            Command::Batch { pairs } => pairs.iter().try_for_each(|pair| self.check_pair(pair)),
            Command::Incr { key, .. } => self.check_key(key),
            // What is there can be removed, whatever the limit for new keys is now.
            Command::Delete { key } | Command::Expire { key, .. } | Command::Persist { key } => {
                check_len("key", key.len(), u32::from(u16::MAX))
            }
            Command::If { .. }
            | Command::Once { .. }
            | Command::EpochStart { .. }
            | Command::Config(_)
            | Command::Sweep { .. } => Ok(()),
        }
    }

    /// Whether the store may be larger afterwards. A retry of what it remembers does nothing.
    fn grows(&self, command: &Command) -> bool {
        match command {
            Command::Once { ticket, command } => self.store.first_under(ticket).is_none() && grows(command),
            plain => grows(plain),
        }
    }

    /// Whether the store would be larger than allowed, or is, and would not be smaller afterwards.
    fn outgrows_memory(&self, command: &Command, bytes_max: u64) -> bool {
        let (more, less) = self.store.growth(command);
        let held = self.store.memory_bytes();
        let shrinks = more < less;
        !shrinks && (held >= bytes_max || held + more > bytes_max + less)
    }

    fn check_pair(&self, pair: &Pair) -> Result<(), Refusal> {
        self.check_key(&pair.key)?;
        check_len("value", pair.value.bytes.len(), self.config.limits.value_bytes_max)
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Refusal> {
        check_len("key", key.len(), self.config.limits.key_bytes_max)
    }

    fn on_read(&mut self, id: RequestId, demand: ReadDemand, timeout: Duration, out: &mut Output) {
        if self.reads.len() + self.linearizing.len() >= READS_MAX {
            out.replies.push((id, Err(Refusal::Busy)));
            return;
        }
        let deadline = self.now.mono + timeout.min(TIMEOUT_MAX);
        if demand.linearizable {
            self.linearizing.wait(id, demand, deadline);
        } else {
            self.reads.wait(id, demand, Index::ZERO, deadline);
        }
    }

    fn on_snapshot(&mut self, id: RequestId, out: &mut Output) {
        if !self.config.persistent {
            let why = "persistence is off: there is no place for a snapshot".into();
            out.replies.push((id, Err(Refusal::Conflict { why })));
        } else if self.room.is_stuck() {
            out.replies.push((id, Err(Refusal::DiskFull)));
        } else if self.flags.snapshot_hangs {
            out.replies.push((id, Err(Refusal::DiskHangs { retry_after: RETRY_AFTER })));
        } else {
            self.snapshots.want(id);
        }
    }

    /// What became of a write. History tells whose entry holds a committed place.
    pub fn fate(&self, named: &Named) -> Fate {
        let index = named.index;
        match self.log.history().holds(named, self.config.planted) {
            Holding::Foreign => Fate::Foreign,
            Holding::Other { since } if since > self.committed || self.is_in_doubt(since) => Fate::Pending,
            Holding::Other { .. } if self.config.planted.fate_of_the_place() => Fate::Committed,
            Holding::Other { .. } if !self.knows_leader_of(named) => Fate::Foreign,
            Holding::Other { .. } => Fate::RolledBack,
            _ if index == Index::ZERO || index > self.committed => Fate::Pending,
            // What an unarmed master had committed and a promotion left behind is on its way out.
            Holding::This if self.rolled_back_after.is_some_and(|common| index > common) => Fate::RolledBack,
            Holding::This if self.is_in_doubt(index) => Fate::Pending,
            Holding::This => Fate::Committed,
            Holding::Later | Holding::Unknown => Fate::Pending,
            Holding::Ambiguous => Fate::Unknown,
        }
    }

    /// Whether the leader that it names has led here, or is a member: of another's masterships nothing is known.
    fn knows_leader_of(&self, named: &Named) -> bool {
        let leaders = self.log.history().terms().iter().map(|term| term.epoch.leader);
        let members = self.log.membership().1.members.iter().map(|member| member.id);
        leaders.chain(members).any(|node| named.may_be_by(node))
    }

    /// Whether the log there is being mended after the master's.
    fn is_in_doubt(&self, index: Index) -> bool {
        self.is_repairing() && index > self.agreed()
    }
}

fn check_len(what: &'static str, len: usize, max: u32) -> Result<(), Refusal> {
    let (bytes, bytes_max) = (len as u64, u64::from(max));
    if bytes <= bytes_max { Ok(()) } else { Err(Refusal::TooLarge { what, bytes, bytes_max }) }
}

/// What is longer than a record can be is refused here, by its encoded length: no limit on a single value bounds a batch.
fn check_record(command: &Command, concern: Concern) -> Result<(), Refusal> {
    if let Command::Batch { pairs } = command.plain()
        && pairs.len() > BATCH_PAIRS_MAX
    {
        let (bytes, bytes_max) = (pairs.len() as u64, BATCH_PAIRS_MAX as u64);
        return Err(Refusal::TooLarge { what: "list of pairs", bytes, bytes_max });
    }
    let (bytes, bytes_max) = (Entry::encoded_len(concern, command) as u64, RECORD_BYTES_MAX as u64);
    if bytes <= bytes_max {
        Ok(())
    } else {
        Err(Refusal::TooLarge { what: "log record of this write", bytes, bytes_max })
    }
}

fn check_ticket(command: &Command) -> Result<(), Refusal> {
    match command {
        Command::Once { ticket, .. } if ticket.key.is_empty() => {
            Err(Refusal::BadRequest { why: "a request's own key is empty" })
        }
        Command::Once { ticket, .. } => {
            let (bytes, bytes_max) = (ticket.key.len() as u64, TICKET_KEY_BYTES_MAX as u64);
            if bytes <= bytes_max {
                Ok(())
            } else {
                Err(Refusal::TooLarge { what: "request's own key", bytes, bytes_max })
            }
        }
        _ => Ok(()),
    }
}

/// Whether its result is known before it is applied. With a ticket it is not: it may be a retry.
fn is_plain_set(command: &Command) -> bool {
    match command {
        Command::Set { condition, .. } => *condition == Condition::Always,
        Command::Delete { .. }
        | Command::Incr { .. }
        | Command::Expire { .. }
        | Command::Persist { .. }
        | Command::Batch { .. }
        | Command::If { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_)
        | Command::Sweep { .. } => false,
    }
}

fn grows(command: &Command) -> bool {
    match command {
        Command::Set { .. } | Command::Batch { .. } | Command::Incr { .. } => true,
        Command::If { command, .. } => grows(command),
        Command::Delete { .. }
        | Command::Expire { .. }
        | Command::Persist { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_)
        | Command::Sweep { .. } => false,
    }
}
