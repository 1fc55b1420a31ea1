//! The voter: its word to the master that it hears, evidence that a master's process is dead, and its votes.
//!
//! Having heard the master at some instant, a voter neither votes nor campaigns before its word has run out; the master's
//! lease rests on that (see [`crate::node::leader::lease`]). The word is waived only where the master cannot lead any more: it said so
//! itself, it handed over, or a majority saw its process die.

use core::time::Duration;

use crate::coverage::Mark;
use crate::ids::LinkId;
use crate::message::{Message, RequestVote, Vote, Waiver};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::Epoch;
use crate::time::Time;

/// How often the time for a campaign is doubled at most.
const SLACK_DOUBLINGS_MAX: u32 = 4;

/// What this node owes to masters and candidates. Outlives roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Ballot {
    /// When the master was last heard or a vote was given; at first, the start of the process.
    heard: Time,
    /// When the master was last heard, or at first the start of the process; none if this node was the last master.
    vanished: Option<Time>,
    /// The word that was given does not run out before.
    until: Time,
    /// Until then this process does not know what word an earlier one of this node has given.
    unsure_until: Time,
    /// The mastership that was last heard, and its newest round.
    master: Option<(Epoch, u64)>,
    /// The mastership whose process is known to be dead.
    evidence: Option<Epoch>,
    /// What was drawn for how long a silence this node waits for before it campaigns; see [`Node::patience`].
    drawn: u64,
    /// When it campaigns, if nothing changes.
    due: Time,
    /// The highest number of an epoch that a voter has named.
    above: u64,
    /// Campaigns that nobody won in time, in a row.
    losses: u32,
    /// Voters that may lead lack what this node holds, which would not campaign otherwise: it does from then on.
    stands_in_from: Option<Time>,
    /// A vote that leaves once the promise is on disk.
    owed: Option<(LinkId, Epoch)>,
}

impl Ballot {
    /// When this node campaigns by itself, if it may.
    pub(in crate::node) fn due(&self) -> Time {
        if self.evidence.is_some() { self.due } else { self.due.max(self.until) }
    }

    /// Whether the master that was last heard is known to be dead.
    pub(in crate::node) fn has_evidence(&self) -> bool {
        self.evidence.is_some()
    }

    /// A word is given that counts from when the master was last heard. It never gets shorter.
    pub(in crate::node) fn give_word(&mut self, word_ms: u32) {
        self.until = self.until.max(self.heard + Duration::from_millis(u64::from(word_ms)));
    }

    /// Whether the word to the master of `epoch` counts no more, since it handed over after `round`. What was heard later
    /// counts; who has just restarted may have heard it and forgotten.
    fn is_released_by(&self, epoch: Epoch, round: u64, now: Time, hasty: bool) -> bool {
        let heard_no_later = |(known, newest)| known < epoch || known == epoch && newest <= round;
        (now >= self.unsure_until || hasty) && self.master.is_none_or(heard_no_later)
    }

    /// Whether a vote is yet to leave on this link.
    pub(in crate::node) fn owes_on(&self, link: LinkId) -> bool {
        self.owed.is_some_and(|(owed, _)| owed == link)
    }

    /// Whether the word has run out.
    pub(in crate::node) fn is_free(&self, now: Time) -> bool {
        now >= self.until
    }

    /// A campaign is of no use before the own word has run out.
    pub(in crate::node) fn wait_for_word(&mut self) {
        self.due = self.due.max(self.until);
    }

    /// Whether the next campaign comes when the master has been silent for so long, and waits for nothing else.
    pub(in crate::node) fn is_due_after(&self, silence: Duration) -> bool {
        self.due == self.heard + silence
    }

    /// The next campaign comes when the master has been silent for so long.
    pub(in crate::node) fn wait(&mut self, silence: Duration) {
        self.due = self.heard + silence;
    }

    /// The next campaign comes then, with a number above what voters have promised; nothing is promised by that.
    pub(in crate::node) fn try_again(&mut self, due: Time, above: u64) {
        self.due = due;
        self.above = self.above.max(above);
    }

    /// The next campaign has a number above this one, which somebody has promised.
    pub(in crate::node) fn go_above(&mut self, number: u64) {
        self.above = self.above.max(number);
    }

    /// A campaign ended without a majority in time.
    pub(in crate::node) fn note_loss(&mut self) {
        self.losses = self.losses.saturating_add(1);
    }

    /// What the time for a campaign, and for an opening, is multiplied by: a network or disk that is slow for the election
    /// timeout must not keep the cluster without a master for ever.
    pub(in crate::node) fn slack(&self) -> u32 {
        1 << self.losses.min(SLACK_DOUBLINGS_MAX)
    }

    /// The highest number that a voter has named.
    pub(in crate::node) fn above(&self) -> u64 {
        self.above
    }

    /// A node that would not campaign is needed as a master, from then on.
    pub(in crate::node) fn stand_in(&mut self, from: Time) {
        self.stands_in_from.get_or_insert(from);
    }

    /// Whether a node that would not campaign is needed as a master, and when.
    pub(in crate::node) fn stands_in_from(&self) -> Option<Time> {
        self.stands_in_from
    }

    /// Whether the mastership that was last heard is this one.
    pub(in crate::node) fn has_heard(&self, epoch: Epoch) -> bool {
        self.master.is_some_and(|(known, _)| known == epoch)
    }

    /// When the master vanished; none if this node was the last one.
    pub(in crate::node) fn vanished_at(&self) -> Option<Time> {
        self.vanished
    }
}

impl Node {
    /// A process begins: it does not know what word it has given, and waits for the longest.
    pub(in crate::node) fn begin_ballot(&mut self) {
        let now = self.now.mono;
        self.ballot.heard = if self.config.planted.word_forgotten_at_start() { Time::default() } else { now };
        self.ballot.vanished = Some(now);
        self.ballot.until = self.ballot.heard + self.election_timeout();
        self.ballot.unsure_until = self.ballot.until;
        self.redraw_patience();
    }

    /// The master of `epoch` was heard: a word is given, and patience begins anew.
    pub(in crate::node) fn hear_master(&mut self, epoch: Epoch, round: u64) {
        let now = self.now.mono;
        let newest = match self.ballot.master {
            Some((known, newest)) if known == epoch => newest.max(round),
            Some(_) | None => round,
        };
        self.ballot.master = Some((epoch, newest));
        self.ballot.evidence = None;
        self.ballot.losses = 0;
        self.ballot.stands_in_from = None;
        self.ballot.heard = now;
        self.ballot.vanished = Some(now);
        self.ballot.due = now + self.patience();
        self.keep_word();
    }

    /// There is a master to be followed: the next campaign waits as long as if it had just been heard. No word is given.
    pub(in crate::node) fn wait_for_master(&mut self) {
        self.ballot.due = self.now.mono + self.patience();
        self.ballot.evidence = None;
    }

    /// The word lasts as long as the membership on this disk says, from when the master was last heard.
    pub(in crate::node) fn keep_word(&mut self) {
        let word_ms = u32::try_from(self.word_length().as_millis()).unwrap_or(u32::MAX);
        self.ballot.give_word(word_ms);
    }

    /// Draws anew how long a silence is waited for.
    pub(in crate::node) fn redraw_patience(&mut self) {
        self.ballot.drawn = self.draw();
        self.ballot.due = self.ballot.heard + self.patience();
    }

    /// How long a silence is waited for: 1 to 1.25 election timeouts, more for a lower priority, and more while masters change
    /// often. By the membership as it is now: it may have come after the draw.
    pub(in crate::node) fn patience(&self) -> Duration {
        let least = self.election_timeout() * self.damping();
        let spread = micros(least / 4);
        least + Duration::from_micros(self.ballot.drawn % spread.max(1)) + self.priority_delay()
    }

    /// A mastership of this node has ended: others have the time to be first.
    pub(in crate::node) fn begin_ballot_after_term(&mut self) {
        self.ballot.heard = self.now.mono;
        self.ballot.vanished = None;
        self.ballot.evidence = None;
        self.redraw_patience();
    }

    /// A lower priority waits up to half an election timeout longer; it never outranks a log.
    fn priority_delay(&self) -> Duration {
        let Some(membership) = self.armed() else { return Duration::ZERO };
        let top = membership.members.iter().map(crate::command::Member::rank).max().unwrap_or(0).max(1);
        let mine = membership.get(self.id).map_or(top, crate::command::Member::rank).min(top);
        self.election_timeout() / 2 * (top - mine) / top
    }

    /// The mastership `epoch` is known to be over: its process is dead, or it said so. `certain`: it said so itself, so
    /// that the word to it counts no more.
    pub(in crate::node) fn note_end_of(&mut self, epoch: Epoch, certain: bool) {
        let now = self.now.mono;
        if self.ballot.master.is_some_and(|(known, _)| known > epoch) {
            return;
        }
        if certain {
            self.ballot.until = now;
        }
        self.ballot.evidence = Some(epoch);
        let spread = micros(self.election_timeout() / 40).max(1);
        self.ballot.due = now + Duration::from_micros(self.draw() % spread);
    }

    pub(in crate::node) fn on_request_vote(&mut self, link: LinkId, request_vote: RequestVote, out: &mut Output) {
        let granted = self.judge(&request_vote);
        if !granted && request_vote.epoch.number > self.promised.number {
            let shorter = request_vote.last < self.log.last();
            self.coverage.mark(if shorter { Mark::ShorterLogRefused } else { Mark::WordKept });
            if shorter {
                self.note_refusal(&request_vote);
            }
        }
        if !granted || request_vote.pre {
            let vote = self.opinion(&request_vote, granted);
            out.sends.push((link, Message::Vote(vote)));
            return;
        }
        self.promise_vote(link, request_vote.epoch, out);
    }

    /// What can be said without promising anything.
    fn opinion(&self, request_vote: &RequestVote, granted: bool) -> Vote {
        Vote {
            voter: self.id,
            epoch: request_vote.epoch,
            pre: request_vote.pre,
            granted: granted && request_vote.pre,
            promised: self.promised,
            evidence: self.ballot.has_evidence(),
            if_dead: request_vote.pre && !granted && self.would_vote_if_dead(request_vote),
        }
    }

    /// Raft section 5.4.1, and the word. Numbers must ascend, not only epochs, so that every elected mastership has a
    /// number of its own and a position that people are shown means one entry.
    fn judge(&self, request_vote: &RequestVote) -> bool {
        self.may_have_the_vote(request_vote) && self.is_free_for(request_vote)
    }

    /// Whether only the word to a master whose process it has seen die stands in the way of a vote. Alone that is no reason for one: who
    /// took it for an opinion in favour would promise an epoch in vain, and be in the way of whoever is free first.
    fn would_vote_if_dead(&self, request_vote: &RequestVote) -> bool {
        let counts = match &self.role {
            Role::Candidate(_) | Role::Replica(_) => request_vote.waiver == Waiver::None,
            Role::Founding(_) | Role::Asking(_) | Role::Master(_) => false,
        };
        counts && self.ballot.has_evidence() && self.may_have_the_vote(request_vote)
    }

    fn may_have_the_vote(&self, request_vote: &RequestVote) -> bool {
        if self.cluster != Some(request_vote.cluster) || request_vote.epoch.number <= self.promised.number {
            return false;
        }
        // Its vote would wait for the disk: who counts on that promises an epoch in vain.
        if request_vote.pre && self.disk_is_out() {
            return false;
        }
        let ours = self.log.last();
        if self.config.planted.log_freshness_by_length() {
            request_vote.last.index >= ours.index
        } else {
            request_vote.last >= ours
        }
    }

    /// Whether no master can count on this node's word.
    fn is_free_for(&self, request_vote: &RequestVote) -> bool {
        match &self.role {
            Role::Founding(_) | Role::Asking(_) => return false,
            Role::Master(_) => return self.may_give_way_to(request_vote),
            Role::Candidate(_) | Role::Replica(_) => {}
        }
        let waived = match request_vote.waiver {
            Waiver::None => {
                request_vote.pre && self.config.planted.opinion_on_evidence_alone() && self.ballot.has_evidence()
            }
            Waiver::Evidence => self.ballot.has_evidence(),
            Waiver::Handover { epoch, round } => {
                let late = self.config.planted.late_token_taken();
                let hasty = self.config.planted.token_trusted_at_start();
                late || self.ballot.is_released_by(epoch, round, self.now.mono, hasty)
            }
        };
        waived || self.config.planted.word_not_kept() || self.ballot.is_free(self.now.mono)
    }

    /// INV-6, INV-7: the promise goes to disk first; the vote leaves when it is there.
    fn promise_vote(&mut self, link: LinkId, epoch: Epoch, out: &mut Output) {
        assert!(epoch > self.promised, "INV-7: the promised epoch never goes back");
        // The vote leaves on this link when the promise is on disk, so that it must not end with the role.
        self.ballot.owed = Some((link, epoch));
        match &self.role {
            Role::Master(_) => self.become_replica(None, "the voters have another candidate", out),
            Role::Candidate(_) => self.end_campaign("another candidate has this node's vote", out),
            Role::Replica(_) if self.config.planted.stale_epoch_followed() => {}
            Role::Replica(replica) if replica.waits_on(link) => {}
            Role::Replica(_) => self.leave_master(out),
            Role::Founding(_) | Role::Asking(_) => {
                self.ballot.owed = None;
                return;
            }
        }
        self.promised = epoch;
        self.record_hard_state();
        self.ballot.heard = self.now.mono;
        self.redraw_patience();
        if !self.config.planted.stale_epoch_followed() {
            self.look_at(epoch.leader);
        }
    }

    /// Sends the vote that is owed, once its promise is on disk. Recomputed from what is durable, never parked.
    pub(in crate::node) fn pay_vote(&mut self, out: &mut Output) {
        let Some((link, epoch)) = self.ballot.owed else { return };
        let evidence = self.ballot.has_evidence();
        let trusts_memory = self.config.planted.vote_before_durable();
        if self.promised != epoch {
            self.ballot.owed = None;
        } else if let Some(vote) = self.durable.vote(self.id, epoch, evidence, trusts_memory) {
            self.ballot.owed = None;
            out.sends.push((link, Message::Vote(vote)));
        }
    }

    /// The master says that its mastership is over.
    pub(in crate::node) fn on_resigned(&mut self, link: LinkId) {
        let Role::Replica(replica) = &self.role else { return };
        if let Some(following) = replica.following().filter(|following| following.link == link) {
            let epoch = following.epoch;
            self.note_end_of(epoch, true);
        }
    }
}

pub(in crate::node) fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}
