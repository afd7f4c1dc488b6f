//! The archive of a CA, written once when it is created (S9), and once for each key that follows: certificate
//! and key under a passphrase, as PKCS#12 or PEM. Of a key that cannot leave its token there is an archive of
//! the certificate, which says what it does not hold.
//!
//! An archive with the key is written before the CA is installed: when it cannot be, there is no CA yet, and
//! the server is not enabled before it can. What cannot be repeated is not begun without its backup.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;

use crate::config::{ArchiveFormat, Configuration, Database, FileType, KeyPair};
use crate::files::FileUrl;
use crate::pki::archive::Archive;
use crate::pki::archive::ios::FileName;
use crate::pki::archive::pem::{self, Encryption};
use crate::pki::archive::pkcs12::{self, Form};
use crate::pki::{Time, chain};
use crate::store::{Role, Store};
use crate::token::TokenKey;

use super::keys::was_exported;
use super::publish::Place;
use super::surroundings::Surroundings;
use super::{Node, NodeError};

/// Passphrases that were typed for archives to be made, by the label of their server.
#[derive(Default)]
pub struct Passphrases(Mutex<BTreeMap<String, SecretString>>);

/// The archive of a CA that is being made.
pub struct Archiving<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// Name of the archive: the label, or that of a later key.
    pub name: &'a str,
    /// `database …` of the server.
    pub database: &'a Database,
    /// Files, and passphrases.
    pub around: &'a Surroundings,
    /// The database.
    pub store: &'a dyn Store,
    /// Now.
    pub now: Time,
}

impl Passphrases {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, SecretString>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archiving<'_> {
    /// Writes it, unless that was done. Returns what the operator should read.
    pub fn run(&self, key: &TokenKey, certificate: &[u8]) -> Result<Vec<String>, NodeError> {
        if self.store.mark(&self.scope(), &self.mark())?.is_some() {
            return Ok(Vec::new());
        }
        let (url, mut notes) = match has_key(self.store, self.database, key)? {
            true => self.with_key(key, certificate)?,
            false => match self.without_key(key, certificate) {
                Ok(done) => done,
                // Nothing is lost with it that is not elsewhere.
                Err(error) => return Ok(vec![EXPORTING.to_owned(), format!("% {error}")]),
            },
        };
        self.store.set_mark(&self.scope(), &self.mark(), Some(&format!("{} {url}", self.now.unix())))?;
        notes.retain(|note| !note.is_empty());
        Ok(notes)
    }

    fn with_key(&self, key: &TokenKey, certificate: &[u8]) -> Result<(FileUrl, Vec<String>), NodeError> {
        let (passphrase, typed) = self.passphrase()?;
        let pem = self.database.archive_format() == ArchiveFormat::Pem;
        let (what, name) = match pem {
            true => (FileType::Pem, FileName::Pem(self.name.to_owned())),
            false => (FileType::P12, FileName::P12(self.name.to_owned())),
        };
        let place = self.place(what)?;
        let url = place.url.join(&name.to_string());
        // When the typed passphrase was asked for, that was said.
        let exporting = if typed { String::new() } else { EXPORTING.to_owned() };
        if self.is_there(&place, &url, certificate, &passphrase)? {
            return Ok((url, vec![exporting]));
        }
        let archive = Archive {
            key: Some(key.token().export(&key.info().label)?),
            certificates: vec![certificate.to_vec()],
            label: Some(self.label.to_owned()),
            authenticated: true,
        };
        let octets = match pem {
            true => pem::write_archive(&archive, Encryption::Aes, &passphrase).into_bytes(),
            false => pkcs12::write(&archive, Form::Modern, &passphrase),
        };
        self.write(&place, &url, &octets)?;
        self.around.passphrases.all().remove(self.label);
        let moved = format!("% {url} holds the private key: move it to a safe place now.");
        Ok((url, vec![exporting, moved]))
    }

    fn without_key(&self, key: &TokenKey, certificate: &[u8]) -> Result<(FileUrl, Vec<String>), NodeError> {
        let place = self.place(FileType::Pem)?;
        let url = place.url.join(&FileName::Pem(self.name.to_owned()).to_string());
        let old = self.around.files.read(&url, place.login.as_ref()).unwrap_or_default();
        if holds_key(&old) {
            return Err(occupied(&url));
        }
        let (label, token) = (&key.info().label, key.token().name());
        let (place_of_key, restored, note) = match is_exportable(key) {
            true => (
                "and was exported by itself",
                "Without the token and that export the CA cannot be restored.",
                format!("% The key \"{label}\" was exported before; {url} has the certificate only."),
            ),
            false => (
                "and cannot leave it",
                "Without the token, or a copy that its maker provides for, the CA cannot be restored.",
                format!("% The key \"{label}\" cannot leave {token}:; {url} has the certificate only."),
            ),
        };
        let text = format!(
            "Certificate server {server}, {now}.\n\
             This is its CA certificate alone. The private key is not in this file: it is \"{label}\" on the token \
             {token}\n\
             {place_of_key}. To restore the server, have the key, this certificate, {server}.ser and \
             {server}.crl.\n\
             {restored}\n\n",
            server = self.label,
            now = self.now
        );
        self.write(&place, &url, (text + &pem::write_certificate(certificate)).as_bytes())?;
        Ok((url, vec![EXPORTING.to_owned(), note]))
    }

    /// The passphrase configured, or that typed for this archive.
    fn passphrase(&self) -> Result<(SecretString, bool), NodeError> {
        if let Some(password) = self.database.archive.as_ref().and_then(|archive| archive.password.as_ref()) {
            let password = password.open(&self.around.vault);
            return Ok((password.map_err(|error| NodeError::Refused(error.to_string()))?, false));
        }
        let typed = self.around.passphrases.all().get(self.label).cloned();
        typed.map(|passphrase| (passphrase, true)).ok_or_else(|| {
            NodeError::Refused(format!(
                "the key is exportable, so the CA is archived, and the archive needs a passphrase\nhint: type \
                 \"shutdown\" and \"no shutdown\" in \"crypto pki server {}\", which asks for it; or configure \"database \
                 archive pkcs12 password …\"",
                self.label
            ))
        })
    }

    /// Whether a crash came between writing the archive and noting it. Another archive is not overwritten: it
    /// may be all that is left of its CA.
    fn is_there(
        &self,
        place: &Place,
        url: &FileUrl,
        certificate: &[u8],
        passphrase: &SecretString,
    ) -> Result<bool, NodeError> {
        let old = match self.around.files.read(url, place.login.as_ref()) {
            Ok(old) => old,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(unwritten(&error)),
        };
        match Archive::read(&old, Some(passphrase)) {
            Ok(archive) if archive.certificates.first().is_some_and(|first| first == certificate) => Ok(true),
            _ if old.is_empty() || !holds_key(&old) => Ok(false),
            _ => Err(occupied(url)),
        }
    }

    fn place(&self, what: FileType) -> Result<Place, NodeError> {
        self.around.place(what, self.database.place(what), self.database.login.as_ref())
    }

    fn write(&self, place: &Place, url: &FileUrl, octets: &[u8]) -> Result<(), NodeError> {
        let written = self.around.files.write(url, octets, place.login.as_ref());
        written.map_err(|error| unwritten(&error))
    }

    fn mark(&self) -> String {
        match self.name == self.label {
            true => ARCHIVED.to_owned(),
            false => format!("{ARCHIVED} {}", self.name),
        }
    }

    fn scope(&self) -> String {
        format!("server {}", self.label)
    }
}

impl Node {
    /// Whether enabling the server by this configuration archives its private key, under a passphrase that is
    /// not configured.
    pub fn archive_needs_passphrase(&self, label: &str, configuration: &Configuration) -> bool {
        let Some(section) = configuration.servers.get(label) else { return false };
        if section.database.archive.as_ref().is_some_and(|archive| archive.password.is_some()) {
            return false;
        }
        let authorities = self.store.authorities(label).unwrap_or_default();
        if authorities.iter().any(|authority| authority.role == Role::Ca) {
            return false;
        }
        let trustpoint = configuration.trustpoints.get(label).cloned().unwrap_or_default();
        let name = trustpoint.key.as_ref().map_or(label, KeyPair::label);
        let tokens = self.surroundings(configuration).tokens;
        // What is wrong is said by the start.
        let key = tokens.get(trustpoint.on.as_deref()).and_then(|token| Ok(token.find(name)?));
        let has_key = |key: TokenKey| has_key(self.store.as_ref(), &section.database, &key);
        key.is_ok_and(|key| key.is_some_and(|key| has_key(key).unwrap_or(false)))
    }

    /// The passphrase of the archive that is made when the server is enabled.
    pub fn protect_archive(&self, label: &str, passphrase: SecretString) {
        self.passphrases.all().insert(label.to_owned(), passphrase);
    }
}

/// Whether the archive holds the private key: it must be able to leave, and have no copy already unless an
/// archive is configured all the same.
fn has_key(store: &dyn Store, database: &Database, key: &TokenKey) -> Result<bool, NodeError> {
    Ok(is_exportable(key) && (database.archive.is_some() || !was_exported(store, key.public_key())?))
}

fn is_exportable(key: &TokenKey) -> bool {
    key.info().extractable == Some(true)
}

/// A PKCS#12, or PEM with a private key.
pub(super) fn holds_key(octets: &[u8]) -> bool {
    let needle = b"PRIVATE KEY-----";
    octets.first() == Some(&0x30) || octets.windows(needle.len()).any(|window| window == needle)
}

fn occupied(url: &FileUrl) -> NodeError {
    NodeError::Refused(format!(
        "{url} is the archive of another CA and is not overwritten\nhint: move it to a safe place, or delete it"
    ))
}

fn unwritten(error: &crate::files::FileError) -> NodeError {
    NodeError::Refused(format!("the archive of the CA cannot be written: {}", chain(error)))
}

/// Said where IOS says it, whatever is exported.
pub const EXPORTING: &str = "% Exporting Certificate Server signing certificate and keys...";
/// Mark of a server: when, in seconds, and where to its CA was archived.
const ARCHIVED: &str = "archived";
