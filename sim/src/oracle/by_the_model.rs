//! INV-9 and INV-8 by a second opinion: what a node holds at a position, and what clients are told of it, is what the
//! independent model ([`crate::model`]) makes of the same entries. Every state that a node stands at is compared by its
//! hash, its counts and its log time, now and then key by key; every answer by its words.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::Command;
use synap_core::config::Concern;
use synap_core::history::Term;
use synap_core::output::Written;
use synap_core::position::{Epoch, Index, Position};
use synap_core::status::Status;
use synap_core::view::View;

use crate::dice::mix;
use crate::model::{Cell, Fronted, Line, Told, is_long};
use crate::oracle::times::Span;
use crate::oracle::{Fact, Ground, Oracle};

/// So many logs that a failover has parted are kept. Another one is built anew.
const LINES_MAX: usize = 4;

/// Of so many states one is compared key by key.
const WHOLE_ONE_IN: u64 = 64;

/// Compares states and answers with the model.
#[derive(Debug, Default)]
pub(super) struct ByTheModel {
    lines: Vec<Line>,
    /// What was answered at positions that no line has come to yet.
    open: BTreeMap<Position, Vec<Claim>>,
    /// Entries that the lines have taken.
    entries: u64,
    compared: u64,
}

/// Something that a client was told at a position.
#[derive(Debug)]
struct Claim {
    node: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A write gave this.
    Wrote { command: Command, told: Told, early: bool },
    /// A key held this, with its version, at such a time.
    Read { key: Bytes, value: Option<(Bytes, u64)>, span: Span },
    /// An answer of a front.
    Fronted(Fronted, Span),
}

impl Oracle for ByTheModel {
    fn name(&self) -> &'static str {
        "INV-9 states and answers are those of the model"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Applied { node, view, status } => self.stands(ground, *node, view, status),
            Fact::Written { node, command, written, .. } => {
                self.claim(ground, written.position, wrote(*node, command, written))
            }
            Fact::Read { node, key, value, applied, asked_at, linearizable_since, .. } => {
                let by_entries = linearizable_since.is_some();
                let span = ground.times.span(ground.plan, *node, *asked_at, ground.at, by_entries);
                let what = What::Read { key: (*key).clone(), value: value.clone(), span };
                self.claim(ground, *applied, Claim { node: *node, what })
            }
            Fact::Fronted { node, at, answer, asked_at, linearizable } => {
                let span = ground.times.span(ground.plan, *node, *asked_at, ground.at, *linearizable);
                let what = What::Fronted((*answer).clone(), span);
                self.claim(ground, *at, Claim { node: *node, what })
            }
            Fact::Converged { node, history, statuses, .. } => {
                let Some(Some(status)) = statuses.get(*node) else { return Ok(()) };
                self.reach(ground, history.terms(), status.positions.applied)?;
                self.settle(ground)
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

impl ByTheModel {
    fn stands(&mut self, ground: &Ground<'_>, node: usize, view: &View, status: &Status) -> Result<(), String> {
        let applied = view.applied;
        let before = self.entries;
        let Some(line) = self.reach(ground, view.history.terms(), applied)? else { return Ok(()) };
        self.compared += 1;
        let line = &self.lines[line];
        let Some(mark) = line.mark(applied.index.0) else { return Ok(()) };
        let held = (status.hash.0, status.keys, status.results, view.store.log_time().0);
        let same = held == (mark.digest, mark.keys, mark.remembered, mark.log_time);
        let drawn = mix(&[ground.plan.seed, ground.at, node as u64, 17]);
        if !same || drawn.is_multiple_of(WHOLE_ONE_IN) {
            same_cells(line, view).map_err(|differs| format!("n{node} at {applied}: {differs}"))?;
            same_scan(line, view, drawn).map_err(|differs| format!("n{node} at {applied}: {differs}"))?;
        }
        if !same {
            return Err(format!(
                "n{node} at {applied} has hash {:016x}, {} keys, {} results, log time {}; the model has {:016x}, {}, {}, {}",
                held.0, held.1, held.2, held.3, mark.digest, mark.keys, mark.remembered, mark.log_time
            ));
        }
        if before == self.entries { Ok(()) } else { self.settle(ground) }
    }

    fn claim(&mut self, ground: &Ground<'_>, at: Position, claim: Claim) -> Result<(), String> {
        match self.lines.iter().find(|line| line.holds(at)) {
            Some(line) => {
                self.compared += 1;
                claim.check(ground, line, at.index.0)
            }
            None => {
                self.open.entry(at).or_default().push(claim);
                Ok(())
            }
        }
    }

    /// Looks at what was answered where a line has come to by now.
    fn settle(&mut self, ground: &Ground<'_>) -> Result<(), String> {
        let mut open = std::mem::take(&mut self.open);
        let mut settled = Ok(());
        open.retain(|at, claims| {
            let Some(line) = self.lines.iter().find(|line| line.holds(*at)) else { return true };
            self.compared += claims.len() as u64;
            let checked = claims.iter().try_for_each(|claim| claim.check(ground, line, at.index.0));
            settled = std::mem::replace(&mut settled, Ok(())).and(checked);
            false
        });
        self.open = open;
        settled
    }

    /// The line that holds `upto`, made longer or anew if need be; none if not all of its entries were seen.
    fn reach(&mut self, ground: &Ground<'_>, terms: &[Term], upto: Position) -> Result<Option<usize>, String> {
        if let Some(known) = self.lines.iter().position(|line| line.holds(upto)) {
            return Ok(Some(known));
        }
        if upto.index == Index::ZERO {
            return Ok(None);
        }
        let goes_on = |line: &Line| {
            line.last() <= upto.index.0
                && line.position(line.last()).is_none_or(|last| epoch_at(terms, last.index) == Some(last.epoch))
        };
        let longest =
            (0..self.lines.len()).filter(|at| goes_on(&self.lines[*at])).max_by_key(|at| self.lines[*at].last());
        let longest = longest.unwrap_or_else(|| {
            if self.lines.len() == LINES_MAX {
                self.lines.remove(0);
            }
            self.lines.push(Line::default());
            self.lines.len() - 1
        });
        for index in self.lines[longest].last() + 1..=upto.index.0 {
            let index = Index(index);
            let Some(epoch) = epoch_at(terms, index).or_else(|| self.remembered(terms, index)) else {
                return Ok(None);
            };
            let Some(entry) = ground.log.get(Position { epoch, index }) else { return Ok(None) };
            self.lines[longest].push(entry)?;
            self.entries += 1;
        }
        Ok(self.lines[longest].holds(upto).then_some(longest))
    }

    /// The epoch of an entry from before the first term that a node remembers: any line that holds the first entry of that
    /// term has the same entries before it.
    fn remembered(&self, terms: &[Term], index: Index) -> Option<Epoch> {
        let first = terms.first()?;
        let first = Position { epoch: first.epoch, index: first.start };
        let line = self.lines.iter().find(|line| line.holds(first))?;
        line.position(index.0).map(|position| position.epoch)
    }
}

fn epoch_at(terms: &[Term], index: Index) -> Option<Epoch> {
    let after = terms.partition_point(|term| term.start <= index);
    after.checked_sub(1).and_then(|at| terms.get(at)).map(|term| term.epoch)
}

fn wrote(node: usize, command: &Command, written: &Written) -> Claim {
    let told = Told::from(&written.outcome);
    // Such a set may be answered before it is done, and then tells no old value.
    let early = matches!(written.concern, Concern::Async | Concern::Local);
    Claim { node, what: What::Wrote { command: command.clone(), told, early } }
}

impl Claim {
    fn check(&self, ground: &Ground<'_>, line: &Line, index: u64) -> Result<(), String> {
        let Some(mark) = line.mark(index) else { return Ok(()) };
        let node = self.node;
        match &self.what {
            What::Wrote { command, told, early } => {
                let expected = expected(command, &mark.told, told, index);
                let same = expected == *told || *early && expected.clone().without_old() == *told;
                if same {
                    return Ok(());
                }
                Err(format!("n{node} answers {command:?} at {index} with {told:?}; the model gives {expected:?}"))
            }
            What::Read { key, value, span } => {
                let held = line.get(index, key);
                let expected = held.map(|cell| (cell.bytes.clone(), cell.version));
                let why = match (held, value) {
                    (Some(cell), None) => may_be_gone(ground, line, (index, key, cell), span),
                    _ if expected == *value => {
                        held.map_or(Ok(()), |cell| may_be_there(ground, line, (index, key, cell), span))
                    }
                    _ => Err("it is another".to_owned()),
                };
                why.map_err(|why| {
                    format!("n{node} reads {key:?} at {index} as {value:?}; the model has {held:?}: {why}")
                })
            }
            What::Fronted(answer, span) => {
                // Whoever has heard nothing of log time guesses.
                let times = span.by_words.unwrap_or((0, u64::MAX));
                let times = if span.by_entries { (0, 0) } else { times };
                answer.check(line, index, times).map_err(|why| format!("n{node} at {index}: {why}"))
            }
        }
    }
}

/// What stands under a key after an entry: its index, the key and the cell.
type Held<'a> = (u64, &'a Bytes, &'a Cell);

/// Log time goes on where no entry comes: what has an end may have come to it, where nobody has to agree on a clock.
fn may_be_gone(ground: &Ground<'_>, line: &Line, held: Held<'_>, span: &Span) -> Result<(), String> {
    let Some(end) = held.2.expires_at else { return Err("it has no end".to_owned()) };
    if span.by_entries {
        return Err("no entry says that it has come to its end".to_owned());
    }
    if let Some((_, most)) = span.by_words.filter(|(_, most)| *most < end) {
        return Err(format!("its end is {} ms away by the words of masters", end - most));
    }
    true_life(ground, line, held, span).map_or(Ok(()), |[_, gone]| gone)
}

/// What has come to its end is hidden, though no entry says so.
fn may_be_there(ground: &Ground<'_>, line: &Line, held: Held<'_>, span: &Span) -> Result<(), String> {
    let Some(end) = held.2.expires_at.filter(|_| !span.by_entries) else { return Ok(()) };
    if let Some((least, _)) = span.by_words.filter(|(least, _)| *least > end) {
        return Err(format!("its end was {} ms ago by the words of masters", least - end));
    }
    true_life(ground, line, held, span).map_or(Ok(()), |[there, _]| there)
}

/// Whether it may be there and may be gone by true time, since the entry that last changed it.
fn true_life(
    ground: &Ground<'_>,
    line: &Line,
    (index, key, cell): Held<'_>,
    span: &Span,
) -> Option<[Result<(), String>; 2]> {
    span.by_words?;
    let entry = ground.log.get(line.position(line.changed_at(index, key)?)?)?;
    let since = ground.log.written_at(entry.position)?;
    Some(ground.times.lives(ground.plan, since, cell.expires_at?.checked_sub(entry.at.0)?, span))
}

/// What a write is to be told whose entry, or the first under whose key, gave this.
fn expected(command: &Command, gave: &Told, told: &Told, index: u64) -> Told {
    let (Told::Again { .. }, Command::Once { ticket, command }) = (told, command) else { return gave.clone() };
    // The answer to a retry names the entry of the first. A retry's own entry is answered under that name, too.
    if let Told::Again { .. } = gave {
        return gave.clone();
    }
    let long = match (gave, &**command) {
        (Told::Set { old: Some(old), .. }, Command::Set { pair, .. }) => is_long(&pair.key, old),
        _ => false,
    };
    let old_dropped = ticket.wants_old && long;
    let kept = if ticket.wants_old && !long { gave.clone() } else { gave.clone().without_old() };
    Told::Again { first: index, told: Box::new(kept), old_dropped }
}

fn same_cells(line: &Line, view: &View) -> Result<(), String> {
    let index = view.applied.index.0;
    let mut expected = line.cells(index, view.store.log_time().0);
    for item in view.store.scan(b"", None) {
        let (key, cell) = (item.key(), Cell::from(&item));
        match expected.next() {
            Some((known, held)) if known == key && *held == cell => {}
            other => {
                let key = key.escape_ascii();
                return Err(format!("{key} is {cell:?}, where the model has {other:?}"));
            }
        }
    }
    expected.next().map_or(Ok(()), |missing| Err(format!("there is nothing where the model has {missing:?}")))
}

/// A scan such as clients ask for.
fn same_scan(line: &Line, view: &View, drawn: u64) -> Result<(), String> {
    let prefixes: [&[u8]; 4] = [b"", b"k", b"k1", b"w"];
    let prefix = prefixes[(drawn / WHOLE_ONE_IN % 4) as usize];
    let index = view.applied.index.0;
    let at = (index, view.store.log_time().0);
    let keys: Vec<Bytes> = line.cells(at.0, at.1).map(|(key, _)| key.clone()).collect();
    let after = keys.get((drawn >> 16) as usize % (keys.len() + 1)).map(|key| &key[..]);
    let limit = (drawn >> 32) as usize % 4 + 1;
    let (expected, _) = line.scan(at, prefix, after, limit);
    let found: Vec<Bytes> =
        view.store.scan(prefix, after).take(limit).map(|item| Bytes::copy_from_slice(item.key())).collect();
    if found == expected {
        return Ok(());
    }
    Err(format!("a scan of {prefix:?} after {after:?} finds {found:?}; the model finds {expected:?}"))
}
