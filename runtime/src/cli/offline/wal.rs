//! The log, as a start would find it.

use std::path::Path;

use serde_json::{Map, Value, json};
use synap_core::command::{Command, Condition, Pair, ValueKind};
use synap_core::config::{Concern, FsyncMode};
use synap_core::ids::ClusterId;
use synap_core::planted::Planted;
use synap_core::wal::{Draw, Entry, JournalConfig, Recovery, recover};

use super::{damaged, open};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::{blob, out};
use crate::disk::Disk;

/// Prints the hard state, then a line per entry.
pub(super) fn dump(dir: &Path) -> Outcome {
    let recovery = read(dir)?;
    notes(&recovery);
    let Some(recovered) = &recovery.recovered else {
        return Err(no_node(dir));
    };
    let state = &recovered.hard_state;
    out::line(json!({
        "node_id": state.node.to_string(),
        "cluster_id": state.cluster.map(|cluster| cluster.to_string()),
        "promised_epoch": state.promised.number,
        "promised_leader": state.promised.leader.to_string(),
        "base": recovered.base.to_string(),
        "committed": recovered.committed.0,
    }))?;
    for entry in &recovered.entries {
        let command = entry.command().map_err(|error| damaged(dir, &error))?;
        out::line(entry_json(entry, &command))?;
    }
    Ok(Exit::Good)
}

/// Reads and checks everything that a start would read.
pub(super) fn verify(dir: &Path) -> Outcome {
    let recovery = read(dir)?;
    notes(&recovery);
    match &recovery.recovered {
        None => return Err(no_node(dir)),
        Some(recovered) => {
            for entry in &recovered.entries {
                entry.command().map_err(|error| damaged(dir, &error))?;
            }
            let last = recovered.entries.last().map_or(recovered.base, |entry| entry.position);
            let (count, base) = (recovered.entries.len(), recovered.base);
            out::line(format!("good: {count} entries after {base}, the last at {last}"))?;
        }
    }
    Ok(Exit::Good)
}

/// Of which cluster the node of a directory is, if it has joined one.
pub(in crate::cli) fn cluster_of(dir: &Path) -> Result<Option<ClusterId>, Failed> {
    Ok(read(dir)?.recovered.and_then(|recovered| recovered.hard_state.cluster))
}

/// Nothing was checked, which is not to be taken for "good".
fn no_node(dir: &Path) -> Failed {
    Failed::new(
        Exit::NotFound,
        format!("{} holds no log: no node has ever started there, or its log was removed", dir.display()),
    )
}

fn read(dir: &Path) -> Result<Recovery, Failed> {
    let (disk, names) = open(dir)?;
    // All of the log, wherever the newest snapshot stands.
    let config = JournalConfig {
        wal: true,
        segment_bytes_max: u64::MAX,
        reserve_bytes: 0,
        fsync: FsyncMode::Never,
        tail_bytes_max: u64::MAX,
        planted: Planted::default(),
    };
    let found = recover(config, &names, Draw::default(), |name| disk.read(name));
    let found = found.map_err(|error| damaged(dir, &error))?;
    if found.tells_whose { Ok(found) } else { Err(no_node(dir)) }
}

fn notes(recovery: &Recovery) {
    for note in &recovery.notes {
        out::aside(format!("note: {note}"));
    }
    for damage in &recovery.damage {
        out::aside(format!("damaged: {damage}"));
    }
}

fn entry_json(entry: &Entry, command: &Command) -> Value {
    let concern = match entry.concern {
        Concern::Async => json!("async"),
        Concern::Local => json!("local"),
        Concern::Quorum => json!("quorum"),
        Concern::Replicas(replicas) => json!(replicas),
    };
    let mut line = Map::new();
    line.insert("position".to_owned(), json!(entry.position.to_string()));
    line.insert("leader".to_owned(), json!(entry.position.epoch.leader.to_string()));
    line.insert("at_ms".to_owned(), json!(entry.at.0));
    line.insert("concern".to_owned(), concern);
    if let Value::Object(fields) = command_json(command) {
        line.extend(fields);
    }
    Value::Object(line)
}

fn command_json(command: &Command) -> Value {
    match command {
        Command::Set { pair, condition } => {
            let mut fields = pair_json(pair);
            if let Value::Object(fields) = &mut fields {
                fields.insert("command".to_owned(), json!("set"));
                fields.insert("condition".to_owned(), condition_json(*condition));
            }
            fields
        }
        Command::Delete { key } => json!({ "command": "delete", "key": blob::to_json(key) }),
        Command::Incr { key, by } => json!({ "command": "incr", "key": blob::to_json(key), "amount": by }),
        Command::Expire { key, ttl_ms } => {
            json!({ "command": "expire", "key": blob::to_json(key), "ttl_ms": ttl_ms })
        }
        Command::Persist { key } => json!({ "command": "persist", "key": blob::to_json(key) }),
        Command::Batch { pairs } => {
            json!({ "command": "batch", "pairs": pairs.iter().map(pair_json).collect::<Vec<_>>() })
        }
        Command::If { condition, command } => {
            let mut fields = command_json(command);
            if let Value::Object(fields) = &mut fields {
                fields.insert("condition".to_owned(), condition_json(*condition));
            }
            fields
        }
        Command::Once { ticket, command } => {
            let mut fields = command_json(command);
            if let Value::Object(fields) = &mut fields {
                fields.insert("idempotency_key".to_owned(), blob::to_json(&ticket.key));
                fields.insert("fingerprint".to_owned(), json!(format!("{:032x}", ticket.fingerprint.0)));
            }
            fields
        }
        Command::EpochStart { kind, spread } => json!({
            "command": "epoch_start",
            "kind": kind.as_str(),
            "spread": spread,
        }),
        Command::Config(membership) => json!({
            "command": "config",
            "armed": membership.armed,
            "members": membership.members.iter().map(|member| json!({
                "node_id": member.id.to_string(),
                "node_name": member.name,
                "replication": member.replication,
                "http": member.http,
                "voter": member.voter,
                "priority": member.priority,
            })).collect::<Vec<_>>(),
        }),
        Command::Sweep { keys } => {
            json!({ "command": "sweep", "keys": keys.iter().map(|key| blob::to_json(key)).collect::<Vec<_>>() })
        }
    }
}

fn pair_json(pair: &Pair) -> Value {
    json!({
        "key": blob::to_json(&pair.key),
        "kind": kind(pair.value.kind),
        "value": blob::to_json(&pair.value.bytes),
        "ttl_ms": pair.ttl_ms,
    })
}

fn kind(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Bytes => "bytes",
        ValueKind::Json => "json",
    }
}

fn condition_json(condition: Condition) -> Value {
    match condition {
        Condition::Always => Value::Null,
        Condition::Absent => json!("nx"),
        Condition::Present => json!("xx"),
        Condition::Version(version) => json!({ "if_version": version.0 }),
    }
}
