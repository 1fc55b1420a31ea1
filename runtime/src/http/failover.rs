//! What operators ask of a master that may be replaced: a switchover, who belongs to the cluster, a pause of elections.
//! A replica sends them on to its master, whatever it does with writes: only the log of one node orders them.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::request;
use serde::Deserialize;
use serde_json::{Value, json};
use synap_core::input::{MemberChange, Request as Ask};
use synap_core::output::{Refusal, Reply};
use synap_core::position::{Full, Position};

use super::HttpServer;
use super::answer::{Answer, Stamp};
use super::operator::{BODY_BYTES_MAX, LOOK_FOR_MASTER, NoBody, ask_status, json_answer, no_query};
use super::problem::{Code, Problem};
use super::status::members_json;

/// How long a switchover may hold writes if it does not say.
const SWITCHOVER_TIMEOUT_MS: u64 = 5_000;

/// The longest that it may ask for: clients wait all the while.
const SWITCHOVER_TIMEOUT_MAX_MS: u64 = 60_000;

/// How long elections are paused if nobody says.
const PAUSE_SECS: u64 = 600;

/// What a client is told of the end of a pause.
const PAUSE_ENDS: &str = "by each node's monotonic clock, ttl_secs after it learnt of the pause or started; for all of them \
                          once a serving master has counted ttl_secs";

/// The longest pause: a forgotten one ends by itself within a day.
const PAUSE_SECS_MAX: u64 = 86_400;

/// Where to look for what became of a change of membership or a pause.
const LOOK_FOR_CHANGE: &str = "this node ended before it was committed; the status of the leader says what holds";

/// The body of a switchover.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchoverBody {
    /// A node's id or name.
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// The body of a pause.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseBody {
    #[serde(default)]
    ttl_secs: Option<u64>,
}

/// The body of a change of membership. Nodes are named by id or by name.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum MembersBody {
    Add {
        node: String,
    },
    Remove {
        node: String,
    },
    Replace {
        node: String,
        by: String,
    },
    Priority {
        node: String,
        /// Must be said, if only with `null`: who forgets it would take an operator's word back.
        #[serde(deserialize_with = "Option::deserialize")]
        priority: Option<u32>,
    },
}

/// The highest priority, as in the configuration.
const PRIORITY_MAX: u32 = 1000;

/// `POST /replication/switchover`.
pub(crate) async fn switchover(
    front: &HttpServer,
    head: &request::Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let SwitchoverBody { to, timeout_ms } = super::body::parse_or_empty(&body)?;
    let timeout_ms = timeout_ms.unwrap_or(SWITCHOVER_TIMEOUT_MS);
    if !(1..=SWITCHOVER_TIMEOUT_MAX_MS).contains(&timeout_ms) {
        return Err(Problem::bad("`timeout_ms` expects 1 to 60000"));
    }
    let ask = Ask::Switchover { to, timeout: Duration::from_millis(timeout_ms) };
    match asked_of_master(front, head, ask, LOOK_FOR_MASTER).await? {
        Reply::SwitchedOver(done) => Ok(json_answer(&json!({
            "success": true,
            "epoch": done.epoch.number,
            "leader": {
                "node_id": done.leader.node.to_string(),
                "http": done.leader.http,
                "replication": done.leader.replication,
            },
        }))),
        other => Err(Problem::mismatched(&other)),
    }
}

/// `GET /replication/members`.
pub(crate) async fn members(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let status = ask_status(front).await?;
    Ok(json_answer(&json!({
        "armed": status.failover.armed,
        "reason": status.failover.reason,
        "members": members_json(&status),
    })))
}

/// `POST /replication/members`.
pub(crate) async fn change_members(
    front: &HttpServer,
    head: &request::Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let change = match super::body::parse(&body)? {
        MembersBody::Add { node } => MemberChange::Add { node },
        MembersBody::Remove { node } => MemberChange::Remove { node },
        MembersBody::Replace { node, by } => MemberChange::Replace { node, by },
        MembersBody::Priority { priority: Some(priority), .. } if priority > PRIORITY_MAX => {
            return Err(Problem::bad("`priority` expects 0 to 1000, or null for what the configuration says"));
        }
        MembersBody::Priority { node, priority } => MemberChange::Priority { node, priority },
    };
    configured(front, head, Ask::Members(change), json!({})).await
}

/// `POST /replication/pause`.
pub(crate) async fn pause(front: &HttpServer, head: &request::Parts, body: Incoming) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let PauseBody { ttl_secs } = super::body::parse_or_empty(&body)?;
    let ttl_secs = ttl_secs.unwrap_or(PAUSE_SECS);
    if !(1..=PAUSE_SECS_MAX).contains(&ttl_secs) {
        return Err(Problem::bad("`ttl_secs` expects 1 to 86400"));
    }
    configured(
        front,
        head,
        Ask::Pause(Duration::from_secs(ttl_secs)),
        json!({ "ttl_secs": ttl_secs, "ends": PAUSE_ENDS }),
    )
    .await
}

/// `POST /replication/resume`.
pub(crate) async fn resume(front: &HttpServer, head: &request::Parts, body: Incoming) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let NoBody {} = super::body::parse_or_empty(&body)?;
    configured(front, head, Ask::Pause(Duration::ZERO), json!({})).await
}

/// Asks for an entry of the log, and answers with `told` and where it stands.
async fn configured(front: &HttpServer, head: &request::Parts, ask: Ask, told: Value) -> Result<Answer, Problem> {
    let position = match asked_of_master(front, head, ask, LOOK_FOR_CHANGE).await? {
        Reply::Configured(position) => position,
        other => return Err(Problem::mismatched(&other)),
    };
    let mut answer = json!({ "success": true, "position": Full(position).to_string() });
    if let (Value::Object(answer), Value::Object(told)) = (&mut answer, told) {
        answer.extend(told);
    }
    Ok(json_answer(&answer).stamped(at(front, position)))
}

/// The node's reply, or the way to the master.
async fn asked_of_master(
    front: &HttpServer,
    head: &request::Parts,
    ask: Ask,
    look: &'static str,
) -> Result<Reply, Problem> {
    match front.handle.act(ask, look).await {
        Ok(reply) => Ok(reply),
        Err(Refusal::NotMaster { leader }) => {
            Err(Problem::new(Code::NotMasterSeeOther, "this is asked of the master, at `leader`")
                .leader(&leader.http)
                .location(format!("http://{}{}", leader.http, head.uri.path())))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn at(front: &HttpServer, position: Position) -> Stamp {
    Stamp { position, role: front.handle.glance().role, staleness: None, replayed: false }
}
