//! Enrolments per second over HTTP, beside what the token can do: how much of it is left.
//!
//! `cargo bench --bench enroll [-- SECONDS]`. A server process with `grant auto` on a SoftHSM token of its
//! own answers PKCSReq messages that were prepared beforehand, each for another subject, over 1, 8 and 32
//! kept connections. In turns with that, this process signs with another RSA-2048 key of the same module, as
//! many sessions as the server has, all of them always busy. An enrolment takes three private-key
//! operations, so the limit is a third of that rate. Medians of several turns; the load generator, the token
//! and the server share the machine, and the disk is that of `TMPDIR`.
//!
//! Every answer must be SUCCESS. Without `--bench`, as `cargo test` runs it, it only shows that it works.

#[path = "../tests/support/keys.rs"]
mod keys;
#[path = "../tests/support/softhsm.rs"]
mod softhsm;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::{Certificate, Hash, KeyKind, SigningKey};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, MessageType, PkiStatus};
use tokenca::token::{KeyUsage, PinSource, Selector, Token, TokenConfig, TokenKey};

use keys::{TestKey, name};
use softhsm::SoftHsm;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // SoftHSM reads its configuration's place from the environment, which only a new process can change.
    if std::env::var_os("SOFTHSM2_CONF").is_none() || std::env::var_os(DIR).is_none() {
        let token = SoftHsm::new();
        let (variable, conf) = token.environment();
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(&arguments[1..]).env(variable, conf).env(DIR, token.dir.path());
        assert!(again.status().expect("this program runs again").success());
        return;
    }
    let dir = std::env::var_os(DIR).expect("it was looked for above");
    let full = arguments.iter().any(|argument| argument == "--bench");
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1.0);
    let plan = if full { Plan::full(seconds) } else { Plan::brief() };
    run(Path::new(&dir), &plan);
}

/// How much is measured.
struct Plan {
    /// Turns, each with every number of connections.
    turns: usize,
    /// How long each measurement takes.
    span: Duration,
    /// Client keys.
    keys: usize,
}

impl Plan {
    fn full(seconds: f64) -> Self {
        Self { turns: 5, span: Duration::from_secs_f64(seconds), keys: 4 }
    }

    fn brief() -> Self {
        Self { turns: 1, span: Duration::from_millis(100), keys: 1 }
    }
}

fn run(dir: &Path, plan: &Plan) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let server = Server::start(dir);
    let raw = Raw::open(dir);
    let ca = server.ca();
    let clients: Vec<Client> = (0..plan.keys).map(|_| Client::new()).collect();
    // The limit and a little more: nothing is answered faster. The best of three, as others use the machine too.
    let best = (0..3).map(|_| raw.rate(cores, plan.span / 3)).fold(0.0, f64::max);
    let messages = (best / 3.0 * plan.span.as_secs_f64() * 1.1) as usize + 1;
    // One connection has one operation going on at a time, on a token that could do as many as it has sessions.
    let needed = |connections| if connections == 1 { messages / 2 + 1 } else { messages };
    let total: usize = plan.turns * CONNECTIONS.map(needed).iter().sum::<usize>();
    println!("preparing {total} messages");
    let mut requests = &prepare(&clients, &ca, server.address, total)[..];
    let mut levels = CONNECTIONS.map(|_| Level::default());
    let mut flushes = Vec::new();
    for _ in 0..plan.turns {
        flushes.push(flush(dir));
        for (connections, level) in CONNECTIONS.into_iter().zip(&mut levels) {
            let (now, later) = requests.split_at(needed(connections));
            requests = later;
            let limit = raw.rate(cores, plan.span) / 3.0;
            let rate = server.rate(now, connections, plan.span);
            level.limits.push(limit);
            level.rates.push(rate);
            level.shares.push(100.0 * rate / limit);
        }
    }
    let limit = median(levels.iter().flat_map(|level| &level.limits));
    println!(
        "token: {:.0} RSA-2048 signatures/s with {cores} sessions, the limit is {limit:.0} enrolments/s",
        3.0 * limit
    );
    println!("disk: {:.1} ms for a flush, of which an enrolment waits for two", 1000.0 * median(&flushes));
    println!("{:>12} {:>14} {:>10} {:>12}", "connections", "enrolments/s", "of limit", "each, ms");
    for (connections, level) in CONNECTIONS.into_iter().zip(&levels) {
        let (rate, share) = (median(&level.rates), median(&level.shares));
        println!("{connections:>12} {rate:>14.0} {share:>9.0}% {:>12.1}", 1000.0 * connections as f64 / rate);
    }
}

/// What was measured with one number of connections.
#[derive(Default)]
struct Level {
    limits: Vec<f64>,
    rates: Vec<f64>,
    /// Percent of the limit measured right before.
    shares: Vec<f64>,
}

/// Seconds that it takes to write a page so that it stays.
fn flush(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("page")).expect("a file");
    let started = Instant::now();
    for _ in 0..FLUSHES {
        file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("it is written");
    }
    started.elapsed().as_secs_f64() / f64::from(FLUSHES)
}

fn median<'v>(values: impl IntoIterator<Item = &'v f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().copied().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The server process.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let state = dir.join("state");
        std::fs::create_dir(&state).expect("a new directory");
        let configuration = format!(
            "ip http server\nip http port 0\nip http bind 127.0.0.1\n\
             crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file {}\n\
             crypto pki server {LABEL}\n grant auto\n no shutdown\n",
            dir.join("pin.txt").display()
        );
        std::fs::write(state.join("startup-config"), configuration).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenca"));
        command
            .arg("serve")
            .arg("--state")
            .arg(&state)
            .env("TOKENCA_LOG", "error,cryptoki=off")
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("the server runs");
        let mut line = String::new();
        let out = process.stdout.take().expect("it was piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("ready http://").expect("ready and an address");
        Self { process, address: address.parse().expect("an address") }
    }

    fn ca(&self) -> Certificate {
        let request = format!("GET /?operation=GetCACert HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let (mut stream, mut reply) = (connect(self.address), Vec::new());
        stream.write_all(request.as_bytes()).expect("sent");
        Certificate::parse(read_response(&mut stream, &mut reply)).expect("the CA certificate")
    }

    /// Enrolments per second over so many connections.
    fn rate(&self, requests: &[Request], connections: usize, span: Duration) -> f64 {
        let next = AtomicUsize::new(0);
        let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(self.address)).collect();
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
            let threads: Vec<_> =
                streams.iter_mut().map(|stream| scope.spawn(move || work(stream))).collect();
            for thread in threads {
                let (count, end) = thread.join().expect("every answer was a success");
                (done, last) = (done + count, last.max(end));
            }
        });
        f64::from(done) / last.duration_since(started).as_secs_f64()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A key of this process on a second token of the same module.
struct Raw(TokenKey);

impl Raw {
    fn open(dir: &Path) -> Self {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "raw", "--pin", "97531", "--so-pin", "97531"])
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("softhsm2-util runs").success());
        // The same PIN in both tokens.
        let pin = PinSource::File(dir.join("pin.txt"));
        let token = Token::open(&TokenConfig {
            profile: Some("softhsm2".into()),
            ..TokenConfig::new("raw", Selector::label("raw"), pin)
        });
        let kind = KeyKind::Rsa { bits: 2048 };
        let key =
            token.expect("the token").generate("raw", kind, KeyUsage { sign: true, decrypt: false }, false);
        Self(key.expect("a key"))
    }

    /// Signatures per second. Twice as many threads ask as there are sessions: none is ever idle.
    fn rate(&self, sessions: usize, span: Duration) -> f64 {
        let done = AtomicUsize::new(0);
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..2 * sessions {
                scope.spawn(|| {
                    while started.elapsed() < span {
                        self.0.sign(Hash::Sha256, b"to be signed").expect("a signature");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        done.into_inner() as f64 / started.elapsed().as_secs_f64()
    }
}

/// A client: a key in memory and a certificate signed with it.
struct Client {
    key: TestKey,
    certificate: Certificate,
}

impl Client {
    fn new() -> Self {
        let key = TestKey::new();
        Self { certificate: key.self_signed("CN=load generator"), key }
    }
}

/// A PKCSReq as it goes over the wire.
struct Request {
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

fn prepare(clients: &[Client], ca: &Certificate, address: SocketAddr, count: usize) -> Vec<Request> {
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

fn connect(address: SocketAddr) -> TcpStream {
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

const FLUSHES: u32 = 20;
const CONNECTIONS: [usize; 3] = [1, 8, 32];
const LABEL: &str = "mycs";
const DIR: &str = "TOKENCA_BENCH_DIR";
/// The attribute pkiStatus with the value "0".
const SUCCESS: &[u8] = b"\x06\x0a\x60\x86\x48\x01\x86\xf8\x45\x01\x09\x03\x31\x03\x13\x010";
