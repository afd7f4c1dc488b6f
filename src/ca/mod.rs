//! The certificate authority: issue, revoke, list. Knows neither SCEP nor HTTP nor PKCS#11.
//!
//! Issuing is `prepare → record → sign → keep` ([`issue`]); the store has the intent before the key is
//! used and the certificate before anybody is told, so that a crash at any point can be explained and
//! finished ([`Ca::recover`]).
//!
//! A CA lives longer than its certificates: beside the [`Issuer`] that acts there may be the next one, whose
//! certificates begin when the active one ends, and there are those that did once and still owe CRLs.

mod crl;
mod found;
mod gate;
mod issue;
mod issuer;
mod meter;
mod next;
mod ours;

use std::sync::Arc;
use std::time::Duration;

use crate::pki::{Certificate, Hash, KeyError, Name, SigningKey, Time, VerifyError};
use crate::policy::{self, Refusal};
use crate::store::{self, Phase, Reuse, SerialRule, Store, StoreError};

pub use found::Founding;
pub use gate::Gate;
pub use issue::{Application, Outcome, enrollment, identity, malformed};
pub use issuer::Issuer;
pub use meter::Meter;
pub use next::abandon_next;
pub use ours::Ours;

/// One certificate authority: what acts for it now, what comes next and what did once, and what the operator
/// configured.
pub struct Ca {
    label: String,
    store: Arc<dyn Store>,
    active: Issuer,
    next: Option<Issuer>,
    retired: Vec<Issuer>,
    /// Of the active one, then of the CAs above it.
    certificates: Vec<Certificate>,
    settings: Settings,
    gate: Arc<Gate>,
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
        settings: Settings,
        gate: Arc<Gate>,
    ) -> Result<Self, CaError> {
        let active = Issuer::open(authority, key)?;
        let certificates = vec![active.certificate().clone()];
        let (label, next, retired) = (label.to_owned(), None, Vec::new());
        Ok(Self { label, store, active, next, retired, certificates, settings, gate })
    }

    /// The same below other CAs, of which these are the certificates, the next one first.
    pub fn below(mut self, above: impl IntoIterator<Item = Certificate>) -> Self {
        self.certificates.truncate(1);
        self.certificates.extend(above);
        self
    }

    /// The same with another issuer: the next, or one that was.
    pub fn with(mut self, issuer: Issuer) -> Self {
        match issuer.phase() {
            Phase::Next => self.next = Some(issuer),
            Phase::Active | Phase::Retired | Phase::Discarded => self.retired.push(issuer),
        }
        self
    }

    /// What signs now.
    pub fn active(&self) -> &Issuer {
        &self.active
    }

    /// What signs when the certificate of the active one ends.
    pub fn next(&self) -> Option<&Issuer> {
        self.next.as_ref()
    }

    /// Everything that signs or did: the active one, the next, then the oldest first.
    pub fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        std::iter::once(&self.active).chain(&self.next).chain(&self.retired)
    }

    /// The one with this number in the store, the active one when `None`.
    pub fn issuer(&self, authority: Option<u64>) -> Result<&Issuer, CaError> {
        let Some(id) = authority else { return Ok(&self.active) };
        self.issuers().find(|issuer| issuer.authority() == id).ok_or(CaError::Gone)
    }

    /// Its certificate, then those of the CAs above it, so far as they are known.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        self.active.certificate()
    }

    /// Which authority of the store acts.
    pub fn authority(&self) -> u64 {
        self.active.authority()
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        self.active.name()
    }

    /// Its key.
    pub fn key(&self) -> &Arc<dyn SigningKey> {
        self.active.key()
    }

    /// Label of its server.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What is configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// By which rules requests to this authority, the active one when `None`, are judged.
    pub fn rules(&self, authority: Option<u64>) -> Result<policy::Rules, CaError> {
        Ok(policy::Rules { path_len: self.issuer(authority)?.path_len(), ..self.settings.rules })
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
}

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
    /// The authority that is to sign does not act for this CA any more, or not yet.
    #[error("the CA certificate that is asked for is gone")]
    Gone,
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
