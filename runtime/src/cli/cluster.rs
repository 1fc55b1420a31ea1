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
    /// Another node names it, but it did not answer.
    Silent {
        /// What people call it.
        name: String,
        /// Its id.
        node: String,
        /// Where it was asked, if an address is known.
        client: Option<Client>,
        /// Why there is no answer.
        why: String,
    },
}

/// Asks `first`, then everyone whom it or a later one names, in the order of the names. Fails if `first` does not answer.
pub(super) async fn look_around(first: &Client) -> Result<Vec<Seen>, Failed> {
    let status = status_of(first).await.map_err(|failed| {
        Failed::new(failed.exit, format!("{}\nAnother node can be asked with --url or SYNAP_URL.", failed.message))
    })?;
    let mut known: BTreeSet<String> = text(&status, "/node_id").map(str::to_owned).into_iter().collect();
    let mut named = new_names(&status, &mut known);
    let mut seen = vec![answered(first.clone(), status).await];
    while !named.is_empty() {
        let looks: JoinSet<Seen> = named.drain(..).map(look_at).collect();
        for node in looks.join_all().await {
            if let Seen::Answered { status, .. } = &node {
                named.extend(new_names(status, &mut known));
            }
            seen.push(node);
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

async fn look_at(member: Value) -> Seen {
    let node = text(&member, "/node_id").unwrap_or_default().to_owned();
    let name = text(&member, "/node_name").unwrap_or("unnamed").to_owned();
    let Some(client) = text(&member, "/http").and_then(|address| Client::new(address).ok()) else {
        return Seen::Silent { name, node, client: None, why: "address not known".to_owned() };
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
    Seen::Silent { name, node, client: Some(client), why }
}

async fn answered(client: Client, status: Value) -> Seen {
    let ready = client.send(&Asked::get("/readyz")).await.is_ok_and(|answer| answer.status.is_success());
    Seen::Answered { client, status, ready }
}
