//! The bytes of the log: each record, a segment's head and a frame.

extern crate std;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::command::{
    Command, Condition, Fingerprint, Member, Membership, Pair, Pause, StartKind, Ticket, Value, ValueKind,
};
use crate::config::{Concern, RoleHint};
use crate::golden;
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Index, Position};
use crate::time::WallMs;
use crate::version::Version;
use crate::wal::frame::{self, Checksum, FrameHead, Kind};
use crate::wal::segment::{FORMAT_VERSION, SegmentHead};
use crate::wal::{Entry, HardState, Record};

pub(crate) const EPOCH: Epoch = Epoch { number: 3, leader: NodeId(0xA1) };

pub(crate) const fn position(index: u64) -> Position {
    Position { epoch: EPOCH, index: Index(index) }
}

/// An entry that sets a key.
pub(crate) fn set(index: u64) -> Entry {
    let value = Value { kind: ValueKind::Bytes, bytes: Bytes::from_static(b"hello") };
    let pair = Pair { key: Bytes::from_static(b"greeting"), value, ttl_ms: None };
    entry(index, Concern::Quorum, &Command::Set { pair, condition: Condition::Always })
}

fn entry(index: u64, concern: Concern, command: &Command) -> Entry {
    Entry::encode(position(index), WallMs(1_700_000_000_000), concern, command)
}

/// Every command by the name of its variant; a new one does not compile until it stands here.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Set { .. } => "set",
        Command::Delete { .. } => "delete",
        Command::Incr { .. } => "incr",
        Command::Expire { .. } => "expire",
        Command::Persist { .. } => "persist",
        Command::Batch { .. } => "batch",
        Command::If { .. } => "if",
        Command::Once { .. } => "once",
        Command::EpochStart { .. } => "epoch_start",
        Command::Config(_) => "config",
        Command::Sweep { .. } => "sweep",
    }
}

fn commands() -> Vec<Command> {
    let key = || Bytes::from_static(b"key");
    let json = Pair {
        key: key(),
        value: Value { kind: ValueKind::Json, bytes: Bytes::from_static(b"[1,2]") },
        ttl_ms: Some(60_000),
    };
    let bytes = Pair {
        key: Bytes::from_static(b"\xff"),
        value: Value { kind: ValueKind::Bytes, bytes: Bytes::from_static(b"\x00") },
        ttl_ms: None,
    };
    let ticket = Ticket { key: Bytes::from_static(b"order-17"), fingerprint: Fingerprint(0xF1), wants_old: true };
    let incr = Command::Incr { key: key(), by: 1 };
    let member = |id: u128, voter, priority_set| Member {
        id: NodeId(id),
        name: "one".into(),
        replication: "one:15501".into(),
        http: "one:15500".into(),
        voter,
        priority: 100,
        priority_set,
    };
    let membership = Membership {
        armed: true,
        election_timeout_ms: 2000,
        pause: Some(Pause { since: Index(7), length_ms: 600_000 }),
        members: Vec::from([member(0xA1, true, None), member(0xA2, false, Some(0))]),
    };
    Vec::from([
        Command::Set { pair: json.clone(), condition: Condition::Always },
        Command::Set { pair: bytes.clone(), condition: Condition::Absent },
        Command::Set { pair: bytes.clone(), condition: Condition::Present },
        Command::Set { pair: bytes.clone(), condition: Condition::Version(Version(9)) },
        Command::Delete { key: key() },
        Command::Incr { key: key(), by: -2 },
        Command::Expire { key: key(), ttl_ms: 5 },
        Command::Persist { key: key() },
        Command::Batch { pairs: Vec::from([json, bytes]) },
        Command::Once { ticket: ticket.clone(), command: Box::new(incr.clone()) },
        Command::EpochStart { kind: StartKind::Founding, spread: 0 },
        Command::EpochStart { kind: StartKind::Switchover, spread: 0 },
        Command::Config(membership),
        Command::Sweep { keys: Vec::from([key()]) },
        // Since version 3.
        Command::EpochStart { kind: StartKind::Forced, spread: 0x5EED },
        // Since version 4.
        only_if(Condition::Version(Version(9)), Command::Delete { key: key() }),
        Command::Once { ticket, command: Box::new(only_if(Condition::Present, incr)) },
    ])
}

fn only_if(condition: Condition, command: Command) -> Command {
    Command::If { condition, command: Box::new(command) }
}

fn records() -> Vec<(String, Record)> {
    let state = HardState {
        cluster: Some(ClusterId(0xC1)),
        promised: EPOCH,
        ..HardState::new(NodeId(0xA1), RoleHint::Replica)
    };
    let rolled_back =
        HardState { needs_snapshot: true, rolled_back_after: Some(Index(3)), wall_ahead_ms: -3, ..state };
    let mut records = Vec::from([
        ("hard_state".into(), Record::HardState(HardState { cluster: None, role: RoleHint::Master, ..state })),
        ("hard_state".into(), Record::HardState(state)),
        ("hard_state".into(), Record::HardState(rolled_back)),
        ("truncate".into(), Record::Truncate(position(5))),
        ("snapshot_mark".into(), Record::SnapshotMark(position(6))),
        ("committed".into(), Record::Committed(Index(7))),
    ]);
    let concerns = [Concern::Async, Concern::Local, Concern::Quorum, Concern::Replicas(2)];
    for (command, concern) in commands().iter().zip(concerns.iter().cycle()) {
        records.push((name(command).into(), Record::Entry(entry(8, *concern, command))));
    }
    records
}

#[test]
fn records_are_those_of_version_4() {
    let records = records();
    let lines: Vec<_> = records.iter().map(|(name, record)| (name.clone(), record.encode().to_vec())).collect();
    let golden = golden::compare("wal-records-v4.hex", "Every record of the log: its name, its bytes.", &lines);
    for (bytes, (name, record)) in golden.into_iter().zip(&records) {
        assert_eq!(Record::decode(&mut Bytes::from(bytes)).as_ref(), Ok(record), "{name}");
    }
}

#[test]
fn records_of_older_versions_are_read() {
    let command = |record: &Record| match record {
        Record::Entry(entry) => entry.command().ok(),
        _ => None,
    };
    let conditional =
        |record: &Record| command(record).is_some_and(|command| matches!(command.untied(), Command::If { .. }));
    let version_3: Vec<_> = records().into_iter().filter(|(_, record)| !conditional(record)).collect();
    are_read("wal-records-v3.hex", &version_3);
    let spread =
        |record: &Record| matches!(command(record), Some(Command::EpochStart { spread, .. }) if spread > 0);
    let version_2: Vec<_> = version_3.into_iter().filter(|(_, record)| !spread(record)).collect();
    are_read("wal-records-v2.hex", &version_2);
    let short = |record: &Record| !matches!(record, Record::HardState(HardState { needs_snapshot: true, .. }));
    let version_1: Vec<_> = version_2.into_iter().filter(|(_, record)| short(record)).collect();
    are_read("wal-records-v1.hex", &version_1);
}

fn are_read(file: &str, now: &[(String, Record)]) {
    let then = golden::of_an_older_version(file);
    assert_eq!(then.len(), now.len());
    for (bytes, (name, record)) in then.into_iter().zip(now) {
        assert_eq!(Record::decode(&mut Bytes::from(bytes)).as_ref(), Ok(record), "{name}");
    }
}

const HEAD: SegmentHead =
    SegmentHead { seq: 2, prev: 1, first: 4, synced: 4, base: position(6), nonce: Some(0x5eed) };

#[test]
fn segments_are_those_of_version_4() {
    assert_eq!(FORMAT_VERSION, 4, "another version has golden files of its own");
    let frame = FrameHead { kind: Kind::Records, tag: HEAD.tag(), number: 4, synced: 4 };
    let close = FrameHead { kind: Kind::Close, number: 5, synced: 5, ..frame };
    let records = Vec::from([Record::Committed(Index(6)).encode(), set(7).record]);
    let lines = [
        ("segment_head".into(), HEAD.encode().to_vec()),
        ("frame".into(), frame::encode(frame, records).concat()),
        ("close".into(), frame::encode(close, Vec::new()).concat()),
    ];
    let story = "A segment in three parts: its head, a frame with two records, the frame that closes the log.";
    read_segment(HEAD, &golden::compare("wal-segment-v4.hex", story, &lines));
}

#[test]
fn segments_of_older_versions_are_read() {
    read_segment(HEAD, &golden::of_an_older_version("wal-segment-v3.hex"));
    read_segment(HEAD, &golden::of_an_older_version("wal-segment-v2.hex"));
    read_segment(SegmentHead { nonce: None, ..HEAD }, &golden::of_an_older_version("wal-segment-v1.hex"));
}

fn read_segment(head: SegmentHead, golden: &[Vec<u8>]) {
    let frame = FrameHead { kind: Kind::Records, tag: head.tag(), number: 4, synced: 4 };
    let close = FrameHead { kind: Kind::Close, number: 5, synced: 5, ..frame };
    assert_eq!(SegmentHead::decode(&golden[0]), Ok(head));
    let file = Bytes::from(golden.concat());
    let found = frame::find(&file, 512, head.tag(), Checksum::Verify).expect("the frame is whole");
    assert_eq!((found.head, found.next), (frame, 1024));
    let mut records = found.records;
    assert_eq!(Record::decode(&mut records), Ok(Record::Committed(Index(6))));
    assert_eq!(Record::decode(&mut records), Ok(Record::Entry(set(7))));
    let found = frame::find(&file, 1024, head.tag(), Checksum::Verify).expect("the last frame is whole");
    assert_eq!((found.head, found.next), (close, file.len()));
}
