//! What must hold beyond one enrolment: restarts, crashes, revocation, and a key that stays on its token.

mod support;

use std::path::PathBuf;

use support::certmonger::pem;
use support::device::{CaCerts, Device};
use support::keys::TestKey;
use support::opinion::{Opinion, key_on_token};
use support::strongswan::Strongswan;
use support::{Ca, http};
use tokenca::pki::Certificate;
use tokenca::scep::{FailInfo, MessageType};

#[test]
fn the_ca_key_cannot_leave_the_token() {
    let ca = Ca::new(&["grant auto", "scep key separate"]);
    // Its own key, and those that SCEP has.
    let shown = key_on_token(&ca, None);
    let keys: Vec<_> = shown.split("Private Key Object").skip(1).collect();
    assert_eq!(keys.len(), 3, "{shown}");
    for key in &keys {
        let access = key.lines().find_map(|line| line.trim().strip_prefix("Access:")).expect("Access");
        assert_eq!(access.trim(), "sensitive, always sensitive, never extractable, local", "{shown}");
    }
    // The CA key signs and nothing else.
    let own = key_on_token(&ca, Some("mycs"));
    let usage = own.lines().find_map(|line| line.trim().strip_prefix("Usage:")).expect("Usage").trim();
    assert!(usage.contains("sign") && !usage.contains("decrypt") && !usage.contains("unwrap"), "{own}");

    // No private key is in any file of the server.
    for (file, octets) in files(ca.state()) {
        assert!(!contains(&octets, b"PRIVATE KEY"), "{}", file.display());
    }
}

#[test]
fn everything_is_there_after_a_restart() {
    let mut ca = Ca::new(&["grant auto"]);
    let device = Device::new("CN=dev1, O=Example");
    let certificate = device.enrol(&ca, None).certificate();
    ca.configure_server(&["no grant auto"]);
    let waiting = Device::new("CN=dev2, O=Example");
    waiting.enrol(&ca, None).is_pending();
    let rejected = Device::new("CN=dev3, O=Example");
    rejected.enrol(&ca, None).is_pending();
    ca.reject(3);
    ca.exec("write memory");
    let (own, crl) = (CaCerts::of(&ca).ca, http::get(ca.address(), "/mycs.crl", &[]).body);
    let before = requests(&ca);

    for kill in [false, true] {
        if kill {
            ca.kill()
        } else {
            ca.stop()
        }
        ca.start();
        assert_eq!(CaCerts::of(&ca).ca.der(), own.der());
        assert_eq!(http::get(ca.address(), "/mycs.crl", &[]).body, crl);
        assert_eq!(requests(&ca), before);
        // The same request, the same answer.
        assert_eq!(device.enrol(&ca, None).certificate().der(), certificate.der());
        waiting.poll(&ca).is_pending();
        rejected.poll(&ca).is_failure(FailInfo::BadRequest);
    }

    ca.grant(2);
    let granted = waiting.poll(&ca).certificate();
    assert!(granted.serial() > certificate.serial());
    ca.kill();
    ca.start();
    assert_eq!(waiting.poll(&ca).certificate().der(), granted.der());
    let next = Device::new("CN=dev4, O=Example");
    next.enrol(&ca, None).is_pending();
    ca.grant(ca.pending());
    assert!(next.poll(&ca).certificate().serial() > granted.serial(), "no serial number is used twice");
}

#[test]
fn a_revoked_certificate_is_on_the_crl_and_renews_nothing() {
    let ca = Ca::new(&["grant auto"]);
    let opinion = Opinion::about(&ca);
    let client = Strongswan::new(&ca);
    client.enrol("dev", &[]).success();
    let file = client.file("dev.pem");
    opinion.approves(&ca, &file);
    let serial = support::opinion::serial_of(&file);
    ca.exec(&format!("crypto pki server mycs revoke {serial} reason key-compromise"));
    opinion.says_revoked(&ca, &file);
    opinion.approves_of_the_ca(&ca);
    let crl = ca.json("crypto pki server mycs info crl");
    assert_eq!(crl["revoked"][0]["reason"], "keyCompromise", "{crl}");

    client.renew("dev", "renewed", &[]).exited(1).says("badRequest");

    // A hold is taken back; what was on hold renews again.
    let mut device = Device::new("CN=held, O=Example");
    let held = device.enrol(&ca, None).certificate();
    let held_file = client.file("held.pem");
    std::fs::write(&held_file, pem("CERTIFICATE", held.der())).expect("a file");
    device.signer = held.clone();
    let new = TestKey::new();
    ca.exec(&format!("crypto pki server mycs revoke {} reason certificate-hold", held.serial()));
    opinion.says_revoked(&ca, &held_file);
    for kind in [MessageType::RenewalReq, MessageType::PkcsReq] {
        device.renew(&ca, kind, &new).is_failure(FailInfo::BadRequest);
    }
    ca.exec(&format!("crypto pki server mycs unrevoke {}", held.serial()));
    opinion.approves(&ca, &held_file);
    device.renew(&ca, MessageType::RenewalReq, &new).certificate();

    // A CA cannot revoke itself.
    ca.try_cli(&words("crypto pki server mycs revoke 0x1")).exited(1).says("is that of the CA itself");
    // A revocation that is not a hold stays, and what was never issued cannot be revoked.
    assert_eq!(ca.try_cli(&words(&format!("crypto pki server mycs unrevoke {serial}"))).code, Some(1));
    assert_eq!(ca.try_cli(&words("crypto pki server mycs revoke 0xFFFF")).code, Some(1));
}

#[test]
fn a_renewal_needs_a_certificate_of_ours_and_keeps_its_names() {
    let ca = Ca::new(&["grant auto"]);
    // Signed with its own key only: not a renewal.
    let mut device = Device::new("CN=dev1, O=Example");
    let csr = device.csr(None);
    device.ask(&ca, MessageType::RenewalReq, &csr).is_failure(FailInfo::BadMessageCheck);

    // Signed with a certificate of another CA of the same name.
    let elsewhere = Ca::new(&["grant auto"]);
    let foreign = device.enrol(&elsewhere, None).certificate();
    let own = device.enrol(&ca, None).certificate();
    let new = TestKey::new();
    device.signer = foreign;
    for kind in [MessageType::RenewalReq, MessageType::PkcsReq] {
        device.renew(&ca, kind, &new).is_failure(FailInfo::BadMessageCheck);
    }

    // Ours, but with another subject.
    device.signer = own;
    let subject = std::mem::replace(&mut device.subject, support::keys::name("CN=admin, O=Example"));
    device.renew(&ca, MessageType::RenewalReq, &new).is_failure(FailInfo::BadRequest);
    device.subject = subject;
    device.renew(&ca, MessageType::RenewalReq, &new).certificate();
}

#[test]
fn a_renewal_is_issued_without_asking_under_manual_granting() {
    let ca = Ca::new(&[]);
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&ca, None).is_pending();
    ca.grant(ca.pending());
    let first: Certificate = device.poll(&ca).certificate();
    device.signer = first.clone();
    let renewed = device.renew(&ca, MessageType::RenewalReq, &TestKey::new()).certificate();
    assert!(renewed.serial() > first.serial());
}

/// `info requests`, without what a repetition adds: the operations it has cost.
fn requests(ca: &Ca) -> Vec<serde_json::Value> {
    let rows = ca.json("crypto pki server mycs info requests");
    let mut rows = rows.as_array().expect("a list").clone();
    rows.iter_mut().filter_map(|row| row.as_object_mut()).for_each(|row| drop(row.remove("cost")));
    assert_eq!(rows.len(), 3);
    rows
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn files(directory: PathBuf) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.extend(files(entry.path()));
        } else if kind.is_file() {
            found.push((entry.path(), std::fs::read(entry.path()).expect("a file")));
        }
    }
    found
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}
