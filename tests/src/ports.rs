//! Free TCP ports on 127.0.0.1. Drawn below the range that the kernel gives to outgoing connections, so that no
//! client's socket can sit on a server's port between the drawing and the binding, or while a server restarts.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port that nobody listens on, and that this process never gives out twice before all are used up.
pub fn free() -> u16 {
    row(1)
}

/// The first of so many such ports, one behind the other. They are drawn at once: another thread draws beside them.
pub fn row(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let origin = process::id().wrapping_mul(577);
    let count = u32::from(count);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(count, Ordering::Relaxed);
        let step = origin.wrapping_add(step) % COUNT;
        let first = FIRST + step;
        if step + count <= COUNT && (first..first + count).all(is_free) {
            return u16::try_from(first).expect("ports fit 16 bits");
        }
    }
    panic!("no {count} free ports between {FIRST} and {}", FIRST + COUNT);
}

/// Both, since a server may listen on the wildcard.
fn is_free(port: u32) -> bool {
    let port = u16::try_from(port).expect("ports fit 16 bits");
    ["127.0.0.1", "0.0.0.0"].iter().all(|host| TcpListener::bind((*host, port)).is_ok())
}
