//! Plans as YAML files and as tokens. A token is short and means a seed under one version of the generator; a script
//! is the plan itself, and means the same for ever.

use std::path::Path;

use crate::plan::{self, PLAN_VERSION, Plan, PlanError};

/// Which simulator runs a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Level {
    /// The core alone, from one heap of events.
    A,
    /// The shipped runtime over turmoil.
    B,
    /// The core alone, step by step.
    C,
}

/// Why a token or a script is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no plan.
    #[error("{path}: {error}")]
    Yaml {
        /// Which.
        path: String,
        /// Why.
        error: serde_yaml::Error,
    },
    /// No run could follow it.
    #[error("{path}: {error}")]
    Plan {
        /// Which.
        path: String,
        /// Why.
        error: PlanError,
    },
    /// It is neither a file nor a token.
    #[error("{0} is neither a file nor a token like A{PLAN_VERSION}:42 or A{PLAN_VERSION}:42:bug_name")]
    Token(String),
    /// Another version of the generator gave it.
    #[error("token {token} is of version {version}, this build draws version {PLAN_VERSION}: only a script keeps")]
    Version {
        /// As given.
        token: String,
        /// Its version.
        version: u32,
    },
}

/// The token of a drawn plan.
pub fn token(level: Level, seed: u64, planted: Option<&str>) -> String {
    let bug = planted.map(|name| format!(":{name}")).unwrap_or_default();
    format!("{level:?}{PLAN_VERSION}:{seed}{bug}")
}

/// The plan of a seed on a level.
pub fn drawn(level: Level, seed: u64) -> Plan {
    match level {
        Level::A | Level::C => plan::draw(seed),
        Level::B => plan::with_front(plan::draw(seed)),
    }
}

/// The plan that a token or a file means.
pub fn load(what: &str) -> Result<(Level, Plan), ScriptError> {
    if Path::new(what).exists() {
        let of = |plan: &Plan| if plan.steps.is_empty() { Level::A } else { Level::C };
        return read(Path::new(what)).map(|plan| (of(&plan), plan));
    }
    let refuse = || ScriptError::Token(what.to_owned());
    let mut parts = what.split(':');
    let head = parts.next().ok_or_else(refuse)?;
    let level = match head.get(..1) {
        Some("A") => Level::A,
        Some("B") => Level::B,
        _ => return Err(refuse()),
    };
    let version: u32 = head[1..].parse().map_err(|_| refuse())?;
    let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or_else(refuse)?;
    if version != PLAN_VERSION {
        return Err(ScriptError::Version { token: what.to_owned(), version });
    }
    let planted = parts.next().map(str::to_owned);
    let plan = Plan { planted, ..drawn(level, seed) };
    plan.check().map_err(|error| ScriptError::Plan { path: what.to_owned(), error })?;
    Ok((level, plan))
}

/// The plan in a script.
pub fn read(path: &Path) -> Result<Plan, ScriptError> {
    let named = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ScriptError::File { path: named.clone(), error })?;
    let plan: Plan =
        serde_yaml::from_str(&text).map_err(|error| ScriptError::Yaml { path: named.clone(), error })?;
    plan.check().map_err(|error| ScriptError::Plan { path: named, error })?;
    Ok(plan.with_end())
}

/// Keeps a plan as a script.
pub fn write(path: &Path, plan: &Plan) -> Result<(), ScriptError> {
    write_with(path, plan, "")
}

/// Keeps a plan as a script, with a comment on top.
pub fn write_with(path: &Path, plan: &Plan, comment: &str) -> Result<(), ScriptError> {
    let named = path.display().to_string();
    let text = plan::to_text(plan).map_err(|error| ScriptError::Yaml { path: named.clone(), error })?;
    let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    std::fs::write(path, comment + &text).map_err(|error| ScriptError::File { path: named, error })
}
