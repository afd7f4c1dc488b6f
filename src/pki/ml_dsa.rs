//! ML-DSA (FIPS 204) as X.509 has it: pure and with an empty context (RFC 9881).

use const_oid::db::fips204;
use der::asn1::ObjectIdentifier;
use ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};

/// A parameter set (FIPS 204, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MlDsaSet {
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl MlDsaSet {
    /// Every one, weakest first.
    pub const ALL: [Self; 3] = [Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// The identifier of its keys and, pure ML-DSA having no digest, of their signatures (RFC 9881, 2).
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::MlDsa44 => fips204::ID_ML_DSA_44,
            Self::MlDsa65 => fips204::ID_ML_DSA_65,
            Self::MlDsa87 => fips204::ID_ML_DSA_87,
        }
    }

    /// The set named by `oid`.
    pub fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.oid() == *oid)
    }

    /// Its number: 44, 65 or 87.
    pub const fn number(self) -> usize {
        match self {
            Self::MlDsa44 => 44,
            Self::MlDsa65 => 65,
            Self::MlDsa87 => 87,
        }
    }

    /// Octets of a public key (FIPS 204, table 2).
    pub const fn key_size(self) -> usize {
        match self {
            Self::MlDsa44 => 1312,
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
        }
    }

    /// Octets of a signature (FIPS 204, table 2).
    pub const fn signature_size(self) -> usize {
        match self {
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
        }
    }

    /// ML-DSA.Verify (FIPS 204, 5.3).
    pub(super) fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::MlDsa44 => verify::<MlDsa44>(key, message, signature),
            Self::MlDsa65 => verify::<MlDsa65>(key, message, signature),
            Self::MlDsa87 => verify::<MlDsa87>(key, message, signature),
        }
    }
}

// The key is expanded for each signature: expanded, it has 30 to 90 KiB, and keys are copied a lot.
fn verify<P: MlDsaParams>(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = key.try_into() else { return false };
    Signature::<P>::try_from(signature)
        .is_ok_and(|signature| VerifyingKey::<P>::decode(key).verify_with_context(message, &[], &signature))
}
