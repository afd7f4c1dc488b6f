//! One SCEP request, whole: bytes in, bytes out, without HTTP. Open, decide, issue, answer.

mod answer;
mod challenge;
mod enroll;
mod next;
mod operation;
mod replies;
mod told;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::ca::{Ca, CaError, Issuer};
use crate::pki::{Certificate, DecryptionKey, SigningKey, Time, chain};
use crate::scep::{self, AlgorithmPolicy};
use crate::store::Store;

pub use answer::{Answer, Body, Cache};
pub use challenge::challenge_digest;
pub use enroll::ByHand;
pub use next::{Fetches, NextKeys};

use next::Next;
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
    /// The CRL of the key with this keyIdentifier, which may be the next one or one that was: `/L-KEY.crl`.
    CrlOf(Vec<u8>),
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
    /// Those of the next CA, once there is one.
    pub next: Option<NextKeys>,
    /// Where it is noted who asks for the next CA certificate.
    pub fetches: Arc<Fetches>,
}

/// The registration side of one certificate server.
pub struct Ra {
    ca: Arc<Ca>,
    store: Arc<dyn Store>,
    signer: Responder<dyn SigningKey>,
    decrypter: Responder<dyn DecryptionKey>,
    separate: bool,
    next: Option<Next>,
    fetches: Arc<Fetches>,
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
    /// Serves `ca` with these keys. Where it has a next certificate, that is signed here for all who will ask.
    pub fn new(
        ca: Arc<Ca>,
        store: Arc<dyn Store>,
        keys: Keys,
        algorithms: AlgorithmPolicy,
        chain: bool,
    ) -> Result<Self, CaError> {
        let Keys { signer, decrypter, separate, next, fetches } = keys;
        let next = next.map(|keys| Next::new(&ca, keys)).transpose()?;
        let ca_der = ca.certificate().der();
        let ca_chain = scep::certs_only(&[ca_der]);
        let ca_cert = match separate {
            false => ca_der.to_vec(),
            // Decryption before signing: clients that take the first RA certificate encrypt with it.
            true => scep::certs_only(&[decrypter.certificate.der(), signer.certificate.der(), ca_der]),
        };
        Ok(Self {
            caps: scep::Capabilities::serving(&algorithms, next.is_some()).to_string().into(),
            certificate: Bytes::copy_from_slice(ca_der),
            ca,
            store,
            signer,
            decrypter,
            separate,
            next,
            fetches,
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
            Asked::NextCaCert => self.next_ca_cert(peer),
            Asked::Certificate => self.certificate(),
            Asked::Crl => self.crl(self.ca.active(), peer, now),
            Asked::CrlOf(key) => match self.ca.issuers().find(|issuer| issuer.key_id() == key) {
                Some(issuer) => self.crl(issuer, peer, now),
                None => Answer::not_found("no key of this CA has this identifier"),
            },
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

    fn crl(&self, issuer: &Issuer, peer: IpAddr, now: Time) -> Answer {
        let crl = match self.ca.crl_of(issuer) {
            Ok(Some(crl)) => crl,
            Ok(None) => return Answer::not_found("there is no CRL yet"),
            Err(error) => {
                tracing::error!(%peer, error = %chain(&error), "the CRL could not be read");
                return Answer::busy();
            }
        };
        Answer::ok("application/pkix-crl", crl.der).cached(Cache {
            // The key, because each counts for itself; the time as well: a CA deleted and made anew under its
            // label counts from 1 again.
            etag: format!("\"{}-{}-{}\"", issuer.authority(), crl.number, crl.this_update.unix()),
            modified: crl.this_update,
            // A revocation makes a new CRL at once; a cache may hide it this long and no longer.
            max_age: crl.next_update.since(now).min(CRL_MAX_AGE),
            expires: Some(crl.next_update),
        })
    }
}

const CRL_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(300);
const CERTIFICATE_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);
