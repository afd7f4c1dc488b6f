//! Files on a token: data objects (`CKO_DATA`) of the application `tokenca`, labelled with the file's name.

use std::sync::atomic::Ordering;

use cryptoki::error::{Error as Cryptoki, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use super::error::{MAX_NAME, Problem};
use super::module;
use super::object::Attributes;
use super::session::{Connection, Link, Open};
use super::sys::ObjectHandle;
use super::{Priority, Token, TokenError};

/// A file on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Its name.
    pub name: String,
    /// Octets.
    pub size: usize,
    /// Whether it is seen only by who has the PIN.
    pub private: bool,
}

impl Token {
    /// The files on the token, by name.
    pub fn files(&self) -> Result<Vec<TokenFile>, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects(open)?;
                let objects = open.session.find_objects(&ours())?;
                let files: Result<Vec<_>, _> =
                    objects.into_iter().map(|object| describe(open, object)).collect();
                let mut files = files?;
                files.sort_by(|a, b| a.name.cmp(&b.name));
                files.dedup_by(|a, b| a.name == b.name);
                Ok(files)
            })
        })
    }

    /// The contents of a file; [`Problem::NoFile`] when there is none of that name.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>, TokenError> {
        let name = name.to_owned();
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects(open)?;
                let Some(object) = find(open, &name)?.into_iter().next() else {
                    return Err(Problem::NoFile { name: name.clone() });
                };
                let attributes = Attributes::read(&open.session, object, &[AttributeType::Value])?;
                Ok(attributes.octets(AttributeType::Value).unwrap_or_default().to_vec())
            })
        })
    }

    /// Creates or replaces a file. `private` hides it from whoever has not the PIN.
    ///
    /// The new one is there before the old one goes: there must be room for both, and a name may have two
    /// files, either of them whole, after a power cut in between; the next write leaves one.
    pub fn write_file(&self, name: &str, octets: &[u8], private: bool) -> Result<(), TokenError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
            return Err(self.error(Problem::BadName { name: name.into() }));
        }
        let (name, octets) = (name.to_owned(), octets.to_vec());
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            write(connection, &name, &octets, private)
        })
    }

    /// Deletes a file; [`Problem::NoFile`] when there is none of that name.
    pub fn delete_file(&self, name: &str) -> Result<(), TokenError> {
        let name = name.to_owned();
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| {
                let _guard = link.change_objects(open)?;
                let objects = find(open, &name)?;
                if objects.is_empty() {
                    return Err(Problem::NoFile { name: name.clone() });
                }
                destroy(link, open, &objects)
            })
        })
    }
}

/// The error of a call that stores something: told apart when it is for want of room.
pub(super) fn room(link: &Link, open: &Open, name: &str, size: usize, error: Cryptoki) -> Problem {
    if !matches!(error, Cryptoki::Pkcs11(RvError::DeviceMemory, _)) {
        return error.into();
    }
    let slot = module::find_token(&open.context, &link.selector, &link.profile).ok();
    let info = slot.and_then(|slot| open.context.token_info(slot).ok());
    let free = info.and_then(|info| info.free_private().or(info.free_public()));
    Problem::NoRoom { name: name.into(), size, free }
}

fn write(connection: &mut Connection, name: &str, octets: &[u8], private: bool) -> Result<(), Problem> {
    // As in generation: a lost session is replaced before the one attempt.
    connection.run(|link, open| {
        let _guard = link.read_objects(open)?;
        find(open, name)
    })?;
    connection.once(|link, open| {
        let _guard = link.change_objects(open)?;
        let old = find(open, name)?;
        let mut template = ours();
        template.extend([
            Attribute::Private(private),
            Attribute::Label(name.as_bytes().to_vec()),
            Attribute::Value(octets.to_vec()),
        ]);
        let new = open.session.create_object(&template);
        new.map_err(|error| room(link, open, name, octets.len(), error))?;
        destroy(link, open, &old)
    })
}

fn find(open: &Open, name: &str) -> Result<Vec<ObjectHandle>, Problem> {
    let mut template = ours();
    template.push(Attribute::Label(name.as_bytes().to_vec()));
    Ok(open.session.find_objects(&template)?)
}

fn destroy(link: &Link, open: &Open, objects: &[ObjectHandle]) -> Result<(), Problem> {
    let destroyed = objects.iter().try_for_each(|object| open.session.destroy_object(*object));
    link.changes.fetch_add(1, Ordering::AcqRel);
    Ok(destroyed?)
}

fn describe(open: &Open, object: ObjectHandle) -> Result<TokenFile, Problem> {
    let attributes =
        Attributes::read(&open.session, object, &[AttributeType::Label, AttributeType::Private])?;
    let size = open.session.size(object, AttributeType::Value)?.unwrap_or(0);
    let private = attributes.flag(AttributeType::Private).unwrap_or(false);
    Ok(TokenFile { name: attributes.text(AttributeType::Label), size, private })
}

fn ours() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Application(APPLICATION.to_vec()),
    ]
}

/// `CKA_APPLICATION` of our files.
const APPLICATION: &[u8] = b"tokenca";
