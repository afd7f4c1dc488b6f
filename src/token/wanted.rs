//! A key pair as it should be: the templates that ask for it, and the check that it is so.

use cryptoki::object::{Attribute, AttributeType};
use cryptoki::types::Ulong;
use der::Encode;

use crate::pki::KeyKind;

use super::error::{Origin, Problem};
use super::object::{self, Attributes, KeyInfo, KeyUsage};
use super::profile::{KeyAttribute, Keygen};
use super::session::{Link, Open};
use super::sys::ObjectHandle;

/// A key pair that is asked for.
#[derive(Clone)]
pub(super) struct Wanted {
    pub label: String,
    pub kind: KeyKind,
    pub usage: KeyUsage,
    pub exportable: bool,
    pub origin: Origin,
}

/// Which half of a pair.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Public,
    Private,
}

/// Makes the attributes of both halves; they share an identifier.
pub(super) struct Templates<'a> {
    wanted: &'a Wanted,
    keygen: &'a Keygen,
    id: Vec<u8>,
    /// Whether the key stays on the token: else it ends with its session.
    lasting: bool,
}

impl Wanted {
    /// Reads the key back and refuses it unless it is what was asked for. Tokens ignore attributes that
    /// they do not like, and their defaults are no one's friends.
    pub fn check(&self, link: &Link, open: &Open, private: ObjectHandle) -> Result<KeyInfo, Problem> {
        let extra = Attributes::read(
            &open.session,
            private,
            &[AttributeType::Token, AttributeType::Private, AttributeType::Unwrap],
        )?;
        self.must("CKA_TOKEN", extra.flag(AttributeType::Token), true)?;
        self.must("CKA_PRIVATE", extra.flag(AttributeType::Private), true)?;
        let no_key = || Problem::NoPublicKey { label: self.label.clone(), source: None };
        let key = object::read(link, &open.session, private)?.ok_or_else(no_key)?;
        self.must("CKA_SENSITIVE", key.sensitive, true)?;
        if self.exportable && key.extractable == Some(false) {
            return Err(Problem::NotOffered { what: EXPORTABLE.into() });
        }
        self.must("CKA_EXTRACTABLE", key.extractable, self.exportable)?;
        if self.origin == Origin::Generated {
            self.must("CKA_ALWAYS_SENSITIVE", key.always_sensitive, true)?;
            if !self.exportable {
                self.must("CKA_NEVER_EXTRACTABLE", key.never_extractable, true)?;
            }
            if link.profile.keygen().local {
                self.must("CKA_LOCAL", key.local, true)?;
            }
        }
        let unchecked = &link.profile.keygen().unchecked;
        let checked = |attribute| !unchecked.contains(&attribute);
        if checked(KeyAttribute::Sign) {
            self.must("CKA_SIGN", Some(key.usage.sign), self.usage.sign)?;
        }
        // Absent or false where it was left out of the template, and of no consequence for EC keys.
        if matches!(self.kind, KeyKind::Rsa { .. }) && checked(KeyAttribute::Decrypt) {
            self.must("CKA_DECRYPT", Some(key.usage.decrypt), self.usage.decrypt)?;
        }
        if matches!(self.kind, KeyKind::Rsa { .. }) && checked(KeyAttribute::Unwrap) {
            self.must("CKA_UNWRAP", Some(extra.flag(AttributeType::Unwrap).unwrap_or(false)), false)?;
        }
        if key.kind != self.kind || key.label != self.label {
            return Err(no_key());
        }
        Ok(key)
    }

    fn must(&self, attribute: &'static str, found: Option<bool>, wanted: bool) -> Result<(), Problem> {
        match found {
            Some(found) if found == wanted => Ok(()),
            found => {
                let found = found.map_or("missing", |found| if found { "true" } else { "false" });
                Err(Problem::Insecure { origin: self.origin, label: self.label.clone(), attribute, found })
            }
        }
    }
}

impl<'a> Templates<'a> {
    /// Templates with the identifier of this place, or a new one.
    pub fn new(wanted: &'a Wanted, keygen: &'a Keygen, place: Option<u8>) -> Result<Self, Problem> {
        let id = match place {
            Some(id) => vec![id],
            None => {
                let mut id = vec![0; ID_OCTETS];
                getrandom::fill(&mut id).map_err(Problem::NoRandomness)?;
                id
            }
        };
        Ok(Self { wanted, keygen, id, lasting: true })
    }

    /// The same for objects that end with their session.
    pub fn passing(self) -> Self {
        Self { lasting: false, ..self }
    }

    /// What the profile wants said of this half, in its order.
    pub fn of(&self, side: Side) -> Vec<Attribute> {
        let ec = !matches!(self.wanted.kind, KeyKind::Rsa { .. });
        let attributes = match side {
            Side::Public => &self.keygen.public,
            Side::Private => &self.keygen.private,
        };
        let attributes =
            attributes.iter().filter(|attribute| !(ec && self.keygen.omit_ec.contains(attribute)));
        attributes.filter_map(|attribute| self.value(*attribute, side)).collect()
    }

    /// `None` for what this kind of key does not have.
    fn value(&self, attribute: KeyAttribute, side: Side) -> Option<Attribute> {
        let Wanted { label, kind, usage, exportable, origin } = self.wanted;
        // A key that is brought has them already, and they stand beside its other parts.
        let parts = [
            KeyAttribute::ParameterSet,
            KeyAttribute::ModulusBits,
            KeyAttribute::PublicExponent,
            KeyAttribute::EcParams,
        ];
        if *origin == Origin::Imported && parts.contains(&attribute) {
            return None;
        }
        Some(match (attribute, *kind) {
            (KeyAttribute::Token, _) => Attribute::Token(self.lasting),
            (KeyAttribute::Private, _) => Attribute::Private(side == Side::Private),
            (KeyAttribute::Sensitive, _) => Attribute::Sensitive(true),
            (KeyAttribute::Extractable, _) => Attribute::Extractable(*exportable),
            (KeyAttribute::Label, _) => Attribute::Label(label.as_bytes().to_vec()),
            (KeyAttribute::Id, _) => Attribute::Id(self.id.clone()),
            (KeyAttribute::ModulusBits, KeyKind::Rsa { bits }) => {
                Attribute::ModulusBits(Ulong::try_from(bits).ok()?)
            }
            // 65537, the exponent that everybody accepts and some tokens insist on.
            (KeyAttribute::PublicExponent, KeyKind::Rsa { .. }) => Attribute::PublicExponent(vec![1, 0, 1]),
            (KeyAttribute::EcParams, KeyKind::Ec(curve)) => Attribute::EcParams(curve.oid().to_der().ok()?),
            (KeyAttribute::ParameterSet, KeyKind::MlDsa(set)) => {
                Attribute::ParameterSet(object::parameter_set(set))
            }
            (KeyAttribute::Sign, _) => Attribute::Sign(usage.sign),
            (KeyAttribute::Verify, _) => Attribute::Verify(usage.sign),
            (KeyAttribute::Decrypt, _) => Attribute::Decrypt(usage.decrypt),
            (KeyAttribute::Encrypt, _) => Attribute::Encrypt(usage.decrypt),
            (KeyAttribute::Unwrap, _) => Attribute::Unwrap(false),
            (KeyAttribute::Wrap, _) => Attribute::Wrap(false),
            (KeyAttribute::Derive, _) => Attribute::Derive(false),
            (
                KeyAttribute::ModulusBits
                | KeyAttribute::PublicExponent
                | KeyAttribute::EcParams
                | KeyAttribute::ParameterSet,
                _,
            ) => return None,
        })
    }
}

/// What a token without a way to export lacks.
pub(super) const EXPORTABLE: &str = "keys that can leave it";
/// As long as a SHA-1 key identifier, so that no tool finds it odd.
const ID_OCTETS: usize = 20;
