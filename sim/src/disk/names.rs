//! The names of files as two images: what a listing shows, and what survives the power.
//!
//! A change of names is durable only after a sync of its directory (a rename or link: of the new name's). Until
//! then a crash may keep it or not.

use std::collections::{BTreeMap, BTreeSet};

use crate::dice::Dice;

/// Names a file whatever it is called.
pub(super) type Inode = u64;

/// The names in a data directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    cache: BTreeMap<String, Inode>,
    on_disk: BTreeMap<String, Inode>,
    dirs: BTreeSet<String>,
    on_disk_dirs: BTreeSet<String>,
    /// Changes that are not durable, oldest first, numbered.
    pending: Vec<(u64, Change)>,
    changes: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Set { name: String, inode: Inode },
    Move { from: String, to: String, inode: Inode },
    Drop { name: String },
    MakeDir { dir: String },
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.cache.get(name).copied()
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = (&String, Inode)> {
        self.cache.iter().map(|(name, inode)| (name, *inode))
    }

    /// Names that a power cut now would leave, if it kept nothing that is not durable.
    pub(super) fn durable(&self) -> impl Iterator<Item = (&String, Inode)> {
        self.on_disk
            .iter()
            .filter(|(name, _)| has_dir(&self.on_disk_dirs, name))
            .map(|(name, inode)| (name, *inode))
    }

    pub(super) fn dir_exists(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }

    pub(super) fn set(&mut self, name: &str, inode: Inode) {
        self.cache.insert(name.to_owned(), inode);
        self.push(Change::Set { name: name.to_owned(), inode });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(inode) = self.cache.remove(from) else { return false };
        self.cache.insert(to.to_owned(), inode);
        self.push(Change::Move { from: from.to_owned(), to: to.to_owned(), inode });
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.cache.remove(name).is_some() {
            self.push(Change::Drop { name: name.to_owned() });
        }
    }

    pub(super) fn make_dir(&mut self, dir: &str) {
        if self.dirs.insert(dir.to_owned()) {
            self.push(Change::MakeDir { dir: dir.to_owned() });
        }
    }

    /// What a directory sync that begins now covers.
    pub(super) fn mark(&self) -> u64 {
        self.changes
    }

    /// A sync of `dir` that began at `mark` has come to its end.
    pub(super) fn sync_dir(&mut self, dir: &str, mark: u64) {
        let pending = std::mem::take(&mut self.pending);
        for (number, change) in pending {
            if number <= mark && change.home() == dir {
                self.land(change);
            } else {
                self.pending.push((number, change));
            }
        }
    }

    /// The oldest changes land on their own: a file system's journal keeps their order.
    pub(super) fn write_back(&mut self, count: u64) {
        let count = self.pending.len().min(count as usize);
        let rest = self.pending.split_off(count);
        for (_, change) in std::mem::replace(&mut self.pending, rest) {
            self.land(change);
        }
    }

    /// The power goes. With `ordered` the oldest of the changes that are not durable survive, else any of them.
    pub(super) fn crash(&mut self, ordered: bool, keep_per_mille: u32, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        let mut in_order = true;
        for (_, change) in pending {
            let kept = dice.chance(keep_per_mille);
            in_order &= kept;
            if kept && (in_order || !ordered) {
                self.land(change);
            }
        }
        self.dirs.clone_from(&self.on_disk_dirs);
        let dirs = &self.on_disk_dirs;
        self.on_disk.retain(|name, _| has_dir(dirs, name));
        self.cache.clone_from(&self.on_disk);
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Files that have a name in either image.
    pub(super) fn in_use(&self) -> BTreeSet<Inode> {
        let waiting = self.pending.iter().filter_map(|(_, change)| change.inode());
        self.cache.values().chain(self.on_disk.values()).copied().chain(waiting).collect()
    }

    fn push(&mut self, change: Change) {
        self.changes += 1;
        self.pending.push((self.changes, change));
    }

    fn land(&mut self, change: Change) {
        match change {
            Change::Set { name, inode } => {
                self.on_disk.insert(name, inode);
            }
            Change::Move { from, to, inode } => {
                // The old name may belong to a newer file by now, if its directory was synced first.
                if self.on_disk.get(&from) == Some(&inode) {
                    self.on_disk.remove(&from);
                }
                self.on_disk.insert(to, inode);
            }
            Change::Drop { name } => {
                self.on_disk.remove(&name);
            }
            Change::MakeDir { dir } => {
                self.on_disk_dirs.insert(dir);
            }
        }
    }
}

impl Change {
    /// The directory whose sync makes it durable.
    fn home(&self) -> &str {
        match self {
            Self::Set { name, .. } | Self::Drop { name } => parent(name),
            Self::Move { to, .. } => parent(to),
            Self::MakeDir { dir } => parent(dir),
        }
    }

    fn inode(&self) -> Option<Inode> {
        match self {
            Self::Set { inode, .. } | Self::Move { inode, .. } => Some(*inode),
            Self::Drop { .. } | Self::MakeDir { .. } => None,
        }
    }
}

/// The directory that a name stands in; empty for the data directory itself.
pub(super) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn has_dir(dirs: &BTreeSet<String>, name: &str) -> bool {
    let dir = parent(name);
    dir.is_empty() || dirs.contains(dir)
}
