//! HTTP/1.1 as the generator speaks it: as little of it as a keep-alive client needs.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf, BytesMut};

use crate::generator::{Heard, Talk};

/// A client that asks for what `next` writes.
pub(crate) struct Http<F> {
    next: F,
}

impl<F: FnMut(&mut Vec<u8>) + 'static> Http<F> {
    /// `next` appends a whole request.
    pub(crate) fn new(next: F) -> Self {
        Self { next }
    }
}

impl<F: FnMut(&mut Vec<u8>) + 'static> Talk for Http<F> {
    fn ask(&mut self, out: &mut Vec<u8>) {
        (self.next)(out);
    }

    fn hear(&mut self, came: &mut BytesMut, _out: &mut Vec<u8>) -> Heard {
        let Some(head) = came.windows(4).position(|window| window == b"\r\n\r\n") else { return Heard::Part };
        let length = content_length(&came[..head]);
        if came.len() < head + 4 + length {
            return Heard::Part;
        }
        let good = came.starts_with(b"HTTP/1.1 200");
        came.advance(head + 4 + length);
        if good { Heard::Good } else { Heard::Bad }
    }
}

/// GET of a path.
pub(crate) fn get(out: &mut Vec<u8>, path: &str) {
    out.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes());
}

/// `POST /kv/set` of a value, as the guide's curl line does it.
pub(crate) fn set(out: &mut Vec<u8>, concern: &str, key: &str, value: &str) {
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    let head = format!(
        "POST /kv/set?concern={concern} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// A port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let at = head.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    let digits = at.map_or(&[][..], |at| &head[at + NAME.len()..]);
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'))
}
