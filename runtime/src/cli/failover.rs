//! `synap switchover`, `synap pause` and `synap resume`: what an operator does to a cluster that replaces its master by
//! itself.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Asked, Client, Target};
use super::cluster::{number, status_of, text};
use super::confirm::confirm;
use super::exit::{Exit, Outcome};
use super::out;

/// To whom, and how long it may take.
#[derive(Args, Debug)]
pub(super) struct Switchover {
    /// The new master, by node id or name; by default whoever holds most
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// How long new writes may wait before it is given up
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// For how long.
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// Resume automatically after this many seconds
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl_secs: u64,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// Which cluster.
#[derive(Args, Debug)]
pub(super) struct Resume {
    #[command(flatten)]
    target: Target,
}

/// Hands the mastership over.
pub(super) async fn switchover(asked: Switchover) -> Outcome {
    let client = asked.target.any().await?;
    if !asked.yes {
        let status = status_of(&client).await?;
        confirm(&switchover_consequences(&status, &asked), "Switch over?")?;
    }
    let mut body = json!({ "timeout_ms": asked.timeout_ms });
    if let Some(to) = &asked.to {
        body["to"] = json!(to);
    }
    let asked_for = Asked::post("/replication/switchover", &body).taking(Duration::from_millis(asked.timeout_ms));
    let done = client.json(&asked_for).await?;
    let leader = text(&done, "/leader/http").unwrap_or("another node");
    let epoch = number(&done, "/epoch").unwrap_or_default();
    out::line(format!("the master is at {leader} now, in epoch {epoch}; nothing was lost"))?;
    Ok(Exit::Good)
}

/// Keeps replicas from campaigning by themselves.
pub(super) async fn pause(asked: Pause) -> Outcome {
    let client = asked.target.any().await?;
    if !asked.yes {
        confirm(&pause_consequences(asked.ttl_secs), "Pause?")?;
    }
    client.json(&Asked::post("/replication/pause", &json!({ "ttl_secs": asked.ttl_secs }))).await?;
    out::remark(format!("elections are paused for {} s; `synap resume` ends that", asked.ttl_secs))?;
    tell_who_elects(&client).await
}

/// Ends a pause.
pub(super) async fn resume(asked: Resume) -> Outcome {
    let client = asked.target.any().await?;
    client.json(&Asked::post("/replication/resume", &json!({}))).await?;
    out::remark("no pause holds: replicas campaign by themselves")?;
    tell_who_elects(&client).await
}

/// A pause, or its end, changes nothing yet where nobody elects.
async fn tell_who_elects(client: &Client) -> Outcome {
    if let Some(nobody) = nobody_elects(&status_of(client).await?) {
        out::remark(nobody)?;
    }
    Ok(Exit::Good)
}

fn nobody_elects(status: &Value) -> Option<String> {
    if status.pointer("/failover/armed") != Some(&Value::Bool(false)) {
        return None;
    }
    let reason = text(status, "/failover/reason").unwrap_or("automatic failover is not armed");
    Some(format!("as it is, nobody is elected in any case: {reason}"))
}

fn switchover_consequences(status: &Value, asked: &Switchover) -> String {
    let from = text(status, "/leader/http").unwrap_or("the master");
    let to = asked.to.as_deref().unwrap_or("whichever voter holds most of its log");
    format!(
        "{from} hands the mastership over to {to} and becomes a replica.\n  \
         New writes wait meanwhile, for at most {} ms; then they go to the new master (307).\n  \
         Nothing is lost at any concern. If the successor does not take over in time, all stays as it is.",
        asked.timeout_ms
    )
}

fn pause_consequences(ttl_secs: u64) -> String {
    format!(
        "For {ttl_secs} s no replica campaigns by itself: if the master dies meanwhile, nobody replaces it, and writes\n  \
         fail until the pause ends or an operator promotes a replica."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consequences_are_named() {
        let asked = Switchover {
            to: Some("n2".into()),
            timeout_ms: 900,
            yes: false,
            target: Target { urls: vec!["a".into()] },
        };
        let said = switchover_consequences(&json!({ "leader": { "http": "n1:15500" } }), &asked);
        assert!(said.starts_with("n1:15500 hands the mastership over to n2"), "{said}");
        assert!(said.contains("at most 900 ms") && said.contains("Nothing is lost"), "{said}");
        let nobody =
            nobody_elects(&json!({ "failover": { "armed": false, "reason": "failover.mode is manual" } }));
        assert_eq!(nobody.as_deref(), Some("as it is, nobody is elected in any case: failover.mode is manual"));
        assert_eq!(nobody_elects(&json!({ "failover": { "armed": true, "reason": "armed" } })), None);
        let said = pause_consequences(60);
        assert!(said.starts_with("For 60 s") && said.contains("nobody replaces it"), "{said}");
    }
}
