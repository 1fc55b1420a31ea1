//! `synap status`: the cluster as a table.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::advice::Followed;
use super::client::{Client, Target};
use super::cluster::{Seen, last_position, look_around, number, text};
use super::exit::{Exit, Outcome};
use super::table::{Cell, Tone};
use super::{advice, out, table, words};

/// What is shown.
#[derive(Args, Debug)]
pub(super) struct Status {
    /// Print what every node says, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

const HEAD: [&str; 6] = ["NODE", "ROLE", "POSITION", "LAG", "HEALTH", "ADDRESS"];

/// Prints a row for each node of the cluster, then what deserves a look.
pub(super) async fn run(asked: Status) -> Outcome {
    let client = asked.target.any().await?;
    let seen = look_around(&client).await?;
    if asked.json {
        let all: Vec<Value> = seen.iter().map(as_json).collect();
        out::line(serde_json::to_string_pretty(&all).unwrap_or_default())?;
    } else {
        let followed = advice::followed(&seen);
        let rows: Vec<Vec<Cell>> = seen.iter().map(|node| row(node, followed.as_ref())).collect();
        out::text(table::layout(&HEAD, &rows))?;
        for remark in remarks(&seen) {
            out::remark(remark)?;
        }
    }
    Ok(Exit::Good)
}

fn row(seen: &Seen, followed: Option<&Followed>) -> Vec<Cell> {
    let cell = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
    match seen {
        Seen::Answered { client, status, ready } => {
            let tone = if is_leading(status) { Tone::Strong } else { Tone::Plain };
            let health =
                if *ready { Cell::new("ready", Tone::Good) } else { Cell::new("not ready", Tone::Warning) };
            vec![
                Cell::new(seen.name(), tone),
                Cell::new(role(status), tone),
                cell(last_position(status)),
                lag(status).into(),
                health,
                client.authority().into(),
            ]
        }
        Seen::Silent { name, node, client, why: _, health } => {
            let address = cell(client.as_ref().map(Client::authority));
            // Those that follow it know better than this command, which does not reach it.
            let role = if followed.is_some_and(|master| master.node == *node) { "master" } else { "-" };
            let health = Cell::new(*health, Tone::Bad);
            vec![name.as_str().into(), role.into(), "-".into(), "-".into(), health, address]
        }
    }
}

/// `master`, `replica (syncing)`: the state where it is not the usual one.
fn role(status: &Value) -> String {
    let role = text(status, "/role").unwrap_or("-");
    match text(status, "/state") {
        None | Some("serving" | "streaming") => role.to_owned(),
        Some(state) => format!("{role} ({state})"),
    }
}

/// `12 ops, 34 ms`; a master has none.
fn lag(status: &Value) -> String {
    if text(status, "/role") != Some("replica") {
        return "-".to_owned();
    }
    match (number(status, "/lag_operations"), number(status, "/lag_ms")) {
        (Some(operations), Some(ms)) => format!("{operations} ops, {ms} ms"),
        _ => "unknown".to_owned(),
    }
}

fn remarks(seen: &[Seen]) -> Vec<String> {
    let mut remarks = Vec::new();
    for node in seen {
        match node {
            Seen::Answered { client, status, ready: _ } => {
                let alarms = status.pointer("/alarms").and_then(Value::as_array);
                for alarm in alarms.into_iter().flatten().filter_map(Value::as_str) {
                    remarks.push(format!("{}: {alarm}: {}", node.name(), in_words(alarm, client)));
                }
                remarks.extend(dials(status).map(|dial| format!("{}: {dial}", node.name())));
                if status.pointer("/config_role_ignored") == Some(&Value::Bool(true)) {
                    let usual = "its configured role is ignored: what is on disk decides";
                    remarks.push(format!("{}: {usual}", node.name()));
                }
            }
            Seen::Silent { name, node, why, .. } => remarks.push(silent(seen, name, node, why)),
        }
    }
    remarks.extend(seen.iter().find_map(failover));
    if !seen.iter().any(|node| matches!(node, Seen::Answered { status, .. } if is_leading(status))) {
        remarks.extend(seen.iter().filter_map(why_not));
        remarks.push(advice::next_step(seen));
    }
    remarks
}

/// Where a node has looked for its master in vain, and why.
fn dials(status: &Value) -> impl Iterator<Item = String> {
    let dials = status.pointer("/dials").and_then(Value::as_array).into_iter().flatten();
    dials.filter_map(|dial| Some(format!("{}: {}", text(dial, "/address")?, text(dial, "/detail")?)))
}

/// Who does not answer, and since when those who do have heard nothing of it.
fn silent(seen: &[Seen], name: &str, node: &str, why: &str) -> String {
    let mut told = Vec::new();
    for other in seen {
        let Seen::Answered { status, .. } = other else { continue };
        let members = status.pointer("/members").and_then(Value::as_array).into_iter().flatten();
        let of_it = members.filter(|member| text(member, "/node_id") == Some(node));
        told.extend(of_it.map(|member| (number(member, "/last_contact_ms"), other.name(), is_voter(member))));
    }
    let votes = told.iter().any(|(_, _, voter)| *voter);
    let latest = told.iter().filter_map(|(ms, by, _)| Some(((*ms)?, by))).min();
    let since = match latest {
        Some((ms, by)) => {
            format!("; last heard from {} ago, by {by}", words::length(Duration::from_millis(ms)))
        }
        None if votes => "; no node that answers has heard from it".to_owned(),
        None => String::new(),
    };
    format!("{}{name}: {why}{since}", if votes { "voter " } else { "" })
}

fn is_voter(member: &Value) -> bool {
    member.pointer("/voter") == Some(&Value::Bool(true))
}

/// What an alarm means, and what to do.
fn in_words(alarm: &str, node: &Client) -> String {
    let words = match alarm {
        "disk_full" => "it takes no writes until there is room; it tries again by itself",
        "disk_hangs" => {
            "nothing reaches its disk, so that it takes no writes: its disk hangs, or its files were removed. Its log says which. Do not stop it before you have looked: what it holds may be in memory alone (docs/operations.md, \"A disk that hangs\")"
        }
        "snapshot_hangs" => "nothing reaches its snapshot files; the log goes on",
        "out_of_memory" => "limits.memory_bytes_max is reached, and writes that need room are refused",
        "unsafe_fsync" => "fsync_mode is not `always`: a power cut may take what was answered",
        "no_quorum" => "it leads, hears no majority of voters and answers no writes: bring voters back",
        "master_down" => "it has no master",
        "rollback_written" => {
            return format!("a failover discarded what it held alone: `synap rollback list --url {node}`");
        }
        "copied_directory" => {
            "another process runs under this node's id, since its data directory was copied: stop this one, empty its directory, start it again"
        }
        "address_unknown" => {
            "no address of a member is known: set replication.advertise_address there, or nobody can dial it after a failover"
        }
        "address_unresolved" => {
            "a name in its advertise_address stands for no address on its own machine, and others may not find it once it leads: its log says which"
        }
        "disk_short" => {
            "the next snapshot does not fit on its disk, so that the log grows: make room (docs/operations.md, \"Disk full\")"
        }
        "state_mismatch" => "a replica's state differed and is synced again: keep the logs and report it",
        "clock_skew" => {
            "its wall clock, or a replica's, is off by more than a second: look at NTP; nothing expires by it"
        }
        "lines_at_odds" => {
            "another node went on apart, and both logs may hold what a majority has: see docs/failover.md, \"Two lines at odds\""
        }
        "foreign_cluster" => {
            "it has met a node of another cluster: either an address is wrong, or one of the two was founded again on an emptied directory: see docs/operations.md, \"Two clusters\""
        }
        "master_behind" => {
            "a replica knows more to be committed than its master's log holds, and refuses it: see docs/failover.md, \"A master that lacks what was answered\""
        }
        _ => "see docs/monitoring.md",
    };
    words.to_owned()
}

/// What keeps replicas from taking over, as the master tells it.
fn failover(node: &Seen) -> Option<String> {
    let Seen::Answered { client: _, status, ready: _ } = node else { return None };
    if text(status, "/role") != Some("master") || text(status, "/failover/mode") != Some("auto") {
        return None;
    }
    if let Some(ms) = number(status, "/failover/paused_ms") {
        return Some(format!(
            "elections are paused for another {} s; `synap resume` ends that",
            ms.div_ceil(1000)
        ));
    }
    let armed = status.pointer("/failover/armed") == Some(&Value::Bool(true));
    (!armed).then(|| format!("automatic failover: {}", text(status, "/failover/reason").unwrap_or("not armed")))
}

/// Why a replica of an armed cluster that has no master does not campaign.
fn why_not(node: &Seen) -> Option<String> {
    let Seen::Answered { client: _, status, ready: _ } = node else { return None };
    if status.pointer("/failover/armed") != Some(&Value::Bool(true)) {
        return None;
    }
    text(status, "/failover/why_not").map(|why| format!("{} does not campaign: {why}", node.name()))
}

fn is_leading(status: &Value) -> bool {
    matches!(text(status, "/role"), Some("master" | "standalone"))
}

fn as_json(seen: &Seen) -> Value {
    match seen {
        Seen::Answered { client, status, ready } => {
            json!({ "url": client.to_string(), "ready": ready, "status": status })
        }
        Seen::Silent { name, node, client, why, health: _ } => {
            json!({
                "url": client.as_ref().map(Client::to_string), "node_name": name, "node_id": node, "error": why,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: Value) -> Seen {
        Seen::Answered { client: Client::new("a:1").expect("good"), status, ready: true }
    }

    #[test]
    fn a_master_and_a_replica_in_a_row_each() {
        let master = answered(json!({
            "node_name": "n1", "role": "master", "state": "serving", "epoch": 2, "positions": { "epoch": 2, "last": 17 },
        }));
        assert_eq!(row(&master, None), ["n1", "master", "2:17", "-", "ready", "a:1"]);
        let replica = answered(json!({
            "node_name": "n2", "role": "replica", "state": "syncing", "epoch": 2, "positions": { "epoch": 2, "last": 15 },
            "lag_operations": 2, "lag_ms": 40, "link": { "state": "connected" },
        }));
        let expected = ["n2", "replica (syncing)", "2:15", "2 ops, 40 ms", "ready", "a:1"];
        assert_eq!(row(&replica, None), expected);
    }

    #[test]
    fn what_keeps_replicas_from_taking_over_is_said() {
        let master = |failover: Value| answered(json!({ "role": "master", "failover": failover }));
        let unarmed = master(json!({ "mode": "auto", "armed": false, "reason": "not armed: two are too few" }));
        assert_eq!(failover(&unarmed).as_deref(), Some("automatic failover: not armed: two are too few"));
        let paused = master(json!({ "mode": "auto", "armed": true, "paused_ms": 1500 }));
        assert!(failover(&paused).is_some_and(|said| said.contains("another 2 s")));
        assert_eq!(failover(&master(json!({ "mode": "auto", "armed": true }))), None);
        assert_eq!(failover(&master(json!({ "mode": "manual", "armed": false }))), None);
    }

    #[test]
    fn without_a_master_each_says_why_it_is_none() {
        let failover = json!({ "mode": "auto", "armed": true, "why_not": "its disk is full" });
        let full = answered(json!({ "node_name": "n2", "role": "replica", "failover": failover }));
        let said = remarks(&[full]);
        assert_eq!(said.first().map(String::as_str), Some("n2 does not campaign: its disk is full"), "{said:?}");
        let unarmed = json!({ "mode": "auto", "armed": false, "why_not": "automatic failover is not armed" });
        assert_eq!(why_not(&answered(json!({ "role": "replica", "failover": unarmed }))), None);
    }

    #[test]
    fn a_voter_that_does_not_answer_is_named_with_since_when() {
        let member = |id: &str, ms: Option<u64>| json!({ "node_id": id, "voter": true, "last_contact_ms": ms });
        let by = |name: &str, ms| {
            answered(json!({ "node_name": name, "node_id": name, "role": "master", "members": [member("3", ms)] }))
        };
        let said = |ms| silent(&[by("n1", ms), by("n2", Some(200_000))], "n3", "3", "n3:1: refused");
        assert_eq!(said(Some(125_000)), "voter n3: n3:1: refused; last heard from 2 min 5 s ago, by n1");
        assert_eq!(said(None), "voter n3: n3:1: refused; last heard from 3 min 20 s ago, by n2");
        let never = silent(&[by("n1", None)], "n3", "3", "refused");
        assert_eq!(never, "voter n3: refused; no node that answers has heard from it");
    }

    #[test]
    fn what_deserves_a_look_is_said() {
        let silent = Seen::Silent {
            name: "n3".into(),
            node: "3".into(),
            client: None,
            why: "address not known".into(),
            health: "no answer",
        };
        let replica = answered(json!({
            "node_name": "n2", "role": "replica", "cluster_id": "c", "alarms": ["master_down"],
        }));
        assert_eq!(
            remarks(&[replica, silent]),
            [
                "n2: master_down: it has no master",
                "n3: address not known",
                "no master answers, and nobody is elected by itself: stop the old one if it may be alive, then \
                 `synap promote --url http://a:1` makes n2 the master"
            ]
        );
    }
}
