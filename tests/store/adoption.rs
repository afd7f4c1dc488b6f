//! Taking another CA over.

use super::*;

pub fn an_adopted_ca_goes_on(db: &dyn Database) {
    let store = db.open();
    let held = Revocation { at: NOW.minus(DAY), reason: 6 };
    let authority = store
        .adopt(Adoption {
            certificates: vec![
                whole(1, &new_authority(Role::Ca, 1).certificate),
                whole(2, b"second"),
                part(3, Some("hostname=r3")),
                Adopted { revocation: Some(held), ..part(4, None) },
            ],
            crl: Some(crl(77, 9, b"the last CRL")),
            ..adoption(6)
        })
        .unwrap();
    let expected = Authority {
        id: authority.id,
        role: Role::Ca,
        token: "usbtoken0".into(),
        key_label: "key 1".into(),
        certificate: vec![1; 40],
        phase: Phase::Active,
    };
    assert_eq!(authority, expected);
    assert_eq!(store.authorities(CA).unwrap(), [expected]);

    // Known whole, in part, by number only, and not at all.
    let own = store.certificate(CA, &Serial::from(1)).unwrap().unwrap();
    assert_eq!((own.authority, own.der), (None, vec![1; 40]));
    let second = store.certificate(CA, &Serial::from(2)).unwrap().unwrap();
    assert_eq!((second.authority, second.der.as_slice()), (Some(authority.id), &b"second"[..]));
    assert_eq!(store.certificates(CA, None, 10).unwrap(), [own_again(&*store), second]);
    let unknown = Record {
        serial: Serial::from(5),
        authority: Some(authority.id),
        enrollment: None,
        class: None,
        der: None,
        subject: None,
        key: None,
        not_before: None,
        not_after: None,
        revocation: None,
    };
    assert_eq!(store.record(CA, &Serial::from(5)).unwrap(), Some(unknown.clone()));
    let third = Record {
        serial: Serial::from(3),
        subject: Some("hostname=r3".into()),
        not_after: Some(NOW.plus(DAY * 100)),
        ..unknown.clone()
    };
    assert_eq!(store.record(CA, &Serial::from(3)).unwrap(), Some(third));
    let fourth = Record {
        serial: Serial::from(4),
        not_after: Some(NOW.plus(DAY * 100)),
        revocation: Some(held),
        ..unknown
    };
    assert_eq!(store.record(CA, &Serial::from(4)).unwrap(), Some(fourth));
    assert_eq!(store.certificate(CA, &Serial::from(3)).unwrap(), None);
    assert_eq!(store.record(CA, &Serial::from(7)).unwrap(), None);
    assert_eq!(store.unfinished(CA).unwrap(), []);

    // Its CRL and its numbers go on.
    let facts = store.crl_facts(CA, authority.id).unwrap().unwrap();
    assert_eq!((facts.number, facts.revision), (9, store.revision(CA).unwrap()));
    assert_eq!(&store.crl(CA, authority.id).unwrap().unwrap().der[..], b"the last CRL");
    assert_conflict(store.keep_crl(CA, crl(authority.id, 9, b"another")));
    assert_eq!(revoked(&*store, authority.id, Omit::NOTHING), [(Serial::from(4), held)]);
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(6)));
    assert_eq!(store.intend(new_intent(), None).unwrap().serial, Serial::from(7));
    // An intent is no certificate, and one given up never becomes one.
    assert_eq!(store.record(CA, &Serial::from(7)).unwrap(), None);
    store.abandon(CA, &Serial::from(7), NOW).unwrap();
    assert_eq!(store.record(CA, &Serial::from(7)).unwrap(), None);
    assert_conflict(store.keep(CA, issued(&Serial::from(4))));
}

pub fn an_adopted_ca_is_the_first(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap();
    assert_conflict(store.adopt(adoption(3)));
    store.install(new_authority(Role::Ca, 2), Some(ca.id)).unwrap();
    assert_conflict(store.adopt(adoption(3)));
    store.delete_server(CA).unwrap();
    let role = |role| Adoption { authority: new_authority(role, 1), ..adoption(3) };
    assert_conflict(store.adopt(role(Role::RaSign)));
    // What an interrupted founding has left is in nobody's way.
    assert_eq!(store.intend(new_intent(), None).unwrap().serial, Serial::from(1));
    store.keep(CA, issued(&Serial::from(1))).unwrap();
    store.intend(new_intent(), None).unwrap();
    let theirs = Adoption { certificates: vec![whole(1, b"theirs")], ..adoption(3) };
    store.adopt(theirs).unwrap();
    assert_eq!(store.certificate(CA, &Serial::from(1)).unwrap().unwrap().der, b"theirs");
    assert_eq!(store.unfinished(CA).unwrap(), []);
    assert_conflict(store.adopt(adoption(3)));
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(3)));
    assert_eq!(store.last_serial(OTHER).unwrap(), None);
}

pub fn what_is_known_twice_is_one(db: &dyn Database) {
    let store = db.open();
    let (first, second) = (Revocation { at: NOW, reason: 1 }, Revocation { at: NOW, reason: 4 });
    let certificates = vec![
        part(2, Some("by name")),
        Adopted { revocation: Some(first), not_after: None, ..part(2, None) },
        whole(3, b"third"),
        Adopted { revocation: Some(second), ..part(3, Some("by name")) },
        Adopted { subject: Some("later".into()), revocation: Some(second), ..part(2, None) },
        // Its file of the last number was older than this.
        part(300, None),
    ];
    store.adopt(Adoption { certificates, ..adoption(7) }).unwrap();
    let two = store.record(CA, &Serial::from(2)).unwrap().unwrap();
    assert_eq!((two.subject.as_deref(), two.revocation), (Some("by name"), Some(first)));
    assert_eq!(two.not_after, Some(NOW.plus(DAY * 100)));
    let three = store.certificate(CA, &Serial::from(3)).unwrap().unwrap();
    assert_eq!((three.subject.as_str(), three.revocation), ("CN=r3", Some(second)));
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(300)));
    assert_eq!(store.intend(new_intent(), None).unwrap().serial, Serial::from(301));
}

pub fn unknown_certificates_of_an_adopted_ca_are_revoked(db: &dyn Database) {
    let store = db.open();
    let ca = store.adopt(adoption(1000)).unwrap().id;
    let hold = Revocation { at: NOW, reason: 6 };
    let unknown = Serial::from(500);
    assert_conflict(store.unrevoke(CA, &unknown));
    store.revoke(CA, &unknown, hold).unwrap();
    assert_conflict(store.revoke(CA, &unknown, hold));
    assert_eq!(store.record(CA, &unknown).unwrap().unwrap().revocation, Some(hold));
    // Nobody knows when it expires: it is listed for ever.
    assert_eq!(unexpired(&*store, ca, Time::from_unix(1 << 40)), [(unknown.clone(), hold)]);
    store.unrevoke(CA, &unknown).unwrap();
    assert_eq!(revoked(&*store, ca, Omit::NOTHING), []);
    store.revoke(CA, &unknown, hold).unwrap();
    assert_eq!(revoked(&*store, ca, Omit::NOTHING), [(unknown, hold)]);

    assert_not_found(store.revoke(CA, &Serial::from(1001), hold));
    store.intend(new_intent(), None).unwrap();
    assert_not_found(store.revoke(CA, &Serial::from(1001), hold));
    assert_not_found(store.revoke(OTHER, &Serial::from(1), hold));
    assert_eq!(store.certificates(CA, None, 10).unwrap(), []);
}

pub fn random_numbers_of_an_adopted_ca(db: &dyn Database) {
    let store = db.open();
    let last = Serial::from_be_bytes(&[0x40; 16]);
    let known = Adopted { serial: last.clone(), ..whole(1, b"known") };
    let certificates = vec![known];
    store.adopt(Adoption { last_serial: last.clone(), certificates, ..adoption(0) }).unwrap();
    let random = || NewIntent { serial: SerialRule::Random, ..new_intent() };
    let ours: Vec<Serial> = (0..50).map(|_| store.intend(random(), None).unwrap().serial).collect();
    for serial in &ours {
        assert_eq!(serial.as_be_bytes().len(), 16);
        // Given out here, so not theirs.
        assert_eq!(store.record(CA, serial).unwrap(), None);
    }
    // A higher number than the last may be theirs all the same.
    let higher = Serial::from_be_bytes(&[0x41; 16]);
    assert!(store.record(CA, &higher).unwrap().is_some());
    store.revoke(CA, &higher, Revocation { at: NOW, reason: 1 }).unwrap();
    let next = store.intend(new_intent(), None).unwrap().serial;
    assert!(next > last, "{next}");
}

pub fn an_adoption_is_whole_or_nothing(db: &dyn Database) {
    let store = db.open();
    let broken = Adopted { key: None, ..whole(2, b"without its key") };
    let certificates = vec![whole(1, b"sound"), broken, part(3, None)];
    let last_crl = Some(crl(0, 4, b"last"));
    let adopted = store.adopt(Adoption { certificates, crl: last_crl, ..adoption(9) });
    assert!(matches!(adopted, Err(StoreError::Corrupt(_))), "{adopted:?}");
    assert_eq!(store.authorities(CA).unwrap(), []);
    assert_eq!(store.record(CA, &Serial::from(1)).unwrap(), None);
    assert_eq!(store.last_serial(CA).unwrap(), None);
    store.adopt(adoption(9)).unwrap();
}

fn own_again(store: &dyn Store) -> Certificate {
    store.certificate(CA, &Serial::from(1)).unwrap().unwrap()
}

/// Without certificates and CRL.
fn adoption(last_serial: u64) -> Adoption {
    Adoption {
        authority: new_authority(Role::Ca, 1),
        certificates: Vec::new(),
        last_serial: Serial::from(last_serial),
        crl: None,
        now: NOW,
    }
}

fn whole(serial: u64, der: &[u8]) -> Adopted {
    Adopted {
        der: Some(der.to_vec()),
        subject: Some(format!("CN=r{serial}")),
        key: Some(digest(serial)),
        not_before: Some(NOW.minus(DAY)),
        ..part(serial, None)
    }
}

/// As far as a file with a name and the end of validity tells.
fn part(serial: u64, subject: Option<&str>) -> Adopted {
    Adopted {
        serial: Serial::from(serial),
        der: None,
        subject: subject.map(str::to_owned),
        key: None,
        not_before: None,
        not_after: Some(NOW.plus(DAY * 100)),
        revocation: None,
    }
}
