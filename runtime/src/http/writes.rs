//! Writes: what a request says becomes a command ([`super::order`]), the node orders it, and what it gave is answered
//! ([`super::written`]). A replica sends them to its master, in one of three ways.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::http::request;
use synap_core::config::Concern;
use synap_core::input::Request as Ask;
use synap_core::message::Leader;
use synap_core::output::{Refusal, Reply};
use synap_core::status::Role;
use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::inflight::Room;
use super::order::{Order, order};
use super::outgoing::hold_done;
use super::problem::{Code, Problem};
use super::query::WriteQuery;
use super::route::{self, Route};
use super::service::finish;
use super::written::{Asked, answer};
use super::{HttpServer, body, idempotency, precondition, proxy};
use crate::metrics::KvResult;
use crate::settings::OnReplicaWrite;

/// Longest body of those that hold no value.
const SMALL_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Answers a write.
pub(crate) async fn respond(
    front: &HttpServer,
    route: Route,
    head: &request::Parts,
    incoming: Incoming,
) -> Response<Body> {
    match write(front, route, head, incoming).await {
        Ok(Done::Here(answer, room)) => hold_done(front, finish(front, Ok(answer)), room),
        Ok(Done::ByMaster(response)) => hold_done(front, response, None),
        Err(problem) => finish(front, Err(problem)),
    }
}

/// The longest body that holds values: room for the greatest value with every second character escaped. A value
/// that takes more can be uploaded raw.
pub(crate) fn body_bytes_max(front: &HttpServer) -> u64 {
    2 * u64::from(front.limits.value_bytes_max) + 6 * u64::from(front.limits.key_bytes_max) + 4096
}

/// Who has answered a write.
enum Done {
    /// With room for the old value, if that is told.
    Here(Answer, Option<Room>),
    ByMaster(Response<Body>),
}

async fn write(
    front: &HttpServer,
    route: Route,
    head: &request::Parts,
    incoming: Incoming,
) -> Result<Done, Problem> {
    let idempotency_key = idempotency::key(&head.headers)?;
    let condition = precondition::of_write(&head.headers)?;
    let query = WriteQuery::parse(head.uri.query(), route == Route::KvRaw)?;
    let (body, room) =
        body::read_within(&front.inflight, incoming, bytes_max(front, route), query.timeout).await?;
    let room = Arc::new(room);
    // The view may say at once that this is the wrong node; the node itself is asked in any case of doubt.
    if let Some(leader) = master_elsewhere(front) {
        return elsewhere(front, head, body, &leader, &query).await;
    }
    let (_, rest) = route::find(head.uri.path());
    let Order { mut command, key, operation, get } = order(front, route, rest, &body, &query)?;
    if let Some(condition) = condition {
        command = precondition::under(condition, command)?;
    }
    if let Some(idempotency_key) = idempotency_key {
        command = idempotency::once(idempotency_key, command, get, head, &query, &body, condition);
    }
    let asked = Asked { key, operation, get, conditional: condition.is_some() };
    // What is done cannot be refused: there is room for the longest old value before anything is.
    let answer_room = match get {
        true => Some(front.answers.enter(u64::from(front.limits.value_bytes_max), query.timeout).await?),
        false => None,
    };
    let kept = match front.settings.on_replica_write {
        OnReplicaWrite::Proxy => Some(body),
        OnReplicaWrite::Redirect | OnReplicaWrite::Reject => None,
    };
    let concern = effective(front, query.concern, get);
    let began = Instant::now();
    let ask = Ask::Write { command, concern, timeout: query.timeout };
    // A node that ends without a word leaves the write's fate open.
    let Ok(replied) = front.handle.put_within(ask, Arc::clone(&room))?.await else {
        front.metrics.kv.add(operation, KvResult::Pending, 1);
        return Err(
            Problem::new(Code::Timeout, "this node ended before the outcome was known").with("outcome", "pending")
        );
    };
    match replied {
        Ok(Reply::Written(written)) => {
            front.metrics.commit_duration.observe(began.elapsed().as_secs_f64());
            let answer = answer(front, &asked, &written)?;
            Ok(Done::Here(answer, answer_room))
        }
        Ok(other) => Err(Problem::mismatched(&other)),
        Err(Refusal::NotMaster { leader }) => {
            elsewhere(front, head, kept.unwrap_or_default(), &leader, &query).await
        }
        Err(refusal) => {
            let result = match refusal {
                Refusal::Pending { .. } => KvResult::Pending,
                _ => KvResult::Refused,
            };
            front.metrics.kv.add(operation, result, 1);
            Err(refusal.into())
        }
    }
}

fn bytes_max(front: &HttpServer, route: Route) -> u64 {
    match route {
        Route::KvSet | Route::KvMset => body_bytes_max(front),
        Route::KvRaw => u64::from(front.limits.value_bytes_max),
        _ => SMALL_BODY_BYTES_MAX,
    }
}

/// The concern to ask for. `get` needs the outcome, which `async` and `local` do not wait for.
fn effective(front: &HttpServer, asked: Option<Concern>, get: bool) -> Option<Concern> {
    match asked.unwrap_or(front.write_concern) {
        Concern::Async | Concern::Local if get => Some(Concern::Quorum),
        Concern::Async | Concern::Local | Concern::Quorum | Concern::Replicas(_) => asked,
    }
}

/// The master, if this node is a replica and knows one.
fn master_elsewhere(front: &HttpServer) -> Option<Leader> {
    let view = front.handle.glance();
    match view.role {
        Role::Replica => view.leader.clone(),
        Role::Master | Role::Standalone => None,
    }
}

/// What becomes of a write that belongs to `leader`.
async fn elsewhere(
    front: &HttpServer,
    head: &request::Parts,
    body: Bytes,
    leader: &Leader,
    query: &WriteQuery,
) -> Result<Done, Problem> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    match front.settings.on_replica_write {
        OnReplicaWrite::Redirect => {
            Err(Problem::new(Code::NotMasterSeeOther, "writes go to the master, at `leader`")
                .leader(&leader.http)
                .location(format!("http://{}{path}", leader.http)))
        }
        OnReplicaWrite::Reject => {
            Err(Problem::new(Code::NotMaster, "writes go to the master, at `leader`").leader(&leader.http))
        }
        OnReplicaWrite::Proxy => {
            proxy::forward(front, head, body, leader, query.timeout).await.map(Done::ByMaster)
        }
    }
}
