//! The load: PKCSReq messages that are prepared beforehand and sent over kept connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::{Certificate, Hash};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, MessageType, PkiStatus};

use super::support::keys::{TestKey, name};

/// The CA certificate of the server at this address.
pub fn ca(address: &str) -> Certificate {
    let request = format!("GET /?operation=GetCACert HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (mut stream, mut reply) = (connect(address), Vec::new());
    stream.write_all(request.as_bytes()).expect("sent");
    Certificate::parse(read_response(&mut stream, &mut reply)).expect("the CA certificate")
}

/// How many enrolments there were over so many connections, and how many a second.
pub fn rate(address: &str, requests: &[Request], connections: usize, span: Duration) -> (u32, f64) {
    let next = AtomicUsize::new(0);
    let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
    let started = Instant::now();
    let (mut done, mut last) = (0, started);
    thread::scope(|scope| {
        let work = |stream: &mut TcpStream| {
            let (mut reply, mut done) = (Vec::new(), 0);
            while started.elapsed() < span
                && let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed))
            {
                stream.write_all(&request.octets).expect("sent");
                let reply = read_response(stream, &mut reply);
                assert!(contains(reply, SUCCESS), "a reply is not SUCCESS");
                // Looked at whole only now and then: it takes the server's time.
                if done % 64 == 0 {
                    request.check(reply);
                }
                done += 1;
            }
            (done, Instant::now())
        };
        let threads: Vec<_> = streams.iter_mut().map(|stream| scope.spawn(move || work(stream))).collect();
        for thread in threads {
            let (count, end) = thread.join().expect("every answer was a success");
            (done, last) = (done + count, last.max(end));
        }
    });
    (done, f64::from(done) / last.duration_since(started).as_secs_f64())
}

/// A client: a key in memory and a certificate signed with it.
pub struct Client {
    key: TestKey,
    certificate: Certificate,
}

impl Client {
    /// A new one.
    pub fn new() -> Self {
        let key = TestKey::new();
        Self { certificate: key.self_signed("CN=load generator"), key }
    }
}

/// A PKCSReq as it goes over the wire.
pub struct Request {
    octets: Vec<u8>,
    nonce: Vec<u8>,
    ca: Certificate,
}

impl Request {
    fn check(&self, reply: &[u8]) {
        let reply = CertRep::decode(reply, &[&self.ca]).expect("a reply of the CA");
        assert_eq!(reply.status(), PkiStatus::Success);
        assert_eq!(reply.recipient_nonce(), self.nonce);
    }
}

/// So many of them, each for another subject.
pub fn prepare(clients: &[Client], ca: &Certificate, address: &str, count: usize) -> Vec<Request> {
    let make = |n: usize| {
        let client = &clients[n % clients.len()];
        let subject = name(&format!("CN=device {n}, O=Load"));
        let csr = client::csr(&subject, &client.key, Hash::Sha256, None, &[]).expect("a request");
        let parties = Parties { ca, signer: &client.certificate, key: &client.key };
        let transaction = tokenca::scep::TransactionId::new(format!("load-{n}").as_bytes());
        let message = client::message(MessageType::PkcsReq, &transaction, &csr, &parties, Style::default());
        let message = message.expect("signed").expect("the CA key can decrypt");
        let mut octets = format!(
            "POST /?operation=PKIOperation HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            message.octets.len()
        )
        .into_bytes();
        octets.extend(message.octets);
        Request { octets, nonce: message.nonce, ca: ca.clone() }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let part = count.div_ceil(cores);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..cores)
            .map(|core| {
                let numbers = core * part..count.min((core + 1) * part);
                scope.spawn(move || numbers.map(make).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("prepared")).collect()
    })
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// The body of a response with a Content-Length.
fn read_response<'b>(stream: &mut TcpStream, buffer: &'b mut Vec<u8>) -> &'b [u8] {
    buffer.clear();
    let mut part = [0; 8192];
    loop {
        let read = stream.read(&mut part).expect("a response");
        assert!(read > 0, "the server closed the connection");
        buffer.extend(&part[..read]);
        let Some(head) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).expect("ASCII").to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        if buffer.len() >= head + 4 + length {
            return &buffer[head + 4..];
        }
    }
}

fn contains(octets: &[u8], wanted: &[u8]) -> bool {
    octets.windows(wanted.len()).any(|window| window == wanted)
}

/// The attribute pkiStatus with the value "0".
const SUCCESS: &[u8] = b"\x06\x0a\x60\x86\x48\x01\x86\xf8\x45\x01\x09\x03\x31\x03\x13\x010";
