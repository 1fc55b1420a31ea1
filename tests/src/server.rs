//! One `synap serve` process with its own data directory, ports and log file. It may be stopped, killed, held
//! and started again; its directory stays until the test is over.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::binary;
use crate::http::{Client, Response};
use crate::metrics::Metrics;
use crate::networks::Place;
use crate::ports;
use crate::shell;
use crate::wait;

/// A server, running or not.
#[derive(Debug)]
pub struct Server {
    /// What the test calls it.
    pub name: String,
    /// Its working directory; the data directory lies in it as `data`.
    pub directory: PathBuf,
    /// Where it lives: on the loopback of this machine, if nothing else is said before it is configured.
    pub place: Place,
    /// The port of its HTTP interface.
    pub http: u16,
    /// The port that it listens on for replicas.
    pub replication: u16,
    /// More arguments for `synap serve`.
    pub arguments: Vec<String>,
    /// What more stands in its environment.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    /// A server that is not started yet, with fresh ports and an empty directory below `parent`.
    pub fn new(name: &str, parent: &Path) -> Self {
        let directory = parent.join(name);
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        Self {
            name: name.to_owned(),
            directory,
            place: Place { host: "127.0.0.1".to_owned(), namespace: None },
            http: ports::free(),
            replication: ports::free(),
            arguments: Vec::new(),
            environment: Vec::new(),
            child: None,
        }
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.join("synap.yaml")
    }

    /// Its data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Writes its configuration file.
    pub fn configure(&self, text: &str) {
        fs::write(self.config_path(), text).expect("the configuration can be written");
    }

    /// Changes its configuration file, which must be JSON, as [`crate::cluster`] writes it.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.config_path()).expect("the server has a configuration");
        let mut config: Value = serde_json::from_str(&text).expect("the configuration is JSON");
        change(&mut config);
        self.configure(&format!("{config:#}\n"));
    }

    /// Starts the process and comes back at once.
    pub fn spawn(&mut self) {
        self.spawn_with(&["--config".into(), self.config_path().into()]);
    }

    /// As [`Server::spawn`], with its arguments and its environment for a configuration.
    pub fn spawn_without_file(&mut self) {
        self.spawn_with(&[]);
    }

    fn spawn_with(&mut self, file: &[OsString]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let child = self
            .program()
            .arg("serve")
            .args(file)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .expect("synap starts");
        self.child = Some(child);
    }

    /// `synap`, in the namespace where it lives.
    fn program(&self) -> Command {
        let Some(namespace) = &self.place.namespace else { return Command::new(binary::synap()) };
        // It becomes what it is told to run, under the same process id.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(binary::synap());
        command
    }

    /// Starts the process and waits until it says that its state is loaded and its first role taken up.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.await_probe("/startupz");
    }

    /// Starts the process and waits until it is fit for reads.
    #[track_caller]
    pub fn start_ready(&mut self) {
        self.spawn();
        self.await_probe("/readyz");
    }

    /// Waits until a probe answers 200.
    #[track_caller]
    pub fn await_probe(&mut self, path: &str) {
        wait::until_or(
            || format!("{} never answered 200 to {path}; its log:\n{}", self.name, self.log()),
            || self.probe(path).then_some(()),
        );
    }

    /// Whether a probe answers 200 now.
    pub fn probe(&self, path: &str) -> bool {
        self.client().get(path).is_ok_and(|response| response.status == 200)
    }

    /// Waits until it is a master that takes writes.
    #[track_caller]
    pub fn await_master(&mut self) {
        self.await_probe("/readyz?role=master");
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn terminate(&mut self) -> i32 {
        self.signal("TERM");
        self.await_exit()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        shell::signal(self.pid(), name);
        if name == "STOP" {
            // The signal is sent before every thread has seen it.
            wait::until_true("every thread of it stands still", || self.stands_still());
        }
    }

    fn stands_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// The exit code, once it has ended by itself.
    #[track_caller]
    pub fn await_exit(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = wait::until_or(
            || format!("{} does not end", self.name),
            || self.child.as_mut().expect("it was started").try_wait().expect("a child can be asked"),
        );
        self.child = None;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("a code or a signal")
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// The most memory that it has had in use so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse().expect("a number of kB");
        kilobytes << 10
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.place.host, self.http)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(format!("{}:{}", self.place.host, self.http))
    }

    /// GET, which must be answered.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.answered(self.client().get(path), path)
    }

    /// POST of JSON, which must be answered.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.answered(self.client().post(path, body), path)
    }

    /// Any request, which must be answered.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.answered(self.client().request(method, path, headers, body), path)
    }

    /// Sets a key at the default concern; the write's position.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) -> (u64, u64) {
        self.post("/kv/set", &serde_json::json!({ "key": key, "value": value })).with(200).position()
    }

    /// A key's value as JSON; none if it is absent.
    #[track_caller]
    pub fn value(&self, key: &str) -> Option<Value> {
        let response = self.get(&format!("/kv/get/{key}"));
        match response.status {
            404 => None,
            _ => Some(response.with(200).json()),
        }
    }

    /// `/replication/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.get("/replication/status").with(200).json()
    }

    /// How far it has applied: epoch and index.
    #[track_caller]
    pub fn applied(&self) -> (u64, u64) {
        self.get("/kv/exists/-").with(200).position()
    }

    /// `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").with(200).text())
    }

    /// One metric's value; panics if it is not there.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let value = self.metrics().value(name, labels);
        value.unwrap_or_else(|| panic!("{} shows no {name} {labels:?}", self.name))
    }

    #[track_caller]
    fn answered(&self, result: std::io::Result<Response>, path: &str) -> Response {
        result.unwrap_or_else(|error| panic!("{} did not answer {path}: {error}\n{}", self.name, self.log()))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("synap.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("---- the end of {}'s log ----\n{}", self.name, tail.join("\n"));
        }
    }
}
