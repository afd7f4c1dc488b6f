//! The certificate authority on a real database, with keys in memory: lifetimes, the gate, CRLs, and what
//! becomes of a CA that is taken over.

mod crl;
mod gate;
mod lifetime;
mod ml_dsa;
mod ours;
mod rollover;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokenca::ca::{Application, Ca, CaError, Founding, Gate, Meter, Outcome, Settings};
use tokenca::pki::profile::{self, IssuerFacts, Requested};
use tokenca::pki::{
    Certificate, Csr, Hash, Name, Serial, SignatureAlgorithm, SigningKey, Time, VerifiedCsr, tbs,
};
use tokenca::policy::{self, Grant, Rules};
use tokenca::scep::client;
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{
    self, Adopted, Adoption, Authority, NewAuthority, Reuse, Role, SerialRule, Store, StoreError,
};

use support::keys::{TestKey, name};

/// A database, and what a CA on it is opened with.
struct Lab {
    store: Arc<dyn Store>,
    settings: Settings,
    gate: Arc<Gate>,
    _dir: tempfile::TempDir,
}

impl Lab {
    /// Without a CA.
    fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Sqlite::open(&dir.path().join("tokenca.db")).expect("a new database"));
        Self { store, settings: settings(), gate: Arc::default(), _dir: dir }
    }

    /// With a CA founded at `NOW`.
    fn founded(settings: Settings) -> Self {
        let lab = Self { settings, ..Self::empty() };
        let founding = Founding {
            label: LABEL,
            name: &name(CA_NAME),
            place: ("usbtoken0", "mycs"),
            key: CA_KEY.clone(),
            scep: true,
        };
        founding.found(lab.store.as_ref(), &lab.settings, &Meter::new(), NOW).expect("a CA");
        lab
    }

    /// With a CA taken over at `NOW` that has issued up to this serial number.
    fn adopted(last_serial: u64, certificates: Vec<Adopted>, crl: Option<store::Crl>) -> Self {
        let lab = Self::empty();
        let authority = NewAuthority {
            server: LABEL.into(),
            role: Role::Ca,
            token: "usbtoken0".into(),
            key_label: "mycs".into(),
            certificate: root(),
        };
        let last_serial = Serial::from(last_serial);
        lab.store.adopt(Adoption { authority, certificates, last_serial, crl, now: NOW }).expect("adopted");
        lab
    }

    fn authority(&self) -> Authority {
        self.store.authorities(LABEL).expect("authorities").pop().expect("a CA")
    }

    /// The CA, opened anew.
    fn ca(&self) -> Ca {
        let (store, gate) = (self.store.clone(), self.gate.clone());
        Ca::open(LABEL, store, &self.authority(), CA_KEY.clone(), self.settings.clone(), gate).expect("a CA")
    }

    /// A certificate for this subject.
    fn issue(&self, subject: &str, now: Time) -> Certificate {
        issued(self.ca().issue(approved(subject), application(subject), &Meter::new(), now))
    }
}

fn issued(outcome: Result<Outcome, CaError>) -> Certificate {
    match outcome {
        Ok(Outcome::Issued(certificate)) => Certificate::parse(&certificate.der).expect("a certificate"),
        other => panic!("{other:?}"),
    }
}

fn request(subject: &str) -> VerifiedCsr {
    let csr = client::csr(&name(subject), DEVICE_KEY.as_ref(), Hash::Sha256, None, &[]).expect("a PKCS#10");
    Csr::parse(&csr).and_then(Csr::verify).expect("of its own key")
}

fn approved(subject: &str) -> policy::Approved {
    policy::operator_grants(request(subject), &settings().rules).expect("nothing is wrong with it")
}

fn application(subject: &str) -> Application {
    Application {
        transaction: subject.as_bytes().to_vec(),
        signer_key: DEVICE_KEY.public_key().fingerprint(),
        signed_with: None,
        source: "terminal".into(),
        authority: None,
    }
}

fn settings() -> Settings {
    Settings {
        hash: Hash::Sha256,
        ca_lifetime: DAY * 1095,
        certificate_lifetime: DAY * 365,
        crl_lifetime: DAY * 7,
        cdp: None,
        serial: SerialRule::Sequential,
        reuse: Reuse::Never,
        max_pending: 100,
        rules: Rules::default(),
    }
}

/// The self-signed certificate of the CA that is taken over: three years around `NOW`.
fn root() -> Vec<u8> {
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    let validity = (NOW.minus(DAY * 365), NOW.plus(DAY * 730));
    let template = profile::root(&name(CA_NAME), CA_KEY.public_key(), true, algorithm, validity);
    signed(&template, 1, &CA_KEY)
}

/// A device's certificate as the CA issued it before it was taken over, or as someone else with its name.
fn before(serial: u64, issuer: &TestKey, hash: Hash) -> Certificate {
    let (ca, requested) = (name(CA_NAME), Requested::of(&request("CN=old")).expect("a request"));
    let algorithm = SignatureAlgorithm::RsaPkcs1(hash);
    let facts = IssuerFacts { name: &ca, key_id: &[7; 20], algorithm, cdp: None, path_len: None };
    let template = requested.template(&facts, NOW.minus(DAY), NOW.plus(DAY * 300));
    Certificate::parse(&signed(&template, serial, issuer)).expect("a certificate")
}

fn signed(template: &tbs::Template, serial: u64, key: &TestKey) -> Vec<u8> {
    let body = template.finalize(&Serial::from(serial)).expect("it encodes");
    let signature = key.sign(template.algorithm.hash().expect("a digest"), &body).expect("a signature");
    tbs::assemble(&body, template.algorithm, &signature).expect("it encodes")
}

/// What the files of the old CA tell of a certificate.
fn whole(certificate: &Certificate) -> Adopted {
    Adopted {
        serial: certificate.serial().clone(),
        der: Some(certificate.der().to_vec()),
        subject: Some(Name::from_der(certificate.subject_raw()).to_string()),
        key: Some(certificate.public_key().fingerprint()),
        not_before: Some(certificate.not_before()),
        not_after: Some(certificate.not_after()),
        revocation: None,
    }
}

/// Nothing but a serial number.
fn number(serial: u64) -> Adopted {
    Adopted {
        serial: Serial::from(serial),
        der: None,
        subject: None,
        key: None,
        not_before: None,
        not_after: None,
        revocation: None,
    }
}

static CA_KEY: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::new()));
static DEVICE_KEY: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::new()));

const LABEL: &str = "mycs";
const CA_NAME: &str = "CN=mycs, O=Example, C=US";
const NOW: Time = Time::from_unix(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
