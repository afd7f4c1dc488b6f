//! Decisions: pure functions from (verified request, requester, configuration, now) to
//! [`Decision`]. Nothing is issued without the [`Approved`] that only this module makes.

use crate::pki::profile::{self, Requested, RequestedError};
use crate::pki::{Certificate, Class, Hash, PublicKey, Time, VerifiedCsr};

/// What the operator configured about granting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `grant …`.
    pub grant: Grant,
    /// `crypto legacy rsa-1024`: RSA keys from 1024 bits are certified.
    pub rsa_1024: bool,
    /// `crypto legacy md5`: requests signed with MD5 are read.
    pub md5: bool,
}

/// How requests that nothing authorizes are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// They wait for the operator.
    #[default]
    Manual,
    /// They are issued.
    Auto,
    /// Every request is refused.
    None,
    /// What a known RA has authorized is issued, the rest waits for the operator.
    RaAuto,
}

/// Who signed the message that brought the request.
#[derive(Clone, Debug)]
pub enum Requester<'a> {
    /// The key to be certified itself: a device without a certificate, or an operator's paste.
    Itself,
    /// The holder of a certificate that this CA issued: exactly this one, by the CA's own record, or by
    /// its signature when it was taken over without one.
    Holder {
        /// The certificate.
        certificate: &'a Certificate,
        /// Whether it was revoked.
        revoked: bool,
    },
    /// The holder of some other certificate.
    Stranger,
}

/// The challengePassword, looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// There is none.
    Absent,
    /// There is one, but this server has given no passwords out: IOS devices always send one.
    NotInUse,
    /// It is a live one-time password, its digest this one.
    Valid([u8; 32]),
    /// It is unknown, expired, used, or bound to another subject.
    Invalid,
}

/// What a request was sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intention {
    /// PKCSReq: a first certificate, or with older clients a renewal.
    Enroll,
    /// RenewalReq.
    Renew,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decision {
    /// A certificate is issued.
    Issue(Approved),
    /// It waits for the operator.
    Pend(Examined),
    /// It is refused, and not recorded.
    Reject(Refusal),
}

/// A request that may be issued. Made by [`decide`] and [`operator_grants`] only; issuing takes it by value.
#[derive(Debug)]
pub struct Approved {
    examined: Examined,
    by: Authorization,
}

/// A request found sound: its key strong enough, its extensions readable, somebody named.
#[derive(Clone, Debug)]
pub struct Examined {
    csr: VerifiedCsr,
    requested: Requested,
    class: Class,
}

/// What authorized an issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// `grant auto`.
    Auto,
    /// A one-time password; to be claimed in the transaction that records the request.
    Password([u8; 32]),
    /// The certificate that is renewed.
    Renewal,
    /// The operator.
    Operator,
}

impl Approved {
    /// The request.
    pub fn examined(&self) -> &Examined {
        &self.examined
    }

    /// What authorized it.
    pub fn authorization(&self) -> Authorization {
        self.by
    }
}

impl Examined {
    /// The PKCS#10.
    pub fn csr(&self) -> &VerifiedCsr {
        &self.csr
    }

    /// What it asks for.
    pub fn requested(&self) -> &Requested {
        &self.requested
    }

    /// Its group.
    pub fn class(&self) -> Class {
        self.class
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is too weak or unknown.
    #[error("{0}")]
    WeakKey(String),
    /// The request is signed with a digest not allowed.
    #[error("the request is signed with {}, which needs \"crypto legacy {}\"", .0.name(), .0.name())]
    WeakDigest(Hash),
    /// It does not say who asks.
    #[error("the request names neither a subject nor an alternative name")]
    Nameless,
    /// An extension is malformed.
    #[error(transparent)]
    Malformed(#[from] RequestedError),
    /// The challenge is not a live one-time password for this subject. One text for every cause.
    #[error("the challenge password is not valid")]
    Challenge,
    /// `grant none`.
    #[error("this server grants nothing now")]
    Closed,
    /// The signer is neither the key to be certified nor the holder of a certificate of ours.
    #[error("the signer is not known here")]
    UnknownSigner,
    /// The certificate to be renewed is revoked.
    #[error("the certificate to be renewed is revoked")]
    Revoked,
    /// The certificate to be renewed is not valid now.
    #[error("the certificate to be renewed is expired or not yet valid")]
    NotValidNow,
    /// A renewal asks for another subject or for further names.
    #[error("a renewal must keep the subject and may not add names")]
    OtherSubject,
}

/// Decides about a request at `now`.
///
/// A request that asks to issue certificates itself always waits, as does one that calls itself an RA.
/// A renewal needs the certificate renewed to be ours, valid and unrevoked, and keeps its names. A
/// challenge, once the server gives passwords out, must be a live one. What nothing authorizes follows
/// `grant`.
pub fn decide(
    csr: VerifiedCsr,
    intention: Intention,
    requester: &Requester<'_>,
    challenge: Challenge,
    rules: &Rules,
    now: Time,
) -> Decision {
    let examined = match examine(csr, rules) {
        Ok(examined) => examined,
        Err(refusal) => return Decision::Reject(refusal),
    };
    let renewal = match may_renew(&examined, requester, now) {
        Ok(renewal) => renewal,
        // The same certificate on a PKCSReq with another name is a new request by a known device.
        Err(Refusal::OtherSubject) if intention == Intention::Enroll => false,
        Err(refusal) => return Decision::Reject(refusal),
    };
    if intention == Intention::Renew && !renewal {
        return Decision::Reject(Refusal::UnknownSigner);
    }
    if challenge == Challenge::Invalid && !renewal {
        return Decision::Reject(Refusal::Challenge);
    }
    let by = match (rules.grant, challenge) {
        (Grant::None, _) => return Decision::Reject(Refusal::Closed),
        _ if examined.class != Class::Router => None,
        _ if renewal => Some(Authorization::Renewal),
        (_, Challenge::Valid(digest)) => Some(Authorization::Password(digest)),
        (Grant::Auto, _) => Some(Authorization::Auto),
        (Grant::Manual | Grant::RaAuto, _) => None,
    };
    match by {
        Some(by) => Decision::Issue(Approved { examined, by }),
        None => Decision::Pend(examined),
    }
}

/// The operator grants a request that waited. Sound it must still be.
pub fn operator_grants(csr: VerifiedCsr, rules: &Rules) -> Result<Approved, Refusal> {
    Ok(Approved { examined: examine(csr, rules)?, by: Authorization::Operator })
}

/// What every request must satisfy, whoever grants it.
fn examine(csr: VerifiedCsr, rules: &Rules) -> Result<Examined, Refusal> {
    weakness(csr.public_key(), rules)?;
    match csr.signature_algorithm().map(|algorithm| algorithm.hash()) {
        Some(Hash::Md5) if !rules.md5 => return Err(Refusal::WeakDigest(Hash::Md5)),
        _ => {}
    }
    let requested = Requested::of(&csr)?;
    if requested.is_nameless() {
        return Err(Refusal::Nameless);
    }
    let class = requested.class();
    Ok(Examined { csr, requested, class })
}

fn weakness(key: &PublicKey, rules: &Rules) -> Result<(), Refusal> {
    profile::weakness(key, rules.rsa_1024).map_or(Ok(()), |why| Err(Refusal::WeakKey(why)))
}

/// Whether the requester renews: `Ok(false)` for one who holds nothing of ours and needs nothing.
fn may_renew(examined: &Examined, requester: &Requester<'_>, now: Time) -> Result<bool, Refusal> {
    let (certificate, revoked) = match requester {
        Requester::Itself => return Ok(false),
        Requester::Stranger => return Err(Refusal::UnknownSigner),
        Requester::Holder { certificate, revoked } => (certificate, *revoked),
    };
    if revoked {
        return Err(Refusal::Revoked);
    }
    if !certificate.is_valid_at(now) {
        return Err(Refusal::NotValidNow);
    }
    let held = certificate.extensions().subject_alt_name();
    let held = held.and_then(|names| crate::pki::extension::device_names(names).ok()).unwrap_or_default();
    let same_subject = examined.requested.subject.as_der() == certificate.subject_raw();
    if !same_subject || examined.requested.names().iter().any(|name| !held.contains(name)) {
        return Err(Refusal::OtherSubject);
    }
    Ok(true)
}
