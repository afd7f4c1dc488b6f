//! What a client is told: one total function from what went wrong.

use std::sync::Arc;

use crate::ca::CaError;
use crate::pki::{CsrError, KeyErrorKind};
use crate::policy::Refusal;
use crate::scep::{DecodeError, FailInfo, OpenError};
use crate::store::StoreError;

/// Why a request did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The envelope did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The request inside it does not prove possession of its key.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// Policy.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// The CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A poll for a request that this key has not made.
    #[error("there is no such request by this key")]
    NoSuchRequest,
    /// GetCert or GetCRL for what is not ours.
    #[error("there is no such certificate here")]
    NoSuchCertificate,
    /// The operator refused the request.
    #[error("request {0} was rejected")]
    Denied(u64),
    /// The signer's key cannot decrypt a reply.
    #[error("the signer's key cannot decrypt; SCEP needs RSA")]
    CannotDecrypt,
    /// The CRL of the CA for which this server registers.
    #[error("the CRL of the CA above could not be had: {0}")]
    NoCrl(Arc<str>),
    /// A CertRep, sent to a CA.
    #[error("a CA answers requests, not replies")]
    NotARequest,
}

/// What is said.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// A FAILURE with this failInfo and failInfoText.
    Failure(FailInfo, &'static str),
    /// The request is recorded and waits; for the operator or for us.
    Pending,
    /// 503: nothing can be said truthfully now.
    Unavailable,
}

impl Refused {
    /// What the client is told. The texts are short, ASCII and tell nothing that the request did not hold.
    pub fn told(&self) -> Told {
        match self {
            // Whatever failed inside the envelope, its own signature included: one answer.
            Self::Open(OpenError::Unreadable) | Self::Csr(_) => {
                Told::Failure(FailInfo::BadMessageCheck, "the message cannot be read")
            }
            Self::Open(OpenError::Key(_)) => Told::Unavailable,
            Self::Open(OpenError::NotForUs) => {
                Told::Failure(FailInfo::BadMessageCheck, "the message is for another recipient")
            }
            Self::Open(OpenError::BadAlgorithm) => {
                Told::Failure(FailInfo::BadAlg, "the algorithm is not allowed")
            }
            Self::Policy(refusal) => refusal_told(refusal),
            Self::Ca(error) => ca_told(error),
            Self::NoSuchRequest => Told::Failure(FailInfo::BadCertId, "no such request"),
            Self::NoSuchCertificate => Told::Failure(FailInfo::BadCertId, "no such certificate"),
            Self::Denied(_) => Told::Failure(FailInfo::BadRequest, "the request was rejected"),
            Self::CannotDecrypt => Told::Failure(FailInfo::BadAlg, "an RSA key is needed"),
            Self::NoCrl(_) => Told::Unavailable,
            Self::NotARequest => Told::Failure(FailInfo::BadRequest, "not a request"),
        }
    }
}

fn refusal_told(refusal: &Refusal) -> Told {
    let (fail_info, text) = match refusal {
        Refusal::WeakKey(_) => (FailInfo::BadAlg, "the key is too weak"),
        Refusal::WeakDigest(_) => (FailInfo::BadAlg, "the digest is not allowed"),
        Refusal::Nameless => (FailInfo::BadRequest, "the request names nobody"),
        Refusal::Malformed(_) => (FailInfo::BadRequest, "an extension is malformed"),
        Refusal::Challenge => (FailInfo::BadRequest, CHALLENGE),
        Refusal::UnknownSigner => (FailInfo::BadMessageCheck, "the signer is not known"),
        Refusal::Revoked | Refusal::NotValidNow => (FailInfo::BadRequest, "the certificate is not valid"),
        Refusal::OtherSubject | Refusal::OtherClass(..) => {
            (FailInfo::BadRequest, "a renewal keeps its names")
        }
        Refusal::PathLength => (FailInfo::BadRequest, "no CA may stand below this one"),
        Refusal::Closed => (FailInfo::BadRequest, "nothing is granted"),
    };
    Told::Failure(fail_info, text)
}

/// Our own trouble is never a FAILURE.
fn ca_told(error: &CaError) -> Told {
    match error {
        CaError::Store(StoreError::ClaimRefused) => Told::Failure(FailInfo::BadRequest, CHALLENGE),
        CaError::Refused(refusal) => refusal_told(refusal),
        // The intent is recorded: it is signed as soon as the token is back.
        CaError::Key { source } if source.kind != KeyErrorKind::Refused => Told::Pending,
        CaError::Request(_) => Told::Failure(FailInfo::BadRequest, "the request cannot be read"),
        CaError::Key { .. }
        | CaError::Store(_)
        | CaError::BadSignature(_)
        | CaError::Damaged(_)
        | CaError::OtherKey { .. }
        | CaError::NotValidNow(..)
        | CaError::Gone
        | CaError::Suspended(_)
        | CaError::Reason(_)
        | CaError::Encoding(_) => Told::Unavailable,
    }
}

/// What is said about a message that is refused before its envelope is opened.
pub fn decode_told(error: &DecodeError) -> Told {
    let (fail_info, text) = match error {
        DecodeError::Legacy(_) | DecodeError::UnknownDigest | DecodeError::UnknownSignature => {
            (FailInfo::BadAlg, "the algorithm is not allowed")
        }
        _ => (FailInfo::BadMessageCheck, "the message cannot be verified"),
    };
    Told::Failure(fail_info, text)
}

/// One text for an unknown, an expired, a used and a misbound password.
const CHALLENGE: &str = "the challenge password is not valid";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Csr, PublicKeyError, VerifyError};

    #[test]
    fn one_answer_for_whatever_is_wrong_inside_an_envelope() {
        let unreadable = Refused::Open(OpenError::Unreadable).told();
        for error in [
            Csr::parse(&[0x30, 0]).unwrap_err(),
            CsrError::PublicKey(PublicKeyError::Invalid),
            CsrError::UnknownSignature,
            CsrError::Signature(VerifyError::BadSignature),
            CsrError::Signature(VerifyError::WrongKeyKind),
        ] {
            assert_eq!(Refused::Csr(error).told(), unreadable);
        }
    }

    #[test]
    fn one_answer_for_every_bad_password() {
        let invalid = Refused::Policy(Refusal::Challenge).told();
        assert_eq!(Refused::Ca(CaError::Store(StoreError::ClaimRefused)).told(), invalid);
    }
}
