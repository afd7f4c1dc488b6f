//! Public keys, and the two traits through which a private key is asked.

use std::fmt;

use const_oid::db::rfc5912;
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use ecdsa::signature::hazmat::PrehashVerifier;
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts;
use spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use super::algorithm::{Hash, KeyTransport, SignatureAlgorithm};
use super::ml_dsa::MlDsaSet;

/// A named curve (RFC 5480, 2.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// The curve's object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => rfc5912::SECP_256_R_1,
            Self::P384 => rfc5912::SECP_384_R_1,
            Self::P521 => rfc5912::SECP_521_R_1,
        }
    }

    /// Bits of the field: 256, 384 or 521.
    pub const fn bits(self) -> usize {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// The digest that cards insist on for this curve, and that everyone accepts.
    pub const fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

/// What sort of key it is, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// An RSA key.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// A key on a named curve.
    Ec(Curve),
    /// An ML-DSA key.
    MlDsa(MlDsaSet),
}

impl KeyKind {
    /// Whether content keys are encrypted to it, which SCEP needs: RSA alone (RFC 8894, 3.1).
    pub const fn encrypts(self) -> bool {
        matches!(self, Self::Rsa { .. })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::Ec(curve) => write!(f, "EC P-{}", curve.bits()),
            Self::MlDsa(set) => write!(f, "ML-DSA-{}", set.number()),
        }
    }
}

/// A public key: its `SubjectPublicKeyInfo` as received, and ready for use. Two are equal when the
/// DER encodings are.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    key_bits: Vec<u8>,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Rsa(Box<rsa::RsaPublicKey>),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    MlDsa(MlDsaSet),
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
    ///
    /// RSA moduli from 512 to 8192 bits and exponents below 2^33 are read; what is strong enough is
    /// policy. Points must be on their curve. An ML-DSA key is any octets of the right number, without
    /// parameters (RFC 9881, 4).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| PublicKeyError::Malformed)?;
        let bits = spki.subject_public_key.as_bytes().ok_or(PublicKeyError::Malformed)?;
        let key = match spki.algorithm.oid {
            rfc5912::RSA_ENCRYPTION => Key::Rsa(Box::new(rsa_key(bits)?)),
            rfc5912::ID_EC_PUBLIC_KEY => {
                let curve = spki.algorithm.parameters_oid().map_err(|_| PublicKeyError::UnknownCurve)?;
                ec_key(&curve, bits)?
            }
            other => match MlDsaSet::from_oid(&other) {
                Some(set) if spki.algorithm.parameters.is_none() && bits.len() == set.key_size() => {
                    Key::MlDsa(set)
                }
                Some(_) => return Err(PublicKeyError::Malformed),
                None => return Err(PublicKeyError::UnknownAlgorithm(other)),
            },
        };
        Ok(Self { key_bits: bits.to_vec(), spki: der.to_vec(), key })
    }

    /// From an RSA modulus and public exponent, big-endian.
    pub fn from_rsa_parts(modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        let malformed = |_| PublicKeyError::Malformed;
        let uint = |bytes| der::asn1::UintRef::new(bytes).map_err(malformed);
        let bits = rsa::pkcs1::RsaPublicKey { modulus: uint(modulus)?, public_exponent: uint(exponent)? };
        let algorithm = spki::AlgorithmIdentifierRef {
            oid: rfc5912::RSA_ENCRYPTION,
            parameters: Some(der::asn1::AnyRef::NULL),
        };
        Self::from_parts(algorithm, &bits.to_der().map_err(malformed)?)
    }

    /// From an uncompressed point (`04 || X || Y`, SEC 1, 2.3.3).
    pub fn from_ec_point(curve: Curve, point: &[u8]) -> Result<Self, PublicKeyError> {
        let oid = curve.oid();
        let algorithm =
            spki::AlgorithmIdentifierRef { oid: rfc5912::ID_EC_PUBLIC_KEY, parameters: Some((&oid).into()) };
        Self::from_parts(algorithm, point)
    }

    /// From the octets that FIPS 204 calls the public key.
    pub fn from_ml_dsa(set: MlDsaSet, octets: &[u8]) -> Result<Self, PublicKeyError> {
        Self::from_parts(spki::AlgorithmIdentifierRef { oid: set.oid(), parameters: None }, octets)
    }

    fn from_parts(algorithm: spki::AlgorithmIdentifierRef<'_>, bits: &[u8]) -> Result<Self, PublicKeyError> {
        let malformed = |_| PublicKeyError::Malformed;
        let subject_public_key = der::asn1::BitStringRef::from_bytes(bits).map_err(malformed)?;
        let spki = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
        Self::from_spki_der(&spki.to_der().map_err(malformed)?)
    }

    /// The `SubjectPublicKeyInfo`, DER, as it was read.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The bits of the key alone, without their algorithm: `subjectPublicKey`.
    pub fn key_bits(&self) -> &[u8] {
        &self.key_bits
    }

    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        match &self.key {
            Key::Rsa(key) => KeyKind::Rsa { bits: key.n().as_ref().bits_vartime() as usize },
            Key::P256(_) => KeyKind::Ec(Curve::P256),
            Key::P384(_) => KeyKind::Ec(Curve::P384),
            Key::P521(_) => KeyKind::Ec(Curve::P521),
            Key::MlDsa(set) => KeyKind::MlDsa(*set),
        }
    }

    /// The modulus of an RSA key, big-endian without leading zeros; `None` for other keys.
    pub fn rsa_modulus(&self) -> Option<&[u8]> {
        let Key::Rsa(_) = &self.key else { return None };
        let parts = rsa::pkcs1::RsaPublicKey::<der::asn1::UintRef<'_>>::from_der(&self.key_bits).ok()?;
        Some(parts.modulus.as_bytes())
    }

    /// The point of an EC key, uncompressed (`04 || X || Y`, SEC 1, 2.3.3); `None` for other keys.
    pub fn ec_point(&self) -> Option<Vec<u8>> {
        match &self.key {
            Key::Rsa(_) | Key::MlDsa(_) => None,
            Key::P256(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
            Key::P384(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
            Key::P521(key) => Some(key.to_sec1_point(false).as_bytes().to_vec()),
        }
    }

    /// SHA-1 over the bits of the key: the usual `SubjectKeyIdentifier` (RFC 5280, 4.2.1.2, method 1).
    pub fn key_identifier(&self) -> Vec<u8> {
        Hash::Sha1.digest(&[&self.key_bits])
    }

    /// SHA-256 over the `SubjectPublicKeyInfo`: what the database finds a key by.
    pub fn fingerprint(&self) -> [u8; 32] {
        let digest = Hash::Sha256.digest(&[&self.spki]);
        digest.try_into().expect("SHA-256 has 32 octets")
    }

    /// Whether `signature` over `message` is this key's.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        if self.verifies_fast(algorithm, message, signature) {
            return Ok(());
        }
        let digest = algorithm.hash().map(|hash| hash.digest(&[message])).unwrap_or_default();
        let digest = &digest[..];
        use SignatureAlgorithm::{Ecdsa, MlDsa, RsaPkcs1, RsaPss};
        let good = match (&self.key, algorithm) {
            (Key::Rsa(key), RsaPkcs1(hash)) => key.verify(pkcs1v15_sign(hash), digest, signature).is_ok(),
            (Key::Rsa(key), RsaPss(hash)) => verify_pss(key, hash, digest, signature),
            (Key::P256(key), Ecdsa(_)) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(digest, &s).is_ok()),
            (Key::P384(key), Ecdsa(_)) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(digest, &s).is_ok()),
            (Key::P521(key), Ecdsa(_)) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(digest, &s).is_ok()),
            (Key::MlDsa(set), MlDsa(other)) if *set == other => {
                set.verify(&self.key_bits, message, signature)
            }
            _ => return Err(VerifyError::WrongKeyKind),
        };
        good.then_some(()).ok_or(VerifyError::BadSignature)
    }

    /// What `ring` does several times as fast, it does: RSASSA-PKCS1-v1_5 in the sizes and digests that nearly
    /// everybody uses, and ECDSA on P-256 and P-384 with their own digests. Its "no" is not the last word: it knows fewer keys than there are.
    fn verifies_fast(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        use ring::signature as fast;
        let parameters: &dyn fast::VerificationAlgorithm = match (&self.key, algorithm) {
            (Key::P256(_), SignatureAlgorithm::Ecdsa(Hash::Sha256)) => &fast::ECDSA_P256_SHA256_ASN1,
            (Key::P384(_), SignatureAlgorithm::Ecdsa(Hash::Sha384)) => &fast::ECDSA_P384_SHA384_ASN1,
            (Key::Rsa(_), SignatureAlgorithm::RsaPkcs1(Hash::Sha256)) => &fast::RSA_PKCS1_2048_8192_SHA256,
            (Key::Rsa(_), SignatureAlgorithm::RsaPkcs1(Hash::Sha384)) => &fast::RSA_PKCS1_2048_8192_SHA384,
            (Key::Rsa(_), SignatureAlgorithm::RsaPkcs1(Hash::Sha512)) => &fast::RSA_PKCS1_2048_8192_SHA512,
            _ => return false,
        };
        fast::UnparsedPublicKey::new(parameters, &self.key_bits).verify(message, signature).is_ok()
    }

    /// Encrypts a content-encryption key to this RSA key; randomness from the operating system.
    /// `None` for keys that cannot (EC, ML-DSA) or are too small for it.
    pub fn encrypt(&self, transport: KeyTransport, plain: &[u8]) -> Option<Vec<u8>> {
        let Key::Rsa(key) = &self.key else { return None };
        let mut rng = rand::rng();
        match transport {
            KeyTransport::Pkcs1v15 => key.encrypt(&mut rng, rsa::Pkcs1v15Encrypt, plain),
            KeyTransport::Oaep { hash, mgf } => encrypt_oaep(key, &mut rng, hash, mgf, plain),
        }
        .ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind())
    }
}

/// A private key that signs. It is asked, never held: the key is on a token.
pub trait SigningKey: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message`, hashed with `hash`, by [`SignatureAlgorithm::for_key`]. The signature is in the
    /// form X.509 and CMS carry: the RSA block, or a DER `ECDSA-Sig-Value`. An ML-DSA key signs the message
    /// itself, and `hash` means nothing to it.
    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError>;

    /// Signs `message` by RSASSA-PSS, with a salt as long as the digest. Only RSA keys can, and not all.
    fn sign_pss(&self, _hash: Hash, _message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::new(KeyErrorKind::Refused, "this key does not sign by RSASSA-PSS"))
    }
}

/// A private key that unwraps content-encryption keys.
pub trait DecryptionKey: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The content-encryption key of `len` octets in `wrapped`.
    ///
    /// Never an oracle: whatever is wrong with `wrapped` — its length, its padding, the length of what
    /// it holds, or the token refusing it — the answer is `Ok` with `len` random octets, by the same
    /// path (RFC 3218, 2.3). `Err` only when the token could not be asked.
    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError>;
}

/// A private-key operation did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct KeyError {
    /// What it means for the request.
    pub kind: KeyErrorKind,
    /// What the token layer said, whole.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl KeyError {
    /// An error of `kind` caused by `source`.
    pub fn new(kind: KeyErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }
}

/// What a failed private-key operation means for the request that needed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyErrorKind {
    /// The token is away, locked or broken; the request waits.
    #[error("the token cannot be reached")]
    Unavailable,
    /// The token's queue is full; try again.
    #[error("the token is busy")]
    Busy,
    /// The key cannot do this, now or later.
    #[error("the key cannot do this")]
    Refused,
}

/// Why a `SubjectPublicKeyInfo` is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not the DER of RFC 5280, 4.1.2.7.
    #[error("the public key is malformed")]
    Malformed,
    /// Not RSA, EC or ML-DSA.
    #[error("public key algorithm {0} is not supported")]
    UnknownAlgorithm(ObjectIdentifier),
    /// Not P-256, P-384 or P-521, or explicit parameters.
    #[error("the curve of the public key is not supported")]
    UnknownCurve,
    /// An RSA modulus or exponent out of range, or a point off its curve.
    #[error("the public key is weak or invalid")]
    Invalid,
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The algorithm of another kind of key.
    #[error("the signature algorithm does not fit the key")]
    WrongKeyKind,
    /// The arithmetic says no.
    #[error("the signature is wrong")]
    BadSignature,
}

fn rsa_key(bits: &[u8]) -> Result<rsa::RsaPublicKey, PublicKeyError> {
    let parts = rsa::pkcs1::RsaPublicKey::<der::asn1::UintRef<'_>>::from_der(bits)
        .map_err(|_| PublicKeyError::Malformed)?;
    let modulus = parts.modulus.as_bytes();
    if modulus.len() > MAX_RSA_BITS / 8 || parts.public_exponent.as_bytes().len() > 8 {
        return Err(PublicKeyError::Invalid);
    }
    let modulus = BoxedUint::from_be_slice_vartime(modulus);
    let exponent = BoxedUint::from_be_slice_vartime(parts.public_exponent.as_bytes());
    rsa::RsaPublicKey::new_with_size_limits(modulus, exponent, MIN_RSA_BITS..=MAX_RSA_BITS)
        .map_err(|_| PublicKeyError::Invalid)
}

fn ec_key(curve: &ObjectIdentifier, point: &[u8]) -> Result<Key, PublicKeyError> {
    let invalid = |_| PublicKeyError::Invalid;
    match *curve {
        rfc5912::SECP_256_R_1 => {
            p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Key::P256).map_err(invalid)
        }
        rfc5912::SECP_384_R_1 => {
            p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Key::P384).map_err(invalid)
        }
        rfc5912::SECP_521_R_1 => {
            p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Key::P521).map_err(invalid)
        }
        _ => Err(PublicKeyError::UnknownCurve),
    }
}

fn pkcs1v15_sign(hash: Hash) -> rsa::Pkcs1v15Sign {
    // The crate's constructors need the digest's OID as a trait, which MD5 lacks.
    rsa::Pkcs1v15Sign { hash_len: Some(hash.size()), prefix: hash.digest_info(&[]).into() }
}

fn verify_pss(key: &rsa::RsaPublicKey, hash: Hash, digest: &[u8], signature: &[u8]) -> bool {
    macro_rules! verify {
        ($digest:ty) => {
            rsa::pss::VerifyingKey::<$digest>::new_with_auto_salt_len(key.clone())
                .verify_prehash(
                    digest,
                    &match rsa::pss::Signature::try_from(signature) {
                        Ok(signature) => signature,
                        Err(_) => return false,
                    },
                )
                .is_ok()
        };
    }
    match hash {
        Hash::Md5 => false,
        Hash::Sha1 => verify!(sha1::Sha1),
        Hash::Sha256 => verify!(sha2::Sha256),
        Hash::Sha384 => verify!(sha2::Sha384),
        Hash::Sha512 => verify!(sha2::Sha512),
    }
}

fn encrypt_oaep<R: rsa::rand_core::CryptoRng>(
    key: &rsa::RsaPublicKey,
    rng: &mut R,
    hash: Hash,
    mgf: Hash,
    plain: &[u8],
) -> rsa::Result<Vec<u8>> {
    macro_rules! with {
        ($hash:ty, $mgf:ty) => {
            key.encrypt(rng, rsa::Oaep::<$hash, $mgf>::new_with_mgf_hash(), plain)
        };
    }
    macro_rules! with_mgf {
        ($hash:ty) => {
            match mgf {
                Hash::Sha1 => with!($hash, sha1::Sha1),
                Hash::Sha256 => with!($hash, sha2::Sha256),
                Hash::Sha384 => with!($hash, sha2::Sha384),
                Hash::Sha512 => with!($hash, sha2::Sha512),
                Hash::Md5 => Err(rsa::Error::InvalidPaddingScheme),
            }
        };
    }
    match hash {
        Hash::Sha1 => with_mgf!(sha1::Sha1),
        Hash::Sha256 => with_mgf!(sha2::Sha256),
        Hash::Sha384 => with_mgf!(sha2::Sha384),
        Hash::Sha512 => with_mgf!(sha2::Sha512),
        Hash::Md5 => Err(rsa::Error::InvalidPaddingScheme),
    }
}

const MIN_RSA_BITS: usize = 512;
const MAX_RSA_BITS: usize = 8192;
