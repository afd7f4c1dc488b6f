//! Decisions: pure functions from (verified request, requester, configuration, now) to
//! [`Decision`]. Nothing is issued without the [`Approved`] that only this module makes.

use crate::pki::profile::{self, NoneBelow, Requested, RequestedError};
use crate::pki::{Certificate, Class, Hash, PublicKey, Time, VerifiedCsr};

/// What the operator configured about granting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `grant …`.
    pub grant: Grant,
    /// `grant auto rollover ca-cert`: a subordinate CA's request is granted that its current certificate signs.
    pub rollover_ca: bool,
    /// `grant auto rollover ra-cert`: the same for an RA's.
    pub rollover_ra: bool,
    /// pathLenConstraint of the CA certificate that is asked: how many CAs may stand below. Not configured.
    pub path_len: Option<u8>,
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
        /// As what it was granted, by the CA's own record: a name alone makes nobody an RA.
        class: Class,
    },
    /// The holder of another CA's certificate, which a trustpoint of `grant auto trustpoint` trusts: its chain
    /// was checked, and that it is not revoked.
    Vouched {
        /// The certificate.
        certificate: &'a Certificate,
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
    /// `grant auto rollover`: the certificate of the CA or RA that asks for its next one.
    Rollover,
    /// `grant ra-auto`: the RA that signed the message.
    Registrar,
    /// `grant auto trustpoint`: another CA's certificate with the same names.
    Trustpoint,
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
    /// A renewal asks for what the certificate is not: a device's for a CA's, or the other way round.
    #[error("a renewal of a {}'s certificate must not ask for a {}'s", noun(*.0), noun(*.1))]
    OtherClass(Class, Class),
    /// The CA's own certificate allows no CA below it.
    #[error("the certificate of this CA allows no CA below it (pathLenConstraint 0)")]
    PathLength,
}

/// Decides about a request at `now`.
///
/// A request that asks to issue certificates itself waits, as does one that calls itself an RA; `grant auto
/// rollover` lets those through that renew a certificate which was granted by hand, and ask for no longer
/// path. A renewal needs the certificate renewed to be ours, valid and unrevoked, and keeps its names and its
/// class. A challenge, once the server gives passwords out, must be a live one, unless the signer's
/// certificate speaks for the request: what a device told its RA is not for the CA. What nothing authorizes
/// follows `grant`.
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
    let standing = match standing(&examined, requester, now) {
        Ok(standing) => standing,
        // The same certificate on a PKCSReq with another name is a new request by a known device.
        Err(Refusal::OtherSubject | Refusal::OtherClass(..)) if intention == Intention::Enroll => {
            Standing::None
        }
        Err(refusal) => return Decision::Reject(refusal),
    };
    if intention == Intention::Renew && matches!(standing, Standing::None | Standing::Registrar) {
        return Decision::Reject(Refusal::UnknownSigner);
    }
    if challenge == Challenge::Invalid && standing == Standing::None {
        return Decision::Reject(Refusal::Challenge);
    }
    let by = match (examined.class, standing) {
        _ if rules.grant == Grant::None => return Decision::Reject(Refusal::Closed),
        (Class::SubordinateCa, Standing::Renewal)
            if rules.rollover_ca && keeps_length(&examined, requester, rules) =>
        {
            Some(Authorization::Rollover)
        }
        (Class::Ra, Standing::Renewal) if rules.rollover_ra => Some(Authorization::Rollover),
        (Class::SubordinateCa | Class::Ra, _) => None,
        (Class::Router, Standing::Renewal) => Some(Authorization::Renewal),
        (Class::Router, Standing::Vouched) => Some(Authorization::Trustpoint),
        (Class::Router, Standing::Registrar) if rules.grant == Grant::RaAuto => {
            Some(Authorization::Registrar)
        }
        (Class::Router, Standing::None | Standing::Registrar) => match (challenge, rules.grant) {
            (Challenge::Valid(digest), _) => Some(Authorization::Password(digest)),
            (_, Grant::Auto) => Some(Authorization::Auto),
            _ => None,
        },
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
    match csr.signature_algorithm().and_then(|algorithm| algorithm.hash()) {
        Some(Hash::Md5) if !rules.md5 => return Err(Refusal::WeakDigest(Hash::Md5)),
        _ => {}
    }
    let requested = Requested::of(&csr)?;
    if requested.is_nameless() {
        return Err(Refusal::Nameless);
    }
    let class = requested.class();
    if class == Class::SubordinateCa && rules.path_len == Some(0) {
        return Err(Refusal::PathLength);
    }
    Ok(Examined { csr, requested, class })
}

fn weakness(key: &PublicKey, rules: &Rules) -> Result<(), Refusal> {
    profile::weakness(key, rules.rsa_1024).map_or(Ok(()), |why| Err(Refusal::WeakKey(why)))
}

/// What the certificate of the signer is worth for a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    None,
    /// It is renewed.
    Renewal,
    /// It is that of an RA, which asks for a device.
    Registrar,
    /// It is another CA's, and has the names asked for.
    Vouched,
}

/// What the requester's certificate is worth. One that does not count is an error, not nothing: who holds it
/// should not come through as one who holds none.
fn standing(examined: &Examined, requester: &Requester<'_>, now: Time) -> Result<Standing, Refusal> {
    let (certificate, revoked, class) = match requester {
        Requester::Itself => return Ok(Standing::None),
        Requester::Stranger => return Err(Refusal::UnknownSigner),
        Requester::Holder { certificate, revoked, class } => (certificate, *revoked, *class),
        // To devices only: what vouches for it has not said that it may speak for others.
        Requester::Vouched { certificate } => (certificate, false, Class::Router),
    };
    if revoked {
        return Err(Refusal::Revoked);
    }
    if !certificate.is_valid_at(now) {
        return Err(Refusal::NotValidNow);
    }
    if class == Class::Ra && examined.class == Class::Router {
        return Ok(Standing::Registrar);
    }
    let held = certificate.extensions().subject_alt_name();
    let held = held.and_then(|names| crate::pki::extension::device_names(names).ok()).unwrap_or_default();
    let same_subject = examined.requested.subject.as_der() == certificate.subject_raw();
    if !same_subject || examined.requested.names().iter().any(|name| !held.contains(name)) {
        return Err(Refusal::OtherSubject);
    }
    match requester {
        _ if class != examined.class => Err(Refusal::OtherClass(class, examined.class)),
        Requester::Vouched { .. } => Ok(Standing::Vouched),
        _ => Ok(Standing::Renewal),
    }
}

/// Whether the certificate asked for would let no more CAs stand below than the one that is renewed, which an
/// operator has granted.
fn keeps_length(examined: &Examined, requester: &Requester<'_>, rules: &Rules) -> bool {
    let Requester::Holder { certificate, .. } = requester else { return false };
    let held = certificate.extensions().basic_constraints().and_then(|constraints| constraints.path_len);
    let granted = profile::path_len_below(rules.path_len, examined.requested.authority.flatten());
    match (held, granted) {
        (_, Err(NoneBelow)) | (Some(_), Ok(None)) => false,
        (None, Ok(_)) => true,
        (Some(held), Ok(Some(granted))) => u32::from(granted) <= held,
    }
}

fn noun(class: Class) -> &'static str {
    match class {
        Class::SubordinateCa => "subordinate CA",
        Class::Ra => "RA",
        Class::Router => "device",
    }
}
