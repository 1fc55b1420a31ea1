//! Damage is told apart from a torn tail and refused; versions, gaps and leftovers.

extern crate std;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::disk::{Dice, Disk};
use super::model::{Model, config};
use crate::config::FsyncMode;
use crate::time::Time;
use crate::wal::{Draw, JournalConfig, Recovery, RecoveryError, recover};

fn always() -> JournalConfig {
    config(FsyncMode::Always)
}

fn read(disk: &Disk) -> Result<Recovery, RecoveryError<String>> {
    recover(always(), &disk.names(), Draw::default(), |name| disk.read(name))
}

/// A directory with some groups in it, all receipted, closed or not.
fn written(seed: u64, closed: bool) -> (Disk, Model) {
    let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(seed));
    let mut journal = read(&disk).unwrap().journal;
    for _ in 0..12 {
        let batch = model.write(&mut dice);
        disk.carry_out_all(&journal.plan(Time(0), &[batch]));
        if let Some(ops) = journal.spare() {
            disk.carry_out_all(&ops);
            journal.spare_ready();
        }
    }
    model.settle();
    if closed {
        disk.carry_out_all(&journal.close());
    }
    (disk, model)
}

#[test]
fn one_damaged_byte_loses_nothing_in_silence() {
    let mut refused = 0;
    for seed in 0..40 {
        let (disk, model) = written(seed, true);
        let mut dice = Dice::new(seed);
        for name in disk.names().iter().filter(|name| name.starts_with("wal-")) {
            let length = disk.read(name).unwrap().len();
            for _ in 0..40 {
                let mut rotten = disk.clone();
                rotten.rot(name, usize::try_from(dice.below(length as u64)).unwrap());
                match read(&rotten) {
                    // Padding, or what the closing frame itself says.
                    Ok(recovery) => assert!(model.now().is(&recovery.recovered.unwrap())),
                    Err(RecoveryError::Damaged { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert!(refused > 500, "only {refused} were refused");
}

#[test]
fn the_last_frame_alone_is_given_up_where_nothing_follows_it() {
    for seed in 0..40 {
        let (mut disk, model) = written(seed, false);
        let (name, at) = end_of_log(&disk);
        disk.rot(&name, at);
        let recovery = read(&disk).unwrap();
        let last = recovery.recovered.unwrap().entries.last().map(|entry| entry.position.index);
        assert!(last <= Some(model.now().last().index));
        assert!(!recovery.notes.is_empty());
    }
}

/// A byte of the last frame's head: of what it says to be synced.
fn end_of_log(disk: &Disk) -> (String, usize) {
    let mut found = None;
    for name in disk.names().into_iter().filter(|name| name.starts_with("wal-")) {
        let bytes = disk.read(&name).unwrap();
        let seq = u64::from_str_radix(&name[4..20], 16).unwrap();
        for at in (512..bytes.len()).step_by(512) {
            let magic = bytes.get(at..at + 4) == Some(&b"SYNF"[..]);
            if magic && bytes.get(at + 16..at + 24) == Some(&seq.to_le_bytes()[..]) {
                found = Some((name.clone(), at + 44));
            }
        }
    }
    found.unwrap()
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, _) = written(3, true);
    let segments: Vec<String> = disk.names().into_iter().filter(|name| name.starts_with("wal-")).collect();
    assert!(segments.len() > 2, "{segments:?}");
    for missing in &segments[..segments.len() - 1] {
        let names: Vec<String> = disk.names().into_iter().filter(|name| name != missing).collect();
        let Err(RecoveryError::Gap { .. }) = recover(always(), &names, Draw::default(), |name| disk.read(name))
        else {
            panic!("without {missing}");
        };
    }
}

#[test]
fn another_version_is_refused_by_its_number() {
    let (disk, _) = written(4, true);
    let read = |name: &str| {
        let mut bytes = disk.read(name)?.to_vec();
        bytes[8] = 5;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..512]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        Ok::<_, String>(bytes.into())
    };
    let refused = recover(always(), &disk.names(), Draw::default(), read).unwrap_err();
    assert!(matches!(refused, RecoveryError::Version { version: 5, .. }), "{refused}");
}

#[test]
fn a_directory_without_our_files_holds_no_node() {
    let names = vec!["lost+found".into(), "notes.txt".into(), "node.lock".into()];
    let recovery =
        recover(always(), &names, Draw::default(), |name| Err::<bytes::Bytes, _>(String::from(name))).unwrap();
    assert!(recovery.recovered.is_none() && recovery.repairs.is_empty());
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before() {
    let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(5));
    let mut journal = read(&disk).unwrap().journal;
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let batch = model.write(&mut dice);
        disk.carry_out_all(&journal.plan(Time(0), &[batch]));
        model.settle();
        if let Some(batch) = model.snapshot(&mut dice, 2) {
            disk.carry_out_all(&journal.plan(Time(0), &[batch]));
            let cut = model.cut(2);
            taken.push(*model.snapshots.last().unwrap());
            disk.carry_out_all(&journal.plan(Time(0), &[cut]));
        }
    }
    let newest = std::format!("snapshot-{:016x}.snap", taken[1].0);
    disk.rot(&newest, 30);
    let recovery = read(&disk).unwrap();
    let recovered = recovery.recovered.unwrap();
    assert!(model.now().is(&recovered));
    assert_eq!(recovered.snapshot.map(|(meta, _)| meta.position.index), Some(taken[0]));
    disk.carry_out_all(&recovery.repairs);
    assert!(disk.names().contains(&std::format!("{newest}.damaged")));
    let recovered = read(&disk).unwrap().recovered.unwrap();
    assert_eq!(recovered.snapshots.len(), 1);
}

#[test]
fn segments_that_hold_nothing_do_not_say_whose_they_are() {
    let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(5));
    let mut journal = read(&disk).unwrap().journal;
    while model.snapshots.is_empty() {
        let batch = model.write(&mut dice);
        disk.carry_out_all(&journal.plan(Time(0), &[batch]));
        model.settle();
        if let Some(batch) = model.snapshot(&mut dice, 2) {
            disk.carry_out_all(&journal.plan(Time(0), &[batch]));
            model.settle();
        }
    }
    assert!(read(&disk).unwrap().tells_whose);
    for content in [Bytes::new(), Bytes::from(vec![0; 4096]), Bytes::from(vec![7; 4096])] {
        let emptied = |name: &str| if name.starts_with("wal-") { Ok(content.clone()) } else { disk.read(name) };
        let found = recover(always(), &disk.names(), Draw::default(), emptied).unwrap();
        assert!(!found.tells_whose && found.recovered.is_some(), "of the snapshot alone");
    }
}

#[test]
fn a_name_with_the_last_number_is_none_of_ours() {
    let (disk, model) = written(3, true);
    let names: Vec<String> = disk.names().into_iter().chain(["wal-ffffffffffffffff.log".into()]).collect();
    let found = recover(always(), &names, Draw::default(), |name| disk.read(name)).unwrap();
    assert!(model.now().is(&found.recovered.unwrap()));
}

#[test]
#[cfg(feature = "planted-bugs")]
fn the_planted_bug_believes_a_torn_frame() {
    use crate::planted::{Bug, Planted};
    let (mut disk, _) = written(6, false);
    let (name, at) = end_of_log(&disk);
    disk.rot(&name, at - 44 + 48 + 20);
    let last = |config| {
        let recovery = recover(config, &disk.names(), Draw::default(), |name| disk.read(name)).unwrap();
        recovery.recovered.unwrap()
    };
    let honest = last(always());
    let planted = last(JournalConfig { planted: Planted::bug(Bug::TornTailAccepted), ..always() });
    assert!(planted.entries != honest.entries || planted.hard_state != honest.hard_state);
}
