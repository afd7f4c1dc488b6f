//! Keys born on the token: everything is asked for, everything is read back, and the key is tried.

use std::sync::atomic::Ordering;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};

use crate::pki::{Curve, KeyKind};

use super::error::{Origin, Problem};
use super::object::{self, KeyInfo, KeyUsage};
use super::profile::{Delete, KeygenLogin};
use super::session::{Connection, Link, Open};
use super::sys::ObjectHandle;
use super::wanted::{EXPORTABLE, Side, Templates, Wanted};

/// Generates a key pair on the token. Nothing is generated when the label is taken; a key that is not
/// what was asked for is deleted.
pub(super) fn generate(connection: &mut Connection, wanted: &Wanted) -> Result<KeyInfo, Problem> {
    let kind = wanted.kind;
    if let Some(how) = &connection.link.profile.keygen().elsewhere {
        return Err(Problem::MadeElsewhere { how: how.clone() });
    }
    let capabilities = &connection.link.capabilities;
    if !capabilities.can_generate(kind) {
        return Err(Problem::NotOffered { what: format!("generating {kind} keys") });
    }
    if wanted.usage.decrypt && !kind.encrypts() {
        return Err(Problem::NotOffered { what: format!("decryption with {kind} keys") });
    }
    // No form of an ML-DSA key travels here.
    let stays = matches!(kind, KeyKind::MlDsa(_)) || !capabilities.can_export();
    if wanted.exportable && stays {
        return Err(Problem::NotOffered { what: EXPORTABLE.into() });
    }
    // Before the one attempt at generating: a session that was lost is replaced here.
    let place = connection.run(|link, open| {
        let _guard = link.read_objects(open)?;
        vacancy(link, open, wanted)
    })?;
    if let Some(id) = place {
        connection.link.places.give(id, &wanted.label)?;
    }
    match connection.link.profile.keygen_login() {
        KeygenLogin::User => change(connection, |link, open| {
            free(link, open, &wanted.label)?;
            let (public, private) = key_pair(link, open, wanted, place)?;
            let made = wanted.check(link, open, private);
            if made.is_err() {
                destroy(open, &[private, public]);
            }
            made
        }),
        KeygenLogin::So | KeygenLogin::Never => {
            change(connection, |link, open| {
                vacancy(link, open, wanted)?;
                key_pair(link, open, wanted, place).map(drop)
            })?;
            let made = connection.run(|link, open| match keys(link, open, &wanted.label)?[..] {
                [private, ..] => wanted.check(link, open, private),
                [] => Err(Problem::NoKey { label: wanted.label.clone() }),
            });
            if made.is_err()
                && let Err(error) = delete(connection, &wanted.label)
            {
                tracing::error!(%error, "a key that was refused is still on the token");
            }
            made
        }
    }
}

/// Deletes the private and public keys with this label.
pub(super) fn delete(connection: &mut Connection, label: &str) -> Result<(), Problem> {
    let deleted = match connection.link.profile.keygen().delete {
        Delete::Overwrite => overwrite(connection, label),
        Delete::Destroy => {
            let destroy = |link: &Link, open: &Open| {
                let keys = keys(link, open, label)?;
                let destroyed = keys.iter().try_for_each(|key| open.session.destroy_object(*key));
                link.changes.fetch_add(1, Ordering::AcqRel);
                destroyed?;
                link.forget(label);
                if keys.is_empty() { Err(Problem::NoKey { label: label.into() }) } else { Ok(()) }
            };
            match connection.link.profile.keygen_login() {
                // Again after a recovery: a key that is gone by then is gone.
                KeygenLogin::User => connection.run(|link, open| {
                    let _guard = link.change_objects(open)?;
                    destroy(link, open)
                }),
                KeygenLogin::So | KeygenLogin::Never => change(connection, destroy),
            }
        }
    };
    if matches!(deleted, Ok(()) | Err(Problem::NoKey { .. })) {
        connection.link.places.forget(label)?;
    }
    deleted
}

/// Runs `operation`, which changes objects of the token, as who may do that. Never tried again by itself: it
/// may have been done although it failed.
pub(super) fn change<T>(
    connection: &mut Connection,
    operation: impl FnOnce(&Link, &Open) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match connection.link.profile.keygen_login() {
        KeygenLogin::User => connection.once(|link, open| {
            let _guard = link.change_objects(open)?;
            operation(link, open)
        }),
        KeygenLogin::So => connection.as_officer(operation),
        KeygenLogin::Never => Err(Problem::NotOffered { what: "changes by this module".into() }),
    }
}

/// Refuses a label that a key has. A certificate may have it.
pub(super) fn free(link: &Link, open: &Open, label: &str) -> Result<(), Problem> {
    match keys(link, open, label)?.is_empty() {
        true => Ok(()),
        false => Err(Problem::KeyExists { label: label.into() }),
    }
}

/// Destroys what nobody has seen yet, as far as possible.
pub(super) fn destroy(open: &Open, objects: &[ObjectHandle]) {
    for object in objects {
        if let Err(error) = open.session.destroy_object(*object) {
            tracing::error!(%error, "an object that was refused is still on the token");
        }
    }
}

/// Where the key is to be, on tokens where keys have fixed places: one in which there is nothing.
fn vacancy(link: &Link, open: &Open, wanted: &Wanted) -> Result<Option<u8>, Problem> {
    free(link, open, &wanted.label)?;
    if !link.places.are_fixed() {
        return Ok(None);
    }
    if let Some(id) = link.places.id(&wanted.label) {
        let slot = || wanted.label.clone();
        return if is_vacant(link, open, id)? {
            Ok(Some(id))
        } else {
            Err(Problem::SlotTaken { slot: slot() })
        };
    }
    let keygen = link.profile.keygen();
    let slots = if wanted.usage.decrypt { &keygen.slots_decrypt } else { &keygen.slots_sign };
    for (id, _) in link.places.among(slots) {
        if is_vacant(link, open, id)? {
            return Ok(Some(id));
        }
    }
    Err(Problem::NoSlot { label: wanted.label.clone(), taken: slots.clone() })
}

/// Whether no key is in this place, nor a certificate; but for a key that another was deleted by.
fn is_vacant(link: &Link, open: &Open, id: u8) -> Result<bool, Problem> {
    if is_deleted(link, open, id)? {
        return Ok(in_place(open, ObjectClass::CERTIFICATE, id)?.is_empty());
    }
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::CERTIFICATE] {
        if !in_place(open, class, id)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether what is in this place is a key that another was deleted by.
fn is_deleted(link: &Link, open: &Open, id: u8) -> Result<bool, Problem> {
    let mut keys = in_place(open, ObjectClass::PRIVATE_KEY, id)?.into_iter();
    keys.next().map_or(Ok(false), |key| object::is_deleted(link, &open.session, key))
}

fn in_place(open: &Open, class: ObjectClass, id: u8) -> Result<Vec<ObjectHandle>, Problem> {
    let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(vec![id])];
    Ok(open.session.find_objects(&template)?)
}

/// Makes another key where the one with this label is, and destroys the certificate that shows it.
fn overwrite(connection: &mut Connection, label: &str) -> Result<(), Problem> {
    let no_key = || Problem::NoKey { label: label.into() };
    let id = connection.link.places.id(label).ok_or_else(no_key)?;
    if connection.run(|link, open| keys(link, open, label))?.is_empty() {
        return Err(no_key());
    }
    let ec = KeyKind::Ec(Curve::P256);
    let kind = if connection.link.capabilities.can_generate(ec) { ec } else { KeyKind::Rsa { bits: 2048 } };
    let (usage, origin) = (KeyUsage::SIGNATURE, Origin::Generated);
    let other = Wanted { label: label.into(), kind, usage, exportable: false, origin };
    change(connection, |link, open| {
        let (_, private) = key_pair(link, open, &other, Some(id))?;
        let made = object::read(link, &open.session, private)?.ok_or_else(no_key)?;
        // First of all: from here on it would be taken for a key of that label.
        link.places.set_deleted(id, &made.public_key.fingerprint())?;
        let shown = in_place(open, ObjectClass::CERTIFICATE, id)?;
        Ok(shown.iter().try_for_each(|certificate| open.session.destroy_object(*certificate))?)
    })
}

/// The private and public keys with this label.
fn keys(link: &Link, open: &Open, label: &str) -> Result<Vec<ObjectHandle>, Problem> {
    let Some(name) = link.places.attribute(label) else { return Ok(Vec::new()) };
    if let Some(id) = link.places.id(label)
        && is_deleted(link, open, id)?
    {
        return Ok(Vec::new());
    }
    let mut keys = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        keys.extend(open.session.find_objects(&[
            Attribute::Class(class),
            Attribute::Token(true),
            name.clone(),
        ])?);
    }
    Ok(keys)
}

/// Generates it, as it is asked for.
fn key_pair(
    link: &Link,
    open: &Open,
    wanted: &Wanted,
    place: Option<u8>,
) -> Result<(ObjectHandle, ObjectHandle), Problem> {
    let pair = make_pair(open, wanted.kind, &Templates::new(wanted, link.profile.keygen(), place)?)?;
    link.counters.generations.add();
    Ok(pair)
}

/// `C_GenerateKeyPair`: the public key and the private one.
pub(super) fn make_pair(
    open: &Open,
    kind: KeyKind,
    templates: &Templates<'_>,
) -> Result<(ObjectHandle, ObjectHandle), Problem> {
    let mechanism = match kind {
        KeyKind::Rsa { .. } => Mechanism::RsaPkcsKeyPairGen,
        KeyKind::Ec(_) => Mechanism::EccKeyPairGen,
        KeyKind::MlDsa(_) => Mechanism::MlDsaKeyPairGen,
    };
    let (public, private) = (templates.of(Side::Public), templates.of(Side::Private));
    Ok(open.session.generate_key_pair(&mechanism, &public, &private)?)
}
