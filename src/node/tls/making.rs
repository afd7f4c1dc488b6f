//! Key and certificate of HTTPS: found, or made and kept.

use std::sync::Arc;
use std::time::Duration;

use crate::ca::CaError;
use crate::pki::{
    Certificate, Curve, Hash, KeyKind, Name, Serial, SignatureAlgorithm, SigningKey, Time, extension,
    profile, tbs,
};
use crate::store::{Store, StoreError, TrustedCertificate, TrustedKind};
use crate::token::{KeyUsage, Priority, Token, TokenKey};

use super::super::NodeError;
use super::super::clock::Clock;
use super::super::keys::note_generated;
use super::super::server::parse;
use super::wanted::{DEFAULT_RSA_BITS, Wanted};

/// What is needed to make one.
pub struct Making {
    /// Where certificates are kept.
    pub store: Arc<dyn Store>,
    /// Whether it is a time to make one.
    pub clock: Arc<Clock>,
}

impl Making {
    /// The number of this host.
    pub fn number(&self) -> Result<u32, NodeError> {
        host_number(self.store.as_ref())
    }

    /// The certificate that is kept, if it still fits, else a new one; and the key, which works.
    pub fn identity(&self, wanted: &Wanted, now: Time) -> Result<(Certificate, TokenKey), NodeError> {
        self.found_or_made(wanted, now, false)
    }

    /// A new certificate in place of the one that is kept; the key stays, when there is one.
    pub fn renew(&self, wanted: &Wanted, now: Time) -> Result<(), NodeError> {
        self.found_or_made(wanted, now, true).map(drop)
    }

    fn found_or_made(
        &self,
        wanted: &Wanted,
        now: Time,
        anew: bool,
    ) -> Result<(Certificate, TokenKey), NodeError> {
        let mut kept = self.store.trusted(&wanted.trustpoint)?;
        kept.retain(|kept| kept.kind == TrustedKind::Own);
        let newest = kept.last();
        let token = wanted.token(newest.and_then(|kept| kept.token.as_deref()))?;
        let key = match token.find(&wanted.key_label)? {
            Some(key) => {
                check_kind(key.public_key().kind(), &wanted.key_label)?;
                key.self_test()?;
                key
            }
            None => {
                wanted.kind.map_or(Ok(()), |kind| check_kind(kind, &wanted.key_label))?;
                let key = generate(&token, wanted)?;
                note_generated(self.store.as_ref(), key.public_key(), now);
                key
            }
        };
        let certificate = newest.and_then(|kept| Certificate::parse(&kept.der).ok());
        let certificate = match certificate.filter(|c| !anew && wanted.is_met_by(c, key.public_key(), now)) {
            Some(certificate) => certificate,
            None => {
                let certificate = self.make(wanted, &key, now)?;
                for old in &kept {
                    self.store.distrust(&wanted.trustpoint, Some(old))?;
                }
                certificate
            }
        };
        Ok((certificate, key.with_priority(Priority::Handshake)))
    }

    /// Makes a certificate and keeps it.
    fn make(&self, wanted: &Wanted, key: &TokenKey, now: Time) -> Result<Certificate, NodeError> {
        let wrong_clock = |_| NodeError::Refused("no certificate is made before the clock is set".into());
        self.clock.check(now)?.map_err(wrong_clock)?;
        let kind = key.public_key().kind();
        let hash = match kind {
            KeyKind::Ec(curve) => curve.hash(),
            KeyKind::Rsa { .. } | KeyKind::MlDsa(_) => Hash::Sha256,
        };
        let algorithm = SignatureAlgorithm::for_key(kind, hash);
        let subject = Name::parse(&wanted.subject).map_err(|error| NodeError::Refused(error.to_string()))?;
        let names = extension::host_names(&wanted.dns, &wanted.addresses()).map_err(CaError::from)?;
        let validity = (now, now.plus(LIFETIME));
        let template = profile::tls_server(&subject, key.public_key(), names, algorithm, validity);
        let serial = self.next_serial()?;
        let tbs = template.finalize(&serial).map_err(CaError::from)?;
        let signature = key.with_priority(Priority::Operator).sign(hash, &tbs).map_err(CaError::from)?;
        key.public_key().verify(algorithm, &tbs, &signature).map_err(CaError::from)?;
        let der = tbs::assemble(&tbs, algorithm, &signature).map_err(CaError::from)?;
        let certificate = parse(&der)?;
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

    /// Counts on whatever becomes of certificates: browsers refuse two of one issuer with the same number.
    fn next_serial(&self) -> Result<Serial, StoreError> {
        let serial = self.noted(SERIAL)?.unwrap_or(0) + 1;
        self.store.set_mark(SCOPE, SERIAL, Some(&serial.to_string()))?;
        Ok(Serial::from(serial))
    }

    fn noted(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.store.mark(SCOPE, name)?.and_then(|number| number.parse().ok()))
    }
}

/// What IOS has its hardware's serial number for: a number in the names of certificates, made on first use.
pub fn host_number(store: &dyn Store) -> Result<u32, NodeError> {
    if let Some(number) = store.mark(SCOPE, NUMBER)?.and_then(|number| number.parse().ok()) {
        return Ok(number);
    }
    let mut octets = [0; 4];
    getrandom::fill(&mut octets)
        .map_err(|error| NodeError::Refused(format!("the system has no randomness: {error}")))?;
    // Ten digits, as that of a router.
    let number = u32::from_be_bytes(octets) | 1 << 31;
    store.set_mark(SCOPE, NUMBER, Some(&number.to_string()))?;
    Ok(number)
}

/// Refuses what no TLS of ours signs with.
fn check_kind(kind: KeyKind, label: &str) -> Result<(), NodeError> {
    match kind {
        KeyKind::Rsa { .. } | KeyKind::Ec(_) => Ok(()),
        KeyKind::MlDsa(_) => Err(NodeError::Refused(format!(
            "HTTPS is served with RSA and EC keys only, and the key \"{label}\" is an {kind} key\nhint: name \
             another by `eckeypair` or `rsakeypair` in the trustpoint of HTTPS"
        ))),
    }
}

/// The key that was asked for; else P-256, for it serves every version of TLS and is fast on slow tokens,
/// else RSA.
fn generate(token: &Token, wanted: &Wanted) -> Result<TokenKey, NodeError> {
    let can = token.capabilities();
    let p256 = KeyKind::Ec(Curve::P256);
    let best = match can.can_generate(p256) && can.can_sign(p256, Hash::Sha256) {
        true => p256,
        false => KeyKind::Rsa { bits: DEFAULT_RSA_BITS },
    };
    let usage = KeyUsage { sign: true, decrypt: false };
    Ok(token.generate(&wanted.key_label, wanted.kind.unwrap_or(best), usage, false)?)
}

/// Long, as each new one has to be trusted by hand.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Where numbers are noted.
const SCOPE: &str = "self-signed";
const NUMBER: &str = "number";
const SERIAL: &str = "serial";
