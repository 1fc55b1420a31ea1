//! Who belongs to the cluster and who votes: members are admitted as they connect, the cluster is armed when enough of
//! them can vote, and voters change one at a time. Every change is an entry of the log.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::{Command, MEMBERS_MAX, Member, Membership};
use crate::config::{Concern, FailoverMode};
use crate::ids::{NodeId, RequestId};
use crate::input::MemberChange;
use crate::log::Answered;
use crate::node::clients::pending::WAITERS_MAX;
use crate::node::clients::writes::RETRY_AFTER;
use crate::node::leader::{Progress, ReplicaStream, StreamMode};
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal};

/// Fewer members than this cannot lose one and still have a majority.
pub(in crate::node) const ARMED_MEMBERS_MIN: usize = 3;
/// A replica that is no further behind counts as caught up.
const CAUGHT_UP_BYTES: u64 = 1 << 20;
/// As many digits of an id name a member, if no other member's id begins with them.
const ID_DIGITS_MIN: usize = 8;
/// How long an operator's change of membership waits for its commit.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    /// Keeps the membership in the log true, one change at a time, each after the one before and an entry of this epoch
    /// are committed.
    pub(in crate::node) fn tend_membership(&mut self) {
        let (at, membership) = self.log.membership();
        let pending = at > self.committed && !self.config.planted.memberships_overlap();
        if pending || self.disk_is_out() || self.is_standalone() || self.holds_writes() {
            return;
        }
        let mut wanted = membership.clone();
        self.record_members(&mut wanted);
        if self.pause_is_over(&wanted) {
            wanted.pause = None;
        }
        if !self.arm_or_disarm(&mut wanted) && wanted.armed {
            self.change_one_voter(&mut wanted);
        }
        if wanted != *membership {
            self.propose_membership(wanted);
        }
    }

    pub(in crate::node) fn propose_membership(&mut self, wanted: Membership) -> crate::position::Position {
        let loses = |member: &Member| {
            let known =
                self.log.membership().1.get(member.id).is_some_and(|known| is_dialable(&known.replication));
            known && !is_dialable(&member.replication)
        };
        assert!(!wanted.members.iter().any(loses), "an address that is known is never overwritten by none");
        let arms = wanted.armed && self.armed().is_none();
        let disarms = !wanted.armed && self.armed().is_some();
        let now = self.now.mono;
        let voter_comes = wanted.voters().count() > self.log.membership().1.voters().count();
        let position = self.propose(&Command::Config(wanted), Concern::Quorum, Answered::No);
        if let Role::Master(master) = &mut self.role
            && voter_comes
        {
            master.named_voter = None;
        }
        if let Role::Master(master) = &mut self.role
            && disarms
        {
            master.disarms = Some(position.index);
        }
        if let Role::Master(master) = &mut self.role
            && arms
        {
            // Safety: nobody else holds an armed membership yet, and who gets it waits from then on for an election
            // timeout. So nobody can be elected before this one's has passed.
            master.armed_at = Some(now);
            master.led_at = now;
        }
        position
    }

    /// An operator put this node above everybody: what it writes is committed by its own disk until it arms anew. Where a
    /// membership that disarms is pending already, one more is needed: that one counts once a majority holds it.
    pub(in crate::node) fn disarm_by_force(&mut self) {
        if self.armed().is_some() {
            let mut wanted = self.log.membership().1.clone();
            wanted.armed = false;
            wanted.pause = None;
            self.propose_membership(wanted);
        }
    }

    /// What connected members say of themselves. Whether they vote, and what an operator set, is not theirs to say.
    fn record_members(&self, wanted: &mut Membership) {
        let Role::Master(master) = &self.role else { return };
        for member in core::iter::once(&self.me).chain(master.streams.values().map(|stream| &stream.member)) {
            match wanted.members.binary_search_by_key(&member.id, |known| known.id) {
                Ok(place) => {
                    if let Some(known) = wanted.members.get_mut(place) {
                        let (voter, priority_set) = (known.voter, known.priority_set);
                        let mut new = Member { voter, priority_set, ..member.clone() };
                        self.keep_addresses(known, &mut new);
                        *known = new;
                    }
                }
                Err(place) if wanted.members.len() < MEMBERS_MAX => wanted.members.insert(place, member.clone()),
                Err(_) => {}
            }
        }
    }

    /// Gives whether the regime changes.
    fn arm_or_disarm(&self, wanted: &mut Membership) -> bool {
        let timeout_ms = u32::try_from(self.config.election_timeout.as_millis()).unwrap_or(u32::MAX);
        if wanted.armed {
            wanted.election_timeout_ms = timeout_ms;
            let manual = match self.config.failover_mode {
                FailoverMode::Auto => false,
                FailoverMode::Manual => true,
            };
            wanted.armed = !manual && wanted.members.len() >= ARMED_MEMBERS_MIN;
            return !wanted.armed;
        }
        if self.why_not_armed().is_some() {
            return false;
        }
        let voters = self.first_voters(wanted);
        for member in &mut wanted.members {
            member.voter = voters.contains(&member.id);
        }
        wanted.armed = true;
        wanted.election_timeout_ms = timeout_ms;
        true
    }

    /// Why the cluster is not armed; none if it could be, or is.
    pub(in crate::node) fn why_not_armed(&self) -> Option<&'static str> {
        let Role::Master(master) = &self.role else { return Some("only a master arms its cluster") };
        let ready = master.streams.values().filter(|stream| self.is_fit(stream)).count() + 1;
        match self.config.failover_mode {
            _ if self.is_standalone() => Some("this node is standalone: there is nobody to take over"),
            FailoverMode::Manual => Some("failover.mode is manual: an operator promotes"),
            FailoverMode::Auto if !self.config.votes() => {
                Some("not armed: this node does not sync its promises (persistence, fsync_mode)")
            }
            FailoverMode::Auto if self.voters_max() < ARMED_MEMBERS_MIN => {
                Some("not armed: failover.voters_max is below 3")
            }
            FailoverMode::Auto if ready < ARMED_MEMBERS_MIN => {
                Some("not armed: fewer than three members are connected, caught up and sync their promises")
            }
            FailoverMode::Auto => None,
        }
    }

    fn voters_max(&self) -> usize {
        let max = usize::try_from(self.config.voters_max).unwrap_or(usize::MAX).min(MEMBERS_MAX);
        if max.is_multiple_of(2) { max.saturating_sub(1) } else { max }
    }

    /// Whether a replica can vote: it syncs its promises, and holds nearly all of the log.
    fn is_fit(&self, stream: &ReplicaStream) -> bool {
        let Role::Master(master) = &self.role else { return false };
        let known = master.progress.get(&stream.node).copied().unwrap_or_default();
        let streams = match stream.mode {
            StreamMode::Stream { .. } => true,
            StreamMode::Probe | StreamMode::Snapshot { .. } => false,
        };
        let Progress { durable, round, sent, .. } = known;
        let behind = self.log.bytes_between(durable, self.log.last().index);
        // Who has answered no round of late gives no lease: a majority that needs it would have none at once.
        let answers = round > 0 && self.now.mono < sent + self.election_timeout();
        stream.votes && streams && answers && durable > crate::position::Index::ZERO && behind <= CAUGHT_UP_BYTES
    }

    /// This node, and the best of those that can vote; an odd number.
    fn first_voters(&self, membership: &Membership) -> Vec<NodeId> {
        let mut fit = self.fit_members(membership);
        let count = (fit.len() + 1).min(self.voters_max());
        let count = if count.is_multiple_of(2) { count - 1 } else { count };
        fit.truncate(count - 1);
        fit.push(self.id);
        fit
    }

    /// Replicas that can vote, the most wanted first.
    fn fit_members(&self, membership: &Membership) -> Vec<NodeId> {
        let Role::Master(master) = &self.role else { return Vec::new() };
        let fit = master.streams.values().filter(|stream| self.is_fit(stream));
        let mut fit: Vec<&Member> = fit.filter_map(|stream| membership.get(stream.node)).collect();
        fit.sort_by_key(|member| (core::cmp::Reverse(member.rank()), member.id));
        fit.into_iter().map(|member| member.id).collect()
    }

    /// At most one voter comes or goes, so that any two majorities share a node.
    fn change_one_voter(&self, wanted: &mut Membership) {
        let voters = wanted.voters().count();
        let spares: Vec<NodeId> =
            self.fit_members(wanted).into_iter().filter(|node| !wanted.is_voter(*node)).collect();
        let room = self.voters_max().saturating_sub(voters);
        let even = voters.is_multiple_of(2);
        let named = self.named_voter().filter(|node| room > 0 && spares.contains(node));
        let first = spares.first().copied().filter(|_| room > 0 && (even || room > 1 && spares.len() > 1));
        if let Some(member) = named.or(first).and_then(|node| wanted.get_mut(node)) {
            member.voter = true;
            return;
        }
        let surplus = (voters > self.voters_max()).then(|| self.least_wanted(wanted)).flatten();
        let Some(goes) = surplus.or_else(|| self.unfit_voter(wanted)) else { return };
        let mut without = wanted.clone();
        if let Some(member) = without.get_mut(goes) {
            member.voter = false;
        }
        // Whom the rest cannot do without stays until they can.
        if self.keeps_quorum(&without).is_ok() {
            *wanted = without;
        }
    }

    /// Whom an operator has named for the place of a voter that is gone.
    fn named_voter(&self) -> Option<NodeId> {
        match &self.role {
            Role::Master(master) => master.named_voter,
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => None,
        }
    }

    /// A voter that syncs its promises no longer: its disk must not count.
    fn unfit_voter(&self, membership: &Membership) -> Option<NodeId> {
        let Role::Master(master) = &self.role else { return None };
        master
            .streams
            .values()
            .find(|stream| !stream.votes && membership.is_voter(stream.node))
            .map(|stream| stream.node)
    }

    /// The voter that is missed least; never this node.
    fn least_wanted(&self, membership: &Membership) -> Option<NodeId> {
        let fit = self.fit_members(membership);
        let voters = membership.members.iter().filter(|member| member.voter && member.id != self.id);
        voters.min_by_key(|member| (fit.contains(&member.id), member.rank(), member.id)).map(|member| member.id)
    }

    /// Who is meant by an id, a name, or the beginning of an id.
    pub(in crate::node) fn member_named(&self, name: &str) -> Result<NodeId, Refusal> {
        let (_, membership) = self.log.membership();
        let members = || membership.members.iter();
        if let Some(member) = members().find(|member| alloc::format!("{}", member.id) == name) {
            return Ok(member.id);
        }
        let mut meant: Vec<NodeId> =
            members().filter(|member| member.name == name).map(|member| member.id).collect();
        if meant.is_empty() && name.len() >= ID_DIGITS_MIN {
            let begins = |member: &&Member| alloc::format!("{}", member.id).starts_with(name);
            meant = members().filter(begins).map(|member| member.id).collect();
        }
        match &meant[..] {
            [one] => Ok(*one),
            [] => Err(Refusal::Conflict { why: alloc::format!("no member is called {name}") }),
            several => {
                let ids: Vec<String> = several.iter().map(|id| alloc::format!("{id}")).collect();
                let why = alloc::format!("several members are called {name}: use the id, {}", ids.join(" or "));
                Err(Refusal::Conflict { why })
            }
        }
    }

    /// Whether this is an id, and no member's.
    fn is_no_member(&self, id: &str) -> bool {
        let (_, membership) = self.log.membership();
        let parsed = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == NodeId::DIGITS).map(NodeId);
        parsed.is_some_and(|node| membership.get(node).is_none())
    }

    /// The operator's verb. A change that is in force already is answered at once.
    pub(in crate::node) fn on_members(&mut self, id: RequestId, change: &MemberChange, out: &mut Output) {
        let (_, membership) = self.log.membership();
        let mut wanted = membership.clone();
        let done = self
            .may_change_members()
            .and_then(|()| self.change_members(&mut wanted, change))
            .and_then(|()| self.keeps_quorum(&wanted));
        if done.is_ok() {
            self.name_voter(change);
        }
        self.answer_change(id, done.map(|()| wanted), out);
    }

    pub(in crate::node) fn may_change_members(&self) -> Result<(), Refusal> {
        if !self.is_serving() {
            return Err(self.not_master());
        }
        if self.is_standalone() {
            return Err(Refusal::Conflict { why: String::from("this node is not a member of a cluster") });
        }
        if self.room.is_stuck() {
            return Err(Refusal::DiskFull);
        }
        if self.flags.disk_hangs {
            return Err(Refusal::DiskHangs { retry_after: RETRY_AFTER });
        }
        if self.waiters.len() >= WAITERS_MAX {
            return Err(Refusal::Busy);
        }
        if self.log.membership().0 > self.committed || self.holds_writes() {
            return Err(Refusal::Conflict { why: String::from("another change is under way; try again") });
        }
        Ok(())
    }

    pub(in crate::node) fn answer_change(
        &mut self,
        id: RequestId,
        wanted: Result<Membership, Refusal>,
        out: &mut Output,
    ) {
        match wanted {
            Ok(wanted) if wanted == *self.log.membership().1 => {
                out.replies.push((id, Ok(crate::output::Reply::Configured(self.applied))));
            }
            Ok(wanted) => {
                let position = self.propose_membership(wanted);
                let deadline = self.now.mono + CHANGE_PATIENCE;
                self.waiters.wait(id, position, Concern::Quorum, deadline);
            }
            Err(refusal) => out.replies.push((id, Err(refusal))),
        }
    }

    fn change_members(&self, wanted: &mut Membership, change: &MemberChange) -> Result<(), Refusal> {
        match change {
            MemberChange::Add { node } => {
                let node = self.member_named(node)?;
                self.make_voter(wanted, node)
            }
            // An id is given once and never means another: who is none any more was removed before.
            MemberChange::Remove { node } if self.is_no_member(node) => Ok(()),
            MemberChange::Replace { node, by } if self.is_no_member(node) => {
                let by = self.member_named(by)?;
                self.make_voter(wanted, by)
            }
            MemberChange::Remove { node } => {
                let node = self.member_named(node)?;
                self.remove_member(wanted, node)
            }
            MemberChange::Replace { node, by } => {
                let (node, by) = (self.member_named(node)?, self.member_named(by)?);
                let conflict = |why: &str| Err(Refusal::Conflict { why: String::from(why) });
                match (wanted.is_voter(node), wanted.is_voter(by)) {
                    _ if !wanted.armed => return conflict("the cluster is not armed: nobody votes yet"),
                    (false, _) => return conflict("it is not a voter: remove it"),
                    (true, true) => {
                        return conflict(
                            "both vote already: start another node and name that one; to go on with one voter fewer, remove the first",
                        );
                    }
                    (true, false) if !self.is_fit_node(by) => return Err(not_fit()),
                    (true, false) => {}
                }
                // The successor votes in its place by the next change, once this one is committed.
                self.remove_member(wanted, node)
            }
            MemberChange::Priority { node, priority } => {
                let node = self.member_named(node)?;
                if let Some(member) = wanted.get_mut(node) {
                    member.priority_set = *priority;
                }
                Ok(())
            }
        }
    }

    /// Remembers who is to vote next, for as long as this mastership lasts: a later master takes who is most wanted.
    fn name_voter(&mut self, change: &MemberChange) {
        let MemberChange::Replace { by, .. } = change else { return };
        let named = self.member_named(by).ok().filter(|by| !self.log.membership().1.is_voter(*by));
        if let Role::Master(master) = &mut self.role {
            master.named_voter = named;
        }
    }

    /// A change that the voters who are here could never commit is refused: it would leave the cluster without a quorum.
    fn keeps_quorum(&self, wanted: &Membership) -> Result<(), Refusal> {
        let voters = wanted.voters().count();
        let here = wanted.voters().filter(|voter| *voter == self.id || self.is_fit_node(*voter)).count();
        if !wanted.armed || here * 2 > voters || wanted == self.log.membership().1 {
            return Ok(());
        }
        Err(Refusal::Conflict {
            why: alloc::format!(
                "of the {voters} voters that it leaves only {here} are connected: no majority could commit it"
            ),
        })
    }

    fn make_voter(&self, wanted: &mut Membership, node: NodeId) -> Result<(), Refusal> {
        if !wanted.armed {
            return Err(Refusal::Conflict { why: String::from("the cluster is not armed: nobody votes yet") });
        }
        if wanted.is_voter(node) {
            return Ok(());
        }
        if !self.is_fit_node(node) {
            return Err(not_fit());
        }
        if wanted.voters().count() >= self.voters_max() {
            return Err(Refusal::Conflict { why: String::from("failover.voters_max is reached") });
        }
        if let Some(member) = wanted.get_mut(node) {
            member.voter = true;
        }
        Ok(())
    }

    fn remove_member(&self, wanted: &mut Membership, node: NodeId) -> Result<(), Refusal> {
        let Role::Master(master) = &self.role else { return Err(self.not_master()) };
        if node == self.id {
            return Err(Refusal::Conflict { why: String::from("this is the master: switch over first") });
        }
        if master.streams.values().any(|stream| stream.node == node) {
            return Err(Refusal::Conflict {
                why: String::from("it is connected and would join again: stop it first"),
            });
        }
        wanted.members.retain(|member| member.id != node);
        Ok(())
    }

    /// Whether a connected replica can vote, and holds nearly all of the log.
    pub(in crate::node) fn is_fit_node(&self, node: NodeId) -> bool {
        let Role::Master(master) = &self.role else { return false };
        master.streams.values().any(|stream| stream.node == node && self.is_fit(stream))
    }
}

fn not_fit() -> Refusal {
    let why = "it is not connected, not caught up, or does not sync its promises";
    Refusal::Conflict { why: String::from(why) }
}
