//! The next CA as SCEP clients see it: GetNextCACert, and requests that are encrypted to it (RFC 8894, 4.7).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ca::CaError;
use crate::pki::{DecryptionKey, SigningKey};
use crate::scep::{self, next_ca};

use super::{Answer, Ra, Responder};

/// What serves requests to the next CA.
pub struct NextKeys {
    /// The authority that signs what is asked of it.
    pub authority: u64,
    /// Signs the answer to GetNextCACert: the CA of now.
    pub signer: Responder<dyn SigningKey>,
    /// Opens them.
    pub decrypter: Responder<dyn DecryptionKey>,
    /// What GetNextCACert tells, DER: the next CA certificate, then those of its SCEP keys or those above it.
    pub certificates: Vec<Vec<u8>>,
}

/// Who has fetched the next CA certificate, as far as can be known: GetNextCACert is anonymous.
#[derive(Debug, Default)]
pub struct Fetches(Mutex<BTreeSet<IpAddr>>);

pub(super) struct Next {
    /// The authority that signs what is asked of it.
    pub authority: u64,
    pub decrypter: Responder<dyn DecryptionKey>,
    /// The answer to GetNextCACert, signed once.
    answer: Bytes,
}

impl Next {
    /// Signs what GetNextCACert will be answered with.
    pub fn new(keys: NextKeys) -> Result<Self, CaError> {
        let NextKeys { authority, signer, decrypter, certificates } = keys;
        let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
        let answer = next_ca::encode(&certificates, &signer.certificate, signer.key.as_ref())?;
        Ok(Self { authority, decrypter, answer: answer.into() })
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
