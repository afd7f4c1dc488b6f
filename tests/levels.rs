//! A root, a CA below it and an RA live on by themselves: time is moved, not waited for.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::keys::{TestKey, name};
use support::opinion::openssl;
use support::world::{Host, POLL, World};
use support::{http, softhsm};
use tokenca::node::{ServerReport, ServerStatus};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Hash, SigningKey};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{CertRep, MessageType, PkiStatus};
use tokenca::trustpoint::CaCertificates;

/// A root, a CA below it, and an RA before the root: each host has the name of its server.
struct Levels {
    world: World,
    root: Host,
    sub: Host,
    ra: Host,
    dir: PathBuf,
}

impl Levels {
    /// Everybody serves; the first certificates were granted by hand.
    fn new(dir: &Path) -> Self {
        let world = World::new(dir, &["root", "sub", "myra"]);
        let root = world.host("root", ROOT);
        let sub = world.host("sub", &root.below("root", SUB));
        let ra = world.host("myra", &root.below("root", RA));
        for (host, label) in [(&sub, "sub"), (&ra, "myra")] {
            host.upkeep();
            assert_eq!(report(host, label).status, ServerStatus::Waiting, "{label}");
            assert_eq!(root.grant_waiting("root"), Some(1));
        }
        let levels = Self { world, root, sub, ra, dir: dir.to_owned() };
        levels.later(POLL);
        levels
    }

    fn hosts(&self) -> [(&Host, &'static str); 3] {
        [(&self.root, "root"), (&self.sub, "sub"), (&self.ra, "myra")]
    }

    /// So much later, after the upkeep of then.
    fn later(&self, span: Duration) {
        self.world.pass(span);
        self.hosts().iter().for_each(|(host, _)| host.upkeep());
    }

    /// A device enrols at this server.
    #[track_caller]
    fn enrol(&self, host: &Host, subject: &str) -> Certificate {
        let address = host.address();
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
        assert_eq!(
            reply.status(),
            PkiStatus::Success,
            "{:?} on {}",
            reply.fail_info_text(),
            self.world.now()
        );
        let issued = reply.open(&signer, &key).expect("it is for us").certificates.remove(0);
        assert_eq!(issued.public_key(), SigningKey::public_key(&key));
        certificates.check_issued(&issued).expect("by the CA that was shown");
        issued
    }

    /// OpenSSL verifies the certificate now, up to the root, with the CRL of each CA.
    #[track_caller]
    fn verify(&self, certificate: &Certificate, below: Option<(&Host, &str)>) {
        let file = |name: &str, text: &str| {
            let path = self.dir.join(name);
            fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let device = file("device.pem", &pem::write_certificate(certificate.der()));
        let root = file("root.pem", &pem::write_certificate(self.root.active("root").der()));
        let now = self.world.now().unix().to_string();
        let mut args = vec!["verify", "-x509_strict", "-crl_check_all", "-attime", &now, "-purpose", "any"];
        args.extend(["-CAfile", &root]);
        let sub =
            below.map(|(host, label)| file("sub.pem", &pem::write_certificate(host.active(label).der())));
        sub.iter().for_each(|sub| args.extend(["-untrusted", sub]));
        let cas = [(&self.root, "root")].into_iter().chain(below);
        let crls: Vec<_> = cas.map(|(host, label)| self.crl(host, label)).collect();
        crls.iter().for_each(|crl| args.extend(["-CRLfile", crl]));
        args.push(&device);
        openssl(&args).success().says(": OK");
    }

    fn crl(&self, host: &Host, label: &str) -> String {
        let crl =
            http::get(&host.address(), &format!("/{label}.crl"), &[]).is(200, "application/pkix-crl").body;
        let (der, out) = (self.dir.join("crl.der"), self.dir.join(format!("{label}.crl.pem")));
        fs::write(&der, crl).expect("a file");
        let (der, out) = (der.display().to_string(), out.display().to_string());
        openssl(&["crl", "-in", &der, "-out", &out]).success();
        out
    }
}

fn report(host: &Host, label: &str) -> ServerReport {
    host.node().server(label).unwrap().report().unwrap()
}

#[test]
fn a_root_a_ca_below_it_and_an_ra_live_on() {
    softhsm::own_process("a_root_a_ca_below_it_and_an_ra_live_on", |dir| {
        let levels = Levels::new(dir);
        let (mut roots, mut subs, mut ras) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // Two days at a time.
        for round in 0..450 {
            for (host, label) in levels.hosts() {
                let report = report(host, label);
                assert_eq!(report.status, ServerStatus::Enabled, "{:?}", report.last_error);
            }
            roots.insert(levels.root.active("root").der().to_vec());
            subs.insert(levels.sub.active("sub").der().to_vec());
            ras.insert(report(&levels.ra, "myra").ra_fingerprint_md5);
            if round % 15 == 0 {
                levels.verify(&levels.enrol(&levels.sub, "CN=r1"), Some((&levels.sub, "sub")));
                levels.verify(&levels.enrol(&levels.ra, "CN=r2"), None);
            }
            levels.later(DAY * 2);
        }
        assert!(roots.len() >= 3, "{}", roots.len());
        assert!(subs.len() >= 6, "{}", subs.len());
        assert!(ras.len() >= 6, "{}", ras.len());
    });
}

const ROOT: &str = "\
crypto pki trustpoint root
 rsakeypair root 2048
 on usbtoken0:
crypto pki server root
 issuer-name CN=root, O=Example
 lifetime ca-certificate 400
 lifetime certificate 150
 auto-rollover 40
 grant ra-auto
 grant auto rollover ca-cert
 grant auto rollover ra-cert
 no shutdown
";

const SUB: &str = "\
crypto pki trustpoint sub
 enrollment url URL
 fingerprint FINGERPRINT
 rsakeypair sub 2048
 on usbtoken0:
crypto pki server sub
 issuer-name CN=sub, O=Example
 mode sub-cs
 auto-rollover 20
 grant auto
 lifetime certificate 30
 no shutdown
";

const RA: &str = "\
crypto pki trustpoint myra
 enrollment url URL
 fingerprint FINGERPRINT
 subject-name cn=myra, ou=ioscs RA
 fqdn none
 rsakeypair myra 2048
 on usbtoken0:
crypto pki server myra
 issuer-name CN=myra, O=Example
 mode ra
 auto-rollover 20
 grant auto
 no shutdown
";

const DAY: Duration = Duration::from_secs(86_400);
