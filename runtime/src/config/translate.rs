//! From a checked schema to what the server and the core are told.

use std::path::PathBuf;
use std::time::Duration;

use synap_core::config::{self as core, Address, Config, SnapshotPolicy};
use synap_core::message::PROTOCOL_VERSION;
use synap_core::planted::Planted;

use super::address::{self, HostPort};
use super::rules::is_replicated;
use super::schema::{FailoverMode, Format, FsyncMode, OnReplicaWrite, Role, Schema, WriteConcern};
use crate::settings::{
    self, FrontSettings, LinkSettings, LogFormat, LoggingSettings, PersistenceSettings, Settings,
};

/// How long a starting master asks the members that it knows.
const CATCH_UP: Duration = Duration::from_millis(500);

/// The settings that a checked, completed schema stands for.
pub(super) fn settings(schema: &Schema) -> Settings {
    let Schema { server, replication, persistence, limits, logging } = schema;
    let listen = replication
        .replica_listen_address
        .as_deref()
        .filter(|_| is_replicated(schema))
        .and_then(|text| HostPort::parse_with_port(text).ok());
    Settings {
        core: core_config(schema, listen.as_ref()),
        persistence: persistence.enabled.then(|| PersistenceSettings {
            data_dir: PathBuf::from(&persistence.data_dir),
            wal: persistence.wal.enabled,
            segment_bytes_max: persistence.wal.segment_bytes_max,
            reserve_bytes: persistence.reserve_bytes,
        }),
        http_bind: address::join(&bare(&server.host), server.port),
        replication_bind: listen.map(|(host, port)| address::join(&host, port)),
        front: FrontSettings {
            on_replica_write: match replication.on_replica_write {
                OnReplicaWrite::Redirect => settings::OnReplicaWrite::Redirect,
                OnReplicaWrite::Proxy => settings::OnReplicaWrite::Proxy,
                OnReplicaWrite::Reject => settings::OnReplicaWrite::Reject,
            },
            connections_max: usize::try_from(limits.connections_max).unwrap_or(usize::MAX),
            inflight_bytes_max: limits.inflight_bytes_max,
            ..FrontSettings::default()
        },
        links: LinkSettings::default(),
        logging: LoggingSettings {
            level: logging.level.as_str().to_owned(),
            format: match logging.format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            },
        },
        shutdown_grace: Duration::from_millis(server.shutdown_timeout_ms),
    }
}

fn core_config(schema: &Schema, listen: Option<&(String, u16)>) -> Config {
    let Schema { server, replication, persistence, limits, logging: _ } = schema;
    let heartbeat_interval = Duration::from_millis(replication.heartbeat_interval_ms);
    let election_timeout = replication.failover.election_timeout_ms.map(Duration::from_millis);
    Config {
        node_name: replication.node_name.clone().unwrap_or_default(),
        role: role(schema),
        protocol: PROTOCOL_VERSION,
        http: advertised(server.advertise_address.as_deref(), &bare(&server.host), server.port),
        replication: listen.map(|(host, port)| advertised(replication.advertise_address.as_deref(), host, *port)),
        master_address: replication
            .master_address
            .as_deref()
            .filter(|_| is_replicated(schema))
            .and_then(|text| HostPort::parse(text).ok())
            .map(|address| address.to_string()),
        heartbeat_interval,
        max_lag: Duration::from_millis(replication.max_lag_ms),
        auto_reconnect: replication.auto_reconnect,
        reconnect_delay_max: Duration::from_millis(replication.reconnect_delay_ms),
        write_concern: match replication.write_concern {
            WriteConcern::Async => core::Concern::Async,
            WriteConcern::Local => core::Concern::Local,
            WriteConcern::Quorum => core::Concern::Quorum,
            WriteConcern::Replicas(replicas) => core::Concern::Replicas(replicas),
        },
        tail_bytes_max: replication.tail_bytes_max,
        disk_margin: persistence.reserve_bytes,
        uncommitted_bytes_max: replication.uncommitted_bytes_max,
        failover_mode: match replication.failover.mode {
            FailoverMode::Auto => core::FailoverMode::Auto,
            FailoverMode::Manual => core::FailoverMode::Manual,
        },
        disk_timeout: replication.failover.disk_timeout_ms.map(Duration::from_millis),
        crash_evidence: replication.failover.crash_evidence,
        voters_max: replication.failover.voters_max,
        election_timeout: election_timeout.unwrap_or(heartbeat_interval * 2),
        catch_up: CATCH_UP,
        priority: replication.failover.priority,
        persistent: persistence.enabled,
        keeps_log: persistence.wal.enabled,
        fsync: match persistence.wal.fsync_mode {
            FsyncMode::Always => core::FsyncMode::Always,
            FsyncMode::Periodic => {
                core::FsyncMode::Periodic(Duration::from_millis(persistence.wal.fsync_interval_ms))
            }
            FsyncMode::Never => core::FsyncMode::Never,
        },
        snapshot: (persistence.enabled && persistence.snapshot.enabled).then(|| SnapshotPolicy {
            interval: Duration::from_secs(persistence.snapshot.interval_secs),
            wal_bytes: persistence.snapshot.wal_bytes,
            max_snapshots: persistence.snapshot.max_snapshots,
        }),
        limits: core::Limits {
            key_bytes_max: u32::try_from(limits.key_bytes_max).unwrap_or(u32::MAX),
            value_bytes_max: u32::try_from(limits.value_bytes_max).unwrap_or(u32::MAX),
            memory_bytes_max: limits.memory_bytes_max,
        },
        applies_per_turn_max: core::APPLIES_PER_TURN_MAX,
        chunk_bytes: core::CHUNK_BYTES,
        planted: Planted::default(),
    }
}

fn role(schema: &Schema) -> core::RoleHint {
    match schema.replication.role {
        _ if !is_replicated(schema) => core::RoleHint::Standalone,
        Role::Master => core::RoleHint::Master,
        Role::Replica => core::RoleHint::Replica,
        Role::Standalone => core::RoleHint::Standalone,
    }
}

/// Where others reach a listener: as told, else where it is bound, unless that is every interface.
fn advertised(told: Option<&str>, bound_host: &str, bound_port: u16) -> Address {
    match told.and_then(|text| HostPort::parse(text).ok()) {
        Some(HostPort { host, port }) => Address { host: Some(host), port: port.unwrap_or(bound_port) },
        None => {
            let host = (!address::is_wildcard(bound_host)).then(|| bound_host.to_owned());
            Address { host, port: bound_port }
        }
    }
}

/// The host without the brackets that an IPv6 literal may stand in.
fn bare(host: &str) -> String {
    HostPort::parse(host).map_or_else(|_| host.to_owned(), |parsed| parsed.host)
}
