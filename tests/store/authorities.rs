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
        retired: false,
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
    let retired = Authority { retired: true, ..old };
    assert_eq!(store.authorities(CA).unwrap(), [retired.clone(), new.clone()]);

    assert_conflict(store.install(new_authority(Role::Ca, 3), Some(retired.id)));
    assert_conflict(store.install(new_authority(Role::RaSign, 3), Some(new.id)));
    assert_eq!(store.authorities(CA).unwrap(), [retired, new]);
}
