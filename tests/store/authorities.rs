//! Under which certificates a server acts.

use super::*;

pub fn authorities_are_listed_oldest_first(db: &dyn Database) {
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
        phase: Phase::Active,
    };
    assert_eq!(sign, expected);
    assert_eq!(store.authorities(CA).unwrap(), [ca, sign, decrypt]);
    assert_eq!(store.authorities(OTHER).unwrap(), []);
}

pub fn a_role_has_one_active_authority(db: &dyn Database) {
    let store = db.open();
    let old = store.install(new_authority(Role::Ca, 1), None).unwrap();
    assert_conflict(store.install(new_authority(Role::Ca, 2), None));
    assert_not_found(store.install(new_authority(Role::Ca, 2), Some(old.id + 100)));
    let elsewhere =
        store.install(NewAuthority { server: OTHER.into(), ..new_authority(Role::Ca, 9) }, None).unwrap();
    assert_not_found(store.install(new_authority(Role::Ca, 2), Some(elsewhere.id)));

    let new = store.install(new_authority(Role::Ca, 2), Some(old.id)).unwrap();
    let retired = Authority { phase: Phase::Retired, ..old };
    assert_eq!(store.authorities(CA).unwrap(), [retired.clone(), new.clone()]);

    assert_conflict(store.install(new_authority(Role::Ca, 3), Some(retired.id)));
    assert_conflict(store.install(new_authority(Role::RaSign, 3), Some(new.id)));
    assert_eq!(store.authorities(CA).unwrap(), [retired, new]);
}

pub fn a_next_authority_waits_and_takes_over(db: &dyn Database) {
    let store = db.open();
    assert_not_found(store.activate(CA));
    let old = store.install(new_authority(Role::Ca, 1), None).unwrap();
    let sign = store.install(new_authority(Role::RaSign, 2), None).unwrap();
    assert_not_found(store.activate(CA));
    let next = store.prepare(new_authority(Role::Ca, 3)).unwrap();
    assert_eq!((next.phase, next.key_label.as_str()), (Phase::Next, "key 3"));
    assert_conflict(store.prepare(new_authority(Role::Ca, 4)));
    // It is in nobody's way until then.
    assert_conflict(store.install(new_authority(Role::Ca, 4), None));
    let other = NewAuthority { server: OTHER.into(), ..new_authority(Role::Ca, 9) };
    let other = store.prepare(other).unwrap();

    // A role without a next one stays as it is.
    let active = Authority { phase: Phase::Active, ..next.clone() };
    assert_eq!(store.activate(CA).unwrap(), [sign.clone(), active.clone()]);
    let retired = Authority { phase: Phase::Retired, ..old };
    assert_eq!(store.authorities(CA).unwrap(), [retired, sign.clone(), active.clone()]);
    assert_not_found(store.activate(CA));
    assert_eq!(store.authorities(OTHER).unwrap(), [other]);

    // All roles at once.
    let third =
        [Role::Ca, Role::RaSign, Role::RaDecrypt].map(|role| store.prepare(new_authority(role, 5)).unwrap());
    let active = third.map(|next| Authority { phase: Phase::Active, ..next });
    assert_eq!(store.activate(CA).unwrap(), active);
    let phases: Vec<_> = store.authorities(CA).unwrap().iter().map(|a| a.phase).collect();
    assert_eq!(phases, [[Phase::Retired; 3], [Phase::Active; 3]].concat());
}

pub fn a_next_authority_of_scep_may_be_replaced(db: &dyn Database) {
    let store = db.open();
    let ca = store.prepare(new_authority(Role::Ca, 1)).unwrap();
    let old = store.prepare(new_authority(Role::RaSign, 2)).unwrap();
    let acting = store.install(new_authority(Role::RaSign, 3), None).unwrap();
    for (role, replaced) in [(Role::Ca, &ca), (Role::RaDecrypt, &old), (Role::RaSign, &acting)] {
        assert_conflict(store.replace_next(new_authority(role, 4), replaced.id));
    }
    assert_not_found(store.replace_next(new_authority(Role::RaSign, 4), 999));
    let new = store.replace_next(new_authority(Role::RaSign, 4), old.id).unwrap();
    assert_eq!(new.phase, Phase::Next);
    let discarded = Authority { phase: Phase::Discarded, ..old };
    assert_eq!(store.authorities(CA).unwrap(), [ca, discarded.clone(), acting, new]);
    assert_conflict(store.replace_next(new_authority(Role::RaSign, 5), discarded.id));
}

pub fn a_next_authority_is_taken_back_with_what_it_signed(db: &dyn Database) {
    let store = db.open();
    let taken_back = Revocation { at: NOW, reason: 5 };
    assert_not_found(store.discard_next(CA, taken_back));
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap();
    let next = store.prepare(new_authority(Role::Ca, 2)).unwrap();
    let by = |authority: u64| NewIntent { authority: Some(authority), ..new_intent() };
    let pend = |n, authority| store.submit(NewEnrollment { authority, ..request(n) }).unwrap().enrollment.id;
    let submit = |n, authority| submit_for(&*store, n, authority).unwrap();
    let serial = |submitted: Submitted| submitted.intent.unwrap().serial;
    let (current, shadow, held) =
        (serial(submit(1, ca.id)), serial(submit(2, next.id)), serial(submit(3, next.id)));
    let (begun, waits, others) = (submit(4, next.id).enrollment.id, pend(5, Some(next.id)), pend(6, None));
    for serial in [&current, &shadow, &held] {
        store.keep(CA, issued(serial)).unwrap();
    }
    let hold = Revocation { at: NOW, reason: 6 };
    store.revoke(CA, &held, hold).unwrap();

    let discarded = Authority { phase: Phase::Discarded, ..next.clone() };
    assert_eq!(store.discard_next(CA, taken_back).unwrap(), std::slice::from_ref(&discarded));
    assert_eq!(store.authorities(CA).unwrap(), [ca.clone(), discarded]);
    assert_not_found(store.discard_next(CA, taken_back));
    assert_not_found(store.activate(CA));
    assert_eq!(revoked(&*store, ca.id, Omit::NOTHING), []);
    assert_eq!(revoked(&*store, next.id, Omit::NOTHING), [(shadow, taken_back), (held, hold)]);
    assert_eq!(store.unfinished(CA).unwrap(), []);
    for id in [begun, waits] {
        let denied = store.enrollment(CA, id).unwrap().unwrap();
        assert_eq!((denied.state, denied.serial, denied.authority), (State::Denied, None, Some(next.id)));
        assert_eq!(denied.reason.as_deref(), Some("the next CA certificate was taken back"));
    }
    let other = store.enrollment(CA, others).unwrap().unwrap();
    assert_eq!((other.state, other.authority), (State::Pending, None));
    assert_eq!(store.pending(CA).unwrap(), 1);
    // Whoever has it in hand still signs nothing with it any more.
    assert_conflict(submit_for(&*store, 7, next.id));
    assert_conflict(store.submit(NewEnrollment { authority: Some(next.id), ..request(8) }));
    assert_conflict(store.intend(by(next.id), Some((others, State::Pending))));
    assert_eq!(store.pending(CA).unwrap(), 1);
    // Another may be prepared.
    assert_eq!(store.prepare(new_authority(Role::Ca, 3)).unwrap().phase, Phase::Next);
}

pub fn what_an_authority_issued_is_counted(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    assert_eq!(store.issued_by(CA, ca).unwrap(), IssuedBy::default());
    let keep = |intent: Intent, days| {
        let certificate = Issued { not_after: NOW.plus(DAY * days), ..issued(&intent.serial) };
        store.keep(CA, certificate).unwrap();
    };
    let by = || NewIntent { authority: Some(ca), ..new_intent() };
    keep(store.intend(by(), None).unwrap(), 7);
    let submission = Submission::Issue(by());
    keep(store.submit(NewEnrollment { submission, ..request(1) }).unwrap().intent.unwrap(), 5);
    // Neither an intent nor its own certificate counts.
    store.intend(by(), None).unwrap();
    keep(store.intend(new_intent(), None).unwrap(), 900);
    let expected = IssuedBy { count: 2, enrolled: 1, last_end: Some(NOW.plus(DAY * 7)) };
    assert_eq!(store.issued_by(CA, ca).unwrap(), expected);
    assert_eq!(store.issued_by(OTHER, ca).unwrap(), IssuedBy::default());
}

pub fn who_would_be_left_behind_is_known(db: &dyn Database) {
    let store = db.open();
    let ca = store.install(new_authority(Role::Ca, 1), None).unwrap().id;
    let next = store.prepare(new_authority(Role::Ca, 2)).unwrap().id;
    let enroll = |n: u64, subject: &str, authority, end: Duration| {
        let intent = NewIntent { authority: Some(authority), ..new_intent() };
        let new = NewEnrollment { submission: Submission::Issue(intent), ..request(n) };
        let serial = store.submit(new).unwrap().intent.unwrap().serial;
        let certificate = Issued { subject: subject.into(), not_after: NOW.plus(end), ..issued(&serial) };
        store.keep(CA, certificate).unwrap();
        serial
    };
    for (n, subject) in ["CN=d", "CN=b", "CN=c", "CN=a", "CN=a", "CN=gone"].into_iter().enumerate() {
        enroll(n as u64 + 1, subject, ca, DAY);
    }
    enroll(10, "CN=expired", ca, DAY - HOUR);
    let gone = store.enrollment(CA, 6).unwrap().unwrap().serial.unwrap();
    store.revoke(CA, &gone, Revocation { at: NOW, reason: 1 }).unwrap();
    // A key of the server's own is no device.
    let own = NewIntent { authority: Some(ca), ..new_intent() };
    store.keep(CA, issued(&store.intend(own, None).unwrap().serial)).unwrap();
    enroll(11, "CN=c", next, DAY * 9);
    let revoked = enroll(12, "CN=b", next, DAY * 9);
    store.revoke(CA, &revoked, Revocation { at: NOW, reason: 1 }).unwrap();
    // One that has a certificate of the next CA only is in nobody's count.
    enroll(13, "CN=new", next, DAY * 9);

    let left = |limit| store.left_behind(CA, ca, next, NOW.plus(DAY), limit).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let expected = LeftBehind { missing: 3, ready: 1, subjects: names(&["CN=a", "CN=b", "CN=d"]) };
    assert_eq!(left(10), expected);
    assert_eq!(left(2), LeftBehind { subjects: names(&["CN=a", "CN=b"]), ..expected });
    assert_eq!(store.left_behind(OTHER, ca, next, NOW, 10).unwrap(), LeftBehind::default());
}

pub fn devices_of_an_adopted_ca_may_be_left_behind(db: &dyn Database) {
    let store = db.open();
    let known = |n: u64, subject: Option<&str>, der: bool| Adopted {
        serial: Serial::from(n),
        der: der.then(|| vec![0x30, n as u8]),
        subject: subject.map(str::to_owned),
        key: Some([n as u8; 32]),
        not_before: Some(NOW),
        not_after: Some(NOW.plus(DAY * 9)),
        revocation: None,
    };
    let (authority, last_serial) = (new_authority(Role::Ca, 1), Serial::from(9));
    let own = Adopted { der: Some(authority.certificate.clone()), ..known(1, Some("CN=ca"), true) };
    let revocation = Some(Revocation { at: NOW, reason: 1 });
    let certificates = vec![
        own,
        known(2, Some("CN=whole"), true),
        known(3, Some("CN=named"), false),
        known(4, None, false),
        Adopted { revocation, ..known(5, Some("CN=revoked"), true) },
        Adopted { not_after: Some(NOW.minus(HOUR)), ..known(6, Some("CN=expired"), true) },
    ];
    let adoption = Adoption { authority, certificates, last_serial, crl: None, now: NOW };
    let ca = store.adopt(adoption).unwrap().id;
    let next = store.prepare(new_authority(Role::Ca, 2)).unwrap().id;
    let left = store.left_behind(CA, ca, next, NOW, 10).unwrap();
    let subjects = ["CN=named", "CN=whole"].map(String::from).to_vec();
    assert_eq!(left, LeftBehind { missing: 2, ready: 0, subjects });
}

fn submit_for(store: &dyn Store, n: u64, authority: u64) -> Result<Submitted, StoreError> {
    let intent = NewIntent { authority: Some(authority), ..new_intent() };
    let submission = Submission::Issue(intent);
    store.submit(NewEnrollment { submission, authority: Some(authority), ..request(n) })
}
