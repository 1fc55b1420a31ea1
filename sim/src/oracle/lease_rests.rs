//! INV-1, at its edges: a lease is no longer than what it rests on. The master's word about its lease is compared with what a
//! majority of voters has answered, in true time: the lease counts from when a round *left* that a voter has answered, for as long
//! as that voter gave its word, less the two parts in a hundred that clocks may drift apart. Rounds up to the one that a
//! token names count no more. For the first election timeout after a cluster was armed, or its voters have changed, the lease may rest on
//! that instead.

use std::collections::BTreeMap;

use synap_core::event::Event;
use synap_core::message::Message;
use synap_core::position::Epoch;
use synap_core::promise::Ack;

use crate::oracle::{Fact, Ground, Oracle};
use crate::plan::What;

/// The part of a word that a lease may last, in hundredths.
const LEASE_PERCENT: u64 = 98;

/// Clocks of nodes count whole microseconds; a turn asks its clock once.
const SLACK_US: u64 = 100;

/// Rounds beyond this are forgotten, the oldest first.
const ROUNDS_MAX: usize = 4_096;

/// What masters have sent, and what was answered.
#[derive(Debug)]
pub(super) struct LeaseRests {
    masters: Vec<Master>,
    /// A machine has had another disk: two members may have one name, and its answers are no longer those of the voter so named.
    two_of_a_name: bool,
    compared: u64,
}

/// What a node does as a master.
#[derive(Clone, Debug, Default)]
struct Master {
    epoch: Epoch,
    /// When each round left.
    rounds: BTreeMap<u64, u64>,
    /// By node: until when the newest round that it has answered gives a lease.
    grants: BTreeMap<usize, (u64, u64)>,
    /// Rounds up to this one give none.
    floor: u64,
    /// Who votes, besides itself, by number; none for one whose name tells no number.
    voters: Vec<Option<usize>>,
    /// Since when it is armed by this membership; none if a token left since.
    armed_at: Option<u64>,
}

impl LeaseRests {
    pub(super) fn new(nodes: usize) -> Self {
        Self { masters: vec![Master::default(); nodes], two_of_a_name: false, compared: 0 }
    }
}

impl Master {
    fn sends(&mut self, at: u64, epoch: Epoch, round: u64) {
        if self.epoch != epoch {
            let (voters, armed_at) = (std::mem::take(&mut self.voters), self.armed_at);
            *self = Self { epoch, voters, armed_at, ..Self::default() };
        }
        self.rounds.entry(round).or_insert(at);
        if self.rounds.len() > ROUNDS_MAX {
            self.rounds.pop_first();
        }
    }

    fn hears(&mut self, ground: &Ground<'_>, from: usize, ack: &Ack) {
        let Some(left_at) = self.rounds.get(&ack.round()).filter(|_| ack.epoch() == self.epoch) else { return };
        let known = self.grants.get(&from).map_or(0, |(round, _)| *round);
        if ack.round() >= known {
            let until = left_at + length_us(ground, u64::from(ack.word_ms()));
            self.grants.insert(from, (ack.round(), until));
        }
    }

    /// Until when a lease may last: as the majority says that goes on for longest.
    fn until(&self, me: usize, ground: &Ground<'_>) -> u64 {
        let of = |voter: &Option<usize>| match voter {
            Some(voter) if *voter == me => u64::MAX,
            Some(voter) => {
                self.grants.get(voter).filter(|(round, _)| *round > self.floor).map_or(0, |(_, until)| *until)
            }
            None => 0,
        };
        let mut grants: Vec<u64> = self.voters.iter().map(of).collect();
        grants.sort_unstable_by(|one, other| other.cmp(one));
        let by_rounds = grants.get(grants.len() / 2).copied().unwrap_or(u64::MAX);
        let arming_us = length_us(ground, ground.plan.election_timeout_us() / 1000);
        by_rounds.max(self.armed_at.map_or(0, |at| at + arming_us))
    }
}

/// How long a lease may be for such a word, in true time: the master's clock may lose.
fn length_us(ground: &Ground<'_>, word_ms: u64) -> u64 {
    let rate = 1_000_000 - u64::from(ground.plan.knobs.drift_ppm_max.min(999_999));
    word_ms * LEASE_PERCENT * 10_000_000 / rate + SLACK_US
}

impl Oracle for LeaseRests {
    fn name(&self) -> &'static str {
        "INV-1 a lease is no longer than what it rests on"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::DiskLost { .. } => self.two_of_a_name = true,
            Fact::Started { node, .. } => self.masters[*node] = Master::default(),
            Fact::Happened { node, event: Event::Regime { voters } } => {
                let master = &mut self.masters[*node];
                // A membership that disarms may have been committed in between.
                master.armed_at = Some(ground.at);
                let number = |name: &String| name.strip_prefix('n')?.parse().ok();
                master.voters = voters.iter().map(number).collect();
            }
            Fact::Sent { node, message: Message::Append(append), .. } => {
                self.masters[*node].sends(ground.at, append.epoch, append.round);
            }
            Fact::Sent { node, message: Message::Handover(token), .. } => {
                let master = &mut self.masters[*node];
                master.floor = master.floor.max(token.round);
                master.armed_at = None;
            }
            Fact::Heard { node, from: Some(from), message: Message::Ack(ack), .. } => {
                self.masters[*node].hears(ground, *from, ack);
            }
            Fact::Leads { node, until: Some(until), .. } if !self.two_of_a_name && names_tell(ground) => {
                self.compared += 1;
                let most = self.masters[*node].until(*node, ground);
                if *until > most {
                    let more = until - most;
                    return Err(format!(
                        "n{node} claims a lease for {more} us longer than a majority has given it"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

/// Whether a member's name tells which machine it is on.
fn names_tell(ground: &Ground<'_>) -> bool {
    !ground.plan.faults.iter().any(|fault| matches!(fault.what, What::SwapDisks(..)))
}
