//! `pkiMessage`, RFC 8894, 3.2: decoded, then its signature checked, then opened.

use const_oid::db::rfc5911;

use crate::pki::ber::{self, Limits, Tag};
use crate::pki::{Certificate, Csr, Hash, KeyTransport, Serial};

use super::attributes::{self, MessageType, TransactionId};
use super::cipher::Cipher;
use super::enveloped::{Envelope, OpenError, Recipient};
use super::error::DecodeError;
use super::signed::SignedData;

/// Which old algorithms are taken (RFC 8894, 2.9 and 7.5 forbid both).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlgorithmPolicy {
    /// `crypto legacy des`: single DES.
    pub legacy_des: bool,
    /// `crypto legacy md5`: MD5.
    pub legacy_md5: bool,
}

/// A message of a known type, its attributes read and nothing checked.
pub struct PkiMessage {
    data: SignedData,
    envelope: Option<Envelope>,
    facts: Facts,
}

/// What a reply needs to know of the request.
#[derive(Clone, Debug)]
pub struct Facts {
    message_type: MessageType,
    transaction_id: TransactionId,
    sender_nonce: Vec<u8>,
    digest: Hash,
}

/// A message whose signature is its signer's. Its envelope is still shut.
pub struct Signed {
    facts: Facts,
    signer: Certificate,
    envelope: Envelope,
}

/// What is asked, out of the envelope.
#[derive(Debug)]
pub enum Request {
    /// PKCSReq or RenewalReq.
    Enroll {
        /// The PKCS#10, its own signature not checked yet.
        csr: Box<Csr>,
        /// Whether it came as RenewalReq.
        renewal: bool,
    },
    /// CertPoll: issuer and subject, encoded; the transactionID decides.
    Poll {
        /// The CA's name.
        issuer: Vec<u8>,
        /// The requester's name.
        subject: Vec<u8>,
    },
    /// GetCert.
    GetCert {
        /// The issuer's name, encoded.
        issuer: Vec<u8>,
        /// The serial number.
        serial: Serial,
    },
    /// GetCRL; the serial number is that of a certificate to be checked, not of the CRL.
    GetCrl {
        /// The issuer's name, encoded.
        issuer: Vec<u8>,
        /// The serial number of the certificate to be checked.
        serial: Serial,
    },
}

/// A message that is refused before its envelope is opened.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// Why.
    pub error: DecodeError,
    /// What a FAILURE reply needs, when the message got that far; else it is not SCEP at all.
    pub facts: Option<Facts>,
}

impl PkiMessage {
    /// Reads a message. `messageType` is looked at before anything inside.
    pub fn decode(input: &[u8], limits: &Limits) -> Result<Self, Rejected> {
        let early = |error: DecodeError| Rejected { error, facts: None };
        let data = SignedData::parse(input, limits).map_err(early)?;
        let facts = Facts::read(&data).map_err(early)?;
        let envelope = match data.content.as_deref() {
            None | Some([]) => None,
            Some(content) => match Envelope::parse(content, limits) {
                Ok(envelope) => Some(envelope),
                Err(error) => return Err(Rejected { error, facts: Some(facts) }),
            },
        };
        Ok(Self { data, envelope, facts })
    }

    /// Checks the algorithms and the signature.
    pub fn verify(self, policy: &AlgorithmPolicy) -> Result<Signed, Rejected> {
        let check = || -> Result<Certificate, DecodeError> {
            if self.data.content_type != rfc5911::ID_DATA {
                return Err(DecodeError::NotCms);
            }
            if self.facts.digest == Hash::Md5 && !policy.legacy_md5 {
                return Err(DecodeError::Legacy("md5"));
            }
            if self.envelope.as_ref().and_then(Envelope::cipher) == Some(Cipher::Des) && !policy.legacy_des {
                return Err(DecodeError::Legacy("des"));
            }
            let certificate = self.data.signer_certificate(&[]).ok_or(DecodeError::NoCertificate)?;
            self.data.verify(certificate)?;
            Ok(certificate.clone())
        };
        match (check(), self.envelope) {
            (Ok(signer), Some(envelope)) => Ok(Signed { facts: self.facts, signer, envelope }),
            (Ok(_), None) => {
                Err(Rejected { error: DecodeError::MissingAttribute("messageData"), facts: Some(self.facts) })
            }
            (Err(error), _) => Err(Rejected { error, facts: Some(self.facts) }),
        }
    }
}

impl Facts {
    fn read(data: &SignedData) -> Result<Self, DecodeError> {
        let signer = data.signer.as_ref().ok_or(DecodeError::NoSigner)?;
        let kind = signer.attribute(&attributes::MESSAGE_TYPE).unwrap_or_default();
        let message_type = MessageType::from_text(kind).ok_or_else(|| {
            DecodeError::UnknownMessageType(
                kind.iter().take(16).copied().collect::<Vec<_>>().escape_ascii().to_string(),
            )
        })?;
        let attribute = |oid, what| signer.attribute(&oid).ok_or(DecodeError::MissingAttribute(what));
        let transaction_id = attribute(attributes::TRANSACTION_ID, "transactionID")?;
        let sender_nonce = attribute(attributes::SENDER_NONCE, "senderNonce")?;
        if sender_nonce.len() > MAX_NONCE {
            return Err(DecodeError::MissingAttribute("senderNonce"));
        }
        if transaction_id.is_empty() || transaction_id.len() > MAX_TRANSACTION_ID {
            return Err(DecodeError::MissingAttribute("transactionID"));
        }
        Ok(Self {
            message_type,
            transaction_id: TransactionId::new(transaction_id),
            sender_nonce: sender_nonce.to_vec(),
            digest: signer.digest().ok_or(DecodeError::UnknownDigest)?,
        })
    }

    /// messageType.
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// transactionID.
    pub fn transaction_id(&self) -> &TransactionId {
        &self.transaction_id
    }

    /// senderNonce, of whatever length it came.
    pub fn sender_nonce(&self) -> &[u8] {
        &self.sender_nonce
    }

    /// The digest of the signature.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The same for a reply under `policy`: what came with a digest that is not allowed is refused, but not
    /// in that digest; nothing of the sender's choosing is signed with it.
    pub fn answered_under(&self, policy: &AlgorithmPolicy) -> Self {
        let digest = match self.digest {
            Hash::Md5 if !policy.legacy_md5 => Hash::Sha256,
            digest => digest,
        };
        Self { digest, ..self.clone() }
    }
}

impl Signed {
    /// Its attributes.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// messageType.
    pub fn message_type(&self) -> MessageType {
        self.facts.message_type
    }

    /// transactionID.
    pub fn transaction_id(&self) -> &TransactionId {
        &self.facts.transaction_id
    }

    /// The signer's certificate. Only its key is known to be true.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    /// The cipher of its envelope, which the reply takes too.
    pub fn cipher(&self) -> Option<Cipher> {
        self.envelope.cipher()
    }

    /// The key transport of its envelope to this recipient, which the reply takes too.
    pub fn transport_to(&self, recipient: &Certificate) -> Option<KeyTransport> {
        self.envelope.transport_to(recipient)
    }

    /// Opens the envelope for whichever of `recipients` it is for, and reads what is in it. One private-key
    /// operation, unless it is refused before.
    pub fn open(&self, recipients: &[Recipient<'_>]) -> Result<Request, OpenError> {
        let plain = self.envelope.open(recipients)?;
        // Unreadable contents look as a wrong key does.
        self.read(&plain).ok_or(OpenError::Unreadable)
    }

    fn read(&self, plain: &[u8]) -> Option<Request> {
        if let renewal @ (MessageType::RenewalReq | MessageType::PkcsReq) = self.facts.message_type {
            let csr = Box::new(Csr::parse(plain).ok()?);
            return Some(Request::Enroll { csr, renewal: renewal == MessageType::RenewalReq });
        }
        let (pair, _) = ber::parse_prefix(plain, &Limits::MESSAGE).ok()?;
        let mut pair = pair.sequence("").ok()?;
        let issuer = pair.read(Tag::SEQUENCE, "issuer").ok()?.raw().to_vec();
        let second = pair.any("").ok()?;
        let serial = || second.integer("serial").ok().map(Serial::from_be_bytes);
        match self.facts.message_type {
            MessageType::CertPoll => {
                let subject = second.tagged(Tag::SEQUENCE, "subject").ok()?.raw().to_vec();
                Some(Request::Poll { issuer, subject })
            }
            MessageType::GetCert => Some(Request::GetCert { issuer, serial: serial()? }),
            MessageType::GetCrl => Some(Request::GetCrl { issuer, serial: serial()? }),
            MessageType::CertRep | MessageType::RenewalReq | MessageType::PkcsReq => None,
        }
    }
}

/// Octets of a transactionID; the longest seen have 77.
const MAX_TRANSACTION_ID: usize = 1024;

/// Octets of a senderNonce; the RFC has 16, Apple had 8.
const MAX_NONCE: usize = 1024;
