//! CMS EnvelopedData (RFC 5652, 6) as SCEP uses it: an RSA recipient, a CBC cipher.

use const_oid::db::{rfc5911, rfc5912};
use zeroize::Zeroizing;

use crate::pki::asn1::{self, context, sequence, tlv};
use crate::pki::ber::{self, Element, Limits, Tag};
use crate::pki::{Certificate, Cipher, DecryptionKey, Hash, KeyError, KeyTransport};

use super::certificate_id::{CertificateId, issuer_and_serial};
use super::error::DecodeError;
use super::signed::{content_info, content_of};

/// An EnvelopedData as it was received.
pub struct Envelope {
    recipients: Vec<RecipientInfo>,
    cipher: Option<Cipher>,
    iv: Vec<u8>,
    encrypted: Vec<u8>,
}

struct RecipientInfo {
    id: CertificateId,
    transport: Option<KeyTransport>,
    wrapped: Vec<u8>,
}

/// A certificate that messages may be encrypted to, and its key.
pub struct Recipient<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// Its key.
    pub key: &'a dyn DecryptionKey,
}

/// Why an envelope stays shut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is encrypted to somebody else. Told before any key is asked.
    #[error("the message is encrypted to another recipient")]
    NotForUs,
    /// The cipher or key transport is unknown or not allowed. Told before any key is asked.
    #[error("the algorithm of the envelope is not allowed")]
    BadAlgorithm,
    /// Something inside is wrong. What, nobody may learn: the encrypted key, the padding or the contents.
    #[error("the envelope cannot be read")]
    Unreadable,
    /// The key could not be asked.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Envelope {
    /// Reads a ContentInfo with EnvelopedData in it.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let (info, _) = ber::parse_prefix(input, limits)?;
        let mut fields = content_of(&info, rfc5911::ID_ENVELOPED_DATA)?.sequence("EnvelopedData")?;
        fields.read(Tag::INTEGER, "version")?;
        fields.optional(Tag::context(0), "originatorInfo")?;
        let mut infos = fields.read(Tag::SET, "recipientInfos")?.set("recipientInfos")?;
        let mut recipients = Vec::new();
        let mut count = 0;
        while let Some(info) = infos.next("recipientInfo")? {
            count += 1;
            if count > MAX_RECIPIENTS {
                return Err(DecodeError::TooMany("recipients"));
            }
            // Other kinds than key transport are for others.
            if info.tag() == Tag::SEQUENCE {
                recipients.push(RecipientInfo::read(&info)?);
            }
        }
        let mut content = fields.read(Tag::SEQUENCE, "encryptedContentInfo")?.sequence("content")?;
        content.read(Tag::OID, "contentType")?;
        let mut algorithm = content.read(Tag::SEQUENCE, "contentEncryptionAlgorithm")?.sequence("cipher")?;
        let oid = algorithm.read(Tag::OID, "cipher")?.oid("cipher")?;
        let iv = match algorithm.optional(Tag::OCTET_STRING, "iv")? {
            Some(iv) => iv.octets("iv")?.into_owned(),
            None => Vec::new(),
        };
        let encrypted = content.read(Tag::context(0), "encryptedContent")?.octets("encryptedContent")?;
        let cipher = Cipher::ALL.into_iter().find(|cipher| cipher.oid() == oid);
        Ok(Self { recipients, cipher, iv, encrypted: encrypted.into_owned() })
    }

    /// The cipher, when it is one we know.
    pub fn cipher(&self) -> Option<Cipher> {
        self.cipher
    }

    /// The key transport to this recipient; `None` when it is not among the recipients or its algorithm
    /// is unknown.
    pub fn transport_to(&self, certificate: &Certificate) -> Option<KeyTransport> {
        self.recipients.iter().find(|info| info.id.names(certificate))?.transport
    }

    /// Whether this certificate is among the recipients.
    pub fn names(&self, certificate: &Certificate) -> bool {
        self.recipients.iter().any(|info| info.id.names(certificate))
    }

    /// Whether [`open`](Self::open) would ask a key.
    pub fn is_for(&self, recipients: &[Recipient<'_>]) -> Result<(), OpenError> {
        self.chosen(recipients).map(|_| ())
    }

    /// Opens it for the first of `recipients` that it is for.
    pub fn open(&self, recipients: &[Recipient<'_>]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (key, wrapped, transport, cipher) = self.chosen(recipients)?;
        // The length comes from the cipher: what the block holds decides nothing.
        let key = key.unwrap_key(transport, wrapped, cipher.key_len())?;
        cipher.decrypt(&key, &self.iv, &self.encrypted).ok_or(OpenError::Unreadable)
    }

    /// The key to be asked and for what, by what is not secret.
    fn chosen<'a>(
        &self,
        recipients: &[Recipient<'a>],
    ) -> Result<(&'a dyn DecryptionKey, &[u8], KeyTransport, Cipher), OpenError> {
        let ours = recipients.iter().find_map(|r| {
            self.recipients.iter().find(|info| info.id.names(r.certificate)).map(|info| (r.key, info))
        });
        let (key, info) = ours.ok_or(OpenError::NotForUs)?;
        let cipher = self.cipher.ok_or(OpenError::BadAlgorithm)?;
        let transport = info.transport.ok_or(OpenError::BadAlgorithm)?;
        Ok((key, &info.wrapped, transport, cipher))
    }
}

impl RecipientInfo {
    fn read(info: &Element<'_>) -> Result<Self, DecodeError> {
        let mut fields = info.sequence("KeyTransRecipientInfo")?;
        fields.read(Tag::INTEGER, "version")?;
        let id = CertificateId::read(&mut fields)?;
        let transport = transport(&fields.read(Tag::SEQUENCE, "keyEncryptionAlgorithm")?);
        let wrapped = fields.read(Tag::OCTET_STRING, "encryptedKey")?.octets("encryptedKey")?.into_owned();
        Ok(Self { id, transport, wrapped })
    }
}

/// Encrypts `plain` to the key of `certificate`. `None` when that key cannot take it: an EC key, or an
/// RSA key too small for the transport.
pub fn seal(
    plain: &[u8],
    certificate: &Certificate,
    cipher: Cipher,
    transport: KeyTransport,
) -> Option<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; cipher.key_len()]);
    let mut iv = vec![0; cipher.block_len()];
    getrandom::fill(&mut key).ok()?;
    getrandom::fill(&mut iv).ok()?;
    let wrapped = certificate.public_key().encrypt(transport, &key)?;
    let recipient = sequence(&[
        &tlv(asn1::INTEGER, &[&[0]]),
        &issuer_and_serial(certificate),
        &transport_identifier(transport),
        &tlv(asn1::OCTET_STRING, &[&wrapped]),
    ]);
    let data = sequence(&[
        &tlv(asn1::INTEGER, &[&[0]]),
        &tlv(asn1::SET, &[&recipient]),
        &sequence(&[
            &asn1::oid(rfc5911::ID_DATA),
            &asn1::algorithm(cipher.oid(), &tlv(asn1::OCTET_STRING, &[&iv])),
            &tlv(0x80, &[&cipher.encrypt(&key, &iv, plain)]),
        ]),
    ]);
    Some(content_info(rfc5911::ID_ENVELOPED_DATA, &data))
}

/// keyEncryptionAlgorithm: rsaEncryption, or RSAES-OAEP with an empty label (RFC 4055, 4.1).
fn transport(algorithm: &Element<'_>) -> Option<KeyTransport> {
    let mut fields = algorithm.sequence("").ok()?;
    match fields.read(Tag::OID, "").ok()?.oid("").ok()? {
        rfc5912::RSA_ENCRYPTION => Some(KeyTransport::Pkcs1v15),
        rfc5912::ID_RSAES_OAEP => {
            let (mut hash, mut mgf) = (Hash::Sha1, Hash::Sha1);
            if let Some(parameters) = fields.optional(Tag::SEQUENCE, "").ok()? {
                let mut parameters = parameters.sequence("").ok()?;
                let named =
                    |id: Element<'_>| Hash::from_oid(&id.sequence("").ok()?.any("").ok()?.oid("").ok()?);
                if let Some(id) = parameters.optional(Tag::context(0), "").ok()? {
                    hash = named(id.explicit("").ok()?)?;
                }
                if let Some(id) = parameters.optional(Tag::context(1), "").ok()? {
                    let mut id = id.explicit("").ok()?.sequence("").ok()?;
                    id.any("").ok()?;
                    mgf = named(id.any("").ok()?)?;
                }
            }
            // Nobody has ever sent MD5 here, and no policy could allow it.
            (hash != Hash::Md5 && mgf != Hash::Md5).then_some(KeyTransport::Oaep { hash, mgf })
        }
        _ => None,
    }
}

fn transport_identifier(transport: KeyTransport) -> Vec<u8> {
    match transport {
        KeyTransport::Pkcs1v15 => asn1::algorithm(rfc5912::RSA_ENCRYPTION, asn1::NULL),
        KeyTransport::Oaep { hash, mgf } => {
            let digest = |hash: Hash| asn1::algorithm(hash.oid(), asn1::NULL);
            // Defaults are left out in DER: SHA-1 for either (RFC 4055, 4.1).
            let part = |number, hash, inner: Vec<u8>| match hash {
                Hash::Sha1 => Vec::new(),
                _ => tlv(context(number), &[&inner]),
            };
            let parameters = sequence(&[
                &part(0, hash, digest(hash)),
                &part(1, mgf, asn1::algorithm(rfc5912::ID_MGF_1, &digest(mgf))),
            ]);
            asn1::algorithm(rfc5912::ID_RSAES_OAEP, &parameters)
        }
    }
}

const MAX_RECIPIENTS: usize = 16;
