//! Digest, signature and key-transport algorithms: the closed sets that this product speaks.

use const_oid::db::rfc5912;
use der::asn1::{AnyRef, Null, ObjectIdentifier};
use der::{Any, Decode, Encode};
use digest::Digest;
use spki::AlgorithmIdentifierOwned;

use super::key::KeyKind;
use super::ml_dsa::MlDsaSet;

/// A message digest. `Md5` and `Sha1` are read from old clients; what is allowed where is a decision
/// of the layers above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// MD5, RFC 1321. Only behind `crypto legacy md5`.
    Md5,
    /// SHA-1, FIPS 180-4. Only as an answer in kind.
    Sha1,
    /// SHA-256, FIPS 180-4.
    Sha256,
    /// SHA-384, FIPS 180-4.
    Sha384,
    /// SHA-512, FIPS 180-4.
    Sha512,
}

impl Hash {
    /// Every digest, weakest first.
    pub const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The digest's own object identifier, as in `digestAlgorithm`.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Md5 => ObjectIdentifier::new_unwrap("1.2.840.113549.2.5"),
            Self::Sha1 => rfc5912::ID_SHA_1,
            Self::Sha256 => rfc5912::ID_SHA_256,
            Self::Sha384 => rfc5912::ID_SHA_384,
            Self::Sha512 => rfc5912::ID_SHA_512,
        }
    }

    /// The digest named by `oid`.
    pub fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == *oid)
    }

    /// The digest of the concatenation of `parts`.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn run<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut digest = D::new();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize().to_vec()
        }
        match self {
            Self::Md5 => run::<md5::Md5>(parts),
            Self::Sha1 => run::<sha1::Sha1>(parts),
            Self::Sha256 => run::<sha2::Sha256>(parts),
            Self::Sha384 => run::<sha2::Sha384>(parts),
            Self::Sha512 => run::<sha2::Sha512>(parts),
        }
    }

    /// Octets of the digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// `DigestInfo` of `digest` (RFC 8017, 9.2): what `CKM_RSA_PKCS` pads and signs.
    pub fn digest_info(self, digest: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = match self {
            Self::Md5 => {
                &[0x30, 0x20, 0x30, 0x0c, 6, 8, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5, 5, 0, 4, 16]
            }
            Self::Sha1 => &[0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 20],
            Self::Sha256 => {
                &[0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32]
            }
            Self::Sha384 => {
                &[0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 48]
            }
            Self::Sha512 => {
                &[0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 64]
            }
        };
        [prefix, digest].concat()
    }

    /// As the command language names it: `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// A signature algorithm, digest included where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, 8.2).
    RsaPkcs1(Hash),
    /// RSASSA-PSS with MGF1 over the same digest (RFC 4055). Verified only.
    RsaPss(Hash),
    /// ECDSA, signature as `ECDSA-Sig-Value` (RFC 3279, 2.2.3).
    Ecdsa(Hash),
    /// Pure ML-DSA with an empty context (RFC 9881, 3).
    MlDsa(MlDsaSet),
}

impl SignatureAlgorithm {
    /// What a key of this kind signs with when the digest, where it takes one, is `hash`.
    pub const fn for_key(kind: KeyKind, hash: Hash) -> Self {
        match kind {
            KeyKind::Rsa { .. } => Self::RsaPkcs1(hash),
            KeyKind::Ec(_) => Self::Ecdsa(hash),
            KeyKind::MlDsa(set) => Self::MlDsa(set),
        }
    }

    /// The digest that is signed; `None` where it is the message itself.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) => Some(hash),
            Self::MlDsa(_) => None,
        }
    }

    /// The identifier as certificates and CRLs carry it: NULL parameters for RSA (RFC 4055, 5), none
    /// for ECDSA (RFC 5758, 3.2) and ML-DSA (RFC 9881, 2). `None` for what we never write.
    pub fn identifier(self) -> Option<AlgorithmIdentifierOwned> {
        let (oid, parameters) = match self {
            Self::RsaPkcs1(hash) => (rsa_oid(hash), Some(Any::from(AnyRef::from(Null)))),
            Self::Ecdsa(hash) => (ecdsa_oid(hash)?, None),
            Self::MlDsa(set) => (set.oid(), None),
            Self::RsaPss(_) => return None,
        };
        Some(AlgorithmIdentifierOwned { oid, parameters })
    }

    /// Reads a DER `AlgorithmIdentifier` of a signature. `rsaEncryption` alone names no digest: pass the
    /// one named beside it (CMS `digestAlgorithm`) as `beside`.
    pub fn from_der(identifier: &[u8], beside: Option<Hash>) -> Option<Self> {
        let id = AlgorithmIdentifierOwned::from_der(identifier).ok()?;
        if id.oid == rfc5912::RSA_ENCRYPTION {
            return beside.map(Self::RsaPkcs1);
        }
        if id.oid == rfc5912::ID_RSASSA_PSS {
            return pss_hash(id.parameters.as_ref()).map(Self::RsaPss);
        }
        // Some CMS writers put id-ecPublicKey where the signature algorithm belongs.
        if id.oid == rfc5912::ID_EC_PUBLIC_KEY {
            return beside.map(Self::Ecdsa);
        }
        if let Some(set) = MlDsaSet::from_oid(&id.oid) {
            return id.parameters.is_none().then_some(Self::MlDsa(set));
        }
        Hash::ALL.into_iter().find_map(|hash| match hash {
            _ if rsa_oid(hash) == id.oid => Some(Self::RsaPkcs1(hash)),
            _ if ecdsa_oid(hash) == Some(id.oid) => Some(Self::Ecdsa(hash)),
            _ => None,
        })
    }
}

/// How a content-encryption key travels to an RSA key (RFC 3370, 4.2.1; RFC 4055, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyTransport {
    /// RSAES-PKCS1-v1_5.
    Pkcs1v15,
    /// RSAES-OAEP with MGF1, empty label.
    Oaep {
        /// The digest of the label.
        hash: Hash,
        /// The digest of MGF1.
        mgf: Hash,
    },
}

/// The digest of `RSASSA-PSS-params` (RFC 4055, 3.1); absent means SHA-1. Parameters whose MGF1 digest
/// differs are not for us.
fn pss_hash(parameters: Option<&Any>) -> Option<Hash> {
    let Some(parameters) = parameters else { return Some(Hash::Sha1) };
    let bytes = parameters.to_der().ok()?;
    let params = rsa_pss_params::PssParams::from_der(&bytes).ok()?;
    let hash = params.hash.map_or(Some(Hash::Sha1), |id| Hash::from_oid(&id.oid))?;
    let mgf = match params.mgf {
        None => Hash::Sha1,
        Some(id) => {
            let inner = id.parameters?.to_der().ok()?;
            Hash::from_oid(&AlgorithmIdentifierOwned::from_der(&inner).ok()?.oid)?
        }
    };
    (hash == mgf).then_some(hash)
}

mod rsa_pss_params {
    use der::Sequence;
    use spki::AlgorithmIdentifierOwned;

    /// `RSASSA-PSS-params`, RFC 4055, 3.1.
    #[derive(Sequence)]
    pub struct PssParams {
        #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
        pub hash: Option<AlgorithmIdentifierOwned>,
        #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
        pub mgf: Option<AlgorithmIdentifierOwned>,
        #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
        pub salt_length: Option<u32>,
        #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
        pub trailer: Option<u32>,
    }
}

const fn rsa_oid(hash: Hash) -> ObjectIdentifier {
    match hash {
        Hash::Md5 => ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
        Hash::Sha1 => rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
        Hash::Sha256 => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        Hash::Sha384 => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
        Hash::Sha512 => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
    }
}

const fn ecdsa_oid(hash: Hash) -> Option<ObjectIdentifier> {
    match hash {
        Hash::Md5 => None,
        Hash::Sha1 => Some(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1")),
        Hash::Sha256 => Some(rfc5912::ECDSA_WITH_SHA_256),
        Hash::Sha384 => Some(rfc5912::ECDSA_WITH_SHA_384),
        Hash::Sha512 => Some(rfc5912::ECDSA_WITH_SHA_512),
    }
}
