//! Request bodies: bounded before they are read and while they are read, then parsed strictly.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::Deserialize;

use super::inflight::{InFlight, Room};
use super::problem::{Code, Problem};

/// A body must be whole by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The whole body, of at most `bytes_max` bytes. One that announces more is refused before any of it is read. For short
/// ones, of operators: they never wait for room.
pub(crate) async fn read(body: Incoming, bytes_max: u64) -> Result<Bytes, Problem> {
    vet(&body, bytes_max)?;
    whole(body, bytes_max, |_| Ok(())).await
}

/// As [`read`], with room among the requests in flight, which is waited for no longer than `patience`.
pub(crate) async fn read_within(
    inflight: &InFlight,
    body: Incoming,
    bytes_max: u64,
    patience: Duration,
) -> Result<(Bytes, Room), Problem> {
    let announced = vet(&body, bytes_max)?;
    let mut room = inflight.enter(announced, patience).await?;
    let mut left = announced;
    let bytes = whole(body, bytes_max, |more| {
        let beyond = more.saturating_sub(left);
        left = left.saturating_sub(more);
        if beyond > 0 { inflight.grow(&mut room, beyond) } else { Ok(()) }
    })
    .await?;
    Ok((bytes, room))
}

/// How long the body says to be, if that is not too long.
fn vet(body: &Incoming, bytes_max: u64) -> Result<u64, Problem> {
    let announced = body.size_hint().lower();
    if announced > bytes_max { Err(Problem::too_large("body", announced, bytes_max)) } else { Ok(announced) }
}

async fn whole(
    mut body: Incoming,
    bytes_max: u64,
    take: impl FnMut(u64) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, gather(&mut body, bytes_max, take)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body was not whole after 60 seconds")),
    }
}

/// `take` is told of every piece before it is kept.
async fn gather(
    body: &mut Incoming,
    bytes_max: u64,
    mut take: impl FnMut(u64) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let Some(first) = frame(body).await? else { return Ok(Bytes::new()) };
    take(first.len() as u64)?;
    if body.is_end_stream() && first.len() as u64 <= bytes_max {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    loop {
        if whole.len() as u64 > bytes_max {
            return Err(Problem::too_large("body", whole.len() as u64, bytes_max));
        }
        match frame(body).await? {
            Some(more) => {
                take(more.len() as u64)?;
                whole.extend_from_slice(&more);
            }
            None => return Ok(whole.freeze()),
        }
    }
}

/// The next piece of data; trailers are dropped.
async fn frame(body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::bad(format!("the body broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What a JSON object says. The content type is not asked for: `curl -d` names another one.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Problem> {
    // Serde would take an array for an object whose names are left out.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).map_err(|_| fault::<T>(body)),
        Some(_) => Err(Problem::bad("the body is not a JSON object")),
        None => Err(Problem::bad("the body is empty: a JSON object is wanted")),
    }
}

/// What is wrong with JSON text: read a second time, now with the path of each value.
fn fault<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Problem {
    let mut reader = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => {
            let path = error.path().to_string();
            let said = in_words(&error.into_inner().to_string());
            // What has no name yet is shown as a dot or a question mark.
            Problem::bad(if matches!(path.as_str(), "." | "?") { said } else { format!("{path}: {said}") })
        }
        Ok(_) => Problem::bad("the body has more than one JSON value"),
    }
}

/// A parser's message without the names of our types.
fn in_words(message: &str) -> String {
    let whole = "expected a whole number";
    let types = [
        ("expected f64", "expected a number"),
        ("expected i64", whole),
        ("expected u64", whole),
        ("expected u32", whole),
    ];
    types.iter().fold(message.to_owned(), |said, (name, words)| said.replace(name, words))
}

/// As [`parse`], where an empty body stands for `{}`.
pub(crate) fn parse_or_empty<'a, T: Deserialize<'a> + Default>(body: &'a Bytes) -> Result<T, Problem> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}
