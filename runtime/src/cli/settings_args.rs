//! The flags that stand for configuration keys, shared by the commands that read a configuration.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failed};
use crate::config::schema::Role;
use crate::config::{self, Flag, Loaded, Sources};

/// Flags that override the configuration file and the environment.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Overrides {
    /// Role to start with on an empty data directory
    #[arg(long, value_enum)]
    pub(super) role: Option<Role>,
    /// Address that the HTTP listener binds
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port of the HTTP listener
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Where a replica finds its master's replication listener
    #[arg(long, value_name = "HOST:PORT")]
    master_address: Option<String>,
    /// Where other nodes connect
    #[arg(long, value_name = "HOST:PORT")]
    replica_listen: Option<String>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Overrides {
    /// The configuration that file, environment and these flags give; or exit code 78.
    pub(super) fn load(&self, file: Option<PathBuf>) -> Result<Loaded, Failed> {
        let sources = Sources { file, environment: config::environment(), flags: self.flags() };
        config::load(sources).map_err(|faults| Failed::new(Exit::Configuration, faults))
    }

    fn flags(&self) -> Vec<Flag> {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        [
            ("--role", "replication.role", self.role.map(|role| role.as_str().into())),
            ("--host", "server.host", self.host.clone().map(Into::into)),
            ("--port", "server.port", self.port.map(Into::into)),
            ("--master-address", "replication.master_address", self.master_address.clone().map(Into::into)),
            (
                "--replica-listen",
                "replication.replica_listen_address",
                self.replica_listen.clone().map(Into::into),
            ),
            ("--data-dir", "persistence.data_dir", data_dir.map(Into::into)),
        ]
        .into_iter()
        .filter_map(|(name, key, value)| Some(Flag { name, key, value: value? }))
        .collect()
    }
}
