//! What a trustpoint has, read from the database.

use crate::pki::{Certificate, Time};
use crate::store::{Store, TrustedCertificate, TrustedKind, UpperPhase, UpperRequest};
use crate::trustpoint::CaCertificates;

use super::super::NodeError;
use super::super::server::parse;

/// Certificates and requests of a trustpoint.
pub struct Held {
    /// The CA of now; none before it is authenticated.
    pub ca: Option<CaCertificates>,
    /// The CA of the time after.
    pub next_ca: Option<CaCertificates>,
    /// Its own certificates, of now and next.
    pub own: Vec<OwnCertificate>,
    /// What it has asked for.
    pub requests: Vec<UpperRequest>,
}

/// A certificate of a trustpoint, and where its key is.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// Which of its own it is.
    pub kind: TrustedKind,
    /// The certificate.
    pub certificate: Certificate,
    /// Name of the token with the key, and the label of that; unknown of what came without.
    pub key: Option<(String, String)>,
}

impl Held {
    /// Reads what this trustpoint has.
    pub fn of(store: &dyn Store, label: &str) -> Result<Self, NodeError> {
        let (mut now, mut next, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for trusted in store.trusted(label)? {
            let certificate = parse(&trusted.der)?;
            match trusted.kind {
                TrustedKind::Ca | TrustedKind::Ra => now.push(certificate),
                TrustedKind::NextCa | TrustedKind::NextRa => next.push(certificate),
                kind => {
                    own.push(OwnCertificate { kind, certificate, key: trusted.token.zip(trusted.key_label) })
                }
            }
        }
        let sorted = |certificates: Vec<Certificate>| match certificates.is_empty() {
            true => Ok(None),
            // As an RA's is on record what was accepted as that.
            false => CaCertificates::sorted(certificates).map(|sorted| Some(sorted.with_unmarked())),
        };
        let sorted =
            |certificates| sorted(certificates).map_err(|error| NodeError::Refused(error.to_string()));
        let requests = store.requests(label)?;
        Ok(Self { ca: sorted(now)?, next_ca: sorted(next)?, own, requests })
    }

    /// Its certificate of this kind; of several the one that ends last.
    pub fn own(&self, kind: TrustedKind) -> Option<&OwnCertificate> {
        let of_kind = self.own.iter().filter(|own| own.kind == kind);
        of_kind.max_by_key(|own| own.certificate.not_after())
    }

    /// The request for a certificate of this kind.
    pub fn request(&self, kind: TrustedKind) -> Option<&UpperRequest> {
        self.requests.iter().find(|request| request.kind == kind)
    }

    /// The CA that a certificate of this kind is from, and so the request for it is for.
    pub fn ca_for(&self, kind: TrustedKind) -> Option<&CaCertificates> {
        match kind.is_next() {
            true => self.next_ca.as_ref().or(self.ca.as_ref()),
            false => self.ca.as_ref(),
        }
    }

    /// Whether what is next should be what is now: the CA of now has ended, or our certificate has and the next
    /// one is valid already.
    pub fn next_is_due(&self, now: Time) -> bool {
        let ca_ended = self.next_ca.is_some() && self.ca.as_ref().is_none_or(|ca| now >= ca.ca().not_after());
        let own_ended = self.own.iter().filter(|own| own.kind.is_next()).any(|next| {
            let before = self.own.iter().filter(|own| own.kind.next() == next.kind && own.kind != next.kind);
            let ended = before.map(|own| own.certificate.not_after()).max().is_none_or(|end| now > end);
            ended && next.certificate.is_valid_at(now)
        });
        ca_ended || (own_ended && self.next_ca.is_none())
    }
}

/// The CA of now of a trustpoint, with those above it and its RAs; none before it is authenticated.
pub fn ca_of(store: &dyn Store, label: &str) -> Result<Option<CaCertificates>, NodeError> {
    Ok(Held::of(store, label)?.ca)
}

/// How certificates of a CA are kept.
pub fn kept(label: &str, certificates: &CaCertificates, next: bool) -> Vec<TrustedCertificate> {
    certificates
        .all()
        .map(|certificate| {
            let registrar = certificates.registrars().contains(certificate);
            let kind = if registrar { TrustedKind::Ra } else { TrustedKind::Ca };
            TrustedCertificate {
                trustpoint: label.to_owned(),
                kind: if next { kind.next() } else { kind },
                serial: certificate.serial().clone(),
                der: certificate.der().to_vec(),
                token: None,
                key_label: None,
            }
        })
        .collect()
}

/// Whether something of this phase goes on by itself, given time.
pub const fn goes_on(phase: UpperPhase) -> bool {
    matches!(phase, UpperPhase::Making | UpperPhase::Sending | UpperPhase::Pending)
}
