//! The rules of the modelled disk, one test each.

use bytes::Bytes;
use synap_core::wal::FileOp;

use super::{DiskError, DiskProfile, FailedSync, Handle, ModelDisk, SECTOR_BYTES};

/// A disk that loses everything that is not durable, and never writes back on its own.
fn strict() -> DiskProfile {
    DiskProfile {
        write_back_per_mille: 0,
        keep_per_mille: 0,
        torn_per_mille: 0,
        garbage_per_mille: 0,
        length_ahead_per_mille: 0,
        ..DiskProfile::default()
    }
}

fn create(file: &str) -> FileOp {
    FileOp::Create { file: file.to_owned() }
}

fn write(file: &str, at: u64, bytes: &[u8]) -> FileOp {
    FileOp::Write { file: file.to_owned(), at, parts: vec![Bytes::copy_from_slice(bytes)] }
}

fn sync(file: &str) -> FileOp {
    FileOp::Sync { file: file.to_owned() }
}

fn sync_dir(dir: &str) -> FileOp {
    FileOp::SyncDir { dir: dir.to_owned() }
}

fn rename(from: &str, to: &str) -> FileOp {
    FileOp::Rename { from: from.to_owned(), to: to.to_owned() }
}

fn run(disk: &mut ModelDisk, handle: Handle, ops: &[FileOp]) {
    for op in ops {
        assert_eq!(disk.apply(handle, op), Ok(()), "{op:?}");
    }
}

/// A disk with a durable file `log` of `content`.
fn with_log(profile: DiskProfile, seed: u64, content: &[u8]) -> (ModelDisk, Handle) {
    let mut disk = ModelDisk::new(profile, seed);
    let handle = disk.attach();
    run(&mut disk, handle, &[create("log"), write("log", 0, content), sync("log"), sync_dir("")]);
    (disk, handle)
}

#[test]
fn a_write_is_seen_at_once_and_lost_with_the_power() {
    let (mut disk, handle) = with_log(strict(), 1, b"old");
    run(&mut disk, handle, &[write("log", 0, b"new")]);
    assert_eq!(disk.read("log").unwrap(), "new");
    disk.power_cut();
    assert_eq!(disk.read("log").unwrap(), "old");
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let (mut disk, handle) = with_log(strict(), 1, b"old");
    run(&mut disk, handle, &[write("log", 0, b"new"), create("more")]);
    disk.detach();
    assert_eq!(disk.read("log").unwrap(), "new");
    assert_eq!(disk.list(), ["log", "more"]);
    disk.power_cut();
    assert_eq!(disk.read("log").unwrap(), "old", "it was not durable for all that");
}

#[test]
fn a_sync_covers_what_was_written_before_it_began_and_no_more() {
    let (mut disk, handle) = with_log(strict(), 1, b"aaaa");
    run(&mut disk, handle, &[write("log", 0, b"bb")]);
    let begun = disk.begin(handle, &sync("log"));
    run(&mut disk, handle, &[write("log", 2, b"cc")]);
    assert_eq!(disk.on_disk()["log"], "aaaa", "nothing is promised before the sync ends");
    assert_eq!(disk.end(begun), Ok(()));
    assert_eq!(disk.on_disk()["log"], "bbaa");
    disk.power_cut();
    assert_eq!(disk.read("log").unwrap(), "bbaa");
}

#[test]
fn a_power_cut_inside_a_sync_keeps_any_subset_of_its_sectors() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let profile = DiskProfile { keep_per_mille: 500, ..strict() };
        let (mut disk, handle) = with_log(profile, seed, &[0; 3 * SECTOR_BYTES]);
        run(&mut disk, handle, &[write("log", 0, &[1; 3 * SECTOR_BYTES])]);
        let begun = disk.begin(handle, &sync("log"));
        disk.power_cut();
        assert_eq!(disk.end(begun), Err(DiskError::PowerOff));
        let bytes = disk.read("log").unwrap();
        seen.insert(bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 8, "all eight subsets of three sectors: {seen:?}");
}

#[test]
fn a_torn_sector_is_new_in_front_and_old_behind() {
    for seed in 0..50 {
        let (mut disk, handle) =
            with_log(DiskProfile { torn_per_mille: 1000, ..strict() }, seed, &[0; SECTOR_BYTES]);
        run(&mut disk, handle, &[write("log", 0, &[1; SECTOR_BYTES])]);
        disk.power_cut();
        let bytes = disk.read("log").unwrap();
        let new = bytes.iter().take_while(|byte| **byte == 1).count();
        assert!(new < SECTOR_BYTES && bytes[new..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn garbage_hits_only_what_was_written_and_not_synced() {
    let (mut disk, handle) = with_log(DiskProfile { garbage_per_mille: 1000, ..strict() }, 3, &[7; SECTOR_BYTES]);
    run(&mut disk, handle, &[write("log", 100, &[8; SECTOR_BYTES])]);
    disk.power_cut();
    let bytes = disk.read("log").unwrap();
    assert_eq!(&bytes[..100], &[7; 100], "synced bytes of the same sector stay");
    assert_ne!(&bytes[100..SECTOR_BYTES], &[8; SECTOR_BYTES - 100]);
}

#[test]
fn dirty_sectors_reach_the_disk_on_their_own_and_out_of_order() {
    let mut second_first = false;
    for seed in 0..50 {
        let profile = DiskProfile { write_back_per_mille: 1000, ..strict() };
        let mut disk = ModelDisk::new(profile, seed);
        let handle = disk.attach();
        run(&mut disk, handle, &[create("log"), sync_dir("")]);
        run(&mut disk, handle, &[write("log", 0, &[1; 8 * SECTOR_BYTES])]);
        let bytes = disk.on_disk()["log"].clone();
        second_first |= bytes.len() > SECTOR_BYTES && bytes[0] == 0;
    }
    assert!(second_first);
}

#[test]
fn a_new_name_is_durable_only_after_its_directory() {
    let mut disk = ModelDisk::new(strict(), 1);
    let handle = disk.attach();
    run(&mut disk, handle, &[create("log"), write("log", 0, b"x"), sync("log")]);
    disk.power_cut();
    assert!(disk.list().is_empty(), "synced bytes without a synced name are gone");
}

#[test]
fn a_rename_is_durable_only_after_its_directory_and_is_never_half() {
    for (synced, name) in [(false, "log"), (true, "log.1")] {
        let (mut disk, handle) = with_log(strict(), 1, b"x");
        run(&mut disk, handle, &[rename("log", "log.1")]);
        if synced {
            run(&mut disk, handle, &[sync_dir("")]);
        }
        disk.power_cut();
        assert_eq!(disk.list(), [name]);
    }
}

#[test]
fn an_unlink_is_durable_only_after_its_directory() {
    let (mut disk, handle) = with_log(strict(), 1, b"x");
    run(&mut disk, handle, &[FileOp::Remove { file: "log".to_owned() }]);
    assert!(disk.list().is_empty());
    disk.power_cut();
    assert_eq!(disk.list(), ["log"]);
}

#[test]
fn a_file_in_a_directory_needs_both_names() {
    let mkdir = FileOp::CreateDir { dir: "rollback".to_owned() };
    for (synced, count) in [(false, 0), (true, 1)] {
        let mut disk = ModelDisk::new(strict(), 1);
        let handle = disk.attach();
        run(&mut disk, handle, &[mkdir.clone(), create("rollback/a"), sync("rollback/a"), sync_dir("rollback")]);
        if synced {
            run(&mut disk, handle, &[sync_dir("")]);
        }
        assert_eq!(disk.on_disk().len(), count);
        disk.power_cut();
        assert_eq!(disk.list().len(), count);
    }
}

#[test]
fn without_a_journal_any_of_the_new_names_may_survive() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let profile = DiskProfile { ordered_names: false, keep_per_mille: 500, ..strict() };
        let mut disk = ModelDisk::new(profile, seed);
        let handle = disk.attach();
        run(&mut disk, handle, &[create("a"), create("b")]);
        disk.power_cut();
        seen.insert(disk.list());
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_link_is_a_second_name_of_the_same_bytes() {
    let (mut disk, handle) = with_log(strict(), 1, b"x");
    run(&mut disk, handle, &[FileOp::Link { from: "log".to_owned(), to: "keep".to_owned() }, sync_dir("")]);
    run(&mut disk, handle, &[FileOp::Remove { file: "log".to_owned() }, sync_dir("")]);
    disk.power_cut();
    assert_eq!(disk.read("keep").unwrap(), "x");
}

#[test]
fn after_a_failed_sync_the_next_one_says_ok_and_the_bytes_are_lost() {
    for (how, seen) in [(FailedSync::MarksClean, "new"), (FailedSync::DropsPages, "old")] {
        let (mut disk, handle) = with_log(DiskProfile { failed_sync: how, ..strict() }, 1, b"old");
        run(&mut disk, handle, &[write("log", 0, b"new")]);
        disk.fail_syncs(1);
        assert_eq!(disk.apply(handle, &sync("log")), Err(DiskError::Io));
        assert_eq!(disk.apply(handle, &sync("log")), Ok(()));
        assert_eq!(disk.read("log").unwrap(), seen);
        disk.power_cut();
        assert_eq!(disk.read("log").unwrap(), "old");
    }
}

#[test]
fn a_full_disk_takes_a_part_of_a_write_and_still_overwrites() {
    let (mut disk, handle) = with_log(strict(), 5, b"0123456789");
    disk.set_full(true);
    assert_eq!(disk.apply(handle, &create("more")), Err(DiskError::NoSpace));
    assert_eq!(disk.apply(handle, &write("log", 10, &[b'x'; 100])), Err(DiskError::NoSpace));
    let length = disk.read("log").unwrap().len();
    assert!((10..110).contains(&length), "a part of it: {length}");
    run(&mut disk, handle, &[write("log", 0, b"abc")]);
    disk.set_full(false);
    run(&mut disk, handle, &[write("log", 10, &[b'x'; 100])]);
}

#[test]
fn an_unreadable_sector_stays_so_until_it_is_written() {
    let (mut disk, handle) = with_log(strict(), 1, &[1; SECTOR_BYTES]);
    assert!(disk.spoil("log"));
    assert_eq!(disk.read("log"), Err(DiskError::Io));
    disk.power_cut();
    assert_eq!(disk.read("log"), Err(DiskError::Io));
    let handle = {
        let _ = handle;
        disk.attach()
    };
    run(&mut disk, handle, &[write("log", 0, &[2; SECTOR_BYTES])]);
    assert!(disk.read("log").is_ok());
}

#[test]
fn rot_changes_one_bit_on_the_disk_for_good() {
    let (mut disk, _) = with_log(strict(), 1, &[1; 4 * SECTOR_BYTES]);
    assert!(disk.rot("log"));
    let flipped = |bytes: &[u8]| bytes.iter().map(|byte| (byte ^ 1).count_ones()).sum::<u32>();
    assert_eq!(flipped(&disk.read("log").unwrap()), 1);
    disk.power_cut();
    assert_eq!(flipped(&disk.read("log").unwrap()), 1);
}

#[test]
fn a_misdirected_write_is_found_in_another_sector_and_is_missing_in_its_own() {
    let sectors: Vec<u8> = (1..=4).flat_map(|number| [number; SECTOR_BYTES]).collect();
    for seed in 0..50 {
        let (mut disk, _) = with_log(strict(), seed, &sectors);
        disk.power_cut();
        assert!(disk.misdirect("log"));
        let bytes = disk.read("log").unwrap();
        assert_eq!(bytes, disk.on_disk()["log"]);
        let found: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        let right = found.iter().position(|number| *number == 0).expect("one sector was never written");
        let twice =
            found.iter().enumerate().filter(|(at, number)| usize::from(**number) != at + 1 && *at != right);
        assert_eq!(twice.map(|(_, number)| usize::from(*number)).collect::<Vec<_>>(), [right + 1], "{found:?}");
    }
}

#[test]
fn exchanged_disks_have_each_others_files_and_no_living_process() {
    let (mut one, handle) = with_log(strict(), 1, b"one");
    let (mut other, theirs) = with_log(strict(), 2, b"other");
    run(&mut other, theirs, &[create("more")]);
    one.exchange(&mut other);
    assert_eq!((one.list(), other.list()), (vec!["log".to_owned(), "more".to_owned()], vec!["log".to_owned()]));
    assert_eq!((one.read("log").unwrap(), other.read("log").unwrap()), ("other".into(), "one".into()));
    assert_eq!(one.apply(handle, &write("log", 0, b"x")), Err(DiskError::PowerOff));
}

#[test]
fn a_dead_process_cannot_reach_the_disk() {
    let (mut disk, dead) = with_log(strict(), 1, b"old");
    disk.power_cut();
    assert_eq!(disk.apply(dead, &write("log", 0, b"new")), Err(DiskError::PowerOff));
    assert_eq!(disk.read("log").unwrap(), "old");
    let alive = disk.attach();
    run(&mut disk, alive, &[write("log", 0, b"new")]);
}

#[test]
fn wiping_and_restoring_are_operations_too() {
    let (mut disk, handle) = with_log(strict(), 1, b"old");
    let backup = disk.clone();
    run(&mut disk, handle, &[write("log", 0, b"new"), sync("log")]);
    disk.wipe();
    assert!(disk.list().is_empty());
    disk.restore(&backup);
    assert_eq!(disk.read("log").unwrap(), "old");
}

#[test]
fn the_same_seed_does_the_same() {
    let run_once = || {
        let (mut disk, handle) = with_log(DiskProfile::default(), 9, &[0; 4096]);
        for at in 0..40 {
            run(&mut disk, handle, &[write("log", at * 100, &[at as u8; 300])]);
        }
        disk.power_cut();
        disk.read("log").unwrap()
    };
    assert_eq!(run_once(), run_once());
}
