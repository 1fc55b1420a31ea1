//! A disk for these tests: two images per file, cache and disk, in sectors; names with a life of their own. The
//! simulator has a fuller model; this one is as spiteful as the journal's argument must bear.

extern crate std;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::wal::ops::FileOp;

const SECTOR: usize = 512;

/// A stream of random numbers (xorshift), so that a seed names a run.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    cache: Vec<u8>,
    on_disk: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// Files by number, and two maps of names to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Operations on names since their directory was synced.
    pending: Vec<(String, NameOp)>,
}

#[derive(Clone, Debug)]
enum NameOp {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

fn dir_of(name: &str) -> String {
    name.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_string())
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Disk {
    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn read(&self, name: &str) -> Result<Bytes, String> {
        let file = self.names.get(name).ok_or_else(|| std::format!("{name} is not there"))?;
        Ok(Bytes::from(self.files[*file].cache.clone()))
    }

    /// Changes a byte on the disk and in the cache, as bit rot does.
    pub(super) fn rot(&mut self, name: &str, at: usize) {
        let file = self.names[name];
        self.files[file].cache[at] ^= 0x55;
        self.files[file].on_disk[at] ^= 0x55;
    }

    pub(super) fn carry_out_all(&mut self, ops: &[FileOp]) {
        ops.iter().for_each(|op| self.carry_out(op));
    }

    pub(super) fn carry_out(&mut self, op: &FileOp) {
        match op {
            FileOp::Create { file } => {
                self.files.push(File::default());
                self.name(file, NameOp::Set(file.clone(), self.files.len() - 1));
            }
            FileOp::Write { file, at, parts } => {
                let number = self.names[file];
                self.files[number].write(usize::try_from(*at).unwrap(), &parts.concat());
            }
            FileOp::Sync { file } => {
                let number = *self.names.get(file).unwrap_or_else(|| panic!("sync of absent {file}"));
                self.files[number].sync();
            }
            FileOp::SyncDir { dir } => {
                let pending = std::mem::take(&mut self.pending);
                for (of, op) in pending {
                    if of == *dir {
                        op.apply(&mut self.durable_names);
                    } else {
                        self.pending.push((of, op));
                    }
                }
            }
            FileOp::Rename { from, to } => {
                let number = *self.names.get(from).unwrap_or_else(|| panic!("rename of absent {from}"));
                self.name(to, NameOp::Rename(from.clone(), to.clone(), number));
            }
            FileOp::Link { from, to } => {
                let number = self.names[from];
                self.name(to, NameOp::Set(to.clone(), number));
            }
            FileOp::Remove { file } => {
                if self.names.contains_key(file) {
                    self.name(file, NameOp::Remove(file.clone()));
                }
            }
            FileOp::CreateDir { .. } => {}
        }
    }

    fn name(&mut self, name: &str, op: NameOp) {
        op.apply(&mut self.names);
        self.pending.push((dir_of(name), op));
    }

    /// The power fails: of what was not synced, sectors are there, not there or garbage, and names likewise.
    pub(super) fn lose_power(&mut self, dice: &mut Dice) {
        self.files.iter_mut().for_each(|file| file.lose_power(dice));
        for (_, op) in std::mem::take(&mut self.pending) {
            // Journalling file systems carry out operations on names as a whole, though not always in order.
            let applies = match &op {
                NameOp::Rename(from, _, file) => self.durable_names.get(from) == Some(file),
                NameOp::Set(..) | NameOp::Remove(_) => true,
            };
            if applies && dice.one_in(2) {
                op.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.on_disk = self.cache.clone();
        self.dirty.clear();
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        if !self.dirty.is_empty() && self.cache.len() > self.on_disk.len() && dice.one_in(2) {
            self.on_disk.resize(self.cache.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.on_disk.len()));
            if from >= to {
                continue;
            }
            match dice.below(5) {
                0 => self.on_disk[from..to].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
                1 => {
                    let middle = from + (to - from) / 2;
                    self.on_disk[from..middle].copy_from_slice(&self.cache[from..middle]);
                }
                2 | 3 => self.on_disk[from..to].copy_from_slice(&self.cache[from..to]),
                _ => {}
            }
        }
        self.cache = self.on_disk.clone();
    }
}
