//! Reads of the store. They look at the published view and do not pass through the node, unless they demand a
//! state that the view does not show yet: then the node is asked to wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::http::request;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use synap_core::command::ValueKind;
use synap_core::input::Request as Ask;
use synap_core::output::Reply;
use synap_core::status::Role;
use synap_core::store::Item;
use synap_core::time::WallMs;
use synap_core::view::{Outline, View};

use super::answer::{Answer, Body, Content, Stamp};
use super::json::{push_fmt, push_key, push_str, push_u64, push_value};
use super::outgoing::hold;
use super::problem::{Code, Problem};
use super::query::{KEY_BYTES_MAX, ReadQuery, check_key, path_key};
use super::route::{self, Route};
use super::service::finish;
use super::{HttpServer, precondition};
use crate::metrics::{KvOperation, KvResult};
use crate::published_view::PublishedView;

/// Most keys that one `mget` may name.
const MGET_KEYS_MAX: usize = 10_000;

/// Longest answer to an `mget`.
const MGET_BYTES_MAX: usize = 64 << 20;

/// Values shorter than this are copied into the answer; longer ones are shared with the store.
const SHARED_BYTES_MIN: usize = 4096;

/// Answers a read without a body if the current view admits it; none: it is no such read, or must wait.
pub(crate) fn at_once(
    front: &HttpServer,
    route: Route,
    rest: &str,
    request: &Request<Incoming>,
) -> Option<Response<Body>> {
    match route {
        Route::KvGet | Route::KvRaw | Route::KvExists | Route::KvTtl | Route::KvScan | Route::KvStats => {}
        _ => return None,
    }
    let query = match ReadQuery::parse(request.uri().query(), route == Route::KvScan) {
        Ok(query) => query,
        Err(problem) => return Some(finish(front, Err(problem))),
    };
    let view_now = front.handle.look();
    let PublishedView::Whole(view) = &**view_now else { return None };
    if !query.demands_nothing() || view.is_blank() {
        match view.admits(&query.demand, front.handle.now()) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(refusal) => return Some(problem(front, view, refusal.into())),
        }
    }
    // One that there is no room for waits, as one whose state is not there yet.
    hold(front, answer(front, route, rest, &query, request.headers(), view), None).ok()
}

/// Answers a read that [`at_once`] put off.
pub(crate) async fn when_admitted(front: &HttpServer, route: Route, head: &request::Parts) -> Response<Body> {
    let (_, rest) = route::find(head.uri.path());
    let read = async {
        let query = ReadQuery::parse(head.uri.query(), route == Route::KvScan)?;
        let mut room = None;
        loop {
            let view = admitted(front, &query).await?;
            match hold(front, answer(front, route, rest, &query, &head.headers, &view), room.take()) {
                Ok(response) => return Ok(response),
                // Nothing is kept while it waits: neither the answer nor the state that it came from.
                Err(bytes) => {
                    drop(view);
                    room = Some(front.answers.enter(bytes, query.timeout).await?);
                }
            }
        }
    };
    read.await.unwrap_or_else(|refused| problem(front, &front.handle.glance(), refused))
}

/// `POST /kv/mget`.
pub(crate) async fn mget(front: &HttpServer, head: &request::Parts, body: Incoming) -> Response<Body> {
    let read = async {
        let query = ReadQuery::parse(head.uri.query(), false)?;
        let bytes_max = super::writes::body_bytes_max(front);
        let (body, _room) = super::body::read_within(&front.inflight, body, bytes_max, query.timeout).await?;
        let keys: Mget<'_> = super::body::parse(&body)?;
        if keys.keys.len() > MGET_KEYS_MAX {
            return Err(Problem::too_many("keys", keys.keys.len(), MGET_KEYS_MAX));
        }
        for key in &keys.keys {
            check_key(key.as_bytes(), KEY_BYTES_MAX)?;
        }
        let mut room = None;
        loop {
            let view = admitted(front, &query).await?;
            let at = view.log_time(front.handle.now(), query.demand.linearizable);
            let found = Answer::json(values(front, &keys, &view, at)?).stamped(stamp(front, &view));
            match hold(front, finish(front, Ok(found)), room.take()) {
                Ok(response) => return Ok(response),
                Err(bytes) => {
                    drop(view);
                    room = Some(front.answers.enter(bytes, query.timeout).await?);
                }
            }
        }
    };
    read.await.unwrap_or_else(|refused| problem(front, &front.handle.glance(), refused))
}

/// The body of an `mget`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mget<'a> {
    #[serde(borrow)]
    keys: Vec<std::borrow::Cow<'a, str>>,
}

/// A view that admits the read.
async fn admitted(front: &HttpServer, query: &ReadQuery) -> Result<Arc<View>, Problem> {
    match &**front.handle.look() {
        PublishedView::Whole(view) if view.admits(&query.demand, front.handle.now())? => {
            return Ok(Arc::clone(view));
        }
        PublishedView::Whole(_) | PublishedView::Outline(_) => {}
    }
    match front.handle.ask(Ask::Read { demand: query.demand, timeout: query.timeout }).await? {
        Reply::Read(view) => Ok(view),
        other => Err(Problem::mismatched(&other)),
    }
}

fn answer(
    front: &HttpServer,
    route: Route,
    rest: &str,
    query: &ReadQuery,
    headers: &HeaderMap,
    view: &View,
) -> Response<Body> {
    let at = view.log_time(front.handle.now(), query.demand.linearizable);
    let answered = match route {
        Route::KvGet => get(front, rest, wants_octets(headers), headers, view, at),
        Route::KvRaw => get(front, rest, true, headers, view, at),
        Route::KvExists => exists(front, rest, view, at),
        Route::KvTtl => ttl(front, rest, view, at),
        Route::KvScan => Ok(scan(query, view, at)),
        Route::KvStats => Ok(stats(front, view)),
        _ => Err(Problem::new(Code::Internal, "this route reads nothing")),
    };
    match answered {
        Ok(found) => finish(front, Ok(found.stamped(stamp(front, view)))),
        Err(refused) => problem(front, view, refused),
    }
}

/// A refused read, stamped with the state that refused it.
fn problem(front: &HttpServer, view: &Outline, problem: Problem) -> Response<Body> {
    problem.into_response(stamp(front, view))
}

fn stamp(front: &HttpServer, view: &Outline) -> Stamp {
    match view.role {
        Role::Replica => Stamp::read(view, view.staleness(front.handle.now())),
        Role::Master | Role::Standalone => Stamp::read(view, None),
    }
}

fn get(
    front: &HttpServer,
    rest: &str,
    octets: bool,
    headers: &HeaderMap,
    view: &View,
    at: WallMs,
) -> Result<Answer, Problem> {
    let item = find(front, KvOperation::Get, rest, view, at)?.ok_or_else(Problem::no_key)?;
    let version = item.version();
    match precondition::of_read(headers, version)? {
        precondition::Verdict::Whole => {}
        precondition::Verdict::NotModified => {
            let unchanged = Answer::new(Content::Octets, Body::Whole(Bytes::new()));
            return Ok(unchanged.status(StatusCode::NOT_MODIFIED).versioned(version));
        }
        precondition::Verdict::Failed => return Err(precondition::failed(version)),
    }
    let (content, body) = match item.kind() {
        _ if octets => (Content::Octets, share(item)),
        ValueKind::Json => (Content::Json, share(item)),
        ValueKind::Bytes => match std::str::from_utf8(item.value()) {
            Ok(text) => {
                let mut out = Vec::with_capacity(text.len() + 2);
                push_str(&mut out, text);
                (Content::Json, Bytes::from(out))
            }
            Err(_) => (Content::Octets, share(item)),
        },
    };
    Ok(Answer::new(content, Body::Whole(body)).versioned(version))
}

fn exists(front: &HttpServer, rest: &str, view: &View, at: WallMs) -> Result<Answer, Problem> {
    let found = find(front, KvOperation::Exists, rest, view, at)?.is_some();
    Ok(Answer::json(if found { &b"{\"exists\":true}\n"[..] } else { &b"{\"exists\":false}\n"[..] }))
}

fn ttl(front: &HttpServer, rest: &str, view: &View, at: WallMs) -> Result<Answer, Problem> {
    let left = match find(front, KvOperation::Ttl, rest, view, at)? {
        None => -2,
        Some(item) => item.expires_at().map_or(-1, |expires_at| whole_secs_until(expires_at, at)),
    };
    Ok(Answer::json(format!("{{\"ttl\":{left}}}\n")))
}

fn scan(query: &ReadQuery, view: &View, at: WallMs) -> Answer {
    let scan = &query.scan;
    let mut found = view.store.scan_at(&scan.prefix, scan.after.as_deref(), at);
    let mut out = b"{\"keys\":[".to_vec();
    let mut last = None;
    for (nth, item) in found.by_ref().take(scan.limit).enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        push_key(&mut out, item.key());
        last = Some(item);
    }
    out.extend_from_slice(b"],\"next\":");
    match (found.next(), last) {
        (Some(_), Some(last)) => push_key(&mut out, last.key()),
        (None, _) | (_, None) => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}\n");
    Answer::json(out)
}

fn stats(front: &HttpServer, view: &View) -> Answer {
    let kv = &front.metrics.kv;
    let (hits, misses) = (kv.count(KvOperation::Get, KvResult::Hit), kv.count(KvOperation::Get, KvResult::Miss));
    let (sets, dels) = (kv.count(KvOperation::Set, KvResult::Done), kv.count(KvOperation::Delete, KvResult::Done));
    let gets = hits + misses;
    let hit_rate = if gets == 0 { 0.0 } else { hits as f64 / gets as f64 };
    let mut out = b"{\"total_keys\":".to_vec();
    push_u64(&mut out, view.store.keys());
    out.extend_from_slice(b",\"total_memory_bytes\":");
    push_u64(&mut out, view.store.memory_bytes());
    push_fmt(
        &mut out,
        format_args!(
            ",\"operations\":{{\"gets\":{gets},\"sets\":{sets},\"dels\":{dels},\"hits\":{hits},\
             \"misses\":{misses}}},\"hit_rate\":{hit_rate}}}\n"
        ),
    );
    Answer::json(out)
}

fn values(front: &HttpServer, wanted: &Mget<'_>, view: &View, at: WallMs) -> Result<Vec<u8>, Problem> {
    let mut out = b"{\"values\":[".to_vec();
    for (nth, key) in wanted.keys.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        match look(front, KvOperation::Get, key.as_bytes(), view, at) {
            Some(item) => push_value(&mut out, &item),
            None => out.extend_from_slice(b"null"),
        }
        if out.len() > MGET_BYTES_MAX {
            return Err(Problem::too_large("answer", out.len() as u64, MGET_BYTES_MAX as u64));
        }
    }
    out.extend_from_slice(b"]}\n");
    Ok(out)
}

/// The item at the key that a path names.
fn find(
    front: &HttpServer,
    operation: KvOperation,
    rest: &str,
    view: &View,
    at: WallMs,
) -> Result<Option<Item>, Problem> {
    let key = path_key(rest, KEY_BYTES_MAX)?;
    Ok(look(front, operation, &key, view, at))
}

fn look(front: &HttpServer, operation: KvOperation, key: &[u8], view: &View, at: WallMs) -> Option<Item> {
    let item = view.store.get_at(key, at);
    front.metrics.kv.add(operation, if item.is_some() { KvResult::Hit } else { KvResult::Miss }, 1);
    item
}

fn wants_octets(headers: &HeaderMap) -> bool {
    let octets = b"application/octet-stream";
    headers.get(header::ACCEPT).is_some_and(|accept| {
        accept.as_bytes().windows(octets.len()).any(|part| part.eq_ignore_ascii_case(octets))
    })
}

/// Whole seconds until `at`, rounded up; 0 if it is past.
fn whole_secs_until(at: WallMs, now: WallMs) -> i64 {
    let left = Duration::from_millis(at.0.saturating_sub(now.0));
    i64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// The value's bytes, which keep the item alive if they are long.
fn share(item: Item) -> Bytes {
    struct Shared(Item);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.value()
        }
    }
    if item.value().len() < SHARED_BYTES_MIN {
        Bytes::copy_from_slice(item.value())
    } else {
        Bytes::from_owner(Shared(item))
    }
}
