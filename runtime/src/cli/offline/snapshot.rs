//! Snapshot files, each read to its end.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;
use synap_core::command::ValueKind;
use synap_core::snapshot::{SnapshotMeta, SnapshotProgress, SnapshotReader, index_of_file_name};
use synap_core::store::Store;

use super::{damaged, open};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::{blob, out};

/// Prints what each snapshot says of itself, then a line per key.
pub(super) fn dump(path: &Path) -> Outcome {
    for file in files(path)? {
        let (meta, store) = load(&file)?;
        out::line(meta_json(&file, &meta))?;
        for item in store.view().scan(b"", None) {
            out::line(json!({
                "key": blob::to_json(item.key()),
                "kind": match item.kind() { ValueKind::Bytes => "bytes", ValueKind::Json => "json" },
                "value": blob::to_json(item.value()),
                "version": item.version().0,
                "expires_at_ms": item.expires_at().map(|at| at.0),
            }))?;
        }
    }
    Ok(Exit::Good)
}

/// Loads each snapshot and compares its state with the hash that it promises.
pub(super) fn verify(path: &Path) -> Outcome {
    for file in files(path)? {
        let (meta, _) = load(&file)?;
        out::line(format!(
            "{}: good, {} keys and {} idempotency keys at {}",
            file.display(),
            meta.keys,
            meta.results,
            meta.position
        ))?;
    }
    Ok(Exit::Good)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failed> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (_, names) = open(path)?;
    let files: Vec<PathBuf> =
        names.iter().filter(|name| index_of_file_name(name).is_some()).map(|name| path.join(name)).collect();
    match files.is_empty() {
        true => Err(Failed::new(Exit::NotFound, format!("{} holds no snapshot", path.display()))),
        false => Ok(files),
    }
}

/// A whole snapshot, checked to its end.
pub(in crate::cli) fn load(file: &Path) -> Result<(SnapshotMeta, Store), Failed> {
    let mut bytes = Bytes::from(std::fs::read(file).map_err(|error| damaged(file, &error))?);
    let mut reader = SnapshotReader::new();
    loop {
        match reader.push_front(&mut bytes).map_err(|error| damaged(file, &error))? {
            SnapshotProgress::More(next) => reader = next,
            SnapshotProgress::Done(meta, store) if bytes.is_empty() => return Ok((meta, store)),
            SnapshotProgress::Done(..) => return Err(damaged(file, &"bytes follow after its end")),
        }
    }
}

fn meta_json(file: &Path, meta: &SnapshotMeta) -> serde_json::Value {
    json!({
        "file": file.display().to_string(),
        "cluster_id": meta.cluster.to_string(),
        "position": meta.position.to_string(),
        "log_time_ms": meta.log_time.0,
        "version_base": meta.version_base.0,
        "keys": meta.keys,
        "idempotency_keys": meta.results,
        "armed": meta.membership.armed,
    })
}
