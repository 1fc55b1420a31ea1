//! What is planned, in order: the plans read like the argument in `docs/formats/wal.md`.

extern crate std;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::disk::{Dice, Disk};
use super::model::{Model, config, epoch};
use crate::config::{FsyncMode, RoleHint};
use crate::ids::NodeId;
use crate::position::{Index, Position};
use crate::time::Time;
use crate::wal::{
    Draw, Entry, FileOp, FileWrite, HardState, Journal, JournalConfig, Lane, Record, RollbackId, WriteBatch,
    recover,
};

fn open(config: JournalConfig, disk: &mut Disk) -> Journal {
    let names = disk.names();
    let recovery =
        recover(config, &names, Draw::default(), |name| disk.read(name)).unwrap_or_else(|error| panic!("{error}"));
    disk.carry_out_all(&recovery.repairs);
    recovery.journal
}

/// The first segments are as long as the others of these tests, and there is no reserve.
fn roomy(fsync: FsyncMode) -> JournalConfig {
    JournalConfig { segment_bytes_max: 64 * 4096, reserve_bytes: 0, ..config(fsync) }
}

fn told(ops: &[FileOp]) -> Vec<String> {
    ops.iter()
        .map(|op| match op {
            FileOp::Create { file } => format!("create {file}"),
            FileOp::Write { file, at, parts } => {
                format!("write {file} {at}+{}", parts.iter().map(Bytes::len).sum::<usize>())
            }
            FileOp::Sync { file } => format!("sync {file}"),
            FileOp::SyncDir { dir } => format!("syncdir {dir:?}"),
            FileOp::Rename { from, to } => format!("rename {from} {to}"),
            FileOp::Link { from, to } => format!("link {from} {to}"),
            FileOp::Remove { file } => format!("remove {file}"),
            FileOp::CreateDir { dir } => format!("createdir {dir}"),
        })
        .collect()
}

fn batch(id: u64, records: &[Record], last: u64) -> WriteBatch {
    let last = Position { epoch: epoch(1), index: Index(last) };
    let mut batch = WriteBatch::new(id, Lane::Log, Bytes::from_static(b""), last);
    batch.records = records.iter().map(Record::encode).collect();
    batch
}

#[test]
fn a_group_is_one_frame_and_one_sync() {
    let mut disk = Disk::default();
    let mut journal = open(roomy(FsyncMode::Always), &mut disk);
    let (mut model, mut dice) = (Model::new(), Dice::new(1));
    let first = model.write(&mut dice);
    let ops = journal.plan(Time(0), &[first]);
    assert_eq!(
        told(&ops)[..4],
        [
            "create wal-0000000000000001.log",
            "write wal-0000000000000001.log 0+512",
            "sync wal-0000000000000001.log",
            "syncdir \"\""
        ]
    );
    disk.carry_out_all(&ops);
    let group = [batch(2, &[Record::Committed(Index(1))], 1), batch(3, &[Record::Committed(Index(2))], 2)];
    let told = told(&journal.plan(Time(0), &group));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("write wal-0000000000000001.log ") && told[0].ends_with("+512"), "{told:?}");
    assert_eq!(told[1], "sync wal-0000000000000001.log");
}

#[test]
fn a_timer_syncs_where_no_group_does() {
    let mut disk = Disk::default();
    let every = Duration::from_millis(5);
    let mut journal = open(roomy(FsyncMode::Periodic(every)), &mut disk);
    let _ = journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 0)]);
    assert_eq!(journal.deadline(), None, "the first group is synced in every mode: it says who the node is");
    let ops = journal.plan(Time(10), &[batch(2, &[Record::Committed(Index(0))], 0)]);
    assert_eq!(told(&ops).len(), 1);
    assert_eq!(journal.deadline(), Some(Time(10) + every));
    assert_eq!(told(&journal.alarm(Time(20))), [""; 0]);
    assert_eq!(told(&journal.alarm(Time(10) + every)), ["sync wal-0000000000000001.log"]);
    assert_eq!(journal.deadline(), None);
}

#[test]
fn a_segment_written_out_ahead_is_used_as_soon_as_it_is_there() {
    let mut disk = Disk::default();
    let mut journal = open(roomy(FsyncMode::Always), &mut disk);
    let group = |id| [batch(id, &[Record::Committed(Index(0))], 0)];
    disk.carry_out_all(&journal.plan(Time(0), &group(1)));
    let spare = journal.spare().unwrap();
    assert_eq!(journal.spare(), None, "one at a time");
    disk.carry_out_all(&spare);
    journal.spare_ready();
    let ops = journal.plan(Time(0), &group(2));
    assert_eq!(told(&ops)[0], "rename spare-0000000000000001.log wal-0000000000000002.log");
    assert_eq!(journal.spare(), None, "what was written out is less than half full");
}

#[test]
fn a_batch_longer_than_a_segment_gets_a_longer_segment() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    let long = super::arbitrary::set_of(20_000);
    let ops = journal.plan(Time(0), &[batch(1, &[Record::Entry(long)], 1)]);
    disk.carry_out_all(&ops);
    let ops = journal.plan(Time(0), &[batch(2, &[Record::Committed(Index(0))], 1)]);
    assert_eq!(told(&ops)[0], "create wal-0000000000000002.log");
}

#[test]
fn without_a_log_only_the_files_beside_it_are_written() {
    let mut disk = Disk::default();
    let without = JournalConfig { wal: false, ..config(FsyncMode::Always) };
    let mut journal = open(without, &mut disk);
    let mut first = batch(1, &[Record::Committed(Index(1))], 1);
    first.cut = Some(Index(1));
    assert_eq!(told(&journal.plan(Time(0), &[first])), [""; 0]);
    assert_eq!(journal.spare(), None);
    assert_eq!(told(&journal.close()), [""; 0]);
}

#[test]
fn a_snapshot_is_synced_as_it_grows() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Never), &mut disk);
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 0)]));
    let position = Position { epoch: epoch(1), index: Index(5) };
    let group = |files: Vec<FileWrite>| {
        let mut batch = WriteBatch::new(1, Lane::Snapshot, Bytes::new(), position);
        batch.files = files;
        [batch]
    };
    let chunk =
        |number| FileWrite::SnapshotChunk { position, number, bytes: Bytes::from_static(b"chunk"), own: true };
    let first = told(&journal.plan(Time(0), &group(vec![chunk(0), chunk(1)])));
    let file = "snapshot-0000000000000005.tmp";
    let ops = ["create F", "write F 0+5", "write F 5+5", "sync F"];
    assert_eq!(first, ops.map(|op| op.replace('F', file)), "however many have come together");
    let whole =
        told(&journal.plan(Time(0), &group(vec![chunk(2), FileWrite::SnapshotDone { position, keep: 1 }])));
    let ops = ["write F 10+5", "sync F", "rename F snapshot-0000000000000005.snap", "syncdir \"\""];
    assert_eq!(whole, ops.map(|op| op.replace('F', file)), "once, before it gets its name");
}

#[test]
fn a_snapshot_stays_while_the_one_that_replaces_it_is_on_its_way() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    let at = |index| Position { epoch: epoch(1), index: Index(index) };
    let snapshot = |index| {
        let position = at(index);
        let mut batch = WriteBatch::new(index, Lane::Snapshot, Bytes::new(), position);
        batch.files = vec![
            FileWrite::SnapshotChunk { position, number: 0, bytes: Bytes::from_static(b"all"), own: true },
            FileWrite::SnapshotDone { position, keep: 1 },
        ];
        [batch]
    };
    let removed = |ops: &[FileOp]| {
        told(ops).into_iter().filter(|op| op.starts_with("remove snapshot")).collect::<Vec<String>>()
    };
    journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 5)]);
    journal.plan(Time(0), &snapshot(5));
    let from_the_master = journal.plan(Time(0), &snapshot(9));
    assert_eq!(removed(&from_the_master), [""; 0], "the log does not go on from it yet");
    let mut cut = batch(2, &[], 5);
    cut.cut = Some(Index(5));
    assert_eq!(removed(&journal.plan(Time(0), &[cut])), [""; 0], "this cut rests on the older one");
    let mark = journal.plan(Time(0), &[batch(3, &[Record::SnapshotMark(at(9))], 9)]);
    assert_eq!(removed(&mark), ["remove snapshot-0000000000000005.snap"]);
}

#[test]
fn a_rollback_file_is_durable_before_the_records_of_its_batch() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 0)]));
    let mut cut = batch(2, &[Record::Committed(Index(0))], 0);
    let lines = Bytes::from_static(b"{}\n");
    cut.files = vec![
        FileWrite::RollbackKeepFiles { id: RollbackId(7) },
        FileWrite::Rollback { id: RollbackId(7), first: true, last: true, lines },
    ];
    let told = told(&journal.plan(Time(0), &[cut]));
    assert_eq!(
        told[..12],
        [
            "createdir rollback",
            "syncdir \"\"",
            "create rollback/7.ndjson.tmp",
            "syncdir \"rollback\"",
            "createdir rollback/7.files",
            "link wal-0000000000000001.log rollback/7.files/wal-0000000000000001.log",
            "syncdir \"rollback/7.files\"",
            "syncdir \"rollback\"",
            "create rollback/7.ndjson.tmp",
            "write rollback/7.ndjson.tmp 0+3",
            "sync rollback/7.ndjson.tmp",
            "rename rollback/7.ndjson.tmp rollback/7.ndjson",
        ]
    );
    assert_eq!(told[12], "syncdir \"rollback\"");
    let rest = &told[13..];
    let written: Vec<&String> = rest.iter().filter(|op| op.starts_with("write wal-")).collect();
    assert!(written.iter().all(|op| op.starts_with("write wal-0000000000000002.log")), "the copy stays: {rest:?}");
    assert!(rest.iter().any(|op| op == "sync wal-0000000000000002.log"), "{rest:?}");
}

#[test]
fn what_was_kept_for_a_rollback_that_was_killed_is_removed() {
    let mut disk = Disk::default();
    let lines = Bytes::from_static(b"{}\n");
    let state = Record::HardState(HardState::new(NodeId(1), RoleHint::Replica));
    for (id, last) in [(5, true), (7, false)] {
        let mut journal = open(config(FsyncMode::Always), &mut disk);
        disk.carry_out_all(&journal.plan(Time(0), &[batch(1, std::slice::from_ref(&state), 0)]));
        let mut saved = batch(2, &[], 0);
        let (id, lines) = (RollbackId(id), lines.clone());
        saved.files =
            vec![FileWrite::RollbackKeepFiles { id }, FileWrite::Rollback { id, first: true, last, lines }];
        disk.carry_out_all(&journal.plan(Time(0), &[saved]));
    }
    assert!(!names_of(&disk, "rollback/7.files/").is_empty());
    let whole = names_of(&disk, "rollback/5.");
    open(config(FsyncMode::Always), &mut disk);
    assert_eq!(names_of(&disk, "rollback/"), whole, "what is whole stays");
}

#[test]
fn a_file_that_has_no_room_for_more_lines_keeps_those_that_it_has() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    let state = Record::HardState(HardState::new(NodeId(1), RoleHint::Replica));
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, std::slice::from_ref(&state), 0)]));
    let id = RollbackId(7);
    let piece = |first, last, lines: &'static [u8]| {
        let lines = Bytes::from_static(lines);
        FileWrite::Rollback { id, first, last, lines }
    };
    let groups =
        [vec![piece(true, false, b"{}\n")], vec![FileWrite::RollbackKeepFiles { id }, piece(false, true, b"")]];
    for (number, files) in groups.into_iter().enumerate() {
        let mut saved = batch(2 + number as u64, &[], 0);
        saved.files = files;
        disk.carry_out_all(&journal.plan(Time(0), &[saved]));
    }
    assert_eq!(names_of(&disk, "rollback/7.files/").len(), 1);
    assert_eq!(disk.read("rollback/7.ndjson").unwrap(), b"{}\n"[..]);
}

#[test]
fn an_older_rollback_file_is_never_replaced() {
    let mut disk = Disk::default();
    let lines = Bytes::from_static(b"{}\n");
    let write = |journal: &mut Journal| {
        let mut batch = batch(1, &[], 0);
        batch.files =
            vec![FileWrite::Rollback { id: RollbackId(7), first: true, last: true, lines: lines.clone() }];
        journal.plan(Time(0), &[batch])
    };
    for _ in 0..2 {
        let mut journal = open(config(FsyncMode::Always), &mut disk);
        for _ in 0..2 {
            let ops = write(&mut journal);
            disk.carry_out_all(&ops);
        }
    }
    let names: Vec<String> = disk.names().into_iter().filter(|name| name.starts_with("rollback/")).collect();
    assert_eq!(names, ["rollback/10.ndjson", "rollback/7.ndjson", "rollback/8.ndjson", "rollback/9.ndjson"]);
}

#[test]
fn a_segment_that_a_rollback_directory_holds_is_not_written_over() {
    for linked in [false, true] {
        let mut disk = Disk::default();
        let mut journal = open(config(FsyncMode::Always), &mut disk);
        let mut index = 0;
        let mut write = |journal: &mut Journal, disk: &mut Disk| {
            index += 1;
            let entry = super::arbitrary::set_of(1000);
            let ops = journal.plan(Time(0), &[batch(index, &[Record::Entry(entry)], index)]);
            disk.carry_out_all(&ops);
        };
        write(&mut journal, &mut disk);
        for _ in 0..3 {
            if let Some(ops) = journal.spare() {
                disk.carry_out_all(&ops);
                journal.spare_ready();
            }
            (0..3).for_each(|_| write(&mut journal, &mut disk));
        }
        if linked {
            let mut keep = batch(90, &[], 10);
            keep.files = vec![FileWrite::RollbackKeepFiles { id: RollbackId(1) }];
            disk.carry_out_all(&journal.plan(Time(0), &[keep]));
        }
        let mut cut = batch(91, &[], 10);
        cut.cut = Some(Index(100));
        let ops = told(&journal.plan(Time(0), &[cut]));
        let reused = ops.iter().any(|op| op.starts_with("rename wal-"));
        assert_eq!(reused, !linked, "{ops:?}");
        assert!(ops.iter().any(|op| op.starts_with("remove wal-")), "{ops:?}");
    }
}

#[test]
fn segments_of_what_was_truncated_go_at_once() {
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    let state = Record::HardState(HardState::new(NodeId(1), RoleHint::Replica));
    for index in 1..=12 {
        let entry = super::arbitrary::set_of(3000);
        let position = Position { epoch: epoch(1), index: Index(index) };
        let entry = Entry::encode(position, entry.at, entry.concern, &entry.command().unwrap());
        let records = [state.clone(), Record::Entry(entry)];
        disk.carry_out_all(&journal.plan(Time(0), &[batch(index, &records, index)]));
    }
    let before = names_of(&disk, "wal-");
    let end = Position { epoch: epoch(1), index: Index(2) };
    let mut cut = batch(20, &[Record::Truncate(end)], 2);
    cut.head = state.encode();
    disk.carry_out_all(&journal.plan(Time(0), &[cut]));
    let after = names_of(&disk, "wal-");
    assert!(before.len() > 6 && after.len() <= 4, "{before:?} {after:?}");
    let recovery =
        recover(config(FsyncMode::Always), &disk.names(), Draw::default(), |name| disk.read(name)).unwrap();
    assert_eq!(recovery.recovered.unwrap().entries.last().map(|entry| entry.position), Some(end));
}

fn own_chunk(position: Position, number: u32) -> FileWrite {
    FileWrite::SnapshotChunk { position, number, bytes: Bytes::from_static(b"chunk"), own: true }
}

fn snapshot_batch(position: Position, files: Vec<FileWrite>) -> WriteBatch {
    let mut batch = WriteBatch::new(1, Lane::Snapshot, Bytes::new(), position);
    batch.files = files;
    batch
}

fn names_of(disk: &Disk, prefix: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn each_segment_is_twice_as_long_as_the_one_before() {
    let mut disk = Disk::default();
    let config = JournalConfig { segment_bytes_max: 64 << 10, reserve_bytes: 0, ..config(FsyncMode::Always) };
    let mut journal = open(config, &mut disk);
    let mut lengths = Vec::new();
    for id in 1..400 {
        disk.carry_out_all(&journal.plan(Time(0), &[batch(id, &[Record::Committed(Index(0))], 0)]));
        if let Some(ops) = journal.spare() {
            let bytes = ops.iter().map(|op| match op {
                FileOp::Write { parts, .. } => parts.iter().map(Bytes::len).sum(),
                _ => 0,
            });
            lengths.push(bytes.sum::<usize>());
            disk.carry_out_all(&ops);
            journal.spare_ready();
        }
    }
    assert_eq!(lengths, [2048, 4096, 8192, 16_384, 32_768, 65_536, 65_536]);
}

#[test]
fn a_snapshot_without_room_leaves_the_older_one_and_what_comes_of_it_is_dropped() {
    let mut disk = Disk::default();
    let mut journal = open(roomy(FsyncMode::Always), &mut disk);
    let (older, newer) =
        (Position { epoch: epoch(1), index: Index(1) }, Position { epoch: epoch(1), index: Index(2) });
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(2))], 2)]));
    let done = |position| FileWrite::SnapshotDone { position, keep: 1 };
    disk.carry_out_all(&journal.plan(Time(0), &[snapshot_batch(older, vec![own_chunk(older, 0), done(older)])]));

    // A whole one, of which nothing but the file itself was made.
    let group = [snapshot_batch(newer, vec![own_chunk(newer, 0), done(newer)])];
    assert!(WriteBatch::may_give_up(&group));
    let ops = journal.plan(Time(0), &group);
    disk.carry_out_all(&ops[..1]);
    disk.carry_out_all(&journal.snapshot_given_up(&group, &ops[1..]));
    assert_eq!(names_of(&disk, "snapshot-"), ["snapshot-0000000000000001.snap"]);

    // One of which more was on its way.
    let group = [snapshot_batch(newer, vec![own_chunk(newer, 0)])];
    let ops = journal.plan(Time(0), &group);
    disk.carry_out_all(&journal.snapshot_given_up(&group, &ops));
    let late = journal.plan(Time(0), &[snapshot_batch(newer, vec![own_chunk(newer, 1), done(newer)])]);
    assert_eq!(told(&late), [""; 0]);

    // The next goes through, and takes the older one's place.
    disk.carry_out_all(&journal.plan(Time(0), &[snapshot_batch(newer, vec![own_chunk(newer, 0), done(newer)])]));
    assert_eq!(names_of(&disk, "snapshot-"), ["snapshot-0000000000000002.snap"]);
}

#[test]
fn what_came_from_a_master_is_not_given_up() {
    let position = Position { epoch: epoch(1), index: Index(5) };
    let masters = FileWrite::SnapshotChunk { position, number: 0, bytes: Bytes::new(), own: false };
    assert!(!WriteBatch::may_give_up(&[snapshot_batch(position, vec![masters.clone()])]));
    assert!(!WriteBatch::may_give_up(&[snapshot_batch(position, vec![own_chunk(position, 0), masters])]));
    assert!(!WriteBatch::may_give_up(&[snapshot_batch(
        position,
        vec![FileWrite::SnapshotDone { position, keep: 1 }]
    )]));
    assert!(!WriteBatch::may_give_up(&[snapshot_batch(position, Vec::new())]));
}

#[test]
fn the_reserve_is_made_after_a_spare_and_given_once() {
    let mut disk = Disk::default();
    let mut journal = open(JournalConfig { reserve_bytes: 1024, ..roomy(FsyncMode::Always) }, &mut disk);
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 0)]));
    assert_eq!(journal.give_reserve(), None, "there is none yet");
    let rests = journal.spare();
    assert_eq!(rests, None, "nothing is written ahead where the log had no room");
    disk.carry_out_all(&journal.plan(Time(0), &[batch(2, &[Record::Entry(super::arbitrary::set_of(20_000))], 1)]));
    for _ in 0..2 {
        disk.carry_out_all(&journal.spare().unwrap());
        journal.spare_ready();
    }
    assert_eq!(names_of(&disk, "reserve"), ["reserve"]);
    let op = journal.give_reserve().unwrap();
    assert_eq!(told(std::slice::from_ref(&op)), ["remove reserve"]);
    assert_eq!(journal.give_reserve(), None);
}

#[test]
fn while_space_is_short_the_newest_snapshot_alone_stays_and_no_spare() {
    let mut disk = Disk::default();
    let mut journal = open(roomy(FsyncMode::Always), &mut disk);
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(3))], 3)]));
    disk.carry_out_all(&journal.spare().unwrap());
    journal.spare_ready();
    for index in 1..=3 {
        let position = Position { epoch: epoch(1), index: Index(index) };
        let files = vec![own_chunk(position, 0), FileWrite::SnapshotDone { position, keep: 3 }];
        disk.carry_out_all(&journal.plan(Time(0), &[snapshot_batch(position, files)]));
    }
    let mut short = batch(2, &[Record::Committed(Index(3))], 3);
    (short.short, short.cut) = (true, Some(Index(2)));
    disk.carry_out_all(&journal.plan(Time(0), &[short]));
    let kept = names_of(&disk, "snapshot-");
    assert_eq!(
        kept,
        ["snapshot-0000000000000002.snap", "snapshot-0000000000000003.snap"],
        "up to where the log goes on"
    );
    assert_eq!(names_of(&disk, "spare-"), [""; 0]);
    assert_eq!(journal.spare(), None);
}

#[test]
fn what_waits_behind_an_append_lets_segments_go_but_never_the_last_that_is_on_disk() {
    let long = |id| batch(id, &[Record::Entry(super::arbitrary::set_of(20_000))], id);
    let cut = || {
        let mut batch = batch(5, &[Record::Committed(Index(3))], 4);
        batch.cut = Some(Index(3));
        batch
    };
    let end = Position { epoch: epoch(1), index: Index(4) };
    let truncation = batch(5, &[Record::Truncate(end)], 4);
    let journal = || {
        let mut disk = Disk::default();
        let mut journal = open(config(FsyncMode::Always), &mut disk);
        for id in 1..=3 {
            disk.carry_out_all(&journal.plan(Time(0), &[long(id)]));
        }
        // It waits for room: the fourth segment is not on disk.
        let _ = journal.plan(Time(0), &[long(4)]);
        journal
    };
    let segments = ["remove wal-0000000000000001.log", "remove wal-0000000000000002.log", "syncdir \"\""];
    assert_eq!(told(&journal().give_room(&[cut()])), segments);
    assert_eq!(
        told(&journal().give_room(&[truncation, cut()])),
        [""; 0],
        "what changes the log's end comes first"
    );
    let mut twice = journal();
    let _ = twice.give_room(&[cut()]);
    assert_eq!(told(&twice.give_room(&[cut()])), [""; 0]);
}

#[test]
fn what_a_snapshot_on_disk_holds_goes_before_the_group_is_written() {
    let long = |id| batch(id, &[Record::Entry(super::arbitrary::set_of(20_000))], id);
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Always), &mut disk);
    for id in 1..=3 {
        disk.carry_out_all(&journal.plan(Time(0), &[long(id)]));
    }
    let mut fourth = long(4);
    fourth.cut = Some(Index(2));
    let ops = told(&journal.plan(Time(0), &[fourth]));
    let place = |what: &str| ops.iter().position(|op| op.starts_with(what)).unwrap();
    assert!(place("remove wal-0000000000000001.log") < place("create wal-0000000000000004.log"), "{ops:?}");
    assert!(place("remove wal-0000000000000002.log") < place("write wal-0000000000000004.log"), "{ops:?}");
}

#[test]
fn where_the_log_waits_for_room_what_is_written_ahead_goes() {
    let mut disk = Disk::default();
    let mut journal = open(roomy(FsyncMode::Always), &mut disk);
    disk.carry_out_all(&journal.plan(Time(0), &[batch(1, &[Record::Committed(Index(0))], 0)]));
    disk.carry_out_all(&journal.spare().unwrap());
    journal.spare_ready();
    let gone = told(&journal.give_room(&[]));
    assert!(gone.first().is_some_and(|op| op.starts_with("remove spare-")), "{gone:?}");
    assert_eq!(told(&journal.give_room(&[])), [""; 0]);
}

#[test]
fn a_log_that_syncs_by_time_is_synced_before_its_oldest_segments_go_for_want_of_room() {
    let long = |id| batch(id, &[Record::Entry(super::arbitrary::set_of(20_000))], id);
    let mut disk = Disk::default();
    let mut journal = open(config(FsyncMode::Never), &mut disk);
    for id in 1..=3 {
        disk.carry_out_all(&journal.plan(Time(0), &[long(id)]));
    }
    let _ = journal.plan(Time(0), &[long(4)]);
    let mut cut = batch(5, &[Record::Committed(Index(3))], 4);
    cut.cut = Some(Index(2));
    let ops = told(&journal.give_room(&[cut]));
    let removal = ops.iter().position(|op| op.starts_with("remove wal-")).unwrap();
    assert!(ops[..removal].contains(&String::from("sync wal-0000000000000003.log")), "{ops:?}");
    assert!(!ops.contains(&String::from("sync wal-0000000000000004.log")), "it may not be there yet: {ops:?}");
}
