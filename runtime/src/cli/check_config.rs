//! `synap check-config`: what a configuration comes out as, and where each value came from. Starts nothing.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Outcome};
use super::out;
use super::settings_args::Overrides;
use crate::config::Loaded;
use crate::disk;

/// What is checked.
#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    /// YAML file; may be left out when --role or SYNAP__REPLICATION__ROLE is given
    file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Prints the effective configuration; what is worth knowing besides goes to standard error.
pub(super) fn run(asked: CheckConfig) -> Outcome {
    let loaded = asked.overrides.load(asked.file)?;
    out::text(loaded.to_yaml())?;
    if let Some(told) = disk(&loaded) {
        out::aside(told);
    }
    for warning in &loaded.warnings {
        out::aside(format!("warning: {warning}"));
    }
    if let Some(warning) = loaded.data_directory_fault() {
        out::aside(format!("warning: {warning}"));
    }
    for (host, warning) in loaded.names_to_look_up() {
        if !resolves(host) {
            out::aside(format!("warning: {warning}"));
        }
    }
    Ok(Exit::Good)
}

/// Longest wait for a name service that does not answer.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// Whether a name stands for an address here. Nobody waits for a name service that says nothing.
fn resolves(host: String) -> bool {
    let (told, answer) = mpsc::channel();
    thread::spawn(move || {
        // Who waits no longer needs no answer.
        let _ = told.send((host, 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some()));
    });
    answer.recv_timeout(LOOKUP_PATIENCE).unwrap_or(false)
}

/// What these settings need on disk, and what is there; none without persistence.
fn disk(loaded: &Loaded) -> Option<String> {
    let persistence = &loaded.schema.persistence;
    let kept = persistence.enabled.then_some(persistence.snapshot.max_snapshots)?;
    let (log, reserve) = (2 * u128::from(persistence.snapshot.wal_bytes), u128::from(persistence.reserve_bytes));
    let most = log + 2 * u128::from(persistence.wal.segment_bytes_max) + reserve;
    let long = reserve.max(u128::from(loaded.schema.limits.value_bytes_max));
    let free = match disk::free_at(Path::new(&persistence.data_dir)) {
        Ok(bytes) if u128::from(bytes) < 4 * long => {
            format!("only {} are free, which is too little", mib(bytes.into()))
        }
        Ok(bytes) => format!("{} are free", mib(bytes.into())),
        Err(error) => format!("how much is free cannot be found out: {error}"),
    };
    Some(format!(
        "on disk: at least twice the state and {}, where there is room {} times the state and {}; {free}",
        mib(4 * long),
        u128::from(kept) + 1,
        mib(most)
    ))
}

fn mib(bytes: u128) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
