//! A plain HTTP/1.1 client over one `TcpStream`, kept alive between requests. It never retries and follows no
//! redirect: a test sees what the server said.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: String,
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, in the server's order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// A client of `host:port`; connects when it is first used.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), patience: Duration::from_secs(30), stream: None }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long it waits for a connection, and for each part of an answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request and reads the answer. After an error the connection is given up; the next request makes a
    /// new one. An error leaves open whether the server did what was asked.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        stream.get_mut().write_all(&bytes)?;
        let response = Response::read(&mut stream, method == "HEAD")?;
        if response.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(response)
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[], b"")
    }

    /// POST of a JSON body.
    pub fn post(&mut self, path: &str, body: &Value) -> io::Result<Response> {
        self.request("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// DELETE.
    pub fn delete(&mut self, path: &str) -> io::Result<Response> {
        self.request("DELETE", path, &[], b"")
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let address = self.address.to_socket_addrs()?.find(|address| address.is_ipv4());
        let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))?;
        let stream = TcpStream::connect_timeout(&address, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

impl Response {
    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Panics unless the status is `status`.
    #[track_caller]
    pub fn with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "headers: {:?}\nbody: {}", self.headers, self.text());
        self
    }

    /// Panics unless it is a problem (RFC 9457) with this status and code; gives its JSON.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let response = self.with(status);
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{}", response.text());
        let problem = response.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        for field in ["type", "title", "detail"] {
            assert!(problem[field].is_string(), "a problem has a {field}: {problem}");
        }
        problem
    }

    /// `Synap-Position` as epoch and index.
    #[track_caller]
    pub fn position(&self) -> (u64, u64) {
        let text = self.header("synap-position").unwrap_or_else(|| panic!("no Synap-Position: {self:?}"));
        position(text)
    }

    fn read(stream: &mut BufReader<TcpStream>, headless: bool) -> io::Result<Self> {
        let first = line(stream)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid(format!("no status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let header = line(stream)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(|| invalid(format!("no header: {header:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Self { status, headers, body: Vec::new() };
        if status == 100 {
            return Self::read(stream, headless);
        }
        if !headless && status != 204 && status != 304 {
            response.body = response.read_body(stream)?;
        }
        Ok(response)
    }

    fn read_body(&self, stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
        if self.header("transfer-encoding") == Some("chunked") {
            return chunked(stream);
        }
        match self.header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => {
                let mut body = vec![0; length];
                stream.read_exact(&mut body)?;
                Ok(body)
            }
            Some(Err(_)) => Err(invalid("content-length is no number".to_owned())),
            None => {
                let mut body = Vec::new();
                stream.read_to_end(&mut body)?;
                Ok(body)
            }
        }
    }
}

/// `EPOCH:INDEX-LEADER` as two numbers.
#[track_caller]
pub fn position(text: &str) -> (u64, u64) {
    let bare = text.split_once('-').map_or(text, |(bare, _)| bare);
    let parts = bare.split_once(':').and_then(|(epoch, index)| Some((epoch.parse().ok()?, index.parse().ok()?)));
    parts.unwrap_or_else(|| panic!("no position: {text:?}"))
}

fn chunked(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream)?;
        let size =
            usize::from_str_radix(size.trim(), 16).map_err(|_| invalid(format!("no chunk size: {size:?}")))?;
        let mut part = vec![0; size];
        stream.read_exact(&mut part)?;
        line(stream)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&part);
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
