//! What an operator can do where this command reaches no master, from what the nodes that answer say of each other. What one
//! command could not reach proves nothing: a network may lie between them alone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::Client;
use super::cluster::{Seen, number, text};

/// A member that a node has heard from within this time lives, for all that anybody can know.
const HEARD_OF_LATE_MS: u64 = 10_000;

/// The master that nodes follow, which this command has not reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// What people call it, or else its id.
    pub(super) name: String,
    /// Its id.
    pub(super) node: String,
    /// Who follows it.
    by: Vec<String>,
}

/// The next step, in words.
pub(super) fn next_step(seen: &[Seen]) -> String {
    let Some((best, client)) = best(seen) else { return "no reachable node reported its status".to_owned() };
    if let Some(followed) = followed(seen) {
        return format!(
            "{} is the master: {} have just heard from it. This command could not reach it: ask again, and if it still does not answer while \
             they follow it, look at the way to it",
            followed.name,
            followed.by.join(", ")
        );
    }
    if answers(seen).all(|(_, status, _)| text(status, "/cluster_id").is_none()) {
        return "it belongs to no cluster yet: no member of one has taken it in (replication.master_address); its log says why"
            .to_owned();
    }
    if answers(seen).all(|(_, status, _)| number(status, "/positions/last") == Some(0)) {
        return "no master answers, and no node that does holds anything of the cluster's data: start one that holds it".to_owned();
    }
    match answers(seen).find(|(_, status, _)| is_true(status, "/failover/armed")) {
        Some((_, status, _)) => next_step_armed(seen, status, &best, client),
        None => format!(
            "no master answers, and nobody is elected by itself: stop the old one if it may be alive, then \
             `synap promote --url {client}` makes {best} the master"
        ),
    }
}

/// Where voters elect: they need a majority, and force is for when that is gone.
fn next_step_armed(seen: &[Seen], status: &Value, best: &str, client: &Client) -> String {
    let voters: Vec<&Value> = members(status).filter(|member| is_true(member, "/voter")).collect();
    let needed = voters.len() / 2 + 1;
    let (there, gone): (Vec<&Value>, Vec<&Value>) = voters.iter().partition(|voter| is_there(seen, voter));
    if there.len() >= needed {
        return match number(status, "/failover/paused_ms") {
            Some(ms) => format!(
                "no master, and elections are paused for another {} s: `synap promote --url {client}` has the voters \
                 elect {best} now",
                ms.div_ceil(1000)
            ),
            None => "no master yet: where a majority of voters runs, they elect one within a few election timeouts, or say above why not"
                .to_owned(),
        };
    }
    let gone: Vec<&str> = gone.iter().filter_map(|voter| text(voter, "/node_name")).collect();
    let counted = format!(
        "no master: {} of {} voters are heard from, by this command or by a node that answers it, and {needed} are \
         needed to elect one. Start {} with their data, or mend the network between them.",
        there.len(),
        voters.len(),
        gone.join(" or "),
    );
    if !has_tried(seen) {
        return format!(
            "{counted}\nNone of the nodes that answer has looked for them in vain yet: ask again in a moment"
        );
    }
    format!(
        "{counted}\nOnly if the disks of so many are gone for good, with the loss of what {best} lacks: \
         `synap promote --force --accept-data-loss --url {client}`"
    )
}

/// The master that a majority of those who follow one names, if this command has not heard from it as master itself.
pub(super) fn followed(seen: &[Seen]) -> Option<Followed> {
    let mut named: BTreeMap<(u64, &str), Vec<String>> = BTreeMap::new();
    for (name, status, _) in answers(seen) {
        if text(status, "/link/state") == Some("connected")
            && let Some(leader) = text(status, "/leader/node_id")
        {
            named.entry((number(status, "/epoch").unwrap_or(0), leader)).or_default().push(name);
        }
    }
    let ((_, node), by) = named.into_iter().next_back()?;
    let told = answers(seen).flat_map(|(_, status, _)| members(status));
    let name = told.into_iter().find(|member| text(member, "/node_id") == Some(node));
    let name = name.and_then(|member| text(member, "/node_name")).unwrap_or(node).to_owned();
    Some(Followed { name, node: node.to_owned(), by })
}

fn answers(seen: &[Seen]) -> impl Iterator<Item = (String, &Value, &Client)> {
    seen.iter().filter_map(|node| match node {
        Seen::Answered { client, status, ready: _ } => Some((node.name(), status, client)),
        Seen::Silent { .. } => None,
    })
}

/// Who holds most of the log; among equals one that holds it most safely, and that has a vote.
fn best(seen: &[Seen]) -> Option<(String, &Client)> {
    let position = |status: &Value| (number(status, "/positions/epoch"), number(status, "/positions/last"));
    let worth = |status: &Value| (position(status), safety(status), has_vote(status));
    let (name, _, client) = answers(seen).max_by_key(|(_, status, _)| worth(status))?;
    Some((name, client))
}

/// How safe a node's log is: the greater, the safer.
fn safety(status: &Value) -> u8 {
    match text(status, "/durability") {
        Some("synced") => 2,
        Some("logged") => 1,
        _ => 0,
    }
}

/// Whether a node calls itself a voter.
fn has_vote(status: &Value) -> bool {
    let id = text(status, "/node_id");
    members(status).any(|member| text(member, "/node_id") == id && is_true(member, "/voter"))
}

/// Whether a member lives: it answers this command, or a node that does has heard from it of late.
fn is_there(seen: &[Seen], member: &Value) -> bool {
    let id = text(member, "/node_id");
    let answered = answers(seen).any(|(_, status, _)| text(status, "/node_id") == id);
    let told = answers(seen).flat_map(|(_, status, _)| members(status));
    let mut of_it = told.filter(|told| text(told, "/node_id") == id);
    answered || of_it.any(|told| number(told, "/last_contact_ms").is_some_and(|ms| ms <= HEARD_OF_LATE_MS))
}

/// Whether a node that answers has asked the voters in vain: only then is it proven, and not only unknown, that no majority
/// is heard from.
fn has_tried(seen: &[Seen]) -> bool {
    answers(seen).any(|(_, status, _)| number(status, "/counters/elections_lost").is_some_and(|lost| lost > 0))
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

    /// A replica of an armed cluster of three voters, that holds entries up to `last` and has lost an election.
    fn replica(number: u64, last: u64, paused_ms: Option<u64>) -> Value {
        let voter = |number: u64| json!({ "node_id": number.to_string(), "node_name": format!("n{number}"), "voter": true });
        json!({
            "cluster_id": "c", "node_id": number.to_string(), "node_name": format!("n{number}"), "role": "replica",
            "positions": { "epoch": 2, "last": last }, "epoch": 2,
            "failover": { "armed": true, "paused_ms": paused_ms }, "counters": { "elections_lost": 1 },
            "members": [voter(1), voter(2), voter(3)], "link": { "state": "disconnected" }, "leader": null,
        })
    }

    fn seen(status: Value) -> Seen {
        let name = text(&status, "/node_name").unwrap_or("a").to_owned();
        Seen::Answered { client: Client::new(&format!("{name}:1")).expect("good"), status, ready: true }
    }

    fn said(statuses: impl IntoIterator<Item = Value>) -> String {
        next_step(&statuses.into_iter().map(seen).collect::<Vec<Seen>>())
    }

    #[test]
    fn without_a_majority_voters_must_come_back() {
        let said = said([replica(2, 7, None)]);
        assert!(said.contains("1 of 3 voters are heard from") && said.contains("2 are needed"), "{said}");
        assert!(said.contains("Start n1 or n3 with their data"), "{said}");
        assert!(said.contains("--force --accept-data-loss --url http://n2:1"), "{said}");
    }

    #[test]
    fn among_equals_the_one_whose_log_is_safest_is_named() {
        let node = |number, last, durability: &str| {
            let mut status = replica(number, last, None);
            status["failover"]["armed"] = json!(false);
            status["durability"] = json!(durability);
            status
        };
        for [first, second] in [[1, 2], [2, 1]] {
            let said = said([node(first, 7, "synced"), node(second, 7, "memory")]);
            assert!(said.contains(&format!("makes n{first} the master")), "{said}");
        }
        let said = said([node(1, 8, "memory"), node(2, 7, "synced")]);
        assert!(said.contains("makes n1 the master"), "it holds more: {said}");
    }

    #[test]
    fn among_equals_a_voter_is_named() {
        let mut other = replica(3, 7, Some(1500));
        other["members"][2]["voter"] = json!(false);
        let said = said([replica(2, 7, Some(1500)), other]);
        assert!(said.contains("elect n2 now"), "{said}");
    }

    #[test]
    fn force_is_not_named_before_somebody_has_looked_in_vain() {
        let mut fresh = replica(2, 7, None);
        fresh["counters"]["elections_lost"] = json!(0);
        let said = said([fresh]);
        assert!(!said.contains("--force") && said.contains("ask again"), "{said}");
    }

    #[test]
    fn who_is_heard_from_by_others_is_not_gone() {
        let mut hears = replica(2, 7, None);
        hears["members"][2]["last_contact_ms"] = json!(400);
        let said = said([hears]);
        assert!(!said.contains("--force") && said.contains("they elect one"), "{said}");
    }

    #[test]
    fn a_master_that_only_this_command_does_not_reach_is_no_outage() {
        let mut follows = replica(2, 7, None);
        follows["link"]["state"] = json!("connected");
        follows["leader"] = json!({ "node_id": "1", "http": ":15500" });
        let said = said([follows]);
        assert!(said.contains("n1 is the master: n2 have just heard from it"), "{said}");
        assert!(!said.contains("promote"), "{said}");
    }

    #[test]
    fn a_node_that_never_joined_is_not_to_be_promoted() {
        let said = said([json!({ "node_name": "n1", "role": "replica", "cluster_id": null })]);
        assert!(said.contains("master_address") && !said.contains("promote"), "{said}");
    }

    #[test]
    fn an_empty_node_is_not_to_be_promoted() {
        let mut empty = replica(2, 0, None);
        empty["failover"]["armed"] = json!(false);
        let said = said([empty]);
        assert!(said.contains("start one that holds it") && !said.contains("promote"), "{said}");
    }

    #[test]
    fn with_a_majority_the_voters_need_no_force() {
        let plain = said([replica(2, 7, None), replica(3, 9, None)]);
        assert!(plain.contains("they elect one") && !plain.contains("--force"), "{plain}");
        let paused = said([replica(2, 7, Some(1500)), replica(3, 9, Some(1500))]);
        assert!(paused.contains("another 2 s") && paused.contains("--url http://n3:1"), "{paused}");
    }
}
