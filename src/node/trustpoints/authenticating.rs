//! The first step: which CA it is. Nothing is trusted before an operator, or the fingerprint that was
//! configured, has said so.

use serde::Serialize;

use crate::files::FileUrl;
use crate::pki::{Certificate, Hash, Name, chain, hex};
use crate::store::TrustedKind;
use crate::trustpoint::CaCertificates;

use super::super::NodeError;
use super::held::{Held, kept};
use super::making::Answers;
use super::upkeep::Found;
use super::wanted::Method;
use super::work::{Work, WorkError};

/// Certificates of a CA that nobody has accepted yet.
#[derive(Clone, Debug)]
pub struct Offered {
    /// For which trustpoint.
    pub trustpoint: String,
    /// The certificates.
    pub certificates: CaCertificates,
    /// MD5 of the CA certificate, hex.
    pub fingerprint_md5: String,
    /// SHA-1 of the CA certificate, hex.
    pub fingerprint_sha1: String,
    /// SHA-256 of the CA certificate, hex.
    pub fingerprint_sha256: String,
    /// Those that will count as RAs: that fingerprint says nothing of them.
    pub registrars: Vec<OfferedRegistrar>,
    /// Those that may be RAs' and will not count, as neither they nor the configuration say so.
    pub unmarked: Vec<OfferedRegistrar>,
    /// What the configured fingerprint says.
    pub verdict: Verdict,
}

/// A certificate that was offered beside that of the CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferedRegistrar {
    /// Its subject, as IOS writes it.
    pub subject: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint_sha256: String,
}

impl OfferedRegistrar {
    fn of(certificate: &Certificate) -> Self {
        Self {
            subject: Name::from_der(certificate.subject_raw()).to_string(),
            fingerprint_sha256: hex(&Hash::Sha256.digest(&[certificate.der()])),
        }
    }
}

/// Whether a CA certificate is the one that was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has the fingerprint.
    Matches,
    /// It has another.
    Differs,
    /// No fingerprint is configured: somebody has to be asked.
    Unasked,
}

impl Work {
    /// Gets the CA certificates: from what is `given`, else from where the configuration says.
    pub fn authenticate(&self, given: Option<&[u8]>) -> Result<Offered, NodeError> {
        let refused = |error: WorkError| NodeError::Refused(chain(&error));
        let certificates = match given {
            Some(octets) => CaCertificates::read(octets).map_err(|error| refused(error.into()))?,
            None => self.fetch_ca().map_err(refused)?,
        };
        Ok(self.offer(match self.wanted.registrar {
            true => certificates.with_unmarked(),
            false => certificates,
        }))
    }

    /// Trusts a CA from now on. Refused when the trustpoint has another that has not ended.
    pub fn accept(&self, offered: &Offered) -> Result<(), NodeError> {
        if offered.verdict == Verdict::Differs {
            return Err(NodeError::Refused(format!(
                "the CA certificate does not have the fingerprint that trustpoint {} is configured with",
                self.label()
            )));
        }
        let held = self.held()?;
        let ca = offered.certificates.ca();
        let now = self.now();
        if held.ca.as_ref().is_some_and(|known| known.ca() != ca && now <= known.ca().not_after()) {
            return Err(NodeError::Refused(format!(
                "Please delete your existing CA certificate first.\nhint: `no crypto pki trustpoint {}` does, with \
                 everything that came from it",
                self.label()
            )));
        }
        let mut kinds = vec![TrustedKind::Ca, TrustedKind::Ra];
        if held.next_ca.as_ref().is_some_and(|next| next.ca() == ca) {
            kinds.extend([TrustedKind::NextCa, TrustedKind::NextRa]);
        }
        self.store.trust_all(self.label(), &kinds, kept(self.label(), &offered.certificates, false))?;
        let subject = Name::from_der(ca.subject_raw());
        tracing::info!(trustpoint = self.label(), ca = %subject, "the CA is trusted");
        Ok(())
    }

    /// Whether the CA can be found out without anybody being asked.
    pub fn can_authenticate(&self, held: &Held, found: Found) -> bool {
        let now = self.now();
        held.ca.is_none()
            && self.is_automatic()
            && self.wanted.authentication.is_automatic()
            && self.wanted.fingerprint.is_some()
            && found.authentication.is_none_or(|at| at <= now)
    }

    /// Trusts the CA if it has the fingerprint that is configured.
    pub fn authenticate_by_fingerprint(&self) {
        let done = self.authenticate(None).and_then(|offered| self.accept(&offered));
        if let Err(error) = done {
            let error = chain(&error);
            tracing::warn!(trustpoint = self.label(), error, "the CA is not authenticated");
        }
    }

    /// RA certificates end before that of their CA: takes those that the server has now, if it has the same CA.
    /// What cannot be fetched stays as it is: the request that comes next says why.
    pub fn refresh_registrars(&self, held: Held, method: &Method) -> Result<Held, NodeError> {
        let (Some(known), Method::Scep(_)) = (&held.ca, method) else { return Ok(held) };
        if known.registrars().is_empty() {
            return Ok(held);
        }
        let fetched = self.upper(method)?.ca_certificates();
        let Ok(fetched) = fetched.inspect_err(|error| {
            tracing::debug!(trustpoint = self.label(), error = chain(error), "no RA certificates");
        }) else {
            return Ok(held);
        };
        // Those that nothing marks as an RA's are for the operator to accept.
        let has_others = !fetched.registrars().is_empty() && fetched.registrars() != known.registrars();
        if fetched.ca() != known.ca() || !has_others {
            return Ok(held);
        }
        // Every device of the CA has a certificate that it has signed. Only those of the names that were
        // there when the CA was accepted are an RA's: they decrypt passwords.
        let names: Vec<_> = known.registrars().iter().map(Certificate::subject_raw).collect();
        let is_known = |der: &[u8]| Certificate::parse(der).is_ok_and(|c| names.contains(&c.subject_raw()));
        let registrars: Vec<_> = kept(self.label(), &fetched, false)
            .into_iter()
            .filter(|c| c.kind == TrustedKind::Ra && is_known(&c.der))
            .collect();
        if registrars.is_empty() {
            return Ok(held);
        }
        self.store.trust_all(self.label(), &[TrustedKind::Ra], registrars)?;
        tracing::info!(trustpoint = self.label(), "the RA has other certificates");
        self.held()
    }

    /// The same of the RA's certificates of the CA's next time, which it may have got later than its devices
    /// asked for theirs, or has renewed. Whether they count is for [`Upper`](crate::trustpoint::Upper) to
    /// say.
    pub fn refresh_next_registrars(&self, held: Held, method: &Method) -> Result<Held, NodeError> {
        let (Some(ca), Some(known), Method::Scep(_)) = (&held.ca, &held.next_ca, method) else {
            return Ok(held);
        };
        if ca.registrars().is_empty() {
            return Ok(held);
        }
        let fetched = self.upper(method)?.next_ca_certificates(ca);
        let fetched = fetched.inspect_err(|error| {
            tracing::debug!(trustpoint = self.label(), error = chain(error), "no next RA certificates");
        });
        match fetched {
            Ok(Some(next))
                if next.ca() == known.ca()
                    && !next.registrars().is_empty()
                    && !next.registrars().iter().all(|c| known.registrars().contains(c)) =>
            {
                let mut registrars = kept(self.label(), &next, true);
                registrars.retain(|certificate| certificate.kind == TrustedKind::NextRa);
                self.store.trust_all(self.label(), &[TrustedKind::NextRa], registrars)?;
                tracing::info!(trustpoint = self.label(), "the RA has other next certificates");
                self.held()
            }
            _ => Ok(held),
        }
    }

    fn fetch_ca(&self) -> Result<CaCertificates, WorkError> {
        if let Some(root) = &self.wanted.root {
            return self
                .read_ca(&FileUrl::parse(root).map_err(|error| NodeError::Refused(error.to_string()))?);
        }
        let method = &self.wanted.authentication;
        match method {
            Method::Scep(_) => Ok(self.upper(method)?.ca_certificates()?),
            Method::Files { url, .. } => self.read_ca(&self.file(url, ".ca")?),
            Method::Command { .. } => {
                self.by_command(method, &Answers::default(), None, |task, transport| {
                    task.ca_certificates(transport)
                })
            }
            Method::Terminal => Err(NodeError::Refused(
                "the CA certificate is pasted: give it, as trustpoints with `enrollment terminal` need"
                    .into(),
            )
            .into()),
            Method::None => Err(NodeError::Refused(format!(
                "trustpoint {} does not say where its CA is\nhint: `enrollment url` or `enrollment terminal`",
                self.label()
            ))
            .into()),
        }
    }

    fn read_ca(&self, url: &FileUrl) -> Result<CaCertificates, WorkError> {
        let octets = self.files.read(url, None).map_err(crate::trustpoint::ClientError::from)?;
        CaCertificates::read(&octets).map_err(|error| NodeError::Refused(format!("{url}: {error}")).into())
    }

    fn offer(&self, certificates: CaCertificates) -> Offered {
        let der = certificates.ca().der();
        let of = |hash: Hash| hex(&hash.digest(&[der]));
        let verdict = match &self.wanted.fingerprint {
            None => Verdict::Unasked,
            Some(wanted) if wanted.is_of(der) => Verdict::Matches,
            Some(_) => Verdict::Differs,
        };
        Offered {
            trustpoint: self.label().to_owned(),
            fingerprint_md5: of(Hash::Md5),
            fingerprint_sha1: of(Hash::Sha1),
            fingerprint_sha256: of(Hash::Sha256),
            registrars: certificates.registrars().iter().map(OfferedRegistrar::of).collect(),
            unmarked: certificates.unmarked().iter().map(OfferedRegistrar::of).collect(),
            verdict,
            certificates,
        }
    }
}
