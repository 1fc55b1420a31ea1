//! Strangers at a node's ports: who says nothing, who says something that is no message, who speaks another version of the
//! protocol, who sends half a request, and who asks and does not listen. None of them may be taken in, and none may
//! keep the node from its work: whether it goes on is for the rest of the run to show.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use synap_core::config::{Address, Durability};
use synap_core::history::History;
use synap_core::ids::NodeId;
use synap_core::message::{Hello, Intent, Message, PROTOCOL_VERSION, PeerState, Reason, SyncPlan};
use synap_core::position::{Epoch, Index, Position};
use synap_core::time::WallMs;
use synap_core::wire::{self, FRAME_BYTES_MAX};
use synap_runtime::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::net::{Breakable, SimNet};
use super::world::{World, name_of, now_us};
use crate::plan::config::{HTTP_PORT, REPLICATION_PORT};

/// The oracle of what becomes of strangers.
const TURNED_AWAY: &str = "who speaks another protocol is refused";

/// Requests that a slow client sends before it would read the first answer.
const UNREAD_REQUESTS: usize = 64;

/// Calls at a node's ports in every bad way, and keeps that up for so long.
pub(super) async fn call(world: Arc<World>, node: usize, lasts: Duration) {
    let visit = |port, words: Vec<u8>| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            if let Some(mut stream) = dial(&world, node, port).await {
                // Whether it is taken does not matter; nothing of an answer is read.
                let _ = stream.write_all(&words).await;
                tokio::time::sleep(lasts).await;
            }
        })
    };
    visit(REPLICATION_PORT, Vec::new());
    visit(REPLICATION_PORT, vec![0xff; 64]);
    visit(REPLICATION_PORT, frame(&hello(PROTOCOL_VERSION))[..20].to_vec());
    visit(HTTP_PORT, b"GET /kv/get/k1 HTTP/1.1\r\nHost: n".to_vec());
    visit(HTTP_PORT, b"GET /metrics HTTP/1.1\r\nHost: n0\r\n\r\n".repeat(UNREAD_REQUESTS));
    for protocol in [PROTOCOL_VERSION + 1, PROTOCOL_VERSION - 1] {
        other_version(&world, node, protocol, lasts).await;
    }
}

async fn dial(world: &Arc<World>, node: usize, port: u16) -> Option<Breakable> {
    let net = SimNet { world: Arc::clone(world), here: world.clients() };
    let address = format!("{}:{port}", name_of(node));
    tokio::time::timeout(Duration::from_secs(3), net.connect(&address, 0))
        .await
        .ok()?
        .ok()
        .map(|connected| connected.stream)
}

/// A node of another version says hello: it is told why not, or the connection ends.
async fn other_version(world: &Arc<World>, node: usize, protocol: u16, patience: Duration) {
    let Some(mut stream) = dial(world, node, REPLICATION_PORT).await else { return };
    if stream.write_all(&frame(&hello(protocol))).await.is_err() {
        return;
    }
    let mut buffer = BytesMut::new();
    let answered = tokio::time::timeout(patience, async {
        loop {
            if let Ok(Some(message)) = wire::decode(&mut buffer, FRAME_BYTES_MAX) {
                return Some(message);
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    });
    match answered.await {
        Ok(Some(Message::Welcome(welcome))) if welcome.verdict == SyncPlan::Refused(Reason::Protocol) => {}
        Ok(Some(Message::Bye(_)) | None) | Err(_) => {}
        Ok(Some(other)) => {
            let cause = format!("n{node} answers {other:?} to a node of protocol version {protocol}");
            world.observations().violated(TURNED_AWAY, now_us(), cause);
        }
    }
}

fn frame(message: &Message) -> Vec<u8> {
    wire::encode(message).concat()
}

/// What a node says first that has an empty disk and speaks this version.
fn hello(protocol: u16) -> Message {
    let here = |port| Address { host: Some("stranger".to_owned()), port };
    let standing = PeerState {
        node: NodeId(0x5712a96e2),
        cluster: None,
        name: "stranger".to_owned(),
        http: here(HTTP_PORT),
        replication: Some(here(REPLICATION_PORT)),
        process: 1,
        priority: 0,
        votes: false,
        durability: Durability::Memory,
        promised: Epoch::default(),
        leads: false,
        last: Position::ZERO,
        committed: Index::ZERO,
        log_time: WallMs(0),
        log_time_known: false,
        history: History::default(),
        heartbeat_ms: 1_000,
    };
    let (intent, resume, dialled) = (Intent::Follow, None, None);
    Message::Hello(Hello { protocol, intent, standing, resume, needs_snapshot: false, dialled })
}
