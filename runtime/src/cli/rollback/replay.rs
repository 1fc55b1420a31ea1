//! `synap rollback replay`: does discarded operations again, on the master, where nobody has touched the key since.
//!
//! Each goes out under the condition that its key still has the version that was looked at, so that nothing written meanwhile is
//! overwritten. Values go out as the very text that stands in the file.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::line::{Answered, Change, Discarded, Operation, Stored};
use super::replay_plan::{Ledger, ReplayPlan};
use super::source::{self, SourceArgs};
use crate::cli::client::{Answer, Asked, Client, escape};
use crate::cli::cluster::{status_of, text};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::{blob, out};

/// What is replayed.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Replay {
    /// The rollback file, as `list` names it
    id: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave out operations whose clients were told that they are not done, or nothing. What the node no longer knew stays
    #[arg(long)]
    only_answered: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Why an increment is not done again.
const NO_INTEGER: &str = "the value is not an integer, so it does nothing";

#[derive(Default)]
struct Tally {
    replayed: usize,
    skipped: usize,
    /// Of those replayed, how many their clients may send again.
    keyed: usize,
}

/// Replays a file and prints what became of each line.
pub(super) async fn run(asked: Replay) -> Outcome {
    let lines = parse(&source::read(&asked.source, &asked.id).await?)?;
    let master = master_near(&asked.source.target.any().await?).await?;
    check_cluster(&asked.source, &master).await?;
    let mut ledger = Ledger::new(&lines);
    let mut tally = Tally::default();
    for line in &lines {
        let fate = one(&master, &asked, &mut ledger, line).await?;
        match &fate {
            ReplayPlan::Replay { version: _ } => {
                tally.replayed += 1;
                tally.keyed += usize::from(line.keyed);
            }
            ReplayPlan::Idle(_) | ReplayPlan::Skip(_) => tally.skipped += 1,
        }
        out::line(told(line, &fate, asked.dry_run))?;
    }
    let verb = if asked.dry_run { "would be replayed" } else { "replayed" };
    out::line(format!("{} {verb}, {} skipped", tally.replayed, tally.skipped))?;
    if tally.keyed > 0 {
        let keyed = tally.keyed;
        out::remark(format!(
            "{keyed} of them were sent under an Idempotency-Key, which a replay does not bring back: a client that still sends such a \
             request again has it done once more"
        ))?;
    }
    source::tell_of_files(&asked.source, &asked.id).await?;
    if !asked.dry_run {
        out::remark("the file stays where it is: move it out of rollback/ to end the alarm rollback_written")?;
    }
    Ok(Exit::Good)
}

async fn one(
    master: &Client,
    asked: &Replay,
    ledger: &mut Ledger,
    line: &Discarded,
) -> Result<ReplayPlan, Failed> {
    let Operation::Client { key, change, condition: _ } = &line.operation else {
        return Ok(ledger.judge(line, 0));
    };
    if line.retry_of.is_some() {
        return Ok(ledger.judge(line, 0));
    }
    if asked.only_answered && line.answered == Answered::No {
        ledger.lost(line);
        return Ok(ReplayPlan::Skip("its client was not told that it is done"));
    }
    let current = version_of(master, key).await?;
    let verdict = ledger.judge(line, current);
    let version = match verdict {
        ReplayPlan::Replay { version } => version,
        ReplayPlan::Idle(_) => return Ok(verdict),
        ReplayPlan::Skip(_) => {
            ledger.lost(line);
            return Ok(verdict);
        }
    };
    if asked.dry_run {
        // What an earlier line of the file would make of the key nobody can ask for.
        if let Change::Incr(by) = change
            && !ledger.knows(key)
            && !can_add(master, key, *by).await?
        {
            return Ok(ReplayPlan::Idle(NO_INTEGER));
        }
        ledger.replayed(line, current);
        return Ok(verdict);
    }
    let answer = master.send(&request(line, key, change, version)).await?;
    if answer.code().as_deref() == Some("precondition_failed") {
        ledger.lost(line);
        return Ok(ReplayPlan::Skip("the key has changed just now"));
    }
    if answer.code().as_deref() == Some("not_an_integer") {
        return Ok(ReplayPlan::Idle(NO_INTEGER));
    }
    let answer = answer.good()?;
    let version = match etag(&answer) {
        Some(version) => version,
        None => version_of(master, key).await?,
    };
    ledger.replayed(line, version);
    Ok(verdict)
}

/// Keys of the same names in another cluster are other keys.
async fn check_cluster(source: &SourceArgs, master: &Client) -> Result<(), Failed> {
    let status = status_of(master).await?;
    match (source::cluster(source), text(&status, "/cluster_id")) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Failed::running(format!(
            "the rollback file is of cluster {ours}, {master} is of cluster {theirs}: nothing is replayed"
        ))),
        _ => Ok(()),
    }
}

/// Whatever happens on the key afterwards is judged against what the master itself holds, never a replica.
async fn master_near(client: &Client) -> Result<Client, Failed> {
    let status = status_of(client).await?;
    match (text(&status, "/role"), text(&status, "/leader/http")) {
        (Some("master" | "standalone"), _) | (_, None) => Ok(client.clone()),
        (_, Some(address)) => Client::new(address),
    }
}

/// 0 if the key is absent.
async fn version_of(master: &Client, key: &[u8]) -> Result<u64, Failed> {
    let answer = master.send(&Asked::head(format!("/kv/raw/{}", escape(key)))).await?;
    if answer.status.as_u16() == 404 {
        return Ok(0);
    }
    let answer = answer.good()?;
    etag(&answer).ok_or_else(|| Failed::running(format!("{} tells no version of a key", answer.from)))
}

/// Whether an increment would be done: the key is absent, or its text is an integer and the sum is one.
async fn can_add(master: &Client, key: &[u8], by: i64) -> Result<bool, Failed> {
    let answer = master.send(&Asked::get(format!("/kv/raw/{}", escape(key)))).await?;
    if answer.status.as_u16() == 404 {
        return Ok(true);
    }
    let held = answer.good()?;
    let number = std::str::from_utf8(&held.body).ok().and_then(|text| text.parse::<i64>().ok());
    Ok(number.is_some_and(|number| number.checked_add(by).is_some()))
}

fn etag(answer: &Answer) -> Option<u64> {
    answer.header("etag")?.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// What is sent: done only where the key still has `version`.
fn request(line: &Discarded, key: &[u8], change: &Change, version: u64) -> Asked {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    // Seconds with a fraction, as the API takes them.
    let left = |ttl_ms| line.ms_left(ttl_ms, u64::try_from(now_ms).unwrap_or(u64::MAX)) as f64 / 1000.0;
    let path = |verb: &str| format!("/kv/{verb}/{}", escape(key));
    let asked = match change {
        Change::Set { value, ttl_ms } => set(key, value, ttl_ms.map(left)),
        Change::Delete => Asked::delete(path("del")),
        Change::Incr(by) => Asked::post(path("incr"), &json!({ "amount": by })),
        Change::Expire(ttl_ms) => Asked::post(path("expire"), &json!({ "ttl": left(*ttl_ms) })),
        Change::Persist => Asked::post(path("persist"), &json!({})),
    };
    asked.if_version(version)
}

#[derive(Serialize)]
struct SetBody<'a> {
    key: &'a str,
    /// As it stands in the file.
    value: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<f64>,
}

/// JSON takes keys and values that are text; others go as raw bytes.
fn set(key: &[u8], value: &Stored, ttl: Option<f64>) -> Asked {
    let raw = |bytes: Vec<u8>| {
        let query = ttl.map(|ttl| format!("?ttl={ttl}")).unwrap_or_default();
        Asked::put(format!("/kv/raw/{}{query}", escape(key)), Bytes::from(bytes))
    };
    let text = match value {
        Stored::Json(text) => text,
        Stored::Bytes(bytes) => return raw(bytes.clone()),
    };
    match (std::str::from_utf8(key), serde_json::from_str(text)) {
        (Ok(key), Ok(value)) => Asked::post("/kv/set", &SetBody { key, value, ttl }),
        (Ok(_) | Err(_), _) => match serde_json::from_str(text) {
            Ok(Value::String(text)) => raw(text.into_bytes()),
            Ok(_) | Err(_) => raw(text.clone().into_bytes()),
        },
    }
}

fn parse(text: &str) -> Result<Vec<Discarded>, Failed> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            Discarded::parse(line).map_err(|error| Failed::new(Exit::Data, format!("line {}: {error}", at + 1)))
        })
        .collect()
}

fn told(line: &Discarded, fate: &ReplayPlan, dry_run: bool) -> String {
    let what = match &line.operation {
        Operation::Client { key, change, condition: _ } => format!("{} {}", name(change), blob::to_json(key)),
        Operation::Internal(name) => name.clone(),
    };
    let fate = match fate {
        ReplayPlan::Replay { version: _ } if dry_run => "would be replayed".to_owned(),
        ReplayPlan::Replay { version: _ } => "replayed".to_owned(),
        ReplayPlan::Idle(why) | ReplayPlan::Skip(why) => format!("skipped: {why}"),
    };
    format!("{}:{}  {what}  {fate}", line.epoch, line.index)
}

fn name(change: &Change) -> &'static str {
    match change {
        Change::Set { .. } => "set",
        Change::Delete => "delete",
        Change::Incr(_) => "incr",
        Change::Expire(_) => "expire",
        Change::Persist => "persist",
    }
}
