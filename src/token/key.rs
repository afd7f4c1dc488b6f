//! One key on a token: signing, and opening envelopes without becoming an oracle.
//!
//! Envelopes: with `CKM_RSA_X_509` the token only exponentiates and the padding is removed here in
//! constant time, so nothing about the padding is visible outside and every failure is the token's.
//! Without it the token removes the padding. Then a failed `C_Decrypt` and a key of the wrong length are
//! both answered by the random key made beforehand, and the session is replaced after the answer whatever
//! it was; how long the module itself takes over a bad padding is its own affair. A key of its own for
//! envelopes is the answer for such tokens.

use std::sync::Arc;
use std::time::Instant;

use cryptoki::mechanism::MechanismType;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::pki::unpad;
use crate::pki::{
    Curve, DecryptionKey, Hash, KeyError, KeyKind, KeyTransport, PublicKey, SignatureAlgorithm, SigningKey,
};

use super::copies::{Copies, Place};
use super::error::Problem;
use super::mechanism::{Capabilities, DecryptWith, SignWith};
use super::object::KeyInfo;
use super::profile::EcdsaForm;
use super::session::{Connection, Link, Open};
use super::sys::{ObjectHandle, Use};
use super::{Priority, Token, TokenError};

/// A private key on a token. Cheap to clone; it outlives sessions, and the token's absence.
#[derive(Clone)]
pub struct TokenKey {
    token: Token,
    info: Arc<KeyInfo>,
    priority: Priority,
    copies: Option<Arc<Copies>>,
}

impl TokenKey {
    pub(super) fn new(token: Token, info: KeyInfo) -> Self {
        Self { token, info: Arc::new(info), priority: Priority::Issue, copies: None }
    }

    /// The token it is on.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Its attributes as they were when it was found.
    pub fn info(&self) -> &KeyInfo {
        &self.info
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    /// The same key, asked with another priority; keys begin with [`Priority::Issue`].
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// The same key, which may also be in other places.
    pub fn also_in(&self, places: Vec<Arc<dyn Place>>) -> Self {
        Self { copies: (!places.is_empty()).then(|| Arc::new(Copies::new(places))), ..self.clone() }
    }

    /// The same key without its copies.
    pub(super) fn alone(&self) -> Self {
        Self { copies: None, ..self.clone() }
    }

    /// The same key, as it is on this token.
    pub(super) fn on(&self, token: Token, info: Arc<KeyInfo>) -> Self {
        Self { token, info, priority: self.priority, copies: None }
    }

    /// Whether it opens RSAES-PKCS1-v1_5 envelopes: an RSA key with `CKA_DECRYPT` on a token that can.
    pub fn can_decrypt(&self) -> bool {
        self.info.kind.encrypts() && self.info.usage.decrypt && self.token.capabilities().can_decrypt()
    }

    /// Signs a fixed message and verifies that in software: the only health check that means something.
    pub fn self_test(&self) -> Result<(), TokenError> {
        self.test(usual(self.info.kind))
    }

    /// Whether it signs by RSASSA-PSS with this digest, found out by trying.
    pub fn can_pss(&self, hash: Hash) -> bool {
        matches!(self.info.kind, KeyKind::Rsa { .. }) && self.test(SignatureAlgorithm::RsaPss(hash)).is_ok()
    }

    fn test(&self, algorithm: SignatureAlgorithm) -> Result<(), TokenError> {
        self.try_sign(algorithm, TEST_MESSAGE).map(drop)
    }

    fn try_sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        if let Some(copies) = &self.copies {
            return copies.run(self, |key| key.try_sign(algorithm, message));
        }
        self.is_for(self.info.usage.sign, "signatures")?;
        let plan = plan(self.token.capabilities(), self.info.kind, algorithm);
        let plan = plan.map_err(|problem| self.token.error(problem))?;
        let data = prepare(plan, algorithm, message, self.info.kind);
        let (info, message) = (Arc::clone(&self.info), message.to_vec());
        self.token.ask(self.priority, self.token.timeout(), move |connection| {
            connection.run(|link, open| {
                let signature = sign(link, open, &info, (plan, algorithm), &data)?;
                check(link, &info, algorithm, &message, signature)
            })
        })
    }

    /// Not left to the token: some refuse by a code that they also have for their own end.
    fn is_for(&self, may: bool, what: &'static str) -> Result<(), TokenError> {
        let label = || self.info.label.clone();
        if may { Ok(()) } else { Err(self.token.error(Problem::WrongUse { label: label(), what })) }
    }

    fn try_unwrap(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        if let Some(copies) = &self.copies {
            return copies.run(self, |key| key.try_unwrap(transport, wrapped, len));
        }
        self.is_for(self.info.usage.decrypt, "decryption")?;
        // Made before anything is known about `wrapped`.
        let rejected = random(len).map_err(|problem| self.token.error(problem))?;
        let KeyKind::Rsa { bits } = self.info.kind else {
            return Err(self
                .token
                .error(Problem::NotOffered { what: format!("decryption with {} keys", self.info.kind) }));
        };
        let plan = self.token.capabilities().decryption(transport).ok_or_else(|| {
            self.token.error(Problem::NotOffered { what: format!("{transport:?} decryption") })
        })?;
        // What cannot be a ciphertext of this key is replaced by one that can, so that the token is
        // asked all the same; its answer is not used. Length and range are no secret.
        let size = bits.div_ceil(8);
        let fits = wrapped.len() == size && is_usual(wrapped, &self.info.public_key);
        let mut ciphertext = if fits { wrapped.to_vec() } else { vec![0; size] };
        if !fits {
            ciphertext[size - 1] = 2;
        }
        let info = Arc::clone(&self.info);
        let job = move |connection: &mut Connection| {
            let block = connection.run(|link, open| decrypt(link, open, &info, plan, &ciphertext))?;
            Ok(select(plan, transport, block, size, fits, rejected))
        };
        // Whether the session is replaced must not depend on the data, nor delay the answer.
        let after = move |connection: &mut Connection| {
            if plan != DecryptWith::Raw && connection.link.profile.close_session_on_error() {
                connection.renew();
            }
        };
        self.token.ask_then(self.priority, self.token.timeout(), job, after)
    }
}

impl SigningKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.try_sign(SignatureAlgorithm::for_key(self.info.kind, hash), message)?)
    }

    fn sign_pss(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.try_sign(SignatureAlgorithm::RsaPss(hash), message)?)
    }
}

impl DecryptionKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(self.try_unwrap(transport, wrapped, len)?)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({}: \"{}\", {})", self.token.name(), self.info.label, self.info.kind)
    }
}

/// Signs a fixed message with the key and verifies that, in this session.
pub(super) fn test_in(link: &Link, open: &mut Open, key: &KeyInfo) -> Result<(), Problem> {
    let algorithm = usual(key.kind);
    let plan = plan(&link.capabilities, key.kind, algorithm)?;
    let data = prepare(plan, algorithm, TEST_MESSAGE, key.kind);
    let signature = sign(link, open, key, (plan, algorithm), &data)?;
    check(link, key, algorithm, TEST_MESSAGE, signature).map(drop)
}

/// The algorithm that fits the key best.
pub(super) fn usual(kind: KeyKind) -> SignatureAlgorithm {
    let hash = match kind {
        KeyKind::Ec(curve) => curve.hash(),
        KeyKind::Rsa { .. } | KeyKind::MlDsa(_) => Hash::Sha256,
    };
    SignatureAlgorithm::for_key(kind, hash)
}

fn plan(can: &Capabilities, kind: KeyKind, algorithm: SignatureAlgorithm) -> Result<SignWith, Problem> {
    can.signing(kind, algorithm).ok_or_else(|| not_offered(kind, algorithm))
}

fn not_offered(kind: KeyKind, algorithm: SignatureAlgorithm) -> Problem {
    let with = algorithm.hash().map_or(String::new(), |hash| format!(" with {}", hash.name()));
    Problem::NotOffered { what: format!("{kind} signatures{with}") }
}

/// What the token is given. Hashed here, not in the module: a CRL of a megabyte would keep the session, and
/// many tokens have no hashing mechanism at all. ML-DSA has no digest of its own that could be made here.
fn prepare(plan: SignWith, algorithm: SignatureAlgorithm, message: &[u8], kind: KeyKind) -> Vec<u8> {
    let digest = |hash: Hash| hash.digest(&[message]);
    match (plan, algorithm.hash()) {
        (SignWith::RsaDigestInfo, Some(hash)) => hash.digest_info(&digest(hash)),
        (SignWith::RsaPssDigest, Some(hash)) => digest(hash),
        (SignWith::EcdsaDigest, Some(hash)) => leftmost(digest(hash), kind),
        _ => message.to_vec(),
    }
}

fn sign(
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

/// A secret, and the envelope that has it for this key.
pub(super) fn envelope(
    key: &KeyInfo,
    transport: KeyTransport,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Problem> {
    let secret = random(16)?;
    let wrapped = key.public_key.encrypt(transport, &secret);
    let wrapped = wrapped.ok_or_else(|| Problem::NotOffered { what: format!("{transport:?} envelopes") })?;
    Ok((secret, wrapped))
}

/// Opens an envelope by this mechanism with the key with this handle: what comes out. Its error is told,
/// unlike that of an envelope that somebody has sent.
pub(super) fn try_envelope(
    link: &Link,
    open: &Open,
    key: &KeyInfo,
    handle: ObjectHandle,
    (plan, transport): (DecryptWith, KeyTransport),
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let not_offered = || Problem::NotOffered { what: format!("{plan:?} decryption") };
    let (mechanism, size) = (plan.mechanism().ok_or_else(not_offered)?, wrapped.len());
    let block = link.with_key(key, |pin| {
        open.session.decrypt(&Use { mechanism: &mechanism, key: handle, data: wrapped, most: size, pin })
    })?;
    Ok(select(plan, transport, Some(block), size, true, random(16)?))
}

/// The signature in the form that others read, after it was verified: what a token gets wrong must not
/// leave.
fn check(
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

/// The token's answer to the ciphertext; `None` where it says that the data are wrong.
fn decrypt(
    link: &Link,
    open: &mut Open,
    key: &KeyInfo,
    plan: DecryptWith,
    ciphertext: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
    let not_offered = || Problem::NotOffered { what: format!("{plan:?} decryption") };
    let mechanism = plan.mechanism().ok_or_else(not_offered)?;
    let handle = open.handle(link, key)?;
    let start = Instant::now();
    let most = ciphertext.len();
    let result = link.with_key(key, |pin| {
        open.session.decrypt(&Use { mechanism: &mechanism, key: handle, data: ciphertext, most, pin })
    });
    link.counters.decryptions.add_since(start);
    match result {
        Ok(block) => Ok(Some(block)),
        // Every number below the modulus has a raw result: a failure there is the token's.
        Err(Problem::Call(call)) if plan != DecryptWith::Raw && !call.is_loss_in_decryption() => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The key in the token's answer, or `rejected`.
fn select(
    plan: DecryptWith,
    transport: KeyTransport,
    block: Option<Zeroizing<Vec<u8>>>,
    size: usize,
    fits: bool,
    rejected: Zeroizing<Vec<u8>>,
) -> Zeroizing<Vec<u8>> {
    match plan {
        DecryptWith::Raw => {
            let mut em = Zeroizing::new(vec![0; size]);
            if let Some(block) = block.filter(|block| fits && block.len() <= size) {
                em[size - block.len()..].copy_from_slice(&block);
            }
            match transport {
                KeyTransport::Pkcs1v15 => unpad::pkcs1_v15_or(&em, rejected),
                KeyTransport::Oaep { hash, mgf } => unpad::oaep_or(&em, hash, mgf, rejected),
            }
        }
        DecryptWith::Padded(_) => {
            let len = rejected.len();
            let good = Choice::from(u8::from(fits))
                & Choice::from(u8::from(block.is_some()))
                & block.as_ref().map_or(0, |block| block.len()).ct_eq(&len);
            let mut key = Zeroizing::new(vec![0; len]);
            for (to, from) in key.iter_mut().zip(block.iter().flat_map(|block| block.iter())) {
                *to = *from;
            }
            let mut out = rejected;
            for (out, octet) in out.iter_mut().zip(key.iter()) {
                *out = u8::conditional_select(out, octet, good);
            }
            out
        }
    }
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

/// Whether a ciphertext as long as the modulus n is above 1 and below n - 1. What is not has no honest
/// sender, and some modules refuse it: that must not look like a token in trouble.
fn is_usual(ciphertext: &[u8], key: &PublicKey) -> bool {
    let Some([modulus @ .., last]) = key.rsa_modulus() else { return false };
    let Some((low, high)) = ciphertext.split_last() else { return false };
    // n is odd, so n - 1 differs in the last octet alone.
    let below = (high, *low) < (modulus, last.saturating_sub(1));
    below && (*low > 1 || high.iter().any(|octet| *octet != 0))
}

fn random(len: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut octets = Zeroizing::new(vec![0; len]);
    getrandom::fill(&mut octets).map_err(Problem::NoRandomness)?;
    Ok(octets)
}

const TEST_MESSAGE: &[u8] = b"is this key alive?";

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
    fn padded_answers_are_selected_or_replaced() {
        let plan = DecryptWith::Padded(KeyTransport::Pkcs1v15);
        let pick = |block: Option<&[u8]>, fits| {
            let block = block.map(|block| Zeroizing::new(block.to_vec()));
            select(plan, KeyTransport::Pkcs1v15, block, 256, fits, Zeroizing::new(vec![9; 4])).to_vec()
        };
        assert_eq!(pick(Some(&[1, 2, 3, 4]), true), [1, 2, 3, 4]);
        assert_eq!(pick(Some(&[1, 2, 3, 4]), false), [9; 4]);
        assert_eq!(pick(Some(&[1, 2, 3]), true), [9; 4]);
        assert_eq!(pick(Some(&[1, 2, 3, 4, 5]), true), [9; 4]);
        assert_eq!(pick(None, true), [9; 4]);
    }

    #[test]
    fn unusual_ciphertexts_are_known() {
        let mut modulus = [0xaa; 64];
        modulus[63] = 0x55;
        let key = PublicKey::from_rsa_parts(&modulus, &[1, 0, 1]).unwrap();
        let ending = |mut number: [u8; 64], last| {
            number[63] = last;
            is_usual(&number, &key)
        };
        assert!(!ending([0; 64], 0) && !ending([0; 64], 1) && ending([0; 64], 2));
        assert!(ending(modulus, 0x53) && !ending(modulus, 0x54) && !ending(modulus, 0x55));
        assert!(ending([0x99; 64], 0xff) && !ending([0xff; 64], 0));
    }

    #[test]
    fn long_digests_are_cut() {
        let kind = KeyKind::Ec(Curve::P256);
        assert_eq!(leftmost(vec![1; 64], kind).len(), 32);
        assert_eq!(leftmost(vec![1; 20], kind).len(), 20);
        assert_eq!(leftmost(vec![1; 64], KeyKind::Ec(Curve::P521)).len(), 64);
    }
}
