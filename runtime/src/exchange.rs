//! One HTTP request on a connection of its own, and the whole answer: how a command asks a server, and a replica its master.
//!
//! On hyper's connection and not on hyper-util's pooled client: who asks has to know whether the request can have been taken, which
//! a connection from a pool leaves open, and dials through the network that it was given.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends the request and reads an answer of at most `bytes_max` bytes. Has no deadline of its own. After an error the request may
/// have been taken or not.
pub(crate) async fn exchange<I>(
    io: I,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, bytes_max).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let (mut answered, mut connection) = (pin!(answered), pin!(connection));
    // What is wrong with the connection is told by the exchange; an answer may be whole although the connection has ended.
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => return answer,
            _ = &mut connection, if !ended => ended = true,
        }
    }
}
