//! `pkiMessage`, RFC 8894, 3.2: decoded, then its signature checked, then opened.

use const_oid::db::rfc5911;

use crate::pki::ber::{self, Limits, Tag};
use crate::pki::{Certificate, Cipher, Csr, Hash, KeyTransport, PublicKey, Serial, SignatureAlgorithm};

use super::attributes::{self, MessageType, TransactionId};
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
    envelope: Result<Envelope, DecodeError>,
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
    others: Vec<Certificate>,
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
    /// CertPoll: transactionID and signer say which request is meant (RFC 8894, 3.3.3). The names inside the
    /// envelope are not read.
    Poll,
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
            None | Some([]) => Err(DecodeError::MissingAttribute("messageData")),
            Some(content) => Envelope::parse(content, limits),
        };
        Ok(Self { data, envelope, facts })
    }

    /// Checks the algorithms, the signature and that there is an envelope, in this order.
    pub fn verify(self, policy: &AlgorithmPolicy) -> Result<Signed, Rejected> {
        let Self { data, envelope, mut facts } = self;
        match check(&data, &envelope, &facts, policy) {
            Ok(signer) => match envelope {
                Ok(envelope) => {
                    let others = data.certificates.into_iter().filter(|other| *other != signer).collect();
                    Ok(Signed { facts, signer, others, envelope })
                }
                Err(error) => Err(Rejected { error, facts: Some(facts) }),
            },
            Err(error) => {
                if error == DecodeError::Legacy("md5") {
                    // Not even a refusal is signed with what is refused.
                    facts.digest = Hash::Sha256;
                }
                Err(Rejected { error, facts: Some(facts) })
            }
        }
    }
}

fn check(
    data: &SignedData,
    envelope: &Result<Envelope, DecodeError>,
    facts: &Facts,
    policy: &AlgorithmPolicy,
) -> Result<Certificate, DecodeError> {
    if facts.digest == Hash::Md5 && !policy.legacy_md5 {
        return Err(DecodeError::Legacy("md5"));
    }
    let cipher = envelope.as_ref().ok().and_then(Envelope::cipher);
    if cipher == Some(Cipher::Des) && !policy.legacy_des {
        return Err(DecodeError::Legacy("des"));
    }
    if data.content_type != rfc5911::ID_DATA {
        return Err(DecodeError::NotCms);
    }
    let certificate = data.signer_certificate(&[]).ok_or(DecodeError::NoCertificate)?;
    data.verify(certificate)?;
    Ok(certificate.clone())
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
            // One that is unknown is refused by `verify`, in words that everyone must understand.
            digest: signer.digest().unwrap_or(Hash::Sha256),
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

    /// The digest for the reply: that of the signature, or SHA-256 where that is unknown or not allowed.
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

    /// What certificates came beside the signer's: those of CAs above it, perhaps. Nothing is known to be true.
    pub fn others(&self) -> &[Certificate] {
        &self.others
    }

    /// The signer's certificate. Only its key is known to be true.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    /// The cipher of its envelope, which the reply takes too.
    pub fn cipher(&self) -> Option<Cipher> {
        self.envelope.cipher()
    }

    /// Whether it is encrypted to this certificate.
    pub fn is_to(&self, certificate: &Certificate) -> bool {
        self.envelope.names(certificate)
    }

    /// The key transport of its envelope to this recipient, which the reply takes too.
    pub fn transport_to(&self, recipient: &Certificate) -> Option<KeyTransport> {
        self.envelope.transport_to(recipient)
    }

    /// Opens the envelope for whichever of `recipients` it is for, and reads what is in it. One private-key
    /// operation, unless it is refused before; none for a CertPoll.
    ///
    /// Nothing protects the envelope but what is inside: a stranger may put the envelope of another's
    /// request, changed as he likes, into a message of his own, and learn about the plaintext from every
    /// difference between answers. So what cannot be read must be answered as what can be read and is
    /// wrong: as a CSR whose signature is wrong, which takes as long, or as a certificate that is unknown.
    /// A CertPoll, where nothing inside could be wrong, is not decrypted at all.
    pub fn open(&self, recipients: &[Recipient<'_>]) -> Result<Request, OpenError> {
        if self.facts.message_type == MessageType::CertPoll {
            return self.envelope.is_for(recipients).map(|()| Request::Poll);
        }
        let plain = match self.envelope.open(recipients) {
            Ok(plain) => Some(plain),
            Err(OpenError::Unreadable) => None,
            Err(error) => return Err(error),
        };
        plain.and_then(|plain| self.read(&plain)).ok_or_else(|| {
            self.pretend();
            OpenError::Unreadable
        })
    }

    fn read(&self, plain: &[u8]) -> Option<Request> {
        match self.facts.message_type {
            renewal @ (MessageType::RenewalReq | MessageType::PkcsReq) => {
                let csr = Box::new(Csr::parse(plain).ok()?);
                Some(Request::Enroll { csr, renewal: renewal == MessageType::RenewalReq })
            }
            MessageType::GetCert => {
                issuer_and_serial(plain).map(|(issuer, serial)| Request::GetCert { issuer, serial })
            }
            MessageType::GetCrl => {
                issuer_and_serial(plain).map(|(issuer, serial)| Request::GetCrl { issuer, serial })
            }
            MessageType::CertPoll | MessageType::CertRep => None,
        }
    }

    /// The work that a CSR makes until its signature turns out to be wrong. The key of a CSR is nearly
    /// always the signer's.
    fn pretend(&self) {
        if !matches!(self.facts.message_type, MessageType::RenewalReq | MessageType::PkcsReq) {
            return;
        }
        let key = PublicKey::from_spki_der(self.signer.public_key().spki_der());
        let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
        // A number below the modulus, so that none of the arithmetic is spared.
        let mut number = self.signer.public_key().rsa_modulus().unwrap_or_default().to_vec();
        number.iter_mut().take(1).for_each(|first| *first >>= 1);
        let result = key.map(|key| key.verify(algorithm, self.signer.der(), &number));
        std::hint::black_box(result.is_ok());
    }
}

/// IssuerAndSerialNumber (RFC 5652, 10.2.4), and nothing more.
fn issuer_and_serial(plain: &[u8]) -> Option<(Vec<u8>, Serial)> {
    let mut pair = ber::parse(plain, &Limits::MESSAGE).ok()?.sequence("").ok()?;
    let issuer = pair.read(Tag::SEQUENCE, "issuer").ok()?.raw().to_vec();
    let serial = pair.read(Tag::INTEGER, "serial").ok()?.integer("serial").ok()?;
    pair.end("").ok()?;
    Some((issuer, Serial::from_be_bytes(serial)))
}

/// Octets of a transactionID; the longest seen have 77.
const MAX_TRANSACTION_ID: usize = 1024;

/// Octets of a senderNonce; the RFC has 16, Apple had 8.
const MAX_NONCE: usize = 1024;
