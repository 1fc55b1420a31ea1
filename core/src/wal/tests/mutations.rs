//! Directories as no crash leaves them: files cut, swapped, copied, overwritten. Recovery gives a node or refuses, and
//! never panics.

extern crate std;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::disk::{Dice, Disk};
use super::model::{Model, config};
use crate::config::FsyncMode;
use crate::time::Time;
use crate::wal::{Draw, Recovery, RecoveryError, recover};

/// Files with their content.
type Files = BTreeMap<String, Vec<u8>>;

fn read(files: &Files) -> Result<Recovery, RecoveryError<String>> {
    let names: Vec<String> = files.keys().cloned().collect();
    let content =
        |name: &str| files.get(name).map(|bytes| Bytes::from(bytes.clone())).ok_or(String::from("absent"));
    recover(config(FsyncMode::Always), &names, Draw::default(), content)
}

/// A directory with a log in a few segments and, now and then, a snapshot.
fn written(dice: &mut Dice) -> Files {
    let (mut disk, mut model) = (Disk::default(), Model::new());
    let names = disk.names();
    let Ok(Recovery { mut journal, .. }) =
        recover(config(FsyncMode::Always), &names, Draw::default(), |name| disk.read(name))
    else {
        panic!("an empty directory is good")
    };
    for _ in 0..dice.below(16) {
        let batch = if dice.one_in(6) { model.truncate(dice) } else { model.write(dice) };
        disk.carry_out_all(&journal.plan(Time(0), &[batch]));
    }
    if dice.one_in(2) {
        disk.carry_out_all(&journal.close());
    }
    let content = |name: String| (name.clone(), disk.read(&name).unwrap().to_vec());
    disk.names().into_iter().map(content).collect()
}

fn place(dice: &mut Dice, below: usize) -> usize {
    usize::try_from(dice.below(below as u64)).unwrap()
}

fn mutate(files: &mut Files, dice: &mut Dice) {
    let names: Vec<String> = files.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = names[place(dice, names.len())].clone();
    let mut bytes = files[&name].clone();
    match dice.below(8) {
        0 => bytes.truncate(place(dice, bytes.len() + 1)),
        1 => {
            let from = place(dice, bytes.len() + 1);
            let upto = (from + place(dice, 2000)).min(bytes.len());
            bytes[from..upto].fill(u8::try_from(dice.below(256)).unwrap());
        }
        2 => bytes.extend((0..dice.below(3000)).map(|n| n.to_le_bytes()[0])),
        3 => {
            // A length or a number that is as large as it can be.
            let from = place(dice, bytes.len() + 1);
            let upto = (from + 8).min(bytes.len());
            bytes[from..upto].fill(0xff);
        }
        4 => {
            let other = names[place(dice, names.len())].clone();
            bytes = files[&other].clone();
        }
        5 => {
            let copy = format!("wal-{:016x}.log", dice.below(12));
            files.insert(copy, bytes.clone());
        }
        6 => {
            files.remove(&name);
            return;
        }
        _ => {
            let index = format!("snapshot-{:016x}.snap", dice.below(12));
            files.insert(index, vec![7; place(dice, 400)]);
        }
    }
    files.insert(name, bytes);
}

#[test]
fn any_directory_is_recovered_or_refused() {
    let (mut good, mut refused) = (0, 0);
    for seed in 0..1500 {
        let mut dice = Dice::new(seed);
        let mut files = written(&mut dice);
        for _ in 0..=dice.below(5) {
            mutate(&mut files, &mut dice);
        }
        match read(&files) {
            Ok(recovery) => {
                good += 1;
                if let Some(recovered) = recovery.recovered {
                    assert!(
                        recovered.committed
                            >= recovered.snapshot.map_or_else(Default::default, |(meta, _)| meta.position.index)
                    );
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!format!("{error}").is_empty());
            }
        }
    }
    assert!(good > 100 && refused > 100, "{good} good, {refused} refused");
}
