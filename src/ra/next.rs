//! The next CA as SCEP clients see it: GetNextCACert, and requests that are encrypted to it (RFC 8894, 4.7).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ca::{Ca, CaError, Meter};
use crate::pki::{Certificate, DecryptionKey};
use crate::scep::{self, next_ca};

use super::{Answer, Ra, Responder};

/// What serves requests to the next CA.
pub struct Next {
    /// The authority that signs what is asked of it.
    pub(super) authority: u64,
    pub(super) decrypter: Responder<dyn DecryptionKey>,
    /// Certificates of CAs: the next one, then those above it.
    chain: Vec<Certificate>,
    /// The answer to GetNextCACert, signed once.
    answer: Bytes,
}

/// Who has fetched the next CA certificate, as far as can be known: GetNextCACert is anonymous.
#[derive(Debug, Default)]
pub struct Fetches(Mutex<BTreeSet<IpAddr>>);

impl Next {
    /// Signs, with the key of `ca` now, what GetNextCACert is answered with from now on: the certificate of the
    /// next CA, those `above` it, and those of the keys that serve `scep` for it. `decrypter` opens what is
    /// encrypted to it.
    pub fn new(
        ca: &Ca,
        above: &[Certificate],
        scep: &[Certificate],
        decrypter: Responder<dyn DecryptionKey>,
    ) -> Result<Self, CaError> {
        let issuer = ca.next().ok_or(CaError::Gone)?;
        let mut chain = vec![issuer.certificate().clone()];
        chain.extend_from_slice(above);
        let told: Vec<&[u8]> = chain.iter().chain(scep).map(Certificate::der).collect();
        let meter = Meter::new();
        let answer = next_ca::encode(&told, ca.certificate(), &meter.signing(ca.key().as_ref()))?;
        Ok(Self { authority: issuer.authority(), decrypter, chain, answer: answer.into() })
    }
}

impl Ra {
    /// GetNextCACert.
    pub(super) fn next_ca_cert(&self, peer: IpAddr) -> Answer {
        let Some(next) = &self.next else { return Answer::not_found("there is no next CA certificate yet") };
        self.fetches.note(peer);
        tracing::debug!(target: "CRYPTO_CS", "sending the rollover CA certificate to {peer}");
        Answer::ok(scep::NEXT_CA_CERT, next.answer.clone())
    }

    /// The authority that signs what is asked of the next CA, while there is one.
    pub fn next_authority(&self) -> Option<u64> {
        self.next.as_ref().map(|next| next.authority)
    }

    /// Certificates of CAs, from that which issued to the uppermost, so far as they are known.
    pub(super) fn chain_of(&self, authority: Option<u64>) -> &[Certificate] {
        match &self.next {
            Some(next) if authority == Some(next.authority) => &next.chain,
            _ => self.certifier.certificates(),
        }
    }
}

impl Fetches {
    fn note(&self, peer: IpAddr) {
        let mut peers = self.peers();
        if peers.len() < MOST_FETCHES {
            peers.insert(peer.to_canonical());
        }
    }

    /// How many addresses have fetched it since the process began, or the last one was forgotten.
    pub fn count(&self) -> usize {
        self.peers().len()
    }

    /// Another next CA certificate has been fetched by nobody yet.
    pub fn forget(&self) {
        self.peers().clear();
    }

    fn peers(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses that are told apart: anybody may ask from any of them.
const MOST_FETCHES: usize = 100_000;
