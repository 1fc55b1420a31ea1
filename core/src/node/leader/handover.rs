//! Switchover: a master holds new writes, waits until its successor holds the whole log, gives up its lease and tells the
//! successor to campaign. Nothing is lost at any concern; if it does not come to pass in time, the master goes on.

use alloc::string::String;
use core::time::Duration;

use crate::command::Member;
use crate::coverage::Mark;
use crate::ids::{LinkId, NodeId, RequestId};
use crate::message::{Handover as Token, Leader, Message, RequestVote, Waiver};
use crate::node::leader::StreamMode;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal, Reply, SwitchedOver};
use crate::time::Time;

/// A mastership that is being handed over.
#[derive(Clone, Debug)]
pub(in crate::node) struct Handover {
    target: NodeId,
    /// When it is given up.
    until: Time,
    /// The token is out: no lease counts from before it.
    left: bool,
}

impl Handover {
    /// Whether the token is out.
    pub(in crate::node) fn has_left(&self) -> bool {
        self.left
    }

    pub(in crate::node) fn deadline(&self) -> Time {
        self.until
    }
}

/// Who waits for a switchover, over the change of role.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Switching {
    request: Option<Waiting>,
}

/// An operator who waits for a new master.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: RequestId,
    until: Time,
    /// Who was named to lead; none if whoever holds most is meant.
    named: Option<NodeId>,
}

impl Switching {
    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        self.request.map(|waiting| waiting.until)
    }
}

impl Node {
    /// The operator's verb.
    pub(in crate::node) fn on_switchover(
        &mut self,
        id: RequestId,
        to: Option<&str>,
        timeout: Duration,
        out: &mut Output,
    ) {
        match self.successor(to) {
            Ok(None) => {
                let epoch = self.promised;
                let done = SwitchedOver { leader: self.as_leader.clone(), epoch };
                out.replies.push((id, Ok(Reply::SwitchedOver(done))));
            }
            Ok(Some(target)) => {
                let until = self.now.mono + timeout;
                let named = to.map(|_| target);
                self.switching.request = Some(Waiting { id, until: until + self.election_timeout(), named });
                self.begin_handover(target, until);
            }
            Err(refusal) => out.replies.push((id, Err(refusal))),
        }
    }

    /// The process is asked to end. An armed master sees to it that its successor is ready.
    pub(in crate::node) fn on_shutdown(&mut self) {
        self.flags.stopping = true;
        if let Ok(Some(target)) = self.successor(None) {
            let until = self.now.mono + self.election_timeout() / 2;
            self.begin_handover(target, until);
        }
    }

    pub(in crate::node) fn begin_handover(&mut self, target: NodeId, until: Time) {
        if let Role::Master(master) = &mut self.role {
            master.handover = Some(Handover { target, until, left: false });
        }
        self.tell("the mastership is being handed over");
    }

    /// Who is to take over; none if it is this node, and all is done.
    pub(in crate::node) fn successor(&self, to: Option<&str>) -> Result<Option<NodeId>, Refusal> {
        let conflict = |why: &str| Err(Refusal::Conflict { why: String::from(why) });
        let Role::Master(master) = &self.role else { return Err(self.not_master()) };
        let Some(membership) = self.armed() else {
            return conflict(if master.connected() == 0 {
                "no replica is connected: there is nobody to hand over to"
            } else {
                "automatic failover is not armed: end the writes, wait until a replica lags nothing, stop the master and promote that replica"
            });
        };
        if !self.is_serving() {
            return Err(self.not_master());
        }
        if master.handover.is_some() || self.switching.request.is_some() {
            return conflict("a switchover is under way");
        }
        let named = match to {
            Some(name) => Some(self.member_named(name)?),
            None => None,
        };
        if named == Some(self.id) {
            return Ok(None);
        }
        let fit = |member: &&Member| member.id != self.id && self.why_no_successor(member).is_none();
        let best = membership
            .members
            .iter()
            .filter(|member| named.is_none_or(|named| named == member.id))
            .filter(fit)
            .max_by_key(|member| (master.durable_of(member.id), member.rank(), member.id));
        match (best, named) {
            (Some(member), _) => Ok(Some(member.id)),
            (None, Some(named)) => {
                let why = membership.get(named).and_then(|member| self.why_no_successor(member));
                let why = why.unwrap_or("it is not a member");
                Err(Refusal::Conflict { why: alloc::format!("it cannot take over: {why}") })
            }
            (None, None) => conflict("no member can take over: see why_not in the status"),
        }
    }

    /// Why a member cannot be handed the mastership.
    fn why_no_successor(&self, member: &Member) -> Option<&'static str> {
        let Role::Master(master) = &self.role else { return Some("this node is not the master") };
        if !member.voter {
            return Some("it is not a voter");
        }
        if member.rank() == 0 {
            return Some("its failover.priority is 0");
        }
        if let Some(why) = master.progress.get(&member.id).and_then(|known| known.disk.why_not()) {
            return Some(why);
        }
        match master.streams.values().find(|stream| stream.node == member.id) {
            None => Some("it is not connected"),
            Some(stream) if !stream.votes => Some("its failover.mode is manual, or it does not sync its promises"),
            Some(stream) => match stream.mode {
                StreamMode::Stream { .. } => None,
                StreamMode::Probe | StreamMode::Snapshot { .. } => Some("it is being synced"),
            },
        }
    }

    /// Whether the process may end: a mastership that is being handed over is not to be left half way.
    pub fn is_drained(&self) -> bool {
        !self.holds_writes()
    }

    /// Whether new writes wait.
    pub(in crate::node) fn holds_writes(&self) -> bool {
        matches!(&self.role, Role::Master(master) if master.handover.is_some())
    }

    /// Whether a candidate may have the vote of this master, which ends its mastership.
    pub(in crate::node) fn may_give_way_to(&self, request_vote: &RequestVote) -> bool {
        let Role::Master(master) = &self.role else { return false };
        match (request_vote.waiver, &master.handover) {
            (Waiver::Handover { epoch, .. }, Some(handover)) if handover.left => epoch == master.epoch,
            (Waiver::Handover { .. } | Waiver::Evidence | Waiver::None, Some(_) | None) => !self.holds_lease(),
        }
    }

    /// On the master: hands the token over once the target holds everything, or goes on as before.
    pub(in crate::node) fn tend_handover(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let last = self.log.last().index;
        let Role::Master(master) = &mut self.role else { return };
        let Some(handover) = &mut master.handover else { return };
        if now >= handover.until {
            self.abort_handover("the successor did not take over in time", out);
            return;
        }
        if handover.left {
            return;
        }
        let target = handover.target;
        let Some(link) = master.stream_of(target) else {
            self.abort_handover("the successor is gone", out);
            return;
        };
        let Role::Master(master) = &self.role else { return };
        let here = self.durable.durable() == last && self.applied.index == last;
        // A disk that is full or hangs never gets there; what is committed lives on without it.
        let done = self.committed == last && (here || self.does_without_own_disk());
        if done && master.durable_of(target) == last {
            self.hand_over(link, out);
        }
    }

    /// From here on this node is no master, unless rounds sent later than this are answered.
    ///
    /// Safety: the token names the last round. A voter that has heard a later one takes no notice of the token. So
    /// should this be aborted, the new lease rests on voters for whom the token is void.
    fn hand_over(&mut self, link: LinkId, out: &mut Output) {
        let now = self.now.mono;
        let patience = self.election_timeout() / 2;
        let Role::Master(master) = &mut self.role else { return };
        if !self.config.planted.lease_after_handover() {
            master.lease_floor = master.rounds;
            master.armed_at = None;
        }
        if let Some(handover) = &mut master.handover {
            handover.left = true;
            handover.until = handover.until.min(now + patience);
        }
        let token = Token { epoch: master.epoch, round: master.rounds };
        self.coverage.mark(Mark::HandedOver);
        out.sends.push((link, Message::Handover(token)));
    }

    /// Goes on as before, if a switchover is under way. Once the token is out, the successor may still have promised an
    /// epoch of its own, which ends this mastership when it is heard of: nothing is lost by that, and an election follows. Who
    /// asked waits on until it is known which: this node has a lease from later rounds, with which no token counts any more, or another
    /// one leads.
    pub(in crate::node) fn abort_handover(&mut self, why: &'static str, out: &mut Output) {
        let Role::Master(master) = &mut self.role else { return };
        let Some(handover) = master.handover.take() else { return };
        master.round_wanted |= handover.left;
        let knows = !handover.left || self.config.planted.unknown_told_refused();
        if let Some(Waiting { id, .. }) = self.switching.request.take_if(|_| knows) {
            let why = alloc::format!("nothing has changed: {why}");
            out.replies.push((id, Err(Refusal::Conflict { why })));
        }
        self.tell(why);
    }

    /// In every role: answers who waited for a switchover, and lets held writes go on, or sends them on.
    pub(in crate::node) fn tend_switching(&mut self, out: &mut Output) {
        if self.holds_writes() || self.switching.request.is_none() && self.held_writes.is_empty() {
            self.refuse_late_writes(out);
            return;
        }
        let now = self.now.mono;
        if self.is_serving() {
            if let Some(Waiting { id, .. }) = self.switching.request.take() {
                let why = String::from("the successor was not elected: this node leads on, or was elected again");
                out.replies.push((id, Err(Refusal::Conflict { why })));
            }
            self.release_writes(out);
        } else if let Some(leader) = self.serving_leader().cloned() {
            if let Some(waiting) = self.switching.request.take() {
                out.replies.push((waiting.id, self.switched_to(&leader, waiting.named)));
            }
            while let Some(write) = self.held_writes.take_first() {
                out.replies.push((write.id, Err(Refusal::NotMaster { leader: leader.clone() })));
            }
        }
        if let Some(Waiting { id, .. }) = self.switching.request.take_if(|waiting| waiting.until <= now) {
            let why = "the successor was asked and may still be elected: ask for the status of the cluster";
            out.replies.push((id, Err(Refusal::Undecided { why })));
        }
        self.refuse_late_writes(out);
    }

    /// What is answered to who asked for a switchover, now that another leads. A voter that was not named may have won the
    /// election: whoever named one must learn that.
    fn switched_to(&self, leader: &Leader, named: Option<NodeId>) -> Result<Reply, Refusal> {
        let other = named.filter(|named| *named != leader.node && !self.config.planted.anybody_is_named());
        let Some(named) = other else {
            return Ok(Reply::SwitchedOver(SwitchedOver { leader: leader.clone(), epoch: self.promised }));
        };
        let members = self.log.membership().1;
        let name = |node| members.get(node).map_or_else(|| alloc::format!("{node}"), |member| member.name.clone());
        let (named, leads) = (name(named), name(leader.node));
        let why = alloc::format!("{leads} was elected instead of {named}, and is the master now");
        Err(Refusal::Conflict { why })
    }

    /// The master to which clients may be sent on.
    pub(in crate::node) fn serving_leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Replica(_) => self.leader().filter(|_| self.leader_serves()),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => self.leader(),
        }
    }

    /// Whether the master that is followed has committed an entry of its own epoch, so that it serves: only to such a one is
    /// anybody sent on, or a client would be sent back, or turned away.
    pub(in crate::node) fn leader_serves(&self) -> bool {
        let Role::Replica(replica) = &self.role else { return false };
        let opens = self.config.planted.sent_on_too_soon();
        replica.following().is_some_and(|following| following.has_opened() || opens)
    }
}
