//! `synap rollback`: what failovers discarded. Nothing of it is ever removed here.

use clap::Subcommand;
use serde_json::Value;

use super::exit::{Exit, Outcome};
use super::table::Cell;
use super::{out, table};

mod line;
mod replay;
mod replay_plan;
mod source;

use source::SourceArgs;

/// What is asked of rollback files.
#[derive(Debug, Subcommand)]
pub(super) enum Rollback {
    /// List the rollback files of a node
    List {
        #[command(flatten)]
        source: SourceArgs,
    },
    /// Print a rollback file: a line of JSON per discarded operation
    Show {
        /// The rollback file, as `list` names it
        id: String,
        #[command(flatten)]
        source: SourceArgs,
    },
    /// Do the discarded operations again, where their keys have not changed since
    Replay(replay::Replay),
}

/// Lists, shows or replays.
pub(super) async fn run(asked: Rollback) -> Outcome {
    match asked {
        Rollback::List { source } => out::text(listed(&source::list(&source).await?))?,
        Rollback::Show { id, source } => {
            out::text(source::read(&source, &id).await?)?;
            source::tell_of_files(&source, &id).await?;
        }
        Rollback::Replay(asked) => return replay::run(asked).await,
    }
    Ok(Exit::Good)
}

/// A row for each file.
fn listed(answer: &Value) -> String {
    let files = answer.get("rollbacks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if files.is_empty() {
        return "no rollback files\n".to_owned();
    }
    let cell = |file: &Value, name: &str| match file.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => "-".to_owned(),
        Some(Value::Bool(true)) => "kept".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<Cell>> = files
        .iter()
        .map(|file| ["id", "operations", "bytes", "files"].map(|name| Cell::from(cell(file, name))).to_vec())
        .collect();
    table::layout(&["ID", "OPERATIONS", "BYTES", "FILES"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_in_a_table() {
        let file = json!({ "bytes": 90, "id": "17", "operations": 3, "files": true });
        let answer = json!({ "rollbacks": [file, { "id": "2", "files": false }] });
        let table = "ID  OPERATIONS  BYTES  FILES\n17  3           90     kept\n2   -           -      -\n";
        assert_eq!(listed(&answer), table);
        assert_eq!(listed(&json!({ "rollbacks": [] })), "no rollback files\n");
    }
}
