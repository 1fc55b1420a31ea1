//! Which values make sense, alone and together. Pure: a schema goes in, complaints come out.

use std::ops::RangeInclusive;

use synap_core::wal::record::RECORD_BYTES_MAX;

use super::address::{self, HostPort};
use super::schema::{FailoverMode, FsyncMode, Role, Schema};

/// A key whose value makes no sense, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) key: &'static str,
    pub(super) what: String,
}

/// Day and hour in milliseconds: nobody means longer ones, and a slip by three zeros is caught.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const YEAR_SECS: u64 = 366 * 24 * 3600;
/// A segment must hold more than its own head.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const BYTES_MAX: u64 = 1 << 48;
const KEY_BYTES_MAX: u64 = 65_535;
/// The longest value that fits a record beside its key.
const VALUE_BYTES_MAX: u64 = 64 << 20;
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + 4096 < RECORD_BYTES_MAX as u64, "a pair fits a record");

/// Everything in `schema` that makes no sense.
pub(super) fn complaints(schema: &Schema) -> Vec<Complaint> {
    let mut found = Vec::new();
    found.extend(ranges(schema));
    found.extend(addresses(schema));
    found.extend(texts(schema));
    found.extend(roles(schema));
    found.extend(timeouts(schema));
    found.extend(disk_timeout(schema));
    found
}

/// Shorter and longer heartbeats work, and are hardly ever meant.
const HEARTBEAT_MS_WISE: RangeInclusive<u64> = 20..=10_000;
/// Votes and rounds have to be on their way and on disks within it.
const ELECTION_TIMEOUT_MS_WISE_MIN: u64 = 130;

/// What is allowed but deserves a second look.
pub(super) fn warnings(schema: &Schema, mode_was_said: bool) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut warn = |key, what: &str| found.push(Complaint { key, what: what.to_owned() });
    let persistence = &schema.persistence;
    let log_is_kept = persistence.enabled && persistence.wal.enabled;
    let auto = schema.replication.failover.mode == FailoverMode::Auto && is_replicated(schema);
    if auto && !log_is_kept && mode_was_said {
        warn(
            "replication.failover.mode",
            "auto needs a write-ahead log; without one (persistence.enabled or persistence.wal.enabled is false) failover is manual",
        );
    }
    if auto && log_is_kept && persistence.wal.fsync_mode != FsyncMode::Always {
        warn(
            "persistence.wal.fsync_mode",
            "automatic failover does not arm with anything but always: a power cut could take promises",
        );
    }
    if persistence.enabled && !persistence.wal.enabled && !persistence.snapshot.enabled {
        warn("persistence.enabled", "neither a log nor snapshots are kept: nothing survives a restart");
    }
    if schema.replication.role == Role::Master
        && schema.replication.enabled
        && schema.replication.replica_listen_address.is_none()
    {
        warn("replication.replica_listen_address", "no replica can connect to a master that does not listen");
    }
    if is_replicated(schema) {
        found.extend(unwise_times(schema));
        found.extend(unlikely_master(schema));
    }
    found
}

fn unwise_times(schema: &Schema) -> Vec<Complaint> {
    let heartbeat = schema.replication.heartbeat_interval_ms;
    let mut found = Vec::new();
    if !HEARTBEAT_MS_WISE.contains(&heartbeat) {
        let silence = heartbeat.saturating_mul(3);
        let what = if heartbeat < *HEARTBEAT_MS_WISE.start() {
            format!(
                "a connection ends after three heartbeats without a message, {silence} ms here: a busy machine makes replicas reconnect again and again"
            )
        } else {
            format!("a replica notices a dead connection only after three heartbeats, {silence} ms here")
        };
        found.push(Complaint { key: "replication.heartbeat_interval_ms", what });
    }
    if let Some(timeout) = schema.replication.failover.election_timeout_ms {
        let key = "replication.failover.election_timeout_ms";
        if timeout < ELECTION_TIMEOUT_MS_WISE_MIN {
            let what = format!(
                "{timeout} ms is less than a busy disk or network takes: healthy masters will be replaced"
            );
            found.push(Complaint { key, what });
        } else if timeout < heartbeat.saturating_mul(2) {
            let what = format!(
                "{timeout} ms is less than two heartbeats of {heartbeat} ms: one that is late replaces a healthy master"
            );
            found.push(Complaint { key, what });
        }
    }
    found
}

/// A `master_address` that names this node itself, or the port at which clients are served here and so most likely on the master.
fn unlikely_master(schema: &Schema) -> Option<Complaint> {
    let Schema { server, replication, .. } = schema;
    let parsed = |text: &Option<String>| text.as_deref().and_then(|text| HostPort::parse_with_port(text).ok());
    let (host, port) = parsed(&replication.master_address).filter(|_| replication.role == Role::Replica)?;
    let own = parsed(&replication.advertise_address).or_else(|| parsed(&replication.replica_listen_address));
    let complain = |what: String| Some(Complaint { key: "replication.master_address", what });
    if own.as_ref().is_some_and(|own| *own == (host, port)) {
        return complain("this is the address of this node itself: name another member".to_owned());
    }
    if port == server.port && own.is_some_and(|(_, own)| own != port) {
        return complain(format!(
            "port {port} is server.port, for clients, on this node: a master is reached at its replica_listen_address, port 15501 by default"
        ));
    }
    None
}

/// Whether the node takes part in replication at all.
pub(super) fn is_replicated(schema: &Schema) -> bool {
    schema.replication.enabled && schema.replication.role != Role::Standalone
}

fn ranges(schema: &Schema) -> Vec<Complaint> {
    let Schema { server, replication, persistence, limits, logging: _ } = schema;
    let failover = &replication.failover;
    let (wal, snapshot) = (&persistence.wal, &persistence.snapshot);
    [
        ("server.port", u64::from(server.port), 1, 65_535),
        ("server.shutdown_timeout_ms", server.shutdown_timeout_ms, 0, HOUR_MS),
        ("replication.heartbeat_interval_ms", replication.heartbeat_interval_ms, 1, HOUR_MS),
        ("replication.max_lag_ms", replication.max_lag_ms, 1, DAY_MS),
        ("replication.reconnect_delay_ms", replication.reconnect_delay_ms, 1, DAY_MS),
        ("replication.tail_bytes_max", replication.tail_bytes_max, 1, BYTES_MAX),
        ("replication.uncommitted_bytes_max", replication.uncommitted_bytes_max, 1, BYTES_MAX),
        ("replication.failover.priority", u64::from(failover.priority), 0, 1000),
        ("replication.failover.voters_max", u64::from(failover.voters_max), 1, 64),
        ("persistence.wal.fsync_interval_ms", wal.fsync_interval_ms, 1, HOUR_MS),
        ("persistence.wal.segment_bytes_max", wal.segment_bytes_max, SEGMENT_BYTES_MIN, BYTES_MAX),
        ("persistence.reserve_bytes", persistence.reserve_bytes, 0, BYTES_MAX),
        ("persistence.snapshot.interval_secs", snapshot.interval_secs, 1, YEAR_SECS),
        ("persistence.snapshot.wal_bytes", snapshot.wal_bytes, 1, BYTES_MAX),
        ("persistence.snapshot.max_snapshots", u64::from(snapshot.max_snapshots), 1, 1000),
        ("limits.key_bytes_max", limits.key_bytes_max, 1, KEY_BYTES_MAX),
        ("limits.value_bytes_max", limits.value_bytes_max, 1, VALUE_BYTES_MAX),
        ("limits.memory_bytes_max", limits.memory_bytes_max, 0, BYTES_MAX),
        ("limits.connections_max", limits.connections_max, 1, 1_000_000),
        ("limits.inflight_bytes_max", limits.inflight_bytes_max, 1, BYTES_MAX),
    ]
    .into_iter()
    .filter(|(_, value, min, max)| value < min || value > max)
    .map(|(key, value, min, max)| Complaint { key, what: format!("{value} is not within {min} to {max}") })
    .collect()
}

fn addresses(schema: &Schema) -> Vec<Complaint> {
    let Schema { server, replication, .. } = schema;
    let mut found = Vec::new();
    let mut complain = |key, error: address::BadAddress| found.push(Complaint { key, what: error.to_string() });
    for (key, text) in [
        ("server.advertise_address", &server.advertise_address),
        ("replication.advertise_address", &replication.advertise_address),
    ] {
        if let Some(Err(error)) = text.as_deref().map(HostPort::parse) {
            complain(key, error);
        }
    }
    for (key, text) in [
        ("replication.replica_listen_address", &replication.replica_listen_address),
        ("replication.master_address", &replication.master_address),
    ] {
        if let Some(Err(error)) = text.as_deref().map(HostPort::parse_with_port) {
            complain(key, error);
        }
    }
    match HostPort::parse(&server.host) {
        Ok(HostPort { host: _, port: None }) => {}
        Ok(HostPort { host: _, port: Some(_) }) => {
            found.push(Complaint { key: "server.host", what: "the port belongs into server.port".to_owned() })
        }
        Err(error) => found.push(Complaint { key: "server.host", what: error.to_string() }),
    }
    found.extend(wildcards(schema));
    found.extend(same_port(schema));
    found
}

/// An address that others dial must say where; only one that is bound may be a wildcard.
fn wildcards(schema: &Schema) -> impl Iterator<Item = Complaint> + '_ {
    [
        ("server.advertise_address", &schema.server.advertise_address),
        ("replication.advertise_address", &schema.replication.advertise_address),
        ("replication.master_address", &schema.replication.master_address),
    ]
    .into_iter()
    .filter(|(_, text)| {
        let parsed = text.as_deref().map(HostPort::parse);
        matches!(parsed, Some(Ok(HostPort { host, port: _ })) if address::is_wildcard(&host))
    })
    .map(|(key, _)| Complaint { key, what: "a wildcard tells nobody where to connect".to_owned() })
}

fn same_port(schema: &Schema) -> Option<Complaint> {
    let listen = schema.replication.replica_listen_address.as_deref()?;
    let (host, port) = HostPort::parse_with_port(listen).ok()?;
    let http = schema.server.host.trim_start_matches('[').trim_end_matches(']');
    let overlap = host == http || address::is_wildcard(&host) || address::is_wildcard(http);
    (is_replicated(schema) && port == schema.server.port && overlap).then(|| Complaint {
        key: "replication.replica_listen_address",
        what: format!("port {port} is taken by server.port already"),
    })
}

fn texts(schema: &Schema) -> Vec<Complaint> {
    let mut found = Vec::new();
    if schema.persistence.data_dir.is_empty() {
        found.push(Complaint { key: "persistence.data_dir", what: "a directory is wanted".to_owned() });
    }
    if let Some(name) = &schema.replication.node_name
        && (name.is_empty() || name.len() > 255 || name.chars().any(char::is_control))
    {
        let what = "1 to 255 bytes without control characters are wanted".to_owned();
        found.push(Complaint { key: "replication.node_name", what });
    }
    found
}

fn roles(schema: &Schema) -> Option<Complaint> {
    let replication = &schema.replication;
    let lost = is_replicated(schema) && replication.role == Role::Replica && replication.master_address.is_none();
    lost.then(|| Complaint {
        key: "replication.role",
        what: "a replica needs replication.master_address, HOST:PORT of its master's replica_listen_address"
            .to_owned(),
    })
}

/// A healthy disk may need this long now and then.
const DISK_TIMEOUT_MS_MIN: u64 = 100;

fn disk_timeout(schema: &Schema) -> Option<Complaint> {
    let timeout = schema.replication.failover.disk_timeout_ms?;
    (!(DISK_TIMEOUT_MS_MIN..=DAY_MS).contains(&timeout)).then(|| Complaint {
        key: "replication.failover.disk_timeout_ms",
        what: format!("{timeout} is not within {DISK_TIMEOUT_MS_MIN} to {DAY_MS}"),
    })
}

fn timeouts(schema: &Schema) -> Option<Complaint> {
    let heartbeat = schema.replication.heartbeat_interval_ms;
    let timeout = schema.replication.failover.election_timeout_ms?;
    let key = "replication.failover.election_timeout_ms";
    if timeout > DAY_MS {
        return Some(Complaint { key, what: format!("{timeout} is not within 1 to {DAY_MS}") });
    }
    (timeout <= heartbeat).then(|| Complaint {
        key,
        what: format!(
            "{timeout} must be longer than replication.heartbeat_interval_ms, {heartbeat}, or healthy masters are replaced"
        ),
    })
}
