//! INV-1, at its edges: a voter keeps its word. Who has answered a round votes for nobody before the word has run out that
//! it gave with that answer, counted from when it *heard* the round, in true time; over its own restarts too. It is free of it
//! sooner only where the master to whom it was given cannot lead any more:
//!
//! - that master said so itself;
//! - it handed over after the newest round that the voter has answered, in this life or an earlier one;
//! - a later master leads, since a majority was free of its word to the earlier one when it elected that;
//! - its process is dead or it has resigned, and a majority of the voters had evidence of that before the candidate said so.
//!
//! What a voter, a candidate or a master believes is not asked. All of it is computed anew from what was sent and heard,
//! and from which processes have ended.

use std::collections::{BTreeMap, BTreeSet};

use synap_core::event::Event;
use synap_core::ids::NodeId;
use synap_core::message::{Message, Reason, RequestVote, Waiver};
use synap_core::position::Epoch;
use synap_core::promise::Ack;

use crate::oracle::{Fact, Ground, Oracle};

/// Clocks of nodes count whole microseconds, and words whole milliseconds.
const SLACK_US: u64 = 1_100;

/// What nodes have promised to masters, and which masters are gone.
#[derive(Debug)]
pub(super) struct Words {
    voters: Vec<Voter>,
    /// Who has spoken as the master of an epoch, in which life.
    masters: BTreeMap<Epoch, (usize, u32)>,
    /// The lives that are over.
    dead: BTreeSet<(usize, u32)>,
    /// Masterships whose master has said to somebody that they are over.
    resigned: BTreeSet<Epoch>,
    /// The life that each node is in.
    lives: Vec<u32>,
    /// Tokens that have left: by the mastership that was handed over, the newest round that one names.
    tokens: BTreeMap<Epoch, u64>,
    compared: u64,
}

/// One node.
#[derive(Clone, Debug, Default)]
struct Voter {
    /// The newest mastership that it has heard, and when it heard which round.
    heard: Option<(Epoch, BTreeMap<u64, u64>)>,
    /// To whom it gave its word, and until when it binds at least.
    word: Option<(Epoch, u64)>,
    /// The newest round that it has answered, of the newest mastership.
    answered: Option<(Epoch, u64)>,
    /// The waiver of each candidate that asked it in earnest, and what it had answered by then.
    asked: BTreeMap<Epoch, (Waiver, u64)>,
    /// Who has told it to have evidence, by candidacy.
    evidence: BTreeMap<Epoch, BTreeSet<NodeId>>,
    /// How many voters there are, by its own word; none unarmed.
    voters: usize,
}

impl Voter {
    /// The newest round that it has answered of the master that it gave its word to: no lease rests on one that was only heard.
    fn newest(&self) -> u64 {
        self.answered
            .filter(|(epoch, _)| self.word.is_some_and(|(word, _)| word == *epoch))
            .map_or(0, |(_, round)| round)
    }
}

/// Heard rounds beyond this are forgotten, the oldest first: no ack is as late.
const ROUNDS_MAX: usize = 512;

impl Words {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            voters: vec![Voter::default(); nodes],
            masters: BTreeMap::new(),
            dead: BTreeSet::new(),
            resigned: BTreeSet::new(),
            lives: vec![0; nodes],
            tokens: BTreeMap::new(),
            compared: 0,
        }
    }

    /// Whether the mastership of `epoch` is over, whatever its master may believe.
    fn is_over(&self, epoch: Epoch) -> bool {
        self.resigned.contains(&epoch) || self.masters.get(&epoch).is_some_and(|master| self.dead.contains(master))
    }

    /// A master says that its mastership is over: all of its own are.
    fn resigns(&mut self, node: usize) {
        let own = self.masters.iter().filter(|(_, (master, life))| (*master, *life) == (node, self.lives[node]));
        self.resigned.extend(own.map(|(epoch, _)| *epoch));
    }

    fn asks(&mut self, at: u64, node: usize, request_vote: &RequestVote) -> Result<(), String> {
        let voter = &self.voters[node];
        if request_vote.waiver == Waiver::Evidence {
            self.compared += 1;
            // Itself, and whoever has said so.
            let witnesses = 1 + voter.evidence.get(&request_vote.epoch).map_or(0, BTreeSet::len);
            if witnesses * 2 <= voter.voters {
                return Err(format!(
                    "n{node} waives the word of voters in epoch {}: {witnesses} of {} have evidence",
                    request_vote.epoch, voter.voters
                ));
            }
        }
        let newest = voter.newest();
        if request_vote.pre {
            Ok(())
        } else {
            self.promises(at, node, request_vote.epoch, (request_vote.waiver, newest))
        }
    }

    /// This node promises an epoch that is another's, or a new one of its own.
    fn promises(
        &mut self,
        at: u64,
        node: usize,
        epoch: Epoch,
        (waiver, newest): (Waiver, u64),
    ) -> Result<(), String> {
        let voter = &self.voters[node];
        let Some((master, until)) = voter.word.filter(|(master, until)| *until > at && *master != epoch) else {
            return Ok(());
        };
        self.compared += 1;
        let free = match waiver {
            Waiver::None => false,
            Waiver::Evidence => self.is_over(master),
            Waiver::Handover { epoch: handed, round } => {
                let left = self.tokens.get(&handed).is_some_and(|token| *token >= round);
                left && (handed > master || handed == master && newest <= round)
            }
        };
        if free {
            return Ok(());
        }
        Err(format!(
            "n{node} promises epoch {epoch} by {waiver:?}; it has given its word to the master of epoch {master}, whose \
             round {newest} it has answered, for {} us more",
            until - at
        ))
    }

    fn acks(&mut self, ground: &Ground<'_>, node: usize, ack: &Ack) {
        let voter = &mut self.voters[node];
        let Some((epoch, rounds)) = voter.heard.as_ref().filter(|(epoch, _)| *epoch == ack.epoch()) else {
            return;
        };
        let Some(heard_at) = rounds.get(&ack.round()) else { return };
        // Its clock may gain: then its word is over sooner.
        let rate = 1_000_000 + u64::from(ground.plan.knobs.drift_ppm_max);
        let until = heard_at + (u64::from(ack.word_ms()) * 1_000_000_000 / rate).saturating_sub(SLACK_US);
        let before = voter.word.filter(|(master, _)| master == epoch).map_or(0, |(_, until)| until);
        voter.word = Some((*epoch, until.max(before)));
        voter.answered = voter.answered.max(Some((*epoch, ack.round())));
    }

    fn hears(&mut self, at: u64, node: usize, message: &Message) {
        let voter = &mut self.voters[node];
        let leads = match message {
            Message::Append(append) => Some(append.epoch),
            Message::Welcome(welcome) if welcome.standing.leads => Some(welcome.standing.promised),
            _ => None,
        };
        voter.word = voter.word.filter(|(epoch, _)| leads.is_none_or(|later| later <= *epoch));
        match message {
            Message::Append(append) => {
                if voter.heard.as_ref().is_none_or(|(epoch, _)| *epoch < append.epoch) {
                    voter.heard = Some((append.epoch, BTreeMap::new()));
                }
                let Some((epoch, rounds)) = &mut voter.heard else { return };
                if *epoch == append.epoch {
                    rounds.entry(append.round).or_insert(at);
                    if rounds.len() > ROUNDS_MAX {
                        rounds.pop_first();
                    }
                }
            }
            // Whoever it came from: a master that is being followed, and that its voters need not wait for.
            Message::Bye(Reason::Resigned) => voter.word = None,
            Message::RequestVote(request_vote) if !request_vote.pre => {
                let newest = voter.newest();
                voter.asked.insert(request_vote.epoch, (request_vote.waiver, newest));
            }
            Message::Vote(vote) if vote.evidence() => {
                voter.evidence.entry(vote.epoch()).or_default().insert(vote.voter());
            }
            _ => {}
        }
    }
}

impl Oracle for Words {
    fn name(&self) -> &'static str {
        "INV-1 a voter keeps its word"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        if !ground.plan.knobs.automatic {
            return Ok(());
        }
        match fact {
            Fact::Started { node, life } => {
                self.lives[*node] = *life;
                // Who starts waits by the membership on its disk, which the lease of the master that wrote it is bound by as well. Where
                // members have different timeouts it may be a shorter one than that of the word.
                if !ground.plan.knobs.heartbeats_ms.is_empty() {
                    self.voters[*node].word = None;
                }
            }
            Fact::Ended { node, .. } => {
                self.dead.insert((*node, self.lives[*node]));
                // Whom it has asked, and what it was told, goes with the process; its word does not.
                self.voters[*node].evidence.clear();
            }
            Fact::DiskLost { node } => self.voters[*node] = Voter::default(),
            Fact::DisksSwapped { one, other } => self.voters.swap(*one, *other),
            Fact::Happened { node, event: Event::Regime { voters } } => {
                self.voters[*node].voters = voters.len();
            }
            Fact::Heard { node, message, .. } => self.hears(ground.at, *node, message),
            Fact::Sent { node, life, message } => match message {
                Message::Append(append) => {
                    self.masters.insert(append.epoch, (*node, *life));
                }
                Message::Handover(token) => {
                    let known = self.tokens.entry(token.epoch).or_default();
                    *known = token.round.max(*known);
                }
                Message::Bye(Reason::Resigned) => self.resigns(*node),
                Message::Ack(ack) if ack.word_ms() > 0 => self.acks(ground, *node, ack),
                Message::RequestVote(request_vote) => return self.asks(ground.at, *node, request_vote),
                Message::Vote(vote) if vote.granted() && !vote.pre() => {
                    let waiver = self.voters[*node].asked.get(&vote.epoch()).copied().unwrap_or((Waiver::None, 0));
                    return self.promises(ground.at, *node, vote.epoch(), waiver);
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
