//! Crashes, many at once, and a hundred thousand.

use super::*;

pub fn a_crash_leaves_the_intent(db: &dyn Database) {
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

pub fn a_panicking_builder_changes_nothing(db: &dyn Database) {
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

pub fn one_of_fifty_gets_in_with_one_password(db: &dyn Database) {
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

pub fn fifty_repetitions_are_one_enrollment(db: &dyn Database) {
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

pub fn serial_numbers_are_unique_and_without_gaps(db: &dyn Database) {
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

pub fn everybody_gets_the_same_certificate(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let serial = issue(&*stores[0], 1).intent.unwrap().serial;
    let kept = crowd(16, |i| {
        stores[i % 2].keep(CA, Issued { der: vec![i as u8; 20], ..issued(&serial) }).unwrap().der
    });
    assert!(kept.iter().all(|der| *der == kept[0]));
    assert_eq!(stores[0].certificate(CA, &serial).unwrap().unwrap().der, kept[0]);
}

pub fn the_limit_holds_in_a_crowd(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    let results =
        crowd(32, |i| stores[i % 2].submit(NewEnrollment { max_pending: 10, ..request(i as u64) }).is_ok());
    assert_eq!(results.iter().filter(|ok| **ok).count(), 10);
    assert_eq!(stores[0].pending(CA).unwrap(), 10);
}

pub fn who_wrote_reads_it(db: &dyn Database) {
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
pub fn a_hundred_thousand_may_pend(db: &dyn Database) {
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
