//! What a client chooses, and what a line in the server section does to the answer.

mod support;

use support::Ca;
use support::certmonger::pem;
use support::device::{CaCerts, Device};
use support::keys::{EcTestKey, TestKey};
use support::opinion::Opinion;
use tokenca::pki::{Certificate, Hash, KeyTransport};
use tokenca::scep::client::{self, Style};
use tokenca::scep::{Cipher, FailInfo, MessageType};

#[test]
fn the_answer_has_the_algorithms_of_the_request() {
    for separate in [&[][..], &["scep key separate"]] {
        let ca = Ca::new(&[&["grant auto"], separate].concat());
        let mut device = Device::new("CN=dev1, O=Example");
        let oaep = |hash| KeyTransport::Oaep { hash, mgf: hash };
        for (digest, cipher, transport) in [
            (Hash::Sha1, Cipher::Des3, KeyTransport::Pkcs1v15),
            (Hash::Sha256, Cipher::Aes128, KeyTransport::Pkcs1v15),
            (Hash::Sha384, Cipher::Aes192, oaep(Hash::Sha1)),
            (Hash::Sha512, Cipher::Aes256, oaep(Hash::Sha256)),
        ] {
            device.style = Style { digest, cipher, transport };
            let reply = device.enrol(&ca, None);
            assert_eq!((reply.reply.digest(), reply.reply.cipher()), (digest, Some(cipher)));
            let certificate = reply.certificate();
            let signed_with = certificate.signature_algorithm().and_then(|algorithm| algorithm.hash());
            assert_eq!(signed_with, Some(Hash::Sha256), "certificates are signed as the server is told");
        }
    }
}

#[test]
fn ec_keys_are_certified_with_rsa_keys_around_them() {
    let ca = Ca::new(&["grant auto"]);
    let device = Device::new("CN=dev1, O=Example");
    let first = device.enrol(&ca, None).certificate();
    // The message is signed with the RSA key of the first certificate, which can decrypt the answer.
    let device = Device { signer: first, ..device };
    let certificate = device.renew(&ca, MessageType::RenewalReq, &EcTestKey::new()).certificate();
    approve(&ca, &certificate);
}

#[test]
fn include_chain_sends_the_ca_certificate_behind_the_one_issued() {
    let ca = Ca::new(&["grant auto", "scep include-chain"]);
    let device = Device::new("CN=dev1, O=Example");
    let issued = device.enrol(&ca, None).certificates();
    assert_eq!(issued.len(), 2);
    assert_eq!(issued[0].subject_raw(), device.subject.as_der());
    assert_eq!(issued[1].der(), CaCerts::of(&ca).ca.der());

    ca.configure_server(&["no scep include-chain"]);
    assert_eq!(Device::new("CN=dev2, O=Example").enrol(&ca, None).certificates().len(), 1);
}

#[test]
fn duplicates_new_makes_every_message_a_request() {
    let ca = Ca::new(&["grant auto"]);
    let device = Device::new("CN=dev1, O=Example");
    let csr = device.csr(None);
    let again = || device.ask(&ca, MessageType::PkcsReq, &csr).certificate();
    let first = again();
    assert_eq!(again().der(), first.der());
    ca.configure_server(&["scep duplicates new"]);
    let (second, third) = (again(), again());
    assert!(first.serial() < second.serial() && second.serial() < third.serial());
}

#[test]
fn a_new_request_with_the_same_key_or_name_is_a_new_request() {
    let ca = Ca::new(&["grant auto"]);
    let mut device = Device::new("CN=dev1, O=Example");
    let first = device.enrol(&ca, None).certificate();
    device.subject = support::keys::name("CN=dev2, O=Example");
    let same_key = device.enrol(&ca, None).certificate();
    let same_name = Device::new("CN=dev2, O=Example").enrol(&ca, None).certificate();
    assert!(first.serial() < same_key.serial() && same_key.serial() < same_name.serial());
}

#[test]
fn serial_numbers_are_random_on_demand() {
    let ca = Ca::new(&["grant auto", "serial-number random"]);
    let serial = |name| Device::new(name).enrol(&ca, None).certificate().serial_raw().to_vec();
    let (first, second) = (serial("CN=dev1"), serial("CN=dev2"));
    // RFC 5280, 4.1.2.2: at most 20 octets. A random one of fewer than 8 would be a guess away.
    assert!([&first, &second].iter().all(|serial| (8..=20).contains(&serial.len())));
    assert_ne!(first[..4], second[..4]);
}

#[test]
fn lifetimes_are_as_configured_and_never_beyond_the_ca() {
    let ca = Ca::new(&["grant auto", "lifetime ca-certificate 10", "lifetime certificate 2 3 4"]);
    let days = |certificate: &Certificate| {
        certificate.not_after().since(certificate.not_before()).as_secs() as f64 / 86_400.0
    };
    let certs = CaCerts::of(&ca);
    assert!((9.9..10.1).contains(&days(&certs.ca)), "{}", days(&certs.ca));
    let certificate = Device::new("CN=dev1").enrol(&ca, None).certificate();
    assert!((2.1..2.2).contains(&days(&certificate)), "{}", days(&certificate));

    ca.configure_server(&["lifetime certificate 365"]);
    let certificate = Device::new("CN=dev2").enrol(&ca, None).certificate();
    assert!(certificate.not_after() <= certs.ca.not_after());
}

#[test]
fn weak_keys_need_a_line() {
    let ca = Ca::new(&["grant auto"]);
    let weak = || {
        let key = TestKey::rsa(1024);
        let transaction = client::transaction_id(&key);
        let signer = key.self_signed("CN=old");
        Device { key, signer, transaction, ..Device::new("CN=old") }
    };
    weak().enrol(&ca, None).is_failure(FailInfo::BadAlg);
    ca.configure_server(&["crypto legacy rsa-1024"]);
    weak().enrol(&ca, None).certificate();
}

fn approve(ca: &Ca, certificate: &Certificate) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("dev.pem");
    std::fs::write(&file, pem("CERTIFICATE", certificate.der())).expect("a file");
    Opinion::about(ca).approves(ca, &file);
}
