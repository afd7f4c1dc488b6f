//! Serial numbers, intents and certificates.

use super::*;

pub fn an_intent_authorizes_its_enrollment(db: &dyn Database) {
    let store = db.open();
    let id = store.submit(request(1)).unwrap().enrollment.id;
    store.advance(CA, id, State::Pending, State::Denied, Some("no"), NOW).unwrap();
    assert_conflict(store.intend(new_intent(), Some((id, State::Pending))));
    assert_not_found(store.intend(new_intent(), Some((id + 1, State::Pending))));
    assert_not_found(store.intend(NewIntent { authority: Some(77), ..new_intent() }, None));
    // Nothing has changed: the number below is the first.
    assert_eq!(store.last_serial(CA).unwrap(), None);

    let new = NewIntent { now: NOW.plus(HOUR), ..new_intent() };
    let intent = store.intend(new, Some((id, State::Denied))).unwrap();
    assert_eq!((&intent.serial, intent.enrollment), (&Serial::from(1), Some(id)));
    let enrollment = store.enrollment(CA, id).unwrap().unwrap();
    assert_eq!((enrollment.state, enrollment.serial), (State::Authorized, Some(Serial::from(1))));
    assert_eq!((enrollment.updated, enrollment.reason), (NOW.plus(HOUR), None));
    assert_eq!(store.unfinished(CA).unwrap(), [intent]);
}

pub fn an_intent_needs_no_enrollment(db: &dyn Database) {
    let store = db.open();
    let intent = store.intend(new_intent(), None).unwrap();
    assert_eq!((intent.authority, intent.enrollment), (None, None));
    let kept = store.keep(CA, issued(&intent.serial)).unwrap();
    let expected = Certificate {
        serial: Serial::from(1),
        authority: None,
        enrollment: None,
        class: None,
        der: der(&Serial::from(1)),
        subject: "CN=r1".into(),
        key: digest(5),
        not_before: NOW,
        not_after: NOW.plus(DAY * 100),
        revocation: None,
    };
    assert_eq!(kept, expected);
    assert_eq!(store.certificate(CA, &intent.serial).unwrap(), Some(expected));
    assert_eq!(store.certificate(OTHER, &intent.serial).unwrap(), None);
    assert_eq!(store.unfinished(CA).unwrap(), []);
}

pub fn the_first_certificate_kept_wins(db: &dyn Database) {
    let store = db.open();
    let new = NewEnrollment { submission: Submission::Issue(new_intent()), cost: cost(0, 1), ..request(1) };
    let submitted = store.submit(new).unwrap();
    let (id, serial) = (submitted.enrollment.id, submitted.intent.unwrap().serial);
    let first = Issued { cost: cost(1, 0), now: NOW.plus(HOUR), ..issued(&serial) };
    let second = Issued { der: vec![9], subject: "CN=late".into(), now: NOW.plus(DAY), ..first.clone() };

    let kept = store.keep(CA, first).unwrap();
    let enrollment = store.enrollment(CA, id).unwrap().unwrap();
    assert_eq!((enrollment.state, enrollment.updated), (State::Granted, NOW.plus(HOUR)));
    assert_eq!(enrollment.cost, cost(1, 1));

    assert_eq!(store.keep(CA, second.clone()).unwrap(), kept);
    assert_eq!(store.certificate(CA, &serial).unwrap(), Some(kept.clone()));
    let enrollment = store.enrollment(CA, id).unwrap().unwrap();
    assert_eq!((enrollment.updated, enrollment.cost), (NOW.plus(HOUR), cost(2, 1)));

    store.remove(CA, id).unwrap();
    assert_eq!(store.keep(CA, second).unwrap(), kept);
}

pub fn a_certificate_without_intent_is_not_kept(db: &dyn Database) {
    let store = db.open();
    assert_not_found(store.keep(CA, issued(&Serial::from(1))));
    let intent = store.intend(new_intent(), None).unwrap();
    assert_not_found(store.keep(OTHER, issued(&intent.serial)));
    store.abandon(CA, &intent.serial, NOW).unwrap();
    assert_conflict(store.keep(CA, issued(&intent.serial)));
    assert_eq!(store.certificate(CA, &intent.serial).unwrap(), None);
}

pub fn an_abandoned_intent_leaves_its_number_used(db: &dyn Database) {
    let store = db.open();
    assert_not_found(store.abandon(CA, &Serial::from(1), NOW));
    let submitted = issue(&*store, 1);
    let (id, serial) = (submitted.enrollment.id, submitted.intent.unwrap().serial);
    store.abandon(CA, &serial, NOW.plus(HOUR)).unwrap();
    let enrollment = store.enrollment(CA, id).unwrap().unwrap();
    assert_eq!((enrollment.state, enrollment.serial), (State::Pending, None));
    assert_eq!(enrollment.updated, NOW.plus(HOUR));
    assert_eq!(store.pending(CA).unwrap(), 1);
    assert_eq!(store.unfinished(CA).unwrap(), []);
    assert_conflict(store.abandon(CA, &serial, NOW));

    let next = store.intend(new_intent(), Some((id, State::Pending))).unwrap();
    assert_eq!(next.serial, Serial::from(2));
    store.keep(CA, issued(&next.serial)).unwrap();
    assert_conflict(store.abandon(CA, &next.serial, NOW));
    assert_eq!(store.enrollment(CA, id).unwrap().unwrap().serial, Some(next.serial));
}

pub fn unfinished_intents_come_oldest_first(db: &dyn Database) {
    let store = db.open();
    let random = || NewIntent { serial: SerialRule::Random, ..new_intent() };
    let intents: Vec<Intent> = (0..8).map(|_| store.intend(random(), None).unwrap()).collect();
    store.keep(CA, issued(&intents[3].serial)).unwrap();
    store.abandon(CA, &intents[5].serial, NOW).unwrap();
    let expected: Vec<Intent> = [0, 1, 2, 4, 6, 7].map(|i| intents[i].clone()).into();
    assert_eq!(store.unfinished(CA).unwrap(), expected);
    assert_eq!(store.unfinished(OTHER).unwrap(), []);
}

pub fn certificates_come_in_pages_in_the_order_of_issue(db: &dyn Database) {
    let store = db.open();
    let random = || NewIntent { serial: SerialRule::Random, ..new_intent() };
    let serials: Vec<Serial> = (0..12).map(|_| store.intend(random(), None).unwrap().serial).collect();
    // Kept in another order, and two of them never.
    for serial in serials.iter().rev().filter(|s| **s != serials[4] && **s != serials[11]) {
        store.keep(CA, issued(serial)).unwrap();
    }
    let page = |after: Option<&Serial>, limit| -> Vec<Serial> {
        store.certificates(CA, after, limit).unwrap().into_iter().map(|c| c.serial).collect()
    };
    assert_eq!(page(None, 3), serials[..3]);
    assert_eq!(page(Some(&serials[2]), 3), [&serials[3], &serials[5], &serials[6]].map(Clone::clone));
    assert_eq!(page(Some(&serials[4]), 1), serials[5..6]);
    assert_eq!(page(Some(&serials[10]), 3), []);
    assert_eq!(page(None, usize::MAX).len(), 10);
    assert_eq!(page(Some(&Serial::from(0)), 1), serials[..1]);
    assert_eq!(store.certificates(OTHER, None, 3).unwrap(), []);
}

pub fn certificates_are_followed_in_the_order_in_which_they_were_kept(db: &dyn Database) {
    let store = db.open();
    assert_eq!((store.kept_last(CA).unwrap(), store.kept_after(CA, 0, 9).unwrap()), (0, vec![]));
    let intents: Vec<_> = (0..4).map(|_| store.intend(new_intent(), None).unwrap()).collect();
    for intent in [&intents[2], &intents[0], &intents[2], &intents[3]] {
        store.keep(CA, issued(&intent.serial)).unwrap();
    }
    let numbers = |after, limit| {
        let kept = store.kept_after(CA, after, limit).unwrap();
        kept.into_iter().map(|(number, certificate)| (number, certificate.serial)).collect::<Vec<_>>()
    };
    let serial = Serial::from;
    assert_eq!(numbers(0, 9), [(1, serial(3)), (2, serial(1)), (3, serial(4))]);
    assert_eq!((numbers(1, 1), numbers(3, 9)), (vec![(2, serial(1))], vec![]));
    // One that was late is not missed.
    store.keep(CA, issued(&intents[1].serial)).unwrap();
    assert_eq!((numbers(3, 9), store.kept_last(CA).unwrap()), (vec![(4, serial(2))], 4));
    assert_eq!(store.kept_after(OTHER, 0, 9).unwrap(), []);
}

pub fn serial_numbers_follow_their_rule(db: &dyn Database) {
    let store = db.open();
    let next = |serial| store.intend(NewIntent { serial, ..new_intent() }, None).unwrap().serial;
    assert_eq!(store.last_serial(CA).unwrap(), None);
    for n in 1..=300 {
        assert_eq!(next(SerialRule::Sequential), Serial::from(n));
    }
    let random: Vec<Serial> = (0..64).map(|_| next(SerialRule::Random)).collect();
    assert_eq!(store.last_serial(CA).unwrap().as_ref(), random.last());
    for serial in &random {
        let bytes = serial.as_be_bytes();
        assert_eq!(bytes.len(), 16, "{serial}");
        assert!(bytes[0] & 0x80 == 0, "{serial}");
    }
    // Each of the other 127 bits is sometimes set: all 64 lack one with a chance of 2^-57.
    let any = random.iter().fold([0; 16], |mut any, serial| {
        any.iter_mut().zip(serial.as_be_bytes()).for_each(|(a, b)| *a |= b);
        any
    });
    assert_eq!(u128::from_be_bytes(any), u128::MAX >> 1);
    assert_eq!(next(SerialRule::Sequential), Serial::from(301));
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(301)));
    assert_eq!(store.last_serial(OTHER).unwrap(), None);
}

pub fn a_serial_number_of_any_length_may_be_asked_for(db: &dyn Database) {
    let store = db.open();
    grant(&*store, 1);
    for length in [0, 2, 20, 33, 255, 256, 257, 1000] {
        let mut bytes = vec![0xFF; length];
        bytes.push(1);
        assert_eq!(store.certificate(CA, &Serial::from_be_bytes(&bytes)).unwrap().is_some(), length == 0);
    }
}
