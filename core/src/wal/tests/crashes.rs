//! Whatever a receipt was given for comes back after any crash, what none was given for comes back as a prefix of
//! what was written or not at all, and recovery may itself be broken off.

extern crate std;

use alloc::vec::Vec;

use std::time::Duration;

use super::disk::{Dice, Disk};
use super::model::{Model, config};
use crate::config::FsyncMode;
use crate::recovered::Recovered;
use crate::time::Time;
use crate::wal::{Draw, FileOp, Journal, JournalConfig, Lane, Recovery, WriteBatch, recover};

const MODES: [FsyncMode; 3] = [FsyncMode::Always, FsyncMode::Periodic(Duration::from_millis(1)), FsyncMode::Never];

/// One life of one data directory.
struct Life {
    dice: Dice,
    disk: Disk,
    model: Model,
    config: JournalConfig,
    keep: u32,
    spare: Option<Vec<FileOp>>,
    now: Time,
}

/// The process or the power ended.
struct Crash;

impl Life {
    fn new(seed: u64, fsync: FsyncMode) -> Self {
        let mut dice = Dice::new(seed);
        let keep = 1 + u32::try_from(dice.below(2)).unwrap();
        let (disk, model) = (Disk::default(), Model::new());
        Self { dice, disk, model, config: config(fsync), keep, spare: None, now: Time(0) }
    }

    fn live(&mut self) {
        for _ in 0..6 {
            let mut journal = self.start();
            if self.work(&mut journal).is_ok() {
                let ops = journal.close();
                if self.carry_out(&ops).is_ok() {
                    self.model.settle();
                }
            }
            self.spare = None;
        }
        self.start();
    }

    /// Recovers, however often it breaks off, and takes what comes back for the truth if it may be.
    fn start(&mut self) -> Journal {
        loop {
            let Recovery { recovered, journal, repairs, notes, damage, tells_whose } = self.recover();
            std::println!("recovered: {notes:?}, {damage:?}");
            assert!(tells_whose || self.model.states[0].hard_state.is_none(), "whose log it is, is gone");
            match recovered {
                Some(recovered) => {
                    let found = self.model.states.iter().rposition(|state| state.is(&recovered));
                    let promised = Some(recovered.hard_state);
                    let promised = self.model.states.iter().any(|state| state.hard_state == promised);
                    let (Some(found), true) = (found, promised) else {
                        self.explain(&recovered);
                        panic!("recovered what never was");
                    };
                    if self.carry_out(&repairs).is_err() {
                        continue;
                    }
                    // What recovery has given and repaired is durable in every mode.
                    self.model.states.drain(..found);
                    self.model.states.truncate(1);
                    self.model.states[0].hard_state = Some(recovered.hard_state);
                    self.model.snapshots = recovered.snapshots.iter().map(|at| at.index).collect();
                }
                None => {
                    assert_eq!(self.model.states[0].hard_state, None, "a promised log is gone");
                    if self.carry_out(&repairs).is_err() {
                        continue;
                    }
                    self.model.states.truncate(1);
                }
            }
            return journal;
        }
    }

    fn explain(&self, recovered: &Recovered) {
        std::println!("recovered promised {}, base {}, entries", recovered.hard_state.promised, recovered.base);
        recovered.entries.iter().for_each(|entry| std::print!(" {}@{}", entry.position, entry.at.0));
        std::println!("\nsnapshot {:?}", recovered.snapshot.as_ref().map(|(meta, _)| meta.position));
        self.model.states.iter().for_each(|state| std::println!("may be {state}"));
        std::println!("{:?}", self.disk.names());
    }

    fn recover(&mut self) -> Recovery {
        let names = self.disk.names();
        recover(self.config, &names, Draw::default(), |name| self.disk.read(name))
            .unwrap_or_else(|error| panic!("{error}: {names:?}"))
    }

    fn work(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        for _ in 0..self.dice.below(30) {
            self.now = self.now + Duration::from_micros(self.dice.below(400));
            if journal.deadline().is_some_and(|due| due <= self.now) {
                let ops = journal.alarm(self.now);
                self.carry_out(&ops)?;
                self.model.settle();
            }
            match self.dice.below(12) {
                // A node says who it is before it does anything else.
                _ if self.model.states[0].hard_state.is_none() => self.write(journal)?,
                0 => self.truncate(journal)?,
                1 | 2 => self.snapshot(journal)?,
                3 => self.install(journal)?,
                _ => self.write(journal)?,
            }
            self.make_spare(journal)?;
        }
        Ok(())
    }

    fn write(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        let count = 1 + self.dice.below(3);
        let group: Vec<WriteBatch> = (0..count).map(|_| self.model.write(&mut self.dice)).collect();
        self.commit(journal, group)
    }

    fn truncate(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        let mut group = Vec::from([self.model.truncate(&mut self.dice)]);
        if self.dice.one_in(2) {
            group.push(self.model.write(&mut self.dice));
        }
        self.commit(journal, group)
    }

    fn snapshot(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        let Some(batch) = self.model.snapshot(&mut self.dice, self.keep) else {
            return Ok(());
        };
        self.commit(journal, Vec::from([batch]))?;
        let cut = self.model.cut(self.keep);
        self.commit(journal, Vec::from([cut]))
    }

    fn install(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        let (files, mark) = self.model.install(&mut self.dice, self.keep);
        if self.dice.one_in(2) {
            return self.commit(journal, Vec::from([files, mark]));
        }
        self.commit(journal, Vec::from([files]))?;
        self.commit(journal, Vec::from([mark]))
    }

    fn make_spare(&mut self, journal: &mut Journal) -> Result<(), Crash> {
        self.spare = self.spare.take().or_else(|| journal.spare());
        if self.dice.one_in(3)
            && let Some(ops) = self.spare.take()
        {
            self.carry_out(&ops)?;
            journal.spare_ready();
        }
        Ok(())
    }

    fn commit(&mut self, journal: &mut Journal, group: Vec<WriteBatch>) -> Result<(), Crash> {
        let ops = journal.plan(self.now, &group);
        self.carry_out(&ops)?;
        let logged = group.iter().any(|batch| batch.lane() == Lane::Log);
        if self.config.fsync == FsyncMode::Always && logged {
            self.model.settle();
        }
        Ok(())
    }

    fn carry_out(&mut self, ops: &[FileOp]) -> Result<(), Crash> {
        for op in ops {
            if self.dice.one_in(150) {
                // In the middle of the operation: what it did is in the cache, or half of it on the disk.
                if self.dice.one_in(2) {
                    match op {
                        FileOp::Sync { .. } | FileOp::SyncDir { .. } => {}
                        _ => self.disk.carry_out(op),
                    }
                }
                std::println!("crash");
                if !self.dice.one_in(3) {
                    self.disk.lose_power(&mut self.dice);
                }
                return Err(Crash);
            }
            self.disk.carry_out(op);
        }
        Ok(())
    }
}

#[test]
fn what_was_receipted_comes_back_after_any_crash() {
    let seeds = std::env::var("WAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1500);
    let first = std::env::var("WAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        for fsync in MODES {
            std::println!("seed {seed}, {fsync:?}");
            Life::new(seed, fsync).live();
        }
    }
}
