//! The headers that change what a request asks for. Each is honoured, harmless, or refused by its name: to do less or more than
//! a client asked for, and say 200, is worse than to refuse. `docs/api.md` has them in a table. Owns no value's meaning but
//! `identity`, `chunked` and `100-continue`.

use hyper::header::{HeaderMap, HeaderValue};

use super::problem::{Code, Problem};
use super::route::{Route, Verb};

/// Refuses what this route would pass over and must not.
pub(crate) fn vet(route: Route, verb: Verb, headers: &HeaderMap) -> Result<(), Problem> {
    let acts = verb == Verb::Act;
    for (name, value) in headers {
        let name = name.as_str();
        match name {
            "if-match" if !route.has_one_key() => return Err(no_version(name)),
            "if-none-match" if acts && !route.has_one_key() => return Err(no_version(name)),
            "if-modified-since" if acts => return Err(no_dates(name)),
            "if-unmodified-since" => return Err(no_dates(name)),
            "range" | "if-range" if acts => return Err(no_parts(name)),
            "content-range" => return Err(no_parts(name)),
            "if" => return Err(refused(name, "WebDAV's conditions are not known here")),
            "x-http-method-override" | "x-http-method" | "x-method-override" => {
                return Err(refused(name, "the method is the one in the request line"));
            }
            "idempotency-key" if acts && !route.writes_keys() => {
                return Err(refused(name, "only writes of keys are remembered"));
            }
            "content-encoding" => decoded(value)?,
            "transfer-encoding" => unchunked(value)?,
            "expect" => expected(value)?,
            _ => {}
        }
    }
    Ok(())
}

fn no_version(name: &str) -> Problem {
    refused(name, "this route has no single key whose version could be compared")
}

fn no_dates(name: &str) -> Problem {
    refused(name, "keys have versions and no dates: use `If-Match` or `If-None-Match`")
}

fn no_parts(name: &str) -> Problem {
    refused(name, "values are written whole")
}

fn refused(name: &str, why: &str) -> Problem {
    Problem::bad(format!("header `{name}`: {why}")).with("header", name)
}

/// What is stored must be what was meant: a compressed body would come back as bytes that nothing says how to read.
fn decoded(coding: &HeaderValue) -> Result<(), Problem> {
    if coding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let detail = "header `content-encoding`: bodies are taken as they are, without compression";
    Err(Problem::new(Code::UnsupportedEncoding, detail).with("header", "content-encoding"))
}

/// The HTTP library undoes `chunked`, and would leave any coding below it in the body.
fn unchunked(coding: &HeaderValue) -> Result<(), Problem> {
    if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let detail = "header `transfer-encoding`: only `chunked` is known";
    Err(Problem::new(Code::NotImplemented, detail).with("header", "transfer-encoding"))
}

fn expected(expectation: &HeaderValue) -> Result<(), Problem> {
    if expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Ok(());
    }
    let detail = "header `expect`: only `100-continue` can be met";
    Err(Problem::new(Code::ExpectationFailed, detail).with("header", "expect"))
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use hyper::header::HeaderName;

    use super::super::route;
    use super::*;

    fn status(method: &Method, path: &str, name: &str, value: &str) -> u16 {
        let (route, _) = route::find(path);
        let verb = route.verb(method).unwrap();
        let headers =
            HeaderMap::from_iter([(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())]);
        vet(route, verb, &headers).err().map_or(200, |problem| problem.parts().code.status().as_u16())
    }

    #[test]
    fn each_header_is_honoured_harmless_or_refused() {
        let (get, post, put, delete) = (&Method::GET, &Method::POST, &Method::PUT, &Method::DELETE);
        let all = [
            ("/kv/set", post),
            ("/kv/raw/k", put),
            ("/kv/del/k", delete),
            ("/kv/mset", post),
            ("/snapshot", post),
        ];
        for (path, method) in all.into_iter().chain([("/kv/get/k", get), ("/metrics", get), ("/kv/mget", post)]) {
            assert_eq!(status(method, path, "content-encoding", "gzip"), 415, "{path}");
            assert_eq!(status(method, path, "content-encoding", "Identity"), 200, "{path}");
            assert_eq!(status(method, path, "transfer-encoding", "gzip, chunked"), 501, "{path}");
            assert_eq!(status(method, path, "transfer-encoding", "chunked"), 200, "{path}");
            assert_eq!(status(method, path, "expect", "200-ok"), 417, "{path}");
            assert_eq!(status(method, path, "expect", "100-Continue"), 200, "{path}");
            assert_eq!(status(method, path, "x-http-method-override", "DELETE"), 400, "{path}");
            assert_eq!(status(method, path, "if-unmodified-since", "now"), 400, "{path}");
            assert_eq!(status(method, path, "content-range", "bytes 0-1/2"), 400, "{path}");
            let reads = method == get || path == "/kv/mget";
            for harmless in ["if-modified-since", "range", "if-range"] {
                assert_eq!(
                    status(method, path, harmless, "x"),
                    if reads { 200 } else { 400 },
                    "{path} {harmless}"
                );
            }
            assert_eq!(status(method, path, "accept-encoding", "gzip"), 200, "{path}");
        }
    }

    #[test]
    fn conditions_are_for_routes_of_one_key() {
        let of =
            |method, path| (status(method, path, "if-match", "*"), status(method, path, "if-none-match", "*"));
        for path in ["/kv/set", "/kv/incr/k", "/kv/decr/k", "/kv/expire/k", "/kv/persist/k"] {
            assert_eq!(of(&Method::POST, path), (200, 200), "{path}");
        }
        assert_eq!(of(&Method::PUT, "/kv/raw/k"), (200, 200));
        assert_eq!(of(&Method::DELETE, "/kv/del/k"), (200, 200));
        assert_eq!(of(&Method::GET, "/kv/get/k"), (200, 200));
        for path in ["/kv/mset", "/replication/promote", "/snapshot"] {
            assert_eq!(of(&Method::POST, path), (400, 400), "{path}");
        }
        for path in ["/kv/scan", "/kv/exists/k", "/replication/status"] {
            assert_eq!(of(&Method::GET, path), (400, 200), "{path}: a whole answer is never wrong");
        }
    }

    #[test]
    fn a_retry_of_what_is_not_remembered_is_refused() {
        assert_eq!(status(&Method::POST, "/kv/mset", "idempotency-key", "a"), 200);
        assert_eq!(
            status(&Method::POST, "/kv/mget", "idempotency-key", "a"),
            200,
            "reads may be sent again anyway"
        );
        assert_eq!(status(&Method::POST, "/replication/switchover", "idempotency-key", "a"), 400);
    }
}
