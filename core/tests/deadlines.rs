//! A deadline that has come is tended: a node that has nothing to do asks for no turn at once, or its process would make
//! turn after turn for ever.

use std::time::Duration;

use synap_core::config::{Address, Concern, Config, FailoverMode, FsyncMode, Limits, RoleHint};
use synap_core::ids::NodeId;
use synap_core::input::Input;
use synap_core::node::Node;
use synap_core::output::Output;
use synap_core::planted::Planted;
use synap_core::recovered::Recovered;
use synap_core::time::{Now, Time, WallMs};

/// Turns that a node may want at one instant, on an otherwise idle day.
const TURNS_MAX: usize = 100;

fn config(role: RoleHint) -> Config {
    Config {
        node_name: "n1".to_owned(),
        role,
        protocol: synap_core::message::PROTOCOL_VERSION,
        http: Address { host: Some("n1".to_owned()), port: 15500 },
        replication: Some(Address { host: Some("n1".to_owned()), port: 15501 }),
        master_address: None,
        heartbeat_interval: Duration::from_secs(1),
        max_lag: Duration::from_secs(10),
        auto_reconnect: true,
        reconnect_delay_max: Duration::from_secs(5),
        write_concern: Concern::Quorum,
        tail_bytes_max: 1 << 20,
        disk_margin: 0,
        uncommitted_bytes_max: 64 << 20,
        failover_mode: FailoverMode::Manual,
        election_timeout: Duration::from_secs(2),
        disk_timeout: None,
        crash_evidence: true,
        voters_max: 5,
        catch_up: Duration::from_millis(500),
        priority: 100,
        persistent: true,
        keeps_log: true,
        fsync: FsyncMode::Always,
        snapshot: None,
        limits: Limits { key_bytes_max: 16_384, value_bytes_max: 1 << 20, memory_bytes_max: 0 },
        applies_per_turn_max: synap_core::config::APPLIES_PER_TURN_MAX,
        chunk_bytes: synap_core::config::CHUNK_BYTES,
        planted: Planted::default(),
    }
}

/// Lives ten idle seconds at the node's own pace, its disk writing at once. Panics if the clock does not get on.
fn idles(node: &mut Node, role: RoleHint, from: u64, first: Input) {
    let mut at = from;
    let mut inputs = vec![first];
    let mut turns = 0;
    while at < from + 10_000_000 {
        let mut output = Output::default();
        let now = Now { mono: Time(at), wall: WallMs(1_700_000_000_000 + at / 1000) };
        let due = node.turn(now, inputs.drain(..), &mut output);
        inputs
            .extend(output.write.into_iter().chain(output.snapshot).map(|batch| Input::Durable(batch.durable())));
        let due = match due {
            Some(due) => due.0,
            None if inputs.is_empty() => return,
            None => at,
        };
        turns = if due > at { 0 } else { turns + 1 };
        assert!(turns < TURNS_MAX, "{role:?} at {at} wants the next turn by {due}, again and again");
        at = if inputs.is_empty() { at.max(due) } else { at };
    }
}

#[test]
fn an_idle_node_lets_time_pass_whatever_its_role() {
    for role in [RoleHint::Master, RoleHint::Replica, RoleHint::Standalone] {
        let start = Now { mono: Time(0), wall: WallMs(1_700_000_000_000) };
        let mut node = Node::new(config(role), Recovered::empty(NodeId(1), role), 1, start);
        idles(&mut node, role, 0, Input::Alarm);
        idles(&mut node, role, 10_000_000, Input::Shutdown);
    }
}
