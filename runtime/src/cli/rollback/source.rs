//! Where rollback files are read: over HTTP from a running node, or from a data directory.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{Asked, ONE_SERVER, Target, escape};
use crate::cli::exit::{Exit, Failed};
use crate::cli::offline::{cluster_of, damaged, open};
use crate::cli::out;
use crate::disk::Disk;

/// Where rollback files are read.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("urls", |arg| arg.help(ONE_SERVER)))]
pub(in crate::cli) struct SourceArgs {
    /// Read them from this data directory rather than over HTTP
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: Target,
}

const PREFIX: &str = "rollback/";
const SUFFIX: &str = ".ndjson";

/// The files that there are, as the API lists them.
pub(super) async fn list(source: &SourceArgs) -> Result<Value, Failed> {
    match &source.data_dir {
        Some(dir) => list_directory(dir),
        None => source.target.one()?.json(&Asked::get("/replication/rollbacks")).await,
    }
}

/// Says so if a file has not all that was discarded: what had left the node's memory is in the log's files beside it alone.
pub(super) async fn tell_of_files(source: &SourceArgs, id: &str) -> Result<(), Failed> {
    let answer = list(source).await?;
    let files = answer.get("rollbacks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has_more = |file: &&Value| file["id"] == id && file["files"] == true;
    if files.iter().any(|file| has_more(&file)) {
        out::aside(format!(
            "note: more operations were discarded, and are no lines of this file: rollback/{id}.files in the node's data directory \
             holds the log and the snapshots that they are in (`synap wal dump DIR` reads them)"
        ));
    }
    Ok(())
}

/// Of which cluster a node is whose files are read from its directory, if its log tells: the files may be all that was saved of it. A
/// running node leads to its own master.
pub(super) fn cluster(source: &SourceArgs) -> Option<String> {
    cluster_of(source.data_dir.as_deref()?).ok().flatten().map(|cluster| cluster.to_string())
}

/// A whole file.
pub(super) async fn read(source: &SourceArgs, id: &str) -> Result<String, Failed> {
    let bytes = match &source.data_dir {
        Some(dir) => {
            let name = format!("{PREFIX}{id}{SUFFIX}");
            let (disk, names) = open(dir)?;
            if !names.contains(&name) {
                let message = format!("{} has no rollback file {id}", dir.display());
                return Err(Failed::new(Exit::NotFound, message));
            }
            disk.read(&name).map_err(|error| damaged(&dir.join(&name), &error))?
        }
        None => {
            let client = source.target.one()?;
            let path = format!("/replication/rollbacks/{}", escape(id.as_bytes()));
            client.send(&Asked::get(path)).await?.good()?.body
        }
    };
    String::from_utf8(bytes.to_vec())
        .map_err(|error| Failed::new(Exit::Data, format!("rollback file {id} is damaged: {error}")))
}

fn list_directory(dir: &Path) -> Result<Value, Failed> {
    let (disk, names) = open(dir)?;
    let mut files = Vec::new();
    for name in &names {
        if let Some(id) = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX)) {
            let bytes = disk.read(name).map_err(|error| damaged(&dir.join(name), &error))?;
            let beside = format!("{PREFIX}{id}.files/");
            files.push(json!({
                "id": id,
                "bytes": bytes.len(),
                "operations": bytes.iter().filter(|byte| **byte == b'\n').count(),
                "files": names.iter().any(|name| name.starts_with(&beside)),
            }));
        }
    }
    Ok(json!({ "rollbacks": files }))
}
