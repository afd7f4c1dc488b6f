//! CRLs: what is on them, for how long, and how they follow each other.

use std::path::Path;

use super::*;
use support::opinion::openssl;
use tokenca::pki::crl::{self, CrlBuilder, CrlHeader, Entry};
use tokenca::store::Revocation;

#[test]
fn an_entry_stays_until_it_was_on_a_crl_after_its_expiry() {
    let lab = Lab::founded(Settings { certificate_lifetime: DAY * 100, ..settings() });
    let ca = lab.ca();
    let (short, long) = (lab.issue("CN=short", NOW), lab.issue("CN=long", NOW.plus(DAY * 50)));
    let expiry = short.not_after();
    assert_eq!(listed(&ca, NOW), []);
    for certificate in [&short, &long] {
        ca.revoke(certificate.serial(), 1, NOW.plus(DAY)).unwrap();
    }
    let both = [short.serial().clone(), long.serial().clone()];
    assert_eq!(listed(&ca, NOW.plus(DAY)), both);
    assert_eq!(listed(&ca, expiry), both);
    // On the first list after the expiry, and on all within the life of a CRL from then on: who fetches one
    // when the last has ended sees it.
    assert_eq!(listed(&ca, expiry.plus(SECOND)), both);
    assert_eq!(listed(&ca, expiry.plus(DAY)), both);
    assert_eq!(listed(&ca, expiry.plus(DAY * 7)), both);
    assert_eq!(listed(&ca, expiry.plus(DAY * 7 + SECOND)), both[1..]);
    assert_eq!(listed(&ca, expiry.plus(DAY * 8)), both[1..]);
}

#[test]
fn after_a_long_silence_the_first_list_has_what_expired() {
    let lab = Lab::founded(Settings { certificate_lifetime: DAY * 100, ..settings() });
    let ca = lab.ca();
    let certificate = lab.issue("CN=r1", NOW);
    let serial = certificate.serial();
    assert_eq!(listed(&ca, NOW), []);
    let late = certificate.not_after().plus(DAY * 300);
    // Revoked after it expired: it is told once all the same.
    ca.revoke(serial, 1, late).unwrap();
    assert_eq!(listed(&ca, late), std::slice::from_ref(serial));
    assert_eq!(listed(&ca, late.plus(SECOND)), []);

    // A longer life of CRLs in the past counts.
    let lab = Lab::founded(Settings { certificate_lifetime: DAY, crl_lifetime: DAY * 14, ..settings() });
    let certificate = lab.issue("CN=r1", NOW);
    lab.ca().revoke(certificate.serial(), 1, NOW).unwrap();
    assert_eq!(listed(&lab.ca(), NOW).len(), 1);
    assert_eq!(listed(&lab.ca(), NOW.plus(DAY * 13)).len(), 1);
    let lab = Lab { settings: Settings { crl_lifetime: DAY, ..lab.settings.clone() }, ..lab };
    assert_eq!(listed(&lab.ca(), NOW.plus(DAY * 15)).len(), 1);
    assert_eq!(listed(&lab.ca(), NOW.plus(DAY * 15)).len(), 0);
}

#[test]
fn a_list_is_due_when_something_changed_or_a_quarter_of_its_life_is_left() {
    let lab = Lab::founded(settings());
    let (ca, meter) = (lab.ca(), Meter::new());
    let certificate = lab.issue("CN=r1", NOW);
    let serial = certificate.serial();
    assert!(ca.crl_is_due(NOW).unwrap());
    let first = ca.issue_crl(&meter, NOW).unwrap();
    assert_eq!((first.number, first.this_update, first.next_update), (1, NOW, NOW.plus(DAY * 7)));
    assert!(!ca.crl_is_due(NOW).unwrap());
    let quarter = NOW.plus(DAY * 7 * 3 / 4);
    assert!(!ca.crl_is_due(quarter.minus(SECOND)).unwrap());
    assert!(ca.crl_is_due(quarter).unwrap());

    // A change is known to whoever opens the CA next: a crash between the two hides nothing.
    ca.revoke(serial, 6, NOW).unwrap();
    assert!(lab.ca().crl_is_due(NOW).unwrap());
    let held = lab.ca().issue_crl(&meter, NOW).unwrap();
    assert!(!ca.crl_is_due(NOW).unwrap());
    ca.unrevoke(serial).unwrap();
    assert!(lab.ca().crl_is_due(NOW).unwrap());
    let freed = ca.issue_crl(&meter, NOW).unwrap();
    assert!(!lab.ca().crl_is_due(NOW).unwrap());
    assert_eq!([held.number, freed.number], [2, 3]);
    let hold = Entry { serial: serial.clone(), at: NOW, reason: 6 };
    assert_eq!(read(&held).entries().collect::<Vec<_>>(), [hold]);
    assert!(read(&freed).is_empty());
}

#[test]
fn every_reason_is_told() {
    let lab = Lab::founded(settings());
    let ca = lab.ca();
    let reasons = [0, 1, 2, 3, 4, 5, 6, 9, 10];
    for (n, reason) in reasons.into_iter().enumerate() {
        let certificate = lab.issue(&format!("CN=r{n}"), NOW);
        ca.revoke(certificate.serial(), reason, NOW.plus(SECOND * n as u32)).unwrap();
    }
    for none in [7, 8, 11, 255] {
        assert!(matches!(ca.revoke(&Serial::from(2), none, NOW), Err(CaError::Reason(_))));
    }
    let list = read(&ca.issue_crl(&Meter::new(), NOW.plus(DAY)).unwrap());
    assert_eq!(list.entries().map(|entry| entry.reason).collect::<Vec<_>>(), reasons);
    assert_eq!(list.len(), 9);
    assert_eq!(list.entries().last().map(|entry| entry.at), Some(NOW.plus(SECOND * 8)));
}

#[test]
fn numbers_and_times_go_forward() {
    let lab = Lab::founded(settings());
    let ca = lab.ca();
    let issue = |now| ca.issue_crl(&Meter::new(), now).unwrap();
    let first = issue(NOW);
    // The clock is set back a little: the list is not older than the last, nor is what is on it younger.
    let certificate = lab.issue("CN=r1", NOW);
    ca.revoke(certificate.serial(), 1, NOW.plus(SECOND * 5)).unwrap();
    let second = issue(NOW.minus(DAY / 24));
    assert_eq!((second.number, second.this_update), (2, first.this_update));
    assert_eq!(read(&second).entries().next().map(|entry| entry.at), Some(second.this_update));
    assert_eq!(second.next_update, NOW.plus(DAY * 7));
    // It was wrong before: relying parties would not believe a list of the future.
    let corrected = NOW.minus(DAY / 24 + SECOND);
    let third = issue(corrected);
    assert_eq!((third.number, third.this_update), (3, corrected));
}

#[test]
fn many_that_issue_at_once_get_a_number_each() {
    let lab = Lab::founded(settings());
    let ca = lab.ca();
    let numbers: Vec<u64> = std::thread::scope(|s| {
        let threads: Vec<_> =
            (0..8).map(|_| s.spawn(|| ca.issue_crl(&Meter::new(), NOW).unwrap().number)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = numbers.clone();
    sorted.sort();
    assert_eq!(sorted, (1..=8).collect::<Vec<_>>());
    assert_eq!(ca.crl().unwrap().map(|crl| crl.number), Some(8));
}

#[test]
fn the_octets_are_shared_until_there_is_a_newer_list() {
    let lab = Lab::founded(settings());
    let (ca, other) = (lab.ca(), lab.ca());
    assert_eq!(ca.crl().unwrap(), None);
    let first = ca.issue_crl(&Meter::new(), NOW).unwrap();
    let again = ca.crl().unwrap().unwrap();
    assert_eq!(again.der.as_ptr(), first.der.as_ptr());
    assert_eq!(ca.crl().unwrap().unwrap().der.as_ptr(), first.der.as_ptr());
    // Also one that another process has issued.
    let second = other.issue_crl(&Meter::new(), NOW.plus(DAY)).unwrap();
    assert_eq!(ca.crl().unwrap(), Some(second));
}

#[test]
fn the_crl_of_a_ca_taken_over_goes_on() {
    for (last, next) in [(41, 42), (0, 1)] {
        let held = Revocation { at: NOW.minus(DAY), reason: 6 };
        let entries = [(Serial::from(3), held), (Serial::from(9), Revocation { reason: 1, ..held })];
        let theirs = old_crl(last, &entries);
        let certificates =
            entries.map(|(serial, how)| Adopted { serial, revocation: Some(how), ..number(0) });
        let lab = Lab::adopted(10, certificates.to_vec(), Some(theirs.clone()));
        let ca = lab.ca();
        // It is served as it was left, and followed when it is time.
        assert_eq!(ca.crl().unwrap().unwrap().der, theirs.der);
        assert!(!ca.crl_is_due(NOW).unwrap());
        assert!(ca.crl_is_due(NOW.plus(DAY * 6)).unwrap());

        // One of which nothing was known, and one that is free again.
        ca.revoke(&Serial::from(5), 4, NOW).unwrap();
        ca.unrevoke(&Serial::from(3)).unwrap();
        assert!(matches!(ca.revoke(&Serial::from(11), 4, NOW), Err(CaError::Store(StoreError::NotFound))));
        assert!(lab.ca().crl_is_due(NOW).unwrap());
        let crl = ca.issue_crl(&Meter::new(), NOW).unwrap();
        assert_eq!(crl.number, next);
        assert!(crl.this_update >= theirs.this_update);
        let list = read(&crl);
        assert_eq!(list.entries().map(|entry| entry.serial).collect::<Vec<_>>(), [5, 9].map(Serial::from));
        list.verify_signed_by(CA_KEY.public_key()).unwrap();
        // Nobody knows when they expire: they stay.
        assert_eq!(listed(&ca, NOW.plus(DAY * 700)), [5, 9].map(Serial::from));
    }
}

#[test]
fn openssl_reads_a_hundred_thousand() {
    const MANY: u64 = 100_000;
    let how = |n: u64| Revocation { at: NOW.minus(DAY), reason: [0, 1, 4, 6][n as usize % 4] };
    let certificates = (2..MANY + 2).map(|n| Adopted { revocation: Some(how(n)), ..number(n) }).collect();
    let lab = Lab::adopted(MANY * 2, certificates, None);
    let crl = lab.ca().issue_crl(&Meter::new(), NOW).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(file("crl.der"), &crl.der).unwrap();
    std::fs::write(file("ca.der"), root()).unwrap();
    openssl(&["x509", "-inform", "DER", "-in", &file("ca.der"), "-out", &file("ca.pem")]).success();
    let ran = openssl(&[
        "crl",
        "-inform",
        "DER",
        "-in",
        &file("crl.der"),
        "-CAfile",
        &file("ca.pem"),
        "-noout",
        "-text",
    ]);
    let ran = ran.success().says("verify OK");
    assert_eq!(ran.stdout.matches("Serial Number:").count() as u64, MANY);
    assert_eq!(ran.stdout.matches("Certificate Hold").count() as u64, MANY / 4);
    for said in ["Version 2", "X509v3 CRL Number", "Serial Number: 0186A1", "Key Compromise"] {
        assert!(ran.stdout.contains(said), "{said}");
    }
    let list = read(&crl);
    assert_eq!(list.len(), MANY);
    assert_eq!((list.number(), list.this_update()), (Some(1), crl.this_update));
    assert_eq!(list.next_update(), Some(crl.next_update));
    assert!(list.entries().zip(2..).all(|(entry, n)| {
        entry == Entry { serial: Serial::from(n), at: how(n).at, reason: how(n).reason }
    }));
}

#[test]
fn lists_of_openssl_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (of_openssl, key) = (|extensions| openssl_crl(dir.path(), extensions), CA_KEY.public_key());
    let first = crl::Crl::parse(of_openssl("")).unwrap();
    first.verify_signed_by(key).unwrap();
    assert!(first.verify_signed_by(DEVICE_KEY.public_key()).is_err());
    assert_eq!((first.number(), first.len()), (None, 3));
    assert_eq!(Name::from_der(first.issuer_raw()).to_string(), name("CN=CA").to_string());
    let second = crl::Crl::parse(of_openssl("crl_extensions = ext\n")).unwrap();
    assert_eq!((second.number(), second.len()), (Some(0x2A), 3));
    let entries: Vec<Entry> = second.entries().collect();
    // 2026-01-02T03:04:05Z.
    let at = Time::from_unix(1_767_323_045);
    let expected = [(1, 0), (0x1000, 6), (0xABCDEF, 1)];
    assert_eq!(entries, expected.map(|(serial, reason)| Entry { serial: Serial::from(serial), at, reason }));
    assert!(second.next_update().unwrap() > second.this_update());
    // A delta CRL does not say what is revoked.
    let delta = crl::Crl::parse(of_openssl("crl_extensions = delta\n"));
    assert!(matches!(delta, Err(crl::CrlError::Critical(_))), "{delta:?}");
}

#[test]
fn broken_lists_are_refused() {
    let sound = old_crl(7, &[(Serial::from(3), Revocation { at: NOW, reason: 1 })]).der;
    assert!(crl::Crl::parse(sound.clone()).is_ok());
    for length in 0..sound.len() {
        assert!(crl::Crl::parse(sound.slice(..length)).is_err(), "{length}");
    }
    let more = [&sound[..], &[0]].concat();
    assert!(crl::Crl::parse(more).is_err());
    // Whatever one octet becomes, there is an answer, and no list with another content that still verifies.
    let first = crl::Crl::parse(sound.clone()).unwrap();
    for at in 0..sound.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bent = sound.to_vec();
            bent[at] ^= flip;
            let Ok(bent) = crl::Crl::parse(bent) else { continue };
            let same = bent.number() == first.number() && bent.entries().eq(first.entries());
            assert!(same || bent.verify_signed_by(CA_KEY.public_key()).is_err(), "octet {at}");
        }
    }
}

/// The serial numbers on a CRL issued now.
fn listed(ca: &Ca, now: Time) -> Vec<Serial> {
    let crl = ca.issue_crl(&Meter::new(), now).expect("a CRL");
    read(&crl).entries().map(|entry| entry.serial).collect()
}

fn read(crl: &store::Crl) -> crl::Crl {
    let list = crl::Crl::parse(crl.der.clone()).expect("a CRL");
    assert_eq!(list.number(), Some(crl.number));
    list
}

/// The last CRL of the CA before it was taken over; without a number when that is 0.
fn old_crl(number: u64, entries: &[(Serial, Revocation)]) -> store::Crl {
    let (issuer, this_update) = (name(CA_NAME), NOW.minus(DAY / 2));
    let next_update = this_update.plus(DAY * 7);
    let header = CrlHeader {
        algorithm: SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        issuer: &issuer,
        issuer_key: &[7; 20],
        number,
        this_update,
        next_update,
    };
    let mut list = CrlBuilder::new(&header).unwrap();
    entries.iter().for_each(|(serial, how)| list.push(serial, how.at, how.reason).unwrap());
    let list = list.finalize();
    let signature = CA_KEY.sign(Hash::Sha256, list.tbs()).unwrap();
    let der = list.assemble(&signature).into();
    store::Crl { authority: 0, number, this_update, next_update, revision: 0, der }
}

/// A CRL as `openssl ca` makes it, with three entries.
fn openssl_crl(dir: &Path, extensions: &str) -> Vec<u8> {
    let file = |name: &str| dir.join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("key.pem", &CA_KEY.pem());
    let revoked =
        |serial, reason| format!("R\t351231235959Z\t260102030405Z{reason}\t{serial}\tunknown\t/CN=r\n");
    let lines = [revoked("01", ""), revoked("ABCDEF", ",keyCompromise"), revoked("1000", ",certificateHold")];
    write("index.txt", &lines.concat());
    write("number", "2A\n");
    let section = format!(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = {}\ncrlnumber = {}\ndefault_md = sha256\ndefault_crl_days = 7\n\
         {extensions}[ext]\nissuerAltName = email:ca@example.com\n[delta]\n2.5.29.27 = critical,DER:020101\n\
         [req]\ndistinguished_name = dn\n[dn]\n",
        file("index.txt"),
        file("number"),
    );
    // A number is written whenever there is a place for it.
    let section = match extensions {
        "" => section.replace("crlnumber", "# crlnumber"),
        _ => section,
    };
    write("conf", &section);
    let (conf, key, ca, out) = (file("conf"), file("key.pem"), file("own.pem"), file("crl.pem"));
    openssl(&["req", "-x509", "-config", &conf, "-key", &key, "-subj", "/CN=CA", "-days", "9", "-out", &ca])
        .success();
    openssl(&["ca", "-gencrl", "-config", &conf, "-keyfile", &key, "-cert", &ca, "-out", &out]).success();
    let der = file("openssl.der");
    openssl(&["crl", "-in", &out, "-outform", "DER", "-out", &der]).success();
    std::fs::read(der).unwrap()
}
