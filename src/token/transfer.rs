//! Keys that are brought to the token, and keys that were made to leave it.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use der::asn1::OctetStringRef;
use der::{Encode, Reader, SliceReader};

use crate::pki::{Curve, PrivateKey};

use super::error::{Origin, Problem};
use super::generate::{destroy, free};
use super::object::KeyInfo;
use super::profile::KeygenLogin;
use super::profile::{PointForm, Profile, Way};
use super::session::{Connection, Link, Open};
use super::sys::ObjectHandle;
use super::wanted::{EXPORTABLE, Side, Templates, Wanted};
use super::wrap::{BLOCK, SecretTemplate, WrappingKey};

/// Brings a key to the token. Nothing is changed when the label is taken; a key that is not what was asked
/// for is deleted.
pub(super) fn import(
    connection: &mut Connection,
    wanted: &Wanted,
    key: &PrivateKey,
) -> Result<KeyInfo, Problem> {
    let kind = wanted.kind;
    let capabilities = &connection.link.capabilities;
    // What is known of tokens where it would take more is that they make their keys themselves.
    if !is_plain(&connection.link) || !capabilities.can_import() {
        return Err(Problem::NotOffered { what: IMPORT.into() });
    }
    if !capabilities.takes(kind) {
        return Err(Problem::NotOffered { what: format!("{kind} keys") });
    }
    if wanted.usage.decrypt && !kind.encrypts() {
        return Err(Problem::NotOffered { what: format!("decryption with {kind} keys") });
    }
    if wanted.exportable && !capabilities.can_export() {
        return Err(Problem::NotOffered { what: EXPORTABLE.into() });
    }
    // As in generation: a lost session is replaced before the one attempt.
    connection.run(|link, open| {
        let _guard = link.read_objects(open)?;
        free(link, open, &wanted.label)
    })?;
    connection.once(|link, open| {
        let _guard = link.change_objects(open)?;
        let templates = Templates::new(wanted, link.profile.keygen(), None)?;
        let private = bring(link, open, wanted, &templates, key)?;
        let mut objects = vec![private];
        let made = public(link, open, &templates, key)
            .map(|public| objects.push(public))
            .and_then(|()| wanted.check(link, open, private))
            .and_then(|info| same(info, key));
        if made.is_err() {
            destroy(open, &objects);
        }
        made
    })
}

/// Whether keys come by the user's hand and with labels.
fn is_plain(link: &Link) -> bool {
    link.profile.keygen_login() == KeygenLogin::User && !link.places.are_fixed()
}

/// Takes an exportable key from the token.
pub(super) fn export(link: &Link, open: &mut Open, key: &KeyInfo) -> Result<PrivateKey, Problem> {
    let handle = open.handle(link, key)?;
    let mut problem = Problem::NotOffered { what: EXPORTABLE.into() };
    for way in &link.capabilities.transfer().export {
        match take(open, *way, handle, key) {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => {}
            Err(refused @ Problem::Call(_)) => {
                tracing::debug!(token = link.name, ?way, %refused, "a key cannot leave in this way");
                problem = told(problem, refused);
            }
            Err(other) => return Err(other),
        }
    }
    Err(problem)
}

/// The private key object, by the first way that the token accepts.
fn bring(
    link: &Link,
    open: &Open,
    wanted: &Wanted,
    templates: &Templates<'_>,
    key: &PrivateKey,
) -> Result<ObjectHandle, Problem> {
    let mut problem = Problem::NotOffered { what: IMPORT.into() };
    for way in &link.capabilities.transfer().import {
        // Also between two ways: a call that failed may have left an object.
        free(link, open, &wanted.label)?;
        match bring_by(*way, open, templates, key) {
            Ok(Some(private)) => return Ok(private),
            Ok(None) => {}
            Err(refused @ Problem::Call(_)) => {
                tracing::debug!(token = link.name, ?way, %refused, "a key cannot come in this way");
                problem = told(problem, refused);
            }
            Err(other) => return Err(other),
        }
    }
    Err(problem)
}

/// `None` where the key does not fit `way`.
pub(super) fn bring_by(
    way: Way,
    open: &Open,
    templates: &Templates<'_>,
    key: &PrivateKey,
) -> Result<Option<ObjectHandle>, Problem> {
    let mut template = SecretTemplate(head(ObjectClass::PRIVATE_KEY, key));
    template.0.extend(templates.of(Side::Private));
    if way != Way::CreateObject {
        return WrappingKey::new(open)?.send(way, &key.to_pkcs8_der(), &template.0);
    }
    template.0.extend(match key {
        PrivateKey::Rsa(key) => vec![
            Attribute::Modulus(key.modulus.to_vec()),
            Attribute::PublicExponent(key.public_exponent.to_vec()),
            Attribute::PrivateExponent(key.private_exponent.to_vec()),
            Attribute::Prime1(key.prime1.to_vec()),
            Attribute::Prime2(key.prime2.to_vec()),
            Attribute::Exponent1(key.exponent1.to_vec()),
            Attribute::Exponent2(key.exponent2.to_vec()),
            Attribute::Coefficient(key.coefficient.to_vec()),
        ],
        PrivateKey::Ec(key) => {
            vec![Attribute::EcParams(curve(key.curve)), Attribute::Value(key.scalar.to_vec())]
        }
    });
    Ok(Some(open.session.create_object(&template.0)?))
}

fn public(
    link: &Link,
    open: &Open,
    templates: &Templates<'_>,
    key: &PrivateKey,
) -> Result<ObjectHandle, Problem> {
    let mut template = head(ObjectClass::PUBLIC_KEY, key);
    template.extend(templates.of(Side::Public));
    template.extend(match key {
        PrivateKey::Rsa(key) => vec![
            Attribute::Modulus(key.modulus.to_vec()),
            Attribute::PublicExponent(key.public_exponent.to_vec()),
        ],
        PrivateKey::Ec(key) => vec![
            Attribute::EcParams(curve(key.curve)),
            Attribute::EcPoint(point(&key.public_point, &link.profile)),
        ],
    });
    Ok(open.session.create_object(&template)?)
}

/// Refuses a key that the token shows with another public half.
fn same(info: KeyInfo, key: &PrivateKey) -> Result<KeyInfo, Problem> {
    match key.public_key() {
        Ok(public) if public == info.public_key => Ok(info),
        _ => Err(Problem::Insecure {
            origin: Origin::Imported,
            label: info.label,
            attribute: "the public key",
            found: "another",
        }),
    }
}

fn take(open: &Open, way: Way, handle: ObjectHandle, key: &KeyInfo) -> Result<Option<PrivateKey>, Problem> {
    let Some(pkcs8) = WrappingKey::new(open)?.receive(way, handle)? else { return Ok(None) };
    let (function, length) = ("C_WrapKey", pkcs8.len());
    let wrong = Problem::BadOutput { function, length, what: "PKCS#8 of this key" };
    let private = unpadded(&pkcs8).and_then(|pkcs8| PrivateKey::from_pkcs8_der(pkcs8).ok());
    let right = |private: &PrivateKey| private.public_key().is_ok_and(|public| public == key.public_key);
    private.filter(right).map(Some).ok_or(wrong)
}

/// Which of two refusals is told: that the token does not do such things says nothing beside another.
fn told(before: Problem, refused: Problem) -> Problem {
    use RvError::{ActionProhibited, FunctionNotSupported, MechanismInvalid};
    match &refused {
        Problem::Call(call)
            if matches!(call.rv(), Some(ActionProhibited | FunctionNotSupported | MechanismInvalid)) =>
        {
            before
        }
        _ => refused,
    }
}

/// The one DER element without the zeros that fill the last block of `CKM_AES_KEY_WRAP` (PKCS#11 2.40,
/// 2.14.3), and with SoftHSM also that of `CKM_AES_KEY_WRAP_PAD`.
fn unpadded(padded: &[u8]) -> Option<&[u8]> {
    let element = SliceReader::new(padded).ok()?.tlv_bytes().ok()?;
    let padding = &padded[element.len()..];
    (padding.len() < BLOCK && padding.iter().all(|octet| *octet == 0)).then_some(element)
}

fn head(class: ObjectClass, key: &PrivateKey) -> Vec<Attribute> {
    let kind = match key {
        PrivateKey::Rsa(_) => KeyType::RSA,
        PrivateKey::Ec(_) => KeyType::EC,
    };
    vec![Attribute::Class(class), Attribute::KeyType(kind)]
}

/// `CKA_EC_PARAMS`.
fn curve(curve: Curve) -> Vec<u8> {
    curve.oid().to_der().expect("an object identifier has an encoding")
}

/// `CKA_EC_POINT`.
fn point(point: &[u8], profile: &Profile) -> Vec<u8> {
    match profile.format().ec_point {
        PointForm::Raw => point.to_vec(),
        PointForm::Der | PointForm::Auto => {
            let wrapped = OctetStringRef::new(point).and_then(|point| point.to_der());
            wrapped.expect("a point has 133 octets at most")
        }
    }
}

/// What a token without a way to import lacks.
const IMPORT: &str = "keys from elsewhere";

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::Error as Cryptoki;

    use super::*;

    #[test]
    fn tokens_that_cannot_say_so() {
        let not_offered = || Problem::NotOffered { what: IMPORT.into() };
        let call = |rv| Problem::from(Cryptoki::Pkcs11(rv, Function::CreateObject));
        let cannot = told(not_offered(), call(RvError::FunctionNotSupported));
        assert!(matches!(cannot, Problem::NotOffered { .. }));
        let refused = told(not_offered(), call(RvError::TemplateInconsistent));
        assert_eq!(refused.to_string(), "C_CreateObject returned CKR_TEMPLATE_INCONSISTENT");
        let refused = told(refused, call(RvError::MechanismInvalid));
        assert_eq!(refused.to_string(), "C_CreateObject returned CKR_TEMPLATE_INCONSISTENT");
    }

    #[test]
    fn padding_is_fewer_zeros_than_a_block() {
        let element = [0x30, 2, 5, 0];
        for zeros in 0..BLOCK {
            assert_eq!(unpadded(&[&element[..], &vec![0; zeros]].concat()), Some(&element[..]));
        }
        assert_eq!(unpadded(&[&element[..], &[0; BLOCK]].concat()), None);
        assert_eq!(unpadded(&[&element[..], &[1]].concat()), None);
        assert_eq!(unpadded(&element[..3]), None);
    }
}
