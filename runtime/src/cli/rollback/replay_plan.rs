//! Whether a discarded operation may be replayed: only where its key has not changed since. Pure.

use std::collections::BTreeMap;

use super::line::{Change, Condition, Discarded, Operation};

/// What was replayed so far, to tell this replay's own changes from others'.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Of a file of an earlier build, whose versions are indices, the first discarded one: what stands below it stands on both sides of
    /// the fork.
    first_index: Option<u64>,
    /// Versions that this replay left behind, by key; none where an operation was skipped.
    keys: BTreeMap<Vec<u8>, Option<u64>>,
    /// New versions of what was replayed, by the versions that it had.
    versions: BTreeMap<u64, u64>,
}

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplayPlan {
    /// Its key still has this version: replay it.
    Replay {
        /// 0 = absent.
        version: u64,
    },
    /// Doing it again would do nothing.
    Idle(&'static str),
    /// Not replayed, and why. What follows on that key is not replayed either.
    Skip(&'static str),
}

impl Ledger {
    /// For a file with these lines.
    pub(super) fn new(lines: &[Discarded]) -> Self {
        let older = lines.iter().all(|line| line.version.is_none());
        let first_index = lines.iter().map(|line| line.index).min().filter(|_| older);
        Self { first_index, keys: BTreeMap::new(), versions: BTreeMap::new() }
    }

    /// Decides on a line whose key has the version `current` now (0 = absent).
    pub(super) fn judge(&self, line: &Discarded, current: u64) -> ReplayPlan {
        let Operation::Client { key, change, condition } = &line.operation else {
            return ReplayPlan::Idle("the log's own, nothing to replay");
        };
        if line.retry_of.is_some() {
            return ReplayPlan::Idle("a retry, which did nothing");
        }
        if let Err(why) = self.unchanged(line, key, current) {
            return ReplayPlan::Skip(why);
        }
        if !self.holds(*condition, current) {
            return ReplayPlan::Idle("its condition does not hold, so it does nothing");
        }
        match change {
            Change::Delete | Change::Expire(_) | Change::Persist if current == 0 => {
                ReplayPlan::Idle("the key is absent, so it does nothing")
            }
            Change::Set { .. } | Change::Delete | Change::Incr(_) | Change::Expire(_) | Change::Persist => {
                ReplayPlan::Replay { version: current }
            }
        }
    }

    /// Whether an earlier line of the file was about this key.
    pub(super) fn knows(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Notes that a line was replayed and left its key at `version`.
    pub(super) fn replayed(&mut self, line: &Discarded, version: u64) {
        if let Operation::Client { key, .. } = &line.operation {
            self.keys.insert(key.clone(), Some(version));
            if let Some(lost) = line.version.unwrap_or(Some(line.index)) {
                self.versions.insert(lost, version);
            }
        }
    }

    /// Notes that a line was skipped because its key had changed: what follows on that key built on it.
    pub(super) fn lost(&mut self, line: &Discarded) {
        if let Operation::Client { key, .. } = &line.operation {
            self.keys.insert(key.clone(), None);
        }
    }

    fn unchanged(&self, line: &Discarded, key: &[u8], current: u64) -> Result<(), &'static str> {
        const CHANGED: &str = "the key has changed since";
        match (self.keys.get(key), line.previous_version) {
            (Some(None), _) => Err("an earlier operation on this key was not replayed"),
            (Some(Some(ours)), _) => (*ours == current).then_some(()).ok_or(CHANGED),
            (None, Some(previous)) => (previous == current).then_some(()).ok_or(CHANGED),
            // Versions only grow, and up to the fork both sides hold the same.
            (None, None) if current > 0 && self.is_shared(line, current) => Ok(()),
            (None, None) if current > 0 => Err(CHANGED),
            (None, None) => Err("what the key held before is not known"),
        }
    }

    fn holds(&self, condition: Condition, current: u64) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Absent => current == 0,
            Condition::Present => current != 0,
            Condition::Version(version) => {
                // A version names one value for ever; where it was an index, only below the fork.
                let named = self.first_index.is_none_or(|first| version < first) && version == current;
                named || self.versions.get(&version) == Some(&current)
            }
        }
    }

    fn is_shared(&self, line: &Discarded, current: u64) -> bool {
        self.first_index.is_some_and(|first| current < first)
            || line.shared_version.is_some_and(|shared| current <= shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: u64, fields: &str, previous: &str) -> Discarded {
        Discarded::parse(&format!(
            r#"{{"epoch":1,"index":{index},"at_ms":0,{fields},"previous_version":{previous},"answered":"yes"}}"#
        ))
        .expect("good")
    }

    fn set(index: u64, previous: &str) -> Discarded {
        line(index, r#""operation":"set","key":"a","value":"x""#, previous)
    }

    #[test]
    fn only_where_the_key_is_as_it_was() {
        let lines = [set(10, "5")];
        let ledger = Ledger::new(&lines);
        assert_eq!(ledger.judge(&lines[0], 5), ReplayPlan::Replay { version: 5 });
        assert_eq!(ledger.judge(&lines[0], 11), ReplayPlan::Skip("the key has changed since"));
        assert_eq!(ledger.judge(&lines[0], 0), ReplayPlan::Skip("the key has changed since"));
    }

    #[test]
    fn a_key_changed_twice_is_replayed_twice() {
        let lines = [set(10, "5"), set(11, "10")];
        let mut ledger = Ledger::new(&lines);
        ledger.replayed(&lines[0], 30);
        assert_eq!(ledger.judge(&lines[1], 30), ReplayPlan::Replay { version: 30 });
        assert_eq!(ledger.judge(&lines[1], 31), ReplayPlan::Skip("the key has changed since"));
    }

    #[test]
    fn what_built_on_a_lost_operation_is_lost_with_it() {
        let lines = [set(10, "5"), set(11, "10")];
        let mut ledger = Ledger::new(&lines);
        ledger.lost(&lines[0]);
        let why = "an earlier operation on this key was not replayed";
        assert_eq!(ledger.judge(&lines[1], 10), ReplayPlan::Skip(why));
    }

    /// As builds write it whose versions are no indices.
    fn versioned(index: u64, previous: &str, version: u64, condition: &str) -> Discarded {
        line(
            index,
            &format!(
                r#""operation":"set","key":"a","value":"x"{condition},"version":{version},"shared_version":2009"#
            ),
            previous,
        )
    }

    #[test]
    fn versions_name_what_was_lost_and_what_took_its_place() {
        let lines = [versioned(10, "2005", 2010, ""), versioned(11, "2010", 2011, r#","if_version":2010"#)];
        let mut ledger = Ledger::new(&lines);
        assert_eq!(ledger.judge(&lines[0], 2005), ReplayPlan::Replay { version: 2005 });
        ledger.replayed(&lines[0], 5000);
        assert_eq!(ledger.judge(&lines[1], 5000), ReplayPlan::Replay { version: 5000 });
        assert_eq!(ledger.judge(&lines[1], 5001), ReplayPlan::Skip("the key has changed since"));
    }

    #[test]
    fn an_unknown_past_is_judged_by_the_last_version_that_both_share() {
        let lines = [versioned(10, "null", 2010, "")];
        let ledger = Ledger::new(&lines);
        assert_eq!(ledger.judge(&lines[0], 2009), ReplayPlan::Replay { version: 2009 });
        assert_eq!(ledger.judge(&lines[0], 2010), ReplayPlan::Skip("the key has changed since"));
        // Whatever the indices are.
        let unknown = [line(5000, r#""operation":"set","key":"a","value":"x","version":null"#, "null")];
        assert_eq!(Ledger::new(&unknown).judge(&unknown[0], 9), ReplayPlan::Skip("the key has changed since"));
    }

    #[test]
    fn an_unknown_past_is_judged_by_the_fork() {
        let lines = [set(10, "null")];
        let ledger = Ledger::new(&lines);
        assert_eq!(ledger.judge(&lines[0], 9), ReplayPlan::Replay { version: 9 });
        assert_eq!(ledger.judge(&lines[0], 10), ReplayPlan::Skip("the key has changed since"));
        assert_eq!(ledger.judge(&lines[0], 0), ReplayPlan::Skip("what the key held before is not known"));
    }

    #[test]
    fn conditions_are_asked_again() {
        let nx = line(10, r#""operation":"set","key":"a","value":"x","nx":true"#, "5");
        let versioned = line(11, r#""operation":"set","key":"a","value":"x","if_version":10"#, "10");
        let lines = [nx, versioned];
        let mut ledger = Ledger::new(&lines);
        assert!(matches!(ledger.judge(&lines[0], 5), ReplayPlan::Idle(_)), "it did nothing then either");
        ledger.replayed(&lines[0], 40);
        assert_eq!(ledger.judge(&lines[1], 40), ReplayPlan::Replay { version: 40 });
    }

    #[test]
    fn a_retry_is_not_done_in_the_place_of_the_first() {
        let retry =
            line(11, r#""operation":"incr","key":"a","amount":1,"idempotency_key":"i","retry_of":3"#, "null");
        let lines = [retry];
        assert!(matches!(Ledger::new(&lines).judge(&lines[0], 3), ReplayPlan::Idle(_)));
    }

    #[test]
    fn removing_what_is_absent_does_nothing() {
        let lines =
            [line(10, r#""operation":"delete","key":"a""#, "0"), line(11, r#""operation":"sweep""#, "null")];
        let ledger = Ledger::new(&lines);
        assert!(matches!(ledger.judge(&lines[0], 0), ReplayPlan::Idle(_)));
        assert!(matches!(ledger.judge(&lines[1], 0), ReplayPlan::Idle(_)));
    }
}
