//! The contract of [`Store`], sentence by sentence, for every backend.
//!
//! A backend is a [`Database`]: something that can be opened more than once, as several processes or one
//! after its crash would. `suite!` at the end runs every test on each of them.

use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokenca::pki::{Serial, Time};
use tokenca::store::sqlite::Sqlite;
use tokenca::store::{
    Authority, Certificate, Class, Cost, Crl, Enrollment, Intent, Issued, NewAuthority, NewEnrollment,
    NewIntent, Password, Reuse, Revocation, Role, SerialRule, State, Store, StoreError, Submission,
    Submitted,
};

/// A database that is new at the start of a test.
trait Database: Sync {
    /// Opens it once more.
    fn open(&self) -> Box<dyn Store>;
}

// ---- authorities

fn authorities_are_listed_oldest_first(db: &dyn Database) {
    let store = db.open();
    assert_eq!(store.authorities(CA).unwrap(), []);
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap();
    let sign = store.install(new_authority(Role::RaSign, 2), None).unwrap();
    let decrypt = store.install(new_authority(Role::RaDecrypt, 3), None).unwrap();
    let expected = Authority {
        id: sign.id,
        role: Role::RaSign,
        token: "usbtoken0".into(),
        key_label: "key 2".into(),
        certificate: vec![2; 40],
        retired: false,
    };
    assert_eq!(sign, expected);
    assert_eq!(store.authorities(CA).unwrap(), [ca, sign, decrypt]);
    assert_eq!(store.authorities(OTHER).unwrap(), []);
}

fn a_role_has_one_active_authority(db: &dyn Database) {
    let store = db.open();
    let old = store.install(new_authority(Role::Ca, 1), None).unwrap();
    assert_conflict(store.install(new_authority(Role::Ca, 2), None));
    assert_not_found(store.install(new_authority(Role::Ca, 2), Some(old.id + 100)));
    let elsewhere =
        store.install(NewAuthority { server: OTHER.into(), ..new_authority(Role::Ca, 9) }, None).unwrap();
    assert_not_found(store.install(new_authority(Role::Ca, 2), Some(elsewhere.id)));

    let new = store.install(new_authority(Role::Ca, 2), Some(old.id)).unwrap();
    let retired = Authority { retired: true, ..old };
    assert_eq!(store.authorities(CA).unwrap(), [retired.clone(), new.clone()]);

    assert_conflict(store.install(new_authority(Role::Ca, 3), Some(retired.id)));
    assert_conflict(store.install(new_authority(Role::RaSign, 3), Some(new.id)));
    assert_eq!(store.authorities(CA).unwrap(), [retired, new]);
}

// ---- submission

fn a_submission_pends(db: &dyn Database) {
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

fn request_numbers_count_per_server_and_never_return(db: &dyn Database) {
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

fn a_transaction_is_found_by_identifier_and_key(db: &dyn Database) {
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

fn an_issue_is_recorded_with_its_intent(db: &dyn Database) {
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

fn a_repetition_is_known(db: &dyn Database) {
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

fn a_repetition_of_an_authorized_one_gets_its_intent(db: &dyn Database) {
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

fn a_granted_one_is_repeated_in_the_first_half_of_its_life(db: &dyn Database) {
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

fn a_revoked_one_is_not_repeated(db: &dyn Database) {
    let store = db.open();
    grant(&*store, 1);
    store.revoke(CA, &Serial::from(1), Revocation { at: NOW, reason: 6 }).unwrap();
    assert!(!store.submit(request(1)).unwrap().known);
    store.remove(CA, 2).unwrap();
    store.unrevoke(CA, &Serial::from(1)).unwrap();
    assert!(store.submit(request(1)).unwrap().known);
}

fn the_newest_acceptable_one_is_repeated(db: &dyn Database) {
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

fn no_more_than_the_limit_pend(db: &dyn Database) {
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

fn a_password_is_claimed_once(db: &dyn Database) {
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

fn a_refused_submission_gives_the_password_back(db: &dyn Database) {
    let store = db.open();
    store.add_password(CA, password(100, None)).unwrap();
    let claim =
        |max_pending| store.submit(NewEnrollment { claim: Some(digest(100)), max_pending, ..request(1) });
    assert!(matches!(claim(0), Err(StoreError::Full)));
    assert_eq!(store.password(CA, &digest(100)).unwrap().unwrap().used_by, None);
    assert_eq!(claim(1).unwrap().enrollment.id, 1);
}

// ---- enrollments

fn enrollments_come_in_pages(db: &dyn Database) {
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

fn an_enrollment_advances_from_the_state_assumed(db: &dyn Database) {
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

fn only_intents_and_certificates_authorize_and_grant(db: &dyn Database) {
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

fn an_enrollment_is_removed_but_not_its_certificate(db: &dyn Database) {
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

fn old_enrollments_expire(db: &dyn Database) {
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

// ---- intents and certificates

fn an_intent_authorizes_its_enrollment(db: &dyn Database) {
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

fn an_intent_needs_no_enrollment(db: &dyn Database) {
    let store = db.open();
    let intent = store.intend(new_intent(), None).unwrap();
    assert_eq!((intent.authority, intent.enrollment), (None, None));
    let kept = store.keep(CA, issued(&intent.serial)).unwrap();
    let expected = Certificate {
        serial: Serial::from(1),
        authority: None,
        enrollment: None,
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

fn the_first_certificate_kept_wins(db: &dyn Database) {
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

fn a_certificate_without_intent_is_not_kept(db: &dyn Database) {
    let store = db.open();
    assert_not_found(store.keep(CA, issued(&Serial::from(1))));
    let intent = store.intend(new_intent(), None).unwrap();
    assert_not_found(store.keep(OTHER, issued(&intent.serial)));
    store.abandon(CA, &intent.serial, NOW).unwrap();
    assert_conflict(store.keep(CA, issued(&intent.serial)));
    assert_eq!(store.certificate(CA, &intent.serial).unwrap(), None);
}

fn an_abandoned_intent_leaves_its_number_used(db: &dyn Database) {
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

fn unfinished_intents_come_oldest_first(db: &dyn Database) {
    let store = db.open();
    let random = || NewIntent { serial: SerialRule::Random, ..new_intent() };
    let intents: Vec<Intent> = (0..8).map(|_| store.intend(random(), None).unwrap()).collect();
    store.keep(CA, issued(&intents[3].serial)).unwrap();
    store.abandon(CA, &intents[5].serial, NOW).unwrap();
    let expected: Vec<Intent> = [0, 1, 2, 4, 6, 7].map(|i| intents[i].clone()).into();
    assert_eq!(store.unfinished(CA).unwrap(), expected);
    assert_eq!(store.unfinished(OTHER).unwrap(), []);
}

fn certificates_come_in_pages_in_the_order_of_issue(db: &dyn Database) {
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

fn serial_numbers_follow_their_rule(db: &dyn Database) {
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

fn a_serial_number_of_any_length_may_be_asked_for(db: &dyn Database) {
    let store = db.open();
    grant(&*store, 1);
    for length in [0, 2, 20, 33, 255, 256, 257, 1000] {
        let mut bytes = vec![0xFF; length];
        bytes.push(1);
        assert_eq!(store.certificate(CA, &Serial::from_be_bytes(&bytes)).unwrap().is_some(), length == 0);
    }
}

// ---- revocation

fn a_certificate_is_revoked_once(db: &dyn Database) {
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
    assert_conflict(store.revoke(CA, &serial, revocation(1)));
    store.unrevoke(CA, &serial).unwrap();
    assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().revocation, None);

    store.revoke(CA, &serial, revocation(1)).unwrap();
    assert_conflict(store.unrevoke(CA, &serial));
    assert_eq!(store.certificate(CA, &serial).unwrap().unwrap().revocation, Some(revocation(1)));
}

fn revoked_certificates_are_listed_per_authority(db: &dyn Database) {
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
    assert_eq!(revoked(&*store, old, NOW.plus(DAY * 5)), expected);
    assert_eq!(revoked(&*store, old, NOW.plus(DAY * 5).minus(HOUR)).len(), 80);
    assert_eq!(revoked(&*store, old, NOW.plus(DAY * 10)), []);
    assert_eq!(revoked(&*store, new, NOW).len(), 40);
    assert_eq!(revoked(&*store, new + 100, NOW), []);
}

fn the_list_is_a_snapshot(db: &dyn Database) {
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
        .revoked(CA, ca, NOW, &mut |serial, _| {
            if seen.is_empty() {
                store.revoke(CA, &serials[501], hold).unwrap();
                store.unrevoke(CA, &serials[998]).unwrap();
                assert_eq!(store.certificate(CA, &serials[501]).unwrap().unwrap().revocation, Some(hold));
            }
            seen.push(serial.clone());
        })
        .unwrap();
    assert!(seen.iter().eq(serials.iter().step_by(2)));
    assert_eq!(revoked(&*store, ca, NOW).len(), 500);
}

fn crl_numbers_ascend(db: &dyn Database) {
    let store = db.open();
    let crl = |authority, number, byte| Crl {
        authority,
        number,
        this_update: NOW,
        next_update: NOW.plus(DAY),
        der: vec![byte; 30],
    };
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

// ---- passwords, secrets, servers

fn a_new_password_replaces_the_live_one_without_subject(db: &dyn Database) {
    let store = db.open();
    let on_record = |n| store.password(CA, &digest(n)).unwrap();
    assert!(!store.has_passwords(CA).unwrap());
    store.add_password(CA, password(1, None)).unwrap();
    assert!(store.has_passwords(CA).unwrap());
    assert!(!store.has_passwords(OTHER).unwrap());
    assert_eq!(on_record(1), Some(password(1, None)));
    assert_eq!(store.password(OTHER, &digest(1)).unwrap(), None);

    store.add_password(CA, password(2, Some("CN=a"))).unwrap();
    store.add_password(CA, password(3, Some("CN=a"))).unwrap();
    assert!(on_record(1).is_some() && on_record(2).is_some());
    store.add_password(OTHER, password(4, None)).unwrap();
    assert!(on_record(1).is_some());

    store.submit(NewEnrollment { claim: Some(digest(1)), ..request(1) }).unwrap();
    store.add_password(CA, password(4, None)).unwrap();
    assert_eq!(on_record(1).unwrap().used_by, Some(digest(1)));
    store.add_password(CA, password(5, None)).unwrap();
    assert_eq!(on_record(4), None);
    // One hour later the last has expired by itself.
    store.add_password(CA, Password { created: NOW.plus(HOUR), ..password(6, None) }).unwrap();
    assert!(on_record(5).is_some());

    assert_conflict(store.add_password(CA, password(3, Some("CN=b"))));
    assert_conflict(store.add_password(CA, password(1, None)));
    assert_eq!(on_record(3).unwrap().subject.as_deref(), Some("CN=a"));
}

fn expired_passwords_are_forgotten(db: &dyn Database) {
    let store = db.open();
    for n in 1..=4 {
        let expires = NOW.plus(HOUR * n);
        store.add_password(CA, Password { expires, ..password(u64::from(n), Some("CN=a")) }).unwrap();
    }
    assert_eq!(store.expire_passwords(CA, NOW.plus(HOUR * 3)).unwrap(), 2);
    let left: Vec<bool> = (1..=4).map(|n| store.password(CA, &digest(n)).unwrap().is_some()).collect();
    assert_eq!(left, [false, false, true, true]);
    assert_eq!(store.expire_passwords(OTHER, NOW.plus(DAY)).unwrap(), 0);
    assert_eq!(store.expire_passwords(CA, NOW.plus(DAY)).unwrap(), 2);
    assert!(!store.has_passwords(CA).unwrap());
}

fn a_secret_is_made_once(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let barrier = Barrier::new(8);
    let secrets: Vec<_> = thread::scope(|s| {
        let ask = |i: usize| {
            barrier.wait();
            stores[i % 2].secret("challenge").unwrap()
        };
        let threads: Vec<_> = (0..8).map(|i| s.spawn(move || ask(i))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(secrets.iter().all(|secret| **secret == *secrets[0]));
    assert_ne!(*secrets[0], [0; 32]);
    assert_ne!(*stores[0].secret("cookie").unwrap(), *secrets[0]);
    drop(stores);
    assert_eq!(*db.open().secret("challenge").unwrap(), *secrets[0]);
}

fn a_deleted_server_leaves_nothing(db: &dyn Database) {
    let store = db.open();
    let fill = |server: &str| {
        let ca = store
            .install(NewAuthority { server: server.into(), ..new_authority(Role::Ca, 1) }, None)
            .unwrap();
        store.add_password(server, password(1, None)).unwrap();
        let intent = NewIntent { authority: Some(ca.id), server: server.into(), ..new_intent() };
        let new =
            NewEnrollment { server: server.into(), submission: Submission::Issue(intent), ..request(1) };
        let serial = store.submit(new).unwrap().intent.unwrap().serial;
        store.keep(server, issued(&serial)).unwrap();
        store.submit(NewEnrollment { server: server.into(), ..request(2) }).unwrap();
        let crl = Crl { authority: ca.id, number: 1, this_update: NOW, next_update: NOW, der: vec![1] };
        store.keep_crl(server, crl).unwrap();
        ca.id
    };
    let (mine, other) = (fill(CA), fill(OTHER));
    let secret = store.secret("challenge").unwrap();
    store.delete_server(CA).unwrap();

    assert_eq!(store.authorities(CA).unwrap(), []);
    assert_eq!(store.enrollments(CA, 0, 10).unwrap(), []);
    assert_eq!(store.certificates(CA, None, 10).unwrap(), []);
    assert_eq!(store.pending(CA).unwrap(), 0);
    assert_eq!(store.last_serial(CA).unwrap(), None);
    assert_eq!(store.crl(CA, mine).unwrap(), None);
    assert!(!store.has_passwords(CA).unwrap());

    assert_eq!(store.authorities(OTHER).unwrap()[0].id, other);
    assert_eq!(store.enrollments(OTHER, 0, 10).unwrap().len(), 2);
    assert_eq!(store.certificates(OTHER, None, 10).unwrap().len(), 1);
    assert_eq!(store.pending(OTHER).unwrap(), 1);
    assert!(store.crl(OTHER, other).unwrap().is_some());
    assert!(store.has_passwords(OTHER).unwrap());
    assert_eq!(*store.secret("challenge").unwrap(), *secret);

    // Its numbers start again, but not those of its authorities.
    assert!(fill(CA) > other);
    assert_eq!(store.last_serial(CA).unwrap(), Some(Serial::from(1)));
    store.delete_server("never was").unwrap();
}

// ---- crashes and crowds

fn a_crash_leaves_the_intent(db: &dyn Database) {
    let store = db.open();
    let intent = issue(&*store, 1).intent.unwrap();
    // Nothing is said goodbye to, as in a crash.
    std::mem::forget(store);
    let store = db.open();
    assert_eq!(store.unfinished(CA).unwrap(), std::slice::from_ref(&intent));
    assert_eq!(issue(&*store, 1).intent, Some(intent.clone()));
    store.keep(CA, issued(&intent.serial)).unwrap();
    assert_eq!(store.unfinished(CA).unwrap(), []);
    assert_eq!(store.enrollment(CA, 1).unwrap().unwrap().state, State::Granted);
    assert_eq!(issue(&*store, 2).intent.unwrap().serial, Serial::from(2));
}

fn a_panicking_builder_changes_nothing(db: &dyn Database) {
    let store = db.open();
    store.add_password(CA, password(100, None)).unwrap();
    let submit = |tbs: fn(&Serial) -> Vec<u8>| {
        let intent = NewIntent { tbs: Box::new(tbs), ..new_intent() };
        let claim = Some(digest(100));
        store.submit(NewEnrollment { submission: Submission::Issue(intent), claim, ..request(1) })
    };
    assert!(matches!(submit(|_| panic!("on purpose")), Err(StoreError::Unavailable { .. })));
    assert_eq!(store.enrollments(CA, 0, 10).unwrap(), []);
    assert_eq!(store.unfinished(CA).unwrap(), []);
    assert_eq!(store.password(CA, &digest(100)).unwrap().unwrap().used_by, None);
    let submitted = submit(tbs).unwrap();
    assert_eq!((submitted.enrollment.id, submitted.enrollment.serial), (1, Some(Serial::from(1))));
}

fn one_of_fifty_gets_in_with_one_password(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    stores[0].add_password(CA, password(100, None)).unwrap();
    let results = crowd(50, |i| {
        let intent = Submission::Issue(new_intent());
        let claim = Some(digest(100));
        stores[i % 2].submit(NewEnrollment { claim, submission: intent, ..request(i as u64) })
    });
    let fresh: Vec<&Submitted> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    assert_eq!(fresh.len(), 1);
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::ClaimRefused))));
    let used_by = stores[0].password(CA, &digest(100)).unwrap().unwrap().used_by;
    assert_eq!(used_by, Some(fresh[0].enrollment.identity));
    assert_eq!(stores[1].enrollments(CA, 0, 10).unwrap(), [fresh[0].enrollment.clone()]);
    assert_eq!(stores[0].last_serial(CA).unwrap(), Some(Serial::from(1)));
}

fn fifty_repetitions_are_one_enrollment(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let results = crowd(50, |i| {
        let submission = Submission::Issue(new_intent());
        stores[i % 2].submit(NewEnrollment { submission, cost: cost(0, 1), ..request(1) }).unwrap()
    });
    assert_eq!(results.iter().filter(|r| !r.known).count(), 1);
    assert!(results.iter().all(|r| r.enrollment.id == 1 && r.intent == results[0].intent));
    assert_eq!(stores[0].unfinished(CA).unwrap().len(), 1);
    assert_eq!(stores[0].enrollment(CA, 1).unwrap().unwrap().cost, cost(0, 50));
}

fn serial_numbers_are_unique_and_without_gaps(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let rounds = 40;
    let serials: Vec<Vec<Serial>> = crowd(16, |i| {
        (0..rounds).map(|_| stores[i % 2].intend(new_intent(), None).unwrap().serial).collect()
    });
    assert!(serials.iter().all(|mine| mine.is_sorted_by_key(|s| s.to_u64())));
    let mut all: Vec<u64> = serials.concat().iter().map(|s| s.to_u64().unwrap()).collect();
    all.sort();
    assert_eq!(all, (1..=16 * rounds).collect::<Vec<u64>>());
}

fn everybody_gets_the_same_certificate(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let serial = issue(&*stores[0], 1).intent.unwrap().serial;
    let kept = crowd(16, |i| {
        stores[i % 2].keep(CA, Issued { der: vec![i as u8; 20], ..issued(&serial) }).unwrap().der
    });
    assert!(kept.iter().all(|der| *der == kept[0]));
    assert_eq!(stores[0].certificate(CA, &serial).unwrap().unwrap().der, kept[0]);
}

fn the_limit_holds_in_a_crowd(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let results =
        crowd(32, |i| stores[i % 2].submit(NewEnrollment { max_pending: 10, ..request(i as u64) }).is_ok());
    assert_eq!(results.iter().filter(|ok| **ok).count(), 10);
    assert_eq!(stores[0].pending(CA).unwrap(), 10);
}

fn who_wrote_reads_it(db: &dyn Database) {
    let store = db.open();
    crowd(8, |i| {
        for n in 0..50 {
            let id = store.submit(request((i * 50 + n) as u64)).unwrap().enrollment.id;
            assert!(store.enrollment(CA, id).unwrap().is_some());
            store.advance(CA, id, State::Pending, State::Denied, None, NOW).unwrap();
            assert_eq!(store.enrollment(CA, id).unwrap().unwrap().state, State::Denied);
        }
    });
}

/// What is asked per request costs the same among 100,000 as among a few.
fn a_hundred_thousand_may_pend(db: &dyn Database) {
    const MANY: u64 = 100_000;
    let store = db.open();
    let next = AtomicU64::new(0);
    let started = Instant::now();
    crowd(64, |_| {
        while let n = next.fetch_add(1, Ordering::Relaxed)
            && n < MANY
        {
            let new = NewEnrollment { csr: vec![0x30; 600], max_pending: MANY, ..request(n) };
            assert!(!store.submit(new).unwrap().known);
        }
    });
    println!("{MANY} submitted in {:?}", started.elapsed());
    assert_eq!(store.pending(CA).unwrap(), MANY);
    assert!(matches!(
        store.submit(NewEnrollment { max_pending: MANY, ..request(MANY) }),
        Err(StoreError::Full)
    ));

    for n in 0..10 {
        store.submit(NewEnrollment { server: OTHER.into(), ..request(n) }).unwrap();
    }
    let page = |after| best(|| drop(store.enrollments(CA, after, 100).unwrap()));
    let (first, middle, last) = (page(0), page(MANY / 2), page(MANY - 100));
    println!("pages of 100: {first:?}, {middle:?}, {last:?}");
    assert!(middle < first * 5 && last < first * 5, "{first:?} {middle:?} {last:?}");

    let pending = |server| best(|| assert!(store.pending(server).unwrap() > 0));
    let (few, many) = (pending(OTHER), pending(CA));
    println!("pending: {few:?}, {many:?}");
    assert!(many < few * 10, "{few:?} {many:?}");

    let repeat = |server: &str| {
        best(|| assert!(store.submit(NewEnrollment { server: server.into(), ..request(5) }).unwrap().known))
    };
    let (few, many) = (repeat(OTHER), repeat(CA));
    println!("repetition: {few:?}, {many:?}");
    assert!(many < few * 10, "{few:?} {many:?}");

    let mut seen = 0;
    let mut after = 0;
    while let page = store.enrollments(CA, after, 1000).unwrap()
        && let Some(last) = page.last()
    {
        seen += page.len() as u64;
        after = last.id;
    }
    assert_eq!((seen, after), (MANY, MANY));
}

// ---- values

const CA: &str = "mycs";
const OTHER: &str = "other";
const NOW: Time = Time::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

/// A distinct digest for each number.
fn digest(n: u64) -> [u8; 32] {
    let mut digest = [0xA5; 32];
    // In front, and scattered as those of a hash are.
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    digest
}

fn cost(signatures: u32, decryptions: u32) -> Cost {
    Cost { signatures, decryptions, micros: 1000 * u64::from(signatures + decryptions) }
}

/// A router's request that will pend.
fn request(n: u64) -> NewEnrollment {
    NewEnrollment {
        server: CA.into(),
        class: Class::Router,
        transaction: n.to_string().into_bytes(),
        identity: digest(n),
        csr: vec![0x30; 40],
        signer_key: digest(n),
        subject: format!("CN=r{n}"),
        source: "terminal".into(),
        now: NOW,
        reuse: Reuse::UntilHalfLife,
        claim: None,
        max_pending: 1000,
        submission: Submission::Pend,
        cost: Cost::default(),
    }
}

fn new_intent() -> NewIntent {
    NewIntent {
        server: CA.into(),
        authority: None,
        serial: SerialRule::Sequential,
        tbs: Box::new(tbs),
        now: NOW,
    }
}

fn new_authority(role: Role, n: u8) -> NewAuthority {
    NewAuthority {
        server: CA.into(),
        role,
        token: "usbtoken0".into(),
        key_label: format!("key {n}"),
        certificate: vec![n; 40],
    }
}

fn tbs(serial: &Serial) -> Vec<u8> {
    format!("tbs {serial}").into_bytes()
}

fn der(serial: &Serial) -> Vec<u8> {
    format!("certificate {serial}").into_bytes()
}

/// Valid for 100 days.
fn issued(serial: &Serial) -> Issued {
    Issued {
        serial: serial.clone(),
        der: der(serial),
        subject: "CN=r1".into(),
        key: digest(5),
        not_before: NOW,
        not_after: NOW.plus(DAY * 100),
        cost: Cost::default(),
        now: NOW,
    }
}

/// Lives for an hour.
fn password(n: u64, subject: Option<&str>) -> Password {
    Password {
        digest: digest(n),
        subject: subject.map(str::to_owned),
        created: NOW,
        expires: NOW.plus(HOUR),
        used_by: None,
    }
}

fn issue(store: &dyn Store, n: u64) -> Submitted {
    store.submit(NewEnrollment { submission: Submission::Issue(new_intent()), ..request(n) }).unwrap()
}

/// Gives the ReqID.
fn grant(store: &dyn Store, n: u64) -> u64 {
    let submitted = issue(store, n);
    store.keep(CA, issued(&submitted.intent.unwrap().serial)).unwrap();
    submitted.enrollment.id
}

fn revoked(store: &dyn Store, authority: u64, at: Time) -> Vec<(Serial, Revocation)> {
    let mut list = Vec::new();
    store
        .revoked(CA, authority, at, &mut |serial, revocation| list.push((serial.clone(), revocation)))
        .unwrap();
    list
}

/// Runs `work` in so many threads, which start together.
fn crowd<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|s| {
        let threads: Vec<_> = (0..threads)
            .map(|i| {
                let (barrier, work) = (&barrier, &work);
                s.spawn(move || {
                    barrier.wait();
                    work(i)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The shortest of many runs: what it takes when nobody else is in the way.
fn best(run: impl Fn()) -> Duration {
    let time = || {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    (0..50).map(|_| time()).min().unwrap()
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
}

// ---- backends

struct SqliteFile {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl SqliteFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("tokenca.db"), _dir: dir }
    }
}

impl Database for SqliteFile {
    fn open(&self) -> Box<dyn Store> {
        Box::new(Sqlite::open(&self.path).unwrap())
    }
}

/// One module per backend with every test of the contract. One that is not listed is dead code, and so
/// a warning.
macro_rules! suite {
    ($($backend:ident: $database:expr;)+ => $tests:tt) => {
        $(mod $backend {
            use super::*;
            suite!(@tests $database, $tests);
        })+
    };
    (@tests $database:expr, [$($test:ident,)+]) => {
        $(#[test]
        fn $test() {
            super::$test(&$database);
        })+
    };
}

suite! {
    sqlite: SqliteFile::new();
    => [
        authorities_are_listed_oldest_first,
        a_role_has_one_active_authority,
        a_submission_pends,
        request_numbers_count_per_server_and_never_return,
        a_transaction_is_found_by_identifier_and_key,
        an_issue_is_recorded_with_its_intent,
        a_repetition_is_known,
        a_repetition_of_an_authorized_one_gets_its_intent,
        a_granted_one_is_repeated_in_the_first_half_of_its_life,
        a_revoked_one_is_not_repeated,
        the_newest_acceptable_one_is_repeated,
        no_more_than_the_limit_pend,
        a_password_is_claimed_once,
        a_refused_submission_gives_the_password_back,
        enrollments_come_in_pages,
        an_enrollment_advances_from_the_state_assumed,
        only_intents_and_certificates_authorize_and_grant,
        an_enrollment_is_removed_but_not_its_certificate,
        old_enrollments_expire,
        an_intent_authorizes_its_enrollment,
        an_intent_needs_no_enrollment,
        the_first_certificate_kept_wins,
        a_certificate_without_intent_is_not_kept,
        an_abandoned_intent_leaves_its_number_used,
        unfinished_intents_come_oldest_first,
        certificates_come_in_pages_in_the_order_of_issue,
        serial_numbers_follow_their_rule,
        a_serial_number_of_any_length_may_be_asked_for,
        a_certificate_is_revoked_once,
        revoked_certificates_are_listed_per_authority,
        the_list_is_a_snapshot,
        crl_numbers_ascend,
        a_new_password_replaces_the_live_one_without_subject,
        expired_passwords_are_forgotten,
        a_secret_is_made_once,
        a_deleted_server_leaves_nothing,
        a_crash_leaves_the_intent,
        a_panicking_builder_changes_nothing,
        one_of_fifty_gets_in_with_one_password,
        fifty_repetitions_are_one_enrollment,
        serial_numbers_are_unique_and_without_gaps,
        everybody_gets_the_same_certificate,
        the_limit_holds_in_a_crowd,
        who_wrote_reads_it,
        a_hundred_thousand_may_pend,
    ]
}
