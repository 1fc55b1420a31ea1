//! The log never decides over service: where its lines cannot be written they are lost and counted, and everything else goes on. A
//! signal changes its level.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use synap_tests::cluster::Cluster;
use synap_tests::http::Client;
use synap_tests::metrics::Metrics;
use synap_tests::server::Server;
use synap_tests::{binary, ports, shell, wait};

/// A standalone server whose standard error is `log`, at the level `trace`.
fn serve(directory: &std::path::Path, log: Stdio) -> (Child, Client) {
    serve_as(Command::new(binary::synap()).stderr(log), directory)
}

/// The same, by a command that takes the rest of the line.
fn serve_as(command: &mut Command, directory: &std::path::Path) -> (Child, Client) {
    let port = ports::free();
    let child = command
        .args(["serve", "--role", "standalone", "--host", "127.0.0.1", "--data-dir", "data", "--port"])
        .arg(port.to_string())
        .env("SYNAP__LOGGING__LEVEL", "trace")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("synap starts");
    let client = Client::new(format!("127.0.0.1:{port}"));
    wait::until_true("it is ready", || client_of(port).get("/readyz").is_ok_and(|answer| answer.status == 200));
    (child, client)
}

fn client_of(port: u16) -> Client {
    Client::new(format!("127.0.0.1:{port}"))
}

fn lines_lost(client: &mut Client) -> f64 {
    let text = client.get("/metrics").expect("it answers").with(200).text();
    Metrics::parse(&text).value("synap_log_lines_lost_total", &[]).expect("it is shown")
}

#[test]
fn a_log_that_cannot_be_written_costs_lines_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let (mut child, mut client) = serve(directory.path(), full.into());
    assert!(lines_lost(&mut client) > 0.0);
    client.post("/kv/set", &serde_json::json!({ "key": "a", "value": "1" })).expect("taken").with(200);
    shell::signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_reader_of_the_log_that_has_gone_ends_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, mut client) = serve(directory.path(), Stdio::piped());
    drop(child.stderr.take());
    client.post("/kv/set", &serde_json::json!({ "key": "a", "value": "1" })).expect("taken").with(200);
    shell::signal(child.id(), "HUP");
    wait::until_true("a line was lost", || lines_lost(&mut client) > 0.0);
    shell::signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// As by `2>/dev/null`: nothing is lost that somebody wanted, and no file of the server gets lines between its bytes.
#[test]
fn a_standard_error_that_is_closed_from_the_start_is_no_file_of_the_servers() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" <&- >&- 2>&-"#]).arg(binary::synap());
    let (mut child, mut client) = serve_as(&mut shell, directory.path());
    client.post("/kv/set", &serde_json::json!({ "key": "a", "value": "1" })).expect("taken").with(200);
    for number in 0..3 {
        let stands_for = std::fs::read_link(format!("/proc/{}/fd/{number}", child.id())).expect("it is open");
        assert_eq!(stands_for, std::path::Path::new("/dev/null"), "{number}");
    }
    assert!(lines_lost(&mut client).abs() < 0.5);
    shell::signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    shell::synap(["wal", "verify", &directory.path().join("data").display().to_string()]).good();
}

#[test]
fn a_reader_of_the_log_that_reads_nothing_holds_nobody_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, mut client) = serve(directory.path(), Stdio::piped());
    // A pipe holds 64 KiB; each of these connections is told of by a line that has its port.
    for _ in 0..2_000 {
        let mut stream = TcpStream::connect(client.address()).expect("it listens");
        stream.write_all(b"nonsense\r\n\r\n").expect("taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer and the end");
        assert!(answer.starts_with(b"HTTP/1.1 400"));
    }
    client.post("/kv/set", &serde_json::json!({ "key": "a", "value": "1" })).expect("taken").with(200);
    shell::signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let mut read = String::new();
    let log = child.stderr.take().expect("it was piped");
    log.take(1 << 16).read_to_string(&mut read).expect("text");
    assert!(read.contains("listening"), "{read}");
}

#[test]
fn a_hangup_reads_the_level_again() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let level = |level: &str| {
        server.reconfigure(|config| config["logging"] = serde_json::json!({ "level": level }));
        server.signal("HUP");
    };
    level("debug");
    await_line(server, "SIGHUP: the configuration was read again");
    server.reconfigure(|config| config["limits"] = serde_json::json!({ "connections_max": 77 }));
    server.signal("HUP");
    await_line(server, "SIGHUP: limits.connections_max takes effect at the next start");
    server.reconfigure(|config| config["logging"] = serde_json::json!({ "level": "loud" }));
    server.signal("HUP");
    await_line(server, "SIGHUP: the configuration is not taken");
    assert!(server.probe("/readyz"), "a wrong file ends nobody");
}

fn await_line(server: &Server, line: &str) {
    wait::until_or(
        || format!("no {line:?} in the log:\n{}", server.log()),
        || server.log().contains(line).then_some(()),
    );
}
