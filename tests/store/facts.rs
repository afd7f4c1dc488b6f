//! The journal, marks and the time.

use super::*;

pub fn the_journal_is_read_backwards(db: &dyn Database) {
    let store = db.open();
    assert_eq!(store.journal(None, 10).unwrap(), []);
    let entry = |number: u64| JournalEntry {
        number,
        at: NOW.plus(HOUR * number as u32),
        uid: number.is_multiple_of(2).then_some(1000),
        user: format!("user {number}"),
        command: "crypto pki server mycs grant all".into(),
        outcome: "done".into(),
    };
    for number in 1..=5 {
        // The number that it comes with does not matter.
        store.add_journal(JournalEntry { number: 77, ..entry(number) }).unwrap();
    }
    assert_eq!(store.journal(None, 2).unwrap(), [5, 4].map(entry));
    assert_eq!(store.journal(Some(4), 10).unwrap(), [3, 2, 1].map(entry));
    assert_eq!(store.journal(Some(1), 10).unwrap(), []);
    assert_eq!(db.open().journal(None, usize::MAX).unwrap().len(), 5);
}

pub fn marks_are_set_and_forgotten(db: &dyn Database) {
    let store = db.open();
    let mine = format!("server {CA}");
    assert_eq!(store.mark(&mine, "published").unwrap(), None);
    store.set_mark(&mine, "published", None).unwrap();
    store.set_mark(&mine, "published", Some("0x7")).unwrap();
    store.set_mark(&mine, "published", Some("0x8")).unwrap();
    store.set_mark(&mine, "archived", Some("")).unwrap();
    store.set_mark("key mycs", "generated", Some("1800000000")).unwrap();
    store.set_mark(&format!("server {OTHER}"), "published", Some("0x9")).unwrap();
    assert_eq!(db.open().mark(&mine, "published").unwrap().as_deref(), Some("0x8"));
    assert_eq!(store.mark(&mine, "archived").unwrap().as_deref(), Some(""));
    assert_eq!(store.mark("server", "published").unwrap(), None);
    store.set_mark(&mine, "archived", None).unwrap();
    assert_eq!(store.mark(&mine, "archived").unwrap(), None);

    store.delete_server(CA).unwrap();
    assert_eq!(store.mark(&mine, "published").unwrap(), None);
    assert!(store.mark("key mycs", "generated").unwrap().is_some());
    assert!(store.mark(&format!("server {OTHER}"), "published").unwrap().is_some());
}

pub fn the_latest_time_is_remembered(db: &dyn Database) {
    let stores = [db.open(), db.open()];
    assert_eq!(stores[0].note_time(NOW).unwrap(), NOW);
    assert_eq!(stores[0].note_time(NOW.plus(DAY)).unwrap(), NOW.plus(DAY));
    assert_eq!(stores[1].note_time(NOW).unwrap(), NOW.plus(DAY));
    assert_eq!(stores[1].note_time(Time::default()).unwrap(), NOW.plus(DAY));
    let latest = crowd(8, |i| stores[i % 2].note_time(NOW.plus(DAY * (2 + i as u32))).unwrap());
    assert_eq!(latest.into_iter().max(), Some(NOW.plus(DAY * 9)));
    drop(stores);
    assert_eq!(db.open().note_time(NOW).unwrap(), NOW.plus(DAY * 9));
    db.open().forget_time().unwrap();
    assert_eq!(db.open().note_time(NOW).unwrap(), NOW);
}
