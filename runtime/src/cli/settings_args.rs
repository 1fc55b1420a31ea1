//! The flags that stand for configuration keys, shared by the commands that read a configuration.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failed};
use crate::config::schema::Role;
use crate::config::{self, Flag, Loaded, Sources};

/// The one key that has to be said where there is no file.
const ROLE: &str = "replication.role";

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
    /// The configuration that file, environment and these flags give; or exit code 78. Without a file somebody must have said which
    /// role is wanted (exit code 2): whoever forgets the file must not get an empty server.
    pub(super) fn load(&self, file: Option<PathBuf>) -> Result<Loaded, Failed> {
        let sources = Sources { file, environment: config::environment(), flags: self.flags() };
        let role = config::variable_name(ROLE);
        let says_role = sources.flags.iter().any(|flag| flag.key == ROLE)
            || sources.environment.iter().any(|(name, _)| *name == role);
        if sources.file.is_none() && !says_role {
            let message = format!(
                "no configuration: a file is needed, or a role, by --role or by the environment ({role}=master); all other keys \
                 can then be set by variables too"
            );
            return Err(Failed::new(Exit::Usage, message));
        }
        config::load(sources).map_err(|faults| Failed::new(Exit::Configuration, faults))
    }

    fn flags(&self) -> Vec<Flag> {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        [
            ("--role", ROLE, self.role.map(|role| role.as_str().into())),
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
