//! A TCP proxy of a test: it forwards each connection to one port of this machine, and can end them all at once while it
//! goes on accepting new ones.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy, for as long as the test runs.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// In front of this port.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let at = listener.local_addr().expect("it is bound").port();
        let open = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&open);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Whom it cannot reach it leaves without a word, as proxies do.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", port)) {
                    forward(near, far, &kept).expect("a connection has two handles");
                }
            }
        });
        Self { port: at, open }
    }

    /// Ends all its connections.
    pub fn reset(&self) {
        for stream in self.open.lock().expect("nobody panics with it").drain(..) {
            // One that has ended already is no loss.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn forward(near: TcpStream, far: TcpStream, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    open.lock().expect("nobody panics with it").extend([near.try_clone()?, far.try_clone()?]);
    let (there, back) = ((near.try_clone()?, far.try_clone()?), (far, near));
    for (from, to) in [there, back] {
        thread::spawn(move || copy(from, to));
    }
    Ok(())
}

/// Until one side ends; then both do.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
