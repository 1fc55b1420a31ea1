//! One server as a child process. It ends gracefully when its standard input closes, hence also when this process
//! dies in whatever way: no server is left behind.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::process::{self, Command};
use tokio::time::{Instant, timeout_at};

use super::plan::{NODE_NAME, Planned};
use crate::cli::exit::Failed;

/// A running server.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    pid: u32,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}

impl Child {
    /// Starts a server; its log goes on where it was.
    pub(super) fn start(planned: &Planned) -> Result<Self, Failed> {
        Self::spawn(planned)
            .map_err(|error| Failed::running(format!("{} cannot be started: {error}", planned.name)))
    }

    fn spawn(planned: &Planned) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&planned.log)?;
        let process = Command::new(std::env::current_exe()?)
            .args(planned.arguments())
            .arg("--until-stdin-closes")
            .env(NODE_NAME, &planned.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            // Ctrl-C goes to this process alone, which then ends the servers one after the other.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { process, pid })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<Ended>, Failed> {
        let status = self.process.try_wait();
        Ok(status.map_err(|error| Failed::running(format!("pid {}: {error}", self.pid)))?.map(Ended::of))
    }

    /// Asks it to finish what is in flight and end.
    pub(super) fn ask_to_end(&mut self) {
        self.process.stdin = None;
    }

    /// Waits for its end until `deadline`, and kills it then.
    pub(super) async fn end_by(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.process.wait()).await.is_err() {
            // It may have ended just now, which is as good.
            let _ = self.process.kill().await;
        }
    }
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(9) => f.write_str("was killed (signal 9)"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}
