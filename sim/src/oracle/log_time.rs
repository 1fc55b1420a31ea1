//! INV-17: log time goes as fast as true time, whatever wall clocks do. The truth is the run's own time; what a master takes for log
//! time it tells with every append, at the instant at which it sends it.
//!
//! While one node leads, log time may gain or lose one part in a hundred, and what the plan lets monotonic clocks drift. Who leads
//! next goes on from what it was last told; it may be behind by the way of that message, and by no more. A node that was told
//! nothing in this life guesses by its wall clock, which no rule of the run's time binds: such a mastership is judged
//! from its first word on. Who takes over its entries goes on from their stamps, though it may never have sent a word.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::ids::LinkId;
use synap_core::message::{Append, Message, PeerState};
use synap_core::position::{Epoch, Position};
use synap_core::wal::Record;

use crate::oracle::{Fact, Ground, Oracle};
use crate::plan::Plan;

/// Log time leans towards a wall clock by so many millionths of the time that passes, at most.
const LEAN_PPM: i128 = 10_000;
const MILLION: i128 = 1_000_000;

/// Words are whole milliseconds, and times of the run whole microseconds.
const SLACK_US: i128 = 2_000;

/// A word about log time: when, in microseconds of the run, and what, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    at: i128,
    time: i128,
}

/// What a node has said as the master of an epoch.
#[derive(Debug)]
struct Term {
    first: Word,
    last: Word,
}

/// What a node has heard of log time in one life.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The last word of each epoch's master. Several, where the node gave up a link in the turn that was to take them from it: any
    /// of them may be the last that it looked at, or the one before, or none.
    words: BTreeMap<Epoch, Vec<Option<Word>>>,
    /// Words of the newest turn, with the link that each came on and what stood in its place before.
    fresh: Vec<Fresh>,
    /// The last word of all.
    last: Option<Word>,
    /// What the node may have taken log time for when that came: a word that took longer than the one before moves nothing back,
    /// and log time goes on from there.
    floor: Option<Word>,
}

/// A word of the turn that is under way.
#[derive(Clone, Debug)]
struct Fresh {
    link: LinkId,
    at: i128,
    epoch: Epoch,
    before: Vec<Option<Word>>,
}

/// Remembers what masters said of log time, and what each node has heard.
#[derive(Debug)]
pub(super) struct LogTime {
    terms: BTreeMap<(Epoch, usize, u32), Term>,
    /// By node: what it has heard in this life.
    heard: Vec<Heard>,
    /// By node: the newest stamp of each epoch that it has put on disk.
    stamps: Vec<BTreeMap<Epoch, Word>>,
    compared: u64,
}

impl LogTime {
    pub(super) fn new(nodes: usize) -> Self {
        let (heard, stamps) = (vec![Heard::default(); nodes], vec![BTreeMap::new(); nodes]);
        Self { terms: BTreeMap::new(), heard, stamps, compared: 0 }
    }

    fn records(&mut self, ground: &Ground<'_>, node: usize, records: &[Bytes]) {
        for record in records {
            if let Ok(Record::Entry(entry)) = Record::decode(&mut record.clone()) {
                let word = Word { at: i128::from(ground.at), time: i128::from(entry.at.0) * 1_000 };
                self.stamps[node].insert(entry.position.epoch, word);
            }
        }
    }

    fn says(&mut self, ground: &Ground<'_>, node: usize, life: u32, append: &Append) -> Result<(), String> {
        let (word, epoch) = (Word::of(ground.at, append), append.epoch);
        let newest = Position { epoch, index: append.last };
        if let Some(entry) = ground.log.get(newest)
            && entry.at > append.log_time
        {
            return Err(format!(
                "n{node} says that it is {}, after an entry stamped {}",
                append.log_time.0, entry.at.0
            ));
        }
        if let Some(term) = self.terms.get_mut(&(epoch, node, life)) {
            self.compared += 1;
            let [first, last] = [term.first, term.last].map(|earlier| earlier.leads_to(word, ground.plan));
            term.last = word;
            return first.and(last).map_err(|why| format!("n{node} leads in epoch {epoch}, and {why}"));
        }
        let taken = self.takes_over(ground.plan, node, epoch, word);
        self.terms.insert((epoch, node, life), Term { first: word, last: word });
        taken.map_err(|why| format!("n{node} leads from now on in epoch {epoch}, and {why}"))
    }

    /// The first word of a mastership. It follows from the words that the node has heard in this life; and its log may hold what
    /// another master has stamped.
    fn takes_over(&mut self, plan: &Plan, node: usize, epoch: Epoch, word: Word) -> Result<(), String> {
        let heard = &self.heard[node];
        let (Some(least), Some(most)) = (heard.least(word.at, plan), heard.most(word.at, plan)) else {
            return Ok(());
        };
        let said = self.terms.values().map(|term| term.last);
        let stamped = self.stamps[node].range(..epoch).map(|(_, stamp)| *stamp);
        let most = said.chain(stamped).map(|earlier| earlier.most(word.at, plan)).fold(most, i128::max);
        self.compared += 1;
        word.within(least, most)
    }
}

impl Heard {
    pub(super) fn hears(&mut self, link: LinkId, word: Word, epoch: Epoch, plan: &Plan) {
        let before = self.takes(word, epoch, plan);
        self.fresh.retain(|fresh| fresh.at == word.at);
        self.fresh.push(Fresh { link, at: word.at, epoch, before });
    }

    /// Its own word, as a master: gives what was the last word of that epoch.
    pub(super) fn takes(&mut self, word: Word, epoch: Epoch, plan: &Plan) -> Vec<Option<Word>> {
        self.floor = self.most(word.at, plan).map(|time| Word { at: word.at, time: time - SLACK_US });
        self.last = Some(word);
        self.words.insert(epoch, vec![Some(word)]).unwrap_or_else(|| vec![None])
    }

    /// A link was given up: what else the turn was to take from it has not been looked at.
    pub(super) fn gives_up(&mut self, link: LinkId, at: u64) {
        for fresh in self.fresh.extract_if(.., |fresh| fresh.link == link && fresh.at == i128::from(at)) {
            self.words.entry(fresh.epoch).or_default().extend(fresh.before);
        }
    }

    /// Whether a master's word was among it for sure.
    pub(super) fn knows(&self) -> bool {
        self.words.values().any(|last| last.iter().all(Option::is_some))
    }

    /// A node that guesses heeds a peer that need not, until a master tells it better; what its readers were shown does not go back then.
    pub(super) fn heeds(&mut self, at: u64, standing: &PeerState, plan: &Plan) {
        if self.last.is_none() && standing.log_time_known {
            let word = Word { at: i128::from(at), time: i128::from(standing.log_time.0) * 1_000 };
            // A process that stood still takes a word that has waited: what it heeded before has gone on meanwhile.
            self.floor = self.floor.filter(|floor| floor.most(word.at, plan) >= word.time).or(Some(word));
        }
    }

    /// A node need not heed every word, hence the least of all.
    pub(super) fn least(&self, at: i128, plan: &Plan) -> Option<i128> {
        let words = || self.words.values().flatten().flatten();
        self.knows().then(|| words().map(|word| word.least(at, plan)).min())?
    }

    /// By how much what its readers are shown may be ahead of what it was last told: nothing moves back for them.
    pub(super) fn ahead(&self, at: i128, plan: &Plan) -> i128 {
        let floor = self.floor.map(|floor| floor.most(at, plan));
        let last = self.last.map(|last| last.least(at, plan));
        floor.zip(last).map_or(0, |(floor, last)| (floor - last).max(0))
    }

    pub(super) fn most(&self, at: i128, plan: &Plan) -> Option<i128> {
        let floor = self.floor.map(|floor| floor.most(at, plan));
        self.last.map(|last| last.most(at, plan)).max(floor)
    }
}

impl Word {
    pub(super) fn of(at: u64, append: &Append) -> Self {
        Self { at: i128::from(at), time: i128::from(append.log_time.0) * 1_000 }
    }

    /// What log time is at `at` at least, where it went on from here.
    fn least(self, at: i128, plan: &Plan) -> i128 {
        let rate = (MILLION - i128::from(plan.knobs.drift_ppm_max)) * (MILLION - LEAN_PPM);
        self.time + (at - self.at) * rate / (MILLION * MILLION) - SLACK_US
    }

    /// And at most.
    fn most(self, at: i128, plan: &Plan) -> i128 {
        let rate = (MILLION + i128::from(plan.knobs.drift_ppm_max)) * (MILLION + LEAN_PPM);
        self.time + (at - self.at) * rate / (MILLION * MILLION) + SLACK_US
    }

    fn leads_to(self, later: Self, plan: &Plan) -> Result<(), String> {
        let passed = later.at - self.at;
        later
            .within(self.least(later.at, plan), self.most(later.at, plan))
            .map_err(|why| format!("in {passed} us log time went on by {} us: {why}", later.time - self.time))
    }

    fn within(self, least: i128, most: i128) -> Result<(), String> {
        if self.time < least {
            return Err(format!("log time is behind by {} us", least - self.time));
        }
        if self.time > most {
            return Err(format!("log time is ahead by {} us", self.time - most));
        }
        Ok(())
    }
}

impl Oracle for LogTime {
    fn name(&self) -> &'static str {
        "INV-17 log time goes as fast as true time"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Sent { node, life, message: Message::Append(append) } => self.says(ground, *node, *life, append),
            Fact::Heard { node, link, message: Message::Append(append), .. } => {
                self.heard[*node].hears(*link, Word::of(ground.at, append), append.epoch, ground.plan);
                Ok(())
            }
            Fact::Recorded { node, records } => {
                self.records(ground, *node, records);
                Ok(())
            }
            Fact::GaveUp { node, link } => {
                self.heard[*node].gives_up(*link, ground.at);
                Ok(())
            }
            Fact::Started { node, .. } => {
                self.heard[*node] = Heard::default();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}
