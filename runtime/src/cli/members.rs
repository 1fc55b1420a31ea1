//! `synap members`: who belongs to the cluster, who votes, and how much each is wanted as master.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use synap_core::ids::NodeId;

use super::client::{Asked, Client, Target};
use super::cluster::{number, status_of, text};
use super::confirm::confirm;
use super::exit::{Exit, Failed, Outcome};
use super::table::{Cell, Tone};
use super::{out, table, words};

/// What is shown or changed.
#[derive(Args, Debug)]
pub(super) struct Members {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    target: Target,
}

/// A change. Nodes are named by id or by name.
#[derive(Debug, Subcommand)]
enum Change {
    /// Let a member that replicates vote
    Add {
        /// Which
        node: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Forget a member that is gone for good; its disk counts no more
    Remove {
        /// Which
        node: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Forget a voter that is gone for good, and let another member vote in its place
    Replace {
        /// Which goes
        node: String,
        /// Which takes its place
        #[arg(long, value_name = "NODE")]
        by: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Set a member's election priority: 0 leads only as a last resort, a higher one campaigns sooner
    Priority {
        /// Which
        node: String,
        /// 0 to 1000, or `configured` for what its configuration says
        #[arg(value_parser = a_priority)]
        priority: Wish,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
}

/// What an operator wishes a priority to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Set(u32),
    Configured,
}

const HEAD: [&str; 7] = ["NODE", "ID", "VOTER", "PRIORITY", "CONNECTED", "LAG", "MAY LEAD"];

/// Of an id as tables show it. As many are enough to name a node.
const ID_DIGITS: usize = 8;

/// Shows the members, after the change if one is asked for.
pub(super) async fn run(asked: Members) -> Outcome {
    let client = asked.target.any().await?;
    if let Some(change) = &asked.change {
        let (members, _) = ask_who_knows(&client).await?;
        change.nodes().into_iter().try_for_each(|name| names_one(&members, name))?;
        if change.is_done(&members) {
            out::remark("no member has that id: there is nothing to remove")?;
        } else {
            if let Some(consequences) = change.consequences(&members) {
                confirm(&consequences, "Go on?")?;
            }
            client.json(&Asked::post("/replication/members", &change.body())).await?;
        }
    }
    let (members, known_by) = ask_who_knows(&client).await?;
    let mut listed: Vec<&Value> = all(&members).collect();
    listed.sort_by_key(|member| (text(member, "/node_name"), text(member, "/node_id")));
    let rows: Vec<Vec<Cell>> = listed.into_iter().map(row).collect();
    out::text(table::layout(&HEAD, &rows))?;
    if let Some(only) = known_by {
        out::remark(format!("no master answers: this is what {only} knows of the others"))?;
    }
    out::remark(armed_line(&members))?;
    Ok(Exit::Good)
}

/// The members as the master sees them, or as the node that was asked does, with its name: a replica knows who belongs to
/// the cluster, and nothing of how the others stand.
async fn ask_who_knows(client: &Client) -> Result<(Value, Option<String>), Failed> {
    let asked = Asked::get("/replication/members");
    let status = status_of(client).await?;
    if text(&status, "/role") == Some("master") {
        return Ok((client.json(&asked).await?, None));
    }
    if let Some(master) = text(&status, "/leader/http").and_then(|address| Client::new(address).ok())
        && let Ok(members) = master.json(&asked).await
    {
        return Ok((members, None));
    }
    let name = text(&status, "/node_name").map_or_else(|| client.to_string(), str::to_owned);
    Ok((client.json(&asked).await?, Some(name)))
}

fn all(members: &Value) -> impl Iterator<Item = &Value> {
    members.pointer("/members").and_then(Value::as_array).into_iter().flatten()
}

/// Refuses a name that several members have, with what tells them apart.
fn names_one(members: &Value, name: &str) -> Result<(), Failed> {
    let called: Vec<&Value> = all(members).filter(|member| text(member, "/node_name") == Some(name)).collect();
    let is_id = all(members).any(|member| text(member, "/node_id") == Some(name));
    if called.len() < 2 || is_id {
        return Ok(());
    }
    let lines = called.iter().map(|member| {
        let vote = if is_true(member, "/voter") { "voter" } else { "no voter" };
        let lives = match member.pointer("/connected") {
            Some(Value::Bool(true)) => ", connected",
            Some(Value::Bool(false)) => ", not connected",
            _ => "",
        };
        let since = silence(member).map(|since| format!(" for {since}")).unwrap_or_default();
        let at = text(member, "/http").filter(|at| !at.is_empty()).unwrap_or("no known address");
        format!("\n  {}  {vote}{lives}{since}, {at}", text(member, "/node_id").unwrap_or("-"))
    });
    let message = format!(
        "{} members are called {name}: use an id, or its first {ID_DIGITS} digits. Nothing was changed.{}",
        called.len(),
        lines.collect::<String>()
    );
    Err(Failed::running(message))
}

fn is_true(member: &Value, pointer: &str) -> bool {
    member.pointer(pointer) == Some(&Value::Bool(true))
}

/// For how long a member that is not connected has not been heard from, if that is known.
fn silence(member: &Value) -> Option<String> {
    let ms = number(member, "/last_contact_ms")
        .filter(|_| member.pointer("/connected") == Some(&Value::Bool(false)))?;
    Some(words::length(Duration::from_millis(ms)))
}

fn armed_line(members: &Value) -> String {
    let armed = members.pointer("/armed") == Some(&Value::Bool(true));
    let state = if armed { "armed" } else { "not armed" };
    let reason = text(members, "/reason").unwrap_or_default();
    let reason = reason.strip_prefix("automatic failover is ").unwrap_or(reason);
    let rest = reason.strip_prefix(state).and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(", ")));
    let reason = rest.unwrap_or(reason);
    format!("automatic failover is {state}: {reason}")
}

impl Change {
    /// Whom it names.
    fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Add { node, .. } | Self::Remove { node, .. } | Self::Priority { node, .. } => vec![node],
            Self::Replace { node, by, .. } => vec![node, by],
        }
    }

    /// Whether it removes a node that is no member, which the server takes as done: a whole id names one node for ever.
    fn is_done(&self, members: &Value) -> bool {
        let Self::Remove { node, .. } = self else { return false };
        let is_id = node.len() == NodeId::DIGITS && node.chars().all(|digit| digit.is_ascii_hexdigit());
        is_id && !all(members).any(|member| text(member, "/node_id") == Some(node))
    }

    fn body(&self) -> Value {
        match self {
            Self::Add { node, yes: _ } => json!({ "action": "add", "node": node }),
            Self::Remove { node, yes: _ } => json!({ "action": "remove", "node": node }),
            Self::Replace { node, by, yes: _ } => json!({ "action": "replace", "node": node, "by": by }),
            Self::Priority { node, priority, yes: _ } => {
                let priority = match priority {
                    Wish::Set(priority) => Some(*priority),
                    Wish::Configured => None,
                };
                json!({ "action": "priority", "node": node, "priority": priority })
            }
        }
    }

    /// What to confirm first, if anything.
    fn consequences(&self, members: &Value) -> Option<String> {
        let gone = |node: &str| {
            format!(
                "{node} leaves the cluster: its disk counts no more, and what only it held is lost with it.\n  \
                 Should it ever start again with its data, it joins as a new replica."
            )
        };
        match self {
            Self::Remove { node, yes: false } if disarms(members, node) => Some(format!(
                "{}\n  With two voters left automatic failover goes off, and `quorum` writes are answered from the\n  \
                 master's disk alone. To keep both, start another node first: `synap members replace {node} --by NEW`.",
                gone(node)
            )),
            Self::Remove { node, yes: false } => Some(gone(node)),
            Self::Replace { node, by, yes: false } => Some(format!("{}\n  {by} votes in its place.", gone(node))),
            Self::Add { node, yes: false } => Some(format!(
                "{node} votes from now on: its disk counts for commits, and one more may be needed for a majority."
            )),
            Self::Priority { node, priority, yes: false } => Some(priority.consequences(node)),
            Self::Remove { yes: true, .. }
            | Self::Replace { yes: true, .. }
            | Self::Add { yes: true, .. }
            | Self::Priority { yes: true, .. } => None,
        }
    }
}

/// Whether too few voters are left without this one, and nobody votes in its place.
fn disarms(members: &Value, node: &str) -> bool {
    let is_it = |member: &&Value| {
        let is_id = node.len() >= ID_DIGITS && text(member, "/node_id").is_some_and(|id| id.starts_with(node));
        is_id || text(member, "/node_name") == Some(node)
    };
    let votes = all(members).find(is_it).is_some_and(|member| is_true(member, "/voter"));
    votes && is_true(members, "/armed") && all(members).filter(|member| !is_it(member)).count() < 3
}

impl Wish {
    fn consequences(self, node: &str) -> String {
        match self {
            Self::Set(0) => format!(
                "{node} goes on voting and is not master while anybody else can be.\n  \
                 If it is the master now, it stays so until it is replaced: `synap switchover`."
            ),
            Self::Set(priority) => format!(
                "{node} has priority {priority}, whatever its configuration says. The highest campaigns first; it never \
                 wins over a longer log."
            ),
            Self::Configured => format!("{node} has the priority again that its configuration says."),
        }
    }
}

fn row(member: &Value) -> Vec<Cell> {
    let yes = |pointer: &str| match member.pointer(pointer) {
        Some(Value::Bool(true)) => "yes",
        Some(Value::Bool(false)) => "no",
        _ => "-",
    };
    let may_lead = match (member.pointer("/eligible"), text(member, "/why_not")) {
        (Some(Value::Bool(false)), Some(why)) => format!("no: {why}"),
        _ => yes("/eligible").to_owned(),
    };
    let connected = match (yes("/connected"), silence(member)) {
        ("yes", _) => Cell::new("yes", Tone::Good),
        ("no", Some(since)) => Cell::new(format!("no, for {since}"), Tone::Bad),
        (word, _) => Cell::new(word, if word == "no" { Tone::Bad } else { Tone::Plain }),
    };
    let id = text(member, "/node_id").unwrap_or("-");
    vec![
        text(member, "/node_name").unwrap_or("-").into(),
        id.get(..ID_DIGITS).unwrap_or(id).into(),
        yes("/voter").into(),
        number(member, "/priority").map_or_else(|| "-".to_owned(), |priority| priority.to_string()).into(),
        connected,
        lag(member).unwrap_or_else(|| "-".to_owned()).into(),
        may_lead.into(),
    ]
}

/// Of a node that was never heard there is nothing to tell.
fn lag(member: &Value) -> Option<String> {
    number(member, "/last_contact_ms")?;
    number(member, "/lag_operations").map(|lag| format!("{lag} ops"))
}

fn a_priority(text: &str) -> Result<Wish, String> {
    match (text, text.parse()) {
        ("configured", _) => Ok(Wish::Configured),
        (_, Ok(priority @ 0..=1000)) => Ok(Wish::Set(priority)),
        (_, Ok(_) | Err(_)) => Err("0 to 1000, or `configured`, is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_may_lead() {
        let member = json!({
            "node_name": "n3", "node_id": "0c", "voter": true, "priority": 0, "connected": true, "lag_operations": 2,
            "last_contact_ms": 4,
            "eligible": false, "why_not": "its failover.priority is 0",
        });
        let expected = ["n3", "0c", "yes", "0", "yes", "2 ops", "no: its failover.priority is 0"];
        assert_eq!(row(&member), expected);
    }

    #[test]
    fn what_a_replica_does_not_know_is_a_dash() {
        let member = json!({
            "node_name": "n3", "node_id": "0c", "voter": true, "priority": 1, "connected": null, "lag_operations": null,
            "last_contact_ms": 4, "eligible": null, "why_not": "only the master knows",
        });
        assert_eq!(row(&member), ["n3", "0c", "yes", "1", "-", "-", "-"]);
    }

    #[test]
    fn a_name_that_two_have_is_refused_with_both_ids() {
        let member = |id: &str, connected, ms| json!({ "node_name": "n3", "node_id": id, "voter": true, "connected": connected, "last_contact_ms": ms });
        let (one, two) = ("0c0c3c3d30610f934c501171320d5776", "1a8d9f96555e97ee4a36cfc66309d79b");
        let members = json!({ "members": [member(one, true, 5), member(two, false, 12_000)] });
        let refused = names_one(&members, "n3").expect_err("two are called so").message;
        assert!(refused.contains(&format!("{one}  voter, connected,")), "{refused}");
        assert!(refused.contains(&format!("{two}  voter, not connected for 12 s,")), "{refused}");
        assert_eq!((names_one(&members, one), names_one(&members, "n9")), (Ok(()), Ok(())));
        assert_eq!(
            row(&json!({ "node_id": two, "connected": false, "last_contact_ms": 12_000 }))[1..5],
            ["1a8d9f96", "-", "-", "no, for 12 s"]
        );
    }

    #[test]
    fn an_id_that_no_member_has_is_removed_already() {
        let members = json!({ "members": [{ "node_name": "n3", "node_id": "0c0c3c3d30610f934c501171320d5776" }] });
        let is_done = |node: &str| Change::Remove { node: node.into(), yes: false }.is_done(&members);
        assert!(is_done("1a8d9f96555e97ee4a36cfc66309d79b"));
        assert!(!is_done("0c0c3c3d30610f934c501171320d5776"), "it is one");
        assert!(!is_done("n4"), "the server refuses a name that nobody has");
    }

    #[test]
    fn who_is_forgotten_is_confirmed_first() {
        let remove = |yes| Change::Remove { node: "n3".into(), yes };
        assert!(
            remove(false).consequences(&json!({})).is_some_and(|said| said.starts_with("n3 leaves the cluster"))
        );
        assert_eq!(remove(true).consequences(&json!({})), None);
        let member = |name: &str, id: &str| json!({ "node_name": name, "node_id": id, "voter": true });
        let three = json!({ "armed": true, "members": [member("n1", "1"), member("n2", "2"), member("n3", "3")] });
        let said = Change::Remove { node: "n3".into(), yes: false }.consequences(&three).unwrap_or_default();
        assert!(said.contains("automatic failover goes off") && said.contains("replace n3 --by NEW"), "{said}");
        let replace = Change::Replace { node: "n3".into(), by: "n4".into(), yes: false };
        assert!(replace.consequences(&json!({})).is_some_and(|said| said.ends_with("n4 votes in its place.")));
        assert_eq!(replace.body(), json!({ "action": "replace", "node": "n3", "by": "n4" }));
    }

    #[test]
    fn the_reason_says_armed_once() {
        let said = |armed, reason: &str| armed_line(&json!({ "armed": armed, "reason": reason }));
        assert_eq!(said(true, "armed: the voters elect"), "automatic failover is armed: the voters elect");
        assert_eq!(said(true, "armed, but few vote"), "automatic failover is armed: but few vote");
        assert_eq!(said(false, "not armed: too few"), "automatic failover is not armed: too few");
        let whole = "automatic failover is not armed: an operator promotes";
        assert_eq!(said(false, whole), whole);
        assert_eq!(
            said(false, "failover.mode is manual"),
            "automatic failover is not armed: failover.mode is manual"
        );
    }

    #[test]
    fn a_priority_is_confirmed_first() {
        let never = Change::Priority { node: "n3".into(), priority: Wish::Set(0), yes: false };
        assert!(
            never
                .consequences(&json!({}))
                .is_some_and(|said| said.contains("not master while anybody else can be"))
        );
        let sure = Change::Priority { node: "n3".into(), priority: Wish::Configured, yes: true };
        assert_eq!(sure.consequences(&json!({})), None);
    }

    #[test]
    fn priorities_are_bounded() {
        assert_eq!(a_priority("0"), Ok(Wish::Set(0)));
        assert_eq!(a_priority("configured"), Ok(Wish::Configured));
        assert!(a_priority("1001").is_err() && a_priority("-1").is_err() && a_priority("").is_err());
    }
}
