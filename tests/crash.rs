//! A server is killed under load, again and again, on one state directory: what a client was told stays
//! true, and who asks again gets the same.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokenca::pki::{Certificate, Hash};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, MessageType, PkiStatus, TransactionId};
use tokenca::store::State;
use tokenca::store::Store;
use tokenca::store::sqlite::Sqlite;

use support::Ca;
use support::device::{CaCerts, Device};
use support::keys::name;

/// A request and what its sender was told.
struct Request {
    octets: Vec<u8>,
    transaction: String,
    told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Pending,
    Issued { serial: String, der: Vec<u8> },
}

#[test]
fn what_was_told_is_true_after_a_kill() {
    let mut ca = Ca::new(&["grant auto"]);
    let certs = CaCerts::of(&ca);
    let devices: Vec<Device> = (0..CLIENTS).map(|n| Device::new(&format!("CN=client {n}"))).collect();
    let mut told_before: Vec<Request> = Vec::new();
    for round in 0..ROUNDS {
        let mut requests: Vec<Vec<Request>> = thread::scope(|scope| {
            let certs = &certs;
            let prepare = |(n, device)| scope.spawn(move || prepare(device, certs, round, n));
            let threads: Vec<_> = devices.iter().enumerate().map(prepare).collect();
            threads.into_iter().map(|thread| thread.join().expect("prepared")).collect()
        });
        under_load(&mut ca, &certs, &devices, &mut requests);
        let answered = requests.iter().flatten().filter(|request| request.told.is_some()).count();
        println!("round {round}: {answered} of {} answered", CLIENTS * EACH);
        ca.start();
        // Everybody asks again: those who heard nothing, too.
        for (device, requests) in devices.iter().zip(&mut requests) {
            for request in requests {
                let again = ask(ca.address(), device, &certs, &request.octets).expect("nobody kills now");
                if let Some(told) = &request.told {
                    assert_eq!(again, *told, "{}", request.transaction);
                }
                request.told = Some(again);
            }
        }
        told_before.extend(requests.into_iter().flatten());
    }
    ca.stop();
    check(&ca, &told_before);
}

/// Sends the requests of each client, and kills the server after some answers.
fn under_load(ca: &mut Ca, certs: &CaCerts, devices: &[Device], requests: &mut [Vec<Request>]) {
    let address = ca.address().to_owned();
    let answers = AtomicUsize::new(0);
    let enough = rand::random_range(1..CLIENTS * EACH * 3 / 4);
    let moment = Duration::from_micros(rand::random_range(0..10_000));
    thread::scope(|scope| {
        let (address, answers) = (&address, &answers);
        let client = |(device, requests): (_, &mut Vec<Request>)| {
            for request in requests {
                match ask(address, device, certs, &request.octets) {
                    Some(told) => request.told = Some(told),
                    None => return,
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients: Vec<_> =
            devices.iter().zip(requests).map(|one| scope.spawn(move || client(one))).collect();
        while answers.load(Ordering::Relaxed) < enough && clients.iter().any(|client| !client.is_finished()) {
            thread::sleep(Duration::from_millis(1));
        }
        // Somewhere within the enrolments that are under way.
        thread::sleep(moment);
        ca.kill();
    });
}

/// What the database knows, against what everybody was told.
fn check(ca: &Ca, requests: &[Request]) {
    let path = ca.state().join("tokenca.db");
    let found: String = rusqlite::Connection::open(&path)
        .and_then(|db| db.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .expect("a database");
    assert_eq!(found, "ok");
    let store = Sqlite::open(&path).expect("the database");
    assert!(store.unfinished("mycs").expect("read").is_empty());
    let mut kept = BTreeMap::new();
    for certificate in store.certificates("mycs", None, usize::MAX >> 1).expect("read") {
        kept.insert(certificate.serial.to_string(), certificate.der);
    }
    let mut issued = BTreeMap::new();
    for request in requests {
        if let Some(Told::Issued { serial, der }) = &request.told {
            assert_eq!(kept.get(serial), Some(der), "{serial}");
            assert_eq!(issued.insert(serial, &request.transaction), None, "{serial} was given twice");
        }
    }
    // A certificate for each request, beside the CA's own: none was issued that its device has not got.
    assert_eq!(kept.len(), issued.len() + 1);
    let enrollments = store.enrollments("mycs", 0, usize::MAX >> 1).expect("read");
    assert_eq!(enrollments.len(), requests.len());
    let states: BTreeMap<String, State> = enrollments
        .into_iter()
        .map(|enrollment| (String::from_utf8_lossy(&enrollment.transaction).into_owned(), enrollment.state))
        .collect();
    for request in requests {
        let state = match request.told.as_ref().expect("everybody was answered in the end") {
            Told::Pending => State::Pending,
            Told::Issued { .. } => State::Granted,
        };
        assert_eq!(states.get(&request.transaction), Some(&state), "{}", request.transaction);
    }
}

/// Requests of one client; every fourth waits for the operator even under `grant auto`.
fn prepare(device: &Device, certs: &CaCerts, round: usize, client: usize) -> Vec<Request> {
    let parties = Parties { ca: &certs.decrypter, signer: &device.signer, key: &device.key };
    let make = |n: usize| {
        let unit = if n % 4 == 3 { ", OU=ioscs RA" } else { "" };
        let transaction = format!("{round}-{client}-{n}");
        let subject = name(&format!("CN={transaction}{unit}"));
        let csr = client::csr(&subject, &device.key, Hash::Sha256, None, &[]).expect("a PKCS#10");
        let id = TransactionId::new(transaction.as_bytes());
        let message = client::message(MessageType::PkcsReq, &id, &csr, &parties, Style::default());
        let octets = message.expect("the key signs").expect("the CA decrypts").octets;
        Request { octets, transaction, told: None }
    };
    (0..EACH).map(make).collect()
}

/// What the server says; nothing when it is killed before it has said all of it.
fn ask(address: &str, device: &Device, certs: &CaCerts, message: &[u8]) -> Option<Told> {
    let head =
        format!("POST /scep?operation=PKIOperation HTTP/1.0\r\nContent-Length: {}\r\n\r\n", message.len());
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(&[head.as_bytes(), message].concat()).ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    let body = response.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&response[..body]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let body = &response[body..];
    if body.len() < length.parse().expect("a number") {
        return None;
    }
    assert!(head.starts_with("http/1.0 200") || head.starts_with("http/1.1 200"), "{head}");
    let reply = CertRep::decode(body, &[&certs.signer]).expect("a CertRep");
    match reply.status() {
        PkiStatus::Pending => Some(Told::Pending),
        PkiStatus::Success => {
            let issued = reply.open(&device.signer, &device.key).expect("it is for us");
            let certificate: &Certificate = &issued.certificates[0];
            certificate.verify_signed_by(certs.ca.public_key()).expect("signed by the CA");
            let serial = certificate.serial().to_string();
            Some(Told::Issued { serial, der: certificate.der().to_vec() })
        }
        PkiStatus::Failure => panic!("{:?} {:?}", reply.fail_info(), reply.fail_info_text()),
    }
}

const ROUNDS: usize = 8;
const CLIENTS: usize = 6;
/// Requests of each client in a round.
const EACH: usize = 20;
