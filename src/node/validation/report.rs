//! What operators ask: validation step by step, CRLs at hand, CRLs fetched anew.

use serde::Serialize;

use crate::files::FileUrl;
use crate::node::{Node, NodeError};
use crate::pki::path::Rules;
use crate::pki::{Certificate, Name};
use crate::trustpoint::CaCertificates;

use super::kept::{self, AtHand};
use super::sources::Source;
use super::trust::Trust;
use super::{Exceptions, Invalid, Validated};

/// What became of certificates that were to be validated.
#[derive(Clone, Debug, Serialize)]
pub struct Validation {
    /// Against which trustpoint.
    pub trustpoint: String,
    /// Each certificate.
    pub certificates: Vec<Checked>,
}

/// What became of one.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its subject, in the notation of IOS.
    pub subject: String,
    /// Its serial number.
    pub serial: String,
    /// Whether it is accepted.
    pub valid: bool,
    /// The subjects on its path, the trusted one last; empty when it is not accepted.
    pub path: Vec<String>,
    /// Who was asked about each of them, from the CA down.
    pub revocation: Vec<String>,
    /// Why it is not accepted.
    pub error: Option<String>,
}

/// A CRL at hand.
#[derive(Clone, Debug, Serialize)]
pub struct CrlRow {
    /// Its issuer, in the notation of IOS.
    pub issuer: String,
    /// thisUpdate.
    pub this_update: String,
    /// nextUpdate.
    pub next_update: String,
    /// When it was fetched.
    pub fetched: String,
    /// Where it came from; of SCEP, `SCEP ` and the URL.
    pub source: String,
    /// Whether the certificate named no place, and the CA was asked by SCEP.
    pub by_scep: bool,
}

/// A CRL that was fetched, or was to be.
#[derive(Clone, Debug, Serialize)]
pub struct Requested {
    /// Its issuer, in the notation of IOS.
    pub issuer: String,
    /// Where it came from.
    pub source: Option<String>,
    /// How many certificates are on it.
    pub entries: Option<u64>,
    /// nextUpdate.
    pub next_update: Option<String>,
    /// Why it could not be fetched.
    pub error: Option<String>,
}

impl Node {
    /// `crypto pki certificate validate`: the trustpoint's own certificates, or those of somebody else that
    /// are in a file, the one in question first.
    pub fn validate(&self, trustpoint: &str, peer: Option<&FileUrl>) -> Result<Validation, NodeError> {
        let now = self.now();
        let trust = Trust::of(self, trustpoint)?;
        let certificates = match peer {
            Some(url) => {
                let octets = self.files().read(url, None);
                let octets = octets.map_err(|error| NodeError::Refused(error.to_string()))?;
                let chain = CaCertificates::every(&octets);
                let chain = chain.map_err(|error| NodeError::Refused(format!("{url}: {error}")))?;
                let (first, _) = chain.split_first().expect("one at least was read");
                vec![Checked::of(first, self.check_peer(trustpoint, &chain, now))]
            }
            None => {
                let check = |own: &super::trust::Own| {
                    let anchors = trust.above(&own.certificate);
                    let none = Exceptions::default();
                    let checked = self.check(&trust, &own.certificate, &[], &anchors, none, now);
                    Checked::of(&own.certificate, checked)
                };
                trust.own.iter().map(check).collect()
            }
        };
        if certificates.is_empty() {
            return Err(NodeError::Refused(format!(
                "the trustpoint \"{trustpoint}\" has no certificate of its own\nhint: name a file to validate that of \
                 somebody else"
            )));
        }
        Ok(Validation { trustpoint: trustpoint.to_owned(), certificates })
    }

    /// `show crypto pki crls`: those of other CAs at hand.
    pub fn crls(&self) -> Result<Vec<CrlRow>, NodeError> {
        let row = |origin: crate::store::CrlOrigin| CrlRow {
            issuer: origin.issuer,
            this_update: origin.this_update.to_string(),
            next_update: origin.next_update.to_string(),
            fetched: origin.fetched.to_string(),
            by_scep: matches!(Source::parse(&origin.source), Some(Source::Scep(_))),
            source: origin.source,
        };
        Ok(self.store.fetched_crls()?.into_iter().map(row).collect())
    }

    /// `crypto pki crl request`: fetches the CRLs of the trustpoint's CAs, whatever is at hand.
    pub fn request_crls(&self, trustpoint: &str) -> Result<Vec<Requested>, NodeError> {
        let trust = Trust::of(self, trustpoint)?;
        if trust.anchors.is_empty() {
            return Err(NodeError::Refused(Invalid::NotAuthenticated(trustpoint.to_owned()).to_string()));
        }
        let rules = Rules { legacy: trust.legacy, ..Rules::at(self.now()) };
        // That of a server here is issued here.
        let is_here = |issuer: &&Certificate| trust.own.iter().any(|own| own.certificate == **issuer);
        let issuers: Vec<_> = trust.anchors.iter().filter(|issuer| !is_here(issuer)).collect();
        if issuers.is_empty() {
            return Err(NodeError::Refused(format!(
                "the CRL of certificate server \"{trustpoint}\" is issued here; \"crypto pki server {trustpoint} info \
                 crl\" shows it"
            )));
        }
        let mut requested = Vec::new();
        for issuer in issuers {
            // What a CA has issued says where its CRL is.
            let issued = trust.own.iter().map(|own| &own.certificate).chain(&trust.anchors);
            let issued = issued.filter(|certificate| !certificate.is_self_issued());
            let mut issued = issued.filter(|certificate| certificate.issuer_raw() == issuer.subject_raw());
            let fetched = kept::request(self, &trust, issued.next(), issuer, &rules);
            let issuer = Name::from_der(issuer.subject_raw()).to_string();
            requested.push(match fetched {
                Ok(AtHand { source, crl }) => Requested {
                    issuer,
                    source: Some(source.to_string()),
                    entries: Some(crl.len()),
                    next_update: crl.next_update().map(|next| next.to_string()),
                    error: None,
                },
                Err(failure) => Requested {
                    issuer,
                    source: None,
                    entries: None,
                    next_update: None,
                    error: Some(failure.to_string()),
                },
            });
        }
        Ok(requested)
    }
}

impl Checked {
    fn of(certificate: &Certificate, checked: Result<Validated, Invalid>) -> Self {
        let subject = |certificate: &Certificate| Name::from_der(certificate.subject_raw()).to_string();
        let mut row = Self {
            subject: subject(certificate),
            serial: certificate.serial().to_string(),
            valid: checked.is_ok(),
            path: Vec::new(),
            revocation: Vec::new(),
            error: None,
        };
        match checked {
            Ok(Validated { path, asked }) => {
                row.path = path.certificates().iter().map(subject).collect();
                row.revocation = asked
                    .iter()
                    .map(|asked| format!("{} was asked about: {}", asked.subject, asked.how))
                    .collect();
            }
            Err(error) => row.error = Some(error.to_string()),
        }
        row
    }
}
