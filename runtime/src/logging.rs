//! The log: lines on standard error, for people or for machines. Never keys or values; those who log see to that.
//!
//! Logging never decides over service. Lines are queued and written by a thread of their own: a reader that is slow, blocks or
//! has gone away costs lines, which are counted ([`lines_lost`]), never a request, a vote or the process. A line that is
//! repeated is written less and less often, with a count ([`repeats`]).

mod repeats;
mod sink;

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use self::sink::Sink;
use crate::settings::{LogFormat, LoggingSettings};

/// Lines that wait to be written; further ones are lost.
const QUEUE_LINES: usize = 8_192;

/// Lines that could not be written.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// Lines that found no room in the queue.
static UNQUEUED: OnceLock<ErrorCounter> = OnceLock::new();

/// Why there is no log, or no other level.
#[derive(Debug, thiserror::Error)]
#[error("logging.level: {0}")]
pub struct LoggingError(String);

/// How long the process waits at its end for lines to be written.
const END_WAITS: Duration = Duration::from_secs(1);

/// The log of this process. When it is dropped, lines that wait are written, if that takes no longer than a second.
#[derive(Debug)]
pub struct Log {
    level: Level,
    writer: Option<WorkerGuard>,
}

/// Which lines are written; shared with the log.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Lines of the log that were lost since the process began.
pub fn lines_lost() -> u64 {
    let unqueued = UNQUEUED.get().map_or(0, |counter| counter.dropped_lines() as u64);
    UNWRITTEN.load(Ordering::Relaxed) + unqueued
}

/// Sends everything that is traced in this process to standard error. Once per process.
pub fn init(settings: &LoggingSettings) -> Result<Log, LoggingError> {
    let (level, set_level) = reload::Layer::new(filter(&settings.level)?);
    let sink = Sink::new(io::stderr(), settings.format, &UNWRITTEN);
    let (queue, writer) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES).thread_name("log").finish(sink);
    // The only other caller would be refused below.
    let _ = UNQUEUED.set(queue.error_counter());
    let lines = fmt::layer().with_writer(queue).without_time();
    let all = tracing_subscriber::registry().with(level);
    let installed = match settings.format {
        LogFormat::Text => all.with(lines.with_ansi(io::stderr().is_terminal()).with_target(false)).try_init(),
        LogFormat::Json => all.with(lines.json().flatten_event(true)).try_init(),
    };
    installed.map_err(|error| LoggingError(error.to_string()))?;
    Ok(Log { level: Level(set_level), writer: Some(writer) })
}

impl Log {
    /// To change which lines are written.
    pub fn level(&self) -> Level {
        self.level.clone()
    }
}

impl Level {
    /// From now on lines of this level and above are written.
    pub fn set(&self, level: &str) -> Result<(), LoggingError> {
        self.0.reload(filter(level)?).map_err(|error| LoggingError(error.to_string()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let writer = self.writer.take();
        within(END_WAITS, move || drop(writer));
    }
}

/// Does what may block on standard error, and waits for it no longer than `limit`.
pub(crate) fn within(limit: Duration, what: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        what();
        // Nobody waits any more if the limit has passed.
        let _ = ended.send(());
    });
    // Past the limit the process ends, and the thread with it.
    let _ = end.recv_timeout(limit);
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(level).map_err(|error| LoggingError(error.to_string()))
}
