//! Which lines of the log are repetitions. A line is written when it comes for the first time; while the same line goes on
//! coming it is written once a second, then every two, and so on up to every five minutes, each time with the number of those
//! that were left out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long the same line is left out at first.
const REST_MIN: Duration = Duration::from_secs(1);

/// How long it is left out at most.
const REST_MAX: Duration = Duration::from_secs(300);

/// Different lines that are remembered.
const LINES_MAX: usize = 256;

/// The lines that were written last.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<Vec<u8>, Line>,
}

#[derive(Debug)]
struct Line {
    /// Until then the same line is left out.
    rests_until: Instant,
    rest: Duration,
    left_out: u64,
}

/// A line that is to be written now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) line: Vec<u8>,
    /// How many like it were left out since it was written last.
    pub(super) left_out: u64,
}

impl Repeats {
    /// Takes a line (without its time) at `now`. Returns what is to be written: lines that have rested and of which some
    /// were left out, then this one unless it rests.
    pub(super) fn take(&mut self, line: &[u8], now: Instant) -> Vec<Due> {
        let mut due = self.rested(line, now);
        if let Some(known) = self.lines.get_mut(line) {
            if now < known.rests_until {
                known.left_out += 1;
                return due;
            }
            due.push(Due { line: line.to_vec(), left_out: known.left_out });
            known.write(now);
            return due;
        }
        if self.lines.len() >= LINES_MAX {
            due.extend(self.make_room());
        }
        self.lines.insert(line.to_vec(), Line { rests_until: now + REST_MIN, rest: REST_MIN, left_out: 0 });
        due.push(Due { line: line.to_vec(), left_out: 0 });
        due
    }

    /// What was left out, when nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<Due> {
        let left = self.lines.drain().filter(|(_, known)| known.left_out > 0);
        left.map(|(line, known)| Due { line, left_out: known.left_out }).collect()
    }

    /// Other lines whose rest is over: those of which some were left out are due, those that did not come again are forgotten.
    fn rested(&mut self, but: &[u8], now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        self.lines.retain(|line, known| {
            if now < known.rests_until || line == but {
                return true;
            }
            if known.left_out == 0 {
                return now < known.rests_until + known.rest;
            }
            due.push(Due { line: line.clone(), left_out: known.left_out });
            known.write(now);
            true
        });
        due
    }

    /// Forgets the line whose rest ends first.
    fn make_room(&mut self) -> Option<Due> {
        let first = self.lines.iter().min_by_key(|(_, known)| known.rests_until).map(|(line, _)| line.clone())?;
        let known = self.lines.remove(&first)?;
        (known.left_out > 0).then_some(Due { line: first, left_out: known.left_out })
    }
}

impl Line {
    /// It is written at `now`, and rests for longer than before.
    fn write(&mut self, now: Instant) {
        self.rest = (self.rest * 2).min(REST_MAX);
        self.rests_until = now + self.rest;
        self.left_out = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(line: &str, left_out: u64) -> Due {
        Due { line: line.as_bytes().to_vec(), left_out }
    }

    #[test]
    fn a_repeated_line_comes_less_and_less_often_and_is_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut written = Vec::new();
        for tenth in 0..300 {
            let now = start + Duration::from_millis(100 * tenth);
            written.extend(repeats.take(b"accept failed", now).into_iter().map(|due| (tenth, due.left_out)));
        }
        assert_eq!(written, [(0, 0), (10, 9), (30, 19), (70, 39), (150, 79)]);
        assert_eq!(repeats.finish(), [due("accept failed", 149)]);
    }

    #[test]
    fn other_lines_are_not_held_up_and_bring_what_was_left_out() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.take(b"a", start), [due("a", 0)]);
        assert_eq!(repeats.take(b"a", start), []);
        assert_eq!(repeats.take(b"b", start), [due("b", 0)]);
        assert_eq!(repeats.take(b"c", start + REST_MIN), [due("a", 1), due("c", 0)]);
    }

    #[test]
    fn a_line_that_did_not_come_for_long_is_new() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        repeats.take(b"a", start);
        repeats.take(b"b", start + 2 * REST_MIN);
        assert_eq!(repeats.lines.len(), 1);
    }

    #[test]
    fn a_bounded_number_of_lines_is_remembered() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for number in 0..2 * LINES_MAX {
            assert_eq!(repeats.take(number.to_string().as_bytes(), start), [due(&number.to_string(), 0)]);
        }
        assert_eq!(repeats.lines.len(), LINES_MAX);
    }
}
