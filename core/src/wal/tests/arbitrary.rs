//! Arbitrary values of what the log holds.

extern crate std;

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use crate::command::{
    Command, Condition, Fingerprint, Member, Membership, Pair, Pause, StartKind, TICKET_KEY_BYTES_MAX, Ticket,
    Value, ValueKind,
};
use crate::config::{Concern, RoleHint};
use crate::ids::{ClusterId, NodeId};
use crate::position::{Epoch, Index, Position};
use crate::time::WallMs;
use crate::version::Version;
use crate::wal::{Entry, HardState, Record};

/// All of them.
pub(crate) const START_KINDS: [StartKind; 6] = [
    StartKind::Founding,
    StartKind::Restart,
    StartKind::Promotion,
    StartKind::Forced,
    StartKind::Election,
    StartKind::Switchover,
];

pub(crate) fn epoch() -> impl Strategy<Value = Epoch> {
    (any::<u64>(), any::<u128>()).prop_map(|(number, leader)| Epoch { number, leader: NodeId(leader) })
}

pub(crate) fn position() -> impl Strategy<Value = Position> {
    (epoch(), any::<u64>()).prop_map(|(epoch, index)| Position { epoch, index: Index(index) })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn pair() -> impl Strategy<Value = Pair> {
    (bytes(), any::<bool>(), bytes(), prop::option::of(any::<u64>())).prop_map(|(key, json, value, ttl_ms)| Pair {
        key,
        value: Value { kind: if json { ValueKind::Json } else { ValueKind::Bytes }, bytes: value },
        ttl_ms,
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(|version| Condition::Version(Version(version))),
    ]
}

fn membership() -> impl Strategy<Value = Membership> {
    let rank = (any::<u32>(), prop::option::of(any::<u32>()));
    let member = ("[a-z]{0,9}", "[a-z]{0,9}:1", "[a-z]{0,9}:2", any::<bool>(), rank);
    let members = prop::collection::btree_map(any::<u128>(), member, 0..5);
    (any::<bool>(), any::<u32>(), prop::option::of((any::<u64>(), any::<u32>())), members).prop_map(
        |(armed, election_timeout_ms, paused, members)| {
            let members = members.into_iter().map(|(id, (name, replication, http, voter, rank))| Member {
                id: NodeId(id),
                name,
                replication,
                http,
                voter,
                priority: rank.0,
                priority_set: rank.1,
            });
            let pause = paused.map(|(since, length_ms)| Pause { since: Index(since), length_ms });
            Membership { armed, election_timeout_ms, pause, members: members.collect() }
        },
    )
}

fn ticket() -> impl Strategy<Value = Ticket> {
    let key = prop::collection::vec(any::<u8>(), 1..=TICKET_KEY_BYTES_MAX).prop_map(Bytes::from);
    (key, any::<u128>(), any::<bool>()).prop_map(|(key, fingerprint, wants_old)| Ticket {
        key,
        fingerprint: Fingerprint(fingerprint),
        wants_old,
    })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let plain_or_if =
        prop_oneof![3 => plain().prop_filter("a client's", Command::is_plain_client), 1 => only_if()];
    let once =
        (ticket(), plain_or_if).prop_map(|(ticket, command)| Command::Once { ticket, command: Box::new(command) });
    prop_oneof![4 => plain(), 1 => once, 1 => only_if()]
}

fn only_if() -> impl Strategy<Value = Command> {
    let condition = condition().prop_filter("a condition", |condition| *condition != Condition::Always);
    (condition, plain().prop_filter("on one key", Command::takes_condition))
        .prop_map(|(condition, command)| Command::If { condition, command: Box::new(command) })
}

fn plain() -> impl Strategy<Value = Command> {
    prop_oneof![
        (pair(), condition()).prop_map(|(pair, condition)| Command::Set { pair, condition }),
        bytes().prop_map(|key| Command::Delete { key }),
        (bytes(), any::<i64>()).prop_map(|(key, by)| Command::Incr { key, by }),
        (bytes(), any::<u64>()).prop_map(|(key, ttl_ms)| Command::Expire { key, ttl_ms }),
        bytes().prop_map(|key| Command::Persist { key }),
        prop::collection::vec(pair(), 0..5).prop_map(|pairs| Command::Batch { pairs }),
        (prop::sample::select(Vec::from(START_KINDS)), any::<u32>())
            .prop_map(|(kind, spread)| Command::EpochStart { kind, spread }),
        membership().prop_map(Command::Config),
        prop::collection::vec(bytes(), 0..5).prop_map(|keys| Command::Sweep { keys }),
    ]
}

pub(crate) fn concern() -> impl Strategy<Value = Concern> {
    prop_oneof![
        Just(Concern::Async),
        Just(Concern::Local),
        Just(Concern::Quorum),
        any::<u32>().prop_map(Concern::Replicas),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (position(), any::<u64>(), concern(), command())
        .prop_map(|(position, at, concern, command)| Entry::encode(position, WallMs(at), concern, &command))
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let role = prop::sample::select(Vec::from([RoleHint::Master, RoleHint::Replica, RoleHint::Standalone]));
    let needs = (any::<bool>(), prop::option::of(any::<u64>()), any::<i64>());
    let hard_state = (any::<u128>(), prop::option::of(any::<u128>()), epoch(), role, needs).prop_map(
        |(node, cluster, promised, role, (needs_snapshot, rolled_back, wall_ahead_ms))| HardState {
            node: NodeId(node),
            cluster: cluster.map(ClusterId),
            promised,
            role,
            needs_snapshot,
            rolled_back_after: rolled_back.map(Index),
            wall_ahead_ms,
        },
    );
    prop_oneof![
        hard_state.prop_map(Record::HardState),
        entry().prop_map(Record::Entry),
        position().prop_map(Record::Truncate),
        position().prop_map(Record::SnapshotMark),
        any::<u64>().prop_map(|index| Record::Committed(Index(index))),
    ]
}

/// A set of a value of this length.
pub(crate) fn set_of(value_bytes: usize) -> Entry {
    let value = Value { kind: ValueKind::Bytes, bytes: Bytes::from(std::vec![b'v'; value_bytes]) };
    let pair = Pair { key: Bytes::from_static(b"key"), value, ttl_ms: None };
    let command = Command::Set { pair, condition: Condition::Always };
    Entry::encode(Position::ZERO, WallMs(5), Concern::Quorum, &command)
}
