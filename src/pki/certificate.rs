//! Reading certificates, our own and strangers'.

use std::fmt;
use std::ops::Range;

use der::asn1::ObjectIdentifier;
use der::{DateTime, Decode};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use super::algorithm::SignatureAlgorithm;
use super::ber::{self, Element, ErrorKind, Limits, Reader, Tag};
use super::key::{PublicKey, PublicKeyError, VerifyError};
use super::serial::Serial;
use super::time::Time;

/// A certificate (RFC 5280, 4.1) as it was received, and what it says.
///
/// Read with tolerance: version 1, serial numbers of 33 octets, any name, any validity and any signature
/// algorithm are read, since routers sign their first message with such certificates. Nothing about it is
/// true before [`verify_signed_by`](Self::verify_signed_by) said so. Two are equal when their octets are.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    serial_content: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    version: u8,
    serial: Serial,
    not_before: Time,
    not_after: Time,
    public_key: PublicKey,
    extensions: Extensions,
}

impl Certificate {
    /// Reads one certificate and nothing more.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let element = ber::parse(bytes, &Limits::MESSAGE)?;
        let span = |inner: &[u8]| span_of(bytes, inner);

        let mut outer = element.sequence("certificate")?;
        let tbs = outer.read(Tag::SEQUENCE, "tbsCertificate")?;
        let signature_algorithm = outer.read(Tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.read(Tag::BIT_STRING, "signatureValue")?.bits("signatureValue")?;
        outer.end("certificate")?;

        let mut fields = tbs.sequence("tbsCertificate")?;
        let version = match fields.optional(Tag::context(0), "version")? {
            None => 1,
            Some(explicit) => {
                let version = explicit.explicit("version")?;
                // v3 is 2; whatever is above has no meaning yet.
                version.small("version")?.min(2) as u8 + 1
            }
        };
        let serial_content = fields.read(Tag::INTEGER, "serialNumber")?.integer("serialNumber")?;
        fields.read(Tag::SEQUENCE, "signature")?;
        let issuer = fields.read(Tag::SEQUENCE, "issuer")?;
        let mut validity = fields.read(Tag::SEQUENCE, "validity")?.sequence("validity")?;
        let not_before = time(&validity.any("notBefore")?, "notBefore")?;
        let not_after = time(&validity.any("notAfter")?, "notAfter")?;
        let subject = fields.read(Tag::SEQUENCE, "subject")?;
        let spki = fields.read(Tag::SEQUENCE, "subjectPublicKeyInfo")?;
        fields.optional(Tag::context(1), "issuerUniqueID")?;
        fields.optional(Tag::context(2), "subjectUniqueID")?;
        let extensions = match fields.optional(Tag::context(3), "extensions")? {
            None => Extensions::default(),
            Some(explicit) => Extensions::read(&explicit.explicit("extensions")?)?,
        };
        fields.end("tbsCertificate")?;

        Ok(Self {
            tbs: span(tbs.raw()),
            issuer: span(issuer.raw()),
            subject: span(subject.raw()),
            serial_content: span(serial_content),
            signature_algorithm: span(signature_algorithm.raw()),
            signature: span(signature),
            version,
            serial: Serial::from_be_bytes(serial_content),
            not_before,
            not_after,
            public_key: PublicKey::from_spki_der(spki.raw())?,
            extensions,
            der: bytes.to_vec(),
        })
    }

    /// The whole certificate as it was received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What is signed, as it was received.
    pub fn tbs(&self) -> &[u8] {
        &self.der[self.tbs.clone()]
    }

    /// The issuer's name, a `Name` as it was received.
    pub fn issuer_raw(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// The subject's name, a `Name` as it was received.
    pub fn subject_raw(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// The serial number; a negative one as the unsigned number of the same octets.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The content octets of the serial number as they were received, needless zeros included: what a
    /// message to this certificate's owner has to repeat.
    pub fn serial_raw(&self) -> &[u8] {
        &self.der[self.serial_content.clone()]
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The first instant of its validity.
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// The last instant of its validity.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The subject's public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The `AlgorithmIdentifier` of the signature, as it was received.
    pub fn signature_algorithm_raw(&self) -> &[u8] {
        &self.der[self.signature_algorithm.clone()]
    }

    /// The algorithm of the signature, when it is one we know.
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_der(self.signature_algorithm_raw(), None)
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.der[self.signature.clone()]
    }

    /// The extensions, in their order.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What others call its key: its own subjectKeyIdentifier, or without one what RFC 5280, 4.2.1.2 would
    /// have it be.
    pub fn key_identifier(&self) -> Vec<u8> {
        match self.extensions().subject_key_identifier() {
            Some(id) => id.to_vec(),
            None => self.public_key().key_identifier(),
        }
    }

    /// Whether `issuer` signed these octets. An algorithm that is not known does not fit any key.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), VerifyError> {
        let algorithm = self.signature_algorithm().ok_or(VerifyError::WrongKeyKind)?;
        issuer.verify(algorithm, self.tbs(), self.signature())
    }

    /// Whether issuer and subject are the same, octet by octet. Says nothing about the signature.
    pub fn is_self_issued(&self) -> bool {
        self.issuer_raw() == self.subject_raw()
    }

    /// Whether `now` is within its validity, both ends included (RFC 5280, 4.1.2.5).
    pub fn is_valid_at(&self, now: Time) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, v{}, {:?})", self.serial, self.version, self.public_key)
    }
}

/// Extensions of a certificate or asked for in a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<Extension>);

/// One extension (RFC 5280, 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub oid: ObjectIdentifier,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// The octets in `extnValue`: an encoding of its own.
    pub value: Vec<u8>,
}

/// basicConstraints (RFC 5280, 4.2.1.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether the subject is a CA.
    pub ca: bool,
    /// How many CAs may follow below it.
    pub path_len: Option<u32>,
}

impl Extensions {
    /// Reads `Extensions ::= SEQUENCE OF Extension`, as it stands in `[3]` and in an `extensionRequest`.
    pub(crate) fn read(sequence: &Element<'_>) -> Result<Self, ber::Error> {
        let mut reader = sequence.sequence("extensions")?;
        let mut extensions = Vec::new();
        while let Some(extension) = reader.next("extension")? {
            extensions.push(Extension::read(&mut extension.sequence("extension")?)?);
        }
        Ok(Self(extensions))
    }

    /// Each in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Extension> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first with this identifier.
    pub fn find(&self, oid: &ObjectIdentifier) -> Option<&Extension> {
        self.0.iter().find(|extension| extension.oid == *oid)
    }

    /// basicConstraints. `None` when absent or broken; an empty SEQUENCE says that it is no CA.
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        let value = self.value(&oid::BASIC_CONSTRAINTS)?;
        let read = || {
            let mut fields = ber::parse(value, &Limits::MESSAGE)?.sequence("basicConstraints")?;
            let ca = fields.optional(Tag::BOOLEAN, "cA")?.map_or(Ok(false), |ca| ca.boolean("cA"))?;
            let path_len = fields.optional(Tag::INTEGER, "pathLenConstraint")?;
            let path_len = path_len.map(|len| len.small("pathLenConstraint")).transpose()?;
            Ok::<_, ber::Error>(BasicConstraints { ca, path_len })
        };
        read().ok()
    }

    /// keyUsage (RFC 5280, 4.2.1.3). `None` when absent or broken.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        KeyUsage::from_der(self.value(&oid::KEY_USAGE)?).ok()
    }

    /// The purposes in extendedKeyUsage (RFC 5280, 4.2.1.12); none when it is absent or broken.
    pub fn purposes(&self) -> Vec<ObjectIdentifier> {
        let purposes =
            self.value(&oid::EXT_KEY_USAGE).and_then(|value| ExtendedKeyUsage::from_der(value).ok());
        purposes.map(|purposes| purposes.0).unwrap_or_default()
    }

    /// subjectKeyIdentifier (RFC 5280, 4.2.1.2): the identifier itself.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        let element = ber::parse(self.value(&oid::SUBJECT_KEY_IDENTIFIER)?, &Limits::MESSAGE).ok()?;
        (element.tag() == Tag::OCTET_STRING && !element.is_constructed()).then(|| element.content())
    }

    /// The keyIdentifier of authorityKeyIdentifier (RFC 5280, 4.2.1.1).
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        let element = ber::parse(self.value(&oid::AUTHORITY_KEY_IDENTIFIER)?, &Limits::MESSAGE).ok()?;
        let key = element.sequence("").ok()?.optional(Tag::context(0), "").ok()??;
        (!key.is_constructed()).then(|| key.content())
    }

    /// The `GeneralNames` of subjectAltName (RFC 5280, 4.2.1.6), encoded.
    pub fn subject_alt_name(&self) -> Option<&[u8]> {
        self.value(&oid::SUBJECT_ALT_NAME)
    }

    fn value(&self, oid: &ObjectIdentifier) -> Option<&[u8]> {
        self.find(oid).map(|extension| extension.value.as_slice())
    }
}

impl<'a> IntoIterator for &'a Extensions {
    type Item = &'a Extension;
    type IntoIter = std::slice::Iter<'a, Extension>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extension {
    fn read(fields: &mut Reader<'_>) -> Result<Self, ber::Error> {
        let oid = fields.read(Tag::OID, "extnID")?.oid("extnID")?;
        let critical = fields.optional(Tag::BOOLEAN, "critical")?;
        let critical = critical.map_or(Ok(false), |critical| critical.boolean("critical"))?;
        let value = fields.read(Tag::OCTET_STRING, "extnValue")?.octets("extnValue")?.into_owned();
        fields.end("extension")?;
        Ok(Self { oid, critical, value })
    }
}

/// Why octets are not a certificate we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the structure of RFC 5280, 4.1.
    #[error("the certificate is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// A certificate, but its key is not for us.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

/// Where `inner`, a part of `outer`, lies in it.
pub(crate) fn span_of(outer: &[u8], inner: &[u8]) -> Range<usize> {
    let start = inner.as_ptr() as usize - outer.as_ptr() as usize;
    start..start + inner.len()
}

/// UTCTime or GeneralizedTime, with or without seconds, fraction and zone (X.690, 8.25 and 8.26). Instants
/// before 1970 become 1970.
pub(crate) fn time(element: &Element<'_>, what: &'static str) -> Result<Time, ber::Error> {
    let invalid = element.error(what, ErrorKind::Value);
    let text = element.octets(what)?;
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, zone) = text.split_at(digits);
    let year_digits = match element.tag() {
        Tag::UTC_TIME => 2,
        Tag::GENERALIZED_TIME => 4,
        _ => return Err(invalid),
    };
    let mut numbers = digits[year_digits.min(digits.len())..].chunks(2).map(number);
    let mut year = digits.get(..year_digits).map(number).ok_or(invalid.clone())?;
    if year_digits == 2 {
        // RFC 5280, 4.1.2.5.1.
        year += if year < 50 { 2000 } else { 1900 };
    }
    let mut next = || numbers.next().unwrap_or(0) as u8;
    // The first and last second of a minute are the same to us: a leap second is none.
    let (month, day, hour, minute, second) = (next(), next(), next(), next(), next().min(59));
    if !matches!(digits.len() - year_digits, 8 | 10) {
        return Err(invalid);
    }
    if year < 1970 {
        return Ok(Time::default());
    }
    let instant = DateTime::new(year, month, day, hour, minute, second).map_err(|_| invalid)?;
    Ok(shift(instant.into(), zone))
}

/// `+hhmm` or `-hhmm` behind the digits; whatever else stands there is taken for `Z`.
fn shift(local: Time, zone: &[u8]) -> Time {
    let Some(at) = zone.iter().position(|b| matches!(b, b'+' | b'-')) else { return local };
    let [h1, h2, m1, m2] = zone[at + 1..] else { return local };
    let minutes = u64::from(number(&[h1, h2])) * 60 + u64::from(number(&[m1, m2]));
    let offset = std::time::Duration::from_secs(minutes * 60);
    if zone[at] == b'+' { local.minus(offset) } else { local.plus(offset) }
}

fn number(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |n, b| n * 10 + u16::from(b.saturating_sub(b'0').min(9)))
}

mod oid {
    use const_oid::db::rfc5912;
    use der::asn1::ObjectIdentifier;

    pub const BASIC_CONSTRAINTS: ObjectIdentifier = rfc5912::ID_CE_BASIC_CONSTRAINTS;
    pub const KEY_USAGE: ObjectIdentifier = rfc5912::ID_CE_KEY_USAGE;
    pub const EXT_KEY_USAGE: ObjectIdentifier = rfc5912::ID_CE_EXT_KEY_USAGE;
    pub const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = rfc5912::ID_CE_SUBJECT_KEY_IDENTIFIER;
    pub const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = rfc5912::ID_CE_AUTHORITY_KEY_IDENTIFIER;
    pub const SUBJECT_ALT_NAME: ObjectIdentifier = rfc5912::ID_CE_SUBJECT_ALT_NAME;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_time(tag: u8, text: &str) -> Option<u64> {
        let der = [&[tag, text.len() as u8][..], text.as_bytes()].concat();
        time(&ber::parse(&der, &Limits::MESSAGE).unwrap(), "time").ok().map(Time::unix)
    }

    #[test]
    fn times_of_every_form() {
        assert_eq!(read_time(23, "700101000000Z"), Some(0));
        assert_eq!(read_time(23, "7001010001Z"), Some(60));
        assert_eq!(read_time(23, "691231235959Z"), Some(0));
        assert_eq!(read_time(23, "700101010000+0100"), Some(0));
        assert_eq!(read_time(24, "19691231230000-0100"), Some(0));
        assert_eq!(read_time(24, "20261014194457Z"), Some(1_792_007_097));
        assert_eq!(read_time(24, "20261014194457.123Z"), Some(1_792_007_097));
        assert_eq!(read_time(24, "21260101000000Z"), Some(4_922_899_200));
        assert_eq!(read_time(24, "99991231235959Z"), Some(253_402_300_799));
        for bad in ["", "Z", "7001", "700001000000Z", "701301000000Z", "7001010000000Z"] {
            assert_eq!(read_time(23, bad), None, "{bad}");
        }
        assert_eq!(read_time(19, "700101000000Z"), None);
    }
}
