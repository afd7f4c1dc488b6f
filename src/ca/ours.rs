//! Which certificates are of this CA.

use crate::pki::{Certificate, Class, Hash, Serial};
use crate::store::{self, Record};

use super::{Ca, CaError, Issuer};

/// A certificate found to be of this CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Its serial number.
    pub serial: Serial,
    /// Whether it was revoked.
    pub revoked: bool,
    /// As what it was granted. Of one that answered no request here, as of a CA taken over, nothing more than
    /// a device's is known.
    pub class: Class,
}

impl Ca {
    /// Whether this CA issued `certificate`, by whichever of its keys: it is stored under its serial number
    /// octet for octet. Or, as the CA was taken over, it is known only that one with this number was issued,
    /// or not even that; then the signature decides. A weak digest, of which there may be two certificates
    /// with one signature, counts only under `crypto legacy md5`.
    pub fn issued(&self, certificate: &Certificate) -> Result<Option<Ours>, CaError> {
        if !self.is_named(certificate.issuer_raw()) {
            return Ok(None);
        }
        let Some(record) = self.store.record(&self.label, certificate.serial())? else { return Ok(None) };
        let ours = match &record.der {
            Some(der) => der == certificate.der(),
            None => self.signed(certificate, &record)?,
        };
        let class = record.class.unwrap_or(Class::Router);
        Ok(ours.then(|| Ours { serial: record.serial, revoked: record.revocation.is_some(), class }))
    }

    /// The certificate with this serial number, when it is known whole.
    pub fn certificate_with(&self, serial: &Serial) -> Result<Option<store::Certificate>, CaError> {
        Ok(self.store.certificate(&self.label, serial)?)
    }

    /// Whether this encoded name is that of the CA, or was, or will be.
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.issuers().any(|issuer| issuer.name().as_der() == name)
    }

    /// Who issued the certificate with this serial number, were it its own; the active one when nobody knows.
    pub fn issuer_of(&self, serial: &Serial) -> Result<&Issuer, CaError> {
        if let Some(own) = self.issuers().find(|issuer| issuer.certificate().serial() == serial) {
            return Ok(own);
        }
        let record = self.store.record(&self.label, serial)?;
        self.issuer(record.and_then(|record| record.authority)).or(Ok(&self.active))
    }

    /// Whether the authority of `record` signed `certificate`, with a digest that counts.
    fn signed(&self, certificate: &Certificate, record: &Record) -> Result<bool, CaError> {
        let strong = certificate.signature_algorithm().is_some_and(|algorithm| match algorithm.hash() {
            Some(Hash::Md5 | Hash::Sha1) => self.settings.rules.md5,
            Some(Hash::Sha256 | Hash::Sha384 | Hash::Sha512) | None => true,
        });
        let authorities = self.store.authorities(&self.label)?;
        let Some(issuer) = authorities.iter().find(|a| Some(a.id) == record.authority) else {
            return Ok(false);
        };
        let issuer = Certificate::parse(&issuer.certificate).map_err(|e| CaError::Damaged(e.to_string()))?;
        Ok(strong && certificate.verify_signed_by(issuer.public_key()).is_ok())
    }
}
