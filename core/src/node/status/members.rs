//! What a node says of the members. A master knows what each holds and why it could not take over; a replica knows that of
//! itself alone, and of the others only when it last heard from them.

use alloc::vec::Vec;
use core::time::Duration;

use crate::command::Member;
use crate::ids::NodeId;
use crate::node::follower::discovery::Replica;
use crate::node::leader::{Master, Progress, StreamMode};
use crate::node::{Node, Role};
use crate::position::Index;
use crate::status::MemberStatus;
use crate::time::Time;

/// What a node that does not lead says of whether another could.
const ONLY_THE_MASTER_KNOWS: &str = "only the master knows";

impl Node {
    pub(in crate::node) fn members(&self, now: Time) -> Vec<MemberStatus> {
        let (_, membership) = self.log.membership();
        membership.members.iter().map(|member| self.member_status(member, now)).collect()
    }

    fn member_status(&self, member: &Member, now: Time) -> MemberStatus {
        let why_not = self.why_not_eligible(member, now);
        let eligible = (why_not != Some(ONLY_THE_MASTER_KNOWS)).then_some(why_not.is_none());
        let mut status = MemberStatus {
            node: member.id,
            name: member.name.clone(),
            http: member.http.clone(),
            replication: member.replication.clone(),
            voter: member.voter,
            priority: member.rank(),
            connected: None,
            durable: None,
            applied: None,
            lag_operations: None,
            lag: None,
            bytes_behind: None,
            last_contact: None,
            wall_ahead_ms: None,
            eligible,
            why_not,
        };
        match &self.role {
            _ if member.id == self.id => self.tell_of_itself(&mut status, now),
            Role::Master(master) => self.tell_of_replica(master, &mut status, now),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => {
                status.last_contact = self.contact_with(member.id).map(|at| now.since(at));
            }
        }
        status
    }

    /// A member has said who it is. As many are remembered as there are members.
    pub(in crate::node) fn note_contact(&mut self, node: NodeId) {
        let members = self.log.membership().1;
        if members.get(node).is_some() {
            self.contacts.retain(|known, _| members.get(*known).is_some());
            self.contacts.insert(node, self.now.mono);
        }
    }

    /// What the role, or the master that is followed, knows of who was heard from when. It is to outlive both: before either goes.
    pub(in crate::node) fn keep_contacts(&mut self) {
        let known: Vec<NodeId> = self.log.membership().1.members.iter().map(|member| member.id).collect();
        for node in known {
            if let Some(at) = self.contact_with(node) {
                self.contacts.insert(node, at);
            }
        }
    }

    /// When another member was last heard from: by a master, and from the master that is followed, with every message; from
    /// others when they say hello.
    fn contact_with(&self, node: NodeId) -> Option<Time> {
        let of_master = |replica: &Replica| {
            let follows = replica.last_leader.as_ref().is_some_and(|leader| leader.node == node);
            replica.last_contact.filter(|_| follows)
        };
        let in_role = match &self.role {
            Role::Master(master) => master.progress.get(&node).and_then(|known| known.heard),
            Role::Replica(replica) => of_master(replica),
            Role::Candidate(candidate) => of_master(candidate.replica()),
            Role::Founding(_) | Role::Asking(_) => None,
        };
        self.contacts.get(&node).copied().max(in_role)
    }

    fn tell_of_itself(&self, status: &mut MemberStatus, now: Time) {
        let (durable, applied) = (self.durable.durable(), self.applied.index);
        status.connected = Some(true);
        (status.durable, status.applied) = (Some(durable), Some(applied));
        (status.lag_operations, status.lag) = (Some(self.lag_operations()), Some(self.lag(now)));
        status.bytes_behind = Some(self.log.bytes_between(durable, self.log.last().index));
        status.last_contact = Some(Duration::ZERO);
    }

    /// INV-11: of whom it has heard nothing a master says that it lacks everything.
    fn tell_of_replica(&self, master: &Master, status: &mut MemberStatus, now: Time) {
        let last = self.log.last().index;
        let Progress { durable, applied, heard, wall_ahead_ms, offset, .. } =
            master.progress.get(&status.node).copied().unwrap_or_default();
        let said = |index: Index| heard.map(|_| index);
        let stream = master.streams.values().find(|stream| stream.node == status.node);
        let connected = stream.is_some_and(|stream| !matches!(stream.mode, StreamMode::Probe));
        status.connected = Some(connected);
        (status.durable, status.applied) = (said(durable), said(applied));
        let reached = if self.config.planted.lag_of_durable() { durable } else { applied };
        status.lag_operations = Some(last.ahead_of(reached));
        status.lag = Some(self.lag_marks.lag(applied, now));
        status.bytes_behind = Some(self.log.offset_of(last).saturating_sub(offset));
        let contact = self.contact_with(status.node);
        let contact = if self.config.planted.contact_by_link() && connected { Some(now) } else { contact };
        status.last_contact = contact.map(|at| now.since(at));
        status.wall_ahead_ms = wall_ahead_ms;
    }

    /// Why a member could not take over, as far as this node can tell.
    fn why_not_eligible(&self, member: &Member, now: Time) -> Option<&'static str> {
        if member.rank() == 0 {
            return Some("its failover.priority is 0");
        }
        let armed = self.armed().is_some();
        if armed && !member.voter {
            return Some("it is not a voter");
        }
        match &self.role {
            Role::Master(master) if member.id != self.id => self.why_no_heir(master, member, armed, now),
            Role::Founding(_) | Role::Asking(_) | Role::Replica(_) | Role::Candidate(_)
                if member.id != self.id =>
            {
                Some(ONLY_THE_MASTER_KNOWS)
            }
            Role::Replica(_) | Role::Candidate(_) if armed => self.why_not_lead(),
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) | Role::Candidate(_) | Role::Replica(_) => {
                self.disk_state().why_not()
            }
        }
    }

    fn why_no_heir(&self, master: &Master, member: &Member, armed: bool, now: Time) -> Option<&'static str> {
        let Some(stream) = master.streams.values().find(|stream| stream.node == member.id) else {
            return (!self.config.planted.eligible_unseen()).then_some("it is not connected to this node");
        };
        let known = master.progress.get(&member.id).copied().unwrap_or_default();
        let streams = matches!(stream.mode, StreamMode::Stream { .. });
        let reasons = [
            (armed && !stream.votes, "its failover.mode is manual, or it does not sync its promises"),
            (!streams, "its state is being synced"),
            (self.lag_marks.lag(known.applied, now) > self.config.max_lag, "it lags by more than max_lag_ms"),
        ];
        known.disk.why_not().or_else(|| reasons.into_iter().find_map(|(holds, why)| holds.then_some(why)))
    }
}
