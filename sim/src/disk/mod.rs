//! The modelled disk: what a real one may do to a program, and more of it.
//!
//! Two images, cache and disk ([`file`], [`names`]). An operation has a beginning and an end, so that the power
//! can go in between; whoever drives the disk lets the drawn time pass. The rules are tested one by one in
//! `disk/rules.rs`. It knows nothing of logs, snapshots or nodes.

mod file;
mod names;
#[cfg(test)]
mod rules;

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::wal::FileOp;

use crate::dice::Dice;
pub use file::SECTOR_BYTES;
use file::{Capture, File};
use names::{Inode, Names, parent};

/// How a disk behaves. Everything is drawn by the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskProfile {
    /// Shortest time of an operation that is no sync, in microseconds.
    pub op_us_min: u64,
    /// Longest.
    pub op_us_max: u64,
    /// Shortest time of a sync.
    pub sync_us_min: u64,
    /// Longest.
    pub sync_us_max: u64,
    /// How many of a thousand operations are followed by a write-back that nobody asked for.
    pub write_back_per_mille: u32,
    /// Of a thousand dirty sectors at a power cut: so many survive whole.
    pub keep_per_mille: u32,
    /// So many are torn.
    pub torn_per_mille: u32,
    /// So many are garbage. The rest is lost.
    pub garbage_per_mille: u32,
    /// How many of a thousand power cuts leave a file's length ahead of its data.
    pub length_ahead_per_mille: u32,
    /// Whether changes of names survive a power cut in their order, as with a journalled file system.
    pub ordered_names: bool,
    /// What a failed sync does to the pages it should have written.
    pub failed_sync: FailedSync,
}

/// What a failed sync does to the pages it should have written. Either way the next sync says that all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedSync {
    /// They stay in the cache, marked clean.
    MarksClean,
    /// They are dropped: reads see the disk again.
    DropsPages,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space left. A part of a write may have happened.
    #[error("no space left on device")]
    NoSpace,
    /// The device says no. A sync may have lost what it should have written.
    #[error("input/output error")]
    Io,
    /// There is no file of that name.
    #[error("no such file or directory")]
    NotFound,
    /// The process that held this handle is dead.
    #[error("the power is off")]
    PowerOff,
}

/// A process's hold on the disk. It dies with the process, so that no destructor reaches the disk any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(u64);

/// An operation that has begun.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    /// The time that it takes, in microseconds.
    pub us: u64,
    handle: Handle,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Done(Result<(), DiskError>),
    Sync { inode: Inode, capture: Capture, result: Result<(), DiskError> },
    SyncDir { dir: String, mark: u64, result: Result<(), DiskError> },
}

/// A modelled disk with one data directory.
#[derive(Clone, Debug)]
pub struct ModelDisk {
    profile: DiskProfile,
    dice: Dice,
    names: Names,
    files: BTreeMap<Inode, File>,
    inodes: u64,
    handle: u64,
    /// Counts changes of the disk, so that a reader of it knows when to look again.
    on_disk_version: u64,
    faults: Faults,
    counts: Counts,
    /// How much fits on it, whole rollback files aside, which nothing removes; 0: everything.
    volume_bytes: u64,
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    full: bool,
    fail_syncs: u32,
    slow_factor: u64,
    hanging: Hanging,
}

/// A hand on the disk: the two of a process never wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hand {
    /// The one that writes the log.
    Log,
    /// The one that writes snapshots, and segments ahead.
    Snapshot,
    /// Each of them.
    Both,
}

/// Which hands do nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Hanging {
    /// How many faults want it so.
    log: u32,
    snapshot: u32,
    /// An operation of the log stands there.
    log_is_stuck: bool,
}

/// What happened to a disk, so that a run can tell whether its faults took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Syncs of files that came to a good end.
    pub syncs: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Operations refused for lack of space.
    pub no_space: u64,
    /// Power cuts that met something that was not durable.
    pub dirty_power_cuts: u64,
    /// Bits rotten, sectors spoiled, writes misdirected.
    pub damages: u64,
}

impl ModelDisk {
    /// An empty disk.
    pub fn new(profile: DiskProfile, seed: u64) -> Self {
        Self {
            profile,
            dice: Dice::named(seed, "disk"),
            names: Names::default(),
            files: BTreeMap::new(),
            inodes: 0,
            handle: 0,
            on_disk_version: 0,
            faults: Faults { slow_factor: 1, ..Faults::default() },
            counts: Counts::default(),
            volume_bytes: 0,
        }
    }

    /// A new process takes hold of the disk; every older hold is void.
    pub fn attach(&mut self) -> Handle {
        self.faults.hanging.log_is_stuck = false;
        self.handle += 1;
        Handle(self.handle)
    }

    /// The process is dead, the machine lives on: what it wrote stays in the cache.
    pub fn detach(&mut self) {
        self.handle += 1;
    }

    /// The power is cut: what is not durable survives in part, or not at all.
    pub fn power_cut(&mut self) {
        self.handle += 1;
        self.on_disk_version += 1;
        if self.names.is_dirty() || self.files.values().any(File::is_dirty) {
            self.counts.dirty_power_cuts += 1;
        }
        for file in self.files.values_mut() {
            file.crash(&self.profile, &mut self.dice);
        }
        self.names.crash(self.profile.ordered_names, self.profile.keep_per_mille, &mut self.dice);
        self.forget_nameless();
    }

    /// Begins an operation. A write changes the cache at once; a sync takes what was written before this call.
    pub fn begin(&mut self, handle: Handle, op: &FileOp) -> Begun {
        let us = self.time_of(op);
        let rest =
            if handle == Handle(self.handle) { self.begin_rest(op) } else { Rest::Done(Err(DiskError::PowerOff)) };
        Begun { us, handle, rest }
    }

    /// Ends an operation: what it promised is now so, unless its process died meanwhile.
    pub fn end(&mut self, begun: Begun) -> Result<(), DiskError> {
        if begun.handle != Handle(self.handle) {
            return Err(DiskError::PowerOff);
        }
        let result = self.end_rest(begun.rest);
        self.write_back();
        result
    }

    /// An operation from its beginning to its end.
    pub fn apply(&mut self, handle: Handle, op: &FileOp) -> Result<(), DiskError> {
        let begun = self.begin(handle, op);
        self.end(begun)
    }

    /// Somebody copies a file onto the disk while no process has it: it is there then, whole and durable, unless the disk fails.
    pub fn put_back(&mut self, file: &str, bytes: Bytes) -> Result<(), DiskError> {
        let handle = self.attach();
        let name = || String::from(file);
        let ops = [
            FileOp::Create { file: name() },
            FileOp::Write { file: name(), at: 0, parts: vec![bytes] },
            FileOp::Sync { file: name() },
            FileOp::SyncDir { dir: String::new() },
        ];
        let done = ops.iter().try_for_each(|op| self.apply(handle, op));
        self.detach();
        done
    }

    /// All files' names, in order.
    pub fn list(&self) -> Vec<String> {
        self.names.listed().map(|(name, _)| name.clone()).collect()
    }

    /// A whole file, as the cache has it.
    pub fn read(&self, name: &str) -> Result<Bytes, DiskError> {
        let file = self.names.get(name).and_then(|inode| self.files.get(&inode)).ok_or(DiskError::NotFound)?;
        if file.readable() { Ok(Bytes::copy_from_slice(file.cache())) } else { Err(DiskError::Io) }
    }

    /// Every file with its bytes, as a power cut now would leave it if nothing survived that is not durable.
    pub fn on_disk(&self) -> BTreeMap<String, Bytes> {
        self.names
            .durable()
            .filter_map(|(name, inode)| {
                self.files.get(&inode).map(|file| (name.clone(), Bytes::copy_from_slice(file.on_disk())))
            })
            .collect()
    }

    /// Counts changes of the disk.
    pub fn on_disk_version(&self) -> u64 {
        self.on_disk_version
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// So much fits on it; 0: everything.
    pub fn set_volume(&mut self, bytes: u64) {
        self.volume_bytes = bytes;
    }

    /// How much is free; none if everything fits.
    pub fn free(&self) -> Option<u64> {
        let free = self.volume_bytes.saturating_sub(self.used());
        (self.volume_bytes > 0).then_some(if self.faults.full { 0 } else { free })
    }

    fn used(&self) -> u64 {
        let counted = self.names.listed().filter(|(name, _)| !is_report(name));
        counted.filter_map(|(_, inode)| Some(self.files.get(&inode)?.cache().len() as u64)).sum()
    }

    /// From now on nothing new fits, or it does again.
    pub fn set_full(&mut self, full: bool) {
        self.faults.full = full;
    }

    /// From now on everything takes so many times as long.
    pub fn set_slow(&mut self, factor: u64) {
        self.faults.slow_factor = factor.max(1);
    }

    /// From now on a hand does nothing: what it has begun does not end. Or it goes on.
    pub fn set_hanging(&mut self, hand: Hand, hangs: bool) {
        let hanging = &mut self.faults.hanging;
        let change = |count: &mut u32| *count = if hangs { *count + 1 } else { count.saturating_sub(1) };
        match hand {
            Hand::Log => change(&mut hanging.log),
            Hand::Snapshot => change(&mut hanging.snapshot),
            Hand::Both => {
                change(&mut hanging.log);
                change(&mut hanging.snapshot);
            }
        }
        if hanging.log == 0 {
            hanging.log_is_stuck = false;
        }
    }

    /// Whether a hand does nothing now; of both, whether one of them does.
    pub fn hangs(&self, hand: Hand) -> bool {
        let hanging = &self.faults.hanging;
        match hand {
            Hand::Log => hanging.log > 0,
            Hand::Snapshot => hanging.snapshot > 0,
            Hand::Both => hanging.log + hanging.snapshot > 0,
        }
    }

    /// An operation of this hand would end now. True: it does not, and is to be asked again.
    pub fn holds_up(&mut self, hand: Hand) -> bool {
        let hangs = self.hangs(hand);
        if hangs && hand == Hand::Log {
            self.faults.hanging.log_is_stuck = true;
        }
        hangs
    }

    /// Whether something of the log has begun and does not end.
    pub fn is_stuck(&self) -> bool {
        self.faults.hanging.log_is_stuck
    }

    /// The next syncs of files fail.
    pub fn fail_syncs(&mut self, count: u32) {
        self.faults.fail_syncs = count;
    }

    /// A bit of a file whose name has `prefix` rots on the disk. False if there is no such file with content.
    pub fn rot(&mut self, prefix: &str) -> bool {
        let Some(inode) = self.some_file(prefix) else { return false };
        let Some(file) = self.files.get_mut(&inode) else { return false };
        let used = file.used();
        if used == 0 {
            return false;
        }
        let at = self.dice.below(used as u64) as usize;
        file.rot(at, self.dice.below(8) as u8);
        self.counts.damages += 1;
        self.on_disk_version += 1;
        true
    }

    /// A sector of a file whose name has `prefix` becomes unreadable. False if there is no such file with content.
    pub fn spoil(&mut self, prefix: &str) -> bool {
        let Some(inode) = self.some_file(prefix) else { return false };
        let Some(file) = self.files.get_mut(&inode) else { return false };
        let sectors = file.cache().len().div_ceil(SECTOR_BYTES);
        if sectors == 0 {
            return false;
        }
        file.spoil(self.dice.below(sectors as u64) as usize);
        self.counts.damages += 1;
        true
    }

    /// What was last written to a sector of a file whose name has `prefix` is found in another sector of it, whose content
    /// is lost; the right one is as if it had never been written. False if there is no such file with two sectors in use.
    pub fn misdirect(&mut self, prefix: &str) -> bool {
        let Some(inode) = self.some_file(prefix) else { return false };
        let Some(file) = self.files.get_mut(&inode) else { return false };
        let sectors = file.used().div_ceil(SECTOR_BYTES) as u64;
        if sectors < 2 {
            return false;
        }
        let right = self.dice.below(sectors);
        let wrong = (right + self.dice.between(1, sectors - 1)) % sectors;
        file.misdirect(right as usize, wrong as usize);
        self.counts.damages += 1;
        self.on_disk_version += 1;
        true
    }

    /// Everything is gone, as with a new disk in the old place.
    pub fn wipe(&mut self) {
        self.handle += 1;
        self.on_disk_version += 1;
        self.names = Names::default();
        self.files.clear();
    }

    /// The content of `older` is put in this disk's place, as from a backup or an old machine.
    pub fn restore(&mut self, older: &Self) {
        self.handle += 1;
        self.on_disk_version += 1;
        self.names = older.names.clone();
        self.files.clone_from(&older.files);
        self.inodes = self.inodes.max(older.inodes);
    }

    /// Two machines exchange what is on their disks. How each disk behaves stays with its machine.
    pub fn exchange(&mut self, other: &mut Self) {
        for disk in [&mut *self, &mut *other] {
            disk.handle += 1;
            disk.on_disk_version += 1;
        }
        std::mem::swap(&mut self.names, &mut other.names);
        std::mem::swap(&mut self.files, &mut other.files);
        std::mem::swap(&mut self.inodes, &mut other.inodes);
        std::mem::swap(&mut self.counts.damages, &mut other.counts.damages);
    }

    fn time_of(&mut self, op: &FileOp) -> u64 {
        let us = match op {
            FileOp::Sync { .. } | FileOp::SyncDir { .. } => {
                self.dice.between(self.profile.sync_us_min, self.profile.sync_us_max)
            }
            FileOp::Create { .. }
            | FileOp::Write { .. }
            | FileOp::Rename { .. }
            | FileOp::Link { .. }
            | FileOp::Remove { .. }
            | FileOp::CreateDir { .. } => self.dice.between(self.profile.op_us_min, self.profile.op_us_max),
        };
        us * self.faults.slow_factor
    }

    fn begin_rest(&mut self, op: &FileOp) -> Rest {
        match op {
            FileOp::Create { file } => Rest::Done(self.create(file)),
            FileOp::Write { file, at, parts } => Rest::Done(self.write(file, *at as usize, parts)),
            FileOp::Sync { file } => self.begin_sync(file),
            FileOp::SyncDir { dir } => self.begin_sync_dir(dir),
            FileOp::Rename { from, to } => Rest::Done(self.rename(from, to)),
            FileOp::Link { from, to } => Rest::Done(self.link(from, to)),
            FileOp::Remove { file } => {
                self.names.remove(file);
                Rest::Done(Ok(()))
            }
            FileOp::CreateDir { dir } => {
                self.names.make_dir(dir);
                Rest::Done(Ok(()))
            }
        }
    }

    fn end_rest(&mut self, rest: Rest) -> Result<(), DiskError> {
        match rest {
            Rest::Done(result) => result,
            Rest::Sync { inode, capture, result } => {
                let failed_sync = self.profile.failed_sync;
                if let Some(file) = self.files.get_mut(&inode) {
                    match result {
                        Ok(()) => file.commit(capture),
                        Err(_) => file.fail(capture, failed_sync),
                    }
                }
                match result {
                    Ok(()) => self.counts.syncs += 1,
                    Err(_) => self.counts.failed_syncs += 1,
                }
                self.on_disk_version += 1;
                result
            }
            Rest::SyncDir { dir, mark, result } => {
                if result.is_ok() {
                    self.names.sync_dir(&dir, mark);
                    self.on_disk_version += 1;
                    self.forget_nameless();
                }
                result
            }
        }
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        if self.faults.full {
            self.counts.no_space += 1;
            return Err(DiskError::NoSpace);
        }
        if !self.names.dir_exists(parent(name)) {
            return Err(DiskError::NotFound);
        }
        self.inodes += 1;
        self.files.insert(self.inodes, File::default());
        self.names.set(name, self.inodes);
        Ok(())
    }

    fn write(&mut self, name: &str, at: usize, parts: &[Bytes]) -> Result<(), DiskError> {
        let inode = self.names.get(name).ok_or(DiskError::NotFound)?;
        let used = if self.volume_bytes > 0 { self.used() } else { 0 };
        let file = self.files.get_mut(&inode).ok_or(DiskError::NotFound)?;
        let length: usize = parts.iter().map(Bytes::len).sum();
        let grows = (at + length).saturating_sub(file.cache().len());
        let full = self.faults.full || self.volume_bytes > 0 && used + grows as u64 > self.volume_bytes;
        if full && grows > 0 {
            // What fits the space that the file already has, and a part of the rest.
            let room = length - grows + self.volume_bytes.saturating_sub(used) as usize;
            let most = if self.faults.full { length } else { length.min(room + 1) };
            let fits = self.dice.below(most as u64) as usize;
            file.write(at, &front(parts, fits));
            self.counts.no_space += 1;
            return Err(DiskError::NoSpace);
        }
        file.write(at, parts);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let there = self.names.dir_exists(parent(to)) && self.names.rename(from, to);
        there.then_some(()).ok_or(DiskError::NotFound)
    }

    fn link(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let inode = self.names.get(from).filter(|_| self.names.dir_exists(parent(to)));
        self.names.set(to, inode.ok_or(DiskError::NotFound)?);
        Ok(())
    }

    fn begin_sync(&mut self, name: &str) -> Rest {
        let Some(inode) = self.names.get(name) else { return Rest::Done(Err(DiskError::NotFound)) };
        let Some(file) = self.files.get(&inode) else { return Rest::Done(Err(DiskError::NotFound)) };
        let capture = file.capture();
        let result = if self.faults.fail_syncs > 0 {
            self.faults.fail_syncs -= 1;
            Err(DiskError::Io)
        } else {
            Ok(())
        };
        Rest::Sync { inode, capture, result }
    }

    fn begin_sync_dir(&mut self, dir: &str) -> Rest {
        if !self.names.dir_exists(dir) {
            return Rest::Done(Err(DiskError::NotFound));
        }
        Rest::SyncDir { dir: dir.to_owned(), mark: self.names.mark(), result: Ok(()) }
    }

    /// Now and then something that is not durable becomes so by itself.
    fn write_back(&mut self) {
        if !self.dice.chance(self.profile.write_back_per_mille) {
            return;
        }
        let nth = self.dice.below(self.files.len() as u64) as usize;
        let count = self.dice.between(1, 4);
        if let Some(file) = self.files.values_mut().nth(nth) {
            file.write_back(count, &mut self.dice);
        }
        if self.dice.chance(200) {
            self.names.write_back(count);
        }
        self.on_disk_version += 1;
    }

    fn some_file(&mut self, prefix: &str) -> Option<Inode> {
        let fit: Vec<Inode> =
            self.names.listed().filter(|(name, _)| name.starts_with(prefix)).map(|(_, inode)| inode).collect();
        (!fit.is_empty()).then(|| *self.dice.pick(&fit))
    }

    fn forget_nameless(&mut self) {
        let used = self.names.in_use();
        self.files.retain(|inode, _| used.contains(inode));
    }
}

impl Default for DiskProfile {
    /// A decent drive: tears and loses at a power cut, does nothing else of its own.
    fn default() -> Self {
        Self {
            op_us_min: 1,
            op_us_max: 20,
            sync_us_min: 100,
            sync_us_max: 2_000,
            write_back_per_mille: 20,
            keep_per_mille: 300,
            torn_per_mille: 200,
            garbage_per_mille: 100,
            length_ahead_per_mille: 300,
            ordered_names: true,
            failed_sync: FailedSync::MarksClean,
        }
    }
}

/// The first `length` bytes of `parts`.
fn front(parts: &[Bytes], length: usize) -> Vec<Bytes> {
    let mut left = length;
    let mut taken = Vec::new();
    for part in parts {
        let take = part.len().min(left);
        taken.push(part.slice(..take));
        left -= take;
    }
    taken
}

/// A whole rollback file, or what is kept beside one: whoever reads it takes it away.
fn is_report(name: &str) -> bool {
    name.starts_with("rollback/") && !name.ends_with(".tmp")
}
