//! Requests, by route. Every handle is looked up once: counting a request costs a few atomic additions.

use std::sync::OnceLock;

use hyper::StatusCode;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::time::Instant;

use super::{SECONDS, register};

/// Requests and how long they took, by route.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    /// Bytes of requests in flight.
    pub(crate) inflight_bytes: IntGauge,
    /// Bytes of answers that their clients have not taken.
    pub(crate) answer_bytes: IntGauge,
    requests: IntCounterVec,
    routes: Vec<RouteMetrics>,
}

#[derive(Debug)]
struct RouteMetrics {
    template: &'static str,
    durations: HistogramVec,
    duration: OnceLock<Histogram>,
    /// By [`slot`].
    answered: [OnceLock<IntCounter>; SLOTS],
}

/// One for each status that is answered, and one for all others.
const SLOTS: usize = 20;

impl HttpMetrics {
    /// Counters for these routes.
    pub(crate) fn new(registry: &Registry, templates: &[&'static str]) -> Self {
        let requests = register(
            registry,
            IntCounterVec::new(Opts::new("synap_http_requests_total", "Requests answered"), &["route", "status"]),
        );
        let options =
            HistogramOpts::new("synap_http_request_duration_seconds", "From a request's head to its answer")
                .buckets(SECONDS.to_vec());
        let durations: HistogramVec = register(registry, HistogramVec::new(options, &["route"]));
        let route = |&template| RouteMetrics {
            template,
            durations: durations.clone(),
            duration: OnceLock::new(),
            answered: Default::default(),
        };
        let inflight_bytes = register(
            registry,
            IntGauge::new("synap_http_inflight_bytes", "Bytes of requests that are read or wait for an answer"),
        );
        let answer_bytes = register(
            registry,
            IntGauge::new("synap_http_answer_bytes", "Bytes of answers that clients have not taken yet"),
        );
        Self { inflight_bytes, answer_bytes, requests, routes: templates.iter().map(route).collect() }
    }

    /// A request on the route at `slot` of the templates, taken up at `started`, is answered with `status`.
    pub(crate) fn answered(&self, route: usize, status: StatusCode, started: Instant) {
        let Some(route) = self.routes.get(route) else { return };
        let answered = route.answered[slot(status)].get_or_init(|| {
            let status = if slot(status) == SLOTS - 1 { "other" } else { status.as_str() };
            self.requests.with_label_values(&[route.template, status])
        });
        answered.inc();
        let duration = route.duration.get_or_init(|| route.durations.with_label_values(&[route.template]));
        duration.observe(started.elapsed().as_secs_f64());
    }
}

const fn slot(status: StatusCode) -> usize {
    match status.as_u16() {
        200 => 0,
        204 => 1,
        304 => 2,
        307 => 3,
        400 => 4,
        404 => 5,
        405 => 6,
        408 => 7,
        409 => 8,
        413 => 9,
        421 => 10,
        422 => 11,
        429 => 12,
        500 => 13,
        502 => 14,
        503 => 15,
        504 => 16,
        507 => 17,
        501 => 18,
        _ => SLOTS - 1,
    }
}
