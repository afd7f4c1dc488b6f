//! A CA elsewhere, for which this server registers: requests are decided about here and certified there.
//!
//! What was granted is recorded as to be asked for before the other CA hears of it; a thread of its own asks
//! ([`forward`](super::forward)), polls and keeps what comes back. A device sees PENDING until then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ca::{self, Application, CaError, Meter, Ours, Outcome, Settings};
use crate::pki::path::{self, Path};
use crate::pki::{Certificate, Class, Csr, DecryptionKey, PublicKey, Serial, SigningKey, Standing, Time};
use crate::policy::{self, Approved, Authorization, Examined};
use crate::scep::{MessageType, TransactionId};
use crate::store::{self, Enrollment, NewEnrollment, State, Store, StoreError, Submission};
use crate::trustpoint::{Answered, CaCertificates, ClientError, ClientRequest, Upper};

use super::certifier::{Certifier, Listed};
use super::coming::{Coming, HandedOn, number_of};
use super::forward::Bell;
use super::lists::{Issuer, Lists};
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
    /// The time after it.
    pub next: Option<Coming>,
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
    pub(super) lists: Lists,
    pub(super) handed_on: HandedOn,
    pub(super) bell: Bell,
}

/// A message to the other CA: see [`ClientRequest`], whose keys are those of this server.
pub(super) struct Outgoing<'a> {
    pub kind: MessageType,
    pub transaction: &'a TransactionId,
    pub content: &'a [u8],
    pub signer: &'a Certificate,
    pub to: &'a CaCertificates,
    pub wanted: Option<&'a PublicKey>,
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
        let chain = above.certificates.cas().cloned().collect();
        let (lists, handed_on, bell) = Default::default();
        let label = label.to_owned();
        Self { label, store, settings, registrar, above, chain, lists, handed_on, bell }
    }

    /// The certificate of the CA.
    pub fn certificate(&self) -> &Certificate {
        self.above.certificates.ca()
    }

    /// The certificate with which requests are sent on.
    pub fn registrar(&self) -> &Certificate {
        &self.registrar.certificate
    }

    /// Sends a message, signed with the key of this server, and reads the answer.
    pub(super) fn send(&self, outgoing: Outgoing<'_>, meter: &Meter) -> Result<Answered, ClientError> {
        let Outgoing { kind, transaction, content, signer, to, wanted } = outgoing;
        // When the CA has rolled over and this server is about to, the next one answers.
        let next = self.coming().map(|coming| &coming.certificates);
        let trusted: Vec<_> = std::iter::once(&self.above.certificates).chain(next).collect();
        self.above.upper.send(&ClientRequest {
            kind,
            transaction,
            content,
            signer,
            key: &meter.signing(self.registrar.key.as_ref()),
            decrypter: &meter.decrypting(self.registrar.decrypter.as_ref()),
            to,
            trusted: &trusted,
            wanted,
        })
    }

    pub(super) fn rules(&self, now: Time) -> path::Rules {
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
                let certificate = self.store.certificate_for(&self.label, id)?;
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

    fn chain(&self, certificate: &store::Certificate) -> Vec<Certificate> {
        let issuer = Certificate::parse(&certificate.der).ok().and_then(|issued| self.issuer_of(&issued));
        issuer.map_or_else(|| self.chain.clone(), |issuer| issuer.ca.cas().cloned().collect())
    }

    /// By the CA's signature; as what it was granted where that was done here. One whose standing cannot be
    /// found out is nobody's, unless the trustpoint says that it may pass.
    fn issued(&self, certificate: &Certificate, now: Time) -> Result<Option<Ours>, CaError> {
        if certificate.issuer_raw() != self.certificate().subject_raw() {
            return Ok(None);
        }
        let records = self.store.certificates_with(&self.label, certificate.serial())?;
        let known = records.into_iter().find(|record| record.der == certificate.der());
        let issuer = self.issuer_of(certificate);
        let is_good = |issuer: &Issuer<'_>| {
            Path::find(certificate, &[], std::slice::from_ref(issuer.ca.ca()), &self.rules(now)).is_ok()
        };
        if known.is_none() && !issuer.as_ref().is_some_and(is_good) {
            return Ok(None);
        }
        let crl = match &issuer {
            Some(issuer) => self.crl_of(issuer, now).map(Some),
            // Of a CA that was: its certificates have ended with it, which is for policy to say.
            None if now > certificate.not_after() => Ok(None),
            None => Err("the CA that has issued it is neither that of now nor the next".into()),
        };
        let revoked = match crl {
            Ok(None) => false,
            Ok(Some(crl)) => matches!(crl.standing(certificate.serial()), Standing::Revoked { .. }),
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
        authority: Option<u64>,
        _: &Meter,
        _: Time,
    ) -> Result<Option<Outcome>, CaError> {
        let (asked, unnamed) =
            (authority.unwrap_or_else(|| number_of(self.certificate())), authority.is_none());
        let found = self.store.polled(&self.label, transaction, signer_key, asked, unnamed)?;
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
            // Of several CAs of this name that which can be asked.
            true => {
                let mut all = self.store.certificates_with(&self.label, serial)?;
                let is_ours = |known: &store::Certificate| {
                    Certificate::parse(&known.der).is_ok_and(|known| self.issuer_of(&known).is_some())
                };
                let at = all.iter().position(is_ours).unwrap_or_default();
                Ok((at < all.len()).then(|| all.swap_remove(at)))
            }
            false => Ok(None),
        }
    }

    fn crl(&self, key: Option<&[u8]>, now: Time) -> Result<Option<Listed>, Refused> {
        let is_asked = |issuer: &Issuer<'_>| key.is_none_or(|key| key == issuer.ca.ca().key_identifier());
        let Some(issuer) = self.issuers().find(is_asked) else { return Ok(None) };
        let crl = self.crl_at_hand(&issuer, now).map_err(Refused::NoCrl)?;
        Ok(Some(Listed {
            authority: number_of(issuer.ca.ca()),
            der: crl.der().clone(),
            number: crl.number().unwrap_or_default(),
            this_update: crl.this_update(),
            next_update: crl.next_update().unwrap_or(crl.this_update()),
        }))
    }

    fn crl_for(&self, issuer: &[u8], serial: &Serial, now: Time) -> Result<Option<Bytes>, Refused> {
        if issuer != self.certificate().subject_raw() {
            return Ok(None);
        }
        let Some(issuer) = self.issuer_with(serial) else { return Ok(None) };
        self.crl_at_hand(&issuer, now).map(|crl| Some(crl.der().clone())).map_err(Refused::NoCrl)
    }
}

const REJECTED: &str = "rejected";
