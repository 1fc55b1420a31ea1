//! The trace of a run: one fixed-column line per event, and a rolling hash over all of them. Two runs of one plan
//! must give the same, bit for bit.

use std::fmt;

use crate::dice::mix;

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines, or only their hash.
    pub fn new(keep_lines: bool) -> Self {
        Self { hash: 0, events: 0, lines: keep_lines.then(Vec::new) }
    }

    /// Adds an event at `at` microseconds. `parts` are what the hash covers; `line` is written only where lines are
    /// kept.
    pub fn note(&mut self, at: u64, parts: &[u64], line: impl FnOnce() -> String) {
        self.events += 1;
        self.hash = mix(&[self.hash, at, mix(parts)]);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>5}.{:06} {}", at / 1_000_000, at % 1_000_000, line()));
        }
    }

    /// The rolling hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if they are kept.
    pub fn into_lines(self) -> Option<Vec<String>> {
        self.lines
    }
}

/// A number for a thing's printed form, where nothing shorter covers all of it.
pub fn fingerprint(thing: &impl fmt::Debug) -> u64 {
    struct Sink(u64);
    impl fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok(())
        }
    }
    let mut sink = Sink(0xcbf2_9ce4_8422_2325);
    // A sink takes everything.
    let _ = fmt::Write::write_fmt(&mut sink, format_args!("{thing:?}"));
    sink.0
}
