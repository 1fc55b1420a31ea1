//! `synap members`: who belongs to the cluster, who votes, and how much each is wanted as master.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Asked, Client, Target};
use super::cluster::{number, text};
use super::confirm::confirm;
use super::exit::{Exit, Outcome};
use super::{out, table};

/// What is shown or changed.
#[derive(Args, Debug)]
pub(super) struct Members {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    target: Target,
}

/// A change. Nodes are named by id or by name.
#[derive(Debug, Subcommand)]
enum Change {
    /// Let a member that replicates vote
    Add {
        /// Which
        node: String,
    },
    /// Forget a member that is gone for good; its disk counts no more
    Remove {
        /// Which
        node: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Forget a voter that is gone for good, and let another member vote in its place
    Replace {
        /// Which goes
        node: String,
        /// Which takes its place
        #[arg(long, value_name = "NODE")]
        by: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Say how much a member is wanted as master: 0 is never, higher is sooner
    Priority {
        /// Which
        node: String,
        /// 0 to 1000, or `configured` for what its configuration says
        #[arg(value_parser = a_priority)]
        priority: Wish,
    },
}

/// What an operator wishes a priority to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Set(u32),
    Configured,
}

const HEAD: [&str; 7] = ["NODE", "ID", "VOTER", "PRIORITY", "CONNECTED", "LAG", "MAY LEAD"];

/// Shows the members, after the change if one is asked for.
pub(super) async fn run(asked: Members) -> Outcome {
    let client = Client::new(&asked.target.url)?;
    if let Some(change) = &asked.change {
        if let Some(consequences) = change.consequences() {
            confirm(&consequences, "Go on?")?;
        }
        client.json(&Asked::post("/replication/members", &change.body())).await?;
    }
    let members = client.json(&Asked::get("/replication/members")).await?;
    let rows: Vec<Vec<String>> =
        members.pointer("/members").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    out::text(table::layout(&HEAD, &rows))?;
    let armed = members.pointer("/armed") == Some(&Value::Bool(true));
    let reason = text(&members, "/reason").unwrap_or_default();
    out::line(format!("automatic failover is {}: {reason}", if armed { "armed" } else { "not armed" }))?;
    Ok(Exit::Good)
}

impl Change {
    fn body(&self) -> Value {
        match self {
            Self::Add { node } => json!({ "action": "add", "node": node }),
            Self::Remove { node, yes: _ } => json!({ "action": "remove", "node": node }),
            Self::Replace { node, by, yes: _ } => json!({ "action": "replace", "node": node, "by": by }),
            Self::Priority { node, priority } => {
                let priority = match priority {
                    Wish::Set(priority) => Some(*priority),
                    Wish::Configured => None,
                };
                json!({ "action": "priority", "node": node, "priority": priority })
            }
        }
    }

    /// What to confirm first, if anything.
    fn consequences(&self) -> Option<String> {
        let gone = |node: &str| {
            format!(
                "{node} leaves the cluster: its disk counts no more, and what only it held is lost with it.\n  \
                 Should it ever start again with its data, it joins as a new replica."
            )
        };
        match self {
            Self::Remove { node, yes: false } => Some(gone(node)),
            Self::Replace { node, by, yes: false } => Some(format!("{}\n  {by} votes in its place.", gone(node))),
            Self::Remove { yes: true, .. }
            | Self::Replace { yes: true, .. }
            | Self::Add { .. }
            | Self::Priority { .. } => None,
        }
    }
}

fn row(member: &Value) -> Vec<String> {
    let yes = |name: &str| if member.pointer(name) == Some(&Value::Bool(true)) { "yes" } else { "no" }.to_owned();
    let may_lead = match text(member, "/why_not") {
        Some(why) => format!("no: {why}"),
        None => yes("/eligible"),
    };
    vec![
        text(member, "/node_name").unwrap_or("-").to_owned(),
        text(member, "/node_id").unwrap_or("-").to_owned(),
        yes("/voter"),
        number(member, "/priority").map_or_else(|| "-".to_owned(), |priority| priority.to_string()),
        yes("/connected"),
        number(member, "/lag_operations").map_or_else(|| "-".to_owned(), |lag| format!("{lag} ops")),
        may_lead,
    ]
}

fn a_priority(text: &str) -> Result<Wish, String> {
    match (text, text.parse()) {
        ("configured", _) => Ok(Wish::Configured),
        (_, Ok(priority @ 0..=1000)) => Ok(Wish::Set(priority)),
        (_, Ok(_) | Err(_)) => Err("0 to 1000, or `configured`, is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_may_lead() {
        let member = json!({
            "node_name": "n3", "node_id": "0c", "voter": true, "priority": 0, "connected": true, "lag_operations": 2,
            "eligible": false, "why_not": "its failover.priority is 0",
        });
        let expected = ["n3", "0c", "yes", "0", "yes", "2 ops", "no: its failover.priority is 0"];
        assert_eq!(row(&member), expected);
    }

    #[test]
    fn who_is_forgotten_is_confirmed_first() {
        let remove = |yes| Change::Remove { node: "n3".into(), yes };
        assert!(remove(false).consequences().is_some_and(|said| said.starts_with("n3 leaves the cluster")));
        assert_eq!(remove(true).consequences(), None);
        let replace = Change::Replace { node: "n3".into(), by: "n4".into(), yes: false };
        assert!(replace.consequences().is_some_and(|said| said.ends_with("n4 votes in its place.")));
        assert_eq!(replace.body(), json!({ "action": "replace", "node": "n3", "by": "n4" }));
    }

    #[test]
    fn priorities_are_bounded() {
        assert_eq!(a_priority("0"), Ok(Wish::Set(0)));
        assert_eq!(a_priority("configured"), Ok(Wish::Configured));
        assert!(a_priority("1001").is_err() && a_priority("-1").is_err() && a_priority("").is_err());
    }
}
