//! What trustpoints are told about.

use serde::Serialize;

use crate::pki::{Certificate, Csr, Hash, Name, Serial, Time, hex};
use crate::store::{TrustedKind, UpperPhase, UpperRequest};

use super::super::NodeError;
use super::super::report::{text, text_option};
use super::held::{Held, OwnCertificate};
use super::upkeep::Found;
use super::wanted::Method;
use super::work::Work;

/// A trustpoint in `show crypto pki trustpoints [status]`.
#[derive(Clone, Debug, Serialize)]
pub struct TrustpointReport {
    /// Name.
    pub name: String,
    /// Where it enrols: a URL, or `terminal`; none where nobody has said.
    pub enrollment: Option<String>,
    /// Whether it enrols by SCEP.
    pub scep: bool,
    /// Whether the CA is trusted.
    pub authenticated: bool,
    /// Certificates of the CA, those above it and its RAs, of now and next.
    pub authorities: Vec<TrustedReport>,
    /// Its own certificates, of now and next.
    pub own: Vec<TrustedReport>,
    /// What it has asked for.
    pub requests: Vec<UpperRequestReport>,
    /// Label of its key.
    pub key: String,
    /// Whether certificates are asked for without the operator.
    pub automatic: bool,
    /// When its certificate is followed by the next one.
    #[serde(serialize_with = "text_option")]
    pub renews: Option<Time>,
    /// Why upkeep fails, when it does: a token that is away, most often.
    pub last_error: Option<String>,
}

/// A certificate of a trustpoint.
#[derive(Clone, Debug, Serialize)]
pub struct TrustedReport {
    /// Whose it is.
    pub kind: TrustedKind,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// Issuer, in the notation of IOS.
    pub issuer: String,
    /// Serial number.
    #[serde(serialize_with = "text")]
    pub serial: Serial,
    /// notBefore.
    #[serde(serialize_with = "text")]
    pub not_before: Time,
    /// notAfter.
    #[serde(serialize_with = "text")]
    pub not_after: Time,
    /// MD5, hex.
    pub fingerprint_md5: String,
    /// SHA-1, hex.
    pub fingerprint_sha1: String,
    /// SHA-256, hex.
    pub fingerprint_sha256: String,
    /// Where the key is: token and label.
    pub key: Option<(String, String)>,
    /// The certificate, DER.
    #[serde(skip)]
    pub der: Vec<u8>,
}

/// A request of a trustpoint.
#[derive(Clone, Debug, Serialize)]
pub struct UpperRequestReport {
    /// What will become of the certificate.
    pub kind: TrustedKind,
    /// How far it is.
    pub phase: UpperPhase,
    /// MD5 fingerprint of the PKCS#10, hex; see [`Csr::fingerprint`].
    pub fingerprint_md5: String,
    /// SHA-1 fingerprint of the PKCS#10, hex.
    pub fingerprint_sha1: String,
    /// SHA-256 fingerprint of the PKCS#10, hex.
    pub fingerprint_sha256: String,
    /// Where its key is: token and label.
    pub key: (String, String),
    /// Subject, in the notation of IOS; empty while it is being made.
    pub subject: String,
    /// Tries or polls so far.
    pub tries: u32,
    /// How many there are.
    pub count: u32,
    /// When it was begun.
    #[serde(serialize_with = "text")]
    pub began: Time,
    /// When it is tried next.
    #[serde(serialize_with = "text")]
    pub next_try: Time,
    /// What went wrong last.
    pub error: Option<String>,
    /// The PKCS#10, DER; it may hold a password.
    #[serde(skip)]
    pub csr: Vec<u8>,
    /// The file that it was written into.
    pub file: Option<String>,
    /// Whether the certificate has come.
    pub granted: bool,
}

/// A timer of `show crypto pki timers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimerReport {
    /// The trustpoint.
    pub trustpoint: String,
    /// What happens then.
    pub what: TimerKind,
    /// When.
    #[serde(serialize_with = "text")]
    pub at: Time,
    /// The same as seconds from now.
    pub in_seconds: u64,
}

/// What a timer is for, by the names of IOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKind {
    /// `POLL`: a request is sent or polled for again.
    Poll,
    /// `RENEW`: the next certificate is asked for.
    Renew,
    /// `SHADOW`: the CA is asked for its next certificate.
    Shadow,
    /// What is next takes its place.
    Rollover,
}

impl Work {
    /// The report of this trustpoint.
    pub fn report(&self) -> Result<TrustpointReport, NodeError> {
        let held = self.held()?;
        let ca_report = |next: bool, ca: &crate::trustpoint::CaCertificates| {
            let report = |certificate: &Certificate| {
                let registrar = ca.registrars().contains(certificate);
                let kind = if registrar { TrustedKind::Ra } else { TrustedKind::Ca };
                trusted(if next { kind.next() } else { kind }, certificate, None)
            };
            ca.all().map(report).collect::<Vec<_>>()
        };
        let mut authorities: Vec<_> = held.ca.iter().flat_map(|ca| ca_report(false, ca)).collect();
        authorities.extend(held.next_ca.iter().flat_map(|ca| ca_report(true, ca)));
        let enrollment = match &self.wanted.method {
            Method::Scep(url) | Method::Files { url, .. } => Some(url.clone()),
            Method::Terminal => Some("terminal".to_owned()),
            Method::Command { url, .. } => Some(url.clone()),
            Method::None => None,
        };
        Ok(TrustpointReport {
            name: self.label().to_owned(),
            enrollment,
            scep: matches!(self.wanted.method, Method::Scep(_)),
            authenticated: held.ca.is_some(),
            authorities,
            own: held.own.iter().map(OwnCertificate::report).collect(),
            requests: held.requests.iter().map(|r| self.request_report(r)).collect::<Result<_, _>>()?,
            key: self.wanted.key.label.clone(),
            automatic: self.is_automatic(),
            renews: held.own(TrustedKind::Own).and_then(|own| self.renews_at(&own.certificate)),
            last_error: None,
        })
    }

    /// The report of one of its requests.
    pub fn request_report(&self, request: &UpperRequest) -> Result<UpperRequestReport, NodeError> {
        let csr = self.csr(request)?;
        let of = |hash| hex(&Csr::fingerprint(&csr, hash));
        Ok(UpperRequestReport {
            kind: request.kind,
            phase: request.phase,
            fingerprint_md5: of(Hash::Md5),
            fingerprint_sha1: of(Hash::Sha1),
            fingerprint_sha256: of(Hash::Sha256),
            key: (request.token.clone(), request.key_label.clone()),
            subject: Csr::parse(&csr)
                .map(|csr| Name::from_der(csr.subject_raw()).to_string())
                .unwrap_or_default(),
            tries: request.tries,
            count: self.wanted.retry_count,
            began: request.began,
            next_try: request.next_try,
            error: request.error.clone(),
            csr,
            file: None,
            granted: false,
        })
    }

    /// What will happen by itself.
    pub fn timers(&self, found: Found) -> Result<Vec<TimerReport>, NodeError> {
        let held = self.held()?;
        let mut timers: Vec<(TimerKind, Time)> = Vec::new();
        for request in &held.requests {
            let again = request.phase == UpperPhase::Failed && self.is_automatic();
            if super::held::goes_on(request.phase) || again {
                timers.push((TimerKind::Poll, request.next_try));
            }
        }
        if self.is_automatic() {
            timers.extend(self.renewals(&held).map(|at| (TimerKind::Renew, at)));
            timers.extend(found.next_ca_check.map(|at| (TimerKind::Shadow, at)));
        }
        let rollover = held.next_ca.as_ref().and(held.ca.as_ref()).map(|ca| ca.ca().not_after());
        timers.extend(rollover.map(|at| (TimerKind::Rollover, at)));
        let (now, trustpoint) = (self.now(), self.label());
        let mut timers: Vec<_> = timers
            .into_iter()
            .map(|(what, at)| TimerReport {
                trustpoint: trustpoint.to_owned(),
                what,
                at,
                in_seconds: at.since(now).as_secs(),
            })
            .collect();
        timers.sort_by_key(|timer| (timer.at, timer.what));
        Ok(timers)
    }

    fn renewals(&self, held: &Held) -> impl Iterator<Item = Time> {
        let own = self.wanted.kinds().iter().filter_map(|kind| held.own(*kind));
        own.filter_map(|own| self.renews_at(&own.certificate)).collect::<Vec<_>>().into_iter()
    }
}

impl OwnCertificate {
    fn report(&self) -> TrustedReport {
        trusted(self.kind, &self.certificate, self.key.clone())
    }
}

fn trusted(kind: TrustedKind, certificate: &Certificate, key: Option<(String, String)>) -> TrustedReport {
    let of = |hash: Hash| hex(&hash.digest(&[certificate.der()]));
    TrustedReport {
        kind,
        subject: Name::from_der(certificate.subject_raw()).to_string(),
        issuer: Name::from_der(certificate.issuer_raw()).to_string(),
        serial: certificate.serial().clone(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        fingerprint_md5: of(Hash::Md5),
        fingerprint_sha1: of(Hash::Sha1),
        fingerprint_sha256: of(Hash::Sha256),
        key,
        der: certificate.der().to_vec(),
    }
}
