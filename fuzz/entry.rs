//! What is done with octets from anywhere: the same for the fuzzer and for `cargo test`, which does it
//! with every seed. Nothing here may panic but an assertion.

#![allow(dead_code, reason = "each fuzz target has one of them")]

use secrecy::SecretString;
use tokenca::pki::archive::ios::{ClockTime, Cnm, FileName, read_ser, write_ser};
use tokenca::pki::archive::{Archive, pem};
use tokenca::pki::ber::{self, Element, Limits};
use tokenca::pki::crl::{Crl, places};
use tokenca::pki::ocsp::{Question, responders};
use tokenca::pki::path::{Path, Rules};
use tokenca::pki::{
    Certificate, Csr, DecryptionKey, KeyError, KeyTransport, Name, PrivateKey, PublicKey, Serial, Time,
};
use tokenca::scep::{AlgorithmPolicy, CertRep, Envelope, PkiMessage, Recipient, SignedData, operation};
use zeroize::Zeroizing;

/// Any BER.
pub fn ber(data: &[u8]) {
    let Ok((element, rest)) = ber::parse_prefix(data, &Limits::MESSAGE) else { return };
    assert_eq!([element.raw(), rest].concat(), data);
    spans(&element);
    let definite = element.to_definite();
    let again = ber::parse(&definite, &Limits::MESSAGE).expect("what was read is written readably");
    assert_eq!(again.to_definite(), definite, "definite is definite");
    assert_eq!(again.octets("").ok(), element.octets("").ok(), "the octets are the same");
}

/// A PKCS#10 or a certificate.
pub fn csr(data: &[u8]) {
    if let Ok(csr) = Csr::parse(data) {
        assert_eq!(csr.der(), data);
        let _ = format!("{csr:?}");
        let _ = csr.extensions().basic_constraints();
        let _ = csr.verify();
    }
    if let Ok(certificate) = Certificate::parse(data) {
        assert_eq!(certificate.der(), data);
        let extensions = certificate.extensions();
        let _ = (extensions.basic_constraints(), extensions.key_usage());
        let _ = (extensions.subject_key_identifier(), extensions.authority_key_identifier());
        let _ = format!("{certificate:?} {} {}", certificate.not_before(), certificate.not_after());
        let _ = certificate.verify_signed_by(certificate.public_key());
    }
}

/// A pkiMessage, or any part of one, or the query it came in.
pub fn scep(data: &[u8]) {
    let ca = ca();
    let key = Anything(ca.public_key().clone());
    let recipients = [Recipient { certificate: &ca, key: &key }];
    if let Ok(message) = PkiMessage::decode(data, &Limits::MESSAGE)
        && let Ok(signed) = message.verify(&AlgorithmPolicy { legacy_des: true, legacy_md5: true })
    {
        let _ = format!("{:?}", signed.facts());
        let _ = signed.open(&recipients);
    }
    // Behind a signature that no fuzzer finds, so each on its own as well.
    if let Ok(envelope) = Envelope::parse(data, &Limits::MESSAGE) {
        let _ = envelope.open(&recipients);
    }
    if let Ok(signed) = SignedData::parse(data, &Limits::MESSAGE)
        && let Some(signer) = signed.signer_certificate(&[])
    {
        let _ = signed.verify(signer);
        let _ = CertRep::decode(data, &[signer]);
    }
    let _ = operation::message_from_body(data.to_vec());
    if let Ok(query) = std::str::from_utf8(data) {
        let _ = operation::message_from_query(query);
        let _ = operation::parameter(query, "operation").map(|text| operation::Operation::from_text(&text));
    }
}

/// What a certificate is checked with: a CRL, an OCSP response, the certificate itself and one above it.
pub fn revocation(data: &[u8]) {
    let ca = ca();
    let rules = Rules::at(Time::from_unix(1_800_000_000));
    if let Ok(crl) = Crl::parse(data.to_vec()) {
        assert_eq!(crl.entries().count() as u64, crl.len());
        let _ =
            (crl.check_issuer(&ca, &rules), crl.check_current(rules.now), crl.standing(&Serial::from(17)));
    }
    let _ = Question::new(&ca, &ca, None).answer(data, &rules);
    if let Ok(certificate) = Certificate::parse(data) {
        let question = Question::new(&certificate, &ca, Some([7; 32])).to_der();
        assert!(ber::parse(&question, &Limits::MESSAGE).is_ok());
        let _ = (places(&certificate), responders(&certificate));
        let _ = Name::from_der(certificate.subject_raw()).to_directory();
        let both = [certificate.clone(), ca];
        for anchors in [&both[..1], &both[1..]] {
            let _ = Path::find(&certificate, &both, anchors, &rules);
            let _ = Path::find(&both[1], &both, anchors, &rules);
        }
    }
}

/// An archive, a private key, or a file of an IOS certificate server.
pub fn archive(data: &[u8]) {
    let passphrase = SecretString::from("cisco123");
    for passphrase in [Some(&passphrase), None] {
        if let Ok(archive) = Archive::read(data, passphrase) {
            let _ = format!("{archive:?}");
        }
    }
    for read in [PrivateKey::from_pkcs8_der, PrivateKey::from_pkcs1_der, PrivateKey::from_sec1_der] {
        if let Ok(key) = read(data) {
            let again =
                PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()).expect("what was read is written readably");
            assert_eq!(again.to_pkcs1_or_sec1_der(), key.to_pkcs1_or_sec1_der());
        }
    }
    if let Ok(last) = read_ser(data) {
        assert_eq!(read_ser(write_ser(&last).as_bytes()), Ok(last));
    }
    if let Ok(cnm) = Cnm::read(data) {
        assert_eq!(Cnm::read(cnm.write().as_bytes()).map(|again| again.subject), Ok(cnm.subject));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (pem::blocks(text), pem::der_of(text, pem::REQUEST), ClockTime::parse(text));
        if let Some(name) = FileName::parse(text) {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
    }
}

/// Elements follow each other without gaps and lie within the one around them.
fn spans(element: &Element<'_>) {
    let _ = (element.text(), element.octets(""), element.oid(""), element.small(""), element.boolean(""));
    let _ = (element.bits(""), element.integer(""), element.explicit(""));
    assert!(element.raw().len() >= element.content().len() + 2);
    if !element.is_constructed() {
        return;
    }
    let mut reader = element.reader("").expect("depth was checked by the parser");
    let mut read = 0;
    while let Some(inner) = reader.next("").expect("structure was checked by the parser") {
        assert!(element.content()[read..].starts_with(inner.raw()));
        read += inner.raw().len();
        spans(&inner);
    }
    assert_eq!(read, element.content().len());
}

fn ca() -> Certificate {
    Certificate::parse(CA).expect("the seed is a certificate")
}

/// A key that takes everything for what is encrypted to it.
struct Anything(PublicKey);

impl DecryptionKey for Anything {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn unwrap_key(&self, _: KeyTransport, _: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(Zeroizing::new(vec![0; len]))
    }
}

/// The CA that the seeds are encrypted to.
const CA: &[u8] = include_bytes!("seeds/csr/mock-ca.cert.der");
