//! The lease of an armed master: until when no other node can lead. It counts from when the newest round was *sent* that
//! a majority of voters answered, for as long as each of them gave its word, less the drift of two clocks.
//!
//! Safety: a voter hears a round no earlier than it was sent, and votes for nobody before its word has run out since
//! (see [`crate::node::election::voter`]). A candidate needs a majority, which shares a voter with the one that the lease rests on. So
//! no other master is elected before the lease has run out, if no two clocks drift apart by more than [`DRIFT_PERCENT`].

use alloc::vec::Vec;
use core::time::Duration;

use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::message::{Message, PeerState, Reason};
use crate::node::leader::Master;
use crate::node::leader::handover::Handover;
use crate::node::replicated::commit_rule::election_timeout;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::planted::Planted;
use crate::status::Alarm;
use crate::time::Time;

/// How much two clocks may drift apart: one gains a hundredth, the other loses one.
const DRIFT_PERCENT: u32 = 2;

/// How many changes of master within [`FLAPPING`] double the patience of voters, once.
const CHANGES_PER_DOUBLING: usize = 3;
/// Changes longer ago than this are forgotten.
const FLAPPING: Duration = Duration::from_secs(60);
/// The most that patience is multiplied by.
const DAMPING_MAX: u32 = 8;

/// A master began to lead, as this node has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct Change {
    at: Time,
    leader: NodeId,
    process: u64,
}

impl Node {
    /// Until when this armed master leads; none if it needs no lease.
    pub(in crate::node) fn lease_until(&self) -> Option<Time> {
        self.lease().map(|(_, until)| until)
    }

    /// When the round was sent that the lease counts from, and until when it lasts.
    pub(in crate::node) fn lease(&self) -> Option<(Time, Time)> {
        let Role::Master(master) = &self.role else { return None };
        let membership = self.armed()?;
        let (own, planted) = (election_timeout(membership), self.config.planted);
        let mut grants: Vec<(Time, Time)> = membership
            .voters()
            .map(|voter| match master.progress.get(&voter) {
                _ if voter == self.id => (Time(u64::MAX), Time(u64::MAX)),
                Some(known) if known.round > master.lease_floor || planted.token_round_counts() => {
                    (known.sent, known.sent + less_drift(known.word.min(own), planted))
                }
                Some(_) | None => (Time::default(), Time::default()),
            })
            .collect();
        grants.sort_unstable_by_key(|(sent, until)| core::cmp::Reverse((*until, *sent)));
        let by_rounds = grants.get(grants.len() / 2).copied().unwrap_or_default();
        let by_arming = master.armed_at.map(|at| (at, at + less_drift(own, planted))).unwrap_or_default();
        Some(if by_rounds.1 >= by_arming.1 { by_rounds } else { by_arming })
    }

    /// When the lease ends, or when this master gives up without one.
    pub(in crate::node) fn lease_deadline(&self) -> Option<Time> {
        let until = self.lease_until()?;
        let Role::Master(master) = &self.role else { return None };
        if self.now.mono < until {
            Some(until)
        } else {
            master.handover.is_none().then(|| master.led_at + self.patience_without_lease())
        }
    }

    /// Whether nobody else can lead now, as far as clocks can tell.
    pub(in crate::node) fn holds_lease(&self) -> bool {
        if self.config.planted.lease_ignored() {
            return true;
        }
        let handed = |master: &Master| master.handover.as_ref().is_some_and(Handover::has_left);
        match &self.role {
            Role::Master(master) if handed(master) && !self.config.planted.lease_after_handover() => false,
            Role::Master(_) => self.lease_until().is_none_or(|until| self.now.mono < until),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => false,
        }
    }

    /// The newest round that a majority of voters has answered.
    pub(in crate::node) fn majority_round(&self) -> u64 {
        let Role::Master(master) = &self.role else { return 0 };
        let Some(membership) = self.armed() else { return u64::MAX };
        let round = |voter| master.progress.get(&voter).map_or(0, |known| known.round);
        let mut rounds: Vec<u64> =
            membership.voters().map(|voter| if voter == self.id { u64::MAX } else { round(voter) }).collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        rounds.get(rounds.len() / 2).copied().unwrap_or(0)
    }

    /// How long a master without a lease goes on: longer while it opens, after elections that took too long.
    fn patience_without_lease(&self) -> Duration {
        let slack = if self.is_open() { 1 } else { self.ballot.slack() };
        self.election_timeout() * slack
    }

    /// A master without a lease answers nobody; what waits may still take effect. An election timeout later it gives up.
    pub(in crate::node) fn tend_lease(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let (leads, timeout) = (self.holds_lease(), self.patience_without_lease());
        let armed = self.armed().is_some();
        let Role::Master(master) = &mut self.role else { return };
        let handed = master.handover.as_ref().is_some_and(Handover::has_left);
        if leads || handed {
            master.led_at = now;
            return;
        }
        self.abort_handover("no majority of voters answers", out);
        let Role::Master(master) = &mut self.role else { return };
        let gives_up = armed && master.led_at + timeout <= now;
        let refused = self.config.planted.pending_told_refused().then(|| self.not_master());
        self.waiters.abandon(refused.as_ref(), out);
        if gives_up {
            if !self.is_open() {
                // Those that voted may have to find out first that it is not where it says to be.
                self.ballot.note_loss();
            }
            self.resign(None, "no majority of voters answered for an election timeout", out);
        }
    }

    /// Ends an armed mastership in good order: who hears of it need not keep its word.
    pub(in crate::node) fn resign(
        &mut self,
        hint: Option<alloc::string::String>,
        why: &'static str,
        out: &mut Output,
    ) {
        if self.armed().is_some()
            && let Role::Master(master) = &self.role
        {
            let links: Vec<LinkId> = master.streams.keys().copied().collect();
            out.sends.extend(links.into_iter().map(|link| (link, Message::Bye(Reason::Resigned))));
        }
        self.become_replica(hint, why, out);
    }

    /// A change of master was seen: this process of that node leads now.
    pub(in crate::node) fn note_change(&mut self, leader: NodeId, process: u64) {
        self.counters.leader_changes += 1;
        let now = self.now.mono;
        self.changes.retain(|change| change.at + FLAPPING > now);
        if self.changes.len() < CHANGES_PER_DOUBLING * 4 {
            self.changes.push(Change { at: now, leader, process });
        }
    }

    /// A node says which process it is. If it led last, and was another process then, that mastership has ended with its process: no
    /// patience would have kept it, so that it is none of the changes that ask for more. Or voters that live would wait longer and
    /// longer for one that leads, dies, forgets all changes when it starts, and therefore wins again.
    pub(in crate::node) fn note_process(&mut self, peer: &PeerState) {
        let ended = |change: &Change| change.leader == peer.node && change.process != peer.process;
        if self.changes.last().is_some_and(ended) {
            let silent = self.ballot.is_due_after(self.patience());
            self.changes.pop();
            if silent {
                self.ballot.wait(self.patience());
            }
        }
    }

    /// What patience is multiplied by while masters change often: 1, 2, 4 or 8.
    pub(in crate::node) fn damping(&self) -> u32 {
        let now = self.now.mono;
        let recent = self.changes.iter().filter(|change| change.at + FLAPPING > now).count();
        let doublings = u32::try_from(recent / CHANGES_PER_DOUBLING).unwrap_or(0);
        1_u32.checked_shl(doublings).unwrap_or(DAMPING_MAX).min(DAMPING_MAX)
    }

    /// Tells when the lease is lost and when it is back.
    pub(in crate::node) fn tell_quorum(&mut self, out: &mut Output) {
        let lost = self.is_open() && !self.holds_writes() && !self.holds_lease();
        if lost != self.flags.no_quorum {
            self.flags.no_quorum = lost;
            self.coverage.mark(Mark::LeaseLost);
            out.events.push(Event::Alarm { alarm: Alarm::NoQuorum, on: lost });
        }
    }
}

fn less_drift(word: Duration, planted: Planted) -> Duration {
    let drift = if planted.lease_without_margin() { 0 } else { DRIFT_PERCENT };
    word * (100 - drift) / 100
}
