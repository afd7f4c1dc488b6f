//! What a server gives while its token is away: what is stored and needs no key.

use std::sync::Arc;

use crate::config::{ServerMode, ServerSection};
use crate::pki::{Certificate, Time, chain};
use crate::ra::{Answer, Asked, Listed, Published, crl};
use crate::scep::AlgorithmPolicy;
use crate::store::{Phase, Role, Store, StoreError};

use super::NodeError;
use super::server::parse;
use super::start::algorithms;
use super::trustpoints::ca_of;

/// The stored certificates and CRLs of a server that should run and cannot.
pub struct Standby {
    label: String,
    store: Arc<dyn Store>,
    /// The authorities that sign CRLs, with their keyIdentifiers; the active one first.
    issuers: Vec<(u64, Vec<u8>)>,
    published: Published,
    algorithms: AlgorithmPolicy,
}

impl Standby {
    /// `None` for a server that has no CA yet, and for an RA, whose CA is elsewhere.
    pub fn of(
        store: &Arc<dyn Store>,
        label: &str,
        section: &ServerSection,
    ) -> Result<Option<Self>, NodeError> {
        if matches!(section.mode, ServerMode::Ra { .. }) {
            return Ok(None);
        }
        let authorities = store.authorities(label)?;
        let active = |role| authorities.iter().find(|a| a.role == role && a.is_active());
        let Some(authority) = active(Role::Ca) else { return Ok(None) };
        let mut cas = vec![parse(&authority.certificate)?];
        if section.mode == ServerMode::SubCs {
            cas.extend(ca_of(store.as_ref(), label)?.iter().flat_map(|above| above.cas().cloned()));
        }
        let scep = match (active(Role::RaDecrypt), active(Role::RaSign)) {
            (Some(decrypt), Some(sign)) if is_separate(&cas[0], section) => {
                Some((parse(&decrypt.certificate)?, parse(&sign.certificate)?))
            }
            _ => None,
        };
        let mut issuers = vec![(authority.id, cas[0].key_identifier())];
        let others = authorities.iter().filter(|a| a.role == Role::Ca && a.id != authority.id);
        for other in others.filter(|a| a.phase != Phase::Discarded) {
            issuers.push((other.id, parse(&other.certificate)?.key_identifier()));
        }
        let scep = scep.as_ref().map(|(decrypt, sign)| (decrypt, sign));
        Ok(Some(Self {
            label: label.to_owned(),
            store: store.clone(),
            issuers,
            published: Published::new(&cas, scep, section.scep.ca_alone),
            algorithms: algorithms(section),
        }))
    }

    /// Answers what needs no key; to the rest: come again.
    pub fn answer(&self, asked: &Asked, now: Time) -> Answer {
        match asked {
            Asked::CaCaps => Published::ca_caps(&self.algorithms),
            Asked::CaCert => self.published.ca_cert(),
            Asked::CaCertChain => self.published.ca_chain(),
            Asked::Certificate => self.published.certificate(),
            Asked::Crl => self.crl(None, now),
            Asked::CrlOf(key) => self.crl(Some(key), now),
            Asked::NextCaCert | Asked::PkiOperation(_) => Answer::busy(),
        }
    }

    fn crl(&self, key: Option<&[u8]>, now: Time) -> Answer {
        let issuer = match key {
            None => self.issuers.first(),
            Some(key) => self.issuers.iter().find(|(_, of)| of == key),
        };
        let found: Result<_, StoreError> =
            issuer.map_or(Ok(None), |(authority, _)| self.store.crl(&self.label, *authority));
        match found {
            Ok(found) => crl(found.map(Listed::from), key.is_some(), now),
            Err(error) => {
                tracing::error!(server = self.label, error = %chain(&error), "the CRL could not be read");
                Answer::busy()
            }
        }
    }
}

/// Whether SCEP has keys of its own beside that of this CA.
fn is_separate(ca: &Certificate, section: &ServerSection) -> bool {
    let enciphers = ca.extensions().key_usage().is_none_or(|usage| usage.key_encipherment());
    section.scep.separate_key.is_some() || !enciphers || !ca.public_key().kind().encrypts()
}
