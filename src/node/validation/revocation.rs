//! Whether a certificate was revoked: the methods of `revocation-check`, in their order.

use std::fmt;
use std::sync::Arc;

use crate::config::RevocationMethod;
use crate::node::Node;
use crate::pki::path::{Path, Rules};
use crate::pki::{Certificate, Name, Serial, Standing, Time};

use super::error::{Failure, Invalid};
use super::trust::Trust;
use super::{kept, responder};

/// How it was found out that a certificate is not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its subject.
    pub subject: Name,
    /// Its serial number.
    pub serial: Serial,
    /// How.
    pub how: How,
}

/// Who was asked about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The certificate server of this label, which runs here.
    Server(String),
    /// A CRL.
    Crl {
        /// Where it came from.
        source: String,
        /// Until when it holds.
        next_update: Option<Time>,
    },
    /// An OCSP responder.
    Ocsp {
        /// Its URL.
        url: String,
    },
    /// Nobody: `revocation-check none` lets it pass. Why the methods before it failed.
    Passed(String),
    /// Nobody: a certificate map says so.
    Excused,
}

/// Asks about every certificate of the path but the one that is trusted, from the CA down. `unasked` excuses the
/// certificate itself.
pub fn check(
    node: &Node,
    trust: &Trust,
    path: &Path,
    rules: &Rules,
    unasked: bool,
) -> Result<Vec<Asked>, Invalid> {
    let mut all = Vec::new();
    let issued: Vec<_> = path.issued().collect();
    for (certificate, issuer) in issued.into_iter().rev() {
        let how = match unasked && certificate == path.certificate() {
            true => How::Excused,
            false => ask(node, trust, certificate, issuer, rules)?,
        };
        let (subject, serial) = named(certificate);
        all.push(Asked { subject, serial, how });
    }
    Ok(all)
}

/// One method after the other, until one is completed. What a method finds ends it; the next one is for what
/// could not be found out.
fn ask(
    node: &Node,
    trust: &Trust,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<How, Invalid> {
    let mut tried: Vec<Arc<Failure>> = Vec::new();
    for method in trust.checking.revocation() {
        let found = match method {
            RevocationMethod::Crl => kept::standing(node, trust, certificate, issuer, rules),
            RevocationMethod::Ocsp => responder::standing(node, trust, certificate, issuer, rules),
            // A responder of the CA that knows no such certificate has been reached, and has not said that it is
            // good: a CRL may, nothing at all does not.
            RevocationMethod::None if tried.iter().any(|failure| failure.is_unknown()) => break,
            RevocationMethod::None => return Ok(How::Passed(Failure::Several(tried).to_string())),
        };
        match found {
            Ok((Standing::Good, how)) => return Ok(how),
            Ok((Standing::Revoked { at, reason }, by)) => {
                let (subject, serial) = named(certificate);
                return Err(Invalid::Revoked { subject, serial, at, reason, by });
            }
            Err(failure) => {
                tracing::debug!(
                    target: "CRYPTO_PKI",
                    "revocation-check {} could not be completed: {failure}",
                    method.word()
                );
                tried.push(failure);
            }
        }
    }
    let (subject, serial) = named(certificate);
    Err(Invalid::Unasked { subject, serial, tried })
}

fn named(certificate: &Certificate) -> (Name, Serial) {
    (Name::from_der(certificate.subject_raw()), certificate.serial().clone())
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(label) => write!(f, "the certificate server \"{label}\""),
            Self::Crl { source, next_update: Some(next) } => write!(f, "the CRL from {source}, until {next}"),
            Self::Crl { source, next_update: None } => write!(f, "the CRL from {source}"),
            Self::Ocsp { url } => write!(f, "the OCSP responder {url}"),
            Self::Passed(why) if why.is_empty() => f.write_str("nobody, as `revocation-check none` says"),
            Self::Passed(why) => write!(f, "nobody, as `revocation-check none` says, after this: {why}"),
            Self::Excused => f.write_str("nobody, as a certificate map says"),
        }
    }
}
