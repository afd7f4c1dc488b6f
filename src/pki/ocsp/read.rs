//! OCSPResponse as it was received (RFC 6960, 4.2.1): read, not judged.

use super::{BASIC, NONCE, OcspFault};
use crate::pki::algorithm::{Hash, SignatureAlgorithm};
use crate::pki::ber::{self, Element, ErrorKind, Limits, Reader, Tag};
use crate::pki::certificate::{Certificate, Extensions, time};
use crate::pki::serial::Serial;
use crate::pki::standing::Standing;
use crate::pki::time::Time;

/// A BasicOCSPResponse.
pub struct Basic<'a> {
    pub tbs: &'a [u8],
    pub algorithm: Option<SignatureAlgorithm>,
    pub signature: &'a [u8],
    pub certificates: Vec<Certificate>,
    pub responder: Responder<'a>,
    pub nonce: Option<Vec<u8>>,
    pub singles: Vec<Single>,
}

/// Who answers: ResponderID.
pub enum Responder<'a> {
    /// A `Name` as it was received.
    Name(&'a [u8]),
    /// SHA-1 over the bits of the key.
    Key(&'a [u8]),
}

/// SingleResponse: what is said of one certificate.
pub struct Single {
    /// The digest of the two hashes, when it is one we know.
    pub hash: Option<Hash>,
    pub issuer_name: Vec<u8>,
    pub issuer_key: Vec<u8>,
    pub serial: Serial,
    /// `None` for unknown.
    pub standing: Option<Standing>,
    pub this_update: Time,
    pub next_update: Option<Time>,
    /// Whether it has a critical extension; none is known here.
    pub critical: bool,
}

impl<'a> Basic<'a> {
    /// Reads a successful response; another is its status.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, OcspFault> {
        let mut outer = ber::parse(bytes, &Limits::MESSAGE)?.sequence("OCSPResponse")?;
        let status = outer.read(Tag::ENUMERATED, "responseStatus")?;
        match status.content() {
            [0] => {}
            [code] => return Err(OcspFault::Status(*code)),
            _ => return Err(status.error("responseStatus", ErrorKind::Value).into()),
        }
        let bytes = outer.read(Tag::context(0), "responseBytes")?.explicit("responseBytes")?;
        let mut fields = bytes.sequence("responseBytes")?;
        let kind = fields.read(Tag::OID, "responseType")?;
        if kind.oid("responseType")? != BASIC {
            return Err(kind.error("responseType", ErrorKind::Value).into());
        }
        let response = fields.read(Tag::OCTET_STRING, "response")?;
        if response.is_constructed() {
            return Err(response.error("response", ErrorKind::Constructed).into());
        }
        let response = ber::parse(response.content(), &Limits::MESSAGE)?;

        let mut fields = response.sequence("BasicOCSPResponse")?;
        let tbs = fields.read(Tag::SEQUENCE, "tbsResponseData")?;
        let algorithm = fields.read(Tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = fields.read(Tag::BIT_STRING, "signature")?.bits("signature")?;
        let mut certificates = Vec::new();
        if let Some(explicit) = fields.optional(Tag::context(0), "certs")? {
            let mut certs = explicit.explicit("certs")?.sequence("certs")?;
            while let Some(certificate) = certs.next("certs")? {
                // What cannot be read has not signed this either.
                certificates.extend(Certificate::parse(certificate.raw()).ok());
            }
        }

        let mut data = tbs.sequence("tbsResponseData")?;
        data.optional(Tag::context(0), "version")?;
        let responder = responder(&data.any("responderID")?)?;
        data.any("producedAt")?;
        let mut singles = Vec::new();
        let mut responses = data.read(Tag::SEQUENCE, "responses")?.sequence("responses")?;
        while let Some(element) = responses.next("SingleResponse")? {
            singles.push(single(&mut element.sequence("SingleResponse")?)?);
        }
        let nonce = match data.optional(Tag::context(1), "responseExtensions")? {
            None => None,
            Some(explicit) => nonce(&Extensions::read(&explicit.explicit("responseExtensions")?)?)?,
        };
        let algorithm = SignatureAlgorithm::from_der(algorithm.raw(), None);
        Ok(Self { tbs: tbs.raw(), algorithm, signature, certificates, responder, nonce, singles })
    }
}

fn responder<'a>(element: &Element<'a>) -> Result<Responder<'a>, ber::Error> {
    let inner = element.explicit("responderID")?;
    match element.tag() {
        tag if tag == Tag::context(1) => Ok(Responder::Name(inner.raw())),
        tag if tag == Tag::context(2) => Ok(Responder::Key(inner.content())),
        _ => Err(element.error("responderID", ErrorKind::Value)),
    }
}

fn nonce(extensions: &Extensions) -> Result<Option<Vec<u8>>, OcspFault> {
    if let Some(unknown) = extensions.iter().find(|extension| extension.critical && extension.oid != NONCE) {
        return Err(OcspFault::Critical(unknown.oid));
    }
    let Some(nonce) = extensions.find(&NONCE) else { return Ok(None) };
    // An OCTET STRING within the octet string; some responders forget the inner one.
    let inner = ber::parse(&nonce.value, &Limits::MESSAGE).ok();
    let inner = inner.filter(|inner| inner.tag() == Tag::OCTET_STRING && !inner.is_constructed());
    Ok(Some(inner.map_or(&nonce.value[..], |inner| inner.content()).to_vec()))
}

fn single(fields: &mut Reader<'_>) -> Result<Single, ber::Error> {
    let mut id = fields.read(Tag::SEQUENCE, "certID")?.sequence("certID")?;
    let mut algorithm = id.read(Tag::SEQUENCE, "hashAlgorithm")?.sequence("hashAlgorithm")?;
    let hash = Hash::from_oid(&algorithm.read(Tag::OID, "hashAlgorithm")?.oid("hashAlgorithm")?);
    let issuer_name = id.read(Tag::OCTET_STRING, "issuerNameHash")?.octets("issuerNameHash")?.into_owned();
    let issuer_key = id.read(Tag::OCTET_STRING, "issuerKeyHash")?.octets("issuerKeyHash")?.into_owned();
    let serial = id.read(Tag::INTEGER, "serialNumber")?.integer("serialNumber")?;
    let serial = Serial::from_be_bytes(serial);

    let status = fields.any("certStatus")?;
    let standing = match status.tag() {
        tag if tag == Tag::context(0) => Some(Standing::Good),
        tag if tag == Tag::context(1) => Some(revoked(&status)?),
        tag if tag == Tag::context(2) => None,
        _ => return Err(status.error("certStatus", ErrorKind::Value)),
    };
    let this_update = time(&fields.any("thisUpdate")?, "thisUpdate")?;
    let next_update = match fields.optional(Tag::context(0), "nextUpdate")? {
        None => None,
        Some(explicit) => Some(time(&explicit.explicit("nextUpdate")?, "nextUpdate")?),
    };
    let critical = match fields.optional(Tag::context(1), "singleExtensions")? {
        None => false,
        Some(explicit) => {
            let extensions = Extensions::read(&explicit.explicit("singleExtensions")?)?;
            extensions.iter().any(|extension| extension.critical)
        }
    };
    Ok(Single { hash, issuer_name, issuer_key, serial, standing, this_update, next_update, critical })
}

/// RevokedInfo.
fn revoked(status: &Element<'_>) -> Result<Standing, ber::Error> {
    let mut fields = status.reader("revoked")?;
    let at = time(&fields.any("revocationTime")?, "revocationTime")?;
    let reason = match fields.optional(Tag::context(0), "revocationReason")? {
        None => 0,
        Some(explicit) => match explicit.explicit("revocationReason")?.content() {
            [reason] => *reason,
            _ => 0,
        },
    };
    Ok(Standing::Revoked { at, reason })
}
