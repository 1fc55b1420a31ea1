//! No master answers: what an operator can do about it, from what the nodes that answer say.

use serde_json::Value;

use super::client::Client;
use super::cluster::{Seen, number, text};

/// The next step, in words.
pub(super) fn way_out(seen: &[Seen]) -> String {
    let Some((best, client)) = best(seen) else { return "no node answers with a state".to_owned() };
    if answers(seen).all(|(_, status, _)| text(status, "/cluster_id").is_none()) {
        return "it belongs to no cluster yet: nobody has answered at its replication.master_address; its log says why"
            .to_owned();
    }
    let Some(armed) = answers(seen).find(|(_, status, _)| is_true(status, "/failover/armed")) else {
        return format!(
            "no master answers, and nobody is elected by itself: stop the old one if it may be alive, then \
             `synap promote --url {client}` makes one of {best}"
        );
    };
    let (_, status, _) = armed;
    let voters: Vec<&Value> = members(status).filter(|member| is_true(member, "/voter")).collect();
    let there = voters.iter().filter(|voter| has_answered(seen, voter)).count();
    let needed = voters.len() / 2 + 1;
    if there < needed {
        let gone: Vec<&str> = voters
            .iter()
            .filter(|voter| !has_answered(seen, voter))
            .filter_map(|voter| text(voter, "/node_name"))
            .collect();
        return format!(
            "no master: {there} of {} voters answered, {needed} are needed to elect one. Start {} with their data.\n\
             Only if too many of their disks are gone for good, with the loss of what {best} lacks: \
             `synap promote --force --accept-data-loss --url {client}`",
            voters.len(),
            gone.join(" or "),
        );
    }
    match number(status, "/failover/paused_ms") {
        Some(ms) => format!(
            "no master, and elections are paused for another {} s: `synap promote --url {client}` has the voters elect \
             {best} now",
            ms.div_ceil(1000)
        ),
        None => {
            "no master yet: the voters elect one within a few election timeouts, or say above why not".to_owned()
        }
    }
}

fn answers(seen: &[Seen]) -> impl Iterator<Item = (String, &Value, &Client)> {
    seen.iter().filter_map(|node| match node {
        Seen::Answered { client, status, ready: _ } => Some((node.name(), status, client)),
        Seen::Silent { .. } => None,
    })
}

/// Who holds most of the log.
fn best(seen: &[Seen]) -> Option<(String, &Client)> {
    let position = |status: &Value| (number(status, "/positions/epoch"), number(status, "/positions/last"));
    let (name, _, client) = answers(seen).max_by_key(|(_, status, _)| position(status))?;
    Some((name, client))
}

fn has_answered(seen: &[Seen], member: &Value) -> bool {
    answers(seen).any(|(_, status, _)| text(status, "/node_id") == text(member, "/node_id"))
}

fn members(status: &Value) -> impl Iterator<Item = &Value> {
    status.pointer("/members").and_then(Value::as_array).into_iter().flatten()
}

fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A replica of an armed cluster of three voters, that holds entries up to `last`.
    fn replica(number: u64, last: u64, paused_ms: Option<u64>) -> Seen {
        let voter = |number: u64| json!({ "node_id": number.to_string(), "node_name": format!("n{number}"), "voter": true });
        let status = json!({
            "cluster_id": "c", "node_id": number.to_string(), "node_name": format!("n{number}"), "role": "replica",
            "positions": { "epoch": 2, "last": last },
            "failover": { "armed": true, "paused_ms": paused_ms },
            "members": [voter(1), voter(2), voter(3)],
        });
        Seen::Answered { client: Client::new(&format!("n{number}:1")).expect("good"), status, ready: true }
    }

    #[test]
    fn without_a_majority_voters_must_come_back() {
        let said = way_out(&[replica(2, 7, None)]);
        assert!(said.contains("1 of 3 voters answered, 2 are needed"), "{said}");
        assert!(said.contains("Start n1 or n3 with their data"), "{said}");
        assert!(said.contains("--force --accept-data-loss --url http://n2:1"), "{said}");
    }

    #[test]
    fn a_node_that_never_joined_is_not_to_be_promoted() {
        let status = json!({ "node_name": "n1", "role": "replica", "cluster_id": null });
        let said = way_out(&[Seen::Answered { client: Client::new("a").expect("good"), status, ready: false }]);
        assert!(said.contains("master_address") && !said.contains("promote"), "{said}");
    }

    #[test]
    fn with_a_majority_the_voters_need_no_force() {
        let said = way_out(&[replica(2, 7, None), replica(3, 9, None)]);
        assert!(said.contains("the voters elect one") && !said.contains("--force"), "{said}");
        let said = way_out(&[replica(2, 7, Some(1500)), replica(3, 9, Some(1500))]);
        assert!(said.contains("another 2 s") && said.contains("--url http://n3:1"), "{said}");
    }
}
