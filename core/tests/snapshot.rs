//! Snapshots: the same chunks every time, the same state at the other end, and no belief in broken bytes.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use synap_core::command::{
    Command, Condition, Fingerprint, Member, Membership, Pair, StartKind, Ticket, Value, ValueKind,
};
use synap_core::history::{Arming, History, Term};
use synap_core::ids::{ClusterId, NodeId};
use synap_core::position::{Epoch, Index, Position};
use synap_core::snapshot::{SnapshotError, SnapshotMeta, SnapshotProgress, SnapshotReader, SnapshotWriter};
use synap_core::store::Store;
use synap_core::time::WallMs;
use synap_core::version::Version;

fn meta(store: &Store, last: u64) -> SnapshotMeta {
    let epoch = |number| Epoch { number, leader: NodeId(0xA0 + u128::from(number)) };
    let terms = vec![
        Term { epoch: epoch(1), start: Index(1), kind: StartKind::Founding },
        Term { epoch: epoch(2), start: Index(last.max(2)), kind: StartKind::Forced },
    ];
    let member = |id: u128, name: &str, voter| Member {
        id: NodeId(id),
        name: name.into(),
        replication: format!("{name}:15501"),
        http: format!("{name}:15500"),
        voter,
        priority: 100,
        priority_set: (!voter).then_some(0),
    };
    SnapshotMeta {
        cluster: ClusterId(0xC1),
        position: Position { epoch: epoch(2), index: Index(last.max(2)) },
        log_time: store.log_time(),
        history: History::from_parts(terms, Vec::new(), vec![Arming { at: Index(1), armed: true }]).unwrap(),
        membership: Membership {
            armed: true,
            election_timeout_ms: 2000,
            pause: None,
            members: vec![member(0xA1, "one", true), member(0xA2, "two", true), member(0xA3, "three", false)],
        },
        version_base: store.version_base(),
        keys: store.keys(),
        results: store.results(),
        hash: store.hash(),
    }
}

fn set(store: &mut Store, index: u64, key: &[u8], kind: ValueKind, value: &[u8], ttl_ms: Option<u64>) {
    set_once(store, index, None, key, kind, value, ttl_ms);
}

fn set_once(
    store: &mut Store,
    index: u64,
    ticket: Option<Ticket>,
    key: &[u8],
    kind: ValueKind,
    value: &[u8],
    ttl_ms: Option<u64>,
) {
    let value = Value { kind, bytes: Bytes::copy_from_slice(value) };
    let pair = Pair { key: Bytes::copy_from_slice(key), value, ttl_ms };
    let set = Command::Set { pair, condition: Condition::Always };
    let command = match ticket {
        Some(ticket) => Command::Once { ticket, command: Box::new(set) },
        None => set,
    };
    store.apply(Index(index), WallMs(1_700_000_000_000 + index), &command);
}

fn filled(pairs: &[(Vec<u8>, Vec<u8>, Option<u64>)]) -> (SnapshotMeta, Store) {
    let mut store = Store::default();
    for (n, (key, value, ttl_ms)) in pairs.iter().enumerate() {
        let kind = if n % 2 == 0 { ValueKind::Bytes } else { ValueKind::Json };
        // Every third is asked for under a ticket.
        let ticket = (n % 3 == 0).then(|| Ticket {
            key: Bytes::from(format!("ticket {}", n * 7_919 % 1_000)),
            fingerprint: Fingerprint(n as u128),
            wants_old: n % 2 == 0,
        });
        set_once(&mut store, n as u64 + 1, ticket, key, kind, value, *ttl_ms);
    }
    (meta(&store, pairs.len() as u64), store)
}

fn chunks(mut writer: SnapshotWriter, bytes_max: usize) -> Vec<Bytes> {
    std::iter::from_fn(|| writer.chunk(bytes_max)).collect()
}

fn read(chunks: &[Bytes]) -> Result<(SnapshotMeta, Store), SnapshotError> {
    SnapshotReader::read(Bytes::from(chunks.concat()))
}

fn pairs(max: usize) -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>, Option<u64>)>> {
    let ttl = prop_oneof![Just(None), (0_u64..1_000).prop_map(Some)];
    vec((vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..200), ttl), 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(pairs in pairs(200), bytes_max in 1_usize..2_000) {
        let (meta, store) = filled(&pairs);
        let chunks = chunks(SnapshotWriter::new(meta.clone(), store.view()), bytes_max);
        let (meta_read, store_read) = read(&chunks).unwrap();
        prop_assert_eq!(&meta_read, &meta);
        prop_assert_eq!(&store_read, &store);
        prop_assert_eq!(store_read.next_expiry(), store.next_expiry());
        prop_assert_eq!(store_read.memory_bytes(), store.memory_bytes());
        store_read.check();
    }

    /// A chunk is the same whether it is cut in one go, again, or by a clone that only knows of the cuts.
    #[test]
    fn a_broken_transfer_goes_on_anywhere(
        pairs in pairs(100),
        bytes_max in 1_usize..1_000,
        other_max in 1_usize..1_000,
        back in any::<prop::sample::Index>(),
    ) {
        let (meta, store) = filled(&pairs);
        let kept = SnapshotWriter::new(meta, store.view());
        let whole = chunks(kept.clone(), bytes_max);
        let back = back.index(whole.len());
        let mut sent = kept.clone();
        for chunk in &whole[..back] {
            prop_assert_eq!(sent.chunk(bytes_max), Some(chunk.clone()));
        }
        let mut resumed = kept;
        prop_assert_eq!(resumed.can_seek(u32::try_from(back).unwrap()), back <= 1);
        resumed.remember(&sent);
        for (again, chunk) in whole.iter().enumerate().take(back + 1) {
            prop_assert!(resumed.seek(u32::try_from(again).unwrap()));
            let size = if again == back { bytes_max } else { other_max };
            prop_assert_eq!(resumed.chunk(size), Some(chunk.clone()));
        }
        let rest: Vec<Bytes> = std::iter::from_fn(|| resumed.chunk(bytes_max)).collect();
        prop_assert_eq!(&rest[..], &whole[back + 1..]);
        prop_assert!(!resumed.seek(u32::try_from(whole.len()).unwrap()));
    }

    #[test]
    fn a_file_cut_short_is_damaged(pairs in pairs(20), cut in any::<prop::sample::Index>()) {
        let (meta, store) = filled(&pairs);
        let file = chunks(SnapshotWriter::new(meta, store.view()), 300).concat();
        let cut = cut.index(file.len());
        let result = SnapshotReader::read(Bytes::copy_from_slice(&file[..cut]));
        prop_assert!(matches!(result, Err(SnapshotError::Damaged(_))), "{:?}", result);
    }

    #[test]
    fn a_flipped_bit_is_found(pairs in pairs(20), byte in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (meta, store) = filled(&pairs);
        let mut file = chunks(SnapshotWriter::new(meta, store.view()), 300).concat();
        let byte = byte.index(file.len());
        file[byte] ^= 1 << bit;
        let result = SnapshotReader::read(Bytes::from(file));
        prop_assert!(matches!(result, Err(SnapshotError::Damaged(_))), "{:?}", result);
    }

    #[test]
    fn any_bytes_are_refused_in_peace(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(SnapshotReader::read(Bytes::from(bytes)).is_err());
    }

    /// As if the checksum itself had been made by someone who means ill.
    #[test]
    fn any_content_is_refused_in_peace(
        number in 0_u32..2,
        content in vec(any::<u8>(), 0..100),
        splice in any::<prop::sample::Index>(),
    ) {
        let (meta, store) = filled(&[(b"key".to_vec(), b"value".to_vec(), Some(3))]);
        let good = chunks(SnapshotWriter::new(meta, store.view()), 300);
        // A true beginning, so that what is behind it is looked at as well.
        let truth = &good[number as usize][12..];
        let forged = [&truth[..splice.index(truth.len())], &content].concat();
        prop_assume!(forged != truth);
        let mut reader = SnapshotReader::new();
        if number == 1 {
            let Ok(SnapshotProgress::More(more)) = reader.push(good[0].clone()) else { panic!("a good chunk") };
            reader = more;
        }
        if let Ok(SnapshotProgress::Done(..)) = reader.push(frame(number, &forged)) {
            panic!("a forged chunk ends a snapshot");
        }
    }
}

/// A chunk with a good frame around anything.
fn frame(number: u32, content: &[u8]) -> Bytes {
    let covered = [&number.to_le_bytes(), content].concat();
    let len = u32::try_from(content.len()).unwrap().to_le_bytes();
    Bytes::from([&len[..], &crc32c::crc32c(&covered).to_le_bytes(), &covered].concat())
}

#[test]
fn an_empty_store_is_a_snapshot_too() {
    let (meta, store) = filled(&[]);
    let chunks = chunks(SnapshotWriter::new(meta.clone(), store.view()), 100);
    assert_eq!(chunks.len(), 2);
    assert_eq!(read(&chunks), Ok((meta, store)));
}

#[test]
fn a_large_item_has_a_chunk_of_its_own() {
    let large = (b"b".to_vec(), vec![7; 1 << 20], None);
    let (meta, store) = filled(&[(b"a".to_vec(), vec![], None), large, (b"c".to_vec(), vec![], None)]);
    let chunks = chunks(SnapshotWriter::new(meta.clone(), store.view()), 1_000);
    // The first, one for each item, one for the result of the first item's ticket, the last.
    assert_eq!(chunks.len(), 6);
    assert_eq!(read(&chunks), Ok((meta, store)));
}

#[test]
fn an_item_after_a_result_and_a_broken_result_are_refused() {
    let (meta, store) = filled(&[(b"a".to_vec(), vec![], None)]);
    let good = chunks(SnapshotWriter::new(meta, store.view()), 300);
    let reader = |upto: usize| {
        good[..upto].iter().fold(SnapshotReader::new(), |reader, chunk| match reader.push(chunk.clone()) {
            Ok(SnapshotProgress::More(more)) => more,
            other => panic!("{other:?}"),
        })
    };
    let item_again = frame(3, &good[1][12..]);
    assert!(matches!(reader(3).push(item_again), Err(SnapshotError::Damaged(3))));
    let mut result = good[2][12..].to_vec();
    let last = result.len() - 1;
    result[last] = 9;
    assert!(matches!(reader(2).push(frame(2, &result)), Err(SnapshotError::Damaged(2))));
}

#[test]
fn the_view_is_written_as_it_was_while_writes_go_on() {
    let pairs: Vec<_> = (0_u16..500).map(|n| (n.to_be_bytes().to_vec(), vec![1; 20], None)).collect();
    let (meta, mut store) = filled(&pairs);
    let then = store.clone();
    let mut writer = SnapshotWriter::new(meta.clone(), store.view());
    let mut cut = Vec::new();
    let mut index = 500;
    while let Some(chunk) = writer.chunk(500) {
        cut.push(chunk);
        index += 1;
        set(&mut store, index, &(index as u16 * 7 % 500).to_be_bytes(), ValueKind::Bytes, b"later", None);
        store.apply(Index(index), WallMs(0), &Command::Delete { key: Bytes::copy_from_slice(&[0, index as u8]) });
    }
    assert_eq!(read(&cut), Ok((meta, then)));
}

#[test]
fn another_format_version_is_named() {
    let (meta, store) = filled(&[]);
    let first = chunks(SnapshotWriter::new(meta, store.view()), 100).remove(0);
    let mut content = first[12..].to_vec();
    content[9] = 1;
    let result = SnapshotReader::new().push(frame(0, &content));
    assert!(matches!(result, Err(SnapshotError::Version(1))), "{result:?}");
}

#[test]
fn a_state_other_than_promised_is_refused() {
    let (mut meta, store) = filled(&[(b"a".to_vec(), vec![], None)]);
    meta.hash.0 ^= 1;
    let chunks = chunks(SnapshotWriter::new(meta, store.view()), 100);
    assert_eq!(read(&chunks), Err(SnapshotError::Mismatch));
}

#[test]
fn chunks_in_another_order_and_bytes_behind_the_last_are_refused() {
    let (meta, store) = filled(&[(b"a".to_vec(), vec![], None), (b"b".to_vec(), vec![], None)]);
    let mut chunks = chunks(SnapshotWriter::new(meta, store.view()), 1);
    chunks.push(Bytes::from_static(b"x"));
    assert_eq!(read(&chunks), Err(SnapshotError::Damaged(4)));
    chunks.pop();
    chunks.swap(1, 2);
    assert_eq!(read(&chunks), Err(SnapshotError::Damaged(1)));
}

/// The format is a promise to files that are already written. `UPDATE=1` rewrites the golden file.
#[test]
fn the_format_is_the_one_of_version_4() {
    let mut opened = Store::default();
    opened.apply(Index(1), WallMs(0), &Command::EpochStart { kind: StartKind::Founding, spread: 0x5EED });
    let (meta, store) = for_the_format(opened);
    let chunks = chunks(SnapshotWriter::new(meta.clone(), store.view()), 80);
    let mut text = String::from(
        "# A snapshot of three keys and a result for retries in chunks of about 80 bytes, one line per chunk.\n",
    );
    for chunk in &chunks {
        chunk.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v4.hex");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap());
    assert_eq!(read(&chunks), Ok((meta, store)));

    // What version 3 and 2 wrote is of logs whose terms have no spread. Version 2 says nothing of gaps and arming: where its
    // membership is armed, it may always have been.
    for name in ["snapshot-v3.hex", "snapshot-v2.hex"] {
        let old = std::fs::read_to_string(path.with_file_name(name)).unwrap();
        let old: Vec<Bytes> = old.lines().filter(|line| !line.starts_with('#')).map(bytes_of).collect();
        assert_eq!(read(&old), Ok(for_the_format(Store::default())), "{name}");
    }
}

fn for_the_format(mut store: Store) -> (SnapshotMeta, Store) {
    set(&mut store, 2, b"greeting", ValueKind::Bytes, b"hello", None);
    set(&mut store, 3, b"list", ValueKind::Json, b"[1,2]", None);
    set(&mut store, 4, b"session", ValueKind::Bytes, b"\xff\x00", Some(60_000));
    let ticket = Ticket { key: Bytes::from_static(b"order-17"), fingerprint: Fingerprint(7), wants_old: true };
    set_once(&mut store, 5, Some(ticket), b"greeting", ValueKind::Bytes, b"hi", None);
    (meta(&store, 6), store)
}

/// A node that begins with a snapshot of an older version and one that replays an older log stand at the same state, and go on to
/// the same versions.
#[test]
fn old_snapshots_and_old_logs_come_to_the_same_versions() {
    let old = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v3.hex"));
    let chunks: Vec<Bytes> = old.unwrap().lines().filter(|line| !line.starts_with('#')).map(bytes_of).collect();
    let (_, mut from_snapshot) = read(&chunks).unwrap();
    let mut from_log = Store::default();
    from_log.apply(Index(1), WallMs(0), &Command::EpochStart { kind: StartKind::Founding, spread: 0 });
    let (_, mut from_log) = for_the_format(from_log);
    for store in [&mut from_snapshot, &mut from_log] {
        let at = store.log_time();
        assert_eq!(store.view().get(b"list").map(|item| item.version()), Some(Version(3)), "an index then");
        store.apply(Index(7), at, &Command::EpochStart { kind: StartKind::Restart, spread: 0x5EED });
        set(store, 8, b"list", ValueKind::Json, b"[3]", None);
        assert!(store.view().get(b"list").is_some_and(|item| item.version() > Version(1 << 28)));
        store.check();
    }
    assert_eq!(from_snapshot, from_log);
}

fn bytes_of(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
