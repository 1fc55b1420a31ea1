//! How a mastership begins: an empty master waits before it founds a cluster, a starting or promoted one asks the
//! members it knows, pulls what they hold beyond its log, and only then opens an epoch.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::StartKind;
use crate::config::RoleHint;
use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::{ClusterId, LinkId, NodeId, RequestId};
use crate::log::Answered;
use crate::message::{FetchTail, FetchedTail, Hello, Message, PeerState, Reason, Welcome};
use crate::node::follower::discovery::Replica;
use crate::node::leader::Master;
use crate::node::peers::hello::address_text;
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role, others};
use crate::output::{Output, Refusal};
use crate::position::{Epoch, Index, Position};
use crate::time::Time;
use crate::wal::{HardState, Record};

/// An empty master waits no longer than this, however rarely its members may dial.
const FOUNDING_WAIT_MAX: Duration = Duration::from_secs(30);

/// An empty master waits for members of a running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Founding {
    pub(in crate::node) until: Time,
    /// It has asked at the configured address of a master.
    asked: bool,
}

/// Members are being asked what they hold.
#[derive(Clone, Debug)]
pub(in crate::node) struct Asking {
    purpose: Purpose,
    /// When what has been heard must do; while a tail is being fetched, when its member is given up.
    until: Time,
    /// Those asked; none while they have not answered.
    asked: BTreeMap<LinkId, Option<PeerState>>,
    /// Who has answered, whether or not its link still stands.
    answered: BTreeSet<NodeId>,
    /// The highest number of an epoch that anybody has promised.
    above: u64,
    /// The last index of the longest log that anybody has told of.
    longest: Index,
    /// The member whose tail is being fetched.
    pulling: Option<LinkId>,
    begun: bool,
}

/// Why a mastership is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) enum Purpose {
    /// This node was the master when it stopped.
    Restart,
    /// An operator wants it: by the verb, or without a request by the edited YAML role.
    Promotion {
        request: Option<RequestId>,
        force: bool,
        /// The last index heard of from the old master.
        heard: Index,
    },
}

impl Purpose {
    /// Whether entries of later epochs than the own log's are taken over.
    fn takes_later_epochs(&self) -> bool {
        match self {
            Self::Restart => false,
            Self::Promotion { force, .. } => *force,
        }
    }

    /// Why no other promotion can begin beside it.
    pub(in crate::node) fn in_the_way(&self) -> &'static str {
        match self {
            Self::Restart => {
                "this node led when it stopped, and asks the others before it leads again: repeat this in some seconds"
            }
            Self::Promotion { .. } => "a promotion of this node is under way: repeat this in some seconds",
        }
    }
}

impl Asking {
    pub(in crate::node) fn new(purpose: Purpose, until: Time) -> Self {
        Self {
            purpose,
            until,
            asked: BTreeMap::new(),
            answered: BTreeSet::new(),
            above: 0,
            longest: Index::ZERO,
            pulling: None,
            begun: false,
        }
    }

    pub(in crate::node) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// A member has said how it stands.
    pub(in crate::node) fn heard(&mut self, link: LinkId, standing: &PeerState) {
        self.above = self.above.max(standing.promised.number);
        self.longest = self.longest.max(standing.last.index);
        self.answered.insert(standing.node);
        self.asked.insert(link, Some(standing.clone()));
    }

    /// What this peer says is waited for, until then at least.
    pub(in crate::node) fn wait_for(&mut self, link: LinkId, until: Time) {
        self.asked.insert(link, None);
        self.until = self.until.max(until);
    }

    /// A link is gone, and what its peer said with it.
    pub(in crate::node) fn lost(&mut self, link: LinkId) {
        if self.pulling == Some(link) {
            self.pulling = None;
        }
        self.asked.remove(&link);
    }

    pub(in crate::node) fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.asked.get(&link)?.as_ref().map(|standing| standing.node)
    }

    pub(in crate::node) fn deadline(&self, now: Time) -> Time {
        if self.begun { self.until } else { now }
    }

    pub(in crate::node) fn request(&self) -> Option<RequestId> {
        match self.purpose {
            Purpose::Restart => None,
            Purpose::Promotion { request, .. } => request,
        }
    }
}

impl Node {
    /// Takes up the first role. What is on disk wins over what is configured.
    pub(in crate::node) fn begin(&mut self, before: &HardState, fresh: bool) {
        if before.role != self.config.role || fresh || before.promised < self.promised {
            self.record_hard_state();
        }
        // Who promised an epoch of its own and has no entry of one was not master yet: a promotion that broke off, or a
        // candidacy, is nothing to go on with. Neither is a mastership that went with all that it held, its cluster too.
        let founded = self.cluster.is_some();
        let opened = self.log.history().last().map_or(founded, |term| term.epoch.leader == self.id);
        let led = self.promised.leader == self.id && opened;
        let edited = before.role == RoleHint::Replica && self.config.role == RoleHint::Master;
        let armed = self.armed().is_some();
        self.begin_ballot();
        let now = self.now.mono;
        self.role = match self.config.role {
            RoleHint::Standalone => Role::Asking(Asking::new(Purpose::Restart, now)),
            RoleHint::Master if self.cluster.is_none() => {
                Role::Founding(Founding { until: now + self.founding_patience(before), asked: false })
            }
            // An armed cluster has voters for that: this node comes back as one of them.
            RoleHint::Master | RoleHint::Replica if armed => Role::Replica(Replica::new(None)),
            RoleHint::Master | RoleHint::Replica if led && !self.needs_snapshot => {
                Role::Asking(Asking::new(Purpose::Restart, now + self.config.catch_up))
            }
            RoleHint::Master if edited && !fresh && !self.needs_snapshot && self.config.priority > 0 => {
                self.tell("the configured role was changed from replica to master");
                let heard = self.log.last().index;
                let purpose = Purpose::Promotion { request: None, force: false, heard };
                Role::Asking(Asking::new(purpose, now + self.config.catch_up))
            }
            RoleHint::Master | RoleHint::Replica => Role::Replica(Replica::new(None)),
        };
        self.ignored_role = self.role_ignored(armed, edited);
        // The status says so whether or not anybody has to be told what to do about it.
        let waits_in_vain = matches!((&self.role, self.config.role), (Role::Replica(_), RoleHint::Master));
        self.flags.config_role_ignored = waits_in_vain || self.ignored_role.is_some();
    }

    /// How long members of a running cluster may take to call an empty master. One that has promised an epoch was a member, and has lost its
    /// state since: those that followed it may dial it as rarely as nodes ever do.
    fn founding_patience(&self, before: &HardState) -> Duration {
        let was_member = before.promised.number > 0 && !self.config.planted.founds_in_haste();
        let between_dials = self.config.reconnect_delay_max.min(FOUNDING_WAIT_MAX);
        self.config.election_timeout + if was_member { between_dials } else { Duration::ZERO }
    }

    /// What to do where the configured role is not the one that is taken up.
    fn role_ignored(&self, armed: bool, edited: bool) -> Option<&'static str> {
        match (&self.role, self.config.role) {
            (Role::Replica(_), RoleHint::Master) if armed => {
                edited.then_some("the cluster is armed: `synap switchover` moves the mastership")
            }
            (Role::Replica(_), RoleHint::Master) if edited && self.needs_snapshot => Some(
                "its state needs a master's snapshot first: only `synap promote --force` makes it the master as it is",
            ),
            (Role::Replica(_), RoleHint::Master) if edited => {
                Some("its failover.priority is 0: only `synap promote --force` makes it the master")
            }
            (Role::Replica(_), RoleHint::Master) => {
                Some("it is a replica by what is on its disk: `synap promote` makes it the master")
            }
            (Role::Asking(asking), RoleHint::Replica) if asking.purpose == Purpose::Restart => {
                Some("it was the master when it stopped and goes on: promote another one, and it follows")
            }
            _ => None,
        }
    }

    pub(in crate::node) fn tend_founding(&mut self, out: &mut Output) {
        let Role::Founding(founding) = &mut self.role else { return };
        let asked = core::mem::replace(&mut founding.asked, true);
        if self.now.mono >= founding.until {
            self.found(out);
        } else if !asked && let Some(address) = self.config.master_address.clone().filter(|it| is_dialable(it)) {
            self.dial(address, out);
        }
    }

    /// Who answers at the configured address of a master belongs to a running cluster, or not.
    pub(in crate::node) fn answered_while_founding(&mut self, link: LinkId, welcome: &Welcome, out: &mut Output) {
        let address = self.links.asked_for(link);
        self.close(link, out);
        if welcome.standing.cluster.is_some() {
            self.join_instead(address, "a member of a running cluster answers this empty master", out);
        }
    }

    /// An empty master never founds a second cluster beside one whose members dial it: it joins them.
    pub(in crate::node) fn hello_while_founding(&mut self, link: LinkId, hello: Hello, out: &mut Output) {
        if hello.standing.cluster.is_none() {
            self.hold_or_note(link, hello, out);
            return;
        }
        self.decline(link, &hello.standing, Reason::NoMaster, out);
        let hint = hello.standing.replication.as_ref().map(address_text);
        self.join_instead(hint, "members of a running cluster dial this empty master", out);
    }

    fn join_instead(&mut self, hint: Option<String>, why: &'static str, out: &mut Output) {
        self.coverage.mark(Mark::EmptyMasterJoined);
        self.flags.config_role_ignored = true;
        out.events.push(Event::ConfigRoleIgnored {
            hint: "a cluster runs already, and this node is empty: it joins as a replica",
        });
        self.become_replica(hint, why, out);
    }

    fn found(&mut self, out: &mut Output) {
        let cluster = ClusterId(u128::from(self.draw()) << 64 | u128::from(self.draw()));
        self.cluster = Some(cluster);
        out.events.push(Event::Founded(cluster));
        self.open_epoch(StartKind::Founding, None, out);
    }

    /// Asks the members, once; then waits for their answers; then decides.
    pub(in crate::node) fn tend_asking(&mut self, out: &mut Output) {
        let Role::Asking(asking) = &mut self.role else { return };
        if !asking.begun {
            asking.begun = true;
            self.ask_members(out);
        }
        let now = self.now.mono;
        let Role::Asking(asking) = &self.role else { return };
        let answered = asking.asked.values().all(Option::is_some);
        if now < asking.until && (asking.pulling.is_some() || !answered) {
            return;
        }
        if let Some(link) = asking.pulling {
            self.give_up_fetching(link, out);
        }
        self.decide(out);
    }

    /// A member that did not send its tail in time is asked no more; another may hold as much.
    fn give_up_fetching(&mut self, link: LinkId, out: &mut Output) {
        if let Role::Asking(asking) = &mut self.role {
            asking.lost(link);
        }
        self.close(link, out);
    }

    fn ask_members(&mut self, out: &mut Output) {
        if self.is_standalone() {
            return;
        }
        for address in self.known_addresses() {
            let link = self.dial(address, out);
            if let (Some(link), Role::Asking(asking)) = (link, &mut self.role) {
                asking.asked.insert(link, None);
            }
        }
    }

    /// Where other members may be found: as the log says, and where the configuration looks for a master.
    pub(in crate::node) fn known_addresses(&self) -> Vec<String> {
        let members = others(self.log.membership().1, self.id).into_iter().map(|member| member.replication);
        let mut known: Vec<String> =
            members.chain(self.left_address()).filter(|address| is_dialable(address)).collect();
        if let Some(address) = &self.config.master_address
            && is_dialable(address)
            && !known.contains(address)
        {
            known.push(address.clone());
        }
        known
    }

    /// All that could be heard is heard.
    fn decide(&mut self, out: &mut Output) {
        let Role::Asking(asking) = &mut self.role else { return };
        asking.pulling = None;
        let purpose = asking.purpose.clone();
        let heard: Vec<(LinkId, PeerState)> = asking
            .asked
            .iter()
            .filter_map(|(link, standing)| standing.clone().map(|standing| (*link, standing)))
            .filter(|(_, standing)| standing.cluster.is_some() && standing.cluster == self.cluster)
            .collect();
        let best = heard.iter().max_by_key(|(_, standing)| standing.last);
        let ahead = best.filter(|(_, standing)| standing.last > self.log.last());
        let too_late = self.config.planted.deadline_before_tail() && self.now.mono >= asking.until;
        let pullable =
            heard.iter().filter(|_| !too_late).filter(|(_, standing)| self.may_fetch_from(&purpose, standing));
        let pullable = pullable.max_by_key(|(_, standing)| standing.last).map(|(link, _)| *link);
        let at_odds: Vec<NodeId> = heard
            .iter()
            .filter(|(_, standing)| self.is_at_odds_with(standing, out))
            .map(|(_, standing)| standing.node)
            .collect();
        let rival = heard
            .iter()
            .filter(|(_, standing)| !at_odds.contains(&standing.node))
            .find(|(_, standing)| self.outranks(standing));
        let master = heard.iter().find(|(_, standing)| standing.leads && standing.promised >= self.promised);
        if let (Purpose::Promotion { force: false, .. }, Some((_, master))) = (&purpose, master) {
            let why = alloc::format!("{} is master of epoch {} and answers", master.name, master.promised);
            self.give_up_promotion(Refusal::Conflict { why }, out);
            return;
        }
        match (&purpose, rival, ahead) {
            (Purpose::Restart, Some((_, rival)), _) => {
                let hint = rival.replication.as_ref().map(address_text);
                self.become_replica(hint, "a member knows a higher epoch", out);
            }
            (Purpose::Promotion { force: false, .. }, _, Some((_, best))) => {
                let refusal =
                    Refusal::BetterCandidate { node: best.node, name: best.name.clone(), last: best.last };
                self.give_up_promotion(refusal, out);
            }
            _ => match pullable {
                Some(link) => self.pull(link, out),
                None => self.end_asking(&purpose, out),
            },
        }
    }

    /// Whether a member's log goes on where ours ends: in the epoch in which ours ends, or in what this node itself has led since
    /// and its own disk has lost. It is taken over before this node leads, however long others are silent: it may have been
    /// answered, and what is left behind here is gone. Force takes later epochs too, since it may be asked of a node that was
    /// away while others led. What a master appends meanwhile is not waited for.
    fn may_fetch_from(&self, purpose: &Purpose, peer: &PeerState) -> bool {
        let (last, theirs) = (self.log.last(), peer.last.epoch);
        let ours = theirs.leader == self.id && theirs <= self.promised;
        let across = purpose.takes_later_epochs() && self.common_with(peer) == last;
        peer.last > last && (theirs == last.epoch || ours || across)
    }

    /// INV-1: the new epoch has a higher number than any that was promised, those who are gone since included, and than
    /// any in the own log, which may hold entries of an epoch that this node has not promised.
    fn end_asking(&mut self, purpose: &Purpose, out: &mut Output) {
        let Role::Asking(asking) = &self.role else { return };
        let last = self.log.last();
        self.promised.number = self.promised.number.max(asking.above).max(last.epoch.number);
        match purpose {
            Purpose::Restart if self.cluster.is_none() => self.found(out),
            Purpose::Restart => self.open_epoch(StartKind::Restart, None, out),
            Purpose::Promotion { request, force, heard } => {
                let kind = if *force { StartKind::Forced } else { StartKind::Promotion };
                let heard = asking.longest.max(*heard);
                let loss = (heard > last.index).then(|| (last.index.next(), heard));
                let unreached = self.members_besides(&asking.answered);
                self.counters.elections_won += 1;
                let promoting =
                    crate::node::leader::Promoting { request: *request, took_over: last, loss, unreached };
                self.open_epoch(kind, Some(promoting), out);
            }
        }
    }

    /// What other members are called that are not among `known`.
    fn members_besides(&self, known: &BTreeSet<NodeId>) -> Vec<String> {
        let others = others(self.log.membership().1, self.id).into_iter();
        others.filter(|member| !known.contains(&member.id)).map(|member| member.name).collect()
    }

    fn pull(&mut self, link: LinkId, out: &mut Output) {
        self.coverage.mark(Mark::TailPulled);
        let (after, until) = (self.log.last(), self.now.mono + self.config.catch_up);
        let Role::Asking(asking) = &mut self.role else { return };
        asking.pulling = Some(link);
        asking.until = until;
        let theirs = asking.asked.get(&link).and_then(Option::as_ref).map(|standing| standing.last.epoch);
        let across = theirs.is_some_and(|theirs| theirs != after.epoch);
        out.sends.push((link, Message::FetchTail(FetchTail { after, across })));
    }

    pub(in crate::node) fn on_fetched_tail(&mut self, link: LinkId, fetched: FetchedTail, out: &mut Output) {
        if fetched.after != self.log.last() {
            return;
        }
        let asking = match &mut self.role {
            Role::Asking(asking) => asking,
            Role::Candidate(_) => {
                self.on_fetched_by_candidate(link, &fetched.entries, out);
                return;
            }
            Role::Founding(_) | Role::Master(_) | Role::Replica(_) => return,
        };
        if asking.pulling != Some(link) {
            return;
        }
        asking.pulling = None;
        if fetched.entries.is_empty() {
            asking.lost(link);
            return;
        }
        let across = asking.purpose.takes_later_epochs();
        if across {
            self.promise_epochs_of(&fetched.entries);
        }
        let appended =
            if across { self.append_records(&fetched.entries) } else { self.append_fetched(&fetched.entries) };
        if appended.is_err() {
            self.drop_garbage(link, "it sent entries that do not follow", out);
        }
    }

    /// Appends what another holds of the epoch in which our log ends, and of later ones only what this node has led itself
    /// before it began to ask.
    pub(in crate::node) fn append_fetched(&mut self, records: &[bytes::Bytes]) -> Result<(), ()> {
        let (epoch, promised, me) = (self.log.last().epoch, self.promised, self.id);
        let asking = matches!(self.role, Role::Asking(_));
        let ours = |theirs: Epoch| asking && theirs.leader == me && theirs <= promised;
        let stays = |bytes: &bytes::Bytes| match Record::decode(&mut bytes.clone()) {
            Ok(Record::Entry(entry)) => entry.position.epoch == epoch || ours(entry.position.epoch),
            Ok(_) | Err(_) => false,
        };
        if records.iter().all(stays) { self.append_records(records) } else { Err(()) }
    }

    /// Whether a peer's promise stands above ours, and no promotion of ours explains why it may not.
    fn outranks(&self, peer: &PeerState) -> bool {
        peer.promised > self.promised && !self.our_line_was_promoted(peer)
    }

    /// Leaves everything behind and looks for a master.
    pub(in crate::node) fn become_replica(&mut self, hint: Option<String>, why: &'static str, out: &mut Output) {
        let led = matches!(self.role, Role::Master(_));
        // While its lease ran nobody else led, so that its own log held everything.
        let held_all = if self.is_open() { self.lease().map(|(from, _)| from.min(self.now.mono)) } else { None };
        self.leave_role(out);
        self.role = Role::Replica(Replica::new(hint));
        if led {
            self.begin_ballot_after_term();
        }
        if let Some(from) = held_all {
            // An `async` write is answered before it is committed: all that is in the log counts.
            self.freshness.offer(self.log.last().index, from);
            self.freshness.applied(self.reached());
        }
        self.flags.config_role_ignored = self.config.role == RoleHint::Master;
        self.tell(why);
        self.release_held(out);
    }

    /// Promises a new epoch above all that are known; it is opened once that promise is on disk.
    pub(in crate::node) fn open_epoch(
        &mut self,
        kind: StartKind,
        promoting: Option<crate::node::leader::Promoting>,
        out: &mut Output,
    ) {
        let before = self.promised;
        self.leave_role(out);
        self.promised = Epoch { number: before.number + 1, leader: self.id };
        assert!(self.promised > before, "INV-7: the promised epoch never goes back");
        assert!(
            !self.needs_snapshot || kind.is_by_force() || self.is_standalone(),
            "INV-9: a state that only a snapshot heals leads by nobody's word but an operator's"
        );
        // By that word its state is the cluster's from here on.
        self.needs_snapshot = false;
        self.rolled_back_after = None;
        self.dials.clear();
        self.record_hard_state();
        self.flags.config_role_ignored = self.config.role == RoleHint::Replica;
        self.role = Role::Master(Master::new(self.promised, kind, promoting, self.now.mono));
        self.note_change(self.id, self.process);
    }

    /// Ends what the present role has begun: links that it dialled, and promises to those who wait.
    pub(in crate::node) fn leave_role(&mut self, out: &mut Output) {
        let links: Vec<LinkId> = match &self.role {
            Role::Founding(_) => Vec::new(),
            Role::Asking(asking) => asking.asked.keys().copied().filter(|link| link.is_dialled()).collect(),
            Role::Candidate(candidate) => candidate.own_links(),
            Role::Master(master) => master.streams.keys().chain(&master.probing).copied().collect(),
            Role::Replica(replica) => replica.link().into_iter().collect(),
        };
        self.waiters.abandon(None, out);
        self.linearizing.lose_term();
        if let Role::Candidate(candidate) = &self.role
            && let Some(id) = candidate.request()
        {
            let why = String::from("the candidacy ended before it was decided");
            out.replies.push((id, Err(Refusal::Conflict { why })));
        }
        if let Role::Master(Master { promoting: Some(promoting), .. }) = &self.role
            && let Some(id) = promoting.request
        {
            let why = String::from("the mastership ended before it began");
            out.replies.push((id, Err(Refusal::Conflict { why })));
        }
        let none = Role::Replica(Replica::new(None));
        self.keep_contacts();
        self.discarded.role(core::mem::replace(&mut self.role, none));
        for link in links {
            if !self.ballot.owes_on(link) {
                self.close(link, out);
            }
        }
    }

    fn give_up_promotion(&mut self, refusal: Refusal, out: &mut Output) {
        self.counters.elections_lost += 1;
        let Role::Asking(asking) = &self.role else { return };
        match asking.request() {
            Some(id) => out.replies.push((id, Err(refusal))),
            None => {
                self.flags.config_role_ignored = true;
                out.events.push(Event::ConfigRoleIgnored {
                    hint: "a master answers, or another member holds more: stop that master, then `synap promote` at the node that is to lead",
                });
            }
        }
        self.become_replica(None, "the promotion was given up", out);
    }

    /// The promise is on disk: the epoch's first entry may be written (INV-6).
    pub(in crate::node) fn begin_term(&mut self, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        if master.start.is_some() || self.durable.promised() != master.epoch {
            return;
        }
        let (kind, epoch) = (master.kind, master.epoch);
        let (at, newest) = self.log.membership();
        master.disarms = (!newest.armed && at > self.committed).then_some(at);
        self.lag_marks.reset(self.log.last().index);
        let start = crate::command::Command::EpochStart { kind, spread: self.draw_spread(epoch) };
        let Position { index, .. } = self.propose(&start, crate::config::Concern::Quorum, Answered::No);
        if let Role::Master(master) = &mut self.role {
            master.start = Some(index);
        }
        out.events.push(Event::EpochOpened { epoch, start: index, kind });
        if kind.is_by_force() {
            self.disarm_by_force();
        } else if self.config.planted.membership_before_own_entry() {
            self.propose_membership(self.log.membership().1.clone());
        }
        self.announce(out);
    }

    /// Appends records that another node holds; they follow our last entry or are refused.
    pub(in crate::node) fn append_records(&mut self, records: &[bytes::Bytes]) -> Result<(), ()> {
        for bytes in records {
            let Ok(Record::Entry(entry)) = Record::decode(&mut bytes.clone()) else { return Err(()) };
            let last = self.log.last();
            let follows = entry.position.index == last.index.next() && entry.position.epoch >= last.epoch;
            let command = entry.command().map_err(|_| ())?;
            let opens = matches!(command, crate::command::Command::EpochStart { .. });
            if !follows || opens != (entry.position.epoch > last.epoch) {
                return Err(());
            }
            self.counters.operations_in += 1;
            self.counters.bytes_in += entry.record.len() as u64;
            self.append_entry(entry, &command, Answered::Unknown);
        }
        Ok(())
    }
}
