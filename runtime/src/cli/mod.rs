//! The command line: one room per command. Parses, dispatches and ends the process with the right code; holds no
//! state of a server.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

mod advice;
mod blob;
mod check_config;
mod client;
mod cluster;
mod confirm;
mod dev;
pub mod exit;
mod failover;
mod kv;
mod members;
mod offline;
mod out;
mod promote;
mod reload;
mod restore;
mod rollback;
mod serve;
mod settings_args;
mod signals;
mod status;
mod table;
mod words;

use exit::{Exit, Failed, Outcome};

use crate::logging;

/// How long the process waits for its last words to be taken.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// A replicated key-value server: one master takes writes, replicas follow and serve reads.
#[derive(Debug, Parser)]
#[command(name = "synap", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server
    Serve(serve::Serve),
    /// Start a local test cluster: one master and its replicas as child processes
    Dev(dev::Dev),
    /// Check a configuration file and print what comes out, with the origin of each value
    CheckConfig(check_config::CheckConfig),
    /// Show the cluster as a table
    Status(status::Status),
    /// Make a replica the master
    Promote(promote::Promote),
    /// Hand the mastership over; nothing is lost
    Switchover(failover::Switchover),
    /// Keep replicas from campaigning by themselves, for a while
    Pause(failover::Pause),
    /// End a pause
    Resume(failover::Resume),
    /// Show who belongs to the cluster, or change it
    Members(members::Members),
    /// Print a key's value; exit code 4 if it is absent
    Get(kv::Get),
    /// Set a key
    Set(kv::Set),
    /// Add to the integer that a key holds, and print the sum
    Incr(kv::Incr),
    /// Delete a key; exit code 4 if it was absent
    Del(kv::Del),
    /// List, show and replay what failovers discarded
    #[command(subcommand)]
    Rollback(rollback::Rollback),
    /// Look at the log of a data directory, offline
    #[command(subcommand)]
    Wal(offline::Look),
    /// Look at the snapshots of a data directory, offline
    #[command(subcommand)]
    Snapshot(offline::Look),
    /// Make a data directory from a backup: a node of a new cluster
    Restore(restore::Restore),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs what the command line asks for and says how the process is to end.
pub fn run() -> ExitCode {
    // A usage error ends the process here, with code 2.
    match dispatch(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(failed) => {
            let text = format!("synap: {}\n", failed.message.replace('\n', "\nsynap: "));
            // Where nobody reads this, the exit code says it.
            logging::within(SAID_WITHIN, move || drop(io::stderr().write_all(text.as_bytes())));
            failed.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Serve(asked) => serve::run(asked),
        Command::Dev(asked) => block_on(dev::run(asked)),
        Command::CheckConfig(asked) => check_config::run(asked),
        Command::Status(asked) => block_on(status::run(asked)),
        Command::Promote(asked) => block_on(promote::run(asked)),
        Command::Switchover(asked) => block_on(failover::switchover(asked)),
        Command::Pause(asked) => block_on(failover::pause(asked)),
        Command::Resume(asked) => block_on(failover::resume(asked)),
        Command::Members(asked) => block_on(members::run(asked)),
        Command::Get(asked) => block_on(kv::get(asked)),
        Command::Set(asked) => block_on(kv::set(asked)),
        Command::Incr(asked) => block_on(kv::incr(asked)),
        Command::Del(asked) => block_on(kv::del(asked)),
        Command::Rollback(asked) => block_on(rollback::run(asked)),
        Command::Wal(look) => offline::wal(look),
        Command::Snapshot(look) => offline::snapshot(look),
        Command::Restore(asked) => block_on(restore::run(asked)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "synap", &mut script);
            out::bytes(&script)?;
            Ok(Exit::Good)
        }
    }
}

/// Runs a command that talks to servers, on this thread.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failed::running(format!("no runtime: {error}")))?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
