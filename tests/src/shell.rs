//! Command lines as a person types them, run by bash.

use std::path::Path;
use std::process::{Command, Output};

use crate::binary;

/// What a command line printed and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a line in bash with `pipefail`, with the tested `synap` on its path, in `directory`.
pub fn bash(line: &str, directory: &Path) -> Ran {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", line])
        .env("PATH", path_with_synap())
        .current_dir(directory)
        .output()
        .expect("bash runs");
    Ran::of(output)
}

/// Runs `synap` with these arguments.
pub fn synap<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    Ran::of(Command::new(binary::synap()).args(arguments).output().expect("synap runs"))
}

/// Sends a signal (`STOP`, `CONT`, `TERM`, ...) to one process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().expect("sh runs");
    assert!(sent.success(), "cannot send SIG{name} to {pid}");
}

/// `PATH` with the tested binary's directory in front.
pub fn path_with_synap() -> String {
    let directory = binary::synap().parent().expect("a binary lies in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", directory.display())
}

impl Ran {
    /// Panics unless it ended with 0; gives its standard output.
    #[track_caller]
    pub fn good(self) -> String {
        self.ended_with(0).stdout
    }

    /// Panics unless it ended with `code`.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            code: status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
