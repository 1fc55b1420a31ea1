//! The log: lines on standard error, for people or for machines. Never keys or values; those who log see to that.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, LoggingSettings};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("logging.level: {0}")]
pub struct LoggingError(String);

/// Sends everything that is traced in this process to standard error. Once per process.
pub fn init(settings: &LoggingSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| LoggingError(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    installed.map_err(|error| LoggingError(error.to_string()))
}
