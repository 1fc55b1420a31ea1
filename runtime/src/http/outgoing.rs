//! Bytes of answers that their clients have not taken yet: bounded for all connections together, so that readers who do not read
//! cost their own answers and nobody's memory. Owns no count; see [`super::inflight`].
//!
//! An answer's length is known once it is made. If there is no room for it then, it is dropped and made again when there is.

use bytes::Bytes;
use hyper::Response;

use super::HttpServer;
use super::answer::Body;
use super::inflight::Room;

/// Shorter answers are not counted: what all connections can hold of them is bounded by their number.
pub(crate) const COUNTED_BYTES_MIN: usize = 4096;

/// The response, which holds room from now until its last byte is with the system; or how much room is wanted. `room` is what was
/// waited for.
pub(crate) fn hold(
    front: &HttpServer,
    response: Response<Body>,
    room: Option<Room>,
) -> Result<Response<Body>, u64> {
    let wanted = length(&response);
    if wanted < COUNTED_BYTES_MIN as u64 {
        return Ok(response);
    }
    let room = match room {
        Some(room) => front.answers.fit(room, wanted),
        None => front.answers.enter_at_once(wanted),
    };
    let room = room.ok_or(wanted)?;
    Ok(response.map(|body| with(body, room)))
}

/// The response of something that was done, which is not refused any more: it holds `room`, and of what it lacks as much as there is.
pub(crate) fn hold_done(front: &HttpServer, response: Response<Body>, room: Option<Room>) -> Response<Body> {
    let length = length(&response);
    if length < COUNTED_BYTES_MIN as u64 {
        return response;
    }
    let room = room.and_then(|room| front.answers.fit(room, length));
    let room = room.unwrap_or_else(|| front.answers.enter_as_far_as_possible(length));
    response.map(|body| with(body, room))
}

fn length(response: &Response<Body>) -> u64 {
    match response.body() {
        Body::Whole(bytes) => bytes.len() as u64,
        // Made piece by piece, as they are taken.
        Body::Pieces(_) => 0,
    }
}

/// The same body, which keeps `room` until it is written or given up.
fn with(body: Body, room: Room) -> Body {
    match body {
        Body::Whole(bytes) => Body::Whole(Bytes::from_owner(Held { bytes, _room: room })),
        pieces @ Body::Pieces(_) => pieces,
    }
}

struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
