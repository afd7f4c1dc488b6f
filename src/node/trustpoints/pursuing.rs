//! A request on its way: sent, polled for, answered.

use std::time::Duration;

use crate::pki::{Certificate, Csr, Name, Time, chain};
use crate::scep::{Capabilities, FailInfo, MessageType, TransactionId, client};
use crate::store::{TrustedCertificate, UpperPhase, UpperRequest};
use crate::trustpoint::{Answered, ClientRequest, Upper};

use super::super::NodeError;
use super::held::Held;
use super::making::Answers;
use super::wanted::{Method, Purpose};
use super::work::{Work, WorkError};

impl Work {
    /// Does the next step of a request, and notes what came of it. Errors are those of the database: whatever
    /// else goes wrong is noted in the request, and tried again.
    pub fn pursue(&self, request: UpperRequest) -> Result<(), NodeError> {
        self.pursue_with(request, &Answers::default())
    }

    /// The same with what an operator has answered.
    pub fn pursue_with(&self, request: UpperRequest, answers: &Answers) -> Result<(), NodeError> {
        match self.step(&request, answers) {
            Ok(()) => Ok(()),
            Err(WorkError::Node(error @ NodeError::Store(_))) => Err(error),
            Err(error) => self.note_failure(&request, &error, self.may_heal(&self.wanted.method, &error)),
        }
    }

    fn step(&self, request: &UpperRequest, answers: &Answers) -> Result<(), WorkError> {
        let held = self.held()?;
        let made;
        let request = match request.phase {
            UpperPhase::Making => {
                made = self.make(&held, request, answers)?;
                &made
            }
            _ => request,
        };
        if !matches!(request.phase, UpperPhase::Sending | UpperPhase::Pending) {
            return Ok(());
        }
        let method = self.method(&held, request.kind).clone();
        // Those of now also for the CA's next time: with them it is answered.
        let held = self.refresh_registrars(held, &method)?;
        let held = match request.kind.is_next() {
            true => self.refresh_next_registrars(held, &method)?,
            false => held,
        };
        let answer = match self.ask(&held, request, answers) {
            Ok(answer) => answer,
            // Noted where it happened: the request may have been made only now.
            Err(WorkError::Node(error @ NodeError::Store(_))) => return Err(error.into()),
            Err(error) => {
                let may_heal = self.may_heal(self.method(&held, request.kind), &error);
                return Ok(self.note_failure(request, &error, may_heal)?);
            }
        };
        match answer {
            Answered::Issued(certificates) => self.keep(&held, request, &certificates[0])?,
            Answered::Pending => self.note_pending(request)?,
            // The CA has forgotten the request; it is sent again.
            Answered::Failed { info: Some(FailInfo::BadCertId), .. }
                if request.phase == UpperPhase::Pending =>
            {
                let again = UpperRequest { phase: UpperPhase::Sending, ..request.clone() };
                self.advance(request, again).map(drop)?;
            }
            Answered::Failed { info, text } => {
                let info = info.map(|info| format!(" ({info:?})")).unwrap_or_default();
                let text = text.map(|text| format!(": {}", text.escape_debug())).unwrap_or_default();
                self.note_end(request, format!("the CA has refused the request{info}{text}"))?;
            }
            Answered::Crl(_) => {}
        }
        Ok(())
    }

    /// Asks the CA for the certificate of a request.
    fn ask(&self, held: &Held, request: &UpperRequest, answers: &Answers) -> Result<Answered, WorkError> {
        let missing = || NodeError::Refused("the CA of the trustpoint is not authenticated".into());
        let to = held.ca_for(request.kind).ok_or_else(missing)?;
        let trusted: Vec<_> = held.ca.iter().chain(&held.next_ca).collect();
        let csr = self.csr(request)?;
        let parsed = Csr::parse(&csr).map_err(|error| NodeError::Refused(error.to_string()))?;
        let method = self.method(held, request.kind);
        if let Method::Command { .. } = method {
            let issued = self.by_command(method, answers, Some(&csr), |task, transport| {
                task.enroll(transport, to, parsed.public_key())
            })?;
            return Ok(Answered::Issued(issued));
        }
        let signer = super::super::server::parse(&request.signer)?;
        let (token, label) = request.signer_key.as_ref().ok_or_else(missing)?;
        let key = self.key(token, label)?;
        let upper = self.upper(method)?;
        let capabilities = upper.capabilities()?;
        let (kind, content) = match request.phase {
            UpperPhase::Pending => {
                let issuer = to.ca().subject_raw();
                (MessageType::CertPoll, client::issuer_and_subject(issuer, parsed.subject_raw()))
            }
            _ => (message_type(held, &signer, &capabilities), csr),
        };
        let asked = ClientRequest {
            kind,
            transaction: &TransactionId::new(&request.transaction),
            content: &content,
            signer: &signer,
            key: &key,
            decrypter: &key,
            to,
            trusted: &trusted,
            wanted: Some(parsed.public_key()),
        };
        Ok(Upper::send_as(&upper, &asked, &capabilities)?)
    }

    /// Keeps what was issued, in place of what was there; then goes what nobody needs any more.
    pub fn keep(
        &self,
        held: &Held,
        request: &UpperRequest,
        certificate: &Certificate,
    ) -> Result<(), NodeError> {
        let now = self.now();
        if now > certificate.not_after() {
            return self.note_end(request, "the certificate that came has ended already".into());
        }
        if let Some(hash) = certificate.signature_algorithm().and_then(|algorithm| algorithm.hash())
            && !self.wanted.weak.allows(hash)
        {
            return Err(NodeError::Refused(format!(
                "the certificate that came is signed over {0}\nhint: \"crypto legacy {0}\" in trustpoint {1} takes \
                 it, where the CA knows nothing better",
                hash.name(),
                self.label()
            )));
        }
        // Never without a certificate that is valid: one that begins later waits beside that of now.
        let before = held.own(request.kind).filter(|own| own.certificate.is_valid_at(now));
        let kind = match before {
            Some(_) if now < certificate.not_before() => request.kind.next(),
            // The CA has rolled over while it was asked for: what was to be next is what is now.
            _ if held.next_ca.is_none() && !self.wanted.keeps_next() && now >= certificate.not_before() => {
                request.kind.now()
            }
            _ => request.kind,
        };
        let kept = TrustedCertificate {
            trustpoint: self.label().to_owned(),
            kind,
            serial: certificate.serial().clone(),
            der: certificate.der().to_vec(),
            token: Some(request.token.clone()),
            key_label: Some(request.key_label.clone()),
        };
        self.finish(request, kept)?;
        let subject = Name::from_der(certificate.subject_raw());
        tracing::info!(
            target: "PKI-6-CERTRET",
            "Certificate received from Certificate Authority: {}, {subject}, serial number {}",
            self.label(),
            certificate.serial()
        );
        self.clear(&held.own(kind).cloned().into_iter().collect::<Vec<_>>());
        Ok(())
    }

    fn note_pending(&self, request: &UpperRequest) -> Result<(), NodeError> {
        let polled = match request.phase {
            UpperPhase::Pending => request.tries + 1,
            _ => 0,
        };
        if request.phase != UpperPhase::Pending {
            tracing::info!(
                target: "PKI-6-CERTPENDING",
                "Certificate request of {} waits for the Certificate Authority.",
                self.label()
            );
        }
        if self.is_last(polled) {
            let what = format!("the CA has not decided within {polled} polls");
            return self.note_end(request, what);
        }
        let pending = UpperRequest {
            phase: UpperPhase::Pending,
            tries: polled,
            next_try: self.now().plus(self.wanted.retry_period),
            error: None,
            ..request.clone()
        };
        self.advance(request, pending).map(drop)
    }

    /// Whether the same may succeed when it is tried again.
    fn may_heal(&self, method: &Method, error: &WorkError) -> bool {
        match method {
            // A page of a CA that says no is its answer; and what an operator has answered is not kept.
            Method::Command { .. } => error.is_temporary() && method.is_automatic(),
            // What is no answer of SCEP may be another's, on the way: it does not end the request.
            _ => match error {
                WorkError::Client(error) => !error.needs_operator(),
                WorkError::Node(_) => error.is_temporary(),
            },
        }
    }

    /// Something went wrong: it is tried again, a few times.
    fn note_failure(
        &self,
        request: &UpperRequest,
        error: &WorkError,
        may_heal: bool,
    ) -> Result<(), NodeError> {
        let said = chain(error);
        let tries = request.tries + 1;
        if !may_heal || self.is_last(tries) {
            return self.note_end(request, said);
        }
        if request.error.as_ref() != Some(&said) {
            tracing::warn!(trustpoint = self.label(), error = said, "a certificate is asked for again");
        }
        let next_try = self.now().plus(self.wanted.retry_period);
        let again = UpperRequest { tries, next_try, error: Some(said), ..request.clone() };
        self.advance(request, again).map(drop)
    }

    /// Nothing came of it. Where certificates are got without the operator, it is begun again after a while.
    fn note_end(&self, request: &UpperRequest, why: String) -> Result<(), NodeError> {
        tracing::error!(
            target: "PKI-3-ENROLL_FAILED",
            "Certificate enrollment of {} failed: {why}",
            self.label()
        );
        let failures = request.failures + 1;
        let failed = UpperRequest {
            phase: UpperPhase::Failed,
            failures,
            next_try: self.now().plus(self.wait(failures)),
            error: Some(why),
            ..request.clone()
        };
        self.advance(request, failed).map(drop)
    }

    /// Whether this try was the last one. A server without a certificate has nothing else to do, and the
    /// operators of its CA take their time.
    fn is_last(&self, tries: u32) -> bool {
        self.wanted.purpose == Purpose::Device && tries >= self.wanted.retry_count
    }

    /// How long to wait after so many failures: twice as long each time, a day at most.
    fn wait(&self, failures: u32) -> Duration {
        let times = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.wanted.retry_period.saturating_mul(times).min(LONGEST_WAIT)
    }

    /// Begins a request that has failed once more: as it was, or anew where its signer is no longer the right
    /// one.
    pub fn restart(&self, held: &Held, request: &UpperRequest) -> Result<(), NodeError> {
        // A key of now may have been replaced, or a certificate that signed it have ended.
        let signer = Certificate::parse(&request.signer).ok();
        let good = signer.is_some_and(|signer: Certificate| signer.is_valid_at(self.now()))
            && self
                .before(held, request.kind)
                .map(|own| own.certificate.der())
                .is_none_or(|der| der == request.signer);
        let phase = match good && !request.csr.is_empty() {
            true => UpperPhase::Sending,
            false => UpperPhase::Making,
        };
        let again = UpperRequest { phase, tries: 0, next_try: self.now(), ..request.clone() };
        let again = self.advance(request, again)?;
        self.pursue(again)
    }

    /// When `certificate` is to be followed by the next one.
    pub fn renews_at(&self, certificate: &Certificate) -> Option<Time> {
        use super::wanted::Lead;
        let life = certificate.not_after().since(certificate.not_before());
        Some(match self.wanted.lead? {
            Lead::Percent(percent) => {
                // Whole seconds: a life has fewer than 2^38 of them.
                let after = Duration::from_secs(life.as_secs() / 100 * u64::from(percent))
                    + Duration::from_secs(life.as_secs() % 100 * u64::from(percent) / 100);
                certificate.not_before().plus(after)
            }
            Lead::Before(before) => certificate.not_after().minus(before),
            Lead::Never => return None,
        })
    }
}

/// A request signed by a certificate of the CA is a renewal, where the CA knows the word.
fn message_type(held: &Held, signer: &Certificate, capabilities: &Capabilities) -> MessageType {
    let mut cas = held.ca.iter().chain(&held.next_ca);
    match cas.any(|ca| ca.check_issued(signer).is_ok()) && capabilities.has("Renewal") {
        true => MessageType::RenewalReq,
        false => MessageType::PkcsReq,
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
