//! What a responder answers, and whether that counts (RFC 6960, 3.2 and 4.2.2).

use std::time::Duration;

use const_oid::db::rfc5912;
use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsages};

use super::read::{Basic, Responder, Single};
use super::request::Question;
use crate::pki::algorithm::Hash;
use crate::pki::ber;
use crate::pki::certificate::Certificate;
use crate::pki::name::Name;
use crate::pki::path::{self, Path, PathError, Rules};
use crate::pki::standing::Standing;
use crate::pki::time::Time;

/// What a responder says of a certificate, signed by who may say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `None` when it does not know the certificate.
    pub standing: Option<Standing>,
    /// When that was known to be so.
    pub this_update: Time,
    /// When there will be news, where it says so.
    pub next_update: Option<Time>,
    /// Who speaks for the CA, when that is another whose certificate may have been revoked: it counts until
    /// the CA says otherwise. None when its certificate says that nobody need ask (id-pkix-ocsp-nocheck).
    pub responder: Option<Certificate>,
}

impl Question<'_> {
    /// What `response` answers to this question.
    ///
    /// It counts when it is signed by the issuer of the certificate, or by whom that issuer has given a
    /// certificate for this purpose (id-kp-OCSPSigning). Whether the latter was revoked is for the caller to
    /// ask (RFC 6960, 4.2.2.2.1), as far as it can: see [`Answer::responder`]. It must repeat the nonce if it
    /// has one; one without was made beforehand (RFC 5019, 4) and must say until when it holds.
    pub fn answer(&self, response: &[u8], rules: &Rules) -> Result<Answer, OcspFault> {
        let basic = Basic::parse(response)?;
        let responder = self.check_signer(&basic, rules)?;
        let repeated = match (&self.nonce, &basic.nonce) {
            (Some(asked), Some(answered)) if answered[..] != asked[..] => return Err(OcspFault::OtherNonce),
            (Some(_), Some(_)) => true,
            _ => false,
        };
        let single =
            basic.singles.iter().find(|single| self.is_about(single)).ok_or(OcspFault::OtherQuestion)?;
        if single.critical {
            return Err(OcspFault::CriticalSingle);
        }
        if single.this_update > rules.now.plus(TOLERANCE) {
            return Err(OcspFault::NotYet(single.this_update));
        }
        match single.next_update {
            Some(next) if next.plus(TOLERANCE) < rules.now => return Err(OcspFault::Expired(next)),
            Some(_) => {}
            // The nonce says that it was made just now.
            None if repeated => {}
            None if rules.now.since(single.this_update) <= TOLERANCE => {}
            None => return Err(OcspFault::Old(single.this_update)),
        }
        Ok(Answer {
            standing: single.standing,
            this_update: single.this_update,
            next_update: single.next_update,
            responder,
        })
    }

    fn is_about(&self, single: &Single) -> bool {
        let Some(hash) = single.hash else { return false };
        single.serial == *self.certificate.serial()
            && single.issuer_name == self.issuer_name(hash)
            && single.issuer_key == self.issuer_key(hash)
    }

    /// Whose revocation is to be asked about.
    fn check_signer(&self, basic: &Basic<'_>, rules: &Rules) -> Result<Option<Certificate>, OcspFault> {
        let algorithm = basic.algorithm.ok_or(OcspFault::Algorithm)?;
        if let Some(hash) = algorithm.hash().filter(|hash| !rules.legacy.allows(*hash)) {
            return Err(OcspFault::WeakDigest(hash));
        }
        let signed = |signer: &Certificate| signer.public_key().verify(algorithm, basic.tbs, basic.signature);
        if is_responder(self.issuer, &basic.responder) && signed(self.issuer).is_ok() {
            return Ok(None);
        }
        let delegate = basic.certificates.iter().take(MAX_CERTIFICATES);
        let mut delegates = delegate.filter(|certificate| is_responder(certificate, &basic.responder));
        let delegate = delegates.find(|certificate| signed(certificate).is_ok());
        let delegate = delegate.ok_or(OcspFault::Signature)?;
        // Issued by the CA itself: 4.2.2.2.
        let rules = Rules { expired: false, ..*rules };
        Path::find(delegate, &[], std::slice::from_ref(self.issuer), &rules)?;
        if !is_for_ocsp(delegate) {
            return Err(OcspFault::NoResponder(Name::from_der(delegate.subject_raw())));
        }
        let needs_no_check = delegate.extensions().find(&NO_CHECK).is_some();
        Ok((!needs_no_check).then(|| delegate.clone()))
    }
}

fn is_responder(certificate: &Certificate, id: &Responder<'_>) -> bool {
    match id {
        Responder::Name(name) => Name::from_der(name).matches(&Name::from_der(certificate.subject_raw())),
        Responder::Key(key) => certificate.public_key().key_identifier() == *key,
    }
}

fn is_for_ocsp(certificate: &Certificate) -> bool {
    let purposes = certificate.extensions().find(&rfc5912::ID_CE_EXT_KEY_USAGE);
    let purposes = purposes.and_then(|extension| ExtendedKeyUsage::from_der(&extension.value).ok());
    purposes.is_some_and(|purposes| purposes.0.contains(&rfc5912::ID_KP_OCSP_SIGNING))
        && path::allows(certificate, KeyUsages::DigitalSignature)
}

/// Why an answer says nothing about the certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspFault {
    /// Not the structure of RFC 6960, 4.2.1.
    #[error("the OCSP response is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// The responder does not answer; its OCSPResponseStatus.
    #[error("the OCSP responder said {}", status(*.0))]
    Status(u8),
    /// A critical extension of the response.
    #[error("the OCSP response has the critical extension {0}, which is not known here")]
    Critical(ObjectIdentifier),
    /// A critical extension of what it says of the certificate.
    #[error("the OCSP response has a critical extension that is not known here")]
    CriticalSingle,
    /// It answers another request.
    #[error("the OCSP response has another nonce: it answers another request")]
    OtherNonce,
    /// It is about other certificates.
    #[error("the OCSP response does not speak of this certificate")]
    OtherQuestion,
    /// The algorithm of its signature is not known.
    #[error("the algorithm of the OCSP response's signature is not known")]
    Algorithm,
    /// Its signature is over a weak digest.
    #[error(
        "the signature of the OCSP response uses {}, which is too weak (`crypto legacy {}` allows it)",
        .0.name(),
        .0.name()
    )]
    WeakDigest(Hash),
    /// Nobody whose certificate is known or came along signed it.
    #[error("the OCSP response is signed neither by the CA nor with a certificate that came with it")]
    Signature,
    /// The certificate of who signed it is not good.
    #[error("the OCSP responder may not speak for the CA: {0}")]
    Responder(#[from] PathError),
    /// The CA has not given the signer a certificate for this.
    #[error("the OCSP responder {0} may not speak for the CA: its certificate is not for OCSP signing")]
    NoResponder(Name),
    /// The certificate of who signed it was revoked.
    #[error("the OCSP responder {0} may not speak for the CA: its certificate was revoked")]
    RevokedResponder(Name),
    /// thisUpdate is yet to come.
    #[error("the OCSP response is of {0}, which is yet to come")]
    NotYet(Time),
    /// nextUpdate is over.
    #[error("the OCSP response is out of date since {0}")]
    Expired(Time),
    /// It has neither a nonce nor nextUpdate, and is not of now.
    #[error("the OCSP response is of {0} and does not say until when it holds")]
    Old(Time),
}

/// OCSPResponseStatus in words.
fn status(code: u8) -> String {
    match code {
        1 => "malformedRequest".to_owned(),
        2 => "internalError".to_owned(),
        3 => "tryLater".to_owned(),
        5 => "sigRequired".to_owned(),
        6 => "unauthorized: it does not know this CA".to_owned(),
        code => format!("status {code}, which is none"),
    }
}

/// id-pkix-ocsp-nocheck (RFC 6960, 4.2.2.2.1).
const NO_CHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");

/// How far the clock of the responder may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Certificates that came along and are looked at.
const MAX_CERTIFICATES: usize = 8;
