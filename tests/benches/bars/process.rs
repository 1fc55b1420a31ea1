//! Other people's servers: started on ports of this machine, ended with the value that holds them.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use synap_tests::wait;

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program`, whose output goes to a file in `directory`; none if it is not installed here.
    pub(crate) fn start(program: &str, arguments: &[String], directory: &Path) -> Option<Self> {
        let log = File::create(directory.join("log")).expect("a log can be made");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn();
        child.ok().map(|child| Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&mut self) {
        synap_tests::shell::signal(self.pid(), "TERM");
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something listens at a port of this machine.
pub(crate) fn await_port(port: u16) {
    wait::until_true("a server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Bytes of memory that a process holds.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    kibibytes << 10
}

/// Processor time that a process has used, in microseconds. What it needs for one request says more on a busy machine
/// than how many requests it got through.
pub(crate) fn cpu_micros(pid: u32) -> u64 {
    const MICROS_PER_TICK: u64 = 10_000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything, in parentheses: user time is the 12th field, system time the 13th.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * MICROS_PER_TICK
}
