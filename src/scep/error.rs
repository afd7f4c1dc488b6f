//! Why a message is not taken.

use der::asn1::ObjectIdentifier;

use crate::pki::VerifyError;
use crate::pki::ber;

/// Why a message could not be decoded, or its signature not be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not BER, or not the structure expected.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// Not the CMS type expected.
    #[error("the message is not the CMS type that SCEP has there")]
    NotCms,
    /// More than anybody needs.
    #[error("the message has too many {0}")]
    TooMany(&'static str),
    /// A degenerate message where a signed one is needed.
    #[error("the message is not signed")]
    NoSigner,
    /// `messageType` is absent or outside the closed set.
    #[error("messageType \"{0}\" is unknown")]
    UnknownMessageType(String),
    /// An attribute that every message has is missing.
    #[error("the attribute {0} is missing")]
    MissingAttribute(&'static str),
    /// An attribute is there twice.
    #[error("the attribute {0} is repeated")]
    Repeated(ObjectIdentifier),
    /// `digestAlgorithm` is unknown.
    #[error("the digest algorithm is not supported")]
    UnknownDigest,
    /// `signatureAlgorithm` is unknown.
    #[error("the signature algorithm is not supported")]
    UnknownSignature,
    /// The digest or cipher needs `crypto legacy`.
    #[error("{0} needs \"crypto legacy {0}\"")]
    Legacy(&'static str),
    /// The signer's certificate is not inside.
    #[error("the signer's certificate is not in the message")]
    NoCertificate,
    /// Nobody has signed it who may.
    #[error("the message is signed by somebody else than the CA or an RA of it")]
    Untrusted,
    /// messageDigest is not that of the content.
    #[error("the message digest does not match")]
    BadDigest,
    /// The signature is not the signer's.
    #[error("{0}")]
    BadSignature(VerifyError),
}
