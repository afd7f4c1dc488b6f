//! CRLs of the CA elsewhere, one of each of its keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::ca::Meter;
use crate::pki::crl::Crl;
use crate::pki::{Certificate, Serial, Time, chain};
use crate::scep::{MessageType, TransactionId, client};
use crate::trustpoint::{Answered, CaCertificates};

use super::elsewhere::{Elsewhere, Outgoing};
use super::forward::failed;

/// One key of the CA elsewhere.
pub(super) struct Issuer<'e> {
    /// Its certificate, and those above it.
    pub ca: &'e CaCertificates,
    /// What it has issued to this server: the CA is asked for the CRL on which that would be.
    registrar: &'e Certificate,
    list: &'e List,
}

/// CRLs so far as they are known: of the CA of now, of the next one.
#[derive(Default)]
pub(super) struct Lists([List; 2]);

#[derive(Default)]
struct List {
    known: Mutex<Known>,
    /// Held while it is fetched.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct Known {
    crl: Option<Crl>,
    /// When it was asked for last.
    asked: Option<Time>,
    /// Why it did not come then.
    error: Option<Arc<str>>,
}

impl List {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether it is to be fetched again.
    fn is_due(&self, now: Time) -> bool {
        let again = if self.error.is_some() { RETRY } else { REFRESH };
        // A clock that went back makes nothing newer.
        self.asked.is_none_or(|asked| now >= asked.plus(again) || now < asked)
    }

    fn current(&self, now: Time) -> Result<Crl, Arc<str>> {
        let current = self.crl.clone().filter(|crl| crl.check_current(now).is_ok());
        current.ok_or_else(|| match self.asked {
            None => "it is being fetched".into(),
            Some(_) => self.error.clone().unwrap_or_else(|| "it is out of date".into()),
        })
    }
}

impl Elsewhere {
    /// Keys of the CA: that of now, then the next.
    pub(super) fn issuers(&self) -> impl Iterator<Item = Issuer<'_>> {
        let [now, next] = &self.lists.0;
        let active =
            Issuer { ca: &self.above.certificates, registrar: &self.registrar.certificate, list: now };
        let coming = self.coming().map(|coming| Issuer {
            ca: &coming.certificates,
            registrar: &coming.registrar,
            list: next,
        });
        std::iter::once(active).chain(coming)
    }

    /// The key that has signed this certificate.
    pub(super) fn issuer_of(&self, certificate: &Certificate) -> Option<Issuer<'_>> {
        self.issuers().find(|issuer| issuer.ca.check_issued(certificate).is_ok())
    }

    /// The same of the certificate with this serial number; that of now for one which did not come by here.
    pub(super) fn issuer_with(&self, serial: &Serial) -> Option<Issuer<'_>> {
        let known = self.store.certificates_with(&self.label, serial).unwrap_or_default();
        let mut known = known.iter().filter_map(|known| Certificate::parse(&known.der).ok());
        let known = known.find(|known| self.issuer_of(known).is_some());
        let own = self.issuers().map(|issuer| issuer.registrar).find(|own| own.serial() == serial);
        match known.as_ref().or(own) {
            Some(certificate) => self.issuer_of(certificate),
            None => self.issuers().next(),
        }
    }

    /// The CRL of a key, of the last minutes; an older one that is still in date when no newer one can be had.
    pub(super) fn crl_of(&self, issuer: &Issuer<'_>, now: Time) -> Result<Crl, Arc<str>> {
        let known = self.crl_at_hand(issuer, now);
        if known.is_ok() || !issuer.list.known().is_due(now) {
            return known;
        }
        // Somebody fetches it, who may be done by then.
        let _fetching = issuer.list.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if issuer.list.known().is_due(now) {
            self.renew(issuer, now);
        }
        issuer.list.known().current(now)
    }

    /// The same for those who may be anybody: of many that ask at once one fetches, and none waits for it,
    /// since a CA that does not answer would keep them all.
    pub(super) fn crl_at_hand(&self, issuer: &Issuer<'_>, now: Time) -> Result<Crl, Arc<str>> {
        if issuer.list.known().is_due(now) {
            let fetching = match issuer.list.fetching.try_lock() {
                Ok(fetching) => Some(fetching),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if fetching.is_some() && issuer.list.known().is_due(now) {
                self.renew(issuer, now);
            }
        }
        issuer.list.known().current(now)
    }

    /// By whoever holds `fetching`.
    fn renew(&self, issuer: &Issuer<'_>, now: Time) {
        let fetched = self.fetch_crl(issuer, now);
        let mut known = issuer.list.known();
        known.asked = Some(now);
        match fetched {
            Ok(crl) => (known.crl, known.error) = (Some(crl), None),
            Err(error) => {
                tracing::warn!(server = self.label, %error, "the CRL of the CA above could not be had");
                known.error = Some(error.into());
            }
        }
    }

    fn fetch_crl(&self, issuer: &Issuer<'_>, now: Time) -> Result<Crl, String> {
        let content = client::issuer_and_serial(issuer.registrar);
        let transaction = TransactionId::new(b"GetCRL");
        let asked = Outgoing {
            kind: MessageType::GetCrl,
            transaction: &transaction,
            content: &content,
            signer: &self.registrar.certificate,
            to: &self.above.certificates,
            wanted: None,
        };
        let answer = self.send(asked, &Meter::new());
        let der = match answer.map_err(|error| chain(&error))? {
            Answered::Crl(der) => der,
            Answered::Failed { info, text } => return Err(failed(info, text)),
            Answered::Issued(_) | Answered::Pending => return Err("the CA answered something else".into()),
        };
        let crl = Crl::parse(der).map_err(|error| chain(&error))?;
        crl.check_issuer(issuer.ca.ca(), &self.rules(now)).map_err(|fault| chain(&fault))?;
        crl.check_current(now).map_err(|fault| chain(&fault))?;
        Ok(crl)
    }
}

/// A revocation at the CA is seen here after so long.
const REFRESH: Duration = Duration::from_secs(300);
/// A CA that did not answer is left alone for so long: whoever asks would wait for it.
const RETRY: Duration = Duration::from_secs(30);
