//! CRLs of other CAs.

use super::*;

pub fn crls_of_others_are_kept_until_they_end(db: &dyn Database) {
    let store = db.open();
    let crl = |key: u8, hours: u32| FetchedCrl {
        origin: CrlOrigin {
            issuer_key: [key; 32],
            issuer: format!("cn=ca{key}"),
            source: format!("http://192.0.2.{key}/ca.crl"),
            fetched: NOW,
            this_update: NOW.plus(HOUR * hours),
            next_update: NOW.plus(HOUR * (hours + 24)),
        },
        der: vec![key; 1000 * usize::from(key)].into(),
    };
    assert_eq!(store.fetched_crl(&[1; 32]).unwrap(), None);
    for new in [crl(2, 0), crl(1, 0)] {
        store.keep_fetched(new).unwrap();
    }
    assert_eq!(store.fetched_crl(&[1; 32]).unwrap(), Some(crl(1, 0)));
    assert_eq!(db.open().fetched_crls().unwrap(), [crl(1, 0).origin, crl(2, 0).origin]);

    store.keep_fetched(crl(1, 5)).unwrap();
    // The same once more, as somebody asked for it again.
    store.keep_fetched(crl(1, 5)).unwrap();
    assert!(matches!(store.keep_fetched(crl(1, 4)), Err(StoreError::Conflict)));
    assert_eq!(store.fetched_crl(&[1; 32]).unwrap(), Some(crl(1, 5)));

    assert_eq!(store.forget_fetched(NOW.plus(HOUR * 24)).unwrap(), 0);
    assert_eq!(store.forget_fetched(NOW.plus(HOUR * 25)).unwrap(), 1);
    assert_eq!(store.fetched_crls().unwrap(), [crl(1, 5).origin]);
}
