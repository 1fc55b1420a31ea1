//! Whole servers in one process, on real sockets and disks.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use synap_runtime::config::{Sources, load};
use synap_runtime::driver::Ended;
use synap_runtime::server::{Running, Server, StartError};
use synap_runtime::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Generous: tests wait for conditions, never for time.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(standalone(dir.path())).await;
    set(&server, "a", "1").await;
    set(&server, "b", "2").await;
    server.shutdown();
    assert!(matches!(server.ended().await, Ended::Stopped));
    let server = start(standalone(dir.path())).await;
    until_get(server.http_address(), "a", "1").await;
    until_get(server.http_address(), "b", "2").await;
}

#[tokio::test]
async fn a_second_process_is_kept_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _server = start(standalone(dir.path())).await;
    let second = Server::open(standalone(dir.path())).await;
    assert!(matches!(second, Err(StartError::Open(_))), "{second:?}");
}

#[tokio::test]
async fn without_persistence_nothing_is_left() {
    let mut settings = standalone(Path::new("unused"));
    settings.persistence = None;
    settings.core.persistent = false;
    settings.core.snapshot = None;
    let mut server = start(settings).await;
    set(&server, "a", "1").await;
    server.shutdown();
    assert!(matches!(server.ended().await, Ended::Stopped));
    assert!(!Path::new("unused").exists());
}

#[tokio::test]
async fn a_replica_follows_its_master_through_restarts_of_both() {
    let (master_dir, replica_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut master = start(replicated("master", master_dir.path(), None)).await;
    let port = master.replication_address().unwrap();
    let mut replica = start(replicated("replica", replica_dir.path(), Some(port))).await;
    set(&master, "a", "1").await;
    until_get(replica.http_address(), "a", "1").await;

    replica.shutdown();
    assert!(matches!(replica.ended().await, Ended::Stopped));
    set(&master, "b", "2").await;
    let replica = start(replicated("replica", replica_dir.path(), Some(port))).await;
    until_get(replica.http_address(), "b", "2").await;

    master.shutdown();
    assert!(matches!(master.ended().await, Ended::Stopped));
    let mut settings = replicated("master", master_dir.path(), None);
    settings.replication_bind = Some(port.to_string());
    let master = start(settings).await;
    set(&master, "c", "3").await;
    until_get(replica.http_address(), "c", "3").await;
}

fn standalone(dir: &Path) -> Settings {
    settings(dir, "replication: { role: standalone }")
}

fn replicated(role: &str, dir: &Path, master: Option<SocketAddr>) -> Settings {
    let master = master.map(|address| format!(", master_address: \"{address}\"")).unwrap_or_default();
    let failover = "heartbeat_interval_ms: 100, reconnect_delay_ms: 200, failover: { mode: manual }";
    settings(
        dir,
        &format!("replication: {{ role: {role}, replica_listen_address: \"127.0.0.1:2\"{master}, {failover} }}"),
    )
}

fn settings(dir: &Path, replication: &str) -> Settings {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = dir.display();
    let yaml =
        format!("server: {{ host: 127.0.0.1, port: 1 }}\n{replication}\npersistence: {{ data_dir: \"{dir}\" }}\n");
    std::fs::write(file.path(), yaml).unwrap();
    let loaded = load(Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap();
    let settings = loaded.settings();
    // Any free port will do.
    let replication_bind = settings.replication_bind.as_ref().map(|_| "127.0.0.1:0".to_owned());
    Settings { http_bind: "127.0.0.1:0".to_owned(), replication_bind, ..settings }
}

async fn start(settings: Settings) -> Running {
    Server::open(settings).await.unwrap()
}

async fn set(server: &Running, key: &str, value: &str) {
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    let request = format!(
        "POST /kv/set HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    until(server.http_address(), &request, |answer| answer.starts_with("HTTP/1.1 200")).await;
}

async fn until_get(address: SocketAddr, key: &str, value: &str) {
    let request = format!("GET /kv/get/{key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    until(address, &request, |answer| answer.ends_with(&format!("\r\n\r\n\"{value}\""))).await;
}

/// Asks again and again until the answer is good.
async fn until(address: SocketAddr, request: &str, good: impl Fn(&str) -> bool) {
    let mut last = String::new();
    let asking = async {
        loop {
            last = ask(address, request).await;
            if good(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    assert!(waited.is_ok(), "{request} is answered {last}");
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
