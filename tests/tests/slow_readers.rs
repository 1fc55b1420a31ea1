//! Clients that ask for long answers and do not take them cost room for answers, which is bounded, and not memory, which is not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::wait;

const VALUE_BYTES: usize = 4 << 20;
const ANSWERS_MAX: usize = 16 << 20;

/// More than there is room for.
const READERS: usize = 40;

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let change = |_: usize, config: &mut serde_json::Value| {
        config["limits"] = serde_json::json!({ "inflight_bytes_max": ANSWERS_MAX });
    };
    let cluster = Cluster::start_with(0, change);
    let server = &cluster.servers[0];
    server.request("PUT", "/kv/raw/long", &[], &vec![b'x'; VALUE_BYTES]).with(200);
    let before = server.metric("process_resident_memory_bytes", &[]);
    let greedy: Vec<TcpStream> = (0..READERS).map(|_| ask(server, "/kv/mget?timeout_ms=600000")).collect();
    let held = || server.metric("synap_http_answer_bytes", &[]);
    wait::until_true("there is no room for another", || held() + VALUE_BYTES as f64 > ANSWERS_MAX as f64);
    assert!(held() <= ANSWERS_MAX as f64);
    let grown = server.metric("process_resident_memory_bytes", &[]) - before;
    // What is made to see how long it is does not stay; the system's buffers are not the server's.
    assert!(grown < (4 * ANSWERS_MAX) as f64, "{grown} bytes");

    let refused = server.request("POST", "/kv/mget?timeout_ms=200", &[], BODY.as_bytes());
    refused.problem(503, "busy");
    server.set("short", "1");
    assert_eq!(server.value("short"), Some("1".into()), "short answers need no room");

    // Each is served once there is room, but for those that have held it for half a minute without reading.
    let readers: Vec<JoinHandle<bool>> =
        greedy.into_iter().map(|stream| thread::spawn(|| reads(stream))).collect();
    let served = readers.into_iter().filter_map(|reader| reader.join().ok()).filter(|served| *served).count();
    assert!(served >= READERS - ANSWERS_MAX / VALUE_BYTES, "{served} were served");
    wait::until_true("all room is given back", || held() == 0.0);
}

const BODY: &str = r#"{"keys":["long"]}"#;

fn reads(mut stream: TcpStream) -> bool {
    let mut answer = vec![0; VALUE_BYTES];
    stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

/// Asks, and does not read.
fn ask(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).expect("it listens");
    let length = BODY.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{BODY}").expect("taken");
    stream
}
