//! `synap dev`: the README's first command. Kill the master that it names, and watch.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use synap_tests::ports;
use synap_tests::shell;
use synap_tests::{binary, wait};
use tempfile::TempDir;

#[test]
fn a_killed_master_is_replaced_before_your_eyes() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut dev = Dev::start(&directory);
    let introduction = dev.line_with("node1  master");
    let pid = introduction.split_whitespace().skip_while(|word| *word != "pid").nth(1).expect("a pid");
    let pid: u32 = pid.parse().expect("a number");
    dev.line_with("a replica takes its place");
    let url = url_in(&introduction);
    wait::until_true("the cluster is armed", || {
        shell::bash(&format!("synap members --url {url} | grep -q 'is armed'"), directory.path()).code == 0
    });

    shell::signal(pid, "KILL");
    dev.line_with("replica -> master (serving)");
    dev.line_with("node1: started again");
    dev.line_with("node1  replica (streaming)");
    shell::signal(dev.process.id(), "INT");
    dev.line_with("stopping");
    assert!(dev.process.wait().expect("it can be waited for").success());
}

#[test]
fn a_second_run_says_whose_data_it_found_and_who_leads() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut dev = Dev::start(&directory);
    let url = url_in(&dev.line_with("node1  master"));
    dev.line_with("Ctrl-C stops all");
    assert!(!dev.said("earlier run"), "there was none");
    let at = |command: &str| shell::bash(&format!("synap {command} --url {url}"), directory.path());
    wait::until_true("the cluster is armed", || at("members").stdout.contains("is armed"));
    at("switchover --yes --to node2").good();
    shell::signal(dev.process.id(), "INT");
    assert!(dev.process.wait().expect("it can be waited for").success());

    let mut dev = Dev::start(&directory);
    let leads = dev.line_with("The data of an earlier run in ./synap-dev is used again");
    dev.line_with("rm -r ./synap-dev");
    let curl = dev.line_with("curl -L -X POST");
    // Restarted together, any of them may be elected: the one that is named takes the write that is printed.
    let leader = leads.split_whitespace().find(|word| word.starts_with("http://")).expect("who leads");
    let leader = leader.trim_end_matches('.');
    assert!(curl.contains(leader) && dev.said_row(leader, "master"), "{leads}\n{curl}\n{}", dev.seen.join("\n"));
    let done = shell::bash(&curl, directory.path()).good();
    assert!(done.contains("\"success\":true"), "{done}");
}

#[test]
fn a_second_one_on_the_same_directory_leaves_the_first_ones_logs_alone() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut dev = Dev::start(&directory);
    let url = url_in(&dev.line_with("node1  master"));
    dev.line_with("Ctrl-C stops all");
    let log = directory.path().join("synap-dev/node1.log");
    let lines = || std::fs::read_to_string(&log).expect("there is a log");
    let starts = lines().matches("listening").count();

    // Somebody may have taken one of its ports meanwhile.
    wait::until_true("the second one names the directory", || {
        let command = format!("synap dev --base-port {}", ports::row(PORTS));
        let second = shell::bash(&command, directory.path()).ended_with(75);
        second.stderr.contains("synap-dev/node1, for node1: a server runs on it")
    });
    let log = lines();
    assert!(!log.contains("in use") && log.matches("listening").count() == starts, "{log}");
    let status = shell::bash(&format!("synap status --url {url}"), directory.path()).good();
    assert!(status.contains("master"), "{status}");
}

fn url_in(introduction: &str) -> String {
    introduction.split_whitespace().nth(2).expect("a URL").to_owned()
}

/// From the first port of three servers to their last, both counted.
const PORTS: u16 = 22;

struct Dev {
    process: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Dev {
    fn start(directory: &TempDir) -> Self {
        // Three servers take two ports in each ten from the first on; somebody may have one of them.
        for _ in 0..20 {
            let mut dev = Self::start_at(ports::row(PORTS), directory);
            if dev.next_line().is_some() {
                return dev;
            }
            let code = dev.process.wait().expect("it can be waited for").code();
            assert_eq!(code, Some(75), "only a taken port keeps it from starting");
        }
        panic!("no three servers find their ports");
    }

    fn start_at(port: u16, directory: &TempDir) -> Self {
        let mut process = Command::new(binary::synap())
            .args(["dev", "--base-port", &port.to_string()])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("synap starts");
        let output = BufReader::new(process.stdout.take().expect("its output is piped"));
        let (told, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { process, lines, seen: Vec::new() }
    }

    fn next_line(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(wait::DEADLINE).ok()?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// Whether a line that was read holds `text`.
    fn said(&self, text: &str) -> bool {
        self.seen.iter().any(|line| line.contains(text))
    }

    /// Whether the server at `url` was introduced with this role.
    fn said_row(&self, url: &str, role: &str) -> bool {
        self.seen.iter().any(|line| line.contains("pid") && line.contains(url) && line.contains(role))
    }

    /// Reads on to a line that holds `text`.
    #[track_caller]
    fn line_with(&mut self, text: &str) -> String {
        loop {
            match self.next_line() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("{text:?} was not said:\n{}", self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its servers end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
