//! Looks at the servers from outside, as any client would, and tells what changed.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::plan::Planned;
use crate::cli::client::{Asked, Client};
use crate::cli::cluster::{number, status_of, text};
use crate::cli::exit::Failed;

/// A server that takes longer counts as silent; the next look comes soon.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// What was last seen of each server.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    url: String,
    last: Sight,
}

/// What a server shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    Nothing,
    Shown { role: String, state: String, epoch: u64 },
}

impl Watch {
    /// Nothing was seen of anybody yet.
    pub(super) fn new(nodes: &[Planned]) -> Self {
        let watched =
            nodes.iter().map(|node| Watched { name: node.name.clone(), url: node.url(), last: Sight::Nothing });
        Self { began: Instant::now(), watched: watched.collect() }
    }

    /// Whether every server says that it is fit for reads.
    pub(super) async fn all_ready(&self) -> bool {
        for watched in &self.watched {
            if !is_ready(&watched.url).await.unwrap_or(false) {
                return false;
            }
        }
        true
    }

    /// The role that each server shows now, in order.
    pub(super) async fn roles(&self) -> Vec<Option<String>> {
        let mut roles = Vec::new();
        for watched in &self.watched {
            roles.push(match sight(&watched.url).await {
                Sight::Shown { role, .. } => Some(role),
                Sight::Nothing => None,
            });
        }
        roles
    }

    /// A line for each server that shows itself otherwise than before.
    pub(super) async fn changes(&mut self) -> Vec<String> {
        let mut changes = Vec::new();
        for watched in &mut self.watched {
            let now = sight(&watched.url).await;
            if now != watched.last {
                let elapsed = self.began.elapsed();
                changes.push(format!(
                    "  +{:>4}.{}s  {}  {}",
                    elapsed.as_secs(),
                    elapsed.subsec_millis() / 100,
                    watched.name,
                    told(&watched.last, &now)
                ));
                watched.last = now;
            }
        }
        changes
    }
}

async fn is_ready(url: &str) -> Result<bool, Failed> {
    let client = Client::new(url)?;
    let answer = timeout(LOOK_TIMEOUT, client.send(&Asked::get("/readyz"))).await;
    Ok(answer.map_err(Failed::running)??.status.is_success())
}

async fn sight(url: &str) -> Sight {
    let Ok(client) = Client::new(url) else { return Sight::Nothing };
    match timeout(LOOK_TIMEOUT, status_of(&client)).await {
        Ok(Ok(status)) => shown(&status),
        Ok(Err(_)) | Err(_) => Sight::Nothing,
    }
}

fn shown(status: &Value) -> Sight {
    Sight::Shown {
        role: text(status, "/role").unwrap_or("unknown").to_owned(),
        state: text(status, "/state").unwrap_or("unknown").to_owned(),
        epoch: number(status, "/epoch").unwrap_or_default(),
    }
}

fn told(before: &Sight, now: &Sight) -> String {
    match (before, now) {
        (_, Sight::Nothing) => "no answer".to_owned(),
        (Sight::Shown { role: was, state: _, epoch: _ }, Sight::Shown { role, state, epoch }) if was != role => {
            format!("{was} -> {role} ({state}), epoch {epoch}")
        }
        (Sight::Shown { .. } | Sight::Nothing, Sight::Shown { role, state, epoch }) => {
            format!("{role} ({state}), epoch {epoch}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(role: &str, state: &str, epoch: u64) -> Sight {
        Sight::Shown { role: role.into(), state: state.into(), epoch }
    }

    #[test]
    fn changes_of_role_are_told_as_such() {
        let replica = shown("replica", "streaming", 1);
        assert_eq!(told(&Sight::Nothing, &replica), "replica (streaming), epoch 1");
        assert_eq!(told(&replica, &shown("master", "serving", 2)), "replica -> master (serving), epoch 2");
        assert_eq!(told(&replica, &shown("replica", "master_down", 1)), "replica (master_down), epoch 1");
        assert_eq!(told(&replica, &Sight::Nothing), "no answer");
    }
}
