//! What the node says of itself, as metrics. On a master the two lags stand once for each replica, labelled by its
//! name, and once for the master itself without a label; on a replica once, without a label.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::proto::MetricFamily;
use synap_core::config::FailoverMode;
use synap_core::status::{Alarm, MemberStatus, Role, Status};

use super::family::{counter, counters, gauge, gauges};
use crate::http::VERSION;

/// One family for each number, as of now.
pub(super) fn families(status: &Status) -> Vec<MetricFamily> {
    let mut all = vec![build_info()];
    all.extend(lags(status));
    all.extend(state(status));
    all.extend(totals(status));
    all.extend(members(status));
    all.extend(clocks(status));
    all
}

fn build_info() -> MetricFamily {
    gauges("synap_build_info", "Always 1; the version is the label", [(Some(("version", VERSION)), 1.0)])
}

fn lags(status: &Status) -> [MetricFamily; 3] {
    let operations =
        per_replica(status, status.lag_operations as f64, |member| member.lag_operations.map(|lag| lag as f64));
    let ms = per_replica(status, ms(status.lag), |member| member.lag.map(self::ms));
    [
        by_replica(
            "synap_replication_lag_operations",
            "Operations that the master has and this node, or the replica named, has not applied",
            &operations,
        ),
        by_replica(
            "synap_replication_lag_ms",
            "Age of the oldest operation heard of and not applied, in milliseconds",
            &ms,
        ),
        // A node that never had proof of holding everything is infinitely stale, and says so.
        gauge(
            "synap_replication_staleness_ms",
            "Time since this node last had proof of holding everything, in milliseconds",
            status.staleness.map_or(f64::INFINITY, self::ms),
        ),
    ]
}

fn state(status: &Status) -> Vec<MetricFamily> {
    let yes = |is: bool| f64::from(u8::from(is));
    let roles = [Role::Master, Role::Replica, Role::Standalone];
    let positions = &status.positions;
    let stages = [
        ("last", positions.last.index),
        ("durable", positions.durable),
        ("committed", positions.committed),
        ("applied", positions.applied.index),
    ];
    vec![
        gauges(
            "synap_replication_role",
            "1 for the role that this node has, 0 for the others",
            roles.map(|role| (Some(("role", role.as_str())), yes(role == status.role))),
        ),
        gauge("synap_replication_epoch", "The highest epoch promised", status.epoch.number as f64),
        gauge(
            "synap_replication_connected",
            "Whether a replica's link to its master stands; 1 on a master",
            yes(status.link.is_none_or(|link| link.connected)),
        ),
        gauge(
            "synap_replication_connected_replicas",
            "Replicas that are connected to this master",
            replicas(status).filter(|replica| replica.connected == Some(true)).count() as f64,
        ),
        gauges(
            "synap_replication_position",
            "Indices of the log, by how far they have come",
            stages.map(|(stage, index)| (Some(("stage", stage)), index.0 as f64)),
        ),
        gauge(
            "synap_replication_failover_armed",
            "Whether replicas elect a new master by themselves",
            yes(status.failover.armed),
        ),
        gauge(
            "synap_replication_failover_automatic",
            "Whether this node's failover.mode is auto",
            yes(match status.failover.mode {
                FailoverMode::Auto => true,
                FailoverMode::Manual => false,
            }),
        ),
        gauge(
            "synap_replication_failover_paused",
            "Whether an operator has paused elections",
            yes(status.failover.paused.is_some()),
        ),
        // Unarmed there is no lease, and nothing to run out.
        gauge(
            "synap_replication_lease_remaining_ms",
            "How long this master may still answer without hearing a majority, in milliseconds; 0 on others",
            status.lease_remaining.map_or(0.0, ms),
        ),
        gauge(
            "synap_replication_voters",
            "Members whose disks count towards commits",
            status.members.iter().filter(|member| member.voter).count() as f64,
        ),
        gauges(
            "synap_alarm",
            "1 for what somebody should look at",
            Alarm::ALL.map(|alarm| (Some(("alarm", alarm.as_str())), yes(status.alarms.contains(&alarm)))),
        ),
        gauge("synap_ready", "Whether this node is fit for reads, as /readyz says", yes(status.ready)),
        gauge("synap_replication_tail_bytes", "Log kept in memory, in bytes", status.tail_bytes as f64),
        gauge(
            "synap_replication_uncommitted_bytes",
            "Log that is not yet committed and on this node's own disk, in bytes",
            status.uncommitted_bytes as f64,
        ),
        gauges(
            "synap_disk_free_bytes",
            "Room on the disk of the data directory, in bytes",
            status.disk_space.free.map(|free| (None, free as f64)).into_iter(),
        ),
        gauge(
            "synap_disk_needed_bytes",
            "Room that the next snapshot needs, and the log meanwhile, in bytes",
            status.disk_space.needed as f64,
        ),
        gauge(
            "synap_disk_short",
            "Whether this node keeps little for want of room: one snapshot, a short tail, short segments",
            yes(status.disk_space.short),
        ),
        gauge(
            "synap_writes_held",
            "Writes that wait for room in the log, or for the end of a switchover",
            status.held_writes as f64,
        ),
        gauge(
            "synap_wal_waits_ms",
            "For how long nothing has reached the log though something waits for it, in milliseconds",
            ms(status.disk_waits),
        ),
        gauge("synap_requests_waiting", "Requests that wait for an answer", status.waiting as f64),
        gauge("synap_kv_keys", "Keys in the store", status.keys as f64),
        gauge(
            "synap_kv_idempotency_keys",
            "Idempotency keys whose results are remembered for retries",
            status.results as f64,
        ),
        gauge(
            "synap_kv_memory_bytes",
            "Memory used by keys, values and idempotency records, in bytes",
            status.memory_bytes as f64,
        ),
    ]
}

fn totals(status: &Status) -> Vec<MetricFamily> {
    let totals = &status.counters;
    let both = |out: u64, taken: u64| {
        [(Some(("direction", "out")), out as f64), (Some(("direction", "in")), taken as f64)]
    };
    vec![
        counter(
            "synap_replication_link_reconnects_total",
            "Times that the link to the master was made again",
            status.link.map_or(0, |link| link.reconnects) as f64,
        ),
        counters(
            "synap_replication_operations_total",
            "Entries sent to replicas and taken from a master",
            both(totals.operations_out, totals.operations_in),
        ),
        counters(
            "synap_replication_bytes_total",
            "Bytes of entries sent to replicas and taken from a master",
            both(totals.bytes_out, totals.bytes_in),
        ),
        counter(
            "synap_replication_leader_changes_total",
            "Changes of master that this node has seen",
            totals.leader_changes as f64,
        ),
        counters(
            "synap_replication_elections_total",
            "Promotions and elections of this node, by result",
            [
                (Some(("result", "won")), totals.elections_won as f64),
                (Some(("result", "lost")), totals.elections_lost as f64),
            ],
        ),
        counter(
            "synap_replication_full_syncs_total",
            "Syncs by snapshot, given or taken",
            totals.full_syncs as f64,
        ),
        counter(
            "synap_replication_partial_syncs_total",
            "Syncs from the log's tail, given or taken",
            totals.partial_syncs as f64,
        ),
        counter(
            "synap_replication_rollback_operations_total",
            "Entries discarded into rollback files",
            totals.rollback_operations as f64,
        ),
        counter(
            "synap_replication_state_hash_mismatches_total",
            "Replicas found with another state at the same index",
            totals.state_hash_mismatches as f64,
        ),
        counter(
            "synap_replication_garbage_links_total",
            "Links dropped because what came in was no message",
            totals.garbage_links as f64,
        ),
        counter("synap_snapshots_total", "Snapshots made durable", totals.snapshots as f64),
    ]
}

fn clocks(status: &Status) -> [MetricFamily; 2] {
    let own = status.wall_ahead_ms.map(|ahead| ahead as f64);
    let ahead = per_replica(status, own, |member| member.wall_ahead_ms.map(|ahead| ahead as f64));
    [
        gauge(
            "synap_log_time_seconds",
            "Log time, by which keys expire, in seconds since the Unix epoch",
            status.log_time.0 as f64 / 1000.0,
        ),
        by_replica(
            "synap_clock_ahead_ms",
            "How far the wall clock is ahead of log time, or the named replica's of the master's, in milliseconds",
            &ahead,
        ),
    ]
}

fn members(status: &Status) -> Vec<MetricFamily> {
    let of = |value: fn(&MemberStatus) -> Option<f64>| per_replica(status, None, value);
    [
        (
            "synap_replication_replica_connected",
            "Whether the replica named is connected to this master",
            of(|member| member.connected.map(|connected| f64::from(u8::from(connected)))),
        ),
        (
            "synap_replication_replica_bytes_behind",
            "Bytes of log that the replica named has not said to hold",
            of(|member| member.bytes_behind.map(|bytes| bytes as f64)),
        ),
    ]
    .into_iter()
    .filter(|(_, _, values)| !values.is_empty())
    .map(|(name, help, values)| by_replica(name, help, &values))
    .collect()
}

/// The replicas that a master knows; none on a replica.
fn replicas(status: &Status) -> impl Iterator<Item = &MemberStatus> {
    let is_master = match status.role {
        Role::Master => true,
        Role::Replica | Role::Standalone => false,
    };
    status.members.iter().filter(move |member| is_master && member.node != status.node)
}

/// This node's own value, if any, and on a master one for each replica of which it has one. Two replicas of the same name are told apart
/// by their ids, since a series must not stand twice.
fn per_replica(
    status: &Status,
    own: impl Into<Option<f64>>,
    value: impl Fn(&MemberStatus) -> Option<f64>,
) -> Vec<(Option<String>, f64)> {
    let mut named = BTreeMap::<&str, usize>::new();
    for replica in replicas(status) {
        *named.entry(&replica.name).or_default() += 1;
    }
    let label = |replica: &MemberStatus| match named.get(&*replica.name) {
        Some(1) => replica.name.clone(),
        _ => format!("{}-{}", replica.name, replica.node),
    };
    let own = own.into().map(|own| (None, own));
    let theirs = replicas(status).filter_map(|replica| Some((Some(label(replica)), value(replica)?)));
    own.into_iter().chain(theirs).collect()
}

fn by_replica(name: &str, help: &str, values: &[(Option<String>, f64)]) -> MetricFamily {
    let labelled =
        values.iter().map(|(replica, value)| (replica.as_deref().map(|name| ("replica", name)), *value));
    gauges(name, help, labelled)
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1000.0
}
