//! Certification paths: from a certificate up to one that is trusted (RFC 5280, 6).
//!
//! What a CA for VPN gateways needs of it. `rustls-webpki` is made for TLS: it takes no `crypto legacy`, no
//! certificate of version 1, no certificate that has expired but is allowed, and does not say which certificate
//! of a path it refuses; hence a search of our own. Revocation is not looked at: that needs lists and answers,
//! which [`Crl::standing`](super::crl::Crl::standing) and [`ocsp`](super::ocsp) judge.

mod names;
mod search;

use std::fmt;

use const_oid::db::rfc5912;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::KeyUsages;

use super::algorithm::Hash;
use super::certificate::Certificate;
use super::extension::{Usages, usages_from_der};
use super::key::KeyKind;
use super::name::Name;
use super::serial::Serial;
use super::tbs::algorithm_of;
use super::time::Time;

/// What a path has to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// At what time it has to be valid.
    pub now: Time,
    /// What is weak and allowed all the same.
    pub legacy: Legacy,
    /// Whether the certificate itself, not those above it, may have expired.
    pub expired: bool,
}

/// Weak cryptography that is allowed (`crypto legacy …`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Signatures over MD5.
    pub md5: bool,
    /// Signatures over SHA-1.
    pub sha1: bool,
    /// RSA keys below 2048 bits, from 1024 on.
    pub rsa_1024: bool,
}

impl Rules {
    /// Valid at this time, and nothing weak.
    pub fn at(now: Time) -> Self {
        Self { now, legacy: Legacy::default(), expired: false }
    }
}

impl Legacy {
    /// Whether signatures over this digest count.
    pub fn allows(self, hash: Hash) -> bool {
        match hash {
            Hash::Md5 => self.md5,
            Hash::Sha1 => self.sha1,
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => true,
        }
    }

    fn allows_key(self, kind: KeyKind) -> bool {
        match kind {
            KeyKind::Rsa { bits } => bits >= if self.rsa_1024 { 1024 } else { 2048 },
            KeyKind::Ec(_) | KeyKind::MlDsa(_) => true,
        }
    }
}

/// A certification path that was checked: the certificate, those of the CAs above it, the trusted one last. A
/// certificate that is trusted itself is a path of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Certificate>);

impl Path {
    /// Finds a path from `certificate` to one of `anchors`, over any of `others`, by these rules.
    ///
    /// Anchors are trusted as CAs because the caller says so: their own signature proves nothing and is not
    /// looked at, and they need no anchor of their own. They have to be valid and to be CAs all the same. Names
    /// and signatures connect certificates; key identifiers say which issuer to try first. Fails with what is
    /// wrong with the path that came furthest.
    pub fn find(
        certificate: &Certificate,
        others: &[Certificate],
        anchors: &[Certificate],
        rules: &Rules,
    ) -> Result<Self, PathError> {
        search::Search::new(others, anchors, rules).from(certificate).map(Self)
    }

    /// The certificates, from the one in question to the trusted one.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// The certificate in question.
    pub fn certificate(&self) -> &Certificate {
        // A search begins with it.
        &self.0[0]
    }

    /// Each certificate that has an issuer on the path, with it: what revocation is asked about.
    pub fn issued(&self) -> impl Iterator<Item = (&Certificate, &Certificate)> {
        self.0.iter().zip(&self.0[1..])
    }
}

/// Which certificate is not as it has to be, and in what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate of {subject}, serial number {serial}: {fault}")]
pub struct PathError {
    /// Its subject.
    pub subject: Name,
    /// Its serial number.
    pub serial: Serial,
    /// What is wrong.
    pub fault: PathFault,
}

/// What is wrong with a certificate of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nobody of its issuer's name is known.
    #[error("its issuer {0} is not known here")]
    UnknownIssuer(Name),
    /// It was not signed with the key of the issuer that it names.
    #[error("its signature is not that of {0}")]
    Signature(Name),
    /// The algorithm of its signature is not known, or the signed and the used one differ.
    #[error("the algorithm of its signature is not known")]
    Algorithm,
    /// Its signature is over a weak digest.
    #[error("its signature uses {}, which is too weak (`crypto legacy {}` allows it)", .0.name(), .0.name())]
    WeakDigest(Hash),
    /// Its key is small.
    #[error("its key, {0}, is too small")]
    WeakKey(KeyKind),
    /// Its time has not come.
    #[error("it is valid from {0} on")]
    NotYetValid(Time),
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Time),
    /// It has issued a certificate and is no CA's (basicConstraints, keyUsage, version).
    #[error("it issued another and is not a CA's: {0}")]
    NotACa(&'static str),
    /// More CAs follow it than pathLenConstraint allows.
    #[error("it allows {0} further CAs below it, and there are more")]
    PathLength(u32),
    /// A critical extension that is not known.
    #[error("it has the critical extension {0}, which is not known here")]
    Critical(ObjectIdentifier),
    /// An extension that stands twice.
    #[error("it has the extension {0} twice")]
    Repeated(ObjectIdentifier),
    /// An extension that cannot be read.
    #[error("its extension {0} is malformed")]
    Malformed(ObjectIdentifier),
    /// A name that a CA above it does not allow (RFC 5280, 4.2.1.10).
    #[error("a CA above it does not allow the name {0}")]
    Name(String),
    /// The path is longer than any in use, or goes in circles.
    #[error("the path above it is too long")]
    TooLong,
    /// So many certificates fit each other that trying them all would take too long.
    #[error("too many certificates may have issued it")]
    TooMany,
}

impl PathError {
    fn of(certificate: &Certificate, fault: PathFault) -> Self {
        Self {
            subject: Name::from_der(certificate.subject_raw()),
            serial: certificate.serial().clone(),
            fault,
        }
    }
}

/// Checks a path whose signatures hold, from the anchor down (RFC 5280, 6.1.3 to 6.1.5).
fn check(path: &[&Certificate], rules: &Rules) -> Result<(), PathError> {
    // How many CAs may follow, and who said so.
    let mut allowed: Option<(u32, &Certificate)> = None;
    let mut constraints = names::Constraints::default();
    for (at, certificate) in path.iter().enumerate().rev() {
        let is_anchor = at + 1 == path.len();
        let fail = |fault| Err(PathError::of(certificate, fault));
        extensions(certificate).or_else(fail)?;
        if !rules.legacy.allows_key(certificate.public_key().kind()) {
            return fail(PathFault::WeakKey(certificate.public_key().kind()));
        }
        if rules.now < certificate.not_before() {
            return fail(PathFault::NotYetValid(certificate.not_before()));
        }
        if rules.now > certificate.not_after() && !(rules.expired && at == 0) {
            return fail(PathFault::Expired(certificate.not_after()));
        }
        // A CA that issues a certificate to itself, as at a change of its key, counts for neither (6.1.4).
        let is_own = certificate.is_self_issued();
        if !is_anchor && (at == 0 || !is_own) {
            constraints.allow(certificate).or_else(fail)?;
        }
        if at == 0 {
            break;
        }
        authority(certificate, is_anchor).map_err(PathFault::NotACa).or_else(fail)?;
        if !is_anchor && !is_own {
            allowed = match allowed {
                Some((0, by)) => {
                    let length = by.extensions().basic_constraints().and_then(|said| said.path_len);
                    return Err(PathError::of(by, PathFault::PathLength(length.unwrap_or(0))));
                }
                Some((left, by)) => Some((left - 1, by)),
                None => None,
            };
        }
        if let Some(own) = certificate.extensions().basic_constraints().and_then(|said| said.path_len)
            && allowed.is_none_or(|(left, _)| own < left)
        {
            allowed = Some((own, certificate));
        }
        constraints.add(certificate).or_else(fail)?;
    }
    Ok(())
}

/// Each extension once, and every critical one known; keyUsage readable, since one that is not would be taken
/// for none.
fn extensions(certificate: &Certificate) -> Result<(), PathFault> {
    let all = certificate.extensions();
    for extension in all {
        if all.iter().filter(|other| other.oid == extension.oid).count() > 1 {
            return Err(PathFault::Repeated(extension.oid));
        }
        if extension.critical && !KNOWN.contains(&extension.oid) {
            return Err(PathFault::Critical(extension.oid));
        }
    }
    let broken = |oid| Err(PathFault::Malformed(oid));
    if all.find(&BASIC_CONSTRAINTS).is_some() && all.basic_constraints().is_none() {
        return broken(BASIC_CONSTRAINTS);
    }
    match all.find(&KEY_USAGE).map(|usage| usages_from_der(&usage.value)) {
        Some(Err(_)) => broken(KEY_USAGE),
        _ => Ok(()),
    }
}

/// Whether it may issue certificates; says why not. Those of version 1 say nothing: an anchor may be one,
/// since whoever trusts it has said so, and no other (RFC 5280, 6.1.4 (k)).
fn authority(certificate: &Certificate, is_anchor: bool) -> Result<(), &'static str> {
    match certificate.extensions().basic_constraints() {
        _ if certificate.version() < 3 && is_anchor && certificate.is_self_issued() => return Ok(()),
        _ if certificate.version() < 3 => return Err("it has no extensions"),
        Some(constraints) if constraints.ca => {}
        Some(_) => return Err("basicConstraints says so"),
        None => return Err("it has no basicConstraints"),
    }
    match allows(certificate, KeyUsages::KeyCertSign) {
        true => Ok(()),
        false => Err("keyUsage lacks keyCertSign"),
    }
}

/// Whether the key of this certificate may be used so: keyUsage has it, or is not there (RFC 5280, 4.2.1.3).
pub fn allows(certificate: &Certificate, usage: impl Into<Usages>) -> bool {
    match certificate.extensions().find(&KEY_USAGE) {
        Some(extension) => usages_from_der(&extension.value).is_ok_and(|has| has.contains(usage)),
        None => true,
    }
}

/// Whether `issuer` signed `certificate`, and with an algorithm that counts.
fn signed(certificate: &Certificate, issuer: &Certificate, legacy: Legacy) -> Result<(), PathError> {
    let fail = |fault| Err(PathError::of(certificate, fault));
    let algorithm = certificate.signature_algorithm();
    // RFC 5280, 4.1.1.2: the one that is signed is the one that is used.
    let Some(algorithm) = algorithm.filter(|used| algorithm_of(certificate.tbs()) == Some(*used)) else {
        return fail(PathFault::Algorithm);
    };
    if certificate.verify_signed_by(issuer.public_key()).is_err() {
        return fail(PathFault::Signature(Name::from_der(issuer.subject_raw())));
    }
    match algorithm.hash() {
        Some(hash) if !legacy.allows(hash) => fail(PathFault::WeakDigest(hash)),
        _ => Ok(()),
    }
}

impl fmt::Display for Path {
    /// Subjects, separated by ` < `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, certificate) in self.0.iter().enumerate() {
            let separator = if at > 0 { " < " } else { "" };
            write!(f, "{separator}{}", Name::from_der(certificate.subject_raw()))?;
        }
        Ok(())
    }
}

const BASIC_CONSTRAINTS: ObjectIdentifier = rfc5912::ID_CE_BASIC_CONSTRAINTS;
const KEY_USAGE: ObjectIdentifier = rfc5912::ID_CE_KEY_USAGE;

/// Extensions that are taken account of. certificatePolicies is, as any policy will do; whoever demands one
/// (policyConstraints, inhibitAnyPolicy) is not understood. extendedKeyUsage is for whoever knows what the
/// certificate is to be used for.
const KNOWN: [ObjectIdentifier; 9] = [
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    rfc5912::ID_CE_EXT_KEY_USAGE,
    rfc5912::ID_CE_SUBJECT_ALT_NAME,
    rfc5912::ID_CE_SUBJECT_KEY_IDENTIFIER,
    rfc5912::ID_CE_AUTHORITY_KEY_IDENTIFIER,
    rfc5912::ID_CE_NAME_CONSTRAINTS,
    rfc5912::ID_CE_CERTIFICATE_POLICIES,
    rfc5912::ID_CE_CRL_DISTRIBUTION_POINTS,
];
