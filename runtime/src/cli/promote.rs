//! `synap promote`: makes a replica the master, once the operator has seen what that means.

use clap::Args;
use serde_json::{Map, Value, json};
use synap_core::position::Named;

use super::client::{Asked, ONE_SERVER, Target};
use super::cluster::{last_position, number, status_of, text};
use super::confirm::confirm;
use super::exit::{Exit, Outcome};
use super::out;

/// Which node is promoted, and how.
#[derive(Args, Debug)]
#[command(mut_arg("urls", |arg| arg.help(ONE_SERVER)))]
pub(super) struct Promote {
    /// Even if a better candidate is known or a master is in sight
    #[arg(long, requires = "accept_data_loss")]
    force: bool,
    /// Writes that this node lacks may be lost, and that is accepted
    #[arg(long)]
    accept_data_loss: bool,
    /// Only if the node's last position is this
    #[arg(long, value_name = "EPOCH:INDEX-LEADER", value_parser = a_position)]
    expect_last: Option<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// Promotes the node at the URL.
pub(super) async fn run(asked: Promote) -> Outcome {
    let client = asked.target.one()?;
    let status = status_of(&client).await?;
    if !asked.yes && !is_refused(&status, &asked) {
        confirm(&consequences(&status, &asked), "Promote it?")?;
    }
    let promoted = client.json(&Asked::post("/replication/promote", &body(&asked))).await?;
    out::line(report(&status, &promoted))?;
    Ok(Exit::Good)
}

/// Whether the server is sure to refuse, so that there is nothing to confirm: a plain promotion of a node that follows a master, or that
/// belongs to no cluster.
fn is_refused(status: &Value, asked: &Promote) -> bool {
    let follows = text(status, "/link/state") == Some("connected");
    text(status, "/cluster_id").is_none() || follows && !asked.force
}

fn body(asked: &Promote) -> Value {
    let mut body = Map::new();
    if asked.force {
        body.insert("force".to_owned(), json!(true));
    }
    if asked.accept_data_loss {
        body.insert("accept_data_loss".to_owned(), json!(true));
    }
    if let Some(position) = &asked.expect_last {
        body.insert("expect_last".to_owned(), json!(position));
    }
    Value::Object(body)
}

fn consequences(status: &Value, asked: &Promote) -> String {
    let name = text(status, "/node_name").unwrap_or("this node");
    let role = text(status, "/role").unwrap_or("node");
    let last = last_position(status).unwrap_or_else(|| "an unknown position".to_owned());
    let behind = match number(status, "/lag_operations") {
        Some(0) => "it has applied everything that it has heard of".to_owned(),
        Some(1) => "it is 1 operation behind what it has heard of".to_owned(),
        Some(operations) => format!("it is {operations} operations behind what it has heard of"),
        None => "how far it is behind is not known".to_owned(),
    };
    let force = match asked.force {
        true => {
            "\n  By force: even if another node holds more, or the master is alive. Writes that were answered may\n  be lost; a master that is alive goes on until it hears of the new epoch. Automatic failover is disarmed\n  until three members are connected and caught up again."
        }
        false => "",
    };
    format!(
        "{name} ({role}, last position {last}) becomes the master and opens a new epoch.\n  \
         Of its log: {behind}.\n  \
         Whatever the old master took and this node lacks is discarded when that one comes back; it is first\n  \
         written to a rollback file there (`synap rollback`).{force}"
    )
}

fn report(status: &Value, promoted: &Value) -> String {
    let name = text(status, "/node_name").unwrap_or("this node");
    let mut report = format!("{name} is the master");
    if let Some(position) = text(promoted, "/position") {
        report += &format!("; its epoch begins at {position}");
    }
    if let (Some(from), Some(upto)) =
        (number(promoted, "/possible_loss/from"), number(promoted, "/possible_loss/upto"))
    {
        report += &format!("\nthe old master may have answered what is not here: indices {from} to {upto}");
    }
    let unreached = promoted.pointer("/unreached").and_then(Value::as_array).into_iter().flatten();
    let unreached: Vec<&str> = unreached.filter_map(Value::as_str).collect();
    if !unreached.is_empty() {
        report += &format!(
            "\nnot reached: {}; what only they hold cannot be known here. If they are gone for good: `synap members remove NAME`",
            unreached.join(", ")
        );
    }
    report
}

fn a_position(text: &str) -> Result<String, String> {
    match Named::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("EPOCH:INDEX-LEADER or EPOCH:INDEX is wanted, such as 3:1170-149406d8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Promote {
        Promote {
            force: false,
            accept_data_loss: false,
            expect_last: None,
            yes: true,
            target: Target { urls: vec!["a".into()] },
        }
    }

    #[test]
    fn the_consequences_are_named() {
        let status = json!({ "node_name": "n2", "role": "replica", "positions": { "epoch": 1, "last": 9 }, "lag_operations": 3 });
        let said = consequences(&status, &asked());
        assert!(said.starts_with("n2 (replica, last position 1:9) becomes the master"), "{said}");
        assert!(said.contains("3 operations behind") && said.contains("rollback file"), "{said}");
        let forced = consequences(&status, &Promote { force: true, accept_data_loss: true, ..asked() });
        assert!(forced.contains("Writes that were answered may"), "{forced}");
    }

    #[test]
    fn what_is_sure_to_be_refused_is_not_confirmed_first() {
        let follows = json!({ "cluster_id": "c", "link": { "state": "connected" } });
        let forced = Promote { force: true, ..asked() };
        assert!(is_refused(&follows, &asked()) && !is_refused(&follows, &forced));
        assert!(is_refused(&json!({ "cluster_id": null }), &forced));
        assert!(!is_refused(&json!({ "cluster_id": "c", "link": { "state": "disconnected" } }), &asked()));
    }

    #[test]
    fn the_request_says_only_what_was_asked() {
        assert_eq!(body(&asked()), json!({}));
        let all = Promote { force: true, accept_data_loss: true, expect_last: Some("3:7".into()), ..asked() };
        assert_eq!(body(&all), json!({ "force": true, "accept_data_loss": true, "expect_last": "3:7" }));
        assert!(a_position("3").is_err() && a_position("a:b").is_err() && a_position("3:7").is_ok());
    }
}
