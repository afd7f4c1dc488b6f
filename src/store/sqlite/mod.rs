//! The database in one SQLite file: for one machine, nothing to install.
//!
//! All changes go through one writer thread, which commits whatever waits together ([`writer`]); reads
//! have connections of their own and see the last commit ([`readers`]). The verbs are in one file per
//! table, as functions of a connection; here they are only sent to the right one.

mod authorities;
mod certificates;
mod enrollments;
mod open;
mod passwords;
mod readers;
mod rows;
mod writer;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::pki::{Serial, Time};
use crate::store::{
    Authority, Certificate, Crl, Enrollment, Intent, Issued, NewAuthority, NewEnrollment, NewIntent,
    Password, Revocation, State, Store, StoreError, Submitted,
};

use readers::Readers;
use rows::Fail;
use writer::Writer;

/// A [`Store`] in one SQLite file, which other processes may have open too.
pub struct Sqlite {
    path: PathBuf,
    // Before the writer: the connection closed last empties the write-ahead log.
    readers: Readers,
    writer: Writer,
}

impl Sqlite {
    /// Opens the database at `path`, making it (readable by its owner only) when there is none.
    ///
    /// Errors: `Corrupt` when the file is no database or not one of ours, `Unavailable` when it cannot be
    /// used or was written by a newer version of this program. Both name the path.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (path, db) = open::prepare(path)?;
        let writer = Writer::start(db).map_err(|e| StoreError::Unavailable {
            what: "starting the writer".into(),
            source: Box::new(e),
        })?;
        Ok(Self { readers: Readers::new(path.clone()), path, writer })
    }

    fn read<T>(
        &self,
        verb: &str,
        work: impl FnOnce(&Connection) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        self.readers.with(work).map_err(|fail| fail.during(verb, &self.path))
    }

    fn write<T: Send + 'static>(
        &self,
        verb: &str,
        work: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(work).map_err(|fail| fail.during(verb, &self.path))
    }
}

impl Store for Sqlite {
    fn authorities(&self, server: &str) -> Result<Vec<Authority>, StoreError> {
        self.read("authorities", |db| authorities::list(db, server))
    }

    fn install(&self, authority: NewAuthority, replaces: Option<u64>) -> Result<Authority, StoreError> {
        self.write("install", move |db| authorities::install(db, authority, replaces))
    }

    fn submit(&self, new: NewEnrollment) -> Result<Submitted, StoreError> {
        self.write("submit", move |db| enrollments::submit(db, new))
    }

    fn enrollment(&self, server: &str, id: u64) -> Result<Option<Enrollment>, StoreError> {
        self.read("enrollment", |db| enrollments::find(db, server, id))
    }

    fn enrollment_of(
        &self,
        server: &str,
        transaction: &[u8],
        signer_key: &[u8; 32],
    ) -> Result<Option<Enrollment>, StoreError> {
        self.read("enrollment_of", |db| enrollments::of_transaction(db, server, transaction, signer_key))
    }

    fn enrollments(&self, server: &str, after: u64, limit: usize) -> Result<Vec<Enrollment>, StoreError> {
        self.read("enrollments", |db| enrollments::page(db, server, after, limit))
    }

    fn pending(&self, server: &str) -> Result<u64, StoreError> {
        self.read("pending", |db| enrollments::pending(db, server))
    }

    fn advance(
        &self,
        server: &str,
        id: u64,
        from: State,
        to: State,
        reason: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        let (server, reason) = (server.to_owned(), reason.map(str::to_owned));
        self.write("advance", move |db| {
            enrollments::advance(db, &server, id, from, to, reason.as_deref(), now)
        })
    }

    fn remove(&self, server: &str, id: u64) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("remove", move |db| enrollments::remove(db, &server, id))
    }

    fn expire(&self, server: &str, before: Time) -> Result<u64, StoreError> {
        let server = server.to_owned();
        self.write("expire", move |db| enrollments::expire(db, &server, before))
    }

    fn intend(&self, new: NewIntent, enrollment: Option<(u64, State)>) -> Result<Intent, StoreError> {
        self.write("intend", move |db| match enrollment {
            None => certificates::intend(db, new, None),
            Some((id, from)) => enrollments::intend(db, new, id, from),
        })
    }

    fn keep(&self, server: &str, certificate: Issued) -> Result<Certificate, StoreError> {
        let server = server.to_owned();
        self.write("keep", move |db| certificates::keep(db, &server, certificate))
    }

    fn unfinished(&self, server: &str) -> Result<Vec<Intent>, StoreError> {
        self.read("unfinished", |db| certificates::unfinished(db, server))
    }

    fn abandon(&self, server: &str, serial: &Serial, now: Time) -> Result<(), StoreError> {
        let (server, serial) = (server.to_owned(), serial.clone());
        self.write("abandon", move |db| certificates::abandon(db, &server, &serial, now))
    }

    fn certificate(&self, server: &str, serial: &Serial) -> Result<Option<Certificate>, StoreError> {
        self.read("certificate", |db| certificates::find(db, server, serial))
    }

    fn certificates(
        &self,
        server: &str,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<Vec<Certificate>, StoreError> {
        self.read("certificates", |db| certificates::page(db, server, after, limit))
    }

    fn last_serial(&self, server: &str) -> Result<Option<Serial>, StoreError> {
        self.read("last_serial", |db| certificates::last_serial(db, server))
    }

    fn revoke(&self, server: &str, serial: &Serial, revocation: Revocation) -> Result<(), StoreError> {
        let (server, serial) = (server.to_owned(), serial.clone());
        self.write("revoke", move |db| certificates::revoke(db, &server, &serial, revocation))
    }

    fn unrevoke(&self, server: &str, serial: &Serial) -> Result<(), StoreError> {
        let (server, serial) = (server.to_owned(), serial.clone());
        self.write("unrevoke", move |db| certificates::unrevoke(db, &server, &serial))
    }

    fn revoked(
        &self,
        server: &str,
        authority: u64,
        unexpired_at: Time,
        each: &mut dyn FnMut(&Serial, Revocation),
    ) -> Result<(), StoreError> {
        self.read("revoked", |db| certificates::revoked(db, server, authority, unexpired_at, each))
    }

    fn crl(&self, server: &str, authority: u64) -> Result<Option<Crl>, StoreError> {
        self.read("crl", |db| authorities::crl(db, server, authority))
    }

    fn keep_crl(&self, server: &str, crl: Crl) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("keep_crl", move |db| authorities::keep_crl(db, &server, &crl))
    }

    fn add_password(&self, server: &str, password: Password) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("add_password", move |db| passwords::add(db, &server, &password))
    }

    fn password(&self, server: &str, digest: &[u8; 32]) -> Result<Option<Password>, StoreError> {
        self.read("password", |db| passwords::find(db, server, digest))
    }

    fn has_passwords(&self, server: &str) -> Result<bool, StoreError> {
        self.read("has_passwords", |db| passwords::any(db, server))
    }

    fn expire_passwords(&self, server: &str, before: Time) -> Result<u64, StoreError> {
        let server = server.to_owned();
        self.write("expire_passwords", move |db| passwords::expire(db, &server, before))
    }

    fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        if let Some(secret) = self.read("secret", |db| passwords::secret(db, name))? {
            return Ok(secret);
        }
        let name = name.to_owned();
        self.write("secret", move |db| passwords::make_secret(db, &name))
    }

    fn delete_server(&self, server: &str) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("delete_server", move |db| authorities::delete_server(db, &server))
    }
}
