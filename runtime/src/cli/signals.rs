//! SIGTERM and SIGINT, and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the process to end.
#[derive(Debug)]
pub(super) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From now on these signals end the process no longer by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next, and names it.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP, which asks for the configuration to be read again.
#[derive(Debug)]
pub(super) struct Hangups(Signal);

impl Hangups {
    /// From now on the signal ends the process no longer.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next. False: there will be none.
    pub(super) async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

/// Waits until the process is asked to end.
pub(super) async fn asked_to_end() -> io::Result<()> {
    EndSignals::new()?.next().await;
    Ok(())
}
