//! What a node says of itself: status, the read view, changes of state, and when the next turn is due.

use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use crate::config::FailoverMode;
use crate::coverage::Coverage;
use crate::event::Event;
use crate::history::History;
use crate::node::follower::Mode;
use crate::node::follower::discovery::Replica;
use crate::node::follower::snapshot_install::Repair;
use crate::node::leader::handover::Handover;
use crate::node::leader::membership::ARMED_MEMBERS_MIN;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::planted::Planted;
use crate::position::{Epoch, Index, Position};
use crate::status::{self, Change, Failover, LinkStatus, Positions, State, Status};
use crate::time::{LogTime, Time, millis};
use crate::view::{Outline, Proof};

/// How many changes of mastership status tells.
const CHANGES_TOLD: usize = 16;

impl Node {
    /// What the node says of itself.
    pub fn status(&self, now: Time) -> Status {
        Status {
            cluster: self.cluster,
            node: self.id,
            name: self.config.node_name.clone(),
            role: self.role_name(),
            state: self.state(),
            epoch: self.epoch_told(),
            leader: self.leader().cloned(),
            positions: self.positions(),
            durability: self.config.durability(),
            failover: self.failover(),
            lease_remaining: self.lease_until().map(|until| until.since(now)),
            link: self.link_status(now),
            dials: self.failed_dials(),
            lag_operations: self.lag_operations(),
            lag: self.lag(now),
            staleness: self
                .view_proof()
                .map(|proof| if self.hides_lag() { Duration::ZERO } else { proof.age(now) }),
            members: self.members(now),
            counters: self.counters,
            alarms: self.alarms(),
            log_time: self.log_clock().at(now),
            wall_ahead_ms: self.wall_ahead_ms(),
            config_role_ignored: self.flags.config_role_ignored,
            ready: self.is_ready(now),
            started: self.is_settled(),
            keys: self.store.keys(),
            results: self.store.results(),
            memory_bytes: self.store.memory_bytes(),
            hash: self.store.hash(),
            snapshot: self.snapshots.newest(),
            tail_bytes: self.log.bytes(),
            waiting: (self.waiters.len() + self.reads.len()) as u64,
            uncommitted_bytes: self.unsettled_bytes(),
            disk_space: self.disk_space(),
            held_writes: self.held_writes.len() as u64,
            held_bytes: self.held_writes.bytes(),
            disk_waits: self.disk_silence(now),
        }
    }

    /// The epoch of the master that is followed, which has it on its disk, or else the newest that is promised on this disk: one
    /// that is on none may never come to be.
    fn epoch_told(&self) -> Epoch {
        let following = match &self.role {
            Role::Replica(replica) => replica.following().map(|following| following.epoch),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => None,
        };
        // What is applied is on this disk too, in a snapshot where the promise itself was lost.
        self.durable.promised().max(following.unwrap_or_default()).max(self.applied.epoch)
    }

    /// What this process has met; see [`crate::coverage`].
    pub fn seen(&self) -> Coverage {
        self.coverage
    }

    /// What this node is, as people are told: a master only once it has begun to lead. Until the first entry of its epoch
    /// is committed another may.
    fn role_name(&self) -> status::Role {
        match &self.role {
            _ if self.is_standalone() => status::Role::Standalone,
            Role::Master(_) if self.is_open() => status::Role::Master,
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) | Role::Replica(_) => {
                status::Role::Replica
            }
        }
    }

    pub(in crate::node) fn state(&self) -> State {
        if self.flags.stopping {
            return State::ShuttingDown;
        }
        match &self.role {
            Role::Founding(_) => State::Founding,
            Role::Asking(_) => State::CatchingUp,
            Role::Candidate(_) => State::Campaigning,
            Role::Master(_) if !self.is_open() => State::Opening,
            Role::Master(_) if self.holds_writes() => State::HandingOver,
            Role::Master(_) if !self.holds_lease() => State::NoQuorum,
            Role::Master(_) if self.flags.disk_full => State::DiskFull,
            Role::Master(_) if self.flags.disk_hangs => State::DiskHangs,
            Role::Master(_) => State::Serving,
            Role::Replica(replica) => self.replica_state(replica),
        }
    }

    fn replica_state(&self, replica: &Replica) -> State {
        match (&self.repair, replica.following().map(|following| &following.mode)) {
            (Some(Repair::RollingBack(_)), _) => State::RollingBack,
            (Some(Repair::Installing(_)), _) | (None, Some(Mode::Syncing(_))) => State::Syncing,
            (None, Some(Mode::Repairing)) => self.shown,
            (None, Some(Mode::Streaming(_))) => State::Streaming,
            (None, None) if replica.last_leader.is_some() => State::MasterDown,
            (None, None) => State::Connecting,
        }
    }

    /// Why this node takes no writes, for people.
    pub(in crate::node) fn state_reason(&self) -> &'static str {
        match self.state() {
            _ if self.flags.is_copy => "another process runs under this node's id: this data directory was copied",
            State::Founding => "an empty master waits a moment for members of a running cluster",
            State::CatchingUp => "a starting master asks the members it knows what they hold",
            State::Opening => "a master is making its epoch durable",
            State::Serving => "this node is the master",
            State::Connecting => "this replica looks for a master",
            State::Streaming | State::Syncing | State::RollingBack => {
                "this replica follows a master that is not ready"
            }
            State::MasterDown if self.armed().is_some() => {
                "the master is down and the voters have elected nobody yet"
            }
            State::MasterDown => "the master is down and an operator has promoted nobody yet",
            State::Campaigning => "this node asks for the votes of the others",
            State::NoQuorum => "no majority of voters answers this master",
            State::HandingOver => "this master hands over",
            State::DiskFull => "the disk is full",
            State::DiskHangs => "the disk hangs",
            State::ShuttingDown => "this node is shutting down",
        }
    }

    fn positions(&self) -> Positions {
        Positions {
            first: self.log.base().index.next(),
            last: self.log.last(),
            durable: self.durable.durable(),
            committed: self.committed,
            applied: self.applied,
        }
    }

    fn failover(&self) -> Failover {
        let armed = self.armed().is_some();
        let reason = match (&self.role, self.config.failover_mode) {
            _ if self.stands_in() => {
                "armed: this node leads only until another member holds what it holds, since its failover.priority is 0"
            }
            _ if self.armed().is_some_and(|it| it.voters().count() < ARMED_MEMBERS_MIN) => {
                "armed, but with fewer than three voters nobody could replace a master that is gone"
            }
            _ if armed && self.paused().is_some() => {
                "armed, but elections are paused: nobody replaces a master that is gone"
            }
            _ if armed => "armed: the voters replace a master that is gone",
            (_, FailoverMode::Manual) => "failover.mode is manual: an operator promotes",
            (Role::Master(_), FailoverMode::Auto) => {
                self.why_not_armed().unwrap_or("not armed yet: the membership is being written")
            }
            (_, FailoverMode::Auto) => "automatic failover is not armed: an operator promotes",
        };
        let terms = self.log.history().terms();
        let told = terms.iter().skip(terms.len().saturating_sub(CHANGES_TOLD));
        let history = told
            .map(|term| Change {
                epoch: term.epoch,
                start: term.start,
                kind: term.kind,
                at: self.log.get(term.start).map(|slot| slot.entry.at),
            })
            .collect();
        let (paused, why_not) = (self.paused(), self.why_not_campaign());
        Failover { mode: self.config.failover_mode, armed, reason, paused, why_not, history }
    }

    fn link_status(&self, now: Time) -> Option<LinkStatus> {
        match &self.role {
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => None,
            Role::Candidate(candidate) => Some(link_of(candidate.replica(), now)),
            Role::Replica(replica) => Some(link_of(replica, now)),
        }
    }

    /// INV-11: never less than is known. A master lags behind nobody, once it leads.
    pub(in crate::node) fn lag_operations(&self) -> u64 {
        match &self.role {
            Role::Master(_) if self.is_open() => 0,
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) | Role::Replica(_) => {
                self.lag_marks.last().ahead_of(self.reached())
            }
        }
    }

    /// How far this replica has come in its master's log: what is to be rolled back does not count.
    pub(in crate::node) fn reached(&self) -> Index {
        if self.needs_snapshot || self.is_repairing() {
            self.applied.index.min(self.agreed())
        } else {
            self.applied.index
        }
    }

    /// Whether the log or the store is being mended, after the log of the master that is followed.
    pub(in crate::node) fn is_repairing(&self) -> bool {
        match &self.role {
            Role::Replica(replica) => replica.following().is_some_and(|following| following.mode.is_repairing()),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) => false,
        }
    }

    /// The planted bug `LagZeroWithoutMaster`.
    fn hides_lag(&self) -> bool {
        let alone = match &self.role {
            Role::Replica(replica) => !replica.is_following(),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) => false,
        };
        alone && self.config.planted.lag_zero_without_master()
    }

    pub(in crate::node) fn lag(&self, now: Time) -> Duration {
        match &self.role {
            _ if self.hides_lag() => Duration::ZERO,
            Role::Master(_) if self.is_open() => Duration::ZERO,
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) | Role::Replica(_) => {
                self.lag_marks.lag(self.reached(), now)
            }
        }
    }

    /// Fit for reads.
    fn is_ready(&self, now: Time) -> bool {
        match &self.role {
            _ if self.flags.stopping || self.flags.is_copy => false,
            Role::Founding(_) | Role::Asking(_) => false,
            Role::Master(_) => self.is_serving(),
            Role::Candidate(_) | Role::Replica(_) => {
                self.flags.caught_up_once && !self.needs_snapshot && self.lag(now) <= self.config.max_lag
            }
        }
    }

    fn view_proof(&self) -> Option<Proof> {
        match &self.role {
            Role::Master(_) if !self.is_open() => None,
            Role::Master(_) => {
                Some(self.lease().map_or(Proof::Master, |(from, until)| Proof::Lease { from, until }))
            }
            Role::Founding(_) | Role::Asking(_) => None,
            Role::Candidate(_) | Role::Replica(_) => {
                self.freshness.newest().filter(|_| !self.needs_snapshot).map(Proof::At)
            }
        }
    }

    pub(in crate::node) fn make_outline(&self) -> Outline {
        let history = if *self.outline.history == *self.log.history() {
            Arc::clone(&self.outline.history)
        } else {
            Arc::new(self.log.history().clone())
        };
        Outline {
            applied: self.applied,
            role: self.role_name(),
            state: self.state(),
            leader: self.serving_leader().cloned(),
            history,
            void_beyond: self.rolled_back_after,
            proof: self.view_proof(),
            planted: self.config.planted,
            time: self.reader_time(),
        }
    }

    /// How log time goes on for readers.
    fn reader_time(&self) -> LogTime {
        if self.config.planted.expired_shown_in_silence() { LogTime::default() } else { self.log_clock() }
    }

    /// Whether readers that go by the outline go by log time, now and later, give or take a millisecond: two clocks that both wait
    /// for what was shown before agree until one of them goes on.
    fn is_outline_on_time(&self) -> bool {
        let (now, shown, is) = (self.now.mono, self.outline.time, self.reader_time());
        let goes_on = millis(shown.nanos_at(now)).0.abs_diff(millis(is.nanos_at(now)).0) <= 1;
        let waits = self.config.planted.waiting_clocks_agree();
        shown.at(now).0.abs_diff(is.at(now).0) <= 1 && (goes_on || waits)
    }

    /// Says why the state is about to change.
    pub(in crate::node) fn tell(&mut self, why: &str) {
        self.why = String::from(why);
    }

    /// Tells of a change of state, and draws the outline anew.
    pub(in crate::node) fn show(&mut self, out: &mut Output) {
        self.tell_quorum(out);
        out.events.extend(self.ignored_role.take().map(|hint| Event::ConfigRoleIgnored { hint }));
        let to = self.state();
        if to != self.shown {
            self.shown = to;
            let why = core::mem::take(&mut self.why);
            let why = if why.is_empty() { String::from(usual_cause(to)) } else { why };
            out.events.push(Event::State { to, why });
        }
        self.tell_voters(out);
        self.tell_addresses(out);
        let same = self.outline.applied == self.applied
            && self.outline.role == self.role_name()
            && self.outline.state == to
            && self.is_outline_on_time()
            && self.outline.void_beyond == self.rolled_back_after
            && self.outline.proof == self.view_proof()
            && self.outline.leader.as_ref() == self.serving_leader();
        if !same {
            self.outline = Arc::new(self.make_outline());
        }
    }

    /// Says who votes, whenever that is not who voted before.
    fn tell_voters(&mut self, out: &mut Output) {
        let members = self.armed().map_or(&[][..], |membership| &membership.members);
        let voters = members.iter().filter(|member| member.voter);
        if voters.clone().map(|member| &member.id).eq(&self.told_voters) {
            return;
        }
        let (ids, names) = voters.map(|member| (member.id, member.name.clone())).unzip();
        self.told_voters = ids;
        out.events.push(Event::Regime { voters: names });
    }

    /// When the next turn is due at the latest.
    pub(in crate::node) fn next_deadline(&self) -> Option<Time> {
        let now = self.now.mono;
        let more_to_apply = (self.applied.index < self.apply_limit()).then_some(now);
        let role = match &self.role {
            Role::Founding(founding) => Some(founding.until),
            Role::Asking(asking) => Some(asking.deadline(now)),
            Role::Master(master) => {
                let interval = self.round_interval();
                let silent = master.handover.as_ref().is_some_and(Handover::has_left);
                let streams =
                    master.streams.values().map(|stream| stream.sent_at + interval).min().filter(|_| !silent);
                let last = self.log.last().index;
                let rested = master.streams.values().filter_map(|stream| stream.rested_at(last));
                let rested = rested.filter(|at| *at > now).min();
                let probe = (self.is_settled() && self.probes_absent()).then_some(master.next_probe);
                let held = (!self.held.is_empty() && self.is_settled()).then_some(now);
                let handover = master.handover.as_ref().map(Handover::deadline);
                let paused = self.pause_deadline().filter(|until| *until > now);
                [streams, rested, probe, held, handover, paused, self.lease_deadline(), self.relief_deadline()]
                    .into_iter()
                    .flatten()
                    .min()
            }
            Role::Candidate(candidate) => Some(candidate.deadline()),
            Role::Replica(replica) => {
                let seeks = self.repair.is_none() && !self.flags.stopping && !self.flags.is_copy;
                let seek = replica.deadline().filter(|_| seeks);
                seek.into_iter().chain(self.campaign_due()).min()
            }
        };
        [
            more_to_apply,
            role,
            self.sweep_deadline(),
            self.links.deadline(self.config.link_timeout()),
            self.waiters.deadline(),
            self.reads.deadline(),
            self.snapshot_due(),
            self.linearizing.deadline(),
            self.contest_deadline(),
            self.switching.deadline(),
            self.held_writes.deadline(),
            self.disk_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn link_of(replica: &Replica, now: Time) -> LinkStatus {
    LinkStatus {
        connected: replica.is_following(),
        last_contact: replica.last_contact.map(|at| now.since(at)),
        reconnects: replica.reconnects,
        heartbeat: replica.following().map(|following| following.heartbeat),
        refused: replica.refused,
    }
}

/// Why a state is usually entered, where nothing else is told.
fn usual_cause(state: State) -> &'static str {
    match state {
        State::Founding => "the disk is empty and the configured role is master",
        State::CatchingUp => "this node was the master when it stopped",
        State::Opening => "the members that answered have been heard",
        State::Serving => "the first entry of its epoch is committed",
        State::Connecting => "it has no master yet",
        State::Streaming => "its log and the master's agree",
        State::Syncing => "its log and the master's are too far apart",
        State::RollingBack => "its log goes beyond the master's",
        State::MasterDown => "the master is gone",
        State::Campaigning => "the master was silent for an election timeout",
        State::NoQuorum => "no majority of voters answers",
        State::HandingOver => "the mastership is being handed over",
        State::DiskFull => "there is no room for another log segment",
        State::DiskHangs => "nothing has reached the disk for as long as replication.failover.disk_timeout_ms",
        State::ShuttingDown => "the process was asked to end",
    }
}

/// The outline before the first turn.
pub(in crate::node) fn empty_outline() -> Outline {
    Outline {
        applied: Position { index: Index::ZERO, ..Position::ZERO },
        role: status::Role::Replica,
        state: State::Connecting,
        leader: None,
        history: Arc::new(History::default()),
        void_beyond: None,
        proof: None,
        planted: Planted::default(),
        time: LogTime::default(),
    }
}
