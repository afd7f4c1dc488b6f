//! How long certificates are valid.

use super::*;

#[test]
fn a_month_is_left_before_the_ca_ends() {
    // Lifetime of the CA, that configured for certificates, when one is issued, and for how long, in days.
    for (ca, certificate, age, expected) in [
        (1095, 365, 0, 365),
        (365, 365, 0, 335),
        (365, 335, 0, 335),
        (365, 334, 0, 334),
        (365, 365, 30, 335),
        (365, 365, 31, 334),
        (365, 365, 364, 1),
        (61, 365, 0, 31),
        (60, 365, 0, 60),
        (60, 365, 10, 50),
        (1, 365, 0, 1),
    ] {
        let lab = Lab::founded(Settings {
            ca_lifetime: DAY * ca,
            certificate_lifetime: DAY * certificate,
            ..settings()
        });
        let now = NOW.plus(DAY * age);
        let issued = lab.issue("CN=r1", now);
        assert_eq!(issued.not_before(), now);
        let days = issued.not_after().since(now).as_secs() as f64 / DAY.as_secs_f64();
        assert_eq!(days, f64::from(expected), "CA {ca}, certificate {certificate}, after {age}");
    }
}

#[test]
fn nothing_outlives_the_ca() {
    let lab = Lab::founded(Settings { ca_lifetime: DAY * 60 + SECOND, ..settings() });
    let end = lab.ca().certificate().not_after();
    assert_eq!(lab.issue("CN=r1", NOW).not_after(), NOW.plus(DAY * 30 + SECOND));
    assert_eq!(lab.issue("CN=r2", NOW.plus(DAY * 40)).not_after(), end);
    let late = |now| lab.ca().issue(approved("CN=r3"), application("CN=r3"), &Meter::new(), now);
    assert!(late(end).is_ok());
    assert!(matches!(late(end.plus(SECOND)), Err(CaError::NotValidNow(..))));
    assert!(matches!(late(NOW.minus(SECOND)), Err(CaError::NotValidNow(..))));
}

#[test]
fn keys_for_scep_live_as_long_as_the_ca() {
    let lab = Lab::founded(settings());
    let (ca, place) = (lab.ca(), ("usbtoken0", "mycs.scep-sign"));
    let later = NOW.plus(DAY * 10);
    let key = DEVICE_KEY.as_ref();
    let authority = ca.certify_scep_key(ca.active(), Role::RaSign, key, place, &Meter::new(), later);
    let authority = authority.expect("an RA");
    let certificate = Certificate::parse(&authority.certificate).expect("a certificate");
    assert_eq!(certificate.not_after(), ca.certificate().not_after());
}
