//! Certificates beside their keys on a token (`storage usbtoken0:`), where other programs find them. The database
//! is what counts: what is on the token follows it.

use crate::pki::{Certificate, chain};

use super::super::NodeError;
use super::work::Work;

impl Work {
    /// Brings the token that keeps the certificates of this trustpoint up to date. What fails is told and tried
    /// again with the next upkeep.
    pub fn sync_storage(&self) {
        if let Some(device) = &self.wanted.storage
            && let Err(error) = self.store_on(device)
        {
            let error = chain(&error);
            tracing::warn!(trustpoint = self.label(), error, "certificates are not on their token yet");
        }
    }

    fn store_on(&self, device: &str) -> Result<(), NodeError> {
        let mut wanted: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
        let held = self.held()?;
        for own in held.own.iter().filter(|own| !own.kind.is_next()) {
            let key = self.key_of(own)?;
            wanted.push((key.info().label.clone(), key.info().id.clone(), own.certificate.der().to_vec()));
        }
        for certificate in held.ca.iter().flat_map(|ca| ca.all()) {
            wanted.push((self.label().to_owned(), Vec::new(), certificate.der().to_vec()));
        }
        let marks = format!("trustpoint {}", self.label());
        let digest = crate::pki::Hash::Sha256
            .digest(&wanted.iter().map(|(_, _, der)| der.as_slice()).collect::<Vec<_>>());
        let state = format!("{device} {}", crate::pki::hex(&digest));
        if wanted.is_empty() || self.store.mark(&marks, STORED)?.as_deref() == Some(&state) {
            return Ok(());
        }
        let token = self.tokens.get(Some(device))?;
        for (label, id, der) in &wanted {
            // On a card there is no place for the certificates of others.
            if id.is_empty() && !token.stores_certificates_of_others() {
                continue;
            }
            token.store_certificate(label, id, der)?;
        }
        Ok(self.store.set_mark(&marks, STORED, Some(&state))?)
    }

    /// Takes a certificate that was replaced away from the token.
    pub fn unstore(&self, certificate: &Certificate) -> Result<(), NodeError> {
        if let Some(device) = &self.wanted.storage {
            self.tokens.get(Some(device))?.delete_certificate(certificate.der())?;
        }
        Ok(())
    }
}

/// Mark of a trustpoint: what is on which token.
pub const STORED: &str = "stored";
