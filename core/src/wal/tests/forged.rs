//! Clients write values that look like the log's own frames, and segments are used again with such values still in them:
//! recovery must see nothing but what the journal wrote.

extern crate std;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use super::disk::{Dice, Disk};
use super::model::{Model, config};
use crate::config::FsyncMode;
use crate::position::Index;
use crate::time::Time;
use crate::wal::frame::{self, FrameHead, Kind, Tag};
use crate::wal::{Draw, Journal, JournalConfig, Record, Recovery, RecoveryError, recover};

const DRAW: Draw = Draw { node: crate::ids::NodeId(1), seed: 0x00de_c0de };

fn roomy() -> JournalConfig {
    JournalConfig { segment_bytes_max: 16 << 10, tail_bytes_max: u64::MAX, ..config(FsyncMode::Always) }
}

fn read(disk: &Disk, config: JournalConfig) -> Result<Recovery, RecoveryError<String>> {
    recover(config, &disk.names(), DRAW, |name| disk.read(name))
}

/// Frames of the segments that come next, in the layout of either version, one in each sector from `align` on. Each says that
/// everything was on disk, so that a gap before it is damage.
fn forged(align: usize, seq: u64) -> Bytes {
    let mut value = std::vec![b'v'; align];
    for ahead in 0..4 {
        for nonce in [None, Some(0), Some(seq + ahead)] {
            let tag = Tag { seq: seq + ahead, nonce };
            let head = FrameHead { kind: Kind::Records, tag, number: 1 << 40, synced: 1 << 40 };
            let records = Vec::from([Record::Committed(Index(1 << 40)).encode()]);
            frame::encode(head, records).iter().for_each(|part| value.put_slice(part));
        }
    }
    Bytes::from(value)
}

/// The number of the newest segment.
fn newest(disk: &Disk) -> u64 {
    let seq = |name: &String| crate::wal::segment::number_in(name, "wal-", ".log");
    disk.names().iter().filter_map(seq).max().unwrap_or(0)
}

/// Writes, takes a snapshot, cuts the log, and makes the next segment: old ones are used again.
fn round(align: usize, journal: &mut Journal, disk: &mut Disk, model: &mut Model, dice: &mut Dice) -> usize {
    model.value = Some(forged(align, newest(disk)));
    let mut ops = Vec::new();
    for _ in 0..3 {
        ops.extend(journal.plan(Time(0), &[model.write(dice)]));
        model.settle();
    }
    model.value = None;
    if let Some(batch) = model.snapshot(dice, 1) {
        ops.extend(journal.plan(Time(0), &[batch]));
        let cut = model.cut(1);
        ops.extend(journal.plan(Time(0), &[cut]));
        model.settle();
    }
    let reused =
        ops.iter().filter(|op| matches!(op, crate::wal::FileOp::Rename { to, .. } if to.starts_with("spare-")));
    let reused = reused.count();
    disk.carry_out_all(&ops);
    if let Some(ops) = journal.spare() {
        disk.carry_out_all(&ops);
        journal.spare_ready();
    }
    reused
}

#[test]
fn values_that_look_like_frames_are_values_at_every_alignment() {
    let mut reused = 0;
    for align in 0..512 {
        let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(align as u64 + 1));
        let mut journal = read(&disk, roomy()).unwrap().journal;
        for _ in 0..12 {
            reused += round(align, &mut journal, &mut disk, &mut model, &mut dice);
            let recovery = read(&disk, roomy()).unwrap_or_else(|error| panic!("values at {align}: {error}"));
            assert!(model.now().is(&recovery.recovered.unwrap()), "values at {align}");
        }
        disk.carry_out_all(&journal.close());
        let recovery = read(&disk, roomy()).unwrap_or_else(|error| panic!("values at {align}, closed: {error}"));
        assert!(model.now().is(&recovery.recovered.unwrap()), "values at {align}, closed");
        assert!(recovery.notes.is_empty(), "values at {align}: {:?}", recovery.notes);
    }
    assert!(reused > 500, "segments are used again: {reused}");
}

#[test]
fn a_broken_head_before_forged_frames_was_torn() {
    let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(7));
    let mut journal = read(&disk, roomy()).unwrap().journal;
    for _ in 0..12 {
        round(8, &mut journal, &mut disk, &mut model, &mut dice);
    }
    // A crash while a used segment got its new name: the head is half written, and what is behind it is an old use.
    let mut spares = disk.names();
    spares.retain(|name| name.starts_with("spare-"));
    let seq = newest(&disk) + 1;
    let mut bytes = disk.read(spares.last().expect("a segment to be used again")).unwrap().to_vec();
    bytes[..512].fill(0x5a);
    let torn = crate::wal::segment::file_name(seq);
    let names: Vec<String> = disk.names().into_iter().chain([torn.clone()]).collect();
    let recovery = recover(roomy(), &names, DRAW, |name| {
        if name == torn { Ok::<_, String>(Bytes::from(bytes.clone())) } else { disk.read(name) }
    });
    assert!(model.now().is(&recovery.unwrap().recovered.unwrap()));
}

#[test]
#[cfg(feature = "planted-bugs")]
fn a_nonce_that_can_be_guessed_lets_values_pass_for_frames() {
    use crate::planted::{Bug, Planted};
    let config = JournalConfig { planted: Planted::bug(Bug::NonceNotDrawn), ..roomy() };
    let refused = (0..512).any(|align| {
        let (mut disk, mut model, mut dice) = (Disk::default(), Model::new(), Dice::new(align as u64 + 1));
        let mut journal = read(&disk, config).unwrap().journal;
        (0..12).any(|_| {
            round(align, &mut journal, &mut disk, &mut model, &mut dice);
            !read(&disk, config).is_ok_and(|recovery| model.now().is(&recovery.recovered.unwrap()))
        })
    });
    assert!(refused, "the values of this test would be found");
}
