//! Revocation and CRLs.

use super::*;

pub fn a_certificate_is_revoked_once(db: &dyn Database) {
    let store = db.open();
    let serial = Serial::from(1);
    let revocation = |reason| Revocation { at: NOW.plus(HOUR), reason };
    assert_not_found(store.revoke(CA, &serial, revocation(0)));
    assert_not_found(store.unrevoke(CA, &serial));
    store.intend(new_intent(), None).unwrap();
    assert_not_found(store.revoke(CA, &serial, revocation(0)));
    store.keep(CA, issued(&serial)).unwrap();
    assert_conflict(store.unrevoke(CA, &serial));

    store.revoke(CA, &serial, revocation(6)).unwrap();
    assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().revocation, Some(revocation(6)));
    assert_conflict(store.revoke(CA, &serial, revocation(6)));
    store.unrevoke(CA, &serial).unwrap();
    assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().revocation, None);

    // A hold may end in a revocation, which counts from the hold on.
    store.revoke(CA, &serial, revocation(6)).unwrap();
    let later = Revocation { at: NOW.plus(DAY), reason: 1 };
    store.revoke(CA, &serial, later).unwrap();
    assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().revocation, Some(revocation(1)));
    assert_conflict(store.unrevoke(CA, &serial));
    assert_conflict(store.revoke(CA, &serial, revocation(4)));
    assert_conflict(store.revoke(CA, &serial, revocation(6)));
}

pub fn revoked_certificates_are_listed_per_authority(db: &dyn Database) {
    let store = db.open();
    let old = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let new = store.install(new_authority(Role::Ca, 2), Some(old)).unwrap().id;
    let make = |authority, days: u32, serial| {
        let intent = NewIntent { authority: Some(authority), serial, ..new_intent() };
        let serial = store.intend(intent, None).unwrap().serial;
        store.keep(CA, Issued { not_after: NOW.plus(DAY * days), ..issued(&serial) }).unwrap();
        serial
    };
    let mut expected = Vec::new();
    for n in 0..40 {
        let rule = if n % 2 == 0 { SerialRule::Sequential } else { SerialRule::Random };
        let revocation = Revocation { at: NOW.plus(HOUR * n), reason: 4 };
        let serial = make(old, 10, rule);
        store.revoke(CA, &serial, revocation).unwrap();
        expected.push((serial, revocation));
        make(old, 10, rule); // unrevoked
        let serial = make(new, 10, rule);
        store.revoke(CA, &serial, revocation).unwrap();
        let serial = make(old, 5, rule);
        store.revoke(CA, &serial, revocation).unwrap();
    }
    expected.sort_by(|a, b| a.0.as_be_bytes().len().cmp(&b.0.as_be_bytes().len()).then(a.0.cmp(&b.0)));
    let second = Duration::from_secs(1);
    assert_eq!(unexpired(&*store, old, NOW.plus(DAY * 5).plus(second)), expected);
    assert_eq!(unexpired(&*store, old, NOW.plus(DAY * 5)).len(), 80);
    assert_eq!(unexpired(&*store, old, NOW.plus(DAY * 10).plus(second)), []);
    assert_eq!(unexpired(&*store, new, NOW).len(), 40);
    assert_eq!(unexpired(&*store, new + 100, NOW), []);
    assert_eq!(revoked(&*store, old, Omit::NOTHING).len(), 80);
}

pub fn what_was_on_no_list_stays(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let late = NOW.plus(DAY * 200);
    let revoke = |n: u64| {
        let intent = NewIntent { authority: Some(ca), ..new_intent() };
        let serial = store.intend(intent, None).unwrap().serial;
        store.keep(CA, issued(&serial)).unwrap();
        let before = store.revision(CA).unwrap();
        store.revoke(CA, &serial, Revocation { at: NOW.plus(DAY), reason: 6 }).unwrap();
        assert_eq!((serial, store.revision(CA).unwrap()), (Serial::from(n), before + 1));
        before + 1
    };
    let (first, second) = (revoke(1), revoke(2));
    let listed = |revision| -> Vec<Serial> {
        let omit = Omit { expired_before: late, revision };
        revoked(&*store, ca, omit).into_iter().map(|(serial, _)| serial).collect()
    };
    assert_eq!(listed(first - 1), [1, 2].map(Serial::from));
    assert_eq!(listed(first), [2].map(Serial::from));
    assert_eq!(listed(second), []);
    // What is taken back counts, so that the next list is seen to differ.
    store.unrevoke(CA, &Serial::from(1)).unwrap();
    assert_eq!(store.revision(CA).unwrap(), second + 1);
    store.revoke(CA, &Serial::from(1), Revocation { at: NOW, reason: 1 }).unwrap();
    assert_eq!(listed(second + 1), [1].map(Serial::from));
    assert_eq!(store.revision(OTHER).unwrap(), 0);
    // What changes nothing counts for nothing.
    assert_conflict(store.revoke(CA, &Serial::from(1), Revocation { at: NOW, reason: 1 }));
    assert_not_found(store.revoke(CA, &Serial::from(3), Revocation { at: NOW, reason: 1 }));
    assert_eq!(store.revision(CA).unwrap(), second + 2);
}

pub fn a_hold_may_end_in_revocation(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let intent = NewIntent { authority: Some(ca), ..new_intent() };
    let serial = store.intend(intent, None).unwrap().serial;
    store.keep(CA, issued(&serial)).unwrap();
    let later = NOW.plus(DAY);
    store.revoke(CA, &serial, Revocation { at: NOW, reason: 6 }).unwrap();
    assert_conflict(store.revoke(CA, &serial, Revocation { at: later, reason: 6 }));
    let before = store.revision(CA).unwrap();
    store.revoke(CA, &serial, Revocation { at: later, reason: 1 }).unwrap();
    // It was good at no time between.
    let compromised = Revocation { at: NOW, reason: 1 };
    assert_eq!(revoked(&*store, ca, Omit::NOTHING), [(serial.clone(), compromised)]);
    assert_eq!(store.revision(CA).unwrap(), before + 1);
    assert_conflict(store.unrevoke(CA, &serial));
    assert_conflict(store.revoke(CA, &serial, Revocation { at: later, reason: 6 }));
}

pub fn the_list_is_a_snapshot(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let serials: Vec<Serial> = (0..1000)
        .map(|_| {
            let intent = NewIntent { authority: Some(ca), ..new_intent() };
            let serial = store.intend(intent, None).unwrap().serial;
            store.keep(CA, issued(&serial)).unwrap();
            serial
        })
        .collect();
    let hold = Revocation { at: NOW, reason: 6 };
    serials.iter().step_by(2).for_each(|serial| store.revoke(CA, serial, hold).unwrap());
    let mut seen = Vec::new();
    store
        .revoked(CA, ca, Omit::NOTHING, &mut |serial, _| {
            if seen.is_empty() {
                store.revoke(CA, &serials[501], hold).unwrap();
                store.unrevoke(CA, &serials[998]).unwrap();
                assert_eq!(store.certificate(CA, &serials[501]).unwrap().unwrap().revocation, Some(hold));
            }
            seen.push(serial.clone());
        })
        .unwrap();
    assert!(seen.iter().eq(serials.iter().step_by(2)));
    assert_eq!(revoked(&*store, ca, Omit::NOTHING).len(), 500);
}

pub fn crl_numbers_ascend(db: &dyn Database) {
    let store = db.open();
    let crl = |authority, number, byte| crl(authority, number, &[byte; 30]);
    assert_not_found(store.keep_crl(CA, crl(1, 1, 1)));
    let old = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let new = store.install(new_authority(Role::Ca, 2), Some(old)).unwrap().id;
    assert_eq!(store.crl(CA, old).unwrap(), None);
    store.keep_crl(CA, crl(old, 5, 1)).unwrap();
    assert_conflict(store.keep_crl(CA, crl(old, 5, 2)));
    assert_conflict(store.keep_crl(CA, crl(old, 4, 2)));
    assert_eq!(store.crl(CA, old).unwrap(), Some(crl(old, 5, 1)));
    store.keep_crl(CA, crl(old, 6, 3)).unwrap();
    store.keep_crl(CA, crl(new, 1, 4)).unwrap();
    assert_eq!(store.crl(CA, old).unwrap(), Some(crl(old, 6, 3)));
    assert_eq!(store.crl(CA, new).unwrap(), Some(crl(new, 1, 4)));
    assert_eq!(store.crl(OTHER, old).unwrap(), None);
}

pub fn a_long_crl_is_kept_whole(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let ca = stores[0].install(new_authority(Role::Ca, 1), None).unwrap().id;
    assert_eq!(stores[0].crl_facts(CA, ca).unwrap(), None);
    let octets =
        |len: usize, seed: usize| (0..len).map(|i| ((i * 7919 + seed) >> 3) as u8).collect::<Vec<_>>();
    // Longer, shorter, longer again: what is left of one is not in the next.
    for (number, len) in [(1, 3_000_000), (2, 10), (3, 5_000_001)] {
        let long = Crl { revision: number * 10, ..crl(ca, number, &octets(len, len)) };
        stores[0].keep_crl(CA, long.clone()).unwrap();
        let facts = stores[1].crl_facts(CA, ca).unwrap().unwrap();
        let expected = CrlFacts {
            number,
            this_update: long.this_update,
            next_update: long.next_update,
            revision: number * 10,
            size: len as u64,
        };
        assert_eq!(facts, expected);
        assert!(stores[1].crl(CA, ca).unwrap() == Some(long), "{number}");
    }
}
