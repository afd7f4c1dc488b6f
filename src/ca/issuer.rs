//! Under which certificate and key a CA signs: now, next, or once.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::pki::profile::IssuerFacts;
use crate::pki::{Certificate, Name, SignatureAlgorithm, SigningKey, Time};
use crate::store::{Authority, Crl, Phase};

use super::{CaError, Settings};

/// A CA certificate and its key.
pub struct Issuer {
    authority: u64,
    phase: Phase,
    certificate: Certificate,
    name: Name,
    key_id: Vec<u8>,
    pub(super) key: Arc<dyn SigningKey>,
    /// Held while a CRL is made: its number must be above that of the newest.
    pub(super) crl: Mutex<()>,
    /// The newest CRL that was asked for.
    newest: Mutex<Option<Crl>>,
    /// When the last certificate ends that it issued, once it issues no more and somebody has asked.
    pub(super) last_end: OnceLock<Time>,
}

impl Issuer {
    /// Of this authority, whose key `key` must be.
    pub fn open(authority: &Authority, key: Arc<dyn SigningKey>) -> Result<Self, CaError> {
        let certificate =
            Certificate::parse(&authority.certificate).map_err(|e| CaError::Damaged(e.to_string()))?;
        if certificate.public_key() != key.public_key() {
            return Err(CaError::OtherKey {
                token: authority.token.clone(),
                label: authority.key_label.clone(),
            });
        }
        Ok(Self {
            authority: authority.id,
            phase: authority.phase,
            name: Name::from_der(certificate.subject_raw()),
            key_id: certificate.key_identifier(),
            certificate,
            key,
            crl: Mutex::new(()),
            newest: Mutex::new(None),
            last_end: OnceLock::new(),
        })
    }

    /// Which authority of the store it is.
    pub fn authority(&self) -> u64 {
        self.authority
    }

    /// Whether its time is yet to come, now, or over.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// keyIdentifier of its key.
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// Its key.
    pub fn key(&self) -> &Arc<dyn SigningKey> {
        &self.key
    }

    /// pathLenConstraint of its certificate: how many CAs may stand below it; any when `None`.
    pub(super) fn path_len(&self) -> Option<u8> {
        // No chain has 255 CAs; a longer limit is none.
        self.certificate.extensions().basic_constraints()?.path_len?.try_into().ok()
    }

    pub(super) fn algorithm(&self, settings: &Settings) -> SignatureAlgorithm {
        SignatureAlgorithm::for_key(self.key.public_key().kind(), settings.hash)
    }

    pub(super) fn facts<'a>(&'a self, settings: &'a Settings) -> IssuerFacts<'a> {
        IssuerFacts {
            name: &self.name,
            key_id: &self.key_id,
            algorithm: self.algorithm(settings),
            cdp: settings.cdp.as_deref(),
            path_len: self.path_len(),
        }
    }

    /// From now for `lifetime`, but never longer than itself (S4). What the next one signs begins with it,
    /// and not before it acts: when the active one has ended, at `change`.
    pub(super) fn validity(
        &self,
        lifetime: Duration,
        now: Time,
        change: Time,
    ) -> Result<(Time, Time), CaError> {
        let (begin, end) = (self.certificate.not_before(), self.certificate.not_after());
        let from = match self.phase {
            Phase::Next => now.max(begin).max(change),
            Phase::Active | Phase::Retired | Phase::Discarded => now,
        };
        if from < begin || from > end {
            return Err(CaError::NotValidNow(begin, end));
        }
        Ok((from, from.plus(lifetime).min(end)))
    }

    /// How long a certificate that is asked for is valid: a month less than the CA at most, so that there is
    /// time to roll over (S4). A CA that lives for two months or less is for trying things out.
    pub(super) fn granted_lifetime(&self, settings: &Settings) -> Duration {
        let span = self.certificate.not_after().since(self.certificate.not_before());
        let longest = if span > MONTH * 2 { span - MONTH } else { span };
        settings.certificate_lifetime.min(longest)
    }

    pub(super) fn newest(&self) -> MutexGuard<'_, Option<Crl>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);
