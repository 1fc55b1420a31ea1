//! Redis beside synap: a master that syncs every write, its replicas, and the little of RESP that a load needs.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Buf, BytesMut};
use tempfile::TempDir;

use synap_tests::{ports, wait};

use crate::generator::{Heard, Talk};
use crate::process::{self, Process};

/// One Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    pub(crate) process: Process,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// A server with `more` arguments; none where Redis is not installed.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        let port = ports::free();
        let directory = TempDir::new().expect("a temporary directory can be made");
        let mut arguments: Vec<String> =
            ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""].map(str::to_owned).to_vec();
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let process = Process::start("redis-server", &arguments, directory.path())?;
        process::await_port(port);
        Some(Self { port, process, arguments, directory })
    }

    /// A master that syncs every write and `replicas` replicas that do the same, connected.
    pub(crate) fn cluster(replicas: usize) -> Option<Vec<Self>> {
        let always = ["--appendonly", "yes", "--appendfsync", "always"];
        let mut servers = vec![Self::start(&always)?];
        let master = format!("127.0.0.1 {}", servers[0].port);
        for _ in 0..replicas {
            servers.push(Self::start(&[&always[..], &["--replicaof", &master]].concat())?);
        }
        for replica in &servers[1..] {
            replica.await_synced();
        }
        Some(servers)
    }

    /// Waits until it follows its master and holds what that held.
    pub(crate) fn await_synced(&self) {
        wait::until_true("a Redis replica is in sync", || {
            self.info("replication").contains("master_link_status:up")
        });
    }

    /// Starts it again on its directory, and waits until it has loaded it.
    pub(crate) fn start_again(&mut self) {
        let again = Process::start("redis-server", &self.arguments, self.directory.path());
        self.process = again.expect("it was started before");
        process::await_port(self.port);
        wait::until_true("Redis has loaded its data", || self.info("persistence").contains("\nloading:0"));
    }

    /// A section of its INFO.
    pub(crate) fn info(&self, section: &str) -> String {
        self.command(&["INFO", section]).unwrap_or_default()
    }

    /// One command on a connection of its own; its answer as it came.
    pub(crate) fn command(&self, parts: &[&str]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut out = Vec::new();
        push_command(&mut out, parts);
        push_command(&mut out, &["QUIT"]);
        stream.write_all(&out)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// A client that sends the commands that `next` writes, and waits for `answers` lines.
pub(crate) struct Resp<F> {
    next: F,
    answers: usize,
}

impl<F: FnMut(&mut Vec<u8>) + 'static> Resp<F> {
    /// `next` appends commands that are answered by `answers` one-line answers.
    pub(crate) fn new(answers: usize, next: F) -> Self {
        Self { next, answers }
    }
}

impl<F: FnMut(&mut Vec<u8>) + 'static> Talk for Resp<F> {
    fn ask(&mut self, out: &mut Vec<u8>) {
        (self.next)(out);
    }

    fn hear(&mut self, came: &mut BytesMut, _out: &mut Vec<u8>) -> Heard {
        let ends = came.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let Some(end) = ends.take(self.answers).nth(self.answers - 1) else { return Heard::Part };
        let good = !came[..end].split(|byte| *byte == b'\n').any(|line| line.starts_with(b"-") || line == b":0\r");
        came.advance(end);
        if good { Heard::Good } else { Heard::Bad }
    }
}

/// Appends a command.
pub(crate) fn push_command(out: &mut Vec<u8>, parts: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
    }
}
