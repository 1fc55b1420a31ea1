//! The yardstick: a server that does nothing but say hello, on hyper as it comes. It runs as a process of its own,
//! as the measured server does.

use std::convert::Infallible;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use synap_tests::ports;

/// The hidden argument that makes this binary the yardstick.
pub(crate) const ARGUMENT: &str = "--say-hello-at";

/// The yardstick, running.
pub(crate) struct Hello {
    pub(crate) port: u16,
    child: Child,
}

impl Hello {
    pub(crate) fn start() -> Self {
        let port = ports::free();
        let this = std::env::current_exe().expect("a program knows its own path");
        let child = Command::new(this)
            .args([ARGUMENT, &port.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("this program can be started again");
        crate::process::await_port(port);
        Self { port, child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says hello for ever.
pub(crate) fn serve(port: u16) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello));
                // A client that breaks off has got what it wanted.
                let _ = connection.await;
            });
        }
    });
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
}
