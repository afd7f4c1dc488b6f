//! Keys born on the token: everything is asked for, everything is read back, and the key is tried.

use std::sync::atomic::Ordering;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;
use der::Encode;

use crate::pki::KeyKind;

use super::error::Problem;
use super::object::{self, Attributes, KeyInfo, KeyUsage};
use super::profile::{KeyAttribute, Keygen};
use super::session::{Connection, Link, Open};

/// Generates a key pair on the token. Nothing is generated when the label is taken; a key that is not
/// what was asked for is deleted.
pub(super) fn generate(
    connection: &mut Connection,
    label: &str,
    kind: KeyKind,
    usage: KeyUsage,
    exportable: bool,
) -> Result<KeyInfo, Problem> {
    if !connection.link.capabilities.can_generate(kind) {
        return Err(Problem::NotOffered { what: format!("generating {kind} keys") });
    }
    if usage.decrypt && matches!(kind, KeyKind::Ec(_)) {
        return Err(Problem::NotOffered { what: format!("decryption with {kind} keys") });
    }
    // Before the one attempt at generating: a session that was lost is replaced here.
    connection.run(|link, open| {
        let _guard = link.read_objects();
        free(open, label)
    })?;
    // Never tried again by itself: a key may exist although the call failed.
    connection.once(|link, open| {
        let _guard = link.change_objects();
        free(open, label)?;
        let (public, private) = key_pair(link, open, label, kind, usage, exportable)?;
        let made = check(link, open, private, label, kind, usage, exportable);
        if made.is_err() {
            for object in [private, public] {
                let _ = open.session.destroy_object(object);
            }
        }
        link.counters.generations.add();
        made
    })
}

/// Destroys the private and public keys with this label.
pub(super) fn delete(link: &Link, open: &Open, label: &str) -> Result<(), Problem> {
    let _guard = link.change_objects();
    let keys = keys(open, label)?;
    let destroyed = keys.iter().try_for_each(|key| open.session.destroy_object(*key));
    link.changes.fetch_add(1, Ordering::AcqRel);
    destroyed?;
    if keys.is_empty() { Err(Problem::NoKey { label: label.into() }) } else { Ok(()) }
}

/// Whether no key has the label. A certificate may.
fn free(open: &Open, label: &str) -> Result<(), Problem> {
    match keys(open, label)?.is_empty() {
        true => Ok(()),
        false => Err(Problem::KeyExists { label: label.into() }),
    }
}

/// The private and public keys with this label.
fn keys(open: &Open, label: &str) -> Result<Vec<ObjectHandle>, Problem> {
    let mut keys = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let label = Attribute::Label(label.as_bytes().to_vec());
        keys.extend(open.session.find_objects(&[Attribute::Class(class), Attribute::Token(true), label])?);
    }
    Ok(keys)
}

fn key_pair(
    link: &Link,
    open: &Open,
    label: &str,
    kind: KeyKind,
    usage: KeyUsage,
    exportable: bool,
) -> Result<(ObjectHandle, ObjectHandle), Problem> {
    let mut id = vec![0; ID_OCTETS];
    getrandom::fill(&mut id).map_err(Problem::NoRandomness)?;
    let values = Values { label, id, kind, usage, exportable };
    let keygen = link.profile.keygen();
    let public = values.template(&keygen.public, Side::Public, keygen);
    let private = values.template(&keygen.private, Side::Private, keygen);
    let mechanism = match kind {
        KeyKind::Rsa { .. } => Mechanism::RsaPkcsKeyPairGen,
        KeyKind::Ec(_) => Mechanism::EccKeyPairGen,
    };
    Ok(open.session.generate_key_pair(&mechanism, &public, &private)?)
}

/// Reads the key back and refuses it unless it is what was asked for. Tokens ignore attributes that they
/// do not like, and their defaults are no one's friends.
fn check(
    link: &Link,
    open: &Open,
    private: ObjectHandle,
    label: &str,
    kind: KeyKind,
    usage: KeyUsage,
    exportable: bool,
) -> Result<KeyInfo, Problem> {
    let must = |attribute, found: Option<bool>, wanted: bool| match found {
        Some(found) if found == wanted => Ok(()),
        found => Err(Problem::Insecure {
            label: label.into(),
            attribute,
            found: found.map_or("missing", |found| if found { "true" } else { "false" }),
        }),
    };
    let extra = Attributes::read(
        &open.session,
        private,
        &[AttributeType::Token, AttributeType::Private, AttributeType::Unwrap],
    )?;
    must("CKA_TOKEN", extra.flag(AttributeType::Token), true)?;
    must("CKA_PRIVATE", extra.flag(AttributeType::Private), true)?;
    let no_key = || Problem::NoPublicKey { label: label.into(), source: None };
    let key = object::read(&open.session, private, &link.profile)?.ok_or_else(no_key)?;
    must("CKA_SENSITIVE", key.sensitive, true)?;
    must("CKA_EXTRACTABLE", key.extractable, exportable)?;
    must("CKA_ALWAYS_SENSITIVE", key.always_sensitive, true)?;
    must("CKA_NEVER_EXTRACTABLE", key.never_extractable, !exportable)?;
    if link.profile.keygen().local {
        must("CKA_LOCAL", key.local, true)?;
    }
    must("CKA_SIGN", Some(key.usage.sign), usage.sign)?;
    // Absent or false where it was left out of the template, and of no consequence for EC keys.
    if let KeyKind::Rsa { .. } = kind {
        must("CKA_DECRYPT", Some(key.usage.decrypt), usage.decrypt)?;
        must("CKA_UNWRAP", Some(extra.flag(AttributeType::Unwrap).unwrap_or(false)), false)?;
    }
    if key.kind != kind || key.label != label {
        return Err(no_key());
    }
    Ok(key)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Public,
    Private,
}

struct Values<'a> {
    label: &'a str,
    id: Vec<u8>,
    kind: KeyKind,
    usage: KeyUsage,
    exportable: bool,
}

impl Values<'_> {
    fn template(&self, wanted: &[KeyAttribute], side: Side, keygen: &Keygen) -> Vec<Attribute> {
        let ec = matches!(self.kind, KeyKind::Ec(_));
        let wanted = wanted.iter().filter(|attribute| !(ec && keygen.omit_ec.contains(attribute)));
        wanted.filter_map(|attribute| self.value(*attribute, side)).collect()
    }

    /// `None` for what this kind of key does not have.
    fn value(&self, attribute: KeyAttribute, side: Side) -> Option<Attribute> {
        Some(match (attribute, self.kind) {
            (KeyAttribute::Token, _) => Attribute::Token(true),
            (KeyAttribute::Private, _) => Attribute::Private(side == Side::Private),
            (KeyAttribute::Sensitive, _) => Attribute::Sensitive(true),
            (KeyAttribute::Extractable, _) => Attribute::Extractable(self.exportable),
            (KeyAttribute::Label, _) => Attribute::Label(self.label.as_bytes().to_vec()),
            (KeyAttribute::Id, _) => Attribute::Id(self.id.clone()),
            (KeyAttribute::ModulusBits, KeyKind::Rsa { bits }) => {
                Attribute::ModulusBits(Ulong::try_from(bits).ok()?)
            }
            // 65537, the exponent that everybody accepts and some tokens insist on.
            (KeyAttribute::PublicExponent, KeyKind::Rsa { .. }) => Attribute::PublicExponent(vec![1, 0, 1]),
            (KeyAttribute::EcParams, KeyKind::Ec(curve)) => Attribute::EcParams(curve.oid().to_der().ok()?),
            (KeyAttribute::Sign, _) => Attribute::Sign(self.usage.sign),
            (KeyAttribute::Verify, _) => Attribute::Verify(self.usage.sign),
            (KeyAttribute::Decrypt, _) => Attribute::Decrypt(self.usage.decrypt),
            (KeyAttribute::Encrypt, _) => Attribute::Encrypt(self.usage.decrypt),
            (KeyAttribute::Unwrap, _) => Attribute::Unwrap(false),
            (KeyAttribute::Wrap, _) => Attribute::Wrap(false),
            (KeyAttribute::Derive, _) => Attribute::Derive(false),
            (KeyAttribute::ModulusBits | KeyAttribute::PublicExponent | KeyAttribute::EcParams, _) => {
                return None;
            }
        })
    }
}

/// As long as a SHA-1 key identifier, so that no tool finds it odd.
const ID_OCTETS: usize = 20;
