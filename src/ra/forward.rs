//! Asking the CA above for what was granted here, until there is an answer.
//!
//! The steps of one request, each of which a crash may interrupt:
//!
//! ```text
//! Asking ──PKCSReq──▶ PENDING ──▶ Waiting ──CertPoll──▶ PENDING …
//!    ▲ │                             │ │
//!    │ └─ no answer: later again     │ └─ no such request: it has forgotten it
//!    └───────────────────────────────┘
//! either ──▶ SUCCESS: kept, granted   either ──▶ FAILURE: denied
//! ```
//!
//! The message is the same each time but for its nonce: PKCS#10, signer and transaction. A CA that has issued
//! before the crash finds the request again by them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ca::{CaError, Meter};
use crate::pki::{Certificate, Csr, Hash, Name, Time, chain, hex};
use crate::scep::{FailInfo, MessageType, TransactionId, client};
use crate::store::{Enrollment, Forward, Issued, Stage, StoreError};
use crate::trustpoint::{Answered, CaCertificates};

use super::elsewhere::{Elsewhere, Outgoing};

/// Asks the CA above from a thread of its own until it is dropped.
pub struct Forwarder(Arc<Elsewhere>);

impl Forwarder {
    /// Begins; `clock` tells the time. Of those with the same `turn` one asks at a time: who takes the place of
    /// another waits until that is done.
    pub fn start(
        elsewhere: Arc<Elsewhere>,
        turn: Arc<Mutex<()>>,
        clock: impl Fn() -> Time + Send + 'static,
    ) -> std::io::Result<Self> {
        let name = format!("ra {}", elsewhere.label);
        let thread = thread::Builder::new().name(name);
        let asking = elsewhere.clone();
        // Not waited for at the end: it may hang on a CA that does not answer, and what it has begun is recorded.
        thread.spawn(move || {
            // At the start everything is tried: the configuration may have been mended, or somebody has
            // waited for long.
            let mut due = Due::All;
            while asking.bell.wait() {
                // One that was stopped a moment ago may still wait for an answer: two requests at once would
                // bring two certificates.
                let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
                asking.fetch_next(clock());
                let failed = asking.forward_due(due, &clock).unwrap_or_else(|error| {
                    tracing::error!(server = asking.label, error = %chain(&error), "requests are not sent on");
                    true
                });
                asking.bell.done(failed);
                due = Due::Now;
            }
        })?;
        elsewhere.bell.ring();
        Ok(Self(elsewhere))
    }

    /// Something may be due.
    pub fn wake(&self) {
        self.0.bell.ring();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.bell.stop();
    }
}

/// Which requests are tried.
#[derive(Clone, Copy, PartialEq)]
enum Due {
    /// Every one.
    All,
    /// Those whose time has come.
    Now,
}

/// Why the CA could not be asked, or its answer is not one.
struct Trouble {
    text: String,
    /// Whether the same may succeed later without anybody doing something here.
    temporary: bool,
}

/// What one try has come to.
enum Tried {
    /// The CA has answered for good.
    Ended,
    /// It has not yet.
    Later,
    /// It could not be asked.
    Failed,
}

impl Elsewhere {
    /// Tries everything that is due. Returns whether the CA could not be asked.
    fn forward_due(&self, which: Due, clock: &impl Fn() -> Time) -> Result<bool, CaError> {
        let mut failed = false;
        let begun = clock();
        loop {
            // Longest due first: one that is put off does not come again in this round.
            let due = match which {
                Due::All => self.store.forwards(&self.label, FOREVER, usize::MAX)?,
                Due::Now => self.store.forwards(&self.label, begun, PAGE)?,
            };
            if due.is_empty() || self.bell.is_stopping() {
                return Ok(failed);
            }
            for forward in &due {
                match self.try_once(forward, clock()) {
                    Ok(Tried::Ended | Tried::Later) => failed = false,
                    Ok(Tried::Failed) => failed = true,
                    // The operator has rejected it meanwhile, or its server is gone.
                    Err(CaError::Store(StoreError::NotFound | StoreError::Conflict)) => {}
                    Err(error) => return Err(error),
                }
                if self.bell.is_stopping() {
                    return Ok(failed);
                }
            }
            if which == Due::All {
                return Ok(failed);
            }
        }
    }

    fn try_once(&self, forward: &Forward, now: Time) -> Result<Tried, CaError> {
        let Forward { enrollment, stage, .. } = forward;
        let (id, meter) = (enrollment.id, Meter::new());
        let csr = match Csr::parse(&enrollment.csr) {
            Ok(csr) => csr,
            Err(error) => {
                self.store.refuse_forwarded(&self.label, id, &chain(&error), now)?;
                return Ok(Tried::Ended);
            }
        };
        let Some(to) = self.asked_of(enrollment.authority) else {
            self.store.refuse_forwarded(&self.label, id, GONE, now)?;
            return Ok(Tried::Ended);
        };
        match (self.ask(enrollment, &csr, *stage, to, &meter, now), stage) {
            (Ok(Answered::Issued(certificates)), _) => {
                let Some(certificate) = certificates.into_iter().next() else {
                    let trouble = Trouble::lasting("there is no certificate in the answer");
                    return self.put_off(forward, *stage, Some(trouble), now);
                };
                self.keep(enrollment, to, &certificate, &meter, now)
            }
            (Ok(Answered::Pending), _) => {
                tracing::debug!(target: "CRYPTO_CS", "reqID={id} is pending at the CA above");
                self.put_off(forward, Stage::Waiting, None, now)
            }
            // It does not know the request any more, or knows no polls: then it is only asked again.
            (Ok(Answered::Failed { info: Some(FailInfo::BadCertId), .. }), Stage::Waiting) => {
                self.put_off(forward, Stage::Asking, None, now)
            }
            (Ok(Answered::Failed { info, text }), _) => {
                let reason = format!("the CA above has refused it: {}", failed(info, text));
                tracing::warn!(server = self.label, id, reason, "a request is denied");
                self.store.refuse_forwarded(&self.label, id, &reason, now)?;
                Ok(Tried::Ended)
            }
            (Ok(Answered::Crl(_)), _) => {
                self.put_off(forward, *stage, Some(Trouble::lasting("the CA has answered with a CRL")), now)
            }
            (Err(trouble), stage) => {
                self.put_off(forward, *stage, Some(trouble), now)?;
                Ok(Tried::Failed)
            }
        }
    }

    fn ask(
        &self,
        enrollment: &Enrollment,
        csr: &Csr,
        stage: Stage,
        to: &CaCertificates,
        meter: &Meter,
        now: Time,
    ) -> Result<Answered, Trouble> {
        let own = &self.registrar.certificate;
        if !own.is_valid_at(now) {
            // A CA would refuse every request for that, and the devices have not done anything wrong.
            let (from, to) = (own.not_before(), own.not_after());
            let text = format!("the certificate of this RA is valid from {from} to {to}, not now");
            return Err(Trouble { text, temporary: true });
        }
        let signer = self.signer(csr, meter, now);
        let signer = signer.map_err(|error| Trouble { text: chain(&error), temporary: true })?;
        let transaction = transaction(enrollment);
        let poll;
        let (kind, content) = match stage {
            Stage::Asking => (MessageType::PkcsReq, csr.der()),
            Stage::Waiting => {
                poll = client::issuer_and_subject(to.ca().subject_raw(), csr.subject_raw());
                (MessageType::CertPoll, poll.as_slice())
            }
        };
        tracing::debug!(target: "CRYPTO_CS", "reqID={} is sent to the CA above, transaction {transaction}",
            enrollment.id);
        let wanted = Some(csr.public_key());
        self.send(Outgoing { kind, transaction: &transaction, content, signer: &signer, to, wanted }, meter)
            .map_err(|error| Trouble { text: chain(&error), temporary: error.is_temporary() })
    }

    /// Who signs: this RA; or, as if a device asked for the first time, nobody known: a self-signed certificate
    /// with the subject asked for. Its key is that of the RA, since the device's is not here.
    fn signer(&self, csr: &Csr, meter: &Meter, now: Time) -> Result<Certificate, client::ClientError> {
        if !self.registrar.transparent {
            return Ok(self.registrar.certificate.clone());
        }
        let subject = Name::from_der(csr.subject_raw());
        let key = meter.signing(self.registrar.key.as_ref());
        let validity = (now.minus(DAY), now.plus(DAY));
        client::self_signed(&subject, &key, Hash::Sha256, validity, true)
    }

    fn keep(
        &self,
        enrollment: &Enrollment,
        by: &CaCertificates,
        certificate: &Certificate,
        meter: &Meter,
        now: Time,
    ) -> Result<Tried, CaError> {
        let id = enrollment.id;
        let issuer = by.ca().public_key().fingerprint();
        let issued = Issued {
            serial: certificate.serial().clone(),
            der: certificate.der().to_vec(),
            subject: Name::from_der(certificate.subject_raw()).to_string(),
            key: certificate.public_key().fingerprint(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            cost: meter.take(),
            now,
        };
        match self.store.keep_forwarded(&self.label, id, &issuer, issued) {
            Ok(kept) => {
                tracing::debug!(target: "CRYPTO_CS", "reqID={id} granted");
                tracing::info!(target: "PKI-6-CERTISSUE", "Certificate {} issued by the CA above {} to {}",
                    kept.serial, self.label, kept.subject);
                Ok(Tried::Ended)
            }
            Err(StoreError::Conflict) if self.store.forward_of(&self.label, id)?.is_some() => {
                let serial = certificate.serial();
                let reason = format!("the CA above has given serial number {serial} to two certificates");
                self.store.refuse_forwarded(&self.label, id, &reason, now)?;
                Ok(Tried::Ended)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn put_off(
        &self,
        forward: &Forward,
        stage: Stage,
        trouble: Option<Trouble>,
        now: Time,
    ) -> Result<Tried, CaError> {
        let tries = if stage == forward.stage { forward.tries } else { 0 };
        let again = match &trouble {
            // Somebody has to mend something; and a CA that grants at once may issue another certificate each
            // time.
            Some(Trouble { temporary: false, .. }) => now.plus(LASTING),
            // A CA without polls would be asked every second for as long as its operator thinks.
            None if stage == Stage::Asking => now.plus(self.above.poll_every),
            _ => now.plus(self.patience(tries)),
        };
        let id = forward.enrollment.id;
        let error = trouble.as_ref().map(|trouble| trouble.text.as_str());
        // Once, not at each try.
        if let Some(error) = error
            && forward.error.as_deref() != Some(error)
        {
            tracing::warn!(
                server = self.label,
                id,
                error,
                "the CA above could not be asked; it is tried again"
            );
        }
        self.store.postpone(&self.label, id, stage, again, error)?;
        Ok(Tried::Later)
    }

    /// How long after so many tries the next one is: 1, 2, 4 … seconds, and no longer than is configured.
    fn patience(&self, tries: u32) -> Duration {
        let doubled = Duration::from_secs(1 << tries.min(16));
        doubled.min(self.above.poll_every).max(Duration::from_secs(1))
    }
}

impl Trouble {
    fn lasting(text: &str) -> Self {
        Self { text: text.to_owned(), temporary: false }
    }
}

/// transactionID at the CA above: the same for each try of one request, and another for each request.
fn transaction(enrollment: &Enrollment) -> TransactionId {
    let digest = Hash::Sha256.digest(&[&enrollment.identity, &enrollment.id.to_be_bytes()]);
    TransactionId::new(hex(&digest[..16]).as_bytes())
}

/// A FAILURE in words.
pub(super) fn failed(info: Option<FailInfo>, text: Option<String>) -> String {
    let info = info.map_or_else(|| "no failInfo".to_owned(), |info| format!("{info:?}"));
    match text {
        Some(text) => format!("{info}, \"{}\"", text.escape_debug()),
        None => info,
    }
}

/// Wakes the thread that asks, and waits for it.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    wanted: bool,
    stopping: bool,
    /// Whether the CA could not be asked the last time.
    failing: bool,
    /// Rounds begun and ended.
    begun: u64,
    ended: u64,
}

impl Bell {
    /// There may be something to do.
    pub fn ring(&self) {
        self.state().wanted = true;
        self.changed.notify_all();
    }

    /// The same; waits for a short time until it was tried. Not while the CA is away: whoever asks would keep a
    /// thread waiting for nothing.
    pub fn ring_and_wait(&self) {
        let mut state = self.state();
        state.wanted = true;
        self.changed.notify_all();
        if state.failing {
            return;
        }
        let round = state.begun + 1;
        let waits = |state: &mut Rung| state.ended < round && !state.stopping;
        drop(self.changed.wait_timeout_while(state, AT_ONCE, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until there may be something to do, were it only that time has passed; false at the end.
    fn wait(&self) -> bool {
        let waits = |state: &mut Rung| !state.wanted && !state.stopping;
        let waited = self.changed.wait_timeout_while(self.state(), LOOK_EVERY, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        state.begun += 1;
        !state.stopping
    }

    fn done(&self, failing: bool) {
        let mut state = self.state();
        state.ended = state.begun;
        state.failing = failing;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    fn state(&self) -> MutexGuard<'_, Rung> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a device's request is kept open in the hope that the CA above answers at once.
const AT_ONCE: Duration = Duration::from_secs(3);
/// How often the store is asked what is due. That costs one look at an index.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it takes until the CA is asked again about what is wrong with it, or here.
const LASTING: Duration = Duration::from_secs(3600);
/// After every time.
const FOREVER: Time = Time::from_unix(i64::MAX as u64);
/// Requests read at a time.
const PAGE: usize = 100;
/// A CA that was neither followed by the one of now nor is the next.
const GONE: &str = "the CA that it was for is gone";
const DAY: Duration = Duration::from_secs(86_400);
