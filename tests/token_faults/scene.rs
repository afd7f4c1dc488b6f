//! A server over the module, devices that enrol there, and what its database says of them in the end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokenca::pki::Certificate;
use tokenca::scep::{MessageType, PkiStatus, TransactionId};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{State, Store};

use super::support::device::{CaCerts, Device};
use super::support::keys::{name, self_signed};
use super::support::{Ca, http};
use super::*;

/// A server that grants everything, and the certificates that devices got.
pub struct Scene {
    pub ca: Ca,
    certs: CaCerts,
    issued: Mutex<BTreeMap<String, Vec<u8>>>,
    /// With the profile of the token.
    _kept: tempfile::TempDir,
}

/// What a device was told.
#[derive(PartialEq)]
pub enum Told {
    Issued,
    /// PENDING: it polls.
    Wait,
    /// 503: it sends its request again.
    Again,
}

impl Scene {
    /// With these lines in the token section.
    pub fn new(token: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let profile = dir.path().join("profile.toml");
        let text = "timeout = 2\nsessions = \"cores\"\n[keygen]\nserialize = true\n";
        fs::write(&profile, text).expect("a profile");
        let profile = format!("profile {}", profile.display());
        let ca = Ca::over_faulty(&[&[profile.as_str()], token].concat(), &["grant auto"]);
        ca.faulty().trace(false);
        Self { certs: CaCerts::of(&ca), ca, issued: Mutex::default(), _kept: dir }
    }

    /// Asks once, for a certificate or what became of the request. Never a FAILURE.
    #[track_caller]
    pub fn ask(&self, device: &Device, polls: bool) -> Told {
        use tokenca::scep::client;
        let message = match polls {
            false => device.message(&self.certs, MessageType::PkcsReq, &device.csr(None)),
            true => {
                let subject =
                    client::issuer_and_subject(self.certs.ca.subject_raw(), device.subject.as_der());
                device.message(&self.certs, MessageType::CertPoll, &subject)
            }
        };
        let response = http::post(self.ca.address(), "/scep?operation=PKIOperation", &message.octets);
        if response.status == 503 {
            assert!(response.header("retry-after").is_some());
            return Told::Again;
        }
        let reply = device.read(&self.certs, &message, response);
        match reply.status {
            PkiStatus::Pending => Told::Wait,
            PkiStatus::Success => {
                self.keep(device, &reply.certificate());
                Told::Issued
            }
            PkiStatus::Failure => panic!("FAILURE {:?}, {:?}", reply.fail_info, reply.reply.fail_info_text()),
        }
    }

    /// Asks until there is a certificate, as a client does: by polls after PENDING, with its request after 503.
    #[track_caller]
    pub fn enrols(&self, device: &Device) {
        let (started, mut polls) = (Instant::now(), false);
        loop {
            match self.ask(device, polls) {
                Told::Issued => return,
                Told::Wait => polls = true,
                Told::Again => {}
            }
            assert!(started.elapsed() < PATIENCE, "{} has no certificate", device.subject);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The same certificate each time, and signed by the CA.
    #[track_caller]
    fn keep(&self, device: &Device, certificate: &Certificate) {
        certificate.verify_signed_by(self.certs.ca.public_key()).expect("signed by the CA");
        assert_eq!(certificate.subject_raw(), device.subject.as_der());
        let transaction = String::from_utf8_lossy(device.transaction.as_bytes()).into_owned();
        let mut issued = self.issued.lock().expect("no panic");
        let first = issued.entry(transaction).or_insert_with(|| certificate.der().to_vec());
        assert_eq!(first, certificate.der(), "{} has two certificates", device.subject);
    }

    /// Ends the server: each device has one certificate, the database has these and the CA's own, and nothing
    /// is unfinished.
    pub fn ends(mut self, devices: usize) {
        let log = self.ca.log();
        assert!(!log.contains("panic"), "{log}");
        self.ca.stop();
        let issued = self.issued.into_inner().expect("no panic");
        assert_eq!(issued.len(), devices);
        let store = Sqlite::open(&self.ca.state().join("tokenca.db")).expect("the database");
        assert!(store.unfinished("mycs").expect("read").is_empty());
        let kept = store.certificates("mycs", None, usize::MAX >> 1).expect("read");
        assert_eq!(kept.len(), devices + 1);
        let mut serials = BTreeMap::new();
        for certificate in kept {
            serials.insert(certificate.serial.to_string(), certificate.der);
        }
        assert_eq!(serials.len(), devices + 1, "serial numbers are unique");
        for der in issued.values() {
            let serial = Certificate::parse(der).expect("it was read before").serial().to_string();
            assert_eq!(serials.get(&serial), Some(der));
        }
        let enrollments = store.enrollments("mycs", 0, usize::MAX >> 1).expect("read");
        assert_eq!(enrollments.len(), devices);
        assert!(enrollments.iter().all(|enrollment| enrollment.state == State::Granted));
    }
}

/// The device as another one, with the same key.
pub fn renamed(device: &mut Device, subject: &str) {
    device.subject = name(&format!("CN={subject}"));
    device.signer = self_signed(&device.key, &format!("CN={subject}"), Hash::Sha256, true);
    device.transaction = TransactionId::new(subject.as_bytes());
}
