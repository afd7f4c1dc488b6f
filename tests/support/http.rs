//! HTTP as octets on a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response.
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// It must have this status and Content-Type.
    #[track_caller]
    pub fn is(self, status: u16, content_type: &str) -> Self {
        let body = self.body.escape_ascii();
        assert_eq!((self.status, self.header("content-type")), (status, Some(content_type)), "{body}");
        self
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET by HTTP/1.1, with further header lines.
pub fn get(address: &str, target: &str, headers: &[&str]) -> Response {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    raw(address, request.as_bytes())
}

/// POST by HTTP/1.1, without a Content-Type, as most SCEP clients do.
pub fn post(address: &str, target: &str, body: &[u8]) -> Response {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    raw(address, &[head.as_bytes(), body].concat())
}

/// Sends these octets and reads the response to the end of the connection.
#[track_caller]
pub fn raw(address: &str, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(request);
    let mut octets = Vec::new();
    let ended = stream.read_to_end(&mut octets);
    parse(&octets).unwrap_or_else(|| panic!("not a response ({ended:?}): {}", octets.escape_ascii()))
}

fn parse(octets: &[u8]) -> Option<Response> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&octets[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pair = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
    Some(Response { status, headers: lines.filter_map(pair).collect(), body: octets[end + 4..].to_vec() })
}

const TIMEOUT: Duration = Duration::from_secs(60);
