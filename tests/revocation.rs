//! CRLs and OCSP responses that OpenSSL makes: what they say, and when they do not count.

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use tokenca::pki::crl::Crl;
use tokenca::pki::ocsp::{Answer, OcspFault, Question};
use tokenca::pki::path::{Legacy, Rules};
use tokenca::pki::{Serial, Standing, Time};

use support::openssl_pki::{CA, DEVICE, OpensslPki};
use support::run;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Time {
    Time::now()
}

#[test]
fn a_crl_is_of_its_issuer_and_of_now() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.root("other", "/CN=other");
    pki.root("false", "/CN=root");
    pki.issue("mute", "/CN=mute", "mute", &CA.replace(",cRLSign", ""), &[]);
    let root = pki.certificate("root");
    let rules = Rules::at(now());
    let crl = Crl::parse(pki.crl("root", &[7, 300], &[])).unwrap();
    crl.check_issuer(&root, &rules).unwrap();
    let fault = |name: &str| crl.check_issuer(&pki.certificate(name), &rules).unwrap_err().to_string();
    assert_eq!(fault("other"), "it is the CRL of cn=root");
    assert_eq!(fault("false"), "it is of another key of the CA");
    let mute = Crl::parse(pki.crl("mute", &[], &[])).unwrap();
    let said = mute.check_issuer(&pki.certificate("mute"), &rules).unwrap_err().to_string();
    assert!(said.contains("lacks cRLSign"), "{said}");

    assert!(matches!(crl.standing(&Serial::from(7)), Standing::Revoked { reason: 1, .. }));
    assert!(matches!(crl.standing(&Serial::from(300)), Standing::Revoked { .. }));
    assert_eq!(crl.standing(&Serial::from(8)), Standing::Good);

    crl.check_current(now()).unwrap();
    let said = |at| crl.check_current(at).unwrap_err().to_string();
    assert!(said(now().minus(DAY)).contains("is yet to come"));
    assert!(said(now().plus(8 * DAY)).contains("it is out of date since"));

    let weak = Crl::parse(pki.crl("root", &[], &["-md", "sha1"])).unwrap();
    let said = weak.check_issuer(&root, &rules).unwrap_err().to_string();
    assert!(said.contains("sha1, which is too weak"), "{said}");
    let legacy = Legacy { sha1: true, ..Legacy::default() };
    weak.check_issuer(&root, &Rules { legacy, ..rules }).unwrap();
}

#[test]
fn a_crl_that_is_not_complete_is_none() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    for (extensions, oid) in [("idp", "2.5.29.28"), ("delta", "2.5.29.27")] {
        let error = Crl::parse(pki.crl("root", &[], &["-crlexts", extensions])).unwrap_err().to_string();
        assert!(error.contains(oid), "{error}");
    }
}

/// What OpenSSL answers to the question about this certificate of `root`, and what we make of it.
fn ask(pki: &OpensslPki, name: &str, arguments: &[&str], rules: &Rules) -> Result<Answer, OcspFault> {
    let (certificate, root) = (pki.certificate(name), pki.certificate("root"));
    let question = Question::new(&certificate, &root, Some([7; 32]));
    let file = |name: &str| pki.file(name).to_str().unwrap().to_owned();
    fs::write(file("request"), question.to_der()).unwrap();
    let text = run(Command::new("openssl").args(["ocsp", "-reqin", &file("request"), "-req_text"])).success();
    assert!(text.stdout.contains("OCSP Nonce"), "{}", text.stdout);
    run(Command::new("openssl")
        .args(["ocsp", "-reqin", &file("request"), "-respout", &file("response")])
        .args(["-index", &file("index"), "-CA", &file("root.pem")])
        .args(arguments.iter().map(|argument| match argument.strip_prefix('@') {
            Some(name) => file(name),
            None => (*argument).to_owned(),
        })))
    .success();
    question.answer(&fs::read(file("response")).unwrap(), rules)
}

const BY_ROOT: [&str; 4] = ["-rsigner", "@root.pem", "-rkey", "@root.key"];

#[test]
fn a_responder_says_what_it_knows() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.issue("good", "/CN=good", "root", DEVICE, &["-set_serial", "200"]);
    pki.issue("revoked", "/CN=revoked", "root", DEVICE, &["-set_serial", "201"]);
    pki.issue("unknown", "/CN=unknown", "root", DEVICE, &["-set_serial", "900"]);
    pki.index(&[201]);
    let rules = Rules::at(now());
    let standing = |name: &str| ask(&pki, name, &BY_ROOT, &rules).unwrap().standing;
    assert_eq!(standing("good"), Some(Standing::Good));
    assert!(matches!(standing("revoked"), Some(Standing::Revoked { reason: 1, .. })));
    assert_eq!(standing("unknown"), None);

    // One that is signed by the key that it names, and one that is over other digests.
    let by_key = [&BY_ROOT[..], &["-resp_key_id", "-rmd", "sha384"]].concat();
    assert_eq!(ask(&pki, "good", &by_key, &rules).unwrap().standing, Some(Standing::Good));
    let weak = [&BY_ROOT[..], &["-rmd", "sha1"]].concat();
    assert_eq!(
        ask(&pki, "good", &weak, &rules).unwrap_err(),
        OcspFault::WeakDigest(tokenca::pki::Hash::Sha1)
    );
}

#[test]
fn an_answer_is_of_now_and_to_this_question() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.issue("good", "/CN=good", "root", DEVICE, &["-set_serial", "200"]);
    pki.issue("next", "/CN=next", "root", DEVICE, &["-set_serial", "201"]);
    pki.index(&[]);
    let timed = [&BY_ROOT[..], &["-ndays", "2"]].concat();
    let at = |now| ask(&pki, "good", &timed, &Rules::at(now));
    at(now()).unwrap();
    at(now().plus(DAY)).unwrap();
    assert!(matches!(at(now().plus(3 * DAY)), Err(OcspFault::Expired(_))));
    assert!(matches!(at(now().minus(DAY)), Err(OcspFault::NotYet(_))));

    // The answer to another question, or the same at another time.
    ask(&pki, "good", &timed, &Rules::at(now())).unwrap();
    let response = fs::read(pki.file("response")).unwrap();
    let (good, next, root) = (pki.certificate("good"), pki.certificate("next"), pki.certificate("root"));
    let rules = Rules::at(now());
    let about =
        |certificate, nonce| Question::new(certificate, &root, Some([nonce; 32])).answer(&response, &rules);
    about(&good, 7).unwrap();
    assert_eq!(about(&good, 8), Err(OcspFault::OtherNonce));
    assert_eq!(about(&next, 7), Err(OcspFault::OtherQuestion));

    // Without a nonce the time is all there is to go by.
    let file = |name: &str| pki.file(name).to_str().unwrap().to_owned();
    for (arguments, at, good) in [
        (&timed[..], DAY, true),
        (&timed[..], 3 * DAY, false),
        (&BY_ROOT[..], Duration::ZERO, true),
        (&BY_ROOT[..], DAY, false),
    ] {
        let arguments = arguments.iter().map(|argument| match argument.strip_prefix('@') {
            Some(name) => file(name),
            None => (*argument).to_owned(),
        });
        run(Command::new("openssl")
            .args(["ocsp", "-no_nonce", "-issuer", &file("root.pem"), "-cert", &file("good.pem")])
            .args(["-reqout", &file("plain")]))
        .success();
        run(Command::new("openssl")
            .args(["ocsp", "-reqin", &file("plain"), "-respout", &file("response")])
            .args(["-index", &file("index"), "-CA", &file("root.pem")])
            .args(arguments))
        .success();
        let response = fs::read(file("response")).unwrap();
        let certificate = pki.certificate("good");
        let answer =
            Question::new(&certificate, &root, Some([7; 32])).answer(&response, &Rules::at(now().plus(at)));
        assert_eq!(answer.is_ok(), good, "{answer:?} after {at:?}");
    }
}

#[test]
fn only_who_may_speaks_for_the_ca() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.root("stranger", "/CN=stranger");
    pki.root("false", "/CN=root");
    pki.issue("good", "/CN=good", "root", DEVICE, &["-set_serial", "200"]);
    pki.issue("sub", "/CN=sub", "root", CA, &[]);
    let responder = format!("{DEVICE}extendedKeyUsage=OCSPSigning\nnoCheck=ignored\n");
    pki.issue("responder", "/CN=responder", "root", &responder, &["-days", "30"]);
    pki.issue("device", "/CN=device", "root", DEVICE, &[]);
    pki.issue("below", "/CN=below", "sub", &responder, &[]);
    let wrong = responder.replace("digitalSignature", "keyEncipherment");
    pki.issue("wrong", "/CN=wrong", "root", &wrong, &[]);
    pki.index(&[]);
    let by = |name: &str, at: Time| {
        let (certificate, key) = (format!("@{name}.pem"), format!("@{name}.key"));
        let arguments = ["-rsigner", &certificate, "-rkey", &key, "-ndays", "60"];
        ask(&pki, "good", &arguments, &Rules::at(at))
    };
    let answer = by("responder", now()).unwrap();
    assert_eq!((answer.standing, answer.responder), (Some(Standing::Good), None));
    assert_eq!(by("root", now()).unwrap().responder, None);
    // Unless the CA says that nobody need ask, it is for the caller to know whether it was revoked.
    pki.issue("asked", "/CN=asked", "root", &responder.replace("noCheck=ignored\n", ""), &[]);
    assert_eq!(by("asked", now()).unwrap().responder, Some(pki.certificate("asked")));
    assert!(matches!(by("responder", now().plus(40 * DAY)), Err(OcspFault::Responder(_))));
    assert!(matches!(by("device", now()), Err(OcspFault::NoResponder(_))));
    assert!(matches!(by("wrong", now()), Err(OcspFault::NoResponder(_))));
    // What the CA below may sign is not for the certificates of the root.
    assert!(matches!(by("below", now()), Err(OcspFault::Responder(_))));
    assert!(matches!(by("stranger", now()), Err(OcspFault::Responder(_))));
    assert!(matches!(by("false", now()), Err(OcspFault::Responder(_))));
}

#[test]
fn what_is_no_answer_is_none() {
    let pki = OpensslPki::new();
    pki.root("root", "/CN=root");
    pki.issue("good", "/CN=good", "root", DEVICE, &["-set_serial", "200"]);
    pki.index(&[]);
    ask(&pki, "good", &BY_ROOT, &Rules::at(now())).unwrap();
    let response = fs::read(pki.file("response")).unwrap();
    let (certificate, root) = (pki.certificate("good"), pki.certificate("root"));
    let question = Question::new(&certificate, &root, Some([7; 32]));
    let rules = Rules::at(now());
    for (status, words) in [(1, "malformedRequest"), (3, "tryLater"), (6, "unauthorized"), (9, "status 9")] {
        let error = question.answer(&[0x30, 3, 10, 1, status], &rules).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for length in 0..response.len() {
        assert!(question.answer(&response[..length], &rules).is_err());
    }
    for at in 0..response.len() {
        let mut bent = response.clone();
        bent[at] ^= 0x11;
        // The certificates that came along are needed for nothing here.
        if let Ok(answer) = question.answer(&bent, &rules) {
            assert_eq!(answer.standing, Some(Standing::Good), "octet {at}");
        }
    }
}
