//! What operators bring and take away: keys and certificates in PEM and PKCS#12, the files of an IOS
//! certificate server. Octets and texts in, values out, and back.

pub mod ios;
mod kdf;
mod pbe;
pub mod pem;
pub mod pkcs12;

use der::asn1::ObjectIdentifier;
use secrecy::SecretString;

use super::ber;
use super::private_key::{PrivateKey, PrivateKeyError};
use super::{Certificate, PublicKeyError};

/// A key with its certificates, as PKCS#12 and PEM archives hold them.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// The private key. An archive of a key that cannot leave its token has none.
    pub key: Option<PrivateKey>,
    /// Certificates, DER; that of the key comes first, the others in the order of the archive.
    pub certificates: Vec<Vec<u8>>,
    /// friendlyName of the key, or of the first certificate: the label it had. PEM has none.
    pub label: Option<String>,
    /// Whether the passphrase vouched for the whole: a PKCS#12 archive without MAC could have been changed
    /// by anybody, and so could PEM.
    pub authenticated: bool,
}

impl Archive {
    /// Reads an archive in any form: PKCS#12 as it is or in base64, or PEM.
    pub fn read(bytes: &[u8], passphrase: Option<&SecretString>) -> Result<Self, ArchiveError> {
        if bytes.len() > MAX_LENGTH {
            return Err(ArchiveError::TooLong(MAX_LENGTH));
        }
        // A SEQUENCE, which as a text is the digit 0.
        if bytes.first() == Some(&0x30) && !bytes.is_ascii() {
            return pkcs12::read(bytes, passphrase);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ArchiveError::NotAnArchive)?;
        let blocks = pem::blocks(text)?;
        if let Some(block) = blocks.iter().find(|block| block.label() == "PKCS12") {
            return pkcs12::read(block.der(), passphrase);
        }
        if blocks.is_empty() {
            return pkcs12::read(&pem::der_of(text, "PKCS12")?, passphrase);
        }
        pem::archive_of(&blocks, passphrase)
    }

    /// Puts the certificate of the key first.
    fn sorted(mut self) -> Self {
        let Some(key) = self.key.as_ref().and_then(|key| key.public_key().ok()) else { return self };
        let own = self.certificates.iter().position(|der| {
            Certificate::parse(der).is_ok_and(|certificate| *certificate.public_key() == key)
        });
        if let Some(own) = own {
            self.certificates[..=own].rotate_right(1);
        }
        self
    }
}

/// Why an archive, a PEM text or a private key in one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// More than any key or archive needs.
    #[error("there are more than {0} octets, too many for an archive")]
    TooLong(usize),
    /// Neither PKCS#12 nor text.
    #[error("this is neither PKCS#12 nor PEM")]
    NotAnArchive,
    /// Not the structure it should have.
    #[error("the archive is damaged, or is no archive: {0}")]
    Malformed(#[from] ber::Error),
    /// No such PEM block.
    #[error("there is no {0}\nhint: it begins with -----BEGIN {0}-----")]
    NoBlock(&'static str),
    /// A PEM block that is cut off, or ends as something else.
    #[error("the {0} has no end\nhint: it ends with -----END {0}-----")]
    NoEnd(String),
    /// Something in a PEM block is not base64.
    #[error("the {0} is damaged: what it holds is not base64")]
    NotBase64(String),
    /// The headers of an encrypted PEM block make no sense.
    #[error("the {0} is damaged: its header Proc-Type or DEK-Info is invalid")]
    Headers(String),
    /// PEM without a private key.
    #[error("there is no private key")]
    NoKey,
    /// A private key of a kind that is not for us, by its label.
    #[error("a {0} is not supported")]
    UnknownKey(String),
    /// Which of them is meant?
    #[error("there is more than one private key")]
    SeveralKeys,
    /// Encrypted, and no passphrase was given.
    #[error("the private key is encrypted: a passphrase is needed")]
    PassphraseNeeded,
    /// Decrypting gives nothing that makes sense. Damage to the first octets looks the same.
    #[error("the passphrase is wrong, or what it protects is damaged from its beginning on")]
    WrongPassphrase,
    /// Not as long as any encryption is.
    #[error("the {0} is damaged: it is cut off or has something added")]
    CutOff(&'static str),
    /// The passphrase is right, the data is not.
    #[error("the {0} is damaged, though the passphrase is right")]
    Damaged(&'static str),
    /// Encryption or MAC by a method that is not ours, by name or object identifier.
    #[error("protection by {0} is not supported")]
    Unsupported(String),
    /// It would take minutes or hours; nobody honest writes that.
    #[error("the passphrase is to be hashed more than {0} times: refused")]
    TooManyIterations(u32),
    /// What came out is no key for us.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// What came out is no key for us.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

impl ArchiveError {
    fn unsupported(oid: &ObjectIdentifier) -> Self {
        Self::Unsupported(oid.to_string())
    }
}

/// Octets of an archive or PEM text: hundreds of certificates.
const MAX_LENGTH: usize = 1024 * 1024;
