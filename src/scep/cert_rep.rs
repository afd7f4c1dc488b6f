//! `CertRep`, RFC 8894, 3.3.2: written for clients, read as one.

use const_oid::db::rfc5911;
use der::asn1::ObjectIdentifier;

use crate::pki::asn1::{self, tlv};
use crate::pki::ber::Limits;
use crate::pki::{Certificate, Cipher, DecryptionKey, Hash, KeyError, KeyTransport, SigningKey};

use super::attributes::{self, FailInfo, MessageType, PkiStatus, TransactionId};
use super::enveloped::{Envelope, OpenError, Recipient, seal};
use super::error::DecodeError;
use super::pki_message::{Facts, Signed};
use super::signed::{self, SignedData};

/// What a request has come to.
pub enum Outcome<'a> {
    /// SUCCESS: the certificate asked for first, then whatever else.
    Certificates(&'a [&'a [u8]]),
    /// SUCCESS: a CRL.
    Crl(&'a [u8]),
    /// PENDING.
    Pending,
    /// FAILURE; the text is short, ASCII, and for people.
    Failure(FailInfo, Option<&'a str>),
}

/// The contents of a SUCCESS, encrypted already: what is left to do is to sign.
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Encrypts certificates or a CRL to the signer of `request`, with its cipher and key transport.
    /// `None` when its key cannot decrypt.
    pub fn seal(outcome: &Outcome<'_>, request: &Signed, transport: KeyTransport) -> Option<Self> {
        let plain = match outcome {
            Outcome::Certificates(certificates) => signed::degenerate(certificates, &[]),
            Outcome::Crl(crl) => signed::degenerate(&[], &[crl]),
            Outcome::Pending | Outcome::Failure(..) => return Some(Self(Vec::new())),
        };
        let cipher = request.cipher().unwrap_or(Cipher::Aes128);
        seal(&plain, request.signer(), cipher, transport).map(Self)
    }

    /// For PENDING and FAILURE: nothing, but present; clients built on OpenSSL ask for it.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }
}

/// Signs a reply to the message with these `facts`, with its digest.
pub fn encode(
    outcome: &Outcome<'_>,
    sealed: &Sealed,
    facts: &Facts,
    certificate: &Certificate,
    key: &dyn SigningKey,
) -> Result<Vec<u8>, KeyError> {
    let printable = |text: &str| tlv(asn1::PRINTABLE_STRING, &[text.as_bytes()]);
    let octets = |octets: &[u8]| tlv(asn1::OCTET_STRING, &[octets]);
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)
        .map_err(|error| KeyError::new(crate::pki::KeyErrorKind::Unavailable, error.to_string()))?;
    let status = match outcome {
        Outcome::Certificates(_) | Outcome::Crl(_) => PkiStatus::Success,
        Outcome::Pending => PkiStatus::Pending,
        Outcome::Failure(..) => PkiStatus::Failure,
    };
    let mut all = vec![
        (attributes::MESSAGE_TYPE, printable(MessageType::CertRep.text())),
        (attributes::PKI_STATUS, printable(status.text())),
        (attributes::SENDER_NONCE, octets(&nonce)),
        (attributes::RECIPIENT_NONCE, octets(facts.sender_nonce())),
        // The octets of the request under the type that every client reads.
        (attributes::TRANSACTION_ID, tlv(asn1::PRINTABLE_STRING, &[facts.transaction_id().as_bytes()])),
    ];
    if let Outcome::Failure(fail_info, text) = outcome {
        all.push((attributes::FAIL_INFO, printable(fail_info.text())));
        all.extend(text.map(|text| (attributes::FAIL_INFO_TEXT, tlv(asn1::UTF8_STRING, &[text.as_bytes()]))));
    }
    signed::sign(&sealed.0, &all, certificate, key, reply_digest(facts, key))
}

/// The digest of the request; an EC key has no signature with MD5.
fn reply_digest(facts: &Facts, key: &dyn SigningKey) -> Hash {
    match (facts.digest(), key.public_key().kind()) {
        (Hash::Md5, crate::pki::KeyKind::Ec(_)) => Hash::Sha256,
        (digest, _) => digest,
    }
}

/// A reply as a client reads it: decoded and its signature checked.
pub struct CertRep {
    status: PkiStatus,
    fail_info: Option<FailInfo>,
    fail_info_text: Option<String>,
    transaction_id: TransactionId,
    sender_nonce: Vec<u8>,
    recipient_nonce: Vec<u8>,
    envelope: Option<Envelope>,
    signer: Certificate,
    digest: Hash,
}

/// What a SUCCESS holds.
#[derive(Debug)]
pub struct Issued {
    /// Certificates, in their order.
    pub certificates: Vec<Certificate>,
    /// CRLs, encoded.
    pub crls: Vec<Vec<u8>>,
}

impl CertRep {
    /// Reads a reply signed by one of `trusted`.
    pub fn decode(input: &[u8], trusted: &[&Certificate]) -> Result<Self, DecodeError> {
        let data = SignedData::parse(input, &Limits::REPLY)?;
        let signer = data.trusted_signer(trusted)?;
        data.verify(signer)?;
        if data.content_type != rfc5911::ID_DATA {
            return Err(DecodeError::NotCms);
        }
        let info = data.signer.as_ref().ok_or(DecodeError::NoSigner)?;
        let attribute =
            |oid: ObjectIdentifier, what| info.attribute(&oid).ok_or(DecodeError::MissingAttribute(what));
        let kind = attribute(attributes::MESSAGE_TYPE, "messageType")?;
        if MessageType::from_text(kind) != Some(MessageType::CertRep) {
            return Err(DecodeError::UnknownMessageType(kind.escape_ascii().to_string()));
        }
        let status = attribute(attributes::PKI_STATUS, "pkiStatus")?;
        let envelope = match data.content.as_deref() {
            // NDES puts one zero octet where nothing belongs.
            None | Some([] | [0]) => None,
            Some(content) => Some(Envelope::parse(content, &Limits::REPLY)?),
        };
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        Ok(Self {
            status: PkiStatus::from_text(status).ok_or(DecodeError::MissingAttribute("pkiStatus"))?,
            fail_info: info.attribute(&attributes::FAIL_INFO).and_then(FailInfo::from_text),
            fail_info_text: info.attribute(&attributes::FAIL_INFO_TEXT).map(text),
            transaction_id: TransactionId::new(attribute(attributes::TRANSACTION_ID, "transactionID")?),
            sender_nonce: info.attribute(&attributes::SENDER_NONCE).unwrap_or_default().to_vec(),
            recipient_nonce: attribute(attributes::RECIPIENT_NONCE, "recipientNonce")?.to_vec(),
            envelope,
            signer: signer.clone(),
            digest: info.digest().ok_or(DecodeError::UnknownDigest)?,
        })
    }

    /// pkiStatus.
    pub fn status(&self) -> PkiStatus {
        self.status
    }

    /// failInfo.
    pub fn fail_info(&self) -> Option<FailInfo> {
        self.fail_info
    }

    /// failInfoText. For people; programs do not read it (RFC 8894, 3.2.1.4).
    pub fn fail_info_text(&self) -> Option<&str> {
        self.fail_info_text.as_deref()
    }

    /// transactionID.
    pub fn transaction_id(&self) -> &TransactionId {
        &self.transaction_id
    }

    /// senderNonce.
    pub fn sender_nonce(&self) -> &[u8] {
        &self.sender_nonce
    }

    /// recipientNonce: the nonce of our request, or the reply is somebody else's.
    pub fn recipient_nonce(&self) -> &[u8] {
        &self.recipient_nonce
    }

    /// Who signed it.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    /// The digest of its signature.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The cipher of its envelope.
    pub fn cipher(&self) -> Option<Cipher> {
        self.envelope.as_ref().and_then(Envelope::cipher)
    }

    /// Opens what a SUCCESS holds.
    pub fn open(&self, certificate: &Certificate, key: &dyn DecryptionKey) -> Result<Issued, OpenError> {
        let envelope = self.envelope.as_ref().ok_or(OpenError::Unreadable)?;
        let plain = envelope.open(&[Recipient { certificate, key }])?;
        let data = SignedData::parse(&plain, &Limits::REPLY).map_err(|_| OpenError::Unreadable)?;
        Ok(Issued { certificates: data.certificates, crls: data.crls })
    }
}
