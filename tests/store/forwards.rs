//! Enrollments that another CA issues.

use super::*;

pub fn what_is_granted_here_is_asked_for_there(db: &dyn Database) {
    let store = db.open();
    // By policy, and by the operator.
    let new = NewEnrollment { submission: Submission::Forward, ..request(1) };
    let submitted = store.submit(new).unwrap();
    assert_eq!((submitted.enrollment.state, submitted.intent), (State::Authorized, None));
    let pending = store.submit(request(2)).unwrap().enrollment.id;
    assert_eq!(ids(&*store, NOW), [1]);
    store.forward(CA, pending, NOW.plus(HOUR)).unwrap();
    assert_conflict(store.forward(CA, pending, NOW));
    assert_not_found(store.forward(CA, 77, NOW));
    assert_eq!(store.pending(CA).unwrap(), 0);
    assert_eq!(ids(&*store, NOW), [1]);
    assert_eq!(ids(&*store, NOW.plus(HOUR)), [1, 2]);
    assert_eq!(store.forwards(CA, NOW.plus(HOUR), 1).unwrap().len(), 1);
    assert_eq!(store.forwards(OTHER, NOW.plus(HOUR), 9).unwrap(), []);
    let first = store.forward_of(CA, 1).unwrap().unwrap();
    let expected = Forward {
        enrollment: submitted.enrollment,
        stage: Stage::Asking,
        tries: 0,
        next_try: NOW,
        error: None,
    };
    assert_eq!(first, expected);
    // One that is for another CA than that of now, which is no authority here.
    let number = u64::MAX >> 1;
    let new = NewEnrollment { authority: Some(number), submission: Submission::Forward, ..request(3) };
    assert_eq!(store.submit(new).unwrap().enrollment.id, 3);
    let third = db.open().forward_of(CA, 3).unwrap().unwrap();
    assert_eq!(third.enrollment.authority, Some(number));
    let Enrollment { transaction, signer_key, .. } = third.enrollment;
    let of = |number, unnamed| store.enrollment_to(CA, &transaction, &signer_key, number, unnamed).unwrap();
    assert_eq!(of(number, false).map(|found| found.id), Some(3));
    assert_eq!(of(number - 1, true).map(|found| found.id), None);
    store.refuse_forwarded(CA, 3, "gone", NOW).unwrap();
    store.remove(CA, 3).unwrap();
    // Neither forgotten nor moved by other verbs, and no intent.
    assert_eq!(store.unfinished(CA).unwrap(), []);
    assert_conflict(store.remove(CA, 1));
    assert_eq!(store.expire(CA, NOW).unwrap(), 0);
    assert_conflict(store.advance(CA, 1, State::Authorized, State::Denied, None, NOW));
    // A repetition is known.
    let again = NewEnrollment { submission: Submission::Forward, ..request(1) };
    let again = store.submit(again).unwrap();
    assert!(again.known);
    assert_eq!((again.enrollment.id, again.intent), (1, None));
    store.delete_server(CA).unwrap();
    assert_eq!(ids(&*store, NOW.plus(HOUR)), [0; 0]);
}

pub fn what_another_ca_does_not_answer_is_bounded(db: &dyn Database) {
    let store = db.open();
    let submit = |n| {
        let new = NewEnrollment { submission: Submission::Forward, max_pending: 2, ..request(n) };
        store.submit(new).map(|submitted| submitted.enrollment.id)
    };
    let (first, second) = (submit(1).unwrap(), submit(2).unwrap());
    assert!(matches!(submit(3), Err(StoreError::Full)));
    assert_eq!(submit(2).unwrap(), second, "a repetition is none more");
    // The operator of the other CA may take his time; a CA that is never there is not waited for.
    store.postpone(CA, second, Stage::Waiting, NOW.plus(DAY), None).unwrap();
    assert_eq!(store.expire(CA, NOW.plus(DAY)).unwrap(), 1);
    assert_eq!(store.enrollment(CA, first).unwrap(), None);
    assert_eq!(store.forward_of(CA, first).unwrap(), None);
    assert_eq!(ids(&*store, NOW.plus(DAY)), [second]);
    submit(3).unwrap();
}

pub fn tries_are_counted_and_survive(db: &dyn Database) {
    let store = db.open();
    forwarded(&*store, 1);
    let at = |hours| NOW.plus(HOUR * hours);
    store.postpone(CA, 1, Stage::Asking, at(1), Some("no route to host")).unwrap();
    store.postpone(CA, 1, Stage::Asking, at(2), Some("no route to host")).unwrap();
    assert_eq!(ids(&*store, at(1)), [0; 0]);
    let second = db.open().forward_of(CA, 1).unwrap().unwrap();
    assert_eq!((second.tries, second.next_try), (2, at(2)));
    assert_eq!(second.error.as_deref(), Some("no route to host"));
    // A stage further they are counted anew.
    store.postpone(CA, 1, Stage::Waiting, at(3), None).unwrap();
    let waiting = store.forward_of(CA, 1).unwrap().unwrap();
    assert_eq!((waiting.stage, waiting.tries, waiting.error), (Stage::Waiting, 1, None));
    assert_not_found(store.postpone(CA, 2, Stage::Asking, NOW, None));
    store.submit(request(2)).unwrap();
    assert_conflict(store.postpone(CA, 2, Stage::Asking, NOW, None));
}

pub fn the_certificate_of_another_ca_is_kept(db: &dyn Database) {
    let store = db.open();
    forwarded(&*store, 1);
    forwarded(&*store, 2);
    forwarded(&*store, 3);
    // As the other CA has numbered it.
    let serial = Serial::from(900);
    let new = Issued { cost: cost(2, 1), now: NOW.plus(HOUR), ..issued(&serial) };
    let kept = store.keep_forwarded(CA, 1, &UPPER, new.clone()).unwrap();
    let expected = Certificate {
        serial: serial.clone(),
        authority: None,
        enrollment: Some(1),
        class: Some(Class::Router),
        der: der(&serial),
        subject: "CN=r1".into(),
        key: digest(5),
        not_before: NOW,
        not_after: NOW.plus(DAY * 100),
        revocation: None,
    };
    assert_eq!(kept, expected);
    assert_eq!(store.certificate(CA, &serial).unwrap(), Some(expected.clone()));
    assert_eq!(store.kept_after(CA, 0, 9).unwrap(), [(1, expected.clone())]);
    assert_eq!(store.last_serial(CA).unwrap(), Some(serial.clone()));
    let enrollment = store.enrollment(CA, 1).unwrap().unwrap();
    assert_eq!((enrollment.state, &enrollment.serial), (State::Granted, &Some(serial.clone())));
    assert_eq!((enrollment.updated, enrollment.cost), (NOW.plus(HOUR), cost(2, 1)));
    assert_conflict(store.keep_forwarded(CA, 1, &UPPER, new.clone()));
    assert_not_found(store.keep_forwarded(CA, 77, &UPPER, new.clone()));
    // The same certificate for the same request again; another one under its number is a lie.
    assert_eq!(store.keep_forwarded(CA, 2, &UPPER, new.clone()).unwrap(), expected);
    assert_conflict(store.keep_forwarded(CA, 3, &UPPER, Issued { der: vec![9], ..new }));
    assert_eq!(store.enrollment(CA, 3).unwrap().unwrap().state, State::Authorized);
    assert_eq!(ids(&*store, NOW), [3]);
    // Granted ones are repeated like any other.
    let again = store.submit(NewEnrollment { submission: Submission::Forward, ..request(1) }).unwrap();
    assert_eq!((again.known, again.enrollment.state), (true, State::Granted));
}

/// Of another CA, or of its next key: it numbers as it likes.
pub fn other_cas_may_give_the_same_number(db: &dyn Database) {
    let store = db.open();
    (1..=3).for_each(|n| forwarded(&*store, n));
    let serial = Serial::from(900);
    let by = |n: u8| Issued { der: vec![n; 40], ..issued(&serial) };
    store.keep_forwarded(CA, 1, &UPPER, by(1)).unwrap();
    store.keep_forwarded(CA, 2, &[8; 32], by(2)).unwrap();
    assert_conflict(store.keep_forwarded(CA, 3, &[8; 32], by(3)));
    for id in [1, 2] {
        let granted = store.enrollment(CA, id).unwrap().unwrap();
        assert_eq!((granted.state, &granted.serial), (State::Granted, &Some(serial.clone())));
        let answer = store.certificate_for(CA, id).unwrap().unwrap();
        assert_eq!((answer.der, answer.enrollment), (vec![id as u8; 40], Some(id)));
    }
    assert_eq!(store.certificate_for(CA, 3).unwrap(), None);
    let mut ders: Vec<_> = store.certificates_with(CA, &serial).unwrap().into_iter().map(|c| c.der).collect();
    ders.sort();
    assert_eq!(ders, [vec![1; 40], vec![2; 40]]);
    assert_eq!(store.certificates_with(CA, &Serial::from(901)).unwrap(), []);
    assert_eq!(store.certificates(CA, None, 9).unwrap().len(), 2);
    assert_eq!(store.kept_after(CA, 1, 9).unwrap().len(), 1);
}

pub fn what_another_ca_refuses_is_denied(db: &dyn Database) {
    let store = db.open();
    forwarded(&*store, 1);
    store.refuse_forwarded(CA, 1, "badRequest: nothing is granted", NOW.plus(HOUR)).unwrap();
    let denied = store.enrollment(CA, 1).unwrap().unwrap();
    assert_eq!((denied.state, denied.updated), (State::Denied, NOW.plus(HOUR)));
    assert_eq!(denied.reason.as_deref(), Some("badRequest: nothing is granted"));
    assert_eq!(store.forward_of(CA, 1).unwrap(), None);
    assert_conflict(store.refuse_forwarded(CA, 1, "again", NOW));
    assert_not_found(store.refuse_forwarded(CA, 77, "again", NOW));
}

pub fn a_certificate_knows_as_what_it_was_granted(db: &dyn Database) {
    let store = db.open();
    for (n, class) in [(1, Class::SubordinateCa), (2, Class::Ra), (3, Class::Router)] {
        let serial = if n == 1 {
            // By the operator.
            let id = store.submit(NewEnrollment { class, ..request(n) }).unwrap().enrollment.id;
            store.intend(new_intent(), Some((id, State::Pending))).unwrap().serial
        } else {
            let submission = Submission::Issue(new_intent());
            store.submit(NewEnrollment { class, submission, ..request(n) }).unwrap().intent.unwrap().serial
        };
        store.keep(CA, issued(&serial)).unwrap();
        // Also when the request is forgotten.
        store.remove(CA, n).unwrap();
        assert_eq!(store.record(CA, &serial).unwrap().unwrap().class, Some(class));
        assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().class, Some(class));
    }
}

fn forwarded(store: &dyn Store, n: u64) {
    let submission = Submission::Forward;
    assert_eq!(store.submit(NewEnrollment { submission, ..request(n) }).unwrap().enrollment.id, n);
}

fn ids(store: &dyn Store, due: Time) -> Vec<u64> {
    store.forwards(CA, due, 100).unwrap().iter().map(|forward| forward.enrollment.id).collect()
}

/// Of the key of the other CA.
const UPPER: [u8; 32] = [7; 32];
