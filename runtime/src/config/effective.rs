//! Fills in what follows from other keys, and prints the effective configuration with the origin of each value.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_yaml::{Mapping, Value};

use super::address::{self, HostPort};
use super::fault::Origin;
use super::layers::{mapping, plain};
use super::schema::{FailoverMode, Schema};

/// Column at which origins begin, where the values leave room.
const ORIGIN_COLUMN: usize = 48;

/// Gives the keys that follow from others their values.
pub(super) fn derive(schema: &mut Schema, origins: &mut BTreeMap<String, Origin>) {
    let mut derived = |key: &str, how| origins.insert(key.to_owned(), Origin::Derived(how));
    let replication = &mut schema.replication;
    if replication.failover.election_timeout_ms.is_none() {
        replication.failover.election_timeout_ms = Some(replication.heartbeat_interval_ms.saturating_mul(2));
        derived("replication.failover.election_timeout_ms", "default: 2 x heartbeat_interval_ms");
    }
    if replication.node_name.is_none() {
        let (name, how) = node_name(&schema.server.host, schema.server.port);
        replication.node_name = Some(name);
        derived("replication.node_name", how);
    }
    let log_is_kept = schema.persistence.enabled && schema.persistence.wal.enabled;
    if !log_is_kept && replication.failover.mode == FailoverMode::Auto {
        replication.failover.mode = FailoverMode::Manual;
        let how = match schema.persistence.enabled {
            false => "implied by persistence.enabled: false",
            true => "implied by persistence.wal.enabled: false",
        };
        derived("replication.failover.mode", how);
    }
}

/// The effective configuration as YAML, each value with its origin as a comment. It can be loaded again.
pub(super) fn print(schema: &Schema, origins: &BTreeMap<String, Origin>) -> String {
    let mut text = String::new();
    print_section(&mut text, origins, &mapping(schema), "", 0);
    text
}

/// Every key by its full path, with its value.
pub(super) fn leaves(schema: &Schema) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(&mut found, &mapping(schema), "");
    found
}

fn collect(found: &mut BTreeMap<String, Value>, section: &Mapping, path: &str) {
    for (key, value) in section {
        let path = if path.is_empty() { plain(key) } else { format!("{path}.{}", plain(key)) };
        match value {
            Value::Mapping(below) => collect(found, below, &path),
            value => {
                found.insert(path, value.clone());
            }
        }
    }
}

fn print_section(
    text: &mut String,
    origins: &BTreeMap<String, Origin>,
    section: &Mapping,
    path: &str,
    depth: usize,
) {
    let indent = "  ".repeat(depth);
    for (key, value) in section {
        let name = plain(key);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Mapping(below) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{indent}{name}:");
                print_section(text, origins, below, &path, depth + 1);
            }
            value => {
                let line = format!("{indent}{name}: {}", scalar(value));
                let origin = origins.get(&path).unwrap_or(&Origin::Default);
                let _ = writeln!(text, "{line:<ORIGIN_COLUMN$} # {origin}");
            }
        }
    }
}

/// Texts always in quotes, so that no reader wonders whether `no` is a word.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => serde_json::to_string(text).unwrap_or_default(),
        value => plain(value),
    }
}

fn node_name(host: &str, port: u16) -> (String, &'static str) {
    let bare = HostPort::parse(host).map_or_else(|_| host.to_owned(), |parsed| parsed.host);
    match machine_name().filter(|_| address::is_wildcard(&bare)) {
        Some(machine) => (
            address::join(&machine, port),
            "default: the machine's name and server.port, since host is a wildcard",
        ),
        None => (address::join(&bare, port), "default: server.host and server.port"),
    }
}

/// Linux tells it here; elsewhere the configured host has to do.
fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| name.to_owned())
}
