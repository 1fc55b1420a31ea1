//! The trace of a run: a rolling hash over everything that happens, and, where it is kept, a record of each event.
//! Two runs of one plan must give the same, bit for bit.
//!
//! A record is data ([`Step`]), not text: terminals and the viewer print it each in their way. Where records are not
//! kept none is made, so a campaign pays for the hash alone.

mod message;
mod ops;
mod step;

use std::fmt;

use serde::Serialize;

use crate::dice::mix;
pub(crate) use message::is_foreign;
pub use message::{kind_of, line_of, summary};
pub use ops::{is_sync, op_line};
pub use step::{Answer, PeerState, Step};

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    records: Option<Vec<Record>>,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Microseconds since the run began.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub step: Step,
}

impl Trace {
    /// A trace that keeps its records, or only their hash.
    pub fn new(keeps: bool) -> Self {
        Self { hash: 0, events: 0, records: keeps.then(Vec::new) }
    }

    /// Adds an event at `at` microseconds. `parts` are what the hash covers; `step` is made only where records are
    /// kept.
    pub fn note(&mut self, at: u64, parts: &[u64], step: impl FnOnce() -> Step) {
        self.cover(at, parts);
        self.show(at, step);
    }

    /// Adds an event of which the hash says enough.
    pub fn cover(&mut self, at: u64, parts: &[u64]) {
        self.events += 1;
        self.hash = mix(&[self.hash, at, mix(parts)]);
    }

    /// Adds a record that helps whoever reads the trace and says nothing that the hash does not cover elsewhere.
    pub fn show(&mut self, at: u64, step: impl FnOnce() -> Step) {
        if let Some(records) = &mut self.records {
            records.push(Record { at, step: step() });
        }
    }

    /// Whether records are kept.
    pub fn keeps(&self) -> bool {
        self.records.is_some()
    }

    /// The rolling hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The records, if they are kept.
    pub fn into_records(self) -> Option<Vec<Record>> {
        self.records
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}.{:06} {}", self.at / 1_000_000, self.at % 1_000_000, self.step)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(fault: usize) -> Step {
        Step::FaultBegan { fault, nodes: vec![0], text: "Kill(0)".to_owned() }
    }

    #[test]
    fn a_trace_that_keeps_nothing_makes_no_record_and_has_the_same_hash() {
        let (mut kept, mut hashed) = (Trace::new(true), Trace::new(false));
        kept.note(7, &[1, 2], || fault(0));
        kept.show(7, || fault(1));
        hashed.note(7, &[1, 2], || panic!("a record is made"));
        hashed.show(7, || panic!("a record is made"));
        assert_eq!((kept.hash(), kept.events()), (hashed.hash(), hashed.events()));
        assert_eq!(kept.into_records().map(|records| records.len()), Some(2));
        assert_eq!(hashed.into_records(), None);
    }

    #[test]
    fn records_read_as_columns() {
        let record = Record { at: 1_000_020, step: fault(3) };
        assert_eq!(record.to_string(), "    1.000020 fault 3  begins   Kill(0)");
    }
}
