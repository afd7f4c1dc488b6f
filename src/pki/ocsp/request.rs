//! OCSPRequest (RFC 6960, 4.1).

use super::NONCE;
use crate::pki::algorithm::Hash;
use crate::pki::asn1::{INTEGER, NULL, OCTET_STRING, algorithm, context, oid, sequence, tlv};
use crate::pki::certificate::Certificate;

/// A question about one certificate, not signed.
pub struct Question<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) issuer: &'a Certificate,
    pub(super) nonce: Option<[u8; NONCE_OCTETS]>,
}

impl<'a> Question<'a> {
    /// About `certificate`, which `issuer` issued. A nonce must never have been used (RFC 8954); without one the
    /// time alone says that an answer is not an old one.
    pub fn new(
        certificate: &'a Certificate,
        issuer: &'a Certificate,
        nonce: Option<[u8; NONCE_OCTETS]>,
    ) -> Self {
        Self { certificate, issuer, nonce }
    }

    /// The request, DER. Its CertID is over SHA-1, the only one that every responder knows (RFC 5019, 2.1.1): it
    /// finds a certificate, nothing rests on it.
    pub fn to_der(&self) -> Vec<u8> {
        let serial = tlv(INTEGER, &[self.certificate.serial_raw()]);
        let certificate = sequence(&[
            &algorithm(Hash::Sha1.oid(), NULL),
            &tlv(OCTET_STRING, &[&self.issuer_name(Hash::Sha1)]),
            &tlv(OCTET_STRING, &[&self.issuer_key(Hash::Sha1)]),
            &serial,
        ]);
        let requests = sequence(&[&sequence(&[&certificate])]);
        let extensions = self.nonce.map(|nonce| {
            let nonce = tlv(OCTET_STRING, &[&nonce]);
            let nonce = sequence(&[&oid(NONCE), &tlv(OCTET_STRING, &[&nonce])]);
            tlv(context(2), &[&sequence(&[&nonce])])
        });
        sequence(&[&sequence(&[&requests, &extensions.unwrap_or_default()])])
    }

    /// issuerNameHash of its CertID.
    pub(super) fn issuer_name(&self, hash: Hash) -> Vec<u8> {
        hash.digest(&[self.certificate.issuer_raw()])
    }

    /// issuerKeyHash of its CertID.
    pub(super) fn issuer_key(&self, hash: Hash) -> Vec<u8> {
        hash.digest(&[self.issuer.public_key().key_bits()])
    }
}

/// What RFC 8954, 2.1 asks for.
pub const NONCE_OCTETS: usize = 32;
