//! A replica takes entries from the master that it follows, and acks what its disk holds.

pub(in crate::node) mod discovery;
pub(in crate::node) mod prior_versions;
pub(in crate::node) mod quarantine;
pub(in crate::node) mod rollback;
pub(in crate::node) mod snapshot_install;
pub(in crate::node) mod waiting_entries;

use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;

use crate::ids::LinkId;
use crate::message::{Append, Leader, Message, PeerState};
use crate::node::follower::snapshot_install::Syncing;
use crate::node::follower::waiting_entries::WaitingEntries;
use crate::node::peers::hello::leader_of;
use crate::node::replicated::durable::Received;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::{Epoch, Index, Position};
use crate::time::Time;

/// No master's word makes a link die of less silence than three of these.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// The master that is followed, and how.
#[derive(Clone, Debug)]
pub(in crate::node) struct Following {
    pub(in crate::node) link: LinkId,
    pub(in crate::node) leader: Leader,
    pub(in crate::node) epoch: Epoch,
    /// How far both logs agree, while that is not all of ours.
    pub(in crate::node) agreed: Index,
    pub(in crate::node) mode: Mode,
    /// The master's process.
    pub(in crate::node) process: u64,
    /// The exact address of the master's own port, if this node has dialled it there and nothing forwards in between.
    pub(in crate::node) direct: Option<String>,
    /// How often the master sends heartbeats: its count holds for the link, whatever is configured here.
    pub(in crate::node) heartbeat: Duration,
    /// Where its mastership begins in its log, and how far it has said that log to be committed.
    opens_at: Option<Index>,
    committed: Index,
    /// The newest round heard, and the master's clock when it was sent.
    round: u64,
    sent: u64,
    /// What was last acked, and when.
    acked: Option<Acked>,
    /// When it was last told that this node is there, without an ack; at first, when there was none to send.
    alive_at: Option<Time>,
    /// Since when entries are waited for that a round has overtaken, and nothing of them came in.
    waits_since: Option<Time>,
    /// Part of a message came in since the last ack.
    stirs: bool,
}

/// What an ack said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acked {
    durable: Index,
    applied: Index,
    round: u64,
    at: Time,
}

/// How the master is followed.
#[derive(Clone, Debug)]
pub(in crate::node) enum Mode {
    /// Entries follow ours. Some may wait for room.
    Streaming(WaitingEntries),
    /// A snapshot comes in.
    Syncing(Syncing),
    /// The log or the store is being mended (see `Repair`); nothing is taken.
    Repairing,
}

impl Mode {
    pub(in crate::node) fn is_streaming(&self) -> bool {
        match self {
            Self::Streaming(_) => true,
            Self::Syncing(_) | Self::Repairing => false,
        }
    }

    pub(in crate::node) fn is_syncing(&self) -> bool {
        self.syncing().is_some()
    }

    pub(in crate::node) fn syncing(&self) -> Option<&Syncing> {
        match self {
            Self::Syncing(syncing) => Some(syncing),
            Self::Streaming(_) | Self::Repairing => None,
        }
    }

    pub(in crate::node) fn is_repairing(&self) -> bool {
        match self {
            Self::Repairing => true,
            Self::Streaming(_) | Self::Syncing(_) => false,
        }
    }
}

impl Following {
    /// `source` says to lead, and both logs agree up to `agreed`.
    pub(in crate::node) fn new(
        link: LinkId,
        source: &PeerState,
        direct: Option<String>,
        agreed: Index,
        mode: Mode,
    ) -> Self {
        let last = source.history.last().filter(|term| term.epoch == source.promised);
        Self {
            link,
            leader: leader_of(source),
            epoch: source.promised,
            agreed,
            mode,
            process: source.process,
            direct,
            heartbeat: Duration::from_millis(u64::from(source.heartbeat_ms)).max(HEARTBEAT_MIN),
            opens_at: last.map(|term| term.start),
            committed: source.committed,
            round: 0,
            sent: 0,
            acked: None,
            alive_at: None,
            waits_since: None,
            stirs: false,
        }
    }

    /// Whether the master has committed an entry of its own epoch, as far as it has said: only then does it serve.
    pub(in crate::node) fn has_opened(&self) -> bool {
        self.opens_at.is_some_and(|start| self.committed >= start)
    }

    /// What a later connection can go on with.
    pub(in crate::node) fn into_broken(self) -> Option<Syncing> {
        match self.mode {
            Mode::Syncing(syncing) => Some(syncing),
            Mode::Streaming(_) | Mode::Repairing => None,
        }
    }
}

impl Node {
    pub(in crate::node) fn on_append(&mut self, link: LinkId, append: Append, out: &mut Output) {
        let now = self.now.mono;
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(following) = replica.following_mut() else { return };
        if following.link != link || append.epoch != following.epoch {
            return;
        }
        if append.round >= following.round {
            following.round = append.round;
            following.sent = append.sent;
        }
        following.committed = following.committed.max(append.committed);
        if !append.entries.is_empty() {
            following.waits_since = None;
        }
        let streaming = following.mode.is_streaming();
        replica.last_contact = Some(now);
        self.hear_master(append.epoch, append.round);
        self.hear_log_time(append.log_time, Time(append.echo));
        self.lag_marks.hear(append.last, now);
        if append.echo > 0 && append.echo <= now.0 {
            let as_of = if self.config.planted.staleness_from_proof() { now } else { Time(append.echo) };
            self.freshness.offer(append.last, as_of);
        }
        if !streaming {
            return;
        }
        let apart = append.entries.is_empty() && append.prev.index != self.log.last().index;
        if apart {
            // A sign of life from before the master knew that our log agrees with its own again, or one that has overtaken
            // entries. It is a round like any other, and what it tells to be committed holds for the entries once they are here.
            self.wait_for_entries(link, append.prev.index, out);
            return;
        }
        self.take_or_wait(link, append.prev, append.entries, out);
    }

    /// Appends entries that follow our log.
    fn take_entries(&mut self, link: LinkId, prev: Position, records: &[Bytes], out: &mut Output) {
        if prev != self.log.last() {
            self.drop_garbage(link, "it sent entries that do not follow", out);
            return;
        }
        if self.append_records(records).is_err() {
            self.drop_garbage(link, "it sent entries that make no sense", out);
            return;
        }
        let Role::Replica(replica) = &self.role else { return };
        let Some(following) = replica.following() else { return };
        // All of our log is the master's. A round may have told more, and overtaken these entries.
        self.committed = self.committed.max(following.committed.min(self.log.last().index));
    }

    /// A round speaks of entries up to `upto`. Nothing is lost out of the middle of a link: if they are not here and nothing of
    /// them comes in for as long as a silence may last, they never will.
    fn wait_for_entries(&mut self, link: LinkId, upto: Index, out: &mut Output) {
        let (now, last, patience) = (self.now.mono, self.log.last().index, self.config.link_timeout());
        if self.has_waiting_entries() {
            return;
        }
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(following) = replica.following_mut().filter(|_| upto > last) else { return };
        if *following.waits_since.get_or_insert(now) + patience <= now {
            self.drop_garbage(link, "it sent entries that do not come", out);
        }
    }

    /// A part of a long message came in. The master hears of that too: its own side of the link would be silent otherwise. The
    /// ack names no newer round, so it lengthens no lease.
    pub(in crate::node) fn go_on_waiting(&mut self, link: LinkId) {
        let now = self.now.mono;
        let Role::Replica(replica) = &mut self.role else { return };
        if let Some(following) = replica.following_mut().filter(|following| following.link == link) {
            following.waits_since = following.waits_since.map(|_| now);
            following.stirs = true;
        }
    }

    /// One ack a turn at most, if there is something to say. What is applied, or a round, is told alone when nothing is
    /// on its way to the disk, which would be news soon, or when the master has heard nothing for half a heartbeat.
    pub(in crate::node) fn acknowledge(&mut self, out: &mut Output) {
        let last = self.log.last().index;
        let hash = self.store.hash();
        let (disk, wall) = (self.disk_state(), self.now.wall);
        let trusts_memory = self.config.planted.ack_before_durable();
        let any_epoch = self.config.planted.stale_epoch_followed();
        let now = self.now.mono;
        let clock = now.0.max(1);
        let heartbeat = self.acks_due_within();
        let word_ms = u32::try_from(self.word_length().as_millis()).unwrap_or(0);
        let Role::Replica(replica) = &mut self.role else { return };
        let Some(following) = replica.following_mut() else { return };
        let upto = if following.mode.is_streaming() { last } else { following.agreed };
        let applied = self.applied.index.min(upto);
        let (round, sent) = (following.round, following.sent);
        let received =
            Received { upto, applied, hash, round, sent, word_ms, clock, disk, wall, trusts_memory, any_epoch };
        let Some(ack) = self.durable.ack(following.epoch, &received) else {
            // Its promise waits for the disk, for longer than a silent link would live, it may be.
            if *following.alive_at.get_or_insert(now) + heartbeat / 2 <= now {
                following.alive_at = Some(now);
                out.sends.push((following.link, Message::Alive(disk)));
            }
            return;
        };
        let due = following.acked.is_none_or(|acked| {
            let settled = ack.durable() == upto || acked.at + heartbeat / 2 <= now;
            let news = acked.applied != ack.applied() || acked.round != round;
            let stirs = following.stirs && acked.at + heartbeat <= now;
            acked.durable != ack.durable() || news && settled || stirs
        });
        if due {
            following.stirs = false;
            following.acked = Some(Acked { durable: ack.durable(), applied, round, at: now });
            out.sends.push((following.link, Message::Ack(ack)));
            self.ballot.give_word(word_ms);
        }
        let Role::Replica(replica) = &self.role else { return };
        let Some(following) = replica.following() else { return };
        if following.mode.is_streaming() && applied >= self.lag_marks.last() {
            self.flags.caught_up_once = true;
        }
        self.lag_marks.forget(self.reached());
    }
}
