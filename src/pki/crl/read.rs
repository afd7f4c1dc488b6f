//! A CRL as it was received.

use std::ops::Range;

use bytes::Bytes;
use const_oid::db::rfc5912;
use der::asn1::ObjectIdentifier;

use crate::pki::algorithm::SignatureAlgorithm;
use crate::pki::ber::{self, ErrorKind, Limits, Reader, Tag};
use crate::pki::certificate::{Extensions, span_of, time};
use crate::pki::key::{PublicKey, VerifyError};
use crate::pki::serial::Serial;
use crate::pki::time::Time;

/// A complete CRL (RFC 5280, 5.1) as it was received, and what it says. Nothing about it is true before
/// [`verify_signed_by`](Self::verify_signed_by) said so.
#[derive(Clone, Debug)]
pub struct Crl {
    der: Bytes,
    tbs: Range<usize>,
    issuer: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    entries: Range<usize>,
    this_update: Time,
    next_update: Option<Time>,
    number: Option<u64>,
    authority_key: Option<Vec<u8>>,
    count: u64,
}

/// A revoked certificate on a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// revocationDate.
    pub at: Time,
    /// CRLReason (RFC 5280, 5.3.1); 0, unspecified, when it is not said.
    pub reason: u8,
}

impl Crl {
    /// Reads one CRL and nothing more, of version 1 or 2, every entry of it.
    pub fn parse(der: impl Into<Bytes>) -> Result<Self, CrlError> {
        let der: Bytes = der.into();
        let span = |inner: &[u8]| span_of(&der, inner);

        let mut outer = ber::parse(&der, &LIMITS)?.sequence("CRL")?;
        let tbs = outer.read(Tag::SEQUENCE, "tbsCertList")?;
        let signature_algorithm = outer.read(Tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.read(Tag::BIT_STRING, "signatureValue")?.bits("signatureValue")?;
        outer.end("CRL")?;

        let mut fields = tbs.sequence("tbsCertList")?;
        fields.optional(Tag::INTEGER, "version")?;
        let inner_algorithm = fields.read(Tag::SEQUENCE, "signature")?;
        // RFC 5280, 5.1.1.2: the one that is signed and the one that is used are the same.
        if inner_algorithm.raw() != signature_algorithm.raw() {
            return Err(inner_algorithm.error("signature", ErrorKind::Value).into());
        }
        let issuer = fields.read(Tag::SEQUENCE, "issuer")?;
        let this_update = time(&fields.any("thisUpdate")?, "thisUpdate")?;
        let next_update = match fields.optional(Tag::UTC_TIME, "nextUpdate")? {
            None => fields.optional(Tag::GENERALIZED_TIME, "nextUpdate")?,
            utc => utc,
        };
        let next_update = next_update.map(|element| time(&element, "nextUpdate")).transpose()?;
        let entries = fields.optional(Tag::SEQUENCE, "revokedCertificates")?;
        let extensions = match fields.optional(Tag::context(0), "crlExtensions")? {
            None => Extensions::default(),
            Some(explicit) => Extensions::read(&explicit.explicit("crlExtensions")?)?,
        };
        fields.end("tbsCertList")?;

        let mut count = 0;
        if let Some(entries) = &entries {
            let mut reader = entries.sequence("revokedCertificates")?;
            while entry(&mut reader)?.is_some() {
                count += 1;
            }
        }
        Ok(Self {
            tbs: span(tbs.raw()),
            issuer: span(issuer.raw()),
            signature_algorithm: span(signature_algorithm.raw()),
            signature: span(signature),
            entries: entries.map_or(0..0, |entries| span(entries.raw())),
            this_update,
            next_update,
            number: number(&extensions)?,
            authority_key: extensions.authority_key_identifier().map(<[u8]>::to_vec),
            count,
            der,
        })
    }

    /// The whole CRL as it was received.
    pub fn der(&self) -> &Bytes {
        &self.der
    }

    /// The issuer's name, a `Name` as it was received.
    pub fn issuer_raw(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// thisUpdate.
    pub fn this_update(&self) -> Time {
        self.this_update
    }

    /// nextUpdate, which old CRLs may lack.
    pub fn next_update(&self) -> Option<Time> {
        self.next_update
    }

    /// cRLNumber, which old CRLs lack.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// keyIdentifier of authorityKeyIdentifier: which key of the issuer signed it, where it says so.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key.as_deref()
    }

    /// The algorithm of the signature, when it is one we know.
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_der(&self.der[self.signature_algorithm.clone()], None)
    }

    /// How many certificates are on it.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is on it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The certificates on it, in its order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let entries = &self.der[self.entries.clone()];
        let mut reader = ber::parse(entries, &LIMITS).and_then(|entries| entries.sequence("")).ok();
        // `parse` has read each of them without an error.
        std::iter::from_fn(move || entry(reader.as_mut()?).ok().flatten())
    }

    /// Whether `issuer` signed these octets. An algorithm that is not known does not fit any key.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), VerifyError> {
        let algorithm = self.signature_algorithm().ok_or(VerifyError::WrongKeyKind)?;
        issuer.verify(algorithm, &self.der[self.tbs.clone()], &self.der[self.signature.clone()])
    }
}

/// cRLNumber in crlExtensions. A critical extension, as of a delta CRL or one for some reasons only, must be
/// understood or the CRL be left alone (RFC 5280, 5.2). Those of these two are critical, and who forgot to say so
/// has made no complete CRL either.
fn number(extensions: &Extensions) -> Result<Option<u64>, CrlError> {
    let is_partial = |oid: &ObjectIdentifier| PARTIAL.contains(oid);
    if let Some(unknown) =
        extensions.iter().find(|extension| extension.critical || is_partial(&extension.oid))
    {
        return Err(CrlError::Critical(unknown.oid));
    }
    let Some(number) = extensions.find(&rfc5912::ID_CE_CRL_NUMBER) else { return Ok(None) };
    let element = ber::parse(&number.value, &Limits::MESSAGE)?;
    let number = Serial::from_be_bytes(element.tagged(Tag::INTEGER, "cRLNumber")?.integer("cRLNumber")?);
    match number.to_u64() {
        // So that there is always a next one.
        Some(number) if number < u64::MAX / 4 => Ok(Some(number)),
        _ => Err(element.error("cRLNumber", ErrorKind::Value).into()),
    }
}

fn entry(reader: &mut Reader<'_>) -> Result<Option<Entry>, CrlError> {
    let Some(element) = reader.next("revokedCertificate")? else { return Ok(None) };
    let mut fields = element.sequence("revokedCertificate")?;
    let serial = fields.read(Tag::INTEGER, "userCertificate")?.integer("userCertificate")?;
    let at = time(&fields.any("revocationDate")?, "revocationDate")?;
    let reason = match fields.optional(Tag::SEQUENCE, "crlEntryExtensions")? {
        None => 0,
        Some(extensions) => reason(&Extensions::read(&extensions)?)?,
    };
    fields.end("revokedCertificate")?;
    Ok(Some(Entry { serial: Serial::from_be_bytes(serial), at, reason }))
}

/// reasonCode; whatever is none counts as unspecified. A critical extension, as of a certificate of another
/// issuer, must be understood or the CRL be left alone (RFC 5280, 5.3).
fn reason(extensions: &Extensions) -> Result<u8, CrlError> {
    let code = extensions.find(&rfc5912::ID_CE_CRL_REASONS);
    let unknown = |oid: &ObjectIdentifier| *oid != rfc5912::ID_CE_CRL_REASONS;
    if let Some(critical) = extensions.iter().find(|extension| extension.critical && unknown(&extension.oid))
    {
        return Err(CrlError::Critical(critical.oid));
    }
    match code.map(|code| code.value.as_slice()) {
        // ENUMERATED of one octet; 7 is not used.
        Some([0x0a, 1, reason @ (1..=6 | 8..=10)]) => Ok(*reason),
        _ => Ok(0),
    }
}

/// Why octets are not a CRL we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not the structure of RFC 5280, 5.1.
    #[error("the CRL is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// A CRL of a kind that is not known here, such as a delta CRL.
    #[error("the CRL has the extension {0}, which must be understood and is not known here")]
    Critical(ObjectIdentifier),
}

/// Of CRLs that are not complete: deltaCRLIndicator and issuingDistributionPoint (RFC 5280, 5.2.4 and 5.2.5).
const PARTIAL: [ObjectIdentifier; 2] =
    [rfc5912::ID_CE_DELTA_CRL_INDICATOR, rfc5912::ID_CE_ISSUING_DISTRIBUTION_POINT];

/// Ten million entries of eight elements each: more than a CA of ours will ever have.
const LIMITS: Limits = Limits { depth: 16, elements: 80_000_000, length: 1 << 30 };
