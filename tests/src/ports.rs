//! Free TCP ports on 127.0.0.1. Drawn below the range that the kernel gives to outgoing connections, so that no
//! client's socket can sit on a server's port between the drawing and the binding, or while a server restarts.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port that nobody listens on, and that this process never gives out twice before all are used up.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let origin = process::id().wrapping_mul(577);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + origin.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("ports fit 16 bits");
        // Both, since a server may listen on the wildcard.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
