//! A CA with a next certificate, and with those it had.

use super::*;
use tokenca::ca::{Issuer, Ours};
use tokenca::pki::crl;
use tokenca::store::{IssuedBy, Phase, Revocation};

#[test]
fn the_next_certificate_follows_without_a_gap() {
    let lab = Lab::founded(settings());
    let next = Certificate::parse(&lab.prepare(NOW.plus(DAY * 1000)).certificate).unwrap();
    let ca = lab.opened();
    let current = ca.certificate();
    assert_eq!(next.not_before(), current.not_after());
    assert_eq!(next.not_after(), current.not_after().plus(DAY * 1095));
    assert_eq!((next.subject_raw(), next.issuer_raw()), (current.subject_raw(), current.subject_raw()));
    assert_eq!(next.public_key(), NEXT_KEY.public_key());
    assert!(next.verify_signed_by(next.public_key()).is_ok());
    assert_eq!(ca.next().map(|next| next.authority()), lab.authorities(Phase::Next).pop().map(|a| a.id));
}

#[test]
fn a_next_certificate_that_comes_late_is_not_dated_back() {
    let lab = Lab::founded(Settings { ca_lifetime: DAY * 100, ..settings() });
    let late = NOW.plus(DAY * 150);
    let next = Certificate::parse(&lab.prepare(late).certificate).unwrap();
    assert_eq!((next.not_before(), next.not_after()), (late, late.plus(DAY * 100)));
}

#[test]
fn the_next_certificate_is_made_once_whatever_happens() {
    let lab = Lab::founded(settings());
    let (ca, meter) = (lab.opened(), Meter::new());
    let noted = std::cell::RefCell::new(None);
    let note = |serial: &Serial| {
        *noted.borrow_mut() = Some(serial.clone());
        Ok(())
    };
    let make = |key: &TestKey, begun: Option<&Serial>| ca.make_next(key, true, begun, &note, &meter, NOW);
    // The token is away when it is to be signed.
    let failed = ca.make_next(&Away(NEXT_KEY.public_key()), true, None, &note, &meter, NOW);
    assert!(matches!(failed, Err(CaError::Key { .. })), "{failed:?}");
    let begun = noted.borrow().clone();
    assert_eq!(begun, Some(Serial::from(2)));
    // The note got lost, or it did not: the same bytes are signed.
    let first = make(&NEXT_KEY, None).unwrap();
    assert_eq!((Some(&first.serial), first.authority), (begun.as_ref(), None));
    assert_eq!(make(&NEXT_KEY, begun.as_ref()).unwrap(), first);
    assert_eq!(lab.store.last_serial(LABEL).unwrap(), Some(Serial::from(2)));

    // What was begun for a key that was given up afterwards is not signed with another one and kept.
    ca.make_next(&Away(DEVICE_KEY.public_key()), true, None, &note, &meter, NOW).unwrap_err();
    let third = TestKey::new();
    let other = make(&third, None).unwrap();
    assert_eq!((other.serial, other.key), (Serial::from(4), third.public_key().fingerprint()));
    assert_eq!(lab.store.unfinished(LABEL).unwrap(), []);
    ca.make_next(&Away(DEVICE_KEY.public_key()), true, None, &note, &meter, NOW).unwrap_err();
    tokenca::ca::abandon_next(lab.store.as_ref(), LABEL, NOW).unwrap();
    assert_eq!(lab.store.unfinished(LABEL).unwrap(), []);
}

#[test]
fn what_the_next_one_signs_begins_with_it() {
    let lab = Lab::founded(settings());
    let next = lab.prepare(NOW.plus(DAY * 1065));
    let (ca, meter, now) = (lab.opened(), Meter::new(), NOW.plus(DAY * 1070));
    let shadow = issued(ca.issue(approved("CN=r1"), application_to("CN=r1", next.id), &meter, now));
    let own = ca.next().unwrap().certificate();
    assert_eq!(shadow.not_before(), own.not_before());
    assert_eq!(shadow.not_after(), own.not_before().plus(DAY * 365));
    assert!(shadow.verify_signed_by(NEXT_KEY.public_key()).is_ok());
    assert_eq!(shadow.extensions().authority_key_identifier(), Some(&own.key_identifier()[..]));
    // The other one goes on meanwhile, with the same request.
    let current = issued(ca.issue(approved("CN=r1"), application("CN=r1"), &meter, now));
    assert!(current.verify_signed_by(CA_KEY.public_key()).is_ok());
    assert_eq!(current.not_after(), ca.certificate().not_after());

    // Both are ours, revoked or not.
    let ours = |certificate: &Certificate, revoked| {
        let (serial, class) = (certificate.serial().clone(), tokenca::pki::Class::Router);
        assert_eq!(ca.issued(certificate).unwrap(), Some(Ours { serial, revoked, class }));
    };
    ours(&shadow, false);
    ours(&current, false);
    ca.revoke(shadow.serial(), 4, now).unwrap();
    ours(&shadow, true);
    assert_eq!(ca.issuer_of(shadow.serial()).unwrap().phase(), Phase::Next);
    assert_eq!(ca.issuer_of(current.serial()).unwrap().phase(), Phase::Active);
    assert_eq!(ca.issuer_of(own.serial()).unwrap().phase(), Phase::Next);
    assert_eq!(ca.issuer_of(&Serial::from(999)).unwrap().phase(), Phase::Active);
}

#[test]
fn a_request_that_waits_for_the_next_one_gets_it_before_and_after_the_change() {
    let lab = Lab::founded(settings());
    let next = lab.prepare(NOW);
    let meter = Meter::new();
    let wait = |subject: &str, application| {
        let rules = settings().rules;
        let decided = policy::decide(
            request(subject),
            policy::Intention::Enroll,
            &policy::Requester::Itself,
            policy::Challenge::Absent,
            &rules,
            NOW,
        );
        let policy::Decision::Pend(examined) = decided else { panic!("{decided:?}") };
        match lab.opened().pend(&examined, application, &meter, NOW) {
            Ok(Outcome::Pending(id)) => id,
            other => panic!("{other:?}"),
        }
    };
    let before = wait("CN=r1", application_to("CN=r1", next.id));
    let after = wait("CN=r2", application_to("CN=r2", next.id));
    // The same PKCS#10, once to each.
    assert_ne!(wait("CN=r2", application("CN=r2")), after);
    let unasked = wait("CN=r3", application("CN=r3"));

    let granted = lab.opened().grant(before, &meter, NOW.plus(DAY)).unwrap();
    assert_eq!((granted.authority, granted.not_before), (Some(next.id), NOW.plus(DAY * 1095)));
    lab.store.activate(LABEL).unwrap();
    let later = NOW.plus(DAY * 1100);
    for id in [after, unasked] {
        let granted = lab.opened().grant(id, &meter, later).unwrap();
        assert_eq!((granted.authority, granted.not_before), (Some(next.id), later));
    }
}

#[test]
fn what_was_begun_is_finished_by_whichever_key_it_was_for() {
    let lab = Lab::founded(settings());
    let next = lab.prepare(NOW);
    let away = lab.opened_with(|authority| match authority.phase {
        Phase::Next => Arc::new(Away(NEXT_KEY.public_key())),
        _ => CA_KEY.clone(),
    });
    let meter = Meter::new();
    let failed = away.issue(approved("CN=r1"), application_to("CN=r1", next.id), &meter, NOW);
    assert!(matches!(failed, Err(CaError::Key { .. })), "{failed:?}");
    assert!(away.recover(&meter, NOW).is_err());
    // By the time its key is back it acts, or is over even.
    lab.store.activate(LABEL).unwrap();
    assert_eq!(lab.opened().recover(&meter, NOW).unwrap(), 1);
    let issued = lab.store.issued_by(LABEL, next.id).unwrap();
    assert!(matches!(issued, IssuedBy { count: 1, enrolled: 1, last_end: Some(_) }), "{issued:?}");
}

#[test]
fn nothing_more_is_signed_by_one_that_was_taken_back() {
    let lab = Lab::founded(settings());
    let next = lab.prepare(NOW);
    let (before, meter) = (lab.opened(), Meter::new());
    let shadow = issued(before.issue(approved("CN=r1"), application_to("CN=r1", next.id), &meter, NOW));
    lab.store.discard_next(LABEL, Revocation { at: NOW, reason: 5 }).unwrap();
    let late = before.issue(approved("CN=r2"), application_to("CN=r2", next.id), &meter, NOW);
    assert!(matches!(late, Err(CaError::Store(StoreError::Conflict))), "{late:?}");
    let gone = lab.opened().issue(approved("CN=r2"), application_to("CN=r2", next.id), &meter, NOW);
    assert!(matches!(gone, Err(CaError::Gone)), "{gone:?}");
    // It is still known, as one that counts for nothing.
    assert_eq!(lab.opened().issued(&shadow).unwrap().map(|ours| ours.revoked), Some(true));
}

#[test]
fn each_key_has_its_own_list() {
    let lab = Lab::founded(settings());
    let next = lab.prepare(NOW.plus(DAY * 1065));
    let (ca, meter, now) = (lab.opened(), Meter::new(), NOW.plus(DAY * 1070));
    let current = issued(ca.issue(approved("CN=r1"), application("CN=r1"), &meter, now));
    let shadow = issued(ca.issue(approved("CN=r1"), application_to("CN=r1", next.id), &meter, now));
    ca.issue_due_crls(&meter, now).unwrap();
    for (certificate, key) in [(&current, &*CA_KEY), (&shadow, &*NEXT_KEY)] {
        ca.revoke(certificate.serial(), 1, now).unwrap();
        ca.issue_due_crls(&meter, now).unwrap();
        let (issuer, list) = list_with(&ca, key);
        assert_eq!(serials(&list), [certificate.serial().clone()]);
        assert!(list.verify_signed_by(issuer.certificate().public_key()).is_ok());
    }
    assert_eq!(meter.take().signatures, 3 * 2);

    // After the change both are still there, the old one as long as somebody may look.
    let end = ca.certificate().not_after();
    lab.store.activate(LABEL).unwrap();
    let ca = lab.opened();
    assert_eq!(ca.authority(), next.id);
    let number = |key: &TestKey| list_with(&ca, key).1.number();
    let (old, new) = (number(&CA_KEY), number(&NEXT_KEY));
    ca.issue_due_crls(&meter, end.plus(DAY)).unwrap();
    let (_, list) = list_with(&ca, &CA_KEY);
    assert_eq!((number(&CA_KEY), number(&NEXT_KEY)), (old.map(|n| n + 1), new.map(|n| n + 1)));
    assert_eq!(serials(&list), [current.serial().clone()]);
    ca.issue_due_crls(&meter, end.plus(DAY * 7 + SECOND)).unwrap();
    assert_eq!(number(&CA_KEY), old.map(|n| n + 1), "it owes no more");
    assert_eq!(number(&NEXT_KEY), new.map(|n| n + 2));
}

#[test]
fn a_ca_taken_over_rolls_over_and_knows_its_certificates() {
    let known = before(5, &CA_KEY, Hash::Sha256);
    let lab = Lab::adopted(10, vec![whole(&known), number(6)], None);
    lab.prepare(NOW);
    lab.store.activate(LABEL).unwrap();
    let (ca, meter) = (lab.opened(), Meter::new());
    // Whole, by number, and by nothing but its signature.
    for certificate in [known, before(6, &CA_KEY, Hash::Sha256), before(7, &CA_KEY, Hash::Sha256)] {
        let ours = ca.issued(&certificate).unwrap().expect("it is valid still, and ours");
        assert!(!ours.revoked);
        ca.revoke(certificate.serial(), 1, NOW).unwrap();
    }
    assert_eq!(ca.issued(&before(7, &NEXT_KEY, Hash::Sha256)).unwrap(), None);
    ca.issue_due_crls(&meter, NOW).unwrap();
    assert_eq!(serials(&list_with(&ca, &CA_KEY).1), [5, 6, 7].map(Serial::from));
    assert_eq!(serials(&list_with(&ca, &NEXT_KEY).1), []);
}

#[test]
fn one_key_that_is_away_keeps_no_other_list_back() {
    let lab = Lab::founded(settings());
    lab.prepare(NOW);
    lab.store.activate(LABEL).unwrap();
    let away = lab.opened_with(|authority| match authority.phase {
        Phase::Retired => Arc::new(Away(CA_KEY.public_key())),
        _ => NEXT_KEY.clone(),
    });
    let meter = Meter::new();
    assert!(matches!(away.issue_due_crls(&meter, NOW), Err(CaError::Key { .. })));
    assert_eq!(serials(&list_with(&away, &NEXT_KEY).1), []);
    assert!(lab.opened().issue_due_crls(&meter, NOW).is_ok());
}

/// A CA below another may get another pathLenConstraint with its next certificate.
#[test]
fn each_key_says_whether_a_ca_may_stand_below() {
    use der::Encode;
    use tokenca::pki::extension::{Purpose, basic_constraints};
    use tokenca::policy::Refusal;
    let authority = |path_len| basic_constraints(Purpose::Authority { path_len, scep: false });
    let sub = || {
        let asked = [authority(None).to_der().unwrap()];
        let csr = client::csr(&name("CN=sub"), DEVICE_KEY.as_ref(), Hash::Sha256, None, &asked).unwrap();
        Csr::parse(&csr).and_then(Csr::verify).unwrap()
    };
    let lab = Lab::founded(settings());
    let (begin, algorithm) = (NOW.plus(DAY * 1095), SignatureAlgorithm::RsaPkcs1(Hash::Sha256));
    let validity = (begin, begin.plus(DAY * 1095));
    let mut template = profile::root(&name(CA_NAME), NEXT_KEY.public_key(), true, algorithm, validity);
    template.extensions[0] = authority(Some(0));
    let next = lab.store.prepare(NewAuthority {
        server: LABEL.into(),
        role: Role::Ca,
        token: "usbtoken0".into(),
        key_label: "mycs#2".into(),
        certificate: signed(&template, 77, &CA_KEY),
    });
    let (next, ca, meter) = (next.unwrap().id, lab.opened(), Meter::new());
    assert_eq!(ca.rules(None).unwrap().path_len, None);
    let rules = ca.rules(Some(next)).unwrap();
    assert_eq!(rules.path_len, Some(0));
    assert!(matches!(policy::operator_grants(sub(), &rules), Err(Refusal::PathLength)));
    // Also when it was judged by the rules of the other one.
    let approved = || policy::operator_grants(sub(), &ca.rules(None).unwrap()).unwrap();
    let refused = ca.issue(approved(), application_to("CN=sub", next), &meter, NOW);
    assert!(matches!(refused, Err(CaError::Refused(Refusal::PathLength))), "{refused:?}");
    let sub = issued(ca.issue(approved(), application("CN=sub"), &meter, NOW));
    assert_eq!(sub.extensions().basic_constraints().unwrap().path_len, None);
}

#[test]
fn keys_for_scep_have_a_next_certificate_too() {
    let lab = Lab::founded(settings());
    let (meter, place) = (Meter::new(), ("usbtoken0", "mycs.scep-sign"));
    let certify = |lab: &Lab, phase| {
        let ca = lab.opened();
        let issuer = ca.issuers().find(|issuer| issuer.phase() == phase).unwrap();
        let certified =
            ca.certify_scep_key(issuer, Role::RaSign, DEVICE_KEY.as_ref(), place, &meter, NOW).unwrap();
        assert_eq!(certified.phase, phase);
        (Certificate::parse(&certified.certificate).unwrap(), certified.id)
    };
    let (now, _) = certify(&lab, Phase::Active);
    lab.prepare(NOW);
    let (next, id) = certify(&lab, Phase::Next);
    assert_eq!(next.not_before(), now.not_after());
    assert!(next.verify_signed_by(NEXT_KEY.public_key()).is_ok());
    // Found again, and moved with the CA; nothing is certified anew.
    assert_eq!(certify(&lab, Phase::Next).1, id);
    // One whose key is lost is certified anew, once.
    let (key, ca) = (TestKey::new(), lab.opened());
    let anew = || ca.certify_scep_key(ca.next().unwrap(), Role::RaSign, &key, place, &meter, NOW).unwrap().id;
    let id = anew();
    assert_eq!(anew(), id);
    let next = lab.store.authorities(LABEL).unwrap().into_iter().find(|a| a.id == id).unwrap();
    assert_eq!(Certificate::parse(&next.certificate).unwrap().public_key(), key.public_key());
    let (_, id) = certify(&lab, Phase::Next);
    lab.store.activate(LABEL).unwrap();
    assert_eq!(certify(&lab, Phase::Active).1, id);

    // One that had none when the CA moved gets one of the CA that acts.
    let lab = Lab::founded(settings());
    let (_, old) = certify(&lab, Phase::Active);
    lab.prepare(NOW);
    lab.store.activate(LABEL).unwrap();
    let ca = lab.opened();
    let late = ca.certificate().not_before();
    let new =
        ca.certify_scep_key(ca.active(), Role::RaSign, DEVICE_KEY.as_ref(), place, &meter, late).unwrap();
    assert_ne!(new.id, old);
    let certificate = Certificate::parse(&new.certificate).unwrap();
    assert!(certificate.verify_signed_by(NEXT_KEY.public_key()).is_ok());
}

impl Lab {
    /// Makes a next certificate with `NEXT_KEY` at `now`.
    fn prepare(&self, now: Time) -> Authority {
        let next = self.opened().make_next(NEXT_KEY.as_ref(), true, None, &|_| Ok(()), &Meter::new(), now);
        let authority = NewAuthority {
            server: LABEL.into(),
            role: Role::Ca,
            token: "usbtoken0".into(),
            key_label: "mycs#2".into(),
            certificate: next.expect("a certificate").der,
        };
        self.store.prepare(authority).expect("the only one")
    }

    fn authorities(&self, phase: Phase) -> Vec<Authority> {
        let all = self.store.authorities(LABEL).expect("authorities");
        all.into_iter().filter(|a| a.phase == phase && a.role == Role::Ca).collect()
    }

    /// The CA with everything that it has, had and will have.
    fn opened(&self) -> Ca {
        self.opened_with(|authority| match authority.key_label.as_str() {
            "mycs" => CA_KEY.clone(),
            _ => NEXT_KEY.clone(),
        })
    }

    fn opened_with(&self, key: impl Fn(&Authority) -> Arc<dyn SigningKey>) -> Ca {
        let active = self.authorities(Phase::Active).pop().expect("a CA");
        let (store, gate) = (self.store.clone(), self.gate.clone());
        let ca = Ca::open(LABEL, store, &active, key(&active), self.settings.clone(), gate);
        let others = [Phase::Next, Phase::Retired].into_iter().flat_map(|phase| self.authorities(phase));
        others
            .fold(ca.expect("a CA"), |ca, other| ca.with(Issuer::open(&other, key(&other)).expect("its key")))
    }
}

/// A key on a token that is away.
struct Away<'a>(&'a tokenca::pki::PublicKey);

impl SigningKey for Away<'_> {
    fn public_key(&self) -> &tokenca::pki::PublicKey {
        self.0
    }

    fn sign(&self, _: Hash, _: &[u8]) -> Result<Vec<u8>, tokenca::pki::KeyError> {
        Err(tokenca::pki::KeyError::new(tokenca::pki::KeyErrorKind::Unavailable, "it is away"))
    }
}

fn application_to(subject: &str, authority: u64) -> Application {
    Application { authority: Some(authority), ..application(subject) }
}

/// The issuer with this key, and its newest list.
fn list_with<'c>(ca: &'c Ca, key: &TestKey) -> (&'c Issuer, crl::Crl) {
    let mut issuers = ca.issuers();
    let issuer = issuers.find(|issuer| issuer.certificate().public_key() == key.public_key()).unwrap();
    let list = ca.crl_of(issuer).unwrap().expect("a list");
    (issuer, crl::Crl::parse(list.der).expect("a CRL"))
}

fn serials(list: &crl::Crl) -> Vec<Serial> {
    list.entries().map(|entry| entry.serial).collect()
}

static NEXT_KEY: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::new()));
