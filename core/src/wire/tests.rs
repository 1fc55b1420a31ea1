//! Round trips, broken bytes, and the maxima. Nothing here may panic in the decoder.

extern crate std;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{
    Assembler, FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX, PIECE_BYTES_MAX, PIECE_FRAME_BYTES_MAX, Pieces, WireError,
    decode, encode,
};
use crate::command::{Command, Condition, Pair, Value, ValueKind};
use crate::config::{Address, Concern, Durability};
use crate::history::{History, Term};
use crate::ids::{ClusterId, NodeId};
use crate::message::*;
use crate::position::{Epoch, Index, Position};
use crate::status::DiskState;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::wal::Entry;
use crate::wal::tests::arbitrary;

fn joined(message: &Message) -> Vec<u8> {
    encode(message).concat()
}

fn decoded(bytes: &[u8]) -> Result<Option<Message>, WireError> {
    decode(&mut BytesMut::from(bytes), FRAME_BYTES_MAX)
}

fn text() -> impl Strategy<Value = String> {
    "[a-z.:é]{0,40}"
}

fn address() -> impl Strategy<Value = Address> {
    (prop::option::of(text()), any::<u16>()).prop_map(|(host, port)| Address { host, port })
}

fn history() -> impl Strategy<Value = History> {
    prop::collection::vec((1u64..5, 1u64..9, 0..arbitrary::START_KINDS.len()), 0..20).prop_map(|steps| {
        let mut epoch = Epoch::default();
        let mut start = Index::ZERO;
        let mut history = History::default();
        for (number, index, kind) in steps {
            epoch.number += number;
            start.0 += index;
            history.push(Term { epoch, start, kind: arbitrary::START_KINDS[kind] });
        }
        history
    })
}

fn standing() -> impl Strategy<Value = PeerState> {
    let who = (any::<u128>(), prop::option::of(any::<u128>()), text(), address(), prop::option::of(address()));
    let how = (
        any::<u32>(),
        any::<bool>(),
        arbitrary::epoch(),
        any::<bool>(),
        arbitrary::position(),
        any::<(u64, u64, bool)>(),
    );
    (who, any::<[u32; 3]>(), how, history()).prop_map(|(who, drawn, how, history)| PeerState {
        node: NodeId(who.0),
        cluster: who.1.map(ClusterId),
        name: who.2,
        http: who.3,
        replication: who.4,
        process: u64::from(drawn[0]) << 32 | u64::from(drawn[1]),
        priority: how.0,
        votes: how.1,
        durability: if how.3 { Durability::Synced } else { Durability::Logged },
        promised: how.2,
        leads: how.3,
        last: how.4,
        committed: Index(how.5.0),
        log_time: WallMs(how.5.1),
        log_time_known: how.5.2,
        history,
        heartbeat_ms: drawn[2],
    })
}

fn leader() -> impl Strategy<Value = Leader> {
    (any::<u128>(), text(), text()).prop_map(|(node, http, replication)| Leader {
        node: NodeId(node),
        http,
        replication,
    })
}

fn disk() -> impl Strategy<Value = DiskState> {
    prop_oneof![Just(DiskState::Works), Just(DiskState::Full), Just(DiskState::Hangs)]
}

fn reason() -> impl Strategy<Value = Reason> {
    let reasons = [
        Reason::Protocol,
        Reason::ForeignCluster,
        Reason::NoMaster,
        Reason::SameNode,
        Reason::Full,
        Reason::SourceBehind,
        Reason::AtOdds,
        Reason::Quarantined,
        Reason::ShuttingDown,
        Reason::Resigned,
        Reason::Itself,
    ];
    prop::sample::select(Vec::from(reasons))
}

fn verdict() -> impl Strategy<Value = SyncPlan> {
    prop_oneof![
        arbitrary::position().prop_map(|after| SyncPlan::Continue { after }),
        arbitrary::position().prop_map(|after| SyncPlan::Truncate { after }),
        (arbitrary::position(), any::<u32>())
            .prop_map(|(position, next_chunk)| SyncPlan::Snapshot { position, next_chunk }),
        leader().prop_map(SyncPlan::Redirect),
        prop::option::of(leader()).prop_map(SyncPlan::Noted),
        reason().prop_map(SyncPlan::Refused),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(arbitrary::entry().prop_map(|entry| entry.record), 0..6)
}

fn request_vote() -> impl Strategy<Value = RequestVote> {
    let waiver = prop_oneof![
        Just(Waiver::None),
        Just(Waiver::Evidence),
        (arbitrary::epoch(), any::<u64>()).prop_map(|(epoch, round)| Waiver::Handover { epoch, round }),
    ];
    (any::<u128>(), arbitrary::epoch(), arbitrary::position(), any::<bool>(), waiver).prop_map(
        |(cluster, epoch, last, pre, waiver)| RequestVote {
            cluster: ClusterId(cluster),
            epoch,
            last,
            pre,
            waiver,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let resume =
        (arbitrary::position(), any::<u32>()).prop_map(|(position, next_chunk)| Resume { position, next_chunk });
    let intent = prop::sample::select(Vec::from([Intent::Follow, Intent::Ask]));
    prop_oneof![
        (intent, standing(), prop::option::of(resume), any::<bool>(), prop::option::of(text())).prop_map(
            |(intent, standing, resume, needs_snapshot, dialled)| Message::Hello(Hello {
                protocol: PROTOCOL_VERSION,
                intent,
                standing,
                resume,
                needs_snapshot,
                dialled
            })
        ),
        (standing(), prop::option::of(text()), prop::option::of(text()), verdict()).prop_map(
            |(standing, seen_at, reached_at, verdict)| Message::Welcome(Welcome {
                protocol: PROTOCOL_VERSION,
                standing,
                seen_at,
                reached_at,
                verdict
            })
        ),
        (arbitrary::epoch(), arbitrary::position(), entries(), any::<[u64; 6]>()).prop_map(
            |(epoch, prev, entries, n)| Message::Append(Append {
                epoch,
                prev,
                entries,
                committed: Index(n[0]),
                last: Index(n[1]),
                round: n[2],
                sent: n[3],
                echo: n[4],
                log_time: WallMs(n[5])
            })
        ),
        (arbitrary::epoch(), any::<[u64; 8]>(), (any::<u32>(), disk())).prop_map(|(epoch, n, (word_ms, disk))| {
            Message::Ack(Ack {
                epoch,
                received: Index(n[0]),
                durable: Index(n[1]),
                applied: Index(n[2]),
                hash: StateHash(n[3]),
                round: n[4],
                sent: n[5],
                word_ms,
                clock: n[6],
                disk,
                wall: WallMs(n[7]),
            })
        }),
        disk().prop_map(Message::Alive),
        (arbitrary::epoch(), arbitrary::position(), any::<u32>(), any::<Vec<u8>>(), any::<u64>()).prop_map(
            |(epoch, position, number, bytes, last)| Message::Chunk(Chunk {
                epoch,
                position,
                number,
                bytes: Bytes::from(bytes),
                last: Index(last)
            })
        ),
        (arbitrary::epoch(), arbitrary::position(), any::<u32>(), any::<bool>(), any::<u64>()).prop_map(
            |(epoch, position, next_chunk, durable, clock)| Message::SnapshotAck(SnapshotAck {
                epoch,
                position,
                next_chunk,
                durable,
                clock
            })
        ),
        (arbitrary::position(), any::<bool>())
            .prop_map(|(after, across)| Message::FetchTail(FetchTail { after, across })),
        request_vote().prop_map(Message::RequestVote),
        (any::<u128>(), arbitrary::epoch(), arbitrary::epoch(), any::<[bool; 4]>()).prop_map(
            |(voter, epoch, promised, [pre, granted, evidence, if_dead])| Message::Vote(Vote {
                voter: NodeId(voter),
                epoch,
                pre,
                granted,
                promised,
                evidence,
                if_dead
            })
        ),
        (arbitrary::epoch(), any::<u64>()).prop_map(|(epoch, round)| Message::Handover(Handover { epoch, round })),
        (arbitrary::epoch(), any::<u64>())
            .prop_map(|(epoch, number)| Message::ReadIndex(ReadIndex { epoch, number })),
        any::<(u64, u64)>()
            .prop_map(|(number, index)| Message::ReadIndexed(ReadIndexed { number, index: Index(index) })),
        reason().prop_map(Message::Bye),
        (arbitrary::position(), entries())
            .prop_map(|(after, entries)| Message::FetchedTail(FetchedTail { after, entries })),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(message in message()) {
        prop_assert_eq!(decoded(&joined(&message)), Ok(Some(message)));
    }

    #[test]
    fn a_frame_in_pieces_waits_and_leaves_what_follows(message in message(), cut in any::<prop::sample::Index>()) {
        let whole = joined(&message);
        let cut = cut.index(whole.len());
        let mut buffer = BytesMut::from(&whole[..cut]);
        prop_assert_eq!(decode(&mut buffer, FRAME_BYTES_MAX), Ok(None));
        buffer.extend_from_slice(&whole[cut..]);
        buffer.extend_from_slice(&whole[..cut]);
        prop_assert_eq!(decode(&mut buffer, FRAME_BYTES_MAX), Ok(Some(message)));
        prop_assert_eq!(&buffer[..], &whole[..cut]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        prop_assert_ne!(decoded(&bytes).ok().flatten(), Some(Message::FetchTail(FetchTail { after: Position::ZERO, across: false })));
    }

    #[test]
    fn one_changed_byte_never_gives_another_message(
        message in message(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut bytes = joined(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // A changed length may ask for more bytes; a peer that sends none falls silent and is dropped for that.
        prop_assert!(!matches!(decoded(&bytes), Ok(Some(_))));
    }

    #[test]
    fn damage_under_a_right_checksum_never_panics(
        message in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = joined(&message);
        let fields = bytes[16..].len();
        let at = 16 + at.index(fields);
        bytes[at] = byte;
        super::put_head_again(&mut bytes);
        let _ = decoded(&bytes);
    }
}

fn blank_hello(protocol: u16) -> Message {
    let standing = PeerState {
        node: NodeId(7),
        cluster: None,
        name: "n".into(),
        http: Address { host: None, port: 1 },
        replication: None,
        priority: 1,
        process: 7,
        votes: true,
        durability: Durability::Synced,
        promised: Epoch::default(),
        leads: false,
        last: Position::ZERO,
        committed: Index::ZERO,
        log_time: WallMs(0),
        log_time_known: false,
        history: History::default(),
        heartbeat_ms: 1000,
    };
    let (intent, resume, dialled) = (Intent::Follow, None, None);
    Message::Hello(Hello { protocol, intent, standing, resume, needs_snapshot: false, dialled })
}

#[test]
fn a_hello_of_another_version_still_says_which_and_who() {
    let Ok(Some(Message::Hello(hello))) = decoded(&joined(&blank_hello(PROTOCOL_VERSION + 1))) else {
        panic!("not understood");
    };
    assert_eq!((hello.protocol, hello.standing.node), (PROTOCOL_VERSION + 1, NodeId(7)));
    assert_eq!(hello.standing.name, "");
}

#[test]
fn another_protocol_is_refused_at_its_first_byte() {
    assert_eq!(decoded(b"GET / HTTP/1.1\r\n"), Err(WireError::Magic));
    assert_eq!(decoded(b"G"), Err(WireError::Magic));
    assert_eq!(decoded(b"S"), Ok(None));
}

#[test]
fn a_long_frame_is_refused_by_its_head_alone() {
    let mut head = BytesMut::from(&b"SYN\x01"[..]);
    head.extend_from_slice(&(HANDSHAKE_BYTES_MAX - 15).to_le_bytes());
    head.extend_from_slice(&[0; 8]);
    assert_eq!(decode(&mut head.clone(), HANDSHAKE_BYTES_MAX), Err(WireError::TooLong(HANDSHAKE_BYTES_MAX - 15)));
    assert_eq!(decode(&mut head, HANDSHAKE_BYTES_MAX + 1), Ok(None));
}

#[test]
fn the_longest_hello_passes_the_handshake() {
    let text: String = core::iter::repeat_n('x', crate::codec::TEXT_BYTES_MAX).collect();
    let mut history = History::default();
    for number in 1..=300 {
        history.push(Term {
            epoch: Epoch { number, leader: NodeId(1) },
            start: Index(number),
            kind: arbitrary::START_KINDS[0],
        });
    }
    let Message::Hello(mut hello) = blank_hello(PROTOCOL_VERSION) else { return };
    hello.standing.name = text.clone();
    hello.standing.http.host = Some(text.clone());
    hello.standing.replication = Some(Address { host: Some(text.clone()), port: 2 });
    hello.dialled = Some(text);
    hello.standing.history = history;
    let bytes = joined(&Message::Hello(hello.clone()));
    let decoded = decode(&mut BytesMut::from(&bytes[..]), HANDSHAKE_BYTES_MAX);
    assert_eq!(decoded, Ok(Some(Message::Hello(hello))));
}

#[test]
fn large_entries_are_shared_not_copied() {
    let entry = arbitrary::set_of(100_000);
    let small = arbitrary::set_of(10);
    let records = [small.clone(), small, entry.clone()].map(|entry| entry.record);
    let fetched = Message::FetchedTail(FetchedTail { after: Position::ZERO, entries: Vec::from(records) });
    let parts = encode(&fetched);
    assert_eq!(parts.len(), 2, "head and small ones, then the large one");
    assert_eq!(parts[1].as_ptr(), entry.record.as_ptr());
    assert_eq!(decoded(&parts.concat()), Ok(Some(fetched)));
}

fn long(bytes: usize) -> Message {
    let entry = arbitrary_entry(bytes);
    Message::FetchedTail(FetchedTail { after: Position::ZERO, entries: vec![entry] })
}

fn arbitrary_entry(bytes: usize) -> Bytes {
    let key = Bytes::from(vec![b'k'; 3]);
    let value = Value { kind: ValueKind::Bytes, bytes: Bytes::from(vec![7; bytes]) };
    let pair = Pair { key, value, ttl_ms: None };
    let command = Command::Set { pair, condition: Condition::Always };
    let position = Position { epoch: Epoch { number: 1, leader: NodeId(1) }, index: Index(1) };
    Entry::encode(position, WallMs(1), Concern::Quorum, &command).record
}

fn in_pieces(message: &Message) -> Vec<Vec<u8>> {
    let mut pieces = Pieces::of(message);
    core::iter::from_fn(|| pieces.next_frame()).map(|parts| parts.concat()).collect()
}

#[test]
fn a_long_message_goes_in_pieces_and_short_ones_between_them() {
    for bytes in [0, PIECE_BYTES_MAX - 200, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 5 * PIECE_BYTES_MAX] {
        let (message, short) = (long(bytes), Message::Bye(Reason::Full));
        let frames = in_pieces(&message);
        assert!(frames.iter().all(|frame| frame.len() <= PIECE_FRAME_BYTES_MAX as usize));
        assert_eq!(frames.len(), joined(&message).len().div_ceil(PIECE_BYTES_MAX), "{bytes}");
        let (mut assembler, mut buffer, mut came) = (Assembler::default(), BytesMut::new(), Vec::new());
        for frame in &frames {
            for half in frame.chunks(frame.len().div_ceil(2)).map(<[u8]>::to_vec).chain([joined(&short)]) {
                buffer.extend_from_slice(&half);
                while let Ok(Some((message, _))) = assembler.take(&mut buffer, FRAME_BYTES_MAX) {
                    came.push(message);
                }
                // A short message goes after a whole frame only.
                if half != joined(&short) {
                    continue;
                }
            }
        }
        assert_eq!(came.iter().filter(|message| **message == short).count(), frames.len());
        assert_eq!(came.iter().filter(|came| **came == message).count(), 1);
        assert_eq!((assembler.waiting(), buffer.len()), (0, 0));
    }
}

#[test]
fn a_bit_that_is_flipped_in_a_piece_is_never_believed() {
    let message = long(2 * PIECE_BYTES_MAX);
    let frames = in_pieces(&message);
    let whole = frames.concat();
    for at in (0..whole.len()).filter(|at| at % 997 == 0 || frames[0].len().abs_diff(*at) < 40 || *at < 40) {
        for bit in [0, 7] {
            let mut bad = whole.clone();
            bad[at] ^= 1 << bit;
            let taken = Assembler::default().take(&mut BytesMut::from(&bad[..]), FRAME_BYTES_MAX);
            assert!(!matches!(taken, Ok(Some(_))), "byte {at}");
        }
    }
}

#[test]
fn pieces_that_make_no_message_are_refused() {
    let frames = in_pieces(&long(2 * PIECE_BYTES_MAX));
    let take = |bytes: Vec<u8>, max| Assembler::default().take(&mut BytesMut::from(&bytes[..]), max);
    assert_eq!(
        take(frames[1..].concat(), FRAME_BYTES_MAX),
        Err(WireError::Magic),
        "the middle of a message is no message"
    );
    let last = frames.last().cloned().unwrap_or_default();
    let too_few = [frames[0].clone(), last].concat();
    assert!(take(too_few, FRAME_BYTES_MAX).is_err());
    assert!(
        matches!(take(frames.concat(), HANDSHAKE_BYTES_MAX), Err(WireError::TooLong(_))),
        "before the handshake"
    );
    // A frame of its own that is longer than a piece is refused by its head.
    assert!(matches!(take(joined(&long(2 * PIECE_BYTES_MAX)), FRAME_BYTES_MAX), Err(WireError::TooLong(_))));
    // Pieces of pieces are none.
    let nested = Pieces::of(&long(2 * PIECE_BYTES_MAX));
    assert!(decode(&mut BytesMut::from(&frames[0][..]), FRAME_BYTES_MAX).is_err(), "{}", nested.left());
}
