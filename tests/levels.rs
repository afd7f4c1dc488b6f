//! A root, a CA below it and an RA live on by themselves: time is moved, not waited for.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::keys::{TestKey, name};
use support::opinion::openssl;
use support::{http, softhsm};
use tokenca::config::Configuration;
use tokenca::http::{Limits, Server};
use tokenca::node::{Node, Selection, ServerStatus};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Hash, SigningKey, Time, hex};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, MessageType, PkiStatus};
use tokenca::store::State;
use tokenca::trustpoint::CaCertificates;

const DAY: Duration = Duration::from_secs(86_400);

/// Servers in one process, each a node of its own, by one clock.
struct World {
    dir: PathBuf,
    clock: Arc<AtomicU64>,
    runtime: tokio::runtime::Runtime,
    levels: Vec<Level>,
}

struct Level {
    label: String,
    node: Arc<Node>,
    server: Server,
}

impl World {
    fn new(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self {
            dir: dir.to_owned(),
            clock: Arc::new(AtomicU64::new(Time::now().unix() + 60)),
            runtime: runtime.expect("threads"),
            levels: Vec::new(),
        }
    }

    fn now(&self) -> Time {
        Time::from_unix(self.clock.load(Ordering::Relaxed))
    }

    /// Starts a server of this label, with these lines in its trustpoint and in its section.
    fn start(&mut self, label: &str, trustpoint: &str, server: &str) {
        let text = format!(
            "hostname {label}\nip http server\n\
             crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file {}\n\
             crypto pki trustpoint {label}\n{trustpoint} rsakeypair {label} 2048\n on usbtoken0:\n\
             crypto pki server {label}\n issuer-name CN={label}, O=Example\n{server} no shutdown\n",
            self.dir.join("pin.txt").display()
        );
        let configuration = Configuration::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let clock = self.clock.clone();
        let time = Arc::new(move || Time::from_unix(clock.load(Ordering::Relaxed)));
        let node = Node::start_by(self.dir.join(label), configuration, time).expect("a node");
        let limits = Limits { body: 65_536, rate: None };
        let listening = Server::start(([127, 0, 0, 1], 0).into(), limits, node.clone());
        let server = self.runtime.block_on(listening).expect("a port");
        self.levels.push(Level { label: label.to_owned(), node, server });
    }

    fn level(&self, label: &str) -> &Level {
        self.levels.iter().find(|level| level.label == label).expect("it was started")
    }

    /// `enrollment url` and `fingerprint` of this server, as lines of a trustpoint.
    fn above(&self, label: &str) -> String {
        let level = self.level(label);
        let fingerprint = hex(&Hash::Sha256.digest(&[level.ca().der()]));
        format!(" enrollment url http://{}\n fingerprint {fingerprint}\n", level.server.address())
    }

    /// So much later, after the upkeep of then.
    fn later(&self, duration: Duration) {
        self.clock.fetch_add(duration.as_secs(), Ordering::Relaxed);
        for _ in 0..2 {
            for level in &self.levels {
                level.node.tick(self.now());
                assert!(level.node.settle_trustpoints(Duration::from_secs(60)), "{} is at work", level.label);
            }
        }
    }

    /// A device enrols at this server.
    #[track_caller]
    fn enrol(&self, label: &str, subject: &str) -> Certificate {
        let address = self.level(label).server.address().to_string();
        let shown = http::get(&address, "/scep?operation=GetCACert&message=x", &[]);
        let certificates = CaCertificates::read(&shown.body).expect("certificates");
        let key = TestKey::new();
        let signer = support::keys::self_signed(&key, subject, Hash::Sha256, true);
        let csr = client::csr(&name(subject), &key, Hash::Sha256, None, &[]).expect("a PKCS#10");
        let recipient = certificates.recipient().expect("somebody decrypts");
        let parties = Parties { ca: recipient, signer: &signer, key: &key };
        let transaction = client::transaction_id(&key);
        let message = client::message(MessageType::PkcsReq, &transaction, &csr, &parties, Style::default());
        let message = message.expect("the key signs").expect("the CA decrypts");
        let answer = http::post(&address, "/scep?operation=PKIOperation", &message.octets);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let signers: Vec<_> = certificates.signers().collect();
        let reply = CertRep::decode(&answer.body, &signers).expect("a CertRep");
        assert_eq!(reply.status(), PkiStatus::Success, "{:?} on {}", reply.fail_info_text(), self.now());
        let issued = reply.open(&signer, &key).expect("it is for us").certificates.remove(0);
        assert_eq!(issued.public_key(), SigningKey::public_key(&key));
        certificates.check_issued(&issued).expect("by the CA that was shown");
        issued
    }

    /// OpenSSL verifies the certificate now, up to the root, with the CRL of each CA.
    #[track_caller]
    fn verify(&self, certificate: &Certificate, below: Option<&str>) {
        let file = |name: &str, text: &str| {
            let path = self.dir.join(name);
            fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let device = file("device.pem", &pem::write_certificate(certificate.der()));
        let root = file("root.pem", &pem::write_certificate(self.level("root").ca().der()));
        let now = self.now().unix().to_string();
        let mut args = vec!["verify", "-x509_strict", "-crl_check_all", "-attime", &now, "-purpose", "any"];
        args.extend(["-CAfile", &root]);
        let sub = below.map(|label| file("sub.pem", &pem::write_certificate(self.level(label).ca().der())));
        sub.iter().for_each(|sub| args.extend(["-untrusted", sub]));
        let labels: Vec<_> = ["root"].into_iter().chain(below).collect();
        let crls: Vec<_> = labels.iter().map(|label| self.crl(label)).collect();
        crls.iter().for_each(|crl| args.extend(["-CRLfile", crl]));
        args.push(&device);
        openssl(&args).success().says(": OK");
    }

    fn crl(&self, label: &str) -> String {
        let address = self.level(label).server.address().to_string();
        let crl = http::get(&address, &format!("/{label}.crl"), &[]).is(200, "application/pkix-crl").body;
        let (der, out) = (self.dir.join("crl.der"), self.dir.join(format!("{label}.crl.pem")));
        fs::write(&der, crl).expect("a file");
        let (der, out) = (der.display().to_string(), out.display().to_string());
        openssl(&["crl", "-in", &der, "-out", &out]).success();
        out
    }
}

impl Level {
    fn ca(&self) -> Certificate {
        let address = self.server.address().to_string();
        let der = http::get(&address, &format!("/{}.cer", self.label), &[]).is(200, "application/pkix-cert");
        Certificate::parse(&der.body).expect("a certificate")
    }

    fn status(&self) -> ServerStatus {
        self.node.server(&self.label).unwrap().report().unwrap().status
    }

    #[track_caller]
    fn is_enabled(&self) {
        let report = self.node.server(&self.label).unwrap().report().unwrap();
        assert_eq!(report.status, ServerStatus::Enabled, "{:?}", report.last_error);
    }

    /// The operator grants everything that waits.
    fn grant_all(&self) {
        let granted = self.node.server(&self.label).unwrap().grant(Selection::All).unwrap();
        assert!(granted.iter().all(|decision| decision.state == Some(State::Granted)), "{granted:?}");
        assert_eq!(granted.len(), 1);
    }
}

#[test]
fn a_root_a_ca_below_it_and_an_ra_live_on() {
    softhsm::own_process("a_root_a_ca_below_it_and_an_ra_live_on", |dir| {
        let mut world = World::new(dir);
        world.start(
            "root",
            "",
            " lifetime ca-certificate 400\n lifetime certificate 150\n auto-rollover 40\n grant ra-auto\n \
             grant auto rollover ca-cert\n grant auto rollover ra-cert\n",
        );
        world.start(
            "sub",
            &world.above("root"),
            " mode sub-cs\n auto-rollover 20\n grant auto\n lifetime certificate 30\n",
        );
        let ra = " subject-name cn=myra, ou=ioscs RA\n fqdn none\n";
        world.start(
            "myra",
            &format!("{}{ra}", world.above("root")),
            " mode ra\n auto-rollover 20\n grant auto\n",
        );
        // The first certificates are granted by hand.
        for label in ["sub", "myra"] {
            let level = world.level(label);
            assert!(level.node.settle_trustpoints(Duration::from_secs(60)));
            level.node.tick(world.now());
            assert!(level.node.settle_trustpoints(Duration::from_secs(60)));
            assert_eq!(level.status(), ServerStatus::Waiting, "{label}");
            world.level("root").grant_all();
        }
        world.later(Duration::from_secs(60));

        let (mut roots, mut subs, mut ras) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // Two days at a time.
        for round in 0..450 {
            for level in &world.levels {
                level.is_enabled();
            }
            roots.insert(world.level("root").ca().der().to_vec());
            subs.insert(world.level("sub").ca().der().to_vec());
            let registrar = world.level("myra").node.server("myra").unwrap().report().unwrap();
            ras.insert(registrar.ra_fingerprint_md5);
            if round % 15 == 0 {
                world.verify(&world.enrol("sub", "CN=r1"), Some("sub"));
                world.verify(&world.enrol("myra", "CN=r2"), None);
            }
            world.later(DAY * 2);
        }
        assert!(roots.len() >= 3, "{}", roots.len());
        assert!(subs.len() >= 6, "{}", subs.len());
        assert!(ras.len() >= 6, "{}", ras.len());
    });
}
