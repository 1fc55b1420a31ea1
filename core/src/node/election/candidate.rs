//! The candidate: a replica of an armed cluster that wants to lead. It asks without promising anything, then promises an
//! epoch and asks for votes, then pulls what others hold beyond its log, and only then opens its mastership.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::{Membership, StartKind};
use crate::config::FailoverMode;
use crate::coverage::Mark;
use crate::ids::{LinkId, NodeId, RequestId};
use crate::message::{
    FetchTail, Intent, Leader, Message, PeerState, RequestVote, SyncPlan, Vote, Waiver, Welcome,
};
use crate::node::election::voter::micros;
use crate::node::follower::discovery::Replica;
use crate::node::leader::{Master, Promoting};
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal};
use crate::position::Epoch;
use crate::time::Time;
use crate::wal::Record;

/// A replica that wants to lead.
#[derive(Clone, Debug)]
pub(in crate::node) struct Candidate {
    /// What it will be again if nobody wants it.
    replica: Replica,
    cause: Cause,
    stage: Stage,
    epoch: Epoch,
    /// Voters that are asked; how they stand, once they have said it.
    asked: BTreeMap<LinkId, Asked>,
    granted: BTreeSet<NodeId>,
    /// In the pre-vote: who is for it if a majority has seen the last master die.
    if_dead: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    /// Who has evidence that the last master is dead.
    evidence: BTreeSet<NodeId>,
    /// The highest epoch that a voter has named.
    above: u64,
    until: Time,
}

/// A voter at the other end of a link, whoever made it.
#[derive(Clone, Debug)]
struct Asked {
    /// Who it is: by the membership, until it has said so itself.
    node: Option<NodeId>,
    standing: Option<PeerState>,
    /// The master that it follows.
    leader: Option<Leader>,
}

/// Why it campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Cause {
    /// The master was silent for too long, or is known to be dead.
    MasterGone,
    /// The master handed over, after this round of this epoch.
    Handover { epoch: Epoch, round: u64 },
    /// An operator wants it.
    Operator(RequestId),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is promised yet.
    PreVote,
    /// The epoch is promised, and votes are counted.
    Election,
    /// The votes are there; a member's tail is being fetched.
    Pulling(LinkId),
}

impl Asked {
    fn whom(node: Option<NodeId>) -> Self {
        Self { node, standing: None, leader: None }
    }
}

impl Candidate {
    /// What it would have been again.
    pub(in crate::node) fn into_replica(self) -> Replica {
        self.replica
    }

    pub(in crate::node) fn deadline(&self) -> Time {
        self.until
    }

    pub(in crate::node) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(in crate::node) fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.asked.get(&link)?.node
    }

    /// Links that it made for this, which end with it. Whoever made another may still wait on it.
    pub(in crate::node) fn own_links(&self) -> Vec<LinkId> {
        self.asked.keys().copied().filter(|link| link.is_dialled()).collect()
    }

    /// Whether this voter has said on another link how it stands: one vote is enough.
    fn is_asked_elsewhere(&self, link: LinkId, node: NodeId) -> bool {
        let answered = |asked: &Asked| asked.node == Some(node) && asked.standing.is_some();
        self.asked.iter().any(|(other, asked)| *other != link && answered(asked))
    }

    /// A link is gone, and what its peer would have said with it.
    pub(in crate::node) fn lost(&mut self, link: LinkId) {
        self.asked.remove(&link);
        if self.stage == Stage::Pulling(link) {
            self.stage = Stage::Election;
        }
    }

    /// Whether the master of `epoch` itself wants this campaign.
    fn was_handed(&self, epoch: Epoch) -> bool {
        match self.cause {
            Cause::Handover { epoch: handed, .. } => handed == epoch,
            Cause::MasterGone | Cause::Operator(_) => false,
        }
    }

    pub(in crate::node) fn request(&self) -> Option<RequestId> {
        match self.cause {
            Cause::MasterGone | Cause::Handover { .. } => None,
            Cause::Operator(id) => Some(id),
        }
    }
}

/// Why most campaigns end that end without a master.
const NO_MAJORITY: &str = "no majority of voters answered in time";

/// What an operator whose promotion ended so can do.
const WITHOUT_MAJORITY: &str = "; bring voters back, or force it if a majority of their disks is gone for good";

impl Node {
    /// Why this node does not campaign by itself now; none if it would.
    pub(in crate::node) fn why_not_campaign(&self) -> Option<&'static str> {
        self.why_not_lead().or_else(|| self.paused().map(|_| "an operator has paused elections"))
    }

    /// Why this node would not lead now, not even if it were asked to.
    pub(in crate::node) fn why_not_lead(&self) -> Option<&'static str> {
        let Some(membership) = self.armed_on_disk() else { return Some("automatic failover is not armed") };
        let Some(me) = membership.get(self.id).filter(|me| me.voter) else {
            return Some("this node is not a voter");
        };
        let replica = match &self.role {
            Role::Replica(replica) => replica,
            Role::Candidate(candidate) => candidate.replica(),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => return None,
        };
        // Of an only voter nobody takes over: that it leads again after a restart is no failover.
        let manual = match self.config.failover_mode {
            FailoverMode::Auto => false,
            FailoverMode::Manual => !membership.voters().eq([self.id]),
        };
        let waits = self.ballot.stands_in_from().is_none();
        let reasons = [
            (manual, "its failover.mode is manual"),
            (me.rank() == 0 && waits, "its failover.priority is 0"),
            (self.flags.is_copy, "another process runs under its id"),
            (self.repair.is_some() || replica.is_syncing(), "its state is being synced"),
            (
                self.needs_snapshot,
                "its state differs from the master's or was rolled back, and needs a master's snapshot",
            ),
            (self.flags.stopping, "it is shutting down"),
            (self.lagged() && waits, "it lagged by more than max_lag_ms when the master vanished"),
        ];
        self.disk_state().why_not().or_else(|| reasons.into_iter().find_map(|(holds, why)| holds.then_some(why)))
    }

    /// Whether it lagged too much when the master was last heard. What a master could not commit is no lag.
    pub(in crate::node) fn lagged(&self) -> bool {
        let lag = |at| self.lag_marks.lag(self.applied.index, at);
        self.ballot.vanished_at().map_or(Duration::ZERO, lag) > self.config.max_lag
    }

    /// When this replica campaigns if it hears nothing more; none if it would not.
    pub(in crate::node) fn campaign_due(&self) -> Option<Time> {
        match self.why_not_campaign() {
            None => Some(self.campaigns_at()),
            Some(_) => self.paused().map(|left| self.now.mono + left).filter(|_| self.armed_on_disk().is_some()),
        }
    }

    fn campaigns_at(&self) -> Time {
        let stands_in_from = self.ballot.stands_in_from().filter(|_| self.holds_back()).unwrap_or_default();
        self.ballot.due().max(self.campaigns_from()).max(stands_in_from)
    }

    /// Campaigns if the master has been silent for too long.
    pub(in crate::node) fn tend_ballot(&mut self, out: &mut Output) {
        let Role::Replica(_) = &self.role else { return };
        self.keep_word();
        if self.campaigns_at() <= self.now.mono && self.why_not_campaign().is_none() {
            let why = if self.is_spared() {
                "it alone holds the newest entries: it stands in, although its failover.priority is 0"
            } else if self.lagged() {
                "it alone holds the newest entries: it stands in, although it lagged"
            } else if self.ballot.has_evidence() {
                "the master's process is dead"
            } else {
                "the master was silent for an election timeout"
            };
            self.campaign(Cause::MasterGone, why, out);
        }
    }

    /// Asks the voters.
    pub(in crate::node) fn campaign(&mut self, cause: Cause, why: &'static str, out: &mut Output) {
        self.leave_master(out);
        let none = Role::Replica(Replica::new(None));
        let Role::Replica(replica) = core::mem::replace(&mut self.role, none) else {
            panic!("only a replica campaigns")
        };
        let epoch = Epoch { number: self.promised.number.max(self.ballot.above()) + 1, leader: self.id };
        let mut candidate = Candidate {
            replica,
            cause,
            stage: Stage::PreVote,
            epoch,
            asked: BTreeMap::new(),
            granted: BTreeSet::new(),
            if_dead: BTreeSet::new(),
            refused: BTreeSet::new(),
            evidence: BTreeSet::new(),
            above: 0,
            until: self.now.mono + self.election_timeout() / 2 * self.ballot.slack(),
        };
        for (node, address) in self.places_of_voters() {
            if let Some(link) = self.dial(address, out) {
                candidate.asked.insert(link, Asked::whom(node));
            }
        }
        self.tell(why);
        self.role = Role::Candidate(candidate);
        if !self.config.planted.only_own_dials_asked() {
            for (link, node) in self.links.peers() {
                self.ask_on(link, node, out);
            }
        }
    }

    /// Where voters may be found: as the membership says, and where this node looks for a master. Who answers there is who
    /// it says to be.
    fn places_of_voters(&self) -> Vec<(Option<NodeId>, String)> {
        let armed = self.armed().into_iter().flat_map(|membership| crate::node::others(membership, self.id));
        let places = armed.map(|member| (Some(member.id), member.replication));
        let mut places: Vec<_> = places.filter(|(_, address)| is_dialable(address)).collect();
        let elsewhere = self.known_addresses().into_iter().filter(|_| !self.config.planted.only_own_dials_asked());
        for address in elsewhere {
            if places.iter().all(|(_, known)| *known != address) {
                places.push((None, address));
            }
        }
        places
    }

    /// A voter that calls is a way to reach it: it is asked on the link that it made.
    pub(in crate::node) fn ask_on(&mut self, link: LinkId, node: NodeId, out: &mut Output) {
        let Role::Candidate(candidate) = &self.role else { return };
        if candidate.asked.contains_key(&link) || candidate.is_asked_elsewhere(link, node) || !self.is_voter(node)
        {
            return;
        }
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.asked.insert(link, Asked::whom(Some(node)));
        }
        self.say_hello(link, Intent::Ask, out);
    }

    /// INV-7: a candidate promises its own epoch before it asks anybody to.
    fn promise_candidacy(&mut self) {
        let Role::Candidate(candidate) = &self.role else { return };
        assert!(candidate.epoch > self.promised, "INV-7: the promised epoch never goes back");
        self.promised = candidate.epoch;
        self.record_hard_state();
    }

    /// Whom we dialled has said how it stands: ask for its vote, unless it knows better.
    pub(in crate::node) fn on_voter(&mut self, link: LinkId, welcome: Welcome, out: &mut Output) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let Some(asked) = candidate.asked.get(&link) else { return };
        let node = welcome.standing.node;
        let moved = asked.node.is_some_and(|expected| expected != node);
        if candidate.is_asked_elsewhere(link, node) {
            candidate.lost(link);
            self.close_own(link, out);
            return;
        }
        if welcome.standing.cluster != self.cluster || moved && self.config.planted.moved_members_ignored() {
            candidate.lost(link);
            self.close(link, out);
            return;
        }
        // An address of the membership is where a member once was: who answers is who it says to be.
        let Some(asked) = candidate.asked.get_mut(&link) else { return };
        asked.node = Some(node);
        let (leads, promised) = (welcome.standing.leads, welcome.standing.promised);
        asked.standing = Some(welcome.standing.clone());
        // A line of its own that may not take the place of ours has a master of its own, too.
        let follows = self.may_follow(&welcome.standing);
        let elsewhere = !follows && welcome.standing.last.index > self.common_with(&welcome.standing).index;
        let followed = match &welcome.verdict {
            SyncPlan::Noted(leader) => leader.clone().filter(|_| !elsewhere),
            _ => None,
        };
        let Role::Candidate(candidate) = &mut self.role else { return };
        if let Some(asked) = candidate.asked.get_mut(&link) {
            asked.leader.clone_from(&followed);
        }
        let may_follow = leads && follows;
        let Role::Candidate(candidate) = &mut self.role else { return };
        if leads && !may_follow && promised >= candidate.epoch && candidate.stage == Stage::PreVote {
            // Nobody elected it, and it lacks what a majority may hold. It is no reason to wait, but its number is taken.
            self.ballot.go_above(promised.number);
            self.lose("a node that nobody elected leads under that number", out);
            return;
        }
        if may_follow && promised >= self.promised && !candidate.was_handed(promised) {
            self.wait_for_master();
            self.end_campaign("a master answers", out);
            self.hint_at(&welcome.standing);
            return;
        }
        if let Some(leader) = followed.filter(|leader| !leads && self.is_news(leader, promised)) {
            let address = leader.replication;
            self.wait_for_master();
            self.end_campaign("a voter follows another master", out);
            self.seek_at(address, self.now.mono);
            return;
        }
        self.fetch_or_request_votes(link, out);
    }

    /// Who holds more is asked for it first, in the pre-vote already: it would be against a shorter log, and may be one that
    /// never leads itself.
    fn fetch_or_request_votes(&mut self, link: LinkId, out: &mut Output) {
        let last = self.log.last();
        let Role::Candidate(candidate) = &self.role else { return };
        let theirs = candidate.asked.get(&link).and_then(|asked| asked.standing.as_ref()).map(|it| it.last);
        let pre = candidate.stage == Stage::PreVote;
        if pre && last.epoch.number >= candidate.epoch.number {
            self.lose("its log has grown into a later epoch", out);
        } else if pre && theirs.is_some_and(|theirs| theirs > last) {
            out.sends.push((link, Message::FetchTail(FetchTail { after: last, across: true })));
        } else {
            self.request_vote(link, out);
        }
    }

    /// The master that a voter follows who is against this candidate: it may well be alive.
    fn master_of_the_others(&self) -> Option<Leader> {
        let Role::Candidate(candidate) = &self.role else { return None };
        let is_against = |asked: &&Asked| asked.node.is_some_and(|node| candidate.refused.contains(&node));
        let against = candidate.asked.values().filter(is_against);
        against.filter_map(|asked| asked.leader.clone()).find(|leader| leader.node != self.id)
    }

    /// Whether a voter's master is another than the one that we believe to be gone.
    fn is_news(&self, leader: &Leader, promised: Epoch) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        let old = candidate.replica.last_leader.as_ref().map(|last| last.node);
        leader.node != self.id && promised >= self.promised && old.is_some_and(|old| old != leader.node)
    }

    fn request_vote(&mut self, link: LinkId, out: &mut Output) {
        let Role::Candidate(candidate) = &self.role else { return };
        let Some(cluster) = self.cluster else { return };
        let pre = candidate.stage == Stage::PreVote;
        let waiver = self.waiver();
        let request_vote = RequestVote { cluster, epoch: candidate.epoch, last: self.log.last(), pre, waiver };
        out.sends.push((link, Message::RequestVote(request_vote)));
    }

    /// Why voters need not keep their word to the last master.
    fn waiver(&self) -> Waiver {
        let Role::Candidate(candidate) = &self.role else { return Waiver::None };
        match candidate.cause {
            Cause::Handover { epoch, round } => Waiver::Handover { epoch, round },
            Cause::MasterGone | Cause::Operator(_) => {
                let others = candidate.evidence.iter().filter(|node| self.is_voter(**node)).count();
                let own = self.ballot.has_evidence();
                let enough = 1 + others >= self.majority() || self.config.planted.evidence_of_one();
                if own && enough { Waiver::Evidence } else { Waiver::None }
            }
        }
    }

    fn is_voter(&self, node: NodeId) -> bool {
        self.armed().is_some_and(|membership| membership.is_voter(node))
    }

    /// How many voters are a majority.
    pub(in crate::node) fn majority(&self) -> usize {
        self.armed().map_or(1, |membership| self.majority_of(membership))
    }

    /// The same by another membership.
    pub(in crate::node) fn majority_of(&self, membership: &Membership) -> usize {
        let more = usize::from(!self.config.planted.elected_by_half());
        membership.voters().count() / 2 + more
    }

    pub(in crate::node) fn on_vote(&mut self, link: LinkId, vote: Vote, out: &mut Output) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let ours = candidate.asked.get(&link).is_some_and(|asked| asked.node == Some(vote.voter()));
        let pre = candidate.stage == Stage::PreVote;
        if !ours || vote.epoch() != candidate.epoch || vote.pre() != pre {
            return;
        }
        candidate.above = candidate.above.max(vote.promised().number);
        if vote.evidence() {
            candidate.evidence.insert(vote.voter());
        }
        if vote.granted() {
            candidate.granted.insert(vote.voter());
        } else if vote.if_dead() {
            candidate.if_dead.insert(vote.voter());
        } else {
            candidate.refused.insert(vote.voter());
        }
        self.count_votes(out);
    }

    pub(in crate::node) fn tend_candidate(&mut self, out: &mut Output) {
        self.count_votes(out);
        let Role::Candidate(candidate) = &mut self.role else { return };
        if self.now.mono < candidate.until {
            return;
        }
        if let Stage::Pulling(link) = candidate.stage {
            // Nothing demands what is fetched: the votes are there.
            candidate.lost(link);
            self.close(link, out);
            self.count_votes(out);
        } else {
            self.ballot.note_loss();
            self.lose(NO_MAJORITY, out);
        }
    }

    /// What the votes so far come to.
    fn count_votes(&mut self, out: &mut Output) {
        let Role::Candidate(candidate) = &self.role else { return };
        let votes = |set: &BTreeSet<NodeId>| set.iter().filter(|node| self.is_voter(**node)).count();
        let own = usize::from(self.has_own_vote());
        let waived = self.waiver() == Waiver::Evidence;
        let more: BTreeSet<NodeId> = candidate.if_dead.difference(&candidate.granted).copied().collect();
        let (more, fewer) = if waived { (votes(&more), 0) } else { (0, votes(&more)) };
        let granted = votes(&candidate.granted) + own + more;
        let voters = self.armed().map_or(0, |membership| membership.voters().count());
        let (majority, refused) = (self.majority(), votes(&candidate.refused) + fewer);
        let hasty = self.config.planted.office_before_own_promise();
        match candidate.stage {
            Stage::Pulling(_) => {}
            _ if voters == 0 => self.lose("automatic failover is not armed any more", out),
            Stage::PreVote if granted >= majority => self.stand(out),
            // INV-6: others may be faster than this node's own disk.
            Stage::Election if granted >= majority && (self.has_own_vote() || hasty) => self.win(out),
            Stage::PreVote | Stage::Election if voters - refused < majority => {
                self.lose("a majority of voters is against it", out);
            }
            Stage::PreVote | Stage::Election => {}
        }
    }

    /// A candidate is for itself: in a pre-vote at once, in an election once its promise is on disk.
    fn has_own_vote(&self) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        self.is_voter(self.id)
            && match candidate.stage {
                Stage::PreVote => true,
                Stage::Election | Stage::Pulling(_) => self.durable.promised() == candidate.epoch,
            }
    }

    /// The pre-vote went well: promise the epoch and ask in earnest. The own word binds the candidate like any voter.
    fn stand(&mut self, out: &mut Output) {
        if self.waiver() == Waiver::None && !self.ballot.is_free(self.now.mono) {
            self.lose("the previous master's lease still holds", out);
            self.ballot.wait_for_word();
            return;
        }
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.stage = Stage::Election;
        candidate.granted.clear();
        candidate.if_dead.clear();
        candidate.refused.clear();
        let links: Vec<LinkId> =
            candidate.asked.iter().filter(|(_, asked)| asked.standing.is_some()).map(|(link, _)| *link).collect();
        self.promise_candidacy();
        for link in links {
            self.request_vote(link, out);
        }
    }

    /// A majority is for it. What a reachable member holds beyond its log in the last epoch is fetched first: nothing
    /// demands it, but what was answered at lesser concerns stays.
    fn win(&mut self, out: &mut Output) {
        let last = self.log.last();
        let Role::Candidate(candidate) = &mut self.role else { return };
        let ahead = candidate.asked.iter().filter_map(|(link, asked)| Some((*link, asked.standing.as_ref()?)));
        let ahead = ahead.filter(|(_, standing)| standing.last.epoch == last.epoch && standing.last > last);
        let Some((link, _)) = ahead.max_by_key(|(_, standing)| standing.last) else {
            self.take_office(out);
            return;
        };
        candidate.stage = Stage::Pulling(link);
        self.coverage.mark(Mark::TailPulled);
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.until = self.now.mono + self.config.catch_up;
        out.sends.push((link, Message::FetchTail(FetchTail { after: last, across: false })));
    }

    /// Entries that a member holds beyond the candidate's tail.
    pub(in crate::node) fn on_fetched_by_candidate(
        &mut self,
        link: LinkId,
        records: &[bytes::Bytes],
        out: &mut Output,
    ) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        match candidate.stage {
            Stage::PreVote if candidate.asked.contains_key(&link) => self.fetched_in_pre_vote(link, records, out),
            Stage::Pulling(fetched) if fetched == link => self.pulled_by_winner(link, records, out),
            Stage::PreVote | Stage::Election | Stage::Pulling(_) => {}
        }
    }

    fn fetched_in_pre_vote(&mut self, link: LinkId, records: &[bytes::Bytes], out: &mut Output) {
        if records.is_empty() {
            self.request_vote(link, out);
            return;
        }
        self.promise_epochs_of(records);
        if self.append_records(records).is_err() {
            self.drop_garbage(link, "it sent entries that do not follow", out);
        } else {
            self.hear_of_tail();
            self.fetch_or_request_votes(link, out);
        }
    }

    /// INV-7: no log goes beyond what its node has promised. The promise stands before the entries in the same batch, so
    /// that no crash leaves a log whose epoch a later candidacy of this node does not know, and falls behind for ever.
    ///
    /// Safety: a promise of an epoch that has begun already takes nothing from anybody. Its leader has its majority, and
    /// every candidacy that this voter could still have been for is one below it, which it would refuse for its shorter log.
    pub(in crate::node) fn promise_epochs_of(&mut self, records: &[bytes::Bytes]) {
        let epoch = |bytes: &bytes::Bytes| match Record::decode(&mut bytes.clone()) {
            Ok(Record::Entry(entry)) => Some(entry.position.epoch),
            Ok(_) | Err(_) => None,
        };
        let newest = records.iter().filter_map(epoch).max().unwrap_or_default();
        if newest > self.promised && !self.config.planted.tail_before_promise() {
            self.promised = newest;
            self.record_hard_state();
        }
    }

    /// INV-11: what was fetched was heard of.
    fn hear_of_tail(&mut self) {
        self.lag_marks.hear(self.log.last().index, self.now.mono);
    }

    fn pulled_by_winner(&mut self, link: LinkId, records: &[bytes::Bytes], out: &mut Output) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.stage = Stage::Election;
        if records.is_empty() {
            candidate.asked.remove(&link);
            self.close(link, out);
        } else if self.append_fetched(records).is_err() {
            self.drop_garbage(link, "it sent entries that do not follow", out);
        }
        self.hear_of_tail();
        self.count_votes(out);
    }

    /// INV-1: a majority has promised this epoch on disk, this node among them.
    fn take_office(&mut self, out: &mut Output) {
        assert_eq!(self.durable.promised(), self.promised, "INV-6: a master's epoch is on its disk");
        let Role::Candidate(candidate) = &self.role else { return };
        let kind = match candidate.cause {
            Cause::MasterGone | Cause::Operator(_) => StartKind::Election,
            Cause::Handover { .. } => StartKind::Switchover,
        };
        let asked_for = candidate.request().is_some();
        let promoting = candidate.request().map(|id| Promoting::without_loss(id, self.log.last()));
        let links = candidate.own_links();
        let mut master = Master::new(self.promised, kind, promoting, self.now.mono);
        master.probing = links.into_iter().collect();
        self.keep_contacts();
        self.discarded.role(core::mem::replace(&mut self.role, Role::Master(master)));
        self.note_standing_in(asked_for);
        self.flags.config_role_ignored = self.config.role == crate::config::RoleHint::Replica;
        self.counters.elections_won += 1;
        self.note_change(self.id, self.process);
        self.tell("a majority of voters elected this node");
        self.begin_term(out);
    }

    /// Nobody wants it, or not now: try again later.
    fn lose(&mut self, why: &'static str, out: &mut Output) {
        self.coverage.mark(Mark::CandidateLost);
        self.counters.elections_lost += 1;
        let Role::Candidate(candidate) = &self.role else { return };
        let above = candidate.above;
        let elsewhere = self.master_of_the_others().filter(|_| !self.ballot.has_evidence());
        self.end_campaign(why, out);
        let due = self.now.mono + self.retry_delay();
        self.ballot.try_again(due, above);
        if let Some(leader) = elsewhere {
            self.wait_for_master();
            self.seek_at(leader.replication, self.now.mono);
        }
    }

    /// Drawn anew each time, so that two candidates do not get in each other's way for ever; short where the master is
    /// known to be dead.
    fn retry_delay(&mut self) -> Duration {
        let part = if self.ballot.has_evidence() { 40 } else { 4 };
        let longer = if self.config.planted.loser_waits_long() { 400 } else { 1 };
        let spread = self.election_timeout() / part * self.ballot.slack() * longer;
        spread / 4 + Duration::from_micros(self.draw() % micros(spread).max(1))
    }

    /// Back to being a replica, which looks for a master at once.
    pub(in crate::node) fn end_campaign(&mut self, why: &'static str, out: &mut Output) {
        let none = Role::Replica(Replica::new(None));
        match core::mem::replace(&mut self.role, none) {
            Role::Candidate(candidate) => {
                let links = candidate.own_links();
                if let Some(id) = candidate.request() {
                    let next = if why == NO_MAJORITY { WITHOUT_MAJORITY } else { "" };
                    let why = alloc::format!("not elected: {why}{next}");
                    out.replies.push((id, Err(Refusal::Conflict { why })));
                }
                self.role = Role::Replica(candidate.replica);
                for link in links {
                    // A vote for another may be yet to leave on it.
                    if !self.ballot.owes_on(link) {
                        self.close(link, out);
                    }
                }
                self.seek_now();
                self.tell(why);
                self.release_held(out);
            }
            other @ (Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Replica(_)) => {
                self.role = other
            }
        }
    }

    /// A master hands over to this node.
    pub(in crate::node) fn on_handover(
        &mut self,
        link: LinkId,
        handover: crate::message::Handover,
        out: &mut Output,
    ) {
        let Role::Replica(replica) = &self.role else { return };
        let theirs = replica.following().is_some_and(|it| it.link == link && it.epoch == handover.epoch);
        if theirs && self.why_not_lead().is_none() {
            let cause = Cause::Handover { epoch: handover.epoch, round: handover.round };
            self.campaign(cause, "the master hands over", out);
        }
    }
}
