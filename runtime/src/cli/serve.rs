//! `synap serve`: one server, from its configuration to its exit code.

use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::Args;
use sd_notify::NotifyState;
use synap_core::wal::RecoveryError;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::exit::{Exit, Failed, Outcome};
use super::reload;
use super::settings_args::Overrides;
use super::signals::{EndSignals, Hangups};
use crate::config::Loaded;
use crate::descriptors;
use crate::disk::file::OpenError;
use crate::driver::Ended;
use crate::logging;
use crate::server::{Running, Server, StartError};

/// What is served.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// YAML file; may be left out when --role or SYNAP__REPLICATION__ROLE is given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// End gracefully when standard input closes, as on SIGTERM
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Serves until a signal, or until the disk fails.
pub(super) fn run(asked: Serve) -> Outcome {
    let loaded = asked.overrides.load(asked.config.clone())?;
    let log =
        logging::init(&loaded.settings().logging).map_err(|error| Failed::new(Exit::Configuration, error))?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    // Never shut down: whatever still runs ends with the process, since a second signal waits for nothing. The disk's threads
    // may run until then, and a timer panics on a runtime that is being shut down.
    let runtime = runtime.map_err(|error| Failed::running(format!("no runtime: {error}")))?;
    let runtime = ManuallyDrop::new(runtime);
    let level = log.level();
    runtime.block_on(async {
        let hangups = Hangups::new().map_err(|error| Failed::running(format!("signals: {error}")))?;
        let until_stdin_closes = asked.until_stdin_closes;
        let read = move || asked.overrides.load(asked.config.clone());
        tokio::spawn(reload::on_hangup(hangups, read, loaded.clone(), level));
        serve(&loaded, until_stdin_closes).await
    })
}

async fn serve(loaded: &Loaded, until_stdin_closes: bool) -> Outcome {
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let mut asks = EndAsks::new(until_stdin_closes)?;
    let mut settings = loaded.settings();
    settings.front.connections_max = most_connections(settings.front.connections_max);
    if let Some(persistence) = &settings.persistence {
        // The last word there is of a start on a disk that hangs.
        tracing::info!(dir = %persistence.data_dir.display(), "opening the data directory");
    }
    // A task of its own, since loading may take long and nothing else would be heard meanwhile.
    let mut opening = tokio::spawn(Server::open(settings));
    let mut running = tokio::select! {
        opened = &mut opening => opened.map_err(Failed::running)?.map_err(refused)?,
        cause = asks.next() => {
            tracing::info!(cause, "stopping: the data was still being loaded, nothing has begun");
            return Ok(Exit::Good);
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %running.http_address(),
        replication = running.replication_address().map(tracing::field::display),
        "listening"
    );
    tell_supervisor(NotifyState::Ready);
    tokio::select! {
        ended = running.ended() => came_to_an_end(ended),
        cause = asks.next() => stop(running, asks, cause).await,
    }
}

/// Client connections that there are file descriptors for.
fn most_connections(wanted: usize) -> usize {
    let limit = descriptors::raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit on open files cannot be raised");
        None
    });
    let most = descriptors::connections(wanted, limit);
    if most < wanted {
        tracing::warn!(
            limit,
            "at most {most} client connections at once, limits.connections_max asks for {wanted}: raise the hard limit on open \
             files (ulimit -Hn, LimitNOFILE)"
        );
    }
    most
}

async fn stop(mut running: Running, mut asks: EndAsks, cause: &'static str) -> Outcome {
    tracing::info!(cause, "stopping: finishing what is in flight");
    tell_supervisor(NotifyState::Stopping);
    running.shutdown();
    tokio::select! {
        ended = running.ended() => came_to_an_end(ended),
        cause = asks.next() => {
            tracing::warn!(cause, "asked again: ending at once");
            Ok(Exit::Impatient)
        }
    }
}

fn came_to_an_end(ended: Ended) -> Outcome {
    match ended {
        Ended::Stopped => {
            tracing::info!("stopped");
            Ok(Exit::Good)
        }
        Ended::DiskFailed(error) => {
            tracing::error!(%error, "the disk failed: nothing is promised any more");
            Err(Failed::new(Exit::Data, format!("the disk failed: {error}")))
        }
    }
}

fn refused(error: StartError) -> Failed {
    let exit = match &error {
        StartError::Open(OpenError::Locked(_)) => Exit::Temporary,
        StartError::Recovery { error: RecoveryError::Version { .. }, .. } => Exit::Version,
        StartError::Emptied { .. } | StartError::LogGone { .. } => Exit::Emptied,
        StartError::Open(OpenError::Io(_)) | StartError::Recovery { .. } | StartError::Disk(_) => Exit::Data,
        StartError::Bind { error, .. } => bind_exit(error.kind()),
        StartError::Member { .. } => Exit::Configuration,
        StartError::Thread(_) => Exit::Failure,
    };
    tracing::error!("{error}");
    Failed::new(exit, error)
}

fn bind_exit(kind: io::ErrorKind) -> Exit {
    match kind {
        // Another process is in the way, or the interface is not up yet.
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Exit::Temporary,
        io::ErrorKind::PermissionDenied => Exit::Configuration,
        _ => Exit::Failure,
    }
}

/// Without a supervisor that listens this does nothing.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}

/// Everything that asks the process to end.
struct EndAsks {
    signals: EndSignals,
    stdin: Option<oneshot::Receiver<()>>,
}

impl EndAsks {
    fn new(until_stdin_closes: bool) -> Result<Self, Failed> {
        let signals = EndSignals::new().map_err(|error| Failed::running(format!("signals: {error}")))?;
        Ok(Self { signals, stdin: until_stdin_closes.then(stdin_closed) })
    }

    /// Waits for the next, and names it.
    async fn next(&mut self) -> &'static str {
        let Some(stdin) = &mut self.stdin else { return self.signals.next().await };
        tokio::select! {
            signal = self.signals.next() => signal,
            _ = stdin => {
                self.stdin = None;
                "standard input closed"
            }
        }
    }
}

/// A thread of its own, since reading standard input cannot be given up; it ends with the process at the latest.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while io::stdin().read(&mut ignored).is_ok_and(|length| length > 0) {}
        // Nobody waits for it if the process ends for another reason.
        let _ = closed.send(());
    });
    told
}
