//! A CA elsewhere, for which this server registers: requests are decided about here and certified there.
//!
//! What was granted is recorded as to be asked for before the other CA hears of it; a thread of its own asks
//! ([`forward`](super::forward)), polls and keeps what comes back. A device sees PENDING until then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;

use crate::ca::{self, Application, CaError, Meter, Ours, Outcome, Settings};
use crate::pki::crl::Crl;
use crate::pki::path::{self, Path};
use crate::pki::{
    Certificate, Class, Csr, DecryptionKey, PublicKey, Serial, SigningKey, Standing, Time, chain,
};
use crate::policy::{self, Approved, Authorization, Examined};
use crate::scep::{MessageType, TransactionId, client};
use crate::store::{self, Enrollment, NewEnrollment, State, Store, StoreError, Submission};
use crate::trustpoint::{Answered, CaCertificates, ClientError, ClientRequest, Upper};

use super::certifier::{Certifier, Listed};
use super::forward::{Bell, failed};
use super::told::Refused;

/// How this server stands before the other CA.
pub struct Registrar {
    /// The certificate that the other CA has issued to this server as an RA.
    pub certificate: Certificate,
    /// Its key.
    pub key: Arc<dyn SigningKey>,
    /// The same key again: replies are encrypted to it.
    pub decrypter: Arc<dyn DecryptionKey>,
    /// `mode ra transparent`: requests go on as a device would send them, for CAs that know no RAs.
    pub transparent: bool,
}

/// The other CA.
pub struct Above {
    /// How to reach it.
    pub upper: Upper,
    /// Its certificate, those above it, and those of RAs before it.
    pub certificates: CaCertificates,
    /// Longest time between two polls.
    pub poll_every: Duration,
    /// Whether its certificates count while its CRL cannot be had (`revocation-check none`).
    pub without_crl: bool,
}

/// A CA elsewhere, and this server's place before it.
pub struct Elsewhere {
    pub(super) label: String,
    pub(super) store: Arc<dyn Store>,
    settings: Settings,
    pub(super) registrar: Registrar,
    pub(super) above: Above,
    /// Of CAs: that which issues, and those above it.
    chain: Vec<Certificate>,
    list: Mutex<List>,
    /// Held while the CRL is fetched.
    fetching: Mutex<()>,
    pub(super) bell: Bell,
}

/// The CRL of the other CA, so far as it is known.
#[derive(Default)]
struct List {
    crl: Option<Crl>,
    /// When it was asked for last.
    asked: Option<Time>,
    /// Why it did not come then.
    error: Option<Arc<str>>,
}

impl List {
    /// Whether it is to be fetched again.
    fn is_due(&self, now: Time) -> bool {
        let again = if self.error.is_some() { RETRY_CRL } else { REFRESH_CRL };
        // A clock that went back makes nothing newer.
        self.asked.is_none_or(|asked| now >= asked.plus(again) || now < asked)
    }

    fn current(&self, now: Time) -> Result<Crl, Arc<str>> {
        let current = self.crl.clone().filter(|crl| crl.check_current(now).is_ok());
        let missing = match self.asked {
            None => "it is being fetched".into(),
            Some(_) => self.error.clone().unwrap_or_else(|| "it is out of date".into()),
        };
        current.ok_or(missing)
    }
}

impl Elsewhere {
    /// The CA `above`, for the server `label`.
    pub fn new(
        label: &str,
        store: Arc<dyn Store>,
        settings: Settings,
        registrar: Registrar,
        above: Above,
    ) -> Self {
        let chain = std::iter::once(above.certificates.ca()).chain(above.certificates.chain());
        let chain = chain.cloned().collect();
        let (list, fetching, bell) = Default::default();
        Self { label: label.to_owned(), store, settings, registrar, above, chain, list, fetching, bell }
    }

    /// The certificate of the CA.
    pub fn certificate(&self) -> &Certificate {
        self.above.certificates.ca()
    }

    /// The certificate with which requests are sent on.
    pub fn registrar(&self) -> &Certificate {
        &self.registrar.certificate
    }

    /// The CRL of the CA, of the last minutes; an older one that is still in date when no newer one can be had.
    pub fn crl(&self, now: Time) -> Result<Crl, Arc<str>> {
        let known = self.crl_at_hand(now);
        if known.is_ok() || !self.list().is_due(now) {
            return known;
        }
        // Somebody fetches it, who may be done by now.
        let _fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if self.list().is_due(now) {
            self.renew_crl(now);
        }
        self.list().current(now)
    }

    /// The same for those who may be anybody: of many that ask at once one fetches, and none waits for it, since a CA
    /// that does not answer would keep them all.
    fn crl_at_hand(&self, now: Time) -> Result<Crl, Arc<str>> {
        if self.list().is_due(now) {
            let fetching = match self.fetching.try_lock() {
                Ok(fetching) => Some(fetching),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if fetching.is_some() && self.list().is_due(now) {
                self.renew_crl(now);
            }
        }
        self.list().current(now)
    }

    /// By whoever holds `fetching`.
    fn renew_crl(&self, now: Time) {
        let fetched = self.fetch_crl(now);
        let mut list = self.list();
        list.asked = Some(now);
        match fetched {
            Ok(crl) => (list.crl, list.error) = (Some(crl), None),
            Err(error) => {
                tracing::warn!(server = self.label, %error, "the CRL of the CA above could not be had");
                list.error = Some(error.into());
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch_crl(&self, now: Time) -> Result<Crl, String> {
        let ca = self.certificate();
        let signer = &self.registrar.certificate;
        let content = client::issuer_and_serial(signer);
        let transaction = TransactionId::new(b"GetCRL");
        let answer = self.send(MessageType::GetCrl, &transaction, &content, signer, None, &Meter::new());
        let der = match answer.map_err(|error| chain(&error))? {
            Answered::Crl(der) => der,
            Answered::Failed { info, text } => return Err(failed(info, text)),
            Answered::Issued(_) | Answered::Pending => return Err("the CA answered something else".into()),
        };
        let crl = Crl::parse(der).map_err(|error| chain(&error))?;
        crl.check_issuer(ca, &self.rules(now)).map_err(|fault| chain(&fault))?;
        crl.check_current(now).map_err(|fault| chain(&fault))?;
        Ok(crl)
    }

    /// Sends a message, signed with the key of this server, and reads the answer.
    pub(super) fn send(
        &self,
        kind: MessageType,
        transaction: &TransactionId,
        content: &[u8],
        signer: &Certificate,
        wanted: Option<&PublicKey>,
        meter: &Meter,
    ) -> Result<Answered, ClientError> {
        self.above.upper.send(&ClientRequest {
            kind,
            transaction,
            content,
            signer,
            key: &meter.signing(self.registrar.key.as_ref()),
            decrypter: &meter.decrypting(self.registrar.decrypter.as_ref()),
            to: &self.above.certificates,
            trusted: &[&self.above.certificates],
            wanted,
        })
    }

    fn rules(&self, now: Time) -> path::Rules {
        let weak = self.settings.rules.md5;
        // What has expired renews nothing: that is for policy to say.
        path::Rules {
            legacy: path::Legacy { md5: weak, sha1: weak, rsa_1024: self.settings.rules.rsa_1024 },
            expired: true,
            ..path::Rules::at(now)
        }
    }

    fn submit(
        &self,
        examined: &Examined,
        application: Application,
        claim: Option<[u8; 32]>,
        submission: Submission,
        meter: &Meter,
        now: Time,
    ) -> Result<Enrollment, CaError> {
        let new = ca::enrollment(&self.label, &self.settings, examined, application, submission, now);
        Ok(self.store.submit(NewEnrollment { claim, cost: meter.take(), ..new })?.enrollment)
    }

    fn outcome(&self, enrollment: Enrollment) -> Result<Outcome, CaError> {
        let id = enrollment.id;
        tracing::debug!(target: "CRYPTO_CS", "reqID = {id}");
        match (enrollment.state, enrollment.serial) {
            (State::Granted, Some(serial)) => {
                let certificate = self.store.certificate(&self.label, &serial)?;
                let damaged = || CaError::Damaged(format!("no certificate {serial} though it was granted"));
                certificate.map(Outcome::Issued).ok_or_else(damaged)
            }
            (State::Denied | State::Malformed, _) => Ok(Outcome::Denied(id)),
            _ => Ok(Outcome::Pending(id)),
        }
    }

    /// What has come of it once the CA above was asked: at once, where that answers at once.
    fn asked(&self, id: u64) -> Result<Outcome, CaError> {
        self.bell.ring_and_wait();
        self.outcome(self.store.enrollment(&self.label, id)?.ok_or(StoreError::NotFound)?)
    }
}

impl Certifier for Elsewhere {
    fn label(&self) -> &str {
        &self.label
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn rules(&self, _: Option<u64>) -> Result<policy::Rules, CaError> {
        Ok(self.settings.rules)
    }

    fn certificates(&self) -> &[Certificate] {
        &self.chain
    }

    fn chain(&self, _: Option<u64>) -> Vec<Certificate> {
        self.chain.clone()
    }

    /// By the CA's signature; as what it was granted where that was done here. One whose standing cannot be
    /// found out is nobody's, unless the trustpoint says that it may pass.
    fn issued(&self, certificate: &Certificate, now: Time) -> Result<Option<Ours>, CaError> {
        let ca = self.certificate();
        if certificate.issuer_raw() != ca.subject_raw() {
            return Ok(None);
        }
        let record = self.store.certificate(&self.label, certificate.serial())?;
        let known = record.filter(|record| record.der == certificate.der());
        let anchors = std::slice::from_ref(ca);
        if known.is_none() && Path::find(certificate, &[], anchors, &self.rules(now)).is_err() {
            return Ok(None);
        }
        let revoked = match self.crl(now) {
            Ok(crl) => matches!(crl.standing(certificate.serial()), Standing::Revoked { .. }),
            Err(_) if self.above.without_crl => false,
            Err(error) => {
                tracing::warn!(server = self.label, serial = %certificate.serial(), %error,
                    "whether a certificate is revoked cannot be found out: it counts for nothing");
                return Ok(None);
            }
        };
        let class = known.and_then(|known| known.class).unwrap_or(Class::Router);
        Ok(Some(Ours { serial: certificate.serial().clone(), revoked, class }))
    }

    fn issue(
        &self,
        approved: Approved,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        let claim = match approved.authorization() {
            Authorization::Password(digest) => Some(digest),
            _ => None,
        };
        let enrollment =
            self.submit(approved.examined(), application, claim, Submission::Forward, meter, now)?;
        match enrollment.state {
            State::Authorized => self.asked(enrollment.id),
            _ => self.outcome(enrollment),
        }
    }

    fn pend(
        &self,
        examined: &Examined,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        self.outcome(self.submit(examined, application, None, Submission::Pend, meter, now)?)
    }

    fn keep_malformed(&self, csr: &[u8], source: &str, reason: &str, now: Time) -> Result<u64, CaError> {
        let malformed = ca::malformed(&self.label, &self.settings, csr, source, reason, now);
        Ok(self.store.submit(malformed)?.enrollment.id)
    }

    fn poll(
        &self,
        transaction: &[u8],
        signer_key: &[u8; 32],
        _: Option<u64>,
        _: &Meter,
        _: Time,
    ) -> Result<Option<Outcome>, CaError> {
        let found = self.store.enrollment_of(&self.label, transaction, signer_key)?;
        found.map(|enrollment| self.outcome(enrollment)).transpose()
    }

    /// From now on it is asked for at the CA above.
    fn grant(&self, id: u64, _: &Meter, now: Time) -> Result<Outcome, CaError> {
        let enrollment = self.store.enrollment(&self.label, id)?.ok_or(StoreError::NotFound)?;
        policy::operator_grants(Csr::parse(&enrollment.csr)?.verify()?, &self.settings.rules)?;
        tracing::debug!(target: "CRYPTO_CS", "Granting enrollment request {id}");
        self.store.forward(&self.label, id, now)?;
        self.asked(id)
    }

    /// Also one that is asked for already: what comes back is not given out.
    fn reject(&self, id: u64, now: Time) -> Result<(), CaError> {
        let (label, store) = (&self.label, &self.store);
        match store.advance(label, id, State::Pending, State::Denied, Some(REJECTED), now) {
            Err(StoreError::Conflict) => Ok(store.refuse_forwarded(label, id, REJECTED, now)?),
            advanced => Ok(advanced?),
        }
    }

    fn certificate_of(&self, issuer: &[u8], serial: &Serial) -> Result<Option<store::Certificate>, CaError> {
        match issuer == self.certificate().subject_raw() {
            true => Ok(self.store.certificate(&self.label, serial)?),
            false => Ok(None),
        }
    }

    fn crl(&self, key: Option<&[u8]>, now: Time) -> Result<Option<Listed>, Refused> {
        if key.is_some_and(|key| key != self.certificate().key_identifier()) {
            return Ok(None);
        }
        let crl = self.crl_at_hand(now).map_err(Refused::NoCrl)?;
        Ok(Some(Listed {
            authority: 0,
            der: crl.der().clone(),
            number: crl.number().unwrap_or_default(),
            this_update: crl.this_update(),
            next_update: crl.next_update().unwrap_or(crl.this_update()),
        }))
    }

    fn crl_for(&self, issuer: &[u8], _: &Serial, now: Time) -> Result<Option<Bytes>, Refused> {
        if issuer != self.certificate().subject_raw() {
            return Ok(None);
        }
        self.crl_at_hand(now).map(|crl| Some(crl.der().clone())).map_err(Refused::NoCrl)
    }
}

const REJECTED: &str = "rejected";
/// A revocation at the CA is seen here after so long.
const REFRESH_CRL: Duration = Duration::from_secs(300);
/// A CA that did not answer is left alone for so long: whoever asks would wait for it.
const RETRY_CRL: Duration = Duration::from_secs(30);
