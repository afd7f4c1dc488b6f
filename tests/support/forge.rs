//! CMS messages written by hand, right or wrong in any one place, and certificates of odd clients.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use const_oid::db::{rfc5911, rfc5912};
use der::Encode;
use der::asn1::ObjectIdentifier;
use tokenca::pki::{Certificate, Hash, SignatureAlgorithm, SigningKey};

use super::keys::{TestKey, name};

pub const MESSAGE_TYPE: &str = "2.16.840.1.113733.1.9.2";
pub const SENDER_NONCE: &str = "2.16.840.1.113733.1.9.5";
pub const TRANSACTION_ID: &str = "2.16.840.1.113733.1.9.7";
pub const NULL: &[u8] = &[5, 0];

/// One element of these parts.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        len @ 0..0x80 => out.push(len as u8),
        len @ 0x80..0x100 => out.extend([0x81, len as u8]),
        len @ 0x100..0x1_0000 => out.extend([0x82, (len >> 8) as u8, len as u8]),
        len => out.extend([0x83, (len >> 16) as u8, (len >> 8) as u8, len as u8]),
    }
    out.extend(content);
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &[&parts.concat()])
}

pub fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

pub fn of(oid: ObjectIdentifier) -> Vec<u8> {
    oid.to_der().unwrap()
}

pub fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, &[text.as_bytes()])
}

pub fn octets(octets: &[u8]) -> Vec<u8> {
    tlv(4, &[octets])
}

/// An attribute with these values.
pub fn attribute(kind: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[kind, &set(values)])
}

/// Whether this is the attribute of this kind, unless it is longer than 127 octets.
pub fn is(attribute: &[u8], kind: &[u8]) -> bool {
    attribute[2..].starts_with(kind)
}

/// A SignedData; every field may be spoilt before [`encode`](Self::encode).
pub struct Forge<'a> {
    pub key: &'a TestKey,
    pub certificates: Vec<Vec<u8>>,
    /// Encoded `SignerIdentifier`.
    pub signer_id: Vec<u8>,
    pub content_type: Vec<u8>,
    pub content: Option<Vec<u8>>,
    /// Signed in this order, after sorting if `sorted`.
    pub attributes: Vec<Vec<u8>>,
    pub sorted: bool,
    /// AlgorithmIdentifiers.
    pub digest: Vec<u8>,
    pub signature: Vec<u8>,
    /// What is really computed.
    pub hash: Hash,
    /// How many SignerInfos.
    pub signers: usize,
}

impl<'a> Forge<'a> {
    /// What a client would send: a message of this type.
    pub fn new(key: &'a TestKey, certificate: &Certificate, kind: &str, content: Vec<u8>) -> Self {
        let serial = tlv(2, &[certificate.serial_raw()]);
        Self {
            key,
            certificates: vec![certificate.der().to_vec()],
            signer_id: sequence(&[certificate.issuer_raw(), &serial]),
            content_type: of(rfc5911::ID_DATA),
            attributes: vec![
                attribute(&of(rfc5911::ID_CONTENT_TYPE), &[of(rfc5911::ID_DATA)]),
                attribute(&of(rfc5911::ID_MESSAGE_DIGEST), &[octets(&Hash::Sha256.digest(&[&content]))]),
                attribute(&oid(MESSAGE_TYPE), &[printable(kind)]),
                attribute(&oid(SENDER_NONCE), &[octets(&[7; 16])]),
                attribute(&oid(TRANSACTION_ID), &[printable("forged")]),
            ],
            content: Some(content),
            sorted: true,
            digest: sequence(&[&of(Hash::Sha256.oid()), NULL]),
            signature: sequence(&[&of(rfc5912::RSA_ENCRYPTION), NULL]),
            hash: Hash::Sha256,
            signers: 1,
        }
    }

    /// With another digest throughout.
    pub fn hash(mut self, hash: Hash) -> Self {
        let digest = hash.digest(&[self.content.as_deref().unwrap_or_default()]);
        self.hash = hash;
        self.digest = sequence(&[&of(hash.oid()), NULL]);
        self.replace(&of(rfc5911::ID_MESSAGE_DIGEST), Some(vec![octets(&digest)]))
    }

    /// With these values of an attribute, or without it.
    pub fn replace(mut self, kind: &[u8], values: Option<Vec<Vec<u8>>>) -> Self {
        self.attributes.retain(|attribute| !is(attribute, kind));
        self.attributes.extend(values.map(|values| attribute(kind, &values)));
        self
    }

    pub fn encode(mut self) -> Vec<u8> {
        if self.sorted {
            self.attributes.sort();
        }
        let signed = set(&self.attributes);
        let signature = self.key.sign(self.hash, &signed).unwrap();
        let mut implicit = signed;
        implicit[0] = 0xa0;
        let signer = sequence(&[
            &[2, 1, 1],
            &self.signer_id,
            &self.digest,
            &implicit,
            &self.signature,
            &octets(&signature),
        ]);
        let content = self.content.map(|content| tlv(0xa0, &[&octets(&content)])).unwrap_or_default();
        let data = sequence(&[
            &[2, 1, 1],
            &set(std::slice::from_ref(&self.digest)),
            &sequence(&[&self.content_type, &content]),
            &tlv(0xa0, &[&self.certificates.concat()]),
            &set(&vec![signer; self.signers]),
        ]);
        sequence(&[&of(rfc5911::ID_SIGNED_DATA), &tlv(0xa0, &[&data])])
    }
}

/// A KeyTransRecipientInfo.
pub fn recipient(id: &[u8], algorithm: &[u8], wrapped: &[u8]) -> Vec<u8> {
    sequence(&[&[2, 1, 0], id, algorithm, &octets(wrapped)])
}

/// An EnvelopedData of these recipients.
pub fn envelope(recipients: &[Vec<u8>], algorithm: &[u8], encrypted: &[u8]) -> Vec<u8> {
    let content = sequence(&[&of(rfc5911::ID_DATA), algorithm, &tlv(0x80, &[encrypted])]);
    let data = sequence(&[&[2, 1, 0], &set(recipients), &content]);
    sequence(&[&of(rfc5911::ID_ENVELOPED_DATA), &tlv(0xa0, &[&data])])
}

/// A certificate of version 1 signed by itself, with a serial number of one's own: routers and certmonger
/// have such.
pub fn version_1(key: &TestKey, subject: &str, serial: &[u8], hash: Hash) -> Certificate {
    let algorithm = SignatureAlgorithm::RsaPkcs1(hash).identifier().unwrap().to_der().unwrap();
    let name = name(subject);
    let validity = sequence(&[&tlv(0x17, &[b"200101000000Z"]), &tlv(0x17, &[b"490101000000Z"])]);
    let spki = SigningKey::public_key(key).spki_der();
    let tbs = sequence(&[&tlv(2, &[serial]), &algorithm, name.as_der(), &validity, name.as_der(), spki]);
    let signature = key.sign(hash, &tbs).unwrap();
    Certificate::parse(&sequence(&[&tbs, &algorithm, &tlv(3, &[&[0], &signature])])).unwrap()
}
