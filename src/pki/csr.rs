//! Certification requests: PKCS#10, RFC 2986.

use std::fmt;
use std::ops::{Deref, Range};

use der::asn1::ObjectIdentifier;
use secrecy::SecretString;

use super::algorithm::{Hash, SignatureAlgorithm};
use super::ber::{self, Element, ErrorKind, Limits, Tag};
use super::certificate::{Extensions, span_of};
use super::key::{PublicKey, PublicKeyError, VerifyError};

/// A certification request as it was received. Whoever sent it has not shown yet that the key is theirs:
/// see [`verify`](Self::verify).
///
/// Read with tolerance: any version, attributes in any order or absent altogether. The challenge password
/// does not appear in `Debug`.
#[derive(Clone)]
pub struct Csr {
    der: Vec<u8>,
    info: Range<usize>,
    subject: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    public_key: PublicKey,
    challenge: Option<SecretString>,
    extensions: Extensions,
}

impl Csr {
    /// Reads one request and nothing more.
    pub fn parse(bytes: &[u8]) -> Result<Self, CsrError> {
        let element = ber::parse(bytes, &Limits::MESSAGE)?;
        let mut outer = element.sequence("certificationRequest")?;
        let info = outer.read(Tag::SEQUENCE, "certificationRequestInfo")?;
        let signature_algorithm = outer.read(Tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.read(Tag::BIT_STRING, "signature")?.bits("signature")?;
        outer.end("certificationRequest")?;

        let mut fields = info.sequence("certificationRequestInfo")?;
        // 0 in the standard; Apple has sent 2. It carries no meaning.
        fields.read(Tag::INTEGER, "version")?.small("version")?;
        let subject = fields.read(Tag::SEQUENCE, "subject")?;
        let spki = fields.read(Tag::SEQUENCE, "subjectPKInfo")?;
        let attributes = match fields.optional(Tag::context(0), "attributes")? {
            Some(set) => Attributes::read(&set)?,
            None => Attributes::default(),
        };
        fields.end("certificationRequestInfo")?;

        let span = |inner: &[u8]| span_of(bytes, inner);
        Ok(Self {
            info: span(info.raw()),
            subject: span(subject.raw()),
            signature_algorithm: span(signature_algorithm.raw()),
            signature: span(signature),
            public_key: PublicKey::from_spki_der(spki.raw())?,
            challenge: attributes.challenge,
            extensions: attributes.extensions.unwrap_or_default(),
            der: bytes.to_vec(),
        })
    }

    /// Checks the signature over the octets received: whoever made the request has the private key.
    ///
    /// Every digest is accepted, MD5 too; see [`signature_algorithm`](Self::signature_algorithm).
    pub fn verify(self) -> Result<VerifiedCsr, CsrError> {
        let algorithm = self.signature_algorithm().ok_or(CsrError::UnknownSignature)?;
        self.public_key.verify(algorithm, self.info(), self.signature())?;
        Ok(VerifiedCsr(self))
    }

    /// The whole request as it was received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The fingerprint of a request, by which the two ends of an enrolment are compared: as IOS has it on
    /// both, the digest of what is signed. Of octets that are no request, the digest of all of them.
    pub fn fingerprint(der: &[u8], hash: Hash) -> Vec<u8> {
        let info = || {
            let mut outer = ber::parse(der, &Limits::MESSAGE).ok()?.sequence("certificationRequest").ok()?;
            Some(outer.read(Tag::SEQUENCE, "certificationRequestInfo").ok()?.raw())
        };
        hash.digest(&[info().unwrap_or(der)])
    }

    /// What is signed, as it was received.
    pub fn info(&self) -> &[u8] {
        &self.der[self.info.clone()]
    }

    /// The name asked for, a `Name` as it was received; it may be empty.
    pub fn subject_raw(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// The key to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The algorithm of the signature, when it is one we know.
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_der(&self.der[self.signature_algorithm.clone()], None)
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.der[self.signature.clone()]
    }

    /// The challengePassword (RFC 2985, 5.4.1), the first if there are several. An empty one is none.
    pub fn challenge(&self) -> Option<&SecretString> {
        self.challenge.as_ref()
    }

    /// The extensions asked for: those of the first extensionRequest (RFC 2985, 5.4.2), VeriSign's or
    /// Microsoft's variant of it counting as one.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr")
            .field("public_key", &self.public_key)
            .field("challenge", &self.challenge.as_ref().map(|_| "…"))
            .field("extensions", &self.extensions.iter().map(|e| e.oid.to_string()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A request whose signature was checked: its maker has the private key. Made by [`Csr::verify`] only.
#[derive(Clone, Debug)]
pub struct VerifiedCsr(Csr);

impl Deref for VerifiedCsr {
    type Target = Csr;

    fn deref(&self) -> &Csr {
        &self.0
    }
}

/// Why a certification request is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not the structure of RFC 2986, 4.2.
    #[error("the certification request is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// A request, but its key is not for us.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// Signed with an algorithm we do not know.
    #[error("the signature algorithm of the certification request is not supported")]
    UnknownSignature,
    /// Not signed with the key in it.
    #[error("the certification request is not signed by its own key: {0}")]
    Signature(#[from] VerifyError),
}

#[derive(Default)]
struct Attributes {
    challenge: Option<SecretString>,
    extensions: Option<Extensions>,
}

impl Attributes {
    fn read(set: &Element<'_>) -> Result<Self, ber::Error> {
        let mut attributes = Self::default();
        let mut reader = set.reader("attributes")?;
        while let Some(attribute) = reader.next("attribute")? {
            let mut fields = attribute.sequence("attribute")?;
            let oid = fields.read(Tag::OID, "attribute type")?.oid("attribute type")?;
            let mut values = fields.read(Tag::SET, "attribute values")?.set("attribute values")?;
            let Some(value) = values.next("attribute value")? else { continue };
            match oid {
                CHALLENGE_PASSWORD if attributes.challenge.is_none() => {
                    attributes.challenge = challenge(&value)?;
                }
                EXTENSION_REQUEST | VERISIGN_EXTENSIONS | MICROSOFT_EXTENSIONS
                    if attributes.extensions.is_none() =>
                {
                    attributes.extensions = Some(Extensions::read(&value)?);
                }
                _ => {}
            }
        }
        Ok(attributes)
    }
}

fn challenge(value: &Element<'_>) -> Result<Option<SecretString>, ber::Error> {
    let invalid = value.error("challengePassword", ErrorKind::Value);
    if value.content().len() > MAX_CHALLENGE {
        return Err(invalid);
    }
    let text = value.text().ok_or(invalid)?;
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const VERISIGN_EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.8");
const MICROSOFT_EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");

/// Octets of a challenge password. RFC 2985 says 255 characters; tokens in the place of passwords are
/// longer.
const MAX_CHALLENGE: usize = 2048;
