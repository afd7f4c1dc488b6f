//! An OCSP responder: `openssl ocsp` behind HTTP on a port of its own. OpenSSL's own server listens on every
//! address.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::openssl_pki::OpensslPki;
use super::run;

/// A responder that runs until it is dropped.
pub struct Responder {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    asked: AtomicUsize,
    stopped: AtomicBool,
    broken: AtomicBool,
    /// Arguments of `openssl ocsp`.
    arguments: Mutex<Vec<String>>,
    dir: PathBuf,
}

impl Responder {
    /// Answers for the CA of this name, signed by `signer`.
    pub fn start(pki: &OpensslPki, ca: &str, signer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            asked: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            arguments: Mutex::new(arguments(pki, ca, signer)),
            dir: pki.file(""),
        });
        let here = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if here.stopped.load(Ordering::Acquire) {
                    return;
                }
                here.asked.fetch_add(1, Ordering::AcqRel);
                let _ = here.answer(stream.expect("a connection"));
            }
        });
        Self { address, shared }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/ocsp", self.address)
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Acquire)
    }

    /// From now on it signs with another's key.
    pub fn signed_by(&self, pki: &OpensslPki, ca: &str, signer: &str) {
        *self.shared.arguments.lock().unwrap() = arguments(pki, ca, signer);
    }

    /// From now on it has trouble of its own, or not.
    pub fn breaks(&self, broken: bool) {
        self.shared.broken.store(broken, Ordering::Release);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // So that it sees that.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let mut request = vec![0; length];
        reader.read_exact(&mut request)?;
        if self.broken.load(Ordering::Acquire) {
            return stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let (asked, answered) = (self.dir.join("asked"), self.dir.join("answered"));
        fs::write(&asked, request)?;
        let arguments = self.arguments.lock().unwrap().clone();
        run(Command::new("openssl")
            .args(["ocsp", "-reqin"])
            .arg(&asked)
            .arg("-respout")
            .arg(&answered)
            .args(arguments))
        .success();
        let body = fs::read(&answered)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat())
    }
}

fn arguments(pki: &OpensslPki, ca: &str, signer: &str) -> Vec<String> {
    let file = |name: String| pki.file(&name).to_str().expect("a path of ASCII").to_owned();
    let values = [
        ("-index", file("index".into())),
        ("-CA", file(format!("{ca}.pem"))),
        ("-rsigner", file(format!("{signer}.pem"))),
        ("-rkey", file(format!("{signer}.key"))),
    ];
    values.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
}
