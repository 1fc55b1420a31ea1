//! etcd beside synap: three nodes, and as much of gRPC over HTTP/2 as a put needs, so that no gateway stands in
//! between. Each connection has one call open at a time.

use bytes::{Buf, BufMut, BytesMut};
use tempfile::TempDir;

use synap_tests::{ports, wait};

use crate::generator::{Heard, Talk};
use crate::process::{self, Process};

/// Three nodes.
#[derive(Debug)]
pub(crate) struct Etcd {
    /// Where the leader takes clients.
    pub(crate) leader: u16,
    nodes: Vec<(Process, TempDir)>,
}

impl Etcd {
    /// Starts them; none where etcd is not installed.
    pub(crate) fn start() -> Option<Self> {
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (ports::free(), ports::free())).collect();
        let peers: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("e{number}=http://127.0.0.1:{peer}"))
            .collect();
        let mut nodes = Vec::new();
        for (number, (client, peer)) in ports.iter().enumerate() {
            let directory = TempDir::new().expect("a temporary directory can be made");
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let arguments = [
                ("--name", format!("e{number}")),
                ("--data-dir", directory.path().join("data").display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", peers.join(",")),
                ("--log-level", "error".to_owned()),
            ];
            let arguments: Vec<String> =
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
            nodes.push((Process::start("etcd", &arguments, directory.path())?, directory));
        }
        for (client, _) in &ports {
            process::await_port(*client);
        }
        let leader = wait::until("etcd has a leader", || {
            ports.iter().map(|(client, _)| *client).find(|client| is_leader(*client))
        });
        Some(Self { leader, nodes })
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|(process, _)| process.pid()).collect()
    }
}

fn is_leader(port: u16) -> bool {
    let metrics = synap_tests::http::Client::new(format!("127.0.0.1:{port}")).get("/metrics");
    metrics.is_ok_and(|metrics| metrics.text().lines().any(|line| line == "etcd_server_is_leader 1"))
}

/// Lengths, types and flags of HTTP/2 frames (RFC 9113, sections 4 and 6).
mod h2 {
    pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub(super) const HEAD_BYTES: usize = 9;
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

/// A client that puts the keys and values that `next` gives.
pub(crate) struct Puts<F> {
    next: F,
    stream: u32,
    /// Whether the answer to the open call holds a message; a failed call has none.
    message: bool,
}

impl<F: FnMut() -> (String, String) + 'static> Puts<F> {
    pub(crate) fn new(next: F) -> Self {
        Self { next, stream: 1, message: false }
    }
}

impl<F: FnMut() -> (String, String) + 'static> Talk for Puts<F> {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(h2::PREFACE);
        push_frame(out, h2::SETTINGS, 0, 0, &[]);
        // Answers are never held back for want of room.
        push_frame(out, h2::WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes());
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        let (key, value) = (self.next)();
        push_frame(out, h2::HEADERS, h2::END_HEADERS, self.stream, &call_headers());
        push_frame(out, h2::DATA, h2::END_STREAM, self.stream, &put_request(&key, &value));
        self.message = false;
    }

    fn hear(&mut self, came: &mut BytesMut, out: &mut Vec<u8>) -> Heard {
        loop {
            if came.len() < h2::HEAD_BYTES {
                return Heard::Part;
            }
            let length = usize::from(came[0]) << 16 | usize::from(came[1]) << 8 | usize::from(came[2]);
            if came.len() < h2::HEAD_BYTES + length {
                return Heard::Part;
            }
            let (kind, flags) = (came[3], came[4]);
            came.advance(h2::HEAD_BYTES);
            let payload = came.split_to(length);
            match kind {
                h2::SETTINGS if flags & h2::ACK == 0 => push_frame(out, h2::SETTINGS, h2::ACK, 0, &[]),
                h2::PING if flags & h2::ACK == 0 => push_frame(out, h2::PING, h2::ACK, 0, &payload),
                h2::DATA => self.message |= !payload.is_empty(),
                h2::HEADERS if flags & h2::END_STREAM != 0 => {
                    self.stream += 2;
                    return if self.message { Heard::Good } else { Heard::Bad };
                }
                _ => {}
            }
        }
    }
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("frames are short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Headers of a call, each as a literal that no table remembers (RFC 7541, section 6.2.2).
fn call_headers() -> Vec<u8> {
    let mut out = vec![0x83, 0x86]; // `:method: POST` and `:scheme: http`, from the static table.
    for (name, value) in [
        (":path", "/etcdserverpb.KV/Put"),
        (":authority", "bench"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        out.put_u8(0);
        for text in [name, value] {
            out.put_u8(u8::try_from(text.len()).expect("names are short"));
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// A `PutRequest` of protobuf (field 1 the key, field 2 the value) in gRPC's frame of a flag and a length.
fn put_request(key: &str, value: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, key), (0x12, value)] {
        message.put_u8(tag);
        message.put_u8(u8::try_from(text.len()).ok().filter(|length| *length < 0x80).expect("texts are short"));
        message.extend_from_slice(text.as_bytes());
    }
    let mut out = vec![0];
    out.put_u32(u32::try_from(message.len()).expect("messages are short"));
    out.extend_from_slice(&message);
    out
}
