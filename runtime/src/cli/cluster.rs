//! A cluster as its nodes describe themselves: one node is asked, then every other that it names.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Asked, Client};
use super::exit::Failed;

/// How long a node that another names may take to answer. All are asked at once: in an outage some hang, and the operator
/// wants to see the rest.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// One node and what was heard of it.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It answered.
    Answered {
        /// Who was asked.
        client: Client,
        /// `/replication/status`, as it came.
        status: Value,
        /// Whether `/readyz` said 200.
        ready: bool,
    },
    /// Another node names it, but it did not answer; another one may have done in its place.
    Silent {
        /// What people call it.
        name: String,
        /// Its id.
        node: String,
        /// Where it was asked, if an address is known.
        client: Option<Client>,
        /// Why there is no answer.
        why: String,
        /// The same in two words.
        health: &'static str,
    },
}

/// What became of looking at a node that another names.
struct Look {
    /// As it was named.
    member: Value,
    seen: Seen,
}

/// Asks `first`, then everyone whom it or a later one names, in the order of the names. Fails if `first` does not answer.
pub(super) async fn look_around(first: &Client) -> Result<Vec<Seen>, Failed> {
    let status = status_of(first).await.map_err(|failed| {
        Failed::new(failed.exit, format!("{}\nAnother node can be asked with --url or SYNAP_URL.", failed.message))
    })?;
    let mut known: BTreeSet<String> = text(&status, "/node_id").map(str::to_owned).into_iter().collect();
    let mut named = new_names(&status, &mut known);
    let cluster = text(&status, "/cluster_id").map(str::to_owned);
    let mut seen = vec![answered(first.clone(), status).await];
    while !named.is_empty() {
        let looks: JoinSet<Look> = named.drain(..).map(look_at).collect();
        for Look { member, seen: node } in looks.join_all().await {
            let Seen::Answered { client, status, .. } = &node else {
                seen.push(node);
                continue;
            };
            if let Some(stranger) = stranger(&member, cluster.as_deref(), client, status) {
                seen.push(stranger);
            }
            let in_cluster =
                text(status, "/cluster_id").is_none_or(|id| cluster.as_deref().is_none_or(|ours| id == ours));
            let is_new = text(status, "/node_id") == text(&member, "/node_id")
                || text(status, "/node_id").is_some_and(|id| known.insert(id.to_owned()));
            if in_cluster && is_new {
                named.extend(new_names(status, &mut known));
                seen.push(node);
            }
        }
    }
    seen.sort_by_key(Seen::name);
    Ok(seen)
}

/// The nodes that a status names and that are not known yet: the members, and whom it follows.
fn new_names(status: &Value, known: &mut BTreeSet<String>) -> Vec<Value> {
    let members = status.pointer("/members").and_then(Value::as_array).into_iter().flatten();
    let leader = status.pointer("/leader").filter(|leader| leader.is_object());
    let new = |node: &&Value| text(node, "/node_id").is_some_and(|id| known.insert(id.to_owned()));
    members.chain(leader).filter(new).cloned().collect()
}

/// `/replication/status` of one node.
pub(super) async fn status_of(client: &Client) -> Result<Value, Failed> {
    client.json(&Asked::get("/replication/status")).await
}

impl Seen {
    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Answered { client, status, ready: _ } => {
                text(status, "/node_name").map_or_else(|| client.to_string(), str::to_owned)
            }
            Self::Silent { name, .. } => name.clone(),
        }
    }
}

/// The text at a JSON pointer.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

/// The number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer)?.as_u64()
}

/// A node's last position, as answers tell positions.
pub(super) fn last_position(status: &Value) -> Option<String> {
    let leader = text(status, "/positions/leader").and_then(|id| id.get(..8)).map(|id| format!("-{id}"));
    let (epoch, last) = (number(status, "/positions/epoch")?, number(status, "/positions/last")?);
    Some(format!("{epoch}:{last}{}", leader.unwrap_or_default()))
}

/// A member in whose place another node answers: one whose disk was emptied or exchanged, or one of another cluster.
fn stranger(member: &Value, cluster: Option<&str>, client: &Client, status: &Value) -> Option<Seen> {
    let (wanted, found) = (text(member, "/node_id"), text(status, "/node_id").unwrap_or("unknown"));
    let (why, health) = match (cluster, text(status, "/cluster_id")) {
        (Some(ours), Some(theirs)) if ours != theirs => (
            format!("{client}: node {found} answers there, which belongs to another cluster, {theirs}"),
            "elsewhere",
        ),
        _ if wanted != Some(found) => (
            format!("{client}: node {found} answers there, another one: its disk was emptied or replaced"),
            "replaced",
        ),
        _ => return None,
    };
    let (name, node) = (name_of(member), wanted.unwrap_or_default().to_owned());
    Some(Seen::Silent { name, node, client: Some(client.clone()), why, health })
}

fn name_of(member: &Value) -> String {
    text(member, "/node_name").unwrap_or("unnamed").to_owned()
}

async fn look_at(member: Value) -> Look {
    let seen = look(&member).await;
    Look { member, seen }
}

async fn look(member: &Value) -> Seen {
    let (name, health) = (name_of(member), "no answer");
    let node = text(member, "/node_id").unwrap_or_default().to_owned();
    let Some(client) = text(member, "/http").and_then(|address| Client::new(address).ok()) else {
        return Seen::Silent { name, node, client: None, why: "address not known".to_owned(), health };
    };
    let look = async {
        let status = status_of(&client).await?;
        Ok::<Seen, Failed>(answered(client.clone(), status).await)
    };
    let why = match timeout(LOOK_TIMEOUT, look).await {
        Ok(Ok(seen)) => return seen,
        Ok(Err(failed)) => failed.message,
        Err(_) => format!("{client}: no answer within {} s", LOOK_TIMEOUT.as_secs()),
    };
    Seen::Silent { name, node, client: Some(client), why, health }
}

async fn answered(client: Client, status: Value) -> Seen {
    let ready = client.send(&Asked::get("/readyz")).await.is_ok_and(|answer| answer.status.is_success());
    Seen::Answered { client, status, ready }
}
