//! Private keys that an operator brings or takes away: read from PKCS#8, PKCS#1 and SEC 1, written to them.
//!
//! A CA's own key is on a token and never here. These are the keys of archives and PEM files on their way
//! to a token, and of exportable keys on their way out. What is secret is wiped when dropped and does not
//! appear in `Debug`.

use std::fmt;

use const_oid::db::rfc5912;
use der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Encode, Sequence};
use ecdsa::elliptic_curve::bigint::ConcatenatingMul;
use rsa::BoxedUint;
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::ber::{self, Element, ErrorKind, Limits, Reader, Tag};
use super::key::{Curve, KeyKind, PublicKey, PublicKeyError};

/// A private key whose parts fit each other: every constructor checked that.
#[derive(Clone)]
pub enum PrivateKey {
    /// An RSA key of two primes.
    Rsa(RsaPrivateKey),
    /// A key on a named curve.
    Ec(EcPrivateKey),
}

/// An RSA private key (RFC 8017, 3.2); all parts big-endian without leading zeros.
#[derive(Clone)]
pub struct RsaPrivateKey {
    /// n.
    pub modulus: Zeroizing<Vec<u8>>,
    /// e.
    pub public_exponent: Zeroizing<Vec<u8>>,
    /// d.
    pub private_exponent: Zeroizing<Vec<u8>>,
    /// p.
    pub prime1: Zeroizing<Vec<u8>>,
    /// q.
    pub prime2: Zeroizing<Vec<u8>>,
    /// d mod (p-1).
    pub exponent1: Zeroizing<Vec<u8>>,
    /// d mod (q-1).
    pub exponent2: Zeroizing<Vec<u8>>,
    /// q^-1 mod p.
    pub coefficient: Zeroizing<Vec<u8>>,
}

/// A private key on a named curve (SEC 1, 3.2.1).
#[derive(Clone)]
pub struct EcPrivateKey {
    /// The curve.
    pub curve: Curve,
    /// The secret multiplier, big-endian, as many octets as a field element has.
    pub scalar: Zeroizing<Vec<u8>>,
    /// The public key, `04 || X || Y` (SEC 1, 2.3.3).
    pub public_point: Vec<u8>,
}

impl PrivateKey {
    /// Reads a `PrivateKeyInfo` or `OneAsymmetricKey` (RFC 5208, 5; RFC 5958, 2). Attributes are not kept.
    pub fn from_pkcs8_der(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        let mut fields = ber::parse(bytes, &LIMITS)?.sequence("private key")?;
        fields.read(Tag::INTEGER, "version")?.small("version")?;
        let mut algorithm = fields.read(Tag::SEQUENCE, "algorithm")?.sequence("algorithm")?;
        let oid = algorithm.read(Tag::OID, "algorithm")?.oid("algorithm")?;
        let key = fields.read(Tag::OCTET_STRING, "privateKey")?;
        let key = Zeroizing::new(key.octets("privateKey")?.into_owned());
        match oid {
            rfc5912::RSA_ENCRYPTION => Self::from_pkcs1_der(&key),
            rfc5912::ID_EC_PUBLIC_KEY => {
                let curve = algorithm.next("parameters")?.map(|element| named_curve(&element)).transpose()?;
                ec_from_der(&key, curve)
            }
            other => Err(PrivateKeyError::UnknownAlgorithm(other)),
        }
    }

    /// Reads an `RSAPrivateKey` (RFC 8017, A.1.2). The parts after the primes may be zero; they are
    /// computed then.
    pub fn from_pkcs1_der(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        let mut fields = ber::parse(bytes, &LIMITS)?.sequence("RSAPrivateKey")?;
        if fields.read(Tag::INTEGER, "version")?.small("version")? != 0 {
            return Err(PrivateKeyError::MultiPrime);
        }
        let modulus = unsigned(&mut fields, "modulus")?;
        let public_exponent = unsigned(&mut fields, "publicExponent")?;
        let private_exponent = unsigned(&mut fields, "privateExponent")?;
        let prime1 = unsigned(&mut fields, "prime1")?;
        let prime2 = unsigned(&mut fields, "prime2")?;
        let key = RsaPrivateKey::new(modulus, public_exponent, private_exponent, prime1, prime2)?;
        for (what, computed) in
            [("exponent1", &key.exponent1), ("exponent2", &key.exponent2), ("coefficient", &key.coefficient)]
        {
            let given = unsigned(&mut fields, what)?;
            if given != computed.as_slice() && !given.is_empty() {
                return Err(PrivateKeyError::Inconsistent);
            }
        }
        Ok(Self::Rsa(key))
    }

    /// Reads an `ECPrivateKey` (RFC 5915, 3) that names its curve.
    pub fn from_sec1_der(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        ec_from_der(bytes, None)
    }

    /// A `PrivateKeyInfo` (RFC 5208, 5), DER.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let inner = match self {
            Self::Rsa(key) => key.to_der(),
            // The curve is named once, outside; so write OpenSSL and everyone else.
            Self::Ec(key) => key.to_der(false),
        };
        let curve;
        let (oid, parameters) = match self {
            Self::Rsa(_) => (rfc5912::RSA_ENCRYPTION, AnyRef::from(Null)),
            Self::Ec(key) => {
                curve = key.curve.oid();
                (rfc5912::ID_EC_PUBLIC_KEY, AnyRef::from(&curve))
            }
        };
        let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
        let key = OctetStringRef::new(&inner).expect(SHORT);
        encode(&PrivateKeyInfo { version: 0, algorithm, key })
    }

    /// An `RSAPrivateKey` (RFC 8017, A.1.2) or an `ECPrivateKey` (RFC 5915, 3), DER: what stands in
    /// `RSA PRIVATE KEY` and `EC PRIVATE KEY`.
    pub fn to_pkcs1_or_sec1_der(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Rsa(key) => key.to_der(),
            Self::Ec(key) => key.to_der(true),
        }
    }

    /// The public half.
    pub fn public_key(&self) -> Result<PublicKey, PrivateKeyError> {
        match self {
            Self::Rsa(key) => Ok(PublicKey::from_rsa_parts(&key.modulus, &key.public_exponent)?),
            Self::Ec(key) => Ok(PublicKey::from_ec_point(key.curve, &key.public_point)?),
        }
    }

    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa(key) => KeyKind::Rsa { bits: bits(&key.modulus) },
            Self::Ec(key) => KeyKind::Ec(key.curve),
        }
    }
}

impl RsaPrivateKey {
    /// From the parts that all others follow from, big-endian: n, e, d, p and q. They must fit each other.
    pub fn new(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Result<Self, PrivateKeyError> {
        if p.is_empty() || q.is_empty() {
            return Err(PrivateKeyError::NoPrimes);
        }
        // The sizes are checked there: arithmetic below is on at most 8192 bits.
        PublicKey::from_rsa_parts(n, e)?;
        let longest = trim(n).len();
        if [d, p, q].iter().any(|part| trim(part).len() > longest) {
            return Err(PrivateKeyError::Inconsistent);
        }
        Self::compute(n, e, d, p, q).ok_or(PrivateKeyError::Inconsistent)
    }

    fn compute(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Option<Self> {
        let [big_d, big_p, big_q] = [d, p, q].map(big);
        let [big_n, big_e] = [n, e].map(big);
        if Zeroizing::new(big_p.concatenating_mul(&*big_q)) != big_n {
            return None;
        }
        // d modulo prime-1, if it undoes e there.
        let exponent = |prime: &BoxedUint| {
            let order = Zeroizing::new(prime.wrapping_sub(BoxedUint::one())).to_nz().into_option()?;
            let exponent = Zeroizing::new(big_d.rem(&order));
            let product = Zeroizing::new(exponent.concatenating_mul(&*big_e));
            (product.rem(&order) == BoxedUint::one()).then_some(exponent)
        };
        let (exponent1, exponent2) = (exponent(&big_p)?, exponent(&big_q)?);
        let reduced = Zeroizing::new(big_q.rem(&big_p.to_nz().into_option()?));
        let inverse = reduced.invert_odd_mod(&big_p.to_odd().into_option()?).into_option()?;
        let octets = |part: &[u8]| Zeroizing::new(trim(part).to_vec());
        Some(Self {
            modulus: octets(n),
            public_exponent: octets(e),
            private_exponent: octets(d),
            prime1: octets(p),
            prime2: octets(q),
            exponent1: big_octets(&exponent1),
            exponent2: big_octets(&exponent2),
            coefficient: big_octets(&Zeroizing::new(inverse)),
        })
    }

    fn to_der(&self) -> Zeroizing<Vec<u8>> {
        let uint = |part| UintRef::new(part).expect(SHORT);
        encode(&RsaPrivateKeyDer {
            version: 0,
            modulus: uint(&self.modulus),
            public_exponent: uint(&self.public_exponent),
            private_exponent: uint(&self.private_exponent),
            prime1: uint(&self.prime1),
            prime2: uint(&self.prime2),
            exponent1: uint(&self.exponent1),
            exponent2: uint(&self.exponent2),
            coefficient: uint(&self.coefficient),
        })
    }
}

impl EcPrivateKey {
    /// From the secret multiplier, big-endian; leading zeros may be missing or too many.
    pub fn new(curve: Curve, scalar: &[u8]) -> Result<Self, PrivateKeyError> {
        let digits = trim(scalar);
        let len = curve.bits().div_ceil(8);
        let mut scalar = Zeroizing::new(vec![0; len]);
        let start = len.checked_sub(digits.len()).ok_or(PrivateKeyError::Inconsistent)?;
        scalar[start..].copy_from_slice(digits);
        macro_rules! point {
            ($curve:ident) => {
                $curve::SecretKey::from_slice(&scalar)
                    .map(|key| $curve::ecdsa::VerifyingKey::from(key.public_key()).to_sec1_point(false))
                    .map(|point| point.as_bytes().to_vec())
            };
        }
        let point = match curve {
            Curve::P256 => point!(p256),
            Curve::P384 => point!(p384),
            Curve::P521 => point!(p521),
        };
        // Zero, or not below the order of the curve.
        let public_point = point.map_err(|_| PrivateKeyError::Inconsistent)?;
        Ok(Self { curve, scalar, public_point })
    }

    fn to_der(&self, with_curve: bool) -> Zeroizing<Vec<u8>> {
        encode(&EcPrivateKeyDer {
            version: 1,
            scalar: OctetStringRef::new(&self.scalar).expect(SHORT),
            curve: with_curve.then(|| self.curve.oid()),
            public_key: BitStringRef::from_bytes(&self.public_point).expect(SHORT),
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.kind())
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPrivateKey({})", KeyKind::Rsa { bits: bits(&self.modulus) })
    }
}

impl fmt::Debug for EcPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPrivateKey({})", KeyKind::Ec(self.curve))
    }
}

/// Why octets are not a private key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// Not the structure of PKCS#8, PKCS#1 or SEC 1.
    #[error("the private key is malformed: {0}")]
    Malformed(#[from] ber::Error),
    /// Not RSA or EC.
    #[error("private key algorithm {0} is not supported")]
    UnknownAlgorithm(ObjectIdentifier),
    /// Not P-256, P-384 or P-521, or explicit parameters, or none.
    #[error("the curve of the private key is not supported")]
    UnknownCurve,
    /// An RSA key of more than two primes.
    #[error("RSA keys of more than two primes are not supported")]
    MultiPrime,
    /// An RSA key without its primes.
    #[error("the private key lacks its primes")]
    NoPrimes,
    /// Its parts contradict each other.
    #[error("the parts of the private key do not fit each other")]
    Inconsistent,
    /// The public half is not for us.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

fn ec_from_der(bytes: &[u8], curve: Option<Curve>) -> Result<PrivateKey, PrivateKeyError> {
    let mut fields = ber::parse(bytes, &LIMITS)?.sequence("ECPrivateKey")?;
    fields.read(Tag::INTEGER, "version")?.small("version")?;
    let scalar = fields.read(Tag::OCTET_STRING, "privateKey")?;
    let scalar = Zeroizing::new(scalar.octets("privateKey")?.into_owned());
    let inner = match fields.optional(Tag::context(0), "parameters")? {
        Some(explicit) => Some(named_curve(&explicit.explicit("parameters")?)?),
        None => None,
    };
    let curve = match (curve, inner) {
        (Some(outer), Some(inner)) if outer != inner => return Err(PrivateKeyError::Inconsistent),
        (outer, inner) => outer.or(inner).ok_or(PrivateKeyError::UnknownCurve)?,
    };
    let key = EcPrivateKey::new(curve, &scalar)?;
    if let Some(explicit) = fields.optional(Tag::context(1), "publicKey")? {
        let given = explicit.explicit("publicKey")?;
        let given = PublicKey::from_ec_point(curve, given.bits("publicKey")?)?;
        if given.ec_point() != Some(key.public_point.clone()) {
            return Err(PrivateKeyError::Inconsistent);
        }
    }
    Ok(PrivateKey::Ec(key))
}

fn named_curve(parameters: &Element<'_>) -> Result<Curve, PrivateKeyError> {
    if parameters.tag() != Tag::OID {
        return Err(PrivateKeyError::UnknownCurve);
    }
    let oid = parameters.oid("namedCurve")?;
    let known = [Curve::P256, Curve::P384, Curve::P521].into_iter().find(|curve| curve.oid() == oid);
    known.ok_or(PrivateKeyError::UnknownCurve)
}

/// A non-negative INTEGER without leading zeros; zero is empty.
fn unsigned<'a>(fields: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], PrivateKeyError> {
    let element = fields.read(Tag::INTEGER, what)?;
    match element.content() {
        // Some old writers forgot the sign octet; no part of a key is negative.
        content @ [_, ..] if !element.is_constructed() => Ok(trim(content)),
        _ => Err(element.error(what, ErrorKind::Value).into()),
    }
}

fn trim(octets: &[u8]) -> &[u8] {
    &octets[octets.iter().take_while(|octet| **octet == 0).count()..]
}

fn bits(digits: &[u8]) -> usize {
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

fn big(octets: &[u8]) -> Zeroizing<BoxedUint> {
    Zeroizing::new(BoxedUint::from_be_slice_vartime(octets))
}

fn big_octets(number: &BoxedUint) -> Zeroizing<Vec<u8>> {
    let octets = Zeroizing::new(number.to_be_bytes().into_vec());
    Zeroizing::new(trim(&octets).to_vec())
}

fn encode(value: &impl Encode) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.to_der().expect(SHORT))
}

/// `PrivateKeyInfo`, RFC 5208, 5.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierRef<'a>,
    key: &'a OctetStringRef,
}

/// `RSAPrivateKey`, RFC 8017, A.1.2.
#[derive(Sequence)]
struct RsaPrivateKeyDer<'a> {
    version: u8,
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
    private_exponent: UintRef<'a>,
    prime1: UintRef<'a>,
    prime2: UintRef<'a>,
    exponent1: UintRef<'a>,
    exponent2: UintRef<'a>,
    coefficient: UintRef<'a>,
}

/// `ECPrivateKey`, RFC 5915, 3.
#[derive(Sequence)]
struct EcPrivateKeyDer<'a> {
    version: u8,
    scalar: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    curve: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    public_key: BitStringRef<'a>,
}

/// An 8192-bit key has some 5 KiB and a dozen elements; attributes may follow.
const LIMITS: Limits = Limits { depth: 16, elements: 256, length: 32 * 1024 };

/// Why encoding cannot fail.
const SHORT: &str = "the parts of a key are far shorter than DER allows";
