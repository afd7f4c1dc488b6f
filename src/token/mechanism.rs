//! What the token offers, what the profile allows, and which of it is used.

use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::types::Ulong;

use crate::pki::{Hash, KeyKind, KeyTransport, SignatureAlgorithm};

use super::error::Problem;
use super::profile::{EcdsaSign, KeygenLogin, Profile, RsaSign, Transfer, Way};
use super::sys::{Context, Slot};

/// The mechanisms of a token that this product uses and its profile allows.
#[derive(Clone, Debug)]
pub struct Capabilities {
    offered: Vec<MechanismType>,
    generates: bool,
    raw_decrypt: bool,
    v15_decrypt: bool,
    oaep: Vec<Hash>,
    rsa_sign: Vec<RsaSign>,
    ecdsa_sign: Vec<EcdsaSign>,
    transfer: Transfer,
    /// Bits of an RSA key at most, where the token says.
    rsa_most: Option<usize>,
}

impl Capabilities {
    pub(super) fn read(context: &Context, slot: Slot, profile: &Profile) -> Result<Self, Problem> {
        let wanted = profile.mechanisms();
        let offered = context.mechanisms(slot)?;
        let offered: Vec<_> = offered.into_iter().filter_map(|kind| kind.try_into().ok()).collect();
        let can = |mechanism: MechanismType, what: fn(&MechanismInfo) -> bool| {
            offered.contains(&mechanism) && context.mechanism_info(slot, mechanism).as_ref().is_ok_and(what)
        };
        let decrypts = |mechanism| can(mechanism, MechanismInfo::decrypt);
        let ways = |wanted: &[Way], what: fn(&MechanismInfo) -> bool| -> Vec<Way> {
            let offers = |way: &Way| way_mechanism(*way).is_none_or(|mechanism| can(mechanism, what));
            wanted.iter().copied().filter(offers).collect()
        };
        let transfer = Transfer {
            import: ways(&profile.transfer().import, MechanismInfo::unwrap),
            export: ways(&profile.transfer().export, MechanismInfo::wrap),
        };
        // Less than 1024 is a size in octets, or no size at all.
        let rsa_most = context.mechanism_info(slot, MechanismType::RSA_PKCS).ok();
        let rsa_most = rsa_most.map(|info| info.max_key_size()).filter(|bits| *bits >= 1024);
        let raw_decrypt = wanted.raw_rsa && decrypts(MechanismType::RSA_X_509);
        let v15_decrypt = wanted.pkcs1_v15 && decrypts(MechanismType::RSA_PKCS);
        let oaep = if decrypts(MechanismType::RSA_PKCS_OAEP) { wanted.oaep.clone() } else { Vec::new() };
        Ok(Self {
            raw_decrypt,
            v15_decrypt,
            oaep,
            rsa_sign: wanted.rsa_sign.clone(),
            ecdsa_sign: wanted.ecdsa_sign.clone(),
            transfer,
            generates: profile.keygen().elsewhere.is_none() && profile.keygen_login() != KeygenLogin::Never,
            rsa_most,
            offered,
        })
    }

    /// Whether RSA keys of this token can open RSAES-PKCS1-v1_5 envelopes, which SCEP needs.
    pub fn can_decrypt(&self) -> bool {
        self.raw_decrypt || self.v15_decrypt
    }

    /// Whether keys of this kind can be generated, as far as the mechanism list and the profile say.
    pub fn can_generate(&self, kind: KeyKind) -> bool {
        self.generates
            && self.offers(match kind {
                KeyKind::Rsa { .. } => MechanismType::RSA_PKCS_KEY_PAIR_GEN,
                KeyKind::Ec(_) => MechanismType::ECC_KEY_PAIR_GEN,
                KeyKind::MlDsa(_) => MechanismType::ML_DSA_KEY_PAIR_GEN,
            })
    }

    /// Whether private keys can be brought to this token, as far as the mechanism list and the profile say.
    pub fn can_import(&self) -> bool {
        !self.transfer.import.is_empty()
    }

    /// Whether keys of this size can be used, as far as the token says. Asked before a key is brought to it:
    /// a module may fall over one that is larger than its buffers.
    pub(super) fn takes(&self, kind: KeyKind) -> bool {
        match (kind, self.rsa_most) {
            (KeyKind::Rsa { bits }, Some(most)) => bits <= most,
            _ => true,
        }
    }

    /// Whether exportable keys of this token can leave it.
    pub fn can_export(&self) -> bool {
        !self.transfer.export.is_empty()
    }

    /// How a private key may come and go.
    pub(super) fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// Whether a key of this kind signs with this digest.
    pub fn can_sign(&self, kind: KeyKind, hash: Hash) -> bool {
        self.signing(kind, SignatureAlgorithm::for_key(kind, hash)).is_some()
    }

    /// Whether RSA keys sign by RSASSA-PSS, as far as the mechanism list says.
    pub fn can_pss(&self) -> bool {
        self.offers(MechanismType::RSA_PKCS_PSS)
    }

    /// How a key of this kind signs by this algorithm.
    pub(super) fn signing(&self, kind: KeyKind, algorithm: SignatureAlgorithm) -> Option<SignWith> {
        match (kind, algorithm) {
            (KeyKind::Rsa { .. }, SignatureAlgorithm::RsaPkcs1(hash)) => {
                self.rsa_sign.iter().find_map(|form| match form {
                    RsaSign::DigestInfo => {
                        self.offers(MechanismType::RSA_PKCS).then_some(SignWith::RsaDigestInfo)
                    }
                    RsaSign::Hashing => self.offers(rsa_hashing(hash)?.1).then_some(SignWith::RsaMessage),
                })
            }
            // Over our own digest: the form that most tokens have.
            (KeyKind::Rsa { .. }, SignatureAlgorithm::RsaPss(_)) => {
                self.can_pss().then_some(SignWith::RsaPssDigest)
            }
            (KeyKind::Ec(_), SignatureAlgorithm::Ecdsa(hash)) => {
                self.ecdsa_sign.iter().find_map(|form| match form {
                    EcdsaSign::Digest => self.offers(MechanismType::ECDSA).then_some(SignWith::EcdsaDigest),
                    EcdsaSign::Hashing => {
                        self.offers(ecdsa_hashing(hash)?.1).then_some(SignWith::EcdsaMessage)
                    }
                })
            }
            (KeyKind::MlDsa(_), SignatureAlgorithm::MlDsa(_)) => {
                self.offers(MechanismType::ML_DSA).then_some(SignWith::MlDsa)
            }
            _ => None,
        }
    }

    /// How a wrapped key is opened.
    pub(super) fn decryption(&self, transport: KeyTransport) -> Option<DecryptWith> {
        if self.raw_decrypt {
            return Some(DecryptWith::Raw);
        }
        match transport {
            KeyTransport::Pkcs1v15 => self.v15_decrypt.then_some(DecryptWith::Padded(transport)),
            KeyTransport::Oaep { hash, mgf } => {
                let offered = self.oaep.contains(&hash) && self.oaep.contains(&mgf);
                offered.then_some(DecryptWith::Padded(transport))
            }
        }
    }

    /// Whether the token lists this mechanism.
    pub(super) fn offers(&self, mechanism: MechanismType) -> bool {
        self.offered.contains(&mechanism)
    }
}

/// What the token signs: a digest made by us, or the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignWith {
    RsaDigestInfo,
    RsaMessage,
    RsaPssDigest,
    EcdsaDigest,
    EcdsaMessage,
    MlDsa,
}

impl SignWith {
    /// The mechanism for this digest, which ML-DSA does not have.
    pub fn mechanism(self, hash: Option<Hash>) -> Option<Mechanism<'static>> {
        match self {
            Self::RsaDigestInfo => Some(Mechanism::RsaPkcs),
            Self::RsaPssDigest => {
                let hash = hash?;
                let (hash_alg, mgf) = digest(hash)?;
                let s_len = Ulong::try_from(hash.size()).ok()?;
                Some(Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len }))
            }
            Self::EcdsaDigest => Some(Mechanism::Ecdsa),
            Self::RsaMessage => rsa_hashing(hash?).map(|(mechanism, _)| mechanism),
            Self::EcdsaMessage => ecdsa_hashing(hash?).map(|(mechanism, _)| mechanism),
            // Without a parameter: the empty context of RFC 9881, and hedged where the token can.
            Self::MlDsa => Some(Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None))),
        }
    }
}

/// Who removes the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecryptWith {
    /// We do.
    Raw,
    /// The token does.
    Padded(KeyTransport),
}

impl DecryptWith {
    pub fn mechanism(self) -> Option<Mechanism<'static>> {
        match self {
            Self::Raw => Some(Mechanism::RsaX509),
            Self::Padded(KeyTransport::Pkcs1v15) => Some(Mechanism::RsaPkcs),
            Self::Padded(KeyTransport::Oaep { hash, mgf }) => {
                let ((hash, _), (_, mgf)) = (digest(hash)?, digest(mgf)?);
                // An empty label is a NULL pointer: some modules refuse any other.
                let params = PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty());
                Some(Mechanism::RsaPkcsOaep(params))
            }
        }
    }
}

fn rsa_hashing(hash: Hash) -> Option<(Mechanism<'static>, MechanismType)> {
    let mechanism = match hash {
        Hash::Md5 => return None,
        Hash::Sha1 => Mechanism::Sha1RsaPkcs,
        Hash::Sha256 => Mechanism::Sha256RsaPkcs,
        Hash::Sha384 => Mechanism::Sha384RsaPkcs,
        Hash::Sha512 => Mechanism::Sha512RsaPkcs,
    };
    let kind = mechanism.mechanism_type();
    Some((mechanism, kind))
}

fn ecdsa_hashing(hash: Hash) -> Option<(Mechanism<'static>, MechanismType)> {
    let mechanism = match hash {
        Hash::Md5 => return None,
        Hash::Sha1 => Mechanism::EcdsaSha1,
        Hash::Sha256 => Mechanism::EcdsaSha256,
        Hash::Sha384 => Mechanism::EcdsaSha384,
        Hash::Sha512 => Mechanism::EcdsaSha512,
    };
    let kind = mechanism.mechanism_type();
    Some((mechanism, kind))
}

/// The mechanism of a way of private keys; `None` where none is needed.
pub(super) fn way_mechanism(way: Way) -> Option<MechanismType> {
    match way {
        Way::AesKeyWrapPad => Some(MechanismType::AES_KEY_WRAP_PAD),
        Way::AesKeyWrap => Some(MechanismType::AES_KEY_WRAP),
        Way::AesCbcPad => Some(MechanismType::AES_CBC_PAD),
        Way::CreateObject => None,
    }
}

fn digest(hash: Hash) -> Option<(MechanismType, PkcsMgfType)> {
    match hash {
        Hash::Md5 => None,
        Hash::Sha1 => Some((MechanismType::SHA1, PkcsMgfType::MGF1_SHA1)),
        Hash::Sha256 => Some((MechanismType::SHA256, PkcsMgfType::MGF1_SHA256)),
        Hash::Sha384 => Some((MechanismType::SHA384, PkcsMgfType::MGF1_SHA384)),
        Hash::Sha512 => Some((MechanismType::SHA512, PkcsMgfType::MGF1_SHA512)),
    }
}
