//! One-time passwords: the right one authorizes, once, by whichever client.

mod support;

use support::device::Device;
use support::opinion::Opinion;
use support::scepclient::Scepclient;
use support::strongswan::Strongswan;
use support::{Ca, run};
use tokenca::scep::FailInfo;

#[test]
fn right_wrong_and_reused() {
    let ca = Ca::new(&["crypto legacy des"]);
    let opinion = Opinion::about(&ca);

    // Before any is given out, a challenge tells nothing: the request waits.
    Device::new("CN=early").enrol(&ca, Some("habit")).is_pending();

    let strongswan = Strongswan::new(&ca);
    let password = ca.password();
    strongswan.enrol("wrong", &["--password", "1234"]).exited(1).says("badRequest");
    strongswan.enrol("right", &["--password", &password]).success();
    opinion.approves(&ca, &strongswan.file("right.pem"));

    // The same message again gets the same certificate; another key with the same password gets none.
    let first = std::fs::read(strongswan.file("right.pem")).expect("a certificate");
    strongswan.enrol("right", &["--password", &password]).success();
    assert_eq!(std::fs::read(strongswan.file("right.pem")).expect("a certificate"), first);
    strongswan.enrol("reused", &["--password", &password]).exited(1).says("badRequest");

    // Without one, the request waits as always.
    Device::new("CN=without").enrol(&ca, None).is_pending();

    let scepclient = Scepclient::new(&ca);
    let password = ca.password();
    scepclient.enrol(&["-challenge", &password]).success();
    opinion.approves(&ca, &scepclient.file("cert.pem"));
    Scepclient::new(&ca).enrol(&["-challenge", &password]).exited(1).says("badRequest");
}

#[test]
fn a_new_one_replaces_the_last() {
    let ca = Ca::new(&[]);
    let (first, second) = (ca.password(), ca.password());
    assert_ne!(first, second);
    Device::new("CN=dev1").enrol(&ca, Some(&first)).is_failure(FailInfo::BadRequest);
    Device::new("CN=dev1").enrol(&ca, Some(&second)).certificate();
}

#[test]
fn one_bound_to_a_subject_is_for_that_subject() {
    let mut ca = Ca::new(&[]);
    let password = |name: &str| {
        let words = format!("--json crypto pki server mycs password generate 5 subject {name}");
        let shown = run(ca.program().args(words.split(' '))).success().stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        shown["password"].as_str().expect("a password").to_owned()
    };
    let (one, two) = (password("CN=dev1, O=Example"), password("CN=dev2, O=Example"));
    Device::new("CN=dev2, O=Example").enrol(&ca, Some(&one)).is_failure(FailInfo::BadRequest);
    Device::new("CN=dev1, O=Example").enrol(&ca, Some(&one)).certificate();

    // Passwords outlive a crash.
    ca.kill();
    ca.start();
    Device::new("CN=dev2, O=Example").enrol(&ca, Some(&two)).certificate();
    Device::new("CN=dev2, O=Example").enrol(&ca, Some(&two)).is_failure(FailInfo::BadRequest);
}

#[test]
fn without_a_password_nothing_is_granted_under_grant_none() {
    let ca = Ca::new(&["grant none"]);
    let password = ca.password();
    Device::new("CN=dev1").enrol(&ca, Some(&password)).is_failure(FailInfo::BadRequest);
}
