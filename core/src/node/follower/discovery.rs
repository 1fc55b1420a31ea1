//! A replica looks for its master: whom it dials, when, and what it makes of the answer.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::message::{Intent, Leader, PeerState, Reason, Resume, SyncPlan, Welcome};
use crate::node::election::crash_detection::Suspect;
use crate::node::follower::snapshot_install::Syncing;
use crate::node::follower::waiting_entries::WaitingEntries;
use crate::node::follower::{Following, Mode};
use crate::node::peers::hello::{address_text, leader_of};
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::{Index, Position};
use crate::time::Time;
use core::time::Duration;

/// The shortest wait between two dials; it doubles after each round of all addresses.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);

/// So many rounds of all addresses, three seconds at least, are as many as nodes need that are started together.
const ROUNDS_UNTIL_IN_VAIN: usize = 5;

/// Most addresses of callers that are kept (INV-12).
const IN_VAIN_MAX: usize = 64;

/// Follows a master, or looks for one.
#[derive(Clone, Debug)]
pub(in crate::node) struct Replica {
    seek: Seek,
    /// Dials since entries last flowed.
    attempts: u32,
    /// Where to look first: a master that somebody told us of.
    hint: Option<String>,
    /// The master that was last followed, and whether anything was heard of it since.
    pub(in crate::node) last_leader: Option<Leader>,
    pub(in crate::node) last_contact: Option<Time>,
    pub(in crate::node) reconnects: u64,
    /// Why it and the last node that it tried to follow do not go together; none once it follows one.
    pub(in crate::node) refused: Option<Reason>,
    /// Addresses of masters that have called since one was last followed, and of these the ones that no dial has reached
    /// since: before it called a master may just not have run.
    callers: BTreeMap<String, NodeId>,
    in_vain: BTreeSet<String>,
    /// A snapshot transfer that broke off.
    pub(in crate::node) broken: Option<Syncing>,
    /// The master's connection broke: whether its process is dead is being found out.
    pub(in crate::node) suspect: Option<Suspect>,
}

/// How far the search is.
#[derive(Clone, Debug)]
enum Seek {
    /// The next dial is due then; none if no more dials are wanted.
    Waiting { until: Option<Time> },
    /// Dialled, and not answered yet.
    Dialling { link: LinkId, since: Time },
    /// Found.
    Following(Following),
}

impl Replica {
    pub(in crate::node) fn new(hint: Option<String>) -> Self {
        Self {
            seek: Seek::Waiting { until: Some(Time::default()) },
            attempts: 0,
            hint,
            last_leader: None,
            last_contact: None,
            reconnects: 0,
            refused: None,
            callers: BTreeMap::new(),
            in_vain: BTreeSet::new(),
            broken: None,
            suspect: None,
        }
    }

    pub(in crate::node) fn following(&self) -> Option<&Following> {
        match &self.seek {
            Seek::Following(following) => Some(following),
            Seek::Waiting { .. } | Seek::Dialling { .. } => None,
        }
    }

    pub(in crate::node) fn following_mut(&mut self) -> Option<&mut Following> {
        match &mut self.seek {
            Seek::Following(following) => Some(following),
            Seek::Waiting { .. } | Seek::Dialling { .. } => None,
        }
    }

    pub(in crate::node) fn is_following(&self) -> bool {
        self.following().is_some()
    }

    pub(in crate::node) fn is_syncing(&self) -> bool {
        self.following().is_some_and(|following| following.mode.is_syncing())
    }

    /// The master, while it is followed.
    pub(in crate::node) fn leader(&self) -> Option<&Leader> {
        self.following().map(|following| &following.leader)
    }

    /// The link to the master, or to who may know it.
    pub(in crate::node) fn link(&self) -> Option<LinkId> {
        match &self.seek {
            Seek::Waiting { .. } => None,
            Seek::Dialling { link, .. } => Some(*link),
            Seek::Following(following) => Some(following.link),
        }
    }

    /// Whether who was dialled on this link has not said yet whether it leads.
    pub(in crate::node) fn waits_on(&self, link: LinkId) -> bool {
        matches!(&self.seek, Seek::Dialling { link: dialled, .. } if *dialled == link)
    }

    /// Whether a dial has had no answer for so long.
    fn has_dialled_for(&self, patience: Duration, now: Time) -> bool {
        matches!(self.seek, Seek::Dialling { since, .. } if since + patience <= now)
    }

    /// The node at the other end of `link`.
    pub(in crate::node) fn source(&self, link: LinkId) -> Option<NodeId> {
        self.following().filter(|following| following.link == link).map(|following| following.leader.node)
    }

    /// The snapshots that were coming in, broken off or not.
    pub(in crate::node) fn into_syncings(self) -> [Option<Syncing>; 2] {
        let running = match self.seek {
            Seek::Following(following) => following.into_broken(),
            Seek::Waiting { .. } | Seek::Dialling { .. } => None,
        };
        [self.broken, running]
    }

    /// As [`Replica::into_syncings`].
    pub(in crate::node) fn syncings(&self) -> impl Iterator<Item = &Syncing> {
        let running = self.following().and_then(|following| following.mode.syncing());
        self.broken.iter().chain(running)
    }

    /// Where a broken snapshot transfer may go on.
    pub(in crate::node) fn resume(&self) -> Option<Resume> {
        let broken = self.broken.as_ref()?;
        Some(Resume { position: broken.position, next_chunk: broken.reader.next_chunk() })
    }

    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        match &self.seek {
            Seek::Waiting { until } => *until,
            Seek::Dialling { .. } | Seek::Following(_) => None,
        }
    }
}

impl Node {
    pub(in crate::node) fn tend_replica(&mut self, out: &mut Output) {
        self.tend_ballot(out);
        let now = self.now.mono;
        let Role::Replica(replica) = &self.role else { return };
        let due = replica.deadline().is_some_and(|until| until <= now);
        if !due || self.repair.is_some() || self.flags.stopping || self.flags.is_copy {
            return;
        }
        let Some(address) = self.next_address() else {
            self.seek_later();
            return;
        };
        let link = self.dial(address.clone(), out);
        if let Role::Replica(replica) = &mut self.role {
            match link {
                Some(link) => {
                    replica.seek = Seek::Dialling { link, since: now };
                    if let Some(suspect) = &mut replica.suspect {
                        suspect.dialled(&address, link);
                    }
                }
                None => self.seek_later(),
            }
        }
    }

    /// Looks for a master at once.
    pub(in crate::node) fn seek_now(&mut self) {
        let now = self.now.mono;
        let Role::Replica(replica) = &mut self.role else { return };
        if let Seek::Waiting { until } = &mut replica.seek {
            *until = Some(now);
        }
    }

    /// Looks for a master at this address first, then.
    pub(in crate::node) fn seek_at(&mut self, address: String, due: Time) {
        let Role::Replica(replica) = &mut self.role else { return };
        // What others say may be no address, since they know none.
        let address = Some(address).filter(|address| is_dialable(address));
        match &mut replica.seek {
            Seek::Waiting { until } => {
                *until = Some(due);
                replica.hint = address;
            }
            Seek::Dialling { .. } => replica.hint = address,
            Seek::Following(_) => {}
        }
    }

    /// Looks for a master at this node first, if it is a member.
    pub(in crate::node) fn look_at(&mut self, node: NodeId) {
        let address = self.log.membership().1.get(node).map(|member| member.replication.clone());
        match address {
            Some(address) => self.seek_at(address, self.now.mono),
            None => self.seek_now(),
        }
    }

    /// Gives the master up, and looks for none until told to.
    pub(in crate::node) fn leave_master(&mut self, out: &mut Output) {
        let Role::Replica(replica) = &mut self.role else { return };
        let link = replica.link();
        match core::mem::replace(&mut replica.seek, Seek::Waiting { until: None }) {
            Seek::Following(following) => {
                let older = core::mem::replace(&mut replica.broken, following.into_broken());
                self.discarded.syncing(older);
                self.freshness.reset();
            }
            Seek::Waiting { .. } | Seek::Dialling { .. } => {}
        }
        if let Some(link) = link {
            self.close(link, out);
        }
    }

    /// A hint first, then every address that is known, in turn: the configured one before those of the log, and none in the place
    /// of another.
    fn next_address(&mut self) -> Option<String> {
        let mut known = self.known_addresses();
        let configured = self.config.master_address.clone().filter(|address| is_dialable(address));
        if let Some(configured) = configured {
            known.retain(|address| *address != configured);
            if self.config.planted.first_member_never_dialled() && !known.is_empty() {
                known.remove(0);
            }
            known.insert(0, configured);
        }
        let Role::Replica(replica) = &mut self.role else { return None };
        if let Some(hint) = replica.hint.take().filter(|hint| is_dialable(hint)) {
            return Some(hint);
        }
        let attempt = usize::try_from(replica.attempts).unwrap_or(0);
        replica.attempts = replica.attempts.saturating_add(1);
        known.get(attempt.checked_rem(known.len())?).cloned()
    }

    /// The next dial comes after a backoff with jitter, doubled after each round of all addresses.
    pub(in crate::node) fn seek_later(&mut self) {
        let rounds = {
            let known = u32::try_from(self.known_addresses().len().max(1)).unwrap_or(1);
            let Role::Replica(replica) = &self.role else { return };
            replica.attempts.checked_div(known).unwrap_or(0).min(16)
        };
        let cap = self.config.reconnect_delay_max;
        let delay = RECONNECT_DELAY_MIN.saturating_mul(1 << rounds).min(cap);
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(2);
        let jittered = micros / 2 + self.draw() % (micros / 2);
        let until = self.now.mono + Duration::from_micros(jittered);
        let Role::Replica(replica) = &mut self.role else { return };
        let again = self.config.auto_reconnect || replica.last_leader.is_none();
        replica.seek = Seek::Waiting { until: again.then_some(until) };
    }

    /// Whether this replica has dialled all that it knows, over and over, since entries last flowed.
    pub(in crate::node) fn looks_in_vain(&self, replica: &Replica) -> bool {
        let attempts = usize::try_from(replica.attempts).unwrap_or(usize::MAX);
        attempts >= ROUNDS_UNTIL_IN_VAIN * self.known_addresses().len().max(1)
    }

    /// A master calls. It is dialled; where that has failed, where nobody or another node answers, or where it says to be
    /// nowhere, it is followed on the link that it has made: one way to connect two nodes is enough. So it is while a dial has had no
    /// answer for a quarter of an election timeout: the master has no longer than one, and silence ends a link later than that.
    pub(in crate::node) fn called_by(&mut self, link: LinkId, leader: &PeerState, out: &mut Output) -> bool {
        let address = leader.replication.as_ref().map(address_text).filter(|address| is_dialable(address));
        let (now, patience) = (self.now.mono, self.election_timeout() / 4);
        let Role::Replica(replica) = &mut self.role else { return false };
        if replica.waits_on(link) {
            // It has this node's question, and answers that.
            return false;
        }
        let in_vain = replica.has_dialled_for(patience, now)
            || address.as_ref().is_none_or(|address| replica.in_vain.contains(address));
        if replica.callers.len() < IN_VAIN_MAX {
            replica.callers.extend(address.map(|address| (address, leader.node)));
        }
        let seeks = !replica.is_following() && self.repair.is_none() && !self.flags.stopping;
        if !in_vain || !seeks || self.config.planted.only_own_dials_asked() {
            self.hint_at(leader);
            return false;
        }
        self.leave_master(out);
        if let Role::Replica(replica) = &mut self.role {
            replica.seek = Seek::Dialling { link, since: now };
        }
        self.say_hello(link, Intent::Follow, out);
        true
    }

    /// No connection could be made to this address, or nobody has said a word on it.
    pub(in crate::node) fn dialled_in_vain(&mut self, address: String) {
        let Role::Replica(replica) = &mut self.role else { return };
        if replica.callers.contains_key(&address) {
            replica.in_vain.insert(address);
        }
    }

    /// A node answers at an address where a master says to be. If it is another one, or this one, that master is not to be found
    /// there: it tells a wrong address, or stands behind what others are reached through.
    pub(in crate::node) fn answered_at(&mut self, address: Option<&str>, node: NodeId) {
        let Role::Replica(replica) = &mut self.role else { return };
        let called = address.and_then(|address| replica.callers.get_key_value(address));
        let Some((address, _)) = called.filter(|(_, caller)| **caller != node) else { return };
        if !self.config.planted.wrong_master_address_believed() {
            replica.in_vain.insert(address.clone());
        }
    }

    /// Somebody told us of a master.
    pub(in crate::node) fn hint_at(&mut self, leader: &PeerState) {
        match leader.replication.as_ref().map(address_text) {
            Some(address) => self.seek_at(address, self.now.mono),
            None => self.seek_now(),
        }
    }

    /// The link to the master, or to who might know it, is gone.
    pub(in crate::node) fn lose_source(&mut self, link: LinkId, why: &'static str, out: &mut Output) {
        let Role::Replica(replica) = &mut self.role else { return };
        if replica.link() != Some(link) {
            return;
        }
        let old = core::mem::replace(&mut replica.seek, Seek::Waiting { until: None });
        let followed = match old {
            Seek::Following(following) => {
                let older = core::mem::replace(&mut replica.broken, following.into_broken());
                self.discarded.syncing(older);
                true
            }
            Seek::Waiting { .. } | Seek::Dialling { .. } => false,
        };
        if followed {
            replica.attempts = 0;
            self.freshness.reset();
            self.tell(why);
            out.events.push(Event::LinkLost { link, why });
        }
        self.seek_later();
        self.hurry_suspect(link);
    }

    /// Whom we dialled has answered.
    pub(in crate::node) fn on_source(&mut self, link: LinkId, welcome: Welcome, out: &mut Output) {
        let dialled = self.links.dialled(link);
        self.answered_at(dialled.as_deref(), welcome.standing.node);
        self.clear_suspect(link, &welcome.standing);
        let Role::Replica(replica) = &mut self.role else { return };
        if replica.link() != Some(link) {
            return;
        }
        match welcome.verdict {
            SyncPlan::Continue { .. } | SyncPlan::Truncate { .. } | SyncPlan::Snapshot { .. } => {
                self.consider(link, welcome, out);
            }
            SyncPlan::Redirect(leader) => {
                replica.hint = Some(leader.replication);
                replica.attempts = replica.attempts.saturating_add(1);
                self.turn_away(link, out);
            }
            SyncPlan::Noted(_) => self.turn_away(link, out),
            SyncPlan::Refused(reason) => {
                match reason {
                    Reason::NoMaster => {}
                    _ => {
                        replica.refused = Some(reason);
                        self.tell_refused(Some(welcome.standing.node), true, reason, out);
                    }
                }
                self.turn_away(link, out);
            }
        }
    }

    fn turn_away(&mut self, link: LinkId, out: &mut Output) {
        self.lose_source(link, "it is not a master", out);
        self.close(link, out);
    }

    /// A master would have us. INV-8: not if its log ends before what is committed here and no promotion explains
    /// that; not in an epoch below our promise.
    fn consider(&mut self, link: LinkId, welcome: Welcome, out: &mut Output) {
        let source = &welcome.standing;
        if !source.leads || source.promised < self.promised {
            self.turn_away(link, out);
            return;
        }
        if !self.may_follow(source) {
            let at_odds = self.is_at_odds_with(source, out);
            let reason = if at_odds { Reason::AtOdds } else { Reason::SourceBehind };
            self.refuse(link, Some(source.node), reason, out);
            return;
        }
        if self.would_lose_shared(&welcome.verdict, self.line().shared_with(&self.line_of(source))) {
            self.lose_source(link, "its snapshot ends before what both hold", out);
            self.close(link, out);
            return;
        }
        self.follow(link, welcome, out);
    }

    /// Whether a node's line may take the place of ours beyond what both share.
    pub(in crate::node) fn may_follow(&self, source: &PeerState) -> bool {
        self.line().may_give_way_to(&self.line_of(source))
    }

    fn follow(&mut self, link: LinkId, welcome: Welcome, out: &mut Output) {
        let Welcome { standing: source, verdict, reached_at, .. } = welcome;
        if matches!(verdict, SyncPlan::Continue { after } if after != self.log.last()) {
            self.drop_garbage(link, "it goes on from where this log does not end", out);
            return;
        }
        // Who has voted for a master has promised its epoch, and heard nothing of its log yet.
        let known = self.ballot.has_heard(source.promised);
        self.promise(&source);
        let now = self.now.mono;
        let leader = leader_of(&source);
        // A state that is replaced by an older one was wrong, or is ahead of a master whose own disk is slow.
        let older = matches!(verdict, SyncPlan::Snapshot { position, .. } if position.index < self.applied.index);
        if older && !self.needs_snapshot {
            self.need_snapshot();
        }
        let after = self.common_with(&source);
        let save = self.to_be_saved(&verdict, after, &source);
        // Both ends name the same address, so nobody stands between them.
        let direct = reached_at.filter(|at| link.is_dialled() && self.links.reached(link) == Some(at));
        let mode = if save.is_some() { Mode::Repairing } else { self.mode_after(&verdict) };
        self.keep_contacts();
        let Role::Replica(replica) = &mut self.role else { return };
        let again = replica.is_following();
        let mut changed = false;
        if !again && replica.last_leader.is_some() {
            replica.reconnects += 1;
        }
        if replica.last_leader.as_ref().is_none_or(|last| last.node != leader.node) {
            changed = true;
        }
        replica.last_leader = Some(leader.clone());
        replica.last_contact = Some(now);
        replica.attempts = 0;
        replica.refused = None;
        self.dials.clear();
        replica.callers.clear();
        replica.in_vain.clear();
        let counts = (mode.is_streaming(), mode.is_syncing());
        replica.suspect = None;
        let following = Following::new(link, &source, direct, after.index, mode);
        let heartbeat = following.heartbeat;
        if let Seek::Following(older) = core::mem::replace(&mut replica.seek, Seek::Following(following)) {
            self.discarded.syncing(older.into_broken());
        }
        self.agree_on_heartbeat(link, heartbeat, out);
        if changed {
            self.note_change(source.node, source.process);
        }
        self.refusals.end(source.node);
        self.redraw_patience();
        self.hear_master(source.promised, 0);
        if known {
            self.lag_marks.hear(source.last.index, now);
        } else {
            self.lag_marks.rebase(source.last.index, now);
            if !self.config.planted.proof_outlives_mastership() {
                self.freshness.forget();
            }
        }
        self.counters.partial_syncs += u64::from(counts.0);
        self.counters.full_syncs += u64::from(counts.1);
        self.tell("a master has been found");
        if !again {
            out.events.push(Event::Following { leader: leader.node, epoch: source.promised, after });
        }
        if let Some((common, upto)) = save {
            self.begin_rollback(common, upto, out);
        }
    }

    /// The master's heartbeats count on the link to it: by shorter ones of its own a replica would end it over and over.
    fn agree_on_heartbeat(&mut self, link: LinkId, theirs: Duration, out: &mut Output) {
        let ours = self.config.heartbeat_interval;
        if !self.config.planted.own_heartbeat_counts() {
            self.links.agree(link, theirs);
        }
        if ours != theirs && self.told_heartbeat != Some(theirs) {
            self.told_heartbeat = Some(theirs);
            out.events.push(Event::HeartbeatsDiffer { ours, theirs });
        }
    }

    /// INV-2: whether a snapshot would take entries off this disk that both hold and that were acked: those after it that are
    /// not at hand to be written again behind it. The source will have a newer one soon.
    fn would_lose_shared(&self, verdict: &SyncPlan, shared: Index) -> bool {
        match verdict {
            SyncPlan::Snapshot { position, .. } => {
                position.index < shared && position.index < self.log.base().index
            }
            SyncPlan::Continue { .. }
            | SyncPlan::Truncate { .. }
            | SyncPlan::Redirect(_)
            | SyncPlan::Noted(_)
            | SyncPlan::Refused(_) => false,
        }
    }

    /// INV-10: what the source lacks and no rollback file holds yet: everything after the first, up to the second. A log that
    /// a snapshot is to replace may hold such entries too: after a rollback that another source began, or if one of both has
    /// forgotten what they share.
    fn to_be_saved(&self, verdict: &SyncPlan, after: Position, source: &PeerState) -> Option<(Position, Index)> {
        let last = self.log.last().index;
        match verdict {
            SyncPlan::Truncate { .. } => Some((after, last)),
            SyncPlan::Snapshot { .. } => {
                let shared = self.line().shared_with(&self.line_of(source));
                let upto = self.rolled_back_after.unwrap_or(last);
                let epoch = self.log.epoch_at(shared).unwrap_or(after.epoch);
                (shared < upto).then_some((Position { epoch, index: shared }, upto))
            }
            SyncPlan::Continue { .. } | SyncPlan::Redirect(_) | SyncPlan::Noted(_) | SyncPlan::Refused(_) => None,
        }
    }

    /// Takes the source's cluster and epoch for our own; acks wait until that is on disk (INV-6).
    fn promise(&mut self, source: &PeerState) {
        if self.cluster == source.cluster && self.promised == source.promised {
            return;
        }
        assert!(source.promised >= self.promised, "INV-7: the promised epoch never goes back");
        self.cluster = source.cluster;
        self.promised = source.promised;
        self.record_hard_state();
    }

    fn mode_after(&mut self, verdict: &SyncPlan) -> Mode {
        let Role::Replica(replica) = &mut self.role else { return Mode::Repairing };
        match verdict {
            SyncPlan::Continue { .. } => {
                // It needs none any more.
                self.discarded.syncing(replica.broken.take());
                Mode::Streaming(WaitingEntries::default())
            }
            SyncPlan::Snapshot { position, next_chunk } => {
                let (syncing, useless) = Syncing::go_on(replica.broken.take(), *position, *next_chunk);
                self.discarded.syncing(useless);
                Mode::Syncing(syncing)
            }
            SyncPlan::Truncate { .. } | SyncPlan::Redirect(_) | SyncPlan::Noted(_) | SyncPlan::Refused(_) => {
                Mode::Repairing
            }
        }
    }

    /// Says hello once more on the link that stands, after a repair.
    pub(in crate::node) fn greet_again(&mut self, out: &mut Output) {
        let Role::Replica(replica) = &self.role else { return };
        if let Some(link) = replica.following().map(|following| following.link) {
            self.say_hello(link, Intent::Follow, out);
        }
    }
}
