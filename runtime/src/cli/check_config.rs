//! `synap check-config`: what a configuration comes out as, and where each value came from. Starts nothing.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Outcome};
use super::out;
use super::settings_args::Overrides;

/// What is checked.
#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    /// YAML file
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// Prints the effective configuration; warnings go to standard error.
pub(super) fn run(asked: CheckConfig) -> Outcome {
    let loaded = asked.overrides.load(Some(asked.file))?;
    out::text(loaded.to_yaml())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(Exit::Good)
}
