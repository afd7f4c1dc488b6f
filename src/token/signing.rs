//! Signatures: what a token is given to sign, and what becomes of its answer.

use std::time::Instant;

use cryptoki::mechanism::MechanismType;

use crate::pki::{Curve, Hash, KeyKind, SignatureAlgorithm};

use super::error::Problem;
use super::mechanism::{Capabilities, SignWith};
use super::object::KeyInfo;
use super::profile::EcdsaForm;
use super::session::{Link, Open};
use super::sys::{ObjectHandle, Use};

/// Signs a fixed message with the key and verifies that, in this session.
pub(super) fn test_in(link: &Link, open: &mut Open, key: &KeyInfo) -> Result<(), Problem> {
    let handle = open.handle(link, key)?;
    try_signature(link, open, key, handle, usual(key.kind))
}

/// The algorithm that fits the key best.
pub(super) fn usual(kind: KeyKind) -> SignatureAlgorithm {
    let hash = match kind {
        KeyKind::Ec(curve) => curve.hash(),
        KeyKind::Rsa { .. } | KeyKind::MlDsa(_) => Hash::Sha256,
    };
    SignatureAlgorithm::for_key(kind, hash)
}

pub(super) fn plan(
    can: &Capabilities,
    kind: KeyKind,
    algorithm: SignatureAlgorithm,
) -> Result<SignWith, Problem> {
    can.signing(kind, algorithm).ok_or_else(|| not_offered(kind, algorithm))
}

fn not_offered(kind: KeyKind, algorithm: SignatureAlgorithm) -> Problem {
    let with = algorithm.hash().map_or(String::new(), |hash| format!(" with {}", hash.name()));
    Problem::NotOffered { what: format!("{kind} signatures{with}") }
}

/// What the token is given. Hashed here, not in the module: a CRL of a megabyte would keep the session, and
/// many tokens have no hashing mechanism at all. ML-DSA has no digest of its own that could be made here.
pub(super) fn prepare(
    plan: SignWith,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    kind: KeyKind,
) -> Vec<u8> {
    let digest = |hash: Hash| hash.digest(&[message]);
    match (plan, algorithm.hash()) {
        (SignWith::RsaDigestInfo, Some(hash)) => hash.digest_info(&digest(hash)),
        (SignWith::RsaPssDigest, Some(hash)) => digest(hash),
        (SignWith::EcdsaDigest, Some(hash)) => leftmost(digest(hash), kind),
        _ => message.to_vec(),
    }
}

pub(super) fn sign(
    link: &Link,
    open: &mut Open,
    key: &KeyInfo,
    (plan, algorithm): (SignWith, SignatureAlgorithm),
    data: &[u8],
) -> Result<Vec<u8>, Problem> {
    let handle = open.handle(link, key)?;
    sign_with(link, open, key, handle, (plan, algorithm), data)
}

fn sign_with(
    link: &Link,
    open: &Open,
    key: &KeyInfo,
    handle: ObjectHandle,
    (plan, algorithm): (SignWith, SignatureAlgorithm),
    data: &[u8],
) -> Result<Vec<u8>, Problem> {
    let mechanism = plan.mechanism(algorithm.hash()).ok_or_else(|| not_offered(key.kind, algorithm))?;
    let start = Instant::now();
    let most = most_signature(key.kind);
    let signature = link.with_key(key, |pin| {
        open.session.sign(&Use { mechanism: &mechanism, key: handle, data, most, pin })
    })?;
    link.counters.signatures.add_since(start);
    Ok(signature.to_vec())
}

/// The mechanism by which a key of this kind signs, when there is one.
pub(super) fn signs_by(link: &Link, kind: KeyKind, algorithm: SignatureAlgorithm) -> Option<MechanismType> {
    let plan = link.capabilities.signing(kind, algorithm)?;
    plan.mechanism(algorithm.hash()).map(|mechanism| mechanism.mechanism_type())
}

/// A signature of a fixed message by the key with this handle, verified.
pub(super) fn try_signature(
    link: &Link,
    open: &Open,
    key: &KeyInfo,
    handle: ObjectHandle,
    algorithm: SignatureAlgorithm,
) -> Result<(), Problem> {
    let plan = plan(&link.capabilities, key.kind, algorithm)?;
    let data = prepare(plan, algorithm, TEST_MESSAGE, key.kind);
    let signature = sign_with(link, open, key, handle, (plan, algorithm), &data)?;
    check(link, key, algorithm, TEST_MESSAGE, signature).map(drop)
}

/// The signature in the form that others read, after it was verified: what a token gets wrong must not
/// leave.
pub(super) fn check(
    link: &Link,
    key: &KeyInfo,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: Vec<u8>,
) -> Result<Vec<u8>, Problem> {
    let signature = encode(signature, key.kind, link.profile.format().ecdsa_signature)?;
    if key.public_key.verify(algorithm, message, &signature).is_err() {
        link.counters.wrong_signatures.add();
        link.health.note(format!("a signature of \"{}\" did not verify", key.label));
        return Err(Problem::WrongSignature { function: "C_Sign", label: key.label.clone() });
    }
    Ok(signature)
}

/// Octets of a signature at most, in whatever form the token writes it.
fn most_signature(kind: KeyKind) -> usize {
    match kind {
        KeyKind::Rsa { bits } => bits.div_ceil(8),
        // Two integers of DER have three octets more each, and their sequence three.
        KeyKind::Ec(curve) => 2 * curve.bits().div_ceil(8) + 9,
        KeyKind::MlDsa(set) => set.signature_size(),
    }
}

/// The signature as X.509 and CMS carry it.
fn encode(signature: Vec<u8>, kind: KeyKind, form: EcdsaForm) -> Result<Vec<u8>, Problem> {
    let length = signature.len();
    let wrong = |what| Problem::BadOutput { function: "C_Sign", length, what };
    match kind {
        KeyKind::Rsa { bits } if length == bits.div_ceil(8) => Ok(signature),
        KeyKind::Rsa { .. } => Err(wrong("RSA signature of this key")),
        KeyKind::MlDsa(set) if length == set.signature_size() => Ok(signature),
        KeyKind::MlDsa(_) => Err(wrong("ML-DSA signature of this key")),
        KeyKind::Ec(curve) => {
            ecdsa_der(curve, &signature, form).ok_or_else(|| wrong("ECDSA signature on this curve"))
        }
    }
}

fn ecdsa_der(curve: Curve, signature: &[u8], form: EcdsaForm) -> Option<Vec<u8>> {
    macro_rules! encode {
        ($curve:ident) => {{
            use $curve::ecdsa::Signature;
            let signature = match form {
                EcdsaForm::X962 => Signature::from_der(signature),
                EcdsaForm::Auto if signature.len() != 2 * curve.bits().div_ceil(8) => {
                    Signature::from_der(signature)
                }
                EcdsaForm::Auto | EcdsaForm::Rs => Signature::from_slice(signature),
            };
            Some(signature.ok()?.to_der().as_bytes().to_vec())
        }};
    }
    match curve {
        Curve::P256 => encode!(p256),
        Curve::P384 => encode!(p384),
        Curve::P521 => encode!(p521),
    }
}

/// The leftmost octets of a digest that is longer than the order of the curve (FIPS 186-5, 6.4.1): not
/// every token cuts it, and some sign anything.
fn leftmost(mut digest: Vec<u8>, kind: KeyKind) -> Vec<u8> {
    if let KeyKind::Ec(curve) = kind {
        digest.truncate(curve.bits().div_ceil(8));
    }
    digest
}

pub(super) const TEST_MESSAGE: &[u8] = b"is this key alive?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_either_form_become_der() {
        let mut rs = [0; 64];
        (rs[31], rs[63]) = (1, 0x80);
        let der = [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80];
        for (form, bytes) in [
            (EcdsaForm::Auto, &rs[..]),
            (EcdsaForm::Rs, &rs),
            (EcdsaForm::Auto, &der),
            (EcdsaForm::X962, &der),
        ] {
            assert_eq!(ecdsa_der(Curve::P256, bytes, form).unwrap(), der, "{form:?}");
        }
        assert_eq!(ecdsa_der(Curve::P256, &der, EcdsaForm::Rs), None);
        assert_eq!(ecdsa_der(Curve::P256, &rs[1..], EcdsaForm::Auto), None);
        assert_eq!(ecdsa_der(Curve::P256, &[0; 64], EcdsaForm::Auto), None, "zero is no signature");
    }

    #[test]
    fn long_digests_are_cut() {
        let kind = KeyKind::Ec(Curve::P256);
        assert_eq!(leftmost(vec![1; 64], kind).len(), 32);
        assert_eq!(leftmost(vec![1; 20], kind).len(), 20);
        assert_eq!(leftmost(vec![1; 64], KeyKind::Ec(Curve::P521)).len(), 64);
    }
}
