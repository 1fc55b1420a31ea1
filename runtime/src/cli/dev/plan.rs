//! Who runs where: ports, directories, command lines, and what to tell about them.

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failed};
use crate::disk::FileDisk;
use crate::disk::file::{LOCK, OpenError};

/// The setting that names a server, as the environment takes it.
pub(super) const NODE_NAME: &str = "SYNAP__REPLICATION__NODE_NAME";

/// From one server's ports to the next.
const PORT_STEP: u16 = 10;
/// Fewer servers do not elect a master by themselves.
const ELECTING_NODES_MIN: usize = 3;
/// How much of a log is shown when its server cannot run.
const LAST_WORDS: usize = 5;

/// Every server that is to run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The master first.
    pub(super) nodes: Vec<Planned>,
}

/// One server that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// `node1`
    pub(super) name: String,
    role: &'static str,
    http_port: u16,
    replication_port: u16,
    /// None on the one that is to be the master.
    master_port: Option<u16>,
    data_dir: PathBuf,
    /// Where its standard error goes.
    pub(super) log: PathBuf,
}

impl Plan {
    /// `nodes` servers from `base_port` on, with everything they keep below `dir`.
    pub(super) fn new(nodes: u16, base_port: u16, dir: &Path) -> Self {
        let planned = |number: u16| {
            let http_port = base_port + number * PORT_STEP;
            let name = format!("node{}", number + 1);
            Planned {
                role: match number {
                    0 if nodes == 1 => "standalone",
                    0 => "master",
                    _ => "replica",
                },
                http_port,
                replication_port: http_port + 1,
                master_port: (number > 0).then_some(base_port + 1),
                data_dir: dir.join(&name),
                log: dir.join(format!("{name}.log")),
                name,
            }
        };
        Self { nodes: (0..nodes).map(planned).collect() }
    }

    /// Fails with exit code 75 if a port is taken.
    pub(super) fn check_ports(&self) -> Result<(), Failed> {
        for node in &self.nodes {
            for port in [node.http_port, node.replication_port] {
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    let hint = "another `synap dev` may be running; --base-port chooses other ports";
                    let message = format!("127.0.0.1:{port}, for {}: {error} ({hint})", node.name);
                    return Err(Failed::new(Exit::Temporary, message));
                }
            }
        }
        Ok(())
    }

    /// Makes the directory that holds everything.
    pub(super) fn make_directories(&self) -> Result<(), Failed> {
        for node in &self.nodes {
            std::fs::create_dir_all(&node.data_dir)
                .map_err(|error| Failed::new(Exit::Data, format!("{}: {error}", node.data_dir.display())))?;
        }
        Ok(())
    }

    /// Fails with exit code 75 if a server runs on one of the directories: it is another one's log that this one's would go into.
    pub(super) fn check_directories(&self) -> Result<(), Failed> {
        for node in &self.nodes {
            // What else is wrong with a directory its server finds, and says better. The lock is given back at once.
            if let Err(OpenError::Locked(dir)) = FileDisk::open(&node.data_dir) {
                let hint = "another `synap dev` may be running; --dir chooses another directory";
                let message = format!("{}, for {}: a server runs on it ({hint})", dir.display(), node.name);
                return Err(Failed::new(Exit::Temporary, message));
            }
        }
        Ok(())
    }
}

impl Planned {
    /// The arguments that make it this server.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--role={}", self.role),
            "--host=127.0.0.1".to_owned(),
            format!("--port={}", self.http_port),
            format!("--replica-listen=127.0.0.1:{}", self.replication_port),
            format!("--data-dir={}", self.data_dir.display()),
        ];
        if let Some(port) = self.master_port {
            arguments.push(format!("--master-address=127.0.0.1:{port}"));
        }
        arguments
    }

    /// What a person types to start it.
    pub(super) fn command_line(&self) -> String {
        format!("{NODE_NAME}={} {} {}", self.name, program(), self.arguments().join(" "))
    }

    /// Where clients reach it.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Whether its data directory holds anything of an earlier run.
    pub(super) fn has_data(&self) -> bool {
        std::fs::read_dir(&self.data_dir)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != LOCK))
    }

    /// One line on who it is, with the role that it shows, or else the one that it was started with.
    pub(super) fn introduction(&self, pid: u32, role: Option<&str>) -> String {
        let name = &self.name;
        let role = role.unwrap_or(self.role);
        format!("  {name}  {role:<10}  {}  pid {pid:<8}  log {}", self.url(), self.log.display())
    }

    /// The end of its log, for people.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)).copied();
        format!("{} ends with:\n  {}", self.log.display(), last.collect::<Vec<_>>().join("\n  "))
    }
}

/// What there is from an earlier run, who leads it, and how to be rid of it.
pub(super) fn earlier_run(leader: Option<&Planned>, dir: &Path) -> String {
    let leads = leader.map_or_else(
        || "no server leads yet: `synap status` tells why".to_owned(),
        |leader| format!("{} leads, at {}", leader.name, leader.url()),
    );
    let dir = dir.display();
    format!(
        "\nThe data of an earlier run in {dir} is used again: {leads}.\nTo start afresh, stop this and remove it: rm -r {dir}"
    )
}

/// The guide's lines, with these servers' ports. `leader` is the number of the one that leads.
pub(super) fn things_to_try<'a>(
    nodes: impl Iterator<Item = &'a Planned>,
    leader: Option<usize>,
    restart: bool,
) -> String {
    let urls: Vec<String> = nodes.map(Planned::url).collect();
    let leader = leader.unwrap_or(0);
    let replica = urls.iter().enumerate().rev().find(|(number, _)| *number != leader || urls.len() == 1);
    let (Some(master), Some((_, last))) = (urls.get(leader), replica) else { return String::new() };
    // Any server takes a write: `-L` follows it to the one that leads, whoever that is by then.
    let mut text = format!(
        "\nTry:\n  curl -L -X POST {master}/kv/set -H 'Content-Type: application/json' -d '{{\"key\":\"user:1\",\"value\":\"John Doe\"}}'\n"
    );
    for url in &urls {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  curl {url}/kv/get/user:1");
    }
    let program = program();
    let _ = writeln!(text, "  curl -s {last}/metrics | grep replication_lag");
    let _ = writeln!(text, "  {program} status --url {master}");
    let elects = urls.len() >= ELECTING_NODES_MIN;
    if elects {
        let _ = writeln!(text, "  {program} switchover --url {last}");
    }
    text.push_str(match (elects, restart) {
        (true, true) => {
            "Kill the master (kill -9 PID): a replica takes its place, and it comes back as a replica of that one.\n"
        }
        (true, false) => "Kill the master (kill -9 PID): a replica takes its place.\n",
        (false, true) => "Kill any of them (kill -9 PID): it comes back by itself, with its data.\n",
        (false, false) => "Kill the master (kill -9 PID), then promote a replica: ",
    });
    if !elects && !restart {
        let _ = writeln!(text, "{program} promote --url {last}");
    }
    text + "Ctrl-C stops all. Changes:"
}

/// This program, as it was called.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "synap".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_ports_come_first() {
        let plan = Plan::new(3, 15500, Path::new("d"));
        let ports: Vec<_> = plan.nodes.iter().map(|node| (node.http_port, node.replication_port)).collect();
        assert_eq!(ports, [(15500, 15501), (15510, 15511), (15520, 15521)]);
        let replica = &plan.nodes[1];
        assert_eq!(
            replica.arguments(),
            [
                "serve",
                "--role=replica",
                "--host=127.0.0.1",
                "--port=15510",
                "--replica-listen=127.0.0.1:15511",
                "--data-dir=d/node2",
                "--master-address=127.0.0.1:15501"
            ]
        );
        assert_eq!(replica.log, Path::new("d/node2.log"), "beside the data directory, not in it");
        let command = replica.command_line();
        assert!(
            command.starts_with("SYNAP__REPLICATION__NODE_NAME=node2 "),
            "typed so, it keeps its name: {command}"
        );
    }

    #[test]
    fn what_happens_to_a_killed_master_is_told() {
        let told = |nodes, restart| {
            let plan = Plan::new(nodes, 15500, Path::new("d"));
            things_to_try(plan.nodes.iter(), None, restart)
        };
        assert!(told(3, true).contains("a replica takes its place, and it comes back"));
        assert!(told(3, false).contains("switchover --url http://127.0.0.1:15520"));
        assert!(told(2, true).contains("comes back by itself"));
        assert!(told(2, false).contains("promote --url http://127.0.0.1:15510"));
    }

    #[test]
    fn what_to_try_fits_whoever_leads() {
        let plan = Plan::new(3, 15500, Path::new("d"));
        let told = things_to_try(plan.nodes.iter(), Some(2), true);
        assert!(told.contains("curl -L -X POST http://127.0.0.1:15520/kv/set"), "{told}");
        assert!(told.contains("curl -s http://127.0.0.1:15510/metrics"), "of a replica: {told}");
        let earlier = earlier_run(plan.nodes.last(), Path::new("d"));
        assert!(earlier.contains("node3 leads") && earlier.contains("rm -r d"), "{earlier}");
        assert!(earlier_run(None, Path::new("d")).contains("no server leads yet"));
    }

    #[test]
    fn a_taken_port_is_told_by_its_number() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let failed = Plan::new(1, port, Path::new("d")).check_ports().expect_err("it is taken");
        assert_eq!(failed.exit, Exit::Temporary);
        assert!(failed.message.contains(&format!("127.0.0.1:{port}")), "{}", failed.message);
    }

    #[test]
    fn a_directory_in_use_is_told_by_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let plan = Plan::new(2, 15500, dir.path());
        plan.check_directories().expect("nobody has them");
        plan.check_directories().expect("nor does the check");
        let taken = FileDisk::open(&dir.path().join("node2")).expect("nobody has it");
        let failed = plan.check_directories().expect_err("it is taken");
        assert_eq!(failed.exit, Exit::Temporary);
        assert!(failed.message.contains("node2"), "{}", failed.message);
        drop(taken);
        plan.check_directories().expect("it is free again");
    }
}
