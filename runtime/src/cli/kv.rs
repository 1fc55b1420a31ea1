//! `synap get`, `set` and `del`: a person's quick look over the HTTP API.

use std::io::{IsTerminal, Read};

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Answer, Asked, Target, escape};
use super::exit::{Exit, Failed, Outcome};
use super::out;

/// What is read.
#[derive(Args, Debug)]
pub(super) struct Get {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// Print the value's bytes alone, without quotes and without a line's end
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// What is written.
#[derive(Args, Debug)]
pub(super) struct Set {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// The value; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    value: String,
    /// Store the value as JSON rather than as text
    #[arg(long)]
    json: bool,
    /// Seconds to live
    #[arg(long, value_name = "SECS")]
    ttl: Option<u64>,
    /// Only where the key is absent
    #[arg(long, conflicts_with = "xx")]
    nx: bool,
    /// Only where the key is present
    #[arg(long)]
    xx: bool,
    #[command(flatten)]
    write: Write,
}

/// What is added to.
#[derive(Args, Debug)]
pub(super) struct Incr {
    /// The key; an absent one counts as 0
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// What to add; may be negative
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    amount: i64,
    #[command(flatten)]
    write: Write,
}

/// What is removed.
#[derive(Args, Debug)]
pub(super) struct Del {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    #[command(flatten)]
    write: Write,
}

/// How a write is sent.
#[derive(Args, Debug)]
struct Write {
    /// Write concern to wait for: async, local, quorum or a number of replicas
    #[arg(long)]
    concern: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Prints the value as JSON; exit code 4 if the key is absent.
pub(super) async fn get(asked: Get) -> Outcome {
    let client = asked.target.any().await?;
    let route = if asked.raw { "raw" } else { "get" };
    let answer =
        client.send(&Asked::get(format!("/kv/{route}/{}", escape(asked.key.as_bytes())))).await?.good()?;
    if asked.raw {
        out::bytes(&answer.body)?;
    } else if is_text(&answer) {
        out::line(String::from_utf8_lossy(&answer.body))?;
    } else if std::io::stdout().is_terminal() {
        return Err(Failed::running(format!(
            "{} bytes that are not text; `--raw` prints them, best into a file",
            answer.body.len()
        )));
    } else {
        out::bytes(&answer.body)?;
    }
    Ok(Exit::Good)
}

/// What goes out; only what was asked for is named.
#[derive(Serialize)]
struct SetBody<'a> {
    key: &'a str,
    value: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nx: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    xx: bool,
}

/// Prints where the write stands and on how many disks it is known to be.
pub(super) async fn set(asked: Set) -> Outcome {
    let client = asked.write.target.any().await?;
    let path = asked.write.path("/kv/set".to_owned());
    let value = value(&asked)?;
    let body = SetBody { key: &asked.key, value: &value, ttl: asked.ttl, nx: asked.nx, xx: asked.xx };
    let answer = client.json(&Asked::post(path, &body)).await?;
    if answer.get("written") == Some(&Value::Bool(false)) {
        let why = if asked.nx { "the key is there already" } else { "the key is absent" };
        return Err(Failed::running(format!("not written: {why}")));
    }
    out::line(written(&answer))?;
    Ok(Exit::Good)
}

/// Prints the number that the key holds now.
pub(super) async fn incr(asked: Incr) -> Outcome {
    let client = asked.write.target.any().await?;
    let path = asked.write.path(format!("/kv/incr/{}", escape(asked.key.as_bytes())));
    let answer = client.json(&Asked::post(path, &json!({ "amount": asked.amount }))).await?;
    let number = answer.get("value").and_then(Value::as_i64);
    out::line(number.ok_or_else(|| Failed::running(format!("{client} tells no number")))?)?;
    Ok(Exit::Good)
}

/// Exit code 4 if there was nothing to remove.
pub(super) async fn del(asked: Del) -> Outcome {
    let client = asked.write.target.any().await?;
    let path = asked.write.path(format!("/kv/del/{}", escape(asked.key.as_bytes())));
    let answer = client.json(&Asked::delete(path)).await?;
    if answer.get("deleted") == Some(&Value::Bool(false)) {
        return Err(Failed::new(Exit::NotFound, "no such key"));
    }
    out::line(written(&answer).replacen("written", "deleted", 1))?;
    Ok(Exit::Good)
}

impl Write {
    fn path(&self, path: String) -> String {
        match &self.concern {
            Some(concern) => format!("{path}?concern={}", escape(concern.as_bytes())),
            None => path,
        }
    }
}

fn value(asked: &Set) -> Result<Box<RawValue>, Failed> {
    let text = match asked.value.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failed::running(format!("standard input: {error}")))?;
            text
        }
        text => text.to_owned(),
    };
    // JSON goes out as it was given: to read its numbers would round them.
    let json = if asked.json { text } else { Value::String(text).to_string() };
    RawValue::from_string(json).map_err(|error| Failed::new(Exit::Usage, format!("VALUE is not JSON: {error}")))
}

fn written(answer: &Value) -> String {
    let mut text = "written".to_owned();
    if let Some(position) = answer.get("position").and_then(Value::as_str) {
        text += &format!(" at {position}");
    }
    if let Some(disks) = answer.get("durable_on").and_then(Value::as_u64) {
        text += &format!(", on {disks} {}", if disks == 1 { "disk" } else { "disks" });
    }
    text
}

fn is_text(answer: &Answer) -> bool {
    let binary = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/octet-stream"));
    !binary && std::str::from_utf8(&answer.body).is_ok()
}
