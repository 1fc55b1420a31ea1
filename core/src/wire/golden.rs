//! The bytes of every message, protocol version 2.

extern crate std;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, decode, encode};
use crate::command::StartKind;
use crate::config::{Address, Durability};
use crate::golden;
use crate::history::{Arming, Gap, History, Lost, Term};
use crate::ids::{ClusterId, NodeId};
use crate::message::*;
use crate::position::{Epoch, Index};
use crate::promise::{Ack, SnapshotAck, Vote};
use crate::status::DiskState;
use crate::store::StateHash;
use crate::time::WallMs;
use crate::wal::tests::golden::{EPOCH, position, set};

/// A new message does not compile until it has a name here, and then must have a line.
fn name(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "hello",
        Message::Welcome(_) => "welcome",
        Message::Append(_) => "append",
        Message::Ack(_) => "ack",
        Message::Alive(_) => "alive",
        Message::Chunk(_) => "chunk",
        Message::SnapshotAck(_) => "snapshot_ack",
        Message::FetchTail(_) => "fetch_tail",
        Message::FetchedTail(_) => "fetched_tail",
        Message::RequestVote(_) => "request_vote",
        Message::Vote(_) => "vote",
        Message::Handover(_) => "handover",
        Message::ReadIndex(_) => "read_index",
        Message::ReadIndexed(_) => "read_indexed",
        Message::Bye(_) => "bye",
    }
}

fn standing(fresh: bool) -> PeerState {
    let terms = Vec::from([
        Term { epoch: Epoch { number: 1, leader: NodeId(0xA1) }, start: Index(1), kind: StartKind::Founding },
        Term { epoch: EPOCH, start: Index(6), kind: StartKind::Election },
    ]);
    let gaps = Vec::from([Gap { from: Index(4), upto: Index(5), lost: Lost::Restarts }]);
    let arming = Vec::from([Arming { at: Index(3), armed: true }]);
    let history = History::from_parts(terms, gaps, arming);
    PeerState {
        node: NodeId(0xA1),
        cluster: (!fresh).then_some(ClusterId(0xC1)),
        name: "one".into(),
        http: Address { host: None, port: 15_500 },
        replication: (!fresh).then(|| Address { host: Some("one".into()), port: 15_501 }),
        process: 0x77,
        priority: 100,
        votes: true,
        durability: Durability::Synced,
        promised: EPOCH,
        leads: !fresh,
        last: position(9),
        committed: Index(8),
        log_time: WallMs(1_700_000_000_000),
        log_time_known: true,
        history: if fresh { History::default() } else { history.expect("its terms ascend") },
        heartbeat_ms: 1000,
    }
}

fn messages() -> Vec<Message> {
    let protocol = PROTOCOL_VERSION;
    let leader = || Leader { node: NodeId(0xA1), http: "one:15500".into(), replication: "one:15501".into() };
    let told = |text: &str| Some(String::from(text));
    let welcome = |verdict| {
        let (seen_at, reached_at) = (told("two"), told("10.0.0.1:15501"));
        Message::Welcome(Welcome { protocol, standing: standing(false), seen_at, reached_at, verdict })
    };
    let entries = || Vec::from([set(10).record, set(11).record]);
    let request_vote = |pre, waiver| {
        Message::RequestVote(RequestVote {
            cluster: ClusterId(0xC1),
            epoch: EPOCH,
            last: position(9),
            pre,
            waiver,
        })
    };
    Vec::from([
        Message::Hello(Hello {
            protocol,
            intent: Intent::Follow,
            standing: standing(true),
            resume: None,
            needs_snapshot: true,
            dialled: told("two:15501"),
        }),
        Message::Hello(Hello {
            protocol,
            intent: Intent::Ask,
            standing: standing(false),
            resume: Some(Resume { position: position(9), next_chunk: 3 }),
            needs_snapshot: false,
            dialled: None,
        }),
        welcome(SyncPlan::Continue { after: position(9) }),
        welcome(SyncPlan::Truncate { after: position(9) }),
        welcome(SyncPlan::Snapshot { position: position(9), next_chunk: 3 }),
        welcome(SyncPlan::Redirect(leader())),
        welcome(SyncPlan::Noted(Some(leader()))),
        welcome(SyncPlan::Noted(None)),
        welcome(SyncPlan::Refused(Reason::ForeignCluster)),
        Message::Append(Append {
            epoch: EPOCH,
            prev: position(9),
            entries: entries(),
            committed: Index(8),
            last: Index(11),
            round: 5,
            sent: 6,
            echo: 7,
            log_time: WallMs(1_700_000_000_001),
        }),
        Message::Ack(Ack {
            epoch: EPOCH,
            received: Index(11),
            durable: Index(10),
            applied: Index(8),
            hash: StateHash(0xABCD),
            round: 5,
            sent: 6,
            word_ms: 2000,
            clock: 7,
            disk: DiskState::Full,
            wall: WallMs(1_700_000_000_002),
        }),
        Message::Alive(DiskState::Hangs),
        Message::Chunk(Chunk {
            epoch: EPOCH,
            position: position(9),
            number: 3,
            bytes: Bytes::from_static(b"chunk"),
            last: Index(11),
        }),
        Message::SnapshotAck(SnapshotAck {
            epoch: EPOCH,
            position: position(9),
            next_chunk: 4,
            durable: true,
            clock: 7,
        }),
        Message::FetchTail(FetchTail { after: position(9), across: true }),
        Message::FetchedTail(FetchedTail { after: position(9), entries: entries() }),
        request_vote(true, Waiver::None),
        request_vote(false, Waiver::Evidence),
        request_vote(false, Waiver::Handover { epoch: EPOCH, round: 5 }),
        Message::Vote(Vote {
            voter: NodeId(0xA2),
            epoch: EPOCH,
            pre: false,
            granted: true,
            promised: EPOCH,
            evidence: true,
            if_dead: true,
        }),
        Message::Handover(Handover { epoch: EPOCH, round: 5 }),
        Message::ReadIndex(ReadIndex { epoch: EPOCH, number: 2 }),
        Message::ReadIndexed(ReadIndexed { number: 2, index: Index(9) }),
        Message::Bye(Reason::ShuttingDown),
    ])
}

#[test]
fn messages_are_those_of_version_4() {
    assert_eq!(PROTOCOL_VERSION, 4, "another version has golden files of its own");
    let messages = messages();
    let lines: Vec<(String, Vec<u8>)> =
        messages.iter().map(|message| (name(message).into(), encode(message).concat())).collect();
    let golden = golden::compare("wire-v4.hex", "Every message as one frame: its name, its bytes.", &lines);
    for (bytes, message) in golden.into_iter().zip(&messages) {
        let decoded = decode(&mut BytesMut::from(&bytes[..]), FRAME_BYTES_MAX);
        assert_eq!(decoded.as_ref(), Ok(&Some(message.clone())), "{}", name(message));
    }
}
