//! The database in one SQLite file: for one machine, nothing to install.
//!
//! All changes go through one writer thread, which commits whatever waits together ([`writer`]); reads
//! have connections of their own and see the last commit ([`readers`]). The verbs are in one file per
//! table, as functions of a connection; here they are only sent to the right one.

mod adoption;
mod authorities;
mod certificates;
mod crls;
mod enrollments;
mod facts;
mod fetched;
mod forwards;
mod open;
mod passwords;
mod readers;
mod rows;
mod trustpoints;
mod writer;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::pki::{Serial, Time};
use crate::store::{
    Adoption, Authority, Certificate, Crl, CrlFacts, CrlOrigin, Enrollment, FetchedCrl, Forward, Intent,
    Issued, IssuedBy, JournalEntry, LeftBehind, NewAuthority, NewEnrollment, NewIntent, Omit, Password,
    Record, Revocation, Stage, State, Store, StoreError, Submitted, TrustedCertificate, TrustedKind,
    UpperRequest,
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
        let writer = open::in_place(&path).and_then(|in_place| Writer::start(db, in_place)).map_err(|e| {
            StoreError::Unavailable { what: format!("open {}", path.display()), source: Box::new(e) }
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

    fn prepare(&self, authority: NewAuthority) -> Result<Authority, StoreError> {
        self.write("prepare", move |db| authorities::prepare(db, authority))
    }

    fn replace_next(&self, authority: NewAuthority, replaces: u64) -> Result<Authority, StoreError> {
        self.write("replace the next", move |db| authorities::replace_next(db, authority, replaces))
    }

    fn activate(&self, server: &str) -> Result<Vec<Authority>, StoreError> {
        let server = server.to_owned();
        self.write("activate", move |db| authorities::activate(db, &server))
    }

    fn discard_next(&self, server: &str, revocation: Revocation) -> Result<Vec<Authority>, StoreError> {
        let server = server.to_owned();
        self.write("discard_next", move |db| authorities::discard_next(db, &server, revocation))
    }

    fn issued_by(&self, server: &str, authority: u64) -> Result<IssuedBy, StoreError> {
        self.read("issued_by", |db| certificates::issued_by(db, server, authority))
    }

    fn left_behind(
        &self,
        server: &str,
        authority: u64,
        next: u64,
        now: Time,
        limit: usize,
    ) -> Result<LeftBehind, StoreError> {
        self.read("left_behind", |db| certificates::left_behind(db, server, authority, next, now, limit))
    }

    fn adopt(&self, adoption: Adoption) -> Result<Authority, StoreError> {
        self.write("adopt", move |db| adoption::adopt(db, adoption))
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

    fn enrollment_to(
        &self,
        server: &str,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: u64,
        unnamed: bool,
    ) -> Result<Option<Enrollment>, StoreError> {
        self.read("enrollment_to", |db| {
            enrollments::to_authority(db, server, transaction, signer_key, authority, unnamed)
        })
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

    fn forward(&self, server: &str, id: u64, now: Time) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("forward", move |db| forwards::forward(db, &server, id, now))
    }

    fn forwards(&self, server: &str, due: Time, limit: usize) -> Result<Vec<Forward>, StoreError> {
        self.read("forwards", |db| forwards::due(db, server, due, limit))
    }

    fn forward_of(&self, server: &str, id: u64) -> Result<Option<Forward>, StoreError> {
        self.read("forward_of", |db| forwards::find(db, server, id))
    }

    fn postpone(
        &self,
        server: &str,
        id: u64,
        stage: Stage,
        next_try: Time,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let (server, error) = (server.to_owned(), error.map(str::to_owned));
        self.write("postpone", move |db| {
            forwards::postpone(db, &server, id, stage, next_try, error.as_deref())
        })
    }

    fn keep_forwarded(
        &self,
        server: &str,
        id: u64,
        issuer: &[u8; 32],
        certificate: Issued,
    ) -> Result<Certificate, StoreError> {
        let issuer = *issuer;
        let server = server.to_owned();
        self.write("keep_forwarded", move |db| forwards::keep(db, &server, id, &issuer, certificate))
    }

    fn refuse_forwarded(&self, server: &str, id: u64, reason: &str, now: Time) -> Result<(), StoreError> {
        let (server, reason) = (server.to_owned(), reason.to_owned());
        self.write("refuse_forwarded", move |db| forwards::refuse(db, &server, id, &reason, now))
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

    fn record(&self, server: &str, serial: &Serial) -> Result<Option<Record>, StoreError> {
        self.read("record", |db| certificates::find(db, server, serial))
    }

    fn certificates_with(&self, server: &str, serial: &Serial) -> Result<Vec<Certificate>, StoreError> {
        self.read("certificates_with", |db| certificates::with(db, server, serial))
    }

    fn certificate_for(&self, server: &str, id: u64) -> Result<Option<Certificate>, StoreError> {
        self.read("certificate_for", |db| certificates::answer_to(db, server, id))
    }

    fn certificates(
        &self,
        server: &str,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<Vec<Certificate>, StoreError> {
        self.read("certificates", |db| certificates::page(db, server, after, limit))
    }

    fn kept_after(
        &self,
        server: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Certificate)>, StoreError> {
        self.read("kept_after", |db| certificates::kept_after(db, server, after, limit))
    }

    fn kept_last(&self, server: &str) -> Result<u64, StoreError> {
        self.read("kept_last", |db| certificates::kept_last(db, server))
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

    fn revision(&self, server: &str) -> Result<u64, StoreError> {
        self.read("revision", |db| certificates::revision(db, server))
    }

    fn revoked(
        &self,
        server: &str,
        authority: u64,
        omit: Omit,
        each: &mut dyn FnMut(&Serial, Revocation),
    ) -> Result<u64, StoreError> {
        self.read("revoked", |db| certificates::revoked(db, server, authority, omit, each))
    }

    fn crl(&self, server: &str, authority: u64) -> Result<Option<Crl>, StoreError> {
        self.read("crl", |db| crls::find(db, server, authority))
    }

    fn crl_facts(&self, server: &str, authority: u64) -> Result<Option<CrlFacts>, StoreError> {
        self.read("crl_facts", |db| crls::find_facts(db, server, authority))
    }

    fn keep_crl(&self, server: &str, crl: Crl) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("keep_crl", move |db| crls::keep(db, &server, &crl))
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

    fn trusted(&self, trustpoint: &str) -> Result<Vec<TrustedCertificate>, StoreError> {
        self.read("trusted", |db| trustpoints::trusted(db, trustpoint))
    }

    fn trust(&self, certificate: TrustedCertificate) -> Result<(), StoreError> {
        self.write("trust", move |db| trustpoints::trust(db, &certificate))
    }

    fn trust_all(
        &self,
        trustpoint: &str,
        kinds: &[TrustedKind],
        certificates: Vec<TrustedCertificate>,
    ) -> Result<(), StoreError> {
        let (trustpoint, kinds) = (trustpoint.to_owned(), kinds.to_vec());
        self.write("trust_all", move |db| trustpoints::trust_all(db, &trustpoint, &kinds, &certificates))
    }

    fn promote(&self, trustpoint: &str) -> Result<(), StoreError> {
        let trustpoint = trustpoint.to_owned();
        self.write("promote", move |db| trustpoints::promote(db, &trustpoint))
    }

    fn requests(&self, trustpoint: &str) -> Result<Vec<UpperRequest>, StoreError> {
        self.read("requests", |db| trustpoints::requests(db, trustpoint))
    }

    fn begin_request(&self, new: UpperRequest) -> Result<(), StoreError> {
        self.write("begin_request", move |db| trustpoints::begin(db, &new))
    }

    fn advance_request(&self, old: &UpperRequest, new: &UpperRequest) -> Result<(), StoreError> {
        let (old, new) = (old.clone(), new.clone());
        self.write("advance_request", move |db| trustpoints::advance(db, &old, &new))
    }

    fn finish_request(
        &self,
        old: &UpperRequest,
        certificates: Vec<TrustedCertificate>,
    ) -> Result<(), StoreError> {
        let old = old.clone();
        self.write("finish_request", move |db| trustpoints::finish(db, &old, &certificates))
    }

    fn cancel_request(&self, trustpoint: &str, kind: TrustedKind) -> Result<(), StoreError> {
        let trustpoint = trustpoint.to_owned();
        self.write("cancel_request", move |db| trustpoints::cancel(db, &trustpoint, kind))
    }

    fn distrust(&self, trustpoint: &str, which: Option<&TrustedCertificate>) -> Result<u64, StoreError> {
        let (trustpoint, which) = (trustpoint.to_owned(), which.cloned());
        self.write("distrust", move |db| trustpoints::distrust(db, &trustpoint, which))
    }

    fn add_journal(&self, entry: JournalEntry) -> Result<(), StoreError> {
        self.write("add_journal", move |db| facts::add_journal(db, &entry))
    }

    fn journal(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.read("journal", |db| facts::journal(db, before, limit))
    }

    fn mark(&self, scope: &str, name: &str) -> Result<Option<String>, StoreError> {
        self.read("mark", |db| facts::mark(db, scope, name))
    }

    fn set_mark(&self, scope: &str, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (scope, name, value) = (scope.to_owned(), name.to_owned(), value.map(str::to_owned));
        self.write("set_mark", move |db| facts::set_mark(db, &scope, &name, value.as_deref()))
    }

    fn note_time(&self, now: Time) -> Result<Time, StoreError> {
        let latest = self.read("note_time", facts::latest_time)?;
        if now <= latest {
            return Ok(latest);
        }
        self.write("note_time", move |db| facts::note_time(db, now))
    }

    fn fetched_crl(&self, issuer_key: &[u8; 32]) -> Result<Option<FetchedCrl>, StoreError> {
        self.read("fetched_crl", |db| fetched::find(db, issuer_key))
    }

    fn fetched_crls(&self) -> Result<Vec<CrlOrigin>, StoreError> {
        self.read("fetched_crls", fetched::all)
    }

    fn keep_fetched(&self, crl: FetchedCrl) -> Result<(), StoreError> {
        self.write("keep_fetched", move |db| fetched::keep(db, &crl))
    }

    fn forget_fetched(&self, before: Time) -> Result<u64, StoreError> {
        self.write("forget_fetched", move |db| fetched::forget(db, before))
    }

    fn forget_time(&self) -> Result<(), StoreError> {
        self.write("forget_time", facts::forget_time)
    }

    fn delete_server(&self, server: &str) -> Result<(), StoreError> {
        let server = server.to_owned();
        self.write("delete_server", move |db| authorities::delete_server(db, &server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Adopted, Role};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    fn error(path: &Path) -> StoreError {
        Sqlite::open(path).err().unwrap()
    }

    #[test]
    fn only_the_owner_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/ca.db");
        let store = Sqlite::open(&path).unwrap();
        store.secret("challenge").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for name in ["ca.db", "ca.db-wal", "ca.db-shm"] {
            assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn closing_leaves_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("ca.db")).unwrap();
        store.secret("challenge").unwrap();
        drop(store);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_ours_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.db");
        fs::write(&text, "hostname ca1\n".repeat(100)).unwrap();
        assert!(matches!(error(&text), StoreError::Corrupt(what) if what.contains("text.db")));

        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let before = fs::read(&other).unwrap();
        assert!(matches!(error(&other), StoreError::Corrupt(what) if what.contains("other.db")));
        assert_eq!(fs::read(&other).unwrap(), before);

        let error = error(dir.path());
        assert!(
            matches!(&error, StoreError::Unavailable { what, .. } if what.contains(dir.path().to_str().unwrap()))
        );
    }

    #[test]
    fn a_damaged_page_is_told_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.db");
        drop(Sqlite::open(&path).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        let error = Sqlite::open(&path).and_then(|store| store.enrollments("mycs", 0, 1)).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("ca.db")), "{error}");
    }

    #[test]
    fn a_removed_file_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.db");
        let store = Sqlite::open(&path).unwrap();
        store.secret("challenge").unwrap();
        fs::rename(&path, dir.path().join("moved.db")).unwrap();
        assert!(matches!(store.secret("cookie"), Err(StoreError::Unavailable { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(store.secret("cookie"), Err(StoreError::Unavailable { .. })));
        fs::rename(dir.path().join("moved.db"), &path).unwrap();
        store.secret("cookie").unwrap();
    }

    #[test]
    fn a_commit_waits_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("ca.db")).unwrap();
        let settings = store.write("settings", |db| {
            let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let journal: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            Ok((number("synchronous")?, number("foreign_keys")?, journal))
        });
        // 2 is FULL.
        assert_eq!(settings.unwrap(), (2, 1, "wal".to_owned()));
    }

    #[test]
    fn a_full_disk_loses_nothing_that_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("ca.db")).unwrap();
        let limit = |pages: i64| {
            store.write("limit", move |db| Ok(db.pragma_update(None, "max_page_count", pages)?)).unwrap();
        };
        let add = |n: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let subject = Some("CN=".repeat(500));
            let now = Time::default();
            let password = Password { digest, subject, created: now, expires: now, used_by: None };
            store.add_password("mycs", password)
        };
        let on_record = || -> i64 {
            store
                .read("count", |db| Ok(db.query_row("SELECT count(*) FROM passwords", [], |r| r.get(0))?))
                .unwrap()
        };
        limit(100);
        let told: i64 = thread::scope(|s| {
            let threads: Vec<_> = (0..8)
                .map(|t| s.spawn(move || (0..100).filter(|n| add(t << 32 | n).is_ok()).count()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap() as i64).sum()
        });
        assert!(told > 0 && told < 800, "{told}");
        assert_eq!(on_record(), told);
        // What needed two pages failed when one was left: a few that need none still fit.
        let refused = (1..=100).find(|n| add(n << 48).is_err()).expect("the disk is full");
        let told = told + refused as i64 - 1;
        assert!(matches!(add(refused << 48), Err(StoreError::Unavailable { .. })));
        limit(10_000);
        add(refused << 48).unwrap();
        assert_eq!(on_record(), told + 1);
    }

    /// The disk gets full at one page of an adoption after the other.
    #[test]
    fn an_adoption_that_fails_anywhere_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("ca.db")).unwrap();
        let pragma = |name: &'static str, value: Option<i64>| {
            let set = store.write("limit", move |db| {
                if let Some(value) = value {
                    db.pragma_update(None, name, value)?;
                }
                Ok(db.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?)
            });
            set.unwrap()
        };
        let adopt = || {
            let authority = NewAuthority {
                server: "mycs".into(),
                role: Role::Ca,
                token: "usbtoken0".into(),
                key_label: "mycs".into(),
                certificate: vec![0x30; 900],
            };
            let (now, revocation) = (Time::default(), Some(Revocation { at: Time::default(), reason: 1 }));
            let adopted = |n: u64| Adopted {
                serial: Serial::from(n),
                der: Some(vec![0x30; 900]),
                subject: Some(format!("CN=r{n}")),
                key: Some([7; 32]),
                not_before: Some(now),
                not_after: Some(now),
                revocation,
            };
            let der = vec![0x30; 9000].into();
            let crl = Crl { authority: 0, number: 7, this_update: now, next_update: now, revision: 0, der };
            let (certificates, last_serial) = ((1..=40).map(adopted).collect(), Serial::from(50));
            store.adopt(Adoption { authority, certificates, last_serial, crl: Some(crl), now })
        };
        let is_empty = || {
            let nothing = store.certificates("mycs", None, 1).unwrap().is_empty()
                && store.last_serial("mycs").unwrap().is_none()
                && store.record("mycs", &Serial::from(45)).unwrap().is_none()
                && store.revision("mycs").unwrap() == 0;
            nothing && store.authorities("mycs").unwrap().is_empty()
        };
        let mut failures = 0;
        let authority = loop {
            pragma("max_page_count", Some(pragma("page_count", None) + failures));
            match adopt() {
                Ok(authority) => break authority,
                Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
            }
            assert!(is_empty(), "after {failures} pages");
            failures += 1;
        };
        assert!(failures > 10, "{failures}");
        assert_eq!(store.certificates("mycs", None, 100).unwrap().len(), 40);
        assert_eq!(store.crl("mycs", authority.id).unwrap().unwrap().der.len(), 9000);
        assert_eq!(store.last_serial("mycs").unwrap(), Some(Serial::from(50)));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = error(&path);
        assert!(
            error.to_string().ends_with("ca.db was written by a newer version of this program"),
            "{error}"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("schema version 99;"), "{source}");
    }

    #[test]
    fn many_may_open_a_new_database_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.db");
        let secrets: Vec<_> = thread::scope(|s| {
            let open = || Sqlite::open(&path).unwrap().secret("challenge").unwrap();
            let threads: Vec<_> = (0..8).map(|_| s.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|s| **s == *secrets[0]));
    }

    /// What is asked per request or page walks an index, neither a table nor a sorted copy.
    #[test]
    fn statements_use_indexes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("ca.db")).unwrap();
        let tables = [
            adoption::PER_REQUEST,
            authorities::PER_REQUEST,
            certificates::PER_REQUEST,
            crls::PER_REQUEST,
            enrollments::PER_REQUEST,
            facts::PER_REQUEST,
            fetched::PER_REQUEST,
            trustpoints::PER_REQUEST,
            forwards::PER_REQUEST,
        ];
        for sql in tables.concat() {
            let plan = store
                .read("plan", |db| {
                    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                    // Parameters need no value to be planned.
                    let mut rows = statement.raw_query();
                    let mut plan = Vec::new();
                    while let Some(row) = rows.next()? {
                        plan.push(row.get::<_, String>("detail")?);
                    }
                    Ok(plan)
                })
                .unwrap();
            let bad = |step: &String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert!(!plan.iter().any(bad), "{sql}\n{plan:#?}");
            assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{sql}\n{plan:#?}");
        }
    }
}
