//! Why a certificate is not accepted, and why it could not be found out.

use std::sync::Arc;

use crate::files::FileError;
use crate::pki::crl::{CrlError, CrlFault};
use crate::pki::ocsp::OcspFault;
use crate::pki::path::PathError;
use crate::pki::{Name, Serial, Time, revocation_reason};
use crate::store::StoreError;
use crate::trustpoint::ClientError;

use super::NodeError;

/// Why a trustpoint does not accept a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// There is no such trustpoint, or what it has cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// No certificate was shown.
    #[error("there is no certificate")]
    Nothing,
    /// The trustpoint has no CA certificate.
    #[error("the trustpoint \"{0}\" has no CA certificate\nhint: \"crypto pki authenticate {0}\" gets it")]
    NotAuthenticated(String),
    /// No path, or one with something wrong.
    #[error(transparent)]
    Path(#[from] PathError),
    /// None of the trustpoint's maps means it.
    #[error("no certificate map of the trustpoint means it (`match certificate`)")]
    NotMeant,
    /// It, or a CA above it, was revoked.
    #[error(
        "the certificate of {subject}, serial number {serial}, was revoked at {at} ({}), says {by}",
        revocation_reason(*.reason)
    )]
    Revoked {
        /// Its subject.
        subject: Name,
        /// Its serial number.
        serial: Serial,
        /// Since when.
        at: Time,
        /// CRLReason (RFC 5280, 5.3.1).
        reason: u8,
        /// Who says so.
        by: super::How,
    },
    /// Whether it was revoked could not be found out, and the trustpoint does not say that this will do.
    #[error(
        "whether the certificate of {subject}, serial number {serial}, is revoked could not be found out: {}",
        told(tried)
    )]
    Unasked {
        /// Its subject.
        subject: Name,
        /// Its serial number.
        serial: Serial,
        /// Why each method that was tried failed.
        tried: Vec<Arc<Failure>>,
    },
}

impl Invalid {
    /// Whether the same may be accepted later without anybody doing something here: servers that are down, a
    /// database that is busy.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unasked { .. } | Self::Node(NodeError::Store(StoreError::Unavailable { .. })) => true,
            Self::Node(_)
            | Self::Nothing
            | Self::NotAuthenticated(_)
            | Self::Path(_)
            | Self::NotMeant
            | Self::Revoked { .. } => false,
        }
    }
}

impl From<StoreError> for Invalid {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

/// Why a method of `revocation-check` could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing says where the CRL is.
    #[error(
        "the certificate says nothing of a CRL, and the trustpoint has neither `crl query` nor a CA that speaks SCEP \
         and a certificate to ask it with"
    )]
    NoCrlPlace,
    /// Nothing says where a responder is.
    #[error("the certificate says nothing of an OCSP responder, and the trustpoint has no `ocsp url`")]
    NoResponder,
    /// It could not be fetched.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server answered, but not with success.
    #[error("{url}: the server answered {said}")]
    Status {
        /// Where.
        url: String,
        /// Status and words.
        said: String,
    },
    /// By SCEP.
    #[error("by SCEP from {url}: {error}")]
    Scep {
        /// Where.
        url: String,
        /// Why.
        #[source]
        error: ClientError,
    },
    /// The CA said no by SCEP.
    #[error("by SCEP from {url}: the CA gives no CRL: {said}")]
    ScepRefused {
        /// Where.
        url: String,
        /// What it said.
        said: String,
    },
    /// What was fetched is no CRL.
    #[error("{place}: {error}")]
    NoCrl {
        /// Where.
        place: String,
        /// Why.
        #[source]
        error: CrlError,
    },
    /// What was fetched is a CRL that does not count.
    #[error("the CRL from {place} does not count: {fault}")]
    Crl {
        /// Where.
        place: String,
        /// Why.
        #[source]
        fault: CrlFault,
    },
    /// The CRL at hand is newer.
    #[error("the CRL from {0} is older than the one at hand")]
    Older(String),
    /// The entry of the directory has no CRL.
    #[error("{0}: the entry has no CRL")]
    Empty(String),
    /// The responder's answer does not count.
    #[error("{url}: {fault}")]
    Ocsp {
        /// Where.
        url: String,
        /// Why.
        #[source]
        fault: OcspFault,
    },
    /// The responder does not know the certificate.
    #[error("{0}: the OCSP responder does not know the certificate")]
    Unknown(String),
    /// The certificate server of this host, whose key has signed it, knows no such certificate.
    #[error(
        "the certificate server \"{0}\" has not issued this certificate, though it is signed with its key"
    )]
    NotIssued(String),
    /// A key, a certificate or the database of this host.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no randomness.
    #[error("the system has no randomness: {0}")]
    Randomness(getrandom::Error),
    /// All of these.
    #[error("{}", told(.0))]
    Several(Vec<Arc<Failure>>),
}

impl Failure {
    /// Why everything that was tried failed; `nothing` when there was nothing to try.
    pub fn of_all(mut failures: Vec<Arc<Failure>>, nothing: Failure) -> Arc<Self> {
        match failures.len() {
            0 => Arc::new(nothing),
            1 => failures.remove(0),
            _ => Arc::new(Self::Several(failures)),
        }
    }

    /// Whether a responder was reached, or the issuer itself, that does not know the certificate.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::NotIssued(_) => true,
            Self::Several(all) => all.iter().any(|failure| failure.is_unknown()),
            _ => false,
        }
    }

    /// Whether a server was asked and did not answer: asking again at once would only wait again.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::File(error) => error.is_temporary(),
            Self::Scep { error, .. } => error.is_temporary(),
            Self::Several(all) => all.iter().any(|failure| failure.is_silence()),
            _ => false,
        }
    }
}

/// One after the other, without hints.
fn told(failures: &[Arc<Failure>]) -> String {
    let first_line = |failure: &Arc<Failure>| {
        let text = failure.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    };
    failures.iter().map(first_line).collect::<Vec<_>>().join("; ")
}
