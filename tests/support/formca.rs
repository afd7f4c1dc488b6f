//! A CA that speaks no SCEP: OpenSSL behind a form, at paths as a Windows CA has them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tempfile::TempDir;

use super::run;

/// A CA that runs until it is dropped.
pub struct FormCa {
    /// Where it listens.
    pub address: SocketAddr,
    dir: Arc<TempDir>,
    forms: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FormCa {
    /// `GET /certs/cacert.der` gives its certificate; `POST /certs/certreq.asp` takes `CertReq=` and the
    /// authorization code `authcode=letmein`, and answers with the certificate in PEM.
    pub fn start() -> Self {
        let dir = Arc::new(TempDir::new().unwrap());
        openssl(
            dir.path(),
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=formca -days 30",
        );
        openssl(dir.path(), "x509 -in ca.pem -outform DER -out ca.der");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (forms, stopping) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (dir, forms, stopping) = (dir.clone(), forms.clone(), stopping.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    answer(stream.unwrap(), dir.path(), &forms);
                }
            })
        };
        Self { address, dir, forms, stopping, thread: Some(thread) }
    }

    /// Its certificate in DER.
    pub fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("ca.der")).unwrap()
    }

    /// The forms that were posted.
    pub fn forms(&self) -> Vec<String> {
        self.forms.lock().unwrap().clone()
    }
}

impl Drop for FormCa {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // It waits for a connection.
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: TcpStream, dir: &Path, forms: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let (status, content) = match first.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/certs/cacert.der"] => ("200 OK", std::fs::read(dir.join("ca.der")).unwrap()),
        ["POST", "/certs/certreq.asp"] => {
            forms.lock().unwrap().push(body.clone());
            match field(&body, "authcode").as_deref() {
                Some("letmein") => ("200 OK", issue(dir, &field(&body, "CertReq").unwrap())),
                _ => ("403 Forbidden", b"no such code".to_vec()),
            }
        }
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    // A client that was killed reads no answer.
    let _ = stream.write_all(&[head.as_bytes(), &content].concat());
}

fn issue(dir: &Path, request: &str) -> Vec<u8> {
    let der = STANDARD.decode(request).unwrap();
    std::fs::write(dir.join("request.der"), der).unwrap();
    openssl(
        dir,
        "x509 -req -inform DER -in request.der -CA ca.pem -CAkey ca.key -CAcreateserial -days 10 -copy_extensions \
         copyall -out issued.pem",
    );
    std::fs::read(dir.join("issued.pem")).unwrap()
}

/// The value of a field of a form.
fn field(form: &str, name: &str) -> Option<String> {
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8().unwrap().into_owned())
}

fn openssl(dir: &Path, arguments: &str) {
    run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir)).success();
}
