//! What a CRL says of a certificate, and whether that counts (RFC 5280, 6.3).

use std::time::Duration;

use x509_cert::ext::pkix::KeyUsages;

use super::read::Crl;
use crate::pki::algorithm::Hash;
use crate::pki::certificate::Certificate;
use crate::pki::key::VerifyError;
use crate::pki::name::Name;
use crate::pki::path::{self, Rules};
use crate::pki::serial::Serial;
use crate::pki::standing::Standing;
use crate::pki::time::Time;

impl Crl {
    /// Whether this is a CRL of `issuer`, a CA that is trusted already: of its name, signed with its key, and
    /// that key is for CRLs.
    pub fn check_issuer(&self, issuer: &Certificate, rules: &Rules) -> Result<(), CrlFault> {
        let name = Name::from_der(self.issuer_raw());
        if !name.matches(&Name::from_der(issuer.subject_raw())) {
            return Err(CrlFault::OtherIssuer(name));
        }
        if !path::allows(issuer, KeyUsages::CRLSign) {
            return Err(CrlFault::MayNotSign);
        }
        if let Err(error) = self.verify_signed_by(issuer.public_key()) {
            let key = self.authority_key_identifier();
            let is_other = key.is_some_and(|key| key != issuer.key_identifier());
            return Err(if is_other { CrlFault::OtherKey } else { error.into() });
        }
        match self.signature_algorithm().and_then(|algorithm| algorithm.hash()) {
            Some(hash) if !rules.legacy.allows(hash) => Err(CrlFault::WeakDigest(hash)),
            _ => Ok(()),
        }
    }

    /// Whether it is the one to go by now: issued already, and the next one is not due. One that does not say
    /// when that is, which RFC 5280 demands, could be of any age.
    pub fn check_current(&self, now: Time) -> Result<(), CrlFault> {
        if self.this_update() > now.plus(TOLERANCE) {
            return Err(CrlFault::NotYet(self.this_update()));
        }
        match self.next_update() {
            None => Err(CrlFault::Endless),
            Some(next) if next < now => Err(CrlFault::Expired(next)),
            Some(_) => Ok(()),
        }
    }

    /// What it says of this certificate of its issuer. Says nothing about the CRL: that is for
    /// [`check_issuer`](Self::check_issuer) and [`check_current`](Self::check_current).
    pub fn standing(&self, serial: &Serial) -> Standing {
        let entry = self.entries().find(|entry| entry.serial == *serial);
        entry.map_or(Standing::Good, |entry| Standing::Revoked { at: entry.at, reason: entry.reason })
    }
}

/// Why a CRL says nothing about the certificates of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlFault {
    /// Another's.
    #[error("it is the CRL of {0}")]
    OtherIssuer(Name),
    /// Of the same name, with another key.
    #[error("it is of another key of the CA")]
    OtherKey,
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// Its signature is over a weak digest.
    #[error("its signature uses {}, which is too weak (`crypto legacy {}` allows it)", .0.name(), .0.name())]
    WeakDigest(Hash),
    /// keyUsage of the CA lacks cRLSign.
    #[error("the CA may not sign CRLs: its keyUsage lacks cRLSign")]
    MayNotSign,
    /// thisUpdate is yet to come.
    #[error("it is of {0}, which is yet to come")]
    NotYet(Time),
    /// nextUpdate is over.
    #[error("it is out of date since {0}")]
    Expired(Time),
    /// It has no nextUpdate.
    #[error("it does not say until when it holds")]
    Endless,
}

/// How far the clock of another may be ahead.
const TOLERANCE: Duration = Duration::from_secs(300);
