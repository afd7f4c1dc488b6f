//! One-time passwords, secrets, and the end of a server.

use super::*;

pub fn a_new_password_replaces_the_live_one_without_subject(db: &dyn Database) {
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

pub fn expired_passwords_are_forgotten(db: &dyn Database) {
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

pub fn a_secret_is_made_once(db: &dyn Database) {
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

pub fn a_deleted_server_leaves_nothing(db: &dyn Database) {
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
        store.keep_crl(server, crl(ca.id, 1, &[1])).unwrap();
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
