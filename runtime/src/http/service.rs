//! One request: finds its route, has it answered, stamps the answer and counts it. Reads that the current view
//! admits are answered on the spot, without a task switch or an allocation for a future.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use tokio::time::Instant;

use super::answer::{Answer, Body, Stamp};
use super::connections::Mark;
use super::problem::{Code, Problem};
use super::route::{self, Route, Verb};
use super::{BoxFuture, HttpServer, failover, headers, index, operator, probes, reads, writes};

/// What one connection's requests are put to.
pub(crate) struct Service {
    front: Arc<HttpServer>,
    mark: Arc<Mark>,
}

/// A response, now or later.
pub(crate) enum Served {
    Now(Option<Response<Body>>),
    Later(BoxFuture<Response<Body>>),
}

impl Service {
    pub(crate) fn new(front: Arc<HttpServer>, mark: Arc<Mark>) -> Self {
        Self { front, mark }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Served;

    fn call(&self, request: Request<Incoming>) -> Served {
        let started = Instant::now();
        self.mark.serving();
        let (route, rest) = route::find(request.uri().path());
        let verb = route.verb(request.method());
        let at_once = match verb.map(|verb| vet(route, verb, &request)) {
            Some(Err(problem)) => Some(finish(&self.front, Err(problem))),
            Some(Ok(())) if verb == Some(Verb::Read) => reads::at_once(&self.front, route, rest, &request),
            Some(Ok(())) | None => None,
        };
        if let Some(response) = at_once {
            self.front.metrics.http.answered(route.slot(), response.status(), started);
            self.mark.idle();
            return Served::Now(Some(response));
        }
        let (front, mark) = (Arc::clone(&self.front), Arc::clone(&self.mark));
        Served::Later(Box::pin(async move {
            let response = respond(&front, route, verb, request).await;
            front.metrics.http.answered(route.slot(), response.status(), started);
            mark.idle();
            response
        }))
    }
}

impl Future for Served {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Refuses what would be passed over otherwise: headers, and a body where none is read.
fn vet(route: Route, verb: Verb, request: &Request<Incoming>) -> Result<(), Problem> {
    if route == Route::Unknown {
        return Ok(());
    }
    headers::vet(route, verb, request.headers())?;
    let with_body = verb == Verb::Act || route == Route::KvMget;
    if with_body || request.body().is_end_stream() {
        Ok(())
    } else {
        Err(Problem::bad("this route takes no body: what it does is said by path and query"))
    }
}

async fn respond(
    front: &Arc<HttpServer>,
    route: Route,
    verb: Option<Verb>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(verb) = verb else {
        let detail = format!("{} is not allowed here; allowed: {}", head.method, route.allow());
        return finish(front, Err(Problem::new(Code::MethodNotAllowed, detail).allow(route.allow())));
    };
    match route {
        Route::KvGet | Route::KvExists | Route::KvTtl | Route::KvScan | Route::KvStats => {
            reads::when_admitted(front, route, &head).await
        }
        Route::KvRaw => match verb {
            Verb::Read => reads::when_admitted(front, route, &head).await,
            Verb::Act => writes::respond(front, route, &head, body).await,
        },
        Route::KvMget => reads::mget(front, &head, body).await,
        Route::KvSet
        | Route::KvDel
        | Route::KvMset
        | Route::KvIncr
        | Route::KvDecr
        | Route::KvExpire
        | Route::KvPersist => writes::respond(front, route, &head, body).await,
        Route::Status => finish(front, operator::status(front, &head).await),
        Route::Promote => finish(front, operator::promote(front, &head, body).await),
        Route::Switchover => finish(front, failover::switchover(front, &head, body).await),
        Route::Members => match verb {
            Verb::Read => finish(front, failover::members(front, &head).await),
            Verb::Act => finish(front, failover::change_members(front, &head, body).await),
        },
        Route::Pause => finish(front, failover::pause(front, &head, body).await),
        Route::Resume => finish(front, failover::resume(front, &head, body).await),
        Route::Outcome => finish(front, operator::outcome(front, &head).await),
        Route::Rollbacks => finish(front, operator::rollbacks(front, &head).await),
        Route::Rollback => finish(front, operator::rollback(front, &head).await),
        Route::Snapshot => finish(front, operator::snapshot(front, &head, body).await),
        Route::Metrics => finish(front, operator::metrics(front, &head).await),
        Route::Index => finish(front, index::index(front, &head)),
        Route::OpenApi => finish(front, index::openapi(&head)),
        Route::Livez => finish(front, probes::livez(&head)),
        Route::Readyz => finish(front, probes::readyz(front, &head).await),
        Route::Startupz => finish(front, probes::startupz(front, &head).await),
        Route::Health => finish(front, probes::health(front, &head).await),
        Route::Unknown => {
            finish(front, Err(Problem::new(Code::NotFound, "there is no such route; GET / lists them")))
        }
    }
}

/// The response, stamped with the newest state where the handler named none.
pub(crate) fn finish(front: &HttpServer, answered: Result<Answer, Problem>) -> Response<Body> {
    let current = || Stamp::read(&front.handle.glance(), None);
    match answered {
        Ok(answer) => answer.into_response(current),
        Err(problem) => problem.into_response(current()),
    }
}
