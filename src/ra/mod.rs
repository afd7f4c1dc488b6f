//! One SCEP request, whole: bytes in, bytes out, without HTTP. Open, decide, issue, answer.

mod answer;
mod certifier;
mod challenge;
mod coming;
mod elsewhere;
mod enroll;
mod forward;
mod lists;
mod next;
mod operation;
mod published;
mod replies;
mod told;

use std::net::IpAddr;
use std::sync::Arc;

use crate::ca::CaError;
use crate::pki::{Certificate, DecryptionKey, SigningKey, Time, chain};
use crate::scep::{self, AlgorithmPolicy};
use crate::store::Store;

pub use answer::{Answer, Body, Cache};
pub use certifier::{Certifier, Listed};
pub use challenge::challenge_digest;
pub use coming::{Coming, number_of};
pub use elsewhere::{Above, Elsewhere, Registrar};
pub use enroll::ByHand;
pub use forward::Forwarder;
pub use next::{Fetches, NextKeys, Offer};
pub use published::{Published, crl};

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

/// How answers are put together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// `scep include-chain`: replies carry the certificates of the CA, and of those above it, behind the one
    /// issued.
    pub chain: bool,
    /// `scep ca-certificate alone`: GetCACert gives the certificate of the CA alone, also where others are above
    /// it, for clients that take two certificates for those of an RA.
    pub alone: bool,
}

/// Which trustpoint accepts a certificate of another CA, the first of these, at this time; else why none does
/// (`grant auto trustpoint`). The others came along and may lead from it to the CA.
pub type Vouch = dyn Fn(&[Certificate], Time) -> Result<String, String> + Send + Sync;

/// The registration side of one certificate server.
pub struct Ra {
    certifier: Arc<dyn Certifier>,
    store: Arc<dyn Store>,
    signer: Responder<dyn SigningKey>,
    decrypter: Responder<dyn DecryptionKey>,
    separate: bool,
    next: Option<Next>,
    fetches: Arc<Fetches>,
    algorithms: AlgorithmPolicy,
    manner: Manner,
    vouch: Option<Box<Vouch>>,
    replies: Replies,
    /// Bodies that never change while it runs.
    published: Published,
}

impl Ra {
    /// Serves what is certified by `certifier` with these keys. Where there is a next CA certificate, it is
    /// signed here for all who will ask.
    pub fn new(
        certifier: Arc<dyn Certifier>,
        store: Arc<dyn Store>,
        keys: Keys,
        algorithms: AlgorithmPolicy,
        manner: Manner,
    ) -> Result<Self, CaError> {
        let Keys { signer, decrypter, separate, next, fetches } = keys;
        let next = next.map(Next::new).transpose()?;
        let scep = separate.then_some((&decrypter.certificate, &signer.certificate));
        let published = Published::new(certifier.certificates(), scep, manner.alone);
        Ok(Self {
            published,
            certifier,
            store,
            signer,
            decrypter,
            separate,
            next,
            fetches,
            algorithms,
            manner,
            vouch: None,
            replies: Replies::default(),
        })
    }

    /// The same; `vouch` is asked about signers that hold another CA's certificate.
    pub fn vouched_by(self, vouch: Box<Vouch>) -> Self {
        Self { vouch: Some(vouch), ..self }
    }

    /// Whether SCEP is served with other keys than the CA's.
    pub fn is_separate(&self) -> bool {
        self.separate
    }

    /// What it serves.
    pub fn certifier(&self) -> &dyn Certifier {
        self.certifier.as_ref()
    }

    /// Answers what `peer` asks at `now`.
    pub fn answer(&self, asked: Asked, peer: IpAddr, now: Time) -> Answer {
        match asked {
            Asked::CaCaps => self.ca_caps(),
            Asked::CaCert => self.published.ca_cert(),
            Asked::CaCertChain => self.published.ca_chain(),
            Asked::NextCaCert => self.next_ca_cert(peer),
            Asked::Certificate => self.published.certificate(),
            Asked::Crl => self.crl(None, peer, now),
            Asked::CrlOf(key) => self.crl(Some(&key), peer, now),
            Asked::PkiOperation(message) => self.pki_operation(&message, peer, now),
        }
    }

    fn ca_caps(&self) -> Answer {
        let offers = self.next.as_ref().is_some_and(|next| next.answer().is_some());
        Answer::ok("text/plain", scep::Capabilities::serving(&self.algorithms, offers).to_string())
    }

    /// The CRL of the CA as it is, or of the one of its keys with this identifier.
    fn crl(&self, key: Option<&[u8]>, peer: IpAddr, now: Time) -> Answer {
        match self.certifier.crl(key, now) {
            Ok(listed) => crl(listed, key.is_some(), now),
            Err(error) => {
                tracing::error!(%peer, error = %chain(&error), "the CRL could not be read");
                Answer::busy()
            }
        }
    }
}
