//! Key objects: their attributes, and the public key in whatever form the token has it.

use std::fmt;

use const_oid::ObjectIdentifier;
use cryptoki::object::{
    Attribute, AttributeType, KeyType, MlDsaParameterSetType, ObjectClass, ParameterSetType,
};
use der::Decode;
use der::asn1::OctetStringRef;

use crate::pki::{Curve, KeyKind, MlDsaSet, PublicKey, PublicKeyError};

use super::error::Problem;
use super::profile::{PointForm, Profile};
use super::session::Link;
use super::sys::{ObjectHandle, Session};

/// What a private key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyUsage {
    /// Signing (`CKA_SIGN`).
    pub sign: bool,
    /// Opening envelopes (`CKA_DECRYPT`).
    pub decrypt: bool,
}

impl KeyUsage {
    /// Signing only.
    pub const SIGNATURE: Self = Self { sign: true, decrypt: false };
    /// Opening envelopes only.
    pub const ENCRYPTION: Self = Self { sign: false, decrypt: true };

    /// Everything that keys of this kind do: EC keys only sign.
    pub const fn general(kind: KeyKind) -> Self {
        Self { sign: true, decrypt: kind.encrypts() }
    }
}

/// As IOS says it: `General Purpose Key`.
impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.sign, self.decrypt) {
            (true, true) => "General Purpose Key",
            (true, false) => "Signature Key",
            (false, true) => "Encryption Key",
            (false, false) => "No Usage",
        })
    }
}

/// A private key on a token, as its attributes describe it. `None` where the token does not say.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// `CKA_LABEL`; that of its place, where keys have fixed places.
    pub label: String,
    /// `CKA_ID`.
    pub id: Vec<u8>,
    /// Kind and size.
    pub kind: KeyKind,
    /// The public half.
    pub public_key: PublicKey,
    /// What it may be used for.
    pub usage: KeyUsage,
    /// `CKA_SENSITIVE`: cannot be read.
    pub sensitive: Option<bool>,
    /// `CKA_EXTRACTABLE`: can be wrapped.
    pub extractable: Option<bool>,
    /// `CKA_LOCAL`: generated on the token.
    pub local: Option<bool>,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: Option<bool>,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: Option<bool>,
    /// `CKA_KEY_GEN_MECHANISM`: by what it was generated on the token, by its name where it has one.
    pub mechanism: Option<String>,
    /// `CKA_ALWAYS_AUTHENTICATE`: wants the PIN for each operation.
    pub always_authenticate: bool,
}

/// The private key `private`; `None` when it is of a kind or in a place that this product does not use, or what is
/// left where a key was deleted.
pub(super) fn read(
    link: &Link,
    session: &Session,
    private: ObjectHandle,
) -> Result<Option<KeyInfo>, Problem> {
    let attributes = Attributes::read(session, private, &DESCRIPTION)?;
    let id = attributes.octets(AttributeType::Id).unwrap_or_default().to_vec();
    let label = attributes.text(AttributeType::Label);
    let Some(public_key) = public_key_of(link, session, private, &attributes)? else { return Ok(None) };
    let flag = |attribute| attributes.flag(attribute);
    let label = match link.places.label(&id) {
        Some(label) => label,
        // In a place that has no name for us, as the key that attests the others.
        None if link.places.are_fixed() => return Ok(None),
        None => label,
    };
    if link.places.are_fixed() && link.places.is_deleted(&id, &public_key.fingerprint()) {
        return Ok(None);
    }
    Ok(Some(KeyInfo {
        label,
        id,
        kind: public_key.kind(),
        public_key,
        usage: KeyUsage {
            sign: flag(AttributeType::Sign).unwrap_or(false),
            decrypt: flag(AttributeType::Decrypt).unwrap_or(false),
        },
        sensitive: flag(AttributeType::Sensitive),
        extractable: flag(AttributeType::Extractable),
        local: flag(AttributeType::Local),
        always_sensitive: flag(AttributeType::AlwaysSensitive),
        never_extractable: flag(AttributeType::NeverExtractable),
        mechanism: attributes.mechanism(),
        always_authenticate: flag(AttributeType::AlwaysAuthenticate).unwrap_or(false),
    }))
}

/// Whether the private key `private` is what is left where one was deleted.
pub(super) fn is_deleted(link: &Link, session: &Session, private: ObjectHandle) -> Result<bool, Problem> {
    let attributes = Attributes::read(session, private, &DESCRIPTION)?;
    let id = attributes.octets(AttributeType::Id).unwrap_or_default();
    match public_key_of(link, session, private, &attributes) {
        Ok(key) => Ok(key.is_some_and(|key| link.places.is_deleted(id, &key.fingerprint()))),
        Err(Problem::NoPublicKey { .. }) => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// The public half of `private`, which has these attributes; `None` when the key is of another kind than those of
/// this product.
fn public_key_of(
    link: &Link,
    session: &Session,
    private: ObjectHandle,
    attributes: &Attributes,
) -> Result<Option<PublicKey>, Problem> {
    let Some(key_type) = attributes.key_type() else { return Ok(None) };
    let id = attributes.octets(AttributeType::Id).unwrap_or_default();
    let label = attributes.text(AttributeType::Label);
    let public_key = match public_key_in(session, private, key_type, &link.profile)? {
        Some(key) => Some(key),
        None => public_object(session, key_type, id, &label, &link.profile)?,
    };
    match public_key {
        Some(Ok(key)) => Ok(Some(key)),
        Some(Err(PublicKeyError::UnknownCurve | PublicKeyError::UnknownAlgorithm(_))) => Ok(None),
        Some(Err(error)) => Err(Problem::NoPublicKey { label, source: Some(error) }),
        None => Err(Problem::NoPublicKey { label, source: None }),
    }
}

/// The public key as far as `object` has it: private keys often have it too.
pub(super) fn public_key_in(
    session: &Session,
    object: ObjectHandle,
    key_type: KeyType,
    profile: &Profile,
) -> Result<Option<Result<PublicKey, PublicKeyError>>, Problem> {
    let parts = match key_type {
        KeyType::RSA => &RSA_PARTS[..],
        KeyType::ML_DSA => &ML_DSA_PARTS[..],
        _ => &EC_PARTS[..],
    };
    let attributes = Attributes::read(session, object, parts)?;
    // Present and empty on SoftHSM.
    if let Some(spki) = attributes.octets(AttributeType::PublicKeyInfo).filter(|spki| !spki.is_empty()) {
        return Ok(Some(PublicKey::from_spki_der(spki)));
    }
    let pair = |first, second| {
        let both = attributes.octets(first).zip(attributes.octets(second));
        both.filter(|(first, second)| !first.is_empty() && !second.is_empty())
    };
    if key_type == KeyType::RSA {
        let parts = pair(AttributeType::Modulus, AttributeType::PublicExponent);
        return Ok(parts.map(|(modulus, exponent)| PublicKey::from_rsa_parts(modulus, exponent)));
    }
    if key_type == KeyType::ML_DSA {
        // A private key's value is not shown, and would not be of this size.
        let value = attributes.parameter_set().zip(attributes.octets(AttributeType::Value));
        let value = value.filter(|(set, value)| value.len() == set.key_size());
        return Ok(value.map(|(set, value)| PublicKey::from_ml_dsa(set, value)));
    }
    let parts = pair(AttributeType::EcParams, AttributeType::EcPoint);
    Ok(parts.map(|(params, point)| ec_public_key(params, point, profile.format().ec_point)))
}

fn public_object(
    session: &Session,
    key_type: KeyType,
    id: &[u8],
    label: &str,
    profile: &Profile,
) -> Result<Option<Result<PublicKey, PublicKeyError>>, Problem> {
    // The label may belong to several keys and a key may have lost it: the identifier pairs the halves.
    let pairs = match id.is_empty() {
        true => Attribute::Label(label.as_bytes().to_vec()),
        false => Attribute::Id(id.to_vec()),
    };
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(key_type), pairs];
    for object in session.find_objects(&template)? {
        if let Some(key) = public_key_in(session, object, key_type, profile)? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn ec_public_key(params: &[u8], point: &[u8], form: PointForm) -> Result<PublicKey, PublicKeyError> {
    let oid = ObjectIdentifier::from_der(params).map_err(|_| PublicKeyError::UnknownCurve)?;
    let curve = [Curve::P256, Curve::P384, Curve::P521].into_iter().find(|curve| curve.oid() == oid);
    let curve = curve.ok_or(PublicKeyError::UnknownCurve)?;
    let coordinate = curve.bits().div_ceil(8);
    let raw = |point: &[u8]| match point {
        [4, xy @ ..] if xy.len() == 2 * coordinate => PublicKey::from_ec_point(curve, point),
        xy if xy.len() == 2 * coordinate => PublicKey::from_ec_point(curve, &[&[4], xy].concat()),
        _ => Err(PublicKeyError::Malformed),
    };
    let inner = <&OctetStringRef>::from_der(point).map(OctetStringRef::as_bytes);
    match (form, inner) {
        (PointForm::Raw, _) => raw(point),
        (_, Ok(inner)) if inner.len() > 2 * coordinate => raw(inner),
        (PointForm::Der, _) => Err(PublicKeyError::Malformed),
        (PointForm::Auto, _) => raw(point),
    }
}

/// Attribute values, those that the object lacks left out.
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    pub fn read(session: &Session, object: ObjectHandle, wanted: &[AttributeType]) -> Result<Self, Problem> {
        Ok(Self(session.attributes(object, wanted)?))
    }

    fn find(&self, wanted: AttributeType) -> Option<&Attribute> {
        self.0.iter().find(|attribute| attribute.attribute_type() == wanted)
    }

    fn key_type(&self) -> Option<KeyType> {
        match self.find(AttributeType::KeyType) {
            Some(Attribute::KeyType(kind)) if [KeyType::RSA, KeyType::EC, KeyType::ML_DSA].contains(kind) => {
                Some(*kind)
            }
            _ => None,
        }
    }

    fn parameter_set(&self) -> Option<MlDsaSet> {
        let Attribute::ParameterSet(set) = self.find(AttributeType::ParameterSet)? else { return None };
        MlDsaSet::ALL.into_iter().find(|known| parameter_set(*known) == *set)
    }

    fn mechanism(&self) -> Option<String> {
        // A value that is no mechanism, as for keys that came from elsewhere, is not among the attributes.
        match self.find(AttributeType::KeyGenMechanism)? {
            Attribute::KeyGenMechanism(mechanism) => Some(mechanism.to_string()),
            _ => None,
        }
    }

    pub fn octets(&self, wanted: AttributeType) -> Option<&[u8]> {
        match self.find(wanted)? {
            Attribute::Label(octets)
            | Attribute::Id(octets)
            | Attribute::Modulus(octets)
            | Attribute::PublicExponent(octets)
            | Attribute::EcParams(octets)
            | Attribute::EcPoint(octets)
            | Attribute::PublicKeyInfo(octets)
            | Attribute::Value(octets) => Some(octets),
            _ => None,
        }
    }

    pub fn text(&self, wanted: AttributeType) -> String {
        String::from_utf8_lossy(self.octets(wanted).unwrap_or_default()).into_owned()
    }

    pub fn flag(&self, wanted: AttributeType) -> Option<bool> {
        match self.find(wanted)? {
            Attribute::Token(flag)
            | Attribute::Private(flag)
            | Attribute::Sign(flag)
            | Attribute::Decrypt(flag)
            | Attribute::Unwrap(flag)
            | Attribute::Sensitive(flag)
            | Attribute::Extractable(flag)
            | Attribute::Local(flag)
            | Attribute::AlwaysSensitive(flag)
            | Attribute::NeverExtractable(flag)
            | Attribute::AlwaysAuthenticate(flag) => Some(*flag),
            _ => None,
        }
    }
}

/// `CKA_PARAMETER_SET` (PKCS#11 3.2).
pub(super) fn parameter_set(set: MlDsaSet) -> ParameterSetType {
    match set {
        MlDsaSet::MlDsa44 => MlDsaParameterSetType::ML_DSA_44,
        MlDsaSet::MlDsa65 => MlDsaParameterSetType::ML_DSA_65,
        MlDsaSet::MlDsa87 => MlDsaParameterSetType::ML_DSA_87,
    }
    .into()
}

const DESCRIPTION: [AttributeType; 12] = [
    AttributeType::KeyType,
    AttributeType::Label,
    AttributeType::Id,
    AttributeType::Sign,
    AttributeType::Decrypt,
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::Local,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
    AttributeType::KeyGenMechanism,
    AttributeType::AlwaysAuthenticate,
];
const RSA_PARTS: [AttributeType; 3] =
    [AttributeType::PublicKeyInfo, AttributeType::Modulus, AttributeType::PublicExponent];
const ML_DSA_PARTS: [AttributeType; 3] =
    [AttributeType::PublicKeyInfo, AttributeType::ParameterSet, AttributeType::Value];
const EC_PARTS: [AttributeType; 3] =
    [AttributeType::PublicKeyInfo, AttributeType::EcParams, AttributeType::EcPoint];

#[cfg(test)]
mod tests {
    use der::Encode;

    use super::*;

    #[test]
    fn points_are_read_in_every_form() {
        // A point of P-256: the generator.
        let point = p256::AffinePoint::GENERATOR;
        let point = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&point, false);
        let point = point.as_bytes();
        let params = Curve::P256.oid().to_der().unwrap();
        let wrapped = der::asn1::OctetString::new(point).unwrap().to_der().unwrap();
        let key = PublicKey::from_ec_point(Curve::P256, point).unwrap();

        for (form, bytes) in [
            (PointForm::Auto, &wrapped[..]),
            (PointForm::Auto, point),
            (PointForm::Auto, &point[1..]),
            (PointForm::Der, &wrapped),
            (PointForm::Raw, point),
        ] {
            assert_eq!(ec_public_key(&params, bytes, form), Ok(key.clone()), "{form:?}");
        }
        assert!(ec_public_key(&params, point, PointForm::Der).is_err());
        assert!(ec_public_key(&params, &wrapped, PointForm::Raw).is_err());
        assert_eq!(ec_public_key(&[5, 0], point, PointForm::Auto), Err(PublicKeyError::UnknownCurve));
    }
}
