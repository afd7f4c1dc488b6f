//! A router of twenty years ago: HTTP/1.0 without Host, GET with base64 in lines of 64, DES and MD5, a
//! version 1 certificate signed with MD5 (RFC 8894 calls all of this legacy; captures of Cisco IOS show it).

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use support::device::{CaCerts, Device, Reply};
use support::keys::self_signed;
use support::{Ca, http};
use tokenca::pki::{Hash, KeyTransport, SigningKey};
use tokenca::scep::client::{Message, Style, issuer_and_subject};
use tokenca::scep::{Cipher, FailInfo, MessageType};

#[test]
fn enrols_once_it_is_allowed() {
    let ca = Ca::new(&["grant auto", "crypto legacy des", "crypto legacy md5"]);
    let router = router("router1.example.com");
    let certificate = ask(&ca, &router, MessageType::PkcsReq, &router.csr(Some("cisco"))).certificate();
    assert_eq!(certificate.subject_raw(), router.subject.as_der());
    certificate.verify_signed_by(CaCerts::of(&ca).ca.public_key()).expect("the CA has signed it");
    // What is issued is not what was allowed: the certificate is signed with SHA-256.
    assert_eq!(certificate.signature_algorithm().and_then(|algorithm| algorithm.hash()), Some(Hash::Sha256));
}

#[test]
fn waits_and_polls() {
    let ca = Ca::new(&["crypto legacy des", "crypto legacy md5", "scep key separate"]);
    let router = router("router2.example.com");
    let poll = || {
        let content = issuer_and_subject(CaCerts::of(&ca).ca.subject_raw(), router.subject.as_der());
        ask(&ca, &router, MessageType::CertPoll, &content)
    };
    ask(&ca, &router, MessageType::PkcsReq, &router.csr(None)).is_pending();
    poll().is_pending();
    ca.grant(ca.pending());
    let certificate = poll().certificate();
    assert_eq!(certificate.public_key(), SigningKey::public_key(&router.key));
}

#[test]
fn is_refused_unless_it_is_allowed() {
    for allowed in [&[][..], &["crypto legacy des"], &["crypto legacy md5"]] {
        let ca = Ca::new(&[&["grant auto"], allowed].concat());
        let router = router("router3.example.com");
        let reply = ask(&ca, &router, MessageType::PkcsReq, &router.csr(None));
        reply.is_failure(FailInfo::BadAlg);
        // The CA signs with MD5 only where it is allowed, also to say no.
        let digest = if allowed.contains(&"crypto legacy md5") { Hash::Md5 } else { Hash::Sha256 };
        assert_eq!(reply.reply.digest(), digest);
    }
}

#[test]
fn of_ten_years_ago_needs_no_permission() {
    let ca = Ca::new(&["grant auto"]);
    let mut router = router("router4.example.com");
    router.style = Style { digest: Hash::Sha1, cipher: Cipher::Des3, transport: KeyTransport::Pkcs1v15 };
    router.signer = self_signed(&router.key, "hostname=router4.example.com", Hash::Sha1, false);
    ask(&ca, &router, MessageType::PkcsReq, &router.csr(None)).certificate();
}

fn router(host: &str) -> Device {
    let mut router = Device::new(&format!("CN=R1, hostname={host}"));
    router.style = Style { digest: Hash::Md5, cipher: Cipher::Des, transport: KeyTransport::Pkcs1v15 };
    router.signer = self_signed(&router.key, &format!("hostname={host}"), Hash::Md5, false);
    router
}

/// As IOS asks, and with its algorithms in the reply.
fn ask(ca: &Ca, router: &Device, kind: MessageType, content: &[u8]) -> Reply {
    let certs = CaCerts::of(ca);
    let message = router.message(&certs, kind, content);
    let response = http::raw(ca.address(), &request(&message));
    let reply = router.read(&certs, &message, response);
    assert!(reply.reply.cipher().is_none_or(|cipher| cipher == router.style.cipher));
    reply
}

fn request(message: &Message) -> Vec<u8> {
    let base64 = STANDARD.encode(&message.octets);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "%0A");
    let lines = lines.collect::<String>().replace('+', "%2B");
    format!("GET /cgi-bin/pkiclient.exe?operation=PKIOperation&message={lines} HTTP/1.0\r\n\r\n").into_bytes()
}
