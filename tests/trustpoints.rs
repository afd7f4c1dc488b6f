//! Trustpoints of a node, against a CA that does what it is told: time is moved, not waited for.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::fakeca::{Answer, FakeCa, Party, Seen, Served};
use support::softhsm;
use tokenca::config::Configuration;
use tokenca::node::{Answers, Node, OfferedRegistrar, TrustpointReport, Verdict};
use tokenca::pki::{Certificate, Csr, Hash, Time, hex};
use tokenca::scep::MessageType;
use tokenca::store::{TrustedKind, UpperPhase};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Each in a process with a token of its own.
macro_rules! stories {
    ($($(#[$doc:meta])* fn $name:ident($dir:ident: &Path) $body:block)+) => {
        $($(#[$doc])* #[test] fn $name() {
            softhsm::own_process(stringify!($name), |$dir| $body);
        })+
    };
}

/// A node with one trustpoint, whose clock is moved.
struct Scene {
    dir: std::path::PathBuf,
    lines: String,
    clock: Arc<AtomicU64>,
    node: Option<Arc<Node>>,
    ca: Served,
}

impl Scene {
    /// With a CA certificate of ten years from now, and these lines in the section of `upper`.
    fn new(dir: &Path, lines: &str) -> Self {
        let now = Time::now();
        Self::with(dir, FakeCa::valid((now, now.plus(YEAR * 10))), lines)
    }

    fn with(dir: &Path, ca: FakeCa, lines: &str) -> Self {
        let clock = Arc::new(AtomicU64::new(Time::now().unix() + 60));
        let mut scene =
            Self { dir: dir.to_owned(), lines: lines.to_owned(), clock, node: None, ca: Served::new(ca) };
        scene.follow();
        scene.start();
        scene
    }

    fn configuration(&self) -> Configuration {
        let (pin, url) = (self.dir.join("pin.txt"), self.ca.url());
        let lines: String = self.lines.lines().map(|line| format!(" {line}\n")).collect();
        let enrollment = match lines.contains("enrollment ") {
            true => String::new(),
            false => format!(" enrollment url {url}\n"),
        };
        let text = format!(
            "hostname r1\nip domain name example.com\n\
             crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file {}\n\
             crypto pki trustpoint upper\n rsakeypair upper 2048\n{enrollment}{lines}",
            pin.display()
        );
        Configuration::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn start(&mut self) {
        let clock = self.clock.clone();
        let time = Arc::new(move || Time::from_unix(clock.load(Ordering::Acquire)));
        self.node = Some(Node::start_by(self.dir.join("state"), self.configuration(), time).unwrap());
    }

    fn restart(&mut self) {
        self.node = None;
        self.start();
    }

    fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    fn now(&self) -> Time {
        Time::from_unix(self.clock.load(Ordering::Acquire))
    }

    /// The CA's clock is ours.
    fn follow(&self) {
        *self.ca.ca.now.lock().unwrap() = self.now();
    }

    /// So much later, after the upkeep of then.
    fn later(&self, duration: Duration) {
        self.clock.fetch_add(duration.as_secs(), Ordering::AcqRel);
        self.follow();
        self.tick();
    }

    fn tick(&self) {
        self.node().tick(self.now());
        assert!(self.node().settle_trustpoints(Duration::from_secs(60)), "a trustpoint is still at work");
    }

    fn authenticate(&self) {
        let offered = self.node().authenticate("upper", None).unwrap();
        self.node().accept(offered).unwrap();
        assert!(self.node().settle_trustpoints(Duration::from_secs(60)));
    }

    fn report(&self) -> TrustpointReport {
        self.node().trustpoint_reports(Some("upper")).unwrap().remove(0)
    }

    /// The one certificate of this kind.
    #[track_caller]
    fn own(&self, kind: TrustedKind) -> Certificate {
        let report = self.report();
        let mut own = report.own.iter().filter(|own| own.kind == kind);
        let found = own.next().unwrap_or_else(|| panic!("no {kind:?}: {report:#?}"));
        assert!(own.next().is_none(), "{report:#?}");
        Certificate::parse(&found.der).unwrap()
    }

    fn has(&self, kind: TrustedKind) -> bool {
        self.report().own.iter().any(|own| own.kind == kind)
    }

    fn phase(&self) -> Option<UpperPhase> {
        self.report().requests.first().map(|request| request.phase)
    }

    fn error(&self) -> String {
        self.report().requests.first().and_then(|request| request.error.clone()).unwrap_or_default()
    }

    fn keys(&self) -> Vec<String> {
        self.node().keys().unwrap().into_iter().map(|key| key.name).collect()
    }

    fn seen(&self) -> Vec<Seen> {
        self.ca.ca.seen()
    }

    #[track_caller]
    fn enroll(&self) {
        self.node().enroll("upper", Answers::default()).unwrap();
    }
}

fn kinds(seen: &[Seen]) -> Vec<MessageType> {
    seen.iter().map(|seen| seen.kind).collect()
}

stories! {

/// Whoever stands between may add the certificate of a device to those of the CA.
fn an_ra_is_one_when_the_ca_says_so_or_the_operator(dir: &Path) {
    let mut scene = Scene::new(dir, "");
    let key = support::keys::TestKey::new();
    let name = support::keys::name("cn=device");
    let csr = tokenca::scep::client::csr(&name, &key, Hash::Sha256, None, &[]).unwrap();
    let authority = &scene.ca.ca.ca;
    let device = authority.issue(&csr, (scene.now(), scene.now().plus(YEAR)));
    let both = [&authority.certificate, &device];
    let pem: String =
        both.map(|certificate| tokenca::pki::archive::pem::write_certificate(certificate.der())).concat();
    let authenticate = |scene: &Scene| {
        let offered = scene.node().authenticate("upper", Some(pem.as_bytes())).unwrap();
        let subjects = |all: &[OfferedRegistrar]| all.iter().map(|one| one.subject.clone()).collect();
        let told: (Vec<_>, Vec<_>) = (subjects(&offered.registrars), subjects(&offered.unmarked));
        scene.node().accept(offered).unwrap();
        told
    };
    let kinds = |scene: &Scene| scene.report().authorities.iter().map(|one| one.kind).collect::<Vec<_>>();
    let device = || vec!["cn=device".to_owned()];
    assert_eq!(authenticate(&scene), (vec![], device()));
    assert_eq!(kinds(&scene), [TrustedKind::Ca]);

    scene.lines = format!("enrollment mode ra\nenrollment url {}", scene.ca.url());
    scene.node().apply(scene.configuration()).unwrap();
    assert_eq!(authenticate(&scene), (device(), vec![]));
    // It was accepted as that, also without the line.
    scene.lines = String::new();
    scene.restart();
    assert_eq!(kinds(&scene), [TrustedKind::Ca, TrustedKind::Ra]);
}

/// A CA is trusted when its fingerprint is the configured one, or when somebody says so; another never is.
fn the_ca_is_authenticated_first(dir: &Path) {
    let mut scene = Scene::new(dir, "");
    let refused = scene.node().enroll("upper", Answers::default()).unwrap_err().to_string();
    assert!(refused.starts_with("You must authenticate the Certificate Authority"), "{refused}");
    let offered = scene.node().authenticate("upper", None).unwrap();
    assert_eq!(offered.verdict, Verdict::Unasked);
    let sha256 = hex(&Hash::Sha256.digest(&[scene.ca.ca.ca.certificate.der()]));
    assert_eq!(offered.fingerprint_sha256, sha256);
    assert!(!scene.report().authenticated, "nobody has accepted it");

    scene.lines = format!("fingerprint {}", "0".repeat(40));
    scene.node().apply(scene.configuration()).unwrap();
    let offered = scene.node().authenticate("upper", None).unwrap();
    assert_eq!(offered.verdict, Verdict::Differs);
    assert!(scene.node().accept(offered).is_err());
    scene.lines = format!("fingerprint {sha256}");
    scene.node().apply(scene.configuration()).unwrap();
    let pasted = tokenca::pki::archive::pem::write_certificate(scene.ca.ca.ca.certificate.der());
    let offered = scene.node().authenticate("upper", Some(pasted.as_bytes())).unwrap();
    assert_eq!(offered.verdict, Verdict::Matches);
    scene.node().accept(offered).unwrap();
    assert!(scene.report().authenticated);

    // Not exchanged for another.
    scene.lines.clear();
    scene.node().apply(scene.configuration()).unwrap();
    let stranger = scene.ca.ca.stranger.certificate.der().to_vec();
    let offered = scene.node().authenticate("upper", Some(&stranger)).unwrap();
    let refused = scene.node().accept(offered).unwrap_err().to_string();
    assert!(refused.starts_with("Please delete your existing CA certificate first."), "{refused}");
}

/// A certificate comes for a key that was made on the token, with the subject of IOS and the challenge password.
fn a_certificate_is_got(dir: &Path) {
    use secrecy::ExposeSecret;
    let scene = Scene::new(dir, "subject-name cn=gate,o=Example\npassword s3cret\nserial-number");
    scene.authenticate();
    let reports = scene.node().enroll("upper", Answers::default()).unwrap();
    assert!(reports[0].granted, "{reports:?}");
    let own = scene.own(TrustedKind::Own);
    let subject = tokenca::pki::Name::from_der(own.subject_raw()).to_string();
    assert!(subject.contains("hostname=r1.example.com") && subject.contains("serialNumber="), "{subject}");
    assert!(subject.contains("cn=gate,o=Example"), "{subject}");
    assert_eq!(scene.keys(), ["upper"]);
    assert_eq!(*own.public_key(), scene.node().keys().unwrap()[0].public_key);
    let seen = scene.seen().remove(0);
    let csr = Csr::parse(&seen.csr.unwrap()).unwrap();
    assert_eq!(csr.challenge().unwrap().expose_secret(), "s3cret");
    assert_eq!((seen.kind, seen.signer.is_self_issued()), (MessageType::PkcsReq, true));
}

/// PENDING, killed and started: the same request is polled for, with the same key, until it is granted.
fn a_request_waits_across_restarts(dir: &Path) {
    let mut scene = Scene::new(dir, "password s3cret");
    scene.authenticate();
    scene.ca.ca.will(Answer::Pend);
    scene.enroll();
    assert_eq!(scene.phase(), Some(UpperPhase::Pending));
    scene.later(Duration::from_secs(30));
    assert_eq!(kinds(&scene.seen()), [MessageType::PkcsReq], "the period is a minute");
    scene.later(Duration::from_secs(30));
    let database = std::fs::read(scene.dir.join("state/tokenca.db")).unwrap();
    let wal = std::fs::read(scene.dir.join("state/tokenca.db-wal")).unwrap_or_default();
    let contains = |octets: &[u8]| octets.windows(6).any(|six| six == b"s3cret");
    assert!(!contains(&database) && !contains(&wal), "the password is in the database");
    scene.restart();
    scene.later(Duration::from_secs(60));
    let polls = scene.seen();
    assert_eq!(kinds(&polls), [MessageType::CertPoll; 2]);
    assert!(polls.iter().all(|poll| poll.transaction == polls[0].transaction));
    scene.ca.ca.will(Answer::Grant);
    scene.later(Duration::from_secs(60));
    assert_eq!(scene.phase(), None);
    assert_eq!(scene.keys(), ["upper"]);
    scene.own(TrustedKind::Own);
}

/// After the count that is configured it is given up, also when the count went over a restart, and said why.
fn a_request_is_given_up(dir: &Path) {
    let mut scene = Scene::new(dir, "enrollment retry count 3\nenrollment retry period 2\nenrollment url http://127.0.0.1:1/scep");
    scene.lines = "enrollment retry count 3\nenrollment retry period 2".to_owned()
        + &format!("\nenrollment url {}", scene.ca.url());
    scene.node().apply(scene.configuration()).unwrap();
    scene.authenticate();
    scene.ca.ca.will(Answer::Pend);
    scene.enroll();
    scene.later(Duration::from_secs(120));
    scene.restart();
    scene.later(Duration::from_secs(120));
    assert_eq!(scene.phase(), Some(UpperPhase::Pending));
    scene.later(Duration::from_secs(120));
    assert_eq!(scene.phase(), Some(UpperPhase::Failed));
    assert_eq!(scene.error(), "the CA has not decided within 3 polls");
    scene.later(DAY);
    assert_eq!(scene.seen().len(), 4, "nobody asks again");

    // The operator does.
    scene.ca.ca.will(Answer::Refuse);
    scene.enroll();
    assert_eq!(scene.error(), "the CA has refused the request (BadRequest): not you");
    scene.ca.ca.will(Answer::Grant);
    scene.enroll();
    scene.own(TrustedKind::Own);
}

/// What is not the answer of the CA is not taken, is told, and is asked for again.
fn a_false_answer_is_not_taken(dir: &Path) {
    let scene = Scene::new(dir, "");
    scene.authenticate();
    for (answer, complaint) in [
        (Answer::OtherNonce, "its recipientNonce is not that of the request"),
        (Answer::OtherSigner, "signed by somebody else than the CA"),
        (Answer::OtherKey, "not for the key that was asked for"),
        (Answer::OtherCa, "not issued by the CA of the trustpoint"),
        (Answer::Noise, "is malformed"),
        (Answer::Status(503), "answered PKIOperation with 503"),
    ] {
        scene.ca.ca.will(answer);
        match scene.report().requests.is_empty() {
            true => scene.enroll(),
            false => scene.later(Duration::from_secs(60)),
        }
        assert!(scene.error().contains(complaint), "{answer:?}: {}", scene.error());
        assert!(!scene.has(TrustedKind::Own));
        assert_eq!(scene.phase(), Some(UpperPhase::Sending));
    }
    scene.ca.ca.will(Answer::Grant);
    scene.later(Duration::from_secs(60));
    scene.own(TrustedKind::Own);
}

/// `auto-enroll` gets the first certificate by itself, renews it in time with a new key, and deletes the old one
/// when the new certificate is there. At no time there is none.
fn a_certificate_is_renewed(dir: &Path) {
    let mut scene = Scene::new(dir, "auto-enroll 80 regenerate");
    let sha1 = hex(&Hash::Sha1.digest(&[scene.ca.ca.ca.certificate.der()]));
    scene.lines.push_str(&format!("\nfingerprint {sha1}"));
    scene.node().apply(scene.configuration()).unwrap();
    scene.tick();
    let first = scene.own(TrustedKind::Own);
    scene.seen();
    scene.later(YEAR / 100 * 79);
    assert!(scene.seen().is_empty());

    // Out of reach, refused, garbage: the old one stays, and it is tried again.
    for answer in [Answer::Status(503), Answer::Refuse, Answer::Noise] {
        scene.ca.ca.will(answer);
        scene.later(DAY * 4);
        assert_eq!(scene.own(TrustedKind::Own), first);
        assert!(!scene.error().is_empty(), "{answer:?}");
    }
    scene.ca.ca.will(Answer::Pend);
    scene.later(DAY * 4);
    assert_eq!(scene.keys(), ["upper", "upper#2"]);
    scene.restart();
    scene.ca.ca.will(Answer::Grant);
    scene.later(DAY * 4);
    let second = scene.own(TrustedKind::Own);
    assert_ne!(second.public_key(), first.public_key());
    assert!(first.is_valid_at(scene.now()));
    assert_eq!(scene.keys(), ["upper#2"]);
    let asked = scene.seen();
    let renewal = asked.iter().find(|seen| seen.kind == MessageType::RenewalReq).unwrap();
    assert_eq!(renewal.signer, first);
    assert!(Csr::parse(renewal.csr.as_ref().unwrap()).unwrap().challenge().is_none());

    // And again, where the CA does not know the word.
    scene.ca.ca.says("AES\nSHA-256\nPOSTPKIOperation");
    scene.later(YEAR / 100 * 85);
    assert_ne!(scene.own(TrustedKind::Own), second);
    assert_eq!(scene.keys(), ["upper#3"]);
    let renewal = scene.seen().pop().unwrap();
    assert_eq!((renewal.kind, renewal.signer), (MessageType::PkcsReq, second));
}

/// A certificate that ends with its CA is followed by one of the next CA, which waits until the CA has ended.
fn the_ca_is_followed_when_it_rolls_over(dir: &Path) {
    let now = Time::now();
    let end = now.plus(YEAR);
    let scene = Scene::with(dir, FakeCa::valid((now, end)), "auto-enroll 60 regenerate");
    *scene.ca.ca.lifetime.lock().unwrap() = end.since(scene.now());
    scene.authenticate();
    let first = scene.own(TrustedKind::Own);
    assert_eq!(first.not_after(), end);
    scene.seen();
    // Its time has come, and nothing comes after the CA yet.
    scene.later(YEAR / 100 * 61);
    assert!(scene.seen().is_empty() && !scene.has(TrustedKind::NextOwn));

    let next = Party::root("cn=fake, o=Test", (end, end.plus(YEAR)));
    let next_ca = next.certificate.clone();
    *scene.ca.ca.next.lock().unwrap() = Some(next);
    scene.ca.ca.says("AES\nSHA-256\nPOSTPKIOperation\nRenewal\nGetNextCACert");
    scene.later(DAY * 10);
    let shadow = scene.own(TrustedKind::NextOwn);
    assert_eq!(scene.own(TrustedKind::Own), first);
    shadow.verify_signed_by(next_ca.public_key()).unwrap();
    assert_eq!(shadow.not_before(), end);
    let asked = scene.seen();
    assert!(asked.iter().all(|seen| seen.for_next && seen.signer == first), "{asked:?}");
    assert_eq!(scene.keys(), ["upper", "upper#2"]);
    let timers = scene.node().timer_reports();
    assert!(timers.iter().any(|timer| timer.at == end), "{timers:?}");

    scene.later(end.since(scene.now()).saturating_sub(HOUR));
    assert_eq!(scene.own(TrustedKind::Own), first);
    scene.later(HOUR + Duration::from_secs(1));
    assert_eq!(scene.own(TrustedKind::Own), shadow);
    assert!(!scene.has(TrustedKind::NextOwn));
    let report = scene.report();
    let authorities: Vec<_> = report.authorities.iter().map(|ca| (ca.kind, ca.der.as_slice())).collect();
    assert_eq!(authorities, [(TrustedKind::Ca, next_ca.der())]);
    assert_eq!(scene.keys(), ["upper#2"]);
}

/// An RA may have another certificate later; somebody else with a certificate of the CA is no RA for that.
fn an_ra_is_known_by_its_name(dir: &Path) {
    let scene = Scene::new(dir, "");
    let validity = (scene.now(), scene.now().plus(YEAR));
    let certificate = |subject: &str| {
        let name = tokenca::pki::Name::parse(subject).unwrap();
        let key = support::keys::TestKey::new();
        let csr = tokenca::scep::client::csr(&name, &key, Hash::Sha256, None, &[]).unwrap();
        scene.ca.ca.ca.issue(&csr, validity)
    };
    let offers = |certificates: &[&Certificate]| {
        *scene.ca.ca.registrars.lock().unwrap() = certificates.iter().copied().cloned().collect();
        scene.later(Duration::from_secs(60));
    };
    let registrars = || -> Vec<Vec<u8>> {
        let all = scene.report().authorities.into_iter();
        all.filter(|ca| ca.kind == TrustedKind::Ra).map(|ca| ca.der).collect()
    };
    let [first, second, device] = ["cn=gate,ou=ioscs RA", "cn=gate,ou=ioscs RA", "cn=r7"].map(certificate);
    scene.ca.ca.will(Answer::Status(503));
    offers(&[&first]);
    scene.authenticate();
    scene.enroll();
    assert_eq!(registrars(), [first.der()]);
    offers(&[&device]);
    assert_eq!(registrars(), [first.der()]);
    offers(&[&device, &second]);
    assert_eq!(registrars(), [second.der()]);
}

/// The operator may have it followed by hand, too.
fn the_ca_is_followed_by_hand(dir: &Path) {
    let now = Time::now();
    let end = now.plus(YEAR);
    let scene = Scene::with(dir, FakeCa::valid((now, end)), "");
    *scene.ca.ca.lifetime.lock().unwrap() = end.since(scene.now());
    scene.authenticate();
    scene.enroll();
    let first = scene.own(TrustedKind::Own);
    *scene.ca.ca.next.lock().unwrap() = Some(Party::root("cn=fake, o=Test", (end, end.plus(YEAR))));
    scene.ca.ca.says("AES\nSHA-256\nPOSTPKIOperation\nRenewal\nGetNextCACert");
    assert!(scene.node().enroll("upper", Answers::default()).unwrap()[0].granted);
    assert_eq!(scene.own(TrustedKind::Own), first);
    let shadow = scene.own(TrustedKind::NextOwn);
    assert_eq!((shadow.not_before(), shadow.public_key()), (end, first.public_key()));
    scene.later(YEAR);
    assert_eq!(scene.own(TrustedKind::Own), shadow);
    assert_eq!(scene.keys(), ["upper"]);
}

/// A crash after the record of what is wanted, before or after the key was made.
fn what_was_begun_is_gone_on_with(dir: &Path) {
    use tokenca::store::sqlite::Sqlite;
    use tokenca::store::{Store, UpperRequest};
    let mut scene = Scene::new(dir, "auto-enroll\nrsakeypair begun 2048");
    scene.ca.ca.will(Answer::Status(503));
    scene.authenticate();
    for made in [false, true] {
        scene.node().cancel_enrollment("upper").unwrap();
        assert!(scene.keys().is_empty());
        if made {
            let kind = tokenca::pki::KeyKind::Rsa { bits: 2048 };
            scene.node().generate_key(None, "begun", kind, tokenca::node::Usage::General, false).unwrap();
        }
        scene.node = None;
        let store = Sqlite::open(&scene.dir.join("state/tokenca.db")).unwrap();
        let key = ("usbtoken0".into(), "begun".into(), true);
        let begun = UpperRequest::making("upper", TrustedKind::Own, key, scene.now());
        store.begin_request(begun).unwrap();
        drop(store);
        scene.start();
        scene.tick();
        assert_eq!((scene.keys(), scene.phase()), (vec!["begun".to_owned()], Some(UpperPhase::Sending)));
    }
    scene.ca.ca.will(Answer::Grant);
    scene.later(Duration::from_secs(60));
    scene.own(TrustedKind::Own);
}

/// A token that is away is told, and what has to be done is done when it is back.
fn a_token_comes_back(dir: &Path) {
    let mut scene = Scene::new(dir, "");
    scene.authenticate();
    softhsm::unplug(dir);
    scene.lines = "auto-enroll".into();
    scene.node().apply(scene.configuration()).unwrap();
    scene.tick();
    let error = scene.report().last_error.expect("the token is away");
    assert!(error.contains("usbtoken0"), "{error}");
    softhsm::plug(dir);
    scene.later(DAY);
    scene.own(TrustedKind::Own);
    assert_eq!(scene.report().last_error, None);
}

/// Two keys, a certificate each.
fn usage_keys_have_a_certificate_each(dir: &Path) {
    let scene = Scene::new(dir, "rsakeypair pair 2048 2048");
    scene.authenticate();
    scene.enroll();
    let (sign, encrypt) = (scene.own(TrustedKind::Own), scene.own(TrustedKind::OwnEncryption));
    let usage = |certificate: &Certificate| certificate.extensions().key_usage().unwrap();
    assert!(usage(&sign).digital_signature() && !usage(&sign).key_encipherment());
    assert!(usage(&encrypt).key_encipherment() && !usage(&encrypt).digital_signature());
    assert_eq!(scene.keys(), ["pair", "pair.encr"]);
}

/// By hand: the request is shown, the certificate pasted; EC keys too, which SCEP has no use for.
fn enrolment_by_hand(dir: &Path) {
    let mut scene = Scene::new(dir, "eckeypair curve");
    scene.node().generate_key(None, "curve", tokenca::pki::KeyKind::Ec(tokenca::pki::Curve::P384), tokenca::node::Usage::General, false).unwrap();
    scene.authenticate();
    let refused = scene.node().enroll("upper", Answers::default()).unwrap_err().to_string();
    assert!(refused.contains("EC key \"curve\" cannot decrypt"), "{refused}");
    assert!(scene.report().requests.is_empty());

    scene.lines = "eckeypair curve\nenrollment terminal".into();
    scene.node().apply(scene.configuration()).unwrap();
    let asked = scene.node().enroll("upper", Answers::default()).unwrap().remove(0);
    assert_eq!(asked.phase, UpperPhase::Manual);
    scene.restart();
    let validity = (scene.now(), scene.now().plus(YEAR));
    let stranger = scene.ca.ca.stranger.issue(&asked.csr, validity);
    let refused = scene.node().import_certificate("upper", Some(stranger.der())).unwrap_err().to_string();
    assert!(refused.contains("not issued by the CA of the trustpoint"), "{refused}");
    let ca = scene.ca.ca.ca.certificate.der().to_vec();
    let refused = scene.node().import_certificate("upper", Some(&ca)).unwrap_err().to_string();
    assert!(refused.contains("not for a key that this trustpoint has asked for"), "{refused}");
    for hash in [Hash::Md5, Hash::Sha1] {
        let weak = scene.ca.ca.ca.issue_over(hash, &asked.csr, validity);
        let refused = scene.node().import_certificate("upper", Some(weak.der())).unwrap_err().to_string();
        assert!(refused.contains(&format!("\"crypto legacy {}\" in trustpoint upper", hash.name())), "{refused}");
    }
    let issued = scene.ca.ca.ca.issue(&asked.csr, validity);
    let pem = tokenca::pki::archive::pem::write_certificate(issued.der());
    scene.node().import_certificate("upper", Some(pem.as_bytes())).unwrap();
    assert_eq!(scene.own(TrustedKind::Own), issued);
    let refused = scene.node().import_certificate("upper", Some(pem.as_bytes())).unwrap_err().to_string();
    assert!(refused.contains("has asked for no certificate"), "{refused}");
}

/// By files beside each other, as IOS names them; the certificates are on the token as well.
fn enrolment_by_files(dir: &Path) {
    let scene = Scene::new(dir, "rsakeypair pair 2048 2048\nenrollment url nvram:gate pem\nstorage usbtoken0:");
    let state = scene.dir.join("state");
    std::fs::write(state.join("gate.ca"), scene.ca.ca.ca.certificate.der()).unwrap();
    scene.authenticate();
    let asked = scene.node().enroll("upper", Answers::default()).unwrap();
    let files: Vec<_> = asked.iter().map(|request| request.file.clone().unwrap()).collect();
    assert_eq!(files, ["nvram:gate-sign.req", "nvram:gate-encr.req"]);
    for usage in ["sign", "encr"] {
        let text = std::fs::read_to_string(state.join(format!("gate-{usage}.req"))).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{text}");
        let csr = tokenca::pki::archive::pem::der_of(&text, tokenca::pki::archive::pem::REQUEST).unwrap();
        let issued = scene.ca.ca.ca.issue(&csr, (scene.now(), scene.now().plus(YEAR)));
        std::fs::write(state.join(format!("gate-{usage}.crt")), issued.der()).unwrap();
    }
    assert_eq!(scene.node().import_certificate("upper", None).unwrap().len(), 2);
    let (sign, encrypt) = (scene.own(TrustedKind::Own), scene.own(TrustedKind::OwnEncryption));
    let key = &scene.node().keys().unwrap()[0];
    let beside = scene.node().certificates_of(key).unwrap();
    assert_eq!(beside.len(), 2, "in the database and on the token: {beside:?}");
    assert_ne!(sign.public_key(), encrypt.public_key());
}

/// A CA without SCEP is asked by the commands of a profile, the first time and again.
fn enrolment_by_profile(dir: &Path) {
    let scene = Scene::new(dir, "enrollment profile web\nauto-enroll 50");
    let profile = format!(
        "crypto pki profile enrollment web\n authentication url http://{0}\n authentication command GET /cacert.der\n \
         enrollment url http://{0}\n enrollment command POST /certreq.asp reqtype=PKCS10&code=$P1&CertReq=$REQ\n",
        scene.ca.address
    );
    let asking = format!("{profile} parameter 1 prompt What is the code?\n");
    scene.node().apply(scene.configuration().edited(&asking).unwrap()).unwrap();
    scene.authenticate();
    let answers = |code: &str| Answers {
        parameters: [(1, code.to_owned().into())].into_iter().collect(),
        ..Answers::default()
    };
    let request = scene.node().enroll("upper", answers("wrong")).unwrap().remove(0);
    assert!(request.error.unwrap().contains("403"));
    scene.node().cancel_enrollment("upper").unwrap();
    assert!(scene.node().enroll("upper", answers("4711")).unwrap()[0].granted);
    let first = scene.own(TrustedKind::Own);
    scene.later(YEAR / 3 * 2);
    assert_eq!(scene.own(TrustedKind::Own), first, "nobody is there to be asked");
    let known = format!("{profile} parameter 1 value 4711\n");
    scene.node().apply(scene.configuration().edited(&known).unwrap()).unwrap();
    scene.tick();
    assert_ne!(scene.own(TrustedKind::Own), first);
}

/// The first request may be signed with the certificate of another trustpoint; a proxy may be on the way.
fn a_certificate_of_another_ca_is_shown_through_a_proxy(dir: &Path) {
    let scene = Scene::new(dir, "");
    scene.authenticate();
    scene.enroll();
    let own = scene.own(TrustedKind::Own);
    let second = Served::new(FakeCa::new());
    let (proxy, connected) = connect_proxy();
    let section = format!(
        "crypto pki trustpoint second\n enrollment url {}\n enrollment credential upper\n rsakeypair second 2048\n \
         enrollment http-proxy 127.0.0.1 {proxy}\n",
        second.url()
    );
    scene.node().apply(scene.configuration().edited(&section).unwrap()).unwrap();
    let offered = scene.node().authenticate("second", None).unwrap();
    scene.node().accept(offered).unwrap();
    let reports = scene.node().enroll("second", Answers::default()).unwrap();
    assert!(reports[0].granted, "{reports:?}");
    let seen = second.ca.seen().remove(0);
    assert_eq!((seen.kind, seen.signer), (MessageType::PkcsReq, own));
    assert!(connected.load(Ordering::Acquire) >= 3, "GetCACert, GetCACaps and the request");
}

/// What was begun is taken back, and the key that was made for it goes.
fn a_request_is_taken_back(dir: &Path) {
    let scene = Scene::new(dir, "");
    scene.authenticate();
    scene.ca.ca.will(Answer::Pend);
    scene.enroll();
    let refused = scene.node().enroll("upper", Answers::default()).unwrap_err().to_string();
    assert!(refused.contains("has asked for a certificate already"), "{refused}");
    assert_eq!(scene.node().cancel_enrollment("upper").unwrap(), 1);
    assert_eq!(scene.node().cancel_enrollment("upper").unwrap(), 0);
    assert!(scene.keys().is_empty());
    scene.later(DAY);
    assert_eq!(scene.seen().len(), 1);
}

/// A CA that takes connections and says nothing keeps only its own trustpoint waiting.
fn a_silent_ca_keeps_nobody_waiting(dir: &Path) {
    let mut scene = Scene::new(dir, "");
    scene.authenticate();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/scep", silent.local_addr().unwrap());
    let other = format!("crypto pki trustpoint silent\n enrollment url {url}\n rsakeypair silent 2048\n");
    let configuration = scene.configuration().edited(&other).unwrap();
    scene.node().apply(configuration).unwrap();
    let der = scene.ca.ca.ca.certificate.der().to_vec();
    let offered = scene.node().authenticate("silent", Some(&der)).unwrap();
    scene.node().accept(offered).unwrap();
    std::thread::scope(|scope| {
        let node = scene.node();
        let asked = scope.spawn(|| node.enroll("silent", Answers::default()).unwrap());
        scene.enroll();
        scene.own(TrustedKind::Own);
        assert!(!asked.join().unwrap()[0].granted);
    });
    // The process ends in time, too.
    let began = std::time::Instant::now();
    scene.node = None;
    assert!(began.elapsed() < Duration::from_secs(15));
}

}

/// A proxy that connects to whatever it is asked for, on its port; and how often it was.
fn connect_proxy() -> (u16, Arc<AtomicU64>) {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::<AtomicU64>::default());
    let counted = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let target = first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
            let server = TcpStream::connect(target).unwrap();
            let mut line = String::from("x");
            while !line.trim().is_empty() {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            (&client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            counted.fetch_add(1, Ordering::AcqRel);
            let (mut there, mut back) = (server.try_clone().unwrap(), client);
            std::thread::spawn(move || std::io::copy(&mut reader, &mut there));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &server, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (port, count)
}
