//! Linearizable reads: they see everything that was answered before they began. A master lets a majority confirm that it
//! still led after the read had arrived (one round for all that wait); a replica asks its master. Owns what must be applied
//! before the read may go on; the rest is an ordinary wait (Raft's dissertation, section 6.4).

use alloc::vec::Vec;

use crate::ids::{LinkId, RequestId};
use crate::input::ReadDemand;
use crate::message::{Message, ReadIndex, ReadIndexed};
use crate::node::{Node, Role};
use crate::output::{Output, Refusal};
use crate::position::{Epoch, Index};
use crate::time::Time;

use crate::node::clients::pending::READS_MAX;

/// Reads that wait to learn what they must see.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Linearizing {
    waiting: Vec<Waiting>,
    /// Questions asked of masters so far.
    asked: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    who: Who,
    deadline: Time,
    stage: Stage,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// A client of this node.
    Client { id: RequestId, demand: ReadDemand },
    /// A replica, on this link, by its own number.
    Replica { link: LinkId, number: u64 },
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has been asked.
    New,
    /// The master that is followed was asked, on this link.
    Asked { link: LinkId, number: u64 },
    /// A majority must answer this round, then everything up to the index must be applied.
    Round { round: u64, index: Index },
}

impl Linearizing {
    pub(in crate::node) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::node) fn deadline(&self) -> Option<Time> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    pub(in crate::node) fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|waiting| !matches!(waiting.who, Who::Client { id: known, .. } if known == id));
    }

    pub(in crate::node) fn wait(&mut self, id: RequestId, demand: ReadDemand, deadline: Time) {
        let who = Who::Client { id, demand: ReadDemand { linearizable: false, ..demand } };
        self.waiting.push(Waiting { who, deadline, stage: Stage::New });
    }

    /// The next question to a master.
    pub(in crate::node) fn question(&mut self, epoch: Epoch) -> ReadIndex {
        self.asked += 1;
        ReadIndex { epoch, number: self.asked }
    }

    /// A link is gone: what was asked on it is asked anew, and who asked on it wants nothing more.
    pub(in crate::node) fn lose_link(&mut self, link: LinkId) {
        self.waiting.retain(|waiting| !matches!(waiting.who, Who::Replica { link: known, .. } if known == link));
        for waiting in &mut self.waiting {
            if matches!(waiting.stage, Stage::Asked { link: known, .. } if known == link) {
                waiting.stage = Stage::New;
            }
        }
    }

    /// What this node was as master counts no more.
    pub(in crate::node) fn lose_term(&mut self) {
        self.waiting.retain(|waiting| matches!(waiting.who, Who::Client { .. }));
        for waiting in &mut self.waiting {
            waiting.stage = Stage::New;
        }
    }
}

impl Node {
    /// Moves each read on as far as it goes.
    pub(in crate::node) fn tend_linearizing(&mut self, out: &mut Output) {
        if self.linearizing.len() == 0 {
            return;
        }
        match &self.role {
            Role::Master(_) => {
                self.ask_round();
                self.confirm_rounds(out);
            }
            Role::Replica(_) => self.ask_master(out),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) => {}
        }
        self.refuse_late_reads(out);
    }

    /// Reads that are new wait for the next round. Unarmed, the master alone is the majority.
    fn ask_round(&mut self) {
        if !self.knows_what_is_committed() {
            return;
        }
        let index = self.committed;
        let trusts_itself = self.config.planted.read_without_round();
        let armed = self.armed().is_some() && !trusts_itself;
        let Role::Master(master) = &mut self.role else { return };
        let round = if armed { master.rounds + 1 } else { 0 };
        for waiting in &mut self.linearizing.waiting {
            if waiting.stage == Stage::New {
                waiting.stage = Stage::Round { round, index };
                master.round_wanted |= armed;
            }
        }
    }

    /// A master learns what is committed with the first entry of its own epoch.
    fn knows_what_is_committed(&self) -> bool {
        self.is_serving() || self.config.planted.read_before_own_epoch() && self.holds_lease()
    }

    /// INV-8: the position is checked again: only who still leads may say what is true now.
    fn confirm_rounds(&mut self, out: &mut Output) {
        if !self.knows_what_is_committed() {
            return;
        }
        let confirmed = self.majority_round();
        let is_done = |waiting: &Waiting| match waiting.stage {
            Stage::Round { round, .. } => round <= confirmed,
            Stage::New | Stage::Asked { .. } => false,
        };
        let (done, waiting): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.linearizing.waiting).into_iter().partition(is_done);
        self.linearizing.waiting = waiting;
        for Waiting { who, deadline, stage } in done {
            let Stage::Round { index, .. } = stage else { continue };
            match who {
                Who::Client { id, demand } => self.reads.wait(id, demand, index, deadline),
                Who::Replica { link, number } => {
                    out.sends.push((link, Message::ReadIndexed(ReadIndexed { number, index })));
                }
            }
        }
    }

    /// All reads that are new share one question to the master.
    fn ask_master(&mut self, out: &mut Output) {
        let Role::Replica(replica) = &self.role else { return };
        let Some(following) = replica.following().filter(|following| following.mode.is_streaming()) else {
            return;
        };
        let (link, epoch) = (following.link, following.epoch);
        let number = self.linearizing.asked + 1;
        let mut asks = false;
        for waiting in &mut self.linearizing.waiting {
            if waiting.stage == Stage::New {
                waiting.stage = Stage::Asked { link, number };
                asks = true;
            }
        }
        if asks {
            self.linearizing.asked = number;
            out.sends.push((link, Message::ReadIndex(ReadIndex { epoch, number })));
        }
    }

    /// A replica of ours asks.
    pub(in crate::node) fn on_read_index(&mut self, link: LinkId, asked: ReadIndex) {
        let deadline = self.now.mono + self.config.link_timeout();
        let Role::Master(master) = &self.role else { return };
        let room = self.linearizing.len() + self.reads.len() < READS_MAX;
        if master.epoch == asked.epoch && master.streams.contains_key(&link) && room {
            let who = Who::Replica { link, number: asked.number };
            self.linearizing.waiting.push(Waiting { who, deadline, stage: Stage::New });
        }
    }

    /// The master has answered.
    pub(in crate::node) fn on_read_indexed(&mut self, link: LinkId, answer: ReadIndexed, out: &mut Output) {
        let number = answer.number;
        self.lives_after(link, number, out);
        let any = self.config.planted.any_index_taken();
        let is_answered = |waiting: &Waiting| match waiting.stage {
            Stage::Asked { link: asked, number: question } => asked == link && (question == number || any),
            Stage::New | Stage::Round { .. } => false,
        };
        let (answered, waiting): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.linearizing.waiting).into_iter().partition(is_answered);
        self.linearizing.waiting = waiting;
        for Waiting { who, deadline, .. } in answered {
            if let Who::Client { id, demand } = who {
                let index = if self.config.planted.index_not_waited_for() { Index::ZERO } else { answer.index };
                self.reads.wait(id, demand, index, deadline);
            }
        }
    }

    fn refuse_late_reads(&mut self, out: &mut Output) {
        let now = self.now.mono;
        let (late, waiting): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.linearizing.waiting).into_iter().partition(|it| it.deadline <= now);
        self.linearizing.waiting = waiting;
        for Waiting { who, .. } in late {
            if let Who::Client { id, .. } = who {
                let refusal = match &self.role {
                    Role::Replica(replica) if replica.is_following() => {
                        Refusal::Stale { staleness: self.outline.staleness(now), applied: self.applied }
                    }
                    Role::Founding(_)
                    | Role::Asking(_)
                    | Role::Candidate(_)
                    | Role::Replica(_)
                    | Role::Master(_) => self.not_master(),
                };
                out.replies.push((id, Err(refusal)));
            }
        }
    }
}
