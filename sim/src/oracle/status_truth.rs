//! INV-11, seen from outside: what a front shows of its node, as JSON or as metrics, is what the node said of itself,
//! and a node does not say that its disk holds more than it does. Whether the node's word is true otherwise is the
//! business of the other oracles, which see the same word.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use synap_core::status::{MemberStatus, Role, State, Status};

use crate::oracle::{Fact, Ground, Oracle};

/// Compares what is shown with what was said.
#[derive(Debug, Default)]
pub(super) struct StatusTruth {
    compared: u64,
}

/// How a front shows its node.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// `/replication/status`.
    Status(&'a Value),
    /// `/metrics`.
    Metrics(&'a str),
}

impl Oracle for StatusTruth {
    fn name(&self) -> &'static str {
        "INV-11 what the front tells is what the node says"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Shown { node, shown, said } => {
                self.compared += 1;
                let mut why = "the node was never asked".to_owned();
                for status in *said {
                    let compared = match shown {
                        Shown::Status(shown) => compare_status(shown, status),
                        Shown::Metrics(text) => compare_metrics(text, status),
                    };
                    match compared {
                        Ok(()) => return Ok(()),
                        Err(differs) => why = differs,
                    }
                }
                Err(format!("n{node}: {why}"))
            }
            Fact::Status { node, status, .. } if ground.sampled(*node as u64 + 32) => {
                self.compared += 1;
                // While a snapshot replaces a state that was rolled back, its name may already begin the log anew on the
                // disk; what goes is in a rollback file, and acks count only what both logs share.
                let replaced = matches!(status.state, State::Syncing | State::RollingBack);
                let holds = ground.on_disk(*node).last().index;
                // Without a log nothing is more durable than what was taken.
                let logless = !ground.plan.keeps_log(*node);
                if logless || replaced || status.positions.durable <= holds {
                    return Ok(());
                }
                Err(format!("n{node} says that {} is durable, its disk ends at {holds}", status.positions.durable))
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

fn compare_status(shown: &Value, status: &Status) -> Result<(), String> {
    let positions = &status.positions;
    let said = json!({
        "role": status.role.as_str(),
        "state": status.state.as_str(),
        "epoch": status.epoch.number,
        "durability": status.durability.as_str(),
        "lag_operations": status.lag_operations,
        "lag_ms": whole_ms(status.lag),
        "staleness_ms": status.staleness.map(whole_ms),
        "lease_remaining_ms": status.lease_remaining.map(whole_ms),
        "keys": status.keys,
        "state_hash": format!("{:016x}", status.hash.0),
        "ready": status.ready,
        "waiting": status.waiting,
        "disk_waits_ms": whole_ms(status.disk_waits),
        "uncommitted_bytes": status.uncommitted_bytes,
        "held_writes": status.held_writes,
        "held_bytes": status.held_bytes,
        "tail_bytes": status.tail_bytes,
        "alarms": status.alarms.iter().map(|alarm| alarm.as_str()).collect::<Vec<_>>(),
    });
    same(shown, &said)?;
    let said = json!({
        "epoch": positions.last.epoch.number,
        "leader": positions.last.epoch.leader.to_string(),
        "first": positions.first.0,
        "last": positions.last.index.0,
        "durable": positions.durable.0,
        "committed": positions.committed.0,
        "applied_epoch": positions.applied.epoch.number,
        "applied_leader": positions.applied.epoch.leader.to_string(),
        "applied": positions.applied.index.0,
    });
    same(&shown["positions"], &said)?;
    same(&shown["failover"], &json!({ "armed": status.failover.armed }))?;
    let leader = status.leader.as_ref().map(|leader| leader.http.clone());
    if shown["leader"]["http"] != json!(leader) {
        return Err(format!("the leader is shown as {}, the node says {leader:?}", shown["leader"]));
    }
    if shown["members"].as_array().map(Vec::len) != Some(status.members.len()) {
        return Err(format!("{} members are said, shown are {}", status.members.len(), shown["members"]));
    }
    status
        .members
        .iter()
        .enumerate()
        .try_for_each(|(nth, member)| same(&shown["members"][nth], &member_json(member)))
}

fn member_json(member: &MemberStatus) -> Value {
    json!({
        "node_id": member.node.to_string(),
        "node_name": member.name,
        "connected": member.connected,
        "durable": member.durable.map(|index| index.0),
        "applied": member.applied.map(|index| index.0),
        "lag_operations": member.lag_operations,
        "lag_ms": member.lag.map(whole_ms),
        "bytes_behind": member.bytes_behind,
        "eligible": member.eligible,
    })
}

/// Every field that was said is shown as it was said.
fn same(shown: &Value, said: &Value) -> Result<(), String> {
    let fields = said.as_object().into_iter().flatten();
    for (name, value) in fields {
        if shown[name] != *value {
            return Err(format!("{name} is shown as {}, the node says {value}", shown[name]));
        }
    }
    Ok(())
}

fn compare_metrics(text: &str, status: &Status) -> Result<(), String> {
    let shown = samples(text)?;
    for (name, said) in expected(status) {
        match shown.get(&name) {
            Some(value) if *value == said || (value - said).abs() < 1e-6 => {}
            Some(value) => return Err(format!("{name} is shown as {value}, the node says {said}")),
            None => return Err(format!("{name} is not shown")),
        }
    }
    Ok(())
}

/// What `/metrics` must show of this status, by the name and labels of the sample.
fn expected(status: &Status) -> Vec<(String, f64)> {
    let yes = |is: bool| f64::from(u8::from(is));
    let plain = |name: &str, value: f64| (format!("synap_{name}"), value);
    let positions = &status.positions;
    let totals = &status.counters;
    let connected = replicas(status).filter(|replica| replica.connected == Some(true)).count();
    let mut all = vec![
        plain("replication_lag_operations", status.lag_operations as f64),
        plain("replication_lag_ms", ms(status.lag)),
        plain("replication_staleness_ms", status.staleness.map_or(f64::INFINITY, ms)),
        plain(&format!("replication_role{{role=\"{}\"}}", status.role), 1.0),
        plain("replication_epoch", status.epoch.number as f64),
        plain("replication_connected", yes(status.link.is_none_or(|link| link.connected))),
        plain("replication_connected_replicas", connected as f64),
        plain("replication_position{stage=\"last\"}", positions.last.index.0 as f64),
        plain("replication_position{stage=\"durable\"}", positions.durable.0 as f64),
        plain("replication_position{stage=\"committed\"}", positions.committed.0 as f64),
        plain("replication_position{stage=\"applied\"}", positions.applied.index.0 as f64),
        plain("replication_failover_armed", yes(status.failover.armed)),
        plain("replication_operations_total{direction=\"out\"}", totals.operations_out as f64),
        plain("replication_operations_total{direction=\"in\"}", totals.operations_in as f64),
        plain("replication_full_syncs_total", totals.full_syncs as f64),
        plain("replication_partial_syncs_total", totals.partial_syncs as f64),
        plain("replication_rollback_operations_total", totals.rollback_operations as f64),
        plain("replication_leader_changes_total", totals.leader_changes as f64),
        plain("kv_keys", status.keys as f64),
        plain("ready", yes(status.ready)),
    ];
    // Two of one name are told apart by their ids, which is the front's own affair.
    let named = |name: &str| replicas(status).filter(|replica| replica.name == name).count();
    for replica in replicas(status).filter(|replica| named(&replica.name) == 1) {
        let labelled = |name: &str, value| plain(&format!("{name}{{replica=\"{}\"}}", replica.name), value);
        all.extend(replica.lag_operations.map(|lag| labelled("replication_lag_operations", lag as f64)));
        all.extend(replica.lag.map(|lag| labelled("replication_lag_ms", ms(lag))));
    }
    all
}

/// The replicas that a master knows; none on a replica.
fn replicas(status: &Status) -> impl Iterator<Item = &MemberStatus> {
    let leads = match status.role {
        Role::Master => true,
        Role::Replica | Role::Standalone => false,
    };
    status.members.iter().filter(move |member| leads && member.node != status.node)
}

/// The samples of a text in Prometheus' format. None may stand twice.
fn samples(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').ok_or_else(|| format!("`{line}` is no sample"))?;
        let value = match value {
            "+Inf" | "inf" => f64::INFINITY,
            number => number.parse().map_err(|_| format!("`{line}` has no value"))?,
        };
        if samples.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    Ok(samples)
}

fn whole_ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_with_its_labels() {
        let text = "# HELP a b\n# TYPE a gauge\na 1\nb{stage=\"last\"} 2.5\nc +Inf\n";
        let samples = samples(text).unwrap();
        assert_eq!(samples.get("b{stage=\"last\"}"), Some(&2.5));
        assert_eq!(samples.get("c"), Some(&f64::INFINITY));
        assert_eq!(samples.len(), 3);
    }

    #[test]
    fn a_series_that_stands_twice_is_a_fault() {
        assert_eq!(samples("a 1\na 2\n"), Err("a stands twice".to_owned()));
    }

    #[test]
    fn a_field_that_differs_is_named() {
        let shown = json!({ "epoch": 3, "lag_ms": 7 });
        assert_eq!(same(&shown, &json!({ "epoch": 3 })), Ok(()));
        assert_eq!(
            same(&shown, &json!({ "epoch": 3, "lag_ms": 8 })),
            Err("lag_ms is shown as 7, the node says 8".to_owned())
        );
    }
}
