//! Requests that come, and come again.

use super::*;

pub fn a_submission_pends(db: &dyn Database) {
    let store = db.open();
    let submitted = store
        .submit(NewEnrollment {
            class: Class::SubordinateCa,
            transaction: b"\x00transaction\xff".to_vec(),
            csr: vec![0x30, 0],
            subject: "CN=r1".into(),
            source: "192.0.2.7".into(),
            cost: cost(0, 1),
            ..request(1)
        })
        .unwrap();
    assert!(!submitted.known && submitted.intent.is_none());
    let expected = Enrollment {
        authority: None,
        id: 1,
        state: State::Pending,
        class: Class::SubordinateCa,
        transaction: b"\x00transaction\xff".to_vec(),
        identity: digest(1),
        csr: vec![0x30, 0],
        signer_key: digest(1),
        subject: "CN=r1".into(),
        source: "192.0.2.7".into(),
        created: NOW,
        updated: NOW,
        serial: None,
        reason: None,
        cost: cost(0, 1),
    };
    assert_eq!(submitted.enrollment, expected);
    assert_eq!(store.enrollment(CA, 1).unwrap(), Some(expected));
    assert_eq!(store.pending(CA).unwrap(), 1);
    assert_eq!(store.last_serial(CA).unwrap(), None);
    assert_eq!(store.enrollment(CA, 2).unwrap(), None);
    assert_eq!(store.enrollment(CA, u64::MAX).unwrap(), None);
    assert_eq!(store.enrollment(OTHER, 1).unwrap(), None);
}

pub fn request_numbers_count_per_server_and_never_return(db: &dyn Database) {
    let store = db.open();
    let submit = |server: &str, n| {
        store.submit(NewEnrollment { server: server.into(), ..request(n) }).unwrap().enrollment.id
    };
    assert_eq!([submit(CA, 1), submit(CA, 2), submit(OTHER, 1)], [1, 2, 1]);
    store.remove(CA, 2).unwrap();
    assert_eq!(submit(CA, 3), 3);
    assert_eq!(store.expire(CA, NOW.plus(DAY)).unwrap(), 2);
    drop(store);
    let again = db.open().submit(request(4)).unwrap();
    assert_eq!(again.enrollment.id, 4);
}

pub fn a_transaction_is_found_by_identifier_and_key(db: &dyn Database) {
    let store = db.open();
    let with = |n, transaction: &[u8], key| {
        let new = NewEnrollment { transaction: transaction.to_vec(), signer_key: digest(key), ..request(n) };
        store.submit(new).unwrap().enrollment
    };
    let (_older, newer) = (with(1, b"t", 7), with(2, b"t", 7));
    let foreign = with(3, b"t", 8);
    let find = |transaction: &[u8], key| store.enrollment_of(CA, transaction, &digest(key)).unwrap();
    assert_eq!(find(b"t", 7), Some(newer));
    assert_eq!(find(b"t", 8), Some(foreign));
    assert_eq!(find(b"t", 9), None);
    assert_eq!(find(b"T", 7), None);
    assert_eq!(find(b"", 7), None);
    assert_eq!(store.enrollment_of(OTHER, b"t", &digest(7)).unwrap(), None);
}

pub fn a_transaction_may_ask_two_authorities(db: &dyn Database) {
    let store = db.open();
    let with = |n, authority| {
        let new =
            NewEnrollment { transaction: b"t".to_vec(), signer_key: digest(7), authority, ..request(n) };
        store.submit(new).unwrap().enrollment
    };
    let (next, acting) = (with(1, Some(2)), with(2, None));
    let find = |authority, unnamed| store.enrollment_to(CA, b"t", &digest(7), authority, unnamed).unwrap();
    assert_eq!(find(2, false), Some(next.clone()));
    assert_eq!(find(1, true), Some(acting.clone()));
    assert_eq!(find(1, false), None);
    // The other acts now: the newest of those that it answers.
    assert_eq!(find(2, true), Some(acting));
    let newest = with(3, Some(2));
    assert_eq!(find(2, true), Some(newest));
    assert_eq!(store.enrollment_to(CA, b"t", &digest(8), 2, true).unwrap(), None);
    assert_eq!(store.enrollment_to(OTHER, b"t", &digest(7), 2, true).unwrap(), None);
}

pub fn an_issue_is_recorded_with_its_intent(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap();
    let intent = NewIntent { authority: Some(ca.id), ..new_intent() };
    let new = NewEnrollment { submission: Submission::Issue(intent), max_pending: 0, ..request(1) };
    let submitted = store.submit(new).unwrap();
    let expected = Intent {
        serial: Serial::from(1),
        authority: Some(ca.id),
        enrollment: Some(1),
        tbs: tbs(&Serial::from(1)),
    };
    assert!(!submitted.known);
    assert_eq!(submitted.intent, Some(expected.clone()));
    assert_eq!(submitted.enrollment.state, State::Authorized);
    assert_eq!(submitted.enrollment.serial, Some(Serial::from(1)));
    assert_eq!(store.enrollment(CA, 1).unwrap(), Some(submitted.enrollment));
    assert_eq!(store.unfinished(CA).unwrap(), [expected]);
    assert_eq!(store.certificate(CA, &Serial::from(1)).unwrap(), None);
    assert_eq!(store.pending(CA).unwrap(), 0);
}

pub fn a_repetition_is_known(db: &dyn Database) {
    let store = db.open();
    let once = |cost| store.submit(NewEnrollment { cost, ..request(1) }).unwrap();
    assert!(!once(cost(0, 1)).known);
    for state in [State::Pending, State::Denied, State::Malformed] {
        if state != State::Pending {
            store.advance(CA, 1, State::Pending, state, Some("because"), NOW).unwrap();
        }
        let again = once(Cost::default());
        assert!(again.known, "{state}");
        assert_eq!((again.enrollment.id, again.enrollment.state), (1, state));
        if state != State::Pending {
            store.advance(CA, 1, state, State::Pending, None, NOW).unwrap();
        }
    }
    // What a repetition has cost is added, its transaction goes on, and nothing else changes.
    let before = store.enrollment(CA, 1).unwrap().unwrap();
    let again = store.submit(NewEnrollment {
        now: NOW.plus(DAY),
        cost: cost(0, 1),
        csr: vec![],
        transaction: b"anew".to_vec(),
        ..request(1)
    });
    let expected = Enrollment { cost: cost(0, 2), transaction: b"anew".to_vec(), ..before };
    let polled = store.enrollment_of(CA, b"anew", &expected.signer_key).unwrap();
    assert_eq!(polled.as_ref(), Some(&expected));
    assert_eq!(again.unwrap().enrollment, expected);
    assert_eq!(store.enrollment(CA, 1).unwrap(), Some(expected));

    store.remove(CA, 1).unwrap();
    let anew = once(Cost::default());
    assert!(!anew.known);
    assert_eq!(anew.enrollment.id, 2);
    assert!(!store.submit(NewEnrollment { server: OTHER.into(), ..request(1) }).unwrap().known);
}

pub fn a_repetition_of_an_authorized_one_gets_its_intent(db: &dyn Database) {
    let store = db.open();
    let first = issue(&*store, 1);
    let again = store.submit(NewEnrollment { max_pending: 0, ..request(1) }).unwrap();
    assert!(again.known);
    assert_eq!(again.enrollment.state, State::Authorized);
    assert_eq!(again.intent, first.intent);
    let again = issue(&*store, 1);
    assert!(again.known);
    assert_eq!(again.intent, first.intent);
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(1)));
}

pub fn a_granted_one_is_repeated_in_the_first_half_of_its_life(db: &dyn Database) {
    let store = db.open();
    grant(&*store, 1);
    let at = |days| NOW.plus(DAY * days);
    let submit = |now| store.submit(NewEnrollment { now, ..request(1) }).unwrap();
    // The certificate is valid for 100 days.
    let again = submit(at(50).minus(Duration::from_secs(1)));
    assert!(again.known && again.intent.is_none());
    assert_eq!((again.enrollment.id, again.enrollment.state), (1, State::Granted));
    assert_eq!(again.enrollment.serial, Some(Serial::from(1)));
    assert!(!submit(at(50)).known);
}

pub fn a_revoked_one_is_not_repeated(db: &dyn Database) {
    let store = db.open();
    grant(&*store, 1);
    store.revoke(CA, &Serial::from(1), Revocation { at: NOW, reason: 6 }).unwrap();
    assert!(!store.submit(request(1)).unwrap().known);
    store.remove(CA, 2).unwrap();
    store.unrevoke(CA, &Serial::from(1)).unwrap();
    assert!(store.submit(request(1)).unwrap().known);
}

pub fn the_newest_acceptable_one_is_repeated(db: &dyn Database) {
    let store = db.open();
    let never = || store.submit(NewEnrollment { reuse: Reuse::Never, ..request(1) }).unwrap();
    assert_eq!([never().enrollment.id, never().enrollment.id], [1, 2]);
    grant(&*store, 2);
    let third = store
        .submit(NewEnrollment {
            submission: Submission::Issue(new_intent()),
            reuse: Reuse::Never,
            ..request(1)
        })
        .unwrap();
    assert_eq!((third.known, third.enrollment.id), (false, 4));
    let serial = third.intent.unwrap().serial;
    store.keep(CA, issued(&serial)).unwrap();
    assert_eq!(store.submit(request(1)).unwrap().enrollment.id, 4);
    store.revoke(CA, &serial, Revocation { at: NOW, reason: 4 }).unwrap();
    assert_eq!(store.submit(request(1)).unwrap().enrollment.id, 2);
}

pub fn no_more_than_the_limit_pend(db: &dyn Database) {
    let store = db.open();
    let submit = |n| store.submit(NewEnrollment { max_pending: 2, ..request(n) });
    submit(1).unwrap();
    submit(2).unwrap();
    assert!(matches!(submit(3), Err(StoreError::Full)));
    assert!(submit(2).unwrap().known);
    assert_eq!(store.enrollments(CA, 0, 10).unwrap().len(), 2);
    store.advance(CA, 1, State::Pending, State::Denied, None, NOW).unwrap();
    assert_eq!(submit(3).unwrap().enrollment.id, 3);
    assert_eq!(store.pending(CA).unwrap(), 2);
}

pub fn a_password_is_claimed_once(db: &dyn Database) {
    let store = db.open();
    let claim = |n, password| store.submit(NewEnrollment { claim: Some(digest(password)), ..request(n) });
    let used_by = |password| store.password(CA, &digest(password)).unwrap().unwrap().used_by;
    assert!(matches!(claim(1, 100), Err(StoreError::ClaimRefused)));
    assert_eq!(store.enrollments(CA, 0, 10).unwrap(), []);

    store.add_password(CA, password(100, Some("CN=a"))).unwrap();
    store.add_password(CA, password(101, Some("CN=b"))).unwrap();
    assert_eq!(claim(1, 100).unwrap().enrollment.id, 1);
    assert_eq!(used_by(100), Some(digest(1)));
    assert!(matches!(claim(2, 100), Err(StoreError::ClaimRefused)));

    // A repetition claims nothing, whatever it brings.
    assert!(claim(1, 101).unwrap().known);
    assert!(claim(1, 999).unwrap().known);
    assert_eq!(used_by(101), None);

    // The identity that used it gets in again.
    store.remove(CA, 1).unwrap();
    assert!(!claim(1, 100).unwrap().known);

    let late = |n, now| store.submit(NewEnrollment { claim: Some(digest(101)), now, ..request(n) });
    assert!(matches!(late(3, NOW.plus(HOUR)), Err(StoreError::ClaimRefused)));
    assert!(late(3, NOW.plus(HOUR).minus(Duration::from_secs(1))).is_ok());
    let elsewhere = NewEnrollment { server: OTHER.into(), claim: Some(digest(100)), ..request(1) };
    assert!(matches!(store.submit(elsewhere), Err(StoreError::ClaimRefused)));
}

pub fn a_refused_submission_gives_the_password_back(db: &dyn Database) {
    let store = db.open();
    store.add_password(CA, password(100, None)).unwrap();
    let claim =
        |max_pending| store.submit(NewEnrollment { claim: Some(digest(100)), max_pending, ..request(1) });
    assert!(matches!(claim(0), Err(StoreError::Full)));
    assert_eq!(store.password(CA, &digest(100)).unwrap().unwrap().used_by, None);
    assert_eq!(claim(1).unwrap().enrollment.id, 1);
}

pub fn a_malformed_request_is_kept_for_the_operator(db: &dyn Database) {
    let store = db.open();
    store.add_password(CA, password(100, None)).unwrap();
    let malformed = |n: u64| {
        let submission = Submission::Malformed(format!("reason {n}"));
        let claim = Some(digest(100));
        store.submit(NewEnrollment { submission, claim, max_pending: 3, ..request(n) }).unwrap()
    };
    let first = malformed(1);
    assert!(!first.known && first.intent.is_none());
    assert_eq!(first.enrollment.state, State::Malformed);
    assert_eq!(first.enrollment.reason.as_deref(), Some("reason 1"));
    assert_eq!(store.enrollment(CA, 1).unwrap(), Some(first.enrollment));
    assert_eq!(store.pending(CA).unwrap(), 0);
    assert_eq!(store.password(CA, &digest(100)).unwrap().unwrap().used_by, None);
    assert!(malformed(1).known);

    // Others are not counted with them.
    store.submit(request(50)).unwrap();
    store.submit(NewEnrollment { server: OTHER.into(), ..request(1) }).unwrap();
    (2..=5).for_each(|n| assert!(!malformed(n).known));
    let left: Vec<u64> = store.enrollments(CA, 0, 10).unwrap().iter().map(|e| e.id).collect();
    assert_eq!(left, [2, 4, 5, 6]);
    assert_eq!(store.enrollments(OTHER, 0, 10).unwrap().len(), 1);
}
