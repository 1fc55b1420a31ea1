//! A node's [`Status`] as `GET /replication/status` shows it. Identities are 32 hex digits, lengths of time whole
//! milliseconds, positions indices with the epoch's number beside them.

use serde::Serialize;
use synap_core::config::FailoverMode;
use synap_core::status::{Change, Counters, Dial, Failover, LinkStatus, MemberStatus, Positions, Status};

use super::VERSION;
use super::problem::millis;

/// The whole answer.
#[derive(Serialize)]
pub(crate) struct StatusJson<'a> {
    cluster_id: Option<String>,
    node_id: String,
    node_name: &'a str,
    version: &'static str,
    role: &'static str,
    state: &'static str,
    epoch: u64,
    leader: Option<LeaderJson<'a>>,
    positions: PositionsJson,
    /// What its `durable` is worth: `memory`, `logged` or `synced`.
    durability: &'static str,
    failover: FailoverJson,
    lease_remaining_ms: Option<u64>,
    link: Option<LinkJson>,
    dials: Vec<DialJson<'a>>,
    lag_operations: u64,
    lag_ms: u64,
    staleness_ms: Option<u64>,
    members: Vec<MemberJson<'a>>,
    counters: CountersJson,
    alarms: Vec<&'static str>,
    /// By which keys expire.
    log_time_unix_ms: u64,
    /// Null while it cannot be told.
    wall_ahead_ms: Option<i64>,
    config_role_ignored: bool,
    ready: bool,
    started: bool,
    keys: u64,
    idempotency_keys: u64,
    memory_bytes: u64,
    state_hash: String,
    snapshot: Option<u64>,
    tail_bytes: u64,
    waiting: u64,
    uncommitted_bytes: u64,
    held_writes: u64,
    held_bytes: u64,
    /// For how long nothing has reached the log though something waits for it.
    disk_waits_ms: u64,
    disk: DiskJson,
}

#[derive(Serialize)]
struct DiskJson {
    /// Null if nobody has measured it.
    free_bytes: Option<u64>,
    /// So much has to be free for the next snapshot, and for the log meanwhile.
    needed_bytes: u64,
    /// Whether the node keeps little for want of room.
    short: bool,
}

#[derive(Serialize)]
struct LeaderJson<'a> {
    node_id: String,
    http: &'a str,
    replication: &'a str,
}

#[derive(Serialize)]
struct PositionsJson {
    epoch: u64,
    leader: String,
    first: u64,
    last: u64,
    durable: u64,
    committed: u64,
    applied_epoch: u64,
    applied_leader: String,
    applied: u64,
}

#[derive(Serialize)]
struct FailoverJson {
    mode: &'static str,
    armed: bool,
    reason: &'static str,
    paused_ms: Option<u64>,
    why_not: Option<&'static str>,
    history: Vec<ChangeJson>,
}

#[derive(Serialize)]
struct ChangeJson {
    epoch: u64,
    node_id: String,
    start: u64,
    kind: &'static str,
    /// Milliseconds since the Unix epoch, by the new master's clock.
    at_unix_ms: Option<u64>,
}

#[derive(Serialize)]
struct LinkJson {
    state: &'static str,
    last_contact_ms: Option<u64>,
    reconnects: u64,
    /// The master's, which counts for this link; null while there is none.
    heartbeat_ms: Option<u64>,
    refused: Option<String>,
}

#[derive(Serialize)]
struct DialJson<'a> {
    address: &'a str,
    failure: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    node_id: String,
    node_name: &'a str,
    /// Empty while it is not known.
    http: &'a str,
    /// Likewise.
    replication: &'a str,
    voter: bool,
    priority: u32,
    /// Null where only the master knows.
    connected: Option<bool>,
    /// Null, as the next four, where this node has heard nothing of it.
    durable: Option<u64>,
    applied: Option<u64>,
    lag_operations: Option<u64>,
    lag_ms: Option<u64>,
    bytes_behind: Option<u64>,
    last_contact_ms: Option<u64>,
    /// Of the master's wall clock; null on other nodes.
    wall_ahead_ms: Option<i64>,
    /// Null where only the master knows.
    eligible: Option<bool>,
    why_not: Option<&'static str>,
}

#[derive(Serialize)]
struct CountersJson {
    operations_out: u64,
    operations_in: u64,
    bytes_out: u64,
    bytes_in: u64,
    leader_changes: u64,
    elections_won: u64,
    elections_lost: u64,
    full_syncs: u64,
    partial_syncs: u64,
    rollback_operations: u64,
    state_hash_mismatches: u64,
    garbage_links: u64,
    snapshots: u64,
}

impl<'a> StatusJson<'a> {
    pub(crate) fn of(status: &'a Status) -> Self {
        Self {
            cluster_id: status.cluster.map(|id| id.to_string()),
            node_id: status.node.to_string(),
            node_name: &status.name,
            version: VERSION,
            role: status.role.as_str(),
            state: status.state.as_str(),
            epoch: status.epoch.number,
            leader: status.leader.as_ref().map(|leader| LeaderJson {
                node_id: leader.node.to_string(),
                http: &leader.http,
                replication: &leader.replication,
            }),
            positions: positions(&status.positions),
            durability: status.durability.as_str(),
            failover: failover(&status.failover),
            lease_remaining_ms: status.lease_remaining.map(millis),
            link: status.link.as_ref().map(link),
            dials: status.dials.iter().map(dial).collect(),
            lag_operations: status.lag_operations,
            lag_ms: millis(status.lag),
            staleness_ms: status.staleness.map(millis),
            members: status.members.iter().map(member).collect(),
            counters: counters(&status.counters),
            alarms: status.alarms.iter().map(|alarm| alarm.as_str()).collect(),
            log_time_unix_ms: status.log_time.0,
            wall_ahead_ms: status.wall_ahead_ms,
            config_role_ignored: status.config_role_ignored,
            ready: status.ready,
            started: status.started,
            keys: status.keys,
            idempotency_keys: status.results,
            memory_bytes: status.memory_bytes,
            state_hash: format!("{:016x}", status.hash.0),
            snapshot: status.snapshot.map(|position| position.index.0),
            tail_bytes: status.tail_bytes,
            waiting: status.waiting,
            uncommitted_bytes: status.uncommitted_bytes,
            held_writes: status.held_writes,
            held_bytes: status.held_bytes,
            disk_waits_ms: millis(status.disk_waits),
            disk: DiskJson {
                free_bytes: status.disk_space.free,
                needed_bytes: status.disk_space.needed,
                short: status.disk_space.short,
            },
        }
    }
}

/// The members alone.
pub(crate) fn members_json(status: &Status) -> impl Serialize + '_ {
    status.members.iter().map(member).collect::<Vec<_>>()
}

fn positions(positions: &Positions) -> PositionsJson {
    PositionsJson {
        epoch: positions.last.epoch.number,
        leader: positions.last.epoch.leader.to_string(),
        first: positions.first.0,
        last: positions.last.index.0,
        durable: positions.durable.0,
        committed: positions.committed.0,
        applied_epoch: positions.applied.epoch.number,
        applied_leader: positions.applied.epoch.leader.to_string(),
        applied: positions.applied.index.0,
    }
}

fn failover(failover: &Failover) -> FailoverJson {
    FailoverJson {
        mode: match failover.mode {
            FailoverMode::Auto => "auto",
            FailoverMode::Manual => "manual",
        },
        armed: failover.armed,
        reason: failover.reason,
        paused_ms: failover.paused.map(millis),
        why_not: failover.why_not,
        history: failover.history.iter().map(change).collect(),
    }
}

fn change(change: &Change) -> ChangeJson {
    ChangeJson {
        epoch: change.epoch.number,
        node_id: change.epoch.leader.to_string(),
        start: change.start.0,
        kind: change.kind.as_str(),
        at_unix_ms: change.at.map(|at| at.0),
    }
}

fn link(link: &LinkStatus) -> LinkJson {
    LinkJson {
        state: if link.connected { "connected" } else { "disconnected" },
        last_contact_ms: link.last_contact.map(millis),
        reconnects: link.reconnects,
        heartbeat_ms: link.heartbeat.map(millis),
        refused: link.refused.map(|reason| reason.to_string()),
    }
}

fn dial(dial: &Dial) -> DialJson<'_> {
    DialJson { address: &dial.address, failure: dial.failure.as_str(), detail: dial.failure.to_string() }
}

fn member(member: &MemberStatus) -> MemberJson<'_> {
    MemberJson {
        node_id: member.node.to_string(),
        node_name: &member.name,
        http: &member.http,
        replication: &member.replication,
        voter: member.voter,
        priority: member.priority,
        connected: member.connected,
        durable: member.durable.map(|index| index.0),
        applied: member.applied.map(|index| index.0),
        lag_operations: member.lag_operations,
        lag_ms: member.lag.map(millis),
        bytes_behind: member.bytes_behind,
        last_contact_ms: member.last_contact.map(millis),
        wall_ahead_ms: member.wall_ahead_ms,
        eligible: member.eligible,
        why_not: member.why_not,
    }
}

/// Named one by one, so that a new counter breaks the build until it is shown.
fn counters(counters: &Counters) -> CountersJson {
    let Counters {
        operations_out,
        operations_in,
        bytes_out,
        bytes_in,
        leader_changes,
        elections_won,
        elections_lost,
        full_syncs,
        partial_syncs,
        rollback_operations,
        state_hash_mismatches,
        garbage_links,
        snapshots,
    } = *counters;
    CountersJson {
        operations_out,
        operations_in,
        bytes_out,
        bytes_in,
        leader_changes,
        elections_won,
        elections_lost,
        full_syncs,
        partial_syncs,
        rollback_operations,
        state_hash_mismatches,
        garbage_links,
        snapshots,
    }
}
