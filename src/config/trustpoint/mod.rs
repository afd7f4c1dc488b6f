//! `crypto pki trustpoint`: another CA, what is asked of it, and with which key.

mod checking;
mod enrollment;
mod keys;
mod lines;
mod request;

use std::fmt;

use crate::pki::Hash;

use super::{Fingerprint, Legacy};

pub use checking::{Checking, MatchMap, RevocationMethod};
pub use enrollment::{AutoEnroll, Enrollment, EnrollmentMethod, EnrollmentUrl, Proxy};
pub use keys::KeyPair;
pub(super) use lines::{AUTO_ENROLL, HASH, LEGACY, REGENERATE, RSA_KEY_PAIR, RSA_KEY_PAIR_ALSO, SELFSIGNED};
pub use lines::{LATER, LINES};
pub use request::{CertificateUse, Fqdn, RequestAddress, Requested};

/// A section `crypto pki trustpoint LABEL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustpointSection {
    /// `enrollment …`: how certificates are got.
    pub enrollment: Enrollment,
    /// What is asked for.
    pub request: Requested,
    /// The key pair; that of the host's name when absent.
    pub key: Option<KeyPair>,
    /// `on`: the token of a key to be generated, without the colon.
    pub on: Option<String>,
    /// Token that has the same key, used beside it.
    pub copy: Option<String>,
    /// `storage`: the token that keeps the certificates as well, without the colon.
    pub storage: Option<String>,
    /// `regenerate`: each `crypto pki enroll` takes a new key.
    pub regenerate: bool,
    /// `auto-enroll`: certificates are asked for, and renewed, without the operator.
    pub auto_enroll: Option<AutoEnroll>,
    /// `fingerprint`: that of the CA certificate, which is accepted without a question.
    pub fingerprint: Option<Fingerprint>,
    /// `root`: where the CA certificate is read from, when not where requests go.
    pub root: Option<String>,
    /// `hash`: the digest of requests; [`TrustpointSection::hash`] knows the default.
    pub hash: Option<Hash>,
    /// `crypto legacy`: old algorithms that its keys, its requests and the CA's replies may use.
    pub legacy: Legacy,
    /// How peers' certificates are checked.
    pub checking: Checking,
    /// `source interface`: kept as typed; the host's routes choose the address.
    pub source_interface: Option<String>,
    /// `vrf`: kept as typed; the host has one table of routes.
    pub vrf: Option<String>,
}

impl TrustpointSection {
    /// Whether its certificate is signed with its own key, for HTTPS.
    pub fn is_selfsigned(&self) -> bool {
        self.enrollment.method == Some(EnrollmentMethod::SelfSigned)
    }

    /// The digest of requests: SHA-256 unless another was typed.
    pub fn hash(&self) -> Hash {
        self.hash.unwrap_or(Hash::Sha256)
    }
}

impl fmt::Display for TrustpointSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // First: what it allows is refused before it.
        write!(f, "{}{}{}", self.legacy, self.enrollment, self.request)?;
        self.fingerprint.iter().try_for_each(|typed| writeln!(f, " fingerprint {typed}"))?;
        match self.root.as_deref().map(|url| (url, url.strip_prefix("tftp://"))) {
            Some((_, Some(place))) if place.contains('/') => {
                writeln!(f, " root tftp {}", place.replacen('/', " ", 1))?;
            }
            Some((url, _)) => writeln!(f, " root {url}")?,
            None => {}
        }
        self.vrf.iter().try_for_each(|name| writeln!(f, " vrf {name}"))?;
        self.source_interface.iter().try_for_each(|name| writeln!(f, " source interface {name}"))?;
        write!(f, "{}", self.checking)?;
        self.key.iter().try_for_each(|key| writeln!(f, " {key}"))?;
        if self.regenerate {
            writeln!(f, " regenerate")?;
        }
        self.auto_enroll.iter().try_for_each(|auto| writeln!(f, " {auto}"))?;
        self.hash.iter().try_for_each(|hash| writeln!(f, " hash {}", hash.name()))?;
        self.storage.iter().try_for_each(|device| writeln!(f, " storage {device}:"))?;
        let copy = self.copy.iter().map(|copy| format!(" {copy}:")).collect::<String>();
        self.on.iter().try_for_each(|device| writeln!(f, " on {device}:{copy}"))
    }
}

#[cfg(test)]
mod tests;
