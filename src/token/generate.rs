//! Keys born on the token: everything is asked for, everything is read back, and the key is tried.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};

use crate::pki::KeyKind;

use super::error::Problem;
use super::object::KeyInfo;
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
    if wanted.usage.decrypt && !matches!(kind, KeyKind::Rsa { .. }) {
        return Err(Problem::NotOffered { what: format!("decryption with {kind} keys") });
    }
    // No form of an ML-DSA key travels here.
    let stays = matches!(kind, KeyKind::MlDsa(_)) || !capabilities.can_export();
    if wanted.exportable && stays {
        return Err(Problem::NotOffered { what: EXPORTABLE.into() });
    }
    // Before the one attempt at generating: a session that was lost is replaced here.
    connection.run(|link, open| {
        let _guard = link.read_objects();
        free(open, &wanted.label)
    })?;
    // Never tried again by itself: a key may exist although the call failed.
    connection.once(|link, open| {
        let _guard = link.change_objects();
        free(open, &wanted.label)?;
        let (public, private) = key_pair(link, open, wanted)?;
        let made = wanted.check(link, open, private);
        if made.is_err() {
            destroy(open, &[private, public]);
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
    // That it is gone is no sign of a token in trouble.
    let mut last = link.last_key.lock().unwrap_or_else(PoisonError::into_inner);
    last.take_if(|key| key.label == label);
    if keys.is_empty() { Err(Problem::NoKey { label: label.into() }) } else { Ok(()) }
}

/// Refuses a label that a key has. A certificate may have it.
pub(super) fn free(open: &Open, label: &str) -> Result<(), Problem> {
    match keys(open, label)?.is_empty() {
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

/// The private and public keys with this label.
fn keys(open: &Open, label: &str) -> Result<Vec<ObjectHandle>, Problem> {
    let mut keys = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let label = Attribute::Label(label.as_bytes().to_vec());
        keys.extend(open.session.find_objects(&[Attribute::Class(class), Attribute::Token(true), label])?);
    }
    Ok(keys)
}

fn key_pair(link: &Link, open: &Open, wanted: &Wanted) -> Result<(ObjectHandle, ObjectHandle), Problem> {
    make_pair(open, wanted.kind, &Templates::new(wanted, link.profile.keygen())?)
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
