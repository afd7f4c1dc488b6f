//! A certificate server rolls over: the next CA certificate is made, fetched, used, taken back, and takes over.
//!
//! Time is moved, not waited for: the server runs in the test's own process, each test in a process of its own
//! with its own token.

mod card;
mod crash;
mod life;
mod scep;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenca::config::Configuration;
use tokenca::node::{CertServer, Node, RolloverStatus};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Hash, SigningKey, Time, crl};
use tokenca::ra::{Answer, Asked, Body};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, FailInfo, MessageType, PkiStatus, next_ca};

use support::keys::{TestKey, name};
use support::opinion::openssl;

/// Tests, each in a process of its own.
macro_rules! stories {
    ($($(#[$attribute:meta])* fn $name:ident($dir:ident: &Path) $body:block)+) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            // The name of a test begins below its crate.
            let (_, name) = name.split_once("::").unwrap();
            crate::support::softhsm::own_process(name, |$dir: &Path| $body);
        }
    )+};
}
use stories;

/// A node with one certificate server `mycs`, and its time.
struct Lab {
    dir: PathBuf,
    text: String,
    clock: Arc<AtomicU64>,
    node: Option<Arc<Node>>,
}

impl Lab {
    /// With these lines in the server section.
    fn new(dir: &Path, lines: &[&str]) -> Self {
        Self::with(dir, TRUSTPOINT, lines)
    }

    /// With these lines before the server section, and in it.
    fn with(dir: &Path, before: &str, lines: &[&str]) -> Self {
        let mut lab = Self::stopped(dir, before, lines);
        lab.start();
        lab
    }

    /// The same, not started.
    fn stopped(dir: &Path, before: &str, lines: &[&str]) -> Self {
        let lines: String = lines.iter().map(|line| format!(" {line}\n")).collect();
        let text = format!(
            "crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file {}\n\
             {before}\
             crypto pki server mycs\n issuer-name CN=mycs, O=Example, C=US\n database level complete\n\
             {lines} no shutdown\n",
            dir.join("pin.txt").display()
        );
        let clock = Arc::new(AtomicU64::new(Time::now().unix() + 3600));
        Self { dir: dir.to_owned(), text, clock, node: None }
    }

    /// Starts, or starts anew, as after a crash.
    fn start(&mut self) {
        self.stop();
        let configuration = Configuration::parse(&self.text).expect("a configuration");
        let clock = self.clock.clone();
        let time = Arc::new(move || Time::from_unix(clock.load(Ordering::Relaxed)));
        self.node = Some(Node::start_by(self.state(), configuration, time).expect("a node"));
    }

    fn stop(&mut self) {
        self.node = None;
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("it runs")
    }

    fn server(&self) -> Arc<CertServer> {
        self.node().server("mycs").expect("the server")
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn now(&self) -> Time {
        Time::from_unix(self.clock.load(Ordering::Relaxed))
    }

    /// Time passes, and upkeep sees it.
    fn wait(&self, duration: Duration) {
        self.clock.fetch_add(duration.as_secs(), Ordering::Relaxed);
        self.node().tick(self.now());
    }

    /// Until this time.
    fn wait_until(&self, time: Time) {
        self.wait(time.since(self.now()));
    }

    fn ask(&self, asked: Asked) -> Answer {
        self.server().answer(asked, PEER, self.now())
    }

    /// The octets of an answer that must be 200.
    #[track_caller]
    fn get(&self, asked: Asked) -> Vec<u8> {
        match self.ask(asked).body {
            Body::Ok { octets, .. } => octets.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// The CA certificate that acts.
    fn ca(&self) -> Certificate {
        Certificate::parse(&self.get(Asked::Certificate)).expect("a certificate")
    }

    /// What GetCACert tells: CA certificate, the one to encrypt to and the one that signs replies.
    fn certificates(&self) -> Certificates {
        let octets = self.get(Asked::CaCert);
        match Certificate::parse(&octets) {
            Ok(ca) => Certificates { decrypter: ca.clone(), signer: ca.clone(), ca },
            Err(_) => Certificates::among(support::device::certificates(&octets)),
        }
    }

    /// What GetNextCACert tells, its signature checked.
    fn next_certificates(&self) -> Certificates {
        let octets = self.get(Asked::NextCaCert);
        let decoded = next_ca::decode(&octets, &[&self.ca()]).expect("signed by the CA of now");
        let certificates = decoded.signed;
        assert!(certificates[0].extensions().basic_constraints().is_some_and(|b| b.ca), "the CA first");
        match certificates.len() {
            1 => {
                let ca = certificates[0].clone();
                Certificates { decrypter: ca.clone(), signer: ca.clone(), ca }
            }
            _ => Certificates::among(certificates),
        }
    }

    /// The server offers a next CA certificate, which is this.
    #[track_caller]
    fn next(&self) -> Certificate {
        let report = self.server().rollover(10).expect("a report");
        assert_eq!(report.status, RolloverStatus::Available);
        self.next_certificates().ca
    }

    #[track_caller]
    fn has_no_next(&self) {
        let body = self.ask(Asked::NextCaCert).body;
        assert!(matches!(body, Body::NotFound(_)), "{body:?}");
        assert!(!String::from_utf8(self.get(Asked::CaCaps)).unwrap().contains("GetNextCACert"));
    }

    /// Labels of the keys on the tokens.
    fn keys(&self) -> Vec<String> {
        let keys = self.node().keys().expect("keys").into_iter();
        keys.map(|key| format!("{}:{}", key.token, key.name)).collect()
    }

    /// OpenSSL accepts the certificate at `time`, which is near: it looks at the CRL of now.
    #[track_caller]
    fn openssl_accepts(&self, certificate: &Certificate, ca: &Certificate, time: Time) {
        let list = pem::write("X509 CRL", &self.get(Asked::CrlOf(ca.key_identifier())));
        let list = self.file("crl.pem", &list);
        self.openssl_verifies(certificate, ca, time, &["-crl_check", "-CRLfile", &list]);
    }

    /// OpenSSL accepts the certificate at `time`.
    #[track_caller]
    fn openssl_verifies(&self, certificate: &Certificate, ca: &Certificate, time: Time, more: &[&str]) {
        let ca = self.file("ca.pem", &pem::write_certificate(ca.der()));
        let leaf = self.file("leaf.pem", &pem::write_certificate(certificate.der()));
        let time = time.unix().to_string();
        let args = ["verify", "-x509_strict", "-purpose", "any", "-attime", &time, "-CAfile", &ca];
        openssl(&[&args, more, &[&leaf]].concat()).success().says(": OK");
    }

    /// A file with this in it.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn crl_of(&self, ca: &Certificate) -> crl::Crl {
        let list = crl::Crl::parse(self.get(Asked::CrlOf(ca.key_identifier()))).expect("a CRL");
        assert!(list.verify_signed_by(ca.public_key()).is_ok());
        list
    }
}

/// Which certificate is for what.
#[derive(Clone)]
struct Certificates {
    ca: Certificate,
    decrypter: Certificate,
    signer: Certificate,
}

impl Certificates {
    fn among(all: Vec<Certificate>) -> Self {
        let is_ca = |c: &&Certificate| c.extensions().basic_constraints().is_some_and(|b| b.ca);
        let usage = |c: &&Certificate| c.extensions().key_usage().expect("every certificate has keyUsage");
        let find =
            |wanted: &dyn Fn(&&Certificate) -> bool| all.iter().find(wanted).expect("it is there").clone();
        Self {
            ca: find(&is_ca),
            decrypter: find(&|c| !is_ca(c) && usage(c).key_encipherment()),
            signer: find(&|c| !is_ca(c) && usage(c).digital_signature()),
        }
    }
}

/// A device: its key, and the certificate that it signs with.
struct Device {
    subject: String,
    key: TestKey,
    certificate: Certificate,
}

impl Device {
    fn new(subject: &str) -> Self {
        let key = TestKey::new();
        let certificate = key.self_signed(subject);
        Self { subject: subject.into(), key, certificate }
    }

    fn message(&self, kind: MessageType, content: &[u8], transaction: &TestKey, to: &Certificate) -> Vec<u8> {
        let parties = Parties { ca: to, signer: &self.certificate, key: &self.key };
        let transaction = client::transaction_id(transaction);
        let message = client::message(kind, &transaction, content, &parties, Style::default());
        message.expect("the key signs").expect("the CA decrypts").octets
    }

    /// Asks, by a message encrypted to `to`; the reply must be signed by the CA of now.
    fn ask(&self, lab: &Lab, kind: MessageType, content: &[u8], about: &TestKey, to: &Certificate) -> Told {
        let message = self.message(kind, content, about, to);
        self.read(lab, &lab.get(Asked::PkiOperation(message)))
    }

    fn read(&self, lab: &Lab, reply: &[u8]) -> Told {
        let reply =
            CertRep::decode(reply, &[&lab.certificates().signer]).expect("a reply of the signer of now");
        match reply.status() {
            PkiStatus::Success => {
                let issued = reply.open(&self.certificate, &self.key).expect("it is for us");
                Told::Issued(issued.certificates, issued.crls)
            }
            PkiStatus::Pending => Told::Pending,
            PkiStatus::Failure => Told::Refused(reply.fail_info().expect("a FAILURE says why")),
        }
    }

    /// Enrols for its own key.
    fn enrol(&mut self, lab: &Lab) -> Certificate {
        let csr = csr(&self.subject, &self.key);
        let to = lab.certificates().decrypter;
        self.certificate = self.ask(lab, MessageType::PkcsReq, &csr, &self.key, &to).certificate();
        self.certificate.clone()
    }

    /// Asks for the certificate of a new key, of the CA to which `to` belongs, with the one it has.
    fn renew(&self, lab: &Lab, new: &TestKey, to: &Certificate) -> Told {
        self.ask(lab, MessageType::RenewalReq, &csr(&self.subject, new), new, to)
    }
}

fn csr(subject: &str, key: &dyn SigningKey) -> Vec<u8> {
    client::csr(&name(subject), key, Hash::Sha256, None, &[]).expect("a PKCS#10")
}

#[derive(Debug)]
enum Told {
    Issued(Vec<Certificate>, Vec<Vec<u8>>),
    Pending,
    Refused(FailInfo),
}

impl Told {
    #[track_caller]
    fn certificate(self) -> Certificate {
        match self {
            Self::Issued(mut certificates, _) => certificates.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_pending(&self) {
        assert!(matches!(self, Self::Pending), "{self:?}");
    }

    #[track_caller]
    fn is_refused(&self, why: FailInfo) {
        assert!(matches!(self, Self::Refused(told) if *told == why), "{self:?}");
    }
}

const TRUSTPOINT: &str = "crypto pki trustpoint mycs\n rsakeypair mycs 2048\n on usbtoken0:\n";
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
