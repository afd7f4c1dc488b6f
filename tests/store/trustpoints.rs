//! Trustpoints: their certificates, and what they have asked for.

use super::*;

pub fn a_trustpoint_has_its_certificates(db: &dyn Database) {
    let store = db.open();
    let certificate = |trustpoint: &str, kind, serial: u64| TrustedCertificate {
        trustpoint: trustpoint.into(),
        kind,
        serial: Serial::from(serial),
        der: vec![serial as u8; 40],
        token: None,
        key_label: None,
    };
    let ca = certificate("upper", TrustedKind::Ca, 300);
    let other = certificate("upper", TrustedKind::Ca, 2);
    let own = TrustedCertificate {
        token: Some("usbtoken0".into()),
        key_label: Some("upper".into()),
        ..certificate("upper", TrustedKind::Own, 2)
    };
    let elsewhere = certificate("lower", TrustedKind::Ca, 2);
    for new in [&own, &ca, &elsewhere, &other] {
        store.trust(new.clone()).unwrap();
    }
    assert_eq!(store.trusted("upper").unwrap(), [other.clone(), ca.clone(), own.clone()]);
    assert_eq!(store.trusted("none").unwrap(), []);

    // The CA above has the same number.
    let above = TrustedCertificate { der: vec![7; 10], ..other.clone() };
    let moved = TrustedCertificate { key_label: Some("elsewhere".into()), ..other.clone() };
    for new in [&above, &moved] {
        store.trust(new.clone()).unwrap();
    }
    assert_eq!(store.trusted("upper").unwrap(), [moved, above.clone(), ca.clone(), own.clone()]);

    for (which, gone) in [(&other, 1), (&other, 0), (&elsewhere, 0)] {
        assert_eq!(store.distrust("upper", Some(which)).unwrap(), gone);
    }
    assert_eq!(store.trusted("upper").unwrap(), [above, ca, own]);
    assert_eq!(store.distrust("upper", None).unwrap(), 3);
    assert_eq!(db.open().trusted("upper").unwrap(), []);
    assert_eq!(store.trusted("lower").unwrap(), [elsewhere]);
}

fn trusted(kind: TrustedKind, serial: u64, der: &[u8]) -> TrustedCertificate {
    TrustedCertificate {
        trustpoint: "upper".into(),
        kind,
        serial: Serial::from(serial),
        der: der.to_vec(),
        token: None,
        key_label: None,
    }
}

fn request(kind: TrustedKind) -> UpperRequest {
    UpperRequest::making("upper", kind, ("usbtoken0".into(), "upper#2".into(), true), NOW)
}

pub fn cas_above_each_other_may_have_one_number(db: &dyn Database) {
    let store = db.open();
    let chain: Vec<_> = [b"sub", b"top"].map(|der| trusted(TrustedKind::Ca, 2, der)).to_vec();
    store.trust(trusted(TrustedKind::Ca, 9, b"old")).unwrap();
    store.trust(trusted(TrustedKind::Own, 9, b"own")).unwrap();
    store.trust_all("upper", &[TrustedKind::Ca, TrustedKind::Ra], chain.clone()).unwrap();
    let own = trusted(TrustedKind::Own, 9, b"own");
    assert_eq!(store.trusted("upper").unwrap(), [&chain[..], &[own]].concat());
}

pub fn what_is_next_takes_its_place_in_one_step(db: &dyn Database) {
    use TrustedKind::{Ca, NextCa, NextOwn, Own, OwnEncryption, Ra};
    let store = db.open();
    assert!(matches!(store.promote("upper"), Err(StoreError::NotFound)));
    let now = [
        trusted(Ca, 1, b"ca"),
        trusted(Own, 7, b"own"),
        trusted(OwnEncryption, 8, b"encr"),
        trusted(Ra, 3, b"ra"),
    ];
    now.iter().for_each(|certificate| store.trust(certificate.clone()).unwrap());
    assert!(matches!(store.promote("upper"), Err(StoreError::NotFound)));
    assert_eq!(store.trusted("upper").unwrap(), now);

    store.trust(trusted(NextCa, 1, b"next ca")).unwrap();
    let key = |certificate| TrustedCertificate { key_label: Some("upper#2".into()), ..certificate };
    store.trust(key(trusted(NextOwn, 2, b"next own"))).unwrap();
    store.promote("upper").unwrap();
    let after = [
        trusted(Ca, 1, b"next ca"),
        key(trusted(Own, 2, b"next own")),
        // No other has come for it.
        trusted(OwnEncryption, 8, b"encr"),
    ];
    assert_eq!(db.open().trusted("upper").unwrap(), after);
}

pub fn a_request_is_followed_to_its_end(db: &dyn Database) {
    let store = db.open();
    let made = request(TrustedKind::Own);
    store.begin_request(made.clone()).unwrap();
    assert!(matches!(store.begin_request(made.clone()), Err(StoreError::Conflict)));
    store.begin_request(request(TrustedKind::NextOwn)).unwrap();
    let sent = UpperRequest {
        phase: UpperPhase::Pending,
        csr: vec![0x30, 1],
        transaction: b"t/1".to_vec(),
        signer: vec![0x30, 2],
        signer_key: Some(("usbtoken0".into(), "upper".into())),
        tries: 3,
        failures: 1,
        next_try: NOW.plus(HOUR),
        error: Some("no answer".into()),
        ..made.clone()
    };
    store.advance_request(&made, &sent).unwrap();
    assert_eq!(db.open().requests("upper").unwrap(), [request(TrustedKind::NextOwn), sent.clone()]);

    store.trust(trusted(TrustedKind::Own, 1, b"before")).unwrap();
    store.trust(trusted(TrustedKind::Ca, 1, b"ca")).unwrap();
    let issued = trusted(TrustedKind::Own, 2, b"issued");
    store.finish_request(&sent, vec![issued.clone()]).unwrap();
    assert_eq!(store.trusted("upper").unwrap(), [trusted(TrustedKind::Ca, 1, b"ca"), issued]);
    assert_eq!(store.requests("upper").unwrap(), [request(TrustedKind::NextOwn)]);
    store.cancel_request("upper", TrustedKind::NextOwn).unwrap();
    assert!(matches!(store.cancel_request("upper", TrustedKind::NextOwn), Err(StoreError::NotFound)));
    assert_eq!(db.open().requests("upper").unwrap(), []);
}

pub fn a_request_that_has_changed_is_left_alone(db: &dyn Database) {
    let store = db.open();
    let made = request(TrustedKind::Own);
    let other = UpperRequest { tries: 1, ..made.clone() };
    assert!(matches!(store.advance_request(&made, &other), Err(StoreError::Conflict)));
    store.begin_request(made.clone()).unwrap();
    assert!(matches!(store.advance_request(&other, &other), Err(StoreError::Conflict)));
    let issued = vec![trusted(TrustedKind::Own, 2, b"issued")];
    assert!(matches!(store.finish_request(&other, issued), Err(StoreError::Conflict)));
    assert_eq!(store.requests("upper").unwrap(), std::slice::from_ref(&made));
    assert_eq!(store.trusted("upper").unwrap(), []);
    // Of many who have seen the same one gets on.
    let won = crowd(8, |i| {
        let mine = UpperRequest { tries: 2 + i as u32, ..made.clone() };
        db.open().advance_request(&made, &mine).is_ok()
    });
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
}

pub fn requests_go_with_their_trustpoint(db: &dyn Database) {
    let store = db.open();
    store.begin_request(request(TrustedKind::Own)).unwrap();
    let other = UpperRequest { trustpoint: "lower".into(), ..request(TrustedKind::Own) };
    store.begin_request(other.clone()).unwrap();
    assert_eq!(store.distrust("upper", None).unwrap(), 0);
    assert_eq!(store.requests("upper").unwrap(), []);
    assert_eq!(store.requests("lower").unwrap(), [other]);
}
