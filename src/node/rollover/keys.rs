//! The keys of a CA beside those that act: of the next one and of those that were, found at a start.

use std::sync::Arc;

use crate::ca::{Ca, Issuer, Meter};
use crate::node::NodeError;
use crate::node::server::parse;
use crate::node::start::{Start, usable_for_scep};
use crate::pki::{Certificate, DecryptionKey};
use crate::ra::{NextKeys, Offer, Responder};
use crate::store::{Authority, Phase, Role};
use crate::token::TokenKey;

use super::late::LateKey;
use super::plan::generation;

impl Start<'_> {
    /// `ca` with what it will sign with and what it has signed with. Their tokens need not be there.
    pub fn with_others(&self, ca: Ca, authorities: &[Authority]) -> Result<Ca, NodeError> {
        let others = authorities.iter().filter(|a| a.role == Role::Ca);
        let others = others.filter(|a| matches!(a.phase, Phase::Next | Phase::Retired));
        others.into_iter().try_fold(ca, |ca, other| {
            let public_key = parse(&other.certificate)?.public_key().clone();
            let tokens = self.around.tokens.clone();
            let key = LateKey::new(tokens, &other.token, &other.key_label, public_key);
            Ok(ca.with(Issuer::open(other, Arc::new(key))?))
        })
    }

    /// The keys that serve SCEP for the next CA, made and certified where they are missing; `None` without a
    /// next CA.
    pub fn next_keys(
        &self,
        ca: &Ca,
        authorities: &[Authority],
        meter: &Meter,
    ) -> Result<Option<NextKeys>, NodeError> {
        let Some(issuer) = ca.next() else { return Ok(None) };
        let Some(authority) = authorities.iter().find(|a| a.id == issuer.authority()) else {
            return Ok(None);
        };
        let token = self.around.tokens.get(Some(&authority.token))?;
        let key = token.key(&authority.key_label)?;
        let mut certificates = vec![issuer.certificate().der().to_vec()];
        let signer = Responder { certificate: ca.certificate().clone(), key: ca.key().clone() };
        let place = self.scep_place(&authority.token, &key, issuer);
        let Some(place) = place else {
            let decrypter = responder(usable_for_scep(issuer.certificate(), false)?, key);
            certificates.extend(self.above_next()?);
            let offer = Offer::Signed { signer: Box::new(signer), certificates };
            return Ok(Some(NextKeys { authority: authority.id, decrypter, offer }));
        };
        let sign = self.scep_key(ca, issuer, Role::RaSign, authority, &place, meter)?;
        let decrypt = self.scep_key(ca, issuer, Role::RaDecrypt, authority, &place, meter)?;
        // As GetCACert has them, but the CA first: it is what is asked for.
        certificates.extend([decrypt.0.der().to_vec(), sign.0.der().to_vec()]);
        certificates.extend(self.above_next()?);
        let decrypter = responder(decrypt.0, decrypt.1);
        let offer = Offer::Signed { signer: Box::new(signer), certificates };
        Ok(Some(NextKeys { authority: authority.id, decrypter, offer }))
    }
}

/// What the keys of SCEP are called beside a CA key with this label: those of each generation have its number.
pub fn scep_label(server: &str, ca_key: &str, what: &str) -> String {
    match generation(ca_key).1 {
        1 => format!("{server}.scep-{what}"),
        number => format!("{server}#{number}.scep-{what}"),
    }
}

fn responder(certificate: Certificate, key: TokenKey) -> Responder<dyn DecryptionKey> {
    Responder { certificate, key: Arc::new(key) }
}
