//! PEM (RFC 7468), and keys encrypted in the way of RFC 1421 as OpenSSL and IOS do it.
//!
//! Read as pasted into terminals and documents: any line ends, blanks, text between the blocks, blocks on
//! one line, dashes lost.

use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::kdf::{Secret, openssl_kdf};
use super::pbe::{Mode, Scheme, Work, random};
use super::{Archive, ArchiveError, MAX_LENGTH};
use crate::pki::ber::{self, Limits, Tag};
use crate::pki::{Cipher, PrivateKey, PublicKey, hex};

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#10 request.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a `SubjectPublicKeyInfo`.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";
/// The label of a CRL (RFC 7468, 6).
pub const CRL: &str = "X509 CRL";

/// One PEM block, decoded.
#[derive(Clone)]
pub struct Block {
    label: String,
    /// `DEK-Info`: algorithm and initialisation vector.
    encryption: Option<(Cipher, Vec<u8>)>,
    der: Zeroizing<Vec<u8>>,
}

/// All blocks of a text, in their order; what stands between them is passed over. A text without any is
/// no error.
pub fn blocks(text: &str) -> Result<Vec<Block>, ArchiveError> {
    if text.len() > MAX_LENGTH {
        return Err(ArchiveError::TooLong(MAX_LENGTH));
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, label, after)) = boundary(rest, "BEGIN ") {
        let no_end = || ArchiveError::NoEnd(label.to_owned());
        let (body, end, next) = boundary(after, "END ").ok_or_else(no_end)?;
        if end != label || boundary(body, "BEGIN ").is_some() {
            return Err(no_end());
        }
        blocks.push(Block::read(label, body)?);
        rest = next;
    }
    Ok(blocks)
}

/// The contents of the first block with this label, or of a text that is only base64, as pasted with or
/// without its BEGIN and END lines. A PKCS#10 may also be a `NEW CERTIFICATE REQUEST`.
pub fn der_of(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
    let blocks = blocks(text)?;
    if let Some(block) = blocks.into_iter().find(|block| block.is(label)) {
        return Ok(block.der);
    }
    // One of the two lines may have been left behind.
    let bare: Zeroizing<String> =
        Zeroizing::new(text.lines().filter(|line| !line.trim_start().starts_with('-')).collect());
    match decode(&bare) {
        Some(der) if !der.is_empty() => Ok(der),
        _ => Err(ArchiveError::NoBlock(label)),
    }
}

/// The one private key in a text.
pub fn private_key(text: &str, passphrase: Option<&SecretString>) -> Result<PrivateKey, ArchiveError> {
    archive_of(&blocks(text)?, passphrase)?.key.ok_or(ArchiveError::NoKey)
}

/// The certificates in a text, in their order.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, ArchiveError> {
    blocks(text)?.iter().filter(|block| block.is(CERTIFICATE)).map(Block::certificate).collect()
}

/// Certificates and at most one private key, in any order; IOS writes the certificate of the CA, then its
/// key. Other blocks are passed over.
pub fn archive(text: &str, passphrase: Option<&SecretString>) -> Result<Archive, ArchiveError> {
    archive_of(&blocks(text)?, passphrase)
}

pub(super) fn archive_of(
    blocks: &[Block],
    passphrase: Option<&SecretString>,
) -> Result<Archive, ArchiveError> {
    let certificates = blocks.iter().filter(|block| block.is(CERTIFICATE));
    let certificates = certificates.map(Block::certificate).collect::<Result<_, _>>()?;
    let mut keys = blocks.iter().filter(|block| block.is_private_key());
    let key = keys.next().map(|block| block.private_key(passphrase)).transpose()?;
    if keys.next().is_some() {
        return Err(ArchiveError::SeveralKeys);
    }
    Ok(Archive { key, certificates, ..Archive::default() }.sorted())
}

impl Block {
    /// What it says that it is: `CERTIFICATE`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What it holds, encrypted when [`is_encrypted`](Self::is_encrypted).
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it holds a private key in any form.
    pub fn is_private_key(&self) -> bool {
        self.label == PRIVATE_KEY || self.label.ends_with(" PRIVATE KEY")
    }

    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some() || self.label == ENCRYPTED_PRIVATE_KEY
    }

    /// The private key in it, decrypted with the passphrase if it has to be.
    pub fn private_key(&self, passphrase: Option<&SecretString>) -> Result<PrivateKey, ArchiveError> {
        let passphrase = match passphrase {
            None if self.is_encrypted() => return Err(ArchiveError::PassphraseNeeded),
            passphrase => passphrase.map_or("", |passphrase| passphrase.expose_secret()),
        };
        let decrypted;
        let der = match &self.encryption {
            None => &self.der,
            Some((cipher, iv)) => {
                let key = openssl_kdf(passphrase.as_bytes(), &iv[..8], cipher.key_len());
                decrypted = Mode::Cbc(*cipher).open(&key, iv, &self.der, "private key")?;
                &decrypted
            }
        };
        Ok(match self.label.as_str() {
            PRIVATE_KEY => PrivateKey::from_pkcs8_der(der)?,
            RSA_PRIVATE_KEY => PrivateKey::from_pkcs1_der(der)?,
            EC_PRIVATE_KEY => PrivateKey::from_sec1_der(der)?,
            ENCRYPTED_PRIVATE_KEY => open_pkcs8(der, &Secret::of(passphrase), &mut Work::new())?,
            other => return Err(ArchiveError::UnknownKey(other.to_owned())),
        })
    }

    fn read(label: &str, body: &str) -> Result<Self, ArchiveError> {
        let headers = Headers::read(body);
        let label = label.to_owned();
        let Some(der) = decode(&headers.base64) else { return Err(ArchiveError::NotBase64(label)) };
        let encryption = match (headers.encrypted, headers.dek_info) {
            (false, None) => None,
            (_, Some(info)) => Some(dek_info(&label, &info)?),
            (true, None) => return Err(ArchiveError::Headers(label)),
        };
        Ok(Self { label, encryption, der })
    }

    fn is(&self, label: &str) -> bool {
        match label {
            CERTIFICATE => [CERTIFICATE, "X509 CERTIFICATE", TRUSTED].contains(&self.label.as_str()),
            REQUEST => [REQUEST, "NEW CERTIFICATE REQUEST"].contains(&self.label.as_str()),
            other => self.label == other,
        }
    }

    fn certificate(&self) -> Result<Vec<u8>, ArchiveError> {
        // OpenSSL adds what the certificate is trusted for.
        let (certificate, rest) = ber::parse_prefix(&self.der, &Limits::MESSAGE)?;
        if !rest.is_empty() && self.label != TRUSTED {
            return Err(certificate.error(CERTIFICATE, ber::ErrorKind::Trailing).into());
        }
        Ok(certificate.raw().to_vec())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} octets)", self.label, self.der.len())
    }
}

/// How an exported private key is encrypted. DES is read and never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Triple DES, which every router reads.
    Des3,
    /// AES-256.
    Aes,
}

/// A block with this label.
pub fn write(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines(der))
}

/// A certificate.
pub fn write_certificate(der: &[u8]) -> String {
    write(CERTIFICATE, der)
}

/// A public key.
pub fn write_public_key(key: &PublicKey) -> String {
    write(PUBLIC_KEY, key.spki_der())
}

/// A private key in the form that IOS reads and writes: PKCS#1 or SEC 1, encrypted by the headers of
/// RFC 1421, 4.6. The key is one round of MD5 over passphrase and salt: a long passphrase is its only
/// strength.
pub fn write_private_key(key: &PrivateKey, encryption: Encryption, passphrase: &SecretString) -> String {
    let label = match key {
        PrivateKey::Rsa(_) => RSA_PRIVATE_KEY,
        PrivateKey::Ec(_) => EC_PRIVATE_KEY,
    };
    let (name, cipher) = match encryption {
        Encryption::Des3 => ("DES-EDE3-CBC", Cipher::Des3),
        Encryption::Aes => ("AES-256-CBC", Cipher::Aes256),
    };
    let iv = random(cipher.block_len());
    let secret = openssl_kdf(passphrase.expose_secret().as_bytes(), &iv[..8], cipher.key_len());
    let encrypted = cipher.encrypt(&secret, &iv, &key.to_pkcs1_or_sec1_der());
    let iv = hex(&iv);
    format!(
        "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {name},{iv}\n\n{}-----END {label}-----\n",
        lines(&encrypted)
    )
}

/// An archive as IOS writes it: the certificates, then the private key.
pub fn write_archive(archive: &Archive, encryption: Encryption, passphrase: &SecretString) -> String {
    let certificates = archive.certificates.iter().map(|der| write_certificate(der));
    let key = archive.key.iter().map(|key| write_private_key(key, encryption, passphrase));
    certificates.chain(key).collect()
}

/// An `EncryptedPrivateKeyInfo` (RFC 5958, 3).
pub(super) fn open_pkcs8(
    der: &[u8],
    passphrase: &Secret,
    work: &mut Work,
) -> Result<PrivateKey, ArchiveError> {
    let limits = Limits { length: MAX_LENGTH, ..Limits::MESSAGE };
    let mut fields = ber::parse(der, &limits)?.sequence("encrypted private key")?;
    let scheme = Scheme::read(&fields.read(Tag::SEQUENCE, "encryptionAlgorithm")?)?;
    let encrypted = fields.read(Tag::OCTET_STRING, "encryptedData")?.octets("encryptedData")?;
    let plain = scheme.decrypt(passphrase, work, &encrypted, "private key")?;
    Ok(PrivateKey::from_pkcs8_der(&plain)?)
}

/// The next `-----WORD LABEL-----`: what is before it, the label, what is after it. Two dashes are enough,
/// for documents swallow some.
fn boundary<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(word)?;
        from = at + word.len();
        let before = text[..at].trim_end_matches('-');
        let rest = &text[from..];
        // The longest label in use has 26 letters.
        let Some(length) = rest.bytes().take(64).position(|octet| octet == b'-') else { continue };
        let label = rest[..length].trim();
        if at - before.len() < 2 || !rest[length..].starts_with("--") || label.is_empty() {
            continue;
        }
        if !label.contains(['\n', '\r']) {
            let after = rest[length..].trim_start_matches('-');
            let dashes = rest.len() - length - after.len();
            // Two boundaries without a line end between: half of the dashes are the next one's.
            let ours =
                if after.starts_with("BEGIN ") || after.starts_with("END ") { dashes / 2 } else { dashes };
            return Some((before, label, &rest[length + ours..]));
        }
    }
}

/// What stands between BEGIN and END, taken apart.
#[derive(Default)]
struct Headers {
    encrypted: bool,
    dek_info: Option<String>,
    base64: Zeroizing<String>,
}

impl Headers {
    fn read(body: &str) -> Self {
        // As long as it can get: it is never moved.
        let mut headers =
            Self { base64: Zeroizing::new(String::with_capacity(body.len())), ..Self::default() };
        for line in body.lines() {
            headers.line(line);
        }
        headers
    }

    /// Headers may stand on the line of the first base64, when line ends were lost.
    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let Some((name, value)) = word.split_once(':') else {
                self.base64.push_str(word);
                continue;
            };
            let mut value = || if value.is_empty() { words.next().unwrap_or_default() } else { value };
            match name.to_ascii_lowercase().as_str() {
                "proc-type" => self.encrypted = value().to_ascii_uppercase().ends_with("ENCRYPTED"),
                "dek-info" => self.dek_info = Some(value().to_owned()),
                // Comments and the like, to the end of the line.
                _ => return,
            }
        }
    }
}

fn dek_info(label: &str, info: &str) -> Result<(Cipher, Vec<u8>), ArchiveError> {
    let invalid = || ArchiveError::Headers(label.to_owned());
    let (name, iv) = info.split_once(',').ok_or_else(invalid)?;
    let cipher = match name.to_ascii_uppercase().as_str() {
        "DES-EDE3-CBC" => Cipher::Des3,
        "DES-CBC" => Cipher::Des,
        "AES-128-CBC" => Cipher::Aes128,
        "AES-192-CBC" => Cipher::Aes192,
        "AES-256-CBC" => Cipher::Aes256,
        _ => return Err(ArchiveError::Unsupported(name.chars().take(32).collect())),
    };
    let digits = iv.as_bytes().as_chunks::<2>().0.iter();
    let digits = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let octets: Vec<u8> = digits.collect::<Option<_>>().ok_or_else(invalid)?;
    (iv.len() == 2 * cipher.block_len()).then_some((cipher, octets)).ok_or_else(invalid)
}

/// Base64, whitespace anywhere, padding or none.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.bytes().filter(|octet| !octet.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; digits.len() / 4 * 3 + 3]);
    let length = TOLERANT.decode_slice(&*digits, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// 64 digits a line (RFC 7468, 2).
fn lines(der: &[u8]) -> String {
    let digits = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = String::with_capacity(digits.len() + digits.len() / 64 + 1);
    for line in digits.as_bytes().chunks(64) {
        lines.extend(line.iter().map(|digit| char::from(*digit)));
        lines.push('\n');
    }
    lines
}

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const PRIVATE_KEY: &str = "PRIVATE KEY";
const RSA_PRIVATE_KEY: &str = "RSA PRIVATE KEY";
const EC_PRIVATE_KEY: &str = "EC PRIVATE KEY";
const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";
const TRUSTED: &str = "TRUSTED CERTIFICATE";
