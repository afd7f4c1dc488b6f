//! CMS SignedData (RFC 5652, 5) as SCEP uses it: one signer, attributes, the signer's certificate inside.

use const_oid::db::{rfc5911, rfc5912};
use der::asn1::ObjectIdentifier;

use crate::pki::asn1::{self, context, sequence, set_of, tlv};
use crate::pki::ber::{self, Element, Limits, Tag};
use crate::pki::{Certificate, Hash, KeyError, KeyKind, SignatureAlgorithm, SigningKey};

use super::certificate_id::{CertificateId, issuer_and_serial};
use super::error::DecodeError;

/// A SignedData as it was received, nothing of it checked.
pub struct SignedData {
    /// eContentType.
    pub content_type: ObjectIdentifier,
    /// The contents of eContent; `None` when absent.
    pub content: Option<Vec<u8>>,
    /// The certificates inside, those that could be read.
    pub certificates: Vec<Certificate>,
    /// The CRLs inside, encoded.
    pub crls: Vec<Vec<u8>>,
    /// The one signer; `None` in a degenerate message.
    pub signer: Option<SignerInfo>,
}

/// A SignerInfo as it was received.
pub struct SignerInfo {
    id: CertificateId,
    digest: Option<Hash>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// The contents of signedAttrs as received: attributes one after the other.
    attributes_raw: Vec<u8>,
    attributes: Vec<Attribute>,
}

struct Attribute {
    oid: ObjectIdentifier,
    raw: Vec<u8>,
    /// The octets of its value; `None` when there is none, or more than one, or no string.
    value: Option<Vec<u8>>,
}

impl SignedData {
    /// Certificates in one message: a chain and RAs are less.
    pub const MAX_CERTIFICATES: usize = 16;

    /// Reads a ContentInfo with SignedData in it.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        // What follows the message is often a line feed.
        let (info, _) = ber::parse_prefix(input, limits)?;
        let content = content_of(&info, rfc5911::ID_SIGNED_DATA)?;
        let mut fields = content.sequence("SignedData")?;
        fields.read(Tag::INTEGER, "version")?;
        fields.read(Tag::SET, "digestAlgorithms")?;
        let mut inner = fields.read(Tag::SEQUENCE, "encapContentInfo")?.sequence("encapContentInfo")?;
        let content_type = inner.read(Tag::OID, "eContentType")?.oid("eContentType")?;
        let content = match inner.optional(Tag::context(0), "eContent")? {
            Some(content) => Some(content.explicit("eContent")?.octets("eContent")?.into_owned()),
            None => None,
        };
        let mut certificates = Vec::new();
        if let Some(set) = fields.optional(Tag::context(0), "certificates")? {
            let mut set = set.reader("certificates")?;
            let mut count = 0;
            while let Some(certificate) = set.next("certificate")? {
                count += 1;
                if count > Self::MAX_CERTIFICATES {
                    return Err(DecodeError::TooMany("certificates"));
                }
                // Attribute certificates and worse: not what we look for, no reason to refuse the rest.
                certificates.extend(Certificate::parse(certificate.raw()));
            }
        }
        let mut crls = Vec::new();
        if let Some(set) = fields.optional(Tag::context(1), "crls")? {
            let mut set = set.reader("crls")?;
            while let Some(crl) = set.next("crl")? {
                crls.push(crl.raw().to_vec());
            }
        }
        let mut signers = fields.read(Tag::SET, "signerInfos")?.set("signerInfos")?;
        let signer = signers.next("signerInfo")?.map(|signer| SignerInfo::read(&signer)).transpose()?;
        if signers.next("signerInfo")?.is_some() {
            return Err(DecodeError::TooMany("signers"));
        }
        Ok(Self { content_type, content, certificates, crls, signer })
    }

    /// The signer's certificate: the one its identifier names, wherever in the set it stands. `also` are
    /// known beforehand, for peers that send none.
    pub fn signer_certificate<'a>(&'a self, also: &'a [&'a Certificate]) -> Option<&'a Certificate> {
        let signer = self.signer.as_ref()?;
        self.certificates.iter().chain(also.iter().copied()).find(|certificate| signer.id.names(certificate))
    }

    /// The same, when it is one of `trusted`.
    pub fn trusted_signer<'a>(
        &'a self,
        trusted: &'a [&'a Certificate],
    ) -> Result<&'a Certificate, DecodeError> {
        if self.signer.is_none() {
            return Err(DecodeError::NoSigner);
        }
        let signer = self.signer_certificate(trusted).ok_or(DecodeError::Untrusted)?;
        let known = trusted.iter().any(|known| known.der() == signer.der());
        known.then_some(signer).ok_or(DecodeError::Untrusted)
    }

    /// Checks digest and signature with the key of `certificate`.
    pub fn verify(&self, certificate: &Certificate) -> Result<(), DecodeError> {
        let signer = self.signer.as_ref().ok_or(DecodeError::NoSigner)?;
        let hash = signer.digest.ok_or(DecodeError::UnknownDigest)?;
        let algorithm = SignatureAlgorithm::from_der(&signer.algorithm, Some(hash));
        // What is allowed is decided by digestAlgorithm: the signature may not bring a weaker one.
        let algorithm = algorithm
            .filter(|a| a.hash().is_none_or(|its| its == hash))
            .ok_or(DecodeError::UnknownSignature)?;
        // RFC 5652, 11.1: without it, the same octets could be signed as something else.
        if signer.attribute(&rfc5911::ID_CONTENT_TYPE) != Some(self.content_type.as_bytes()) {
            return Err(DecodeError::MissingAttribute("contentType"));
        }
        let digest = hash.digest(&[self.content.as_deref().unwrap_or_default()]);
        if signer.attribute(&rfc5911::ID_MESSAGE_DIGEST) != Some(&digest[..]) {
            return Err(DecodeError::BadDigest);
        }
        let key = certificate.public_key();
        // Signed as a SET OF in DER, whatever was sent (RFC 5652, 5.4); some sign what they send.
        let mut sorted: Vec<&[u8]> = signer.attributes.iter().map(|a| a.raw.as_slice()).collect();
        sorted.sort();
        let in_order = tlv(asn1::SET, &sorted);
        let as_sent = tlv(asn1::SET, &[&signer.attributes_raw]);
        let good = |message: &[u8]| key.verify(algorithm, message, &signer.signature);
        let result = match good(&in_order) {
            Err(_) if as_sent != in_order => good(&as_sent),
            result => result,
        };
        result.map_err(DecodeError::BadSignature)
    }
}

impl SignerInfo {
    fn read(signer: &Element<'_>) -> Result<Self, DecodeError> {
        let mut fields = signer.sequence("SignerInfo")?;
        fields.read(Tag::INTEGER, "version")?;
        let id = CertificateId::read(&mut fields)?;
        let digest = fields.read(Tag::SEQUENCE, "digestAlgorithm")?;
        let digest = digest.sequence("digestAlgorithm")?.read(Tag::OID, "digest")?.oid("digest")?;
        let attributes_set = fields.read(Tag::context(0), "signedAttrs")?;
        let mut attributes = Vec::<Attribute>::new();
        let mut reader = attributes_set.reader("signedAttrs")?;
        while let Some(attribute) = reader.next("attribute")? {
            let attribute = Attribute::read(&attribute)?;
            // Two of a kind (RFC 5652, 5.3 forbids them) may be read as one by us, as the other elsewhere.
            if attributes.iter().any(|known| known.oid == attribute.oid) {
                return Err(DecodeError::Repeated(attribute.oid));
            }
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(DecodeError::TooMany("attributes"));
            }
            attributes.push(attribute);
        }
        let algorithm = fields.read(Tag::SEQUENCE, "signatureAlgorithm")?.to_definite();
        let signature = fields.read(Tag::OCTET_STRING, "signature")?.octets("signature")?.into_owned();
        Ok(Self {
            id,
            digest: Hash::from_oid(&digest),
            algorithm,
            signature,
            attributes_raw: attributes_set.content().to_vec(),
            attributes,
        })
    }

    /// The digest, when it is one we know.
    pub fn digest(&self) -> Option<Hash> {
        self.digest
    }

    /// The octets of the signed attribute with this type. Without a value, or with several, it counts as
    /// missing.
    pub fn attribute(&self, oid: &ObjectIdentifier) -> Option<&[u8]> {
        self.attributes.iter().find(|attribute| attribute.oid == *oid)?.value.as_deref()
    }
}

impl Attribute {
    fn read(attribute: &Element<'_>) -> Result<Self, DecodeError> {
        let mut parts = attribute.sequence("attribute")?;
        let oid = parts.read(Tag::OID, "attrType")?.oid("attrType")?;
        let mut values = parts.read(Tag::SET, "attrValues")?.set("attrValues")?;
        let value = match (values.next("attrValue")?, values.next("attrValue")?) {
            (Some(value), None) if !value.is_constructed() => Some(value.content().to_vec()),
            (Some(value), None) if value.tag() == Tag::OCTET_STRING => {
                Some(value.octets("attrValue")?.into_owned())
            }
            _ => None,
        };
        Ok(Self { oid, raw: attribute.raw().to_vec(), value })
    }
}

/// The `[0]` of a ContentInfo of this type.
pub fn content_of<'a>(info: &Element<'a>, kind: ObjectIdentifier) -> Result<Element<'a>, DecodeError> {
    let mut fields = info.sequence("ContentInfo")?;
    if fields.read(Tag::OID, "contentType")?.oid("contentType")? != kind {
        return Err(DecodeError::NotCms);
    }
    Ok(fields.read(Tag::context(0), "content")?.explicit("content")?)
}

/// A ContentInfo.
pub fn content_info(kind: ObjectIdentifier, content: &[u8]) -> Vec<u8> {
    sequence(&[&asn1::oid(kind), &tlv(context(0), &[content])])
}

/// Signs `content` with `attributes` (each a type and an encoded value) beside contentType and
/// messageDigest. The signer's certificate goes inside.
pub fn sign(
    content: &[u8],
    attributes: &[(ObjectIdentifier, Vec<u8>)],
    certificate: &Certificate,
    key: &dyn SigningKey,
    hash: Hash,
) -> Result<Vec<u8>, KeyError> {
    let digest = hash.digest(&[content]);
    let mut all = vec![
        attribute(rfc5911::ID_CONTENT_TYPE, &asn1::oid(rfc5911::ID_DATA)),
        attribute(rfc5911::ID_MESSAGE_DIGEST, &tlv(asn1::OCTET_STRING, &[&digest])),
    ];
    all.extend(attributes.iter().map(|(oid, value)| attribute(*oid, value)));
    let signed = set_of(all);
    let signature = key.sign(hash, &signed)?;
    // The same octets under the implicit tag of signedAttrs.
    let mut signed_attributes = signed;
    signed_attributes[0] = context(0);
    let digest_algorithm = asn1::algorithm(hash.oid(), asn1::NULL);
    let signer = sequence(&[
        &tlv(asn1::INTEGER, &[&[1]]),
        &issuer_and_serial(certificate),
        &digest_algorithm,
        &signed_attributes,
        &signature_algorithm(key.public_key().kind(), hash),
        &tlv(asn1::OCTET_STRING, &[&signature]),
    ]);
    let data = sequence(&[
        &tlv(asn1::INTEGER, &[&[1]]),
        &tlv(asn1::SET, &[&digest_algorithm]),
        &sequence(&[
            &asn1::oid(rfc5911::ID_DATA),
            // Present even when empty: OpenSSL-based clients ask for it.
            &tlv(context(0), &[&tlv(asn1::OCTET_STRING, &[content])]),
        ]),
        &tlv(context(0), &[certificate.der()]),
        &tlv(asn1::SET, &[&signer]),
    ]);
    Ok(content_info(rfc5911::ID_SIGNED_DATA, &data))
}

/// A degenerate SignedData: certificates in this order and CRLs, nobody's signature (RFC 8894, 3.4).
pub fn degenerate(certificates: &[&[u8]], crls: &[&[u8]]) -> Vec<u8> {
    let version = tlv(asn1::INTEGER, &[&[1]]);
    let empty = tlv(asn1::SET, &[]);
    let content = sequence(&[&asn1::oid(rfc5911::ID_DATA)]);
    let certificates =
        if certificates.is_empty() { Vec::new() } else { tlv(context(0), &[&certificates.concat()]) };
    let crls = if crls.is_empty() { Vec::new() } else { tlv(context(1), &[&crls.concat()]) };
    let data = sequence(&[&version, &empty, &content, &certificates, &crls, &empty]);
    content_info(rfc5911::ID_SIGNED_DATA, &data)
}

/// The same SignedData with these certificates behind those that are in it. No signature covers them (RFC
/// 5652, 5.4), so every one stays as good as it was: all else is copied octet for octet.
pub fn with_certificates(
    input: &[u8],
    certificates: &[&[u8]],
    limits: &Limits,
) -> Result<Vec<u8>, DecodeError> {
    let (info, _) = ber::parse_prefix(input, limits)?;
    let mut fields = content_of(&info, rfc5911::ID_SIGNED_DATA)?.sequence("SignedData")?;
    let before = [
        fields.read(Tag::INTEGER, "version")?,
        fields.read(Tag::SET, "digestAlgorithms")?,
        fields.read(Tag::SEQUENCE, "encapContentInfo")?,
    ];
    let set = fields.optional(Tag::context(0), "certificates")?;
    let set = [set.as_ref().map_or(&[][..], Element::content), &certificates.concat()].concat();
    let mut after = Vec::new();
    while let Some(field) = fields.next("SignedData")? {
        after.extend_from_slice(field.raw());
    }
    let before = before.map(|field| field.raw());
    let data = sequence(&[before[0], before[1], before[2], &tlv(context(0), &[&set]), &after]);
    Ok(content_info(rfc5911::ID_SIGNED_DATA, &data))
}

fn attribute(oid: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    sequence(&[&asn1::oid(oid), &tlv(asn1::SET, &[value])])
}

/// `rsaEncryption` for RSA keys, whatever the digest: strongSwan takes nothing else.
fn signature_algorithm(kind: KeyKind, hash: Hash) -> Vec<u8> {
    match kind {
        KeyKind::Rsa { .. } => asn1::algorithm(rfc5912::RSA_ENCRYPTION, asn1::NULL),
        KeyKind::Ec(_) => match SignatureAlgorithm::Ecdsa(hash).identifier() {
            Some(id) => asn1::algorithm(id.oid, &[]),
            // MD5 has no ECDSA form, and nobody asks an EC key for it.
            None => asn1::algorithm(rfc5912::ID_EC_PUBLIC_KEY, &[]),
        },
        KeyKind::MlDsa(set) => asn1::algorithm(set.oid(), &[]),
    }
}

/// SCEP has nine, and clients add a few of their own.
const MAX_ATTRIBUTES: usize = 64;
