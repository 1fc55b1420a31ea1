//! One node: the state machine behind the one door, [`Node::turn`].
//!
//! A turn takes what happened, input by input, and then settles: commits, applies, answers, replicates, acks, dials. Each
//! room below holds one part of that; none of them is a second way in.

mod check;
mod clients;
mod digest;
mod discarding;
mod disk;
mod election;
mod follower;
mod leader;
mod peers;
mod replicated;
mod snapshots;
mod status;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::command::{Member, Membership};
use crate::config::{Config, RoleHint};
use crate::coverage::Coverage;
use crate::history::History;
use crate::ids::{ClusterId, LinkId, NodeId};
use crate::input::{Input, LinkChange};
use crate::log::{Answered, Log};
use crate::message::{Hello, Leader, Message, Welcome};
use crate::output::Output;
use crate::position::{Epoch, Index, Position};
use crate::recovered::Recovered;
use crate::status::{Counters, State};
use crate::store::Store;
use crate::time::{Now, Time, WallMs};
use crate::view::{Outline, View};
use crate::wal::HardState;

use clients::held::HeldWrites;
use clients::pending::{Reads, Waiters};
use clients::read_index::Linearizing;
use discarding::Discarded;
use disk::hanging::Hands;
use disk::space::Room;
use election::candidate::Candidate;
use election::pause::Pausing;
use election::voter::Ballot;
use follower::discovery::Replica;
use follower::snapshot_install::Repair;
use leader::Master;
use leader::bootstrap::{Asking, Founding};
use leader::handover::Switching;
use leader::sweeping::Sweeping;
use peers::Links;
use peers::identity::Contest;
use peers::own_address::OwnAddress;
use replicated::append::Draft;
use replicated::cut_on_disk::CutOnDisk;
use replicated::durable::OnDisk;
use replicated::log_time::Timekeeping;
use snapshots::Snapshots;
use status::lag::{Marks, Proofs};

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    config: Arc<Config>,
    id: NodeId,
    own_address: OwnAddress,
    /// This node as others are told of it.
    me: Member,
    /// This node as the master that it may be.
    as_leader: Leader,
    cluster: Option<ClusterId>,
    /// The highest epoch promised; on disk once `durable` says so.
    promised: Epoch,
    /// This process, as peers tell it from an earlier or later one of the same node.
    process: u64,
    rng: ChaCha8Rng,
    now: Now,
    log: Log,
    store: Store,
    applied: Position,
    committed: Index,
    durable: OnDisk,
    hands: Hands,
    draft: Draft,
    role: Role,
    ballot: Ballot,
    odds: leader::dual_leaders::Odds,
    refusals: peers::refusals::Refusals,
    pausing: Option<Pausing>,
    /// When masters changed of late.
    changes: Vec<leader::lease::Change>,
    switching: Switching,
    /// Writes that wait for the end of a switchover, or for room in the log.
    held_writes: HeldWrites,
    links: Links,
    /// Dials that came to nothing since a master was last followed.
    dials: peers::dials::Dials,
    /// Hellos that wait until it is clear what this node is.
    held: BTreeMap<LinkId, Hello>,
    /// Hellos that wait until it is clear whether an earlier process of the same node lives.
    contests: BTreeMap<LinkId, Contest>,
    /// Where an earlier process of this node may live.
    looks_for_first: Option<LinkId>,
    /// What becomes of a log or store that the master's does not agree with; outlives the link.
    repair: Option<Repair>,
    /// What the store holds no log explains any more: only a snapshot helps.
    needs_snapshot: bool,
    /// Entries after this one are in rollback files, though a needs_snapshot log still holds them; none if none are.
    rolled_back_after: Option<Index>,
    /// Where the log on this disk was cut while the store still holds what came after; none if it was not cut.
    cut_on_disk: Option<CutOnDisk>,
    snapshots: Snapshots,
    timekeeping: Timekeeping,
    sweeping: Sweeping,
    lag_marks: Marks,
    freshness: Proofs,
    /// When each other member was last heard from.
    contacts: BTreeMap<NodeId, Time>,
    waiters: Waiters,
    reads: Reads,
    linearizing: Linearizing,
    counters: Counters,
    flags: Flags,
    room: Room,
    coverage: Coverage,
    shown: State,
    /// The heartbeat interval of a master, other than the own, that was told last.
    told_heartbeat: Option<Duration>,
    /// Who votes, as it was told last.
    told_voters: Vec<NodeId>,
    /// Why the configured role is not taken up, until it is told.
    ignored_role: Option<&'static str>,
    why: String,
    outline: Arc<Outline>,
    discarded: Discarded,
}

/// What this node is, with the data of it.
#[derive(Clone, Debug)]
enum Role {
    /// An empty master waits for members of a running cluster.
    Founding(Founding),
    /// A mastership is about to begin: members are asked what they hold.
    Asking(Asking),
    /// A replica of an armed cluster asks for votes.
    Candidate(Candidate),
    /// A mastership.
    Master(Master),
    /// Follows a master, or looks for one.
    Replica(Replica),
}

/// Conditions that stand beside the role and are independent of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Flags {
    disk_full: bool,
    disk_short: bool,
    disk_hangs: bool,
    snapshot_hangs: bool,
    stopping: bool,
    no_quorum: bool,
    config_role_ignored: bool,
    rollback_written: bool,
    state_mismatch: bool,
    address_unknown: bool,
    caught_up_once: bool,
    /// Another process of this node was first; see [`peers::identity`].
    is_copy: bool,
    looked_for_first: bool,
}

impl Node {
    /// A node that has just started, with what its disk held. `seed` fixes every random choice it will make.
    pub fn new(config: Config, recovered: Recovered, seed: u64, now: Now) -> Self {
        let Recovered { hard_state, fresh, snapshot, base, entries, committed, snapshots } = recovered;
        let (start, history, membership, log_time, store) = match snapshot {
            Some((meta, store)) => (meta.position, meta.history, meta.membership, meta.log_time, store),
            None => (base, History::default(), Membership::default(), WallMs(0), Store::default()),
        };
        let mut log = Log::new(base, history_before(&history, base.index), membership.clone(), WallMs(0));
        for entry in entries {
            let Ok(command) = entry.command() else { panic!("recovery hands over entries that decode") };
            log.append(entry, &command, Answered::Unknown);
        }
        if log.last().index < start.index || base == start && log.last() == base {
            log = Log::new(start, history, membership, log_time);
        }
        let logged = log.bytes_between(start.index, log.last().index);
        let durable = OnDisk::new(hard_state.promised, log.last().index, config.planted);
        let committed = committed.min(log.last().index).max(start.index);
        let me = peers::hello::myself(&config, hard_state.node, None);
        let stamped = log.log_time().max(store.log_time());
        let timekeeping = Timekeeping::new(stamped, hard_state.wall_ahead_ms, now, config.planted);
        let mut node = Self {
            id: hard_state.node,
            as_leader: peers::hello::leader_of_member(&me),
            own_address: OwnAddress::default(),
            me,
            cluster: hard_state.cluster,
            // INV-7: a directory may hold a snapshot or a log of epochs that it does not promise.
            promised: if config.planted.tail_before_promise() {
                hard_state.promised
            } else {
                hard_state.promised.max(log.last().epoch)
            },
            process: process_id(seed),
            rng: ChaCha8Rng::seed_from_u64(seed),
            now,
            applied: start,
            committed,
            durable,
            hands: Hands::default(),
            draft: Draft::default(),
            role: Role::Replica(Replica::new(None)),
            ballot: Ballot::default(),
            odds: leader::dual_leaders::Odds::default(),
            refusals: peers::refusals::Refusals::default(),
            pausing: None,
            changes: Vec::new(),
            switching: Switching::default(),
            held_writes: HeldWrites::default(),
            links: Links::default(),
            dials: peers::dials::Dials::default(),
            held: BTreeMap::new(),
            contests: BTreeMap::new(),
            looks_for_first: None,
            repair: None,
            needs_snapshot: hard_state.needs_snapshot && !config.planted.quarantine_forgotten(),
            rolled_back_after: hard_state.rolled_back_after,
            cut_on_disk: None,
            snapshots: Snapshots::new(snapshots, store.memory_bytes(), logged, now.mono),
            timekeeping,
            sweeping: Sweeping::default(),
            lag_marks: Marks::default(),
            freshness: Proofs::default(),
            contacts: BTreeMap::new(),
            waiters: Waiters::default(),
            reads: Reads::default(),
            linearizing: Linearizing::default(),
            counters: Counters::default(),
            flags: Flags::default(),
            room: Room::new(),
            coverage: Coverage::default(),
            shown: State::Connecting,
            told_heartbeat: None,
            told_voters: Vec::new(),
            ignored_role: None,
            why: String::new(),
            outline: Arc::new(status::report::empty_outline()),
            discarded: Discarded::default(),
            store,
            log,
            config: Arc::new(config),
        };
        node.replay();
        // INV-11: what the log holds and the store does not is heard of now, at the latest.
        node.lag_marks.reset(node.applied.index);
        node.lag_marks.hear(node.log.last().index, now.mono);
        node.heed_pause();
        node.begin(&hard_state, fresh);
        node.outline = Arc::new(node.make_outline());
        node
    }

    /// Takes what happened, in order, and says what is to be done, in `out` (which must be empty). Returns when the
    /// next turn is due at the latest, even if nothing happens; a time in the past asks for one at once.
    pub fn turn(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>, out: &mut Output) -> Option<Time> {
        assert!(now.mono >= self.now.mono, "time went back: {:?} after {:?}", now.mono, self.now.mono);
        self.now = now;
        self.look_at_clocks(out);
        for input in inputs {
            self.take(input, out);
        }
        self.settle(out);
        self.next_deadline()
    }

    /// The committed state, for readers; constant work.
    pub fn view(&self) -> View {
        View { store: self.store.view(), outline: self.outline() }
    }

    /// What there is to say of the committed state; the same value until that changes.
    pub fn outline(&self) -> Arc<Outline> {
        Arc::clone(&self.outline)
    }

    fn take(&mut self, input: Input, out: &mut Output) {
        match input {
            Input::Alarm => {}
            Input::Request { id, request } => self.on_request(id, request, out),
            Input::Cancel(id) => {
                self.waiters.cancel(id);
                self.reads.cancel(id);
                self.linearizing.cancel(id);
                self.held_writes.cancel(id);
                self.snapshots.cancel(id);
            }
            Input::Message { link, message } => self.on_message(link, message, out),
            Input::Durable(receipt) => self.on_durable(&receipt, out),
            Input::Link { link, change: LinkChange::Up { peer_host, reached } } => {
                self.on_link_up(link, peer_host, reached, out);
            }
            Input::Link { link, change: LinkChange::Progress } => self.on_link_progress(link),
            Input::Link { link, change: LinkChange::Down(loss) } => self.on_link_down(link, loss, out),
            Input::DiskRoom(room) => self.on_disk_room(room, out),
            Input::DiskFree(free) => self.on_disk_free(free),
            Input::GivenUp(receipt) => self.on_given_up(&receipt, out),
            Input::Unresolved(hosts) => self.on_unresolved(hosts, out),
            Input::Shutdown => self.on_shutdown(),
        }
    }

    fn on_message(&mut self, link: LinkId, message: Message, out: &mut Output) {
        if !self.links.heard(link, self.now.mono) {
            return;
        }
        // Before it waits for anything: what it says of the time is of now.
        if let Message::Hello(Hello { standing, .. }) | Message::Welcome(Welcome { standing, .. }) = &message {
            self.heed_log_time(standing);
        }
        match message {
            Message::Hello(hello) => self.on_hello(link, hello, out),
            Message::Welcome(welcome) => self.on_welcome(link, welcome, out),
            Message::Append(append) => self.on_append(link, append, out),
            Message::Ack(ack) => self.on_ack(link, ack, out),
            Message::Alive(disk) => self.on_alive(link, disk),
            Message::Chunk(chunk) => self.on_chunk(link, chunk, out),
            Message::SnapshotAck(stored) => self.on_snapshot_ack(link, stored, out),
            Message::FetchTail(pull) => self.on_fetch_tail(link, pull, out),
            Message::FetchedTail(fetched) => self.on_fetched_tail(link, fetched, out),
            Message::RequestVote(request_vote) => self.on_request_vote(link, request_vote, out),
            Message::Vote(vote) => self.on_vote(link, vote, out),
            Message::Handover(handover) => self.on_handover(link, handover, out),
            Message::ReadIndex(asked) => self.on_read_index(link, asked),
            Message::ReadIndexed(answer) => self.on_read_indexed(link, answer, out),
            Message::Bye(reason) => self.on_bye(link, reason, out),
        }
    }

    /// What follows from all inputs together; the order matters only within one turn.
    fn settle(&mut self, out: &mut Output) {
        self.watch_links(out);
        self.watch_room(out);
        self.watch_disk(out);
        self.take_waiting(out);
        self.tend_contests(out);
        self.look_for_first(out);
        self.heed_pause();
        self.commit();
        self.settle_role(out);
        self.sweep();
        self.apply();
        self.tend_snapshots(out);
        self.tend_linearizing(out);
        self.answer(out);
        self.tend_switching(out);
        self.stream(out);
        self.acknowledge(out);
        self.tell_snapshot_ack(out);
        self.pay_vote(out);
        self.tend_clocks(out);
        if !self.config.planted.unbounded_tail() {
            let upto = self.applied.index.min(self.durable.durable()).min(self.saved_upto());
            self.log.evict(upto, self.tail_bytes_max(), self.config.planted);
        }
        self.write(out);
        self.show(out);
        self.free_some();
        self.check_cheap();
    }

    fn settle_role(&mut self, out: &mut Output) {
        match &self.role {
            Role::Founding(_) => self.tend_founding(out),
            Role::Asking(_) => self.tend_asking(out),
            Role::Candidate(_) => self.tend_candidate(out),
            Role::Master(_) => self.tend_mastery(out),
            Role::Replica(_) => self.tend_replica(out),
        }
        self.tend_repair();
    }

    /// Applies what was known to be committed when the process ended.
    fn replay(&mut self) {
        while self.applied.index < self.committed {
            self.apply_next();
        }
    }

    fn hard_state(&self) -> HardState {
        HardState {
            node: self.id,
            cluster: self.cluster,
            promised: self.promised,
            role: self.config.role,
            needs_snapshot: self.needs_snapshot && !self.is_healed_on_disk(),
            rolled_back_after: self.rolled_back_after.filter(|_| !self.is_healed_on_disk()),
            wall_ahead_ms: self.recorded_ahead_ms(),
        }
    }

    fn is_standalone(&self) -> bool {
        match self.config.role {
            RoleHint::Standalone => true,
            RoleHint::Master | RoleHint::Replica => false,
        }
    }

    fn draw(&mut self) -> u64 {
        use rand_core::Rng as _;
        self.rng.next_u64()
    }

    /// How far the versions of a line move on that this process opens with `epoch`. Never zero.
    ///
    /// It comes of the number that each process draws when it starts, and not of the stream of other choices: two openings of
    /// one number by one node, as there are when a disk has lost the first or was restored, are of two processes.
    fn draw_spread(&self, epoch: Epoch) -> u32 {
        if self.config.planted.version_names_two() {
            return 0;
        }
        let drawn = xxh3_64_with_seed(&epoch.number.to_le_bytes(), self.process);
        u32::try_from(drawn >> 32).unwrap_or(u32::MAX).max(1)
    }

    /// Puts a record into this turn's batch.
    fn record(&mut self, record: Bytes) {
        self.draft.push(record);
    }
}

/// The part of a history that lies at or before `index`.
fn history_before(history: &History, index: Index) -> History {
    let mut before = history.clone();
    before.truncate(index);
    before
}

/// A number that no other start of a node is likely to have, from another stream than its random choices.
fn process_id(seed: u64) -> u64 {
    use rand_core::Rng as _;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    rng.next_u64()
}

/// Members other than `id`.
fn others(membership: &Membership, id: NodeId) -> Vec<Member> {
    membership.members.iter().filter(|member| member.id != id).cloned().collect()
}
