//! Servers that replicate: the first is configured as the master, the others as its replicas.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::networks::Networks;
use crate::server::Server;
use crate::wait;

/// A cluster in one temporary directory.
#[derive(Debug)]
pub struct Cluster {
    /// The master first, as configured. Declared before the directory, so that they end before it goes.
    pub servers: Vec<Server>,
    directory: TempDir,
}

impl Cluster {
    /// One master and `replicas` replicas, all serving and caught up.
    #[track_caller]
    pub fn start(replicas: usize) -> Self {
        Self::start_with(replicas, |_, _| {})
    }

    /// As [`Cluster::start`], with each server's configuration changed first; servers are counted from 0.
    #[track_caller]
    pub fn start_with(replicas: usize, change: impl FnMut(usize, &mut Value)) -> Self {
        Self::prepare(replicas, change).started()
    }

    /// With automatic failover, armed: the first server leads, and any majority can replace it.
    #[track_caller]
    pub fn armed(replicas: usize) -> Self {
        Self::start_with(replicas, automatic(replicas)).once_armed()
    }

    /// As [`Cluster::armed`], each server in a network of its own.
    #[track_caller]
    pub fn armed_in(networks: &Networks, replicas: usize) -> Self {
        Self::armed_in_with(networks, replicas, |_| {})
    }

    /// As [`Cluster::armed_in`], with each server's configuration changed first.
    #[track_caller]
    pub fn armed_in_with(networks: &Networks, replicas: usize, change: impl Fn(&mut Value)) -> Self {
        let mut automatic = automatic(replicas);
        let configure = move |server: usize, config: &mut Value| {
            automatic(server, config);
            change(config);
        };
        Self::prepare_in(Some(networks), replicas, configure).started().once_armed()
    }

    /// As prepared, all serving and caught up.
    #[track_caller]
    pub fn begun(self) -> Self {
        self.started()
    }

    /// As [`Cluster::start`], each server in a network of its own.
    #[track_caller]
    pub fn start_in(networks: &Networks, replicas: usize) -> Self {
        Self::prepare_in(Some(networks), replicas, |_, _| {}).started()
    }

    #[track_caller]
    fn started(mut self) -> Self {
        for server in &mut self.servers {
            server.spawn();
        }
        self.servers[0].await_master();
        for server in &mut self.servers {
            server.await_probe("/readyz");
        }
        self
    }

    /// All its servers know that it is armed.
    #[track_caller]
    pub fn once_armed(self) -> Self {
        let voters = voters(self.servers.len() - 1);
        wait::until_true("every server knows that the cluster is armed", || {
            self.servers.iter().all(|server| {
                let status = server.status();
                let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
                let told = members.iter().filter(|member| member["voter"] == true).count();
                status["failover"]["armed"] == true && told == voters
            })
        });
        self
    }

    /// The number of the server that takes writes, once there is one.
    #[track_caller]
    pub fn await_leader(&self) -> usize {
        wait::until("some server takes writes", || {
            self.servers.iter().position(|server| server.probe("/readyz?role=master"))
        })
    }

    /// Configured and not started.
    pub fn prepare(replicas: usize, change: impl FnMut(usize, &mut Value)) -> Self {
        Self::prepare_in(None, replicas, change)
    }

    fn prepare_in(
        networks: Option<&Networks>,
        replicas: usize,
        mut change: impl FnMut(usize, &mut Value),
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let server = |number| {
            let mut server = Server::new(&format!("n{}", number + 1), directory.path());
            if let Some(networks) = networks {
                server.place = networks.place(number);
            }
            server
        };
        let servers: Vec<Server> = (0..=replicas).map(server).collect();
        let master = servers[0].replication;
        for (number, server) in servers.iter().enumerate() {
            let mut config = config(server, (number > 0).then_some(master));
            if networks.is_some() && number > 0 {
                config["replication"]["master_address"] = json!(format!("{}:{master}", servers[0].place.host));
            }
            change(number, &mut config);
            server.configure(&format!("{config:#}\n"));
        }
        Self { servers, directory }
    }

    /// Where all its servers' directories lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Has its directory outlive the test, for who wants to see what happened.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// Waits until all servers that run have applied the same position, and gives it.
    #[track_caller]
    pub fn await_converged(&mut self) -> (u64, u64) {
        let mut seen = Vec::new();
        let running: Vec<&Server> =
            self.servers.iter_mut().filter_map(|server| server.is_running().then_some(&*server)).collect();
        wait::until("all servers apply the same position", || {
            let applied = |server: &&Server| {
                let response = server.client().get("/kv/exists/-").ok()?;
                response.header("synap-position").map(crate::http::position)
            };
            seen = running.iter().map(applied).collect();
            let first = seen.first().copied().flatten()?;
            seen.iter().all(|position| *position == Some(first)).then_some(first)
        })
    }
}

/// The configuration of one server: a master, or a replica of the master whose replication port is given. Failover
/// is the operator's, and heartbeats come quickly, so that tests need not wait.
pub fn config(server: &Server, master: Option<u16>) -> Value {
    let mut config = json!({
        "server": { "host": server.place.host, "port": server.http },
        "replication": {
            "enabled": true,
            "role": if master.is_some() { "replica" } else { "master" },
            "node_name": server.name,
            "replica_listen_address": format!("{}:{}", server.place.host, server.replication),
            "heartbeat_interval_ms": 200,
            "reconnect_delay_ms": 500,
            "failover": { "mode": "manual" },
        },
    });
    if let Some(port) = master {
        config["replication"]["master_address"] = json!(format!("localhost:{port}"));
    }
    config
}

/// How many of a cluster's members vote.
fn voters(replicas: usize) -> usize {
    replicas + 1 - replicas % 2
}

fn automatic(replicas: usize) -> impl FnMut(usize, &mut Value) {
    let voters = voters(replicas);
    move |_, config| config["replication"]["failover"] = json!({ "mode": "auto", "voters_max": voters })
}
