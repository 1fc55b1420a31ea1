//! SIGHUP: the configuration is read again, and what can change while the server runs does. Nothing changes if it has a fault.

use super::exit::Failed;
use super::signals::Hangups;
use crate::config::Loaded;
use crate::logging::Level;

/// Keys that take effect at once. All others do at the next start.
const AT_ONCE: [&str; 1] = ["logging.level"];

/// Reads the configuration at each SIGHUP, for as long as the server runs. `running` is the one that it started with.
pub(super) async fn on_hangup(
    mut hangups: Hangups,
    read: impl Fn() -> Result<Loaded, Failed>,
    running: Loaded,
    level: Level,
) {
    while hangups.next().await {
        match read() {
            Ok(loaded) => take(&running, &loaded, &level),
            Err(failed) => {
                for fault in failed.message.lines() {
                    tracing::error!("SIGHUP: the configuration is not taken: {fault}");
                }
            }
        }
    }
}

fn take(running: &Loaded, loaded: &Loaded, level: &Level) {
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let wanted = loaded.settings().logging.level;
    match level.set(&wanted) {
        Ok(()) => tracing::info!(level = wanted, "SIGHUP: the configuration was read again"),
        Err(error) => tracing::error!("SIGHUP: {error}"),
    }
    for key in loaded.differing(running).iter().filter(|key| !AT_ONCE.contains(&key.as_str())) {
        tracing::warn!("SIGHUP: {key} takes effect at the next start");
    }
}
