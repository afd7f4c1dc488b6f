//! Founding: the CA certificate on first use, and the certificates of keys that serve SCEP in its place.

use std::sync::Arc;

use crate::pki::extension::Purpose;
use crate::pki::{Certificate, Name, SignatureAlgorithm, SigningKey, Time, profile};
use crate::store::{Authority, NewAuthority, Phase, Role, Store};

use super::issue::{intent, sign};
use super::{Ca, CaError, Issuer, Meter, Settings};

/// What a new CA is made from.
pub struct Founding<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// Issuer name.
    pub name: &'a Name,
    /// Token name and label of the key.
    pub place: (&'a str, &'a str),
    /// The key.
    pub key: Arc<dyn SigningKey>,
    /// Whether the key will serve SCEP, too.
    pub scep: bool,
}

impl Founding<'_> {
    /// The CA certificate: makes and installs it, or finishes what a crash interrupted.
    pub fn found(
        &self,
        store: &dyn Store,
        settings: &Settings,
        meter: &Meter,
        now: Time,
    ) -> Result<Authority, CaError> {
        let certificate = self.certificate(store, settings, meter, now)?;
        self.install(store, certificate)
    }

    /// The CA certificate, DER, not installed yet: makes it, or finds what a crash left.
    pub fn certificate(
        &self,
        store: &dyn Store,
        settings: &Settings,
        meter: &Meter,
        now: Time,
    ) -> Result<Vec<u8>, CaError> {
        match self.kept(store)? {
            Some(certificate) => Ok(certificate),
            None => {
                let intent = match store.unfinished(self.label)?.into_iter().find(|i| i.authority.is_none()) {
                    Some(intent) => intent,
                    None => store.intend(self.intent(settings, now)?, None)?,
                };
                Ok(store.keep(self.label, sign(intent, self.key.as_ref(), meter, now)?)?.der)
            }
        }
    }

    /// Makes it the server's.
    pub fn install(&self, store: &dyn Store, certificate: Vec<u8>) -> Result<Authority, CaError> {
        let (token, key_label) = self.place;
        Ok(store.install(
            NewAuthority {
                server: self.label.to_owned(),
                role: Role::Ca,
                token: token.to_owned(),
                key_label: key_label.to_owned(),
                certificate,
            },
            None,
        )?)
    }

    /// A root certificate of this key that was kept but not installed.
    fn kept(&self, store: &dyn Store) -> Result<Option<Vec<u8>>, CaError> {
        let key = self.key.public_key().fingerprint();
        let first = store.certificates(self.label, None, 16)?;
        Ok(first.into_iter().find(|c| c.authority.is_none() && c.key == key).map(|c| c.der))
    }

    fn intent(&self, settings: &Settings, now: Time) -> Result<crate::store::NewIntent, CaError> {
        let key = self.key.public_key();
        let algorithm = SignatureAlgorithm::for_key(key.kind(), settings.hash);
        let validity = (now, now.plus(settings.ca_lifetime));
        let template = profile::root(self.name, key, self.scep, algorithm, validity);
        intent(self.label, None, settings.serial, template, now)
    }
}

impl Ca {
    /// Certifies a key that serves SCEP in place of the CA's, by this issuer, and installs it in `role`, or
    /// prepares it where the issuer is the next one; finds the one that is there when its key and its issuer are
    /// the same and it is valid still.
    pub fn certify_scep_key(
        &self,
        issuer: &Issuer,
        role: Role,
        key: &dyn SigningKey,
        place: (&str, &str),
        meter: &Meter,
        now: Time,
    ) -> Result<Authority, CaError> {
        let known = self.store.authorities(&self.label)?;
        let known = known.into_iter().find(|a| a.role == role && a.phase == issuer.phase());
        if let Some(authority) = &known {
            let certificate = Certificate::parse(&authority.certificate);
            let certificate = certificate.map_err(|e| CaError::Damaged(e.to_string()))?;
            let record = self.store.record(&self.label, certificate.serial())?;
            let by = record.and_then(|record| record.authority);
            if certificate.public_key() == key.public_key()
                && by == Some(issuer.authority())
                // When the CA itself is over there is no better one.
                && (now <= certificate.not_after() || now > issuer.certificate().not_after())
            {
                return Ok(authority.clone());
            }
        }
        let purpose = match role {
            Role::RaDecrypt => Purpose::ScepDecrypter,
            Role::RaSign | Role::Ca => Purpose::ScepSigner,
        };
        let subject = self.scep_name(role)?;
        // As long as the CA: nobody should have to fetch RA certificates anew before the CA rolls over.
        let validity = issuer.validity(self.settings.ca_lifetime, now, self.certificate().not_after())?;
        let facts = issuer.facts(&self.settings);
        let template = profile::scep_key(&subject, key.public_key(), purpose, &facts, validity);
        let certificate = self.issue_own(issuer, template, meter, now)?;
        let (token, key_label) = place;
        let authority = NewAuthority {
            server: self.label.clone(),
            role,
            token: token.to_owned(),
            key_label: key_label.to_owned(),
            certificate: certificate.der,
        };
        Ok(match (issuer.phase(), known) {
            (Phase::Next, None) => self.store.prepare(authority)?,
            // Its key was lost, or is that of another next CA.
            (Phase::Next, Some(known)) => self.store.replace_next(authority, known.id)?,
            (_, known) => self.store.install(authority, known.map(|authority| authority.id))?,
        })
    }

    /// `cn=<label> SCEP signing` or `… encryption`, then the CA's name.
    fn scep_name(&self, role: Role) -> Result<Name, CaError> {
        let what = if role == Role::RaDecrypt { "encryption" } else { "signing" };
        let label = self.label.replace([',', '+', '"', '\\', '='], "_");
        let text = format!("cn={label} SCEP {what},{}", self.name());
        Name::parse(&text).map_err(|e| CaError::Damaged(e.to_string()))
    }
}
