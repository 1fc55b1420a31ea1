//! INV-16: one id, one process. A data directory that was copied gives two processes of one node. The cluster keeps the first
//! and refuses the other by name, which then falls silent. Owns how a second process is told from a restart, and what becomes of
//! the one that is refused.
//!
//! A restart looks the same at first: a hello from another process of a known node, while the link of the earlier one still stands,
//! because nobody has noticed its end. So the newcomer waits, and whoever has the earlier link asks on it. An answer to what was
//! sent after the newcomer's hello proves that both processes live at once: a restart never does that, since a process must have ended
//! before the next can have its directory. If that link breaks or is silent for an election timeout, the earlier process is gone.

use alloc::string::String;
use alloc::vec::Vec;

use crate::event::Event;
use crate::ids::LinkId;
use crate::message::{Hello, Intent, Message, PeerState, Reason, SyncPlan, Welcome};
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::{Output, Refusal};
use crate::status::Alarm;
use crate::time::Time;

/// A newcomer waits until it is clear whether the earlier process of its node still lives.
#[derive(Clone, Debug)]
pub(in crate::node) struct Contest {
    hello: Hello,
    /// The link of the earlier process.
    first: LinkId,
    asked: Asked,
    until: Time,
}

/// What the earlier process can only answer if it lives after the newcomer's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// On a master: this round, or a later one.
    Round(u64),
    /// On a replica: its question of this number.
    Question(u64),
}

const FIRST_IS_GONE: &str = "another process of this node has started, and this one does not answer";

impl Node {
    /// Whether a hello has to wait, since an earlier process of the same node may live. It is asked at once.
    pub(in crate::node) fn contest(&mut self, link: LinkId, hello: &Hello, out: &mut Output) -> bool {
        let PeerState { node, process, .. } = hello.standing;
        let now = self.now.mono;
        if self.config.planted.copy_admitted() {
            return false;
        }
        let found = match &mut self.role {
            Role::Master(master) => {
                let first = master.stream_of(node).filter(|first| *first != link);
                let first = first
                    .filter(|first| master.streams.get(first).is_some_and(|stream| stream.process != process));
                master.round_wanted |= first.is_some();
                first.map(|first| (first, Asked::Round(master.rounds + 1)))
            }
            Role::Replica(replica) => {
                let first =
                    replica.following_mut().filter(|first| first.leader.node == node && first.link != link);
                first.filter(|first| first.process != process).map(|first| {
                    let question = self.linearizing.question(first.epoch);
                    out.sends.push((first.link, Message::ReadIndex(question)));
                    (first.link, Asked::Question(question.number))
                })
            }
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) => None,
        };
        let Some((first, asked)) = found else { return false };
        if hello.intent == Intent::Ask {
            // Who is about to lead learns that somebody leads under its own id, and waits for the verdict.
            let leader = self.leader().cloned();
            self.welcome(link, SyncPlan::Noted(leader), out);
        }
        let until = now + self.config.election_timeout.min(self.config.link_timeout());
        self.contests.insert(link, Contest { hello: hello.clone(), first, asked, until });
        true
    }

    /// A replica has answered a round of this master.
    pub(in crate::node) fn lives_in_round(&mut self, first: LinkId, round: u64, out: &mut Output) {
        self.refuse_copies(first, |asked| matches!(asked, Asked::Round(least) if round >= least), out);
    }

    /// The master has answered this replica's question of that number.
    pub(in crate::node) fn lives_after(&mut self, first: LinkId, number: u64, out: &mut Output) {
        self.refuse_copies(first, |asked| matches!(asked, Asked::Question(least) if number >= least), out);
    }

    fn refuse_copies(&mut self, first: LinkId, proves: impl Fn(Asked) -> bool, out: &mut Output) {
        let copies = self.contests.iter().filter(|(_, contest)| contest.first == first && proves(contest.asked));
        for link in copies.map(|(link, _)| *link).collect::<Vec<_>>() {
            if let Some(contest) = self.contests.remove(&link) {
                self.decline(link, &contest.hello.standing, Reason::SameNode, out);
            }
        }
    }

    /// Lets in those whose earlier process is gone.
    pub(in crate::node) fn tend_contests(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let over = |contest: &Contest| contest.until <= now || !self.links.is_up(contest.first);
        let over: Vec<LinkId> =
            self.contests.iter().filter(|(_, contest)| over(contest)).map(|(link, _)| *link).collect();
        for link in over {
            let Some(Contest { hello, first, .. }) = self.contests.remove(&link) else { continue };
            if self.links.is_up(first) {
                self.forget_link(first, FIRST_IS_GONE, out);
                self.close(first, out);
            }
            self.on_hello(link, hello, out);
        }
    }

    pub(in crate::node) fn contest_deadline(&self) -> Option<Time> {
        self.contests.values().map(|contest| contest.until).min()
    }

    /// Once, at the start: where the log has another address for this node than it goes by now, the directory was moved, or copied.
    /// If it was copied, whoever answers there says so.
    pub(in crate::node) fn look_for_first(&mut self, out: &mut Output) {
        if core::mem::replace(&mut self.flags.looked_for_first, true) || self.is_standalone() {
            return;
        }
        let known = self.log.membership().1.get(self.id).map(|me| me.replication.clone());
        let moved = known.filter(|known| is_dialable(known) && *known != self.me.replication);
        let Some(link) = moved.and_then(|address| self.dial(address, out)) else { return };
        self.looks_for_first = Some(link);
        let now = self.now.mono;
        if let Role::Asking(asking) = &mut self.role {
            asking.wait_for(link, now);
        }
    }

    /// Whether this is the answer of that address.
    pub(in crate::node) fn is_word_of_first(&mut self, link: LinkId, welcome: &Welcome, out: &mut Output) -> bool {
        if self.looks_for_first != Some(link) {
            return false;
        }
        self.looks_for_first = None;
        if self.is_another_process(&welcome.standing) {
            self.fall_silent(out);
        } else {
            self.forget_link(link, "it is another node", out);
            self.close(link, out);
        }
        true
    }

    pub(in crate::node) fn is_another_process(&self, peer: &PeerState) -> bool {
        peer.node == self.id && peer.process != self.process
    }

    /// Whether a verdict says that another process of this node was first. A master that is told so by that process itself has been
    /// one for longer than a start takes, and does not give way.
    pub(in crate::node) fn is_refused_as_copy(&self, welcome: &Welcome) -> bool {
        let terms = matches!(self.role, Role::Master(_)) && self.is_settled();
        let by_first = self.is_another_process(&welcome.standing) && !terms;
        let by_another = welcome.standing.node != self.id && self.cluster == welcome.standing.cluster;
        welcome.verdict == SyncPlan::Refused(Reason::SameNode) && (by_first || by_another)
    }

    /// This process is the second of its node. It says nothing more to anybody, until somebody has dealt with its directory.
    pub(in crate::node) fn fall_silent(&mut self, out: &mut Output) {
        if core::mem::replace(&mut self.flags.is_copy, true) {
            return;
        }
        out.events.push(Event::CopiedDirectory { node: self.id });
        out.events.push(Event::Alarm { alarm: Alarm::CopiedDirectory, on: true });
        let why = "another process runs under this node's id";
        match &self.role {
            Role::Replica(_) => {}
            Role::Candidate(_) => self.end_campaign(why, out),
            Role::Asking(asking) => {
                let refusal = Refusal::Conflict { why: String::from(why) };
                out.replies.extend(asking.request().map(|id| (id, Err(refusal))));
                self.become_replica(None, why, out);
            }
            Role::Founding(_) | Role::Master(_) => self.become_replica(None, why, out),
        }
        self.leave_master(out);
        if let Role::Replica(replica) = &mut self.role {
            replica.refused = Some(Reason::SameNode);
        }
        for link in self.links.all() {
            self.close(link, out);
        }
        self.tell(why);
    }
}
