//! Why a CA was asked in vain.

use super::profile::ProfileError;
use crate::files::FileError;
use crate::pki::{KeyError, KeyErrorKind, VerifyError};
use crate::scep::{DecodeError, OpenError};

/// Why there is no answer, or none that may be believed. A CA that says no is no error:
/// [`Answered::Failed`](super::Answered).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL of the CA is none by which SCEP is spoken.
    #[error("\"{url}\" is not the URL of a SCEP server: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The server could not be reached.
    #[error(transparent)]
    Transport(#[from] FileError),
    /// The server answered, but not with success.
    #[error("{url}: the server answered {operation} with {said}")]
    Status {
        /// Where.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// Status and words.
        said: String,
        /// Whether it may say otherwise later.
        temporary: bool,
    },
    /// An answer that is no certificates.
    #[error(
        "there is no certificate in it: that of the CA or of the trustpoint was expected, as PEM, base64 or DER"
    )]
    NoCertificates(DecodeError),
    /// Certificates, but not that of a CA.
    #[error("there is no CA certificate among those given")]
    NoCa,
    /// What the CA calls its next certificate cannot be that.
    #[error("the next CA certificate is not accepted: {0}")]
    NotNext(&'static str),
    /// What came back is no reply of SCEP, or nobody signed it who may.
    #[error("the reply is not accepted: {0}")]
    Reply(#[from] DecodeError),
    /// A reply to something else.
    #[error("the reply is not accepted: its {0} is not that of the request")]
    OtherRequest(&'static str),
    /// An algorithm that has to be allowed first.
    #[error(
        "the reply is not accepted: it uses {0}\nhint: `crypto legacy {0}` in the trustpoint accepts it, where \
         the CA knows nothing better"
    )]
    Weak(&'static str),
    /// The reply cannot be opened.
    #[error("the reply cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// SUCCESS, and nothing in it.
    #[error("the reply grants the request, but holds no {0}")]
    Empty(&'static str),
    /// A certificate for another key.
    #[error("the certificate that came is not for the key that was asked for")]
    OtherKey,
    /// A certificate of somebody else.
    #[error("the certificate that came was not issued by the CA of the trustpoint: {0}")]
    NotIssued(VerifyError),
    /// The same by its name.
    #[error("the certificate that came names another issuer than the CA of the trustpoint")]
    OtherIssuer,
    /// Nothing can be encrypted to the CA.
    #[error("nothing can be encrypted to the CA: neither it nor an RA has a certificate with an RSA key")]
    CannotEncrypt,
    /// What a profile says cannot be sent.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The key of the request.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl ClientError {
    /// Whether somebody here has to change something first: there is no use in asking again, and a CA would issue
    /// one certificate after the other that is not taken.
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Url { .. } | Self::Weak(_) | Self::CannotEncrypt | Self::Profile(_) => true,
            Self::Key(error) | Self::Open(OpenError::Key(error)) => error.kind == KeyErrorKind::Refused,
            _ => false,
        }
    }

    /// Whether the same may succeed later without anybody doing something here: the CA is away, or the token is.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_temporary(),
            Self::Status { temporary, .. } => *temporary,
            Self::Key(error) | Self::Open(OpenError::Key(error)) => error.kind != KeyErrorKind::Refused,
            _ => false,
        }
    }
}
