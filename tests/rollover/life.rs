//! The life of a CA and its devices over several generations.

use super::*;

stories! {

/// A CA and a device over two rollovers: nobody does anything, and the device always has a good certificate.
fn a_ca_rolls_over_by_itself(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100", "auto-rollover 40"]);
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    for generation in 2..=3 {
        let current = lab.ca();
        lab.wait_until(current.not_after().minus(DAY * 40 + SECOND));
        lab.has_no_next();
        let report = lab.server().rollover(0).unwrap();
        assert_eq!(report.timer, Some(current.not_after().minus(DAY * 40)));
        lab.wait(SECOND * 2);
        let next = lab.next();
        assert_eq!((next.not_before(), next.subject_raw()), (current.not_after(), current.subject_raw()));
        assert_eq!(next.not_after(), current.not_after().plus(DAY * 100));
        assert_eq!(lab.keys().len(), generation);
        assert!(lab.keys().contains(&format!("usbtoken0:mycs#{generation}")), "{:?}", lab.keys());
        assert!(String::from_utf8(lab.get(Asked::CaCaps)).unwrap().contains("GetNextCACert\n"));
        // Nothing else has changed: who does not know of rollover sees none.
        assert_eq!(lab.ca(), current);
        assert_eq!(lab.get(Asked::CaCert), current.der());
        openssl_accepts_root(&lab, &next);

        // The device renews for now, and for then.
        let (now, then) = (TestKey::new(), TestKey::new());
        let renewed = device.renew(&lab, &now, &current).certificate();
        lab.openssl_accepts(&renewed, &current, lab.now());
        let shadow = device.renew(&lab, &then, &next).certificate();
        assert_eq!(shadow.not_before(), current.not_after());
        lab.openssl_verifies(&shadow, &next, current.not_after(), &[]);

        lab.wait_until(current.not_after());
        assert_eq!(lab.ca(), next);
        assert_eq!(lab.get(Asked::CaCert), next.der());
        lab.has_no_next();
        let list = crl::Crl::parse(lab.get(Asked::Crl)).unwrap();
        assert!(list.verify_signed_by(next.public_key()).is_ok());
        support::until("the file has the new list", || {
            (fs::read(lab.state().join("mycs.crl")).unwrap() == list.der()[..]).then_some(())
        });
        lab.openssl_accepts(&shadow, &next, lab.now());
        device = Device { subject: device.subject, key: then, certificate: shadow };
        // The next renewal is one like every other.
        let again = device.renew(&lab, &TestKey::new(), &next).certificate();
        assert!(again.verify_signed_by(next.public_key()).is_ok());

        // The old key still owes a list, and then no more.
        let last = lab.crl_of(&current).number();
        lab.wait(DAY * 6);
        assert!(lab.crl_of(&current).number() > last);
        let last = lab.crl_of(&current).number();
        lab.wait(DAY * 8);
        assert_eq!(lab.crl_of(&current).number(), last);
    }
}

/// Whoever was off when the time came makes up for it at the start.
fn a_server_that_was_off_catches_up(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100", "auto-rollover 30"]);
    let first = lab.ca();
    lab.wait(DAY * 80);
    let next = lab.next();
    lab.stop();
    lab.clock.fetch_add((DAY * 25).as_secs(), Ordering::Relaxed);
    lab.start();
    assert_eq!(lab.ca(), next);
    assert!(crl::Crl::parse(lab.get(Asked::Crl)).unwrap().verify_signed_by(next.public_key()).is_ok());

    // Off for so long that the CA ended without a next one.
    lab.stop();
    lab.clock.fetch_add((DAY * 200).as_secs(), Ordering::Relaxed);
    lab.start();
    assert_eq!(lab.ca(), next);
    lab.wait(SECOND);
    let third = lab.ca();
    assert_ne!(third, next);
    assert!(third.is_valid_at(lab.now()));
    assert_eq!(third.subject_raw(), first.subject_raw());
    Device::new("CN=dev1").enrol(&lab);
}

/// The same with keys for SCEP of its own, and an EC CA.
fn keys_for_scep_roll_over_with_the_ca(dir: &Path) {
    let before = "crypto pki trustpoint mycs\n eckeypair mycs\n on usbtoken0:\n";
    let lab = Lab::with(dir, before, &["grant auto", "lifetime ca-certificate 100", "auto-rollover 40"]);
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    let current = lab.certificates();
    lab.wait(DAY * 65);
    let next = lab.next_certificates();
    for (new, old) in [(&next.decrypter, &current.decrypter), (&next.signer, &current.signer)] {
        assert!(new.verify_signed_by(next.ca.public_key()).is_ok());
        assert_ne!(new.public_key(), old.public_key());
        assert_eq!(new.not_before(), current.ca.not_after());
    }
    let mut keys = lab.keys();
    keys.sort();
    let labels = ["mycs", "mycs#2", "mycs#2.scep-decrypt", "mycs#2.scep-sign", "mycs.scep-decrypt", "mycs.scep-sign"];
    assert_eq!(keys, labels.map(|label| format!("usbtoken0:{label}")));

    // Still signed by the one of now, though it is asked of the next.
    let then = TestKey::new();
    let shadow = device.renew(&lab, &then, &next.decrypter).certificate();
    assert!(shadow.verify_signed_by(next.ca.public_key()).is_ok());
    lab.wait_until(current.ca.not_after());
    let now = lab.certificates();
    assert_eq!((now.ca, now.decrypter.clone(), now.signer), (next.ca, next.decrypter, next.signer));
    let device = Device { subject: device.subject, key: then, certificate: shadow };
    device.renew(&lab, &TestKey::new(), &now.decrypter).certificate();
}

/// An operator begins it, sees how far it is, and takes it back.
fn an_operator_begins_and_cancels(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto", "auto-rollover 30"]);
    let server = lab.server();
    let error = server.cancel_rollover().unwrap_err().to_string();
    assert_eq!(error, "there is no next CA certificate");
    server.roll_over().unwrap();
    let first = lab.next();
    let error = server.roll_over().unwrap_err().to_string();
    assert!(error.starts_with("the next CA certificate is there;"), "{error}");
    assert_eq!(lab.keys(), ["usbtoken0:mycs", "usbtoken0:mycs#2"]);
    assert_eq!(server.rollover_at_stake().unwrap(), 0);

    // With what it has signed it goes, and that is worth nothing any more.
    let mut devices = [Device::new("CN=dev1"), Device::new("CN=dev2")];
    for device in &mut devices {
        device.enrol(&lab);
    }
    let shadow = devices[0].renew(&lab, &TestKey::new(), &first).certificate();
    let report = server.rollover(10).unwrap();
    let clients = report.clients.unwrap();
    assert_eq!((clients.ready, clients.missing), (1, 1));
    assert_eq!(clients.subjects, ["cn=dev2"]);
    assert_eq!(report.fetched, 1);
    assert_eq!(server.rollover_at_stake().unwrap(), 1);
    assert_eq!(server.cancel_rollover().unwrap(), Vec::<String>::new());
    lab.has_no_next();
    assert_eq!(lab.keys(), ["usbtoken0:mycs"]);
    assert_eq!(server.rollover(0).unwrap().status, RolloverStatus::Cancelled);
    devices[0].renew(&lab, &TestKey::new(), &first).is_refused(FailInfo::BadMessageCheck);
    devices[0].renew(&lab, &TestKey::new(), &lab.ca()).certificate();
    let serial = shadow.serial();
    let error = server.revoke(serial, 1).unwrap_err().to_string();
    assert_eq!(error, format!("certificate {serial} is revoked already"));

    // It stays taken back until the operator says otherwise, also when its time comes.
    lab.wait(DAY * 1070);
    lab.has_no_next();
    lab.start();
    lab.wait(SECOND);
    lab.has_no_next();
    lab.server().roll_over().unwrap();
    let second = lab.next();
    assert_ne!(first.public_key(), second.public_key());
    assert_eq!(lab.keys(), ["usbtoken0:mycs", "usbtoken0:mycs#3"]);
    lab.wait(DAY * 26);
    assert_eq!(lab.ca(), second);
    assert_eq!(lab.server().rollover(0).unwrap().status, RolloverStatus::None);
}

/// What is configured when the next one is made counts for it.
fn the_next_ca_is_made_as_is_configured_then(dir: &Path) {
    let mut lab = Lab::new(dir, &["grant auto"]);
    let lines = "rsakeypair mycs 3072";
    lab.text = lab.text.replace("rsakeypair mycs 2048", lines);
    lab.text = lab.text.replace(" grant auto\n", " grant auto\n hash sha384\n lifetime ca-certificate 500\n");
    lab.start();
    assert_eq!(lab.server().report().unwrap().last_error, None);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.ca(), lab.next());
    assert_eq!(next.public_key().kind(), tokenca::pki::KeyKind::Rsa { bits: 3072 });
    assert_eq!(next.not_after(), current.not_after().plus(DAY * 500));
    assert_eq!(next.signature_algorithm().and_then(|algorithm| algorithm.hash()), Some(Hash::Sha384));
}

/// From a CA key that serves SCEP to one that cannot, and back.
fn the_next_ca_key_is_of_another_kind(dir: &Path) {
    use tokenca::pki::{Curve, KeyKind};
    let mut lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100", "auto-rollover 40"]);
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    for (before, line, kind) in [
        ("rsakeypair mycs 2048", "eckeypair mycs", KeyKind::Ec(Curve::P256)),
        ("eckeypair mycs", "rsakeypair mycs", KeyKind::Rsa { bits: 2048 }),
    ] {
        lab.text = lab.text.replace(before, line);
        lab.start();
        let current = lab.certificates();
        lab.wait_until(current.ca.not_after().minus(DAY * 35));
        let next = lab.next_certificates();
        assert_eq!(next.ca.public_key().kind(), kind);
        assert_eq!(next.decrypter == next.ca, kind == KeyKind::Rsa { bits: 2048 });
        let then = TestKey::new();
        let shadow = device.renew(&lab, &then, &next.decrypter).certificate();
        assert!(shadow.verify_signed_by(next.ca.public_key()).is_ok());

        lab.wait_until(current.ca.not_after());
        for _ in 0..2 {
            let now = lab.certificates();
            assert_eq!((now.ca, now.decrypter, now.signer), (next.ca.clone(), next.decrypter.clone(), next.signer.clone()));
            assert_eq!(lab.server().report().unwrap().last_error, None);
            lab.start();
        }
        device = Device { subject: device.subject, key: then, certificate: shadow };
        let again = device.renew(&lab, &TestKey::new(), &next.decrypter).certificate();
        lab.openssl_accepts(&again, &next.ca, lab.now());
    }
}

/// A key may go when nothing is left for it to sign, and not before.
fn keys_are_needed_until_they_owe_nothing(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    lab.server().roll_over().unwrap();
    let zeroize = |label: &str| {
        let mut keys = lab.node().keys().unwrap();
        keys.retain(|key| key.name == label);
        lab.node().zeroize_keys(&keys).map_err(|error| error.to_string())
    };
    let needed = |label: &str| {
        let error = format!("the key \"{label}\" is that of certificate server \"mycs\"; delete the server first");
        assert_eq!(zeroize(label), Err(error));
    };
    needed("mycs");
    needed("mycs#2");
    lab.wait(DAY * 101);
    needed("mycs");
    lab.wait(DAY * 28);
    zeroize("mycs").unwrap();
    needed("mycs#2");
    lab.wait(DAY);
    assert_eq!(lab.server().report().unwrap().last_error, None);
    assert_eq!(lab.keys(), ["usbtoken0:mycs#2"]);
}

/// Without `auto-rollover` nothing happens by itself.
fn nothing_rolls_over_unasked(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    let ca = lab.ca();
    lab.wait(DAY * 99);
    lab.has_no_next();
    lab.wait(DAY * 2);
    assert_eq!(lab.ca(), ca);
    assert_eq!(lab.keys(), ["usbtoken0:mycs"]);
}

/// The archive comes first: without it there is no rollover.
fn no_rollover_without_its_archive(dir: &Path) {
    let mut lab = Lab::stopped(
        dir,
        TRUSTPOINT,
        &["lifetime ca-certificate 100", "auto-rollover 30", "database archive pem password correct-horse"],
    );
    let text = lab.text.replace("no shutdown", "shutdown");
    let running = std::mem::replace(&mut lab.text, text);
    lab.start();
    let rsa = tokenca::pki::KeyKind::Rsa { bits: 2048 };
    lab.node().generate_key(None, "mycs", rsa, tokenca::node::Usage::General, true).unwrap();
    lab.text = running;
    lab.start();
    let nvram = lab.state();
    assert_eq!(lab.server().report().unwrap().last_error, None);
    assert!(nvram.join("mycs.pem").exists());
    // Something is in its way.
    fs::copy(nvram.join("mycs.pem"), nvram.join("mycs-2.pem")).unwrap();
    lab.wait(DAY * 75);
    lab.has_no_next();
    let error = lab.server().report().unwrap().last_error.unwrap();
    assert!(error.contains("mycs-2.pem is the archive of another CA and is not overwritten"), "{error}");
    // Not at each tick, but soon after it is gone; with the certificate that was begun.
    fs::remove_file(nvram.join("mycs-2.pem")).unwrap();
    lab.wait(SECOND);
    lab.has_no_next();
    lab.wait(SECOND * 60);
    let next = lab.next();
    assert_eq!(next.serial(), &tokenca::pki::Serial::from(2));
    let archive = fs::read(nvram.join("mycs-2.pem")).unwrap();
    let archive = tokenca::pki::archive::Archive::read(&archive, Some(&"correct-horse".into())).unwrap();
    assert_eq!(archive.certificates, [next.der().to_vec()]);
    assert_eq!(archive.key.unwrap().public_key().unwrap(), *next.public_key());
    assert_eq!(lab.server().report().unwrap().last_error, None);
}

}

/// OpenSSL and pkilint find nothing wrong with a root certificate and its CRL.
fn openssl_accepts_root(lab: &Lab, root: &Certificate) {
    let pem = tokenca::pki::archive::pem::write_certificate(root.der());
    let path = lab.dir.join("root.pem");
    fs::write(&path, pem).unwrap();
    support::opinion::lint_certificate(&path);
    let time = root.not_before().unix().to_string();
    let file = path.display().to_string();
    openssl(&["verify", "-x509_strict", "-check_ss_sig", "-attime", &time, "-CAfile", &file, &file])
        .success();
    let list = tokenca::pki::archive::pem::write("X509 CRL", &lab.get(Asked::CrlOf(root.key_identifier())));
    let path = lab.dir.join("root-crl.pem");
    fs::write(&path, list).unwrap();
    support::opinion::lint_crl(&path);
}
