//! What an answer tells a client about its request: that it was done, that it was not and never will be, or nothing.
//! Owns that line, which a recorded history stands on; sends nothing. An answer that no client should ever see here is a
//! fault, and panics.

use std::io;

use serde_json::Value as Json;

use crate::history::Value;
use crate::http::Response;

/// What an answer means to who asked for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was done.
    Done,
    /// Nothing was done, and nothing will be.
    Refused,
    /// It was done, or will be, or not.
    Unknown,
}

/// Of the answer to a write.
pub fn of_write(answer: &io::Result<Response>) -> Meaning {
    let answer = match answer {
        Ok(answer) => answer,
        // Only the making of a connection is refused: nothing was sent.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Meaning::Refused,
        Err(_) => return Meaning::Unknown,
    };
    if answer.status == 200 {
        return Meaning::Done;
    }
    let problem = answer.json();
    match (answer.status, problem["code"].as_str(), problem["outcome"].as_str()) {
        (504, Some("timeout"), Some("pending")) => Meaning::Unknown,
        (307 | 421, Some("not_master"), None) | (429, Some("busy"), None) => Meaning::Refused,
        (503, Some("no_master" | "no_quorum" | "not_enough_replicas" | "busy"), None) => Meaning::Refused,
        _ => panic!("no write is answered so: {answer:?}"),
    }
}

/// Of the answer to a read of a key: what the key held; none if the read was not answered.
pub fn of_read(answer: &io::Result<Response>) -> Option<Value> {
    let Ok(answer) = answer else { return None };
    match answer.status {
        200 => match answer.json() {
            Json::String(value) => Some(Some(value)),
            other => panic!("no value of these tests is read as {other}"),
        },
        404 => {
            assert_eq!(answer.json()["code"], "key_not_found", "{answer:?}");
            Some(None)
        }
        429 | 503 | 504 => None,
        _ => panic!("no read is answered so: {answer:?}"),
    }
}

/// An answer in a few words.
pub fn in_words(answer: &io::Result<Response>) -> String {
    match answer {
        Ok(answer) if answer.status == 200 => match answer.header("synap-replayed") {
            Some(_) => "200 replayed".to_owned(),
            None => "200".to_owned(),
        },
        Ok(answer) => {
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            format!("{} {code}", answer.status)
        }
        Err(error) => format!("no answer ({})", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, body: &str) -> io::Result<Response> {
        Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
    }

    fn broken(kind: io::ErrorKind) -> io::Result<Response> {
        Err(kind.into())
    }

    #[test]
    fn only_what_says_that_nothing_was_done_is_a_refusal() {
        for (status, code) in
            [(307, "not_master"), (421, "not_master"), (503, "no_master"), (503, "no_quorum"), (503, "busy")]
        {
            let answer = problem(status, &format!(r#"{{"code":"{code}"}}"#));
            assert_eq!(of_write(&answer), Meaning::Refused, "{code}");
        }
        assert_eq!(of_write(&broken(io::ErrorKind::ConnectionRefused)), Meaning::Refused);
        assert_eq!(of_write(&problem(200, "{}")), Meaning::Done);
    }

    #[test]
    fn what_broke_off_or_is_pending_is_open() {
        assert_eq!(of_write(&problem(504, r#"{"code":"timeout","outcome":"pending"}"#)), Meaning::Unknown);
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert_eq!(of_write(&broken(kind)), Meaning::Unknown);
        }
    }

    #[test]
    #[should_panic(expected = "no write is answered so")]
    fn a_timeout_that_does_not_say_pending_is_a_fault() {
        of_write(&problem(504, r#"{"code":"timeout"}"#));
    }

    #[test]
    fn a_read_tells_a_value_its_absence_or_nothing() {
        assert_eq!(of_read(&problem(200, r#""a""#)), Some(Some("a".to_owned())));
        assert_eq!(of_read(&problem(404, r#"{"code":"key_not_found"}"#)), Some(None));
        assert_eq!(of_read(&problem(503, r#"{"code":"no_quorum"}"#)), None);
        assert_eq!(of_read(&broken(io::ErrorKind::UnexpectedEof)), None);
    }
}
