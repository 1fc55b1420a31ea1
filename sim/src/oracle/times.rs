//! What log time can be for whoever answers, and whether a key may be there. Two witnesses, neither of which asks a node:
//!
//! - **Words.** What masters say of log time, and when each node has heard it, gives the least and the most that a node can
//!   take for log time at an instant. What has come to its end by the least is gone; what has not come to it by the most is there.
//! - **True time.** A key that was given a time to live at a true instant is there for that long, and gone after, give or take one
//!   part in a hundred of the time that passed, what clocks may drift, and the ways of the words that were passed on from
//!   master to master (`docs/adr/`, 17). A node whose log time was ahead when it began to follow (it was cut off, and its clock
//!   gains) shows its readers a key's end earlier by that, since time never goes back for them. A mastership whose node had heard nothing of log time in its life has guessed
//!   it: over such a one that holds to a second, if no wall clock was ever wrong, and not at all if one was.
//!
//! INV-17 judges the words themselves (`log_time.rs`).

use std::collections::{BTreeMap, BTreeSet};

use synap_core::message::Message;
use synap_core::position::Epoch;

use super::log_time::{Heard, Word};
use crate::oracle::Fact;
use crate::plan::{Plan, What};

/// Log time leans towards a wall clock by so many millionths of the time that passes, at most.
const LEAN_PPM: u64 = 10_000;

/// Stamps are whole milliseconds, at both ends.
const STAMPS_US: u64 = 4_000;

/// How far a guess may be off while all wall clocks are right: less is not noted on the disk.
const GUESS_US: u64 = 1_100_000;

/// How far it may be off where the disk is another machine's, or is from another time: two wall clocks that are right differ by no more.
const GUESS_ELSEWHERE_US: u64 = 2_100_000;

/// Words beyond this many are forgotten, the oldest first.
const WORDS_MAX: usize = 8_192;

/// What is known of log time.
#[derive(Debug)]
pub struct Times {
    nodes: Vec<Heard>,
    lives: Vec<u32>,
    /// Masterships that have spoken.
    spoke: BTreeSet<(Epoch, usize, u32)>,
    /// When one began, and whether it has guessed.
    begins: Vec<(u64, bool)>,
    /// When each round left.
    left_at: BTreeMap<(Epoch, u64), u64>,
    /// The longest way of a word so far.
    way_us: u64,
}

/// What log time can be while a node answers, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// By the words that it has heard; none if it has heard none in this life.
    pub(super) by_words: Option<(u64, u64)>,
    /// The true time: the node looked between then and now, in microseconds of the run.
    pub(super) from: u64,
    pub(super) upto: u64,
    /// How far ahead the node may have been when it began to follow, in microseconds: its readers are shown nothing that goes back.
    pub(super) ahead_us: u64,
    /// For a linearizable read: it goes by the entries alone.
    pub(super) by_entries: bool,
}

impl Times {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![Heard::default(); nodes],
            lives: vec![0; nodes],
            spoke: BTreeSet::new(),
            begins: Vec::new(),
            left_at: BTreeMap::new(),
            way_us: 0,
        }
    }

    pub(super) fn see(&mut self, plan: &Plan, at: u64, fact: &Fact<'_>) {
        match fact {
            Fact::Started { node, life } => {
                self.nodes[*node] = Heard::default();
                self.lives[*node] = *life;
            }
            Fact::Heard { node, link, message: Message::Append(append), .. } => {
                self.nodes[*node].hears(*link, Word::of(at, append), append.epoch, plan);
                if let Some(left_at) = self.left_at.get(&(append.epoch, append.round)) {
                    self.way_us = self.way_us.max(at - left_at);
                }
            }
            Fact::GaveUp { node, link } => self.nodes[*node].gives_up(*link, at),
            Fact::Heard { node, message: Message::Hello(hello), .. } => {
                self.nodes[*node].heeds(at, &hello.standing, plan);
            }
            Fact::Heard { node, message: Message::Welcome(welcome), .. } => {
                self.nodes[*node].heeds(at, &welcome.standing, plan);
            }
            Fact::Sent { node, life, message: Message::Append(append) } => {
                let heard = &mut self.nodes[*node];
                if self.spoke.insert((append.epoch, *node, *life)) {
                    self.begins.push((at, !heard.knows()));
                }
                heard.takes(Word::of(at, append), append.epoch, plan);
                self.left_at.entry((append.epoch, append.round)).or_insert(at);
                if self.left_at.len() > WORDS_MAX {
                    self.left_at.pop_first();
                }
            }
            _ => {}
        }
    }

    /// What log time can be for a node that answers between two instants of the run.
    pub(super) fn span(&self, plan: &Plan, node: usize, from: u64, upto: u64, by_entries: bool) -> Span {
        let heard = &self.nodes[node];
        let ms = |us: i128| u64::try_from(us / 1_000).unwrap_or(0);
        let least = heard.least(i128::from(from), plan).map(|us| ms(us).saturating_sub(1));
        let most = heard.most(i128::from(upto), plan).map(|us| ms(us) + 2);
        let ahead_us = u64::try_from(heard.ahead(i128::from(upto), plan)).unwrap_or(0);
        Span { by_words: least.zip(most), from, upto, ahead_us, by_entries }
    }

    /// Whether what was given `ttl_ms` when the entry was written that came at `since` may be found there and may be found
    /// gone; each with the reason if it may not.
    pub(super) fn lives(&self, plan: &Plan, since: u64, ttl_ms: u64, span: &Span) -> [Result<(), String>; 2] {
        let due = since + ttl_ms.saturating_mul(1_000).min(1 << 50);
        let early = self.doubt_us(plan, since, span.upto).map(|doubt| doubt + span.ahead_us);
        // Where all guess, the lowest guess counts; and a process that stood still takes one for new that came in meanwhile.
        let stands_still = plan.faults.iter().any(|fault| matches!(fault.what, What::Pause(_)));
        let guessed = self.begins.iter().any(|(at, guessed)| *guessed && (since..=span.from).contains(at));
        let late = self.doubt_us(plan, since, span.from).filter(|_| !(stands_still && guessed));
        let late = late.map(|doubt| doubt + self.way_us * (1 + self.begun(since, span.from)) + self.way_us);
        let gone = match early {
            Some(doubt) if span.upto + doubt < due => Err(format!("it had {} us to live", due - span.upto)),
            Some(_) | None => Ok(()),
        };
        let there = match late {
            Some(doubt) if span.from > due + doubt && !span.by_entries => {
                Err(format!("its time was up {} us ago", span.from - due))
            }
            Some(_) | None => Ok(()),
        };
        [there, gone]
    }

    fn begun(&self, since: u64, upto: u64) -> u64 {
        self.begins.iter().filter(|(at, _)| (since..=upto).contains(at)).count() as u64
    }

    /// How far log time may have gone apart from true time between two instants; none if nobody can tell.
    fn doubt_us(&self, plan: &Plan, since: u64, upto: u64) -> Option<u64> {
        let rate = LEAN_PPM + 2 * u64::from(plan.knobs.drift_ppm_max);
        let passed = upto.saturating_sub(since) * rate / 1_000_000 + STAMPS_US;
        let guessed = |(at, guessed): &&(u64, bool)| *guessed && (since..=upto).contains(at);
        let guesses = self.begins.iter().filter(guessed).count() as u64;
        let wrong = plan.faults.iter().any(|fault| matches!(fault.what, What::WallJump(..)));
        match guesses {
            0 => Some(passed),
            _ if wrong => None,
            guesses if disks_move(plan) => Some(passed + guesses * GUESS_ELSEWHERE_US),
            guesses => Some(passed + guesses * GUESS_US),
        }
    }
}

/// Whether what is noted on a disk may be of another machine's clock.
fn disks_move(plan: &Plan) -> bool {
    let moves = |what: &What| {
        matches!(what, What::SwapDisks(..) | What::OldDisk(_) | What::CopyDisk(..) | What::Restore(..))
    };
    plan.faults.iter().any(|fault| moves(&fault.what))
}
