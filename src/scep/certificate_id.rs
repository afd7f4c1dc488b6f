//! How CMS names a certificate: `SignerIdentifier` and `RecipientIdentifier` (RFC 5652, 5.3 and 6.2.1).

use crate::pki::asn1::{self, sequence, tlv};
use crate::pki::ber::{Reader, Tag};
use crate::pki::{Certificate, Serial};

use super::error::DecodeError;

/// A certificate as a message names it, signer's or recipient's.
pub enum CertificateId {
    /// `issuerAndSerialNumber`: the issuer's name as received, and the serial number.
    IssuerAndSerial { issuer: Vec<u8>, serial: Serial },
    /// `[0] subjectKeyIdentifier`.
    KeyId(Vec<u8>),
}

impl CertificateId {
    /// Reads the next field, which is either form.
    pub fn read(fields: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if let Some(id) = fields.optional(Tag::context(0), "subjectKeyIdentifier")? {
            return Ok(Self::KeyId(id.octets("subjectKeyIdentifier")?.into_owned()));
        }
        let what = "issuerAndSerialNumber";
        let mut id = fields.read(Tag::SEQUENCE, what)?.sequence(what)?;
        let issuer = id.any("issuer")?.raw().to_vec();
        let serial = Serial::from_be_bytes(id.read(Tag::INTEGER, "serial")?.integer("serial")?);
        Ok(Self::IssuerAndSerial { issuer, serial })
    }

    /// Whether it is this certificate that is named.
    pub fn names(&self, certificate: &Certificate) -> bool {
        match self {
            Self::IssuerAndSerial { issuer, serial } => {
                certificate.issuer_raw() == issuer && certificate.serial() == serial
            }
            Self::KeyId(id) => certificate.key_identifier() == *id,
        }
    }
}

/// The `IssuerAndSerialNumber` of a certificate: octet for octet what it says itself, however odd.
pub fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    sequence(&[certificate.issuer_raw(), &tlv(asn1::INTEGER, &[certificate.serial_raw()])])
}
