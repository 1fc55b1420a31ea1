//! The configuration: flags over environment over file over defaults, every value with its origin, every fault
//! with its place.
//!
//! Owns the YAML's keys ([`schema`]), what they mean together and the words about faults. Opens no socket, makes
//! no directory, and starts nothing: it gives [`Settings`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::address::HostPort;
use crate::settings::Settings;

pub mod address;
mod effective;
mod fault;
mod key_lines;
mod layers;
#[cfg(test)]
mod mutations;
mod nearest;
mod rules;
pub mod schema;
#[cfg(test)]
mod tests;
mod translate;

pub use fault::{Fault, Faults, Origin};
pub use layers::{Flag, known_keys, variable_name};
use schema::Schema;

/// Longest file that is read as a configuration: a thousand times what the longest sensible one takes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The YAML file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables; only those that begin with `SYNAP__` count.
    pub environment: Vec<(String, String)>,
    /// Flags, which beat everything.
    pub flags: Vec<Flag>,
}

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Every key with its effective value.
    pub schema: Schema,
    /// Who said each value, by full path.
    pub origins: BTreeMap<String, Origin>,
    /// What is allowed but deserves a second look.
    pub warnings: Vec<Fault>,
}

/// Reads, merges and checks.
pub fn load(sources: Sources) -> Result<Loaded, Faults> {
    let mut layers = layers::Layers::new();
    if let Some(file) = &sources.file {
        let text = read(file).map_err(|error| unreadable(file.clone(), &error))?;
        layers.file(file, &text);
    }
    layers.environment(sources.environment);
    layers.flags(sources.flags);
    let (schema, origins) = layers.build().map_err(Faults)?;
    complete(schema, origins)
}

impl Loaded {
    /// The keys whose values differ from those of `other`, by full path.
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let (one, another) = (effective::leaves(&self.schema), effective::leaves(&other.schema));
        one.into_iter().filter(|(key, value)| another.get(key) != Some(value)).map(|(key, _)| key).collect()
    }

    /// What the server is told.
    pub fn settings(&self) -> Settings {
        translate::settings(&self.schema)
    }

    /// The names that the configuration tells others to find this node at, and that of its master, each with what it means if it stands
    /// for nothing.
    pub fn names_to_look_up(&self) -> Vec<(String, Fault)> {
        let told = [
            ("server.advertise_address", &self.schema.server.advertise_address),
            ("replication.advertise_address", &self.schema.replication.advertise_address),
        ];
        let own = self.settings().own_names();
        let fault = |key: &str, what: String| {
            let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
            Fault { origin, key: Some(key.to_owned()), what }
        };
        let named = told.into_iter().filter_map(|(key, told)| {
            let host = HostPort::parse(told.as_deref()?).ok()?.host;
            own.contains(&host).then(|| {
                let what = format!(
                    "{host} stands for no address on this machine; where that is so of other machines too, nobody finds this node there"
                );
                (host, fault(key, what))
            })
        });
        let master = self.schema.replication.master_address.as_deref().filter(|_| self.schema.replication.enabled);
        let master = master.and_then(|address| Some(HostPort::parse(address).ok()?.host)).map(|host| {
            let what = format!("{host} stands for no address on this machine: no master is found there");
            (host, fault("replication.master_address", what))
        });
        let host = &self.schema.server.host;
        let what = format!("{host} stands for no address on this machine: a server cannot listen there");
        let listens = std::iter::once((host.clone(), fault("server.host", what)));
        named.chain(master).chain(listens).collect()
    }

    /// What is wrong with the data directory as this machine has it now; it need not be there yet.
    pub fn data_directory_fault(&self) -> Option<Fault> {
        let persistence = &self.schema.persistence;
        let found = Path::new(&persistence.data_dir).ancestors().find(|path| path.exists())?;
        let key = "persistence.data_dir";
        (persistence.enabled && !found.is_dir()).then(|| Fault {
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            key: Some(key.to_owned()),
            what: format!("{} is not a directory; no server starts there", found.display()),
        })
    }

    /// The effective configuration as YAML, each value with its origin as a comment.
    pub fn to_yaml(&self) -> String {
        effective::print(&self.schema, &self.origins)
    }
}

/// The process's environment, as far as it is text.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect()
}

fn complete(mut schema: Schema, mut origins: BTreeMap<String, Origin>) -> Result<Loaded, Faults> {
    let placed = |complaint: rules::Complaint, origins: &BTreeMap<String, Origin>| Fault {
        origin: origins.get(complaint.key).cloned().unwrap_or(Origin::Default),
        key: Some(complaint.key.to_owned()),
        what: complaint.what,
    };
    let complaints = rules::complaints(&schema);
    if !complaints.is_empty() {
        return Err(Faults(complaints.into_iter().map(|complaint| placed(complaint, &origins)).collect()));
    }
    let mode_was_said = origins.get("replication.failover.mode") != Some(&Origin::Default);
    let warnings = rules::warnings(&schema, mode_was_said);
    let warnings = warnings.into_iter().map(|complaint| placed(complaint, &origins)).collect();
    effective::derive(&mut schema, &mut origins);
    Ok(Loaded { schema, origins, warnings })
}

/// The text of a file. What is no file at all, or endless, is not read to its end.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes, so it is not a configuration")));
    }
    // Some editors put a byte order mark in front.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

fn unreadable(file: PathBuf, error: &io::Error) -> Faults {
    let origin = Origin::File { file, line: None };
    Faults(vec![Fault { origin, key: None, what: format!("cannot be read: {error}") }])
}
