//! What everybody may have of a CA, and for which no key is asked: its certificates and its CRLs.

use std::time::Duration;

use bytes::Bytes;

use crate::pki::{Certificate, Time};
use crate::scep::{self, AlgorithmPolicy};

use super::{Answer, Cache, Listed};

/// The certificates of a server, as they are given out.
pub struct Published {
    ca_cert: (&'static str, Bytes),
    ca_chain: Bytes,
    /// Of the CA.
    certificate: Certificate,
}

impl Published {
    /// Of the CA, then of those above it; and of keys of SCEP's own, that for decryption first. `alone` gives the
    /// CA's alone where it has no others beside it.
    ///
    /// # Panics
    /// Without a certificate of a CA.
    pub fn new(cas: &[Certificate], scep: Option<(&Certificate, &Certificate)>, alone: bool) -> Self {
        let ders: Vec<&[u8]> = cas.iter().map(|certificate| certificate.der()).collect();
        let (content_type, octets) = match scep {
            // Decryption before signing: clients that take the first RA certificate encrypt with it.
            Some((decrypter, signer)) => {
                let mut all = vec![decrypter.der(), signer.der()];
                all.dedup();
                all.extend(&ders);
                (scep::CA_RA_CERT, scep::certs_only(&all))
            }
            None if ders.len() > 1 && !alone => (scep::CA_RA_CERT, scep::certs_only(&ders)),
            None => (scep::CA_CERT, ders[0].to_vec()),
        };
        Self {
            ca_cert: (content_type, octets.into()),
            ca_chain: scep::certs_only(&ders).into(),
            certificate: cas[0].clone(),
        }
    }

    /// GetCACert.
    pub fn ca_cert(&self) -> Answer {
        Answer::ok(self.ca_cert.0, self.ca_cert.1.clone())
    }

    /// GetCACertChain.
    pub fn ca_chain(&self) -> Answer {
        Answer::ok(scep::CA_CERT_CHAIN, self.ca_chain.clone())
    }

    /// `/L.cer`.
    pub fn certificate(&self) -> Answer {
        let certificate = &self.certificate;
        let der = Bytes::copy_from_slice(certificate.der());
        Answer::ok("application/pkix-cert", der).cached(Cache {
            etag: format!("\"{}-{}\"", certificate.serial(), certificate.not_before().unix()),
            modified: certificate.not_before(),
            max_age: CERTIFICATE_MAX_AGE,
            expires: Some(certificate.not_after()),
        })
    }

    /// GetCACaps of a server that offers no next CA certificate.
    pub fn ca_caps(algorithms: &AlgorithmPolicy) -> Answer {
        Answer::ok("text/plain", scep::Capabilities::serving(algorithms, false).to_string())
    }
}

/// A CRL, which may not be there; `of_key` where one of a certain key was asked for.
pub fn crl(crl: Option<Listed>, of_key: bool, now: Time) -> Answer {
    let Some(crl) = crl else {
        return Answer::not_found(match of_key {
            true => "there is no CRL of such a key",
            false => "there is no CRL yet",
        });
    };
    Answer::ok("application/pkix-crl", crl.der).cached(Cache {
        // The key, because each counts for itself; the time as well: a CA deleted and made anew under its
        // label counts from 1 again.
        etag: format!("\"{}-{}-{}\"", crl.authority, crl.number, crl.this_update.unix()),
        modified: crl.this_update,
        // A revocation makes a new CRL at once; a cache may hide it this long and no longer.
        max_age: crl.next_update.since(now).min(CRL_MAX_AGE),
        expires: Some(crl.next_update),
    })
}

const CRL_MAX_AGE: Duration = Duration::from_secs(300);
const CERTIFICATE_MAX_AGE: Duration = Duration::from_secs(3600);
