//! The certificate authority: issue, revoke, list. Knows neither SCEP nor HTTP nor PKCS#11.
//!
//! Issuing is `prepare → record → sign → keep` ([`issue`]); the store has the intent before the key is
//! used and the certificate before anybody is told, so that a crash at any point can be explained and
//! finished ([`Ca::recover`]).

mod crl;
mod found;
mod gate;
mod issue;
mod meter;
mod ours;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::pki::profile::IssuerFacts;
use crate::pki::{Certificate, Hash, KeyError, Name, SignatureAlgorithm, SigningKey, Time, VerifyError};
use crate::policy::{self, Refusal};
use crate::store::{self, Crl, Reuse, SerialRule, Store, StoreError};

pub use found::Founding;
pub use gate::Gate;
pub use issue::{Application, Outcome, identity};
pub use meter::Meter;
pub use ours::Ours;

/// One certificate authority: an active CA certificate, its key, and what the operator configured.
pub struct Ca {
    label: String,
    store: Arc<dyn Store>,
    authority: u64,
    certificate: Certificate,
    name: Name,
    key_id: Vec<u8>,
    key: Arc<dyn SigningKey>,
    settings: Settings,
    gate: Arc<Gate>,
    /// Held while a CRL is made: its number must be above that of the newest.
    crl: Mutex<()>,
    /// The newest CRL that was asked for.
    newest: Mutex<Option<Crl>>,
}

/// What the operator configured about issuing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The digest of signatures on certificates and CRLs.
    pub hash: Hash,
    /// How long a CA certificate is valid.
    pub ca_lifetime: Duration,
    /// How long a device's certificate is valid.
    pub certificate_lifetime: Duration,
    /// How long a CRL is valid.
    pub crl_lifetime: Duration,
    /// cRLDistributionPoints, when set.
    pub cdp: Option<String>,
    /// How serial numbers are chosen.
    pub serial: SerialRule,
    /// Whether repeated requests are the same request.
    pub reuse: Reuse,
    /// Pending requests beyond which no new one is taken.
    pub max_pending: u64,
    /// How weak a granted request may be.
    pub rules: policy::Rules,
}

impl Ca {
    /// Opens the CA whose certificate `authority` holds. `key` must be that certificate's. It issues while
    /// `gate` is open.
    pub fn open(
        label: &str,
        store: Arc<dyn Store>,
        authority: &store::Authority,
        key: Arc<dyn SigningKey>,
        mut settings: Settings,
        gate: Arc<Gate>,
    ) -> Result<Self, CaError> {
        let certificate =
            Certificate::parse(&authority.certificate).map_err(|e| CaError::Damaged(e.to_string()))?;
        if certificate.public_key() != key.public_key() {
            return Err(CaError::OtherKey {
                token: authority.token.clone(),
                label: authority.key_label.clone(),
            });
        }
        let constraints = certificate.extensions().basic_constraints();
        // No chain has 255 CAs; a longer limit is none.
        settings.rules.path_len =
            constraints.and_then(|constraints| constraints.path_len).and_then(|len| u8::try_from(len).ok());
        Ok(Self {
            label: label.to_owned(),
            store,
            authority: authority.id,
            name: Name::from_der(certificate.subject_raw()),
            key_id: certificate.key_identifier(),
            certificate,
            key,
            settings,
            gate,
            crl: Mutex::new(()),
            newest: Mutex::new(None),
        })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Which authority of the store it is.
    pub fn authority(&self) -> u64 {
        self.authority
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its key.
    pub fn key(&self) -> &Arc<dyn SigningKey> {
        &self.key
    }

    /// Label of its server.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What is configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Stops issuing: `issue` and `grant` fail with this reason, and nothing that was authorized is signed.
    /// Requests are taken and answered, and revocation and CRLs go on.
    pub fn suspend(&self, reason: impl Into<Arc<str>>) {
        self.gate.suspend(reason);
    }

    /// Issues again.
    pub fn resume(&self) {
        self.gate.resume();
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::for_key(self.key.public_key().kind(), self.settings.hash)
    }

    fn facts(&self) -> IssuerFacts<'_> {
        IssuerFacts {
            name: &self.name,
            key_id: &self.key_id,
            algorithm: self.algorithm(),
            cdp: self.settings.cdp.as_deref(),
            path_len: self.settings.rules.path_len,
        }
    }

    /// From now for `lifetime`, but never longer than the CA itself (S4).
    fn validity(&self, lifetime: Duration, now: Time) -> Result<(Time, Time), CaError> {
        if !self.certificate.is_valid_at(now) {
            return Err(CaError::NotValidNow(self.certificate.not_before(), self.certificate.not_after()));
        }
        Ok((now, now.plus(lifetime).min(self.certificate.not_after())))
    }

    /// How long a certificate that is asked for is valid: a month less than the CA at most, so that there is
    /// time to roll over (S4). A CA that lives for two months or less is for trying things out.
    fn granted_lifetime(&self) -> Duration {
        let span = self.certificate.not_after().since(self.certificate.not_before());
        let longest = if span > MONTH * 2 { span - MONTH } else { span };
        self.settings.certificate_lifetime.min(longest)
    }
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Why the CA did not do it. After an error nothing was told to anybody; what the store has is explained
/// by the step reached.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token.
    #[error("the key of the CA could not be used: {source}")]
    Key {
        /// What it said.
        #[from]
        source: KeyError,
    },
    /// A signature does not verify with the CA's own public key.
    #[error("the token's signature is wrong; nothing was issued")]
    BadSignature(#[from] VerifyError),
    /// What is stored cannot be read.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The key on the token is not that of the CA certificate.
    #[error("the key \"{label}\" on token \"{token}\" is not the key of the CA certificate")]
    OtherKey {
        /// Token name.
        token: String,
        /// Key label.
        label: String,
    },
    /// Not a CRLReason that a full CRL may carry.
    #[error("{0} is not a reason for revocation")]
    Reason(u8),
    /// Nothing is issued now.
    #[error("nothing is issued now: {0}")]
    Suspended(Arc<str>),
    /// The CA certificate is not valid at this time.
    #[error("the CA certificate is valid from {0} to {1}, not now")]
    NotValidNow(Time, Time),
    /// A value has no encoding.
    #[error("the certificate could not be encoded: {0}")]
    Encoding(#[from] der::Error),
    /// The request may not be granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request cannot be read any more.
    #[error("the request cannot be read: {0}")]
    Request(#[from] crate::pki::CsrError),
}
