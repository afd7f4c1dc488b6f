//! Issuing: `prepare → record → sign → keep`. Each step takes the last one's result by value.

use std::fmt;

use crate::pki::profile::Requested;
use crate::pki::tbs::{self, Template};
use crate::pki::{Certificate, Csr, Hash, Name, Serial, SigningKey, Time, hex};
use crate::policy::{self, Approved, Authorization, Examined, Refusal};
use crate::store::{
    self, Class, Cost, Enrollment, Intent, Issued, NewEnrollment, NewIntent, Reuse, State, StoreError,
    Submission, Submitted,
};

use super::{Ca, CaError, Issuer, Meter, Settings};

/// How a request came, beside its PKCS#10.
#[derive(Clone, Debug)]
pub struct Application {
    /// SCEP transactionID octets.
    pub transaction: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that signed the message.
    pub signer_key: [u8; 32],
    /// Serial number of the certificate of ours that signed the message.
    pub signed_with: Option<Serial>,
    /// A peer's address, or `terminal`.
    pub source: String,
    /// The authority that is asked for, where that is not whichever acts: the next one.
    pub authority: Option<u64>,
}

/// Where a request stands after it was brought.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Its certificate.
    Issued(store::Certificate),
    /// It waits for the operator.
    Pending(u64),
    /// The operator refused it, or it is malformed.
    Denied(u64),
}

/// Step 1 done: everything the certificate will say but its serial number.
struct Prepared {
    template: Template,
    authority: u64,
    now: Time,
}

/// Step 2 done: the store knows what will be signed.
pub(super) struct Recorded(pub(super) Intent);

/// Step 3 done: signed and checked, known to nobody.
struct Signed(Issued);

impl Ca {
    /// Records an approved request and issues its certificate; or finds what became of it when it is a
    /// repetition.
    pub fn issue(
        &self,
        approved: Approved,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        self.gate.pass()?;
        let prepared = self.prepare(&approved, self.issuer(application.authority)?, now)?;
        let claim = match approved.authorization() {
            Authorization::Password(digest) => Some(digest),
            _ => None,
        };
        let intent = Submission::Issue(prepared.intent(self)?);
        let submitted = self.submit(approved.examined(), application, claim, intent, meter, now)?;
        self.outcome(submitted.enrollment, submitted.intent, meter, now)
    }

    /// Records a request that waits for the operator; or finds what became of it when it is a repetition.
    pub fn pend(
        &self,
        examined: &Examined,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        let submitted = self.submit(examined, application, None, Submission::Pend, meter, now)?;
        self.outcome(submitted.enrollment, submitted.intent, meter, now)
    }

    /// Keeps a request that is cryptographically invalid, for the operator to see. Returns its ReqID.
    pub fn keep_malformed(&self, csr: &[u8], source: &str, reason: &str, now: Time) -> Result<u64, CaError> {
        let malformed = malformed(&self.label, &self.settings, csr, source, reason, now);
        Ok(self.store.submit(malformed)?.enrollment.id)
    }

    /// The operator grants a pending request: it is issued now.
    pub fn grant(&self, id: u64, meter: &Meter, now: Time) -> Result<store::Certificate, CaError> {
        self.gate.pass()?;
        let enrollment = self.store.enrollment(&self.label, id)?.ok_or(StoreError::NotFound)?;
        let csr = Csr::parse(&enrollment.csr)?.verify()?;
        let approved = policy::operator_grants(csr, &self.rules(enrollment.authority)?)?;
        tracing::debug!(target: "CRYPTO_CS", "Granting enrollment request {id}");
        let prepared = self.prepare(&approved, self.issuer(enrollment.authority)?, now)?;
        let recorded = prepared.record(self, Some((id, State::Pending)))?;
        let certificate = recorded.sign(self, meter, now)?.keep(self)?;
        tracing::debug!(target: "CRYPTO_CS", "reqID={id} granted, fingerprint={}", Md5Of(&enrollment.csr));
        Ok(certificate)
    }

    /// The operator refuses a pending request.
    pub fn reject(&self, id: u64, now: Time) -> Result<(), CaError> {
        Ok(self.store.advance(&self.label, id, State::Pending, State::Denied, Some("rejected"), now)?)
    }

    /// What became of the request that a poll asks about: the newest one of this transaction that was made by
    /// this key, of those to this authority where there are such. `None` when there is none.
    pub fn poll(
        &self,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: Option<u64>,
        meter: &Meter,
        now: Time,
    ) -> Result<Option<Outcome>, CaError> {
        let (asked, unnamed) = (authority.unwrap_or(self.authority()), authority.is_none());
        let found = self.store.polled(&self.label, transaction, signer_key, asked, unnamed)?;
        found.map(|enrollment| self.outcome(enrollment, None, meter, now)).transpose()
    }

    /// Finishes what a crash or a lost token has left: signs the same bytes again and keeps them. Returns
    /// how many; none while issuing is suspended.
    pub fn recover(&self, meter: &Meter, now: Time) -> Result<usize, CaError> {
        if self.gate.reason().is_some() {
            return Ok(0);
        }
        let (mut finished, mut result) = (0, Ok(()));
        // Those without an authority are for whoever makes CA certificates.
        for intent in self.store.unfinished(&self.label)?.into_iter().filter(|i| i.authority.is_some()) {
            match Recorded(intent).sign(self, meter, now).and_then(|signed| signed.keep(self)) {
                Ok(_) => finished += 1,
                // One key that is away does not keep the others from it.
                Err(error) => result = result.and(Err(error)),
            }
        }
        result.map(|()| finished)
    }

    fn submit(
        &self,
        examined: &Examined,
        application: Application,
        claim: Option<[u8; 32]>,
        submission: Submission,
        meter: &Meter,
        now: Time,
    ) -> Result<Submitted, CaError> {
        let enrollment = enrollment(&self.label, &self.settings, examined, application, submission, now);
        Ok(self.store.submit(NewEnrollment { claim, cost: meter.take(), ..enrollment })?)
    }

    /// What an enrollment has come to; one that is Authorized is finished first.
    fn outcome(
        &self,
        enrollment: Enrollment,
        intent: Option<Intent>,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        let id = enrollment.id;
        tracing::debug!(target: "CRYPTO_CS", "reqID = {id}");
        match (enrollment.state, enrollment.serial) {
            (State::Granted, Some(serial)) => self.granted(&serial).map(Outcome::Issued),
            (State::Authorized, Some(serial)) => {
                self.gate.pass()?;
                let intent = match intent {
                    Some(intent) => intent,
                    None => {
                        match self.store.unfinished(&self.label)?.into_iter().find(|i| i.serial == serial) {
                            Some(intent) => intent,
                            // Another thread has kept it meanwhile.
                            None => return self.granted(&serial).map(Outcome::Issued),
                        }
                    }
                };
                tracing::debug!(target: "CRYPTO_CS", "Granting enrollment request {id}");
                let certificate = Recorded(intent).sign(self, meter, now)?.keep(self)?;
                tracing::debug!(target: "CRYPTO_CS", "reqID={id} granted, fingerprint={}",
                    Md5Of(&enrollment.csr));
                Ok(Outcome::Issued(certificate))
            }
            (State::Denied | State::Malformed, _) => Ok(Outcome::Denied(id)),
            _ => Ok(Outcome::Pending(id)),
        }
    }

    fn granted(&self, serial: &Serial) -> Result<store::Certificate, CaError> {
        let certificate = self.store.certificate(&self.label, serial)?;
        certificate.ok_or_else(|| CaError::Damaged(format!("no certificate {serial} though it was granted")))
    }

    fn prepare(&self, approved: &Approved, issuer: &Issuer, now: Time) -> Result<Prepared, CaError> {
        let requested: &Requested = approved.examined().requested();
        // Also for whoever has judged it by the certificate of another authority.
        if requested.authority.is_some() && issuer.path_len() == Some(0) {
            return Err(Refusal::PathLength.into());
        }
        let lifetime = issuer.granted_lifetime(&self.settings);
        let (not_before, not_after) = issuer.validity(lifetime, now, self.certificate().not_after())?;
        let template = requested.template(&issuer.facts(&self.settings), not_before, not_after);
        Ok(Prepared { template, authority: issuer.authority(), now })
    }

    /// Issues a certificate that answers no request: that of a key of the server's own.
    pub(super) fn issue_own(
        &self,
        issuer: &Issuer,
        template: Template,
        meter: &Meter,
        now: Time,
    ) -> Result<store::Certificate, CaError> {
        let prepared = Prepared { template, authority: issuer.authority(), now };
        prepared.record(self, None)?.sign(self, meter, now)?.keep(self)
    }
}

/// An enrollment as the store takes it; nothing is claimed by it yet, and it has cost nothing.
pub fn enrollment(
    server: &str,
    settings: &Settings,
    examined: &Examined,
    application: Application,
    submission: Submission,
    now: Time,
) -> NewEnrollment {
    let csr = examined.csr().der();
    if examined.class() == Class::SubordinateCa {
        tracing::debug!(target: "CRYPTO_CS", "received a sub-CS cert enrollment request");
    }
    NewEnrollment {
        server: server.to_owned(),
        class: examined.class(),
        authority: application.authority,
        identity: identity(csr, &application),
        transaction: application.transaction,
        csr: csr.to_vec(),
        signer_key: application.signer_key,
        subject: examined.requested().subject.to_string(),
        source: application.source,
        now,
        reuse: settings.reuse,
        claim: None,
        max_pending: settings.max_pending,
        submission,
        cost: Cost::default(),
    }
}

/// A request that is cryptographically invalid, as the store takes it.
pub fn malformed(
    server: &str,
    settings: &Settings,
    csr: &[u8],
    source: &str,
    reason: &str,
    now: Time,
) -> NewEnrollment {
    let digest = Hash::Sha256.digest(&[csr]).try_into().expect("SHA-256 has 32 octets");
    let subject = Csr::parse(csr).map(|csr| Name::from_der(csr.subject_raw()).to_string());
    NewEnrollment {
        server: server.to_owned(),
        class: Class::Router,
        authority: None,
        identity: digest,
        transaction: Vec::new(),
        csr: csr.to_vec(),
        signer_key: digest,
        subject: subject.unwrap_or_default(),
        source: source.to_owned(),
        now,
        reuse: Reuse::Never,
        claim: None,
        max_pending: settings.max_pending,
        submission: Submission::Malformed(reason.to_owned()),
        cost: Cost::default(),
    }
}

/// What makes two submissions the same request: the PKCS#10, the key that signed the message, the certificate
/// of ours that it was signed with, and the next CA where that is asked. There are clients that renew with the
/// PKCS#10 of their first request, and others that bring one to both CAs: these ask for new certificates.
pub fn identity(csr: &[u8], application: &Application) -> [u8; 32] {
    let serial = application.signed_with.as_ref().map_or(&[][..], Serial::as_be_bytes);
    // Without it nothing is added: what was asked of the CA that acts stays what it was.
    let id = application.authority.map(u64::to_be_bytes);
    // So many octets that no serial number of ours ends in them.
    let next = id.as_ref().map_or([&[][..]; 2], |id| [&b"the next authority"[..], id]);
    let digest = Hash::Sha256.digest(&[csr, &application.signer_key, serial, next[0], next[1]]);
    digest.try_into().expect("SHA-256 has 32 octets")
}

impl Prepared {
    /// What the store needs to fix serial number and bytes.
    fn intent(self, ca: &Ca) -> Result<NewIntent, CaError> {
        intent(&ca.label, Some(self.authority), ca.settings.serial, self.template, self.now)
    }

    fn record(self, ca: &Ca, enrollment: Option<(u64, State)>) -> Result<Recorded, CaError> {
        let intent = self.intent(ca)?;
        Ok(Recorded(ca.store.intend(intent, enrollment)?))
    }
}

/// An intent for `template`. Encoded once beforehand, so that within the store's transaction it cannot fail.
pub(super) fn intent(
    server: &str,
    authority: Option<u64>,
    serial: store::SerialRule,
    template: Template,
    now: Time,
) -> Result<NewIntent, CaError> {
    template.finalize(&Serial::from(u64::MAX))?;
    let tbs = Box::new(move |serial: &Serial| template.finalize(serial).expect("it encoded a moment ago"));
    Ok(NewIntent { server: server.to_owned(), authority, serial, tbs, now })
}

impl Recorded {
    fn sign(self, ca: &Ca, meter: &Meter, now: Time) -> Result<Signed, CaError> {
        let issuer = ca.issuer(self.0.authority)?;
        sign(self.0, issuer.key.as_ref(), meter, now).map(Signed)
    }
}

impl Signed {
    fn keep(self, ca: &Ca) -> Result<store::Certificate, CaError> {
        let certificate = ca.store.keep(&ca.label, self.0)?;
        tracing::info!(target: "PKI-6-CERTISSUE", "Certificate {} issued by {} to {}",
            certificate.serial, ca.label, certificate.subject);
        Ok(certificate)
    }
}

/// The MD5 fingerprint of a request.
struct Md5Of<'a>(&'a [u8]);

impl fmt::Display for Md5Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&Csr::fingerprint(self.0, Hash::Md5)))
    }
}

/// Signs what an intent says, with the algorithm it says, and checks the signature before it may leave.
pub(super) fn sign(
    intent: Intent,
    key: &dyn SigningKey,
    meter: &Meter,
    now: Time,
) -> Result<Issued, CaError> {
    let damaged = || CaError::Damaged(format!("the intent of certificate {}", intent.serial));
    let algorithm = tbs::algorithm_of(&intent.tbs).ok_or_else(damaged)?;
    // A key that takes no digest does not look at it.
    let hash = algorithm.hash().unwrap_or(Hash::Sha512);
    let signature = meter.signing(key).sign(hash, &intent.tbs)?;
    key.public_key().verify(algorithm, &intent.tbs, &signature)?;
    let der = tbs::assemble(&intent.tbs, algorithm, &signature)?;
    let certificate = Certificate::parse(&der).map_err(|_| damaged())?;
    Ok(Issued {
        serial: intent.serial,
        subject: Name::from_der(certificate.subject_raw()).to_string(),
        key: certificate.public_key().fingerprint(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        der,
        cost: meter.take(),
        now,
    })
}
