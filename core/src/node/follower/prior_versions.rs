//! What a key held before an entry that was never applied here: whatever the store holds, as long as no entry between
//! the store and that one names the key. Owns the keys that were named; never looks at what an entry does with them.

use alloc::collections::BTreeSet;

use bytes::Bytes;

use crate::command::Command;
use crate::log::Log;
use crate::position::Index;
use crate::store::{Prior, Store};
use crate::version::Version;

/// The keys named by entries that are not applied, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Named {
    keys: BTreeSet<Bytes>,
    /// Read up to here.
    upto: Index,
}

impl Named {
    /// Nothing read yet; the store holds everything up to `applied`.
    pub(in crate::node) fn after(applied: Index) -> Self {
        Self { keys: BTreeSet::new(), upto: applied }
    }

    /// Reads on up to `target`, about `bytes_max` bytes of records at once. Gives whether it is there.
    pub(in crate::node) fn read_upto(&mut self, target: Index, log: &Log, bytes_max: usize) -> bool {
        let mut bytes = 0;
        while self.upto < target && bytes < bytes_max {
            self.upto = self.upto.next();
            if let Some(slot) = log.get(self.upto) {
                let Ok(command) = slot.entry.command() else { panic!("entries in the log decode") };
                bytes += slot.entry.record.len();
                self.name(&command);
            }
        }
        self.upto >= target
    }

    /// Notes what a command names.
    pub(in crate::node) fn name(&mut self, command: &Command) {
        each_key(command, |key| {
            self.keys.insert(key.clone());
        });
    }

    /// The versions of a command's keys before it, as far as the store tells; unknown if it does not tell all of them.
    pub(in crate::node) fn prior(&self, command: &Command, store: &Store) -> Prior {
        let mut versions = alloc::vec::Vec::new();
        let mut all_known = true;
        each_key(command, |key| {
            all_known &= !self.keys.contains(key);
            versions.push(store.view().get(key).map_or(Version::ABSENT, |item| item.version()));
        });
        match (all_known, versions.as_slice()) {
            (false, _) | (_, []) => Prior::Unknown,
            (true, [version]) => Prior::One(*version),
            (true, _) => Prior::Many(versions),
        }
    }
}

/// Every key that a client's command names, in its order.
fn each_key(command: &Command, mut each: impl FnMut(&Bytes)) {
    match command.plain() {
        Command::Set { pair, .. } => each(&pair.key),
        Command::Batch { pairs } => pairs.iter().for_each(|pair| each(&pair.key)),
        Command::Delete { key }
        | Command::Incr { key, .. }
        | Command::Expire { key, .. }
        | Command::Persist { key } => each(key),
        // What a sweep removes had expired: absent before and after.
        Command::If { .. }
        | Command::Once { .. }
        | Command::EpochStart { .. }
        | Command::Config(_)
        | Command::Sweep { .. } => {}
    }
}
