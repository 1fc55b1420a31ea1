//! One file as two images: the cache, which reads see, and the disk, which survives the power.
//!
//! Knows nothing of names. Every rule about sectors is here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::dice::Dice;
use crate::disk::{DiskProfile, FailedSync};

/// The unit in which a disk changes.
pub const SECTOR_BYTES: usize = 512;

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    cache: Vec<u8>,
    on_disk: Vec<u8>,
    /// Sectors whose cache is newer than the disk, with the version of their last write.
    dirty: BTreeMap<usize, u64>,
    /// Sectors that cannot be read any more.
    bad: BTreeSet<usize>,
    version: u64,
}

/// What a sync has promised to put on the disk: the content as it was when the sync began.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    sectors: Vec<(usize, u64, Vec<u8>)>,
    length: usize,
}

impl File {
    pub(super) fn cache(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn on_disk(&self) -> &[u8] {
        &self.on_disk
    }

    /// How much of the disk holds more than zeros up to its end.
    pub(super) fn used(&self) -> usize {
        self.on_disk.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.on_disk.len() < self.cache.len()
    }

    /// Writes to the cache. Bytes between the old end and `at` read as zeros.
    pub(super) fn write(&mut self, at: usize, parts: &[Bytes]) {
        let mut end = at;
        for part in parts {
            let from = end;
            end += part.len();
            if self.cache.len() < end {
                self.cache.resize(end, 0);
            }
            self.cache[from..end].copy_from_slice(part);
        }
        if end > at {
            self.touch(at, end);
        }
    }

    fn touch(&mut self, from: usize, end: usize) {
        self.version += 1;
        for sector in from / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            self.dirty.insert(sector, self.version);
            // A sector that cannot be read can still be written: drives remap it.
            self.bad.remove(&sector);
        }
    }

    /// What a sync that begins now will put on the disk.
    pub(super) fn capture(&self) -> Capture {
        let sectors = self
            .dirty
            .iter()
            .map(|(sector, version)| (*sector, *version, self.cached(*sector).to_vec()))
            .collect();
        Capture { sectors, length: self.cache.len() }
    }

    /// The sync has come to its end.
    pub(super) fn commit(&mut self, capture: Capture) {
        self.lengthen(capture.length);
        for (sector, version, bytes) in capture.sectors {
            self.put(sector, &bytes);
            self.clean(sector, version);
        }
    }

    /// The sync has failed: what it should have written is lost to later syncs, silently.
    pub(super) fn fail(&mut self, capture: Capture, how: FailedSync) {
        for (sector, version, _) in capture.sectors {
            if self.dirty.get(&sector) != Some(&version) {
                continue;
            }
            match how {
                FailedSync::MarksClean => {}
                FailedSync::DropsPages => self.revert(sector),
            }
            self.dirty.remove(&sector);
        }
    }

    /// Up to `count` dirty sectors reach the disk on their own, in any order.
    pub(super) fn write_back(&mut self, count: u64, dice: &mut Dice) {
        for _ in 0..count {
            let nth = dice.below(self.dirty.len() as u64) as usize;
            let Some((sector, version)) = self.dirty.iter().nth(nth).map(|(sector, version)| (*sector, *version))
            else {
                return;
            };
            let bytes = self.cached(sector).to_vec();
            self.put(sector, &bytes);
            self.clean(sector, version);
        }
    }

    /// The power goes: an arbitrary subset of the dirty sectors reaches the disk, whole, torn or as garbage.
    /// Then the cache is gone.
    pub(super) fn crash(&mut self, profile: &DiskProfile, dice: &mut Dice) {
        for (sector, _) in std::mem::take(&mut self.dirty) {
            let fresh = self.cached(sector).to_vec();
            let fate = dice.below(1000) as u32;
            if fate < profile.keep_per_mille {
                self.put(sector, &fresh);
            } else if fate < profile.keep_per_mille + profile.torn_per_mille {
                self.tear(sector, &fresh, dice);
            } else if fate < profile.keep_per_mille + profile.torn_per_mille + profile.garbage_per_mille {
                self.garble(sector, &fresh, dice);
            }
        }
        // The length is metadata of its own: it may be ahead of the data, which then reads as zeros.
        if dice.chance(profile.length_ahead_per_mille) {
            self.lengthen(self.cache.len());
        }
        self.cache.clone_from(&self.on_disk);
    }

    /// One bit of what is on the disk flips, and stays so.
    pub(super) fn rot(&mut self, at: usize, bit: u8) {
        let mask = 1 << (bit % 8);
        if let Some(byte) = self.on_disk.get_mut(at) {
            *byte ^= mask;
            let flipped = *byte;
            if !self.dirty.contains_key(&(at / SECTOR_BYTES)) {
                self.cache[at] = flipped;
            }
        }
    }

    /// What should be in one sector is in another, over what was there; the right one has never been written.
    pub(super) fn misdirect(&mut self, right: usize, wrong: usize) {
        let mut bytes = self.cached(right).to_vec();
        bytes.resize(SECTOR_BYTES, 0);
        let length = self.on_disk.len();
        self.put(wrong, &bytes);
        self.put(right, &[0; SECTOR_BYTES]);
        self.on_disk.truncate(length);
        self.cache.clone_from(&self.on_disk);
    }

    /// A sector becomes unreadable, and stays so until it is written anew.
    pub(super) fn spoil(&mut self, sector: usize) {
        self.bad.insert(sector);
    }

    pub(super) fn readable(&self) -> bool {
        self.bad.is_empty()
    }

    fn cached(&self, sector: usize) -> &[u8] {
        let from = (sector * SECTOR_BYTES).min(self.cache.len());
        let end = (from + SECTOR_BYTES).min(self.cache.len());
        &self.cache[from..end]
    }

    fn put(&mut self, sector: usize, bytes: &[u8]) {
        let from = sector * SECTOR_BYTES;
        self.lengthen(from + bytes.len());
        self.on_disk[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// The front of the sector is new, the rest is old.
    fn tear(&mut self, sector: usize, fresh: &[u8], dice: &mut Dice) {
        let new = dice.below(fresh.len() as u64) as usize;
        self.put(sector, &fresh[..new]);
    }

    /// Noise where the write changed something. What was synced before in the same sector stays: a drive that loses
    /// that loses promises, which no log can make good alone, and is the business of [`File::rot`].
    fn garble(&mut self, sector: usize, fresh: &[u8], dice: &mut Dice) {
        let from = sector * SECTOR_BYTES;
        self.lengthen(from + fresh.len());
        for (old, new) in self.on_disk[from..].iter_mut().zip(fresh) {
            if *old != *new {
                dice.noise(std::slice::from_mut(old));
            }
        }
    }

    fn revert(&mut self, sector: usize) {
        let from = sector * SECTOR_BYTES;
        let end = (from + SECTOR_BYTES).min(self.cache.len());
        for at in from..end {
            self.cache[at] = self.on_disk.get(at).copied().unwrap_or(0);
        }
    }

    fn lengthen(&mut self, length: usize) {
        if self.on_disk.len() < length {
            self.on_disk.resize(length, 0);
        }
    }

    fn clean(&mut self, sector: usize, version: u64) {
        if self.dirty.get(&sector) == Some(&version) {
            self.dirty.remove(&sector);
        }
    }
}
