//! Who gets what: every decision of `policy::decide`, as tables.

use std::process::Command;
use std::sync::LazyLock;

use const_oid::db::rfc5912;
use der::Encode;
use tokenca::pki::extension::{self, Purpose, Usages};
use tokenca::pki::profile::{IssuerFacts, Requested};
use tokenca::pki::{
    Certificate, Class, Csr, Hash, Name, PublicKey, Serial, SignatureAlgorithm, SigningKey, Time,
    VerifiedCsr, tbs,
};
use tokenca::policy::{
    self, Authorization, Challenge, Decision, Grant, Intention, Refusal, Requester, Rules,
};
use tokenca::scep::client;
use x509_cert::ext::pkix::KeyUsages;

#[path = "support/forge.rs"]
mod forge;
#[path = "support/keys.rs"]
mod keys;

use keys::{EcTestKey, TestKey, name};

static KEY: LazyLock<TestKey> = LazyLock::new(TestKey::new);
static CA_KEY: LazyLock<TestKey> = LazyLock::new(TestKey::new);

const DIGEST: [u8; 32] = [5; 32];
const DAY: i64 = 86_400;
const CHALLENGES: [Challenge; 4] =
    [Challenge::Absent, Challenge::NotInUse, Challenge::Valid(DIGEST), Challenge::Invalid];
const GRANTS: [Grant; 4] = [Grant::Manual, Grant::Auto, Grant::None, Grant::RaAuto];

/// A decision, reduced to what is compared.
#[derive(Clone, Debug, PartialEq)]
enum Is {
    Issued(Authorization),
    Pending,
    Refused(Refusal),
}

fn rules(grant: Grant) -> Rules {
    Rules { grant, ..Rules::default() }
}

fn now() -> Time {
    Time::from_unix(1_800_000_000)
}

fn decide(
    csr: &VerifiedCsr,
    intention: Intention,
    requester: &Requester<'_>,
    challenge: Challenge,
    rules: &Rules,
) -> Is {
    match policy::decide(csr.clone(), intention, requester, challenge, rules, now()) {
        Decision::Issue(approved) => {
            assert_eq!(approved.examined().csr().der(), csr.der());
            Is::Issued(approved.authorization())
        }
        Decision::Pend(examined) => {
            assert_eq!(examined.csr().der(), csr.der());
            Is::Pending
        }
        Decision::Reject(refusal) => Is::Refused(refusal),
    }
}

fn request_by(key: &dyn SigningKey, subject: &Name, hash: Hash, extensions: &[Vec<u8>]) -> VerifiedCsr {
    let der = client::csr(subject, key, hash, None, extensions).unwrap();
    Csr::parse(&der).unwrap().verify().unwrap()
}

fn request(subject: &str, extensions: &[Vec<u8>]) -> VerifiedCsr {
    request_by(&*KEY, &name(subject), Hash::Sha256, extensions)
}

/// A certificate of ours that answers `csr`, valid for these days around now.
fn issued(csr: &VerifiedCsr, days: (i64, i64)) -> Certificate {
    let issuer = name("cn=ca1");
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    let facts = IssuerFacts { name: &issuer, key_id: &[1; 20], algorithm, cdp: None, path_len: None };
    let at = |days| Time::from_unix(now().unix().saturating_add_signed(days * DAY));
    let template = Requested::of(csr).unwrap().template(&facts, at(days.0), at(days.1));
    let tbs = template.finalize(&Serial::from(2)).unwrap();
    let signature = CA_KEY.sign(Hash::Sha256, &tbs).unwrap();
    Certificate::parse(&tbs::assemble(&tbs, algorithm, &signature).unwrap()).unwrap()
}

/// Who holds it, as the record of the CA has it: granted as one of this class.
fn holder(certificate: &Certificate, class: Class) -> Requester<'_> {
    Requester::Holder { certificate, revoked: false, class }
}

/// subjectAltName with these `GeneralName`s: context number and octets.
fn alt_names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let names: Vec<Vec<u8>> =
        names.iter().map(|(number, octets)| forge::tlv(0x80 | number, &[octets])).collect();
    extension("2.5.29.17", &forge::sequence(&[&names.concat()]))
}

fn dns(names: &[&str]) -> Vec<u8> {
    alt_names(&names.iter().map(|name| (2, name.as_bytes())).collect::<Vec<_>>())
}

fn extension(id: &str, value: &[u8]) -> Vec<u8> {
    forge::sequence(&[&forge::oid(id), &forge::octets(value)])
}

fn basic_constraints(ca: bool) -> Vec<u8> {
    let purpose = if ca { Purpose::Authority { path_len: None, scep: false } } else { Purpose::Device };
    extension::basic_constraints(purpose).to_der().unwrap()
}

fn key_usage(usages: impl Into<Usages>) -> Vec<u8> {
    extension::key_usage(usages.into()).to_der().unwrap()
}

#[test]
fn first_requests_follow_challenge_and_grant() {
    let csr = request("cn=r1", &[]);
    let password = Is::Issued(Authorization::Password(DIGEST));
    let (auto, wrong, closed) =
        (Is::Issued(Authorization::Auto), Is::Refused(Refusal::Challenge), Is::Refused(Refusal::Closed));
    for (challenge, manual_is, auto_is, none_is) in [
        (Challenge::Absent, &Is::Pending, &auto, &closed),
        (Challenge::NotInUse, &Is::Pending, &auto, &closed),
        (Challenge::Valid(DIGEST), &password, &password, &closed),
        // A wrong password is no better with `grant auto` than none would be: it is a guess.
        (Challenge::Invalid, &wrong, &wrong, &wrong),
    ] {
        for (grant, wanted) in [(Grant::Manual, manual_is), (Grant::Auto, auto_is), (Grant::None, none_is)] {
            let is = decide(&csr, Intention::Enroll, &Requester::Itself, challenge, &rules(grant));
            assert_eq!(is, *wanted, "{challenge:?} {grant:?}");
        }
    }
}

#[test]
fn a_renewal_needs_a_certificate_of_ours() {
    let csr = request("cn=r1", &[]);
    for challenge in CHALLENGES {
        for grant in GRANTS {
            // RenewalReq signed by the key itself: CVE-2026-30836 had such a way in.
            let itself = decide(&csr, Intention::Renew, &Requester::Itself, challenge, &rules(grant));
            assert_eq!(itself, Is::Refused(Refusal::UnknownSigner), "{challenge:?} {grant:?}");
            for intention in [Intention::Enroll, Intention::Renew] {
                let stranger = decide(&csr, intention, &Requester::Stranger, challenge, &rules(grant));
                assert_eq!(
                    stranger,
                    Is::Refused(Refusal::UnknownSigner),
                    "{intention:?} {challenge:?} {grant:?}"
                );
            }
        }
    }
}

#[test]
fn a_renewal_is_issued_whatever_the_challenge() {
    let csr = request("cn=r1", &[dns(&["r1.example.com", "r1"])]);
    let certificate = issued(&csr, (-100, 1));
    let holder = holder(&certificate, Class::Router);
    let fewer = request("cn=r1", &[dns(&["r1"])]);
    let none = request("cn=r1", &[]);
    let turned = request("cn=r1", &[dns(&["r1", "r1.example.com"])]);
    let other_key = request_by(&*CA_KEY, &name("cn=r1"), Hash::Sha256, &[]);
    let elliptic = request_by(&EcTestKey::new(), &name("cn=r1"), Hash::Sha256, &[]);
    for csr in [&csr, &fewer, &none, &turned, &other_key, &elliptic] {
        for intention in [Intention::Enroll, Intention::Renew] {
            for challenge in CHALLENGES {
                for grant in [Grant::Manual, Grant::Auto, Grant::RaAuto] {
                    let is = decide(csr, intention, &holder, challenge, &rules(grant));
                    assert_eq!(is, Is::Issued(Authorization::Renewal));
                }
                let closed = decide(csr, intention, &holder, challenge, &rules(Grant::None));
                assert_eq!(closed, Is::Refused(Refusal::Closed));
            }
        }
    }
}

#[test]
fn a_certificate_that_does_not_count_renews_nothing() {
    let csr = request("cn=r1", &[]);
    for (days, revoked, refusal) in [
        ((-10, 10), true, Refusal::Revoked),
        ((-10, -1), false, Refusal::NotValidNow),
        ((-10, -1), true, Refusal::Revoked),
        ((1, 10), false, Refusal::NotValidNow),
    ] {
        let certificate = issued(&csr, days);
        let holder = Requester::Holder { certificate: &certificate, revoked, class: Class::Router };
        for intention in [Intention::Enroll, Intention::Renew] {
            for challenge in CHALLENGES {
                for grant in GRANTS {
                    let is = decide(&csr, intention, &holder, challenge, &rules(grant));
                    assert_eq!(is, Is::Refused(refusal.clone()), "{days:?} {intention:?}");
                }
            }
        }
    }
    // Both ends are within.
    for days in [(0, 10), (-10, 0)] {
        let certificate = issued(&csr, days);
        let holder = holder(&certificate, Class::Router);
        let is = decide(&csr, Intention::Renew, &holder, Challenge::Absent, &rules(Grant::Manual));
        assert_eq!(is, Is::Issued(Authorization::Renewal), "{days:?}");
    }
}

#[test]
fn a_renewal_keeps_its_names() {
    let written = |tag| {
        let pair = forge::sequence(&[&forge::oid("2.5.4.3"), &forge::tlv(tag, &[b"r1"])]);
        Name::from_der(&forge::sequence(&[&forge::set(&[pair])]))
    };
    let (printable, utf8) = (written(0x13), written(0x0c));
    let by = |subject: &Name, extensions: &[Vec<u8>]| request_by(&*KEY, subject, Hash::Sha256, extensions);
    let held = by(&printable, &[alt_names(&[(2, b"r1"), (7, &[192, 0, 2, 1])])]);
    let certificate = issued(&held, (-10, 10));
    let holder = holder(&certificate, Class::Router);
    for csr in [
        request("cn=r2", &[]),
        request("cn=r1,o=Lab", &[]),
        by(&utf8, &[]),
        by(&printable, &[dns(&["r1", "admin.example.com"])]),
        by(&printable, &[alt_names(&[(7, &[192, 0, 2, 2])])]),
        // A name in another form is another name.
        by(&printable, &[alt_names(&[(1, b"r1")])]),
    ] {
        for challenge in CHALLENGES {
            for grant in GRANTS {
                let renewal = decide(&csr, Intention::Renew, &holder, challenge, &rules(grant));
                assert_eq!(renewal, Is::Refused(Refusal::OtherSubject));
                // As a first request it is one like any other: the certificate authorizes nothing.
                let first = decide(&csr, Intention::Enroll, &holder, challenge, &rules(grant));
                let itself = decide(&csr, Intention::Enroll, &Requester::Itself, challenge, &rules(grant));
                assert_eq!(first, itself);
            }
        }
    }
}

#[test]
fn who_would_issue_or_speak_for_a_ca_waits() {
    let authorities = [
        vec![basic_constraints(true)],
        vec![key_usage(KeyUsages::KeyCertSign)],
        vec![basic_constraints(false), key_usage(KeyUsages::KeyCertSign | KeyUsages::DigitalSignature)],
        vec![basic_constraints(true), key_usage(KeyUsages::DigitalSignature)],
        // CA TRUE as some BER writes it.
        vec![extension("2.5.29.19", &[0x30, 3, 1, 1, 1])],
    ];
    let subordinates =
        authorities.iter().map(|extensions| (request("cn=sub", extensions), Class::SubordinateCa));
    let ras = ["cn=ioscs RA", "cn=r1,ou=ioscs RA", "cn=r1,ou=IOSCS ra,o=Lab"]
        .map(|subject| (request(subject, &[]), Class::Ra));
    for (csr, class) in subordinates.chain(ras) {
        let certificate = issued(&csr, (-10, 10));
        let holder = holder(&certificate, class);
        for (intention, requester) in [
            (Intention::Enroll, &Requester::Itself),
            (Intention::Enroll, &holder),
            (Intention::Renew, &holder),
        ] {
            for challenge in [Challenge::Absent, Challenge::Valid(DIGEST)] {
                for grant in [Grant::Manual, Grant::Auto] {
                    let decision =
                        policy::decide(csr.clone(), intention, requester, challenge, &rules(grant), now());
                    let Decision::Pend(examined) = decision else { panic!("{class:?}: {decision:?}") };
                    assert_eq!(examined.class(), class);
                }
            }
        }
    }
}

#[test]
fn the_next_certificate_of_a_ca_or_ra_is_granted_where_that_is_configured() {
    let rollover = |ca, ra| Rules { rollover_ca: ca, rollover_ra: ra, ..rules(Grant::Manual) };
    let sub = request("cn=sub", &[basic_constraints(true)]);
    let ra = request("cn=r1,ou=ioscs RA", &[]);
    for (csr, class, other, yes, no) in [
        (&sub, Class::SubordinateCa, Class::Ra, rollover(true, false), rollover(false, true)),
        (&ra, Class::Ra, Class::SubordinateCa, rollover(false, true), rollover(true, false)),
    ] {
        let certificate = issued(csr, (-10, 10));
        let by = |requester: &Requester<'_>, rules: &Rules| {
            decide(csr, Intention::Enroll, requester, Challenge::Absent, rules)
        };
        assert_eq!(by(&holder(&certificate, class), &yes), Is::Issued(Authorization::Rollover));
        assert_eq!(by(&holder(&certificate, class), &no), Is::Pending);
        let closed = Rules { grant: Grant::None, ..yes };
        assert_eq!(by(&holder(&certificate, class), &closed), Is::Refused(Refusal::Closed));
        // The first one is granted by hand, also under a certificate of the same name that is another's: the
        // record says as what it was granted.
        assert_eq!(by(&Requester::Itself, &yes), Is::Pending);
        for wrong in [Class::Router, other] {
            assert_eq!(by(&holder(&certificate, wrong), &yes), Is::Pending);
            let renewal =
                decide(csr, Intention::Renew, &holder(&certificate, wrong), Challenge::Absent, &yes);
            assert_eq!(renewal, Is::Refused(Refusal::OtherClass(wrong, class)));
        }
        assert_eq!(by(&Requester::Vouched { certificate: &certificate }, &yes), Is::Pending);
        let revoked = Requester::Holder { certificate: &certificate, revoked: true, class };
        assert_eq!(by(&revoked, &yes), Is::Refused(Refusal::Revoked));
        let expired = issued(csr, (-10, -1));
        assert_eq!(by(&holder(&expired, class), &yes), Is::Refused(Refusal::NotValidNow));
    }
    // It lets no more CAs stand below it than an operator has granted.
    let limited = |length| {
        let purpose = Purpose::Authority { path_len: length, scep: false };
        request("cn=sub", &[extension::basic_constraints(purpose).to_der().unwrap()])
    };
    for (own, held, asked, granted) in [
        (None, Some(0), None, false),
        (None, Some(0), Some(1), false),
        (None, Some(1), Some(1), true),
        (None, Some(1), Some(0), true),
        (None, None, Some(7), true),
        (None, None, None, true),
        // What it asks for is cut to what the issuer may give.
        (Some(1), Some(0), None, true),
        (Some(2), Some(0), None, false),
    ] {
        let certificate = issued(&limited(held), (-10, 10));
        let holder = holder(&certificate, Class::SubordinateCa);
        let rules = Rules { path_len: own, ..rollover(true, false) };
        let is = decide(&limited(asked), Intention::Renew, &holder, Challenge::Absent, &rules);
        let expected = if granted { Is::Issued(Authorization::Rollover) } else { Is::Pending };
        assert_eq!(is, expected, "{own:?}: {held:?} asks for {asked:?}");
    }
    // It keeps its name.
    let certificate = issued(&request("cn=other", &[basic_constraints(true)]), (-10, 10));
    let other = holder(&certificate, Class::SubordinateCa);
    let is = decide(&sub, Intention::Enroll, &other, Challenge::Absent, &rollover(true, true));
    assert_eq!(is, Is::Pending);
}

#[test]
fn a_subordinate_ca_is_no_device_under_the_same_name() {
    let certificate = issued(&request("cn=sub", &[basic_constraints(true)]), (-10, 10));
    let sub = holder(&certificate, Class::SubordinateCa);
    let device = request("cn=sub", &[]);
    for grant in [Grant::Manual, Grant::RaAuto] {
        let is = decide(&device, Intention::Enroll, &sub, Challenge::Absent, &rules(grant));
        assert_eq!(is, Is::Pending, "{grant:?}");
        let is = decide(&device, Intention::Renew, &sub, Challenge::Absent, &rules(grant));
        assert_eq!(is, Is::Refused(Refusal::OtherClass(Class::SubordinateCa, Class::Router)), "{grant:?}");
    }
}

#[test]
fn an_ra_asks_for_devices_and_for_nobody_else() {
    let certificate = issued(&request("cn=myra,ou=ioscs RA", &[]), (-10, 10));
    let ra = holder(&certificate, Class::Ra);
    let device = request_by(&*CA_KEY, &name("cn=r1"), Hash::Sha256, &[]);
    let by = |csr: &VerifiedCsr, requester: &Requester<'_>, challenge, grant| {
        decide(csr, Intention::Enroll, requester, challenge, &rules(grant))
    };
    for challenge in CHALLENGES {
        // What the device told the RA is not for the CA.
        let is = by(&device, &ra, challenge, Grant::RaAuto);
        assert_eq!(is, Is::Issued(Authorization::Registrar), "{challenge:?}");
        assert_eq!(by(&device, &ra, challenge, Grant::None), Is::Refused(Refusal::Closed));
    }
    assert_eq!(by(&device, &ra, Challenge::Invalid, Grant::Manual), Is::Pending);
    let password = Is::Issued(Authorization::Password(DIGEST));
    assert_eq!(by(&device, &ra, Challenge::Valid(DIGEST), Grant::Manual), password);
    assert_eq!(by(&device, &ra, Challenge::Absent, Grant::Auto), Is::Issued(Authorization::Auto));
    // Neither CAs nor further RAs.
    for csr in [request("cn=sub", &[basic_constraints(true)]), request("cn=r2,ou=ioscs RA", &[])] {
        assert_eq!(by(&csr, &ra, Challenge::Absent, Grant::RaAuto), Is::Pending);
    }
    // RenewalReq is of who holds the certificate renewed.
    let renewal = decide(&device, Intention::Renew, &ra, Challenge::Absent, &rules(Grant::RaAuto));
    assert_eq!(renewal, Is::Refused(Refusal::UnknownSigner));
    // Who only calls itself an RA is none.
    let router = holder(&certificate, Class::Router);
    assert_eq!(by(&device, &router, Challenge::Absent, Grant::RaAuto), Is::Pending);
    assert_eq!(by(&device, &Requester::Itself, Challenge::Absent, Grant::RaAuto), Is::Pending);
    let revoked = Requester::Holder { certificate: &certificate, revoked: true, class: Class::Ra };
    assert_eq!(by(&device, &revoked, Challenge::Absent, Grant::RaAuto), Is::Refused(Refusal::Revoked));
    let expired = issued(&request("cn=myra,ou=ioscs RA", &[]), (-10, -1));
    let expired = holder(&expired, Class::Ra);
    assert_eq!(by(&device, &expired, Challenge::Absent, Grant::RaAuto), Is::Refused(Refusal::NotValidNow));
}

#[test]
fn a_trustpoint_vouches_for_the_names_in_the_certificate() {
    let csr = request("cn=r1", &[dns(&["r1"])]);
    let certificate = issued(&csr, (-10, 10));
    let vouched = Requester::Vouched { certificate: &certificate };
    for intention in [Intention::Enroll, Intention::Renew] {
        for grant in [Grant::Manual, Grant::Auto, Grant::RaAuto] {
            let is = decide(&csr, intention, &vouched, Challenge::Absent, &rules(grant));
            assert_eq!(is, Is::Issued(Authorization::Trustpoint), "{intention:?} {grant:?}");
        }
        let closed = decide(&csr, intention, &vouched, Challenge::Absent, &rules(Grant::None));
        assert_eq!(closed, Is::Refused(Refusal::Closed));
        let expired = issued(&csr, (-10, -1));
        let expired = Requester::Vouched { certificate: &expired };
        let is = decide(&csr, intention, &expired, Challenge::Absent, &rules(Grant::Manual));
        assert_eq!(is, Is::Refused(Refusal::NotValidNow));
    }
    for other in [request("cn=admin", &[]), request("cn=r1", &[dns(&["r1", "admin"])])] {
        let is = decide(&other, Intention::Enroll, &vouched, Challenge::Absent, &rules(Grant::Manual));
        assert_eq!(is, Is::Pending);
        let is = decide(&other, Intention::Renew, &vouched, Challenge::Absent, &rules(Grant::Manual));
        assert_eq!(is, Is::Refused(Refusal::OtherSubject));
    }
}

#[test]
fn a_path_has_an_end() {
    let sub = request("cn=sub", &[basic_constraints(true)]);
    let last = Rules { path_len: Some(0), ..rules(Grant::Manual) };
    assert_eq!(examined(&sub, &last), Is::Refused(Refusal::PathLength));
    assert!(policy::operator_grants(sub.clone(), &last).is_err());
    assert_eq!(examined(&request("cn=r1", &[]), &last), Is::Pending);
    assert_eq!(examined(&sub, &Rules { path_len: Some(1), ..last }), Is::Pending);

    let issuer = name("cn=ca1");
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    for (own, asked, granted) in [
        (None, None, None),
        (None, Some(3), Some(3)),
        (Some(1), None, Some(0)),
        (Some(3), Some(7), Some(2)),
        (Some(3), Some(1), Some(1)),
    ] {
        let facts = IssuerFacts { name: &issuer, key_id: &[1; 20], algorithm, cdp: None, path_len: own };
        let purpose = Purpose::Authority { path_len: asked, scep: false };
        let csr = request("cn=sub", &[extension::basic_constraints(purpose).to_der().unwrap()]);
        let template = Requested::of(&csr).unwrap().template(&facts, now(), now());
        let tbs = template.finalize(&Serial::from(2)).unwrap();
        let signature = CA_KEY.sign(Hash::Sha256, &tbs).unwrap();
        let der = tbs::assemble(&tbs, algorithm, &signature).unwrap();
        let constraints = Certificate::parse(&der).unwrap().extensions().basic_constraints().unwrap();
        assert!(constraints.ca);
        assert_eq!(constraints.path_len, granted, "{own:?} {asked:?}");
    }
}

#[test]
fn devices_are_devices() {
    for (subject, extensions) in [
        ("cn=r1", vec![]),
        ("cn=r1", vec![basic_constraints(false)]),
        ("cn=r1", vec![extension("2.5.29.19", &[0x30, 0])]),
        ("cn=r1", vec![key_usage(KeyUsages::DigitalSignature | KeyUsages::CRLSign)]),
        ("cn=xioscs RA", vec![]),
        ("o=ioscs RA,cn=r1", vec![]),
        // Any purpose, OCSP signing and what nobody knows: not granted, not a reason to refuse.
        ("cn=r1", vec![extension("2.5.29.37", &purposes(&["2.5.29.37.0", "1.3.6.1.5.5.7.3.9", "1.2.3"]))]),
        ("cn=r1", vec![extension("1.2.3.4", b"?")]),
    ] {
        let csr = request(subject, &extensions);
        let decision = policy::decide(
            csr.clone(),
            Intention::Enroll,
            &Requester::Itself,
            Challenge::Absent,
            &rules(Grant::Auto),
            now(),
        );
        let Decision::Issue(approved) = decision else { panic!("{subject}: {decision:?}") };
        assert_eq!(approved.examined().class(), Class::Router);
        // What it gets is a device's, whatever it asked for.
        let certificate = issued(&csr, (0, 1));
        assert!(!certificate.extensions().basic_constraints().unwrap().ca);
        let usage = certificate.extensions().key_usage().unwrap().0;
        assert!(!usage.contains(KeyUsages::KeyCertSign) && !usage.contains(KeyUsages::CRLSign));
        assert!(certificate.extensions().find(&rfc5912::ID_CE_EXT_KEY_USAGE).is_none());
    }
}

fn purposes(oids: &[&str]) -> Vec<u8> {
    forge::sequence(&[&oids.iter().flat_map(|text| forge::oid(text)).collect::<Vec<_>>()])
}

#[test]
fn what_is_weak_is_refused_whoever_asks() {
    let legacy = Rules { rsa_1024: true, ..rules(Grant::Auto) };
    let small = request_by(&TestKey::rsa(1024), &name("cn=r1"), Hash::Sha256, &[]);
    let smaller = Csr::parse(&small_request(768)).unwrap().verify().unwrap();
    assert!(matches!(examined(&small, &rules(Grant::Auto)), Is::Refused(Refusal::WeakKey(_))));
    assert_eq!(examined(&small, &legacy), Is::Issued(Authorization::Auto));
    assert!(matches!(examined(&smaller, &legacy), Is::Refused(Refusal::WeakKey(_))));
    let elliptic = request_by(&EcTestKey::new(), &name("cn=r1"), Hash::Sha256, &[]);
    assert_eq!(examined(&elliptic, &rules(Grant::Auto)), Is::Issued(Authorization::Auto));

    let md5 = request_by(&*KEY, &name("cn=r1"), Hash::Md5, &[]);
    assert_eq!(examined(&md5, &rules(Grant::Auto)), Is::Refused(Refusal::WeakDigest(Hash::Md5)));
    let allowed = Rules { md5: true, ..rules(Grant::Auto) };
    assert_eq!(examined(&md5, &allowed), Is::Issued(Authorization::Auto));
    for hash in [Hash::Sha1, Hash::Sha384, Hash::Sha512] {
        let csr = request_by(&*KEY, &name("cn=r1"), hash, &[]);
        assert_eq!(examined(&csr, &rules(Grant::Auto)), Is::Issued(Authorization::Auto), "{hash:?}");
    }

    // Not even a renewal, a good password or the operator makes them strong.
    let certificate = issued(&small, (-10, 10));
    let holder = holder(&certificate, Class::Router);
    let renewal = decide(&small, Intention::Renew, &holder, Challenge::Valid(DIGEST), &rules(Grant::Auto));
    assert!(matches!(renewal, Is::Refused(Refusal::WeakKey(_))));
    for csr in [small, md5] {
        assert!(policy::operator_grants(csr.clone(), &rules(Grant::Auto)).is_err());
        let everything = Rules { rsa_1024: true, md5: true, ..rules(Grant::None) };
        let approved = policy::operator_grants(csr, &everything).unwrap();
        assert_eq!(
            approved.authorization(),
            Authorization::Operator,
            "`grant none` is not about the operator"
        );
    }
}

/// By OpenSSL: the `rsa` crate makes no such keys.
fn small_request(bits: u32) -> Vec<u8> {
    let key = format!("rsa:{bits}");
    let ran = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-subj", "/CN=r1", "-outform", "DER", "-keyout", "/dev/null"])
        .args(["-newkey", &key])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}

fn examined(csr: &VerifiedCsr, rules: &Rules) -> Is {
    decide(csr, Intention::Enroll, &Requester::Itself, Challenge::Absent, rules)
}

#[test]
fn keys_that_are_none() {
    let modulus: Vec<u8> = SigningKey::public_key(&*KEY).rsa_modulus().unwrap().to_vec();
    let even = [&modulus[..255], &[modulus[255] & 0xfe]].concat();
    for (modulus, exponent) in [(&modulus, &[1][..]), (&modulus, &[2]), (&modulus, &[0]), (&even, &[1, 0, 1])]
    {
        assert!(PublicKey::from_rsa_parts(modulus, exponent).is_err(), "{exponent:?}");
    }
}

#[test]
fn somebody_must_be_named_and_names_must_be_readable() {
    let nobody = Name::from_der(&[0x30, 0]);
    let named = |extensions: &[Vec<u8>]| request_by(&*KEY, &nobody, Hash::Sha256, extensions);
    let refused = Is::Refused(Refusal::Nameless);
    assert_eq!(examined(&named(&[]), &rules(Grant::Auto)), refused);
    // otherName is not for devices: it names nobody.
    assert_eq!(examined(&named(&[alt_names(&[(0x20, &[6, 1, 42])])]), &rules(Grant::Auto)), refused);
    let issued = Is::Issued(Authorization::Auto);
    assert_eq!(examined(&named(&[dns(&["r1"])]), &rules(Grant::Auto)), issued);

    for (id, value) in [
        ("2.5.29.17", &b"?"[..]),
        ("2.5.29.17", &[0x30, 2, 0x82, 5]),
        ("2.5.29.19", &[1, 1, 0xff]),
        ("2.5.29.15", &[3, 0]),
        ("2.5.29.37", &[4, 0]),
    ] {
        let csr = request("cn=r1", &[extension(id, value)]);
        let is = examined(&csr, &rules(Grant::Auto));
        assert!(matches!(is, Is::Refused(Refusal::Malformed(_))), "{id}: {is:?}");
    }
    // An extendedKeyUsage of nothing made another CA panic (CVE-2026-40097).
    examined(&request("cn=r1", &[extension("2.5.29.37", &[0x30, 0])]), &rules(Grant::Auto));
}
