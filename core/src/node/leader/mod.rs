//! A mastership: its streams, what each replica is known to hold, and who is a member.

pub(in crate::node) mod auto_handover;
pub(in crate::node) mod bootstrap;
pub(in crate::node) mod dual_leaders;
pub(in crate::node) mod handover;
pub(in crate::node) mod lease;
pub(in crate::node) mod membership;
pub(in crate::node) mod pace;
pub(in crate::node) mod promotion;
pub(in crate::node) mod replication;
pub(in crate::node) mod sweeping;
pub(in crate::node) mod window;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::{MEMBERS_MAX, Member, StartKind};
use crate::config::Durability;
use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::{LinkId, NodeId, RequestId};
use crate::log::Log;
use crate::message::{Ack, Hello, Intent, Leader, PeerState, Reason, SnapshotAck, SyncPlan, Welcome};
use crate::node::leader::handover::Handover;
use crate::node::leader::pace::Pace;
use crate::node::leader::window::Window;
use crate::node::peers::hello::address_text;
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::{Output, Promoted, Reply};
use crate::planted::Planted;
use crate::position::{Epoch, Index, Position};
use crate::quorum;
use crate::snapshot::SnapshotWriter;
use crate::status::DiskState;
use crate::time::Time;

/// A mastership.
#[derive(Clone, Debug)]
pub(in crate::node) struct Master {
    pub(in crate::node) epoch: Epoch,
    pub(in crate::node) kind: StartKind,
    /// Where its `EpochStart` stands; none until the promise of the epoch is on disk.
    pub(in crate::node) start: Option<Index>,
    /// The promotion that began it, until it is answered.
    pub(in crate::node) promoting: Option<Promoting>,
    /// Replicas that are connected.
    pub(in crate::node) streams: BTreeMap<LinkId, ReplicaStream>,
    /// What every replica was last known to hold, connected or not.
    pub(in crate::node) progress: BTreeMap<NodeId, Progress>,
    /// Links to absent members, to notice a fork.
    pub(in crate::node) probing: BTreeSet<LinkId>,
    pub(in crate::node) next_probe: Time,
    /// Turns in which it has sent appends.
    pub(in crate::node) rounds: u64,
    /// Somebody waits for the next round.
    pub(in crate::node) round_wanted: bool,
    /// When the cluster was armed by this master, until its token leaves.
    pub(in crate::node) armed_at: Option<Time>,
    /// Rounds up to this one give no lease: the newest that a token has named.
    pub(in crate::node) lease_floor: u64,
    /// When it last held its lease, or began.
    pub(in crate::node) led_at: Time,
    /// A switchover that is under way.
    pub(in crate::node) handover: Option<Handover>,
    /// When it next looks for somebody to hand over to; none while it may lead itself.
    pub(in crate::node) relief_due: Option<Time>,
    /// It has tried to hand over since its disk hangs.
    pub(in crate::node) relief_tried: bool,
    /// It has priority 0 and leads only until another can; see [`crate::node::election::last_resort`].
    pub(in crate::node) stands_in: bool,
    /// Where this master found or wrote a membership that disarms.
    pub(in crate::node) disarms: Option<Index>,
    /// The member that an operator wants to vote in the place of one that is gone.
    pub(in crate::node) named_voter: Option<NodeId>,
}

/// A promotion that waits for its first commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Promoting {
    pub(in crate::node) request: Option<RequestId>,
    pub(in crate::node) took_over: Position,
    pub(in crate::node) loss: Option<(Index, Index)>,
    /// Members that did not say what they hold.
    pub(in crate::node) unreached: Vec<String>,
}

impl Promoting {
    /// Of a promotion that the voters have granted, or that leaves nothing behind.
    pub(in crate::node) fn without_loss(request: RequestId, took_over: Position) -> Self {
        Self { request: Some(request), took_over, loss: None, unreached: Vec::new() }
    }
}

/// One replica, connected.
#[derive(Clone, Debug)]
pub(in crate::node) struct ReplicaStream {
    pub(in crate::node) node: NodeId,
    /// Its process.
    pub(in crate::node) process: u64,
    pub(in crate::node) member: Member,
    /// Whether it may vote.
    pub(in crate::node) votes: bool,
    pub(in crate::node) mode: StreamMode,
    /// The last commit index that it was told.
    pub(in crate::node) committed_sent: Index,
    pub(in crate::node) sent_at: Time,
    /// Its own clock, as of its newest ack.
    pub(in crate::node) clock: u64,
}

impl ReplicaStream {
    /// When the rest of a transfer ends, in which nothing is on its way to the replica.
    pub(in crate::node) fn rested_at(&self, last: Index) -> Option<Time> {
        match &self.mode {
            StreamMode::Snapshot { writer, stored, pace } if writer.next_chunk() <= *stored => pace.rest(last),
            StreamMode::Snapshot { .. } | StreamMode::Probe | StreamMode::Stream { .. } => None,
        }
    }
}

/// What a stream is doing.
#[derive(Clone, Debug)]
pub(in crate::node) enum StreamMode {
    /// The replica saves what its log has beyond ours, and will say hello again.
    Probe,
    /// Entries flow, as far as the window lets them; the next one to go is `next`.
    Stream { window: Window, next: Index },
    /// Chunks flow; `stored` have arrived.
    Snapshot { writer: SnapshotWriter, stored: u32, pace: Pace },
}

/// What a replica is known to hold, in this epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Progress {
    /// What it calls durable, and what it means by that.
    pub(in crate::node) durable: Index,
    pub(in crate::node) durability: Durability,
    pub(in crate::node) applied: Index,
    pub(in crate::node) heard: Option<Time>,
    /// The newest round that it has answered, when that was sent, and for how long it keeps its word since.
    pub(in crate::node) round: u64,
    pub(in crate::node) sent: Time,
    pub(in crate::node) word: Duration,
    pub(in crate::node) disk: DiskState,
    /// Up to where it holds the log in bytes, as counted here when it said so: its entries may leave memory afterwards.
    pub(in crate::node) offset: u64,
    /// How far its wall clock was ahead of this node's.
    pub(in crate::node) wall_ahead_ms: Option<i64>,
}

impl Progress {
    /// What it holds at least so well.
    fn held(&self, least: Durability) -> Index {
        if self.durability >= least { self.durable } else { Index::ZERO }
    }

    /// It says to hold the log up to `durable`. Where that is not at hand any more its bytes are not counted anew, so that what it
    /// lacks is never understated (INV-11).
    fn hold(&mut self, durable: Index, log: &Log) {
        self.durable = self.durable.max(durable);
        if self.durable >= log.base().index {
            self.offset = log.offset_of(self.durable);
        }
    }

    /// Its log ends at `last`: it may have lost what it had said to hold. Where that is not at hand any more, all of the log
    /// may be what it lacks.
    fn fall_back(&mut self, last: Index, log: &Log) {
        if last < self.durable {
            self.durable = last;
            self.offset = if last >= log.base().index { log.offset_of(last) } else { 0 };
        }
    }
}

impl Master {
    pub(in crate::node) fn new(epoch: Epoch, kind: StartKind, promoting: Option<Promoting>, now: Time) -> Self {
        Self {
            epoch,
            kind,
            start: None,
            promoting,
            streams: BTreeMap::new(),
            progress: BTreeMap::new(),
            probing: BTreeSet::new(),
            next_probe: now,
            rounds: 0,
            round_wanted: false,
            armed_at: None,
            lease_floor: 0,
            led_at: now,
            handover: None,
            relief_due: None,
            relief_tried: false,
            stands_in: false,
            disarms: None,
            named_voter: None,
        }
    }

    /// How far the disks of a majority of `voters` hold the log. A voter that does not sync what it acks does not count, and soon
    /// is none (see `unfit_voter`).
    pub(in crate::node) fn commit_point(
        &self,
        voters: &[NodeId],
        me: NodeId,
        durable: Index,
        planted: Planted,
    ) -> Index {
        let least = if planted.unsynced_acks_count() { Durability::Memory } else { Durability::Synced };
        let held = |node| self.progress.get(&node).map_or(Index::ZERO, |progress| progress.held(least));
        quorum::commit_point(voters, |node| if node == me { durable } else { held(node) })
    }

    /// The last index that `count` replicas hold at least so well, besides the master.
    pub(in crate::node) fn held_by(&self, count: u32, least: Durability) -> Index {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let held = self.progress.values().map(|progress| progress.held(least));
        quorum::held_by(count, held).unwrap_or(Index::ZERO)
    }

    /// How many replicas are known to hold `index` at least so well.
    pub(in crate::node) fn copies_of(&self, index: Index, least: Durability) -> u32 {
        let copies = self.progress.values().filter(|progress| progress.held(least) >= index).count();
        u32::try_from(copies).unwrap_or(u32::MAX)
    }

    /// Replicas that are connected.
    pub(in crate::node) fn connected(&self) -> u32 {
        u32::try_from(self.streams.len()).unwrap_or(u32::MAX)
    }

    pub(in crate::node) fn durable_of(&self, node: NodeId) -> Index {
        self.progress.get(&node).map_or(Index::ZERO, |progress| progress.durable)
    }

    pub(in crate::node) fn stream_of(&self, node: NodeId) -> Option<LinkId> {
        self.streams.iter().find(|(_, stream)| stream.node == node).map(|(link, _)| *link)
    }
}

impl Node {
    pub(in crate::node) fn tend_mastery(&mut self, out: &mut Output) {
        self.begin_term(out);
        self.tend_lease(out);
        self.tend_relief(out);
        if !self.is_settled() {
            return;
        }
        self.release_held(out);
        self.probe_absent(out);
        if self.is_serving() {
            self.answer_promotion(out);
            self.tend_membership();
        }
        self.tend_handover(out);
    }

    /// The first entry of this mastership, if it serves.
    pub(in crate::node) fn leads_since(&self) -> Option<Position> {
        match &self.role {
            Role::Master(master) if self.is_serving() => {
                master.start.map(|index| Position { epoch: master.epoch, index })
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) | Role::Replica(_) => None,
        }
    }

    /// Tells those who were asked for their votes that this node leads.
    pub(in crate::node) fn announce(&mut self, out: &mut Output) {
        let armed = self.armed().is_some();
        let Role::Master(master) = &mut self.role else { return };
        master.next_probe = self.now.mono;
        // Those that have called are told on their own links: there may be no other way to them.
        let callers = self.links.peers().into_iter().map(|(link, _)| link);
        let callers = callers.filter(|link| armed && !link.is_dialled());
        let links = master.probing.iter().copied().filter(|link| self.links.peer_host(*link).is_some());
        let links: Vec<LinkId> = links.chain(callers).filter(|link| !master.streams.contains_key(link)).collect();
        for link in links {
            self.say_hello(link, Intent::Ask, out);
        }
    }

    fn answer_promotion(&mut self, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        let (Some(promoting), Some(index)) = (master.promoting.take(), master.start) else { return };
        if let Some(id) = promoting.request {
            let position = Position { epoch: master.epoch, index };
            let Promoting { took_over, loss: possible_loss, unreached, .. } = promoting;
            let promoted = Promoted { position, took_over, possible_loss, unreached };
            out.replies.push((id, Ok(Reply::Promoted(promoted))));
        }
    }

    pub(in crate::node) fn hello_to_master(&mut self, link: LinkId, hello: Hello, out: &mut Output) {
        if !self.is_settled() {
            self.hold_or_note(link, hello, out);
            return;
        }
        if self.on_rival(&hello.standing, out) {
            self.on_hello(link, hello, out);
            return;
        }
        match hello.intent {
            Intent::Ask => {
                let me = self.leader().cloned();
                self.welcome(link, SyncPlan::Noted(me), out);
            }
            Intent::Follow if self.flags.stopping => {
                self.decline(link, &hello.standing, Reason::ShuttingDown, out);
            }
            Intent::Follow => self.admit(link, &hello, out),
        }
    }

    /// Takes a replica on, or back.
    fn admit(&mut self, link: LinkId, hello: &Hello, out: &mut Output) {
        let node = hello.standing.node;
        let (_, membership) = self.log.membership();
        if membership.get(node).is_none() && membership.members.len() >= MEMBERS_MAX {
            self.decline(link, &hello.standing, Reason::Full, out);
            return;
        }
        if self.is_at_odds_with(&hello.standing, out) {
            self.decline(link, &hello.standing, Reason::AtOdds, out);
            return;
        }
        self.drop_older_stream(&hello.standing, link, out);
        let verdict = self.verdict(hello);
        let Some(mode) = self.mode_for(&verdict) else { return };
        let known = matches!(&self.role, Role::Master(master) if master.streams.contains_key(&link));
        self.count_sync(&verdict, hello, known, out);
        let now = self.now.mono;
        let stream = ReplicaStream {
            node,
            process: hello.standing.process,
            member: member_of(&hello.standing),
            votes: hello.standing.votes,
            mode,
            committed_sent: Index::ZERO,
            sent_at: now,
            clock: 0,
        };
        if let Role::Master(master) = &mut self.role {
            let older = master.streams.insert(link, stream);
            older.into_iter().for_each(|older| self.discarded.stream(older.mode));
            // It may have been asked for its vote on this link, which is more than a look at it from now on.
            master.probing.remove(&link);
            let progress = master.progress.entry(node).or_default();
            progress.heard = Some(now);
            progress.durability = hello.standing.durability;
            progress.fall_back(hello.standing.last.index, &self.log);
        }
        self.welcome(link, verdict, out);
    }

    /// A newer connection of the same process replaces the older one.
    fn drop_older_stream(&mut self, peer: &PeerState, link: LinkId, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        let Some(older) = master.stream_of(peer.node).filter(|older| *older != link) else { return };
        let dropped = master.streams.remove(&older);
        assert!(
            dropped.as_ref().is_none_or(|stream| stream.process == peer.process),
            "INV-16: a process of {} takes the place of another that may live",
            peer.node
        );
        dropped.into_iter().for_each(|dropped| self.discarded.stream(dropped.mode));
        self.close(older, out);
    }

    fn mode_for(&mut self, verdict: &SyncPlan) -> Option<StreamMode> {
        match verdict {
            SyncPlan::Continue { after } => {
                Some(StreamMode::Stream { window: Window::default(), next: after.index.next() })
            }
            SyncPlan::Truncate { .. } => Some(StreamMode::Probe),
            SyncPlan::Snapshot { position, next_chunk } => {
                if *next_chunk > 0 {
                    self.coverage.mark(Mark::SnapshotResumed);
                }
                let writer = self.transfer(*position, *next_chunk);
                Some(StreamMode::Snapshot { writer, stored: *next_chunk, pace: Pace::default() })
            }
            SyncPlan::Redirect(_) | SyncPlan::Noted(_) | SyncPlan::Refused(_) => None,
        }
    }

    fn count_sync(&mut self, verdict: &SyncPlan, hello: &Hello, known: bool, out: &mut Output) {
        let full_sync = match verdict {
            SyncPlan::Continue { .. } => false,
            SyncPlan::Snapshot { .. } => true,
            SyncPlan::Truncate { .. } | SyncPlan::Redirect(_) | SyncPlan::Noted(_) | SyncPlan::Refused(_) => {
                return;
            }
        };
        if full_sync {
            self.counters.full_syncs += 1;
        } else {
            self.counters.partial_syncs += 1;
        }
        if !known || full_sync {
            let PeerState { node, name, .. } = &hello.standing;
            self.refusals.end(*node);
            out.events.push(Event::ReplicaJoined { node: *node, name: name.clone(), full_sync });
        }
    }

    pub(in crate::node) fn on_ack(&mut self, link: LinkId, ack: Ack, out: &mut Output) {
        let last = self.log.last().index;
        let now = self.now.mono;
        let ahead_ms = (ack.sent() > 0).then(|| self.member_ahead_ms(ack.wall, Time(ack.sent())));
        let Role::Master(master) = &mut self.role else { return };
        let rounds = master.rounds;
        let Some(stream) = master.streams.get_mut(&link) else { return };
        if ack.epoch() != master.epoch {
            return;
        }
        if ack.durable() > last || ack.applied() > last {
            self.drop_garbage(link, "it acked entries that were never written", out);
            return;
        }
        stream.clock = stream.clock.max(ack.clock);
        let node = stream.node;
        let streams = match stream.mode {
            StreamMode::Stream { .. } => true,
            StreamMode::Probe | StreamMode::Snapshot { .. } => false,
        };
        let progress = master.progress.entry(node).or_default();
        progress.hold(ack.durable(), &self.log);
        progress.applied = ack.applied();
        progress.heard = Some(now);
        progress.disk = ack.disk;
        progress.wall_ahead_ms = ahead_ms.or(progress.wall_ahead_ms);
        if ack.round() >= progress.round && ack.round() <= rounds {
            progress.round = ack.round();
            let late = self.config.planted.lease_from_answer();
            progress.sent = if late { now } else { Time(ack.sent()).min(now) };
            progress.word = Duration::from_millis(u64::from(ack.word_ms()));
        }
        self.lives_in_round(link, ack.round(), out);
        if streams {
            self.compare_state(link, node, ack.applied(), ack.hash(), out);
        }
    }

    /// A replica has nothing to ack, since its promise is not on its disk yet. It is there all the same.
    pub(in crate::node) fn on_alive(&mut self, link: LinkId, disk: DiskState) {
        let now = self.now.mono;
        let Role::Master(master) = &mut self.role else { return };
        let Some(stream) = master.streams.get(&link) else { return };
        let progress = master.progress.entry(stream.node).or_default();
        progress.heard = Some(now);
        progress.disk = disk;
    }

    pub(in crate::node) fn on_snapshot_ack(&mut self, link: LinkId, stored: SnapshotAck, out: &mut Output) {
        let now = self.now.mono;
        let last = self.log.last().index;
        let Role::Master(master) = &mut self.role else { return };
        let Some(stream) = master.streams.get_mut(&link) else { return };
        let StreamMode::Snapshot { writer, stored: count, pace } = &mut stream.mode else { return };
        if stored.epoch != master.epoch || stored.position() != writer.position() {
            return;
        }
        stream.clock = stream.clock.max(stored.clock);
        // Nobody has stored more than was sent: the count would never stop the transfer again.
        *count = stored.next_chunk.min(writer.next_chunk()).max(*count);
        pace.stored(now);
        let progress = master.progress.entry(stream.node).or_default();
        progress.heard = Some(now);
        if !stored.durable() {
            return;
        }
        let index = stored.position().index;
        if index > last {
            self.drop_garbage(link, "it stored a snapshot that was never sent", out);
            return;
        }
        progress.hold(index, &self.log);
        progress.applied = index;
        let streams = StreamMode::Stream { window: Window::default(), next: index.next() };
        self.discarded.stream(core::mem::replace(&mut stream.mode, streams));
        stream.committed_sent = Index::ZERO;
    }

    /// A link is gone.
    pub(in crate::node) fn lose_stream(&mut self, link: LinkId, why: &'static str, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        master.probing.remove(&link);
        if let Some(stream) = master.streams.remove(&link) {
            // Who refuses this master never joined it.
            if !self.refusals.refuses(stream.node) {
                out.events.push(Event::ReplicaLeft { node: stream.node, name: stream.member.name, why });
            }
            self.discarded.stream(stream.mode);
        }
    }

    /// Whether this master dials members at all. Where it does not, its deadline must not be waited for: it would have
    /// come long ago, and for ever.
    pub(in crate::node) fn probes_absent(&self) -> bool {
        !self.is_standalone() && !self.flags.stopping
    }

    /// Dials members that are not connected, now and then: should one of them lead too, both must know.
    fn probe_absent(&mut self, out: &mut Output) {
        let now = self.now.mono;
        // Twice while an emptied master waits, so that it joins instead of founding a cluster of its own.
        let interval = self.config.reconnect_delay_max.min(self.config.election_timeout / 2);
        let Role::Master(master) = &self.role else { return };
        if now < master.next_probe || !self.probes_absent() {
            return;
        }
        let present: BTreeSet<NodeId> = master.streams.values().map(|stream| stream.node).collect();
        let busy: Vec<LinkId> = master.probing.iter().copied().collect();
        for link in busy {
            self.close(link, out);
        }
        let absent: Vec<String> = crate::node::others(self.log.membership().1, self.id)
            .into_iter()
            .filter(|member| !present.contains(&member.id) && is_dialable(&member.replication))
            .map(|member| member.replication)
            .collect();
        // Those that are absent may have moved: where this node would look for a master is one more place to look.
        let elsewhere = self.config.master_address.iter().cloned().chain(self.left_address());
        let elsewhere = elsewhere.filter(|address| is_dialable(address) && !absent.contains(address));
        let elsewhere: Vec<String> = elsewhere.filter(|_| !absent.is_empty()).collect();
        let absent: Vec<String> = elsewhere.into_iter().chain(absent).collect();
        let mut probing = BTreeSet::new();
        for address in absent {
            probing.extend(self.dial(address, out));
        }
        if let Role::Master(master) = &mut self.role {
            master.probing = probing;
            master.next_probe = now + interval;
        }
    }

    pub(in crate::node) fn on_probe_answer(&mut self, link: LinkId, welcome: &Welcome, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        if !master.probing.remove(&link) {
            return;
        }
        if matches!(&welcome.verdict, SyncPlan::Noted(Some(leader)) if leader.node == self.id) {
            // It follows this node, and not this process: whether the other one lives is being found out there.
            master.probing.insert(link);
            return;
        }
        self.close(link, out);
        self.on_rival(&welcome.standing, out);
    }

    /// The master that this node knows, itself included.
    pub(in crate::node) fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Master(_) => self.is_serving().then_some(&self.as_leader),
            Role::Replica(replica) => replica.leader(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) => None,
        }
    }
}

/// The answer to who promotes the master.
pub(in crate::node) fn promoted_already(position: Position) -> Promoted {
    let took_over = Position { index: position.index.prev(), ..position };
    Promoted { position, took_over, possible_loss: None, unreached: Vec::new() }
}

fn member_of(standing: &PeerState) -> Member {
    Member {
        id: standing.node,
        name: standing.name.clone(),
        replication: standing.replication.as_ref().map(address_text).unwrap_or_default(),
        http: address_text(&standing.http),
        voter: false,
        priority: standing.priority,
        priority_set: None,
    }
}
