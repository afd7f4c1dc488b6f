//! The certificate with which HTTPS is served: self-signed, kept in the database, its key on a token (T8).
//!
//! It is made when HTTPS is first configured, kept as long as the names of this host stay what they are,
//! and renewed before its end. While its key cannot be used HTTPS is not served; that is tried again with
//! each upkeep.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::SockaddrStorage;
use serde::Serialize;

use crate::config::{Configuration, KeyPair};
use crate::pki::{
    Certificate, Curve, Hash, KeyError, KeyErrorKind, KeyKind, Name, PublicKey, Serial, SignatureAlgorithm,
    SigningKey, Time, chain, extension, hex, profile, tbs,
};
use crate::store::{Store, TrustedCertificate, TrustedKind};
use crate::token::{KeyUsage, Priority, Problem, Token, TokenError, TokenKey};

use super::tokens::Tokens;
use super::{Node, NodeError};

/// With what HTTPS is served.
pub struct TlsIdentity {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key, asked after everything else that the token has to do.
    pub key: Arc<dyn SigningKey>,
    place: String,
}

/// Keeps an identity ready while HTTPS is configured.
pub(super) struct Tls {
    store: Arc<dyn Store>,
    status: Arc<Mutex<Status>>,
    /// Held while an identity is made.
    making: Mutex<()>,
}

#[derive(Default)]
struct Status {
    wanted: Option<Wanted>,
    identity: Option<Arc<TlsIdentity>>,
    /// Why HTTPS is not served.
    error: Option<String>,
    address: Option<SocketAddr>,
}

/// What the configuration says about it.
#[derive(Clone)]
struct Wanted {
    trustpoint: String,
    subject: String,
    key_label: String,
    /// `None` for the best that the token can.
    kind: Option<KeyKind>,
    on: Option<String>,
    tokens: Arc<Tokens>,
    dns: Vec<String>,
    bind: Option<IpAddr>,
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

    /// Where HTTPS is listened for, when it is.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.tls.status().address
    }

    /// Tells where HTTPS is served: the listener is not the node's.
    pub fn set_https_address(&self, address: Option<SocketAddr>) {
        self.tls.status().address = address;
    }
}

impl Tls {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, status: Arc::default(), making: Mutex::default() }
    }

    /// Takes a new configuration. Returns what the operator should read.
    pub fn configure(&self, configuration: &Configuration, tokens: &Arc<Tokens>, now: Time) -> Vec<String> {
        if !configuration.http.secure_server {
            let mut status = self.status();
            (status.wanted, status.identity, status.error) = (None, None, None);
            return Vec::new();
        }
        let wanted = match self.wanted(configuration, tokens) {
            Ok(wanted) => wanted,
            Err(error) => return vec![self.failed(&error)],
        };
        {
            let mut status = self.status();
            let same = status.wanted.as_ref().is_some_and(|before| before.same_as(&wanted));
            status.wanted = Some(wanted);
            if same && status.identity.is_some() && status.error.is_none() {
                return Vec::new();
            }
        }
        self.prepare(now).err().into_iter().collect()
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

    /// Makes ready what HTTPS is served with. The error is for the operator.
    fn prepare(&self, now: Time) -> Result<(), String> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = self.status().wanted.clone() else { return Ok(()) };
        let (certificate, key) = self.identity(&wanted, now).map_err(|error| self.failed(&error))?;
        let place = format!("{} on {}:", key.info().label, key.token().name());
        let mut status = self.status();
        if status.identity.is_none() || status.error.is_some() {
            tracing::info!(trustpoint = wanted.trustpoint, key = place, "HTTPS has its certificate and key");
        }
        let key = Arc::new(WatchedKey { key, status: self.status.clone() });
        status.identity = Some(Arc::new(TlsIdentity { certificate, key, place }));
        status.error = None;
        Ok(())
    }

    fn failed(&self, error: &NodeError) -> String {
        let text = chain(error);
        self.status().fail(&text);
        format!("% HTTPS is not served: {text}")
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tls {
    fn wanted(&self, configuration: &Configuration, tokens: &Arc<Tokens>) -> Result<Wanted, NodeError> {
        let number = self.number()?;
        let trustpoint = format!("TP-self-signed-{number}");
        let section = configuration.trustpoints.get(&trustpoint).cloned().unwrap_or_default();
        let mut dns = vec![configuration.fqdn(), configuration.hostname.clone()];
        dns.dedup();
        Ok(Wanted {
            subject: format!("cn=IOS-Self-Signed-Certificate-{number}"),
            key_label: section.key.as_ref().map_or(&trustpoint[..], KeyPair::label).to_owned(),
            kind: section.key.as_ref().map(kind),
            on: section.on,
            tokens: tokens.clone(),
            dns,
            bind: configuration.http.bind.filter(|address| !address.is_unspecified()),
            trustpoint,
        })
    }

    /// What IOS has its hardware's serial number for: a number in the names of self-signed certificates.
    fn number(&self) -> Result<u32, NodeError> {
        let kept = self.store.mark(MARKS, NUMBER)?;
        if let Some(number) = kept.and_then(|number| number.parse().ok()) {
            return Ok(number);
        }
        let mut octets = [0; 4];
        getrandom::fill(&mut octets)
            .map_err(|error| NodeError::Refused(format!("the system has no randomness: {error}")))?;
        // Ten digits, as that of a router.
        let number = u32::from_be_bytes(octets) | 1 << 31;
        self.store.set_mark(MARKS, NUMBER, Some(&number.to_string()))?;
        Ok(number)
    }

    /// The certificate that is kept, if it still fits, else a new one; and the key, which works.
    fn identity(&self, wanted: &Wanted, now: Time) -> Result<(Certificate, TokenKey), NodeError> {
        let mut kept = self.store.trusted(&wanted.trustpoint)?;
        kept.retain(|kept| kept.kind == TrustedKind::Own);
        let newest = kept.last();
        let token = wanted.token(newest.and_then(|kept| kept.token.as_deref()))?;
        let key = match token.find(&wanted.key_label)? {
            Some(key) => {
                key.self_test()?;
                key
            }
            None => generate(&token, wanted)?,
        };
        let certificate = newest.and_then(|kept| Certificate::parse(&kept.der).ok());
        let certificate = match certificate.filter(|c| wanted.is_met_by(c, key.public_key(), now)) {
            Some(certificate) => certificate,
            None => {
                let last = newest.map(|kept| kept.serial.clone());
                let certificate = self.make(wanted, &key, last, now)?;
                for old in &kept {
                    self.store.distrust(&wanted.trustpoint, Some((old.kind, &old.serial)))?;
                }
                certificate
            }
        };
        Ok((certificate, key.with_priority(Priority::Handshake)))
    }

    /// Makes a certificate and keeps it. Its serial number is above the last: browsers refuse two
    /// certificates of one issuer with the same.
    fn make(
        &self,
        wanted: &Wanted,
        key: &TokenKey,
        last: Option<Serial>,
        now: Time,
    ) -> Result<Certificate, NodeError> {
        let serial = Serial::from(last.and_then(|last| last.to_u64()).map_or(1, |last| last + 1));
        let subject = Name::parse(&wanted.subject).map_err(|error| NodeError::Refused(error.to_string()))?;
        let encoding = |error| NodeError::Ca(crate::ca::CaError::Encoding(error));
        let names = extension::host_names(&wanted.dns, &wanted.addresses()).map_err(encoding)?;
        let kind = key.public_key().kind();
        let hash = match kind {
            KeyKind::Ec(curve) => curve.hash(),
            KeyKind::Rsa { .. } => Hash::Sha256,
        };
        let algorithm = SignatureAlgorithm::for_key(kind, hash);
        let validity = (now, now.plus(LIFETIME));
        let template = profile::tls_server(&subject, key.public_key(), names, algorithm, validity);
        let tbs = template.finalize(&serial).map_err(encoding)?;
        let signature =
            key.with_priority(Priority::Operator).sign(hash, &tbs).map_err(crate::ca::CaError::from)?;
        key.public_key().verify(algorithm, &tbs, &signature).map_err(crate::ca::CaError::from)?;
        let der = tbs::assemble(&tbs, algorithm, &signature).map_err(encoding)?;
        let certificate = super::server::parse(&der)?;
        self.store.trust(TrustedCertificate {
            trustpoint: wanted.trustpoint.clone(),
            kind: TrustedKind::Own,
            serial,
            der,
            token: Some(key.token().name().to_owned()),
            key_label: Some(wanted.key_label.clone()),
        })?;
        tracing::info!(trustpoint = wanted.trustpoint, "a self-signed certificate was made");
        Ok(certificate)
    }
}

impl Wanted {
    fn same_as(&self, other: &Self) -> bool {
        let values = |w: &Self| {
            (
                w.trustpoint.clone(),
                w.subject.clone(),
                w.key_label.clone(),
                w.kind,
                w.on.clone(),
                w.dns.clone(),
                w.bind,
            )
        };
        values(self) == values(other) && self.tokens.same_as(&other.tokens)
    }

    /// The token named, else the one that has the key already, else the first.
    fn token(&self, kept: Option<&str>) -> Result<Token, NodeError> {
        let names = self.tokens.names();
        let kept = kept.filter(|kept| names.contains(kept));
        self.tokens.get(self.on.as_deref().or(kept).or(names.first().copied()))
    }

    /// Whether a certificate still says what it should, of this key.
    fn is_met_by(&self, certificate: &Certificate, key: &PublicKey, now: Time) -> bool {
        let subject = Name::parse(&self.subject);
        let subject = subject.is_ok_and(|name| name.as_der() == certificate.subject_raw());
        let hosts =
            certificate.extensions().subject_alt_name().and_then(|names| extension::hosts(names).ok());
        let names = hosts.is_some_and(|(dns, addresses)| {
            // Addresses of interfaces come and go; a certificate that others have pinned does not.
            dns == self.dns && self.bind.is_none_or(|bind| addresses.contains(&octets(bind)))
        });
        subject && names && certificate.public_key() == key && !ends_soon(certificate, now)
    }

    /// The addresses at which this host can be reached.
    fn addresses(&self) -> Vec<Vec<u8>> {
        if let Some(bind) = self.bind {
            return vec![octets(bind)];
        }
        let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| {
            tracing::warn!(%error, "the addresses of this host are not known");
        });
        let mut addresses: Vec<_> = interfaces
            .into_iter()
            .flatten()
            .filter_map(|interface| ip(interface.address?))
            .map(octets)
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        addresses
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
        self.key.sign(hash, message).inspect_err(|error| {
            if !is_load(error) {
                self.status.lock().unwrap_or_else(PoisonError::into_inner).fail(&chain(error));
            }
        })
    }
}

/// Whether the token had too much to do, and nothing else is wrong.
fn is_load(error: &KeyError) -> bool {
    let token = error.source.downcast_ref::<TokenError>();
    error.kind == KeyErrorKind::Busy
        || token.is_some_and(|error| matches!(error.problem(), Problem::TimedOut { .. }))
}

/// The key that was asked for; else P-256, for it serves every version of TLS and is fast on slow tokens,
/// else RSA.
fn generate(token: &Token, wanted: &Wanted) -> Result<TokenKey, NodeError> {
    let can = token.capabilities();
    let kind = wanted.kind.unwrap_or({
        let p256 = KeyKind::Ec(Curve::P256);
        match can.can_generate(p256) && can.can_sign(p256, Hash::Sha256) {
            true => p256,
            false => KeyKind::Rsa { bits: DEFAULT_RSA_BITS },
        }
    });
    Ok(token.generate(&wanted.key_label, kind, KeyUsage { sign: true, decrypt: false }, false)?)
}

fn kind(key: &KeyPair) -> KeyKind {
    match key {
        KeyPair::Rsa { bits, .. } => {
            KeyKind::Rsa { bits: bits.map_or(DEFAULT_RSA_BITS, |bits| bits as usize) }
        }
        KeyPair::Ec { .. } => KeyKind::Ec(Curve::P256),
    }
}

/// An address at which others reach this host by itself, without a zone.
fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip()).filter(|v4| !v4.is_link_local());
    let v6 = address.as_sockaddr_in6().map(|v6| v6.ip()).filter(|v6| !v6.is_unicast_link_local());
    v4.map(IpAddr::V4).or(v6.map(IpAddr::V6))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ends_soon(certificate: &Certificate, now: Time) -> bool {
    now >= certificate.not_after().minus(RENEWED_BEFORE)
}

const DEFAULT_RSA_BITS: usize = 2048;
/// Long, as each new one has to be trusted by hand.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// A host with more addresses than these is configured with `ip http bind`.
const MAX_ADDRESSES: usize = 64;
/// Where the number is noted.
const MARKS: &str = "self-signed";
const NUMBER: &str = "number";
