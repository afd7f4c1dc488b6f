//! One SCEP request, whole: bytes in, bytes out, without HTTP. Open, decide, issue, answer.

mod answer;
mod challenge;
mod enroll;
mod operation;
mod replies;
mod told;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::ca::{Ca, CaError};
use crate::pki::{Certificate, DecryptionKey, SigningKey, Time, chain};
use crate::scep::{self, AlgorithmPolicy};
use crate::store::Store;

pub use answer::{Answer, Body, Cache};
pub use challenge::challenge_digest;
pub use enroll::ByHand;

use replies::Replies;

/// What a client may ask for over HTTP.
#[derive(Clone, Debug)]
pub enum Asked {
    /// GetCACaps.
    CaCaps,
    /// GetCACert.
    CaCert,
    /// GetCACertChain, of the drafts.
    CaCertChain,
    /// GetNextCACert.
    NextCaCert,
    /// PKIOperation, with the message.
    PkiOperation(Vec<u8>),
    /// The CRL: `operation=GetCRL` of IOS, and `/L.crl`.
    Crl,
    /// `/L.cer`.
    Certificate,
}

/// A certificate and its private key.
#[derive(Clone)]
pub struct Responder<K: ?Sized> {
    /// The certificate.
    pub certificate: Certificate,
    /// The key.
    pub key: Arc<K>,
}

/// Which keys serve SCEP.
pub struct Keys {
    /// Signs replies.
    pub signer: Responder<dyn SigningKey>,
    /// Opens requests.
    pub decrypter: Responder<dyn DecryptionKey>,
    /// Whether they are keys of their own and not the CA's.
    pub separate: bool,
}

/// The registration side of one certificate server.
pub struct Ra {
    ca: Arc<Ca>,
    store: Arc<dyn Store>,
    signer: Responder<dyn SigningKey>,
    decrypter: Responder<dyn DecryptionKey>,
    separate: bool,
    algorithms: AlgorithmPolicy,
    /// Whether replies carry the CA certificate behind the one issued.
    chain: bool,
    replies: Replies,
    /// Bodies that never change while it runs.
    caps: Bytes,
    ca_cert: Bytes,
    ca_chain: Bytes,
    certificate: Bytes,
}

impl Ra {
    /// Serves `ca` with these keys.
    pub fn new(
        ca: Arc<Ca>,
        store: Arc<dyn Store>,
        keys: Keys,
        algorithms: AlgorithmPolicy,
        chain: bool,
    ) -> Result<Self, CaError> {
        let Keys { signer, decrypter, separate } = keys;
        let ca_der = ca.certificate().der();
        let ca_chain = scep::certs_only(&[ca_der]);
        let ca_cert = match separate {
            false => ca_der.to_vec(),
            // Decryption before signing: clients that take the first RA certificate encrypt with it.
            true => scep::certs_only(&[decrypter.certificate.der(), signer.certificate.der(), ca_der]),
        };
        Ok(Self {
            caps: scep::Capabilities::serving(&algorithms).to_string().into(),
            certificate: Bytes::copy_from_slice(ca_der),
            ca,
            store,
            signer,
            decrypter,
            separate,
            algorithms,
            chain,
            replies: Replies::default(),
            ca_cert: ca_cert.into(),
            ca_chain: ca_chain.into(),
        })
    }

    /// Which keys serve SCEP, in words.
    pub fn keys_in_words(&self) -> &'static str {
        if self.separate { "separate" } else { "CA key" }
    }

    /// Answers what `peer` asks at `now`.
    pub fn answer(&self, asked: Asked, peer: IpAddr, now: Time) -> Answer {
        match asked {
            Asked::CaCaps => Answer::ok("text/plain", self.caps.clone()),
            Asked::CaCert if self.separate => Answer::ok(scep::CA_RA_CERT, self.ca_cert.clone()),
            Asked::CaCert => Answer::ok(scep::CA_CERT, self.ca_cert.clone()),
            Asked::CaCertChain => Answer::ok(scep::CA_CERT_CHAIN, self.ca_chain.clone()),
            Asked::NextCaCert => Answer::not_found("there is no next CA certificate yet"),
            Asked::Certificate => self.certificate(),
            Asked::Crl => self.crl(now).unwrap_or_else(|error| {
                tracing::error!(%peer, error = %chain(&error), "the CRL could not be read");
                Answer::busy()
            }),
            Asked::PkiOperation(message) => self.pki_operation(&message, peer, now),
        }
    }

    fn certificate(&self) -> Answer {
        let certificate = self.ca.certificate();
        Answer::ok("application/pkix-cert", self.certificate.clone()).cached(Cache {
            etag: format!("\"{}-{}\"", certificate.serial(), certificate.not_before().unix()),
            modified: certificate.not_before(),
            max_age: CERTIFICATE_MAX_AGE,
            expires: Some(certificate.not_after()),
        })
    }

    fn crl(&self, now: Time) -> Result<Answer, CaError> {
        let Some(crl) = self.ca.crl()? else { return Ok(Answer::not_found("there is no CRL yet")) };
        Ok(Answer::ok("application/pkix-crl", crl.der).cached(Cache {
            // The time as well: a CA deleted and made anew under its label counts from 1 again.
            etag: format!("\"{}-{}\"", crl.number, crl.this_update.unix()),
            modified: crl.this_update,
            // A revocation makes a new CRL at once; a cache may hide it this long and no longer.
            max_age: crl.next_update.since(now).min(CRL_MAX_AGE),
            expires: Some(crl.next_update),
        }))
    }
}

const CRL_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(300);
const CERTIFICATE_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);
