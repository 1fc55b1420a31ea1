//! What operators ask: status, promotion, outcomes, rollback files, snapshots and metrics.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request;
use serde::Deserialize;
use serde_json::{Value, json};
use synap_core::input::{Promotion, Request as Ask};
use synap_core::output::{Fate, Reply};
use synap_core::position::{Full, Index, Named, Position};
use synap_core::status::{Alarm, Status};

use super::HttpServer;
use super::answer::{Answer, Body, Content, Stamp};
use super::problem::{Code, Problem};
use super::query::{self, number, pairs, position, unknown};
use super::rollbacks::{RollbackFile, RollbackSource};
use super::route::{self};
use super::status::StatusJson;

/// Longest body of an operator's request.
pub(crate) const BODY_BYTES_MAX: u64 = 4096;

/// Where to look for what became of a promotion or a switchover.
pub(crate) const LOOK_FOR_MASTER: &str =
    "this node ended before it was decided; the status of the other members says who leads";

/// Where to look for what became of a snapshot.
const LOOK_FOR_SNAPSHOT: &str =
    "this node ended before it was whole; after a start `snapshot` in its status says which it has";

/// How much of a rollback file is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The node's [`Status`]. Waits for a place among the requests, since an operator asks most when all are taken.
pub(crate) async fn ask_status(front: &HttpServer) -> Result<Box<Status>, Problem> {
    let mut status = match front.handle.ask_patiently(Ask::Status).await? {
        Reply::Status(status) => status,
        other => return Err(Problem::mismatched(&other)),
    };
    // The node knows what it wrote since it started; what is there now only the directory says.
    if let Some(there) = front.rollbacks.hold_operations().await {
        status.alarms.retain(|alarm| *alarm != Alarm::RollbackWritten);
        status.alarms.extend(there.then_some(Alarm::RollbackWritten));
    }
    Ok(status)
}

/// `GET /replication/status`.
pub(crate) async fn status(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let status = ask_status(front).await?;
    Ok(json_answer(&StatusJson::of(&status)).stamped(stamp(&status)))
}

/// `GET /metrics`.
pub(crate) async fn metrics(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let status = ask_status(front).await?;
    let text = front.metrics.render(&status);
    Ok(Answer::new(Content::Metrics, Body::Whole(text.into())).stamped(stamp(&status)))
}

/// The body of a promotion.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromoteBody {
    #[serde(default)]
    force: Option<bool>,
    #[serde(default)]
    accept_data_loss: Option<bool>,
    /// `EPOCH:INDEX-LEADER` or `EPOCH:INDEX`.
    #[serde(default)]
    expect_last: Option<String>,
}

/// `POST /replication/promote`.
pub(crate) async fn promote(front: &HttpServer, head: &request::Parts, body: Incoming) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let asked: PromoteBody = super::body::parse_or_empty(&body)?;
    let promotion = Promotion {
        force: asked.force.unwrap_or(false),
        accept_data_loss: asked.accept_data_loss.unwrap_or(false),
        expect_last: asked.expect_last.as_deref().map(position).transpose()?,
    };
    match front.handle.act(Ask::Promote(promotion), LOOK_FOR_MASTER).await? {
        Reply::Promoted(promoted) => {
            let loss = promoted.possible_loss;
            Ok(json_answer(&json!({
                "success": true,
                "epoch": promoted.position.epoch.number,
                "leader": promoted.position.epoch.leader.to_string(),
                "position": Full(promoted.position).to_string(),
                "took_over": Full(promoted.took_over).to_string(),
                "possible_loss": loss.map(|(Index(from), Index(upto))| json!({"from": from, "upto": upto})),
                "unreached": promoted.unreached,
            }))
            .stamped(at(front, promoted.position)))
        }
        other => Err(Problem::mismatched(&other)),
    }
}

/// The body of what needs none: nothing can be said.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoBody {}

/// `POST /snapshot`.
pub(crate) async fn snapshot(
    front: &HttpServer,
    head: &request::Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    no_query(head)?;
    let body = super::body::read(body, BODY_BYTES_MAX).await?;
    let NoBody {} = super::body::parse_or_empty(&body)?;
    match front.handle.act(Ask::Snapshot, LOOK_FOR_SNAPSHOT).await? {
        Reply::Snapshot(position) => {
            Ok(json_answer(&json!({"success": true, "position": Full(position).to_string()})))
        }
        other => Err(Problem::mismatched(&other)),
    }
}

/// `GET /replication/outcome?position=`, or `?epoch=&index=&leader=`.
pub(crate) async fn outcome(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    let (mut epoch, mut index, mut leader, mut whole) = (None, None, None, None);
    for (name, value) in pairs(head.uri.query())? {
        match &*name {
            b"epoch" => epoch = Some(number("epoch", &value)?),
            b"index" => index = Some(number("index", &value)?),
            b"leader" => leader = Some(query::leader(query::text("leader", &value)?)?),
            b"position" => whole = Some(position(query::text("position", &value)?)?),
            _ => return Err(unknown(&name)),
        }
    }
    let named = match (whole, epoch, index) {
        (Some(whole), None, None) if leader.is_none() => whole,
        (None, Some(number), Some(index)) => Named { number, index: Index(index), leader },
        _ => {
            return Err(Problem::bad(
                "`position` is needed, or `epoch` and `index`, and `leader` where it is known",
            ));
        }
    };
    let fate = match front.handle.ask_patiently(Ask::Outcome(named)).await? {
        Reply::Outcome(fate) => fate,
        other => return Err(Problem::mismatched(&other)),
    };
    let outcome = match fate {
        Fate::Committed => "committed",
        Fate::RolledBack => "rolled_back",
        Fate::Pending => "pending",
        Fate::Unknown | Fate::Foreign => "unknown",
    };
    let detail = match fate {
        Fate::Committed | Fate::RolledBack | Fate::Pending => None,
        Fate::Unknown => Some(
            "two entries may have that number: ask with the `leader` or the whole `position` that was answered",
        ),
        Fate::Foreign => Some(
            "no mastership that is known here answered it: it is of another cluster (the one from whose backup this one was restored?), \
             or its master is no member any more; look whether what was written is there",
        ),
    };
    let mut answer = json!({"epoch": named.number, "index": named.index.0, "outcome": outcome});
    if let Some(detail) = detail {
        answer["detail"] = json!(detail);
    }
    Ok(json_answer(&answer))
}

/// `GET /replication/rollbacks`.
pub(crate) async fn rollbacks(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let files = front.rollbacks.list().await.map_err(|error| unreadable(&error))?;
    let files: Vec<Value> = files
        .iter()
        .map(|RollbackFile { id, operations, bytes, files }| {
            json!({"id": id, "operations": operations, "bytes": bytes, "files": files})
        })
        .collect();
    Ok(json_answer(&json!({ "rollbacks": files })))
}

/// `GET /replication/rollbacks/{id}`: the file, in pieces as they are read.
pub(crate) async fn rollback(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let (_, id) = route::find(head.uri.path());
    let source: Arc<dyn RollbackSource> = Arc::clone(&front.rollbacks);
    // Opened once before the answer begins, so that a missing file is a 404 and not a broken body.
    source.read(id.to_owned(), 0, 0).await.map_err(|error| unreadable(&error))?;
    let id = id.to_owned();
    let body = Body::pieces(move |offset| source.read(id.clone(), offset, PIECE_BYTES));
    Ok(Answer::new(Content::Ndjson, body))
}

/// Refuses any query.
pub(crate) fn no_query(head: &request::Parts) -> Result<(), Problem> {
    pairs(head.uri.query())?.first().map_or(Ok(()), |(name, _)| Err(unknown(name)))
}

/// 200 with a JSON value and a newline, for people.
pub(crate) fn json_answer(value: &impl serde::Serialize) -> Answer {
    let mut out = serde_json::to_vec(value).unwrap_or_default();
    out.push(b'\n');
    Answer::json(out)
}

fn stamp(status: &Status) -> Stamp {
    Stamp { position: status.positions.applied, role: status.role, staleness: None, replayed: false }
}

fn at(front: &HttpServer, position: Position) -> Stamp {
    Stamp { position, role: front.handle.glance().role, staleness: None, replayed: false }
}

fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::new(Code::NotFound, "there is no such rollback file"),
        _ => Problem::new(Code::Internal, format!("the rollback files cannot be read: {error}")),
    }
}
