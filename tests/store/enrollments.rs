//! What becomes of requests.

use super::*;

pub fn enrollments_come_in_pages(db: &dyn Database) {
    let store = db.open();
    (1..=7).for_each(|n| drop(store.submit(request(n)).unwrap()));
    store.remove(CA, 4).unwrap();
    let page = |after, limit| -> Vec<u64> {
        store.enrollments(CA, after, limit).unwrap().iter().map(|e| e.id).collect()
    };
    assert_eq!(page(0, 3), [1, 2, 3]);
    assert_eq!(page(3, 3), [5, 6, 7]);
    assert_eq!(page(4, 1), [5]);
    assert_eq!(page(7, 3), [0; 0]);
    assert_eq!(page(u64::MAX, 3), [0; 0]);
    assert_eq!(page(0, 0), [0; 0]);
    assert_eq!(page(0, usize::MAX).len(), 6);
    assert_eq!(store.enrollments(OTHER, 0, 3).unwrap(), []);
}

pub fn an_enrollment_advances_from_the_state_assumed(db: &dyn Database) {
    let store = db.open();
    let advance = |id, from, to, reason| store.advance(CA, id, from, to, reason, NOW.plus(HOUR));
    assert_not_found(advance(1, State::Pending, State::Denied, None));
    store.submit(request(1)).unwrap();
    assert_conflict(advance(1, State::Denied, State::Pending, None));
    advance(1, State::Pending, State::Denied, Some("unknown device")).unwrap();
    let denied = store.enrollment(CA, 1).unwrap().unwrap();
    assert_eq!((denied.state, denied.reason.as_deref()), (State::Denied, Some("unknown device")));
    assert_eq!((denied.created, denied.updated), (NOW, NOW.plus(HOUR)));
    assert_eq!(store.pending(CA).unwrap(), 0);
    assert_conflict(advance(1, State::Pending, State::Denied, None));
    advance(1, State::Denied, State::Pending, None).unwrap();
    assert_eq!(store.enrollment(CA, 1).unwrap().unwrap().reason, None);
    assert_eq!(store.pending(CA).unwrap(), 1);
}

pub fn only_intents_and_certificates_authorize_and_grant(db: &dyn Database) {
    let store = db.open();
    store.submit(request(1)).unwrap();
    for to in [State::Authorized, State::Granted] {
        assert_conflict(store.advance(CA, 1, State::Pending, to, None, NOW));
    }
    let (authorized, granted) = (issue(&*store, 2).enrollment.id, grant(&*store, 3));
    assert_conflict(store.advance(CA, authorized, State::Authorized, State::Denied, None, NOW));
    assert_conflict(store.advance(CA, granted, State::Granted, State::Pending, None, NOW));
    for (id, from) in [(authorized, State::Authorized), (granted, State::Granted)] {
        assert_conflict(store.intend(new_intent(), Some((id, from))));
    }
}

pub fn an_enrollment_is_removed_but_not_its_certificate(db: &dyn Database) {
    let store = db.open();
    assert_not_found(store.remove(CA, 1));
    let id = grant(&*store, 1);
    store.remove(CA, id).unwrap();
    assert_eq!(store.enrollment(CA, id).unwrap(), None);
    assert_eq!(store.certificate(CA, &Serial::from(1)).unwrap().unwrap().enrollment, Some(id));

    let authorized = issue(&*store, 2);
    assert_conflict(store.remove(CA, authorized.enrollment.id));
    assert_not_found(store.remove(OTHER, authorized.enrollment.id));

    let pending = store.submit(request(3)).unwrap().enrollment.id;
    store.remove(CA, pending).unwrap();
    assert_eq!(store.pending(CA).unwrap(), 0);
}

pub fn old_enrollments_expire(db: &dyn Database) {
    let store = db.open();
    store.submit(request(1)).unwrap();
    grant(&*store, 2);
    let authorized = issue(&*store, 3).enrollment.id;
    let young = store.submit(NewEnrollment { now: NOW.plus(HOUR), ..request(4) }).unwrap().enrollment.id;
    store.submit(NewEnrollment { server: OTHER.into(), ..request(1) }).unwrap();

    assert_eq!(store.expire(CA, NOW).unwrap(), 0);
    assert_eq!(store.expire(CA, NOW.plus(HOUR)).unwrap(), 2);
    let left: Vec<u64> = store.enrollments(CA, 0, 10).unwrap().iter().map(|e| e.id).collect();
    assert_eq!(left, [authorized, young]);
    assert_eq!(store.pending(CA).unwrap(), 1);
    assert_eq!(store.pending(OTHER).unwrap(), 1);
    assert!(store.certificate(CA, &Serial::from(1)).unwrap().is_some());
}
