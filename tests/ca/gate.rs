//! Issuing is suspended and resumed.

use super::*;
use tokenca::store::State;

#[test]
fn nothing_is_issued_while_it_is_suspended() {
    let lab = Lab::founded(settings());
    let meter = Meter::new();
    let device = DEVICE_KEY.public_key().fingerprint();
    let before = lab.issue("CN=before", NOW);
    let waiting = pend(&lab, "CN=waiting");
    // Recorded but not signed, as a lost token leaves it.
    let lost = pend(&lab, "CN=lost");
    lab.store.intend(intent(&lab), Some((lost, State::Pending))).expect("an intent");
    let last = lab.store.last_serial(LABEL).unwrap();

    lab.ca().suspend("the CRL cannot be published");
    // The server is configured anew: another CA behind the same gate.
    let ca = lab.ca();
    suspended(ca.issue(approved("CN=r1"), application("CN=r1"), &meter, NOW));
    suspended(ca.grant(waiting, &meter, NOW));
    suspended(ca.poll(b"CN=lost", &device, None, &meter, NOW));
    assert_eq!(ca.recover(&meter, NOW).unwrap(), 0);
    assert_eq!(lab.store.last_serial(LABEL).unwrap(), last);
    assert_eq!(lab.store.enrollments(LABEL, 0, 10).unwrap().len(), 3);
    assert_eq!(meter.take(), store::Cost::default());

    // The rest goes on.
    pend(&lab, "CN=r2");
    let polled = ca.poll(b"CN=before", &device, None, &meter, NOW).unwrap();
    assert_eq!(issued(Ok(polled.expect("it was granted"))), before);
    ca.revoke(before.serial(), 1, NOW).unwrap();
    assert_eq!(ca.issue_crl(&meter, NOW).unwrap().number, 1);
    ca.reject(waiting, NOW).unwrap();

    ca.resume();
    assert_eq!(lab.ca().recover(&meter, NOW).unwrap(), 1);
    lab.issue("CN=r1", NOW);
}

#[test]
fn the_reason_is_told() {
    let gate = Gate::default();
    assert_eq!(gate.reason(), None);
    gate.suspend("first");
    gate.suspend("second");
    assert_eq!(gate.reason().as_deref(), Some("second"));
    gate.resume();
    gate.resume();
    assert_eq!(gate.reason(), None);
}

/// The ReqID of a request that waits.
fn pend(lab: &Lab, subject: &str) -> u64 {
    let rules = Rules { grant: Grant::Manual, ..settings().rules };
    let (requester, challenge) = (policy::Requester::Itself, policy::Challenge::Absent);
    let decision =
        policy::decide(request(subject), policy::Intention::Enroll, &requester, challenge, &rules, NOW);
    let policy::Decision::Pend(examined) = decision else { panic!("{decision:?}") };
    match lab.ca().pend(&examined, application(subject), &Meter::new(), NOW) {
        Ok(Outcome::Pending(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn intent(lab: &Lab) -> store::NewIntent {
    let authority = lab.authority();
    let certificate = Certificate::parse(&authority.certificate).expect("a certificate");
    let (ca, requested) = (name(CA_NAME), Requested::of(&request("CN=lost")).expect("a request"));
    let facts = IssuerFacts {
        name: &ca,
        key_id: &certificate.key_identifier(),
        algorithm: SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        cdp: None,
        path_len: None,
    };
    let template = requested.template(&facts, NOW, NOW.plus(DAY));
    store::NewIntent {
        server: LABEL.into(),
        authority: Some(authority.id),
        serial: SerialRule::Sequential,
        tbs: Box::new(move |serial| template.finalize(serial).expect("it encodes")),
        now: NOW,
    }
}

#[track_caller]
fn suspended<T: std::fmt::Debug>(result: Result<T, CaError>) {
    let error = result.expect_err("issuing is suspended");
    assert_eq!(error.to_string(), "nothing is issued now: the CRL cannot be published");
}
