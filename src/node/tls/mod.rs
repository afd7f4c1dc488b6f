//! The certificate with which HTTPS is served: self-signed, kept in the database, its key on a token (T8).
//!
//! It is made when HTTPS is first configured, kept as long as the names of this host stay what they are,
//! and renewed before its end. While its key cannot be used HTTPS is not served; that is tried again with
//! each upkeep.

mod making;
mod wanted;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::config::Configuration;
use crate::pki::{Certificate, Hash, KeyError, KeyErrorKind, PublicKey, SigningKey, Time, chain, hex};
use crate::store::{Store, TrustedKind};
use crate::token::{Problem, TokenError, TokenKey};

use super::clock::Clock;
use super::tokens::Tokens;
use super::{Node, NodeError};

use making::Making;
pub(super) use making::host_number;
use wanted::{Wanted, ends_soon};

/// With what HTTPS is served.
pub struct TlsIdentity {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key, asked after everything else that the token has to do.
    pub key: Arc<dyn SigningKey>,
    /// Whether the key signs by RSASSA-PSS with SHA-256, which TLS 1.3 needs of RSA keys.
    pub pss: bool,
    place: String,
}

/// HTTPS in `show ip http server status`.
#[derive(Clone, Debug, Serialize)]
pub struct TlsReport {
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// The trustpoint of its certificate.
    pub trustpoint: Option<String>,
    /// Where the key is: label and token.
    pub key: Option<String>,
    /// SHA-256 of the certificate, hex.
    pub fingerprint_sha256: Option<String>,
    /// notAfter of the certificate, as IOS writes times.
    pub expires: Option<String>,
    /// Why it does not serve.
    pub error: Option<String>,
}

impl Node {
    /// With what HTTPS is served now; `None` while it cannot be.
    pub fn tls_identity(&self) -> Option<Arc<TlsIdentity>> {
        let status = self.tls.status();
        status.identity.clone().filter(|_| status.error.is_none())
    }

    /// Where HTTPS is served and with what, or why not.
    pub fn tls_report(&self) -> TlsReport {
        let status = self.tls.status();
        let identity = status.identity.as_ref();
        TlsReport {
            address: status.address,
            trustpoint: status.wanted.as_ref().map(|wanted| wanted.trustpoint.clone()),
            key: identity.map(|identity| identity.place.clone()),
            fingerprint_sha256: identity
                .map(|identity| hex(&Hash::Sha256.digest(&[identity.certificate.der()]))),
            expires: identity.map(|identity| identity.certificate.not_after().to_string()),
            error: status.error.clone(),
        }
    }

    /// The certificate of the self-signed trustpoint, or none if it is not called `trustpoint`: its name, and
    /// DER.
    pub fn self_signed(&self, trustpoint: Option<&str>) -> Result<Option<(String, Vec<u8>)>, NodeError> {
        let configuration = self.configuration();
        let Some((label, _)) = configuration.selfsigned().next() else { return Ok(None) };
        let mut kept = match trustpoint.is_none_or(|trustpoint| trustpoint == label) {
            true => self.store.trusted(label)?,
            false => Vec::new(),
        };
        kept.retain(|kept| kept.kind == TrustedKind::Own);
        Ok(kept.pop().map(|kept| (label.to_owned(), kept.der)))
    }

    /// Makes the certificate of the self-signed trustpoint of this name anew, for the same key
    /// (`crypto pki enroll`). Whoever trusted the old one has to trust this one.
    pub fn renew_self_signed(&self, trustpoint: &str) -> Result<(), NodeError> {
        let configuration = self.configuration();
        let wanted = Wanted::of(&configuration, &self.token_set());
        let wanted = wanted.filter(|wanted| wanted.trustpoint == trustpoint);
        let none = || NodeError::NotFound(format!("trustpoint \"{trustpoint}\" is not self-signed"));
        self.tls.renew(&wanted.ok_or_else(none)?, self.now())
    }

    /// Where HTTPS is listened for, when it is.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.tls.status().address
    }

    /// Tells where HTTPS is served: the listener is not the node's.
    pub fn set_https_address(&self, address: Option<SocketAddr>) {
        self.tls.status().address = address;
    }
}

/// Keeps an identity ready while HTTPS is configured.
pub(super) struct Tls {
    making: Making,
    status: Arc<Mutex<Status>>,
    /// Held while an identity is made.
    preparing: Mutex<()>,
}

#[derive(Default)]
struct Status {
    wanted: Option<Wanted>,
    identity: Option<Arc<TlsIdentity>>,
    /// Why HTTPS is not served.
    error: Option<String>,
    address: Option<SocketAddr>,
}

impl Tls {
    pub fn new(store: Arc<dyn Store>, clock: Arc<Clock>) -> Self {
        Self { making: Making { store, clock }, status: Arc::default(), preparing: Mutex::default() }
    }

    /// The configuration with a self-signed trustpoint, as IOS adds one when HTTPS is configured without.
    /// The one that was added goes when another is configured.
    pub fn complete(&self, mut configuration: Configuration) -> Result<Configuration, NodeError> {
        if !configuration.http.secure_server {
            return Ok(configuration);
        }
        let number = self.making.number()?;
        let label = format!("{}{number}", Configuration::SELFSIGNED);
        let is_other = configuration.selfsigned().any(|(other, _)| other != label);
        match is_other {
            true => drop(configuration.trustpoints.remove(&label)),
            false => wanted::add(configuration.trustpoints.entry(label).or_default(), number),
        }
        Ok(configuration)
    }

    /// Forgets the certificates of self-signed trustpoints that were taken back, although one of them may
    /// have been added again.
    pub fn forget(
        &self,
        old: &Configuration,
        typed: &Configuration,
        completed: &Configuration,
    ) -> Result<(), NodeError> {
        let has = |new: &Configuration, label: &str| new.selfsigned().any(|(known, _)| known == label);
        for (label, _) in old.selfsigned() {
            if !has(typed, label) || !has(completed, label) {
                self.making.store.distrust(label, None)?;
                self.status().identity = None;
            }
        }
        Ok(())
    }

    /// Takes a new configuration, completed. Returns what the operator should read.
    pub fn configure(&self, configuration: &Configuration, tokens: &Arc<Tokens>, now: Time) -> Vec<String> {
        let wanted = Wanted::of(configuration, tokens).filter(|_| configuration.http.secure_server);
        {
            let mut status = self.status();
            let Some(wanted) = wanted else {
                (status.wanted, status.identity, status.error) = (None, None, None);
                return Vec::new();
            };
            let same = status.wanted.as_ref().is_some_and(|before| before.same_as(&wanted));
            status.wanted = Some(wanted);
            if same && status.identity.is_some() && status.error.is_none() {
                return Vec::new();
            }
        }
        let failed = self.prepare(now).err();
        failed.map(|error| format!("% HTTPS is not served: {error}")).into_iter().collect()
    }

    /// What time brings: another try after a failure, a new certificate before the end of the old one.
    pub fn tick(&self, now: Time) {
        let due = {
            let status = self.status();
            let ends = status.identity.as_ref().is_none_or(|identity| ends_soon(&identity.certificate, now));
            status.wanted.is_some() && (ends || status.error.is_some())
        };
        if due {
            // What has failed is in the log and the report.
            let _ = self.prepare(now);
        }
    }

    /// Makes another certificate in place of the one that is kept, and serves with it where HTTPS is served.
    fn renew(&self, wanted: &Wanted, now: Time) -> Result<(), NodeError> {
        {
            let _preparing = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
            self.making.renew(wanted, now)?;
        }
        // What fails from here on is tried again, and is in the report.
        let _ = self.prepare(now);
        Ok(())
    }

    /// Makes ready what HTTPS is served with. The error is for the operator.
    fn prepare(&self, now: Time) -> Result<(), String> {
        let _preparing = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = self.status().wanted.clone() else { return Ok(()) };
        let made = self.making.identity(&wanted, now);
        let (certificate, key) = made.map_err(|error| {
            let error = chain(&error);
            self.status().fail(&error);
            error
        })?;
        let pss = key.can_pss(Hash::Sha256);
        let place = format!("{} on {}:", key.info().label, key.token().name());
        let mut status = self.status();
        if status.identity.is_none() || status.error.is_some() {
            tracing::info!(trustpoint = wanted.trustpoint, key = place, "HTTPS has its certificate and key");
        }
        let key = Arc::new(WatchedKey { key, status: self.status.clone() });
        status.identity = Some(Arc::new(TlsIdentity { certificate, key, pss, place }));
        status.error = None;
        Ok(())
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn fail(&mut self, error: &str) {
        if self.error.as_deref() != Some(error) {
            tracing::warn!(error, "HTTPS is not served; it is tried again");
            self.error = Some(error.to_owned());
        }
    }
}

/// A key whose failures end HTTPS until it is found to work again.
struct WatchedKey {
    key: TokenKey,
    status: Arc<Mutex<Status>>,
}

impl SigningKey for WatchedKey {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(hash, message).inspect_err(|error| self.watch(error))
    }

    fn sign_pss(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign_pss(hash, message).inspect_err(|error| self.watch(error))
    }
}

impl WatchedKey {
    fn watch(&self, error: &KeyError) {
        if !is_load(error) {
            self.status.lock().unwrap_or_else(PoisonError::into_inner).fail(&chain(error));
        }
    }
}

/// Whether the token had too much to do, and nothing else is wrong.
fn is_load(error: &KeyError) -> bool {
    let token = error.source.downcast_ref::<TokenError>();
    error.kind == KeyErrorKind::Busy
        || token.is_some_and(|error| matches!(error.problem(), Problem::TimedOut { .. }))
}
