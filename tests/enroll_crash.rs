//! The server is killed under load, again and again. What it told its clients stays true: no certificate that
//! it does not know, no serial number twice, what waited waits on, and whoever asks again gets the same.

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::device::{CaCerts, Device};
use support::{Ca, http};
use tokenca::pki::Certificate;
use tokenca::scep::client::{self, Message};
use tokenca::scep::{MessageType, PkiStatus, TransactionId};

#[test]
fn what_clients_were_told_survives_sigkill() {
    // No cache outlives a kill, so what is asked again is answered by the database.
    let mut ca = Ca::new(&["grant auto"]);
    let certs = CaCerts::of(&ca);
    let mut asked: Vec<Asked> = Vec::new();
    let mut clients: Vec<Device> = (0..CLIENTS).map(|n| Device::new(&format!("CN=client{n}"))).collect();
    for round in 0..ROUNDS {
        asked.extend(until_killed(&mut ca, &certs, &mut clients, round));
        ca.start();
        asked.iter_mut().for_each(|one| one.check(&ca, &certs, &clients));
    }

    let told = asked.iter().filter(|one| one.told.is_some()).count();
    assert!(told >= ROUNDS * ENOUGH, "{told}");
    let serials: BTreeSet<_> = asked.iter().filter_map(Asked::serial).collect();
    let certificates = asked.iter().filter(|one| !one.waits).count();
    assert_eq!(serials.len(), certificates, "a serial number was used twice");
    let rows = ca.json("crypto pki server mycs info requests");
    assert_eq!(rows.as_array().expect("a list").len(), asked.len(), "each request is there once");
}

/// A request that was sent.
struct Asked {
    client: usize,
    transaction: TransactionId,
    subject: tokenca::pki::Name,
    message: Message,
    /// Whether it calls itself an RA: such requests wait for the operator whatever `grant` says.
    waits: bool,
    /// What came back, if anything did.
    told: Option<Told>,
}

enum Told {
    Pending,
    Issued(Box<Certificate>),
}

impl Asked {
    fn serial(&self) -> Option<Vec<u8>> {
        match &self.told {
            Some(Told::Issued(certificate)) => Some(certificate.serial_raw().to_vec()),
            _ => None,
        }
    }

    /// Sends the same octets again, and asks for what was told by other ways.
    fn check(&mut self, ca: &Ca, certs: &CaCerts, clients: &[Device]) {
        let client = self.as_client(clients);
        let response = http::post(ca.address(), OPERATION, &self.message.octets);
        let again = told(&client, certs, &self.message, response);
        match (&self.told, &again) {
            (Some(Told::Issued(first)), Told::Issued(again)) => {
                assert_eq!(first.der(), again.der());
                let content = client::issuer_and_serial(first);
                let found = client.ask(ca, MessageType::GetCert, &content).certificate();
                assert_eq!(found.der(), first.der());
            }
            (Some(Told::Pending), Told::Pending) => client.poll(ca).is_pending(),
            // Nothing was told: now it is, as if for the first time.
            (None, Told::Pending) => assert!(self.waits),
            (None, Told::Issued(_)) => assert!(!self.waits),
            (Some(_), _) => panic!("{}: another answer than before the crash", self.subject),
        }
        self.told = Some(again);
    }

    fn as_client(&self, clients: &[Device]) -> Device {
        let device = &clients[self.client];
        Device {
            key: device.key.clone(),
            subject: self.subject.clone(),
            signer: device.signer.clone(),
            transaction: self.transaction.clone(),
            style: device.style,
        }
    }
}

/// All clients ask for one certificate after the other until the server, killed in the middle of it, is gone.
fn until_killed(ca: &mut Ca, certs: &CaCerts, clients: &mut [Device], round: usize) -> Vec<Asked> {
    let (asked, answers) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let address = ca.address().to_owned();
    std::thread::scope(|scope| {
        for (number, device) in clients.iter_mut().enumerate() {
            let (asked, answers, address) = (&asked, &answers, &address);
            scope.spawn(move || {
                for n in 0..1000 {
                    let waits = n % 3 == 2;
                    let unit = if waits { "ioscs RA" } else { "devices" };
                    device.subject = support::keys::name(&format!("CN={round}.{number}.{n}, OU={unit}"));
                    device.transaction = TransactionId::new(format!("{round}.{number}.{n}").as_bytes());
                    let message = device.message(certs, MessageType::PkcsReq, &device.csr(None));
                    let response = http::try_post(address, OPERATION, &message.octets);
                    let gone = response.is_none();
                    let told = response.map(|response| told(device, certs, &message, response));
                    let (transaction, subject) = (device.transaction.clone(), device.subject.clone());
                    let one = Asked { client: number, transaction, subject, message, waits, told };
                    asked.lock().expect("no client panics").push(one);
                    if gone {
                        break;
                    }
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        support::until("enough answers are given", || {
            (answers.load(Ordering::SeqCst) >= ENOUGH + 7 * round).then_some(())
        });
        ca.kill();
    });
    asked.into_inner().expect("no client panics")
}

fn told(device: &Device, certs: &CaCerts, message: &Message, response: http::Response) -> Told {
    let reply = device.read(certs, message, response);
    match reply.status {
        PkiStatus::Pending => Told::Pending,
        _ => Told::Issued(Box::new(reply.certificate())),
    }
}

const CLIENTS: usize = 4;
const ROUNDS: usize = 3;
/// Answers before the server is killed.
const ENOUGH: usize = 20;
const OPERATION: &str = "/scep?operation=PKIOperation";
