//! A small HTTP client for the commands: one request per connection, redirects followed, every wait bounded.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;

use super::exit::{Exit, Failed};
use crate::config::address::{self, HostPort};
use crate::exchange::exchange;

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// The longest answer that is taken.
const ANSWER_BYTES_MAX: usize = 512 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_PORT: u16 = 15500;
const DEFAULT_URL: &str = "http://127.0.0.1:15500";
const URL_VARIABLE: &str = "SYNAP_URL";
/// The help of `--url` where several are refused ([`Target::one`]).
pub(super) const ONE_SERVER: &str = "One server, http://HOST:PORT: the node that this concerns";

/// How long each of several servers may take to answer at all, before the next is asked.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Which server a command talks to.
#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// Servers of the cluster, http://HOST:PORT[,..]: the first one that answers is asked
    #[arg(
        long = "url",
        value_name = "URL",
        env = URL_VARIABLE,
        value_delimiter = ',',
        default_value = DEFAULT_URL,
        global = true
    )]
    pub(super) urls: Vec<String>,
}

impl Target {
    /// What is named, without what a comma too many leaves. An empty variable counts as none.
    fn named(&self) -> Vec<&str> {
        let named: Vec<&str> = self.urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()).collect();
        match std::env::var(URL_VARIABLE) {
            _ if !named.is_empty() => named,
            Ok(variable) if variable.trim_matches([' ', ',']).is_empty() => vec![DEFAULT_URL],
            // Said to be empty on the command line, which is a mistake.
            _ => vec![""],
        }
    }

    /// The first server that answers, in the order given. One alone is not asked beforehand: it answers the command, or does not.
    pub(super) async fn any(&self) -> Result<Client, Failed> {
        let clients: Vec<Client> = self.named().into_iter().map(Client::new).collect::<Result<_, _>>()?;
        if let [only] = &clients[..] {
            return Ok(only.clone());
        }
        let mut why = Vec::new();
        for client in clients {
            match tokio::time::timeout(PROBE_TIMEOUT, client.send(&Asked::get("/livez"))).await {
                Ok(Ok(_)) => return Ok(client),
                Ok(Err(failed)) => why.push(failed.message),
                Err(_) => why.push(format!("{client}: no answer within {} s", PROBE_TIMEOUT.as_secs())),
            }
        }
        Err(Failed::running(format!("no server answers:\n{}", why.join("\n"))))
    }

    /// The one server that is named, for what concerns that node and no other.
    pub(super) fn one(&self) -> Result<Client, Failed> {
        match &self.named()[..] {
            [url] => Client::new(url),
            urls => {
                let message = format!("this concerns one node, and {} are named: give one --url", urls.len());
                Err(Failed::new(Exit::Usage, message))
            }
        }
    }
}

/// Talks to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    host: String,
    port: u16,
}

/// A request before it knows where it goes.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    method: Method,
    /// Path and query.
    path: String,
    body: Option<(&'static str, Bytes)>,
    condition: Option<(HeaderName, String)>,
    /// How long the answer may take.
    patience: Duration,
}

/// What a server said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Who said it, after redirects.
    pub(super) from: Client,
}

impl Asked {
    /// Whether the server is to do anything.
    fn changes(&self) -> bool {
        self.method != Method::GET
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, condition: None, patience: ANSWER_TIMEOUT }
    }

    pub(super) fn head(path: impl Into<String>) -> Self {
        Self { method: Method::HEAD, ..Self::get(path) }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// With a JSON body; one that JSON cannot say is empty, which the server refuses.
    pub(super) fn post(path: impl Into<String>, body: &impl Serialize) -> Self {
        let body = Some(("application/json", Bytes::from(serde_json::to_vec(body).unwrap_or_default())));
        Self { method: Method::POST, body, ..Self::get(path) }
    }

    /// The server may take this long for what is asked, and a little for the way.
    pub(super) fn taking(self, time: Duration) -> Self {
        Self { patience: ANSWER_TIMEOUT + time, ..self }
    }

    pub(super) fn put(path: impl Into<String>, bytes: Bytes) -> Self {
        let body = Some(("application/octet-stream", bytes));
        Self { method: Method::PUT, body, ..Self::get(path) }
    }

    /// The same, to be done only where the key has this version; 0: where it is absent.
    pub(super) fn if_version(mut self, version: u64) -> Self {
        self.condition = Some(match version {
            0 => (IF_NONE_MATCH, "*".to_owned()),
            version => (IF_MATCH, format!("\"{version}\"")),
        });
        self
    }
}

impl Client {
    /// A client for `http://HOST[:PORT]`, `HOST:PORT` or `HOST`; anything else is a usage error.
    pub(super) fn new(url: &str) -> Result<Self, Failed> {
        let refuse = |why: &dyn fmt::Display| Failed::new(Exit::Usage, format!("--url {url}: {why}"));
        if url.starts_with("https://") {
            return Err(refuse(&"synap speaks plain HTTP; put a proxy before it for TLS, and name http:// here"));
        }
        let rest = url.strip_prefix("http://").unwrap_or(url);
        if rest.contains("://") {
            return Err(refuse(&"http://HOST:PORT is wanted"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let parsed = HostPort::parse(authority).map_err(|error| refuse(&error))?;
        Ok(Self { host: parsed.host, port: parsed.port.unwrap_or(DEFAULT_PORT) })
    }

    /// Sends a request and follows where it is sent on to.
    pub(super) async fn send(&self, asked: &Asked) -> Result<Answer, Failed> {
        let mut to = self.clone();
        let mut path = asked.path.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = to.exchange(asked, &path).await?;
            match answer.redirect() {
                None => return Ok(answer),
                Some(location) => (to, path) = to.follow(&location)?,
            }
        }
        Err(Failed::running(format!("{self} leads in a circle: more than {REDIRECTS_MAX} redirects")))
    }

    /// Sends a request and gives the answer's JSON, or says why there is none.
    pub(super) async fn json(&self, asked: &Asked) -> Result<Value, Failed> {
        self.send(asked).await?.good()?.json()
    }

    async fn exchange(&self, asked: &Asked, path: &str) -> Result<Answer, Failed> {
        let wrong = |why: &dyn fmt::Display| Failed::running(format!("{self}: {why}"));
        let mut request = Request::builder().method(&asked.method).uri(path).header(HOST, self.authority());
        if let Some((content_type, _)) = &asked.body {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        if let Some((name, value)) = &asked.condition {
            request = request.header(name, value);
        }
        let body = asked.body.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| wrong(&error))?;

        let dial = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, dial).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(wrong(&error)),
            Err(_) => return Err(wrong(&format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        match tokio::time::timeout(asked.patience, exchange(stream, request, ANSWER_BYTES_MAX)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, body, from: self.clone() })
            }
            Ok(Err(error)) if is_cut_off(&*error) => Err(wrong(
                &"the connection was closed without an answer: is this the replication port? Clients are served at server.port, \
                  15500 by default",
            )),
            Ok(Err(error)) => Err(wrong(&error)),
            Err(_) => {
                let done =
                    if asked.changes() { ": what was asked for may have been done, or may be yet" } else { "" };
                Err(wrong(&format!("no answer within {} s{done}", asked.patience.as_secs())))
            }
        }
    }

    fn follow(&self, location: &str) -> Result<(Self, String), Failed> {
        let refuse = || Failed::running(format!("{self} redirects to {location}, which makes no sense"));
        let uri: Uri = location.parse().map_err(|_| refuse())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        match uri.authority() {
            Some(authority) => Ok((Self::new(authority.as_str()).map_err(|_| refuse())?, path)),
            None => Ok((self.clone(), path)),
        }
    }

    /// `HOST:PORT`.
    pub(super) fn authority(&self) -> String {
        address::join(&self.host, self.port)
    }
}

/// Whether the connection ended before the answer did.
fn is_cut_off(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
}

impl Answer {
    /// The answer itself if it is a success; else what the server said is wrong.
    pub(super) fn good(self) -> Result<Self, Failed> {
        if self.status.is_success() {
            return Ok(self);
        }
        // Any server has answers of this status; that a key is absent, one of ours says with a code.
        match (self.status, self.code()) {
            (StatusCode::NOT_FOUND, Some(_)) => Err(Failed::new(Exit::NotFound, self.problem())),
            (_, Some(_)) => Err(Failed::running(self.problem())),
            (status, None) => Err(Failed::running(format!(
                "{} answered {status}, and nothing that a synap server says: is another server there, or a proxy?",
                self.from
            ))),
        }
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Failed> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failed::running(format!("{} answered with something that is not JSON: {error}", self.from))
        })
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The problem's code, as `version_mismatch`.
    pub(super) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("code")?.as_str()?.to_owned())
    }

    fn problem(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let said = text("detail").or(text("title")).unwrap_or_default();
        let code = text("code").unwrap_or(self.status.canonical_reason().unwrap_or("no reason"));
        let leader = text("leader").filter(|_| code == "not_master");
        let leader = leader.map(|leader| format!("; the master is {leader}")).unwrap_or_default();
        let asks = text("position").filter(|_| text("outcome") == Some("pending")).map(|position| {
            format!("\nIt may still take effect: curl '{}/replication/outcome?position={position}' says what became of it", self.from)
        });
        let asks = asks.unwrap_or_default();
        match said {
            "" => format!("{} answered {} {code}{asks}", self.from, self.status.as_u16()),
            said => format!("{said} ({} answered {} {code}{leader}){asks}", self.from, self.status.as_u16()),
        }
    }

    fn redirect(&self) -> Option<String> {
        match self.status {
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                self.header(LOCATION.as_str()).map(str::to_owned)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

/// Escapes a key for a path.
pub(super) fn escape(key: &[u8]) -> String {
    percent_encoding::percent_encode(key, PATH_ESCAPES).to_string()
}

/// All but RFC 3986's unreserved characters.
const PATH_ESCAPES: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_type_them() {
        for (url, expected) in [
            ("http://127.0.0.1:15500", "http://127.0.0.1:15500"),
            ("http://a:1/", "http://a:1"),
            ("a", "http://a:15500"),
            ("[::1]:7", "http://[::1]:7"),
        ] {
            assert_eq!(Client::new(url).expect(url).to_string(), expected);
        }
        for url in ["https://a", "ftp://a", "http://a/path", "", "http://a:x"] {
            assert_eq!(Client::new(url).expect_err(url).exit, Exit::Usage);
        }
    }

    #[test]
    fn redirects_may_be_absolute_or_relative() {
        let client = Client::new("a:1").expect("good");
        let (to, path) = client.follow("http://b:2/kv/set?concern=2").expect("good");
        assert_eq!((to.to_string().as_str(), path.as_str()), ("http://b:2", "/kv/set?concern=2"));
        let (to, path) = client.follow("/x").expect("good");
        assert_eq!((to, path.as_str()), (client, "/x"));
    }

    #[test]
    fn keys_are_escaped_for_paths() {
        assert_eq!(escape(b"user:1/a b"), "user%3A1%2Fa%20b");
        assert_eq!(escape(b".."), "..");
    }

    /// Answers each connection with the next of `answers` and gives the requests that came.
    async fn server(answers: Vec<String>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = Client::new(&listener.local_addr().expect("bound").to_string()).expect("good");
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.expect("a request");
                requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("taken");
            }
            requests
        });
        (client, server)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_redirected_write_goes_on_whole() {
        let to = answer("307 Temporary Redirect", "Location: /kv/set?x=1\r\n", "");
        let (client, server) = server(vec![to, answer("200 OK", "", "{\"success\":true}")]).await;
        let body = serde_json::json!({ "key": "a" });
        let said = client.json(&Asked::post("/kv/set", &body)).await.expect("good");
        assert_eq!(said, serde_json::json!({ "success": true }));
        let requests = server.await.expect("ended");
        assert!(requests[1].starts_with("POST /kv/set?x=1 HTTP/1.1"), "{}", requests[1]);
        assert!(requests[1].ends_with("{\"key\":\"a\"}"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn a_circle_of_redirects_ends() {
        let to = answer("307 Temporary Redirect", "Location: /again\r\n", "");
        let (client, _server) = server(vec![to; 6]).await;
        let failed = client.send(&Asked::get("/")).await.expect_err("a circle");
        assert!(failed.message.contains("circle"), "{}", failed.message);
    }

    #[tokio::test]
    async fn another_server_does_not_say_that_a_key_is_absent() {
        let (client, _server) = server(vec![answer("404 Not Found", "", "<html>File not found</html>")]).await;
        let failed = client.json(&Asked::get("/kv/get/a")).await.expect_err("no server of ours");
        assert_eq!(failed.exit, Exit::Failure);
        assert!(failed.message.contains("is another server there"), "{}", failed.message);
    }

    #[tokio::test]
    async fn a_problem_is_told_in_its_own_words() {
        let body = "{\"code\":\"key_not_found\",\"detail\":\"no such key\"}";
        let (client, _server) = server(vec![answer("404 Not Found", "", body)]).await;
        let failed = client.json(&Asked::get("/kv/get/a")).await.expect_err("absent");
        assert_eq!(failed.exit, Exit::NotFound);
        assert_eq!(failed.message, format!("no such key ({client} answered 404 key_not_found)"));
        let body = "{\"code\":\"not_master\",\"detail\":\"this node is not the master\",\"leader\":\"b:2\"}";
        let (client, _server) = server(vec![answer("421 Misdirected Request", "", body)]).await;
        let failed = client.json(&Asked::get("/snapshot")).await.expect_err("elsewhere");
        let told = format!("this node is not the master ({client} answered 421 not_master; the master is b:2)");
        assert_eq!((failed.exit, failed.message), (Exit::Failure, told));
    }
}
