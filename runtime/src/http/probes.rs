//! Probes, for orchestrators and load balancers: 200 is yes, 503 is no, and the body says why in few words.

use hyper::StatusCode;
use hyper::http::request;
use serde_json::json;
use synap_core::status::{Alarm, Role, State, Status};

use super::answer::Answer;
use super::operator::{ask_status, json_answer, no_query};
use super::problem::Problem;
use super::query::{pairs, unknown};
use super::{HttpServer, VERSION};

/// `GET /livez`: whoever can answer is alive. Does not ask the node, so that a loaded one is not killed.
pub(crate) fn livez(head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    Ok(json_answer(&json!({"status": "alive"})))
}

/// `GET /readyz`, `?role=master`: fit for reads, or for writes.
pub(crate) async fn readyz(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    let mut wants = None;
    for (name, value) in pairs(head.uri.query())? {
        match (&*name, &*value) {
            (b"role", b"master") => wants = Some(Role::Master),
            (b"role", b"replica") => wants = Some(Role::Replica),
            (b"role", _) => return Err(Problem::bad("query parameter `role` expects master or replica")),
            _ => return Err(unknown(&name)),
        }
    }
    Ok(match ask_status(front).await {
        Ok(status) => probe("ready", readiness(&status, wants)),
        Err(_) => probe("ready", Err("the node does not answer")),
    })
}

/// `GET /startupz`: recovered, and its first role taken up.
pub(crate) async fn startupz(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    Ok(match ask_status(front).await {
        Ok(status) if status.started => probe("started", Ok(())),
        Ok(_) => probe("started", Err("still starting")),
        Err(_) => probe("started", Err("the node does not answer")),
    })
}

/// `GET /health`: a summary.
pub(crate) async fn health(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let (role, ready) = match ask_status(front).await {
        Ok(status) => (status.role, readiness(&status, None)),
        Err(_) => (front.handle.glance().role, Err("the node does not answer")),
    };
    let word = if ready.is_ok() { "ok" } else { "unavailable" };
    let mut summary = json!({"status": word, "service": "synap", "version": VERSION, "role": role.as_str()});
    if let (Err(why), Some(summary)) = (ready, summary.as_object_mut()) {
        summary.insert("why".to_owned(), why.into());
    }
    Ok(json_answer(&summary).status(code(ready)))
}

fn readiness(status: &Status, wants: Option<Role>) -> Result<(), &'static str> {
    let because = |consequence| Err(cause(&status.alarms).unwrap_or(consequence));
    match (wants, status.role, status.state) {
        (_, _, State::ShuttingDown) => Err("shutting down"),
        _ if status.alarms.contains(&Alarm::CopiedDirectory) => Err(COPIED),
        (Some(Role::Master), Role::Replica, _) => Err("not the master"),
        (Some(Role::Replica), Role::Master | Role::Standalone, _) => Err("not a replica"),
        // A full disk keeps a master from writes, not from reads.
        (Some(Role::Master), _, state) if state != State::Serving => {
            because("the master does not take writes now")
        }
        _ if status.ready => Ok(()),
        (_, _, State::Connecting) => because("no master has been found yet: see the log"),
        _ => because("not caught up with the master, or lagging more than max_lag_ms"),
    }
}

const COPIED: &str = "another process runs under this node's id: this data directory was copied";

/// What keeps a node from its work, where an alarm says it: that it finds no master, or lags, only follows from that.
fn cause(alarms: &[Alarm]) -> Option<&'static str> {
    let causes = [
        (Alarm::CopiedDirectory, COPIED),
        (Alarm::DiskHangs, "nothing reaches the disk: it hangs, or its files were removed; see the log"),
        (Alarm::DiskFull, "the disk is full"),
        (Alarm::NoQuorum, "no majority of voters answers this master"),
        (
            Alarm::LinesAtOdds,
            "another node went on apart, and neither log may take the other's place; see the log",
        ),
        (Alarm::MasterBehind, "the master's log lacks what this node knows to be committed; see the log"),
    ];
    causes.into_iter().find_map(|(alarm, words)| alarms.contains(&alarm).then_some(words))
}

fn probe(word: &str, answer: Result<(), &'static str>) -> Answer {
    let body = match answer {
        Ok(()) => json!({ "status": word }),
        Err(why) => json!({"status": format!("not {word}"), "why": why}),
    };
    json_answer(&body).status(code(answer))
}

const fn code(answer: Result<(), &'static str>) -> StatusCode {
    match answer {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
