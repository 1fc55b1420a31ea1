//! A recorded history: what clients asked of keys and what they were told, on one clock. Owns the record and how it is
//! shown to a person; whether some order explains it is searched by the simulator's own checker. Knows nothing of HTTP.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use synap_sim::linear::{self, Action, Operation};

/// What a key holds; none if it is absent.
pub type Value = Option<String>;

/// The one clock of a history.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

/// An operation, and who saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was asked, when, and whether it was answered. Times are nanoseconds.
    pub operation: Operation<Value>,
    /// Of which key.
    pub key: String,
    /// Who asked.
    pub client: String,
    /// What it was told, and by whom.
    pub told: String,
}

/// All that was seen, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    entries: Vec<Entry>,
}

/// What no order explains, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// The key.
    pub key: String,
    /// The operation whose answer fits no order.
    pub entry: Entry,
    /// That operation among those of its key around it, in columns.
    pub around: String,
}

/// How many operations are shown before the one that fits nowhere, and after it.
const SHOWN_BEFORE: usize = 24;
const SHOWN_AFTER: usize = 8;

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since it began.
    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a test ends within centuries")
    }
}

impl History {
    /// Adds an operation.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Adds what another saw.
    pub fn join(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// All keys that were asked for.
    pub fn keys(&self) -> BTreeSet<String> {
        self.entries.iter().map(|entry| entry.key.clone()).collect()
    }

    /// How many operations were answered.
    pub fn answered(&self) -> usize {
        self.entries.iter().filter(|entry| entry.operation.returned_at.is_some()).count()
    }

    /// How many writes nobody knows the fate of.
    pub fn open(&self) -> usize {
        self.entries.len() - self.answered()
    }

    /// Whether some order of the operations, each at one instant between its call and its return, explains every answer.
    pub fn check(&self) -> Result<(), Box<Unexplained>> {
        let told = self.in_order().into_iter().map(|entry| (entry.key.clone(), entry.operation.clone()));
        linear::check(told, &None).map_err(|linear::Unexplained { key, operation }| {
            let of_key: Vec<&Entry> = self.in_order().into_iter().filter(|entry| entry.key == key).collect();
            let entry = of_key[operation].clone();
            Box::new(Unexplained { key, entry, around: around(&of_key, operation) })
        })
    }

    fn in_order(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.operation.called_at);
        entries
    }
}

/// The operation at `place` among those about its time; and, however long ago they were, all that concern its value.
fn around(of_key: &[&Entry], place: usize) -> String {
    let value = value_of(of_key[place]);
    let near = |at: usize| (place.saturating_sub(SHOWN_BEFORE)..=place + SHOWN_AFTER).contains(&at);
    let mut lines = format!("  {HEAD}\n");
    let shown = of_key.iter().enumerate();
    for (at, entry) in shown.filter(|(at, entry)| near(*at) || value.is_some() && value_of(entry) == value) {
        lines.push_str(&format!("{} {entry}\n", if at == place { '>' } else { ' ' }));
    }
    lines
}

fn value_of(entry: &Entry) -> &Value {
    let (Action::Write(value) | Action::Read(value)) = &entry.operation.action;
    value
}

const HEAD: &str = "   called, ms  returned, ms  key              client      what                  told";

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation: Operation { called_at, returned_at, action }, key, client, told } = self;
        let what = match action {
            Action::Write(Some(value)) => format!("write {value}"),
            Action::Write(None) => "delete".to_owned(),
            Action::Read(Some(value)) => format!("read  {value}"),
            Action::Read(None) => "read  nothing".to_owned(),
        };
        let returned = returned_at.map_or("open".to_owned(), ms);
        write!(f, "{:>13} {returned:>13}  {key:<16} {client:<11} {what:<21} {told}", ms(*called_at))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.in_order().into_iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, entry: _, around } = self;
        write!(f, "no order explains the history of {key}: the answer marked > fits nowhere\n{around}")
    }
}

fn ms(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "shared-1";

    fn entry(called_at: u64, returned_at: Option<u64>, action: Action<Value>) -> Entry {
        let operation = Operation { called_at, returned_at, action };
        Entry { operation, key: KEY.to_owned(), client: "roamer 1".to_owned(), told: "200 by n1".to_owned() }
    }

    fn write(called_at: u64, value: u64) -> Entry {
        entry(called_at, Some(called_at + 5), Action::Write(Some(value.to_string())))
    }

    fn read(called_at: u64, value: Option<u64>) -> Entry {
        entry(called_at, Some(called_at + 5), Action::Read(value.map(|value| value.to_string())))
    }

    /// A hundred writes, each read twice, with a deletion and a write of unknown fate among them.
    fn true_history() -> Vec<Entry> {
        let mut entries = Vec::new();
        for value in 0..100 {
            let at = value * 40;
            entries.extend([write(at, value), read(at + 3, Some(value)), read(at + 10, Some(value))]);
            if value == 30 {
                let deletion = entry(at + 20, Some(at + 25), Action::Write(None));
                entries.extend([deletion, read(at + 30, None)]);
            }
            if value == 60 {
                let lost = entry(at + 20, None, Action::Write(Some("lost".to_owned())));
                let seen = entry(at + 30, Some(at + 35), Action::Read(Some("lost".to_owned())));
                entries.extend([lost, seen]);
            }
        }
        entries
    }

    fn verdict(entries: &[Entry]) -> Result<(), Box<Unexplained>> {
        History { entries: entries.to_vec() }.check()
    }

    #[test]
    fn a_true_history_is_explained_in_whatever_order_it_was_recorded() {
        let mut entries = true_history();
        assert_eq!(verdict(&entries), Ok(()));
        entries.reverse();
        assert_eq!(verdict(&entries), Ok(()));
    }

    #[test]
    fn one_stale_read_is_refused_and_shown() {
        let mut entries = true_history();
        let stale = read(50 * 40 + 11, Some(49));
        entries.push(stale.clone());
        let unexplained = *verdict(&entries).expect_err("49 was overwritten");
        assert_eq!((unexplained.key.as_str(), &unexplained.entry), (KEY, &stale));
        let marked: Vec<&str> = unexplained.around.lines().filter(|line| line.starts_with('>')).collect();
        let expected =
            format!(">      0.002011      0.002016  {KEY:<16} roamer 1    read  49              200 by n1");
        assert_eq!(marked, [expected]);
        assert!(unexplained.around.contains("write 49 "), "{}", unexplained.around);
    }

    /// A write that was answered and is gone is seen by who reads what was there before it.
    #[test]
    fn one_lost_write_is_refused() {
        let mut entries = true_history();
        let lost = write(99 * 40 + 20, 100);
        entries.extend([lost, read(99 * 40 + 30, Some(99))]);
        assert_eq!(verdict(&entries).expect_err("100 was answered").entry, read(99 * 40 + 30, Some(99)));
    }

    #[test]
    fn what_was_refused_must_never_be_seen() {
        // A refused write is not in the history; a read of its value stands there alone.
        let mut entries = true_history();
        entries.push(read(99 * 40 + 30, Some(777)));
        assert!(verdict(&entries).is_err());
    }

    #[test]
    fn an_open_write_may_come_late_and_stays() {
        let mut entries = true_history();
        entries.push(entry(10, None, Action::Write(Some("late".to_owned()))));
        assert_eq!(verdict(&entries), Ok(()));
        entries.push(entry(4000, Some(4001), Action::Read(Some("late".to_owned()))));
        assert_eq!(verdict(&entries), Ok(()));
        entries.push(read(4002, Some(99)));
        assert!(verdict(&entries).is_err());
    }
}
