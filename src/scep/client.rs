//! The client's side: requests to any SCEP CA. Used by the trustpoint client, the tests and the load
//! generator.

use const_oid::db::rfc5912;
use der::asn1::{ObjectIdentifier, PrintableStringRef};

use crate::pki::asn1::{self, context, sequence, set_of, tlv};
use crate::pki::{
    Certificate, CertificateError, Cipher, Hash, KeyError, KeyKind, KeyTransport, Name, SignatureAlgorithm,
    SigningKey, Time,
};

use super::attributes::{self, MessageType, TransactionId};
/// The content of GetCert and GetCRL.
pub use super::certificate_id::issuer_and_serial;
use super::enveloped::seal;
use super::signed;

/// How a request is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The digest of signatures; the CA answers with the same.
    pub digest: Hash,
    /// The content cipher; the CA answers with the same.
    pub cipher: Cipher,
    /// The key transport; the CA answers with the same.
    pub transport: KeyTransport,
}

impl Default for Style {
    /// What RFC 8894, 2.9 has everybody implement.
    fn default() -> Self {
        Self { digest: Hash::Sha256, cipher: Cipher::Aes128, transport: KeyTransport::Pkcs1v15 }
    }
}

/// The parties of a request.
pub struct Parties<'a> {
    /// The certificate the CA decrypts with.
    pub ca: &'a Certificate,
    /// The client's own: self-signed, or the one to be renewed.
    pub signer: &'a Certificate,
    /// Its key.
    pub key: &'a dyn SigningKey,
}

/// A request ready to be sent.
pub struct Message {
    /// The octets.
    pub octets: Vec<u8>,
    /// senderNonce: the reply must bring it back.
    pub nonce: Vec<u8>,
}

/// Writes a request of this type: `content` is the PKCS#10, or what [`issuer_and_subject`] or
/// [`issuer_and_serial`] make. `None` when the CA's key cannot decrypt.
pub fn message(
    kind: MessageType,
    transaction: &TransactionId,
    content: &[u8],
    parties: &Parties<'_>,
    style: Style,
) -> Result<Option<Message>, KeyError> {
    let Some(sealed) = seal(content, parties.ca, style.cipher, style.transport) else { return Ok(None) };
    let mut nonce = vec![0; 16];
    getrandom::fill(&mut nonce)
        .map_err(|error| KeyError::new(crate::pki::KeyErrorKind::Unavailable, error.to_string()))?;
    let attributes = [
        (attributes::MESSAGE_TYPE, tlv(asn1::PRINTABLE_STRING, &[kind.text().as_bytes()])),
        (attributes::TRANSACTION_ID, tlv(asn1::PRINTABLE_STRING, &[transaction.as_bytes()])),
        (attributes::SENDER_NONCE, tlv(asn1::OCTET_STRING, &[&nonce])),
    ];
    let octets = signed::sign(&sealed, &attributes, parties.signer, parties.key, style.digest)?;
    Ok(Some(Message { octets, nonce }))
}

/// The content of a CertPoll.
pub fn issuer_and_subject(issuer: &[u8], subject: &[u8]) -> Vec<u8> {
    sequence(&[issuer, subject])
}

/// The transactionID that most clients use: the SHA-1 of the public key, hex.
pub fn transaction_id(key: &dyn SigningKey) -> TransactionId {
    let digest = Hash::Sha1.digest(&[key.public_key().spki_der()]);
    let hex: String = digest.iter().map(|octet| format!("{octet:02X}")).collect();
    TransactionId::new(hex.as_bytes())
}

/// A PKCS#10 (RFC 2986) with the extensions asked for, each encoded, and a challengePassword.
pub fn csr(
    subject: &Name,
    key: &dyn SigningKey,
    hash: Hash,
    challenge: Option<&str>,
    extensions: &[Vec<u8>],
) -> Result<Vec<u8>, KeyError> {
    let attribute =
        |oid: ObjectIdentifier, value: &[u8]| sequence(&[&asn1::oid(oid), &tlv(asn1::SET, &[value])]);
    let mut all = Vec::new();
    if let Some(challenge) = challenge {
        // RFC 2985, 5.4.1 prefers PrintableString, which lacks `_`, `@` and more.
        let printable = PrintableStringRef::new(challenge).is_ok();
        let tag = if printable { asn1::PRINTABLE_STRING } else { asn1::UTF8_STRING };
        all.push(attribute(CHALLENGE_PASSWORD, &tlv(tag, &[challenge.as_bytes()])));
    }
    if !extensions.is_empty() {
        let extensions: Vec<&[u8]> = extensions.iter().map(Vec::as_slice).collect();
        all.push(attribute(EXTENSION_REQUEST, &sequence(&extensions)));
    }
    let mut attributes = set_of(all);
    attributes[0] = context(0);
    let info =
        sequence(&[&tlv(asn1::INTEGER, &[&[0]]), subject.as_der(), key.public_key().spki_der(), &attributes]);
    signed_structure(info, key, hash)
}

/// A self-signed certificate for a client that has none yet (RFC 8894, 2.3): version 3, or version 1 as old
/// clients have it.
pub fn self_signed(
    subject: &Name,
    key: &dyn SigningKey,
    hash: Hash,
    validity: (Time, Time),
    v3: bool,
) -> Result<Certificate, ClientError> {
    let time = |t: Time| der::Encode::to_der(&t.to_x509()).map_err(|_| ClientError::Time);
    let id = algorithm_identifier(key, hash);
    let serial = tlv(asn1::INTEGER, &[&[1]]);
    let version = if v3 { tlv(context(0), &[&tlv(asn1::INTEGER, &[&[2]])]) } else { Vec::new() };
    // digitalSignature and keyEncipherment, critical.
    let usage = sequence(&[
        &asn1::oid(rfc5912::ID_CE_KEY_USAGE),
        &[1, 1, 0xff],
        &tlv(asn1::OCTET_STRING, &[&[3, 2, 5, 0xa0]]),
    ]);
    let extensions = if v3 { tlv(context(3), &[&sequence(&[&usage])]) } else { Vec::new() };
    let tbs = sequence(&[
        &version,
        &serial,
        &id,
        subject.as_der(),
        &sequence(&[&time(validity.0)?, &time(validity.1)?]),
        subject.as_der(),
        key.public_key().spki_der(),
        &extensions,
    ]);
    Ok(Certificate::parse(&signed_structure(tbs, key, hash)?)?)
}

/// Why a client's certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key or name that has no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A time that has no encoding.
    #[error("the validity has no encoding")]
    Time,
}

fn signed_structure(inner: Vec<u8>, key: &dyn SigningKey, hash: Hash) -> Result<Vec<u8>, KeyError> {
    let signature = key.sign(hash, &inner)?;
    // A BIT STRING without unused bits.
    let signature = tlv(0x03, &[&[0], &signature]);
    Ok(sequence(&[&inner, &algorithm_identifier(key, hash), &signature]))
}

fn algorithm_identifier(key: &dyn SigningKey, hash: Hash) -> Vec<u8> {
    let kind = key.public_key().kind();
    let algorithm = SignatureAlgorithm::for_key(kind, hash);
    let parameters = if matches!(kind, KeyKind::Rsa { .. }) { asn1::NULL } else { &[] };
    // MD5 with an EC key has no identifier; rsaEncryption makes whoever reads it refuse it.
    let oid = algorithm.identifier().map_or(rfc5912::RSA_ENCRYPTION, |id| id.oid);
    asn1::algorithm(oid, parameters)
}

const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
