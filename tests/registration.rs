//! An RA before a CA, both in memory: what is granted at the one is certified at the other.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::fakeca::{Answer, FakeCa};
use support::keys::{TestKey, name};
use support::until;
use tokenca::ca::{Ca, Founding, Gate, Meter, Settings};
use tokenca::files::{Exchanged, FileError, FileUrl, Posted};
use tokenca::pki::{Certificate, Class, Csr, Hash, Name, Serial, SigningKey, Time};
use tokenca::policy::{Grant, Rules};
use tokenca::ra::{
    Above, Answer as Said, Asked, Body, ByHand, Elsewhere, Forwarder, Keys, Manner, Ra, Registrar, Responder,
};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::operation::{self, Operation};
use tokenca::scep::{AlgorithmPolicy, CertRep, FailInfo, MessageType, PkiStatus, TransactionId};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{Reuse, SerialRule, Stage, State, Store};
use tokenca::trustpoint::{CaCertificates, Transport, Upper};

const NOW: Time = Time::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const CA: &str = "mycs";
const RA: &str = "myra";

fn settings(grant: Grant) -> Settings {
    Settings {
        hash: Hash::Sha256,
        ca_lifetime: DAY * 1095,
        certificate_lifetime: DAY * 365,
        crl_lifetime: DAY * 7,
        cdp: None,
        serial: SerialRule::Sequential,
        reuse: Reuse::UntilHalfLife,
        max_pending: 100,
        rules: Rules { grant, ..Rules::default() },
    }
}

/// A CA that answers SCEP; as a client reaches it, and as its operator does.
struct Upstream {
    store: Arc<dyn Store>,
    key: Arc<TestKey>,
    ra: Mutex<Arc<Ra>>,
    away: AtomicBool,
    clock: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl Upstream {
    fn new(grant: Grant, clock: Arc<AtomicU64>) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("ca.db")).unwrap());
        let key = Arc::new(TestKey::new());
        let subject = name("CN=mycs, O=Example");
        let place = ("usbtoken0", CA);
        let founding = Founding { label: CA, name: &subject, place, key: key.clone(), scep: true };
        founding.found(store.as_ref(), &settings(grant), &Meter::new(), NOW).unwrap();
        let ra = Mutex::new(Arc::new(Self::serve(&store, &key, grant)));
        Arc::new(Self { store, key, ra, away: AtomicBool::new(false), clock, _dir: dir })
    }

    fn serve(store: &Arc<dyn Store>, key: &Arc<TestKey>, grant: Grant) -> Ra {
        let authority = store.authorities(CA).unwrap().pop().unwrap();
        let gate = Arc::<Gate>::default();
        let ca = Ca::open(CA, store.clone(), &authority, key.clone(), settings(grant), gate).unwrap();
        ca.issue_crl(&Meter::new(), NOW).unwrap();
        let own = ca.certificate().clone();
        let keys = Keys {
            signer: Responder { certificate: own.clone(), key: key.clone() },
            decrypter: Responder { certificate: own, key: key.clone() },
            separate: false,
            next: None,
            fetches: Arc::default(),
        };
        Ra::new(Arc::new(ca), store.clone(), keys, AlgorithmPolicy::default(), Manner::default()).unwrap()
    }

    /// Grants from now on so.
    fn grants(&self, grant: Grant) {
        *self.ra.lock().unwrap() = Arc::new(Self::serve(&self.store, &self.key, grant));
    }

    fn ra(&self) -> Arc<Ra> {
        self.ra.lock().unwrap().clone()
    }

    fn certificate(&self) -> Certificate {
        self.ra().certifier().certificates()[0].clone()
    }

    fn now(&self) -> Time {
        Time::from_unix(self.clock.load(Ordering::Relaxed))
    }

    /// What the operator does with the newest request.
    fn grant(&self, id: u64) -> Certificate {
        let outcome = self.ra().certifier().grant(id, &Meter::new(), self.now()).unwrap();
        let tokenca::ca::Outcome::Issued(certificate) = outcome else { panic!("{outcome:?}") };
        Certificate::parse(&certificate.der).unwrap()
    }

    fn requests(&self) -> Vec<(u64, State, Class)> {
        let all = self.store.enrollments(CA, 0, 100).unwrap();
        all.into_iter().map(|e| (e.id, e.state, e.class)).collect()
    }

    /// A certificate for this PKCS#10, granted by hand.
    fn certify(&self, csr: &[u8]) -> Certificate {
        let taken = self.ra().enroll_by_hand(csr, "terminal", false, NOW).unwrap();
        let ByHand::Taken(tokenca::ca::Outcome::Pending(id)) = taken else { panic!("{taken:?}") };
        self.grant(id)
    }

    fn revoke(&self, serial: &Serial) {
        let authority = self.store.authorities(CA).unwrap().pop().unwrap();
        let gate = Arc::<Gate>::default();
        let all = settings(Grant::Manual);
        let ca = Ca::open(CA, self.store.clone(), &authority, self.key.clone(), all, gate).unwrap();
        ca.revoke(serial, 1, self.now()).unwrap();
        ca.issue_crl(&Meter::new(), self.now()).unwrap();
    }
}

impl Transport for Upstream {
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
        if self.away.load(Ordering::Relaxed) {
            return Ok(said(503, Vec::new()));
        }
        let url = url.to_string();
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let operation = operation::parameter(query, "operation").and_then(|text| Operation::from_text(&text));
        let asked = match operation.unwrap() {
            Operation::GetCaCaps => Asked::CaCaps,
            Operation::PkiOperation => Asked::PkiOperation(posted.unwrap().octets.to_vec()),
            other => panic!("{other:?}"),
        };
        Ok(match self.ra().answer(asked, [192, 0, 2, 1].into(), self.now()).body {
            Body::Ok { octets, .. } => said(200, octets.to_vec()),
            other => panic!("{other:?}"),
        })
    }
}

fn said(status: u16, body: Vec<u8>) -> Exchanged {
    Exchanged { status, said: status.to_string(), content_type: None, body }
}

/// An RA, and how it is started anew.
struct Registration {
    store: Arc<dyn Store>,
    key: Arc<TestKey>,
    certificate: Certificate,
    above: Certificate,
    transport: Arc<dyn Transport>,
    transparent: bool,
    grant: Grant,
    clock: Arc<AtomicU64>,
    turn: Arc<Mutex<()>>,
    dir: tempfile::TempDir,
}

/// One that runs.
struct Running {
    ra: Ra,
    elsewhere: Arc<Elsewhere>,
    _forwarder: Forwarder,
    clock: Arc<AtomicU64>,
}

impl Registration {
    fn new(
        key: TestKey,
        certificate: Certificate,
        above: Certificate,
        transport: Arc<dyn Transport>,
        clock: Arc<AtomicU64>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(&dir.path().join("ra.db")).unwrap());
        let (transparent, grant) = (false, Grant::Manual);
        let turn = Arc::default();
        Self {
            store,
            key: Arc::new(key),
            certificate,
            above,
            transport,
            transparent,
            grant,
            clock,
            turn,
            dir,
        }
    }

    fn start(&self) -> Running {
        let elsewhere = Arc::new(Elsewhere::new(
            RA,
            self.store.clone(),
            settings(self.grant),
            Registrar {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
                decrypter: self.key.clone(),
                transparent: self.transparent,
            },
            Above {
                upper: Upper::new("http://192.0.2.1/scep", self.transport.clone()),
                certificates: CaCertificates::sorted(vec![self.above.clone()]).unwrap(),
                next: None,
                poll_every: Duration::from_secs(60),
                without_crl: self.transparent,
            },
        ));
        let keys = Keys {
            signer: Responder { certificate: self.certificate.clone(), key: self.key.clone() },
            decrypter: Responder { certificate: self.certificate.clone(), key: self.key.clone() },
            separate: true,
            next: None,
            fetches: Arc::default(),
        };
        let (certifier, store) = (elsewhere.clone(), self.store.clone());
        let ra = Ra::new(certifier, store, keys, AlgorithmPolicy::default(), Manner::default()).unwrap();
        let clock = self.clock.clone();
        let time = move || Time::from_unix(clock.load(Ordering::Relaxed));
        let forwarder = Forwarder::start(elsewhere.clone(), self.turn.clone(), time).unwrap();
        Running { ra, elsewhere, _forwarder: forwarder, clock: self.clock.clone() }
    }

    /// What has come of a request of the RA.
    fn state(&self, id: u64) -> State {
        self.store.enrollment(RA, id).unwrap().unwrap().state
    }
}

impl Running {
    /// An hour passes.
    fn later(&self) {
        self.clock.fetch_add(3600, Ordering::Relaxed);
    }

    fn answer(&self, asked: Asked) -> Said {
        self.ra.answer(asked, [192, 0, 2, 9].into(), Time::from_unix(self.clock.load(Ordering::Relaxed)))
    }
}

/// A device.
struct Device {
    key: TestKey,
    subject: Name,
    signer: Certificate,
}

impl Device {
    fn new(subject: &str) -> Self {
        let key = TestKey::new();
        let signer = key.self_signed(subject);
        Self { key, subject: name(subject), signer }
    }

    fn csr(&self, key: &TestKey) -> Vec<u8> {
        client::csr(&self.subject, key, Hash::Sha256, None, &[]).unwrap()
    }

    fn send(&self, ra: &Ra, kind: MessageType, content: &[u8], to: &Certificate, now: Time) -> CertRep {
        let parties = Parties { ca: to, signer: &self.signer, key: &self.key };
        let transaction = client::transaction_id(&self.key);
        let message = client::message(kind, &transaction, content, &parties, Style::default());
        let asked = Asked::PkiOperation(message.unwrap().unwrap().octets);
        match ra.answer(asked, [192, 0, 2, 9].into(), now).body {
            Body::Ok { octets, .. } => CertRep::decode(&octets, &[to]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, ra: &Running, kind: MessageType, content: &[u8]) -> CertRep {
        let now = Time::from_unix(ra.clock.load(Ordering::Relaxed));
        self.send(&ra.ra, kind, content, ra.elsewhere.registrar(), now)
    }

    fn enrol(&self, ra: &Running) -> CertRep {
        self.ask(ra, MessageType::PkcsReq, &self.csr(&self.key))
    }

    fn poll(&self, ra: &Running) -> CertRep {
        let content =
            client::issuer_and_subject(ra.elsewhere.certificate().subject_raw(), self.subject.as_der());
        self.ask(ra, MessageType::CertPoll, &content)
    }

    fn certificate(&self, reply: &CertRep) -> Certificate {
        assert_eq!(
            reply.status(),
            PkiStatus::Success,
            "{:?} {:?}",
            reply.fail_info(),
            reply.fail_info_text()
        );
        reply.open(&self.signer, &self.key).unwrap().certificates.remove(0)
    }
}

/// A CA, and an RA whose certificate was granted there by hand.
fn scene(at_ca: Grant) -> (Arc<Upstream>, Registration) {
    let clock = Arc::new(AtomicU64::new(NOW.unix()));
    let ca = Upstream::new(at_ca, clock.clone());
    let key = TestKey::new();
    let csr = client::csr(&name("CN=myra, OU=ioscs RA"), &key, Hash::Sha256, None, &[]).unwrap();
    let certificate = ca.certify(&csr);
    assert_eq!(ca.requests(), [(1, State::Granted, Class::Ra)]);
    let above = ca.certificate();
    let registration = Registration::new(key, certificate, above, ca.clone(), clock);
    (ca, registration)
}

#[test]
fn what_the_ra_grants_is_granted_by_the_ca_and_fetched_from_the_ra() {
    let (ca, registration) = scene(Grant::RaAuto);
    let ra = registration.start();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    assert_eq!(ca.requests().len(), 1, "nothing was granted, so nothing was sent on");
    let outcome = ra.ra.certifier().grant(1, &Meter::new(), NOW).unwrap();
    assert!(matches!(outcome, tokenca::ca::Outcome::Issued(_)), "{outcome:?}");
    let certificate = device.certificate(&device.poll(&ra));
    assert_eq!(certificate.issuer_raw(), ca.certificate().subject_raw());
    assert_eq!(certificate.public_key(), SigningKey::public_key(&device.key));
    certificate.verify_signed_by(ca.certificate().public_key()).unwrap();
    assert_eq!(ca.requests()[1], (2, State::Granted, Class::Router));
    // The PKCS#10 went on as it came.
    let (here, there) = (registration.store.enrollment(RA, 1), ca.store.enrollment(CA, 2));
    assert_eq!(here.unwrap().unwrap().csr, there.unwrap().unwrap().csr);
    // Asked again, it costs the CA nothing.
    assert_eq!(device.certificate(&device.enrol(&ra)), certificate);
    assert_eq!(ca.requests().len(), 2);
}

#[test]
fn what_the_ra_grants_by_itself_comes_at_once() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    let device = Device::new("CN=r1");
    let certificate = device.certificate(&device.enrol(&ra));
    // It renews at the RA, with a new key.
    let renewed = TestKey::new();
    let holder = Device { signer: certificate.clone(), ..device };
    let reply = holder.ask(&ra, MessageType::RenewalReq, &holder.csr(&renewed));
    let second = holder.certificate(&reply);
    assert_eq!(second.public_key(), SigningKey::public_key(&renewed));
    // Revoked at the CA, it renews no more: the RA has fetched the CRL.
    ca.revoke(certificate.serial());
    ra.later();
    let again = holder.ask(&ra, MessageType::RenewalReq, &holder.csr(&TestKey::new()));
    assert_eq!((again.status(), again.fail_info()), (PkiStatus::Failure, Some(FailInfo::BadRequest)));
    // The CRL and the certificates of the CA are to be had at the RA as well.
    let listed = ra.answer(Asked::Crl);
    let Body::Ok { octets, .. } = listed.body else { panic!("{:?}", listed.body) };
    assert_eq!(octets, ca.store.crl(CA, 1).unwrap().unwrap().der);
    let content = client::issuer_and_serial(&second);
    let got = holder.ask(&ra, MessageType::GetCert, &content);
    assert_eq!(holder.certificate(&got), second);
    let got = holder.ask(&ra, MessageType::GetCrl, &content);
    assert_eq!(got.open(&holder.signer, &holder.key).unwrap().crls, [octets.to_vec()]);
    let shown = ra.answer(Asked::CaCert);
    let Body::Ok { octets, content_type } = shown.body else { panic!("{:?}", shown.body) };
    assert_eq!(content_type, tokenca::scep::CA_RA_CERT);
    let shown = CaCertificates::read(&octets).unwrap();
    assert_eq!(shown.ca(), &ca.certificate());
    assert_eq!(shown.registrars(), [registration.certificate.clone()]);
}

#[test]
fn pending_at_the_ca_is_pending_at_the_ra_also_after_a_restart() {
    let (ca, mut registration) = scene(Grant::Manual);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    let waits = || registration.store.forward_of(RA, 1).unwrap().filter(|f| f.stage == Stage::Waiting);
    until("the CA has it", waits);
    assert_eq!(ca.requests()[1], (2, State::Pending, Class::Router));
    assert_eq!(device.poll(&ra).status(), PkiStatus::Pending);
    drop(ra);
    ca.grant(2);
    let ra = registration.start();
    ra.later();
    until("it is fetched", || (registration.state(1) == State::Granted).then_some(()));
    device.certificate(&device.poll(&ra));
    assert_eq!(ca.requests().len(), 2, "polled, not asked anew");
}

#[test]
fn a_crash_between_the_answer_and_its_record_asks_again_and_gets_the_same() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    let database = registration.dir.path().join("ra.db");
    let device = Device::new("CN=r1");
    ca.away.store(true, Ordering::Relaxed);
    let ra = registration.start();
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    drop(ra);
    // Another process is asked to the end, and its database is lost again: as if it had crashed before `keep`.
    let before = registration.dir.path().join("before.db");
    let copy = |from: &std::path::Path, to: &std::path::Path| std::fs::copy(from, to).unwrap();
    registration.store = Arc::new(Sqlite::open(&registration.dir.path().join("unused.db")).unwrap());
    until("nobody has it open", || (!database.with_extension("db-wal").exists()).then_some(()));
    copy(&database, &before);
    ca.away.store(false, Ordering::Relaxed);
    let asked_to_the_end = |path: &std::path::Path, registration: &mut Registration| {
        registration.store = Arc::new(Sqlite::open(path).unwrap());
        let ra = registration.start();
        ra.later();
        until("it is granted", || (registration.state(1) == State::Granted).then_some(()));
        device.certificate(&device.poll(&ra))
    };
    let first = asked_to_the_end(&database, &mut registration);
    let second = asked_to_the_end(&before, &mut registration);
    assert_eq!(first, second);
    assert_eq!(ca.requests().len(), 2);
}

#[test]
fn a_ca_that_is_away_is_asked_again_and_what_it_refuses_is_denied() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    ca.away.store(true, Ordering::Relaxed);
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    let failed = || registration.store.forward_of(RA, 1).unwrap().and_then(|forward| forward.error);
    let error = until("it is tried", failed);
    assert!(error.contains("503"), "{error}");
    ca.away.store(false, Ordering::Relaxed);
    ra.later();
    until("it is granted", || (registration.state(1) == State::Granted).then_some(()));

    ca.grants(Grant::None);
    let other = Device::new("CN=r2");
    let reply = other.enrol(&ra);
    assert_eq!((reply.status(), reply.fail_info()), (PkiStatus::Failure, Some(FailInfo::BadRequest)));
    let denied = registration.store.enrollment(RA, 2).unwrap().unwrap();
    assert_eq!(denied.state, State::Denied);
    assert_eq!(
        denied.reason.as_deref(),
        Some("the CA above has refused it: BadRequest, \"nothing is granted\"")
    );
}

/// It has forgotten the request, or knows no polls: it is not asked and polled in turn every second.
#[test]
fn a_ca_that_knows_no_such_request_is_asked_in_its_time() {
    let (ca, mut registration) = scene(Grant::Manual);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    let forward = |stage| registration.store.forward_of(RA, 1).unwrap().filter(|f| f.stage == stage);
    until("the CA has it", || forward(Stage::Waiting));
    ca.store.remove(CA, 2).unwrap();
    ra.later();
    let forward = until("it has been polled", || forward(Stage::Asking));
    let now = Time::from_unix(ra.clock.load(Ordering::Relaxed));
    assert_eq!(forward.next_try, now.plus(Duration::from_secs(60)));
    ra.later();
    until("the CA has it again", || ca.requests().get(1).map(drop));
}

/// Who takes the place of another waits until that has its answer: two requests might bring two certificates.
#[test]
fn one_asks_at_a_time() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    let (turn, ra) = (registration.turn.clone(), registration.start());
    let other = turn.lock().unwrap();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending, "waited for in vain");
    assert_eq!(ca.requests().len(), 1);
    drop(other);
    until("it is granted", || (registration.state(1) == State::Granted).then_some(()));
}

/// The CRL is everybody's: who asks for it while the CA does not answer takes no worker from the devices.
#[test]
fn one_waits_for_the_crl_of_a_ca_that_does_not_answer() {
    struct Silent(Mutex<std::sync::mpsc::Receiver<()>>, AtomicBool);
    impl Transport for Silent {
        fn exchange(&self, _: &FileUrl, _: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
            self.1.store(true, Ordering::Relaxed);
            let _ = self.0.lock().unwrap().recv();
            Ok(said(503, Vec::new()))
        }
    }
    let (ca, mut registration) = scene(Grant::RaAuto);
    let (answer, silence) = std::sync::mpsc::channel();
    let silent = Arc::new(Silent(Mutex::new(silence), AtomicBool::new(false)));
    registration.transport = silent.clone();
    let ra = registration.start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ra.answer(Asked::Crl).body);
        until("it asks", || silent.1.load(Ordering::Relaxed).then_some(()));
        let second = ra.answer(Asked::Crl).body;
        assert!(matches!(second, Body::Unavailable { .. }), "{second:?}");
        drop(answer);
        assert!(matches!(first.join().unwrap(), Body::Unavailable { .. }));
    });
    // One that is at hand is given meanwhile.
    registration.transport = ca.clone();
    let ra = registration.start();
    assert!(matches!(ra.answer(Asked::Crl).body, Body::Ok { .. }));
    ca.away.store(true, Ordering::Relaxed);
    ra.later();
    assert!(matches!(ra.answer(Asked::Crl).body, Body::Ok { .. }));
}

#[test]
fn the_operator_takes_back_what_the_ca_has_not_answered() {
    let (ca, mut registration) = scene(Grant::Manual);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    until("the CA has it", || (ca.requests().len() == 2).then_some(()));
    ra.ra.certifier().reject(1, NOW).unwrap();
    assert_eq!(device.poll(&ra).status(), PkiStatus::Failure);
    ca.grant(2);
    ra.later();
    assert_eq!(registration.state(1), State::Denied);
}

#[test]
fn an_expired_ra_asks_nobody_and_nobody_is_refused_for_it() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    let ra = registration.start();
    registration.clock.store(NOW.plus(DAY * 400).unix(), Ordering::Relaxed);
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Pending);
    let failed = || registration.store.forward_of(RA, 1).unwrap().and_then(|forward| forward.error);
    let error = until("it is tried", failed);
    assert!(error.contains("the certificate of this RA is valid from"), "{error}");
    assert_eq!(ca.requests().len(), 1);
    assert_eq!(registration.state(1), State::Authorized);
}

#[test]
fn who_only_calls_itself_an_ra_is_none() {
    let (ca, _) = scene(Grant::RaAuto);
    // Nobody has granted it anything.
    let impostor = Device::new("CN=evil, OU=ioscs RA");
    let victim = TestKey::new();
    let csr = client::csr(&name("CN=r1"), &victim, Hash::Sha256, None, &[]).unwrap();
    let to = ca.certificate();
    let reply = impostor.send(&ca.ra(), MessageType::PkcsReq, &csr, &to, NOW);
    assert_eq!((reply.status(), reply.fail_info()), (PkiStatus::Failure, Some(FailInfo::BadMessageCheck)));
    // Its own request waits, in the group of RAs.
    let own = impostor.csr(&impostor.key);
    let reply = impostor.send(&ca.ra(), MessageType::PkcsReq, &own, &to, NOW);
    assert_eq!(reply.status(), PkiStatus::Pending);
    assert_eq!(ca.requests()[1], (2, State::Pending, Class::Ra));
    // A device with a certificate speaks for itself alone.
    let device = Device::new("CN=r2");
    let certificate = ca.certify(&device.csr(&device.key));
    let device = Device { signer: certificate, ..device };
    let reply = device.send(&ca.ra(), MessageType::PkcsReq, &csr, &to, NOW);
    assert_eq!(reply.status(), PkiStatus::Pending);
}

#[test]
fn a_revoked_ra_grants_nothing_any_more() {
    let (ca, mut registration) = scene(Grant::RaAuto);
    registration.grant = Grant::Auto;
    ca.revoke(registration.certificate.serial());
    let ra = registration.start();
    let device = Device::new("CN=r1");
    assert_eq!(device.enrol(&ra).status(), PkiStatus::Failure);
    let denied = registration.store.enrollment(RA, 1).unwrap().unwrap();
    assert!(denied.reason.is_some_and(|reason| reason.contains("the certificate is not valid")));
    assert_eq!(ca.requests().len(), 1);
}

#[test]
fn a_transparent_ra_asks_as_a_device_would() {
    let now = Time::now();
    let fake = Arc::new(FakeCa::new());
    let key = TestKey::new();
    let csr = client::csr(&name("CN=ioscs RA"), &key, Hash::Sha256, None, &[]).unwrap();
    let certificate = fake.ca.issue(&csr, (now.minus(DAY), now.plus(DAY * 365)));
    let clock = Arc::new(AtomicU64::new(now.unix()));
    let above = fake.ca.certificate.clone();
    let mut registration = Registration::new(key, certificate.clone(), above, fake.clone(), clock);
    (registration.transparent, registration.grant) = (true, Grant::Auto);
    let ra = registration.start();
    let device = Device::new("CN=r1, O=Example");
    let issued = device.certificate(&device.enrol(&ra));
    assert_eq!(issued.public_key(), SigningKey::public_key(&device.key));
    let seen = fake.seen().remove(0);
    assert_eq!((seen.kind, seen.csr.unwrap()), (MessageType::PkcsReq, device.csr(&device.key)));
    assert_eq!(seen.signer.subject_raw(), device.subject.as_der());
    assert!(seen.signer.is_self_issued());
    assert_eq!(seen.signer.public_key(), certificate.public_key());

    // It waits there as a device does, and each request is a transaction of its own.
    fake.will(Answer::Pend);
    let second = Device::new("CN=r2, O=Example");
    assert_eq!(second.enrol(&ra).status(), PkiStatus::Pending);
    fake.will(Answer::Grant);
    ra.later();
    until("it is fetched", || (registration.state(2) == State::Granted).then_some(()));
    let seen = fake.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.kind).collect::<Vec<_>>(),
        [MessageType::PkcsReq, MessageType::CertPoll]
    );
    assert_eq!(seen[0].transaction, seen[1].transaction);
    assert_ne!(TransactionId::new(seen[0].transaction.as_bytes()), client::transaction_id(&second.key));
    // What is no answer to this request is not believed, and asked for again.
    fake.will(Answer::OtherKey);
    let third = Device::new("CN=r3, O=Example");
    assert_eq!(third.enrol(&ra).status(), PkiStatus::Pending);
    let failed = || registration.store.forward_of(RA, 3).unwrap().and_then(|forward| forward.error);
    let error = until("it is tried", failed);
    assert!(error.contains("not for the key that was asked for"), "{error}");
    fake.will(Answer::Grant);
    ra.later();
    until("it is fetched", || (registration.state(3) == State::Granted).then_some(()));
    let csr = Csr::parse(&third.csr(&third.key)).unwrap();
    assert_eq!(third.certificate(&third.poll(&ra)).public_key(), csr.public_key());
}
