//! The next CA as SCEP clients see it: GetNextCACert, and requests that are encrypted to it (RFC 8894, 4.7).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ca::CaError;
use crate::pki::{DecryptionKey, SigningKey};
use crate::scep::{self, next_ca};

use super::{Answer, Elsewhere, Ra, Responder};

/// What serves requests to the next CA.
pub struct NextKeys {
    /// The authority that signs what is asked of it; of a CA elsewhere its [number](super::number_of).
    pub authority: u64,
    /// Opens them.
    pub decrypter: Responder<dyn DecryptionKey>,
    /// How it is told of.
    pub offer: Offer,
}

/// What GetNextCACert is answered with.
pub enum Offer {
    /// The certificates, signed here.
    Signed {
        /// The CA of now.
        signer: Box<Responder<dyn SigningKey>>,
        /// DER: the next CA certificate, then those of its SCEP keys or those above it.
        certificates: Vec<Vec<u8>>,
    },
    /// What a CA elsewhere answers, once it has been asked.
    HandedOn(Arc<Elsewhere>),
}

/// Who has fetched the next CA certificate, as far as can be known: GetNextCACert is anonymous.
#[derive(Debug, Default)]
pub struct Fetches(Mutex<BTreeSet<IpAddr>>);

pub(super) struct Next {
    /// The authority that signs what is asked of it.
    pub authority: u64,
    pub decrypter: Responder<dyn DecryptionKey>,
    told: Told,
}

enum Told {
    /// Signed once.
    Signed(Bytes),
    HandedOn(Arc<Elsewhere>),
}

impl Next {
    /// Signs what GetNextCACert will be answered with, where that is done here.
    pub fn new(keys: NextKeys) -> Result<Self, CaError> {
        let NextKeys { authority, decrypter, offer } = keys;
        let told = match offer {
            Offer::Signed { signer, certificates } => {
                let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
                let answer = next_ca::encode(&certificates, &signer.certificate, signer.key.as_ref())?;
                Told::Signed(answer.into())
            }
            Offer::HandedOn(elsewhere) => Told::HandedOn(elsewhere),
        };
        Ok(Self { authority, decrypter, told })
    }

    /// The answer to GetNextCACert, if it can be given now.
    pub fn answer(&self) -> Option<Bytes> {
        match &self.told {
            Told::Signed(answer) => Some(answer.clone()),
            Told::HandedOn(elsewhere) => elsewhere.next_answer(),
        }
    }
}

impl Ra {
    /// GetNextCACert.
    pub(super) fn next_ca_cert(&self, peer: IpAddr) -> Answer {
        let Some(answer) = self.next.as_ref().and_then(Next::answer) else {
            return Answer::not_found("there is no next CA certificate yet");
        };
        self.fetches.note(peer);
        tracing::debug!(target: "CRYPTO_CS", "sending the rollover CA certificate to {peer}");
        Answer::ok(scep::NEXT_CA_CERT, answer)
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
