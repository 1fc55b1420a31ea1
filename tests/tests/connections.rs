//! What a client may do with its connection: every answer that is due comes, whole and in order, whatever follows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use synap_tests::cluster::Cluster;
use synap_tests::server::Server;
use synap_tests::wait;

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let cluster = Cluster::start(0);
    let all = [set("a", "1"), get("a"), get("absent"), set("a", "2"), last(get("a"))].concat();
    let answers = ask(&cluster.servers[0], &all);
    assert_eq!(statuses(&answers), ["200", "200", "404", "200", "200"], "{answers}");
    assert!(answers.ends_with("\r\n\r\n2"), "{answers}");
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let cluster = Cluster::start(0);
    let mut stream = connect(&cluster.servers[0]);
    stream.write_all((set("a", "1") + "GET /kv/ge").as_bytes()).expect("taken");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("the answer to the first");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn what_is_no_http_takes_no_answer_away() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    let answers = ask(server, &(set("a", "1") + "\u{16}\u{3}nonsense\r\n\r\n"));
    assert_eq!(statuses(&answers), ["200", "400"], "{answers}");
    let chunk = "POST /kv/set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n";
    assert_eq!(statuses(&ask(server, &(get("a") + chunk))), ["200", "400"]);
    let long = format!("GET /kv/get/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(400_000));
    assert_eq!(statuses(&ask(server, &long)).len(), 1, "it is told what is wrong");
}

#[test]
fn who_has_closed_its_half_still_gets_its_answer() {
    let cluster = Cluster::start(2);
    for replicas in 0..3 {
        let query = if replicas == 0 { String::new() } else { format!("?concern={replicas}") };
        let mut stream = connect(&cluster.servers[0]);
        stream.write_all(set_with(&query, "a", "1").as_bytes()).expect("taken");
        stream.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(statuses(&to_the_end(stream)), ["200"], "{query}");
    }
}

#[test]
fn a_body_that_breaks_off_is_no_write() {
    let cluster = Cluster::start(0);
    let server = &cluster.servers[0];
    for whole in [set("a", "1"), chunked("a", "1")] {
        let mut stream = connect(server);
        stream.write_all(&whole.as_bytes()[..whole.len() - 7]).expect("taken");
        stream.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(statuses(&to_the_end(stream)), ["400"], "{whole}");
    }
    assert_eq!(server.value("a"), None);
}

#[test]
fn a_connection_goes_on_after_errors_and_chunks() {
    let cluster = Cluster::start(0);
    let bad = "POST /kv/set HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{bad".to_owned();
    let no_route = "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".to_owned();
    let all = [bad, no_route, chunked("a", "7"), get("%zz"), last(get("a"))].concat();
    let answers = ask(&cluster.servers[0], &all);
    assert_eq!(statuses(&answers), ["400", "404", "200", "400", "200"], "{answers}");
    assert!(answers.ends_with("\r\n\r\n7"), "{answers}");
}

fn set(key: &str, value: &str) -> String {
    set_with("", key, value)
}

fn set_with(query: &str, key: &str, value: &str) -> String {
    let body = format!("{{\"key\":\"{key}\",\"value\":{value}}}");
    format!("POST /kv/set{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(key: &str, value: &str) -> String {
    let body = format!("{{\"key\":\"{key}\",\"value\":{value}}}");
    let (first, second) = body.split_at(4);
    let head = "POST /kv/set HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    format!("{head}4\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len())
}

fn get(key: &str) -> String {
    format!("GET /kv/get/{key} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// The same request as the last of its connection.
fn last(request: String) -> String {
    request.replacen("Host: x\r\n", "Host: x\r\nConnection: close\r\n", 1)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.http)).expect("a connection");
    stream.set_read_timeout(Some(wait::DEADLINE)).expect("a timeout");
    stream
}

/// Everything that is answered until the server ends the connection.
fn ask(server: &Server, requests: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(requests.as_bytes()).expect("taken");
    to_the_end(stream)
}

fn to_the_end(mut stream: TcpStream) -> String {
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("the server ends the connection");
    String::from_utf8(answers).expect("text")
}

/// The status of each answer, in order.
fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}
